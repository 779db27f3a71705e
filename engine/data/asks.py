"""What is asked about a chip or a pair of chips, and the true answer: the texts of training records.

One place for simulated chips and chips cut from scenes. What is not known of a chip is not asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engine.data import phrases
from engine.data.describe import description
from engine.errors import InputError
from engine.runtime import forms
from engine.runtime.image import CHIP_PX
from engine.runtime.text import MAX_PLACES, QUESTIONS, Place, detection_text, places_text

TOKEN_PX = 28  # side of a merged token
MIN_SIDE_PX = 3  # of a box, in pixels of the chip as cut; below, a box says nothing of extent

# The tasks of stage 2 and the share of chips that are asked: detection is what the others rest on.
CHIP_TASKS = {
    "detection": 1.0,
    "counting": 0.5,
    "localisation": 0.35,
    "classification": 0.4,
    "landcover": 0.2,
    "question": 0.25,
}
PAIR_TASKS = {"change": 1.0, "question": 0.4}


class Target(Protocol):
    """An object in a chip; boxes are edges, in pixels of the chip as cut, and may leave it."""

    @property
    def class_(self) -> str: ...  # noqa: D102
    @property
    def length_m(self) -> float | None: ...  # noqa: D102
    @property
    def box_px(self) -> tuple[float, float, float, float]: ...  # noqa: D102


@dataclass(frozen=True)
class ChipFacts:
    """What is known of a chip.

    Attributes:
        targets: its objects.
        pixels: channels, uint8 [3, 126, 126].
        sea_db: mean backscatter of the sea, co-polarised; None where not known.
        land_fraction: share of land; None where not known.
        land_cover: most frequent class of the land in plain words; None where not known.
        prior: whether there is one: it alone shows what covers the land.
    """

    targets: Sequence[Target]
    pixels: NDArray[np.uint8]
    sea_db: float | None
    land_fraction: float | None
    land_cover: str | None
    prior: bool


@dataclass(frozen=True)
class Ask:
    """A question in full, known places included, and its true answer."""

    task: str
    question: str
    answer: str
    known: tuple[Place, ...] = ()


def target_box(box_px: Sequence[float], size_px: int) -> tuple[int, int, int, int]:
    """Return a box as an answer writes it: integers of the enlarged chip, clipped to it.

    A side is at least MIN_SIDE_PX pixels of the chip as cut.

    Args:
        box_px: x1, y1, x2, y2, edges, in pixels of the chip as cut; may leave it.
        size_px: side of the enlarged chip.
    """
    scale = size_px / CHIP_PX
    least = round(MIN_SIDE_PX * scale)
    x1, x2 = _span(box_px[0] * scale, box_px[2] * scale, least, size_px)
    y1, y2 = _span(box_px[1] * scale, box_px[3] * scale, least, size_px)
    return x1, y1, x2, y2


def _span(low: float, high: float, least: int, size: int) -> tuple[int, int]:
    first, last = round(min(max(low, 0), size)), round(min(max(high, 0), size))
    if last - first < least:
        first = min(max(round((first + last - least) / 2), 0), size - least)
        last = first + least
    return first, last


def answer_objects(
    targets: Iterable[Target], size_px: int
) -> list[tuple[str, tuple[int, int, int, int], Target]]:
    """Return label, box and target of each object in the order in which an answer names them.

    The order is that of the image's tokens: by merged token of the box's centre, rows first, then by box.
    """

    def place(entry: tuple[str, tuple[int, int, int, int], Target]) -> tuple[int, ...]:
        x1, y1, x2, y2 = entry[1]
        return (y1 + y2) // 2 // TOKEN_PX, (x1 + x2) // 2 // TOKEN_PX, *entry[1]

    return sorted(((t.class_, target_box(t.box_px, size_px), t) for t in targets), key=place)


def clipped(box_px: Sequence[float]) -> bool:
    """Whether a box reaches beyond the chip."""
    return min(box_px) < 0 or max(box_px) > CHIP_PX


def chip_asks(
    facts: ChipFacts, size_px: int, shares: Mapping[str, float], rng: np.random.Generator
) -> list[Ask]:
    """Return the questions of stage 2 about one chip.

    Args:
        facts: what is known of it.
        size_px: side of the enlarged chip that boxes refer to.
        shares: how likely each task is asked.
        rng: chooses among tasks, places and questions.
    """
    objects = answer_objects(facts.targets, size_px)
    labels = [label for label, _, _ in objects]
    ships = [box for label, box, _ in objects if label == "ship"]
    asks = []
    for task, share in shares.items():
        if rng.random() >= share:
            continue
        made: Ask | None
        if task == "detection":
            made = Ask(task, QUESTIONS[task], detection_text((label, box) for label, box, _ in objects))
        elif task == "counting":
            made = Ask(task, QUESTIONS[task], str(min(labels.count("ship"), forms.MAX_COUNT)))
        elif task == "localisation":
            made = Ask(task, QUESTIONS[task], forms.cells_text(forms.cells_of(ships, size_px)))
        elif task == "classification":
            made = _classification(facts, size_px, rng)
        elif task == "landcover":
            made = _land_cover(facts)
        elif task == "question":
            made = _chip_question(facts, size_px, rng)
        else:
            raise InputError(f"got task {task!r} of one chip, expected some of {sorted(CHIP_TASKS)}")
        if made is not None:
            asks.append(made)
    return asks


def describe(facts: ChipFacts) -> str | None:
    """Describe a chip, for stage 1; None where the sea or the land is not known."""
    if facts.sea_db is None or facts.land_fraction is None:
        return None
    labels = [target.class_ for target in facts.targets]
    return description(labels, facts.sea_db, facts.land_fraction, facts.land_cover if facts.prior else None)


def _classification(facts: ChipFacts, size_px: int, rng: np.random.Generator) -> Ask | None:
    """Ask about an object, or about a bright place that is none."""
    box: Sequence[float] | None = None
    label = forms.CLUTTER
    if facts.targets and rng.random() < 0.65:
        target = facts.targets[int(rng.integers(len(facts.targets)))]
        box, label = target.box_px, target.class_
    else:
        box = brightest_clutter(facts.pixels, facts.targets)
    if box is None:
        return None
    place = Place(nudged(box, rng))
    words = QUESTIONS["classification"] + places_text([place], size_px / CHIP_PX)
    return Ask("classification", words, label, (place,))


def _land_cover(facts: ChipFacts) -> Ask | None:
    if facts.land_fraction is None:
        return None
    answer = forms.NO_LAND
    if facts.land_fraction >= 0.01:
        answer = facts.land_cover if facts.prior and facts.land_cover else forms.UNKNOWN
    return Ask("landcover", QUESTIONS["landcover"], answer)


def brightest_clutter(
    pixels: NDArray[np.uint8], targets: Sequence[Target]
) -> tuple[float, float, float, float] | None:
    """Return a box around the brightest pixel that belongs to no object; None where all is dark."""
    bright = pixels[0].astype(np.int16)
    for target in targets:
        x1, y1, x2, y2 = (int(edge) for edge in target.box_px)
        bright[max(y1 - 5, 0) : max(y2 + 6, 0), max(x1 - 5, 0) : max(x2 + 6, 0)] = -1
    line, sample = np.unravel_index(int(bright.argmax()), bright.shape)
    if bright[line, sample] <= 0:
        return None
    return float(sample) - 1.5, float(line) - 1.5, float(sample) + 2.5, float(line) + 2.5


def nudged(box: Sequence[float], rng: np.random.Generator) -> tuple[float, float, float, float]:
    """Return a box as a detector would give it: a little off, clipped to the chip."""
    x1, y1, x2, y2 = np.clip(np.array(box) + rng.normal(0, 0.7, 4), 0, CHIP_PX).round(1).tolist()
    x1, y1 = max(min(x1, CHIP_PX - 3.0), 0.0), max(min(y1, CHIP_PX - 3.0), 0.0)
    return x1, y1, max(x2, x1 + 1.5), max(y2, y1 + 1.5)


def _chip_question(facts: ChipFacts, size_px: int, rng: np.random.Generator) -> Ask:
    """Ask a free question about a chip whose objects are known places."""
    known = [target for _, _, target in answer_objects(facts.targets, size_px)][:MAX_PLACES]
    places = [Place(nudged(target.box_px, rng), target.class_) for target in known]
    asked = [
        phrases.Known(target.class_, place.box_px, _shown_length_m(target), clipped(target.box_px))
        for target, place in zip(known, places, strict=True)
    ]
    phrase = phrases.chip_phrase(asked, len(known) == len(facts.targets), rng)
    told = places_text(places, size_px / CHIP_PX)
    return Ask("question", phrase.text + told, phrase.answer, tuple(places))


def _shown_length_m(target: Target) -> float | None:
    """Return a length that the image shows: not of what it cuts, nor a turbine's foot."""
    return None if target.class_ == "turbine" or clipped(target.box_px) else target.length_m


def pair_asks(
    places: Sequence[Place],
    changes: Sequence[str],
    counts: tuple[int, int],
    size_px: int,
    shares: Mapping[str, float],
    rng: np.random.Generator,
) -> list[Ask]:
    """Return the questions about two chips of one place.

    Args:
        places: what is known of it, by ordinal.
        changes: what became of each.
        counts: ships in the first and in the second image.
        size_px: side of the enlarged chip that boxes refer to.
        shares: how likely each task is asked.
        rng: chooses among tasks and questions.
    """
    told = places_text(places, size_px / CHIP_PX)
    asks = []
    if rng.random() < shares.get("change", 0.0):
        answer = forms.change_text(changes, *counts)
        asks.append(Ask("change", QUESTIONS["change"] + told, answer, tuple(places)))
    if rng.random() < shares.get("question", 0.0):
        phrase = phrases.pair_phrase(changes, counts, rng)
        asks.append(Ask("question", phrase.text + told, phrase.answer, tuple(places)))
    return asks
