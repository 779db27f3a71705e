"""The scan as one would write it down: arrays of pixels, numpy and scipy, a statistic for every pixel.

It follows `daemon.scan` step by step with the windows centred on pixels instead of cells, and serves
``tools/bench_scan.py`` as the thing to compare with: time, memory and candidates. A scene goes through in
bands of some thousand lines, with as many beside them as the windows reach over: all of it at once takes more
than 23 GiB. Bands this tall are a seventh more work than the scene alone.
"""

from __future__ import annotations

import numpy as np
import rasterio
from numpy.typing import NDArray
from scipy import ndimage

from daemon.scan import ScanSettings
from daemon.scan.prescreen import TRIM_SIGMAS
from daemon.scan.thresholds import Factors, scan_factors
from daemon.scene.land import LandSource
from daemon.scene.product import Scene, Window
from engine.runtime.image import CORE_PX

Float32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

_BAND_LINES = 4000
_CELL_PX = 8  # a place's brightness is the highest within so many pixels, as the scan's cells have it
_NEAR_PX = 49  # kept out of the background in narrow waters


def candidates(scene: Scene, land: LandSource, settings: ScanSettings) -> NDArray[np.float64]:
    """Return line and sample of whatever stands out of the sea, [n, 2]."""
    spacing_m = float(np.mean(scene.spacing_m))
    lines, samples = scene.shape
    beside = 2 * int(round(settings.background_m / spacing_m)) + 64
    found = []
    for first in range(0, lines, _BAND_LINES):
        low, high = max(first - beside, 0), min(first + _BAND_LINES + beside, lines)
        ground = land.mask(Window(low, 0, high - low, samples))
        inner = slice(first - low, first - low + _BAND_LINES)
        for polarisation in scene.polarisations:
            over, contrast, shaded = (
                part[inner] for part in _band(scene, polarisation, ground, low, settings)
            )
            line, sample = np.nonzero(over)
            found.append((line + first, sample, contrast[line, sample], shaded[line, sample]))
    line, sample, contrast, shaded = (np.concatenate(part) for part in zip(*found, strict=True))
    place, at = np.unique(line * samples + sample, return_inverse=True)
    best, dark = np.zeros(len(place), np.float32), np.zeros(len(place), bool)
    np.maximum.at(best, at, contrast)
    np.logical_or.at(dark, at, shaded)
    return _clusters(scene, place // samples, place % samples, best, dark, settings.max_extent_m / spacing_m)


def _clusters(
    scene: Scene,
    line: NDArray[np.int64],
    sample: NDArray[np.int64],
    contrast: Float32,
    shaded: Mask,
    most: float,
) -> NDArray[np.float64]:
    """Join pixels, cut what is too long, leave out what a shore outshines; places, [n, 2]."""
    over = np.zeros(scene.shape, bool)
    over[line, sample] = True
    label, count = ndimage.label(ndimage.binary_dilation(over, np.ones((3, 3))), np.ones((3, 3)))
    which = label[line, sample].astype(np.int64)
    longest = [max(part.stop - part.start for part in box) - 2 for box in ndimage.find_objects(label)]
    long = np.array([0, *longest])[which] > most
    cell = line // CORE_PX << 16 | sample // CORE_PX
    which = np.unique(np.where(long, which << 32 | cell, which << 32), return_inverse=True)[1]
    order = np.lexsort((contrast, which))
    brightest = order[np.flatnonzero(np.diff(which[order], append=-1))]
    weight = np.maximum(contrast - 1, 1e-6)
    places = [np.bincount(which, weight * at) / np.bincount(which, weight) for at in (line, sample)]
    return np.stack(places, 1)[~shaded[brightest]]


def _band(
    scene: Scene, polarisation: str, ground: Mask, first: int, settings: ScanSettings
) -> tuple[Mask, Float32, Mask]:
    """Return which pixels exceed, the contrast of all, and which of them the shore beside outshines."""
    spacing_m = float(np.mean(scene.spacing_m))
    guard, reach, shore = (
        2 * int(round(metres / spacing_m)) + 1
        for metres in (settings.guard_m, settings.background_m, settings.shore_m)
    )
    with rasterio.open(scene.bands[polarisation].measurement) as file:
        dn = file.read(1, window=((first, first + len(ground)), (0, scene.shape[1])))
    missing = ndimage.binary_opening(dn == 0, np.ones((5, 5)))
    sound = ~ndimage.maximum_filter(missing, 5 + 2 * settings.border_px)
    lines, samples = first + np.arange(len(ground), dtype=float), np.arange(scene.shape[1], dtype=float)
    gain, noise = scene.tables(polarisation, lines, samples)
    nesz = np.broadcast_to(gain * noise, dn.shape).astype(np.float32)
    smooth = ndimage.uniform_filter(dn.astype(np.float32) ** 2 * gain, 3, mode="nearest")
    del dn, missing
    factors = scan_factors(settings.false_alarm_rate / len(scene.polarisations), settings.clutter_model)
    open_sea = sound & ~ndimage.maximum_filter(
        ground, 2 * int(np.ceil(settings.land_margin_m / spacing_m)) + 1
    )
    here, over, known = _sea(smooth, nesz, open_sea, guard, reach, factors)
    narrow = ~known & sound & ~ground
    if narrow.any():  # no open sea around: then whatever water there is
        water = sound & ~ndimage.maximum_filter(ground, _CELL_PX)
        here_, over_, _ = _sea(smooth, nesz, water, _NEAR_PX, reach, factors)
        here[narrow], over[narrow] = here_[narrow], over_[narrow]
        del here_, over_
    by_land = ndimage.maximum_filter(ground, shore)
    beside = ndimage.maximum_filter(np.where(by_land, smooth, 0), 2 * shore - 1)
    return over & sound & ~by_land, smooth / here, beside > smooth


def _sea(
    smooth: Float32, nesz: Float32, sea: Mask, guard: int, reach: int, factors: Factors
) -> tuple[Float32, Mask, Mask]:
    """Return the sea's mean around each pixel with the noise there, what exceeds, and where that is known."""
    peak = np.log(np.maximum(ndimage.maximum_filter(smooth, _CELL_PX), 1e-12))
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
    # factors rise with the spread: only what exceeds the lowest is looked up, which is quick
    least = factors.at(spread.min(initial=np.inf, where=enough), factors.shares).min()
    over = enough & (smooth > here * np.float32(least))
    at = np.nonzero(over)
    over[at] = smooth[at] > here[at] * factors.at(spread[at], around[at] / np.maximum(mean[at], 1e-12))
    return here, over, enough


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
