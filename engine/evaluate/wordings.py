"""Free questions in people's own words, none of them of training, and what is right to answer.

``wordings.json`` holds the words by intent: of one chip, of two, and those that must be refused. Here stands
what each intent asks for, computed from the simulator's truth. A case that hangs on less than an image
shows (a ship of 101 m and a bound of 100 m) is not asked: it would not tell who understands the words.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.data.asks import Target, answer_objects, nudged
from engine.data.simulated import SENSOR, SPACING_M, draw_dates
from engine.errors import DatasetError
from engine.runtime.forms import REFUSAL, question_line
from engine.runtime.image import CHIP_PX
from engine.runtime.prior import Prior
from engine.runtime.text import MAX_PLACES, Place, Request
from engine.simulate.chips import ChipSet
from engine.simulate.pairs import Pair

TABLE = Path(__file__).with_name("wordings.json")
BOUNDS_M = (30, 40, 50, 60, 75, 80, 100, 120, 150, 180, 200, 250, 300)  # lengths that people ask for
LENGTH_MARGIN = 0.15  # share of a length below which two are as good as equal
EDGE_MARGIN_PX = 1.0  # a box that ends nearer to the image's edge may end on either side of it
THIRD_MARGIN_PX = 4.0  # a box whose centre is nearer to a third's border may lie on either side of it


@dataclass(frozen=True)
class Right:
    """What is right to answer.

    Attributes:
        refused: it must be refused.
        cites: ordinals that must be cited; None where citing is left free.
        count: the one number that the words must hold, lengths aside.
        length_m: the length that the words must hold, within a fifth.
        says: what the words must mean: a label, a change, or more, fewer, same.
    """

    refused: bool = False
    cites: tuple[int, ...] | None = None
    count: int | None = None
    length_m: float | None = None
    says: str | None = None

    def text(self) -> str:
        """Return an answer that is right."""
        if self.refused:
            return REFUSAL
        words = [f"It is {self.says.replace('_', ' ')}." if self.says else "",
                 f"There are {self.count}." if self.count is not None else "",
                 f"It is about {self.length_m:.0f} m long." if self.length_m is not None else ""]  # fmt: skip
        return question_line(self.cites or ()) + (" ".join(filter(None, words)) or "See there.")


@dataclass(frozen=True, eq=False)
class Subject:
    """One chip or two that is asked about.

    Attributes:
        name: for people; it is its own site.
        chips: channels, [3, 126, 126] each.
        prior: of the place.
        known: known places.
        targets: of one chip: the object at each place.
        changes: of two: what became of each place.
        ships: of two: ships in each image.
        dates: as the prompt states them.
    """

    name: str
    chips: tuple[NDArray[np.uint8], ...]
    prior: Prior
    known: tuple[Place, ...]
    targets: tuple[Target, ...] = ()
    changes: tuple[str, ...] = ()
    ships: tuple[int, int] = (0, 0)
    dates: tuple[str, ...] = ()

    def of(self, label: str) -> tuple[int, ...]:
        """Return the ordinals of the places of a label."""
        return tuple(n for n, place in enumerate(self.known, start=1) if place.label == label)

    def where(self, change: str) -> tuple[int, ...]:
        """Return the ordinals of the places that a change befell."""
        return tuple(n for n, each in enumerate(self.changes, start=1) if each == change)


@dataclass(frozen=True, eq=False)
class Case:
    """A question that is asked.

    Attributes:
        intent: what it asks for.
        wording: its words, slots open.
        text: its words.
        subject: what it is about.
        right: what is right to answer.
    """

    intent: str
    wording: str
    text: str
    subject: Subject
    right: Right

    def request(self, blank: bool = False) -> Request:
        """Return the question as a request; blank: its images withheld."""
        chips = self.subject.chips
        return Request(
            "question",
            tuple(np.zeros_like(chip) for chip in chips) if blank else chips,
            (self.subject.prior,) * len(chips),
            sensor=SENSOR,
            spacing_m=SPACING_M,
            known=self.subject.known,
            question=self.text,
            dates=self.subject.dates,
        )


Slots = Mapping[str, int]
Truth = Callable[[Subject, np.random.Generator], tuple[Slots, Right] | None]


def _which(label: str, subject: Subject, rng: np.random.Generator) -> tuple[Slots, Right]:
    return {}, Right(cites=subject.of(label))


def _count(label: str, subject: Subject, rng: np.random.Generator) -> tuple[Slots, Right]:
    found = subject.of(label)
    return {}, Right(cites=found, count=len(found))


def _lengths(subject: Subject) -> dict[int, float] | None:
    """Return the ships' lengths by ordinal; None where one is not known or leaves the image."""
    found = {}
    for ordinal in subject.of("ship"):
        target = subject.targets[ordinal - 1]
        if target.length_m is None or _overshoot_px(target) > -EDGE_MARGIN_PX:
            return None
        found[ordinal] = target.length_m
    return found


def _bound(longer: bool, subject: Subject, rng: np.random.Generator) -> tuple[Slots, Right] | None:
    lengths = _lengths(subject)
    if lengths is None:
        return None
    clear = [n for n in BOUNDS_M if all(abs(each - n) > LENGTH_MARGIN * n for each in lengths.values())]
    if not clear:
        return None
    limit = int(rng.choice(clear))
    return {"n": limit}, Right(cites=tuple(n for n, each in lengths.items() if (each > limit) == longer))


def _extreme(
    longest: bool, tell: bool, subject: Subject, rng: np.random.Generator
) -> tuple[Slots, Right] | None:
    lengths = _lengths(subject)
    if not lengths or len(lengths) < 2:
        return None
    first, second = sorted(lengths, key=lambda n: -lengths[n] if longest else lengths[n])[:2]
    low, high = sorted((lengths[first], lengths[second]))
    if high < low * (1 + LENGTH_MARGIN):
        return None
    return {}, Right(cites=(first,), length_m=lengths[first] if tell else None)


def _length(subject: Subject, rng: np.random.Generator) -> tuple[Slots, Right] | None:
    lengths = _lengths(subject)
    if not lengths:
        return None
    place = int(rng.choice(list(lengths)))
    return {"k": place}, Right(cites=(place,), length_m=lengths[place])


def _what(subject: Subject, rng: np.random.Generator) -> tuple[Slots, Right] | None:
    label = str(rng.choice(sorted({place.label for place in subject.known}) or [""]))
    if not label:
        return None
    place = int(rng.choice(subject.of(label)))
    return {"k": place}, Right(cites=(place,), says=label)


def _overshoot_px(target: Target) -> float:
    """Return how far a box reaches beyond the image; below 0 where it does not."""
    return max(-min(target.box_px), max(target.box_px) - CHIP_PX)


def _beyond(subject: Subject, rng: np.random.Generator) -> tuple[Slots, Right] | None:
    over = [_overshoot_px(target) for target in subject.targets]
    if any(abs(each) < EDGE_MARGIN_PX for each in over):
        return None
    return {}, Right(cites=tuple(n for n, each in enumerate(over, start=1) if each > 0))


def _third(axis: int, last: bool, subject: Subject, rng: np.random.Generator) -> tuple[Slots, Right] | None:
    """Of the ships' box centres across (axis 0) or down (1), in the first or the last third."""
    border = CHIP_PX * (2 if last else 1) / 3
    cites = []
    for ordinal in subject.of("ship"):
        low, high = np.clip(subject.targets[ordinal - 1].box_px, 0, CHIP_PX)[axis::2]
        beyond = (low + high) / 2 - border
        if abs(beyond) < THIRD_MARGIN_PX:
            return None
        if (beyond > 0) == last:
            cites.append(ordinal)
    return {}, Right(cites=tuple(cites))


def _became(change: str, subject: Subject, rng: np.random.Generator) -> tuple[Slots, Right] | None:
    cites = subject.where(change)
    if change in ("appeared", "gone") and not set(cites) <= set(subject.of("ship")):
        return None  # some wordings say ships, some contacts
    return {}, Right(cites=cites)


def _happened(subject: Subject, rng: np.random.Generator) -> tuple[Slots, Right] | None:
    if not subject.known:
        return None
    change = str(rng.choice(sorted(set(subject.changes))))
    place = int(rng.choice(subject.where(change)))
    return {"k": place}, Right(cites=(place,), says=change)


def _trend(subject: Subject, rng: np.random.Generator) -> tuple[Slots, Right]:
    before, after = subject.ships
    return {}, Right(says="more" if after > before else "fewer" if after < before else "same")


def _ships_in(image: int, subject: Subject, rng: np.random.Generator) -> tuple[Slots, Right]:
    return {}, Right(count=subject.ships[image])


def _changed(subject: Subject, rng: np.random.Generator) -> tuple[Slots, Right]:
    return {}, Right(cites=tuple(sorted(subject.where("appeared") + subject.where("gone"))))


def _never(subject: Subject, rng: np.random.Generator) -> tuple[Slots, Right] | None:
    ships = subject.of("ship")
    return ({"k": int(rng.choice(ships))}, Right(refused=True)) if ships else None


def _nowhere(subject: Subject, rng: np.random.Generator) -> tuple[Slots, Right]:
    return {"k": len(subject.known) + int(rng.integers(1, 7))}, Right(refused=True)


TRUTHS: Mapping[str, Truth] = {
    **{f"which_{label}": partial(_which, label) for label in ("ship", "platform", "turbine")},
    **{f"any_{label}": partial(_which, label) for label in ("ship", "platform", "turbine")},
    **{f"count_{label}": partial(_count, label) for label in ("ship", "platform", "turbine")},
    "longer": partial(_bound, True),
    "shorter": partial(_bound, False),
    "longest": partial(_extreme, True, False),
    "shortest": partial(_extreme, False, False),
    "length_of_longest": partial(_extreme, True, True),
    "length": _length,
    "what_is": _what,
    "beyond": _beyond,
    "left": partial(_third, 0, False),
    "right": partial(_third, 0, True),
    "top": partial(_third, 1, False),
    "bottom": partial(_third, 1, True),
    **{name: partial(_became, name) for name in ("appeared", "gone", "still_occupied", "cannot_tell")},
    "happened": _happened,
    "trend": _trend,
    "count_before": partial(_ships_in, 0),
    "count_after": partial(_ships_in, 1),
    "changed": _changed,
    "no_such_place": _nowhere,
}


@cache
def wordings() -> Mapping[str, Mapping[str, Sequence[str]]]:
    """Return the wordings by group (one, two, refused, refused_of_two) and intent.

    Raises:
        DatasetError: the table is damaged.
    """
    try:
        read = json.loads(TABLE.read_text("utf-8"))
        return {group: {name: tuple(each) for name, each in part.items()} for group, part in read.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise DatasetError(f"cannot read the wordings {TABLE.name}: {error!r}") from error


def chip_subjects(chips: ChipSet, seed: int) -> list[Subject]:
    """Return simulated chips as what is asked about; left out are those of more objects than are told."""
    out = []
    for index, truth in enumerate(chips.truth):
        targets = tuple(target for _, _, target in answer_objects(truth, 2 * CHIP_PX))
        if len(targets) > MAX_PLACES:
            continue
        rng = np.random.default_rng([seed, index])
        known = tuple(Place(nudged(target.box_px, rng), target.class_) for target in targets)
        name = f"worded-{seed}-{index}"
        prior = Prior.from_bytes(chips.prior[index], None)
        out.append(Subject(name, (chips.pixels[index],), prior, known, targets, dates=draw_dates(name)))
    return out


def pair_subjects(pairs: Sequence[Pair], seed: int) -> list[Subject]:
    """Return simulated pairs as what is asked about."""
    out = []
    for index, pair in enumerate(pairs):
        before, after = (sum(target.class_ == "ship" for target in each) for each in pair.truth)
        name = f"worded-pair-{seed}-{index}"
        prior = Prior.from_bytes(pair.prior, None)
        dates = draw_dates(name, pair.days)
        out.append(
            Subject(
                name, tuple(pair.pixels), prior, pair.places,
                changes=pair.changes, ships=(before, after), dates=dates,
            )
        )  # fmt: skip
    return out


def draw_cases(one: Sequence[Subject], two: Sequence[Subject], repeats: int) -> list[Case]:
    """Ask every wording about some chips or pairs.

    Every other time something is to be cited, where there is such a chip: most show no platform, and to cite
    nothing would be right too often.

    Args:
        one: chips.
        two: pairs; without any, nothing is asked that needs them.
        repeats: how often each wording is asked.
    """
    both = {"one": (one,), "two": (two,), "refused": (one, two or one), "refused_of_two": (two,)}
    cases = []
    for group, intents in wordings().items():
        for intent, texts in intents.items():
            for text in texts:
                for turn in range(repeats):
                    pool = both[group][turn % len(both[group])]
                    case = _draw(intent, text, pool, turn)
                    if case is not None:
                        cases.append(case)
    return cases


def _draw(intent: str, wording: str, pool: Sequence[Subject], turn: int) -> Case | None:
    """Return a wording about the first subject of a random order that suits; None where none does."""
    rng = np.random.default_rng([zlib.crc32(wording.encode()), turn])
    truth = TRUTHS.get(intent, _never)
    other = None
    for index in rng.permutation(len(pool)):
        made = truth(pool[index], rng)
        if made is None:
            continue
        slots, right = made
        case = Case(intent, wording, wording.format(**slots), pool[index], right)
        if turn % 2 or right.cites != ():
            return case
        other = other or case
    return other
