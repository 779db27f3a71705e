"""A rule's area: from GeoJSON to valid polygons within -180 to 180 degrees.

Edges are straight in longitude and latitude, as RFC 7946 has them. An edge of more than 180 degrees is taken
the short way, over the antimeridian; a ring around a pole gets the pole's parallel as its other border.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon, Polygon

from engine.runtime.land import Coastline

from ..errors import RuleError

MOST_VERTICES = 200_000
_SAMPLES = 4096  # points by which the share of sea is told, to about 1 in 100


def parse(document: Any) -> MultiPolygon:
    """Return the polygons of GeoJSON: a geometry, a feature, or a collection of either.

    Raises:
        RuleError: it is not GeoJSON of polygons, a position is off the Earth, or a ring crosses itself.
    """
    polygons = list(_polygons(document))
    vertices = sum(int(shapely.get_num_coordinates(polygon)) for polygon in polygons)
    if vertices > MOST_VERTICES:
        raise RuleError(f"got {vertices} vertices, expected at most {MOST_VERTICES}: simplify the outline")
    united: Any = shapely.union_all([_folded(polygon) for polygon in polygons])
    parts = [part for part in shapely.get_parts(united) if part.geom_type == "Polygon" and part.area > 0]
    if not parts:
        raise RuleError("the polygons have no area")
    return MultiPolygon(parts)


def sea_share(area: MultiPolygon, coastline: Coastline) -> float:
    """Return how much of an area is sea, 0 to 1, by evenly spread points: the same for the same area."""
    west, south, east, north = area.bounds
    drawn = np.empty((0, 2))
    count = _SAMPLES
    while len(drawn) < _SAMPLES // 2 and count <= 64 * _SAMPLES:
        index = np.arange(1, count + 1)
        # additive recurrence by the plastic number: evenly spread in two dimensions
        lon = west + (east - west) * ((0.7548776662466927 * index) % 1.0)
        band = (0.5698402909980532 * index) % 1.0
        low, high = np.sin(np.radians([south, north]))
        lat = np.degrees(np.arcsin(low + (high - low) * band))  # equal areas of the sphere
        shapely.prepare(area)
        inside = shapely.contains_xy(area, lon, lat)
        drawn = np.column_stack([lon, lat])[inside]
        count *= 4
    if not len(drawn):
        inner = area.representative_point()
        drawn = np.array([[inner.x, inner.y]])
    return float(np.mean(~coastline.is_land(drawn[:, 0], drawn[:, 1])))


def _polygons(document: Any) -> Iterator[Polygon]:
    """Yield the polygons as they are written, longitudes wherever they run."""
    if not isinstance(document, Mapping):
        raise RuleError(f"got a JSON {type(document).__name__}, expected a GeoJSON object")
    crs = document.get("crs")
    if crs is not None and not any(name in str(crs) for name in ("CRS84", "4326")):
        raise RuleError(f"got the reference system {crs}, expected longitude and latitude (WGS84)")
    kind = document.get("type")
    if kind == "FeatureCollection":
        for feature in _list(document, "features"):
            yield from _polygons(feature)
    elif kind == "Feature":
        yield from _polygons(document.get("geometry"))
    elif kind == "GeometryCollection":
        for geometry in _list(document, "geometries"):
            yield from _polygons(geometry)
    elif kind == "Polygon":
        yield _polygon(_list(document, "coordinates"))
    elif kind == "MultiPolygon":
        for rings in _list(document, "coordinates"):
            yield _polygon(rings)
    else:
        raise RuleError(f"got {kind!r}, expected a Polygon or MultiPolygon, or features of them")


def _list(document: Mapping[str, Any], name: str) -> Sequence[Any]:
    value = document.get(name)
    if not isinstance(value, list | tuple) or not value:
        raise RuleError(f"{document.get('type')}: {name} is missing or empty")
    return value


def _polygon(rings: Any) -> Polygon:
    if not isinstance(rings, list | tuple) or not rings:
        raise RuleError("a polygon is a list of rings; the first is its outline")
    outline, *holes = [_ring(ring) for ring in rings]
    middle = outline[:, 0].mean()
    # a hole runs in the same turn of longitudes as its outline
    holes = [hole - (360 * np.round((hole[:, 0].mean() - middle) / 360), 0.0) for hole in holes]
    polygon = Polygon(outline, holes)
    if not polygon.is_valid:
        raise RuleError(f"a ring is not sound: {shapely.is_valid_reason(polygon)}")
    return polygon


def _ring(positions: Any) -> NDArray[np.float64]:
    """Return a closed ring, [n, 2], with longitudes that run on over the antimeridian."""
    try:
        ring = np.array([[float(position[0]), float(position[1])] for position in positions])
    except (TypeError, ValueError, IndexError, KeyError):
        raise RuleError("a ring is a list of positions [longitude, latitude]") from None
    if len(ring) < 4 or (ring[0] != ring[-1]).any():
        raise RuleError(f"got a ring of {len(ring)} positions, expected 4 or more, the last like the first")
    if not np.isfinite(ring).all():
        raise RuleError("a position is not finite")
    if np.abs(ring[:, 1]).max() > 90 or np.abs(ring[:, 0]).max() > 540:
        raise RuleError("a position is off the Earth: expected longitude first, then latitude, in degrees")
    steps = np.abs(np.diff(ring[:, 0]))
    if (steps == 360).any():  # along a parallel from -180 to 180: as wide as the world, not a line
        return ring
    turns = np.round((np.unwrap(ring[:, 0], period=360) - ring[:, 0]) / 360)
    lon = ring[:, 0] + 360 * turns  # whole turns: sums would leave the ring open by a rounding
    if abs(lon[-1] - lon[0]) > 180:
        pole = 90.0 if ring[:, 1].mean() > 0 else -90.0
        around = np.column_stack([lon, ring[:, 1]])
        return np.concatenate([around, [[lon[-1], pole], [lon[0], pole], [lon[0], ring[0, 1]]]])
    return np.column_stack([lon, ring[:, 1]])


def _folded(polygon: Polygon) -> Any:
    """Cut a polygon at the antimeridian and bring its parts to -180 to 180."""
    west, _, east, _ = polygon.bounds
    parts = []
    for turn in range(int(np.floor((west + 180) / 360)), int(np.floor((east + 180) / 360)) + 1):
        box = shapely.box(-180 + 360 * turn, -90, 180 + 360 * turn, 90)
        cut: Any = polygon if box.covers(polygon) else shapely.intersection(polygon, box)
        parts.append(shapely.transform(cut, lambda at, turn=turn: at - (360.0 * turn, 0.0)))
    return shapely.union_all(parts)
