"""Which sightings of two passes lie at one place.

Reach of a ship's place: the error of two geolocations, the lengths, and the swing around an anchor; along
azimuth also the displacement of slow movement, R/V times radial speed. Structures are matched tightly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from engine.runtime.geometry import ecef_from_geodetic

from .domain import Sighting

GEOLOCATION_M = 30.0  # of the difference of two positions: a resolution cell and a half
CHAIN_M = 100.0  # how far a ship's bow may lie from its anchor, horizontally
DRIFT_M_S = 1.0  # radial speed up to which a ship counts as staying: tide, swing, dragging
LAYOVER_M = 60.0  # a tall structure leans towards the radar, to either side from two geometries
EDGE = 0.5  # closeness at the reach
M_PER_DEG = 111_195.0  # of latitude, on a sphere of 6,371 km


@dataclass(frozen=True, slots=True)
class Match:
    """Two sightings at one place: indices, how far apart, and how surely it is one place."""

    before: int
    after: int
    distance_m: float
    closeness: float


def match(before: Sequence[Sighting], after: Sequence[Sighting], same_view: bool) -> list[Match]:
    """Pair the sightings of two passes so that their closeness is greatest in all, each used once.

    Args:
        before: of the earlier pass.
        after: of the later pass.
        same_view: whether both were seen from one relative orbit in one direction.
    """
    if not before or not after:
        return []
    near = cKDTree(_places(before)).query_ball_tree(cKDTree(_places(after)), _farthest(before, after))
    found = [
        Match(i, j, *closeness)
        for i, others in enumerate(near)
        for j in others
        if (closeness := _compare(before[i], after[j], same_view)) is not None
    ]
    return [found[index] for index in _best(found, (len(before), len(after)))]


def _compare(a: Sighting, b: Sighting, same_view: bool) -> tuple[float, float] | None:
    """Return distance and closeness of two sightings; None beyond the reach."""
    distance_m = _distance_m(a, b)
    if a.fixed or b.fixed:
        core = reach = GEOLOCATION_M + max(a.length_m, b.length_m) / 4 + (0.0 if same_view else LAYOVER_M)
    else:
        core = GEOLOCATION_M + (a.length_m + b.length_m) / 4
        reach = GEOLOCATION_M + 2 * CHAIN_M + (a.length_m + b.length_m) / 2
    if distance_m > reach:
        return None
    if distance_m <= core:
        return distance_m, 1.0
    return distance_m, 1.0 - (1.0 - EDGE) * (distance_m - core) / (reach - core)


def _distance_m(a: Sighting, b: Sighting) -> float:
    """Distance of b from a, less what slow movement may displace the two along azimuth."""
    east_deg = (b.lon_deg - a.lon_deg + 180.0) % 360.0 - 180.0
    middle = np.radians((a.lat_deg + b.lat_deg) / 2)
    apart = np.array([east_deg * np.cos(middle), b.lat_deg - a.lat_deg]) * M_PER_DEG
    if a.fixed or b.fixed:
        return float(np.hypot(*apart))
    slack, along = 0.0, None
    for item in (b, a):
        if item.azimuth_deg is None or item.range_to_velocity_s is None:
            continue
        bearing = np.radians(item.azimuth_deg)
        unit = np.array([np.sin(bearing), np.cos(bearing)])
        along = unit if along is None else along
        shift_m = item.range_to_velocity_s * DRIFT_M_S * np.sin(np.radians(item.incidence_deg))
        slack += shift_m * abs(float(unit @ along))
    if along is not None:
        apart = apart - along * np.clip(float(apart @ along), -slack, slack)
    return float(np.hypot(*apart))


def _farthest(before: Sequence[Sighting], after: Sequence[Sighting]) -> float:
    longest = max(s.length_m for s in before) + max(s.length_m for s in after)
    shifts = sum(max((s.range_to_velocity_s or 0.0) for s in side) * DRIFT_M_S for side in (before, after))
    return float(1.05 * (GEOLOCATION_M + 2 * CHAIN_M + LAYOVER_M + longest + shifts))


def _best(found: list[Match], shape: tuple[int, int]) -> list[int]:
    """Choose the pairs of greatest closeness in all; what cannot touch is solved apart."""
    if not found:
        return []
    rows, cols = np.array([m.before for m in found]), np.array([m.after for m in found])
    size = sum(shape)
    graph = coo_matrix((np.ones(len(found)), (rows, shape[0] + cols)), shape=(size, size))
    _, group = connected_components(graph, directed=False)
    chosen: list[int] = []
    order = np.argsort(group[rows], kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(group[rows][order])) + 1):
        if len(members) == 1:
            chosen.append(int(members[0]))
            continue
        here, i = np.unique(rows[members], return_inverse=True)
        there, j = np.unique(cols[members], return_inverse=True)
        # Close pairs count most; among equally close ones the nearest.
        gain = np.zeros((len(here), len(there)))
        gain[i, j] = [found[m].closeness + 1.0 / (1.0 + found[m].distance_m) for m in members]
        index = np.full(gain.shape, -1)
        index[i, j] = members
        picked = index[linear_sum_assignment(gain, maximize=True)]
        chosen += [int(m) for m in picked if m >= 0]
    return sorted(chosen)


def _places(sightings: Sequence[Sighting]) -> NDArray[np.float64]:
    lon, lat = (np.array([getattr(s, name) for s in sightings]) for name in ("lon_deg", "lat_deg"))
    return np.asarray(ecef_from_geodetic(lon, lat, np.zeros(len(sightings))), np.float64)
