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
from daemon.scan.kernels import (
    CELL_PX,
    PATCH,
    PATCH_PX,
    Float32,
    Int64,
    LandRuns,
    Uint8,
    exceeding,
    sum_cells,
)
from daemon.scene.land import LAND, SEA

if TYPE_CHECKING:
    from daemon.scan.thresholds import Factors
    from daemon.scene.product import Scene

SAMPLED = 8  # every so manyth row and column of cells is kept for statistics
_CHUNK_LINES = 512  # where the file's own blocks are smaller
_TALLEST_LINES = 2048  # blocks that are taller are decoded more than once
_PIECE_LINES = 64  # read and summed up at a time then: they stay in the cache


@dataclass(frozen=True, slots=True)
class LandMap:
    """Land as the scan needs it, of the whole scene."""

    cells: Uint8  # SEA, MIXED or LAND, [rows, cols]
    quiet: Uint8  # 1 for cells away from land, which may speak for the sea
    beside: Uint8  # 1 for cells so close to land that pixels may be left out or shaded
    runs: LandRuns


@dataclass(frozen=True, slots=True)
class BandSettings:
    """What the stages need."""

    guard: int  # half side of the guard, in patches
    radius: int  # half side of the ring, in patches
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
        land: tells where it is; first asked when some lines have been read.
        settings: sizes.
        rows: first row that is wanted, and the row after the last.
    """

    def __init__(
        self,
        scene: Scene,
        polarisation: str,
        land: Callable[[], LandMap],
        settings: BandSettings,
        rows: tuple[int, int],
    ) -> None:
        self._scene, self._polarisation, self._settings = scene, polarisation, settings
        self._ask_land = land
        self._rows, self._cols = (-(-size // CELL_PX) for size in scene.shape)
        self._first, self._stop = rows
        # Rows beside the wanted ones, so that it does not matter where a part begins.
        self._reach = settings.radius * PATCH
        beside = 2 * self._reach + BORDER_ROWS + NEAR_ROWS
        self._begin = max(self._first - beside, 0)
        self._end = min(self._stop + beside, self._rows)
        block = scene.block_lines(polarisation)
        unit = block * PATCH_PX // gcd(block, PATCH_PX)  # whole blocks and whole patches
        self._chunk = -(-_CHUNK_LINES // unit) * unit if unit <= _TALLEST_LINES else _CHUNK_LINES
        self._piece = _PIECE_LINES if scene.plain(polarisation) else self._chunk
        chunk = self._chunk // CELL_PX
        circle = -(-(beside + self._reach + chunk + 2) // chunk) * chunk
        grid, patches = (circle, self._cols), (circle // PATCH, -(-self._cols // PATCH))
        self._lines = np.empty((circle * CELL_PX, scene.shape[1]), np.uint16)
        self._sums, self._level = np.zeros((5, *grid), np.float32), np.zeros(grid, np.float32)
        self._gain, self._noise, self._nesz = (np.zeros(patches, np.float32) for _ in range(3))
        self._fields, self._kept = np.zeros((3, *patches), np.int64), np.zeros((4, *patches), np.int64)
        # Cells that hold data; of them those that speak for the sea, and those without land.
        self._sound, self._sea, self._water = (np.zeros(grid, np.uint8) for _ in range(3))
        self._rings = np.empty(4 * patches[0] * patches[1], np.int64)
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

    @property
    def _land(self) -> LandMap:
        return self._ask_land()

    def _behind(self, row: int) -> int:
        """Return up to which row all rings are there."""
        return self._end if row == self._end else max(row - self._reach, self._begin)

    def _at(self, first: int, stop: int, cells_: int = 1) -> slice | Int64:
        """Return where rows lie in the circle of cells, or patches: a slice, unless they run over its end."""
        first, stop, circle = first // cells_, -(-stop // cells_), len(self._sound) // cells_
        at = first % circle
        if at + stop - first <= circle:
            return slice(at, at + stop - first)
        return np.arange(first, stop) % circle

    def _look_up(self, first: int, stop: int) -> None:
        """Evaluate the tables at the patches' middles."""
        if stop <= first:
            return
        at, half = self._at(first, stop, PATCH), (PATCH_PX - 1) / 2
        rows, cols = np.arange(first // PATCH, -(-stop // PATCH)), np.arange(self._gain.shape[1])
        lines, samples = (
            np.minimum(places * PATCH_PX + half, size - 1)
            for places, size in zip((rows, cols), self._scene.shape, strict=True)
        )
        gain, noise = self._scene.tables(self._polarisation, lines, samples)
        self._gain[at], self._noise[at], self._nesz[at] = gain, noise, gain * noise

    def _judge_sound(self, first: int, summed: int) -> int:
        """Stage 2: which cells hold data, away from its border, and which may speak for the sea."""
        stop = summed
        if summed < self._end:
            stop = min(summed - NEAR_ROWS, self._end - BORDER_ROWS - NEAR_ROWS) // PATCH * PATCH
        if stop <= first:
            return first
        low, high = max(first - BORDER_ROWS - NEAR_ROWS, self._begin), summed
        unsound = self._unsound(low, high)[first - low : stop - low]
        at = self._at(first, stop)
        self._sound[at] = ~unsound
        self._sea[at] = self._sound[at] & self._land.quiet[first:stop]
        self._water[at] = self._sound[at] & (self._land.cells[first:stop] == SEA)
        cells.weigh_cells(first, stop, self._sums, self._gain, self._sea, self._level, self._fields)
        return stop

    def _unsound(self, low: int, high: int) -> NDArray[np.bool_]:
        window, settings = self._at(low, high), self._settings
        edges = low, self._rows - high, settings.border_px
        zeros = self._sums[3, window]
        if not settings.border_noise:
            return unsound_cells(zeros, None, None, *edges)
        patches = self._at(low, high, PATCH)
        gain, noise = (
            values[patches].repeat(PATCH, 0)[low % PATCH :][: high - low].repeat(PATCH, 1)[:, : self._cols]
            for values in (self._gain, self._noise)
        )
        return unsound_cells(zeros, self._sums[0, window] / (9 * CELL_PX**2), noise, *edges, gain)

    def _trim(self, first: int, stop: int) -> int:
        """Stage 3: the cells of which the background is made."""
        if stop <= first:
            return first
        rings = self._ring_sums(self._fields, first, stop)
        cells.trim_cells(
            first, stop, rings, self._settings.trim_sigmas,
            self._sums, self._gain, self._nesz, self._sea, self._level, self._kept,
        )  # fmt: skip
        return stop

    def _ring_sums(self, values: Int64, first: int, stop: int) -> Int64:
        first, stop, begin, end = (-(-row // PATCH) for row in (first, stop, self._begin, self._end))
        guard, radius = self._settings.guard, self._settings.radius
        return cells.ring_sums(values, first, stop, (begin, end), guard, radius, self._rings)

    def _take(self, first: int, stop: int) -> int:
        """Stage 4: thresholds, and the pixels above them."""
        if stop <= first:
            return first
        rings = self._ring_sums(self._kept, first, stop)
        sea = cells.limit_patches(rings, self._settings.least, self._settings.factors)
        at = self._at(first, stop)
        sound, land = self._sound[at], self._land.cells[first:stop]
        searched = sound & (land != LAND)
        self._judge_narrow(first, stop, sea, searched)
        known = (sea[1] >= 0).repeat(PATCH, 0)[: stop - first].repeat(PATCH, 1)[:, : self._cols]
        mine = slice(first - self._first, stop - self._first)
        self._result.sound[mine] = sound
        self._result.judged[mine] = searched & known
        patches = self._at(first, stop, PATCH)
        gain, nesz = self._gain[patches], self._nesz[patches]
        if self._result.peaks is not None:
            wide = gain.repeat(PATCH, 0)[: stop - first].repeat(PATCH, 1)[:, : self._cols]
            self._result.peaks[mine] = self._sums[2, at] * wide / np.float32(9)
        speaks = self._sea[at]
        self._result.negative += int((self._sums[4, at] * speaks).sum())
        self._result.counted += int(np.count_nonzero(speaks)) * CELL_PX**2
        limit = cells.limits(sea, gain, nesz)
        self._sample(first, stop, sea, limit * gain / np.float32(9) - nesz, nesz, searched)
        self._collect(sea, *cells.cells_over(first, stop, self._sums, limit, searched), first)
        return stop

    def _judge_narrow(self, first: int, stop: int, sea: Float32, searched: Uint8) -> None:
        """Judge what no open sea lies around by whatever water there is."""
        asked = np.zeros((sea.shape[1] * PATCH, sea.shape[2] * PATCH), np.uint8)
        asked[: stop - first, : self._cols] = searched
        asked = asked.reshape(sea.shape[1], PATCH, sea.shape[2], PATCH)
        count = asked[:, 0] + asked[:, 1]
        count = count[..., 0] + count[..., 1]  # cells of each patch
        row, col = np.nonzero((sea[1] < 0) & (count > 0))
        if not len(row):
            return
        settings = self._settings
        places = np.stack([row + first // PATCH, col], 1)
        mean, spread, noise = cells.narrow_waters(
            places, (self._begin, self._end), settings.radius, settings.least, settings.trim_sigmas,
            self._sums, self._level, self._gain, self._nesz, self._water,
        )  # fmt: skip
        factor = settings.factors.at(spread, noise / np.maximum(mean + noise, 1e-12))
        sea[0, row, col], sea[1, row, col] = mean, spread
        sea[2, row, col] = np.where(spread < 0, np.inf, factor)
        self._result.cells_unjudged += int(count[row, col][spread < 0].sum())

    def _sample(
        self, first: int, stop: int, sea: Float32, limit: Float32, nesz: Float32, searched: Uint8
    ) -> None:
        rows = np.arange(-(-first // SAMPLED) * SAMPLED, stop, SAMPLED) - first
        if not len(rows):
            return
        out = slice((rows[0] + first) // SAMPLED - -(-self._first // SAMPLED), None)
        values = np.stack([sea[0], sea[1], limit, nesz])[:, rows // PATCH, :: SAMPLED // PATCH]
        seen = (searched[rows, ::SAMPLED] > 0) & (values[1] >= 0)
        self._result.sampled[:, out][:, : len(rows)] = np.where(seen, values, np.nan)

    def _collect(self, sea: Float32, places: Int64, limit: Float32, first: int) -> None:
        """Take the exceeding pixels of some cells."""
        if not len(places):
            return
        pixels, sums, shaded, by_land = exceeding(
            self._lines, self._scene.shape[0], places, limit,
            self._land.beside, self._land.runs,
            self._settings.land_reach_px, self._settings.shade_px,
        )  # fmt: skip
        self._result.pixels_by_land += by_land
        if not len(pixels):
            return
        owner = pixels[:, 0]
        row, col = places[:, 0] // PATCH, places[:, 1] // PATCH
        here = row % len(self._gain)
        gain, nesz = self._gain[here, col], self._nesz[here, col]
        level = np.maximum(sea[0, row - first // PATCH, col] + nesz, np.float32(1e-12))
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
