"""Checkpoints: adapters in the released form load as they are; what does not fit is refused."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.ablate.base import FUSIONS, fresh
from engine.errors import ArtifactError, InputError
from engine.model.checkpoint import (
    LANGUAGE_LINEARS,
    VISION_LINEARS,
    add_lora,
    merge,
    open_model,
    released_hidden,
    save_adapter,
    save_checkpoint,
)
from engine.model.fusar import load_fusar
from engine.model.tlm import TokenwiseModulation


@pytest.fixture
def run(base: Path, tmp_path: Path) -> Path:
    """An adapter folder with weights that do something."""
    opened = open_model(str(base))
    add_lora(opened, r=2, alpha=4, dropout=0.0)
    for name, parameter in opened.model.named_parameters():
        if "lora_B" in name or name.startswith("tlm."):
            torch.nn.init.normal_(parameter, std=0.1)
    save_adapter(opened, tmp_path / "run")
    return tmp_path / "run"


def test_folder_has_the_released_form(run: Path) -> None:
    film = torch.load(run / "vec64_film.pt", weights_only=True)
    assert set(film) == {"film_mlp"}
    assert set(film["film_mlp"]) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    names = set(load_file(run / "adapter_model.safetensors"))
    pattern = r"base_model\.model\." + LANGUAGE_LINEARS.replace("(gate|up|down)", "(?:gate|up|down)")
    assert len(names) == 14
    assert all(re.fullmatch(pattern + r"\.lora_[AB]\.weight", name) for name in names)
    facts = json.loads((run / "tlm_config.json").read_text())
    assert {"format", "sigma", "hidden_mult", "image_size", "vec_dim"} <= set(facts)


def test_targets_do_not_leak_into_the_vision_tower(base: Path) -> None:
    names = [name for name, _ in open_model(str(base)).model.base.named_modules()]
    language = [name for name in names if re.fullmatch(LANGUAGE_LINEARS, name)]
    vision = [name for name in names if re.fullmatch(VISION_LINEARS, name)]
    assert len(language) == 7
    assert len(vision) == 2 * 5
    assert not any("visual" in name for name in language)


def test_adapter_goes_there_and_back(run: Path) -> None:
    once = open_model(str(run))
    save_adapter(once, run.parent / "again")
    one, two = once.model.state_dict(), open_model(str(run.parent / "again")).model.state_dict()
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any("lora_B" in name and value.abs().max() > 0 for name, value in one.items())


def test_places_and_readout_come_along(base: Path, tmp_path: Path) -> None:
    opened = open_model(str(base))
    config = replace(opened.model.tlm.config, variant="fusar", places=opened.model.image_tokens)
    opened.model.tlm = TokenwiseModulation(config).eval()
    torch.nn.init.normal_(opened.model.tlm.places)
    opened.model.readout = torch.randn(7, config.channels)
    save_checkpoint(opened, tmp_path / "base")
    tuned = open_model(str(tmp_path / "base"))
    add_lora(tuned, r=2, alpha=4, dropout=0.0)
    torch.nn.init.normal_(tuned.model.tlm.places)
    save_adapter(tuned, tmp_path / "run")
    merged, _ = load_fusar(merge(tmp_path / "run", tmp_path / "merged"))
    assert torch.equal(merged.tlm.places, tuned.model.tlm.places)
    assert merged.readout is not None
    assert torch.equal(merged.readout, opened.model.readout)


@pytest.mark.parametrize("fusion", sorted(FUSIONS))
def test_every_fusion_comes_back_from_its_adapter(base: Path, tmp_path: Path, fusion: str) -> None:
    opened = open_model(str(fresh(base, fusion, 3, tmp_path / "base")))
    add_lora(opened, r=2, alpha=4, dropout=0.0)
    for parameter in opened.model.tlm.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    save_adapter(opened, tmp_path / "run")
    again = open_model(str(tmp_path / "run")).model.tlm
    assert again.config == opened.model.tlm.config
    assert all(
        torch.equal(a, b) for a, b in zip(again.parameters(), opened.model.tlm.parameters(), strict=True)
    )


def test_a_released_folder_opens(run: Path, base: Path) -> None:
    # As the release has it: its own base by name, a legacy key, no tlm_config.json in older folders.
    channels = open_model(str(base)).model.tlm.config.channels
    hidden = released_hidden(channels)
    film = {
        "0.weight": torch.randn(hidden, 64), "0.bias": torch.randn(hidden),
        "2.weight": torch.randn(2 * channels, hidden), "2.bias": torch.randn(2 * channels),
    }  # fmt: skip
    torch.save({"film_mlp": film, "score": {"weight": torch.zeros(1)}}, run / "vec64_film.pt")
    (run / "tlm_config.json").unlink()
    config = json.loads((run / "adapter_config.json").read_text())
    (run / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": str(base)}))
    tlm = open_model(str(run)).model.tlm
    assert (tlm.config.variant, tlm.config.sigma, tlm.config.hidden) == ("reference", 2.0, hidden)
    assert torch.equal(tlm.mlp[2].weight, film["2.weight"])


def test_folders_can_move_together(run: Path, base: Path, tmp_path: Path) -> None:
    import shutil

    away = tmp_path / "away"
    shutil.copytree(base, away / "base")
    opened = open_model(str(away / "base"))
    save_adapter(opened, away / "run")
    shutil.move(away, tmp_path / "there")
    assert open_model(str(tmp_path / "there" / "run")).adapter is None


def test_lora_of_another_base_is_refused(run: Path) -> None:
    state = load_file(run / "adapter_model.safetensors")
    lost = {name: value for name, value in state.items() if "q_proj" not in name}
    save_file(lost, run / "adapter_model.safetensors")
    with pytest.raises(ArtifactError, match="missing"):
        open_model(str(run))


def test_film_of_another_width_is_refused(run: Path) -> None:
    film = torch.load(run / "vec64_film.pt", weights_only=True)["film_mlp"]
    film["2.weight"], film["2.bias"] = film["2.weight"][:-2], film["2.bias"][:-2]
    torch.save({"film_mlp": film}, run / "vec64_film.pt")
    with pytest.raises(ArtifactError, match="vec64_film"):
        open_model(str(run))


def test_no_code_is_run_from_a_film(run: Path) -> None:
    torch.save({"film_mlp": print}, run / "vec64_film.pt")
    with pytest.raises(ArtifactError):
        open_model(str(run))


def test_what_is_no_checkpoint(tmp_path: Path, run: Path) -> None:
    with pytest.raises(ArtifactError):
        open_model(str(tmp_path))
    with pytest.raises(ArtifactError):
        merge(tmp_path, tmp_path / "out")
    with pytest.raises(InputError):
        merge(run, run)
