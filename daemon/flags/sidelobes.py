"""Sidelobe crosses: a very bright target's response, spread along its line and its sample.

A band of width B, weighted by a Hamming window of coefficient a, answers a point at a distance x with the
sum of three sinc functions; far off its envelope falls as ((2a - 1) / a) / (pi B x), in amplitude. What
stands on an arm of such a cross, no brighter than that, and has its mirror image on the other side of the
source is taken for a sidelobe.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import ndimage

from daemon.domain import Flag
from daemon.flags.bright import BrightMap, Place
from daemon.flags.ghosts import refine
from daemon.scan.kernels import CELL_PX
from daemon.scene.product import Window

if TYPE_CHECKING:
    from daemon.domain import Box
    from daemon.measure import Measure
    from daemon.scene.product import Scene

_HAMMING = 0.75  # of the processor in IW, both ways
_BAND = {"azimuth": 0.89 / 22.0, "range": 0.89 / 20.0}  # cycles per metre: 0.89 over the resolution
_REACH_M = 2000.0
_NEAREST_M = 40.0  # nearer, it is the main lobe
_ASIDE_M = 30.0  # from the arm: a ship's scatterers lie beside each other
_MARGIN_DB = 6.0  # looks, speckle and several scatterers in line
_MIRROR_DB = 6.0  # by which the two sides may differ
_STEP_DB = 15.0  # a source is at least so much brighter


def envelope_db(distance_m: float, arm: Literal["azimuth", "range"]) -> float:
    """Return how far below a point's peak its sidelobes lie at a distance, at most."""
    x = np.pi * _BAND[arm] * max(distance_m, _NEAREST_M)
    return float(20 * np.log10(_HAMMING / (2 * _HAMMING - 1) * x))


def sidelobe_flag(scene: Scene, bright: BrightMap, size: Measure, box_px: Box) -> Flag | None:
    """Return the flag of a detection that lies on the cross of a much brighter target.

    Args:
        scene: opened product.
        bright: its brightness.
        size: the detection's measures.
        box_px: its box.

    Returns:
        The flag with the source's place and brightness; None without such a source.
    """
    first = scene.polarisations[0]
    x1, y1, x2, y2 = box_px
    own = bright.brightest(first, (y1, y2 - 1), (x1, x2 - 1))
    if own is None or size.peak_db is None:
        return None
    for arm in ("range", "azimuth"):
        place = _source(scene, bright, size, own.power, arm)
        if place is None:
            continue
        line, sample, peak = refine(scene, place)
        down = (size.line_px - line) * scene.spacing_m[0]
        across = (size.sample_px - sample) * scene.spacing_m[1]
        distance, aside = (abs(across), abs(down)) if arm == "range" else (abs(down), abs(across))
        level = _level(scene, box_px, (0.0, 0.0))
        if level <= 0:
            continue
        below = 10 * np.log10(place.power / level)
        if aside > _ASIDE_M or distance < _NEAREST_M or below < envelope_db(distance, arm) - _MARGIN_DB:
            continue
        if not _mirrored(scene, (line, sample), size, box_px, level):
            continue
        lon, lat = scene.geometry.lonlat(line, sample)
        return Flag(
            "sidelobe",
            {
                "arm": arm,
                "source_line_px": line,
                "source_sample_px": sample,
                "source_lon_deg": round(float(lon), 6),
                "source_lat_deg": round(float(lat), 6),
                "source_db": round(float(10 * np.log10(max(peak, 1e-10))), 1),
                "below_db": round(float(below), 1),
                "envelope_db": round(envelope_db(distance, arm), 1),
                "distance_m": round(distance),
            },
        )
    return None


def _source(
    scene: Scene, bright: BrightMap, size: Measure, own: float, arm: Literal["azimuth", "range"]
) -> Place | None:
    """Return the cell on an arm through a detection whose sidelobes would be brightest there."""
    axis = 0 if arm == "azimuth" else 1
    spacing = scene.spacing_m[axis]
    at = size.line_px, size.sample_px
    along = at[axis] - _REACH_M / spacing, at[axis] + _REACH_M / spacing
    aside = _ASIDE_M / scene.spacing_m[1 - axis]
    beside = at[1 - axis] - aside, at[1 - axis] + aside
    lines, samples = (along, beside) if axis == 0 else (beside, along)
    cells = bright.cells(scene.polarisations[0], lines, samples)
    if not cells.size:
        return None
    origin = max(0, int(lines[0] // CELL_PX)), max(0, int(samples[0] // CELL_PX))
    rows, cols = np.indices(cells.shape)
    middle = (CELL_PX - 1) / 2
    line, sample = (rows + origin[0]) * CELL_PX + middle, (cols + origin[1]) * CELL_PX + middle
    distance = np.abs((line if axis == 0 else sample) - at[axis]) * spacing
    expected = cells / np.maximum(distance, _NEAREST_M) ** 2
    expected[(distance < _NEAREST_M) | (cells < own * 10 ** (_STEP_DB / 10))] = 0
    row, col = np.unravel_index(int(np.argmax(expected)), expected.shape)
    if expected[row, col] <= 0:
        return None
    return Place(float(line[row, col]), float(sample[row, col]), float(cells[row, col]))


def _mirrored(scene: Scene, source: tuple[int, int], size: Measure, box_px: Box, level: float) -> bool:
    """Whether the place opposite a detection is about as bright; True where there is no data."""
    move = 2 * (source[0] - size.line_px), 2 * (source[1] - size.sample_px)
    opposite = _level(scene, box_px, move)
    return opposite <= 0 or bool(abs(10 * np.log10(opposite / level)) <= _MIRROR_DB)


def _level(scene: Scene, box_px: Box, move_px: tuple[float, float]) -> float:
    """Return the highest 3 x 3 mean of intensity in a box, moved by lines and samples; 0 without data."""
    x1, y1, x2, y2 = box_px
    first = round(y1 + move_px[0]) - 2, round(x1 + move_px[1]) - 2
    window = Window(*first, max(round(y2 - y1), 1) + 4, max(round(x2 - x1), 1) + 4)
    pixels = scene.read(scene.polarisations[0], window)
    mean = ndimage.uniform_filter(np.where(pixels.valid, pixels.intensity, 0.0), 3)[1:-1, 1:-1]
    return float(mean.max()) if pixels.valid.any() else 0.0
