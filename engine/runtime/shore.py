"""How far places lie from the nearest shore."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.runtime.geometry import ecef_from_geodetic
from engine.runtime.land import Coastline
from engine.runtime.rings import Rings

Array = NDArray[np.float64]

REACH_M = 50_000.0
_EDGE_DEG = 0.02  # longer edges would sink below the ground
_EDGE_M = 500.0  # pieces of shore are no longer
_CHUNK = 16  # pieces that are ruled out together
_BLOCK_M = 25_000.0  # places that are asked together lie in a cube of this side,
_MANY = 30_000  # which shrinks where there are more pieces
_TOGETHER = 256  # and are no more: bounds the memory
_DEGREE_M = 110_500.0  # no degree of latitude is shorter


class Shore:
    """The shores in a box, as straight pieces through the earth.

    A chord of 50 km is 0.13 m shorter than its arc, and that of a piece of shore sinks by 0.1 m at most:
    distances between ECEF positions serve, and know of no antimeridian and no pole.
    """

    def __init__(
        self, coastline: Coastline, box: tuple[float, float, float, float], reach_m: float = REACH_M
    ) -> None:
        """Collect the shores.

        Args:
            coastline: says what counts as land.
            box: west, south, east, north of the places that will be asked for, in degrees.
            reach_m: beyond it a distance is infinite.
        """
        self.reach_m = reach_m
        a, b = _ends(coastline, coastline.rings(*_widened(box, reach_m)).densified(_EDGE_DEG))
        pieces = np.maximum(np.ceil(np.linalg.norm(b - a, axis=1) / _EDGE_M), 1).astype(int)
        edge = np.repeat(np.arange(len(a)), pieces)
        number = np.arange(len(edge)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        step = ((b - a) / pieces[:, None])[edge]
        self._half = step / 2
        self._middle = a[edge] + (number + 0.5)[:, None] * step
        self._half_m = float(np.linalg.norm(self._half, axis=1).max(initial=0.0))
        # rings run along the shore: pieces that follow each other are neighbours, and a sphere holds them
        full = -(-len(edge) // _CHUNK) * _CHUNK
        self._piece = np.minimum(np.arange(full), len(edge) - 1).reshape(-1, _CHUNK)
        chunks = self._middle[self._piece]
        self._centre = chunks.mean(axis=1)
        self._radius = np.linalg.norm(chunks - self._centre[:, None], axis=-1).max(axis=1, initial=0.0)

    def distance_m(self, lon_deg: ArrayLike, lat_deg: ArrayLike) -> Array:
        """Return how far places are from the nearest shore, on either side; inf beyond the reach, [...]."""
        lon, lat = np.broadcast_arrays(np.asarray(lon_deg, float), np.asarray(lat_deg, float))
        places = ecef_from_geodetic(lon.ravel(), lat.ravel())
        nearest = np.full(len(places), np.inf)
        if not (len(places) and len(self._middle)):
            return nearest.reshape(lon.shape)
        side = _BLOCK_M * min(1.0, math.sqrt(_MANY / len(self._middle)))
        x, y, z = np.floor(places / side).astype(np.int64).T
        block = (x << 42) + (y << 21) + z
        order = np.argsort(block, kind="stable")
        pairs = []
        for part in np.split(order, np.flatnonzero(np.diff(block[order])) + 1):
            for k in range(0, len(part), _TOGETHER):
                few = part[k : k + _TOGETHER]
                place, piece = self._near(places[few])
                pairs.append((few[place], piece))
        place, piece = (np.concatenate(column) for column in zip(*pairs, strict=True))
        # the distance to a straight piece: to its nearest point, between its ends
        half, line = self._half[piece], places[place] - self._middle[piece]
        length = np.maximum(np.einsum("ij,ij->i", half, half), 1e-12)
        along = np.clip(np.einsum("ij,ij->i", line, half) / length, -1, 1)
        line -= along[:, None] * half
        np.minimum.at(nearest, place, np.sqrt(np.einsum("ij,ij->i", line, line)))
        nearest[nearest > self.reach_m] = np.inf
        return nearest.reshape(lon.shape)

    def _near(self, places: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return pairs of place [n, 3] and piece, the nearest of each place among them; places are near."""
        centre = places.mean(axis=0)
        p = places - centre
        radius = math.sqrt(float(np.einsum("ij,ij->i", p, p).max()))
        away = self._centre - centre
        away = np.sqrt(np.einsum("ij,ij->i", away, away))
        beside = self._middle[self._piece[np.argmin(away)]] - centre
        nearest = math.sqrt(float(np.einsum("ij,ij->i", beside, beside).min()))
        # no place is further than this from the shore, or it does not matter
        limit = min(nearest, self.reach_m + radius) + radius
        chosen = self._piece[away - self._radius <= limit + radius + self._half_m].ravel()
        m = self._middle[chosen] - centre
        apart = np.einsum("ij,ij->i", p, p)[:, None] + np.einsum("ij,ij->i", m, m) - 2 * (p @ m.T)
        bound = np.sqrt(np.maximum(apart.min(axis=1, initial=np.inf), 0)) + self._half_m
        place, index = np.nonzero(apart <= bound[:, None] ** 2)
        return place, chosen[index]


def _ends(coastline: Coastline, rings: Rings) -> tuple[Array, Array]:
    """Return both ends of each edge that is a shore, ECEF, [n, 3] each: the cuts between tiles are none."""
    a, b = rings.points, rings.points[rings.following]
    cut = np.zeros(len(a), bool)
    for axis in (0, 1):
        beside = (a[:, axis] + coastline.tile_deg / 2) % coastline.tile_deg - coastline.tile_deg / 2
        on_edge = np.abs(np.abs(beside) - coastline.overlap_deg) < 1e-9
        # and the source is cut at 180 degrees, from where it was drawn out by some steps
        on_edge |= np.abs(np.abs(a[:, axis]) - 180.0) <= 2.5 * coastline.step_deg
        cut |= (a[:, axis] == b[:, axis]) & on_edge
    positions = ecef_from_geodetic(*rings.points.T)
    return positions[~cut], positions[rings.following][~cut]


def _widened(box: tuple[float, float, float, float], reach_m: float) -> tuple[float, float, float, float]:
    west, south, east, north = box
    margin = reach_m / _DEGREE_M + 0.01
    south, north = max(south - margin, -90.0), min(north + margin, 90.0)
    margin /= max(math.cos(math.radians(max(abs(south), abs(north)))), 1e-3)
    if east - west + 2 * margin >= 360:
        return -180.0, south, 180.0, north
    return west - margin, south, east + margin, north
