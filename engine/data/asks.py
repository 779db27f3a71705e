"""What is asked about a chip or a pair of chips, and the true answer: the texts of training records.

One place for simulated chips and chips cut from scenes. What is not known of a chip is not asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

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
    place = Place(_nudged(box, rng))
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


def _nudged(box: Sequence[float], rng: np.random.Generator) -> tuple[float, float, float, float]:
    """Return a box as a detector would give it: a little off, clipped to the chip."""
    x1, y1, x2, y2 = np.clip(np.array(box) + rng.normal(0, 0.7, 4), 0, CHIP_PX).round(1).tolist()
    x1, y1 = max(min(x1, CHIP_PX - 3.0), 0.0), max(min(y1, CHIP_PX - 3.0), 0.0)
    return x1, y1, max(x2, x1 + 1.5), max(y2, y1 + 1.5)


UNANSWERABLE = (
    "Which flag does the ship at place 1 fly?",
    "What is the name of the ship at place 1?",
    "What is the cargo of the ships?",
    "Where do the ships sail to?",
    "Is the ship at place 1 fishing?",
    "Who owns the platform?",
)
UNANSWERABLE_OF_TWO = (
    *UNANSWERABLE,
    "Is it the same ship at place 1?",
    "Where did the ships that left go?",
    "When exactly did the ship at place 1 arrive?",
)


def _chip_question(facts: ChipFacts, size_px: int, rng: np.random.Generator) -> Ask:
    """Ask a free question about a chip whose objects are known places."""
    known = [target for _, _, target in answer_objects(facts.targets, size_px)][:MAX_PLACES]
    places = [Place(_nudged(target.box_px, rng), target.class_) for target in known]
    if rng.random() < 0.3:
        asked, answer = str(rng.choice(UNANSWERABLE)), forms.REFUSAL
    else:
        asked, cites, words = _about(known, rng)
        answer = forms.question_line(cites) + words
    return Ask("question", asked + places_text(places, size_px / CHIP_PX), answer, tuple(places))


def _about(known: Sequence[Target], rng: np.random.Generator) -> tuple[str, list[int], str]:
    ordinals = range(1, len(known) + 1)
    choice = int(rng.integers(5))
    if choice == 0:
        label = str(rng.choice(("ship", "platform", "turbine")))
        found = [n for n, each in zip(ordinals, known, strict=True) if each.class_ == label]
        return f"Which places are {label}s?", found, _how_many(len(found), label)
    if choice == 1 and all(each.length_m is not None for each in known):
        limit = int(rng.choice((50, 100, 150, 200)))
        found = [n for n, each in zip(ordinals, known, strict=True)
                 if each.class_ == "ship" and (each.length_m or 0) >= limit]  # fmt: skip
        return f"Which ships are longer than {limit} m?", found, _how_many(len(found), "such ship")
    if choice == 2 and known and all(each.length_m is not None for each in known):
        longest = max(range(len(known)), key=lambda n: known[n].length_m or 0)
        length = 10 * round((known[longest].length_m or 0) / 10)
        return "Which object is the longest?", [longest + 1], f"It is about {length} m long."
    if choice == 3:
        cut = [n for n, each in zip(ordinals, known, strict=True) if clipped(each.box_px)]
        return "Which objects reach beyond the image?", cut, _how_many(len(cut), "such object")
    ships = [n for n, each in zip(ordinals, known, strict=True) if each.class_ == "ship"]
    return "Are there ships?", ships, f"Yes, {len(ships)}." if ships else "No."


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
        asked, answer = _pair_question(changes, counts, rng)
        asks.append(Ask("question", asked + told, answer, tuple(places)))
    return asks


def _pair_question(
    changes: Sequence[str], counts: tuple[int, int], rng: np.random.Generator
) -> tuple[str, str]:
    if rng.random() < 0.3:
        return str(rng.choice(UNANSWERABLE_OF_TWO)), forms.REFUSAL
    words = {"appeared": "is new", "gone": "has left", "still_occupied": "is still occupied"}
    choice = int(rng.integers(4))
    if choice == 3:
        before, after = counts
        word = "More" if after > before else "Fewer" if after < before else "As many"
        return "Are there more ships than before?", forms.question_line(
            []
        ) + f"{word}: {before}, then {after}."
    change = tuple(words)[choice]
    found = [n for n, each in enumerate(changes, start=1) if each == change]
    noun = "place" if change == "still_occupied" else "ship"
    return f"Which {noun} {words[change]}?", forms.question_line(found) + _how_many(
        len(found), f"such {noun}"
    )


def _how_many(count: int, noun: str) -> str:
    if count == 0:
        return f"No {noun}."
    return f"There is 1 {noun}." if count == 1 else f"There are {count} {noun}s."
