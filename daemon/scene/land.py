"""Land in a scene: a coastline drawn into the image, and how far places are from it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from daemon.errors import SceneCorrupt
from daemon.scene.spans import Spans
from engine.runtime.land import Coastline
from engine.runtime.shore import Shore

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

    from daemon.scene.raster import Window

Array = NDArray[np.float64]

CELL_PX = 8  # side of the cells that `cells` tells of
SEA, MIXED, LAND = 0, 1, 2  # what a cell is

_MARGIN_PX = 256  # windows reach beyond the scene by less
_GRID = 9  # places a side that tell a scene's bounds
_BEYOND_DEG = 0.03  # what the bounds may miss between those places
_EDGE_DEG = 0.05  # longer edges get vertices between: straight in degrees is not straight in the image
# How far from a footprint the sea still matters: a provider draws its edges straight, and bright targets on
# land have azimuth ghosts in the neighbouring slice, 15 km away at the third order.
_OUTLINE_DEG = 0.2


class LandSource(Protocol):
    """Whatever knows which pixels of a scene are land."""

    @property
    def version(self) -> str:
        """What the answers depend on."""

    def mask(self, window: Window) -> NDArray[np.bool_]:
        """Return True on land, [lines, samples]; a window may reach beyond the scene."""

    def cells(self) -> NDArray[np.uint8]:
        """Return SEA, MIXED or LAND for each cell of 8 x 8 px of the scene, [rows, cols]."""

    def runs(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return the runs of land along lines: line, first sample, the sample after the last; [n] each."""

    def shore_m(self, line_px: ArrayLike, sample_px: ArrayLike) -> Array:
        """Return the distance to the nearest land, 0 on land, inf beyond 50 km, [...]."""


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
    """A coastline seen through a scene's geometry; drawn once, at the first question.

    What counts as land, lakes and inland seas among it, is the coastline's choice.
    """

    def __init__(self, coastline: Coastline, geometry: Geometry) -> None:
        self._coastline = coastline
        self._geometry = geometry
        self.version = coastline.version

    def mask(self, window: Window) -> NDArray[np.bool_]:
        """Return True where the centre of a pixel lies on land, [lines, samples]."""
        return self._spans.mask(window.line, window.sample, window.lines, window.samples)

    def cells(self) -> NDArray[np.uint8]:
        """Return SEA, MIXED or LAND for each cell of 8 x 8 px, [rows, cols]: exactly what `mask` holds."""
        return self._spans.cells(self._geometry.shape, CELL_PX)

    def runs(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return the runs of land along lines, by line and sample: what `mask` holds."""
        return self._spans.line, self._spans.start, self._spans.stop

    def shore_m(self, line_px: ArrayLike, sample_px: ArrayLike) -> Array:
        """Return the distance of positions to the nearest land, in metres.

        Args:
            line_px: lines, [...].
            sample_px: samples, [...].

        Returns:
            0 on land, inf beyond 50 km, [...].
        """
        line, sample = np.broadcast_arrays(np.asarray(line_px, float), np.asarray(sample_px, float))
        distance = np.zeros(line.shape)
        sea = ~self._spans.at(line, sample)
        if sea.any():
            distance[sea] = self._shore.distance_m(*self._geometry.lonlat(line[sea], sample[sea]))
        return distance

    @cached_property
    def _box(self) -> tuple[float, float, float, float]:
        return _bounds(self._geometry)

    @cached_property
    def _shore(self) -> Shore:
        return Shore(self._coastline, self._box)

    @cached_property
    def _spans(self) -> Spans:
        west, south, east, north = self._box
        found = self._coastline.rings(west, south, east, north)
        near = found.clip_box((west, south), (east, north)).densified(_EDGE_DEG)
        image = near.moved(np.stack(self._geometry.pixel(*near.points.T), axis=1)) if len(near) else near
        lines, samples = ((-_MARGIN_PX, size + _MARGIN_PX) for size in self._geometry.shape)
        return Spans.draw(image, lines, samples)


def relevant(coastline: Coastline, footprint: BaseGeometry) -> bool:
    """Return whether there can be sea in a scene, from its footprint alone.

    The same rings as `SceneLand` draws. False only where the whole footprint and 20 km around it are land:
    then no pixel of the scene is sea, nor anything in it the source of a ghost at sea.

    Args:
        coastline: says what counts as land.
        footprint: longitude and latitude, split at the antimeridian.

    Raises:
        SceneCorrupt: the footprint is empty.
    """
    from shapely import box, contains_xy, get_parts, make_valid, polygons, union_all

    if footprint.is_empty:
        raise SceneCorrupt("got an empty footprint, expected an area in longitude and latitude")
    for part in get_parts(footprint):
        west, south, east, north = part.bounds
        lon, lat = (
            axis.ravel() for axis in np.meshgrid(np.linspace(west, east, 7), np.linspace(south, north, 7))
        )
        inside = contains_xy(part, lon, lat)
        if not coastline.is_land(lon[inside], lat[inside]).all():
            return True  # the common case, without a ring being drawn
        margin = _OUTLINE_DEG / max(float(np.cos(np.radians(max(map(abs, part.bounds[1::2]))))), 0.01)
        area = part.buffer(margin)
        west, south, east, north = area.bounds
        rings = coastline.rings(west, max(south, -90.0), east, min(north, 90.0))
        near = rings.clip_box((west, south), (east, north))
        dry = box(0, 0, 0, 0)
        for level in np.unique(near.levels):
            shapes = near.take(near.levels == level).split()
            drawn = union_all([make_valid(polygons(ring)) for ring in shapes if len(ring) >= 3])
            dry = dry.union(drawn) if level % 2 else dry.difference(drawn)
        if not dry.covers(area):
            return True
    return False


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
