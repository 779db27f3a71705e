"""Batches of nano's last step: chips and pairs of chips as visual tokens, any task as text.

The tower and the modulation stand still in this step, so that an image's tokens are worked out once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.data.asks import Ask, ChipFacts, chip_asks, describe, pair_asks
from engine.data.describe import LAND_COVERS
from engine.model.nano import IMAGE_PX
from engine.runtime.image import CHIP_PX, copol_alone
from engine.runtime.prior import NODATA, PRIOR_DIM, dequantise
from engine.runtime.text import LABELS, QUESTIONS, Place, Request, detection_text, places_text, prompt
from engine.simulate import landcover
from engine.simulate.chips import ChipSet
from engine.simulate.pairs import Pair
from engine.train.nano_batch import (
    ANCHORS,
    BAND_SHARES,
    BANDS,
    CELL_PX,
    DATED_SHARE,
    IGNORE,
    MAX_OBJECTS,
    SCALE,
    TOKENS_SIDE,
    boxes,
)

TOKENS = TOKENS_SIDE**2
PAIR_SHARE = 0.55  # of batches
# What one chip is asked, and a pair, by how often.
CHIP_TASKS = {
    "detection": 0.3,
    "question": 0.35,
    "counting": 0.1,
    "classification": 0.1,
    "localisation": 0.06,
    "description": 0.06,
    "landcover": 0.03,
}
PAIR_TASKS = {"change": 0.65, "question": 0.35}
# Lengths of sequences, each with the rows of a batch: few shapes, since each is compiled.
CHIP_SHAPES = ((160, 32), (224, 24))
PAIR_SHAPES = ((320, 20), (416, 16), (544, 12))
PRIOR_WITHHELD_SHARE = 0.6  # of pairs: changes are asked without one
UNSEEN_SHARE = 0.5  # of pairs whose places tell in which image they were found: the question does not tell


@dataclass
class Images:
    """What the tower is shown: chips as they are, then both images of each pair.

    Attributes:
        bands: of each chip or pair, an index of ``BANDS``.
        vectors: priors, [items, 36, 64].
        known: where they are, [items, 36].
    """

    bands: NDArray[np.int64]
    vectors: NDArray[np.float32]
    known: NDArray[np.bool_]


def draw_images(
    priors: NDArray[np.int8], rng: np.random.Generator, withheld: float, strange: float
) -> Images:
    """Choose each item's polarisations and prior.

    Args:
        priors: of each item, int8 [items, 64, 6, 6].
        rng: chooses.
        withheld: share shown without a prior.
        strange: share shown with another item's.
    """
    count = len(priors)
    shown = np.where(rng.random(count) < strange, rng.integers(count, size=count), np.arange(count))
    vectors = np.zeros((count, ANCHORS, PRIOR_DIM), np.float32)
    known = np.zeros((count, ANCHORS), np.bool_)
    for item, other in enumerate(shown):
        if rng.random() < withheld or not (priors[other] != NODATA).any():
            continue
        values = dequantise(priors[other]).reshape(PRIOR_DIM, ANCHORS).T
        known[item] = np.isfinite(values).all(1)
        vectors[item] = np.nan_to_num(values) * known[item][:, None]
    return Images(rng.choice(len(BANDS), size=count, p=BAND_SHARES), vectors, known)


def work_out(
    see: Callable[[NDArray[np.uint8], NDArray[np.float32], NDArray[np.bool_]], NDArray[np.float32]],
    pixels: NDArray[np.uint8],
    images: Images,
    say: Callable[[str], None],
    batch: int = 64,
) -> NDArray[np.float16]:
    """Return the visual tokens of chips [n, 3, 126, 126] or pairs [n, 2, 3, 126, 126], [n * images, 81, C].

    Args:
        see: pixels, prior vectors and mask to tokens.
        pixels: of the items.
        images: what is shown of them.
        say: receives lines of progress.
        batch: images at once; the last ones are filled up, for a compiled tower.
    """
    each = 2 if pixels.ndim == 5 else 1
    step = batch // each
    out: NDArray[np.float16] | None = None
    for start in range(0, len(pixels), step):
        some = np.resize(np.arange(start, min(start + step, len(pixels))), step)
        shown = np.array(pixels[some]).reshape(-1, 3, CHIP_PX, CHIP_PX)
        item = np.repeat(some, each)
        for i, band in enumerate(images.bands[item]):
            if BANDS[band][1]:
                shown[i] = copol_alone(shown[i])
        tokens = see(shown, images.vectors[item], images.known[item]).astype(np.float16)
        if out is None:
            out = np.empty((len(pixels) * each, *tokens.shape[1:]), np.float16)
        end = min(len(out), (start + step) * each)
        out[start * each : end] = tokens[: end - start * each]
        if start // step % 50 == 0:
            say(f"tokens: {start} of {len(pixels)}")
    if out is None:
        raise ValueError("got no pixels")
    return out


@dataclass
class TaskBatch:
    """One batch, as arrays.

    Attributes:
        visual: tokens of the images in their order, [B * images, 81, C].
        ids: prompt and answer, padded at the right, [B, T].
        labels: the token to be learned at each position (already shifted), IGNORE elsewhere, [B, T].
        owner: merged token of the place that a token is about, -1 elsewhere, [B, T].
        coordinate: whether the token to be learned is a coordinate, [B, T].
    """

    visual: NDArray[np.float32]
    ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    owner: NDArray[np.int64]
    coordinate: NDArray[np.bool_]


@dataclass
class _Text:
    """A question and its answer as tokens, and what each token is about."""

    ids: list[int]
    head: int
    owner: list[int]
    coordinate: list[bool]


class TaskBank:
    """Draws batches of tasks over chips and pairs.

    Args:
        chips: simulated chips, those with more than MAX_OBJECTS objects are not asked about.
        chip_images: as they were shown.
        chip_tokens: worked out of them.
        pairs: simulated pairs; their pixels are not used.
        pair_images: as they were shown.
        pair_tokens: worked out of them.
        tokenizer: nano's.
        seed: of what is asked.
    """

    def __init__(
        self,
        chips: ChipSet,
        chip_images: Images,
        chip_tokens: NDArray[np.float16],
        pairs: Sequence[Pair],
        pair_images: Images,
        pair_tokens: NDArray[np.float16],
        tokenizer: Any,
        seed: int,
    ) -> None:
        self._chips, self._pairs = chips, pairs
        self._images = (chip_images, pair_images)
        self._tokens = (chip_tokens, pair_tokens)
        self._tokenizer = tokenizer
        self._end = tokenizer.token_to_id("<|im_end|>")
        self._pad = tokenizer.token_to_id("<|endoftext|>")
        self._rng = np.random.default_rng(seed)
        self._usable = (
            np.flatnonzero([len(targets) <= MAX_OBJECTS for targets in chips.truth]),
            np.flatnonzero([len(pair.places) > 0 for pair in pairs]),
        )

    def batches(self) -> Iterator[TaskBatch]:
        """Yield batches for ever; questions of like length stand together, and none is cut off."""
        waiting: dict[tuple[int, int], list[tuple[int, _Text]]] = {}
        while True:
            images = 2 if len(self._usable[1]) and self._rng.random() < PAIR_SHARE else 1
            shapes = PAIR_SHAPES if images == 2 else CHIP_SHAPES
            while True:
                item, text = self._draw(images)
                fitting = [shape for shape in shapes if len(text.ids) <= shape[0]]
                if not fitting:
                    continue
                length, rows = fitting[0]
                queue = waiting.setdefault((images, length), [])
                queue.append((item, text))
                if len(queue) == rows:
                    yield self._batch(images, length, waiting.pop((images, length)))
                    break

    def _batch(self, images: int, length: int, rows: Sequence[tuple[int, _Text]]) -> TaskBatch:
        size = len(rows)
        out = TaskBatch(
            np.empty((size * images, *self._tokens[images - 1].shape[1:]), np.float32),
            np.full((size, length), self._pad, np.int64),
            np.full((size, length), IGNORE, np.int64),
            np.full((size, length), -1, np.int64),
            np.zeros((size, length), np.bool_),
        )
        for row, (item, text) in enumerate(rows):
            own = slice(item * images, (item + 1) * images)
            out.visual[row * images : (row + 1) * images] = self._tokens[images - 1][own]
            count = len(text.ids)
            out.ids[row, :count] = text.ids
            answered = slice(text.head - 1, count - 1)
            out.labels[row, answered] = text.ids[text.head :]
            out.owner[row, :count] = text.owner
            out.coordinate[row, answered] = text.coordinate[text.head :]
        return out

    def _draw(self, images: int) -> tuple[int, _Text]:
        while True:
            item = int(self._rng.choice(self._usable[images - 1]))
            ask = self._ask_pair(item) if images == 2 else self._ask_chip(item)
            if ask is not None:
                return item, self._write(ask, images, item)

    def _ask_chip(self, chip: int) -> Ask | None:
        task = _choose(self._rng, CHIP_TASKS)
        context, targets = self._chips.context[chip], self._chips.truth[chip]
        cover = context.land_cover
        facts = ChipFacts(
            targets,
            self._chips.pixels[chip],
            context.sea_db[0],
            float(self._chips.land_fraction[chip]),
            None if cover is None else LAND_COVERS[landcover.CLASSES.index(cover)],
            prior=bool(self._images[0].known[chip].any()),
        )
        if task == "description":
            return Ask(task, QUESTIONS[task], describe(facts) or "")
        if task == "detection":  # coordinates as pretraining writes them
            objects = [(LABELS[box.label], box.edges) for box in boxes(targets)]
            return Ask(task, QUESTIONS[task], detection_text(objects))
        return next(iter(chip_asks(facts, IMAGE_PX, {task: 1.0}, self._rng)), None)

    def _ask_pair(self, number: int) -> Ask | None:
        pair, task = self._pairs[number], _choose(self._rng, PAIR_TASKS)
        before, after = (sum(target.class_ == "ship" for target in each) for each in pair.truth)
        places = pair.places
        if self._rng.random() < UNSEEN_SHARE:
            places = tuple(replace(place, seen="") for place in places)
        asks = pair_asks(places, pair.changes, (before, after), IMAGE_PX, {task: 1.0}, self._rng)
        return next(iter(asks), None)

    def _write(self, ask: Ask, images: int, item: int) -> _Text:
        empty = np.zeros((3, CHIP_PX, CHIP_PX), np.uint8)
        days = self._pairs[item].days if images == 2 else 0
        request = Request(
            "question",
            (empty,) * images,
            (None,) * images,  # type: ignore[arg-type]  # a prompt does not show priors
            bands=BANDS[self._images[images - 1].bands[item]][0],
            dates=self._dates(images, days),
        )
        head = prompt(request, [TOKENS] * images, ask.question)
        encoded = self._tokenizer.encode(head)
        answered = self._tokenizer.encode(ask.answer)
        ids = [*encoded.ids, *answered.ids, self._end]
        start = len(encoded.ids)
        owner, coordinate = [-1] * len(ids), [False] * len(ids)
        cells = [_cell(place) for place in ask.known]
        said = places_text(ask.known, SCALE)
        first = head.rindex(said) if said else 0
        _mark(owner, encoded.offsets, 0, _place_spans(said, first, len(cells)), cells)
        if ask.task == "change":
            # one token earlier: the state that chooses a token stands before it
            spans = [match.span() for match in re.finditer(r'"\d+": "[a-z_]+"', ask.answer)]
            _mark(owner, answered.offsets, start - 1, spans, cells)
        if ask.task == "detection":
            numbers = {match.start() for match in re.finditer(r"\d+(?=[,\]])", ask.answer)}
            for at, (low, _) in enumerate(answered.offsets):
                coordinate[start + at] = low in numbers
        return _Text(ids, start, owner, coordinate)

    def _dates(self, images: int, days: int) -> tuple[str, ...]:
        if self._rng.random() >= (DATED_SHARE if images == 1 else 0.9):
            return ()
        year, month, day = self._rng.integers((2016, 1, 1), (2031, 13, 29)).tolist()
        first = date(year, month, day)
        return tuple((first + timedelta(days=days * n)).isoformat() for n in range(images))


def _choose(rng: np.random.Generator, shares: dict[str, float]) -> str:
    return str(rng.choice(list(shares), p=np.array(list(shares.values())) / sum(shares.values())))


def _cell(place: Place) -> int:
    """Return the merged token that holds a place's centre."""
    x1, y1, x2, y2 = (edge * SCALE for edge in place.box_px)
    col, row = (min(int(middle / 2 // CELL_PX), TOKENS_SIDE - 1) for middle in (x1 + x2, y1 + y2))
    return row * TOKENS_SIDE + col


def _place_spans(said: str, first: int, count: int) -> list[tuple[int, int]]:
    """Return where each place's box ends in a prompt: there its token has been read."""
    ends = [match.end() for match in re.finditer(r"\]\.", said)]
    if len(ends) != count:
        raise ValueError(f"got {len(ends)} places in {said!r}, expected {count}")
    return [(first + end - 2, first + end) for end in ends]


def _mark(
    owner: list[int],
    offsets: Sequence[tuple[int, int]],
    shift: int,
    spans: Sequence[tuple[int, int]],
    cells: Sequence[int],
) -> None:
    """Give the tokens that lie in a span to the cell of its place."""
    for (low, high), cell in zip(spans, cells, strict=True):
        for at, (start, end) in enumerate(offsets):
            if start < high and end > low:
                owner[at + shift] = cell
