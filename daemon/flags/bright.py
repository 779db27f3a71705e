"""The brightness of a whole scene on a coarse grid, land included: where ghosts and sidelobes come from.

The statistic is the prescreen's, which keeps it: the 3 x 3 mean of intensity, noise left in; of each cell of
8 x 8 px the highest. That is 1/64 of the pixels, so a source is looked up in memory wherever it lies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daemon.scan.kernels import CELL_PX

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """The brightest cell of a window: its centre, and its peak."""

    line_px: float
    sample_px: float
    power: float  # highest 3 x 3 mean of intensity in the cell, linear


@dataclass(frozen=True, eq=False)
class BrightMap:
    """Peaks of intensity by cell, [rows, cols] in each polarisation; 0 where there is no data."""

    peaks: Mapping[str, Array]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of cells."""
        rows, cols = next(iter(self.peaks.values())).shape
        return int(rows), int(cols)

    def cells(self, polarisation: str, lines: tuple[float, float], samples: tuple[float, float]) -> Array:
        """Return the peaks of the cells that a span of lines and samples touches; may be empty."""
        rows, cols = _span(*lines), _span(*samples)
        return self.peaks[polarisation][rows, cols]

    def brightest(
        self, polarisation: str, lines: tuple[float, float], samples: tuple[float, float]
    ) -> Place | None:
        """Return the brightest cell that a span touches; None beside the scene and without data.

        Args:
            polarisation: one of the scene's.
            lines: first and last line, in pixels.
            samples: first and last sample, in pixels.
        """
        found = self.cells(polarisation, lines, samples)
        if not found.size:
            return None
        row, col = np.unravel_index(int(np.argmax(found)), found.shape)
        power = float(found[row, col])
        if power <= 0:
            return None
        middle = (CELL_PX - 1) / 2
        return Place(
            (_span(*lines).start + int(row)) * CELL_PX + middle,
            (_span(*samples).start + int(col)) * CELL_PX + middle,
            power,
        )


def _span(first: float, last: float) -> slice:
    """Cells that a span of pixels touches."""
    return slice(max(0, int(first // CELL_PX)), max(0, int(last // CELL_PX) + 1))
