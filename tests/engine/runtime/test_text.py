"""Prompts state what the chip is; detection answers go to text and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import AnswerError, InputError
from engine.runtime.text import (
    IMAGE_TOKEN,
    LABELS,
    SYSTEM,
    Place,
    Request,
    detection_text,
    parse_detections,
    prompt,
)

CHIP = np.zeros((3, 126, 126), np.uint8)
OBJECTS = st.lists(
    st.tuples(st.sampled_from(LABELS), st.lists(st.integers(0, 252), min_size=4, max_size=4)), max_size=6
)


def request(**changes) -> Request:
    return Request(**{"task": "detection", "chips": (CHIP,), "priors": (None,), **changes})


@given(OBJECTS)
def test_detections_survive_the_way_through_text(objects) -> None:
    parsed = parse_detections(detection_text(objects))
    assert parsed == [(label, tuple(map(float, box))) for label, box in objects]


@pytest.mark.parametrize("text", ["[]", "None", " none ", "null"])
def test_empty_forms_are_no_objects(text: str) -> None:
    assert parse_detections(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ships",
        "{}",
        "[1]",
        '[{"bbox_2d": [1, 2, 3], "label": "ship"}]',
        '[{"bbox_2d": [1, 2, 3, true], "label": "ship"}]',
        '[{"bbox_2d": [1, 2, 3, NaN], "label": "ship"}]',
        '[{"bbox_2d": [1, 2, 3, 4]}]',
        '[{"bbox_2d": [1, 2, 3, 4], "label": "ship"}',
    ],
)
def test_anything_else_is_an_error(text: str) -> None:
    with pytest.raises(AnswerError, match="expected|not JSON"):
        parse_detections(text)


def test_prompt_states_sensor_bands_and_spacing_before_the_image() -> None:
    text = prompt(request(bands=("VV",), spacing_m=10.0), [4])
    before, after = text.split("<|vision_start|>")
    assert "Sentinel-1 IW, VV, 10 m" in before
    assert "VH" not in text
    assert after.startswith(IMAGE_TOKEN * 4 + "<|vision_end|>")
    assert text.endswith("<|im_start|>assistant\n")


def test_question_of_request_goes_before_bundle_before_default() -> None:
    assert "mine" in prompt(request(question="mine"), [1], "theirs")
    assert "theirs" in prompt(request(), [1], "theirs")
    assert "Detect" in prompt(request(), [1])
    with pytest.raises(InputError, match="without a question"):
        prompt(request(task="poetry"), [1])


def test_known_objects_are_numbered_from_one() -> None:
    known = (Place((10, 20, 30, 40.2), "ship", "both"), Place((1, 2, 3, 4)), Place((0, 0, 9, 9), "platform"))
    text = prompt(request(known=known), [1], scale=2.0)
    assert "? 1: ship, both [20, 40, 60, 80]. 2: [2, 4, 6, 8]. 3: platform [0, 0, 18, 18].<|im_end|>" in (
        text.replace("turbine.", "turbine?")
    )
    with pytest.raises(InputError, match="scale"):
        prompt(request(known=known), [1])
    with pytest.raises(InputError, match="known places"):
        request(known=known * 10)


def test_dates_stand_behind_the_spacing_where_the_model_knows_them() -> None:
    two = {"chips": (CHIP, CHIP), "priors": (None, None)}
    asked = request(**two, dates=("2023-01-03", "2023-01-15"))
    assert "10 m, 2023-01-03, 2023-01-15<|im_end|>" in prompt(asked, [1, 1])
    assert prompt(asked, [1, 1], system=SYSTEM) == prompt(request(**two), [1, 1])
    for dates in (("2023-01-03",), ("2023-01-15", "2023-01-03"), ("2023", "2024"), ("1.1.23", "2.1.23")):
        with pytest.raises(InputError, match="dates"):
            request(**two, dates=dates)


def test_two_chips_are_two_images_in_order() -> None:
    text = prompt(request(chips=(CHIP, CHIP), priors=(None, None)), [2, 3])
    assert [part.count(IMAGE_TOKEN) for part in text.split("<|vision_end|>")] == [2, 3, 0]


@pytest.mark.parametrize(
    "changes",
    [{"chips": ()}, {"chips": (CHIP,) * 3, "priors": (None,) * 3}, {"priors": ()}, {"bands": ()}],
)
def test_requests_that_no_prompt_could_state_are_refused(changes) -> None:
    with pytest.raises(InputError, match="expected"):
        request(**changes)
