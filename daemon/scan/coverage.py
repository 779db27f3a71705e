"""Where the sea was looked at, and what could be seen there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from shapely import MultiPolygon

from daemon.domain import Clutter, Coverage
from daemon.scan.area import area_of
from daemon.scan.band import SAMPLED, BandScan, LandMap
from daemon.scan.kernels import CELL_PX, Float32, Uint8
from daemon.scan.sensitivity import (
    RCS_MODEL,
    false_alarms_per_1000_km2,
    scene_smallest_ship_m,
    sensitivity_of,
)
from daemon.scene.land import LAND, MIXED

if TYPE_CHECKING:
    from daemon.scene.product import Scene


def coverage_of(
    scene: Scene, land: LandMap, sound: Uint8, scans: Mapping[str, BandScan], rate: float
) -> Coverage:
    """Sum up what was looked at.

    Args:
        scene: opened product.
        land: where it is.
        sound: 1 for cells that hold data in every polarisation, away from its border, [rows, cols].
        scans: of each polarisation.
        rate: probability that a pixel exceeds, in one polarisation.

    Returns:
        Coverage; the area is empty where there is no sea.
    """
    lines, samples = (_extent(size) for size in scene.shape)
    sea_pixels = np.where(land.cells == MIXED, np.float32(0.5), np.float32(1))
    sea_pixels *= sound & (land.cells != LAND)
    sea_pixels *= lines[:, None]
    sea_pixels *= samples
    water = float(sea_pixels.sum(dtype=np.float64))
    # Water too narrow to be judged was not looked at: nothing is claimed of it.
    sea_pixels *= np.logical_or.reduce([scanned.judged > 0 for scanned in scans.values()])
    sea = float(sea_pixels.sum(dtype=np.float64))
    valid = int((sound.sum(0, dtype=np.int64) * samples).sum()) * CELL_PX
    valid -= int((sound[-1] * samples).sum()) * (CELL_PX - int(lines[-1]))
    area_km2 = sea * scene.spacing_m[0] * scene.spacing_m[1] * 1e-6
    across = np.arange(0, scene.shape[1], CELL_PX * SAMPLED)
    incidence_deg = scene.geometry.incidence_deg(np.full(len(across), scene.shape[0] / 2), across)
    sampled = {name: scanned.sampled for name, scanned in scans.items()}
    sensitivity = sensitivity_of(sampled, incidence_deg, area_km2, scene.spacing_m)
    return Coverage(
        valid_area=area_of(scene, sea_pixels),
        area_km2=round(area_km2, 3),
        valid_fraction=round(valid / (scene.shape[0] * scene.shape[1]), 5),
        land_fraction=round((valid - water) / valid, 5) if valid else 0.0,
        smallest_ship_m=scene_smallest_ship_m(sensitivity),
        rcs_model=RCS_MODEL,
        clutter=tuple(_clutter(name, scanned) for name, scanned in scans.items()),
        sensitivity=sensitivity,
        false_alarms_per_1000_km2=false_alarms_per_1000_km2(sensitivity, rate, scene.spacing_m),
    )


def nowhere() -> Coverage:
    """Return the coverage of a scene whose pixels were not read, since all of it is land."""
    return Coverage(MultiPolygon(), 0.0, 0.0, 1.0, None, RCS_MODEL, ())


def _extent(size: int) -> Float32:
    """Return how many lines or samples each cell holds: the last one may be cut."""
    return np.minimum(CELL_PX, size - np.arange(0, size, CELL_PX)).astype(np.float32)


def _clutter(name: str, scanned: BandScan) -> Clutter:
    """Sum up the sea of one polarisation over the cells that were looked at."""
    mean, spread, limit, nesz = (_median(values) for values in scanned.sampled)
    if not np.isfinite(mean):
        return Clutter(name, float("nan"), float("nan"), None, float("nan"), 0.0)
    return Clutter(
        polarisation=name,
        mean_db=_db(mean),
        spread=round(spread, 4),
        nesz_db=_db(nesz) if nesz > 0 else None,
        threshold_db=_db(limit),
        negative_fraction=round(scanned.negative / max(scanned.counted, 1), 4),
    )


def _median(values: Float32) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")


def _db(linear: float) -> float:
    return round(float(10 * np.log10(max(linear, 1e-6))), 2)
