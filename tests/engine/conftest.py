"""Small models with random weights, a bundle and a dataset folder, made once a session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from engine.data.records import Record, write_prior, write_records
from engine.model.fusar import new_fusar, save_fusar
from engine.model.nano import IMAGE_PX, build_tokenizer, nano_config
from engine.runtime.image import ANCHORS_SIDE, CHIP_PX
from engine.runtime.prior import Prior, anchor_positions
from engine.runtime.spec import Bundle
from engine.runtime.text import QUESTIONS, Request


@pytest.fixture(scope="session")
def small_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nano's shape with two layers each; random weights, a TLM that does something."""
    from transformers import Qwen2_5_VLForConditionalGeneration

    tokenizer = build_tokenizer()
    config = nano_config(tokenizer)
    config.vision_config.depth, config.vision_config.fullatt_block_indexes = 2, [1]
    config.text_config.num_hidden_layers = 2
    config.text_config.layer_types = config.text_config.layer_types[:2]
    torch.manual_seed(5)
    model = new_fusar(Qwen2_5_VLForConditionalGeneration(config).eval(), IMAGE_PX, places=81).eval()
    with torch.no_grad():
        model.tlm.mlp[2].weight.normal_(0, 0.2)
        model.tlm.places.normal_(0, 0.2)
        for name, parameter in model.base.named_parameters():  # far from uniform answers
            if name.startswith(("model.language_model.layers", "lm_head")):
                parameter.add_(torch.randn_like(parameter) * 0.06)
    folder = tmp_path_factory.mktemp("checkpoint")
    save_fusar(model, tokenizer, folder)
    return folder


@pytest.fixture(scope="session")
def small_bundle(small_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    from engine.export.bundle import export

    return export(small_checkpoint, tmp_path_factory.mktemp("bundle"), name="small")


@pytest.fixture(scope="session")
def make_request() -> Any:
    """Return requests about noise, some of them with a prior."""

    def make(seed: int, task: str = "detection", images: int = 1) -> Request:
        rng = np.random.default_rng(seed)
        count = ANCHORS_SIDE**2
        chips, priors = [], []
        for _ in range(images):
            chips.append(rng.integers(0, 256, (3, CHIP_PX, CHIP_PX), dtype=np.uint8))
            mask = rng.random(count) < (seed % 3) / 2
            vectors = (rng.uniform(-0.4, 0.4, (count, 64)) * mask[:, None]).astype(np.float32)
            priors.append(Prior(vectors, anchor_positions(), mask, 2023 if mask.any() else None))
        return Request(task, tuple(chips), tuple(priors))

    return make


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder of nano with one layer of each kind."""
    from transformers import Qwen2_5_VLForConditionalGeneration

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
