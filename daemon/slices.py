"""One object in two slices of a datatake: which of its detections stands for it.

Slices abut or overlap, so that a ship near a cut is found in both, whole or in pieces. None is deleted: the
others name the one that stands for them. The choice depends on what there is, never on what came first, and
choosing again among those that stand changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from engine.runtime.geometry import ecef_from_geodetic

SAME_M = 30.0  # closer centres are one object: a resolution cell and a half
SAME_SHARE = 0.25  # or closer than this share of the shorter one's length
CUT_M = 30.0  # an object that ends this close to its slice's edge may be a piece of one
_LONGEST_M = 420.0  # no ship afloat is longer


@dataclass(frozen=True, slots=True)
class Sighting:
    """A detection, as far as its double in another slice can be told."""

    id: str
    slice: int  # the acquisition
    lon_deg: float
    lat_deg: float
    length_m: float
    edge_m: float  # from its slice's first or last line, whichever is nearer


def duplicates(sightings: Iterable[Sighting]) -> Mapping[str, str]:
    """Return for each detection that is another one's double the id of the one that stands for both.

    Of two that are the same object the one farther from its slice's edge stands, then the lower id.
    """
    ranked = sorted(sightings, key=lambda s: (-round(s.edge_m, 1), s.id))
    if len(ranked) < 2:
        return {}
    # Chords of the globe are distances in metres, at the antimeridian and the poles too.
    places = _places(ranked)
    beside: dict[int, list[int]] = {}
    for a, b in cKDTree(places).query_pairs(_LONGEST_M + CUT_M):
        beside.setdefault(max(a, b), []).append(min(a, b))
    stands: dict[str, str] = {}
    for index, item in enumerate(ranked):
        doubles = [
            (distance, ranked[other].id)
            for other in beside.get(index, [])
            if ranked[other].id not in stands
            and same(item, ranked[other], distance := float(np.linalg.norm(places[index] - places[other])))
        ]
        if doubles:
            stands[item.id] = min(doubles)[1]
    return stands


def same(a: Sighting, b: Sighting, distance_m: float) -> bool:
    """Whether two detections of two slices are one object: close, or pieces of one that the cut parts."""
    if a.slice == b.slice:
        return False
    if distance_m <= max(SAME_M, SAME_SHARE * min(a.length_m, b.length_m)):
        return True
    cut = all(s.edge_m <= s.length_m / 2 + CUT_M for s in (a, b))
    together = min((a.length_m + b.length_m) / 2, _LONGEST_M)
    return cut and distance_m <= together + CUT_M


def _places(sightings: list[Sighting]) -> NDArray[np.float64]:
    lon, lat = (np.array([getattr(s, name) for s in sightings]) for name in ("lon_deg", "lat_deg"))
    return np.asarray(ecef_from_geodetic(lon, lat, np.zeros(len(sightings))), np.float64)
