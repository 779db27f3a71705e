"""What a score earns over all thresholds: curves, average precision, recall at equal false alarms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.evaluate.bootstrap import RESAMPLES, Sites, interval, number, resampled_sums, site_weights
from engine.evaluate.metrics import Pairing, Question, Rule, pair

CONTRAST_CLASSES_DB = ((-np.inf, 12), (12, 18), (18, 24), (24, np.inf))


def curve(pairings: Sequence[Pairing], question: Question) -> dict[str, NDArray[np.float64]]:
    """Return precision and recall over falling thresholds, one point for each distinct score.

    Returns:
        ``threshold``, ``precision``, ``recall``, ``f1``, each [K].
    """
    shown = [
        (thing.score, outcome == "hit")
        for pairing in pairings
        for outcome, thing in zip(question.outcomes(pairing), pairing.predicted, strict=True)
        if outcome != "ignored"
    ]
    there = sum(question.counts(thing) for pairing in pairings for thing in pairing.true)
    scores = np.array([score for score, _ in shown], np.float64)
    order = np.argsort(-scores, kind="stable")
    scores = scores[order]
    hits = np.cumsum(np.array([hit for _, hit in shown], np.float64)[order])
    last = np.flatnonzero(np.append(np.diff(scores) != 0, True)) if len(scores) else np.empty(0, np.int64)
    hits, shown_count, scores = hits[last], last + 1.0, scores[last]
    return {
        "threshold": scores,
        "precision": hits / shown_count,
        "recall": hits / there if there else np.full(len(last), np.nan),
        "f1": 2 * hits / (shown_count + there),
    }


def average_precision(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> float:
    """Return the area under the interpolated curve (all points); NaN where there is no truth."""
    if not len(recall) or np.isnan(recall).any():
        return 0.0 if not len(recall) else float("nan")
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * best))


def any_label(pairing: Pairing, rule: Rule) -> Pairing:
    """Match one chip anew with labels left out: what a detector that knows no classes can do."""
    predicted, true = (
        [replace(thing, label="object") for thing in things] for things in (pairing.predicted, pairing.true)
    )
    return pair(predicted, true, rule)


@dataclass(frozen=True)
class Ranked:
    """Predictions of all chips by falling score.

    Attributes:
        chip: index of each one's chip, [K].
        score: [K].
        hit: [K].
        there: truths that count in each chip, [N].
    """

    chip: NDArray[np.int64]
    score: NDArray[np.float64]
    hit: NDArray[np.bool_]
    there: NDArray[np.int64]

    def at_false_alarms(self, weights: NDArray[np.float64], allowed: float) -> float:
        """Return the highest recall with at most so many false alarms, chips weighted by ``weights``."""
        total = float(weights @ self.there)
        if not total:
            return float("nan")
        each = weights[self.chip]
        hits, false = np.cumsum(each * self.hit), np.cumsum(each * ~self.hit)
        last = np.append(np.diff(self.score) != 0, True) if len(self.score) else np.empty(0, np.bool_)
        fits = last & (false <= allowed + 1e-9)
        return float(hits[fits].max() / total) if fits.any() else 0.0

    def counted(self, weights: NDArray[np.float64], threshold: float) -> tuple[float, float]:
        """Return recall and the number of false alarms at a threshold, chips weighted."""
        each = weights[self.chip] * (self.score >= threshold)
        total = float(weights @ self.there)
        return float(each @ self.hit) / total if total else float("nan"), float(each @ ~self.hit)


def ranked(pairings: Sequence[Pairing], question: Question) -> Ranked:
    """Put all predictions that count in one order."""
    rows = [
        (index, thing.score, outcome == "hit")
        for index, pairing in enumerate(pairings)
        for outcome, thing in zip(question.outcomes(pairing), pairing.predicted, strict=True)
        if outcome != "ignored"
    ]
    rows.sort(key=lambda row: -row[1])
    chip, score, hit = zip(*rows, strict=True) if rows else ((), (), ())
    there = [sum(map(question.counts, pairing.true)) for pairing in pairings]
    return Ranked(
        np.array(chip, np.int64),
        np.array(score, np.float64),
        np.array(hit, np.bool_),
        np.array(there, np.int64),
    )


def against_at_equal_false_alarms(
    ours: Sequence[Pairing],
    theirs: Sequence[Pairing],
    question: Question,
    threshold: float,
    resamples: int = 300,
    sites: Sites = None,
) -> dict[str, Any]:
    """Compare recalls where both make as many false alarms as the other detector does at its threshold.

    Args:
        ours: one chip each.
        theirs: the same chips.
        question: what counts.
        threshold: theirs.
        resamples: of chips or sites, the same ones for both.
        sites: site of each chip.

    Returns:
        ``false_alarms``, ``recall``, ``other`` and ``gain``, with the interval of the gain.
    """
    one, two = ranked(ours, question), ranked(theirs, question)

    def recalls(weights: NDArray[np.float64]) -> tuple[float, float, float]:
        other, allowed = two.counted(weights, threshold)
        return one.at_false_alarms(weights, allowed), other, allowed

    ours_recall, other, allowed = recalls(np.ones(len(ours)))
    drawn = np.array([recalls(row)[:2] for row in site_weights(len(ours), resamples, 0, sites)])
    return {
        "false_alarms": int(allowed),
        "recall": number(ours_recall),
        "other": number(other),
        "gain": number(ours_recall - other),
        "gain_95": interval(drawn[:, 0] - drawn[:, 1]) if len(drawn) else None,
    }


def average_precision_95(
    pairings: Sequence[Pairing], question: Question, resamples: int = 300, sites: Sites = None
) -> list[float] | None:
    """Return the interval of the average precision."""
    order = ranked(pairings, question)
    last = np.append(np.diff(order.score) != 0, True) if len(order.score) else np.empty(0, np.bool_)
    drawn = []
    for weights in site_weights(len(pairings), resamples, 0, sites):
        there, each = float(weights @ order.there), weights[order.chip]
        shown = np.cumsum(each)[last]
        if there and len(shown):
            hits = np.cumsum(each * order.hit)[last]
            drawn.append(average_precision(hits / np.maximum(shown, 1e-9), hits / there))
    return interval(np.array(drawn)) if drawn else None


def recall_by_contrast(
    pairings: Sequence[Pairing],
    question: Question,
    threshold: float,
    resamples: int = RESAMPLES,
    sites: Sites = None,
) -> dict[str, dict[str, Any]]:
    """Return recall by the truths' contrast; a false alarm has none, so there is no precision."""
    out = {}
    for low, high in CONTRAST_CLASSES_DB:
        rows = np.zeros((len(pairings), 2))
        for index, pairing in enumerate(pairings):
            found = {
                match
                for match, thing in zip(pairing.match, pairing.predicted, strict=True)
                if match is not None and thing.score >= threshold
            }
            for number_, thing in enumerate(pairing.true):
                if (
                    question.counts(thing)
                    and thing.contrast_db is not None
                    and low <= thing.contrast_db < high
                ):
                    rows[index] += (number_ in found, 1)
        drawn = resampled_sums(rows, resamples, 0, sites)
        hits, there = rows.sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            values = drawn[:, 0] / drawn[:, 1]
        name = (
            f"under {high:g} dB"
            if np.isinf(low)
            else f"{low:g} dB and more"
            if np.isinf(high)
            else (f"{low:g} to {high:g} dB")
        )
        out[name] = {
            "recall": number(hits / there) if there else None,
            "recall_95": interval(values) if there else None,
            "of": int(there),
        }
    return out
