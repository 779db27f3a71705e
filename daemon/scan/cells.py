"""The compiled loops over the grid of cells: the sea around each cell, and what a pixel there must exceed.

Sums over windows are sums of integers: exact, whatever the order and wherever a part of the scene begins, so
that nothing outside a window touches them. Rows lie in circles, as in `daemon.scan.kernels`.
"""

from __future__ import annotations

import numpy as np

from daemon.scan.kernels import CELL_PX, Float32, Int64, Uint8, compiled
from daemon.scan.thresholds import Factors

# Fixed point of what is summed over windows. Intensities over the sea lie between 1e-4 and 10.
INTENSITY_UNIT = 2.0**40
LEVEL_UNIT = 2.0**16
_BRIGHTEST = 64.0  # intensities are cut here, far above any sea: sums over a window cannot overflow
_NARROW_GUARD = 2  # cells
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
    factors: Factors,
    gain: Float32,
    nesz: Float32,
    sea: Float32,
) -> None:
    """Turn ring sums into the sea around each cell and what a pixel there must exceed.

    Plainly: mean and standard deviation of the intensity over the kept cells of the ring; spread = deviation
    over mean; share = noise there over mean; mean sigma0 = mean - noise there; limit = (mean sigma0 + noise
    here) factor(spread, share), as a sum of nine DN^2. Where the ring holds fewer than ``least`` cells the limit is infinite, the spread UNKNOWN.

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
    table = factors.values
    _limit_cells(first, stop, rings, least, table, factors.share_step, factors.spread_step, gain, nesz, sea)


@compiled
def _limit_cells(  # type: ignore[no-untyped-def]
    first, stop, rings, least, table, share_step, spread_step, gain, nesz, sea
):
    for absolute in range(first, stop):
        row, out = absolute % gain.shape[0], absolute - first
        for col in range(gain.shape[1]):
            count = rings[0, out, col]
            if count < least:
                sea[0, out, col], sea[1, out, col], sea[2, out, col] = 0.0, UNKNOWN, np.inf
                continue
            unit = 1.0 / (count * INTENSITY_UNIT)
            mean, noise = rings[1, out, col] * unit, rings[3, out, col] * unit
            variance = max(rings[2, out, col] * unit - mean * mean, 0.0)
            spread = np.sqrt(variance) / max(mean, 1e-12)
            sea[0, out, col], sea[1, out, col] = mean - noise, spread
            here = max(mean - noise + nesz[row, col], 1e-12)
            x = min(spread / spread_step, table.shape[1] - 1.001)
            y = min(max(noise / max(mean, 1e-12) / share_step, 0.0), table.shape[0] - 1.001)
            j, i = np.int64(x), np.int64(y)
            u, v = x - j, y - i
            low = table[i, j] + u * (table[i, j + 1] - table[i, j])
            high = table[i + 1, j] + u * (table[i + 1, j + 1] - table[i + 1, j])
            sea[2, out, col] = 9 * here * (low + v * (high - low)) / gain[row, col]


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
    _narrow_waters(places, *rows, radius, least, sigmas, sums, gain, nesz, water, out)
    return out


@compiled
def _narrow_waters(  # type: ignore[no-untyped-def]
    places, begin, end, radius, least, sigmas, sums, gain, nesz, water, out
):
    circle, cols = water.shape
    area = CELL_PX * CELL_PX
    most = (2 * radius + 1) ** 2
    at, levels = np.empty((most, 2), np.int64), np.empty(most)
    for k in range(len(places)):
        count, total, total2 = 0, 0.0, 0.0
        for absolute in range(max(places[k, 0] - radius, begin), min(places[k, 0] + radius + 1, end)):
            row = absolute % circle
            for col in range(max(places[k, 1] - radius, 0), min(places[k, 1] + radius + 1, cols)):
                beside = max(abs(absolute - places[k, 0]), abs(col - places[k, 1])) > _NARROW_GUARD
                if beside and water[row, col]:
                    peak = sums[2, row, col] * gain[row, col] / np.float32(9)
                    level = np.log(max(peak, np.float32(1e-12)))
                    at[count, 0], at[count, 1], levels[count] = row, col, level
                    count, total, total2 = count + 1, total + level, total2 + level * level
        out[0, k], out[1, k], out[2, k] = 0.0, UNKNOWN, 0.0
        if count < least:
            continue
        total /= count
        brightest = total + sigmas * np.sqrt(max(total2 / count - total * total, 0.0))
        kept, mean, square, noise = 0, 0.0, 0.0, 0.0
        for i in range(count):
            if levels[i] <= brightest:
                row, col = at[i, 0], at[i, 1]
                scale = gain[row, col] / np.float32(9)
                kept += 1
                mean += sums[0, row, col] * scale / area
                square += sums[1, row, col] * scale * scale / area
                noise += nesz[row, col]
        mean, square, noise = mean / kept, square / kept, noise / kept
        out[0, k], out[2, k] = mean - noise, noise
        out[1, k] = np.sqrt(max(square - mean * mean, 0.0)) / max(mean, 1e-12)


def limits(
    mean: Float32, spread: Float32, noise: Float32, factors: Factors, gain: Float32, nesz: Float32
) -> Float32:
    """Return the limits of some cells as in `limit_cells`; infinite where the spread is UNKNOWN. [n]."""
    factor = factors.at(spread, noise / np.maximum(mean + noise, 1e-12))
    limit = 9 * np.maximum(mean + nesz, 1e-12) * factor / gain
    return np.where(spread < 0, np.inf, limit).astype(np.float32)
