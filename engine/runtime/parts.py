"""A chip too full for one answer, asked again in four parts.

A part is a quarter of the chip with a margin around it, shown alone: what lies beyond is covered with the
chip's median, so that scale, place and coordinates of every object stay as trained. An object counts where
the quarter that holds its centre was shown; on the border, where the parts may differ by some pixels, once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from engine.runtime.image import MARGIN_PX
from engine.runtime.text import Answer, AnswerObject, Request, detection_text

if TYPE_CHECKING:
    from engine.runtime.predictor import Predictor

_COUNT = 4
_BORDER_PX = 4.0  # by which two parts' boxes of one object may differ
_SAME_PX = 3.0  # closer centres in two parts are one object


def ask(
    predictor: Predictor, requests: Sequence[Request], progress: Callable[[int], None] | None = None
) -> list[Answer]:
    """Answer requests as ``Predictor.ask`` does, and ask about the chips of full lists again in parts.

    An answer whose chip was split is saturated only where a part is full again.

    Raises:
        EngineError: as ``Predictor.ask``.
    """
    answers = predictor.ask(requests, progress)
    full = [i for i, answer in enumerate(answers) if _splits(requests[i], answer)]
    if not full:
        return answers
    pieces = predictor.ask([part for i in full for part in split(requests[i])])
    chip = predictor.bundle.manifest.chip
    for place, i in enumerate(full):
        own = pieces[_COUNT * place :][:_COUNT]
        answers[i] = join(own, chip.enlarged_px / chip.size_px, chip.size_px)
    return answers


def _splits(request: Request, answer: Answer) -> bool:
    """Whether an answer is a full list about one chip."""
    return answer.outcome == "saturated" and bool(answer.objects) and len(request.chips) == 1


def split(request: Request) -> list[Request]:
    """Return the four requests about the parts, by rows."""
    chip = request.chips[0]
    median = np.median(chip.reshape(len(chip), -1), axis=1).astype(chip.dtype)
    requests = []
    for lines, samples in _quarters(chip.shape[1]):
        shown = np.empty_like(chip)
        shown[:] = median[:, None, None]
        part = (slice(None), *(slice(max(a - MARGIN_PX, 0), b + MARGIN_PX) for a, b in (lines, samples)))
        shown[part] = chip[part]
        requests.append(replace(request, chips=(shown,)))
    return requests


def join(answers: Sequence[Answer], scale: float, size_px: int) -> Answer:
    """Join the answers about the parts to one about the chip.

    Args:
        answers: in the order of ``split``.
        scale: pixels of the enlarged chip a pixel of the chip.
        size_px: side of the chip.
    """
    found: list[tuple[float, AnswerObject, int]] = []
    for part, (answer, (lines, samples)) in enumerate(zip(answers, _quarters(size_px), strict=True)):
        for item in answer.objects:
            x, y = _centre(item)
            beyond = max(lines[0] - y, y - lines[1], samples[0] - x, x - samples[1], 0.0)
            if beyond <= _BORDER_PX:
                found.append((beyond, item, part))
    kept: list[tuple[AnswerObject, int]] = []
    for _, item, part in sorted(found, key=lambda each: (each[0] > 0, -each[1].score)):
        if not any(part != other and _near(item, known) for known, other in kept):
            kept.append((item, part))
    objects = tuple(item for item, _ in sorted(kept, key=lambda each: (each[0].box_px[1], each[0].box_px[0])))
    text = detection_text((item.label, [round(edge * scale) for edge in item.box_px]) for item in objects)
    full = any(answer.outcome == "saturated" for answer in answers)
    return Answer(text, objects, "saturated" if full else "complete", sum(each.tokens for each in answers))


def _quarters(size_px: int) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Yield first and last line, first and last sample of each quarter, edges."""
    halves = ((0, size_px // 2), (size_px // 2, size_px))
    return ((lines, samples) for lines in halves for samples in halves)


def _centre(item: AnswerObject) -> tuple[float, float]:
    x1, y1, x2, y2 = item.box_px
    return (x1 + x2) / 2, (y1 + y2) / 2


def _near(a: AnswerObject, b: AnswerObject) -> bool:
    (x, y), (u, v) = _centre(a), _centre(b)
    return abs(x - u) <= _SAME_PX and abs(y - v) <= _SAME_PX
