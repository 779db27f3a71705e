"""A chip of a run: calibrated pixels around a place, with land and the place of each pixel.

Pixels are kept as 16-bit codes of decibels, whether they come from a product or from the archive: both give
the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from daemon.scene.product import Window
from engine.runtime.image import CHIP_PX

if TYPE_CHECKING:
    from daemon.scene.land import LandSource
    from daemon.scene.product import Scene

    from .domain import Plan

SHIFT_PX = 20  # a place may lie so far from a chip's centre, and the engine's chip is still inside
SIZE_PX = CHIP_PX + 2 * SHIFT_PX
_FLOOR_DB, _STEP_DB = -80.0, 0.002  # code 1 and the step: up to 51 dB in 16 bits
_ARM_PX = 40.0  # of the differences that give the affine map


@dataclass(frozen=True, eq=False)
class Chip:
    """Pixels around a place.

    Attributes:
        origin_px: line and sample of the first pixel in the scene.
        codes: decibels of intensity as codes, 0 without data, uint16 [bands, SIZE_PX, SIZE_PX].
        land: [SIZE_PX, SIZE_PX].
        bands: the polarisations, co-polarised first.
        affine: (a, b, c, d, e, f): longitude = a x + b y + c, latitude = d x + e y + f at sample x and line
            y of the chip, pixel centres; within a chip off by less than a tenth of a pixel.
    """

    origin_px: tuple[int, int]
    codes: NDArray[np.uint16]
    land: NDArray[np.bool_]
    bands: tuple[str, ...]
    affine: tuple[float, float, float, float, float, float]

    @property
    def size_px(self) -> int:
        """Lines and samples."""
        return int(self.codes.shape[-1])

    @property
    def valid(self) -> NDArray[np.bool_]:
        """Where every polarisation holds data, [h, w]."""
        return np.asarray((self.codes > 0).all(0))

    @property
    def intensity(self) -> NDArray[np.float32]:
        """DN^2 / A^2, noise left in, 0 without data, [bands, h, w]."""
        decibels = _FLOOR_DB + _STEP_DB * (self.codes.astype(np.float64) - 1)
        return np.where(self.codes > 0, 10 ** (decibels / 10), 0).astype(np.float32)

    @property
    def centre(self) -> tuple[float, float]:
        """Longitude and latitude of its middle."""
        middle = (self.size_px - 1) / 2
        a, b, c, d, e, f = self.affine
        return (a + b) * middle + c, (d + e) * middle + f

    def pixel(self, lon_deg: float, lat_deg: float) -> tuple[float, float]:
        """Return line and sample in the scene of a place near the chip."""
        a, b, c, d, e, f = self.affine
        east = (lon_deg - c + 180.0) % 360.0 - 180.0
        sample, line = np.linalg.solve(np.array([[a, b], [d, e]]), [east, lat_deg - f])
        return float(line) + self.origin_px[0], float(sample) + self.origin_px[1]

    def holds(self, line_px: float, sample_px: float) -> bool:
        """Whether the engine's chip around a position lies inside."""
        middle = (self.size_px - 1) / 2
        off = (
            abs(round(at) - first - middle)
            for at, first in zip((line_px, sample_px), self.origin_px, strict=True)
        )
        return max(off) <= SHIFT_PX

    def cut(self, line_px: int, sample_px: int) -> Chip:
        """Return the engine's chip whose first pixel lies at a line and a sample of the scene."""
        y, x = line_px - self.origin_px[0], sample_px - self.origin_px[1]
        a, b, c, d, e, f = self.affine
        lines, samples = slice(y, y + CHIP_PX), slice(x, x + CHIP_PX)
        moved = (a, b, c + a * x + b * y, d, e, f + d * x + e * y)
        return Chip(
            (line_px, sample_px), self.codes[:, lines, samples], self.land[lines, samples], self.bands, moved
        )


@dataclass(frozen=True, slots=True)
class Pair:
    """A place's pixels in both passes, and where it lies in the two scenes."""

    before: Chip
    before_px: tuple[float, float]
    after: Chip
    after_px: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Question:
    """A place to ask the engine about: its index in the unit, and its pixels."""

    index: int
    plan: Plan
    pair: Pair


def read_chip(scene: Scene, land: LandSource, line_px: float, sample_px: float) -> Chip:
    """Read the chip around a position in a scene.

    Raises:
        SceneCorrupt: the pixels cannot be read.
        SourceUnavailable: their host does not answer.
    """
    line, sample = round(line_px) - SIZE_PX // 2, round(sample_px) - SIZE_PX // 2
    window = Window(line, sample, SIZE_PX, SIZE_PX)
    codes = np.zeros((len(scene.polarisations), SIZE_PX, SIZE_PX), np.uint16)
    for index, name in enumerate(scene.polarisations):
        pixels = scene.read(name, window)
        decibels = 10 * np.log10(np.maximum(pixels.intensity.astype(np.float64), 1e-8))
        code = np.clip(np.rint((decibels - _FLOOR_DB) / _STEP_DB) + 1, 1, 65535)
        codes[index] = np.where(pixels.valid, code, 0)
    middle = line + (SIZE_PX - 1) / 2, sample + (SIZE_PX - 1) / 2
    lon, lat = scene.geometry.lonlat(
        middle[0] + np.array([0, 0, 0, -_ARM_PX, _ARM_PX]),
        middle[1] + np.array([0, -_ARM_PX, _ARM_PX, 0, 0]),
    )
    lon = lon[0] + (lon - lon[0] + 180.0) % 360.0 - 180.0
    (a, d), (b, e) = (
        ((lon[j] - lon[i]) / (2 * _ARM_PX), (lat[j] - lat[i]) / (2 * _ARM_PX)) for i, j in ((1, 2), (3, 4))
    )
    half = (SIZE_PX - 1) / 2
    affine = (a, b, lon[0] - (a + b) * half, d, e, lat[0] - (d + e) * half)
    a, b, c, d, e, f = (float(value) for value in affine)
    return Chip((line, sample), codes, land.mask(window), scene.polarisations, (a, b, c, d, e, f))
