"""A chip too full for one answer: shown in four parts, every object named once."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.runtime import parts, spec
from engine.runtime.prior import Prior
from engine.runtime.text import Answer, AnswerObject, Request, parse_detections

LIMIT = 12  # objects that fit into one answer


def picture(places: list[tuple[int, int]]) -> Request:
    chip = np.full((3, 126, 126), 40, np.uint8)
    for line, sample in places:
        chip[:, line : line + 4, sample : sample + 4] = 200
    return Request("detection", (chip,), (Prior.absent(),))


class Looking:
    """Names every bright square that it sees whole, as many as fit; counts what it was asked."""

    bundle = SimpleNamespace(
        manifest=SimpleNamespace(chip=spec.ChipSpec(enlarged_px=252, patch_px=14, merge=2))
    )

    def __init__(self, shift: float = 0.0) -> None:
        self.asked = 0
        self.shift = shift  # by which boxes differ from one answer to the next

    def ask(self, requests, progress=None) -> list[Answer]:
        return [self._look(request) for request in requests]

    def _look(self, request: Request) -> Answer:
        self.asked += 1
        chip = request.chips[0][0]
        off = self.shift * (self.asked % 3 - 1)
        windows = np.lib.stride_tricks.sliding_window_view(chip == 200, (4, 4))
        found = [
            AnswerObject((x + off, y + off, x + 4 + off, y + 4 + off), "ship", 0.9)
            for y, x in np.argwhere(windows.all((2, 3)))
        ]
        outcome = "saturated" if len(found) > LIMIT else "complete"
        return Answer("", tuple(found[:LIMIT]), outcome, 10)


def grid(step: int, start: int = 3) -> list[tuple[int, int]]:
    return [(line, sample) for line in range(start, 119, step) for sample in range(start, 119, step)]


def places(answer: Answer) -> list[tuple[float, float]]:
    return sorted((item.box_px[1], item.box_px[0]) for item in answer.objects)


def test_a_full_chip_is_asked_again_in_parts_and_a_complete_one_is_not() -> None:
    few, many = picture(grid(40)), picture(grid(23))  # 9 and 36 objects: 9 a quarter, some in the overlap
    engine = Looking()
    answers = parts.ask(engine, [few, many])
    assert engine.asked == 2 + 4
    assert [answer.outcome for answer in answers] == ["complete", "saturated"]
    engine = Looking()
    dense = picture(grid(30))  # 16 objects
    (answer,) = parts.ask(engine, [dense])
    assert answer.outcome == "complete"
    assert places(answer) == sorted((float(a), float(b)) for a, b in grid(30))
    named = parse_detections(answer.text)
    assert [box for _, box in named] == [tuple(2 * edge for edge in item.box_px) for item in answer.objects]


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), st.sampled_from([0.0, 1.0]))
def test_an_object_on_the_border_of_parts_is_named_once(start: int, shift: float) -> None:
    at = [(61, x) for x in range(start, 119, 20)] + [(y, 61) for y in (5, 30, 85, 110)]
    at += [(20, 20), (20, 95), (95, 20), (95, 95)]
    at = [
        place
        for i, place in enumerate(at)
        if all(max(abs(place[0] - a), abs(place[1] - b)) > 6 for a, b in at[:i])
    ]
    (answer,) = parts.ask(Looking(shift), [picture(at)])
    assert len(at) > LIMIT
    assert answer.outcome == "complete"
    assert len(answer.objects) == len(at)


def test_parts_keep_scale_and_place_and_hide_the_rest() -> None:
    request = picture(grid(23))
    chip = request.chips[0]
    shown = np.stack([part.chips[0] for part in parts.split(request)])
    assert shown.shape == (4, 3, 126, 126)
    assert (shown[0][:, :83, :83] == chip[:, :83, :83]).all()
    assert (shown[0][:, 83:] == 40).all()
    assert (shown[3][:, 43:, 43:] == chip[:, 43:, 43:]).all()
    assert (shown[3][:, :, :43] == 40).all()


def test_only_full_lists_about_one_chip_are_split() -> None:
    one = picture(grid(23))
    two = Request("detection", one.chips * 2, one.priors * 2)
    engine = Looking()
    (answer,) = parts.ask(engine, [two])
    assert (engine.asked, answer.outcome) == (1, "saturated")
    assert parts.ask(engine, []) == []


@pytest.mark.parametrize("outcome", ["complete", "saturated"])
def test_joined_answers_count_their_tokens(outcome: str) -> None:
    own = [Answer("[]", (), "complete", 1)] * 3 + [Answer("[]", (), outcome, 5)]  # type: ignore[arg-type]
    joined = parts.join(own, 2.0, 126)
    assert (joined.text, joined.outcome, joined.tokens) == ("[]", outcome, 8)
