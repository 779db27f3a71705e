"""The reader of questions: what it understands, and above all what it does not."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data.asked import agree, draw, templates
from engine.errors import ArtifactError
from engine.runtime.marking import Bound, mark
from engine.runtime.reading import REFUSED, Reading, Weights, read, shipped

LONGER, AT_LEAST = (True, True), (True, False)
UNDERSTOOD = {
    "how many ships longer than 200 m are there?": Reading("longer", 0, "ship", Bound(200, *LONGER)),
    "Any vessels over 0.3 km in the north?": Reading("longer", 0, "ship", Bound(300, *LONGER), ("north",)),
    "any craft of at least three hundred feet?": Reading("longer", 0, "ship", Bound(91.44, *AT_LEAST)),
    "how many ships are 150 metres or longer": Reading("longer", 0, "ship", Bound(150, *AT_LEAST)),
    "which ships are no longer than a hundred and fifty metres?": Reading(
        "shorter", 0, "ship", Bound(150, False, False)
    ),
    "which of them are platforms?": Reading("which", 0, "platform"),
    "how many ships are in this area": Reading("count", 0, "ship"),
    "Number of contacts?": Reading("count", 0, "object"),
    "is there an oil rig here": Reading("exists", 0, "platform"),
    "Show me all wind turbines": Reading("which", 0, "turbine"),
    "how many boats are in the north-western part of the area?": Reading(
        "third", 0, "ship", None, ("north", "west")
    ),
    "which ships lie in the upper left corner of the image?": Reading(
        "third", 0, "ship", None, ("top", "left")
    ),
    "what is the length of the longest ship in the south?": Reading("longest", 0, "ship", None, ("south",)),
    "Please list the smallest vessel in the eastern third": Reading("shortest", 0, "ship", None, ("east",)),
    "what is it?": Reading("what", 0),
    "how long is this ship?": Reading("length", 0, "ship"),
    "how long is the vessel at place number 4?": Reading("length", 0, "ship", place=4),
    "describe the scene": Reading("describe", 0),
    "what is new since the last pass?": Reading("appeared", 0),
    "which ships have gone since last time": Reading("gone", 0, "ship"),
    "which ships are no longer there?": Reading("gone", 0, "ship"),
    "Which ships stayed?": Reading("still_occupied", 0, "ship"),
    "where can you not tell what changed?": Reading("cannot_tell", 0),
    "Is it still there?": Reading("happened", 0),
    "Has anything changed since the last pass?": Reading("changed", 0),
    "more ships than before?": Reading("more", 0, "ship"),
    "how many vessels were there last time": Reading("count_first", 0, "ship"),
}  # fmt: skip

# Conditions that there is no slot for, negations, several questions at once, numbers that no slot took.
NOT_UNDERSTOOD = """
which ships are not platforms?
how many ships that are not platforms are there?
how many objects except ships?
how many ships excluding those under 50 m?
how many ships without AIS?
how many ships and platforms are there?
are there ships or turbines?
how many ships are there, and which is the longest?
How many ships are there? Which is the longest?
how many ships between 100 and 200 m?
how many ships over 100 m and under 200 m?
how many ships longer than 100 m but shorter than 200 m?
how many ships near Rotterdam?
how many ships within 5 km of the coast?
how many ships are there in the harbour?
how many red ships are there?
how many ships were there at 05:40?
how many ships on 3 May?
how many ships were there yesterday?
what is new since yesterday?
what is new since Monday?
how many ships came in the last 24 hours?
how many tankers are there?
how many fishing boats are there?
is it a tanker?
how many large ships are there?
are there more than 5 ships?
are there at least 3 ships?
which are the 3 longest ships?
what is the second longest ship?
which ships are longer than the platform?
which ships are north of the platform?
how many ships in the north of Norway?
how many ships in the left half?
how many ships in the middle?
is the ship at place 3 longer than the one at place 4?
how many ships are 100 m wide?
how many ships over 5000 tons?
how many ships are larger than 5?
is the number of ships larger than 5?
how many ships longer than 2 days?
how many ships lie beside it?
which ships left after 10 o'clock?
how many ships are exactly 100 m long?
how many 100 m ships are there?
how many ships are about 100 m long?
which ships are new and longer than 100 m?
which ships are neither new nor gone?
how many ships other than the longest?
how many of the new ships is the longest?
what is the average length of the ships?
combien de navires y a-t-il ?
wie viele Schiffe?
how many ships are in sector 7?
how many ships had we in 2019?
how many ships are in Singapore
how many ships are there that did not leave?
how many ships stayed and how many left?
how many ships in the last pass?
how many ships in the top bottom third?
what is in the longest ship?
what is a ship?
how long is a boat?
""".strip().splitlines()


def slots(reading: Reading | None) -> Reading | None:
    return None if reading is None else dataclasses.replace(reading, probability=0)


@pytest.mark.parametrize("question", UNDERSTOOD)
def test_an_officers_questions_are_understood(question: str) -> None:
    wanted = UNDERSTOOD[question]
    for asked in (question, question.upper(), f"  Please: {question}\n", f"Hello. {question}"):
        assert agree(slots(read(asked)), wanted), read(asked)


@pytest.mark.parametrize("question", NOT_UNDERSTOOD)
def test_what_would_be_half_understood_is_not(question: str) -> None:
    for asked in (question, question.lower().rstrip("?"), f"could you tell me {question}"):
        found = read(asked)
        assert found is None or found.intent == REFUSED, found


CONDITIONS = (
    "near the coast", "in Rotterdam", "at 14:30", "since 1999", "without lights", "but not platforms",
    "except turbines", "and platforms", "or turbines", "7 of them", "of Norway", "painted red", "at anchor",
    "with AIS", "heading west", "on Monday", "within 3 km", "next to it", "and how long are they",
    "that are not moored", "2 miles away", "in the fog",
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(UNDERSTOOD)), st.sampled_from(CONDITIONS))
def test_a_condition_more_is_never_left_out(question: str, condition: str) -> None:
    found = read(f"{question.rstrip('?')} {condition}?")
    assert found is None or found.intent == REFUSED, found


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=80))
def test_any_text_is_read_without_an_error(text: str) -> None:
    found = read(text)
    assert found is None or 0 < found.probability <= 1


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 999), st.sampled_from(["m", "metres", "meters", "-metre"]), st.booleans())
def test_bounds_are_read_in_any_unit(metres: int, unit: str, longer: bool) -> None:
    word = "longer" if longer else "shorter"
    (bound,) = mark(f"which ships are {word} than {metres} {unit}").bounds
    assert bound == Bound(metres, longer, True)
    (bound,) = mark(f"which ships are {word} than {metres / 1000} km").bounds
    assert bound.metres == pytest.approx(metres)


@pytest.mark.parametrize(
    ("words", "metres"),
    [("two hundred", 200), ("a hundred", 100), ("one hundred and twenty five", 125), ("ninety nine", 99),
     ("one thousand", 1000), ("twelve", 12)],
)  # fmt: skip
def test_numbers_in_words(words: str, metres: float) -> None:
    assert [bound.metres for bound in mark(f"ships over {words} metres").bounds] == [metres]


def test_a_bound_on_its_edge() -> None:
    assert Bound(100, True, False).holds(100) and not Bound(100, True, True).holds(100)
    assert Bound(100, False, True).holds(99.9) and not Bound(100, False, False).holds(100.1)


def test_weights_of_another_reader_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError):
        Weights.load(tmp_path / "none.npz")
    path = tmp_path / "weights.npz"
    dataclasses.replace(shipped(), matrix=shipped().matrix[:100]).save(path)
    with pytest.raises(ArtifactError, match="another reader"):
        Weights.load(path)
    shipped().save(path)
    assert Weights.load(path).digest == shipped().digest


def test_drawn_questions_are_read_as_meant() -> None:
    rng = np.random.default_rng(77)
    asked = list(draw(templates(), 2, rng))
    can = [one for one in asked if one.reading is not None and one.intent != REFUSED]
    found = [read(one.text) for one in can]
    assert np.mean([one is not None and one.intent != REFUSED for one in found]) > 0.95
    wrong = [
        (one.text, f) for one, f in zip(can, found, strict=True) if f is not None and f.intent != REFUSED
        and not agree(f, one.reading)
    ]  # fmt: skip
    assert len(wrong) < 0.005 * len(can), wrong
    others = [(one.text, f) for one in asked if one.reading is None and (f := read(one.text)) is not None]
    others = [
        each for each in others if each[1].bound is None or "are not" not in each[0]
    ]  # at most, at least
    assert [each for each in others if each[1].intent != REFUSED] == []
    never = [(one.text, f) for one in asked if one.intent == REFUSED and (f := read(one.text)) is not None]
    told = [each for each in never if each[1].intent != REFUSED and "happened between" not in each[0].lower()]
    assert told == []


@pytest.mark.parametrize(
    "question",
    [
        "how many ships are left now?",
        "which ships are left here?",
        "are any ships left?",
        "is there any ship left?",
        "which ships fit wholly in the image?",
        "which ships fit entirely in the image?",
        "which ships are fully visible?",
        "how many positions were occupied earlier?",
        "which places were occupied first?",
        "were places occupied before?",
        "is the longest ship shorter than 200 m?",
        "is the shortest ship under 50 m?",
        "is the longest ship in the north?",
        "is the largest ship on the left?",
        "is the biggest thing a platform?",
        "how many ships appear longer than 100 m?",
        "which ships came from the north?",
        "how many ships departed to the east?",
        "which ships arrived from the north?",
        "how many ships went to the south?",
        "are the ships larger now than before?",
        "is it larger than before?",
        "did it grow?",
        "how many images contain ships?",
        "how many places have ships?",
        "what is the largest number of ships?",
        "which place has the largest number?",
        "are there short ships?",
        "how many short ships are there?",
        "how many ships pass here?",
        "how many ships are out?",
        "how many ships are up?",
        "are all ships longer than 100 m?",
        "is every ship longer than 50 m?",
        "are all ships in the north?",
        "did all ships leave?",
        "are all ships new?",
        "did everything change?",
        "is the ship longer than 100 m?",
        "ships longer than 1.000 m",
        "how many ships longer than one fifty m?",
        "ships longer than two fifty metres",
        "ships over three fifty metres",
        "ships longer than twenty thirty metres",
        "ships over two two two m",
        "ships over nineteen eighty m",
        "did all the ships go?",
        "did every ship stay?",
        "do the ships fit in the image?",
        "what is in the lower third?",
        "ships in the NW",
        "did any come from the west?",
        "did the number of ships stay?",
        "did the largest ship leave?",
        "a" * 250,
        f"how many ships longer than {'9' * 320} m?",
    ],
)
def test_what_words_alone_would_read_the_wrong_way_is_not_understood(question: str) -> None:
    """Each of these was read as another question once, or refused for good."""
    assert read(question) is None


@pytest.mark.parametrize(
    ("question", "intent"),
    [
        ("which ships left since the last pass?", "gone"),
        ("how many ships left?", "gone"),
        ("are there ships on the left?", "third"),
        ("which ships do not fit fully in the image?", "beyond"),
        ("the longest ship in the north?", "longest"),
        ("how many ships appeared in the north?", "appeared"),
        ("is there a ship longer than two hundred and fifty metres?", "longer"),
        ("ships at least twenty five m long", "longer"),
        ("how many places are still occupied?", "still_occupied"),
    ],
)
def test_what_is_near_a_trap_is_understood(question: str, intent: str) -> None:
    reading = read(question)
    assert reading is not None and reading.intent == intent
