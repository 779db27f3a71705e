"""An object's measures from a patch of pixels, whoever has read it.

Length is the region's extent along its axis with the point spread taken off at either end: a scatterer
at the end shows down to the level that bounds the region, the further the brighter it is. How bright the
end is say the pixels beside it. The interval and the constants of this page are set on simulated ships:
`tools/bench_length.py` measures them again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from daemon.domain import Box
from daemon.measure.region import (
    BESIDE_PX,
    STANDS_OUT,
    Echo,
    Region,
    distance_outside,
    echo_of,
    principal_axis,
    region_of,
)

RESOLUTION_M = 21.0  # of IW GRDH: 20 m in range, 22 m in azimuth
_RESOLUTION_PX = 2.2  # Sentinel-1's GRD products are sampled so, whatever their resolution
_END_PX = 1.5  # around the outermost pixel: holds the scatterer that it belongs to
_END_SHARE = 0.8  # of the spread of the brightest pixel there: the end is a little weaker
_AXIS_FROM_PX = 6.0  # shorter objects show no axis and no width: 60 m at 10 m
_AXIS_LEAN = 1.7  # nor do those that are hardly longer than wide
_WIDTH_FROM_PX = 3.2  # narrower ones are not resolved
# What a tenth of simulated ships is shorter by, or longer by, at least, in samples: a constant, one times
# 1 / sqrt(contrast) (faint ends are not seen), and one times the share of azimuth in the axis, 0 to 1 (movers
# are smeared along it). From `tools/bench_length.py --fit`.
_SHORTER_PX = (0.63, 0.0, 2.65)
_LONGER_PX = (0.56, 9.32, 0.0)


@dataclass(frozen=True, slots=True)
class Patch:
    """Pixels in and around a box.

    Attributes:
        intensity: sigma0 with the noise left in, linear, [P, h, w].
        nesz: noise-equivalent sigma0, [P, h, w].
        valid: where there is data, [P, h, w].
        origin_px: line and sample of the first pixel in the scene.
        spacing_m: along lines (azimuth) and samples (range).
        box_px: x1, y1, x2, y2, edges, in the scene: where to look.
        land: True on land, [h, w]; None where none is near. It is left out of sea and object alike.
    """

    intensity: NDArray[np.floating]
    nesz: NDArray[np.floating]
    valid: NDArray[np.bool_]
    origin_px: tuple[int, int]
    spacing_m: tuple[float, float]
    box_px: Box
    land: NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True)
class Measure:
    """What the pixels say of one object."""

    line_px: float
    sample_px: float
    length_m: float
    length_low_m: float  # the interval holds four fifths of simulated ships
    length_high_m: float
    width_m: float | None  # null where it is not resolved
    axis_deg: float | None  # 0 to 180, clockwise from north; of a patch, from up
    peak_db: float | None
    contrast_db: float | None
    how: Literal["pixels", "box"]
    invalid_px: int  # pixels without data in the box, widened a little


def measure_patch(patch: Patch) -> Measure:
    """Measure the object in a patch's box.

    Args:
        patch: the pixels; some 24 px around the box are needed to know the sea.

    Returns:
        The measures, the axis clockwise from up; those of the box itself where nothing stands out.
    """
    outside_px = distance_outside(patch.box_px, patch.origin_px, patch.valid.shape[1:])
    invalid = int(max((~valid & (outside_px <= BESIDE_PX)).sum() for valid in patch.valid))
    echo = echo_of(patch.intensity, patch.nesz, _usable(patch, outside_px), outside_px)
    if echo is None or echo.contrast < STANDS_OUT:
        return _of_box(patch, None if echo is None else echo.contrast, invalid)
    return _of_region(patch, region_of(echo, outside_px), echo, invalid)


def _usable(patch: Patch, outside_px: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Valid pixels off the land; a box that lies on land by half means that the coastline errs there."""
    inside = outside_px == 0
    if patch.land is None or 2 * np.count_nonzero(patch.land & inside) > np.count_nonzero(inside):
        return patch.valid
    return patch.valid & ~patch.land


def _of_region(patch: Patch, region: Region, echo: Echo, invalid: int) -> Measure:
    pixel_m = float(np.mean(patch.spacing_m))
    stretch = np.array(patch.spacing_m) / pixel_m
    axis, centre, lean = principal_axis(
        region.line * stretch[0], region.sample * stretch[1], np.sqrt(region.excess)
    )
    down, across = region.line * stretch[0] - centre[0], region.sample * stretch[1] - centre[1]
    along, first, last = _extent(region, down * axis[0] + across * axis[1])
    beside, left, right = _extent(region, down * axis[1] - across * axis[0])
    length = max(along, _RESOLUTION_PX)
    causes = (1.0, echo.contrast**-0.5, abs(float(axis[0])))
    low, high = (sum(m * c for m, c in zip(most, causes, strict=True)) for most in (_SHORTER_PX, _LONGER_PX))
    resolved = length >= _AXIS_FROM_PX and lean >= _AXIS_LEAN
    middle = (first + last) / 2, (left + right) / 2
    line = (centre[0] + middle[0] * axis[0] + middle[1] * axis[1]) / stretch[0] + patch.origin_px[0]
    sample = (centre[1] + middle[0] * axis[1] - middle[1] * axis[0]) / stretch[1] + patch.origin_px[1]
    width = min(beside, length)
    return Measure(
        line_px=round(float(line), 3),
        sample_px=round(float(sample), 3),
        length_m=round(length * pixel_m, 1),
        length_low_m=round(max(length - max(low, 0.0), 0.0) * pixel_m, 1),
        length_high_m=round((length + max(high, 0.0)) * pixel_m, 1),
        width_m=round(width * pixel_m, 1) if resolved and width >= _WIDTH_FROM_PX else None,
        axis_deg=round(float(np.degrees(np.arctan2(axis[1], -axis[0]))) % 180.0, 1) % 180.0
        if resolved
        else None,
        peak_db=_db(echo.peak_sigma0),
        contrast_db=_db(echo.contrast),
        how="pixels",
        invalid_px=invalid,
    )


def _extent(region: Region, at_px: NDArray[np.float64]) -> tuple[float, float, float]:
    """Extent along a direction without the point spread, and where it begins and ends, in samples.

    A Gaussian point spread of half-power width R has fallen from P to t at R / 2 sqrt(log2(P / t)).
    """
    ends = []
    for end in (int(at_px.argmin()), int(at_px.argmax())):
        beside = np.abs(at_px - at_px[end]) <= _END_PX
        brightness = float(region.excess[beside].max() / region.level[end])
        ends.append((float(at_px[end]), _RESOLUTION_PX / 2 * float(np.sqrt(np.log2(max(brightness, 1.0))))))
    (first, before), (last, after) = ends
    extent = last - first + 1 - _END_SHARE * (before + after)
    return extent, first, last


def _of_box(patch: Patch, contrast: float | None, invalid: int) -> Measure:
    x1, y1, x2, y2 = patch.box_px
    height, width = (y2 - y1) * patch.spacing_m[0], (x2 - x1) * patch.spacing_m[1]
    longest = float(np.hypot(height, width))
    spread_m = _RESOLUTION_PX * float(np.mean(patch.spacing_m))
    return Measure(
        line_px=round((y1 + y2) / 2 - 0.5, 3),
        sample_px=round((x1 + x2) / 2 - 0.5, 3),
        length_m=round(max(height, width), 1),
        length_low_m=round(max(max(height, width) - 2 * spread_m, 0.0), 1),
        length_high_m=round(longest + spread_m, 1),
        width_m=None,
        axis_deg=None,
        peak_db=None,
        contrast_db=None if contrast is None else _db(contrast),
        how="box",
        invalid_px=invalid,
    )


def _db(linear: float) -> float:
    return round(float(10 * np.log10(max(linear, 1e-6))), 2)
