"""From an engine's raw score to a probability: monotone maps that never change the order of scores.

Two forms. The logistic one (Platt): p = sigmoid(slope * logit(s) + intercept), slope > 0. The table
(isotonic): piecewise linear between knots. Without either, a score stays what it is.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence

_EDGE = 1e-6  # scores are kept this far from 0 and 1, where a logit has no value


def logit(score: float) -> float:
    """Return the log odds of a score, cut at 1e-6 and 1 - 1e-6."""
    p = min(max(score, _EDGE), 1 - _EDGE)
    return math.log(p / (1 - p))


def sigmoid(x: float) -> float:
    """Return the probability of log odds."""
    if x < 0:
        return math.exp(x) / (1 + math.exp(x))
    return 1 / (1 + math.exp(-x))


def logistic(score: float, slope: float, intercept: float) -> float:
    """Return sigmoid(slope * logit(score) + intercept); the score itself where that is the identity."""
    return score if slope == 1 and intercept == 0 else sigmoid(slope * logit(score) + intercept)


def table(score: float, knots: Sequence[tuple[float, float]]) -> float:
    """Return the value of a piecewise linear map; its ends stand in beyond them.

    Args:
        score: the raw score.
        knots: (score, probability), both ascending.
    """
    at = bisect_right(knots, (score, math.inf))
    if at == 0 or at == len(knots):
        return knots[min(at, len(knots) - 1)][1]
    (x0, y0), (x1, y1) = knots[at - 1], knots[at]
    return y0 + (y1 - y0) * (score - x0) / (x1 - x0)
