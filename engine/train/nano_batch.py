"""Batches for pretraining nano: chips, answers as tokens, and targets on the grid of visual tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.data.asks import Ask, ChipFacts, chip_asks, describe
from engine.data.describe import LAND_COVERS
from engine.model.nano import IMAGE_PX
from engine.runtime.image import ANCHORS_SIDE, CHIP_PX, copol_alone
from engine.runtime.prior import NODATA, PRIOR_DIM, dequantise
from engine.runtime.text import LABELS, QUESTIONS, Request, detection_text, prompt
from engine.simulate import landcover
from engine.simulate.chips import ChipSet, Target

SCALE = IMAGE_PX // CHIP_PX
TOKENS_SIDE = 9
CELL_PX = IMAGE_PX // TOKENS_SIDE
MAX_OBJECTS = 8
SHORT_OBJECTS = 2  # answers up to this length share the shorter of two shapes of batches
_TOKENS_PER_OBJECT = 9
IGNORE = -100

# (bands in the prompt, whether VH is withheld): single and other polarisations must not come as a surprise.
BANDS = ((("VV", "VH"), False), (("HH", "HV"), False), (("VV",), True), (("HH",), True))
BAND_SHARES = (0.86, 0.04, 0.07, 0.03)
ANCHORS = ANCHORS_SIDE**2
DATED_SHARE = 0.5  # of prompts that state a date
# Tasks beside detection, by how often they are asked among themselves.
TASKS = {
    "description": 0.25,
    "counting": 0.25,
    "localisation": 0.15,
    "classification": 0.15,
    "landcover": 0.08,
    "question": 0.12,
}
_DATE_TOKENS = 12
STRANGE_PRIOR_SHARE = 0.15  # of chips, shown with another chip's prior: it must not be trusted blindly


@dataclass(frozen=True)
class Box:
    """An object in the enlarged chip: class index, integer edges x1, y1, x2, y2, and its merged token."""

    label: int
    edges: tuple[int, int, int, int]

    @property
    def cell(self) -> int:
        """Index of the merged token that holds the centre."""
        x1, y1, x2, y2 = self.edges
        col = min((x1 + x2) // 2 // CELL_PX, TOKENS_SIDE - 1)
        return min((y1 + y2) // 2 // CELL_PX, TOKENS_SIDE - 1) * TOKENS_SIDE + col


def boxes(targets: Sequence[Target], flip_x: bool = False, flip_y: bool = False) -> list[Box]:
    """Return the boxes of a chip's objects, clipped, in the order of answers: by merged token."""
    out = []
    for target in targets:
        x1, y1, x2, y2 = (min(max(edge, 0), CHIP_PX) for edge in target.box_px)
        if flip_x:
            x1, x2 = CHIP_PX - x2, CHIP_PX - x1
        if flip_y:
            y1, y2 = CHIP_PX - y2, CHIP_PX - y1
        edges = tuple(round(SCALE * edge) for edge in (x1, y1, x2, y2))
        out.append(Box(LABELS.index(target.class_), edges))  # type: ignore[arg-type]
    return sorted(out, key=lambda box: (box.cell, box.edges))


@dataclass
class Batch:
    """One batch, as arrays.

    Attributes:
        pixels: [B, 3, 126, 126] uint8.
        ids: prompt and answer, padded at the right, [B, T].
        labels: the token to be learned at each position (already shifted), IGNORE elsewhere, [B, T].
        owner: merged token of the object that an answer's token belongs to, -1 elsewhere, [B, T].
        present: classes at each merged token, [B, 81, 3].
        offsets: centre in the cell (x, y) and log sizes in cells, [B, 81, 4].
        edges: integer edges of the object of each merged token, -1 where there is none, [B, 81, 4].
        vectors: prior at the anchors, zeros where there is none, [B, 36, 64].
        known: True where an anchor has a prior, [B, 36].
    """

    pixels: NDArray[np.uint8]
    ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    owner: NDArray[np.int64]
    present: NDArray[np.float32]
    offsets: NDArray[np.float32]
    edges: NDArray[np.int64]
    vectors: NDArray[np.float32]
    known: NDArray[np.bool_]


class Writer:
    """Writes prompts and answers as tokens."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.pad_id = tokenizer.token_to_id("<|endoftext|>")
        self.end_id = tokenizer.token_to_id("<|im_end|>")
        self.image_id = tokenizer.token_to_id("<|image_pad|>")
        self.prompt_ids = lru_cache(maxsize=4096)(self._prompt_ids)
        longest = _DATE_TOKENS + max(
            len(self.prompt_ids(QUESTIONS[task], BANDS[0][0])) for task in ("detection", "description")
        )
        self.lengths = tuple(
            longest + 3 + _TOKENS_PER_OBJECT * count for count in (SHORT_OBJECTS, MAX_OBJECTS)
        )

    def _prompt_ids(
        self, question: str, bands: tuple[str, ...], dates: tuple[str, ...] = ()
    ) -> tuple[int, ...]:
        empty = np.zeros((3, CHIP_PX, CHIP_PX), np.uint8)
        request = Request("question", (empty,), (None,), bands=bands, dates=dates)  # type: ignore[arg-type]
        return tuple(self._tokenizer.encode(prompt(request, [TOKENS_SIDE**2], question)).ids)

    def answer_ids(self, text: str) -> list[int]:
        """Return an answer's tokens with the end of its turn."""
        return [*self._tokenizer.encode(text).ids, self.end_id]

    def owners(self, objects: Sequence[Box], length: int) -> list[int]:
        """Return the merged token that each token of a detection answer is about."""
        owners = [-1] * length
        for index, box in enumerate(objects):
            first = 1 + index * _TOKENS_PER_OBJECT
            owners[first : first + 8] = [box.cell] * 8
        return owners


class ChipBank:
    """Draws batches from simulated chips.

    Chips with more than MAX_OBJECTS objects are left out, since a list cut short teaches to stop early.
    """

    def __init__(self, chips: ChipSet, tokenizer: Any, seed: int, other_share: float = 0.0) -> None:
        self._chips = chips
        self._writer = Writer(tokenizer)
        self._rng = np.random.default_rng(seed)
        self._other_share = other_share
        counts = np.array([len(targets) for targets in chips.truth])
        self._short = np.flatnonzero(counts <= SHORT_OBJECTS)
        self._long = np.flatnonzero((counts > SHORT_OBJECTS) & (counts <= MAX_OBJECTS))
        self._occupied = np.flatnonzero((counts > 0) & (counts <= MAX_OBJECTS))

    @property
    def lengths(self) -> tuple[int, ...]:
        """The two lengths of token sequences that batches have."""
        return self._writer.lengths

    def batches(self, size: int, *, occupied_only: bool = False) -> Iterator[Batch]:
        """Yield batches for ever, long answers as often as they are."""
        share = len(self._long) / (len(self._short) + len(self._long))
        while True:
            long = self._rng.random() < share
            pool = self._long if long else self._short
            if occupied_only and not long:
                pool = np.intersect1d(pool, self._occupied, assume_unique=True)
            yield self.batch(self._rng.choice(pool, size), self._writer.lengths[int(long)])

    def batch(self, index: NDArray[np.int64], length: int) -> Batch:
        """Return the batch of the chips of an index, flipped at random."""
        size, cells = len(index), TOKENS_SIDE**2
        out = Batch(
            np.empty((size, 3, CHIP_PX, CHIP_PX), np.uint8),
            np.full((size, length), self._writer.pad_id, np.int64),
            np.full((size, length), IGNORE, np.int64),
            np.full((size, length), -1, np.int64),
            np.zeros((size, cells, len(LABELS)), np.float32),
            np.zeros((size, cells, 4), np.float32),
            np.full((size, cells, 4), -1, np.int64),
            np.zeros((size, ANCHORS, PRIOR_DIM), np.float32),
            np.zeros((size, ANCHORS), np.bool_),
        )
        for row, chip in enumerate(index):
            self._fill(out, row, int(chip))
        return out

    def _fill(self, out: Batch, row: int, chip: int) -> None:
        bands, copol_only = BANDS[self._rng.choice(len(BANDS), p=BAND_SHARES)]
        dates = self._dates()
        ask = self._other(chip) if self._rng.random() < self._other_share else None
        if ask is not None:
            head = self._writer.prompt_ids(ask.question, bands, dates)
            answer = self._writer.answer_ids(ask.answer)
            if len(head) + len(answer) > out.ids.shape[1]:
                ask = None
        # known places and named cells stand in the text of other tasks: their chips are not mirrored
        flip_x, flip_y = self._rng.random(2) < 0.5 if ask is None else (False, False)
        pixels = self._chips.pixels[chip]
        if copol_only:
            pixels = copol_alone(pixels)
        out.pixels[row] = pixels[:, :: -1 if flip_y else 1, :: -1 if flip_x else 1]
        strange = ask is None and self._rng.random() < STRANGE_PRIOR_SHARE
        shown = self._rng.integers(len(self._chips.prior)) if strange else chip
        prior = self._chips.prior[shown][:, :: -1 if flip_y else 1, :: -1 if flip_x else 1]
        if (prior != NODATA).any():
            vectors = dequantise(prior).reshape(PRIOR_DIM, ANCHORS).T
            out.known[row] = np.isfinite(vectors).all(1)
            out.vectors[row] = np.nan_to_num(vectors) * out.known[row][:, None]
        objects = boxes(self._chips.truth[chip], bool(flip_x), bool(flip_y))
        for box in objects:
            out.present[row, box.cell, box.label] = 1
            out.offsets[row, box.cell] = _offsets(box)
            out.edges[row, box.cell] = box.edges
        if ask is None:
            head = self._writer.prompt_ids(QUESTIONS["detection"], bands, dates)
            answer = self._writer.answer_ids(detection_text([(LABELS[b.label], b.edges) for b in objects]))
            owned = slice(len(head) - 1, len(head) - 1 + len(answer))
            out.owner[row, owned] = self._writer.owners(objects, len(answer))
        out.ids[row, : len(head) + len(answer)] = [*head, *answer]
        out.labels[row, len(head) - 1 : len(head) - 1 + len(answer)] = answer

    def _dates(self) -> tuple[str, ...]:
        if self._rng.random() >= DATED_SHARE:
            return ()
        year, month, day = self._rng.integers((2016, 1, 1), (2031, 13, 29)).tolist()
        return (f"{year}-{month:02d}-{day:02d}",)

    def _other(self, chip: int) -> Ask | None:
        """Draw a task beside detection and ask it; None where the chip does not allow it."""
        task = str(self._rng.choice(list(TASKS), p=np.array(list(TASKS.values())) / sum(TASKS.values())))
        context = self._chips.context[chip]
        cover = context.land_cover
        facts = ChipFacts(
            self._chips.truth[chip],
            self._chips.pixels[chip],
            context.sea_db[0],
            float(self._chips.land_fraction[chip]),
            None if cover is None else LAND_COVERS[landcover.CLASSES.index(cover)],
            prior=bool((self._chips.prior[chip] != NODATA).any()),
        )
        if task == "description":
            return Ask(task, QUESTIONS[task], describe(facts) or "")
        return next(iter(chip_asks(facts, IMAGE_PX, {task: 1.0}, self._rng)), None)


def _offsets(box: Box) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = box.edges
    x, y = (x1 + x2) / 2 / CELL_PX, (y1 + y2) / 2 / CELL_PX
    row, col = divmod(box.cell, TOKENS_SIDE)
    return x - col, y - row, float(np.log((x2 - x1 + 1) / CELL_PX)), float(np.log((y2 - y1 + 1) / CELL_PX))
