"""Requests as prompts, answers as text: the words that training and service share.

The prompt is Qwen's chat form. Sensor, bands and spacing stand in the system turn, before the image,
so that image tokens can attend to them under the causal mask:

    <|im_start|>system
    Sentinel-1 IW, VV VH, 10 m<|im_end|>
    <|im_start|>user
    <|vision_start|>(image tokens)<|vision_end|>Detect every ship, platform and turbine.<|im_end|>
    <|im_start|>assistant

A detection answer is Qwen's own JSON list; boxes are in pixels of the enlarged chip, edges, integers:

    [{"bbox_2d": [12, 30, 25, 41], "label": "ship"}]
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from engine.errors import AnswerError, InputError

if TYPE_CHECKING:
    from engine.runtime.prior import Prior

LABELS = ("ship", "platform", "turbine")
IMAGE_TOKEN = "<|image_pad|>"
END_OF_TURN = "<|im_end|>"

# The question of each task, unless a request or a bundle's manifest brings its own.
QUESTIONS = {
    "detection": "Detect every ship, platform and turbine.",
    "description": "Describe the scene.",
    "counting": "How many ships are there?",
}
SYSTEM = "{sensor}, {bands}, {spacing_m:g} m"

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Request:
    """One question about one chip, or about two chips in time order.

    Attributes:
        task: a task that the bundle's manifest names.
        chips: channels, [3, 126, 126] each (see ``engine.runtime.image``).
        priors: one prior a chip.
        sensor: instrument and mode, as the prompt states them.
        bands: the polarisations that are there, co-polarised first.
        spacing_m: pixel spacing.
        known: labels of known objects; the prompt refers to them by ordinal.
        question: replaces the task's own question.
    """

    task: str
    chips: tuple[NDArray[np.uint8], ...]
    priors: tuple[Prior, ...]
    sensor: str = "Sentinel-1 IW"
    bands: tuple[str, ...] = ("VV", "VH")
    spacing_m: float = 10.0
    known: tuple[str, ...] = ()
    question: str | None = None

    def __post_init__(self) -> None:
        """Check what no prompt could state."""
        if not 1 <= len(self.chips) <= 2 or len(self.priors) != len(self.chips):
            raise InputError(
                f"got {len(self.chips)} chips and {len(self.priors)} priors, expected one or two of each"
            )
        if not self.bands:
            raise InputError("got no bands, expected the polarisations of the chip, such as ('VV', 'VH')")


@dataclass(frozen=True, slots=True)
class AnswerObject:
    """One object that an answer names.

    Attributes:
        box_px: x1, y1, x2, y2, edges, in pixels of the chip as cut (not enlarged).
        label: one of the task's labels.
        score: probability that the object is there and is what the label says.
    """

    box_px: Box
    label: str
    score: float


@dataclass(frozen=True, slots=True)
class Answer:
    """The model's answer to one request.

    Attributes:
        text: the answer as written.
        objects: what it names; empty for tasks whose answer is not a list.
        outcome: "saturated" where the answer reached its length limit: its count is a lower bound.
        tokens: tokens written, forced ones included.
    """

    text: str
    objects: tuple[AnswerObject, ...] = ()
    outcome: Literal["complete", "saturated"] = "complete"
    tokens: int = field(default=0, compare=False)


def prompt(request: Request, image_tokens: Sequence[int], question: str | None = None) -> str:
    """Write a request as a prompt in chat form.

    Args:
        request: what is asked.
        image_tokens: how many tokens each chip becomes.
        question: the task's question in the bundle at hand; the request's own comes first.

    Raises:
        InputError: nobody knows a question for the task.
    """
    asked = request.question or question or QUESTIONS.get(request.task)
    if asked is None:
        raise InputError(f"got task {request.task!r} without a question, expected one of {sorted(QUESTIONS)}")
    system = SYSTEM.format(sensor=request.sensor, bands=" ".join(request.bands), spacing_m=request.spacing_m)
    images = "".join(f"<|vision_start|>{IMAGE_TOKEN * count}<|vision_end|>" for count in image_tokens)
    known = "".join(f" {i}: {label}." for i, label in enumerate(request.known, start=1))
    return (
        f"<|im_start|>system\n{system}{END_OF_TURN}\n"
        f"<|im_start|>user\n{images}{asked}{known}{END_OF_TURN}\n"
        f"<|im_start|>assistant\n"
    )


def detection_text(objects: Iterable[tuple[str, Sequence[int]]]) -> str:
    """Write (label, box) pairs as a detection answer."""
    return json.dumps([{"bbox_2d": [int(v) for v in box], "label": label} for label, box in objects])


def parse_detections(text: str) -> list[tuple[str, Box]]:
    """Read a detection answer strictly: nothing is repaired.

    Returns:
        (label, box) pairs, boxes in pixels of the enlarged chip; empty for ``[]`` and for the released
        form's ``None``.

    Raises:
        AnswerError: not a JSON list of boxes with labels.
    """
    if text.strip().lower() in {"none", "null"}:
        return []
    try:
        items = json.loads(text)
    except ValueError as error:
        raise AnswerError(f"got an answer that is not JSON: {text[:80]!r}") from error
    if not isinstance(items, list):
        raise AnswerError(f"got {text[:80]!r}, expected a JSON list of objects")
    return [_item(item) for item in items]


def _item(item: object) -> tuple[str, Box]:
    if not isinstance(item, dict) or not isinstance(item.get("label"), str):
        raise AnswerError(f"got {item!r}, expected an object with bbox_2d and label")
    box = item.get("bbox_2d")
    if not isinstance(box, list) or len(box) != 4 or not all(_is_number(v) for v in box):
        raise AnswerError(f"got bbox_2d {box!r}, expected four finite numbers")
    x1, y1, x2, y2 = (float(v) for v in box)
    return item["label"], (x1, y1, x2, y2)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))
