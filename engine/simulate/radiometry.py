"""Calibration and noise of a simulated product: the tables of the annotation, and their values in blocks.

The image is made with the tables as a reader interpolates them, so both agree exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.simulate import physics
from engine.simulate.acquisition import SWATH_ENDS, SWATHS, Acquisition

BETA_NOUGHT = 474.0  # constant over the image, as in real IW GRDH products
COLUMN_STEP = 40
AZIMUTH_STEP = 10
VECTOR_STEP_S = 1.0
BURST_S = 2.76


@dataclass(frozen=True)
class SwathBlock:
    """The lines and samples of one swath in the image, ends included."""

    name: str
    index: int
    first_line: int
    first_sample: int
    last_line: int
    last_sample: int


def swath_blocks(grid: Acquisition) -> list[SwathBlock]:
    """Return the swaths that an image shows, from near to far range."""
    blocks, start = [], 0
    lines, samples = grid.shape
    for index, (name, end) in enumerate(zip(SWATHS, SWATH_ENDS, strict=True)):
        stop = min(end - grid.swath_sample, samples) if index < 2 else samples
        if stop > start:
            blocks.append(SwathBlock(name, index, 0, start, lines - 1, stop - 1))
            start = stop
    return blocks


@dataclass(frozen=True, eq=False)
class Tables:
    """Calibration and noise of one polarisation.

    Attributes:
        lines: lines of the range vectors, [n].
        pixels: samples of the range vectors, [m].
        sigma_nought: calibration table, [n, m].
        gamma_nought: likewise, for gamma0.
        noise_range: range noise in DN^2, [n, m].
        blocks: the swaths; one azimuth vector each.
        azimuth_lines: lines of the azimuth vectors, [k].
        noise_azimuth: their factors, one row for each block, [len(blocks), k].
    """

    lines: NDArray[np.int64]
    pixels: NDArray[np.int64]
    sigma_nought: NDArray[np.float64]
    gamma_nought: NDArray[np.float64]
    noise_range: NDArray[np.float64]
    blocks: list[SwathBlock]
    azimuth_lines: NDArray[np.int64]
    noise_azimuth: NDArray[np.float64]

    def calibration(self, first_line: int, lines: int) -> NDArray[np.float32]:
        """Return sigma_nought for some lines, [lines, W]."""
        return self._spread(self.sigma_nought, first_line, lines)

    def noise(self, first_line: int, lines: int) -> NDArray[np.float32]:
        """Return the noise in DN^2 for some lines, [lines, W]."""
        power = self._spread(self.noise_range, first_line, lines)
        wanted = first_line + np.arange(lines)
        for block, factors in zip(self.blocks, self.noise_azimuth, strict=True):
            factor = np.interp(wanted, self.azimuth_lines, factors).astype(np.float32)
            power[:, block.first_sample : block.last_sample + 1] *= factor[:, None]
        return power

    def _spread(self, table: NDArray[np.float64], first_line: int, lines: int) -> NDArray[np.float32]:
        width = self.blocks[-1].last_sample + 1
        rows = np.stack([np.interp(np.arange(width), self.pixels, row) for row in table])
        position = np.interp(first_line + np.arange(lines), self.lines, np.arange(len(self.lines)))
        low = np.minimum(position.astype(int), len(table) - 2)
        share = (position - low)[:, None]
        return np.asarray((rows[low] * (1 - share) + rows[low + 1] * share).astype(np.float32))


def tables(grid: Acquisition, noise_db: float, burst_phase: float) -> Tables:
    """Make the tables of one polarisation.

    Args:
        grid: the image's geometry.
        noise_db: noise-equivalent sigma0 at the middle of a swath.
        burst_phase: where in a burst line 0 lies, 0 to 1.
    """
    height, width = grid.shape
    step = max(1, round(VECTOR_STEP_S / grid.line_interval_s))
    lines = np.unique(np.append(np.arange(0, height, step), height - 1))
    blocks = swath_blocks(grid)
    seams = [end for block in blocks[:-1] for end in (block.last_sample, block.last_sample + 1)]
    pixels = np.unique(np.concatenate([np.arange(0, width, COLUMN_STEP), seams, [width - 1]])).astype(int)
    incidence = np.radians(grid.incidence_deg(lines[:, None], pixels))
    sigma = BETA_NOUGHT / np.sqrt(np.sin(incidence))
    gamma = BETA_NOUGHT / np.sqrt(np.tan(incidence))
    starts = (0, *SWATH_ENDS)
    noise = np.empty_like(sigma)
    for block in blocks:
        inside = (pixels >= block.first_sample) & (pixels <= block.last_sample)
        low, high = starts[block.index], starts[block.index + 1]
        across = (pixels[inside] + grid.swath_sample - low) / (high - low) * 2 - 1
        # the elevation pattern falls off towards both ends of a swath, more so in the near one
        level = noise_db + (2.2 - 0.4 * block.index) * across**2 + 0.3 * block.index
        noise[:, inside] = physics.from_db(level) * sigma[:, inside] ** 2
    burst_lines = BURST_S / grid.line_interval_s
    azimuth = np.unique(np.append(np.arange(0, height, AZIMUTH_STEP), height - 1)).astype(int)
    scallop = [
        1.0 + 0.15 * (2 * ((azimuth / burst_lines + burst_phase + 0.31 * block.index) % 1.0) - 1) ** 2
        for block in blocks
    ]
    return Tables(lines, pixels, sigma, gamma, noise, blocks, azimuth, np.array(scallop))
