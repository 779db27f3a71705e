"""What a change answer must beat: two independent detection sets, a log-ratio threshold, and the list itself.

Each answers the questions of a pair in the same closed form as the engine. None of them reads text or learns
anything but two thresholds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.evaluate import cfar
from engine.evaluate.change import ChangeAnswer
from engine.evaluate.metrics import Thing
from engine.runtime.image import intensities

APPEARED, GONE, STILL, UNKNOWN = "appeared", "gone", "still_occupied", "cannot_tell"
_AROUND_PX, _GAP_PX, _REACH_PX = 12, 3, 5.0
_DATA_SHARE = 0.9  # of a place's pixels, below which an image says nothing of it
Box = tuple[float, float, float, float]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class PairQuestion:
    """The change question of a pair.

    Attributes:
        id: unique in its set.
        chips: before and after, channels [3, 126, 126].
        boxes: known places, in pixels of the chip.
        seen: in which image each was detected: "before", "after", "both" or "" where that is not told.
        true: the right answer.
        labels: what each place was taken for.
        days: between the passes.
    """

    id: str
    chips: tuple[Pixels, Pixels]
    boxes: tuple[Box, ...]
    seen: tuple[str, ...]
    true: ChangeAnswer
    labels: tuple[str, ...] = ()
    days: int = 12


def has_data(chip: Pixels, box: Box) -> bool:
    """Whether an image shows a place: nearly all of its pixels hold data."""
    rows, columns = _span(box, 0, chip.shape[1])
    inside = (chip[:2, rows, columns] > 0).any(axis=0)
    return bool(inside.size) and float(inside.mean()) >= _DATA_SHARE


def level_db(chip: Pixels, box: Box) -> float:
    """Return a place's mean intensity over the median around it, in dB, both polarisations summed."""
    power = np.nan_to_num(intensities(chip)).sum(axis=0)
    inner, outer = _span(box, 0, len(power)), _span(box, _AROUND_PX, len(power))
    ring = np.ones(power.shape, np.bool_)
    ring[_span(box, _GAP_PX, len(power))] = False
    around = power[outer][ring[outer] & (power[outer] > 0)]
    mean = float(power[inner].mean()) if power[inner].size else 0.0
    return float(
        10 * np.log10(max(mean, 1e-6) / max(float(np.median(around)) if len(around) else 1e-6, 1e-6))
    )


def _span(box: Box, margin: int, size: int) -> tuple[slice, slice]:
    x1, y1, x2, y2 = box
    rows, columns = (
        slice(max(int(np.floor(low)) - margin, 0), min(max(int(np.ceil(high)) + margin, 1), size))
        for low, high in ((y1, y2), (x1, x2))
    )
    return rows, columns


def log_ratio(question: PairQuestion, change_db: float, bright_db: float) -> ChangeAnswer:
    """Answer by a threshold on the log ratio of a place's contrast after and before.

    Args:
        question: the pair.
        change_db: ratio from which something came, or left.
        bright_db: contrast in both images from which the place is occupied; below, nothing can be told.
    """
    words, counts = [], [0, 0]
    for box in question.boxes:
        if not all(has_data(chip, box) for chip in question.chips):
            words.append(UNKNOWN)
            continue
        before, after = (level_db(chip, box) for chip in question.chips)
        word = UNKNOWN
        if after - before >= change_db:
            word = APPEARED
        elif before - after >= change_db:
            word = GONE
        elif min(before, after) >= bright_db:
            word = STILL
        words.append(word)
        counts[0] += word in (GONE, STILL)
        counts[1] += word in (APPEARED, STILL)
    return ChangeAnswer(tuple(words), *counts)


def fit_log_ratio(questions: Sequence[PairQuestion]) -> tuple[float, float]:
    """Return the two thresholds that answer most places of some pairs rightly; give pairs of another seed."""

    def right(pair: tuple[float, float]) -> int:
        return sum(
            a == b
            for question in questions
            for a, b in zip(log_ratio(question, *pair).changes, question.true.changes, strict=True)
        )

    return max(product((1.5, 3.0, 4.5, 6.0, 9.0), (1.0, 3.0, 5.0, 7.0)), key=right)


def detections(
    question: PairQuestion, found: Callable[[Pixels], Sequence[Thing]], threshold: float
) -> ChangeAnswer:
    """Answer by the difference of two detection sets, each found in its own image.

    Args:
        question: the pair.
        found: a detector: what it finds in a chip.
        threshold: score from which a detection counts.
    """
    sets = [[thing for thing in found(chip) if thing.score >= threshold] for chip in question.chips]
    words = []
    for box in question.boxes:
        before, after = (any(_meets(thing, box) for thing in things) for things in sets)
        seen = all(has_data(chip, box) for chip in question.chips)
        word = STILL if before and after else GONE if before else APPEARED if after else UNKNOWN
        words.append(word if seen else UNKNOWN)
    ships = [sum(thing.label == "ship" for thing in things) for things in sets]
    return ChangeAnswer(tuple(words), ships[0], ships[1])


def _meets(thing: Thing, box: Box) -> bool:
    x, y = thing.centre_px
    u, v = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    reach = max(_REACH_PX, max(box[2] - box[0], box[3] - box[1]) / 4)
    return float(np.hypot(x - u, y - v)) <= reach


def by_the_list(question: PairQuestion, otherwise: str) -> ChangeAnswer:
    """Answer by what the question says of its places, without looking; else by ``otherwise``."""
    told = {"before": GONE, "after": APPEARED, "both": STILL}
    words = tuple(told.get(seen, otherwise) for seen in question.seen)
    before = sum(word in (GONE, STILL) for word in words)
    return ChangeAnswer(words, before, sum(word in (APPEARED, STILL) for word in words))


def baseline_answers(
    questions: Sequence[PairQuestion],
    fitted_on: Sequence[PairQuestion],
    detector: Callable[[Pixels], Sequence[Thing]] | None = None,
    threshold: float = 0.5,
    progress: Callable[[int], None] | None = None,
) -> Mapping[str, list[ChangeAnswer]]:
    """Return every baseline's answers.

    Args:
        questions: the benchmark's pairs.
        fitted_on: pairs of another seed, for the two thresholds of the log ratio and the commonest word.
        detector: an engine's detections, where there is one; CFAR's are always compared.
        threshold: the engine's operating point.
        progress: called with 1 after each pair.
    """
    pair = fit_log_ratio(fitted_on)
    words = [word for each in fitted_on for word in each.true.changes]
    otherwise = max(sorted(set(words)), key=words.count) if words else STILL
    out: dict[str, list[Any]] = {"log ratio": [], "two sets of CFAR": [], "the list alone": []}
    if detector is not None:
        out["two sets of the engine"] = []
    for question in questions:
        out["log ratio"].append(log_ratio(question, *pair))
        out["two sets of CFAR"].append(detections(question, cfar.detect, cfar.OPERATING))
        out["the list alone"].append(by_the_list(question, otherwise))
        if detector is not None:
            out["two sets of the engine"].append(detections(question, detector, threshold))
        if progress is not None:
            progress(1)
    return out
