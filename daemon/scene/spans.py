"""Land as runs of pixels along each line: how polygons become pixels, for a whole scene at once.

A pixel is land where its centre lies in a ring of odd level and in none of a higher, even one (inside by the
even-odd rule). Along a line the answer changes only where an edge crosses it, so a scene's mask is the
sorted list of these places: some hundred thousand numbers, and any window or grid of cells follows from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.runtime.rings import Rings

Ints = NDArray[np.int64]

_LINE, _RING = 20, 40  # bits of a place's sample, and of a place: line and sample in one number
_SAMPLES = (1 << _LINE) - 1


@dataclass(frozen=True, eq=False)
class Spans:
    """Runs of land, by line and sample; runs of a line neither overlap nor touch.

    Attributes:
        lines: first line, and the one after the last, beyond which nothing is known.
        samples: the same of the samples.
        line: of each run, [n].
        start: first sample of each run, [n].
        stop: the sample after its last, [n].
    """

    lines: tuple[int, int]
    samples: tuple[int, int]
    line: Ints
    start: Ints
    stop: Ints

    @classmethod
    def draw(cls, rings: Rings, lines: tuple[int, int], samples: tuple[int, int]) -> Spans:
        """Fill rings of (line, sample); pixels lie at whole numbers."""
        place, ring = _crossings(rings, lines, samples)
        # sorted by ring, line and sample, crossings lead into the ring and out of it in turn
        order = np.sort((ring << _RING) + place)
        place, land = _painted(order & ((1 << _RING) - 1), rings.levels[order >> _RING])
        turn = np.diff(land.view(np.int8), prepend=0)  # a line's last state is sea: all rings are left again
        start, stop = place[turn > 0], place[turn < 0]
        low = samples[0]
        line = (start >> _LINE) + lines[0]
        return cls(lines, samples, line, (start & _SAMPLES) + low, (stop & _SAMPLES) + low)

    def mask(self, line: int, sample: int, height: int, width: int) -> NDArray[np.bool_]:
        """Return the pixels of a window, True on land, [height, width]."""
        first, last = np.searchsorted(self.line, [line, line + height])
        row = self.line[first:last] - line
        edges = np.zeros((height, width + 1), np.int8)
        for at, step in ((self.start, 1), (self.stop, -1)):
            np.add.at(edges, (row, np.clip(at[first:last] - sample, 0, width)), np.int8(step))
        drawn: NDArray[np.int8] = np.cumsum(edges[:, :width], axis=1, dtype=np.int8)
        return drawn.view(bool)

    def cells(self, shape: tuple[int, int], side: int) -> NDArray[np.uint8]:
        """Return which cells of side x side pixels are sea (0), of both kinds (1), land (2).

        Args:
            shape: lines and samples of the pixels, from 0 on; the last cells may hold fewer.
            side: of a cell, at most 11.
        """
        rows, cols = (-(-size // side) for size in shape)
        # int8 holds a cell's pixels, at most 121, and the difference between neighbours in row-major order
        change = np.zeros(rows * cols + 2, np.int8)
        first, last = np.searchsorted(self.line, [0, shape[0]])
        row = self.line[first:last] // side
        for at, step in ((self.start, 1), (self.stop, -1)):
            col, beyond = np.divmod(np.clip(at[first:last], 0, shape[1]), side)
            here = row * cols + col
            # from its place in a cell on, a run fills what is left of that cell and all of the next
            np.add.at(change, here, (step * (side - beyond)).astype(np.int8))
            np.add.at(change, here + 1, (step * beyond).astype(np.int8))
        places = np.concatenate([[0], np.flatnonzero(change[1 : rows * cols] != 0) + 1])
        counts = np.cumsum(change[places], dtype=np.int8)
        pixels = np.repeat(counts, np.diff(places, append=rows * cols)).reshape(rows, cols)
        state = (pixels > 0).view(np.uint8)
        state += pixels == side * side
        high, wide = shape[0] - (rows - 1) * side, shape[1] - (cols - 1) * side
        state[-1] = (pixels[-1] > 0).view(np.uint8) + (pixels[-1] == high * side)
        state[:, -1] = (pixels[:, -1] > 0).view(np.uint8) + (pixels[:, -1] == wide * side)
        state[-1, -1] = int(pixels[-1, -1] > 0) + int(pixels[-1, -1] == high * wide)
        return state

    def at(self, line_px: NDArray[np.floating], sample_px: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Return True where the nearest pixels are land, [...]."""
        line, sample = np.rint(line_px).astype(np.int64), np.rint(sample_px).astype(np.int64)
        low, high = self.samples
        wide = high - low + 1
        inside = (sample >= low) & (sample < high)
        run = np.searchsorted(self.line * wide + self.start - low, line * wide + sample - low, "right") - 1
        if not len(self.line):
            return np.zeros(line.shape, bool)
        found: NDArray[np.bool_] = inside & (run >= 0) & (self.line[run] == line) & (sample < self.stop[run])
        return found


def _crossings(rings: Rings, lines: tuple[int, int], samples: tuple[int, int]) -> tuple[Ints, Ints]:
    """Return where edges cross lines, as the first pixel at or beyond, and of which rings, [m] each.

    Lines and samples are counted from the first; what lies before is moved to 0, what lies behind to the end.
    """
    line, sample = rings.points.T
    line_, sample_ = line[rings.following], sample[rings.following]
    # an edge crosses the lines from its lower end on and before its upper one
    low = np.clip(np.ceil(np.minimum(line, line_)), *lines).astype(np.int64)
    high = np.clip(np.ceil(np.maximum(line, line_)), *lines).astype(np.int64)
    count = high - low
    edge = np.repeat(np.arange(len(line)), count)
    at = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count) + low[edge]
    crossed = count > 0
    slope = np.zeros(len(line))
    slope[crossed] = (sample_ - sample)[crossed] / (line_ - line)[crossed]
    pixel = np.clip(np.ceil(sample[edge] + (at - line[edge]) * slope[edge]), *samples).astype(np.int64)
    return ((at - lines[0]) << _LINE) + pixel - samples[0], rings.index[edge]


def _painted(place: Ints, level: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    """Paint rings over each other by rising level.

    Args:
        place: of each crossing, in turn into a ring and out of it, [m].
        level: of its ring, [m].

    Returns:
        Places in order, and whether there is land from there on.
    """
    order = np.argsort(place, kind="stable")
    place, level = place[order], level[order]
    step = (1 - 2 * (order & 1)).astype(np.int8)
    last = np.concatenate([place[1:] != place[:-1], [True]])[: len(place)]
    land = np.zeros(int(last.sum()), bool)
    for depth in range(1, int(level.max(initial=0)) + 1):
        covered = np.cumsum(step * (level == depth), dtype=np.int32)[last] > 0
        land[covered] = depth % 2 == 1
    return place[last], land
