"""One polarisation of a scene, from its first line to its last: each byte is read once.

Lines come in chunks. A row of cells passes four stages, each a little behind the one before: summed up,
judged sound or not, trimmed of bright cells, and given its threshold, above which pixels are taken. What a
stage needs of its neighbours sets how far it lags; everything older is overwritten.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from daemon.scan import cells
from daemon.scan.border import BORDER_ROWS, NEAR_ROWS, unsound_cells
from daemon.scan.kernels import CELL_PX, Float32, Int64, Uint8, exceeding, sum_cells

if TYPE_CHECKING:
    from daemon.scene.product import Scene

SAMPLED = 8  # every so manyth row and column of cells is kept for statistics
_CHUNK_LINES = 256  # where the file's own blocks are smaller
SEA, SHORE, LAND = 0, 1, 2  # cells: water alone, both, land alone


@dataclass(frozen=True, slots=True)
class BandSettings:
    """What the stages need, in cells."""

    guard: int  # half side of the guard
    radius: int  # half side of the ring
    least: int  # cells that a ring needs
    trim_sigmas: float
    border_px: int
    most_cells: int  # exceeding cells that are kept, the strongest
    factors: Float32  # threshold over the mean intensity, at spreads 0, step, 2 step, ...
    step: float


@dataclass(slots=True)
class Exceeding:
    """Pixels that exceed in one polarisation; n pixels of m cells."""

    cell: Int64  # row and column, [m, 2]
    excess: Float32  # by how many means of the sea a cell's peak exceeds its limit, [m]
    owner: NDArray[np.int32]  # cell of each pixel, [n]
    line: NDArray[np.int32]  # [n]
    sample: NDArray[np.int32]  # [n]
    smooth: Float32  # 3 x 3 mean of sigma0, [n]
    contrast: Float32  # 3 x 3 mean of the intensity over the sea's mean, [n]


@dataclass(frozen=True, slots=True)
class Unjudged:
    """Cells around which there is too little sea to say what exceeds, [n] each."""

    row: Int64
    col: Int64
    peak: Float32  # highest 3 x 3 mean of the intensity
    nesz: Float32


@dataclass(slots=True)
class BandScan:
    """What the rows of one polarisation gave, from ``first_row`` on."""

    first_row: int
    sound: Uint8  # 1 where there is data away from its border, [rows, cols]
    found: list[Exceeding]
    unjudged: list[Unjudged]
    negative: int  # pixels of the sea below zero after the noise is taken off
    counted: int  # of so many
    sampled: Float32  # mean sigma0, spread, limit in sigma0, noise-equivalent sigma0; [4, rows, cols]
    cells_over: int = 0  # exceeding cells in all


class BandScanner:
    """Scans some rows of cells of one polarisation.

    Args:
        scene: opened product.
        polarisation: which.
        land: SEA, SHORE or LAND, [rows, cols] of the whole scene.
        quiet: 1 for cells away from land, which may speak for the sea, [rows, cols].
        settings: sizes.
        rows: first row that is wanted, and the row after the last.
    """

    def __init__(
        self,
        scene: Scene,
        polarisation: str,
        land: Uint8,
        quiet: Uint8,
        settings: BandSettings,
        rows: tuple[int, int],
    ) -> None:
        self._scene, self._polarisation, self._settings = scene, polarisation, settings
        self._land, self._quiet = land, quiet
        self._rows, self._cols = land.shape
        self._first, self._stop = rows
        # Rows beside the wanted ones, so that it does not matter where a part begins.
        beside = 2 * settings.radius + BORDER_ROWS + NEAR_ROWS
        self._begin = max(self._first - beside, 0)
        self._end = min(self._stop + beside, self._rows)
        self._chunk = max(_CHUNK_LINES, -(-scene.block_lines(polarisation) // CELL_PX) * CELL_PX)
        chunk = self._chunk // CELL_PX
        circle = -(-(beside + settings.radius + chunk + 2) // chunk) * chunk
        grid = (circle, self._cols)
        self._lines = np.empty((circle * CELL_PX, scene.shape[1]), np.uint16)
        self._sums = np.zeros((5, *grid), np.float32)
        self._gain, self._noise, self._nesz = (np.zeros(grid, np.float32) for _ in range(3))
        self._fields, self._kept = np.zeros((3, *grid), np.int64), np.zeros((4, *grid), np.int64)
        self._sound = np.zeros(grid, np.uint8)
        wanted = self._stop - self._first
        sampled = (-(-self._stop // SAMPLED) - -(-self._first // SAMPLED), -(-self._cols // SAMPLED))
        self._result = BandScan(
            self._first, np.zeros((wanted, self._cols), np.uint8), [], [], 0, 0,
            np.full((4, *sampled), np.nan, np.float32),
        )  # fmt: skip
        self._held = 0

    def run(self, report: Callable[[int], None]) -> BandScan:
        """Read and judge all rows.

        Args:
            report: called with the number of rows that were read.

        Raises:
            SceneCorrupt: the pixels cannot be read.
        """
        total = self._scene.shape[0]
        last_line = min(self._end * CELL_PX + 1, total)
        # Chunks begin at blocks of the file, so that each block is decoded once.
        read = self._begin * CELL_PX // self._chunk * self._chunk
        if read == self._begin * CELL_PX and read > 0:
            read -= self._chunk  # the line above the first row
        summed = sound = trimmed = self._begin
        judged = self._first
        while summed < self._end:
            stop = min(read + self._chunk, total)
            at = read % len(self._lines)
            self._scene.read_lines(self._polarisation, read, self._lines[at : at + stop - read])
            read = stop
            rows = self._end if read >= last_line else max((read - 1) // CELL_PX, summed)
            report(rows - summed)
            summed = self._sum(summed, rows)
            sound = self._judge_sound(sound, summed)
            trimmed = self._trim(trimmed, self._behind(sound))
            judged = self._take(judged, min(self._behind(trimmed), self._stop))
        return self._result

    def _behind(self, row: int) -> int:
        """Return up to which row all rings are there."""
        return self._end if row == self._end else max(row - self._settings.radius, self._begin)

    def _sum(self, first: int, stop: int) -> int:
        """Stage 1: tables, and sums over the pixels."""
        if stop <= first:
            return first
        rows = np.arange(first, stop)
        at = rows % len(self._sound)
        lines = np.minimum(rows * CELL_PX + (CELL_PX - 1) / 2, self._scene.shape[0] - 1)
        samples = np.minimum(np.arange(self._cols) * CELL_PX + (CELL_PX - 1) / 2, self._scene.shape[1] - 1)
        gain, noise = self._scene.tables(self._polarisation, lines, samples)
        self._gain[at], self._noise[at], self._nesz[at] = gain, noise, gain * noise
        sum_cells(self._lines, first, stop, self._scene.shape[0], self._noise, self._sums)
        return stop

    def _judge_sound(self, first: int, summed: int) -> int:
        """Stage 2: which cells hold data, away from its border, and which may speak for the sea."""
        stop = summed
        if summed < self._end:
            stop = max(first, min(summed - NEAR_ROWS, self._end - BORDER_ROWS - NEAR_ROWS))
        if stop <= first:
            return first
        low, high = max(first - BORDER_ROWS - NEAR_ROWS, self._begin), summed
        window = np.arange(low, high) % len(self._sound)
        unsound = unsound_cells(
            self._sums[3, window],
            self._sums[0, window] / (9 * CELL_PX**2),
            self._noise[window],
            low,
            self._rows - high,
            self._settings.border_px,
        )
        at = np.arange(first, stop) % len(self._sound)
        self._sound[at] = ~unsound[first - low : stop - low]
        sea = np.zeros_like(self._sound)
        sea[at] = self._sound[at] & self._quiet[first:stop]
        cells.weigh_cells(first, stop, self._sums, self._gain, sea, self._fields)
        return stop

    def _trim(self, first: int, stop: int) -> int:
        """Stage 3: the cells of which the background is made."""
        if stop <= first:
            return first
        settings, rows = self._settings, (self._begin, self._end)
        rings = cells.ring_sums(self._fields, first, stop, rows, settings.guard, settings.radius)
        cells.trim_cells(
            first, stop, rings, settings.trim_sigmas, self._sums, self._gain, self._nesz, self._fields, self._kept
        )  # fmt: skip
        return stop

    def _take(self, first: int, stop: int) -> int:
        """Stage 4: thresholds, and the pixels above them."""
        if stop <= first:
            return first
        settings, rows = self._settings, (self._begin, self._end)
        rings = cells.ring_sums(self._kept, first, stop, rows, settings.guard, settings.radius)
        sea = np.empty((3, stop - first, self._cols), np.float32)
        cells.limit_cells(
            first, stop, rings, settings.least, settings.factors, settings.step, self._gain, self._nesz, sea
        )  # fmt: skip
        at = np.arange(first, stop) % len(self._sound)
        sound = self._sound[at]
        water = sound & (self._land[first:stop] != LAND)
        self._result.sound[first - self._first : stop - self._first] = sound
        spoke = self._fields[0, at]
        self._result.negative += int((self._sums[4, at] * spoke).sum())
        self._result.counted += int(spoke.sum()) * CELL_PX**2
        self._sample(first, stop, sea, water)
        known = sea[1] >= 0
        self._collect(first, at, sea, (water > 0) & known & (self._sums[2, at] > sea[2]))
        self._defer(first, at, (water > 0) & ~known)
        return stop

    def _sample(self, first: int, stop: int, sea: Float32, water: Uint8) -> None:
        rows = np.arange(-(-first // SAMPLED) * SAMPLED, stop, SAMPLED)
        if not len(rows):
            return
        at, circle = rows - first, rows % len(self._sound)
        out = slice(rows[0] // SAMPLED - -(-self._first // SAMPLED), None)
        mean, spread, limit = sea[:, at, ::SAMPLED]
        gain, nesz = self._gain[circle, ::SAMPLED], self._nesz[circle, ::SAMPLED]
        seen = (water[at, ::SAMPLED] > 0) & (spread >= 0)
        values = np.stack([mean, spread, limit * gain / 9 - nesz, nesz])
        self._result.sampled[:, out][:, : len(rows)] = np.where(seen, values, np.nan)

    def _collect(self, first: int, at: Int64, sea: Float32, over: NDArray[np.bool_]) -> None:
        row, col = np.nonzero(over)
        if not len(row):
            return
        here = at[row]
        gain, nesz = self._gain[here, col], self._nesz[here, col]
        limit, level = sea[2, row, col], np.maximum(sea[0, row, col] + nesz, 1e-12)
        places = np.stack([row + first, col], 1).astype(np.int64)
        found = take(self._lines, self._scene.shape[0], places, limit, gain, nesz, level)
        found.excess = (self._sums[2, here, col] - limit) * gain / 9 / level
        self._result.cells_over += len(row)
        self._result.found.append(found)
        self._held += len(row)
        if self._held > 2 * self._settings.most_cells:
            self._result.found = [strongest(joined(self._result.found), self._settings.most_cells)]
            self._held = len(self._result.found[0].cell)

    def _defer(self, first: int, at: Int64, wanted: NDArray[np.bool_]) -> None:
        row, col = np.nonzero(wanted)
        if len(row):
            here = at[row]
            peak = self._sums[2, here, col] * self._gain[here, col] / 9
            self._result.unjudged.append(Unjudged(row + first, col, peak, self._nesz[here, col]))


def take(
    lines: NDArray[np.uint16],
    total_lines: int,
    places: Int64,
    limit: Float32,
    gain: Float32,
    nesz: Float32,
    level: Float32,
) -> Exceeding:
    """Take the pixels of some cells that exceed the cells' limits; everything by cell, [m]."""
    where = np.empty((CELL_PX**2 * len(places), 3), np.int64)
    sums = np.empty(CELL_PX**2 * len(places), np.float32)
    count = exceeding(lines, total_lines, places, limit.astype(np.float32), where, sums)
    owner, line, sample = where[:count].T.astype(np.int32)
    intensity = sums[:count] * gain[owner] / np.float32(9)
    return Exceeding(
        cell=places,
        excess=np.zeros(len(places), np.float32),
        owner=owner,
        line=line,
        sample=sample,
        smooth=(intensity - nesz[owner]).astype(np.float32),
        contrast=(intensity / level[owner]).astype(np.float32),
    )


def joined(parts: list[Exceeding]) -> Exceeding:
    """Put parts together; empty without any."""
    shift = np.cumsum([0] + [len(part.cell) for part in parts])
    empty = np.zeros(0, np.float32)
    return Exceeding(
        cell=np.concatenate([np.zeros((0, 2), np.int64), *(part.cell for part in parts)]),
        excess=np.concatenate([empty, *(part.excess for part in parts)]),
        owner=np.concatenate(
            [
                empty.astype(np.int32),
                *(part.owner + np.int32(k) for part, k in zip(parts, shift, strict=False)),
            ]
        ),
        line=np.concatenate([empty.astype(np.int32), *(part.line for part in parts)]),
        sample=np.concatenate([empty.astype(np.int32), *(part.sample for part in parts)]),
        smooth=np.concatenate([empty, *(part.smooth for part in parts)]),
        contrast=np.concatenate([empty, *(part.contrast for part in parts)]),
    )


def strongest(found: Exceeding, most: int) -> Exceeding:
    """Keep the cells of the highest excess; what is cut from parts is what would be cut from the whole."""
    if len(found.cell) <= most:
        return found
    order = np.lexsort((found.cell[:, 1], found.cell[:, 0], -found.excess))[:most]
    return selected(found, np.isin(np.arange(len(found.cell)), order))


def selected(found: Exceeding, keep: NDArray[np.bool_]) -> Exceeding:
    """Keep some cells, [m], and their pixels."""
    index = np.cumsum(keep) - 1
    pixels = keep[found.owner]
    return Exceeding(
        cell=found.cell[keep],
        excess=found.excess[keep],
        owner=index[found.owner[pixels]].astype(np.int32),
        line=found.line[pixels],
        sample=found.sample[pixels],
        smooth=found.smooth[pixels],
        contrast=found.contrast[pixels],
    )
