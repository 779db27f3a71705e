"""A leaner tower: what is kept of the whole one, and that it learns back what was cut off."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from engine.errors import DatasetError
from engine.model.fusar import load_fusar
from engine.model.nano import LEAN, TOWER
from engine.train.nano_lean import KEPT, Alike, slim, start_of
from engine.train.pretrain import build, pretrain
from engine.train.pretrain_config import PretrainConfig

CONFIG = PretrainConfig(chips=48, vision_samples=160, decoder_samples=64, joint_samples=64, batch=8,
                        workers=1, compile=False)  # fmt: skip


def lean_of(folder) -> PretrainConfig:
    return replace(CONFIG, start=str(folder), lean_samples=480)


def test_units_that_add_nothing_are_what_is_cut_off(tmp_path) -> None:
    (tmp_path / "joint.pt").touch()
    (whole, _), (lean, _) = build(CONFIG), build(lean_of(tmp_path))
    blocks = whole.model.base.model.visual.blocks
    units = [torch.randperm(TOWER.inner)[: LEAN.inner].sort().values for _ in blocks]
    with torch.no_grad():
        for block, own in zip(blocks, units, strict=True):
            idle = torch.ones(TOWER.inner, dtype=torch.bool)
            idle[own] = False
            block.mlp.down_proj.weight[:, idle] = 0
        for dropped in set(range(TOWER.depth)) - set(KEPT):  # adds nothing
            for last in (blocks[dropped].attn.proj, blocks[dropped].mlp.down_proj):
                last.weight.zero_()
                last.bias.zero_()
    patches = torch.randn(2, 324, 588)
    slim(whole, lean, patches)
    with torch.no_grad():
        assert torch.allclose(lean.model.vision(patches), whole.model.vision(patches), atol=1e-5)
    kept = lean.model.base.model.visual.blocks[1].mlp.up_proj.weight
    assert torch.equal(kept, blocks[KEPT[1]].mlp.up_proj.weight[units[KEPT[1]]])
    decoders = (net.model.base.model.language_model.state_dict() for net in (whole, lean))
    assert all(torch.equal(a, b) for a, b in zip(*(each.values() for each in decoders), strict=True))


def test_a_leaner_tower_needs_one_to_start_from() -> None:
    with pytest.raises(DatasetError, match="--start"):
        PretrainConfig(lean_samples=8)


def test_the_last_weights_of_a_run_are_where_it_starts(tmp_path) -> None:
    (tmp_path / "joint.pt").touch()
    assert start_of(tmp_path).name == "joint.pt"
    (tmp_path / "tasks.pt").touch()
    assert start_of(tmp_path).name == "tasks.pt"


def test_what_was_cut_off_is_learned_back(tmp_path) -> None:
    (tmp_path / "joint.pt").touch()
    torch.manual_seed(0)
    (whole, _), (lean, _) = build(CONFIG), build(lean_of(tmp_path))
    with torch.no_grad():
        for block in whole.model.base.model.visual.blocks:  # untrained, blocks add next to nothing
            block.mlp.down_proj.weight *= 4
            block.attn.proj.weight *= 4
    patches = torch.randn(2, 324, 588)
    slim(whole, lean, patches)
    alike = Alike(whole, compiled=False)
    moving = torch.optim.Adam(lean.model.base.model.visual.parameters(), lr=1e-3)
    missed = []
    for _ in range(40):
        loss, facts = alike(patches, lean.model.vision(patches))
        loss.backward()
        moving.step()
        moving.zero_grad()
        missed.append(facts["missed"])
    assert missed[-1] < 0.5 * missed[0]


@pytest.mark.slow
def test_a_leaner_tower_is_trained_and_written(tmp_path) -> None:
    pretrain(tmp_path / "whole", CONFIG, say=lambda line: None)
    lean, _ = load_fusar(pretrain(tmp_path / "lean", lean_of(tmp_path / "whole"), say=lambda line: None))
    vision = lean.base.config.vision_config
    assert (vision.depth, vision.intermediate_size) == (LEAN.depth, LEAN.inner)
    log = [json.loads(line) for line in (tmp_path / "lean" / "log.jsonl").read_text().splitlines()]
    missed = [line["missed"] for line in log]
    assert len(missed) == 3 and all(0 < each < 10 for each in missed)
    whole, _ = load_fusar(tmp_path / "whole" / "checkpoint")
    same = zip(lean.base.model.language_model.parameters(), whole.base.model.language_model.parameters(),
               strict=True)  # fmt: skip
    assert all(torch.equal(one, other) for one, other in same), "what knows the tokens stays as it is"
