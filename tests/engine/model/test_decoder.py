"""The decoder graph gives what transformers gives, ragged, in steps, with idle rows and old junk."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.model.decoder import Decoder
from engine.model.nano import nano_config

PROMPTS = (7, 12, 9)
COLUMNS = 24
SIDE = 2  # tokens a side of the small image


class _Vocabulary:
    """As much of a tokenizer as the configuration asks for."""

    def token_to_id(self, name: str) -> int:
        return 40 + sum(map(ord, name)) % 20

    def get_vocab_size(self) -> int:
        return 64


@pytest.fixture(scope="module")
def base():
    from transformers import Qwen2_5_VLForConditionalGeneration

    config = nano_config(_Vocabulary())
    config.text_config.num_hidden_layers = 2
    config.text_config.layer_types = config.text_config.layer_types[:2]
    torch.manual_seed(3)
    model = Qwen2_5_VLForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # biases and norms away from their trivial first values
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


def caches(decoder: Decoder, rows: int, fill: float = 0.0) -> list[torch.Tensor]:
    shape = (rows, decoder.kv_heads, COLUMNS, decoder.head_dim)
    return [torch.full(shape, fill) for _ in range(2 * len(decoder.layers))]


def ragged(seed: int = 0) -> dict[str, torch.Tensor]:
    """Rows of different length, each with an image of four tokens at token 2."""
    rng = np.random.default_rng(seed)
    rows, width = len(PROMPTS), max(PROMPTS)
    ids = torch.from_numpy(rng.integers(0, 40, (rows, width)))
    index = torch.full((rows, width), -1)
    positions = torch.zeros(3, rows, width, dtype=torch.long)
    for row, length in enumerate(PROMPTS):
        index[row, 2:6] = torch.arange(4) + 4 * row
        positions[:, row, :2] = torch.arange(2)
        positions[:, row, 2:6] = torch.tensor([[2, 2, 2, 2], [2, 2, 3, 3], [2, 3, 2, 3]])
        positions[:, row, 6:length] = 4 + torch.arange(length - 6)
        ids[row, length:] = 0
    return {
        "input_ids": ids,
        "visual": torch.from_numpy(rng.normal(size=(4 * rows, 192)).astype(np.float32)),
        "visual_index": index,
        "position_ids": positions,
        "past_len": torch.zeros(rows, dtype=torch.long),
        "new_len": torch.tensor(PROMPTS),
    }


def reference(base, batch: dict[str, torch.Tensor], row: int, tail: list[int]) -> torch.Tensor:
    """Transformers' logits after one row's prompt and a tail of tokens."""
    length = int(batch["new_len"][row])
    ids = torch.cat([batch["input_ids"][row, :length], torch.tensor(tail, dtype=torch.long)])
    embeds = base.get_input_embeddings()(ids).clone()
    places = batch["visual_index"][row, :length]
    embeds[:length][places >= 0] = batch["visual"][places[places >= 0]]
    positions = batch["position_ids"][:, row, :length]
    after = int(positions.max()) + 1 + torch.arange(len(tail))
    positions = torch.cat([positions, after.expand(3, -1)], dim=1)
    out = base(
        inputs_embeds=embeds[None], position_ids=positions[:, None], attention_mask=torch.ones(1, len(ids))
    )
    return out.logits[0, -1]


def step(batch: dict[str, torch.Tensor], tails: list[list[int]], used: list[int]) -> dict[str, torch.Tensor]:
    """The step that appends each row's tail (of different lengths) after `used` tokens."""
    width = max(len(tail) for tail in tails)
    ids = torch.zeros(len(tails), width, dtype=torch.long)
    positions = torch.zeros(3, len(tails), width, dtype=torch.long)
    for row, tail in enumerate(tails):
        ids[row, : len(tail)] = torch.tensor(tail, dtype=torch.long)
        first = int(batch["position_ids"][:, row].max()) + 1 + used[row] - PROMPTS[row]
        positions[:, row] = first + torch.arange(width)
    return {
        "input_ids": ids,
        "visual": torch.zeros(1, 192),
        "visual_index": torch.full_like(ids, -1),
        "position_ids": positions,
        "past_len": torch.tensor(used),
        "new_len": torch.tensor([len(tail) for tail in tails]),
    }


@torch.no_grad()
@pytest.mark.parametrize("junk", [0.0, 50.0])
def test_ragged_prefill_and_ragged_steps_equal_transformers(base, junk: float) -> None:
    decoder = Decoder(base).eval()
    batch = ragged()
    logits, *past = decoder(**batch, past=caches(decoder, len(PROMPTS), junk))
    for row in range(len(PROMPTS)):
        torch.testing.assert_close(logits[row], reference(base, batch, row, []), rtol=0, atol=1e-4)
    tails = [[5, 6], [7], [8, 9, 10]]
    logits, *past = decoder(**step(batch, tails, list(PROMPTS)), past=past)
    for row in range(len(PROMPTS)):
        torch.testing.assert_close(logits[row], reference(base, batch, row, tails[row]), rtol=0, atol=1e-4)
    used = [length + len(tail) for length, tail in zip(PROMPTS, tails, strict=True)]
    second = [[1], [2, 3], []]  # the last row idles
    logits, *past = decoder(**step(batch, second, used), past=past)
    assert torch.isfinite(logits).all()
    for row in range(2):
        expected = reference(base, batch, row, tails[row] + second[row])
        torch.testing.assert_close(logits[row], expected, rtol=0, atol=1e-4)


@torch.no_grad()
def test_prefill_in_chunks_equals_prefill_at_once(base) -> None:
    decoder = Decoder(base).eval()
    batch = {
        name: tensor[:, :1] if name == "position_ids" else tensor[:1] for name, tensor in ragged().items()
    }
    batch["visual"] = ragged()["visual"]
    whole, *_ = decoder(**batch, past=caches(decoder, 1))
    past = caches(decoder, 1)
    for start, stop in ((0, 4), (4, PROMPTS[0])):
        chunk = {
            "input_ids": batch["input_ids"][:, start:stop],
            "visual": batch["visual"],
            "visual_index": batch["visual_index"][:, start:stop],
            "position_ids": batch["position_ids"][:, :, start:stop],
            "past_len": torch.tensor([start]),
            "new_len": torch.tensor([stop - start]),
        }
        logits, *past = decoder(**chunk, past=past)
    torch.testing.assert_close(logits, whole, rtol=0, atol=1e-5)
