"""A dry run says what a stage would train, of a base whose weights are not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.errors import ArtifactError
from engine.train.config import load_config
from engine.train.dry import plan, told

# The layout of Qwen2.5-VL-3B-Instruct: widths, depths, vocabulary.
TEXT = {
    "vocab_size": 151_936, "hidden_size": 2048, "intermediate_size": 11_008, "num_hidden_layers": 36,
    "num_attention_heads": 16, "num_key_value_heads": 2, "tie_word_embeddings": True,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
}  # fmt: skip
VISION = {
    "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 2048,
    "patch_size": 14, "window_size": 112, "fullatt_block_indexes": [7, 15, 23, 31],
}  # fmt: skip


@pytest.fixture
def layout(tmp_path: Path) -> str:
    config = {"model_type": "qwen2_5_vl", "text_config": TEXT, "vision_config": VISION,
              "tie_word_embeddings": True}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    return str(tmp_path)


def test_the_papers_and_the_releases_readings_of_a_3b(layout: str) -> None:
    mlp = 64 * 8192 + 8192 + 8192 * 4096 + 4096  # the released modulation at a width of 2048
    paper = plan(load_config(1, "paper"), layout, 10_000)
    assert paper["trained_by_part"] == {"tlm": mlp}
    assert paper["steps"] == 30 * 10_000 // 16
    assert paper["frozen_parameters"] == pytest.approx(3.75e9, rel=0.03)
    released = plan(load_config(1, "released"), layout, 10_000)
    lora = 36 * 8 * (2048 + 2048 + 2 * (2048 + 256) + 2048 + 2048 + 3 * (2048 + 11_008))
    assert released["trained_by_part"] == {"tlm": mlp, "lora": lora}
    second = plan(load_config(2, "released"), layout, 2_000)
    assert second["trained_by_part"] == {"lora": lora}
    memory = released["memory_bytes"]
    assert memory["adamw"] == 8 * (mlp + lora)
    assert memory["weights"] == 2 * released["frozen_parameters"] + 4 * (mlp + lora)
    text = told(released)
    assert "18750 steps" in text and "GiB" in text and f"{lora:,}" in text


def test_a_folder_without_a_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="configuration"):
        plan(load_config(1, "paper"), str(tmp_path / "no"), 1)
