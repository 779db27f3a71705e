"""Requests as prompts, answers as text: the words that training and service share.

The prompt is Qwen's chat form. Sensor, bands, spacing and dates stand in the system turn, before the
image, so that image tokens can attend to them under the causal mask:

    <|im_start|>system
    Sentinel-1 IW, VV VH, 10 m, 2023-05-01<|im_end|>
    <|im_start|>user
    <|vision_start|>(image tokens)<|vision_end|>Detect every ship, platform and turbine.<|im_end|>
    <|im_start|>assistant

Known places stand behind the question, numbered from one: `` 1: ship, before [12, 30, 25, 41].``

A detection answer is Qwen's own JSON list; boxes are in pixels of the enlarged chip, edges, integers:

    [{"bbox_2d": [12, 30, 25, 41], "label": "ship"}]

The other tasks' answers stand in ``engine.runtime.forms``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
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
    "localisation": "Which cells of a 3 x 3 grid hold ships?",
    "classification": "What is the object at place 1?",
    "landcover": "What is the land cover?",
    "change": "What changed at each place from the first image to the second?",
}
SYSTEM = "{sensor}, {bands}, {spacing_m:g} m"
DATED = SYSTEM + ", {dates}"  # for models that were trained with dates
RELEASED = "You are a helpful assistant."  # Qwen's own, under which the released weights were trained
SYSTEMS = (SYSTEM, DATED, RELEASED)
MAX_PLACES = 24  # known places of one request

Box = tuple[float, float, float, float]
Seen = Literal["", "before", "after", "both"]


@dataclass(frozen=True, slots=True)
class Place:
    """A known object, which prompt and answer name by its ordinal, counted from one.

    Attributes:
        box_px: x1, y1, x2, y2, edges, in pixels of the chip as cut.
        label: what it was taken for; "" where that is not told.
        seen: of two chips, in which one it was detected; "" where that is not told.
    """

    box_px: Box
    label: str = ""
    seen: Seen = ""


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
        known: known objects; prompt and answer refer to them by ordinal.
        question: replaces the task's own question.
        dates: when each chip was seen, ISO 8601 days (UTC); none where that is not told.
    """

    task: str
    chips: tuple[NDArray[np.uint8], ...]
    priors: tuple[Prior, ...]
    sensor: str = "Sentinel-1 IW"
    bands: tuple[str, ...] = ("VV", "VH")
    spacing_m: float = 10.0
    known: tuple[Place, ...] = ()
    question: str | None = None
    dates: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check what no prompt could state."""
        if not 1 <= len(self.chips) <= 2 or len(self.priors) != len(self.chips):
            raise InputError(
                f"got {len(self.chips)} chips and {len(self.priors)} priors, expected one or two of each"
            )
        if not self.bands:
            raise InputError("got no bands, expected the polarisations of the chip, such as ('VV', 'VH')")
        if len(self.known) > MAX_PLACES:
            raise InputError(
                f"got {len(self.known)} known places, expected at most {MAX_PLACES}: ask about them in parts"
            )
        if self.dates:
            _check_dates(self.dates, len(self.chips))


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
class PlaceChange:
    """What an answer says of a known place.

    Attributes:
        place: ordinal, from one.
        change: one of ``engine.runtime.forms.CHANGES``.
        score: probability of that change, calibrated.
        chances: of each of CHANGES, calibrated likewise; their sum is 1.
    """

    place: int
    change: str
    score: float
    chances: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """The model's answer to one request.

    Attributes:
        text: the answer as written.
        objects: what it names; empty for tasks whose answer is not a list.
        outcome: "saturated" where the answer reached its length limit: its count is a lower bound.
        tokens: tokens written, forced ones included.
        places: of a change: what each known place became, by ordinal.
        counts: of a change: ships before and after.
        cites: of a free question: ordinals of the known places that the answer rests on.
        score: of an answer out of a closed set: its probability, calibrated.
    """

    text: str
    objects: tuple[AnswerObject, ...] = ()
    outcome: Literal["complete", "saturated"] = "complete"
    tokens: int = field(default=0, compare=False)
    places: tuple[PlaceChange, ...] = ()
    counts: tuple[int, int] | None = None
    cites: tuple[int, ...] = ()
    score: float | None = None


def prompt(
    request: Request,
    image_tokens: Sequence[int],
    question: str | None = None,
    scale: float | None = None,
    system: str = DATED,
) -> str:
    """Write a request as a prompt in chat form.

    Args:
        request: what is asked.
        image_tokens: how many tokens each chip becomes.
        question: the task's question in the bundle at hand; the request's own comes first.
        scale: pixels of the enlarged chip to one of the chip as cut: prompts name known places by those.
        system: template of the system turn, one of SYSTEMS; dates are left out where it has no place for
            them, or the request none.

    Raises:
        InputError: nobody knows a question for the task, or places are known and no scale is given.
    """
    asked = request.question or question or QUESTIONS.get(request.task)
    if asked is None:
        raise InputError(f"got task {request.task!r} without a question, expected one of {sorted(QUESTIONS)}")
    if request.known and scale is None:
        raise InputError("got known places without a scale, expected the bundle's (enlarged px per chip px)")
    template = system if request.dates else system.replace(", {dates}", "")
    turn = template.format(
        sensor=request.sensor,
        bands=" ".join(request.bands),
        spacing_m=request.spacing_m,
        dates=", ".join(request.dates),
    )
    images = "".join(f"<|vision_start|>{IMAGE_TOKEN * count}<|vision_end|>" for count in image_tokens)
    return (
        f"<|im_start|>system\n{turn}{END_OF_TURN}\n"
        f"<|im_start|>user\n{images}{asked}{places_text(request.known, scale or 1.0)}{END_OF_TURN}\n"
        f"<|im_start|>assistant\n"
    )


def places_text(known: Iterable[Place], scale: float) -> str:
    """Write known places as a prompt states them, such as `` 1: ship, before [24, 60, 50, 82].``."""
    out = ""
    for ordinal, place in enumerate(known, start=1):
        facts = ", ".join(fact for fact in (place.label, place.seen) if fact)
        box = [round(edge * scale) for edge in place.box_px]
        out += f" {ordinal}: {facts}{' ' if facts else ''}{box}."
    return out


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


def _check_dates(dates: Sequence[str], chips: int) -> None:
    try:
        days = [date.fromisoformat(each) for each in dates]
    except ValueError as error:
        raise InputError(f"got dates {dates}, expected ISO days such as 2023-05-01") from error
    if len(days) != chips or days != sorted(days):
        raise InputError(f"got dates {dates} for {chips} chips, expected one a chip, in time order")
