"""Land in a scene: a coastline drawn into the image, window by window."""

from __future__ import annotations

from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rasterio.features import rasterize

from daemon.errors import SceneCorrupt
from daemon.scene.raster import Window
from engine.runtime.land import Coastline, clip_ring

Array = NDArray[np.float64]

_MARGIN_PX = 256  # windows reach beyond the scene by less
_GRID = 9  # places a side that tell a scene's bounds
_BEYOND_DEG = 0.03  # what the bounds may miss between those places
_EDGE_DEG = 0.05  # longer edges get vertices between: straight in degrees is not straight in the image


class LandSource(Protocol):
    """Whatever knows which pixels of a scene are land."""

    @property
    def version(self) -> str:
        """What the answers depend on."""

    def mask(self, window: Window) -> NDArray[np.bool_]:
        """Return True on land, [lines, samples]; a window may reach beyond the scene."""


class Geometry(Protocol):
    """What this module asks of a scene's geometry."""

    @property
    def shape(self) -> tuple[int, int]:
        """Lines and samples."""

    def lonlat(self, line_px: ArrayLike, sample_px: ArrayLike) -> tuple[Array, Array]:
        """Return longitude and latitude of pixels at sea level."""

    def pixel(self, lon_deg: ArrayLike, lat_deg: ArrayLike) -> tuple[Array, Array]:
        """Return line and sample of places at sea level; beside the scene outside it, or NaN."""


class SceneLand:
    """A coastline seen through a scene's geometry.

    The rings are projected once, at the first call, and drawn anew for each window.
    """

    def __init__(self, coastline: Coastline, geometry: Geometry, *, inland_water: bool = True) -> None:
        self._coastline = coastline
        self._geometry = geometry
        self._inland_water = inland_water
        self.version = coastline.version + ("" if inland_water else "/no-inland-water")

    def mask(self, window: Window) -> NDArray[np.bool_]:
        """Return True where the centre of a pixel lies on land, [lines, samples]."""
        shape = (window.lines, window.samples)
        boxes, rings, levels = self._rings
        low = np.array([window.line, window.sample]) - 1.0
        high = np.array([window.line + window.lines, window.sample + window.samples], float)
        shapes = []
        for index in np.flatnonzero(((boxes[:, :2] <= high) & (boxes[:, 2:] >= low)).all(axis=1)):
            ring = _clip_to_box(rings[index], low, high)
            if len(ring) >= 3:
                # rasterize counts from the corner of the first pixel, we from its centre
                corners = (ring - (window.line, window.sample) + 0.5)[:, ::-1]
                closed = [*corners.tolist(), corners[0].tolist()]
                shapes.append(({"type": "Polygon", "coordinates": [closed]}, int(levels[index] % 2)))
        if not shapes:
            return np.zeros(shape, bool)
        drawn: NDArray[np.uint8] = rasterize(shapes, shape, fill=0, dtype="uint8")
        return drawn.view(bool)

    @cached_property
    def _rings(self) -> tuple[Array, list[Array], NDArray[np.int64]]:
        """Boxes [n, 4] (first line, sample, last line, sample), rings of (line, sample), levels; by level."""
        west, south, east, north = _bounds(self._geometry)
        low, high = np.array([west, south]), np.array([east, north])
        found = self._coastline.polygons(west, south, east, north, inland_water=self._inland_water)
        near = [_densified(_clip_to_box(ring.points, low, high)) for ring in found]
        counts = np.array([len(points) for points in near], int)
        if not counts.any():
            return np.empty((0, 4)), [], np.empty(0, np.int64)
        image = np.stack(self._geometry.pixel(*np.concatenate(near).T), axis=1)
        margin = np.array([_MARGIN_PX, _MARGIN_PX], float)
        rings, levels = [], []
        for ring, part in zip(found, np.split(image, np.cumsum(counts)[:-1]), strict=True):
            seen = part[np.isfinite(part).all(axis=1)]
            visible = _clip_to_box(seen, -margin, self._geometry.shape + margin)
            if len(visible) >= 3:
                rings.append(visible)
                levels.append(ring.level)
        boxes = [np.concatenate([ring.min(axis=0), ring.max(axis=0)]) for ring in rings]
        return np.array(boxes).reshape(-1, 4), rings, np.array(levels, int)


def _bounds(geometry: Geometry) -> tuple[float, float, float, float]:
    """Return a box around a scene: west, south, east, north; east may exceed 180."""
    lines, samples = geometry.shape
    line, sample = np.meshgrid(
        np.linspace(-_MARGIN_PX, lines - 1 + _MARGIN_PX, _GRID),
        np.linspace(-_MARGIN_PX, samples - 1 + _MARGIN_PX, _GRID),
        indexing="ij",
    )
    lon, lat = geometry.lonlat(line, sample)
    if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
        raise SceneCorrupt("got a geometry that leaves the ground, expected finite longitudes and latitudes")
    lon = np.unwrap(np.unwrap(lon, period=360, axis=1), period=360, axis=0)
    # a degree of longitude shrinks towards the poles, and with it the margin
    beyond = _BEYOND_DEG / max(float(np.cos(np.radians(np.abs(lat).max()))), 0.01)
    west, east = float(lon.min()) - beyond, float(lon.max()) + beyond
    south, north = float(lat.min()) - _BEYOND_DEG, float(lat.max()) + _BEYOND_DEG
    if east - west >= 180:  # around a pole
        west, east = -180.0, 180.0
        south, north = (south, 90.0) if north > 0 else (-90.0, north)
    return west, south, east, north


def _densified(ring: Array) -> Array:
    """Return a ring whose edges are at most _EDGE_DEG long."""
    if len(ring) == 0:
        return ring
    following = np.roll(ring, -1, axis=0)
    pieces = np.maximum(np.ceil(np.abs(following - ring).max(axis=1) / _EDGE_DEG), 1).astype(int)
    if pieces.max() == 1:
        return ring
    edge = np.repeat(np.arange(len(ring)), pieces)
    part = (np.arange(len(edge)) - np.repeat(np.cumsum(pieces) - pieces, pieces)) / pieces[edge]
    dense: Array = ring[edge] + part[:, None] * (following - ring)[edge]
    return dense


def _clip_to_box(ring: Array, low: Array, high: Array) -> Array:
    if (ring >= low).all() and (ring <= high).all():
        return ring
    for axis in (0, 1):
        for bound, upper in ((low[axis], True), (high[axis], False)):
            if len(ring) == 0:
                return ring
            ring = clip_ring(ring, axis, float(bound), upper=upper)
    return ring
