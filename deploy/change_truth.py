"""What changed in truth between two simulated passes, and how much of it was told.

The simulator gives an object that stays the same id in each pass: what has an id in the later pass alone
appeared, in the earlier one alone is gone, in both is still there. Ghosts are no objects.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo_report import Thing, match
from shapely.geometry import Point
from shapely.geometry.base import BaseGeometry

KINDS = ("appeared", "gone", "still_occupied")


@dataclass(frozen=True)
class Score:
    """One kind: how many there were, how many were told, and how many of those are right."""

    truth: int
    told: int
    right: int

    def __add__(self, other: Score) -> Score:
        return Score(self.truth + other.truth, self.told + other.told, self.right + other.right)


def truth_changes(before: Path, after: Path, seen_twice: BaseGeometry) -> dict[str, list[Thing]]:
    """Read what changed between two products, where both looked."""
    earlier, later = (_by_id(product) for product in (before, after))
    found = {
        "appeared": [later[name] for name in later.keys() - earlier.keys()],
        "gone": [earlier[name] for name in earlier.keys() - later.keys()],
        "still_occupied": [later[name] for name in later.keys() & earlier.keys()],
    }
    return {
        kind: [thing for thing in things if seen_twice.covers(Point(thing.lon_deg, thing.lat_deg))]
        for kind, things in found.items()
    }


def scores(truth: Mapping[str, Sequence[Thing]], told: Mapping[str, Sequence[Thing]]) -> dict[str, Score]:
    """Count for each kind what was told rightly: at most one answer for each object of that kind."""
    found = {}
    for kind in KINDS:
        there, said = list(truth.get(kind, ())), list(told.get(kind, ()))
        found[kind] = Score(len(there), len(said), len(match(there, said)))
    return found


def total(parts: Iterable[Mapping[str, Score]]) -> dict[str, Score]:
    """Add the scores of several pairs of passes."""
    sums = dict.fromkeys(KINDS, Score(0, 0, 0))
    for part in parts:
        sums = {kind: sums[kind] + part[kind] for kind in KINDS}
    return sums


def _by_id(product: Path) -> dict[str, Thing]:
    file = product.with_name(product.name.removesuffix(".SAFE") + ".truth.geojson")
    things = {}
    for feature in json.loads(file.read_text())["features"]:
        known: dict[str, Any] = feature["properties"]
        if known.get("ghost_of") is None:
            lon, lat = feature["geometry"]["coordinates"][:2]
            things[known["id"]] = Thing(known["class"], lon, lat, known.get("length_m") or 0.0)
    return things
