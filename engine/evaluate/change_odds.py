"""How text and tower are put together for changes, fitted on pairs of validation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import DatasetError
from engine.evaluate.asking import AS_IS, Asks, ask
from engine.evaluate.items import Item
from engine.evaluate.score import change_of
from engine.runtime.changes import ChangeOdds, by_tower
from engine.runtime.forms import CHANGES

TASK = "change"
TOWER_ALONE = ChangeOdds(0.0, 1.0, 0.0, 0.0)
_LEAST = 20  # places of each kind
_START = (0.5, 1.0, 0.0, 0.0)


def chances_of(
    engine: Asks, items: Sequence[Item], progress: Callable[[int], None] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return an engine's chances of CHANGES for every place of some pairs, [K, 4], and what is right, [K]."""
    answered = ask(engine, items, (TASK,), (), progress)
    chances, right = [], []
    for _, _, wanted, answer in answered.asked(TASK, AS_IS):
        for said, change in zip(answer.places, change_of(wanted).changes, strict=True):
            chances.append(said.chances)
            right.append(CHANGES.index(change))
    return np.array(chances, np.float64).reshape(-1, len(CHANGES)), np.array(right, np.int64)


def fit_odds(
    text: NDArray[np.float64], tower: NDArray[np.float64], right: NDArray[np.int64]
) -> tuple[ChangeOdds, dict[str, Any]]:
    """Fit the four numbers by maximum likelihood.

    Args:
        text: chances by the decoder alone, [K, 4].
        tower: chances by the tower alone, under TOWER_ALONE, [K, 4].
        right: index of what is right, [K].

    Returns:
        The odds, and what they do to the very places they were fitted on.

    Raises:
        DatasetError: too few places of a kind.
    """
    from scipy.optimize import minimize

    kinds = np.bincount(right, minlength=len(CHANGES))
    if kinds.min() < _LEAST:
        raise DatasetError(f"got {kinds.tolist()} places of {CHANGES}, expected {_LEAST} of each: more pairs")
    # under TOWER_ALONE the chances are products: what is seen before and after comes back as their sums
    gone, still, appeared = (tower[:, CHANGES.index(name)] for name in ("gone", "still_occupied", "appeared"))
    seen = np.stack([gone + still, appeared + still], axis=1)

    def surprise(values: Sequence[float]) -> float:
        if min(values[0], values[1]) < 0:
            return 1e3
        own = put_together(text, seen, ChangeOdds(*values))[np.arange(len(right)), right]
        return float(-np.log(np.maximum(own, 1e-12)).mean())

    found = minimize(surprise, _START, method="Nelder-Mead", options={"xatol": 1e-4, "fatol": 1e-6})
    odds = ChangeOdds(*(round(float(value), 6) for value in found.x))
    both = put_together(text, seen, odds)
    facts = {
        "places": len(right),
        "text alone right": _right(text, right),
        "tower alone right": _right(tower, right),
        "both right": _right(both, right),
        "log_loss": round(surprise(odds), 4),
    }
    return odds, facts


def put_together(
    text: NDArray[np.float64], seen: NDArray[np.float64], odds: ChangeOdds
) -> NDArray[np.float64]:
    """Return chances of both, [K, 4]; as ``engine.runtime.writing`` works them out."""
    log = odds.text * np.log(np.maximum(text, 1e-12)) + by_tower(seen, odds)
    weights = np.exp(log - log.max(axis=1, keepdims=True))
    chances: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return chances


def _right(chances: NDArray[np.float64], right: NDArray[np.int64]) -> float:
    return round(float((chances.argmax(axis=1) == right).mean()), 4)
