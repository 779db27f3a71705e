"""Answers from what is known of the places: they cite exactly what passes, and say so."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.runtime.forms import CHANGES
from engine.runtime.marking import Bound
from engine.runtime.reading import Reading
from engine.runtime.replies import PlaceKnown, Reply, Unanswerable, about_m, reply, thirds

KNOWN = (
    PlaceKnown("ship", 120.0, (100.0, 140.0), False, frozenset({"left", "top"})),
    PlaceKnown("platform", 80.0, None, False),
    PlaceKnown("ship", 44.0, (30.0, 60.0), True, frozenset({"right", "bottom"})),
    PlaceKnown("ship", 301.0, (280.0, 320.0), False, frozenset({"right"})),
    PlaceKnown("turbine", None, None, False),
)
LISTING = ("which", "count", "exists", "third", "longer", "shorter")


def asked(intent: str, label: str | None = None, **slots: object) -> Reading:
    return Reading(intent, 1.0, label, **slots)  # type: ignore[arg-type]


def said(reading: Reading, known=KNOWN, **given) -> Reply:
    answer = reply(reading, known, **given)
    assert isinstance(answer, Reply)
    return answer


ANSWERS = [
    (asked("count", "ship"), (1, 3, 4), "3 ships."),
    (asked("which", "platform"), (2,), "1 platform."),
    (asked("count", "object"), (1, 2, 3, 4, 5), "5 objects."),
    (asked("exists", "turbine"), (5,), "Yes, 1 turbine."),
    (asked("longer", "ship", bound=Bound(100, True, True)), (1, 4), "2 ships longer than 100 m."),
    (asked("longer", "ship", bound=Bound(400, True, True)), (), "No ship longer than 400 m."),
    (asked("shorter", "ship", bound=Bound(44, False, True)), (), "No ship shorter than 44 m."),
    (asked("shorter", "ship", bound=Bound(44, False, False)), (3,), "1 ship of at most 44 m."),
    (asked("third", "ship", parts=("right",)), (3, 4), "2 ships in the right third."),
    (asked("third", "ship", parts=("bottom", "right")), (3,), "1 ship in the bottom right corner."),
    (asked("beyond", "object"), (3,), "1 object cut by the edge of the image."),
    (asked("longest", "ship"), (4,), "The longest ship is about 300 m (280 to 320 m) long."),
    (asked("shortest", "object"), (3,), "The shortest object is about 40 m (30 to 60 m) long (a ship)."),
    (asked("length", place=2), (2,), "It is about 80 m long."),
    (asked("length", "ship", place=2), (2,), "It (a platform) is about 80 m long."),
    (asked("what", place=5), (5,), "It is a turbine."),
]  # fmt: skip


@pytest.mark.parametrize(("reading", "cites", "words"), ANSWERS)
def test_answers_of_one_image(reading: Reading, cites: tuple[int, ...], words: str) -> None:
    answer = said(reading)
    assert (answer.cites, answer.words) == (cites, words)


def test_nothing_is_said_of_what_is_not_known() -> None:
    def why(reading: Reading, **given) -> str:
        answer = reply(reading, KNOWN, **given)
        assert isinstance(answer, Unanswerable)
        return answer.name

    assert why(asked("length", place=5)) == "not_measured"
    assert why(asked("what", place=6)) == "no_such_place"
    assert why(asked("what")) == "which_one"
    assert why(asked("third", "ship", parts=("north",))) == "parts"
    assert why(asked("more")) == why(asked("count_first")) == "not_compared"
    assert why(asked("happened", place=1)) == "not_compared"
    assert said(asked("what"), it=2).cites == (2,)
    assert said(asked("longest", "turbine")).words == "No turbine whose length is known."
    with pytest.raises(ValueError, match="describe"):
        reply(asked("describe"), KNOWN)


def test_lengths_near_a_bound_are_told_of() -> None:
    answer = said(asked("longer", "ship", bound=Bound(130, True, True)))
    assert answer.cites == (4,) and answer.unsure == (1,), "not counted, yet perhaps longer"
    assert said(asked("longer", "object", bound=Bound(50, True, True))).unmeasured == (5,)


def test_answers_of_two_images() -> None:
    known = [PlaceKnown("ship", 100.0, change=change) for change in (*CHANGES, "appeared")]
    told = {
        "appeared": ((1, 5), "2 ships appeared."),
        "gone": ((2,), "1 ship left."),
        "still_occupied": ((3,), "1 place still occupied."),
        "cannot_tell": ((4,), "1 place where it cannot be told what happened."),
        "changed": ((1, 2, 5), "Yes, 2 appeared and 1 left."),
        "more": ((), "More ships: 3 before, then 4."),
        "count_first": ((), "3 ships in the earlier pass."),
        "count_second": ((), "4 ships in the later pass."),
    }
    for intent, (cites, words) in told.items():
        answer = said(asked(intent), known, counts=(3, 4))
        assert (answer.cites, answer.words) == (cites, words)
    assert said(asked("more"), known, counts=(4, 3)).words.startswith("Fewer")
    assert said(asked("more"), known, counts=(3, 3)).words.startswith("As many")
    assert said(asked("happened", place=2), known).words == "The ship left."
    unclear = [replace(known[3], reason="no_pixels")]
    assert said(asked("happened"), unclear, it=1).words == "It cannot be told (no pixels)."
    assert said(asked("changed"), unclear).words == "It cannot be told."
    assert said(asked("changed"), known[2:3]).words == "No."


places = st.builds(
    PlaceKnown,
    st.sampled_from(("ship", "platform", "turbine")),
    st.one_of(st.none(), st.integers(10, 400).map(float)),
    st.none(),
    st.booleans(),
    st.frozensets(st.sampled_from(("left", "right", "top", "bottom"))),
    st.sampled_from(CHANGES),
)
bounds = st.builds(Bound, st.integers(10, 400).map(float), st.booleans(), st.booleans())
readings = st.builds(
    Reading,
    st.sampled_from((*LISTING, "beyond", *CHANGES)),
    st.just(1.0),
    st.sampled_from((None, "object", "ship", "platform", "turbine")),
    st.one_of(st.none(), bounds),
    st.lists(st.sampled_from(("left", "top")), unique=True).map(tuple),
)


def passes(reading: Reading, place: PlaceKnown) -> bool:
    """What a reading asks for, said once more and otherwise."""
    kinds = ("ship", "platform", "turbine") if reading.label in (None, "object") else (reading.label,)
    checks = [place.label in kinds, all(part in place.parts for part in reading.parts)]
    if (bound := reading.bound) is not None:
        length = -1.0 if place.length_m is None else place.length_m
        over, under = length >= bound.metres, 0 <= length <= bound.metres
        checks.append((over if bound.longer else under) and not (bound.strict and length == bound.metres))
    checks.append(reading.intent != "beyond" or bool(place.cut))
    checks.append(reading.intent not in CHANGES or place.change == reading.intent)
    return all(checks)


@given(readings, st.lists(places, max_size=8))
def test_cited_are_exactly_the_places_that_pass(reading: Reading, known: list[PlaceKnown]) -> None:
    answer = said(reading, known)
    assert answer.cites == tuple(n for n, each in enumerate(known, 1) if passes(reading, each))
    plain = re.sub(r"\d+ m\b", "", answer.words)
    found = [int(each) for each in re.findall(r"\d+", plain)]
    assert found == ([len(answer.cites)] if answer.cites else [])


@given(readings, st.lists(places, max_size=6), places)
def test_a_place_that_does_not_pass_changes_nothing(
    reading: Reading, known: list[PlaceKnown], more: PlaceKnown
) -> None:
    before, after = said(reading, known), said(reading, [*known, more])
    if passes(reading, more):
        assert after.cites == (*before.cites, len(known) + 1)
    else:
        assert (after.cites, after.words) == (before.cites, before.words)


@given(st.lists(places, min_size=1, max_size=8))
def test_the_longest_is_none_shorter_than_another(known: list[PlaceKnown]) -> None:
    lengths = [each.length_m for each in known if each.length_m is not None]
    for intent, most in (("longest", max), ("shortest", min)):
        cites = said(asked(intent, "object"), known).cites
        assert [known[n - 1].length_m for n in cites] == ([most(lengths)] if lengths else [])


@given(st.floats(1, 400))
def test_lengths_are_told_in_steps_of_a_pixel(length_m: float) -> None:
    assert about_m(length_m) % 10 == 0 and abs(about_m(length_m) - length_m) <= max(5.0, 10 - length_m)


def test_thirds() -> None:
    assert thirds(0.1, 0.5) == {"left"} and thirds(0.5, 0.9) == {"bottom"}
    assert thirds(0.9, 0.1, ("west", "east", "north", "south")) == {"east", "north"}
    assert thirds(0.5, 0.5) == set() and thirds(2 / 3, 1 / 3) == {"right"}
