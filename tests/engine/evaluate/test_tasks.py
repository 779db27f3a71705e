"""The tasks' metrics against cases worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from engine.errors import AnswerError
from engine.evaluate.change import ChangeAnswer, changes, majority_change, parse_change
from engine.evaluate.classes import classification, majority, named_class
from engine.evaluate.counting import counting, parse_count
from engine.evaluate.description import descriptions, stated
from engine.evaluate.metrics import Question, Thing
from engine.evaluate.places import cell_of, cells_of, localisation, overlap, parse_cells
from engine.runtime.forms import CELLS, CHANGES


def test_cells() -> None:
    assert cell_of(0, 0) == "top left"
    assert cell_of(63, 63) == "centre"
    assert cell_of(126, 63) == "right"
    assert cell_of(41.9, 42) == "left"
    things = [Thing("ship", (100, 0, 104, 4), 40, 0.5), Thing("ship", (0, 0, 4, 4), 40, 0.9)]
    assert cells_of(things, Question("ship")) == ["top left", "top right"]
    assert cells_of(things, Question("ship"), 0.6) == ["top left"]


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        (", ".join(CELLS), list(CELLS)),
        ("none", []),
        ("Top left and middle.", ["top left", "centre"]),
        ("top-centre, centre left, bottom center", ["top", "left", "bottom"]),
        ("upper right, upper right", ["top right"]),
    ],
)
def test_parse_cells(text: str, cells: list[str]) -> None:
    assert parse_cells(text) == cells


def test_localisation_by_hand() -> None:
    true = [["top", "left"], ["centre"], [], ["right"]]
    named = [["top"], ["centre", "left", "right"], [], list(CELLS)]
    assert [round(overlap(a, b), 3) for a, b in zip(named, true, strict=True)] == [0.5, 0.333, 1, 0.111]
    found = localisation(named, true, 20)
    assert [found["all"][name]["share"] for name in ("acc_100", "acc_50", "top_1", "recall_50")] == [
        0.25, 0.5, 0.75, 1.0,
    ]  # fmt: skip
    assert found["occupied"]["acc_100"]["share"] == 0
    assert found["occupied"]["acc_50"]["of"] == 3


def test_naming_every_cell_earns_nothing() -> None:
    true = [[cell] for cell in CELLS]
    found = localisation([list(CELLS)] * 9, true, 20)["occupied"]
    assert found["acc_100"]["share"] == found["acc_50"]["share"] == 0
    perfect = localisation(true, true, 20)["occupied"]
    assert all(each["share"] == 1 for each in perfect.values())


def test_counting_by_hand() -> None:
    assert [parse_count(text) for text in ("3", " 2.", "two", "-1", "")] == [3, 2, None, None, None]
    found = counting([0, 2, None, 9], [0, 1, 1, 7], 20)
    assert found["exact"]["share"] == 0.25
    assert found["valid"]["share"] == 0.75
    assert found["error"]["mean"] == 1
    assert found["by_true_count"]["1"]["of"] == 2
    assert found["by_true_count"]["6 and more"]["share"] == 0
    table = np.array(found["confusion"])
    assert table.sum() == 4
    assert table[1, 2] == table[1, 7] == table[6, 6] == table[0, 0] == 1


def test_classification_by_hand() -> None:
    found = classification(["a", "b", "b", None], ["a", "a", "b", "b"], resamples=50)
    assert found["accuracy"]["share"] == 0.5
    # a: 1 hit, 0 false, 1 missed; b: 1 hit, 1 false, 1 missed
    assert found["macro_f1"] == pytest.approx((2 / 3 + 1 / 2) / 2, abs=1e-4)
    assert found["classes"]["a"] == {"precision": 1.0, "recall": 0.5, "of": 2}
    assert found["majority"]["share"] == 0.5
    assert np.sum(found["confusion"]["table"]) == 4
    assert majority(["x", "y", "y"]) == "y"


def test_a_class_within_anothers_name() -> None:
    covers = ["vegetation", "flooded vegetation", "trees"]
    assert named_class("Flooded vegetation.", covers) == "flooded vegetation"
    assert named_class("trees or vegetation", covers) is None
    assert named_class("", covers) is None


def test_what_a_description_states() -> None:
    facts = stated("Rough sea; some land, flooded vegetation; 12 ships, 1 platform.")
    assert dict(facts.counts) == {"ship": 12, "platform": 1}
    assert (facts.land, facts.sea) == ("some land", "rough sea")
    assert facts.covers == {"flooded vegetation"}
    assert not stated("Calm sea; no land; nothing afloat.").counts


def test_descriptions_by_hand() -> None:
    true = ["Calm sea; some land, trees; 2 ships.", "Calm sea; no land; nothing afloat."]
    given = ["Calm sea; some land, crops; 1 ship.", "Calm sea; no land, trees; nothing afloat."]
    found = {name: each["share"] for name, each in descriptions(given, true, 20).items()}
    assert found == {
        "counts": 0.5, "classes": 1, "land": 1, "sea": 1, "land_cover": 0, "cover_invented": 1, "all": 0,
    }  # fmt: skip
    perfect = descriptions(true, true, 20)
    assert perfect["all"]["share"] == perfect["land_cover"]["share"] == 1


def test_change_by_hand() -> None:
    text = '{"1": "appeared", "2": "still_occupied", "before": 1, "after": 2}\nOne ship appeared.'
    assert parse_change(text, 2) == ChangeAnswer(("appeared", "still_occupied"), 1, 2)
    true = [parse_change(text, 2), ChangeAnswer(("gone",), 1, 0)]
    found = changes([ChangeAnswer(("appeared", "gone"), 1, 4), None], true, 20)
    assert found["places"]["accuracy"]["share"] == pytest.approx(1 / 3, abs=1e-4)
    assert found["pairs_exact"]["share"] == found["counts_exact"]["share"] == 0
    assert found["count_error"]["mean"] == 1
    assert (found["change_seen"]["share"], found["valid"]["share"]) == (0.5, 0.5)
    perfect = changes(true, true, 20)
    assert perfect["places"]["macro_f1"] == perfect["pairs_exact"]["share"] == 1
    assert majority_change([true[1], true[1], true[0]])[0] == ChangeAnswer(("gone",), 1, 0)


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"1": "moved"}', '{"2": "gone"}', '{"1": "gone", "3": "gone"}', '{"1": "gone", "2": "gone"}'],
)
def test_other_places_and_words_are_refused(text: str) -> None:
    with pytest.raises(AnswerError):
        parse_change(text, 1)
    assert "moved" not in CHANGES
