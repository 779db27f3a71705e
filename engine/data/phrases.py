"""Free questions about a chip or a pair of chips in many wordings, each with its true answer.

A question is drawn in three steps: whether it can be answered, its intent, its wording (``wordings``). All
draws come from one generator, so that equal generators give equal questions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from engine.data import unanswerable, wordings
from engine.runtime import forms
from engine.runtime.image import CHIP_PX
from engine.runtime.text import LABELS, MAX_PLACES, QUESTIONS, Box

UNANSWERABLE_SHARE = 0.33
UNKNOWN_PLACE_SHARE = 0.15  # of those that cannot be answered: they name a place that is not known
MIN_LIMIT_M, MAX_LIMIT_M = 20, 350  # lengths that are asked for

# How often an intent is drawn where a chip, or a pair, allows it; what rests on numbers must not be rare.
CHIP_INTENTS = {
    "which": 1.0, "count": 2.0, "exists": 1.0, "beyond": 0.7, "third": 1.3, "longer": 1.5, "shorter": 1.0,
    "longest": 1.0, "shortest": 0.7, "length": 2.0, "what": 1.3,
}  # fmt: skip
PAIR_INTENTS = {
    "appeared": 1.2, "gone": 1.2, "still_occupied": 1.0, "cannot_tell": 0.7, "happened": 2.0, "more": 1.0,
    "count_first": 1.0, "count_second": 1.0, "changed": 1.2,
}  # fmt: skip

LOWER_SHARE = 0.25  # of questions, written without capitals
UNMARKED_SHARE = 0.2  # without the mark at the end
TYPO_SHARE = 0.07
POLITE_SHARE = 0.3
_BEFORE_ANY = (
    "please: ", "please tell me: ", "can you tell me: ", "tell me: ", "I would like to know: ", "question: ",
    "a question: ", "hello, ", "hi, ", "please, ", "tell me, ", "could you tell me: ", "next: ", "OK, ",
)  # fmt: skip
_BEFORE_WH = (
    "can you tell me ", "could you tell me ", "please tell me ", "tell me ", "do you know ",
    "I wish to know ", "I would like to know ", "can you say ", "please say ", "let me know ",
)  # fmt: skip
_BEFORE_COMMAND = (
    "please ", "please ", "please ", "can you ", "could you ", "could you please ", "I want you to ", "now ",
    "kindly ", "would you ", "can you please ", "hi, ", "next, ",
)  # fmt: skip
_WH = ("which ", "what ", "where ", "how ", "who ", "when ", "at which ")
_NAME = re.compile(r"\{(\w+)\}")
_HAPPENED = {
    "appeared": "A ship appeared.",
    "gone": "It left.",
    "still_occupied": "It is still occupied.",
    "cannot_tell": "It cannot be told.",
}

T = TypeVar("T")
Given = Mapping[str, "str | tuple[str, ...]"]


@dataclass(frozen=True, slots=True)
class Known:
    """A known place of a chip, and the truth about its object.

    Attributes:
        label: its class.
        box_px: its box as the prompt states it, in pixels of the chip as cut.
        length_m: None where it is not known, or the image does not show it.
        cut: whether the object reaches beyond the image.
    """

    label: str
    box_px: Box
    length_m: float | None
    cut: bool


@dataclass(frozen=True, slots=True)
class Phrase:
    """A question in some wording, without the known places, and its true answer.

    Attributes:
        intent: what is asked, a key of CHIP_INTENTS or PAIR_INTENTS; of what cannot be answered, "refused".
        text: the question.
        answer: the answer in full.
    """

    intent: str
    text: str
    answer: str


def chip_phrase(known: Sequence[Known], every: bool, rng: np.random.Generator) -> Phrase:
    """Draw a question about one chip.

    A third of the image is told by the centre of a place's box: "top" is above CHIP_PX / 3, "bottom" from
    2 CHIP_PX / 3 on; so are "left" and "right".

    Args:
        known: its known places.
        every: whether they are all of its objects; else only single places are asked about.
        rng: draws.
    """
    if rng.random() < UNANSWERABLE_SHARE:
        return _refused(len(known), unanswerable.OF_ONE, ("what", "length"), wordings.CHIP, rng)
    possible = {"what", "length"} if not every and known else set(CHIP_INTENTS)
    ships = [each for each in known if each.label == "ship"]
    measured = all(each.length_m is not None for each in ships)
    if not known:
        possible -= {"what"}
    if not any(each.length_m is not None for each in known):
        possible -= {"length"}
    if not measured:
        possible -= {"longer", "shorter"}
    if not measured or not ships:
        possible -= {"longest", "shortest"}
    intent = _drawn(CHIP_INTENTS, possible, rng)
    given, cites, words = _CHIP[intent](known, rng)
    template = {"shorter": "longer", "shortest": "longest"}.get(intent, intent)
    return _phrase(intent, wordings.CHIP[template], given, forms.question_line(cites) + words, rng)


def pair_phrase(changes: Sequence[str], counts: tuple[int, int], rng: np.random.Generator) -> Phrase:
    """Draw a question about two chips of one place.

    Args:
        changes: what became of each known place, of ``forms.CHANGES``.
        counts: ships in the first and in the second image.
        rng: draws.
    """
    if rng.random() < UNANSWERABLE_SHARE:
        topics = unanswerable.OF_TWO if rng.random() < 0.4 else unanswerable.OF_ONE
        return _refused(len(changes), topics, ("happened",), wordings.PAIR, rng)
    possible = set(PAIR_INTENTS) - (set() if changes else {"happened"})
    intent = _drawn(PAIR_INTENTS, possible, rng)
    given: Given = {}
    if intent in forms.CHANGES:
        cites = [n for n, each in enumerate(changes, start=1) if each == intent]
        words = how_many(len(cites), "such ship" if intent in ("appeared", "gone") else "such place")
    elif intent == "happened":
        index = int(rng.integers(len(changes)))
        given, cites, words = {"k": str(index + 1)}, [index + 1], _HAPPENED[changes[index]]
    elif intent == "changed":
        cites = [n for n, each in enumerate(changes, start=1) if each in ("appeared", "gone")]
        words = _changed(changes)
    elif intent == "more":
        before, after = counts
        word = "More" if after > before else "Fewer" if after < before else "As many"
        cites, words = [], f"{word}: {before}, then {after}."
    else:
        cites, words = [], how_many(counts[intent == "count_second"], "ship")
    return _phrase(intent, wordings.PAIR[intent], given, forms.question_line(cites) + words, rng)


def how_many(count: int, noun: str) -> str:
    """Say how many there are."""
    if count == 0:
        return f"No {noun}."
    return f"There is 1 {noun}." if count == 1 else f"There are {count} {noun}s."


def third_of(box_px: Box) -> set[str]:
    """Return the parts of an image, of ``wordings.PARTS``, in whose thirds a box has its centre."""
    parts = set()
    for axis, names in enumerate((("left", "right"), ("top", "bottom"))):
        third = (box_px[axis] + box_px[axis + 2]) / 2 / CHIP_PX * 3
        if third < 1 or third >= 2:
            parts.add(names[third >= 2])
    return parts


Told = tuple[Given, list[int], str]


def _cites(known: Sequence[Known], holds: Callable[[Known], bool]) -> list[int]:
    return [n for n, each in enumerate(known, start=1) if holds(each)]


def _of_label(known: Sequence[Known], rng: np.random.Generator, other: Sequence[str] = LABELS) -> str:
    """Draw a label: half the time one that is there."""
    if known and rng.random() < 0.5:
        return known[int(rng.integers(len(known)))].label
    return _one(other, rng)


def _nouns(label: str) -> Given:
    return {"one": wordings.ONE[label], "many": wordings.MANY[label]}


def _which(known: Sequence[Known], rng: np.random.Generator) -> Told:
    label = _of_label(known, rng)
    cites = _cites(known, lambda each: each.label == label)
    return _nouns(label), cites, how_many(len(cites), label)


def _count(known: Sequence[Known], rng: np.random.Generator) -> Told:
    label = _of_label(known, rng, (*LABELS, "object", "object"))
    cites = _cites(known, lambda each: label in ("object", each.label))
    return _nouns(label), cites, how_many(len(cites), label)


def _exists(known: Sequence[Known], rng: np.random.Generator) -> Told:
    label = _of_label(known, rng)
    cites = _cites(known, lambda each: each.label == label)
    return _nouns(label), cites, f"Yes, {len(cites)}." if cites else "No."


def _beyond(known: Sequence[Known], rng: np.random.Generator) -> Told:
    cites = _cites(known, lambda each: each.cut)
    return {}, cites, how_many(len(cites), "such object")


def _third(known: Sequence[Known], rng: np.random.Generator) -> Told:
    label = _of_label(known, rng, ("ship", "ship", *LABELS))
    side = _one(tuple(wordings.PARTS), rng)
    cites = _cites(known, lambda each: each.label == label and side in third_of(each.box_px))
    given = {**_nouns(label), "part": wordings.PARTS[side], "side": side}
    return given, cites, how_many(len(cites), f"such {label}")


def _limit_m(known: Sequence[Known], rng: np.random.Generator) -> int:
    """Draw a length to ask for: half of them near a ship's, half of them in tens."""
    lengths = [each.length_m for each in known if each.label == "ship" and each.length_m is not None]
    limit = float(rng.uniform(MIN_LIMIT_M, MAX_LIMIT_M))
    if lengths and rng.random() < 0.5:
        limit = lengths[int(rng.integers(len(lengths)))] * float(rng.uniform(0.6, 1.5))
    if rng.random() < 0.5:
        limit = 10 * round(limit / 10)
    return min(max(round(limit), MIN_LIMIT_M), MAX_LIMIT_M)


def _bounded(known: Sequence[Known], rng: np.random.Generator, longer: bool) -> Told:
    limit, strict = _limit_m(known, rng), bool(rng.random() < 0.7)
    name = ("longer" if strict else "at_least") if longer else ("shorter" if strict else "at_most")

    def holds(each: Known) -> bool:
        if each.label != "ship" or each.length_m is None:
            return False
        if each.length_m == limit:
            return not strict
        return (each.length_m > limit) == longer

    cites = _cites(known, holds)
    given: Given = {
        "n": str(limit),
        "bound": wordings.TABLES[name],
        "with_bound": wordings.TABLES[f"with_{name}"],
    }
    return given, cites, how_many(len(cites), "such ship")


def _extreme(known: Sequence[Known], rng: np.random.Generator, longest: bool) -> Told:
    """Ask for the longest or shortest ship; of objects only where all of them are measured."""
    among = "object" if all(each.length_m is not None for each in known) and rng.random() < 0.5 else "ship"
    found = [(each.length_m or 0.0, n) for n, each in enumerate(known, 1) if among in ("object", each.label)]
    length, place = (max if longest else min)(found)
    given = {**_nouns(among), "most": wordings.TABLES["longest" if longest else "shortest"]}
    return given, [place], _about(length)


def _length(known: Sequence[Known], rng: np.random.Generator) -> Told:
    place = _one(_cites(known, lambda each: each.length_m is not None), rng)
    chosen = known[place - 1]
    one = wordings.ONE["object" if rng.random() < 0.5 else chosen.label]
    return {"one": one, "k": str(place)}, [place], _about(chosen.length_m or 0.0)


def _what(known: Sequence[Known], rng: np.random.Generator) -> Told:
    index = int(rng.integers(len(known)))
    return {"k": str(index + 1)}, [index + 1], f"It is a {known[index].label}."


_CHIP: dict[str, Callable[[Sequence[Known], np.random.Generator], Told]] = {
    "which": _which,
    "count": _count,
    "exists": _exists,
    "beyond": _beyond,
    "third": _third,
    "longer": lambda known, rng: _bounded(known, rng, longer=True),
    "shorter": lambda known, rng: _bounded(known, rng, longer=False),
    "longest": lambda known, rng: _extreme(known, rng, longest=True),
    "shortest": lambda known, rng: _extreme(known, rng, longest=False),
    "length": _length,
    "what": _what,
}


def _about(length_m: float) -> str:
    return f"It is about {max(10 * round(length_m / 10), 10)} m long."


def _changed(changes: Sequence[str]) -> str:
    new, gone = changes.count("appeared"), changes.count("gone")
    parts = [f"{count} {word}" for count, word in ((new, "appeared"), (gone, "left")) if count]
    if parts:
        return f"Yes, {' and '.join(parts)}."
    return "It cannot be told." if "cannot_tell" in changes else "No."


def _refused(
    places: int,
    topics: Mapping[str, tuple[str, ...]],
    of_places: Sequence[str],
    templates: Mapping[str, tuple[str, ...]],
    rng: np.random.Generator,
) -> Phrase:
    """Ask what cannot be answered; a place that is named there is known, or it is what is wrong."""
    given: dict[str, str | tuple[str, ...]] = dict(unanswerable.WORDS)
    if rng.random() < UNKNOWN_PLACE_SHARE:
        given |= {"k": str(int(rng.integers(places + 1, MAX_PLACES + 7))), "one": wordings.ONE["object"]}
        return _phrase("refused", templates[_one(of_places, rng)], given, forms.REFUSAL, rng)
    chosen = topics[_one(tuple(topics), rng)]
    if places:
        given["k"] = str(int(rng.integers(1, places + 1)))
        if rng.random() < 0.5:
            given["it"] = ("the {ship} at {place} {k}", "the {object} at {place} {k}", "{place} {k}")
    else:
        chosen = tuple(each for each in chosen if "{k}" not in each)
    return _phrase("refused", chosen, given, forms.REFUSAL, rng)


def _phrase(
    intent: str, templates: Sequence[str], given: Given, answer: str, rng: np.random.Generator
) -> Phrase:
    """Word a question, in other words than those of another task."""
    text = next(iter(QUESTIONS.values()))
    while text.lower().rstrip(".?") in _TAKEN:
        text = worded(_one(templates, rng), given, rng)
    return Phrase(intent, text, answer)


_TAKEN = {question.lower().rstrip(".?") for question in QUESTIONS.values()}


def worded(template: str, given: Given, rng: np.random.Generator) -> str:
    """Fill a template as people write: politely or not, with slips and without marks.

    Args:
        template: of ``wordings`` or ``spoken``.
        given: words by name, before those of ``wordings.TABLES``.
        rng: draws.
    """
    text = re.sub(r"\ba (?=[aeiou])", "an ", " ".join(_filled(template, given, rng).split()))
    text, mark = (text[:-1], text[-1]) if text[-1] in "?.!" else (text, "")
    if rng.random() < POLITE_SHARE:
        text, mark = _politely(text, mark, rng)
    if rng.random() < TYPO_SHARE:
        text = _mistyped(text, rng)
    if rng.random() < LOWER_SHARE:
        text = text.lower()
    else:
        text = text[0].upper() + text[1:]
    return text if rng.random() < UNMARKED_SHARE else text + mark


def _filled(template: str, given: Given, rng: np.random.Generator) -> str:
    def word(match: re.Match[str]) -> str:
        words = given.get(match[1]) or wordings.TABLES[match[1]]
        return _filled(words if isinstance(words, str) else _one(words, rng), given, rng)

    return _NAME.sub(word, template)


def _politely(text: str, mark: str, rng: np.random.Generator) -> tuple[str, str]:
    if rng.random() < 0.25:
        return f"{text}{_one((' please', ', please'), rng)}", mark
    if mark == "?":
        wh = text.lower().startswith(_WH) and rng.random() < 0.6
        return _one(_BEFORE_WH if wh else _BEFORE_ANY, rng) + text, mark
    before = _one(_BEFORE_COMMAND, rng)
    return before + text, "?" if before.startswith(("can", "could", "would")) else mark


def _mistyped(text: str, rng: np.random.Generator) -> str:
    """Swap, drop or double a letter inside a word of five letters or more."""
    words = [match.span() for match in re.finditer(r"[A-Za-z]{5,}", text)]
    if not words:
        return text
    first, end = words[int(rng.integers(len(words)))]
    at, kind = int(rng.integers(first + 1, end - 2)), int(rng.integers(3))
    one, two = text[at], text[at + 1]
    return text[:at] + (two + one, two, one + one + two)[kind] + text[at + 2 :]


def _drawn(weights: Mapping[str, float], possible: set[str], rng: np.random.Generator) -> str:
    names = [name for name in weights if name in possible]
    shares = np.array([weights[name] for name in names])
    return names[int(rng.choice(len(names), p=shares / shares.sum()))]


def _one(words: Sequence[T], rng: np.random.Generator) -> T:
    return words[int(rng.integers(len(words)))]
