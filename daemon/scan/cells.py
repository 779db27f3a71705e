"""The compiled loops over cells and patches: the sea around each patch, and what a pixel there must exceed.

A patch is 2 x 2 cells (16 x 16 px), the last of a row or column may be cut. The sea around changes so little
from one to the next that all four cells share what is known of it, and noise and gain too.
Sums over windows are sums of integers: exact, whatever the order and wherever a part of the scene begins, so
that nothing outside a window touches them. Rows lie in circles, as in `daemon.scan.kernels`.
"""

from __future__ import annotations

import ctypes

import numpy as np

from daemon.scan.kernels import Float32, Int64, Uint8, bound
from daemon.scan.thresholds import Factors

# Fixed point of what is summed over windows. Intensities over the sea lie between 1e-4 and 10.
INTENSITY_UNIT = 2.0**40
LEVEL_UNIT = 2.0**16
_BRIGHTEST = 64.0  # intensities are cut here, far above any sea: sums over a window cannot overflow
_NARROW_GUARD = 1  # patches
UNKNOWN = -1.0  # spread where the ring holds too little sea

_ring_sums = bound("ring_sums", "qnnnnnnnnnq", ctypes.c_int)
_weigh_cells = bound("weigh_cells", "nnnnffBxfq", ctypes.c_int)
_trim_cells = bound("trim_cells", "nnnnqxfffBfxxxq", ctypes.c_int)
_limit_patches = bound("limit_patches", "nqnxdnnxxyf")
_cells_over = bound("cells_over", "nnnnffBqf", ctypes.c_int64)
_narrow_waters = bound("narrow_waters", "qnnnnnnnnxffffByf", ctypes.c_int)


def ring_sums(
    values: Int64,
    first: int,
    stop: int,
    rows: tuple[int, int],
    guard: int,
    radius: int,
    buffer: Int64 | None = None,
) -> Int64:
    """Sum the square ring around each patch.

    Plainly: the sum over the patches at most ``radius`` away in row and column, less that over those at most
    ``guard`` away; patches outside ``rows`` or the grid's columns count zero.

    Args:
        values: fields in circles of rows, [F, R, cols].
        first: first row whose ring is wanted.
        stop: row after the last.
        rows: first row that exists, and the row after the last.
        guard: half side of the guard in patches.
        radius: half side of the ring's outer edge.
        buffer: where the result may lie, large enough; fresh memory is slow.

    Returns:
        Sums, [F, stop - first, cols].
    """
    shape = (values.shape[0], stop - first, values.shape[2])
    out = np.empty(shape, np.int64) if buffer is None else buffer[: np.prod(shape)].reshape(shape)
    if _ring_sums(values, *values.shape, first, stop, *rows, guard, radius, out):
        raise MemoryError("got no memory to sum up rings")
    return out


def weigh_cells(
    first: int, stop: int, sums: Float32, gain: Float32, sea: Uint8, level: Float32, fields: Int64
) -> None:
    """Enter what brightness is judged by: over a patch's cells of sea, sums of 1, level, level^2.

    The level is the logarithm of a cell's peak intensity, max(s) gain / 9; its sums are in units of 1 /
    LEVEL_UNIT.

    Args:
        first: first row of cells, even.
        stop: row after the last, even but at the scene's end.
        sums: of `sum_cells`, [5, R, cols].
        gain: sigma0 of a DN^2 of one, of patches, [R/2, cols/2].
        sea: 1 where a cell may speak for the sea, [R, cols].
        level: receives the cells' levels, [R, cols].
        fields: receives the sums, [3, R/2, cols/2].
    """
    if _weigh_cells(first, stop, *sea.shape, sums, gain, sea, LEVEL_UNIT, level, fields):
        raise MemoryError("got no memory to weigh cells")


def trim_cells(
    first: int,
    stop: int,
    rings: Int64,
    sigmas: float,
    sums: Float32,
    gain: Float32,
    nesz: Float32,
    sea: Uint8,
    level: Float32,
    kept: Int64,
) -> None:
    """Leave bright cells out and enter the sums of the others; afterwards they make up the background.

    Plainly: a cell is bright when its level exceeds the mean level of its patch's ring by ``sigmas`` standard
    deviations. Over a patch's other cells of sea: kept[0] = their number, [1] = sum of mean intensity, [2] =
    of mean squared intensity, [3] = of noise-equivalent sigma0, in units of 1 / INTENSITY_UNIT.

    Args:
        first: first row of cells, even.
        stop: row after the last, even but at the scene's end.
        rings: ring sums of the ``fields`` of `weigh_cells`, [3, rows of patches, cols/2].
        sigmas: how far above the mean a bright cell lies.
        sums: of `sum_cells`, [5, R, cols].
        gain: sigma0 of a DN^2 of one, of patches, [R/2, cols/2].
        nesz: noise-equivalent sigma0, of patches, [R/2, cols/2].
        sea: 1 where a cell may speak for the sea, [R, cols].
        level: of `weigh_cells`, [R, cols].
        kept: receives the sums, [4, R/2, cols/2].
    """
    if _trim_cells(
        first, stop, *sea.shape, rings, sigmas, sums, gain, nesz, sea, level, LEVEL_UNIT, INTENSITY_UNIT,
        _BRIGHTEST, kept,
    ):  # fmt: skip
        raise MemoryError("got no memory to trim cells")


def limit_patches(rings: Int64, least: int, factors: Factors) -> Float32:
    """Turn ring sums into the sea around each patch and the factor over it that a pixel there must exceed.

    Plainly: mean and standard deviation of the intensity over the kept cells of the ring; spread = deviation
    over mean; share = noise over mean; mean sigma0 = mean - noise; factor(spread, share). Where the ring
    holds fewer than ``least`` cells the factor is infinite and the spread UNKNOWN.

    Args:
        rings: ring sums of `trim_cells`'s ``kept``, [4, rows, cols].
        least: cells that a ring needs.
        factors: thresholds over the mean intensity.

    Returns:
        Mean sigma0, spread and factor, [3, rows, cols].
    """
    sea = np.empty((3, *rings.shape[1:]), np.float32)
    _limit_patches(
        sea[0].size, rings, least, INTENSITY_UNIT, factors.values, *factors.values.shape,
        factors.share_step, factors.spread_step, UNKNOWN, sea,
    )  # fmt: skip
    return sea


def limits(sea: Float32, gain: Float32, nesz: Float32) -> Float32:
    """Return what s must exceed in each patch: 9 (mean sigma0 + noise there) factor / gain.

    Args:
        sea: mean sigma0, spread and factor, [3, ...].
        gain: sigma0 of a DN^2 of one, [...].
        nesz: noise-equivalent sigma0, [...].
    """
    with np.errstate(over="ignore"):
        limit: Float32 = np.float32(9) * np.maximum(sea[0] + nesz, np.float32(1e-12)) * sea[2] / gain
    return limit


def cells_over(
    first: int, stop: int, sums: Float32, limit: Float32, searched: Uint8
) -> tuple[Int64, Float32]:
    """Return the cells whose peak s exceeds their patch's limit: row and column, [n, 2], and that limit, [n].

    Args:
        first: first row of cells, even.
        stop: row after the last.
        sums: of `sum_cells`, [5, R, cols].
        limit: of the patches of these rows, [rows, cols/2].
        searched: 1 for cells that are looked at, [stop - first, cols].
    """
    places, limits_ = np.empty((searched.size, 2), np.int64), np.empty(searched.size, np.float32)
    count = _cells_over(first, stop, *sums.shape[1:], sums, limit, searched, places, limits_)
    return places[:count].copy(), limits_[:count].copy()


def narrow_waters(
    places: Int64,
    rows: tuple[int, int],
    radius: int,
    least: int,
    sigmas: float,
    sums: Float32,
    level: Float32,
    gain: Float32,
    nesz: Float32,
    water: Uint8,
) -> Float32:
    """Describe the water around some patches, close to land or not; for where `limit_patches` cannot.

    In narrow waters no cell lies away from land. The formulas are `trim_cells`'s and `limit_patches`'s, over
    the whole square around a patch but for the nearest patches, since a guard would leave nothing.

    Args:
        places: row and column of each patch, [n, 2].
        rows: first row of cells that exists, and the row after the last.
        radius: half side of the square, in patches.
        least: cells that it needs.
        sigmas: how far above the mean a bright cell lies.
        sums: of `sum_cells`, [5, R, cols].
        level: of `weigh_cells`, [R, cols].
        gain: sigma0 of a DN^2 of one, of patches, [R/2, cols/2].
        nesz: noise-equivalent sigma0, of patches, [R/2, cols/2].
        water: 1 for sound cells without land, [R, cols].

    Returns:
        Mean sigma0, spread, UNKNOWN where the square holds too little, and noise, [3, n].
    """
    out = np.empty((3, len(places)), np.float32)
    if _narrow_waters(
        places, len(places), *rows, *water.shape, _NARROW_GUARD, radius, least, sigmas,
        sums, level, gain, nesz, water, UNKNOWN, out,
    ):  # fmt: skip
        raise MemoryError("got no memory to describe narrow waters")
    return out
