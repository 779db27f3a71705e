"""The compiled loops over the grid of cells: the sea around each cell, and what a pixel there must exceed.

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
_NARROW_GUARD = 2  # cells
UNKNOWN = -1.0  # spread where the ring holds too little sea

_ring_sums = bound("ring_sums", "qnnnnnnnnnq", ctypes.c_int)
_weigh_cells = bound("weigh_cells", "nnnnffBxq")
_trim_cells = bound("trim_cells", "nnnnqxfffqxxq")
_limit_cells = bound("limit_cells", "nnnnqnxdnnxxffyf")
_narrow_waters = bound("narrow_waters", "qnnnnnnnnxfffByf", ctypes.c_int)


def ring_sums(values: Int64, first: int, stop: int, rows: tuple[int, int], guard: int, radius: int) -> Int64:
    """Sum the square ring around each cell.

    Plainly: the sum over the cells at most ``radius`` away in row and column, less that over those at most
    ``guard`` away; cells outside ``rows`` or the grid's columns count zero.

    Args:
        values: fields in circles of rows, [F, R, cols].
        first: first row whose ring is wanted.
        stop: row after the last.
        rows: first row that exists, and the row after the last.
        guard: half side of the guard in cells.
        radius: half side of the ring's outer edge.

    Returns:
        Sums, [F, stop - first, cols].
    """
    out = np.empty((values.shape[0], stop - first, values.shape[2]), np.int64)
    if _ring_sums(values, *values.shape, first, stop, *rows, guard, radius, out):
        raise MemoryError("got no memory to sum up rings")
    return out


def weigh_cells(first: int, stop: int, sums: Float32, gain: Float32, sea: Uint8, fields: Int64) -> None:
    """Enter what brightness is judged by: fields[0] = 1, [1] = level, [2] = level^2, and 0 beside the sea.

    The level is the logarithm of the cell's peak intensity, max(s) gain / 9, in units of 1 / LEVEL_UNIT.

    Args:
        first: first row.
        stop: row after the last.
        sums: of `sum_cells`, [5, R, cols].
        gain: sigma0 of a DN^2 of one, [R, cols].
        sea: 1 where a cell may speak for the sea, [R, cols].
        fields: receives them, [3, R, cols].
    """
    _weigh_cells(first, stop, *sea.shape, sums, gain, sea, LEVEL_UNIT, fields)


def trim_cells(
    first: int,
    stop: int,
    rings: Int64,
    sigmas: float,
    sums: Float32,
    gain: Float32,
    nesz: Float32,
    fields: Int64,
    kept: Int64,
) -> None:
    """Leave bright cells out and enter the sums of the others; afterwards they make up the background.

    Plainly: a cell is bright when its level exceeds the mean level of its ring by ``sigmas`` standard
    deviations. kept[0] = 1, [1] = mean intensity, [2] = mean squared intensity, [3] = noise-equivalent
    sigma0, in units of 1 / INTENSITY_UNIT; 0 for bright cells and beside the sea.

    Args:
        first: first row.
        stop: row after the last.
        rings: ring sums of ``fields``, [3, stop - first, cols].
        sigmas: how far above the mean a bright cell lies.
        sums: of `sum_cells`, [5, R, cols].
        gain: sigma0 of a DN^2 of one, [R, cols].
        nesz: noise-equivalent sigma0, [R, cols].
        fields: of `weigh_cells`, [3, R, cols].
        kept: receives the sums, [4, R, cols].
    """
    _trim_cells(
        first, stop, *gain.shape, rings, sigmas, sums, gain, nesz, fields, INTENSITY_UNIT, _BRIGHTEST, kept
    )  # fmt: skip


def limit_cells(
    first: int,
    stop: int,
    rings: Int64,
    least: int,
    factors: Factors,
    gain: Float32,
    nesz: Float32,
    sea: Float32,
) -> None:
    """Turn ring sums into the sea around each cell and what a pixel there must exceed.

    Plainly: mean and standard deviation of the intensity over the kept cells of the ring; spread = deviation
    over mean; share = noise there over mean; mean sigma0 = mean - noise there; limit = (mean sigma0 + noise
    here) factor(spread, share), as a sum of nine DN^2. Where the ring holds fewer than ``least`` cells the
    limit is infinite and the spread UNKNOWN.

    Args:
        first: first row.
        stop: row after the last.
        rings: ring sums of `trim_cells`'s ``kept``, [4, stop - first, cols].
        least: cells that a ring needs.
        factors: thresholds over the mean intensity.
        gain: sigma0 of a DN^2 of one, [R, cols].
        nesz: noise-equivalent sigma0, [R, cols].
        sea: receives mean sigma0, spread and limit, [3, stop - first, cols].
    """
    _limit_cells(
        first, stop, *gain.shape, rings, least, INTENSITY_UNIT, factors.values, *factors.values.shape,
        factors.share_step, factors.spread_step, gain, nesz, UNKNOWN, sea,
    )  # fmt: skip


def narrow_waters(
    places: Int64,
    rows: tuple[int, int],
    radius: int,
    least: int,
    sigmas: float,
    sums: Float32,
    gain: Float32,
    nesz: Float32,
    water: Uint8,
) -> Float32:
    """Describe the water around some cells, close to land or not; for where `limit_cells` cannot.

    In narrow waters no cell lies away from land. The formulas are `trim_cells`'s and `limit_cells`'s, over
    the whole square around a cell but for the nearest cells, since a guard would leave nothing.

    Args:
        places: row and column of each cell, [n, 2].
        rows: first row that exists, and the row after the last.
        radius: half side of the square.
        least: cells that it needs.
        sigmas: how far above the mean a bright cell lies.
        sums: of `sum_cells`, [5, R, cols].
        gain: sigma0 of a DN^2 of one, [R, cols].
        nesz: noise-equivalent sigma0, [R, cols].
        water: 1 for sound cells without land, [R, cols].

    Returns:
        Mean sigma0, spread, UNKNOWN where the square holds too little, and noise, [3, n].
    """
    out = np.empty((3, len(places)), np.float32)
    if _narrow_waters(
        places, len(places), *rows, *water.shape, _NARROW_GUARD, radius, least, sigmas,
        sums, gain, nesz, water, UNKNOWN, out,
    ):  # fmt: skip
        raise MemoryError("got no memory to describe narrow waters")
    return out


def limits(
    mean: Float32, spread: Float32, noise: Float32, factors: Factors, gain: Float32, nesz: Float32
) -> Float32:
    """Return the limits of some cells as in `limit_cells`; infinite where the spread is UNKNOWN. [n]."""
    factor = factors.at(spread, noise / np.maximum(mean + noise, 1e-12))
    limit = 9 * np.maximum(mean + nesz, 1e-12) * factor / gain
    return np.where(spread < 0, np.inf, limit).astype(np.float32)
