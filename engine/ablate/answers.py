"""Which of a few answers a model holds likeliest: no decoding, no bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from engine.data.records import Record
from engine.data.triplets import IGNORE, Collate, TripletDataset
from engine.model.fusar import PriorBatch


@torch.no_grad()
def likeliest(
    model: Any, tokenizer: Any, records: Sequence[Record], candidates: Sequence[str], rows: int = 64
) -> list[str]:
    """Return for each record the candidate of the highest likelihood, summed over its tokens.

    Args:
        model: ``FusarGpt`` in evaluation mode.
        tokenizer: its tokenizer.
        records: questions.
        candidates: the answers to choose from.
        rows: sequences in one forward pass.
    """
    asked = [replace(record, answer=text) for record in records for text in candidates]
    dataset = TripletDataset(asked, tokenizer, model.image_px)
    years = model.tlm.config.years
    collate = Collate(tokenizer, model.image_px, model.pixel_mean, model.pixel_std, years)
    scores: list[float] = []
    for start in range(0, len(asked), rows):
        batch = collate([dataset[i] for i in range(start, min(start + rows, len(asked)))])
        priors = PriorBatch(batch.vectors, batch.positions, batch.mask)
        logits = model(batch.input_ids, batch.attention_mask, batch.patches, priors).logits
        labels = batch.labels[:, 1:]
        chances = logits[:, :-1].float().log_softmax(-1)
        own = chances.gather(2, labels.clamp(min=0).unsqueeze(-1))[..., 0]
        scores += torch.where(labels == IGNORE, 0.0, own).sum(1).tolist()
    table = torch.tensor(scores).view(len(records), len(candidates))
    return [candidates[int(each)] for each in table.argmax(1)]
