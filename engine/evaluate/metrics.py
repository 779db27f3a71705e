"""Detection metrics as pure functions: matching, counting, precision and recall.

Predictions are taken by falling score, and each takes the best truth that is still free within a rule's
reach. So a higher threshold keeps a prefix of the same assignment, and one matching serves the whole curve.

What does not count in a question (ships below a length, objects beyond the chip's core) is ignored rather
than wrong: a prediction matched to an ignored truth is neither a hit nor a false alarm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engine.evaluate.bootstrap import RESAMPLES, Sites, interval, number, resampled_sums

LENGTH_CLASSES_M = ((0, 25), (25, 50), (50, 100), (100, 200), (200, np.inf))
NEAREST_M = 20.0  # the least reach of a match by centre

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Thing:
    """A predicted or true object in a chip.

    Attributes:
        label: class.
        box_px: x1, y1, x2, y2, edges.
        length_m: true length, or the box's longer side.
        score: of a prediction; 1 for a truth.
        contrast_db: of a truth: its peak over the clutter around it; None where unknown.
    """

    label: str
    box_px: Box
    length_m: float
    score: float = 1.0
    contrast_db: float | None = None

    @property
    def centre_px(self) -> tuple[float, float]:
        """(x, y) of the box's centre, in edge coordinates."""
        return (self.box_px[0] + self.box_px[2]) / 2, (self.box_px[1] + self.box_px[3]) / 2


@dataclass(frozen=True)
class Pairing:
    """One chip's predictions by falling score, each with the index of its truth, and the truths."""

    predicted: tuple[Thing, ...]
    true: tuple[Thing, ...]
    match: tuple[int | None, ...]


@dataclass(frozen=True)
class Rule:
    """When a prediction may take a truth: the highest value is the best; None where it may not."""

    value: Callable[[Thing, Thing], float | None]


def centre_rule(spacing_m: float) -> Rule:
    """Match by centre within max(20 m, a quarter of the true length)."""

    def value(predicted: Thing, true: Thing) -> float | None:
        (x, y), (u, v) = predicted.centre_px, true.centre_px
        distance_m = float(np.hypot(x - u, y - v)) * spacing_m
        return -distance_m if distance_m <= max(NEAREST_M, true.length_m / 4) else None

    return Rule(value)


def iou_rule(least: float) -> Rule:
    """Match by intersection over union of at least ``least``."""

    def value(predicted: Thing, true: Thing) -> float | None:
        overlap = iou(predicted.box_px, true.box_px)
        return overlap if overlap >= least else None

    return Rule(value)


def iou(a: Box, b: Box) -> float:
    """Return the intersection over union of two boxes."""
    wide = min(a[2], b[2]) - max(a[0], b[0])
    high = min(a[3], b[3]) - max(a[1], b[1])
    if wide <= 0 or high <= 0:
        return 0.0
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - wide * high
    return wide * high / union


def pair(predicted: Sequence[Thing], true: Sequence[Thing], rule: Rule) -> Pairing:
    """Match one chip's predictions to its truths of the same label, greedily by score."""
    ordered = tuple(sorted(predicted, key=lambda thing: -thing.score))
    free = set(range(len(true)))
    match: list[int | None] = []
    for thing in ordered:
        values = {
            index: value
            for index in sorted(free)
            if true[index].label == thing.label and (value := rule.value(thing, true[index])) is not None
        }
        best = max(values, key=lambda index: values[index]) if values else None
        free.discard(-1 if best is None else best)
        match.append(best)
    return Pairing(ordered, tuple(true), tuple(match))


Outcome = Literal["hit", "false", "ignored"]


@dataclass(frozen=True)
class Question:
    """What counts.

    Attributes:
        label: the class asked for; None for all.
        length_m: truths of a length in [low, high); predictions that match none by their own length.
        region_px: objects whose centre lies between these two, in both axes; None for the whole chip.
    """

    label: str | None = "ship"
    length_m: tuple[float, float] = (0.0, np.inf)
    region_px: tuple[float, float] | None = None

    def counts(self, thing: Thing) -> bool:
        """Whether an object counts."""
        inside = self.region_px is None or all(
            self.region_px[0] <= value < self.region_px[1] for value in thing.centre_px
        )
        of_class = self.label is None or thing.label == self.label
        return of_class and inside and self.length_m[0] <= thing.length_m < self.length_m[1]

    def outcomes(self, pairing: Pairing) -> list[Outcome]:
        """Return what each prediction is: a matched one counts as its truth does."""
        return [
            ("false" if self.counts(thing) else "ignored")
            if found is None
            else ("hit" if self.counts(pairing.true[found]) else "ignored")
            for thing, found in zip(pairing.predicted, pairing.match, strict=True)
        ]


@dataclass(frozen=True)
class Counts:
    """Hits, false alarms and misses of each chip, int [N] each."""

    hits: NDArray[np.int64]
    false: NDArray[np.int64]
    missed: NDArray[np.int64]


def count(pairings: Sequence[Pairing], question: Question, threshold: float = 0.0) -> Counts:
    """Count what predictions at or above a score achieve on each chip."""
    hits, false, missed = (np.zeros(len(pairings), np.int64) for _ in range(3))
    for i, pairing in enumerate(pairings):
        shown = [
            outcome
            for outcome, thing in zip(question.outcomes(pairing), pairing.predicted, strict=True)
            if thing.score >= threshold
        ]
        hits[i], false[i] = shown.count("hit"), shown.count("false")
        missed[i] = sum(map(question.counts, pairing.true)) - hits[i]
    return Counts(hits, false, missed)


def precision_recall_f1(hits: float, false: float, missed: float) -> tuple[float, float, float]:
    """Return precision, recall and F1; NaN where nothing was predicted, or there was nothing."""
    precision = hits / (hits + false) if hits + false else np.nan
    recall = hits / (hits + missed) if hits + missed else np.nan
    total = 2 * hits + false + missed
    return precision, recall, 2 * hits / total if total else np.nan


def summary(counts: Counts, resamples: int = RESAMPLES, seed: int = 0, sites: Sites = None) -> dict[str, Any]:
    """Return precision, recall and F1 with 95 % intervals from resampling chips, or sites."""
    totals = [int(part.sum()) for part in (counts.hits, counts.false, counts.missed)]
    stack = np.stack([counts.hits, counts.false, counts.missed], axis=1)
    drawn = np.array([precision_recall_f1(*row) for row in resampled_sums(stack, resamples, seed, sites)])
    values = precision_recall_f1(*totals)
    out: dict[str, Any] = dict(zip(("hits", "false", "missed"), totals, strict=True))
    for column, name in enumerate(("precision", "recall", "f1")):
        out[name] = number(values[column])
        out[f"{name}_95"] = interval(drawn[:, column])
    return out
