"""Descriptions: what can be checked of them. Counts, classes, land, land cover and sea are; style is not."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.data.describe import LAND_COVERS
from engine.evaluate.bootstrap import RESAMPLES, Sites, only, share
from engine.runtime.text import LABELS

_SEAS = ("calm sea", "moderate sea", "rough sea", "no sea")
_LANDS = ("no land", "little land", "some land", "mostly land")
_COUNT = re.compile(rf"(\d+) ({'|'.join(LABELS)})s?\b")


@dataclass(frozen=True)
class Stated:
    """What a description states.

    Attributes:
        counts: of each class named.
        land: phrase of the land's share; None where nothing is said.
        covers: land covers named.
        sea: phrase of the sea; None where nothing is said.
    """

    counts: Mapping[str, int]
    land: str | None
    covers: frozenset[str]
    sea: str | None


def stated(text: str) -> Stated:
    """Read the facts of a description; words that are not known are passed over."""
    words = text.lower()
    counts: dict[str, int] = {}
    for count, label in _COUNT.findall(words):
        counts[label] = counts.get(label, 0) + int(count)
    covers = set()
    for name in sorted(LAND_COVERS, key=len, reverse=True):
        if re.search(rf"\b{name}\b", words):
            covers.add(name)
            words = re.sub(rf"\b{name}\b", " ", words)
    return Stated(
        {label: count for label, count in counts.items() if count},
        next((phrase for phrase in _LANDS if phrase in words), None),
        frozenset(covers),
        next((phrase for phrase in _SEAS if phrase in words), None),
    )


def descriptions(
    answered: Sequence[str], true: Sequence[str], resamples: int = RESAMPLES, sites: Sites = None
) -> dict[str, Any]:
    """Return the shares of descriptions whose facts are right.

    Returns:
        ``counts``: every class with its number, none else; ``classes``: the same classes, whatever their
        number; ``land``; ``sea``; ``land_cover`` over chips whose truth names one; ``cover_invented``: a
        cover is named where the truth names none; ``all``: everything right.
    """
    pairs = [(stated(a), stated(b)) for a, b in zip(answered, true, strict=True)]

    def of(flags: Sequence[bool], chosen: Sequence[bool] | None = None) -> dict[str, Any]:
        kept = flags if chosen is None else only(flags, chosen)
        return share(kept, resamples, sites=sites)

    covered = [bool(b.covers) for _, b in pairs]
    return {
        "counts": of([a.counts == b.counts for a, b in pairs]),
        "classes": of([set(a.counts) == set(b.counts) for a, b in pairs]),
        "land": of([a.land == b.land for a, b in pairs]),
        "sea": of([a.sea == b.sea for a, b in pairs]),
        "land_cover": of([a.covers == b.covers for a, b in pairs], covered),
        "cover_invented": of([bool(a.covers) for a, _ in pairs], [not each for each in covered]),
        "all": of([a == b for a, b in pairs]),
    }
