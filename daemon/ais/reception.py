"""Where and when a silence would mean something: reception proven by other vessels' messages.

AIS is heard by receivers of unknown reach, ashore or in orbit. That a vessel would have been heard at a place
is shown by others that were: near it, before the sensing and after it, and on all sides of it, since beyond
the last vessel that is heard the reception may end. So a place counts that lies between witnesses: whatever
convex area a receiver reaches, it reaches the places between those that it hears.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from engine.runtime.geometry import ecef_from_geodetic

from .track import Vessel


@dataclass(frozen=True, slots=True)
class ReceptionRule:
    """When reception counts as proven at a place.

    Attributes:
        reach_m: vessels within this distance are witnesses, if they were heard before and after.
        within_s: of the sensing, on either side.
        gap_deg: seen from the place, no gap between neighbouring witnesses may be as wide; 180 means that
            the place lies within their convex hull, which takes three.
    """

    reach_m: float = 20_000.0
    within_s: float = 600.0
    gap_deg: float = 180.0


RULE = ReceptionRule()
_STEP_DEG = 0.03  # of the grid by which the area is drawn, 3.3 km


@dataclass(frozen=True)
class Witnesses:
    """The vessels that were heard before and after the sensing, and where they were."""

    rule: ReceptionRule
    mmsi: NDArray[np.int64]  # [n]
    position_m: NDArray[np.float64]  # ECEF, [n, 3]

    def prove(self, position_m: NDArray[np.float64], but: int | None = None) -> dict[str, Any]:
        """Return whether reception is proven at a place, and by whom.

        Args:
            position_m: the place, ECEF, [3].
            but: MMSI of the vessel in question, which is no witness of itself.

        Returns:
            proven, the number of vessels within reach, the distance to the nearest, the widest gap.
        """
        apart = np.linalg.norm(self.position_m - position_m, axis=1)
        near = (apart <= self.rule.reach_m) & (self.mmsi != (-1 if but is None else but))
        gap = widest_gap_deg(position_m, self.position_m[near])
        return {
            "proven": gap < self.rule.gap_deg,
            "vessels": int(near.sum()),
            "nearest_m": round(float(apart[near].min())) if near.any() else None,
            "gap_deg": None if math.isinf(gap) else round(gap),
        }

    def area(self, footprint: shapely.MultiPolygon) -> shapely.MultiPolygon:
        """Return where in a footprint reception is proven, drawn on a grid of some 3 km."""
        if not len(self.mmsi):
            return shapely.MultiPolygon()
        from scipy.spatial import cKDTree

        tree = cKDTree(self.position_m)
        boxes = [box for part in footprint.geoms for box in self._boxes(tree, part)]
        drawn = shapely.intersection(shapely.union_all(boxes), footprint)
        parts = [p for p in shapely.get_parts(drawn) if p.geom_type == "Polygon"]
        return shapely.MultiPolygon(parts)

    def _boxes(self, tree: Any, part: shapely.Polygon) -> list[shapely.Polygon]:
        """Return boxes, one for each run of cells along a parallel from whose middle the rule holds."""
        west, south, east, north = part.bounds
        wide = _STEP_DEG / max(math.cos(math.radians((south + north) / 2)), 0.02)
        lat = np.arange(south + _STEP_DEG / 2, north + _STEP_DEG / 2, _STEP_DEG)
        lon = np.arange(west + wide / 2, east + wide / 2, wide)
        cells = ecef_from_geodetic(lon[None, :], lat[:, None])
        near = tree.query_ball_point(cells.reshape(-1, 3), self.rule.reach_m)
        proven = [
            len(found) > 2 and widest_gap_deg(cell, self.position_m[found]) < self.rule.gap_deg
            for cell, found in zip(cells.reshape(-1, 3), near, strict=True)
        ]
        held = np.array(proven).reshape(len(lat), len(lon))
        boxes = []
        for row, y in zip(held, lat, strict=True):
            edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(np.int8), [0]])))
            for start, stop in edges.reshape(-1, 2):
                left, right = lon[start] - wide / 2, lon[stop - 1] + wide / 2
                boxes.append(shapely.box(left, y - _STEP_DEG / 2, right, y + _STEP_DEG / 2))
        return boxes


def widest_gap_deg(position_m: NDArray[np.float64], others_m: NDArray[np.float64]) -> float:
    """Return the widest angle between neighbouring ones of others, [n, 3], as seen from a place; ECEF.

    360 where there is but one, infinite without any.
    """
    up = position_m / np.linalg.norm(position_m)
    east = np.array([-up[1], up[0], 0.0])
    east = east / np.linalg.norm(east) if east.any() else np.array([0.0, 1.0, 0.0])
    apart = others_m - position_m
    north = np.array([-up[2] * east[1], up[2] * east[0], up[0] * east[1] - up[1] * east[0]])
    x, y = apart @ east, apart @ north
    bearings = np.sort(np.degrees(np.arctan2(y, x))[np.hypot(x, y) > 1.0])
    if not len(bearings):
        return math.inf
    return float(np.diff(bearings, append=bearings[0] + 360).max())


def witnesses(
    vessels: Sequence[Vessel], first_s: float, last_s: float, rule: ReceptionRule = RULE
) -> Witnesses:
    """Find the vessels that were heard within `rule.within_s` before a sensing and after it.

    Args:
        vessels: with their reports.
        first_s: when the sensing began, seconds since 1970.
        last_s: when it ended.
        rule: what counts.
    """
    mmsi, places = [], []
    for vessel in vessels:
        before = [f for f in vessel.fixes if first_s - rule.within_s <= f.time_s <= first_s]
        after = [f for f in vessel.fixes if last_s <= f.time_s <= last_s + rule.within_s]
        if before and after:
            mmsi.append(vessel.mmsi)
            nearest = min((before[-1], after[0]), key=lambda f: abs(f.time_s - (first_s + last_s) / 2))
            places.append(np.asarray(ecef_from_geodetic(nearest.lon_deg, nearest.lat_deg)))
    return Witnesses(rule, np.array(mmsi, np.int64), np.array(places, float).reshape(-1, 3))
