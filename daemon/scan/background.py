"""The sea's statistics on a coarse grid: what a pixel must exceed to stand out.

A scene is summed into cells of 8 x 8 px. The background of a cell is the square ring around it, between
a guard wide enough for the longest ship and an outer edge. All windows here are sums of cells, so their
cost is a 64th of the pixels', and each sum adds its own cells in a fixed order: nothing outside a window
touches it, not even by rounding, as it would through an integral image.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainccinv, ndtri

CELL_PX = 8
_HALF_FULL = CELL_PX * CELL_PX // 2  # background pixels that a cell needs to speak of its peak
_RING_SHARE = 0.05  # share of the ring that must be sea, else it says too little
_TRIM_SIGMAS = 3.0

ClutterModel = Literal["gamma", "lognormal"]
Array = NDArray[np.float64]
_F = TypeVar("_F", bound=np.floating[Any])


@dataclass(frozen=True, slots=True)
class CellSums:
    """Sums over the background pixels of each cell, in one polarisation, [rows, cols] each.

    Background pixels are valid sea away from land. ``smooth`` is the 3 x 3 mean of sigma0.
    """

    count: Array  # background pixels
    total: Array  # of smooth
    square: Array  # of smooth^2
    noise: Array  # of the noise-equivalent sigma0
    peak: Array  # highest smooth intensity, noise left in
    negative: Array  # background pixels whose sigma0 is below zero
    searched_peak: Array  # highest smooth sigma0 over the searched pixels; -inf without any
    searched_noise: Array  # mean noise-equivalent sigma0 over the searched pixels

    @classmethod
    def empty(cls, shape: tuple[int, int]) -> CellSums:
        """Return sums without any pixel."""
        sums = cls(*(np.zeros(shape, np.float64) for _ in fields(cls)))
        sums.searched_peak.fill(-np.inf)
        return sums

    def put(self, where: tuple[slice, slice], part: CellSums) -> None:
        """Enter the sums of a part of the grid."""
        for field in fields(self):
            getattr(self, field.name)[where] = getattr(part, field.name)


@dataclass(frozen=True, slots=True)
class Background:
    """What surrounds each cell, [rows, cols] each; NaN where no cell of the scene has any background."""

    mean: Array  # of sigma0
    noise: Array  # mean noise-equivalent sigma0
    spread: Array  # standard deviation of the smooth intensity over its mean


def summarise(
    sigma0: NDArray[np.float32],
    nesz: NDArray[np.float32],
    valid: NDArray[np.bool_],
    searched: NDArray[np.bool_],
    background: NDArray[np.bool_],
    smooth: NDArray[np.float32],
) -> CellSums:
    """Sum pixels into cells; all arrays are [8 rows, 8 cols]."""
    searched_count = cell_sum(searched)
    return CellSums(
        count=cell_sum(background),
        total=cell_sum(np.where(background, smooth, 0)),
        square=cell_sum(np.where(background, smooth.astype(np.float64) ** 2, 0)),
        noise=cell_sum(np.where(background, nesz, 0)),
        peak=cell_max(np.where(background, smooth + nesz, 0)),
        negative=cell_sum(background & valid & (sigma0 < 0)),
        searched_peak=cell_max(np.where(searched, smooth, -np.inf)),
        searched_noise=cell_sum(np.where(searched, nesz, 0)) / np.maximum(searched_count, 1),
    )


def smooth3(sigma0: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Average each valid pixel with its valid neighbours, 3 x 3; [h, w] to [h - 2, w - 2]."""
    total = _three(_three(np.where(valid, sigma0, np.float32(0)), 0), 1)
    count = _three(_three(valid.astype(np.float32), 0), 1)
    return np.where(valid[1:-1, 1:-1], total / np.maximum(count, 1), np.float32(0))


def measure_background(sums: CellSums, guard_m: float, background_m: float, cell_m: float) -> Background:
    """Take mean and spread of the sea around each cell, bright neighbours left out.

    A cell is bright when the logarithm of its peak lies three standard deviations above the mean over its
    own ring; logarithms keep one ship from hiding another. Where the ring holds too little sea, the
    median of the scene stands in.

    Args:
        sums: of one polarisation.
        guard_m: half side of the guard.
        background_m: half side of the ring's outer edge.
        cell_m: side of a cell.

    Returns:
        Background, over the cells that are not bright.
    """
    guard, radius = ring_cells(guard_m, background_m, cell_m)
    speaks = sums.count >= _HALF_FULL
    level = np.where(speaks, np.log(np.maximum(sums.peak, 1e-12)), 0)
    n = np.maximum(ring_sum(speaks.astype(np.float64), guard, radius), 1)
    mean = ring_sum(level, guard, radius) / n
    variance = np.maximum(ring_sum(level**2, guard, radius) / n - mean**2, 0)
    keep = ~(speaks & (level > mean + _TRIM_SIGMAS * np.sqrt(variance)))

    count = ring_sum(np.where(keep, sums.count, 0), guard, radius)
    enough = count >= _RING_SHARE * CELL_PX**2 * ((2 * radius + 1) ** 2 - (2 * guard + 1) ** 2)
    divisor = np.maximum(count, 1)
    mean = ring_sum(np.where(keep, sums.total, 0), guard, radius) / divisor
    noise = ring_sum(np.where(keep, sums.noise, 0), guard, radius) / divisor
    square = ring_sum(np.where(keep, sums.square, 0), guard, radius) / divisor
    deviation = np.sqrt(np.maximum(square - mean**2, 0))
    spread = deviation / np.maximum(mean + noise, 1e-12)
    return Background(*(_filled(values, enough, count > 0) for values in (mean, noise, spread)))


def ring_cells(guard_m: float, background_m: float, cell_m: float) -> tuple[int, int]:
    """Half sides of guard and ring in cells, at least one cell apart."""
    guard = max(int(round(guard_m / cell_m)), 1)
    return guard, max(int(round(background_m / cell_m)), guard + 1)


def thresholds(
    background: Background, noise_here: Array, false_alarm_rate: float, model: ClutterModel
) -> Array:
    """Smooth sigma0 that sea exceeds with the given probability a pixel; +inf where nothing is known.

    The sea's intensity with its noise left in is taken as gamma or log-normal distributed with the
    background's mean and spread; the noise at the cell itself is then taken off again.
    """
    spread = np.linspace(0.02, 3.0, 600)
    if model == "gamma":
        shape = 1 / spread**2
        factor = gammainccinv(shape, false_alarm_rate) / shape
    else:
        sigma = np.sqrt(np.log1p(spread**2))
        factor = np.exp(-ndtri(false_alarm_rate) * sigma - sigma**2 / 2)
    times = np.interp(background.spread, spread, factor)
    intensity = np.maximum(background.mean + noise_here, 0)
    result: Array = np.where(np.isfinite(background.mean), intensity * times - noise_here, np.inf)
    return result


def ring_sum(values: Array, guard: int, radius: int) -> Array:
    """Sum a square ring around each cell; zeros beyond the grid. [rows, cols] to [rows, cols]."""
    rows, cols = values.shape
    side = radius - guard
    padded = np.pad(values, radius)
    across = window_sum(padded, 2 * radius + 1, 1)
    bands = window_sum(across, side, 0)
    beside = window_sum(padded, side, 1)
    beside = beside[:, :cols] + beside[:, radius + guard + 1 :][:, :cols]
    middle = window_sum(beside, 2 * guard + 1, 0)
    return bands[:rows] + bands[radius + guard + 1 :][:rows] + middle[side : side + rows]


def window_sum(values: Array, length: int, axis: int) -> Array:
    """Sum ``length`` neighbours along an axis by doubling; the axis shrinks by length - 1."""
    size = values.shape[axis] - length + 1
    power, start, total = values, 0, None
    for bit in range(length.bit_length()):
        if length >> bit & 1:
            part: Array = _cut(power, start, size, axis)
            total = part if total is None else total + part
            start += 1 << bit
        if length >> (bit + 1):
            reach = power.shape[axis] - (1 << bit)
            power = _cut(power, 0, reach, axis) + _cut(power, 1 << bit, reach, axis)
    if total is None:
        raise ValueError(f"got a window of {length} cells, expected at least 1")
    return total


def cell_sum(values: NDArray[np.generic]) -> Array:
    """Sum cells of 8 x 8 px, in a fixed order; [8 rows, 8 cols] to [rows, cols]."""
    wide = values.astype(np.float64)
    rows = sum((wide[k::CELL_PX] for k in range(1, CELL_PX)), wide[0::CELL_PX])
    total: Array = sum((rows[:, k::CELL_PX] for k in range(1, CELL_PX)), rows[:, 0::CELL_PX])
    return total


def cell_max(values: NDArray[np.floating]) -> Array:
    """Take the maximum of cells of 8 x 8 px; [8 rows, 8 cols] to [rows, cols]."""
    rows, cols = values.shape[0] // CELL_PX, values.shape[1] // CELL_PX
    peak: Array = values.reshape(rows, CELL_PX, cols, CELL_PX).max(axis=(1, 3)).astype(np.float64)
    return peak


def _three(values: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    size = values.shape[axis] - 2
    total: NDArray[np.float32] = (
        _cut(values, 0, size, axis) + _cut(values, 1, size, axis) + _cut(values, 2, size, axis)
    )
    return total


def _cut(values: NDArray[_F], start: int, size: int, axis: int) -> NDArray[_F]:
    return values[start : start + size] if axis == 0 else values[:, start : start + size]


def _filled(values: Array, enough: NDArray[np.bool_], some: NDArray[np.bool_]) -> Array:
    known = enough if enough.any() else some
    fallback = float(np.median(values[known])) if known.any() else np.nan
    return np.where(known, values, fallback)
