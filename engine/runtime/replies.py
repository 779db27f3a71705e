"""Answers to questions that were understood, from what is known of the places: no engine is asked here.

What a reading asks for is a filter over places; the answer cites exactly those that pass, by ordinal, and
says in words what it took the question for, so that a misreading shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.runtime.forms import CHANGES
from engine.runtime.lexicon import GEOGRAPHY, LISTED
from engine.runtime.marking import Bound
from engine.runtime.reading import Reading
from engine.runtime.text import LABELS

STEP_M = 10.0  # lengths are told in steps of a pixel
_FROM_IMAGE = ("top", "bottom", "left", "right")
_TOLD = {
    "appeared": "A {label} appeared",
    "gone": "The {label} left",
    "still_occupied": "It is still occupied",
    "cannot_tell": "It cannot be told",
}
_LISTED = {
    "appeared": "appeared",
    "gone": "left",
    "still_occupied": "still occupied",
    "cannot_tell": "where it cannot be told what happened",
}
_INDEFINITE = {"object": "an object"}


@dataclass(frozen=True, slots=True)
class PlaceKnown:
    """A place, and what was said and measured there.

    Attributes:
        label: its class.
        length_m: None where it is not known.
        interval_m: between which the length lies; None where that is not known.
        cut: whether the image's edge cuts it; None where no image is looked at.
        parts: in which thirds it lies, of ``lexicon.PARTS``.
        change: of two passes, what became of it, of ``forms.CHANGES``.
        reason: why that cannot be told.
    """

    label: str
    length_m: float | None = None
    interval_m: tuple[float, float] | None = None
    cut: bool | None = None
    parts: frozenset[str] = frozenset()
    change: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer.

    Attributes:
        cites: ordinals, from one, ascending.
        words: one or two sentences.
        unsure: ordinals of places whose length may lie on either side of the bound, cited or not.
        unmeasured: ordinals that would be asked about if their length were known.
    """

    cites: tuple[int, ...]
    words: str
    unsure: tuple[int, ...] = ()
    unmeasured: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Unanswerable:
    """Why places do not answer a question that was understood: a name, and words."""

    name: str
    words: str


def reply(
    reading: Reading,
    known: Sequence[PlaceKnown],
    counts: tuple[int, int] | None = None,
    it: int | None = None,
    sides: Sequence[str] = _FROM_IMAGE,
) -> Reply | Unanswerable:
    """Answer a question.

    Args:
        reading: what is asked.
        known: the places, in the order of their ordinals.
        counts: of two passes, ships in the first and in the second.
        it: ordinal of the place that "it" is; None where there is none.
        sides: the parts that mean something of what is looked at.
    """
    if strange := [part for part in reading.parts if part not in sides]:
        wanted = ", ".join(sides)
        return Unanswerable("parts", f"{strange[0]!r} means nothing here: ask for {wanted}.")
    if reading.intent in ("length", "what", "happened"):
        return _of_one(reading, known, it)
    if reading.intent in ("longest", "shortest"):
        return _extreme(reading, known)
    if reading.intent in ("more", "count_first", "count_second"):
        return _counted(reading, counts)
    if reading.intent == "changed":
        return _changed(reading, known)
    if reading.intent in LISTED or reading.intent in (
        "which",
        "count",
        "exists",
        "beyond",
        "third",
        "longer",
        "shorter",
    ):
        return _filtered(reading, known)
    raise ValueError(f"got intent {reading.intent!r}, expected one that places answer")


def about_m(length_m: float) -> float:
    """Round a length to what it can be told to."""
    return max(STEP_M * round(length_m / STEP_M), STEP_M)


def filter_words(reading: Reading, count: int) -> str:
    """Say in words which places a reading asks for, such as ``2 ships longer than 200 m in the north``."""
    return f"{noun(reading.label, count)}{_bound_words(reading.bound)}{_part_words(reading.parts)}"


def noun(label: str | None, count: int) -> str:
    """Return a class as a noun."""
    word = label or "object"
    return word if count == 1 else f"{word}s"


def _bound_words(bound: Bound | None) -> str:
    if bound is None:
        return ""
    words = {
        (True, True): "longer than", (True, False): "of at least",
        (False, True): "shorter than", (False, False): "of at most",
    }  # fmt: skip
    return f" {words[bound.longer, bound.strict]} {bound.metres:.0f} m"


def _part_words(parts: Sequence[str]) -> str:
    if not parts:
        return ""
    if any(part in GEOGRAPHY for part in parts):
        named = "-".join([*parts[:-1], f"{parts[-1]}ern"])
    else:
        named = " ".join(parts)
    return f" in the {named} {'third' if len(parts) == 1 else 'corner'}"


def _filtered(reading: Reading, known: Sequence[PlaceKnown]) -> Reply:
    """Cite the places that pass, and say how many they are."""
    among = [n for n, each in enumerate(known, start=1) if _passes(reading, each)]
    cites = tuple(among)
    unsure: tuple[int, ...] = ()
    unmeasured: tuple[int, ...] = ()
    if reading.bound is not None:
        bound = reading.bound
        unmeasured = tuple(n for n in among if known[n - 1].length_m is None)
        cites = tuple(n for n in among if (m := known[n - 1].length_m) is not None and bound.holds(m))
        unsure = tuple(n for n in among if _straddles(known[n - 1], bound))
    what = filter_words(reading, len(cites))
    if reading.intent == "exists":
        words = f"Yes, {len(cites)} {what}." if cites else f"No, no {filter_words(reading, 1)}."
    elif reading.intent in LISTED:
        words = _listed(reading, [known[n - 1].label for n in cites])
    else:
        ending = " cut by the edge of the image" if reading.intent == "beyond" else ""
        words = f"{len(cites) or 'No'} {what if cites else filter_words(reading, 1)}{ending}."
    return Reply(cites, words, unsure, unmeasured)


def _passes(reading: Reading, place: PlaceKnown) -> bool:
    """Whether a place is asked about, lengths left aside."""
    if reading.label not in (None, "object", place.label):
        return False
    if not set(reading.parts) <= place.parts:
        return False
    if reading.intent == "beyond":
        return place.cut is True
    return reading.intent not in LISTED or place.change == reading.intent


def _straddles(place: PlaceKnown, bound: Bound) -> bool:
    return place.interval_m is not None and bound.holds(place.interval_m[0]) != bound.holds(
        place.interval_m[1]
    )


def _listed(reading: Reading, labels: Sequence[str]) -> str:
    """Say how many places changed so, by the class that they share where none was named."""
    count = len(labels)
    shared = labels[0] if len(set(labels)) == 1 else None
    label = reading.label if reading.label not in (None, "object") else shared
    which = f"{_bound_words(reading.bound)}{_part_words(reading.parts)}"
    if reading.intent in ("appeared", "gone"):
        return f"{count or 'No'} {noun(label, count or 1)}{which} {_LISTED[reading.intent]}."
    return f"{count or 'No'} {'place' if count < 2 else 'places'}{which} {_LISTED[reading.intent]}."


def _extreme(reading: Reading, known: Sequence[PlaceKnown]) -> Reply | Unanswerable:
    """Cite the longest, or the shortest; of equal ones the first."""
    longest = reading.intent == "longest"
    among = [n for n, each in enumerate(known, start=1) if _passes(reading, each)]
    measured = [(known[n - 1].length_m or 0.0, n) for n in among if known[n - 1].length_m is not None]
    if reading.bound is not None:
        measured = [(length, n) for length, n in measured if reading.bound.holds(length)]
    if not measured:
        ending = " whose length is known" if among else ""
        return Reply((), f"No {filter_words(reading, 1)}{ending}.")
    length = (max if longest else min)(length for length, _ in measured)
    place = next(n for value, n in measured if value == length)
    unmeasured = tuple(n for n in among if known[n - 1].length_m is None)
    of = filter_words(reading, 1) if reading.label or reading.bound else f"object{_part_words(reading.parts)}"
    words = f"The {reading.intent} {of} is {_length_words(known[place - 1])} long"
    kind = f" (a {known[place - 1].label})" if reading.label in (None, "object") else ""
    bound = reading.bound
    unsure = tuple(n for n in among if bound is not None and _straddles(known[n - 1], bound))
    return Reply((place,), f"{words}{kind}.", unsure, unmeasured)


def _length_words(place: PlaceKnown) -> str:
    words = f"about {about_m(place.length_m or 0.0):.0f} m"
    if place.interval_m is not None:
        low, high = place.interval_m
        words += f" ({low:.0f} to {high:.0f} m)"
    return words


def _of_one(reading: Reading, known: Sequence[PlaceKnown], it: int | None) -> Reply | Unanswerable:
    """Answer about one place: the one named, or the one that "it" is."""
    place = reading.place if reading.place is not None else it
    if place is None:
        return Unanswerable("which_one", "Which one is meant?")
    if not 1 <= place <= len(known):
        return Unanswerable("no_such_place", f"There is no place {place}: {len(known)} are known.")
    one = known[place - 1]
    if reading.intent == "what":
        return Reply((place,), f"It is a {one.label}.")
    if reading.intent == "length":
        if one.length_m is None:
            return Unanswerable("not_measured", "Its length is not known.")
        other = f" (a {one.label})" if reading.label in LABELS and reading.label != one.label else ""
        return Reply((place,), f"It{other} is {_length_words(one)} long.")
    if one.change not in CHANGES:
        return Unanswerable("not_compared", "Nothing is known of what happened there.")
    why = f" ({one.reason.replace('_', ' ')})" if one.reason else ""
    return Reply((place,), f"{_TOLD[one.change].format(label=one.label)}{why}.")


def _counted(reading: Reading, counts: tuple[int, int] | None) -> Reply | Unanswerable:
    if counts is None:
        return Unanswerable("not_compared", "No two passes are compared here.")
    before, after = counts
    if reading.intent == "more":
        word = "More" if after > before else "Fewer" if after < before else "As many"
        return Reply((), f"{word} ships: {before} before, then {after}.")
    count = before if reading.intent == "count_first" else after
    when = "in the earlier pass" if reading.intent == "count_first" else "in the later pass"
    return Reply((), f"{count or 'No'} {noun('ship', count or 1)} {when}.")


def _changed(reading: Reading, known: Sequence[PlaceKnown]) -> Reply:
    """Cite what came or went."""
    asked = {n: each.change for n, each in enumerate(known, start=1) if _passes(reading, each)}
    cites = tuple(n for n, change in asked.items() if change in ("appeared", "gone"))
    told = list(asked.values())
    parts = [f"{told.count(each)} {_LISTED[each]}" for each in ("appeared", "gone") if each in told]
    if parts:
        return Reply(cites, f"Yes, {' and '.join(parts)}.")
    return Reply(cites, "It cannot be told." if "cannot_tell" in told else "No.")


def thirds(
    x: float, y: float, names: tuple[str, str, str, str] = ("left", "right", "top", "bottom")
) -> frozenset[str]:
    """Return the outer thirds in which a position lies.

    Args:
        x: from the left, or the west, 0 to 1; NaN: no third.
        y: from the top, or the north.
        names: of the thirds at x's ends, then at y's.
    """
    found = set()
    for at, (low, high) in ((x, names[:2]), (y, names[2:])):
        if at * 3 < 1:
            found.add(low)
        elif at * 3 >= 2:
            found.add(high)
    return frozenset(found)
