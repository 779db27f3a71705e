"""How far each pixel of a chip stands out from the sea around it: the prescreen's statistic as a channel.

The natural logarithm of 3 x 3 means of intensity, noise left in, less its mean in a ring around, in standard
deviations of that ring, bright pixels trimmed; the polarisation that stands out more counts. Ring and guard
go by cells of 6 px, and all numbers are the chip's own: whoever cuts it, training and service see the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

CELL_PX = 6
GUARD_CELLS = 3  # a pixel's cell and so many on each side are no background
AROUND_CELLS = 8
_ROUNDS = 3  # each leaves out what stood out in the last
_TRIMMED = 3.0  # standard deviations
_LEAST_SPREAD = 0.05
_FEWEST = 200  # pixels of background; with fewer, nothing is said: 0
_FLOOR = 1e-6

Floats = NDArray[np.floating]


def exceedance(bands: Sequence[Floats], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return how far pixels stand out, in standard deviations.

    Args:
        bands: linear intensities, [..., H, W] each.
        valid: False where there is no data, [..., H, W].

    Returns:
        The largest over the bands, [..., H, W]; 0 without data and where too little sea is around.
    """
    height, width = valid.shape[-2:]
    beyond = [(0, 0)] * (valid.ndim - 2) + [(0, -side % CELL_PX) for side in (height, width)]
    known = np.pad(valid, beyond)
    found = np.maximum.reduce([_standing_out(np.pad(band, beyond), known) for band in bands])
    return np.asarray(np.where(valid, found[..., :height, :width], 0), np.float32)


def _standing_out(band: Floats, valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    level = _level(band, valid)
    height, width = valid.shape[-2:]
    rings = [_rings(side // CELL_PX) for side in (height, width)]
    strips = (*valid.shape[:-2], height // CELL_PX, CELL_PX, width)  # rows of cells
    level, known = level.reshape(strips), valid.reshape(strips).astype(np.float32)
    sea = known
    z = np.zeros_like(level)
    for _ in range(_ROUNDS):
        shown = level * sea
        cells = np.stack([_cells(values) for values in (sea, shown, shown * level)])
        count, total, squares = _ring(cells, *rings)
        least = np.maximum(count, 1)
        mean = total / least
        spread = np.sqrt(np.maximum(squares / least - mean * mean, _LEAST_SPREAD**2))
        slope = (count >= _FEWEST) / spread
        z = (level - _wide(mean)) * _wide(slope)
        sea = known * (z < _TRIMMED)
    return z.reshape(valid.shape)


def _level(band: Floats, valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the logarithm of 3 x 3 means, less its own mean, which keeps squares' differences exact."""
    total = _sums(np.where(valid, band, 0).astype(np.float32))
    level = np.log(np.maximum(total / np.maximum(_sums(valid.astype(np.float32)), 1), _FLOOR))
    sums, count = (each.sum(axis=(-2, -1), keepdims=True) for each in (level * valid, valid))
    return np.asarray(level - sums / np.maximum(count, 1), np.float32)


def _cells(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sum pixels in rows of cells, [..., rows, CELL_PX, W], to cells, [..., rows, columns]."""
    rows = values.sum(axis=-2)
    return np.asarray(rows.reshape(*rows.shape[:-1], -1, CELL_PX).sum(axis=-1), np.float32)


def _wide(cells: Floats) -> NDArray[np.float32]:
    """Give each pixel of a row of cells its cell's value, [..., rows, 1, W]."""
    return np.asarray(np.repeat(cells, CELL_PX, axis=-1)[..., None, :], np.float32)


def _sums(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return sums over 3 x 3 pixels, zeros beyond the edges."""
    out = values.copy()
    out[..., 1:, :] += values[..., :-1, :]
    out[..., :-1, :] += values[..., 1:, :]
    across: NDArray[np.float32] = out.copy()
    across[..., 1:] += out[..., :-1]
    across[..., :-1] += out[..., 1:]
    return across


@lru_cache(maxsize=8)
def _rings(cells: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the matrices that sum cells at most AROUND_CELLS, and at most GUARD_CELLS, away."""
    apart = np.abs(np.arange(cells)[:, None] - np.arange(cells))
    around, guard = (np.asarray(apart <= reach, np.float32) for reach in (AROUND_CELLS, GUARD_CELLS))
    return around, guard


def _ring(
    cells: NDArray[np.float32],
    rows: tuple[NDArray[np.float32], NDArray[np.float32]],
    columns: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> NDArray[np.float32]:
    around, guard = (by_row @ cells @ by_column for by_row, by_column in zip(rows, columns, strict=True))
    return np.asarray(around - guard, np.float32)
