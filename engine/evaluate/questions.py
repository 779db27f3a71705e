"""Free questions: what the answer cites, and whether it refuses what the images cannot show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.errors import AnswerError
from engine.evaluate.bootstrap import RESAMPLES, Sites, only, share
from engine.runtime.forms import REFUSAL, parse_question


def cited(text: str, places: int) -> tuple[int, ...] | None:
    """Return the places that an answer cites; None where it refuses or does not parse."""
    if text.strip() == REFUSAL:
        return None
    try:
        return tuple(parse_question(text, places)[0])
    except AnswerError:
        return None


def questions(
    answered: Sequence[str],
    true: Sequence[str],
    places: Sequence[int],
    resamples: int = RESAMPLES,
    sites: Sites = None,
) -> dict[str, Any]:
    """Return how free questions were answered.

    Returns:
        ``cites``: the right places, of questions that can be answered; ``refused``: of those that cannot;
        ``refused_wrongly``: of those that can; ``exact``: the whole text.
    """
    can = [text.strip() != REFUSAL for text in true]
    cites = [
        cited(given, count) is not None and cited(given, count) == cited(right, count)
        for given, right, count in zip(answered, true, places, strict=True)
    ]
    refused = [text.strip() == REFUSAL for text in answered]
    exact = [given.strip() == right.strip() for given, right in zip(answered, true, strict=True)]
    return {
        "cites": share(only(cites, can), resamples, sites=sites),
        "refused": share(only(refused, [not each for each in can]), resamples, sites=sites),
        "refused_wrongly": share(only(refused, can), resamples, sites=sites),
        "exact": share(exact, resamples, sites=sites),
    }
