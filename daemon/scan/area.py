"""The part of a scene that was looked at, as an area on the globe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import MultiPolygon
from shapely.geometry.base import BaseGeometry

if TYPE_CHECKING:
    from daemon.scene.product import Scene

CELL_PX = 8
_GROUP = 8  # cells to a side of a square of the area: 64 px
_SIDE_PX = CELL_PX * _GROUP
_EDGE_PX = 512.0  # longest straight edge in the scene that is mapped to a straight edge on the globe

Bools = NDArray[np.bool_]


def area_of(scene: Scene, sea_pixels: NDArray[Any]) -> MultiPolygon:
    """Draw the squares of 64 px at least half of which are sea, in longitude and latitude.

    Args:
        scene: for its size and geometry.
        sea_pixels: pixels of each cell of 8 x 8 px that were looked at, [rows, cols].

    Returns:
        A valid geography, split at the antimeridian, holes kept; empty without sea.
    """
    sums = _grouped(_grouped(sea_pixels).T).T
    lines, samples = (
        np.minimum(size - np.arange(n) * _SIDE_PX, _SIDE_PX)
        for size, n in zip(scene.shape, sums.shape, strict=True)
    )
    outlines = outline(sums >= 0.5 * np.outer(lines, samples))
    if not len(outlines):
        return MultiPolygon()
    # corners of squares to pixels' edges; what reaches beyond the scene ends with it
    last = np.array([scene.shape[1], scene.shape[0]]) - 0.5
    outlines = shapely.transform(outlines, lambda at: np.minimum(at * _SIDE_PX - 0.5, last))
    outlines = shapely.segmentize(outlines, _EDGE_PX)
    middle = float(scene.geometry.lonlat((scene.shape[0] - 1) / 2, (scene.shape[1] - 1) / 2)[0])

    def project(at: NDArray[np.float64]) -> NDArray[np.float64]:
        lon, lat = scene.geometry.lonlat(at[:, 1], at[:, 0])
        # no scene is wider than half the globe: longitudes run on from its middle
        return np.stack([middle + (lon - middle + 180.0) % 360.0 - 180.0, lat], 1)

    parts = split_antimeridian(shapely.transform(outlines, project))
    west, south, east, north = shapely.bounds(parts).T
    return MultiPolygon(list(parts[np.lexsort((north, east, south, west))]))


def _grouped(cells: NDArray[Any]) -> NDArray[np.float32]:
    """Sum groups of rows, [rows, cols] to [groups, cols]."""
    sums = np.zeros((-(-cells.shape[0] // _GROUP), cells.shape[1]), np.float32)
    for k in range(_GROUP):
        part = cells[k::_GROUP]
        sums[: len(part)] += part
    return sums


def outline(squares: Bools) -> NDArray[Any]:
    """Return the True parts of a grid as polygons of (col, row), at the squares' corners; holes kept.

    Squares that touch at a corner only are polygons that touch there.
    """
    grid = np.pad(squares, 1)
    # edges below nodes and to the right of them, where the two sides differ; node (i, j) is corner (i, j)
    down, right = grid[1:, 1:] != grid[1:, :-1], grid[1:, 1:] != grid[:-1, 1:]
    straight_down = down & np.pad(down, ((1, 0), (0, 0)))[:-1]  # comes from above, goes on below
    straight_right = right & np.pad(right, ((0, 0), (1, 0)))[:, :-1]
    bend = straight_down & straight_right  # where two squares touch at a corner, both lines end
    straight_down &= ~bend
    straight_right &= ~bend
    row, col = _runs(right, straight_right)
    across = np.stack([col, np.stack([row[:, 0], row[:, 0]], 1)], 2)
    col, row = (part[:, ::-1] for part in _runs(down.T, straight_down.T))
    upright = np.stack([np.stack([col[:, 0], col[:, 0]], 1), row], 2)
    faces = shapely.get_parts(
        shapely.polygonize(shapely.linestrings(np.concatenate([across, upright]).astype(float)))
    )
    inside = shapely.get_coordinates(shapely.point_on_surface(faces)).astype(int)
    found: NDArray[Any] = faces[squares[inside[:, 1], inside[:, 0]]] if len(faces) else faces
    return found


def _runs(edges: Bools, goes_on: Bools) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Join edges along rows: row twice, and first and last node, [n, 2] each."""
    starts = edges & ~goes_on
    ends = edges & ~np.pad(goes_on, ((0, 0), (0, 1)))[:, 1:]
    row, first = np.nonzero(starts)
    last = np.nonzero(ends)[1] + 1
    return np.stack([row, row], 1), np.stack([first, last], 1)


def split_antimeridian(shapes: BaseGeometry | NDArray[Any]) -> NDArray[Any]:
    """Cut polygons whose longitudes run on beyond 180 degrees, and bring all parts to -180 to 180.

    Args:
        shapes: a polygon, or an array of them.

    Returns:
        Valid polygons.
    """
    polygons = _polygons(np.atleast_1d(np.asarray(shapes, object)))
    west, _, east, _ = shapely.bounds(polygons).T.reshape(4, -1)
    beyond = (west < -180) | (east > 180)
    if not beyond.any():
        return polygons
    parts = [polygons[~beyond]]
    for turn in (-360, 0, 360):
        cut = shapely.intersection(polygons[beyond], shapely.box(-180 + turn, -90, 180 + turn, 90))
        moved = shapely.transform(cut, lambda at, turn=turn: at - (turn, 0.0))
        parts.append(_polygons(moved))
    return np.concatenate(parts)


def _polygons(shapes: NDArray[Any]) -> NDArray[Any]:
    """Return the valid polygons of some geometries, single, that have an area."""
    sound = shapely.is_valid(shapes)
    if not sound.all():
        shapes = shapes.copy()
        shapes[~sound] = shapely.make_valid(shapes[~sound])
    parts = shapely.get_parts(shapely.get_parts(shapes))
    found: NDArray[Any] = parts[(shapely.get_type_id(parts) == 3) & (shapely.area(parts) > 0)]
    return found
