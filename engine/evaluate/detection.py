"""Scores detections: all ships, by length, by contrast, by class, over all thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.data.simulated import SPACING_M
from engine.errors import AnswerError
from engine.evaluate.bootstrap import RESAMPLES, Sites, share
from engine.evaluate.counting import counting
from engine.evaluate.metrics import (
    LENGTH_CLASSES_M,
    Pairing,
    Question,
    Rule,
    Thing,
    centre_rule,
    count,
    iou_rule,
    pair,
    summary,
)
from engine.evaluate.places import cells_of, localisation
from engine.evaluate.ranking import average_precision, average_precision_95, curve, recall_by_contrast
from engine.runtime.image import CORE_PX, MARGIN_PX
from engine.runtime.text import LABELS, Answer, parse_detections

CORE = (float(MARGIN_PX), float(MARGIN_PX + CORE_PX))
SHIPS = Question("ship")
CENTRE = centre_rule(SPACING_M)
_CURVE_POINTS = 200

Things = Sequence[Sequence[Thing]]


def things(answer: Answer) -> list[Thing]:
    """Return what an answer names; an object's length is its box's longer side."""
    return [
        Thing(
            each.label,
            each.box_px,
            SPACING_M * max(each.box_px[2] - each.box_px[0], each.box_px[3] - each.box_px[1]),
            each.score,
        )
        for each in answer.objects
    ]


def valid_text(text: str) -> bool:
    """Whether a detection answer parses, with known labels and boxes that have extent."""
    try:
        named = parse_detections(text)
    except AnswerError:
        return False
    return all(label in LABELS and box[0] < box[2] and box[1] < box[3] for label, box in named)


def pairings(predicted: Things, truth: Things, rule: Rule = CENTRE) -> list[Pairing]:
    """Match chip by chip."""
    return [pair(one, true, rule) for one, true in zip(predicted, truth, strict=True)]


def detection(
    predicted: Things, truth: Things, threshold: float, resamples: int = RESAMPLES, sites: Sites = None
) -> dict[str, Any]:
    """Return all metrics of detections.

    Args:
        predicted: what was found in each chip.
        truth: what is there.
        threshold: the operating point: objects below this score do not count.
        resamples: of the chips or sites, for intervals.
        sites: site of each chip.
    """
    centre = pairings(predicted, truth)

    def found(question: Question, of: Sequence[Pairing] = centre) -> dict[str, Any]:
        return summary(count(of, question, threshold), resamples, sites=sites)

    ships = [sum(map(SHIPS.counts, true)) for true in truth]
    named = [sum(SHIPS.counts(t) and t.score >= threshold for t in one) for one in predicted]
    return {
        "ships": {
            "centre": found(SHIPS),
            "iou25": found(SHIPS, pairings(predicted, truth, iou_rule(0.25))),
            "iou50": found(SHIPS, pairings(predicted, truth, iou_rule(0.5))),
        },
        "ships_of_25_m_and_more": found(Question("ship", (25, np.inf))),
        "ships_in_the_core": found(Question("ship", region_px=CORE)),
        "ships_by_length": {
            length_name(low, high): found(Question("ship", (low, high))) for low, high in LENGTH_CLASSES_M
        },
        "ships_by_contrast": recall_by_contrast(centre, SHIPS, threshold, resamples, sites),
        "by_label": {label: found(Question(label)) for label in LABELS[1:]},
        "ship_count": counting(named, ships, resamples, sites),
        "ship_cells": localisation(
            [cells_of(one, SHIPS, threshold) for one in predicted],
            [cells_of(true, SHIPS) for true in truth],
            resamples,
            sites,
        ),
        "curve": curve_points(centre, SHIPS, resamples, sites),
    }


def answers_valid(
    answers: Sequence[Answer], resamples: int = RESAMPLES, sites: Sites = None
) -> dict[str, Any]:
    """Return the shares of detection answers that parse, and that reached their length limit."""
    return {
        "text_valid": share([valid_text(answer.text) for answer in answers], resamples, sites=sites),
        "saturated": share([answer.outcome == "saturated" for answer in answers], resamples, sites=sites),
    }


def curve_points(
    found: Sequence[Pairing], question: Question, resamples: int = RESAMPLES, sites: Sites = None
) -> dict[str, Any]:
    """Return average precision, the best point by F1, and at most 200 points of the curve."""
    points = curve(found, question)
    if not len(points["f1"]):
        return {"average_precision": 0.0, "average_precision_95": None, "best": None}
    if np.isnan(points["recall"]).any():  # no truth: there is nothing to recall
        return {"average_precision": None, "average_precision_95": None, "best": None}
    best = int(np.argmax(points["f1"]))
    kept = np.unique(np.linspace(0, len(points["f1"]) - 1, _CURVE_POINTS).round().astype(int))
    return {
        "average_precision": round(average_precision(points["precision"], points["recall"]), 4),
        "average_precision_95": average_precision_95(found, question, min(resamples, 300), sites),
        # The threshold stands as it is: rounded up, it would leave out the very point that it names.
        "best": {name: round(float(values[best]), 4) for name, values in points.items()}
        | {"threshold": float(points["threshold"][best])},
        **{name: [round(float(value), 4) for value in values[kept]] for name, values in points.items()},
    }


def length_name(low: float, high: float) -> str:
    """Name a length class."""
    return f"{low:g} m and more" if np.isinf(high) else f"{low:g} to {high:g} m"
