"""Triplets: loss on the answer alone, and a batch that transformers itself reads rightly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.data.records import read_records
from engine.data.triplets import IGNORE, Collate, TripletBatch, TripletDataset, record_prompt
from engine.errors import DatasetError
from engine.model.fusar import FusarGpt, PriorBatch, load_fusar
from engine.model.tlm import TlmConfig, TokenwiseModulation
from engine.runtime.text import END_OF_TURN


@pytest.fixture(scope="module")
def loaded(base: Path):
    return load_fusar(base)


def _batch(data: Path, tokenizer, size: int, *indices: int) -> TripletBatch:
    dataset = TripletDataset(read_records(data / "stage2.jsonl"), tokenizer, size)
    return Collate(tokenizer, size)([dataset[index] for index in indices])


def _packed(patches: torch.Tensor) -> torch.Tensor:
    """The form of transformers' processor: both frames, images one after another."""
    return patches.reshape(-1, 3, 1, 14 * 14).expand(-1, -1, 2, -1).reshape(-1, 3 * 2 * 14 * 14)


def _transformers(model: FusarGpt, batch: TripletBatch, **more) -> torch.Tensor:
    with torch.no_grad():
        return model.base(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            pixel_values=_packed(batch.patches),
            image_grid_thw=batch.image_grid_thw,
            **more,
        ).logits


def test_loss_stands_on_the_answer_alone(loaded, data: Path) -> None:
    model, tokenizer = loaded
    batch = _batch(data, tokenizer, model.image_px, 0, 1)  # a list of boxes and a number: unequal lengths
    records = read_records(data / "stage2.jsonl")
    for row in range(2):
        learned = batch.labels[row][batch.labels[row] != IGNORE].tolist()
        text = tokenizer.decode(learned, skip_special_tokens=False)
        assert text == records[row].answer + END_OF_TURN
        present = batch.attention_mask[row].bool()
        whole = tokenizer.decode(batch.input_ids[row][present].tolist(), skip_special_tokens=False)
        assert whole == record_prompt(records[row], model.image_tokens) + text
    assert batch.learned_tokens == int((batch.labels != IGNORE).sum())
    assert not batch.attention_mask.all()


def test_loss_is_that_of_the_answer_tokens(loaded, data: Path) -> None:
    model, tokenizer = loaded
    batch = _batch(data, tokenizer, model.image_px, 0, 1)
    priors = PriorBatch(batch.vectors, batch.positions, batch.mask)
    with torch.no_grad():
        out = model(batch.input_ids, batch.attention_mask, batch.patches, priors, batch.labels)
    rows, places = (batch.labels != IGNORE).nonzero(as_tuple=True)
    log_p = out.logits.float().log_softmax(-1)[rows, places - 1, batch.labels[rows, places]]
    torch.testing.assert_close(out.loss, -log_p.mean())


def test_positions_are_those_of_an_image(loaded, data: Path) -> None:
    # The trap of transformers 5: without mm_token_type_ids the positions silently are a text's.
    model, tokenizer = loaded
    batch = _batch(data, tokenizer, model.image_px, 0, 1)
    priors = PriorBatch.absent(2)
    with torch.no_grad():
        ours = model(batch.input_ids, batch.attention_mask, batch.patches, priors).logits
    present = batch.attention_mask.bool()
    theirs = _transformers(model, batch, mm_token_type_ids=batch.mm_token_type_ids)
    torch.testing.assert_close(ours[present], theirs[present], rtol=1e-4, atol=1e-4)
    fallen = _transformers(model, batch)
    assert (fallen[present] - theirs[present]).abs().max() > 1e-2
    rows = model.positions(batch.input_ids, batch.attention_mask)[1][batch.mm_token_type_ids.bool()]
    assert len(rows.unique()) == 9  # nine rows of tokens, not one long line


def test_filler_anchors_change_nothing(loaded, data: Path) -> None:
    model, tokenizer = loaded
    alone = _batch(data, tokenizer, model.image_px, 3)
    with_fewer = _batch(data, tokenizer, model.image_px, 3, 0)
    assert with_fewer.mask.sum(1).tolist() == [36, 0]
    tlm = TokenwiseModulation(TlmConfig(8, 4, "fusar")).eval()
    torch.nn.init.normal_(tlm.mlp[2].weight)
    tokens = torch.randn(1, 81, 8, generator=torch.Generator().manual_seed(0))
    padded = [torch.nn.functional.pad(part[:1], (0, 0, 0, 3), value=1e3)
              for part in (with_fewer.vectors, with_fewer.positions)]  # fmt: skip
    padded[0][:, 36:] = 0
    mask = torch.nn.functional.pad(with_fewer.mask[:1], (0, 3))
    with torch.no_grad():
        expected = tlm(tokens, alone.vectors, alone.positions, alone.mask, (9, 9))
        got = tlm(tokens, padded[0], padded[1], mask, (9, 9))
    torch.testing.assert_close(got, expected)
    assert (expected - tokens).abs().max() > 1e-3


def test_released_prompt_states_no_sensor(data: Path) -> None:
    record = replace(read_records(data / "stage2.jsonl")[0], sensor=None)
    assert "Sentinel" not in record_prompt(record, 4)
    assert "<|image_pad|>" * 4 + "<|vision_end|>" + record.question in record_prompt(record, 4)


def test_what_does_not_fit_is_refused(loaded, data: Path) -> None:
    model, tokenizer = loaded
    records = read_records(data / "stage2.jsonl")
    with pytest.raises(DatasetError, match="--size 504"):
        TripletDataset(records, tokenizer, 504)
    with pytest.raises(DatasetError, match="tokens"):
        TripletDataset(records, tokenizer, model.image_px, max_length=90)[0]


def test_batch_moves_whole(loaded, data: Path) -> None:
    model, tokenizer = loaded
    batch = _batch(data, tokenizer, model.image_px, 1).to("meta")
    assert batch.patches.device.type == batch.mask.device.type == "meta"
    assert np.prod(batch.patches.shape) == 324 * 588


def test_priors_of_more_or_fewer_years_than_the_model_takes_are_refused(loaded, data: Path) -> None:
    model, tokenizer = loaded
    dataset = TripletDataset(read_records(data / "stage2.jsonl"), tokenizer, model.image_px)
    absent, known = dataset[0], dataset[2]
    two = replace(
        known, priors=tuple(replace(each, vectors=np.tile(each.vectors, 2)) for each in known.priors)
    )
    collate = Collate(tokenizer, model.image_px, years=2)
    batch = collate([absent, two])  # where there is none, it is of any number of years
    assert batch.vectors.shape[2] == 128 and batch.mask.sum(1).tolist() == [0, 36]
    with pytest.raises(DatasetError, match="--years 2"):
        collate([absent, known])
    with pytest.raises(DatasetError, match="years: 2"):
        Collate(tokenizer, model.image_px)([two])
