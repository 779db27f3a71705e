"""Which pixels of a patch are an object's.

A pixel belongs to the object at the box if it rises above the sea, above what the sidelobes of brighter
pixels can put there, and if it lies with the others on one narrow hull. Pieces that are apart count only
if they are no lumps of the sea, and where a brighter neighbour joins in below a saddle, the level is
raised until it does not.

Intensities here are excesses: over the sea's median and in its units, so sea has mean near zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from daemon.domain import Box

AROUND_PX = 24  # sea around the box that gives the background
BESIDE_PX = 4  # the object's peak lies in its box or this close to it
REACH_PX = 12  # and what is connected to it may reach this far beyond the box
STANDS_OUT = 3.5  # smoothed contrast below which nothing is measured: 5.4 dB
_LEVEL = 3.0  # excess that belongs to the object
_PEAK_SHARE = 0.005  # but at most 23 dB below its peak
_SIDELOBES = 2.0  # times what sidelobes of brighter pixels put there at most
_LUMP_SIGMAS = 7.0  # a piece whose smoothed peak is lower is a lump of the sea
_LEAST_SEA_PX = 50  # fewer pixels say too little of the sea
_GAP_PX = 4.0  # between the pieces of one hull
_GAP_SHARE = 0.15  # and this share of its extent more
_LEAN = 1.4  # ratio of the standard deviations along and across from which an axis leads the search
_LEADS_PX = 10.0  # and from this extent on
_HULL_PX = 2.0  # half a hull's strip: this for the point spread,
_HULL_BEAM = 0.1  # and this share of its extent
_ROUNDS = 4
_RISE = 1.5  # by which the level goes up where a neighbour joins in
_EIGHT = np.ones((3, 3), bool)

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Echo:
    """An object's image, relative to the sea around it, [h, w] each.

    Attributes:
        excess: intensity over the sea's median, less 1; 0 where invalid.
        smooth: its 3 x 3 mean.
        sigma: standard deviation of ``smooth`` over the sea.
        contrast: highest 3 x 3 mean of the intensity near the box over the sea's median, in the better
            polarisation.
        peak_sigma0: highest sigma0 near the box in that polarisation.
    """

    excess: Floats
    smooth: Floats
    sigma: float
    contrast: float
    peak_sigma0: float


@dataclass(frozen=True, slots=True)
class Region:
    """The pixels of one object: [n] each.

    Attributes:
        line: lines in the patch.
        sample: samples in the patch.
        excess: how far each rises above the sea.
        level: above which it counted as the object's.
    """

    line: NDArray[np.intp]
    sample: NDArray[np.intp]
    excess: Floats
    level: Floats


def distance_outside(box_px: Box, origin_px: tuple[int, int], shape: tuple[int, ...]) -> Floats:
    """Distance of each pixel's centre outside a box, the greater of lines and samples; 0 inside, [h, w]."""
    x1, y1, x2, y2 = box_px
    line = np.arange(shape[0]) + float(origin_px[0])
    sample = np.arange(shape[1]) + float(origin_px[1])
    down = np.maximum(np.maximum(y1 - 0.5 - line, line - (y2 - 0.5)), 0)
    across = np.maximum(np.maximum(x1 - 0.5 - sample, sample - (x2 - 0.5)), 0)
    return np.asarray(np.maximum(down[:, None], across))


def echo_of(
    intensity: NDArray[np.floating],
    nesz: NDArray[np.floating],
    usable: Mask,
    outside_px: Floats,
) -> Echo | None:
    """Compare a patch with its sea and join its polarisations, each weighted by its contrast.

    Args:
        intensity: sigma0 with the noise left in, [P, h, w].
        nesz: noise-equivalent sigma0, [P, h, w].
        usable: valid and not land, [P, h, w].
        outside_px: as distance_outside gives it, [h, w].

    Returns:
        The echo; None where no polarisation shows both sea and anything near the box.
    """
    parts: list[tuple[float, Floats, Floats, float]] = []
    near, around = outside_px <= BESIDE_PX, outside_px > REACH_PX
    for power, noise, good in zip(intensity, nesz, usable, strict=True):
        sea, here = around & good, near & good
        if np.count_nonzero(sea) < _LEAST_SEA_PX or not here.any():
            continue
        level = max(float(np.median(power[sea])), 1e-6)
        excess = np.where(good, power / level - 1.0, 0.0)
        smooth = smooth3(excess, good)
        parts.append((float(smooth[here].max()) + 1.0, excess, smooth, float((power - noise)[here].max())))
    if not parts:
        return None
    contrast, _, _, peak_sigma0 = max(parts, key=lambda part: part[0])
    weights = np.maximum([part[0] for part in parts], 1e-3)
    weights /= weights.sum()
    excess, smooth = (
        sum((w * part[k] for w, part in zip(weights, parts, strict=True)), np.zeros(outside_px.shape))
        for k in (1, 2)
    )
    middle, high = np.percentile(smooth[around & usable.any(0)], (50, 95))
    return Echo(excess, smooth, max(float(high - middle) / 1.645, 1e-3), contrast, peak_sigma0)


def region_of(echo: Echo, outside_px: Floats) -> Region:
    """Collect the pixels of the object at a box.

    Args:
        echo: of the patch.
        outside_px: as distance_outside gives it, [h, w].

    Returns:
        The region; it holds at least its brightest pixel.
    """
    rows, cols = (slice(int(at.min()), int(at.max()) + 1) for at in np.nonzero(outside_px <= REACH_PX))
    seed = _seed(echo, outside_px)
    peak = float(echo.excess[seed])
    level = np.maximum(_SIDELOBES * sidelobes(np.maximum(echo.excess, 0)), max(_LEVEL, _PEAK_SHARE * peak))
    level[seed] = min(level[seed], peak / 2)
    here = (seed[0] - rows.start, seed[1] - cols.start)
    excess, smooth, level, outside = (a[rows, cols] for a in (echo.excess, echo.smooth, level, outside_px))
    pieces, count = ndimage.label(excess > level, _EIGHT)
    tops = np.zeros(count + 1)
    near = outside <= BESIDE_PX
    np.maximum.at(tops, pieces[near], smooth[near])
    stands = tops > _LUMP_SIGMAS * echo.sigma
    stands[0], stands[pieces[here]] = False, True
    line, sample = np.nonzero(stands[pieces])
    mine = _hull(line, sample, np.sqrt(excess[line, sample]), pieces[line, sample] == pieces[here])
    line, sample = line[mine], sample[mine]
    if (excess[line, sample] > np.where(outside[line, sample] > BESIDE_PX, peak, np.inf)).any():
        line, sample, level = _above_saddle(excess, level, outside, here)
    return Region(line + rows.start, sample + cols.start, excess[line, sample], level[line, sample])


def sidelobes(excess: Floats) -> Floats:
    """Highest excess that the sidelobes of other pixels can put at each, along lines and samples, [h, w].

    A point of peak P shows P (0.46 / d)^2 at d samples along either axis: the envelope of the response of a
    Hamming window of 0.75, Sentinel-1's, over 0.46 of the sampled band. A point's line of pixels sums to 2.3
    times its peak.
    """
    down, across = (_envelope(size) for size in excess.shape)
    return np.asarray(np.maximum(down @ excess, excess @ across))


@lru_cache(maxsize=64)
def _envelope(size: int) -> Floats:
    apart = np.abs(np.subtract.outer(np.arange(size), np.arange(size))).astype(np.float64)
    return np.where(apart > 2, (0.46 / np.maximum(apart, 1)) ** 2 / 2.3, 0.0)


def smooth3(values: Floats, good: Mask) -> Floats:
    """Average each good pixel with its good neighbours, 3 x 3; others are 0, [h, w]."""
    total, count = _sum3(np.where(good, values, 0.0)), _sum3(good.astype(np.float64))
    return np.where(good, total / np.maximum(count, 1.0), 0.0)


def _sum3(values: Floats) -> Floats:
    rows, cols = values.shape
    padded = np.zeros((rows + 2, cols + 2))
    padded[1:-1, 1:-1] = values
    down = padded[:-2] + padded[1:-1] + padded[2:]
    return np.asarray(down[:, :-2] + down[:, 1:-1] + down[:, 2:])


def _seed(echo: Echo, outside_px: Floats) -> tuple[int, int]:
    """The object's brightest pixel: in the box if anything stands out there, else beside it."""
    where = outside_px == 0
    if not where.any() or echo.smooth[where].max() + 1 < STANDS_OUT:
        where = outside_px <= BESIDE_PX
    if not (where & (echo.excess > 0)).any():
        # What stands out may owe it to its neighbours: a mean over 3 x 3 reaches a pixel further.
        where = outside_px <= BESIDE_PX + 1
    row, col = np.unravel_index(int(np.where(where, echo.excess, -np.inf).argmax()), where.shape)
    return int(row), int(col)


def _hull(line: NDArray[np.intp], sample: NDArray[np.intp], weight: Floats, mine: Mask) -> Mask:
    """Grow a piece over the gaps between the scatterers of one hull; [n] each.

    While the piece shows no axis it takes in what lies around it, then only what lies along the axis.
    """
    for _ in range(_ROUNDS):
        axis, centre, lean = principal_axis(line[mine], sample[mine], weight[mine])
        along = (line - centre[0]) * axis[0] + (sample - centre[1]) * axis[1]
        across = np.abs((line - centre[0]) * axis[1] - (sample - centre[1]) * axis[0])
        low, high = along[mine].min(), along[mine].max()
        extent = high - low + 1
        gap = _GAP_PX + _GAP_SHARE * extent
        if lean < _LEAN or extent < _LEADS_PX:
            grown = np.ones(len(line), bool)
            for at in (line, sample):
                grown &= (at >= at[mine].min() - 1 - gap) & (at <= at[mine].max() + 1 + gap)
        else:
            strip = across <= _HULL_PX + _HULL_BEAM * extent
            order = np.sort(np.append(along[strip], (low, high)))
            wide = np.diff(order) > gap + 1
            low = max(order[1:][wide & (order[1:] <= low)], default=order[0])
            high = min(order[:-1][wide & (order[:-1] >= high)], default=order[-1])
            grown = strip & (along >= low) & (along <= high)
        if (grown == mine).all() or not grown.any():
            break
        mine = grown
    return mine


def principal_axis(
    line: NDArray[np.integer], sample: NDArray[np.integer], weight: Floats
) -> tuple[Floats, tuple[float, float], float]:
    """Axis of pixels (down, across), unit length; their centre; standard deviation along over across.

    Amplitude should weigh: power would let one corner reflector stand for the whole ship.
    """
    mass = weight.sum()
    centre = float((weight * line).sum() / mass), float((weight * sample).sum() / mass)
    down, across = line - centre[0], sample - centre[1]
    weight = weight / mass
    lines, samples = float((weight * down * down).sum()), float((weight * across * across).sum())
    mixed = float((weight * down * across).sum())
    angle = math.atan2(2 * mixed, lines - samples) / 2
    middle, swing = (lines + samples) / 2, math.hypot((lines - samples) / 2, mixed)
    # A row of single pixels is as wide as a pixel.
    lean = math.sqrt((middle + swing) / max(middle - swing, 1 / 12))
    return np.array([math.cos(angle), math.sin(angle)]), centre, lean


def _above_saddle(
    excess: Floats, level: Floats, outside_px: Floats, seed: tuple[int, int]
) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    """Raise the level until no brighter pixel beside the box is connected with the seed."""
    peak = excess[seed]
    while True:
        level = np.minimum(level * _RISE, np.maximum(level, peak / 2))
        pieces, _ = ndimage.label(excess > level, _EIGHT)
        piece = pieces == pieces[seed]
        joined = (piece & (outside_px > BESIDE_PX) & (excess > peak)).any()
        if joined and level[seed] >= peak / 2:
            piece &= outside_px <= BESIDE_PX
            piece[seed] = True  # which may lie a pixel farther out
        elif joined:
            continue
        line, sample = np.nonzero(piece)
        return line, sample, level
