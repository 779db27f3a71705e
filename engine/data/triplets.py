"""Triplets for training: image, prior and text as tensors, loss on the answer alone.

A batch names the modality of each token (``mm_token_type_ids``) and each image's grid
(``image_grid_thw``): without them Qwen2.5-VL's three-dimensional positions silently become those of plain
text, and training goes on, worse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from engine.data.records import Record, load_images, load_priors
from engine.errors import DatasetError
from engine.runtime.image import PLAIN_PIXELS, patches, scale_pixels
from engine.runtime.prior import PRIOR_DIM, Prior
from engine.runtime.text import END_OF_TURN, IMAGE_TOKEN, RELEASED, Request, prompt

PATCH_PX, MERGE = 14, 2
FAR_AWAY = 1e3  # of a filler anchor, in sides of the image
_PAD = "<|endoftext|>"
IGNORE = -100  # the label of a token that carries no loss


@dataclass(frozen=True)
class Triplet:
    """One record, read and tokenised.

    Attributes:
        prompt_ids: tokens of the prompt.
        answer_ids: tokens of the answer, end of turn included.
        chips: channels, uint8 [n, 3, H, H].
        priors: one an image.
    """

    prompt_ids: list[int]
    answer_ids: list[int]
    chips: np.ndarray
    priors: tuple[Prior, ...]


def record_prompt(record: Record, tokens_per_image: int) -> str:
    """Write a record's prompt; where no sensor is stated, in the released form."""
    counts = [tokens_per_image] * len(record.images)
    if record.sensor is None:
        images = "".join(f"<|vision_start|>{IMAGE_TOKEN * count}<|vision_end|>" for count in counts)
        return (
            f"<|im_start|>system\n{RELEASED}{END_OF_TURN}\n"
            f"<|im_start|>user\n{images}{record.question}{END_OF_TURN}\n"
            f"<|im_start|>assistant\n"
        )
    request = Request(
        task=record.task,
        chips=(np.zeros((3, 1, 1), np.uint8),) * len(counts),  # a prompt depends on their number alone
        priors=(Prior.absent(),) * len(counts),
        sensor=record.sensor,
        bands=record.bands,
        spacing_m=record.spacing_m or 0.0,
        question=record.question,
        dates=record.dates,
    )
    return prompt(request, counts)


class TripletDataset(Dataset[Triplet]):
    """Records as triplets.

    Args:
        records: what to read.
        tokenizer: a ``tokenizers.Tokenizer``.
        image_px: side of the enlarged image.
        max_length: most tokens of prompt and answer.

    Raises:
        DatasetError: a record's boxes refer to another size, or it is too long (an answer is never cut).
    """

    def __init__(
        self, records: Sequence[Record], tokenizer: Any, image_px: int, max_length: int = 2048
    ) -> None:
        self.records = records
        self._tokenizer = tokenizer
        self._max_length = max_length
        self._image_tokens = (image_px // (PATCH_PX * MERGE)) ** 2
        for record in records:
            if record.coordinate_size != image_px:
                raise DatasetError(
                    f"record {record.id}: got coordinate_size {record.coordinate_size}, expected "
                    f"{image_px}, the model's: make the dataset with --size {image_px}"
                )

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Triplet:
        record = self.records[index]
        asked = self._tokenizer.encode(record_prompt(record, self._image_tokens), add_special_tokens=False)
        answer = self._tokenizer.encode(record.answer + END_OF_TURN, add_special_tokens=False)
        length = len(asked.ids) + len(answer.ids)
        if length > self._max_length:
            raise DatasetError(
                f"record {record.id}: got {length} tokens, expected at most {self._max_length}: raise "
                f"max_length or leave the record out"
            )
        return Triplet(asked.ids, answer.ids, load_images(record), load_priors(record))


@dataclass
class TripletBatch:
    """A batch of B records with N images in all.

    Attributes:
        input_ids: prompt and answer, padded at the right, [B, T].
        attention_mask: 1 where there is a token, [B, T].
        labels: the answer's tokens, IGNORE elsewhere, [B, T].
        mm_token_type_ids: 1 where a token belongs to an image, [B, T].
        image_grid_thw: (1, rows, columns) of each image's patches, [N, 3].
        patches: one frame's patches of each image, [N, rows * columns, 3 * 14^2].
        vectors: anchor vectors, [N, S, 64 * years].
        positions: anchors' (y, x) in [0, 1], [N, S, 2].
        mask: True where an anchor is valid, [N, S].
    """

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    mm_token_type_ids: Tensor
    image_grid_thw: Tensor
    patches: Tensor
    vectors: Tensor
    positions: Tensor
    mask: Tensor

    def to(self, device: torch.device | str) -> TripletBatch:
        """Return the batch on a device."""
        moved = {each.name: getattr(self, each.name).to(device, non_blocking=True) for each in fields(self)}
        return TripletBatch(**moved)

    @property
    def learned_tokens(self) -> int:
        """How many tokens carry loss: each is predicted from the one before it."""
        return int((self.labels[:, 1:] != IGNORE).sum())


class Collate:
    """Puts triplets into a batch.

    Args:
        tokenizer: a ``tokenizers.Tokenizer`` that knows the image token.
        image_px: side of the enlarged image.
        pixel_mean: as the base scales channels; see ``engine.runtime.image.scale_pixels``.
        pixel_std: likewise.
        years: of a prior, as the model takes them.

    Raises:
        DatasetError: the tokenizer lacks a special token of Qwen2.5-VL.
    """

    def __init__(
        self,
        tokenizer: Any,
        image_px: int,
        pixel_mean: tuple[float, ...] = PLAIN_PIXELS,
        pixel_std: tuple[float, ...] = PLAIN_PIXELS,
        years: int = 1,
    ) -> None:
        self._years = years
        self._image_px, self._scale = image_px, (pixel_mean, pixel_std)
        self._pad_id = tokenizer.token_to_id(_PAD)
        self._image_id = tokenizer.token_to_id(IMAGE_TOKEN)
        if self._image_id is None or self._pad_id is None:
            raise DatasetError(f"got a tokenizer without {IMAGE_TOKEN} or {_PAD}, expected one of Qwen2.5-VL")

    def __call__(self, triplets: Sequence[Triplet]) -> TripletBatch:
        """Pad tokens and priors, cut images into patches.

        Raises:
            DatasetError: a prior is of more or fewer years than the model takes.
        """
        length = max(len(each.prompt_ids) + len(each.answer_ids) for each in triplets)
        ids = np.full((len(triplets), length), self._pad_id, np.int64)
        labels = np.full((len(triplets), length), IGNORE, np.int64)
        present = np.zeros((len(triplets), length), np.int64)
        for row, each in enumerate(triplets):
            start, end = len(each.prompt_ids), len(each.prompt_ids) + len(each.answer_ids)
            ids[row, :end] = [*each.prompt_ids, *each.answer_ids]
            labels[row, start:end] = each.answer_ids
            present[row, :end] = 1
        cut = np.concatenate(
            [scale_pixels(patches(each.chips, self._image_px), *self._scale) for each in triplets]
        )
        side = self._image_px // PATCH_PX
        vectors, positions, mask = _pad_priors(
            [prior for each in triplets for prior in each.priors], self._years
        )
        return TripletBatch(
            input_ids=torch.from_numpy(ids),
            attention_mask=torch.from_numpy(present),
            labels=torch.from_numpy(labels),
            mm_token_type_ids=torch.from_numpy((ids == self._image_id).astype(np.int64)),
            image_grid_thw=torch.tensor([[1, side, side]] * len(cut)),
            patches=torch.from_numpy(cut),
            vectors=torch.from_numpy(vectors),
            positions=torch.from_numpy(positions),
            mask=torch.from_numpy(mask),
        )


def _pad_priors(priors: Sequence[Prior], years: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Stack priors of unequal length; an absent one is of as many years as asked for.

    A filler anchor is masked, and stands far away: the weights of the fusar variant are normalised over all
    anchors before the mask, so a filler within the image would take weight from the true ones.
    """
    count = max(len(prior.mask) for prior in priors)
    vectors = np.zeros((len(priors), count, PRIOR_DIM * years), np.float32)
    positions = np.full((len(priors), count, 2), FAR_AWAY, np.float32)
    mask = np.zeros((len(priors), count), np.bool_)
    for row, prior in enumerate(priors):
        size = len(prior.mask)
        positions[row, :size], mask[row, :size] = prior.positions, prior.mask
        if prior.years == years:
            vectors[row, :size] = prior.vectors
        elif prior.mask.any():
            raise DatasetError(
                f"got a prior of {prior.years} year(s), expected {years}, which the model takes: attach "
                f"priors with `fusar-engine triplets --years {years}`, or train a model with `tlm: "
                f"{{years: {prior.years}}}`"
            )
    return vectors, positions, mask
