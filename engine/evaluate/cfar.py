"""The prescreen's rule on one chip, in plain numpy: what an adaptive threshold alone finds.

The same statistic as the scan's, the 3 x 3 mean of intensity with the noise left in, against the sea around,
guard left out and bright pixels trimmed; log-normal tail, both polarisations, the larger exceedance counts.
What differs: a chip is smaller than the scan's background, so guard and ring are narrower; intensities come
from eight-bit channels, cut at the top of their range. The score is the exceedance in standard deviations of
the logarithm, not a probability.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.evaluate.metrics import Thing
from engine.runtime.image import intensities
from engine.runtime.text import LABELS

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class CfarSettings:
    """How a chip is searched.

    Attributes:
        guard_px: half side of what is left out around a pixel.
        background_px: half side of the square whose rest is the background.
        least: standard deviations from which a pixel exceeds; a candidate's score is its highest.
        gap_px: exceeding pixels at most this far apart are one candidate.
        shore_px: pixels this close to land are left out, where the land is known.
        extent_db: a candidate's box holds its pixels so far below its peak.
    """

    guard_px: int = 20
    background_px: int = 50
    least: float = 3.5
    gap_px: int = 3
    shore_px: float = 3.0
    extent_db: float = 10.0


OPERATING = 5.07  # standard deviations that sea exceeds with the scan's default rate of 2e-7 a pixel
_FEWEST = 200  # pixels of background


def exceedance(
    chip: NDArray[np.uint8], land: NDArray[np.bool_] | None = None, settings: CfarSettings = CfarSettings()
) -> Floats:
    """Return how far each pixel exceeds the sea around it, in standard deviations of the logarithm, [H, W].

    Args:
        chip: channels, [3, H, W].
        land: True on land and beside it, [H, W]; such pixels are -inf, and no background.
        settings: windows.
    """
    out = np.full(chip.shape[1:], -np.inf)
    for band in intensities(chip):
        if not np.isfinite(band).any():
            continue
        known = np.isfinite(band)
        if land is not None:
            known &= ~land
        filled = np.where(known, band, 0.0)
        count = _box(known.astype(np.float64), 1)
        level = np.log(np.maximum(_box(filled, 1) / np.maximum(count, 1), 1e-6))
        z = np.zeros_like(level)
        sea = known
        for _ in range(3):  # each time without what exceeded the last
            n, mean, spread = _surroundings(level, sea, settings)
            z = np.where(n >= _FEWEST, (level - mean) / np.maximum(spread, 0.05), -np.inf)
            sea = known & (z < 3.0)
        out = np.maximum(out, np.where(known, z, -np.inf))
    return out


def _surroundings(
    level: Floats, sea: NDArray[np.bool_], settings: CfarSettings
) -> tuple[Floats, Floats, Floats]:
    """Count, mean and standard deviation of the sea's level in each pixel's ring."""

    def ring(values: Floats) -> Floats:
        total = _integral(values)
        return _window(total, settings.background_px) - _window(total, settings.guard_px)

    n = ring(sea.astype(np.float64))
    safe = np.maximum(n, 1)
    offset = float(level[sea].mean()) if sea.any() else 0.0  # keeps the squares' difference exact
    x = np.where(sea, level - offset, 0.0)
    mean = ring(x) / safe
    variance = np.maximum(ring(x * x) / safe - mean**2, 0)
    return n, mean + offset, np.sqrt(variance)


def _box(values: Floats, half: int) -> Floats:
    """Return sums over squares of 2 half + 1 pixels, cut at the edges, [H, W]."""
    return _window(_integral(values), half)


def _integral(values: Floats) -> Floats:
    """Return sums over all above and left of each corner, [H + 1, W + 1]."""
    total = np.zeros((values.shape[0] + 1, values.shape[1] + 1))
    np.cumsum(values, axis=0, out=total[1:, 1:])
    return np.cumsum(total, axis=1, out=total)


def _window(total: Floats, half: int) -> Floats:
    """Return sums over squares from sums over corners, [H, W]."""
    (low_y, high_y), (low_x, high_x) = (
        (np.maximum(at - half, 0), np.minimum(at + half + 1, len(at)))
        for at in (np.arange(size - 1) for size in total.shape)
    )
    rows = total[high_y] - total[low_y]
    return np.asarray(rows[:, high_x] - rows[:, low_x])


def detect(
    chip: NDArray[np.uint8],
    shore_px: NDArray[np.floating] | None = None,
    settings: CfarSettings = CfarSettings(),
    spacing_m: float = 10.0,
) -> list[Thing]:
    """Return the candidates of a chip, strongest first; all are called ships.

    Args:
        chip: channels, [3, H, W].
        shore_px: distance to the shore, positive on land, [H, W]; None where unknown.
        settings: thresholds and windows.
        spacing_m: of the pixels.
    """
    from scipy.ndimage import find_objects, label

    land = None if shore_px is None else shore_px > -settings.shore_px
    z = exceedance(chip, land, settings)
    above = z >= settings.least
    if not above.any():
        return []
    joined = _box(above.astype(np.float64), settings.gap_px // 2) > 0.5
    labels, _ = label(joined, np.ones((3, 3)))
    power = np.nan_to_num(intensities(chip)).sum(axis=0)
    found = []
    for index, window in enumerate(find_objects(labels), start=1):
        own = (labels[window] == index) & above[window]
        bright = own & (power[window] >= power[window][own].max() * 10 ** (-settings.extent_db / 10))
        rows, columns = np.nonzero(bright)
        y, x = window[0].start + rows, window[1].start + columns
        box = (float(x.min()), float(y.min()), float(x.max() + 1), float(y.max() + 1))
        length_m = spacing_m * max(box[2] - box[0], box[3] - box[1])
        found.append(Thing(LABELS[0], box, length_m, float(z[window][own].max())))
    return sorted(found, key=lambda thing: -thing.score)
