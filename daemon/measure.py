"""Position, length, width and axis of an object, measured in sigma0 in and around its box.

The model says where to look; the pixels say what is there. All measures are taken from the connected
region that stands out of the local sea, in the polarisation of the higher contrast. Its extent
overstates a ship by the point spread: a scatterer at the end shows down to the threshold, the further
the brighter it is. The estimate takes the spread off as if the ends were as bright as the geometric mean
of peak and threshold; the interval runs from ends as bright as the peak to no correction at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from daemon.domain import Box
from daemon.scan.background import smooth3
from daemon.scene.product import Window

if TYPE_CHECKING:
    from daemon.scene.product import Scene

RESOLUTION_M = 21.0  # of IW GRDH: 20 m in range, 22 m in azimuth
_AROUND_PX = 24  # sea around the box that gives the background
_BESIDE_PX = 4  # the object's peak lies in its box or this close to it
_REACH_PX = 12  # and what is connected to it may reach this far beyond the box
_STANDS_OUT = 3.5  # smoothed contrast below which nothing is measured: 5.4 dB
_LEVEL = 3.0  # excess over the sea, in means of the sea, that belongs to the object
_PEAK_SHARE = 0.01  # but at most 20 dB below its peak
_BRIDGE_PX = 5  # closes the gaps between the scatterers of one hull
_AXIS_FROM_M = 60.0  # shorter objects show no axis and no width
_BEAM = 1 / 4  # no ship is wider, by its length


@dataclass(frozen=True, slots=True)
class Measure:
    """What the pixels say of one object."""

    line_px: float
    sample_px: float
    length_m: float
    length_low_m: float
    length_high_m: float
    width_m: float | None
    axis_deg: float | None  # clockwise from north, 0 to 180
    peak_db: float | None
    contrast_db: float | None
    how: Literal["pixels", "box"]
    invalid_px: int  # pixels without data in the box, widened a little


def measure(scene: Scene, box_px: Box) -> Measure:
    """Measure the object in a box.

    Args:
        scene: opened product.
        box_px: x1, y1, x2, y2, edges, in the scene.

    Returns:
        The measures; those of the box itself where nothing stands out.

    Raises:
        SceneCorrupt: the pixels cannot be read.
    """
    x1, y1, x2, y2 = box_px
    top, left = int(np.floor(y1)) - _AROUND_PX, int(np.floor(x1)) - _AROUND_PX
    window = Window(
        line=top,
        sample=left,
        lines=int(np.ceil(y2)) + _AROUND_PX - top,
        samples=int(np.ceil(x2)) + _AROUND_PX - left,
    )
    line, sample = np.mgrid[top + 1 : top + window.lines - 1, left + 1 : left + window.samples - 1]
    # Distance of each pixel's centre outside the box; zero inside.
    outside = np.maximum.reduce(
        [x1 - 0.5 - sample, sample - (x2 - 0.5), y1 - 0.5 - line, line - (y2 - 0.5), np.zeros(line.shape)]
    )
    near, reach = outside <= _BESIDE_PX, outside <= _REACH_PX
    best, invalid = None, 0
    for polarisation in scene.polarisations:
        pixels = scene.read(polarisation, window)
        valid = pixels.valid[1:-1, 1:-1]
        invalid = max(invalid, int((near & ~valid).sum()))
        sea = valid & ~reach
        if not sea.any() or not (valid & near).any():
            continue
        level = max(float(np.median(pixels.intensity[1:-1, 1:-1][sea])), 1e-6)
        excess = np.where(valid, pixels.intensity[1:-1, 1:-1] / level - 1, 0)
        smooth = np.where(valid, smooth3(pixels.intensity, pixels.valid) / level, 0)
        contrast = float(smooth[near & valid].max())
        if best is None or contrast > best[0]:
            best = contrast, excess, float(pixels.sigma0[1:-1, 1:-1][near & valid].max())
    if best is None or best[0] < _STANDS_OUT:
        return _of_box(scene, box_px, None if best is None else best[0], invalid)
    contrast, excess, peak = best
    region, threshold, top_excess = _region(excess, near, reach)
    if not region.any():
        return _of_box(scene, box_px, contrast, invalid)
    return _of_region(
        scene,
        line[region],
        sample[region],
        excess[region],
        float(top_excess / threshold),
        (_db(peak), _db(contrast), invalid),
    )


def _region(
    excess: NDArray[np.floating], near: NDArray[np.bool_], reach: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], float, float]:
    """The connected pixels around the highest excess near the box, and the threshold that bounds them."""
    peak = float(np.where(near, excess, -np.inf).max())
    threshold = max(_LEVEL, _PEAK_SHARE * peak)
    above = reach & (excess > threshold)
    closed = ndimage.binary_closing(np.pad(above, 4), np.ones((_BRIDGE_PX, _BRIDGE_PX)))[4:-4, 4:-4] | above
    labels, _ = ndimage.label(closed, np.ones((3, 3)))
    at = np.unravel_index(np.where(near, excess, -np.inf).argmax(), excess.shape)
    return above & (labels == labels[at]) & (labels[at] > 0), threshold, peak


def _of_region(
    scene: Scene,
    line: NDArray[np.int_],
    sample: NDArray[np.int_],
    excess: NDArray[np.floating],
    brightness: float,
    rest: tuple[float, float, int],
) -> Measure:
    """Measure a region; ``brightness`` is its peak over its threshold."""
    # Amplitude weighs: power would let one corner reflector stand for the whole ship.
    weight = np.sqrt(excess)
    mass = weight.sum()
    centre_line, centre_sample = (float((weight * at).sum() / mass) for at in (line, sample))
    down = (line - centre_line) * scene.spacing_m[0]
    across = (sample - centre_sample) * scene.spacing_m[1]
    pixel_m = float(np.mean(scene.spacing_m))
    moments = np.array(
        [[(weight * down * down).sum(), (weight * down * across).sum()], [0.0, (weight * across**2).sum()]]
    )
    moments[1, 0] = moments[0, 1]
    axis = np.linalg.eigh(moments)[1][:, 1]
    along = float(np.ptp(down * axis[0] + across * axis[1])) + pixel_m
    beside = float(np.ptp(down * axis[1] - across * axis[0])) + pixel_m
    # A Gaussian point spread shows R sqrt(log2(peak / threshold)) wide.
    full = RESOLUTION_M * float(np.sqrt(np.log2(max(brightness, 1.0))))
    half = full / 2**0.5
    length = max(along - half, pixel_m)
    low = max(along - full, pixel_m)
    resolved = length >= _AXIS_FROM_M
    return Measure(
        line_px=round(centre_line, 3),
        sample_px=round(centre_sample, 3),
        length_m=round(length, 1),
        length_low_m=round(min(low, length), 1),
        length_high_m=round(max(along, RESOLUTION_M), 1),
        width_m=round(min(max(beside - half, pixel_m), length * _BEAM), 1) if resolved else None,
        axis_deg=_bearing(scene, centre_line, centre_sample, axis) if resolved else None,
        peak_db=rest[0],
        contrast_db=rest[1],
        how="pixels",
        invalid_px=rest[2],
    )


def _of_box(scene: Scene, box_px: Box, contrast: float | None, invalid: int) -> Measure:
    x1, y1, x2, y2 = box_px
    height, width = (y2 - y1) * scene.spacing_m[0], (x2 - x1) * scene.spacing_m[1]
    longest = float(np.hypot(height, width))
    return Measure(
        line_px=round((y1 + y2) / 2 - 0.5, 3),
        sample_px=round((x1 + x2) / 2 - 0.5, 3),
        length_m=round(max(height, width), 1),
        length_low_m=round(max(max(height, width) - 2 * RESOLUTION_M, 0.0), 1),
        length_high_m=round(longest + RESOLUTION_M, 1),
        width_m=None,
        axis_deg=None,
        peak_db=None,
        contrast_db=None if contrast is None else _db(contrast),
        how="box",
        invalid_px=invalid,
    )


def _bearing(scene: Scene, line_px: float, sample_px: float, axis_m: NDArray[np.floating]) -> float:
    """Bearing on the globe of a direction in the scene, through two points of the sea on it."""
    reach = 100.0 * axis_m / np.array(scene.spacing_m)
    lon, lat = scene.geometry.lonlat(
        np.array([line_px - reach[0], line_px + reach[0]]),
        np.array([sample_px - reach[1], sample_px + reach[1]]),
    )
    east = ((lon[1] - lon[0] + 180) % 360 - 180) * np.cos(np.radians(np.mean(lat)))
    return round(float(np.degrees(np.arctan2(east, lat[1] - lat[0]))) % 180.0, 1) % 180.0


def _db(linear: float) -> float:
    return round(float(10 * np.log10(max(linear, 1e-6))), 2)
