"""How far scores are probabilities: reliability, expected error; and monotone fits on a validation split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engine.errors import DatasetError, InputError
from engine.evaluate.bootstrap import RESAMPLES, Sites, interval, number, site_weights
from engine.runtime.calibration import logit
from engine.runtime.spec import Calibration

BINS = 10
_LEAST = 20  # outcomes of each kind, below which nothing is fitted
_LEAST_BLOCK = 25  # outcomes in a step of the table: fewer say nothing of a share
_PRIOR = 1e-3  # of the slopes' squares: keeps a separable sample finite

Array = NDArray[np.float64]


def edges(scores: Array, bins: int = BINS) -> Array:
    """Return the inner edges of bins that hold equally many scores, as far as equal scores allow."""
    return np.unique(np.quantile(scores, np.linspace(0, 1, bins + 1)[1:-1])) if len(scores) else np.empty(0)


def reliability(scores: Sequence[float] | Array, hits: Sequence[bool] | NDArray[Any]) -> list[dict[str, Any]]:
    """Return the mean score and the share of hits in bins of equally many, with the share's interval.

    The interval is Wilson's; chips are not resampled here, since bins hold few of each.
    """
    score, hit = np.asarray(scores, np.float64), np.asarray(hits, np.float64)
    place = np.searchsorted(edges(score), score, side="right")
    rows = []
    for at in np.unique(place):
        chosen = place == at
        count, share = int(chosen.sum()), float(hit[chosen].mean())
        low, high = wilson(share, count)
        rows.append(
            {
                "score": number(score[chosen].mean()),
                "share": number(share),
                "share_95": [number(low), number(high)],
                "of": count,
            }
        )
    return rows


def wilson(share: float, count: int, z: float = 1.96) -> tuple[float, float]:
    """Return Wilson's interval of a share."""
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * np.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return float(centre - half), float(centre + half)


def expected_error(
    scores: Sequence[float] | Array, hits: Sequence[bool] | NDArray[Any], weights: Array | None = None
) -> float:
    """Return the expected calibration error: mean |share of hits - mean score| over bins of equally many.

    Of a finite sample it is above 0 even where the scores are true probabilities.
    """
    score, hit = np.asarray(scores, np.float64), np.asarray(hits, np.float64)
    weight = np.ones(len(score)) if weights is None else weights
    if not weight.sum():
        return float("nan")
    place = np.searchsorted(edges(score), score, side="right")
    gap = np.bincount(place, weight * (hit - score))
    return float(np.abs(gap).sum() / weight.sum())


def quality(
    scores: Sequence[float] | Array,
    hits: Sequence[bool] | NDArray[Any],
    chips: Sequence[int] | NDArray[np.int64],
    resamples: int = RESAMPLES,
    sites: Sites = None,
) -> dict[str, Any]:
    """Return expected error and Brier score with intervals, and the reliability curve.

    Args:
        scores: of each predicted object.
        hits: whether it is there and is what it is called.
        chips: index of each one's chip; chips are resampled, or their sites.
        resamples: how many.
        sites: site of each chip.
    """
    score, hit, chip = (
        np.asarray(scores, np.float64),
        np.asarray(hits, np.float64),
        np.asarray(chips, np.int64),
    )
    if not len(score):
        return {"expected_error": None, "expected_error_95": None, "brier": None, "of": 0, "curve": []}
    count = len(sites) if sites is not None else int(chip.max()) + 1
    drawn = [
        (
            expected_error(score, hit, row[chip]),
            float(row[chip] @ (score - hit) ** 2 / max(row[chip].sum(), 1)),
        )
        for row in site_weights(count, min(resamples, 300), 0, sites)
    ]
    errors, briers = np.array(drawn).T
    return {
        "expected_error": number(expected_error(score, hit)),
        "expected_error_95": interval(errors),
        "brier": number(float(np.mean((score - hit) ** 2))),
        "brier_95": interval(briers),
        "of": len(score),
        "curve": reliability(score, hit),
    }


def fit_logistic(features: Array, hits: Sequence[bool] | NDArray[Any]) -> Array:
    """Return weights of features [K, F], then the intercept, that make hits likeliest (Newton's method)."""
    x = np.column_stack([features, np.ones(len(features))])
    y = np.asarray(hits, np.float64)
    penalty = np.full(x.shape[1], _PRIOR)
    penalty[-1] = 0.0
    beta = np.zeros(x.shape[1])
    for _ in range(100):
        p = 1 / (1 + np.exp(-np.clip(x @ beta, -35, 35)))
        hessian = x.T @ (x * (p * (1 - p))[:, None]) + np.diag(penalty + 1e-9)
        step = np.linalg.solve(hessian, x.T @ (y - p) - penalty * beta)
        beta = beta + np.clip(step, -5, 5)
        if np.abs(step).max() < 1e-10:
            break
    return np.asarray(beta)


def fit_table(scores: Array, hits: Sequence[bool] | NDArray[Any]) -> tuple[tuple[float, float], ...]:
    """Return the knots of the rising table that fits best (pool adjacent violators), steps not too small."""
    order = np.argsort(scores, kind="stable")
    values, hit = scores[order], np.asarray(hits, np.float64)[order]
    blocks: list[list[float]] = []  # sum of scores, sum of hits, count
    for score, one in zip(values, hit, strict=True):
        blocks.append([score, one, 1.0])
        while len(blocks) > 1 and (
            blocks[-2][2] < _LEAST_BLOCK or blocks[-2][1] * blocks[-1][2] >= blocks[-1][1] * blocks[-2][2]
        ):
            last = blocks.pop()
            blocks[-1] = [a + b for a, b in zip(blocks[-1], last, strict=True)]
    if len(blocks) > 1 and blocks[-1][2] < _LEAST_BLOCK:
        last = blocks.pop()
        blocks[-1] = [a + b for a, b in zip(blocks[-1], last, strict=True)]
    knots = [(total / count, (one + 0.5) / (count + 1)) for total, one, count in blocks]
    kept: list[tuple[float, float]] = []
    for x, y in knots:
        if kept and x <= kept[-1][0]:
            continue
        kept.append((round(x, 6), round(max(y, kept[-1][1] if kept else 0.0), 6)))
    return tuple(kept)


def fit(
    scores: Sequence[float] | Array,
    hits: Sequence[bool] | NDArray[Any],
    method: Literal["logistic", "table"] = "logistic",
    facts: dict[str, Any] | None = None,
) -> Calibration:
    """Fit a calibration to outcomes of a validation split.

    Args:
        scores: raw ones.
        hits: whether each object is there.
        method: logistic (two numbers) or a table.
        facts: kept beside the fit.

    Raises:
        DatasetError: too few hits or false alarms to fit anything.
        InputError: the fit falls with the score, so that the score says nothing.
    """
    score, hit = np.asarray(scores, np.float64), np.asarray(hits, np.bool_)
    if min(int(hit.sum()), int((~hit).sum())) < _LEAST:
        raise DatasetError(
            f"got {int(hit.sum())} hits and {int((~hit).sum())} false alarms, expected {_LEAST} of each: "
            "give more validation chips"
        )
    odds = np.array([logit(value) for value in score])
    slope, intercept = fit_logistic(odds[:, None], hit)
    if not slope > 0:
        raise InputError(f"got a slope of {slope:.3f}: the score falls with the share of hits, fit nothing")
    return Calibration(
        slope=round(float(slope), 6),
        intercept=round(float(intercept), 6),
        knots=fit_table(score, hit) if method == "table" else (),
        fitted=facts or {},
    )
