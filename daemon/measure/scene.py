"""Measuring objects and candidates of an opened scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from daemon.domain import Box, Candidate
from daemon.measure.patch import Measure, Patch, measure_patch
from daemon.measure.region import AROUND_PX
from daemon.scene.product import Window

if TYPE_CHECKING:
    from daemon.scene.land import LandSource
    from daemon.scene.product import Scene

MEASURED_MOST = 2000  # candidates of a scene, the strongest


def measure(scene: Scene, box_px: Box, land: LandSource | None = None) -> Measure:
    """Measure the object in a box.

    Args:
        scene: opened product.
        box_px: x1, y1, x2, y2, edges, in the scene.
        land: what is no sea; None where none is near.

    Returns:
        The measures; those of the box itself where nothing stands out.

    Raises:
        SceneCorrupt: the pixels cannot be read.
    """
    size = measure_patch(read_patch(scene, box_px, land))
    if size.axis_deg is None:
        return size
    return replace(size, axis_deg=_bearing(scene, size.line_px, size.sample_px, size.axis_deg))


def read_patch(scene: Scene, box_px: Box, land: LandSource | None = None) -> Patch:
    """Read a box and the sea around it; arguments and errors as `measure`."""
    x1, y1, x2, y2 = box_px
    top, left = int(np.floor(y1)) - AROUND_PX, int(np.floor(x1)) - AROUND_PX
    window = Window(
        line=top,
        sample=left,
        lines=int(np.ceil(y2)) + AROUND_PX - top,
        samples=int(np.ceil(x2)) + AROUND_PX - left,
    )
    bands = [scene.read(polarisation, window) for polarisation in scene.polarisations]
    return Patch(
        intensity=np.stack([band.intensity for band in bands]),
        nesz=np.stack([band.nesz for band in bands]),
        valid=np.stack([band.valid for band in bands]),
        origin_px=(top, left),
        spacing_m=scene.spacing_m,
        box_px=box_px,
        land=None if land is None else land.mask(window),
    )


def measure_candidates(
    scene: Scene, candidates: Sequence[Candidate], land: LandSource | None = None, most: int = MEASURED_MOST
) -> tuple[Candidate, ...]:
    """Give candidates a length with its interval, width and axis; place and peak stay the prescreen's.

    Args:
        scene: opened product.
        candidates: of the prescreen.
        land: what is no sea; None where none is near.
        most: how many are measured, those of the highest contrast.

    Returns:
        The candidates in their order.

    Raises:
        SceneCorrupt: the pixels cannot be read.
    """
    strongest = sorted(range(len(candidates)), key=lambda i: -candidates[i].contrast_db)[:most]
    measured = list(candidates)
    for i in strongest:
        size = measure(scene, candidates[i].box_px, land)
        if size.how == "pixels":
            measured[i] = replace(
                candidates[i],
                length_m=size.length_m,
                length_low_m=size.length_low_m,
                length_high_m=size.length_high_m,
                width_m=size.width_m,
                axis_deg=size.axis_deg,
            )
    return tuple(measured)


def _bearing(scene: Scene, line_px: float, sample_px: float, from_up_deg: float) -> float:
    """Bearing on the globe of a direction in the scene, through two points of the sea on it."""
    angle = np.radians(from_up_deg)
    reach = 100.0 * np.array([-np.cos(angle), np.sin(angle)]) / np.array(scene.spacing_m)
    lon, lat = scene.geometry.lonlat(
        np.array([line_px - reach[0], line_px + reach[0]]),
        np.array([sample_px - reach[1], sample_px + reach[1]]),
    )
    east = ((lon[1] - lon[0] + 180) % 360 - 180) * np.cos(np.radians(np.mean(lat)))
    return round(float(np.degrees(np.arctan2(east, lat[1] - lat[0]))) % 180.0, 1) % 180.0
