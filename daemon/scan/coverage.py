"""Where the sea was looked at: an area on the globe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from shapely import MultiPolygon, Polygon, box, get_parts, make_valid, segmentize, union_all
from shapely.affinity import translate
from shapely.geometry.base import BaseGeometry, BaseMultipartGeometry

from daemon.domain import Clutter, Coverage, Sensitivity
from daemon.scan.background import CELL_PX, Array
from daemon.scan.sensitivity import RCS_MODEL, scene_smallest_ship_m

if TYPE_CHECKING:
    from daemon.scene.product import Scene

_GROUP = 8  # cells to a side of a pixel of the area: 64 px
_EDGE_PX = 512.0  # longest straight edge in the scene that is mapped to a straight edge on the globe


def coverage_of(
    scene: Scene,
    sea_pixels: Array,
    valid: int,
    land: int,
    clutter: Sequence[Clutter],
    sensitivity: Sequence[Sensitivity] = (),
    false_alarms_per_1000_km2: float | None = None,
) -> Coverage:
    """Sum up what was looked at.

    Args:
        scene: for its size and geometry.
        sea_pixels: valid sea pixels of each cell of 8 x 8 px.
        valid: valid pixels of the scene, land included.
        land: valid pixels on land.
        clutter: the sea of each polarisation.
        sensitivity: of `daemon.scan.sensitivity.sensitivity_of`.
        false_alarms_per_1000_km2: candidates that chance makes.

    Returns:
        Coverage; the area is empty where there is no sea.
    """
    pixel_km2 = scene.spacing_m[0] * scene.spacing_m[1] * 1e-6
    return Coverage(
        valid_area=_area(scene, sea_pixels),
        area_km2=round(float(sea_pixels.sum()) * pixel_km2, 3),
        valid_fraction=round(valid / (scene.shape[0] * scene.shape[1]), 5),
        land_fraction=round(land / valid, 5) if valid else 0.0,
        smallest_ship_m=scene_smallest_ship_m(sensitivity),
        rcs_model=RCS_MODEL,
        clutter=tuple(clutter),
        sensitivity=tuple(sensitivity),
        false_alarms_per_1000_km2=false_alarms_per_1000_km2,
    )


def _area(scene: Scene, sea_pixels: Array) -> MultiPolygon:
    """Draw the area of groups of cells at least half of which are sea, in longitude and latitude."""
    rows, cols = (-(-size // _GROUP) for size in sea_pixels.shape)
    padded = np.zeros((rows * _GROUP, cols * _GROUP))
    padded[: sea_pixels.shape[0], : sea_pixels.shape[1]] = sea_pixels
    side = _GROUP * CELL_PX
    sea = padded.reshape(rows, _GROUP, cols, _GROUP).sum((1, 3))
    lines = np.clip(scene.shape[0] - np.arange(rows) * side, 0, side)
    samples = np.clip(scene.shape[1] - np.arange(cols) * side, 0, side)
    return _on_globe(scene, _outline(sea >= 0.5 * np.outer(lines, samples), side))


def _outline(mask: NDArray[np.bool_], side: int) -> list[Polygon]:
    """Trace the True parts of a grid as polygons of (sample, line), pixel edges as pixel centres - 0.5."""
    runs = []
    for row, line in enumerate(mask):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], line.view(np.int8), [0]])))
        runs += [
            box(a * side - 0.5, row * side - 0.5, b * side - 0.5, (row + 1) * side - 0.5)
            for a, b in edges.reshape(-1, 2)
        ]
    return _polygons(union_all(runs))


def _on_globe(scene: Scene, outlines: list[Polygon]) -> MultiPolygon:
    """Map outlines in the scene to longitude and latitude, split at the antimeridian."""
    limits = np.array([scene.shape[1] - 0.5, scene.shape[0] - 0.5])

    def project(at: NDArray[np.float64]) -> NDArray[np.float64]:
        sample, line = np.clip(at, -0.5, limits).T
        lon, lat = scene.geometry.lonlat(line, sample)
        return np.stack([np.unwrap(lon, period=360.0), lat], 1)

    parts: list[Polygon] = []
    for outline in outlines:
        fine = segmentize(outline, _EDGE_PX)
        # Rings are unwrapped one by one: holes are brought to their shell's side of the antimeridian.
        shell, *holes = (
            Polygon(project(np.asarray(ring.coords))) for ring in (fine.exterior, *fine.interiors)
        )
        west = shell.bounds[0]
        holes = [translate(hole, 360.0 * round((west - hole.bounds[0]) / 360.0)) for hole in holes]
        parts += split_antimeridian(make_valid(Polygon(shell.exterior, [hole.exterior for hole in holes])))
    ordered: list[Polygon] = sorted(parts, key=_bounds)
    return MultiPolygon(ordered)


def split_antimeridian(shape: BaseGeometry) -> list[Polygon]:
    """Cut a shape whose longitudes run on beyond 180 degrees, and bring all parts to -180 to 180."""
    parts: list[Polygon] = []
    for turn in (-360, 0, 360):
        cut = shape.intersection(box(-180 + turn, -90, 180 + turn, 90))
        parts += _polygons(translate(cut, -turn))
    return parts


def _bounds(part: Polygon) -> tuple[float, float, float, float]:
    bounds: tuple[float, float, float, float] = part.bounds
    return bounds


def _polygons(shape: BaseGeometry) -> list[Polygon]:
    """The polygons of any shapely geometry that have an area."""
    if isinstance(shape, Polygon):
        return [shape] if shape.area > 0 else []
    if not isinstance(shape, BaseMultipartGeometry):
        return []
    return [part for item in get_parts(shape) for part in _polygons(item)]
