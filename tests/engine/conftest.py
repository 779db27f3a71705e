"""A tiny base and a small dataset folder; torch is imported only where a test asks for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.runtime.prior import Prior, anchor_positions
from engine.runtime.text import QUESTIONS

IMAGE_PX = 252


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder of nano with one layer of each kind."""
    import torch
    from transformers import Qwen2_5_VLForConditionalGeneration

    from engine.model.fusar import new_fusar, save_fusar
    from engine.model.nano import build_tokenizer, nano_config

    folder = tmp_path_factory.mktemp("base")
    tokenizer = build_tokenizer()
    config = nano_config(tokenizer)
    config.vision_config.depth = 2
    config.text_config.num_hidden_layers = 1
    config.text_config.layer_types = config.text_config.layer_types[:1]
    torch.manual_seed(0)
    save_fusar(new_fusar(Qwen2_5_VLForConditionalGeneration(config), IMAGE_PX, 16), tokenizer, folder)
    return folder


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six chips, half of them with a prior, with records of both stages."""
    from PIL import Image

    from engine.data.records import Record, write_prior, write_records

    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(3)
    stage1, stage2 = [], []
    for index in range(6):
        Image.fromarray(rng.integers(0, 256, (126, 126, 3), dtype=np.uint8)).save(folder / f"{index}.png")
        aef = None
        if index % 2:
            aef = f"{index}.npz"
            vectors = rng.normal(size=(36, 64)).astype(np.float32)
            write_prior(folder / aef, Prior(vectors, anchor_positions(), np.ones(36, np.bool_), None))
        made = [
            Record(
                f"{index}-{task}", (f"{index}.png",), (aef,), IMAGE_PX, QUESTIONS[task], answer, task,
                "Sentinel-1 IW", ("VV", "VH"), 10.0, f"site-{index}",
            )
            for task, answer in (
                ("description", "Calm sea; no land; 1 ship."),
                ("detection", f'[{{"bbox_2d": [{index}, 30, 50, 60], "label": "ship"}}]'),
                ("counting", str(index)),
            )
        ]  # fmt: skip
        stage1.append(made[0])
        stage2.extend(made[1:])
    write_records(folder / "stage1.jsonl", stage1)
    write_records(folder / "stage2.jsonl", stage2)
    write_records(folder / "stage1.val.jsonl", stage1[:2])
    return folder
