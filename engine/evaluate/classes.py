"""Classification: accuracy, each class's precision and recall, and the majority answer beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.evaluate.bootstrap import RESAMPLES, Sites, number, share, statistic


def named_class(text: str, classes: Sequence[str]) -> str | None:
    """Return the one class that an answer names; None where it names none, or several.

    A class within a longer one's name ("vegetation" in "flooded vegetation") is not named by it.
    """
    words = text.lower()
    found = []
    for name in sorted(classes, key=len, reverse=True):
        if name.lower() in words:
            found.append(name)
            words = words.replace(name.lower(), " ")
    return found[0] if len(found) == 1 else None


def majority(true: Sequence[str]) -> str:
    """Return the most frequent answer; the first in the alphabet of equals."""
    counts = Counter(true)
    return min(counts, key=lambda name: (-counts[name], name))


def classification(
    answered: Sequence[str | None],
    true: Sequence[str],
    classes: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
    sites: Sites = None,
) -> dict[str, Any]:
    """Return accuracy, macro F1 (over classes that occur), each class, the confusion, the majority's share.

    Args:
        answered: one class a question; None where the answer names none.
        true: the right ones.
        classes: in the order of the report; those that occur where it is None.
        resamples: for intervals.
        sites: site of each question.
    """
    names = list(classes) if classes is not None else sorted(set(true))
    right = np.array([a == b for a, b in zip(answered, true, strict=True)], np.bool_)
    table = np.zeros((len(names), len(names) + 1), int)
    rows = np.zeros((len(true), 3 * len(names)))
    for index, (given, one) in enumerate(zip(answered, true, strict=True)):
        given_at = names.index(given) if given in names else len(names)
        true_at = names.index(one)
        table[true_at, given_at] += 1
        if given_at == true_at:
            rows[index, 3 * true_at] = 1
        else:
            rows[index, 3 * true_at + 2] = 1
            if given_at < len(names):
                rows[index, 3 * given_at + 1] = 1
    macro, macro_95 = statistic(rows, _macro_f1, resamples, sites=sites)
    return {
        "accuracy": share(right, resamples, sites=sites),
        "macro_f1": number(macro),
        "macro_f1_95": macro_95,
        "majority": share([one == majority(true) for one in true], resamples, sites=sites) if true else None,
        "classes": {name: _class(rows[:, 3 * at : 3 * at + 3].sum(axis=0)) for at, name in enumerate(names)},
        "confusion": {"names": names, "table": table.tolist()},
    }


def _macro_f1(sums: NDArray[np.float64]) -> float:
    hits, false, missed = sums.reshape(-1, 3).T
    there = hits + missed > 0
    f1 = 2 * hits[there] / (2 * hits[there] + false[there] + missed[there])
    return float(f1.mean()) if there.any() else float("nan")


def _class(sums: NDArray[np.float64]) -> dict[str, Any]:
    hits, false, missed = (float(each) for each in sums)
    return {
        "precision": number(hits / (hits + false)) if hits + false else None,
        "recall": number(hits / (hits + missed)) if hits + missed else None,
        "of": int(hits + missed),
    }
