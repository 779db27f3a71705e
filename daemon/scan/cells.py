"""The compiled loops over the grid of cells: the sea around each cell, and what a pixel there must exceed.

Sums over windows are sums of integers: exact, whatever the order and wherever a part of the scene begins, so
that nothing outside a window touches them. Rows lie in circles, as in `daemon.scan.kernels`.
"""

from __future__ import annotations

import numpy as np

from daemon.scan.kernels import CELL_PX, Float32, Int64, Uint8, compiled

# Fixed point of what is summed over windows. Intensities over the sea lie between 1e-4 and 10.
INTENSITY_UNIT = 2.0**40
LEVEL_UNIT = 2.0**16
_BRIGHTEST = 64.0  # intensities are cut here, far above any sea: sums over a window cannot overflow
UNKNOWN = -1.0  # spread where the ring holds too little sea


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
    _ring_sums(values, first, stop, rows[0], rows[1], guard, radius, out)
    return out


@compiled
def _ring_sums(values, first, stop, begin, end, guard, radius, out):  # type: ignore[no-untyped-def]
    circle, cols = values.shape[1], values.shape[2]
    outer, inner = np.empty(cols, np.int64), np.empty(cols, np.int64)
    for field in range(values.shape[0]):
        grid = values[field]
        outer[:] = 0
        inner[:] = 0
        for row in range(max(first - radius, begin), min(first + radius, end)):
            _add(outer, grid[row % circle])
        for row in range(max(first - guard, begin), min(first + guard, end)):
            _add(inner, grid[row % circle])
        for row in range(first, stop):
            if row + radius < end:
                _add(outer, grid[(row + radius) % circle])
            if row + guard < end:
                _add(inner, grid[(row + guard) % circle])
            _box(outer, radius, out[field, row - first], 1)
            _box(inner, guard, out[field, row - first], -1)
            if row - radius >= begin:
                _take(outer, grid[(row - radius) % circle])
            if row - guard >= begin:
                _take(inner, grid[(row - guard) % circle])


@compiled
def _add(total, row):  # type: ignore[no-untyped-def]
    for col in range(total.size):
        total[col] += row[col]


@compiled
def _take(total, row):  # type: ignore[no-untyped-def]
    for col in range(total.size):
        total[col] -= row[col]


@compiled
def _box(columns, reach, out, sign):  # type: ignore[no-untyped-def]
    """Put (sign 1) or take off (-1) the sums of the columns at most ``reach`` away."""
    cols = columns.size
    running = np.int64(0)
    upto = np.empty(cols + 2 * reach + 1, np.int64)
    upto[: reach + 1] = 0
    for col in range(cols):
        running += columns[col]
        upto[col + reach + 1] = running
    upto[cols + reach + 1 :] = running
    if sign > 0:
        for col in range(cols):
            out[col] = upto[col + 2 * reach + 1] - upto[col]
    else:
        for col in range(cols):
            out[col] -= upto[col + 2 * reach + 1] - upto[col]


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
    _weigh_cells(first, stop, sums, gain, sea, fields)


@compiled
def _weigh_cells(first, stop, sums, gain, sea, fields):  # type: ignore[no-untyped-def]
    for absolute in range(first, stop):
        row = absolute % sea.shape[0]
        for col in range(sea.shape[1]):
            if sea[row, col]:
                peak = max(sums[2, row, col] * gain[row, col] / np.float32(9), np.float32(1e-12))
                level = np.int64(np.log(peak) * LEVEL_UNIT)
                fields[0, row, col], fields[1, row, col], fields[2, row, col] = 1, level, level * level
            else:
                fields[0, row, col], fields[1, row, col], fields[2, row, col] = 0, 0, 0


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
    _trim_cells(first, stop, rings, sigmas, sums, gain, nesz, fields, kept)


@compiled
def _trim_cells(first, stop, rings, sigmas, sums, gain, nesz, fields, kept):  # type: ignore[no-untyped-def]
    area = CELL_PX * CELL_PX
    for absolute in range(first, stop):
        row, out = absolute % gain.shape[0], absolute - first
        for col in range(gain.shape[1]):
            keep = fields[0, row, col] > 0
            if keep:
                count = max(rings[0, out, col], 1)
                mean = rings[1, out, col] / count
                variance = max(rings[2, out, col] / count - mean * mean, 0.0)
                keep = fields[1, row, col] <= mean + sigmas * np.sqrt(variance)
            if keep:
                scale = np.float64(gain[row, col]) / 9
                mean = min(sums[0, row, col] * scale / area, _BRIGHTEST)
                square = min(sums[1, row, col] * scale * scale / area, _BRIGHTEST**2)
                kept[0, row, col] = 1
                kept[1, row, col] = np.int64(mean * INTENSITY_UNIT)
                kept[2, row, col] = np.int64(square * INTENSITY_UNIT)
                kept[3, row, col] = np.int64(min(np.float64(nesz[row, col]), _BRIGHTEST) * INTENSITY_UNIT)
            else:
                for k in range(4):
                    kept[k, row, col] = 0


def limit_cells(
    first: int,
    stop: int,
    rings: Int64,
    least: int,
    factors: Float32,
    step: float,
    gain: Float32,
    nesz: Float32,
    sea: Float32,
) -> None:
    """Turn ring sums into the sea around each cell and what a pixel there must exceed.

    Plainly: mean and standard deviation of the intensity over the kept cells of the ring; spread = deviation
    / mean; mean sigma0 = mean - noise there; limit = (mean sigma0 + noise here) factor(spread), turned back to
    a sum of nine DN^2. Where the ring holds fewer than ``least`` cells the limit is infinite and the spread UNKNOWN.

    Args:
        first: first row.
        stop: row after the last.
        rings: ring sums of `trim_cells`'s ``kept``, [4, stop - first, cols].
        least: cells that a ring needs.
        factors: threshold over mean intensity at spreads 0, step, 2 step, ...
        step: distance of these spreads.
        gain: sigma0 of a DN^2 of one, [R, cols].
        nesz: noise-equivalent sigma0, [R, cols].
        sea: receives mean sigma0, spread and limit, [3, stop - first, cols].
    """
    _limit_cells(first, stop, rings, least, factors, step, gain, nesz, sea)


@compiled
def _limit_cells(first, stop, rings, least, factors, step, gain, nesz, sea):  # type: ignore[no-untyped-def]
    for absolute in range(first, stop):
        row, out = absolute % gain.shape[0], absolute - first
        for col in range(gain.shape[1]):
            count = rings[0, out, col]
            if count < least:
                sea[0, out, col] = 0.0
                sea[1, out, col] = UNKNOWN
                sea[2, out, col] = np.inf
                continue
            unit = 1.0 / (count * INTENSITY_UNIT)
            mean, noise = rings[1, out, col] * unit, rings[3, out, col] * unit
            variance = max(rings[2, out, col] * unit - mean * mean, 0.0)
            spread = np.sqrt(variance) / max(mean, 1e-12)
            at = min(spread / step, factors.size - 1.001)
            left = np.int64(at)
            factor = factors[left] + (at - left) * (factors[left + 1] - factors[left])
            here = max(mean - noise + nesz[row, col], 1e-12)
            sea[0, out, col] = mean - noise
            sea[1, out, col] = spread
            sea[2, out, col] = 9 * here * factor / gain[row, col]
