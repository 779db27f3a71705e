"""Batches of nano's last step: what is asked, what is marked, and how images are shown."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from engine.model.nano import number_ids
from engine.runtime import forms
from engine.simulate.chips import make_chips
from engine.simulate.pairs import make_pairs
from engine.train.nano_batch import BANDS, CELL_PX, IGNORE
from engine.train.nano_decoder import TaskLoss, Tower
from engine.train.nano_losses import positions
from engine.train.nano_tasks import TOKENS, TaskBank, draw_images, work_out
from engine.train.pretrain import build
from engine.train.pretrain_config import PretrainConfig


@pytest.fixture(scope="module")
def net():
    return build(PretrainConfig(compile=False))


@pytest.fixture(scope="module")
def drawn():
    chips, pairs = make_chips(30, seed=6), make_pairs(30, seed=6)
    rng = np.random.default_rng(1)
    return (
        chips,
        draw_images(chips.prior, rng, 0.0, 0.2),
        pairs,
        draw_images(np.stack([pair.prior for pair in pairs]), rng, 0.5, 0.0),
    )


@pytest.fixture(scope="module")
def bank(net, drawn):
    chips, chip_images, pairs, pair_images = drawn
    number = np.arange(30)[:, None, None] * np.ones((1, TOKENS, 192))
    pair_tokens = (np.arange(60)[:, None, None] * np.ones((1, TOKENS, 192))).astype(np.float16)
    return TaskBank(
        chips, chip_images, number.astype(np.float16), pairs, pair_images, pair_tokens, net[1], seed=2
    )


def _batches(bank, images: int, count: int = 40):
    made = bank.batches()
    found = [next(made) for _ in range(count)]
    return [batch for batch in found if len(batch.visual) == images * len(batch.ids)]


def _answer(tokenizer, batch, row: int) -> str:
    written = batch.labels[row][batch.labels[row] != IGNORE]
    assert tokenizer.id_to_token(int(written[-1])) == "<|im_end|>"
    return tokenizer.decode(written[:-1].tolist())


def test_a_row_holds_the_tokens_of_both_images_of_its_pair(bank) -> None:
    for batch in _batches(bank, 2):
        images = batch.visual[:, 0, 0].reshape(-1, 2)
        assert (images[:, 0] % 2 == 0).all()
        assert (images[:, 1] == images[:, 0] + 1).all()


def test_change_answers_are_the_truth(net, bank, drawn) -> None:
    tokenizer, seen = net[1], 0
    for batch in _batches(bank, 2):
        for row in range(len(batch.ids)):
            text = _answer(tokenizer, batch, row)
            if not text.startswith("{"):
                continue
            pair = drawn[2][int(batch.visual[2 * row, 0, 0]) // 2]
            read = forms.parse_change(text, len(pair.places))
            assert read.changes == pair.changes
            seen += 1
    assert seen > 20


def test_tokens_about_a_place_belong_to_its_cell(net, bank, drawn) -> None:
    tokenizer = net[1]
    for batch in _batches(bank, 2):
        for row in range(len(batch.ids)):
            pair = drawn[2][int(batch.visual[2 * row, 0, 0]) // 2]
            cells = []
            for place in pair.places:
                x1, y1, x2, y2 = place.box_px
                cells.append(min(int((y1 + y2) // CELL_PX), 8) * 9 + min(int((x1 + x2) // CELL_PX), 8))
            head = int((batch.labels[row] != IGNORE).argmax())
            told = [int(cell) for cell in batch.owner[row, :head] if cell >= 0]
            assert list(dict.fromkeys(told)) == list(dict.fromkeys(cells))
            if not _answer(tokenizer, batch, row).startswith("{"):
                continue
            # what chooses a change stands before its word, and belongs to the place
            for at in np.flatnonzero(batch.owner[row] >= 0):
                if at >= head and tokenizer.id_to_token(int(batch.labels[row, at])) in ("a", "go", "c", "st"):
                    assert batch.owner[row, at] in cells


def test_coordinates_are_marked_and_nothing_else(net, bank) -> None:
    _, tokenizer = net
    value = {token: value for value, token in enumerate(number_ids(tokenizer))}
    marked = 0
    for batch in _batches(bank, 1):
        for row in range(len(batch.ids)):
            own = [value[int(token)] for token in batch.labels[row][batch.coordinate[row]]]
            text = _answer(tokenizer, batch, row)
            if not text.startswith("[{"):
                assert not own
                continue
            boxes = [item["bbox_2d"] for item in json.loads(text)]
            assert own == [number for box in boxes for number in box]
            marked += len(own)
    assert marked > 20


def test_positions_of_two_images_are_those_of_the_model(net, bank) -> None:
    pretrainer, tokenizer = net
    ids = torch.from_numpy(_batches(bank, 2)[0].ids)
    real = ids != tokenizer.token_to_id("<|endoftext|>")
    theirs = pretrainer.model.positions(ids, real.int())
    assert torch.equal(positions(pretrainer.model, ids)[:, real], theirs[:, real])


def test_tokens_worked_out_are_those_of_the_model(net, drawn) -> None:
    chips, images, pairs, pair_images = drawn
    see = Tower(net[0], compiled=False)
    made = work_out(see, chips.pixels, images, lambda line: None, batch=8)
    assert made.shape == (30, TOKENS, 192)
    both = np.stack([pair.pixels for pair in pairs])
    of_pairs = work_out(see, both, pair_images, lambda line: None, batch=8)
    assert of_pairs.shape == (60, TOKENS, 192)
    plain = next(i for i in range(30) if not BANDS[pair_images.bands[i]][1])
    each = np.repeat(plain, 2)
    alone = see(both[plain], pair_images.vectors[each], pair_images.known[each])
    assert np.abs(alone - of_pairs[2 * plain : 2 * plain + 2]).max() < 0.05 * np.abs(alone).max()


def test_the_loss_moves_the_decoder_and_no_tower(bank) -> None:
    pretrainer, _ = build(PretrainConfig(compile=False))
    loss, facts = TaskLoss(pretrainer, compiled=False)(_batches(bank, 2)[0])
    loss.backward()
    assert {"pair_words", "pair_pointer"} <= set(facts)
    moved = [name for name, parameter in pretrainer.named_parameters() if parameter.grad is not None]
    assert any(".layers." in name for name in moved)
    assert not any(".visual." in name or ".tlm." in name for name in moved)
