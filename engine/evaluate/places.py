"""Answers that name cells of a 3 x 3 grid, and what an object list says in the same words.

The definitions, since the paper gives names without formulas (docs/evaluation.md):

- a cell is true where it holds the centre of an object asked for;
- the overlap of an answer is |named and true| / |named or true| (Jaccard), 1 where both are empty;
- Acc@100: the overlap is 1; Acc@50: it is at least one half. Naming every cell does not help;
- Top-1: the first cell named is true; where nothing is there, that nothing is named;
- recall@50, for comparison with readings of the paper that count true cells alone: at least half of the
  true cells are named, whatever else is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.evaluate.bootstrap import RESAMPLES, Sites, only, share
from engine.evaluate.metrics import Question, Thing
from engine.runtime.forms import CELLS
from engine.runtime.image import CHIP_PX

_SAME = {"center": "centre", "middle": "centre", "upper": "top", "lower": "bottom"}
_NAMED = re.compile(
    r"(?:top|bottom)[ -](?:left|right|centre)|centre[ -](?:left|right)|top|bottom|left|right|centre"
)


def cell_of(x_px: float, y_px: float, size_px: float = CHIP_PX) -> str:
    """Return the cell that holds a place, in edge coordinates; places outside belong to the nearest."""
    column, row = (int(np.clip(value * 3 // size_px, 0, 2)) for value in (x_px, y_px))
    return CELLS[3 * row + column]


def cells_of(things: Iterable[Thing], question: Question, threshold: float = 0.0) -> list[str]:
    """Return the cells of the objects that count, surest first, each once."""
    shown = [thing for thing in things if question.counts(thing) and thing.score >= threshold]
    ordered = sorted(shown, key=lambda thing: -thing.score)
    return list(dict.fromkeys(cell_of(*thing.centre_px) for thing in ordered))


def parse_cells(text: str) -> list[str]:
    """Return the cells that a text names, in its order, each once; "top centre" is "top", and so on."""
    words = text.lower()
    for word, ours in _SAME.items():
        words = re.sub(rf"\b{word}\b", ours, words)
    found = [name.replace("-", " ") for name in _NAMED.findall(words)]
    plain = [name if name in CELLS else name.replace("centre", "").strip() for name in found]
    return list(dict.fromkeys(plain))


def overlap(named: Iterable[str], true: Iterable[str]) -> float:
    """Return the Jaccard overlap of two sets of cells; 1 where both are empty."""
    one, two = set(named), set(true)
    return len(one & two) / len(one | two) if one | two else 1.0


def localisation(
    named: Sequence[Sequence[str]],
    true: Sequence[Sequence[str]],
    resamples: int = RESAMPLES,
    sites: Sites = None,
) -> dict[str, Any]:
    """Return the localisation metrics of answers, over all chips and over those where something is.

    Args:
        named: cells of each answer, in its order.
        true: cells of each chip.
        resamples: for intervals.
        sites: site of each chip.
    """
    overlaps = np.array([overlap(a, b) for a, b in zip(named, true, strict=True)])
    first = np.array([(a[0] in b) if a and b else not a and not b for a, b in zip(named, true, strict=True)])
    half = np.array([2 * len(set(a) & set(b)) >= len(b) for a, b in zip(named, true, strict=True)])
    occupied = np.array([bool(each) for each in true], np.bool_)

    def part(chosen: NDArray[np.bool_]) -> dict[str, Any]:
        flags = {"acc_100": overlaps == 1, "acc_50": overlaps >= 0.5, "top_1": first, "recall_50": half}
        return {name: share(only(each, chosen), resamples, sites=sites) for name, each in flags.items()}

    if not len(true):
        return {"all": None, "occupied": None}
    return {"all": part(np.ones(len(true), np.bool_)), "occupied": part(occupied)}
