"""The scan as one would write it down: whole arrays, numpy and scipy, a statistic for every pixel.

It follows `daemon.scan` step by step with the windows centred on pixels instead of cells, and serves
``tools/bench_scan.py`` as the thing to compare with: time, memory and candidates.
"""

from __future__ import annotations

import numpy as np
import rasterio
from numpy.typing import NDArray
from scipy import ndimage

from daemon.scan import ScanSettings
from daemon.scan.prescreen import TRIM_SIGMAS
from daemon.scan.thresholds import scan_factors
from daemon.scene.land import LandSource
from daemon.scene.product import Scene, Window

Float32 = NDArray[np.float32]
Mask = NDArray[np.bool_]


def candidates(scene: Scene, land: LandSource, settings: ScanSettings) -> NDArray[np.float64]:
    """Return line and sample of whatever stands out of the sea, [n, 2]."""
    ground = land.mask(Window(0, 0, *scene.shape))
    over = np.zeros(scene.shape, bool)
    contrast = np.zeros(scene.shape, np.float32)
    for polarisation in scene.polarisations:
        exceeds, stands_out = _band(scene, polarisation, ground, settings)
        over |= exceeds
        np.maximum(contrast, np.where(exceeds, stands_out, 0), out=contrast)
    label, count = ndimage.label(ndimage.binary_dilation(over, np.ones((3, 3))), np.ones((3, 3)))
    places = np.nonzero(over)
    which, weight = label[places] - 1, np.maximum(contrast[places] - 1, 1e-6)
    mass = np.bincount(which, weight, count)
    return np.stack([np.bincount(which, weight * at, count) / mass for at in places], 1)


def _band(scene: Scene, polarisation: str, ground: Mask, settings: ScanSettings) -> tuple[Mask, Float32]:
    """Return which pixels exceed, and the contrast of all."""
    spacing_m = float(np.mean(scene.spacing_m))
    with rasterio.open(scene.bands[polarisation].measurement) as file:
        dn = file.read(1)
    present = dn > 0
    missing = ndimage.binary_opening(~present, np.ones((5, 5)))
    sound = ~ndimage.maximum_filter(missing, 5 + 2 * settings.border_px)
    lines, samples = (np.arange(size, dtype=np.float64) for size in scene.shape)
    gain, noise = scene.tables(polarisation, lines, samples)
    nesz = np.broadcast_to(gain * noise, scene.shape).astype(np.float32)
    smooth = ndimage.uniform_filter(dn.astype(np.float32) ** 2 * gain, 3, mode="nearest")
    del dn
    margin = 2 * int(np.ceil(settings.land_margin_m / spacing_m)) + 1
    sea = sound & ~ndimage.maximum_filter(ground, margin)
    guard, reach = (
        2 * int(round(metres / spacing_m)) + 1 for metres in (settings.guard_m, settings.background_m)
    )
    peak = np.log(np.maximum(ndimage.maximum_filter(smooth, 8), 1e-12))
    keep = sea & (peak <= _bright(peak, sea, guard, reach))
    del peak
    count = _ring(keep.astype(np.float32), guard, reach)
    enough = count > 0.05 * (reach**2 - guard**2)
    count = np.maximum(count, 1)
    mean = _ring(np.where(keep, smooth, 0), guard, reach) / count
    spread = _ring(np.where(keep, smooth**2, 0), guard, reach) / count
    spread = np.sqrt(np.maximum(spread - mean**2, 0)) / np.maximum(mean, 1e-12)
    around = _ring(np.where(keep, nesz, 0), guard, reach) / count
    del count, keep
    here = np.maximum(mean - around + nesz, 1e-12)
    del nesz
    factors = scan_factors(settings.false_alarm_rate / len(scene.polarisations), settings.clutter_model)
    limit = np.empty_like(here)
    for line in range(0, len(here), 500):  # the table's interpolation takes many arrays of its size
        rows = slice(line, line + 500)
        limit[rows] = here[rows] * factors.at(spread[rows], around[rows] / np.maximum(mean[rows], 1e-12))
    del spread, around, mean
    by_land = ndimage.maximum_filter(ground, 2 * int(np.ceil(settings.shore_m / spacing_m)) + 1)
    return enough & sound & ~by_land & (smooth > limit), smooth / here


def _bright(peak: Float32, sea: Mask, guard: int, reach: int) -> Float32:
    """Return the level above which a place is too bright to speak for the sea."""
    count = np.maximum(_ring(sea.astype(np.float32), guard, reach), 1)
    mean = _ring(np.where(sea, peak, 0), guard, reach) / count
    square = _ring(np.where(sea, peak**2, 0), guard, reach) / count
    return np.asarray(mean + TRIM_SIGMAS * np.sqrt(np.maximum(square - mean**2, 0)), np.float32)


def _ring(values: Float32, guard: int, reach: int) -> Float32:
    """Sum a square ring around each pixel."""
    outer = ndimage.uniform_filter(values, reach, output=np.float32, mode="constant") * np.float32(reach**2)
    return outer - ndimage.uniform_filter(values, guard, output=np.float32, mode="constant") * np.float32(
        guard**2
    )
