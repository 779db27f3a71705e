"""The baselines of change questions on pairs whose answer is known, and what the controls count."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from engine.evaluate import cfar
from engine.evaluate.benchmark_command import agreement
from engine.evaluate.change import ChangeAnswer, changes
from engine.evaluate.pair_controls import Asker, ask_pairs
from engine.evaluate.pairwise import (
    PairQuestion,
    by_the_list,
    detections,
    fit_log_ratio,
    has_data,
    level_db,
    log_ratio,
)
from engine.runtime.forms import change_text
from engine.runtime.image import CHIP_PX, channels
from engine.runtime.text import Answer, Request

PLACES = ((30.0, 30.0, 37.0, 35.0), (80.0, 60.0, 87.0, 65.0), (50.0, 100.0, 57.0, 105.0))
WORDS = ("appeared", "gone", "still_occupied")


def chip(seed: int, ships: Sequence[int], sea: float = 0.02) -> np.ndarray:
    rng = np.random.default_rng(seed)
    vv, vh = (level * rng.gamma(10, 0.1, (CHIP_PX, CHIP_PX)) for level in (sea, sea / 5))
    for place in ships:
        x1, y1, x2, y2 = (int(edge) for edge in PLACES[place])
        vv[y1:y2, x1:x2] += 0.6
        vh[y1:y2, x1:x2] += 0.06
    return channels(vv, vh, np.ones((CHIP_PX, CHIP_PX), bool))


def pair(seed: int, sea_after: float = 0.02) -> PairQuestion:
    """Place 0 gets a ship, place 1 loses one, place 2 keeps one."""
    return PairQuestion(
        str(seed),
        (chip(seed, (1, 2)), chip(seed + 1000, (0, 2), sea_after)),
        PLACES,
        ("after", "before", ""),
        ChangeAnswer(WORDS, 2, 2),
    )


def test_both_baselines_answer_what_is_plain() -> None:
    for question in (pair(0), pair(1, sea_after=0.03)):  # a rougher sea is no change
        assert log_ratio(question, 3.0, 3.0).changes == WORDS
        assert detections(question, cfar.detect, cfar.OPERATING) == question.true
    assert by_the_list(pair(0), "cannot_tell").changes == ("appeared", "gone", "cannot_tell")


def test_where_there_is_no_data_nothing_is_told() -> None:
    question = pair(2)
    question.chips[0][:, :40] = 0
    assert not has_data(question.chips[0], PLACES[0])
    assert log_ratio(question, 3.0, 3.0).changes == ("cannot_tell", *WORDS[1:])
    assert detections(question, cfar.detect, cfar.OPERATING).changes[0] == "cannot_tell"


def test_thresholds_are_fitted() -> None:
    questions = [pair(seed) for seed in range(4)]
    fitted = fit_log_ratio(questions)
    assert all(log_ratio(question, *fitted).changes == WORDS for question in questions)
    assert level_db(questions[0].chips[1], PLACES[0]) > 5 > abs(level_db(questions[0].chips[0], PLACES[0]))


class Looks:
    """An engine that sees: compares what stands out at each place."""

    class bundle:  # noqa: N801
        class manifest:  # noqa: N801
            tasks = {"change": None, "detection": None}

    def ask(self, requests: Sequence[Request], progress=None) -> list[Answer]:
        return [Answer(self._answer(request)) for request in requests]

    def _answer(self, request: Request) -> str:
        boxes = tuple(place.box_px for place in request.known)
        question = PairQuestion("", request.chips, boxes, ("",) * len(boxes), ChangeAnswer(()))
        found = detections(question, cfar.detect, cfar.OPERATING)
        return change_text(found.changes, found.before, found.after)


class Reads(Looks):
    """An engine that does not look: answers from the list of places."""

    def _answer(self, request: Request) -> str:
        told = {"before": "gone", "after": "appeared"}
        return change_text([told.get(place.seen, "still_occupied") for place in request.known], 2, 2)


@pytest.mark.parametrize(("engine", "looks"), [(Looks(), True), (Reads(), False)])
def test_the_controls_tell_who_looks(engine: Looks, looks: bool) -> None:
    questions = [pair(seed) for seed in range(5)]
    own, controls = ask_pairs(Asker(engine), questions)
    assert changes(own, [q.true for q in questions], 20)["pairs_exact"]["share"] == 1  # both look perfect
    swapped, old = controls["images swapped"]["share"], controls["images swapped, old answer"]["share"]
    invented = controls["same image twice"]["share"]
    withheld = controls["before withheld"]["share"]
    third = pytest.approx(1 / 3, abs=1e-3)
    assert (swapped, old) == ((1, third) if looks else (third, 1))
    assert invented == (0 if looks else pytest.approx(2 / 3, abs=1e-3))
    assert (withheld < 0.5) is looks


def test_an_answer_that_does_not_parse_agrees_with_nothing() -> None:
    found = agreement([None], [pair(0)], lambda word, true: word == true, "places")
    assert (found["share"], found["of"]) == (0, 3)
