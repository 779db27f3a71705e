"""Intervals by resampling: chips, or whole sites where they are known.

Chips of one site share sea, coast and traffic, so that resampling them singly would promise more than the
data hold. A statistic is a function of sums over chips; its interval is the central 95 % over resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
Sites = Sequence[object] | None


def site_weights(
    count: int, resamples: int = RESAMPLES, seed: int = 0, sites: Sites = None
) -> NDArray[np.float64]:
    """Return how often each of some chips is drawn in each resample, [resamples, count].

    Args:
        count: chips.
        resamples: how many.
        seed: of the draws.
        sites: site of each chip, drawn whole; None where each chip is its own.
    """
    if not count:
        return np.zeros((resamples, 0))
    rng = np.random.default_rng(seed)
    names = (
        np.arange(count)
        if sites is None
        else np.unique([str(each) for each in sites], return_inverse=True)[1]
    )
    groups = int(names.max()) + 1
    return rng.multinomial(groups, np.full(groups, 1 / groups), size=resamples)[:, names].astype(np.float64)


def resampled_sums(
    values: NDArray[np.generic], resamples: int, seed: int = 0, sites: Sites = None
) -> NDArray[np.float64]:
    """Return sums over chips drawn with replacement, [resamples, columns], of values [N, columns]."""
    return site_weights(len(values), resamples, seed, sites) @ values.astype(np.float64)


def interval(drawn: NDArray[np.float64]) -> list[float] | None:
    """Return the central 95 % of resampled values; None where they are not defined."""
    known = drawn[np.isfinite(drawn)]
    return [round(float(value), 4) for value in np.quantile(known, (0.025, 0.975))] if len(known) else None


def number(value: float) -> float | None:
    """Return a value as a report holds it: four decimals, None where it is not defined."""
    return round(float(value), 4) if np.isfinite(value) else None


def mean(
    values: Sequence[float] | Sequence[bool] | NDArray[Any],
    resamples: int = RESAMPLES,
    seed: int = 0,
    sites: Sites = None,
) -> dict[str, Any]:
    """Return a mean over chips with its 95 % interval: ``mean``, ``mean_95``, ``of``; NaNs are left out."""
    given = np.asarray(values, np.float64)
    known = np.isfinite(given)
    if not known.any():
        return {"mean": None, "mean_95": None, "of": 0}
    kept = None if sites is None else [site for site, one in zip(sites, known, strict=True) if one]
    stack = np.stack([given[known], np.ones(int(known.sum()))], axis=1)
    drawn = resampled_sums(stack, resamples, seed, kept)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = drawn[:, 0] / drawn[:, 1]
    return {"mean": number(given[known].mean()), "mean_95": interval(means), "of": int(known.sum())}


def only(values: Sequence[float] | NDArray[Any], chosen: Sequence[bool] | NDArray[np.bool_]) -> NDArray[Any]:
    """Return values with NaN where they are not chosen: a mean leaves those out, with their sites."""
    return np.where(np.asarray(chosen, np.bool_), np.asarray(values, np.float64), np.nan)


def share(
    flags: Sequence[bool] | NDArray[Any], resamples: int = RESAMPLES, seed: int = 0, sites: Sites = None
) -> dict[str, Any]:
    """Return a share with its 95 % interval: ``share``, ``share_95``, ``of``."""
    found = mean(flags, resamples, seed, sites)
    return {"share": found["mean"], "share_95": found["mean_95"], "of": found["of"]}


def difference(
    one: Sequence[float] | NDArray[Any],
    other: Sequence[float] | NDArray[Any],
    resamples: int = RESAMPLES,
    seed: int = 0,
    sites: Sites = None,
) -> dict[str, Any]:
    """Return the mean of one less the other over the same chips, with its interval (paired)."""
    return mean(np.asarray(one, np.float64) - np.asarray(other, np.float64), resamples, seed, sites)


def statistic(
    stack: NDArray[Any],
    of_sums: Callable[[NDArray[np.float64]], float],
    resamples: int = RESAMPLES,
    seed: int = 0,
    sites: Sites = None,
) -> tuple[float, list[float] | None]:
    """Return a function of sums over chips, and its interval.

    Args:
        stack: what is summed, [N, columns].
        of_sums: of a row of sums [columns]; NaN where it is not defined.
        resamples: how many.
        seed: of the draws.
        sites: site of each chip.
    """
    drawn = np.array([of_sums(row) for row in resampled_sums(stack, resamples, seed, sites)])
    return of_sums(stack.sum(axis=0).astype(np.float64)), interval(drawn)
