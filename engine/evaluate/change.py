"""Scores change answers: what became of each known place, counts before and after, grounding."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.errors import AnswerError
from engine.evaluate.bootstrap import RESAMPLES, Sites, mean, share
from engine.evaluate.classes import classification
from engine.runtime.forms import CHANGES


@dataclass(frozen=True)
class ChangeAnswer:
    """A change answer.

    Attributes:
        changes: one of CHANGES for each place, by ordinal.
        before: ships in the first image; None where the answer does not say.
        after: ships in the second.
    """

    changes: tuple[str, ...]
    before: int | None = None
    after: int | None = None


def parse_change(text: str, places: int) -> ChangeAnswer:
    """Read the first line of a change answer: a JSON object of ordinals, ``before`` and ``after``.

    Args:
        text: the answer.
        places: how many places the question knows.

    Raises:
        AnswerError: no such object, an unknown word, or other places.
    """
    try:
        given = json.loads(text.partition("\n")[0])
    except ValueError as error:
        raise AnswerError(f"got {text[:80]!r}, expected a JSON object in the first line") from error
    wanted = {str(place) for place in range(1, places + 1)}
    if not isinstance(given, dict) or set(given) - {"before", "after"} != wanted:
        raise AnswerError(f"got {text[:80]!r}, expected the places 1 to {places}, before and after")
    changes = tuple(given[str(place)] for place in range(1, places + 1))
    if any(change not in CHANGES for change in changes):
        raise AnswerError(f"got {text[:80]!r}, expected {', '.join(CHANGES)}")
    counts = [given.get(name) for name in ("before", "after")]
    before, after = (count if type(count) is int and count >= 0 else None for count in counts)
    return ChangeAnswer(changes, before, after)


def changes(
    answered: Sequence[ChangeAnswer | None],
    true: Sequence[ChangeAnswer],
    resamples: int = RESAMPLES,
    sites: Sites = None,
) -> dict[str, Any]:
    """Return the change metrics; an answer that does not parse (None) is wrong in everything.

    Returns:
        ``places``: accuracy and each word over all places (pairs are resampled whole), ``pairs_exact``: every
        place right, ``counts_exact``: both counts right, ``count_error``: mean absolute error of the counts,
        ``change_seen``: whether anything appeared or left is told rightly, ``valid``.
    """
    got: list[str | None] = []
    want: list[str] = []
    owner: list[int] = []
    for index, (given, one) in enumerate(zip(answered, true, strict=True)):
        got += list(given.changes) if given is not None else [None] * len(one.changes)
        want += list(one.changes)
        owner += [index] * len(one.changes)
    where = owner if sites is None else [list(sites)[index] for index in owner]
    errors = [
        np.nan
        if given is None or given.before is None or given.after is None
        else (abs(given.before - (one.before or 0)) + abs(given.after - (one.after or 0))) / 2
        for given, one in zip(answered, true, strict=True)
    ]
    pairs = list(zip(answered, true, strict=True))
    return {
        "places": classification(got, want, CHANGES, resamples, where),
        "pairs_exact": share(
            [a is not None and a.changes == b.changes for a, b in pairs], resamples, sites=sites
        ),
        "counts_exact": share(
            [a is not None and (a.before, a.after) == (b.before, b.after) for a, b in pairs],
            resamples,
            sites=sites,
        ),
        "count_error": mean(errors, resamples, sites=sites),
        "change_seen": share(
            [a is not None and _moved(a) == _moved(b) for a, b in pairs], resamples, sites=sites
        ),
        "valid": share([a is not None for a, _ in pairs], resamples, sites=sites),
    }


def _moved(answer: ChangeAnswer) -> bool:
    return bool({"appeared", "gone"} & set(answer.changes))


def majority_change(true: Sequence[ChangeAnswer]) -> list[ChangeAnswer]:
    """Return the majority answer to every question: the commonest word, the commonest counts."""
    words = [word for one in true for word in one.changes]
    word = max(CHANGES, key=words.count)
    pairs = [(one.before, one.after) for one in true]
    before, after = max(sorted(set(pairs), key=str), key=pairs.count)
    return [ChangeAnswer((word,) * len(one.changes), before, after) for one in true]
