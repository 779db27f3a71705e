"""Free questions: many wordings, one truth, in the form that the runtime reads."""

from __future__ import annotations

import re
from collections import Counter, defaultdict

import numpy as np
import pytest

from daemon.ask.refusals import by_rule
from engine.data import unanswerable, wordings
from engine.data.phrases import (
    CHIP_INTENTS,
    PAIR_INTENTS,
    Known,
    Phrase,
    chip_phrase,
    how_many,
    pair_phrase,
    third_of,
)
from engine.runtime import forms
from engine.runtime.text import QUESTIONS

DRAWS = 6000
KNOWN = (
    Known("ship", (10, 8, 20, 22), 120.0, False),
    Known("platform", (58, 50, 70, 62), 80.0, False),
    Known("ship", (100, 100, 104, 106), 44.0, False),
    Known("ship", (90, 60, 126, 66), 301.0, False),
)
CUT = (*KNOWN, Known("ship", (60, 115, 66, 126), None, True), Known("turbine", (4, 60, 7, 63), None, False))
CHANGES = ("appeared", "gone", "still_occupied", "cannot_tell", "appeared")
WORDS = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ,;:.?!%'()/+-]*")  # what the grammar lets an answer say


def drawn(known=KNOWN, draws: int = DRAWS, seed: int = 0) -> list[Phrase]:
    rng = np.random.default_rng(seed)
    return [chip_phrase(known, True, rng) for _ in range(draws)]


def of_pair(changes=CHANGES, counts=(3, 4), draws: int = DRAWS, seed: int = 0) -> list[Phrase]:
    rng = np.random.default_rng(seed)
    return [pair_phrase(changes, counts, rng) for _ in range(draws)]


@pytest.fixture(scope="module")
def chip() -> list[Phrase]:
    return drawn()


@pytest.fixture(scope="module")
def pair() -> list[Phrase]:
    return of_pair()


def cites(phrase: Phrase) -> tuple[int, ...]:
    return forms.parse_question(phrase.answer, 24)[0]


def test_every_answer_is_read_by_the_runtime(chip, pair) -> None:
    given = [(phrase, len(KNOWN)) for phrase in chip] + [(phrase, len(CHANGES)) for phrase in pair]
    given += [(phrase, 6) for phrase in drawn(CUT, 1500)] + [(phrase, 0) for phrase in drawn((), 1500)]
    given += [(phrase, 0) for phrase in of_pair((), (0, 0), 1500)]
    for phrase, places in given:
        cited, words = forms.parse_question(phrase.answer, places)
        assert WORDS.fullmatch(words)
        assert (phrase.intent == "refused") == (phrase.answer == forms.REFUSAL)
        assert phrase.text.isascii()
        assert 2 <= len(phrase.text) <= 110
        assert not set("{}[]\n") & set(phrase.text)
        assert "  " not in phrase.text
        assert phrase.text not in QUESTIONS.values()
        if not places:
            assert not cited


def test_wordings_are_many_and_intents_are_balanced(chip, pair) -> None:
    for phrases, intents in ((chip, CHIP_INTENTS), (pair, PAIR_INTENTS)):
        counts = Counter(phrase.intent for phrase in phrases)
        assert set(counts) == {*intents, "refused"}
        assert 0.28 < counts["refused"] / DRAWS < 0.38
        for intent in intents:
            assert counts[intent] > 0.03 * DRAWS
    texts = defaultdict(set)
    for phrase in [*drawn(draws=20_000, seed=5), *of_pair(draws=20_000, seed=5)]:
        texts[phrase.intent].add(phrase.text.lower().rstrip("?.!"))
    assert min(len(texts[intent]) for intent in (*CHIP_INTENTS, *PAIR_INTENTS)) > 300
    assert len(texts["refused"]) > 4000


def test_lengths_agree_with_what_the_words_ask(chip) -> None:
    strict = r"longer than|above|over|more than|bigger than|larger than|greater than|exceeding|>(?!=)"
    seen = Counter()
    for phrase in chip:
        if phrase.intent not in ("longer", "shorter"):
            continue
        (limit,) = (int(number) for number in re.findall(r"\d+", phrase.text))
        assert 20 <= limit <= 350
        lengths = {n: each.length_m for n, each in enumerate(KNOWN, 1) if each.label == "ship"}
        sign = 1 if phrase.intent == "longer" else -1
        found = tuple(n for n, length in lengths.items() if sign * (length - limit) > 0)
        equal = tuple(n for n, length in lengths.items() if length == limit)
        if equal and phrase.intent == "longer" and re.search(strict, phrase.text):
            assert not set(cites(phrase)) & set(equal)
        assert set(found) <= set(cites(phrase)) <= set(found) | set(equal)
        assert phrase.answer.endswith(how_many(len(cites(phrase)), "such ship"))
        seen[phrase.intent, len(cites(phrase))] += 1
    assert len(seen) == 8  # none, one, two and three of both intents
    assert min(seen.values()) > 5


def test_thirds_agree_with_the_centre(chip) -> None:
    assert third_of((0, 0, 10, 10)) == {"top", "left"}
    assert third_of((60, 60, 66, 66)) == set()
    assert third_of((83, 41, 85, 43)) == {"right"}
    assert third_of((40, 120, 42, 126)) == {"bottom", "left"}
    inside = {"top": (1,), "left": (1,), "bottom": (3,), "right": (3, 4)}
    checked = 0
    for phrase in chip:
        sides = [side for side, words in wordings.PARTS.items() if any(w in phrase.text for w in words)]
        ship = re.search(r"\b(ships|vessels|boats|craft)\b", phrase.text)
        if phrase.intent == "third" and len(sides) == 1 and ship:
            assert cites(phrase) == inside[sides[0]]
            checked += 1
    assert checked > 100


def test_classes_counts_and_lengths_are_true(chip) -> None:
    of = {"ship": (1, 3, 4), "platform": (2,), "turbine": (), "object": (1, 2, 3, 4)}
    names = {word: label for label, words in wordings.MANY.items() for word in words}
    checked = Counter()
    for phrase in chip:
        words = phrase.answer.partition("\n")[2]
        label = next((names[word] for word in sorted(names, key=len) if f" {word}" in phrase.text), None)
        if phrase.intent == "count" and label:
            assert cites(phrase) == of[label]
            assert words == how_many(len(of[label]), label)
        elif phrase.intent == "exists" and label:
            assert words == (f"Yes, {len(of[label])}." if of[label] else "No.")
        elif phrase.intent in ("longest", "shortest"):
            assert cites(phrase) == ((4,) if phrase.intent == "longest" else (3,))
            assert words == f"It is about {300 if phrase.intent == 'longest' else 40} m long."
        elif phrase.intent in ("length", "what"):
            (place,) = (int(number) for number in re.findall(r"\d+", phrase.text))
            assert cites(phrase) == (place,)
            about = {1: "120", 2: "80", 3: "40", 4: "300"}[place]
            told = f"It is about {about} m long."
            assert words == (told if phrase.intent == "length" else f"It is a {KNOWN[place - 1].label}.")
        else:
            continue
        checked[phrase.intent] += 1
    assert min(checked[intent] for intent in ("count", "exists", "longest", "length", "what")) > 100


def test_what_the_image_does_not_show_is_not_asked() -> None:
    intents = {phrase.intent for phrase in drawn(CUT, 3000)}
    assert not intents & {"longer", "shorter", "longest", "shortest"}
    assert {cites(phrase) for phrase in drawn(CUT, 3000) if phrase.intent == "beyond"} == {(5,)}
    assert {cites(p)[0] for p in drawn(CUT, 3000) if p.intent == "length"} == {1, 2, 3, 4}
    rng = np.random.default_rng(0)
    assert {chip_phrase(KNOWN, False, rng).intent for _ in range(500)} == {"what", "length", "refused"}
    assert not {phrase.intent for phrase in drawn((), 1500)} & {"what", "length", "longest"}
    (short,) = {
        p.answer for p in drawn((Known("ship", (1, 1, 4, 4), 3.0, False),), 900) if p.intent == "length"
    }
    assert short == "[1]\nIt is about 10 m long."


def test_changes_are_true(pair) -> None:
    where = {
        "appeared": (1, 5),
        "gone": (2,),
        "still_occupied": (3,),
        "cannot_tell": (4,),
        "changed": (1, 2, 5),
    }
    words = {1: "A ship appeared.", 2: "It left.", 3: "It is still occupied.", 4: "It cannot be told."}
    for phrase in pair:
        told = phrase.answer.partition("\n")[2]
        if phrase.intent in where:
            assert cites(phrase) == where[phrase.intent]
        elif phrase.intent == "happened":
            (place,) = (int(number) for number in re.findall(r"\d+", phrase.text))
            assert cites(phrase) == (place,)
            assert told == words[place if place < 5 else 1]
        elif phrase.intent == "more":
            assert told == "More: 3, then 4."
        elif phrase.intent != "refused":
            assert told == f"There are {3 if phrase.intent == 'count_first' else 4} ships."
    same = {p.answer for p in of_pair(("still_occupied",), (1, 1), 900) if p.intent == "changed"}
    assert same == {"[]\nNo."}
    unclear = {p.answer for p in of_pair(("cannot_tell",), (1, 1), 900) if p.intent == "changed"}
    assert unclear == {"[]\nIt cannot be told."}
    assert {p.answer for p in of_pair((), (2, 0), 900) if p.intent == "more"} == {"[]\nFewer: 2, then 0."}


def test_places_that_are_not_known_are_refused(chip, pair) -> None:
    for phrases, places in ((chip, 4), (pair, 5), (drawn((), 2000), 0)):
        strange = 0
        for phrase in phrases:
            asked = re.search(r"(?i)\b(?:place|position|spot|place number|number|point) (\d+)", phrase.text)
            if asked and int(asked[1]) > places:
                assert phrase.intent == "refused"
                strange += 1
        assert strange > 50


def test_rules_refuse_no_wording_that_has_an_answer(chip, pair) -> None:
    refused = {
        phrase.text for phrase in [*chip, *pair] if phrase.intent != "refused" and by_rule(phrase.text)
    }
    assert refused == set()


def test_equal_generators_ask_equally() -> None:
    assert drawn(draws=200, seed=3) == drawn(draws=200, seed=3)
    assert drawn(draws=200, seed=3) != drawn(draws=200, seed=4)
    assert of_pair(draws=200, seed=3) == of_pair(draws=200, seed=3)


def test_templates_name_only_what_there_is() -> None:
    given = {"k", "n", "one", "many", "part", "side", "bound", "with_bound", "most", *unanswerable.WORDS}
    templates = [*wordings.CHIP.values(), *wordings.PAIR.values(), *wordings.TABLES.values()]
    templates += [*unanswerable.OF_ONE.values(), *unanswerable.OF_TWO.values()]
    for template in (each for table in templates for each in table):
        assert set(re.findall(r"\{(\w+)\}", template)) <= given | set(wordings.TABLES)
