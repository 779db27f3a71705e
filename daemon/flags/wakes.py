"""Wakes: faint detections on a line of changed roughness that runs from a brighter target through them.

Only a line that the pixels show counts: beside the detection, between it and the target and beyond, the mean
along the line must differ from that of parallel lines of sea. A ship that moves towards or away from the
radar is displaced from its wake along the azimuth, by up to a kilometre; such a wake does not run through its
echo and is not found here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from daemon.domain import Flag
from daemon.flags.bright import BrightMap
from daemon.flags.ghosts import refine
from daemon.scene.product import Window

if TYPE_CHECKING:
    from daemon.domain import Box
    from daemon.measure import Measure
    from daemon.scene.product import Scene

_REACH_M = 2000.0  # from the target
_NEAREST_M = 200.0
_BRIGHTER_DB = 10.0
_FAINT_DB = 13.0  # contrast beyond which nothing is a wake's: its edges rise by a few dB
_BESIDE_M = np.arange(80.0, 241.0, 20.0)  # parallel lines that stand for the sea
_HALF_WIDTH_PX = 1
_CLEAR_M = 70.0  # around the target and the detection, left out
_DEVIATIONS = 5.0  # of the whole line
_PART_DEVIATIONS = 2.5  # of either part
_BEYOND_M = 500.0  # followed beyond the detection, at least
_STEP_PX = 1.0


def wake_flag(scene: Scene, bright: BrightMap, size: Measure, box_px: Box) -> Flag | None:
    """Return the flag of a faint detection on the wake of a brighter target.

    Args:
        scene: opened product.
        bright: its brightness.
        size: the detection's measures.
        box_px: its box.

    Returns:
        The flag with the target's place and the line's strength; None without such a line.
    """
    if size.contrast_db is None or size.contrast_db > _FAINT_DB or size.peak_db is None:
        return None
    x1, y1, x2, y2 = box_px
    first = scene.polarisations[0]
    own = bright.brightest(first, (y1, y2 - 1), (x1, x2 - 1))
    reach = [_REACH_M / spacing for spacing in scene.spacing_m]
    lines = size.line_px - reach[0], size.line_px + reach[0]
    samples = size.sample_px - reach[1], size.sample_px + reach[1]
    place = bright.brightest(first, lines, samples)
    if own is None or place is None or 10 * np.log10(place.power / own.power) < _BRIGHTER_DB:
        return None
    line, sample, peak = refine(scene, place)
    down = (size.line_px - line) * scene.spacing_m[0]
    across = (size.sample_px - sample) * scene.spacing_m[1]
    distance = float(np.hypot(down, across))
    if not _NEAREST_M <= distance <= _REACH_M:
        return None
    strength = _line(scene, (line, sample), (down / distance, across / distance), distance)
    if strength is None or not _is_line(strength):
        return None
    lon, lat = scene.geometry.lonlat(line, sample)
    return Flag(
        "wake",
        {
            "source_line_px": line,
            "source_sample_px": sample,
            "source_lon_deg": round(float(lon), 6),
            "source_lat_deg": round(float(lat), 6),
            "source_db": round(float(10 * np.log10(max(peak, 1e-10))), 1),
            "distance_m": round(distance),
            "line_db": round(strength[0][0], 2),
            "deviations": round(strength[0][1], 1),
        },
    )


def _is_line(strength: list[tuple[float, float]]) -> bool:
    """Whether the whole line stands out, and the parts before and beyond the detection alike."""
    whole, *parts = strength
    alike = all(whole[0] * part[0] > 0 and abs(part[1]) >= _PART_DEVIATIONS for part in parts)
    return alike and abs(whole[1]) >= _DEVIATIONS


def _line(
    scene: Scene, start: tuple[int, int], towards: tuple[float, float], distance_m: float
) -> list[tuple[float, float]] | None:
    """Compare the line with parallel ones, in dB and deviations: whole, before and beyond the detection."""
    spacing = np.array(scene.spacing_m)
    along = np.arange(0.0, distance_m + max(0.6 * distance_m, _BEYOND_M), _STEP_PX * spacing.min())
    before, beyond = (along > _CLEAR_M) & (along < distance_m - _CLEAR_M), along > distance_m + _CLEAR_M
    offsets = np.concatenate([-_BESIDE_M[::-1], [0.0], _BESIDE_M])
    direction, aside = np.array(towards), np.array([-towards[1], towards[0]])
    at = (along[:, None, None] * direction + offsets[:, None] * aside) / spacing + np.array(start)
    low = np.floor(at.reshape(-1, 2).min(0)).astype(int) - 3
    high = np.ceil(at.reshape(-1, 2).max(0)).astype(int) + 4
    pixels = scene.read(scene.polarisations[0], Window(int(low[0]), int(low[1]), *(high - low).tolist()))
    wide = 2 * _HALF_WIDTH_PX + 1
    mean = ndimage.uniform_filter(np.log(np.maximum(pixels.intensity, 1e-6)), wide)
    valid = ndimage.minimum_filter(pixels.valid.view(np.uint8), wide)
    index = np.moveaxis(at - low, -1, 0)
    profile: NDArray[np.floating] = ndimage.map_coordinates(mean, index, order=1)
    known = ndimage.map_coordinates(valid, index, order=0) > 0
    found = []
    for part in (before | beyond, before, beyond):
        if part.sum() < 10 or not known[part].all():
            return None
        levels = profile[part].mean(0)  # of each parallel
        middle = len(_BESIDE_M)
        sea = np.delete(levels, middle)
        # the median and the spread about it: another ship on a parallel must not hide the line
        spread = 1.4826 * float(np.median(np.abs(sea - np.median(sea))))
        rise = float(levels[middle] - np.median(sea))
        found.append((float(10 / np.log(10) * rise), float(rise / max(spread, 1e-3))))
    return found
