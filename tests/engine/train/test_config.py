"""Configuration: the presets say what paper and release do; what does not fit is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import InputError
from engine.train.config import load_config, presets


@pytest.mark.parametrize("stage", [1, 2])
@pytest.mark.parametrize("preset", presets())
def test_presets_load(preset: str, stage: int) -> None:
    config = load_config(stage, preset)
    assert config.stage == stage
    assert config.data_files


def test_presets_follow_paper_and_release() -> None:
    assert load_config(1, "paper").trains == ("tlm",)
    assert load_config(1, "released").trains == ("tlm", "lora")
    for preset in ("paper", "released"):
        first, second = load_config(1, preset), load_config(2, preset)
        assert second.trains == ("lora",)
        assert (first.epochs, first.lr, second.epochs, second.lr) == (30, 1e-4, 5, 1e-5)
        assert (second.lora.r, second.lora.alpha, second.lora.vision) == (8, 32, False)


def test_a_file_replaces_single_fields(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("steps: 3\nlora: {r: 2}\n")
    config = load_config(1, "released", file)
    assert (config.steps, config.epochs) == (3, 0)
    assert (config.lora.r, config.lora.alpha) == (2, 32)


@pytest.mark.parametrize(
    "text",
    [
        "lr: 1e-4",
        "lr: -1.0",
        "learning_rate: 0.1",
        "lora: {rank: 8}",
        "lora: 8",
        "trains: [tlm, everything]",
        "trains: []",
        "trains: [lora, vision]",
        "steps: 3\nepochs: 1",
        "steps: true",
        "batch: 6\nmicro_batch: 4",
        "warmup: 1.5",
        "precision: fp8",
        "stage: 3",
        "tlm: {prior_dropout: 1.0}",
        "- 3",
        "a: [",
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text + "\n")
    with pytest.raises(InputError):
        load_config(1, "released", file)


def test_unknown_preset_or_file() -> None:
    with pytest.raises(InputError, match="released"):
        load_config(1, "huge")
    with pytest.raises(InputError):
        load_config(1, "nano", Path("nowhere.yaml"))
