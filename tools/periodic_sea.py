"""Pure sea for measuring false alarms: as engine.simulate makes it, but periodic and made fast.

Fields are drawn in the radar's band only and in periodic tiles of SIDE x SIDE px, so that a billion pixels
take minutes and no tile has an edge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.stats import gamma, norm

from engine.simulate import physics

SIDE = 2048
Floats = NDArray[np.float32]

_NORMAL = np.linspace(-8, 8, 4097)


@dataclass(frozen=True)
class Sea:
    """A kind of clutter.

    Attributes:
        name: as printed.
        texture: its distribution.
        order: 1 / variance of the texture.
        scale_px: over which the texture varies: its correlation is exp(-(d / 2 scale)^2).
        noise: share of the mean intensity.
        gusts: standard deviation of the logarithm over some 20 px.
        wind: likewise over some 250 px.
        slicks: depth of slicks, in the logarithm.
        swell: amplitude of swell, in the logarithm.
        paired: the same sea in VH: texture at half strength, speckle of its own, noise as here given.
    """

    name: str
    texture: Literal["none", "k", "lognormal"] = "none"
    order: float = np.inf
    scale_px: float = 2.0
    noise: float = 0.0
    gusts: float = 0.0
    wind: float = 0.0
    slicks: float = 0.0
    swell: float = 0.0
    paired: float | None = None

    def texture_of_normal(self, strength: float = 1.0) -> NDArray[np.float32]:
        """Texture by the value of a normal field, at _NORMAL."""
        if self.texture == "none":
            return np.ones(len(_NORMAL), np.float32)
        if self.texture == "k":
            low = gamma.ppf(norm.cdf(np.minimum(_NORMAL, 0)), self.order, scale=1 / self.order)
            high = gamma.isf(norm.sf(np.maximum(_NORMAL, 0)), self.order, scale=1 / self.order)
            return np.where(_NORMAL < 0, low, high).astype(np.float32)
        sigma = np.sqrt(np.log1p(1 / self.order))
        return np.exp(strength * (sigma * _NORMAL - sigma**2 / 2)).astype(np.float32)


class Fields:
    """Draws a tile's fields, all periodic."""

    def __init__(self) -> None:
        frequency = np.fft.fftfreq(SIDE)
        self._band = np.flatnonzero(np.abs(frequency) <= physics.BANDWIDTH / 2)
        transfer = physics.HAMMING + (1 - physics.HAMMING) * np.cos(
            2 * np.pi * frequency[self._band] / physics.BANDWIDTH
        )
        self._transfer = (transfer / np.sqrt((transfer**2).sum())).astype(np.float32)
        self._squared = (frequency**2).astype(np.float32)

    def speckle(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """Draw the intensity of five weighted looks of unit mean, [SIDE, SIDE]."""
        total = np.zeros((SIDE, SIDE), np.float32)
        for weight in physics.LOOK_WEIGHTS / physics.LOOK_WEIGHTS.sum():
            white = physics.white_noise(rng, len(self._band), len(self._band))
            white *= np.outer(self._transfer, self._transfer)
            field = _inverse(self._band, white)
            total += np.float32(weight) * (field.real**2 + field.imag**2)
        return total

    def normal(self, rng: np.random.Generator, scale_px: float) -> NDArray[np.float32]:
        """Draw a normal field of unit variance and Gaussian correlation, [SIDE, SIDE]."""
        reach = np.exp(-2 * (np.pi * scale_px) ** 2 * self._squared)
        kept = np.flatnonzero(reach > 1e-7)
        shape = (reach[kept] / np.sqrt((reach[kept] ** 2).sum())).astype(np.float32)
        white = physics.white_noise(rng, len(kept), len(kept)) * np.float32(np.sqrt(2))
        return _inverse(kept, white * np.outer(shape, shape)).real.copy()


def _inverse(kept: NDArray[np.intp], spectrum: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Transform a spectrum that is zero outside some rows and columns."""
    tall = np.zeros((SIDE, len(kept)), np.complex64)
    tall[kept] = spectrum
    wide = np.zeros((SIDE, SIDE), np.complex64)
    wide[:, kept] = fft.ifft(tall, axis=0, norm="forward", overwrite_x=True)
    return np.asarray(fft.ifft(wide, axis=1, norm="forward", overwrite_x=True))


def smooth_sea(
    normal: Floats, texture: Floats, broad: Floats, noise: np.float32, speckle: Floats, out: Floats
) -> None:
    """The 3 x 3 mean of ((1 - noise) texture broad + noise) speckle, periodic, [SIDE, SIDE]."""
    at = np.clip((normal + np.float32(8)) * np.float32(256), 0, 4095.99)
    low = at.astype(np.int32)
    values = texture[low]
    values += (at - low) * (texture[1:] - texture[:-1])[low]
    values *= broad
    values *= 1 - noise
    values += noise
    values *= speckle
    across = np.roll(values, 1, 1) + values + np.roll(values, -1, 1)
    out[:] = (np.roll(across, 1, 0) + across + np.roll(across, -1, 0)) / np.float32(9)


def cells_of(smooth: Floats) -> NDArray[np.float64]:
    """Sum, sum of squares and peak of each cell, [3, rows, cols]."""
    rows = smooth.shape[0] // 8
    parts = smooth.reshape(rows, 8, rows, 8)
    total, square = (values.sum((1, 3), dtype=np.float64) for values in (parts, parts**2))
    return np.stack([total, square, parts.max((1, 3))])


def broad_of(sea: Sea, normal: dict[float, NDArray[np.float32]], strength: float) -> NDArray[np.float32]:
    """What varies over more than the texture's scale: gusts, wind, slicks, swell; [SIDE, SIDE]."""
    logs = np.zeros((SIDE, SIDE), np.float32)
    if sea.gusts or sea.wind:
        logs += np.float32(sea.gusts) * normal[20.0] + np.float32(sea.wind) * normal[250.0]
    if sea.slicks:
        logs -= np.float32(sea.slicks) * np.clip((normal[60.0] - np.float32(1.1)) * 4, 0, 1)
    if sea.swell:
        line, sample = np.arange(SIDE)[:, None], np.arange(SIDE)
        phase = 2 * np.pi * (90 * line + 60 * sample) / SIDE  # 19 px
        logs += np.float32(sea.swell) * np.cos(phase + normal[60.0]).astype(np.float32)
    return np.asarray(np.exp(np.float32(strength) * logs))
