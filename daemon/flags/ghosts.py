"""Azimuth ghosts: weak copies of bright targets, a known distance along the azimuth from them.

The radar samples the azimuth spectrum at its pulse repetition frequency; what lies beyond folds back and
focuses n x lambda R PRF / (2 V) away, V the satellite's speed. The source may lie on land, so it is looked
for in the pixels and not among the detections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from daemon.domain import Flag
from daemon.scene.product import Window
from engine.runtime.geometry import SPEED_OF_LIGHT_M_S

if TYPE_CHECKING:
    from daemon.measure import Measure
    from daemon.scene.product import Scene

ORDERS = (1, 2)
_STRONGER_DB = 14.0  # a ghost of Sentinel-1 lies 20 to 30 dB below its source; speckle takes its share
_REACH_PX = (10, 8)  # lines and samples around the expected place of a source


def ghost_flag(scene: Scene, size: Measure) -> Flag | None:
    """Return the flag of a detection that stands where a much brighter target has its ghost.

    Args:
        scene: opened product.
        size: the detection's measures.

    Returns:
        The flag with the source's place, order and brightness; None without such a source, and where the
        product states no pulse repetition frequency.
    """
    distance_px = ghost_distance_px(scene, size.line_px, size.sample_px)
    if distance_px is None or size.peak_db is None:
        return None
    best: Flag | None = None
    highest = size.peak_db + _STRONGER_DB
    for order in ORDERS:
        for side in (-1, 1):
            line = size.line_px + side * order * distance_px
            peak = _brightest(scene, line, size.sample_px)
            if peak is not None and peak[0] >= highest:
                highest = peak[0]
                best = Flag(
                    "azimuth_ghost",
                    {
                        "order": order,
                        "source_line_px": peak[1],
                        "source_sample_px": peak[2],
                        "source_db": round(peak[0], 1),
                    },
                )
    return best


def ghost_distance_px(scene: Scene, line_px: float, sample_px: float) -> float | None:
    """Return the distance of a first ghost in lines; None where the product does not say."""
    annotation = scene.annotation
    if annotation is None:
        return None
    swath = next(
        (
            bounds.swath
            for bounds in annotation.swaths
            if bounds.first_line <= line_px <= bounds.last_line + 1
            and bounds.first_sample <= sample_px <= bounds.last_sample + 1
        ),
        None,
    )
    prf_hz = annotation.prf_hz.get(swath or "", next(iter(annotation.prf_hz.values()), None))
    if prf_hz is None:
        return None
    wavelength_m = SPEED_OF_LIGHT_M_S / annotation.frequency_hz
    range_to_velocity_s = float(scene.geometry.range_to_velocity_s(line_px, sample_px))
    return wavelength_m * range_to_velocity_s * prf_hz / 2 / scene.spacing_m[0]


def _brightest(scene: Scene, line_px: float, sample_px: float) -> tuple[float, int, int] | None:
    """Return the highest sigma0 around a place in dB, and where; None beside the scene."""
    first = round(line_px) - _REACH_PX[0], round(sample_px) - _REACH_PX[1]
    window = Window(*first, 2 * _REACH_PX[0] + 1, 2 * _REACH_PX[1] + 1)
    if first[0] + window.lines <= 0 or first[0] >= scene.shape[0]:
        return None
    pixels = scene.read(scene.polarisations[0], window)
    sigma0 = np.where(pixels.valid, pixels.sigma0, 0.0)
    row, col = np.unravel_index(int(np.argmax(sigma0)), sigma0.shape)
    if sigma0[row, col] <= 0:
        return None
    return float(10 * np.log10(sigma0[row, col])), first[0] + int(row), first[1] + int(col)
