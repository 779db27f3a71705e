"""Where and when a silence would mean something: reception proven by other vessels' messages.

AIS is heard by receivers of unknown reach, ashore or in orbit. That a vessel would have been heard at a place
is shown by others that were: near it, before the sensing and after it.
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
    """When reception counts as proven at a place: so many vessels so near, each heard before and after."""

    vessels: int = 2
    reach_m: float = 10_000.0
    within_s: float = 600.0


RULE = ReceptionRule()
_STEP_DEG = 0.02  # of the grid by which the area is drawn, 2.2 km


@dataclass(frozen=True)
class Witnesses:
    """The vessels that were heard before and after the sensing, and where they were."""

    rule: ReceptionRule
    mmsi: NDArray[np.int64]  # [n]
    position_m: NDArray[np.float64]  # ECEF, [n, 3]

    def near(self, position_m: NDArray[np.float64], but: int | None = None) -> list[tuple[float, int]]:
        """Return (distance, MMSI) of those within reach of a place, nearest first.

        Args:
            position_m: the place, ECEF, [3].
            but: MMSI of the vessel in question, which is no witness of itself.
        """
        apart = np.linalg.norm(self.position_m - position_m, axis=1)
        return [
            (float(apart[i]), int(self.mmsi[i]))
            for i in np.lexsort((self.mmsi, apart))
            if apart[i] <= self.rule.reach_m and self.mmsi[i] != but
        ]

    def area(self, footprint: shapely.MultiPolygon) -> shapely.MultiPolygon:
        """Return where in a footprint reception is proven, drawn on a grid of some 2 km."""
        if len(self.mmsi) < self.rule.vessels:
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
        apart, _ = tree.query(
            cells.reshape(-1, 3), k=[self.rule.vessels], distance_upper_bound=self.rule.reach_m
        )
        held = np.isfinite(apart).reshape(len(lat), len(lon))
        boxes = []
        for row, y in zip(held, lat, strict=True):
            edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(np.int8), [0]])))
            for start, stop in edges.reshape(-1, 2):
                left, right = lon[start] - wide / 2, lon[stop - 1] + wide / 2
                boxes.append(shapely.box(left, y - _STEP_DEG / 2, right, y + _STEP_DEG / 2))
        return boxes


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
