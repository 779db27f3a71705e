"""Counting: exact, by the true count, and how far off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.evaluate.bootstrap import RESAMPLES, Sites, mean, only, share

MOST = 6  # true counts from here on are one class


def parse_count(text: str) -> int | None:
    """Return the number that an answer consists of; None where it is no plain number."""
    stripped = text.strip().rstrip(".")
    return int(stripped) if stripped.isascii() and stripped.isdecimal() else None


def counting(
    answered: Sequence[int | None], true: Sequence[int], resamples: int = RESAMPLES, sites: Sites = None
) -> dict[str, Any]:
    """Return the counting metrics; an answer that is no number is wrong, and has no error.

    Returns:
        ``exact``, ``valid``, ``error`` (answer less truth), ``absolute_error``, ``by_true_count`` and
        ``confusion``: rows are true counts 0 to MOST, columns answered ones, the last of them no number.
    """
    got = np.array([np.nan if each is None else each for each in answered], np.float64)
    want = np.asarray(true, np.float64)
    exact = got == want
    table = np.zeros((MOST + 1, MOST + 2), int)
    for given, count in zip(answered, true, strict=True):
        table[min(count, MOST), MOST + 1 if given is None else min(given, MOST)] += 1

    def of(count: int) -> dict[str, Any]:
        chosen = want >= count if count == MOST else want == count
        return share(only(exact, chosen), resamples, sites=sites)

    return {
        "exact": share(exact, resamples, sites=sites),
        "valid": share(np.isfinite(got), resamples, sites=sites),
        "error": mean(got - want, resamples, sites=sites),
        "absolute_error": mean(np.abs(got - want), resamples, sites=sites),
        "by_true_count": {f"{n}{' and more' if n == MOST else ''}": of(n) for n in range(MOST + 1)},
        "confusion": table.tolist(),
    }
