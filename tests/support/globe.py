"""Scenes anywhere on the globe, of full size, as metadata alone."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
from numpy.typing import ArrayLike, NDArray
from shapely import segmentize
from shapely.geometry.base import BaseGeometry

from daemon.scene.geometry import RangeDopplerGeometry
from daemon.scene.safe import parse_annotation
from engine.runtime.geometry import WGS84_A_M, WGS84_F
from engine.simulate import acquisition, annotation, radiometry

Array = NDArray[np.float64]

# longitude, latitude, ascending: both directions, both hemispheres, the antimeridian, near the poles
PLACES = {
    "Oresund": (12.7, 55.8, True),
    "Palau": (134.5, 7.2, False),
    "Valparaiso": (-71.6, -33.0, True),
    "Fiji": (179.95, -17.0, True),
    "Chukchi Sea": (-179.9, 68.0, False),
    "north of Svalbard": (20.0, 82.5, True),
    "Arctic Ocean": (-179.95, 82.0, False),
    "Ross Sea": (170.0, -76.0, False),
    "Antarctic antimeridian": (179.9, -76.0, True),
}


def full_scene(
    lon_deg: float, lat_deg: float, ascending: bool, shape: tuple[int, int] = (16000, 25000)
) -> tuple[acquisition.Acquisition, RangeDopplerGeometry]:
    """Plan a pass with its middle over a place; return the simulator's geometry and the daemon's."""
    grid = acquisition.plan(lon_deg, lat_deg, ascending, shape, 0)
    start = datetime(2023, 5, 6, 7, 8, 9)
    stop = start + timedelta(seconds=(shape[0] - 1) * grid.line_interval_s)
    identity = annotation.Identity("S1A", start, stop, 48_000, 0x5C5C5, start)
    xml = annotation.product(identity, grid, radiometry.tables(grid, -24.5, 0.3), "VV", 1)
    return grid, RangeDopplerGeometry(parse_annotation(xml))


def area_km2(shape: BaseGeometry) -> float:
    """Area on the ellipsoid of polygons in longitude and latitude, whose edges are straight in these.

    By the integral of a^2 q / 2 over longitude around each ring, q the authalic function of latitude.
    """
    total = 0.0
    for part in getattr(shape, "geoms", [shape]):
        for hole, ring in enumerate((part.exterior, *part.interiors)):
            lon, lat = np.radians(np.asarray(segmentize(ring, 0.05).coords)).T
            middle = _q((lat[1:] + lat[:-1]) / 2)
            area = abs(float((np.diff(lon) * middle).sum())) * WGS84_A_M**2 / 2e6
            total += -area if hole else area
    return total


def _q(lat: Array) -> Array:
    e2 = WGS84_F * (2 - WGS84_F)
    e = np.sqrt(e2)
    sin = np.sin(lat)
    return np.asarray((1 - e2) * (sin / (1 - e2 * sin**2) - np.log((1 - e * sin) / (1 + e * sin)) / (2 * e)))


def degrees_apart(a: ArrayLike, b: ArrayLike, turn: float = 360.0) -> Array:
    """Angle between directions, or between axes where a turn is 180."""
    return np.abs((np.asarray(a) - np.asarray(b) + turn / 2) % turn - turn / 2)
