"""Evaluation from requests to report, with engines whose score is known beforehand."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from engine.data.asks import target_box
from engine.evaluate.run import Answered, ask, markdown, score, valid_text
from engine.runtime.text import Answer, AnswerObject, Request, detection_text
from engine.simulate.chips import ChipSet, make_chips

SIZE = 252


@pytest.fixture(scope="module")
def chips() -> ChipSet:
    return make_chips(60, 5)


class Oracle:
    """Knows the truth of each chip by its pixels; ``needs_prior``: tells it only where there is a prior."""

    def __init__(self, chips: ChipSet, needs_prior: bool = False, mute: bool = False) -> None:
        self._truth = {pixels.tobytes(): t for pixels, t in zip(chips.pixels, chips.truth, strict=True)}
        self._needs_prior, self._mute = needs_prior, mute
        self.asked: list[Request] = []

    def ask(self, requests: Sequence[Request], progress=None) -> list[Answer]:
        self.asked.extend(requests)
        return [self._answer(request) for request in requests]

    def _answer(self, request: Request) -> Answer:
        truth = self._truth[request.chips[0].tobytes()]
        if request.task == "counting":
            return Answer(str(sum(target.class_ == "ship" for target in truth)))
        if self._mute or (self._needs_prior and not request.priors[0].mask.any()):
            return Answer("[]")
        boxes = [(target.class_, target_box(target.box_px, SIZE)) for target in truth]
        objects = tuple(AnswerObject(tuple(v / 2 for v in box), label, 0.9) for label, box in boxes)
        return Answer(detection_text(boxes), objects)


def _score(engine: Oracle, chips: ChipSet, tasks: Sequence[str] = ("detection",)) -> dict:
    answered = Answered()
    ask(engine, chips, answered, tasks)
    return score(answered, 0.5, resamples=50)


def test_the_truth_scores_one(chips: ChipSet) -> None:
    results = _score(Oracle(chips), chips, ("detection", "counting"))
    part = results["with_prior"]
    ships = sum(target.class_ == "ship" for truth in chips.truth for target in truth)
    assert part["ships"]["centre"]["hits"] == ships > 20
    for found in (*part["ships"].values(), part["ships_of_25_m_and_more"], part["ships_in_the_core"]):
        assert found["f1"] == 1
    assert sum(each["hits"] for each in part["ships_by_length"].values()) == ships
    assert part["ship_count_exact"]["share"] == part["text_valid"]["share"] == 1
    assert part["curve"]["average_precision"] == 1
    assert results["counting_task"]["exact"]["share"] == 1


def test_silence_scores_nothing(chips: ChipSet) -> None:
    part = _score(Oracle(chips, mute=True), chips)["with_prior"]
    assert part["ships"]["centre"]["recall"] == 0
    assert part["ships"]["centre"]["precision"] is None
    assert 0 < part["ship_count_exact"]["share"] < 1  # chips without ships


def test_what_the_prior_gives_is_seen(chips: ChipSet) -> None:
    engine = Oracle(chips, needs_prior=True)
    results = _score(engine, chips)
    assert results["with_prior"]["ships"]["centre"]["hits"] > 0
    assert results["prior_withheld"]["ships"]["centre"]["hits"] == 0
    known = sum(part["chips"] for name, part in results["by_prior_status"].items() if name != "absent")
    assert 0 < known < 60
    assert len(engine.asked) == 60 + known  # where there is no prior, nothing is asked twice
    assert not any(request.priors[0].vectors.any() for request in engine.asked[60:])


def test_report_is_json_and_text(chips: ChipSet) -> None:
    report = {"conditions": {"data": "simulated"}, "results": _score(Oracle(chips), chips)}
    json.loads(json.dumps(report, allow_nan=False))
    text = markdown(report)
    assert "ships, 50 to 100 m, centre" in text
    assert "1.000" in text


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("[]", True),
        ("None", True),
        (detection_text([("ship", (1, 2, 3, 4))]), True),
        (detection_text([("ship", (3, 2, 1, 4))]), False),
        (detection_text([("whale", (1, 2, 3, 4))]), False),
        ("a ship", False),
    ],
)
def test_valid_text(text: str, valid: bool) -> None:
    assert valid_text(text) is valid
