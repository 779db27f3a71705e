"""What processors before 2.90 left at the edges of an image: low values where there is no data.

The swath's edge runs in steps, and beyond it the resampling leaves digital numbers that fall off from a few
dozen to 1 before the zeros begin. Readers that take 0 alone for no data see a dark rim there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.simulate.scene import Border

STEP_LINES = 180
NOISE_DN = 22.0  # root mean square at the edge
FALL_PX = 18.0  # over which it falls by a factor of e
REACH_PX = 48  # beyond it the image is zero


class Fringe(Border):
    """Stepped no-data at the left and at the first lines, with a rim of low values along it."""

    def __init__(self, rng: np.random.Generator, shape: tuple[int, int], left_px: int, first_px: int) -> None:
        from scipy.ndimage import distance_transform_edt

        lines, samples = shape
        self._lines, self._samples = shape
        steps = lines // STEP_LINES + 1
        left = left_px + np.cumsum(rng.integers(6, 26, steps))[np.arange(lines) // STEP_LINES]
        first = np.where(np.arange(samples) < samples // 2, first_px, first_px + 34)
        sample, line = np.arange(samples), np.arange(lines)[:, None]
        self._inside: NDArray[np.bool_] = (sample >= left[:, None]) & (line >= first)
        away = distance_transform_edt(~self._inside)
        scale = NOISE_DN * np.exp(-away / FALL_PX) * (away <= REACH_PX)
        speckle = rng.rayleigh(np.sqrt(0.5), (2, *shape))
        noise = np.rint(speckle * scale * np.array([1.0, 0.6])[:, None, None])
        self._noise: NDArray[np.uint16] = noise.astype(np.uint16)

    def valid(self, first_line: int, lines: int) -> NDArray[np.bool_]:
        """Return where there is data in some lines, [lines, W]."""
        return self._inside[first_line : first_line + lines]

    def beyond(self, first_line: int, lines: int, band: int) -> NDArray[np.uint16]:
        """Return the digital numbers where there is no data, [lines, W]."""
        return self._noise[band, first_line : first_line + lines]
