"""One polarisation of a scene, from its first line to its last: each byte is read once.

Lines come in chunks. A row of cells passes four stages, each a little behind the one before: summed up,
judged sound or not, trimmed of bright cells, and given its threshold, above which pixels are taken. What a
stage needs of its neighbours sets how far it lags; everything older is overwritten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import gcd
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from daemon.scan import cells
from daemon.scan.above import Exceeding, joined, selected, strongest
from daemon.scan.border import BORDER_ROWS, NEAR_ROWS, unsound_cells
from daemon.scan.kernels import CELL_PX, Float32, Int64, LandRuns, Uint8, exceeding, sum_cells
from daemon.scene.land import LAND, SEA

if TYPE_CHECKING:
    from daemon.scan.thresholds import Factors
    from daemon.scene.product import Scene

SAMPLED = 8  # every so manyth row and column of cells is kept for statistics
_CHUNK_LINES = 256  # where the file's own blocks are smaller
_TALLEST_LINES = 2048  # blocks that are taller are decoded more than once
_PIECE_LINES = 32  # read and summed up at a time then: they stay in the cache


@dataclass(frozen=True, slots=True)
class LandMap:
    """Land as the scan needs it, of the whole scene."""

    cells: Uint8  # SEA, MIXED or LAND, [rows, cols]
    quiet: Uint8  # 1 for cells away from land, which may speak for the sea
    beside: Uint8  # 1 for cells so close to land that pixels may be left out or shaded
    runs: LandRuns


@dataclass(frozen=True, slots=True)
class BandSettings:
    """What the stages need, in cells."""

    guard: int  # half side of the guard
    radius: int  # half side of the ring
    least: int  # cells that a ring needs
    trim_sigmas: float
    border_px: int
    border_noise: bool  # whether the product may hold some
    land_reach_px: int  # pixels that have land this close are left out
    shade_px: int  # pixels with a brighter one of those this close are marked
    most_cells: int  # exceeding cells that are kept, the strongest
    factors: Factors
    keep_peaks: bool


@dataclass(slots=True)
class BandScan:
    """What the rows of one polarisation gave, from ``first_row`` on."""

    first_row: int
    sound: Uint8  # 1 where there is data away from its border, [rows, cols]
    judged: Uint8  # 1 for water around which it is known what exceeds
    found: list[Exceeding]
    negative: int  # pixels of the sea below zero after the noise is taken off
    counted: int  # of so many
    sampled: Float32  # mean sigma0, spread, limit in sigma0, noise-equivalent sigma0; [4, rows, cols]
    cells_over: int = 0  # exceeding cells in all
    cells_unjudged: int = 0  # cells of water with too little water around them to say what exceeds
    peaks: Float32 | None = None  # highest 3 x 3 mean of intensity of each cell, land too, [rows, cols]
    spent_s: dict[str, float] = field(default_factory=dict)  # by stage
    pixels_by_land: int = 0  # pixels on land or beside it, of cells that exceed


class BandScanner:
    """Scans some rows of cells of one polarisation.

    Args:
        scene: opened product.
        polarisation: which.
        land: where it is.
        settings: sizes.
        rows: first row that is wanted, and the row after the last.
    """

    def __init__(
        self,
        scene: Scene,
        polarisation: str,
        land: LandMap,
        settings: BandSettings,
        rows: tuple[int, int],
    ) -> None:
        self._scene, self._polarisation, self._settings = scene, polarisation, settings
        self._land = land
        self._rows, self._cols = land.cells.shape
        self._first, self._stop = rows
        # Rows beside the wanted ones, so that it does not matter where a part begins.
        beside = 2 * settings.radius + BORDER_ROWS + NEAR_ROWS
        self._begin = max(self._first - beside, 0)
        self._end = min(self._stop + beside, self._rows)
        block = scene.block_lines(polarisation)
        unit = block * CELL_PX // gcd(block, CELL_PX)  # whole blocks and whole cells
        self._chunk = -(-_CHUNK_LINES // unit) * unit if unit <= _TALLEST_LINES else _CHUNK_LINES
        self._piece = _PIECE_LINES if scene.plain(polarisation) else self._chunk
        chunk = self._chunk // CELL_PX
        circle = -(-(beside + settings.radius + chunk + 2) // chunk) * chunk
        grid = (circle, self._cols)
        self._lines = np.empty((circle * CELL_PX, scene.shape[1]), np.uint16)
        self._sums = np.zeros((5, *grid), np.float32)
        self._gain, self._noise, self._nesz = (np.zeros(grid, np.float32) for _ in range(3))
        self._fields, self._kept = np.zeros((3, *grid), np.int64), np.zeros((4, *grid), np.int64)
        self._sound = np.zeros(grid, np.uint8)
        self._rings = np.empty(4 * circle * self._cols, np.int64)
        wanted = self._stop - self._first
        sampled = (-(-self._stop // SAMPLED) - -(-self._first // SAMPLED), -(-self._cols // SAMPLED))
        self._result = BandScan(
            self._first,
            np.zeros((wanted, self._cols), np.uint8),
            np.zeros((wanted, self._cols), np.uint8),
            [],
            0,
            0,
            np.full((4, *sampled), np.nan, np.float32),
        )  # fmt: skip
        self._held = 0
        if settings.keep_peaks:
            self._result.peaks = np.zeros((wanted, self._cols), np.float32)

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
            stop, before = min(read + self._chunk, total), summed
            with self._clock("tables"):
                self._look_up(summed, self._end if stop >= last_line else (stop - 1) // CELL_PX)
            while read < stop:
                piece = min(read + self._piece, stop)
                at = read % len(self._lines)
                with self._clock("read"):
                    self._scene.read_lines(self._polarisation, read, self._lines[at : at + piece - read])
                read = piece
                rows = self._end if read >= last_line else max((read - 1) // CELL_PX, summed)
                with self._clock("sum"):
                    sum_cells(self._lines, summed, rows, total, self._noise, self._sums)
                summed = rows
            report(summed - before)
            with self._clock("border"):
                sound = self._judge_sound(sound, summed)
            with self._clock("trim"):
                trimmed = self._trim(trimmed, self._behind(sound))
            with self._clock("take"):
                judged = self._take(judged, min(self._behind(trimmed), self._stop))
        return self._result

    @contextmanager
    def _clock(self, stage: str) -> Iterator[None]:
        began = perf_counter()
        yield
        spent = self._result.spent_s
        spent[stage] = spent.get(stage, 0.0) + perf_counter() - began

    def _behind(self, row: int) -> int:
        """Return up to which row all rings are there."""
        return self._end if row == self._end else max(row - self._settings.radius, self._begin)

    def _at(self, first: int, stop: int) -> slice | Int64:
        """Return where rows lie in the circle: a slice, unless they run over its end."""
        at = first % len(self._sound)
        if at + stop - first <= len(self._sound):
            return slice(at, at + stop - first)
        return np.arange(first, stop) % len(self._sound)

    def _look_up(self, first: int, stop: int) -> None:
        """Evaluate the tables at the cells' middles."""
        if stop <= first:
            return
        at, half = self._at(first, stop), (CELL_PX - 1) / 2
        lines = np.minimum(np.arange(first, stop) * CELL_PX + half, self._scene.shape[0] - 1)
        samples = np.minimum(np.arange(self._cols) * CELL_PX + half, self._scene.shape[1] - 1)
        gain, noise = self._scene.tables(self._polarisation, lines, samples)
        self._gain[at], self._noise[at], self._nesz[at] = gain, noise, gain * noise

    def _judge_sound(self, first: int, summed: int) -> int:
        """Stage 2: which cells hold data, away from its border, and which may speak for the sea."""
        stop = summed
        if summed < self._end:
            stop = max(first, min(summed - NEAR_ROWS, self._end - BORDER_ROWS - NEAR_ROWS))
        if stop <= first:
            return first
        low, high = max(first - BORDER_ROWS - NEAR_ROWS, self._begin), summed
        window = self._at(low, high)
        unsound = unsound_cells(
            self._sums[3, window],
            self._sums[0, window] / (9 * CELL_PX**2),
            self._noise[window],
            low,
            self._rows - high,
            self._settings.border_px,
            self._gain[window],
            self._settings.border_noise,
        )
        at = self._at(first, stop)
        self._sound[at] = ~unsound[first - low : stop - low]
        sea = np.zeros_like(self._sound)
        sea[at] = self._sound[at] & self._land.quiet[first:stop]
        cells.weigh_cells(first, stop, self._sums, self._gain, sea, self._fields)
        return stop

    def _trim(self, first: int, stop: int) -> int:
        """Stage 3: the cells of which the background is made."""
        if stop <= first:
            return first
        settings, rows = self._settings, (self._begin, self._end)
        rings = cells.ring_sums(self._fields, first, stop, rows, settings.guard, settings.radius, self._rings)
        cells.trim_cells(
            first, stop, rings, settings.trim_sigmas,
            self._sums, self._gain, self._nesz, self._fields, self._kept,
        )  # fmt: skip
        return stop

    def _take(self, first: int, stop: int) -> int:
        """Stage 4: thresholds, and the pixels above them."""
        if stop <= first:
            return first
        settings, rows = self._settings, (self._begin, self._end)
        rings = cells.ring_sums(self._kept, first, stop, rows, settings.guard, settings.radius, self._rings)
        at = self._at(first, stop)
        sound, land = self._sound[at], self._land.cells[first:stop]
        searched = (sound > 0) & (land != LAND)
        sea = np.empty((3, stop - first, self._cols), np.float32)
        cells.limit_cells(
            first, stop, rings, settings.least, settings.factors,
            self._gain, self._nesz, searched.view(np.uint8), sea,
        )  # fmt: skip
        self._judge_narrow(first, stop, sea, searched)
        mine = slice(first - self._first, stop - self._first)
        self._result.sound[mine] = sound
        self._result.judged[mine] = searched & (sea[1] >= 0)
        if self._result.peaks is not None:
            self._result.peaks[mine] = self._sums[2, at] * self._gain[at] / np.float32(9)
        spoke = self._fields[0, at]
        self._result.negative += int((self._sums[4, at] * spoke).sum())
        self._result.counted += int(spoke.sum()) * CELL_PX**2
        self._sample(first, stop, sea, searched)
        self._collect(first, sea, searched & (self._sums[2, at] > sea[2]))
        return stop

    def _judge_narrow(self, first: int, stop: int, sea: Float32, searched: NDArray[np.bool_]) -> None:
        """Judge what no open sea lies around by whatever water there is."""
        row, col = np.nonzero(searched & (sea[1] < 0))
        if not len(row):
            return
        settings, rows = self._settings, (self._begin, self._end)
        # The cell that answers for an odd first row lies in the row above it.
        low, high = max(first - settings.radius - 1, self._begin), min(stop + settings.radius, self._end)
        at = self._at(low, high)
        water = np.zeros_like(self._sound)
        water[at] = self._sound[at] & (self._land.cells[low:high] == SEA)
        # One answer serves four cells: they see nearly the same water.
        shared, which = np.unique(((row + first) // 2) * self._cols + col // 2, return_inverse=True)
        places = np.stack([np.maximum(shared // self._cols * 2, self._begin), shared % self._cols * 2], 1)
        mean, spread, noise = cells.narrow_waters(
            places, rows, settings.radius, settings.least, settings.trim_sigmas,
            self._sums, self._gain, self._nesz, water,
        )[:, which]  # fmt: skip
        here = (row + first) % len(self._sound)
        limit = cells.limits(
            mean, spread, noise, settings.factors, self._gain[here, col], self._nesz[here, col]
        )
        sea[0, row, col], sea[1, row, col], sea[2, row, col] = mean, spread, limit
        self._result.cells_unjudged += int((spread < 0).sum())

    def _sample(self, first: int, stop: int, sea: Float32, searched: NDArray[np.bool_]) -> None:
        rows = np.arange(-(-first // SAMPLED) * SAMPLED, stop, SAMPLED)
        if not len(rows):
            return
        at, circle = rows - first, rows % len(self._sound)
        out = slice(rows[0] // SAMPLED - -(-self._first // SAMPLED), None)
        mean, spread, limit = sea[:, at, ::SAMPLED]
        gain, nesz = self._gain[circle, ::SAMPLED], self._nesz[circle, ::SAMPLED]
        seen = searched[at, ::SAMPLED] & (spread >= 0)
        values = np.stack([mean, spread, limit * gain / 9 - nesz, nesz])
        self._result.sampled[:, out][:, : len(rows)] = np.where(seen, values, np.nan)

    def _collect(self, first: int, sea: Float32, over: NDArray[np.bool_]) -> None:
        """Take the exceeding pixels of some cells."""
        row, col = np.nonzero(over)
        if not len(row):
            return
        places = np.stack([row + first, col], 1)
        limit = sea[2, row, col]
        pixels, sums, shaded, by_land = exceeding(
            self._lines, self._scene.shape[0], places, limit,
            self._land.beside, self._land.runs,
            self._settings.land_reach_px, self._settings.shade_px,
        )  # fmt: skip
        self._result.pixels_by_land += by_land
        if not len(pixels):
            return
        owner = pixels[:, 0]
        here = (row + first) % len(self._sound)
        gain, nesz = self._gain[here, col], self._nesz[here, col]
        level = np.maximum(sea[0, row, col] + nesz, np.float32(1e-12))
        intensity = sums * gain[owner] / np.float32(9)
        peak = np.zeros(len(row), np.float32)
        np.maximum.at(peak, owner, intensity)
        found = Exceeding(
            cell=places,
            excess=(peak - limit * gain / 9) / level,
            owner=owner,
            line=pixels[:, 1],
            sample=pixels[:, 2],
            smooth=intensity - nesz[owner],
            contrast=intensity / level[owner],
            shaded=shaded,
        )
        found = selected(found, peak > 0)
        self._result.cells_over += len(found.cell)
        self._result.found.append(found)
        self._held += len(found.cell)
        if self._held > 2 * self._settings.most_cells:
            self._result.found = [strongest(joined(self._result.found), self._settings.most_cells)]
            self._held = len(self._result.found[0].cell)
