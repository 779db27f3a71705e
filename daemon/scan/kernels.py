"""The compiled loops over pixels, each with its plain formula.

Pixels are summed up into cells of 8 x 8. Lines of the image and rows of the grid of cells are kept in
circles: line l lies at l mod the circle's length, so that memory is bounded and nothing is ever moved.

``s`` is the sum of 3 x 3 squared digital numbers around a pixel, edges repeated beyond the scene: nine times
the mean intensity there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

CELL_PX = 8
Uint8 = NDArray[np.uint8]
Uint16 = NDArray[np.uint16]
Int64 = NDArray[np.int64]
Float32 = NDArray[np.float32]

_TILE = 512  # samples at a time: what is between the loops stays in the first cache
_ROW = _TILE + 32  # length of a row of the scratch; a constant, or the loops are not vectorised
# Infinite thresholds are compared, so ninf is left out.
_FAST = {"nnan", "nsz", "arcp", "contract", "afn", "reassoc"}
compiled = njit(nogil=True, cache=True, fastmath=_FAST)


def sum_cells(
    lines: Uint16, first_row: int, stop_row: int, total_lines: int, noise: Float32, sums: Float32
) -> None:
    """Sum up the pixels of each cell.

    Plainly, over the cell's pixels: sums[0] = sum of s, sums[1] = sum of s^2, sums[2] = max of s, sums[3] =
    number of zeros, sums[4] = number of DN^2 < noise. Pixels beyond the scene repeat its last ones.

    Args:
        lines: circle of lines, [K, samples]; line 8 stop_row must be there unless the scene ends before.
        first_row: first row of cells.
        stop_row: row after the last.
        total_lines: lines of the scene.
        noise: noise power in DN^2, circle of rows, [R, cols].
        sums: circle of rows that receives the sums, [5, R, cols].
    """
    _sum_cells(lines, first_row, stop_row, total_lines, noise, sums)


@compiled
def _sum_cells(lines, first_row, stop_row, total_lines, noise, sums):  # type: ignore[no-untyped-def]
    samples = lines.shape[1]
    scratch = np.zeros(14 * _ROW, np.float32)
    level = np.zeros(_ROW, np.float32)
    for row in range(first_row, stop_row):
        at = [0] * 10
        for k in range(10):
            at[k] = min(max(row * CELL_PX + k - 1, 0), total_lines - 1) % lines.shape[0]
        here = row % noise.shape[0]
        for start in range(0, samples, _TILE):
            stop = min(start + _TILE, samples)
            col, last = start // CELL_PX, (stop + CELL_PX - 1) // CELL_PX
            low, high = max(start - 1, 0), min(stop + 1, samples)
            for i in range(high - low):
                level[i] = noise[here, (low + i) // CELL_PX]
            shift = low - start + 1  # 1 at the scene's first sample, else 0
            _triples(
                lines[at[0], low:high], lines[at[1], low:high], lines[at[2], low:high],
                lines[at[3], low:high], lines[at[4], low:high], lines[at[5], low:high],
                lines[at[6], low:high], lines[at[7], low:high], lines[at[8], low:high],
                lines[at[9], low:high], level[: high - low], scratch[shift:],
            )  # fmt: skip
            width = (last - col) * CELL_PX
            for k in range(10):
                if shift:
                    scratch[k * _ROW] = scratch[k * _ROW + 1]
                for i in range(high - start + 1, width + 2):
                    scratch[k * _ROW + i] = scratch[k * _ROW + high - start]
            _columns(scratch, width)
            _across(scratch, width, sums[:, here, col:last])


@compiled
def _triples(r0, r1, r2, r3, r4, r5, r6, r7, r8, r9, noise, out):  # type: ignore[no-untyped-def]
    """Sums of three squares down each column, for eight lines; zeros and negatives of the eight."""
    one, nil = np.float32(1), np.float32(0)
    for i in range(noise.size):
        q0, q1, q2, q3, q4 = _square(r0[i]), _square(r1[i]), _square(r2[i]), _square(r3[i]), _square(r4[i])
        q5, q6, q7, q8, q9 = _square(r5[i]), _square(r6[i]), _square(r7[i]), _square(r8[i]), _square(r9[i])
        n = noise[i]
        zeros = (one if q1 == nil else nil) + (one if q2 == nil else nil)
        zeros += (one if q3 == nil else nil) + (one if q4 == nil else nil)
        zeros += (one if q5 == nil else nil) + (one if q6 == nil else nil)
        zeros += (one if q7 == nil else nil) + (one if q8 == nil else nil)
        negative = (one if q1 < n else nil) + (one if q2 < n else nil)
        negative += (one if q3 < n else nil) + (one if q4 < n else nil)
        negative += (one if q5 < n else nil) + (one if q6 < n else nil)
        negative += (one if q7 < n else nil) + (one if q8 < n else nil)
        p12, p34, p56, p78 = q1 + q2, q3 + q4, q5 + q6, q7 + q8
        out[i] = q0 + p12
        out[_ROW + i] = p12 + q3
        out[2 * _ROW + i] = q2 + p34
        out[3 * _ROW + i] = p34 + q5
        out[4 * _ROW + i] = q4 + p56
        out[5 * _ROW + i] = p56 + q7
        out[6 * _ROW + i] = q6 + p78
        out[7 * _ROW + i] = p78 + q9
        out[8 * _ROW + i] = zeros
        out[9 * _ROW + i] = negative


@compiled
def _square(value):  # type: ignore[no-untyped-def]
    x = np.float32(value)
    return x * x


@compiled
def _columns(t, width):  # type: ignore[no-untyped-def]
    """Sum, sum of squares and maximum of s over the eight lines of each column, into rows 10 to 12."""
    for i in range(width):
        s0 = t[i] + t[i + 1] + t[i + 2]
        s1 = t[_ROW + i] + t[_ROW + i + 1] + t[_ROW + i + 2]
        s2 = t[2 * _ROW + i] + t[2 * _ROW + i + 1] + t[2 * _ROW + i + 2]
        s3 = t[3 * _ROW + i] + t[3 * _ROW + i + 1] + t[3 * _ROW + i + 2]
        s4 = t[4 * _ROW + i] + t[4 * _ROW + i + 1] + t[4 * _ROW + i + 2]
        s5 = t[5 * _ROW + i] + t[5 * _ROW + i + 1] + t[5 * _ROW + i + 2]
        s6 = t[6 * _ROW + i] + t[6 * _ROW + i + 1] + t[6 * _ROW + i + 2]
        s7 = t[7 * _ROW + i] + t[7 * _ROW + i + 1] + t[7 * _ROW + i + 2]
        t[10 * _ROW + i] = ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))
        t[11 * _ROW + i] = ((s0 * s0 + s1 * s1) + (s2 * s2 + s3 * s3)) + (
            (s4 * s4 + s5 * s5) + (s6 * s6 + s7 * s7)
        )
        t[12 * _ROW + i] = max(max(max(s0, s1), max(s2, s3)), max(max(s4, s5), max(s6, s7)))


@compiled
def _across(t, width, sums):  # type: ignore[no-untyped-def]
    """Reduce the columns of each cell: every window of eight, then every eighth window."""
    for k in range(4):
        row = (10, 11, 8, 9)[k] * _ROW + (0, 0, 1, 1)[k]
        out = 13 * _ROW
        for i in range(width - 7):
            a = (t[row + i] + t[row + i + 1]) + (t[row + i + 2] + t[row + i + 3])
            b = (t[row + i + 4] + t[row + i + 5]) + (t[row + i + 6] + t[row + i + 7])
            t[out + i] = a + b
        for c in range(sums.shape[1]):
            sums[(0, 1, 3, 4)[k], c] = t[out + c * CELL_PX]
    row = 12 * _ROW
    for c in range(sums.shape[1]):
        i = row + c * CELL_PX
        a = max(max(t[i], t[i + 1]), max(t[i + 2], t[i + 3]))
        sums[2, c] = max(a, max(max(t[i + 4], t[i + 5]), max(t[i + 6], t[i + 7])))


@dataclass(frozen=True, slots=True)
class LandRuns:
    """Runs of land along the scene's lines, by line and sample.

    Attributes:
        first: index of each line's first run, and the number of runs, [lines + 1].
        start: first sample of each run, [n].
        stop: the sample after its last, [n].
    """

    first: Int64
    start: Int64
    stop: Int64

    @classmethod
    def of(cls, lines: int, line: Int64, start: Int64, stop: Int64) -> LandRuns:
        """Index runs by their lines; runs beside the scene are left out."""
        inside = slice(*np.searchsorted(line, [0, lines]))
        return cls(np.searchsorted(line[inside], np.arange(lines + 1)), start[inside], stop[inside])


def exceeding(
    lines: Uint16,
    total_lines: int,
    cells: Int64,
    limits: Float32,
    ashore: NDArray[np.bool_],
    land: LandRuns,
    reach_px: int,
) -> tuple[NDArray[np.int32], Float32, NDArray[np.bool_], int]:
    """Take the pixels of some cells whose s exceeds the cell's limit, land left out.

    Args:
        lines: circle of lines, [K, samples].
        total_lines: lines of the scene.
        cells: row and column of each cell, [n, 2].
        limits: of each cell, [n].
        ashore: True for cells where land has to be looked for, [n].
        land: where it is.
        reach_px: pixels that have land this close, in line and in sample, are marked.

    Returns:
        Cell, line and sample of each pixel, [m, 3]; s of each, [m]; True for those close to land, [m]; number
        of exceeding pixels on land.
    """
    found = np.empty((CELL_PX**2 * len(cells), 3), np.int32)
    sums = np.empty(CELL_PX**2 * len(cells), np.float32)
    close = np.zeros(CELL_PX**2 * len(cells), np.bool_)
    count, on_land = _exceeding(
        lines, total_lines, cells, limits, ashore, land.first, land.start, land.stop, reach_px,
        found, sums, close,
    )  # fmt: skip
    return found[:count].copy(), sums[:count].copy(), close[:count].copy(), int(on_land)


@compiled
def _exceeding(  # type: ignore[no-untyped-def]
    lines, total_lines, cells, limits, ashore, first, start, stop, reach, found, sums, close
):
    circle, samples = lines.shape
    count, on_land = 0, 0
    for k in range(len(cells)):
        top, left = cells[k, 0] * CELL_PX, cells[k, 1] * CELL_PX
        for line in range(top, min(top + CELL_PX, total_lines)):
            for sample in range(left, min(left + CELL_PX, samples)):
                s = np.float32(0)
                for down in range(-1, 2):
                    y = min(max(line + down, 0), total_lines - 1) % circle
                    for across in range(-1, 2):
                        s += _square(lines[y, min(max(sample + across, 0), samples - 1)])
                if s <= limits[k]:
                    continue
                if ashore[k]:
                    if _by_land(line, sample, 0, total_lines, first, start, stop):
                        on_land += 1
                        continue
                    close[count] = _by_land(line, sample, reach, total_lines, first, start, stop)
                found[count, 0], found[count, 1], found[count, 2] = k, line, sample
                sums[count] = s
                count += 1
    return count, on_land


@compiled
def _by_land(line, sample, reach, total_lines, first, start, stop):  # type: ignore[no-untyped-def]
    for y in range(max(line - reach, 0), min(line + reach + 1, total_lines)):
        low, high = first[y], first[y + 1]
        while low < high:  # the first run that ends within reach or beyond
            middle = (low + high) // 2
            if stop[middle] <= sample - reach:
                low = middle + 1
            else:
                high = middle
        if low < first[y + 1] and start[low] <= sample + reach:
            return True
    return False


def link(line: Int64, sample: Int64, gap_px: int) -> tuple[Int64, int]:
    """Label pixels that are joined by steps of at most ``gap_px`` in line and in sample.

    Plainly: the connected components of the graph of such steps.

    Args:
        line: sorted, [n].
        sample: sorted within a line, [n].
        gap_px: longest step.

    Returns:
        Component of each pixel, numbered by their first pixels, [n]; number of components.
    """
    after = np.searchsorted(line, line, "right")
    label, count = _link(line, sample, after, gap_px)
    return label, int(count)


@compiled
def _link(line, sample, after, gap_px):  # type: ignore[no-untyped-def]
    n = line.size
    parent = np.arange(n)
    for i in range(n):
        start = after[i]
        j = i + 1
        while j < start and sample[j] - sample[i] <= gap_px:
            _unite(parent, i, j)
            j += 1
        while start < n and line[start] - line[i] <= gap_px:
            stop = after[start]
            low, high = start, stop
            while low < high:  # the first pixel of that line within reach
                middle = (low + high) // 2
                if sample[middle] < sample[i] - gap_px:
                    low = middle + 1
                else:
                    high = middle
            while low < stop and sample[low] <= sample[i] + gap_px:
                _unite(parent, i, low)
                low += 1
            start = stop
    label, count = np.empty(n, np.int64), 0
    for i in range(n):
        root = _root(parent, i)  # the first pixel of the component
        if root == i:
            label[i] = count
            count += 1
        else:
            label[i] = label[root]
    return label, count


@compiled
def _root(parent, i):  # type: ignore[no-untyped-def]
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@compiled
def _unite(parent, i, j):  # type: ignore[no-untyped-def]
    a, b = _root(parent, i), _root(parent, j)
    if a < b:
        parent[b] = a
    elif b < a:
        parent[a] = b


def sum_clusters(
    label: Int64, count: int, line: Int64, sample: Int64, contrast: NDArray[np.float64]
) -> tuple[NDArray[np.float64], Int64]:
    """Sum up the pixels of each cluster.

    Plainly: sums[:, :4] = the box, x1, y1, x2, y2 at pixel edges; sums[:, 4:] = sums of weight, weight line
    and weight sample, the weight being what the contrast has over one.

    Args:
        label: cluster of each pixel, [n].
        count: number of clusters.
        line: [n].
        sample: [n].
        contrast: intensity over the sea's mean, [n].

    Returns:
        Sums, [count, 7], and the index of each cluster's first brightest pixel, [count].
    """
    sums, brightest = np.empty((count, 7)), np.full(count, -1, np.int64)
    _sum_clusters(label, line, sample, contrast, sums, brightest)
    return sums, brightest


@compiled
def _sum_clusters(label, line, sample, contrast, sums, brightest):  # type: ignore[no-untyped-def]
    for i in range(label.size):
        k = label[i]
        x, y, weight = np.float64(sample[i]), np.float64(line[i]), max(contrast[i] - 1, 1e-6)
        if brightest[k] < 0:
            sums[k, 0], sums[k, 1], sums[k, 2], sums[k, 3] = x, y, x + 1, y + 1
            sums[k, 4], sums[k, 5], sums[k, 6] = 0.0, 0.0, 0.0
            brightest[k] = i
        sums[k, 0], sums[k, 1] = min(sums[k, 0], x), min(sums[k, 1], y)
        sums[k, 2], sums[k, 3] = max(sums[k, 2], x + 1), max(sums[k, 3], y + 1)
        sums[k, 4] += weight
        sums[k, 5] += weight * y
        sums[k, 6] += weight * x
        if contrast[i] > contrast[brightest[k]]:
            brightest[k] = i
