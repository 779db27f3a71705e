"""Every record of every task is asked and answered in the form that the runtime reads."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest

from engine.data.asks import (
    CHIP_TASKS,
    ChipFacts,
    brightest_clutter,
    chip_asks,
    describe,
)
from engine.data.records import parse_record, read_records, write_records
from engine.data.simulated import draw_dates, pair_records, write_pairs
from engine.data.triplets import record_prompt
from engine.errors import DatasetError, InputError
from engine.evaluate.items import from_records
from engine.export.bundle import TASKS
from engine.runtime import forms
from engine.runtime.text import parse_detections, prompt
from engine.simulate.pairs import make_pairs


@dataclass
class Target:
    box_px: tuple[float, float, float, float]
    class_: str = "ship"
    length_m: float | None = 100.0


TARGETS = [
    Target((-4, 60, 8, 66)),
    Target((60, 60, 70, 66), length_m=220.0),
    Target((90, 9, 99, 20), "platform"),
]


def facts(**changes) -> ChipFacts:
    pixels = np.random.default_rng(0).integers(1, 90, (3, 126, 126), dtype=np.uint8)
    pixels[:, 100, 30] = 255
    values = {"targets": TARGETS, "pixels": pixels, "sea_db": -18.0, "land_fraction": 0.0,
              "land_cover": None, "prior": False}  # fmt: skip
    return ChipFacts(**{**values, **changes})


def asks(seed: int = 0, shares=None, **changes):
    shares = dict.fromkeys(CHIP_TASKS, 1.0) if shares is None else shares
    return {each.task: each for each in chip_asks(facts(**changes), 252, shares, np.random.default_rng(seed))}


def test_answers_of_all_tasks_parse_and_are_true() -> None:
    for seed in range(60):
        made = asks(seed)
        assert set(made) == set(CHIP_TASKS)
        assert len(parse_detections(made["detection"].answer)) == 3
        assert forms.parse_count(made["counting"].answer) == 2
        assert forms.parse_cells(made["localisation"].answer) == ("left", "centre")
        label = forms.parse_choice(made["classification"].answer, TASKS["classification"].labels)
        (place,) = made["classification"].known
        where = np.array(place.box_px).reshape(2, 2).mean(0)
        expected = {"platform": (94.5, 14.5), forms.CLUTTER: (30.5, 100.5)}.get(label)
        if expected is not None:
            assert np.abs(where - expected).max() < 3
        assert forms.parse_choice(made["landcover"].answer, TASKS["landcover"].labels) == forms.NO_LAND
        cites, words = forms.parse_question(made["question"].answer, len(made["question"].known))
        assert words
        asked = made["question"].question.partition(" 1: ")[0]
        if "platforms" in asked and "place" not in asked and words.startswith("There"):
            assert cites == (1,)  # the first in the order of the tokens
        if words.endswith("such object."):
            assert len(cites) == 1
    asked = Counter(asks(seed, {"question": 1.0})["question"].answer == forms.REFUSAL for seed in range(200))
    assert 30 < asked[True] < 90


def test_shares_decide_what_is_asked() -> None:
    assert asks(shares={}) == {}
    counts = Counter(task for seed in range(300) for task in asks(seed, {"counting": 0.3, "detection": 1}))
    assert counts["detection"] == 300
    assert 60 < counts["counting"] < 120
    with pytest.raises(InputError, match="of one chip"):
        asks(shares={"change": 1})


def test_what_is_not_known_is_not_told() -> None:
    assert asks(land_fraction=0.5, land_cover="trees")["landcover"].answer == forms.UNKNOWN
    assert asks(land_fraction=0.5, land_cover="trees", prior=True)["landcover"].answer == "trees"
    assert "landcover" not in asks(land_fraction=None)
    assert describe(facts(sea_db=None)) is None
    assert "trees" not in describe(facts(land_fraction=0.5, land_cover="trees"))
    assert "trees" in describe(facts(land_fraction=0.5, land_cover="trees", prior=True))
    assert brightest_clutter(np.zeros((3, 126, 126), np.uint8), []) is None
    unmeasured = [replace_length(target) for target in TARGETS]
    for seed in range(40):
        assert " m long" not in asks(seed, {"question": 1}, targets=unmeasured)["question"].answer


def replace_length(target: Target) -> Target:
    return replace(target, length_m=None)


def test_pairs_become_records_that_survive_the_file(tmp_path) -> None:
    pairs = make_pairs(6, 2)
    records = write_pairs(tmp_path, pairs, "train", 252, first=4)
    changes = [record for record in records if record.task == "change"]
    assert len(changes) == 6
    write_records(tmp_path / "stage2.jsonl", records)
    for record, read in zip(records, read_records(tmp_path / "stage2.jsonl"), strict=True):
        assert replace(read, known=(), truth=()) == replace(record, known=(), truth=())
        (item,) = from_records([read])
        request = item.request(item.asks[0])
        assert len(request.chips) == 2
        assert len(request.dates) == 2
        # a record's prompt and that of its request are one and the same
        assert prompt(request, [4, 4], scale=2.0) == record_prompt(read, 4)
    for record, pair in zip(changes, pairs, strict=True):
        read = forms.parse_change(record.answer, len(pair.places))
        assert read.changes == pair.changes
        assert read.before == sum(target.class_ == "ship" for target in pair.truth[0])
        assert record.id.startswith("train-pair-00000")


def test_equal_names_give_equal_records() -> None:
    (pair,) = make_pairs(1, 9)
    assert pair_records(pair, "a", None, 252) == pair_records(pair, "a", None, 252)
    assert draw_dates("a", 12) != draw_dates("b", 12)
    known = [bool(draw_dates(str(n))) for n in range(400)]
    assert 150 < sum(known) < 250


@pytest.mark.parametrize(
    ("field", "value", "what"),
    [
        ("dates", ["2023-13-01"], "ISO"),
        ("dates", ["2023-01-01", "2023-01-02"], "one an image"),
        ("known", [{"box_px": [1, 2, 3]}], "box_px"),
        ("known", [{"box_px": [1, 2, 3, 4], "seen": "often"}], "seen"),
    ],
)
def test_malformed_fields_are_refused(field, value, what) -> None:
    line = {"id": "1", "image": "x.png", "coordinate_size": 252, "question": "?", "answer": "[]"}
    parse_record(line)
    with pytest.raises(DatasetError, match=what):
        parse_record(line | {field: value})
