"""Pretraining of nano: its batches, its positions, and that it learns."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import start_processes

from engine.errors import DatasetError
from engine.model.fusar import load_fusar
from engine.model.nano import number_ids
from engine.runtime.text import parse_detections
from engine.simulate.chips import make_chips
from engine.train.nano_batch import CELL_PX, IGNORE, MAX_OBJECTS, Box, ChipBank, boxes
from engine.train.nano_losses import positions
from engine.train.nano_steps import average_gradients
from engine.train.pretrain import build, pretrain
from engine.train.pretrain_config import PretrainConfig


@pytest.fixture(scope="module")
def chips():
    return make_chips(40, seed=5)


@pytest.fixture(scope="module")
def net():
    return build(PretrainConfig(compile=False))


def test_answers_of_a_batch_are_the_truth(chips, net) -> None:
    _, tokenizer = net
    bank = ChipBank(chips, tokenizer, seed=0)
    index = np.array([i for i, targets in enumerate(chips.truth) if len(targets) <= MAX_OBJECTS])
    batch = bank.batch(index, bank.lengths[1])
    for row, chip in enumerate(index):
        written = batch.labels[row][batch.labels[row] != IGNORE]
        found = [tuple(map(int, box)) for _, box in parse_detections(tokenizer.decode(written[:-1].tolist()))]
        assert len(found) == len(chips.truth[chip])
        # where two objects share a merged token, the grid keeps one of them
        on_grid = {tuple(edges) for edges in batch.edges[row].tolist() if edges[0] >= 0}
        assert on_grid <= set(found)
        assert len({Box(0, box).cell for box in found}) == len(on_grid)


def test_labels_are_the_next_tokens(chips, net) -> None:
    bank = ChipBank(chips, net[1], seed=0)
    batch = next(bank.batches(8))
    rows, cols = np.nonzero(batch.labels != IGNORE)
    assert (batch.labels[rows, cols] == batch.ids[rows, cols + 1]).all()


def test_owner_is_the_cell_of_the_box_that_is_written(chips, net) -> None:
    _, tokenizer = net
    bank = ChipBank(chips, tokenizer, seed=0)
    batch = next(bank.batches(8, occupied_only=True))
    value = {token: value for value, token in enumerate(number_ids(tokenizer))}
    for row in range(8):
        owned = batch.owner[row] >= 0
        tokens = batch.labels[row][owned].reshape(-1, 8)[:, [0, 2, 4, 6]]
        numbers = np.array([[value[token] for token in box] for box in tokens])
        centre = (numbers[:, :2] + numbers[:, 2:]) // 2 // CELL_PX
        cells = centre[:, 1].clip(max=8) * 9 + centre[:, 0].clip(max=8)
        assert (cells == batch.owner[row][owned].reshape(-1, 8)[:, 0]).all()


def test_flips_mirror_boxes(chips) -> None:
    targets = next(t for t in chips.truth if len(t) == 1)
    (plain,), (mirrored,) = boxes(targets), boxes(targets, flip_x=True, flip_y=True)
    x1, y1, x2, y2 = plain.edges
    assert mirrored.edges == pytest.approx((252 - x2, 252 - y2, 252 - x1, 252 - y1), abs=1)


def test_positions_are_those_of_the_model(chips, net) -> None:
    pretrainer, tokenizer = net
    bank = ChipBank(chips, tokenizer, seed=0, other_share=0.5)
    ids = torch.from_numpy(next(bank.batches(6)).ids)
    real = ids != tokenizer.token_to_id("<|endoftext|>")
    theirs = pretrainer.model.positions(ids, real.int())
    ours = positions(pretrainer.model, ids)
    assert torch.equal(ours[:, real], theirs[:, real])


def test_pretrain_needs_a_batch() -> None:
    with pytest.raises(DatasetError, match="at least 1"):
        PretrainConfig(batch=0)


def _average_lopsided(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    both, one, none = (torch.nn.Parameter(torch.zeros(2)) for _ in range(3))
    both.grad = torch.full((2,), 1.0 + 2 * rank)
    if rank:
        one.grad = torch.full((2,), 6.0)
    average_gradients([both, one, none], 2)
    torch.save([both.grad, one.grad, none.grad], f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_a_gradient_that_only_one_process_has_is_averaged_in_all(tmp_path) -> None:
    start_processes(_average_lopsided, (str(tmp_path),), nprocs=2, start_method="spawn")
    for rank in (0, 1):
        both, one, none = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert both.tolist() == [2, 2]
        assert one.tolist() == [3, 3]
        assert none is None


def _check_record(run: Path, step: str, begun_from: set[str], config: PretrainConfig) -> None:
    """A step's record says what it was made of, and its curves are those of the log."""
    record, curve = (json.loads((run / step / f"{name}.json").read_text()) for name in ("run", "curves"))
    assert record["stage"] == step and record["config"] == asdict(config)
    assert set(record["base"]) == begun_from
    for name, digest in record["base"].items():
        assert digest == hashlib.sha256((run / step / name).read_bytes()).hexdigest()
    files = ["chips-0-1.npz", *(["pairs-0-1.pkl", "pairs-0-1.npy"] if step == "tasks" else [])]
    digests = b"".join(hashlib.sha256((run / name).read_bytes()).digest() for name in files)
    assert record["data"]["sha256"] == hashlib.sha256(digests).hexdigest()
    assert record["data"]["chips"] == 64 and record["data"].get("pairs") == (24 if step == "tasks" else None)
    assert {"commit", "versions", "started", "finished"} <= set(record)
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    log = [line for line in log if line["step"] == step]
    assert curve["loss"] == [line["loss"] for line in log]
    assert record["last"]["loss"] == curve["loss"][-1] < 0.9 * curve["loss"][0]
    assert record["samples"] == log[-1]["samples"] >= 480 and record["steps"] == curve["step"][-1]
    assert all(len(values) == len(curve["step"]) for values in curve["figures"].values())
    assert (run / step / "curves.png").stat().st_size > 1000


@pytest.mark.slow
def test_pretrain_learns_and_writes_a_checkpoint(tmp_path) -> None:
    config = PretrainConfig(
        chips=64,
        vision_samples=480,
        decoder_samples=480,
        joint_samples=480,
        batch=8,
        workers=1,
        compile=False,
        pairs=24,
        task_samples=600,
    )
    model, tokenizer = load_fusar(pretrain(tmp_path, config, say=lambda line: None))
    assert tokenizer.token_to_id("<|image_pad|>") == model.base.config.image_token_id
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    for step, fact, share in (
        ("vision", "focal", 0.5),
        ("decoder", "words", 0.5),
        ("tasks", "pair_words", 0.75),
    ):
        values = [line[fact] for line in log if line["step"] == step and fact in line]
        assert values[-1] < share * values[0], step
    for step, begun_from in (
        ("vision", set()),
        ("decoder", set()),
        ("joint", {"../vision.pt", "../decoder.pt"}),
        ("tasks", {"../joint.pt"}),
    ):
        _check_record(tmp_path, step, begun_from, config)
    weights = (tmp_path / "joint.pt").stat().st_mtime_ns
    pretrain(tmp_path, config, say=lambda line: None)
    assert (tmp_path / "joint.pt").stat().st_mtime_ns == weights, "a finished step is not done again"
