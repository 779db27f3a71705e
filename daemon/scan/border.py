"""Cells that hold no data, hold border noise, or lie too near to either.

Two things lie between a product's edge and its image. Where nothing was recorded the numbers are zero: at
both ends of the lines, in steps, since the swath's start follows the earth. And products made before March
2018 (IPF before 2.90) were not cleaned beside it: there the numbers are small but not zero, along the lines'
ends and in the first and last lines of a datatake. They are too dark to be an image: the darkest sea still
returns the receiver's own noise. (In a real VH scene off Cape Hatteras, decimated, all but the darkest
twentieth of the pixels lay above 0.8 times the noise table of another scene of that mode.) Darkness alone is
not enough: it must reach the cell from the product's edge.

A product's first and last lines are cuts between slices, where the data goes on; they are no border.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError

CELL_PX = 8
MISSING_PX = 25  # zeros of a cell's 64 pixels that make it missing: fewer are dark water
NEAR_ROWS = 4  # rows beside a cell that may make it unsound
BORDER_ROWS = 32  # border noise of the first and last lines reaches so far: 256 lines

_DARK = 0.5  # share of the noise below which nothing is an image
# Noise-equivalent sigma0 where the table is zero, as throughout in IPF 2.36 and at swath ends in others: near
# the lowest of the real tables at hand that do not run out to zero (-31.3 dB; the others -29.9 to -28.1 dB).
_NOMINAL_NESZ = 10**-3.1

Bools = NDArray[np.bool_]
Values = NDArray[np.floating[Any]]


def unsound_cells(
    zeros: NDArray[Any],
    mean_dn2: Values | None,
    noise_dn2: Values | None,
    rows_above: int,
    rows_below: int,
    border_px: int,
    gain: Values | None = None,
) -> Bools:
    """Return which cells of a window of whole rows must not be looked at, [rows, cols].

    A row's answer does not depend on the window as long as it reaches BORDER_ROWS + NEAR_ROWS rows beyond,
    or to the scene's end.

    Args:
        zeros: pixels of each cell that are zero, of 64; in cells that the scene's end cuts, its last line
            and sample stand for the rest, [rows, cols].
        mean_dn2: mean of DN^2 in each cell, [rows, cols]; None for products that were made after the
            processor began to clean borders: there darkness means a table of noise that is too high, and is
            no reason not to look.
        noise_dn2: noise power there, as DN^2, [rows, cols]; None with ``mean_dn2``.
        rows_above: rows of the scene above the window.
        rows_below: rows below it.
        border_px: cells this near to missing data or border noise are unsound, at most 32.
        gain: sigma0 of a DN^2 of one, [rows, cols] or [1, cols]; None leaves cells alone whose noise is zero.

    Raises:
        InputError: border_px is out of range.
    """
    if not 0 <= border_px <= NEAR_ROWS * CELL_PX:
        raise InputError(f"got border_px {border_px}, expected 0 to {NEAR_ROWS * CELL_PX}")
    reach = -(-border_px // CELL_PX)
    missing: Bools = zeros >= MISSING_PX
    bad: Bools = missing
    if mean_dn2 is not None and noise_dn2 is not None:
        floor = noise_dn2 if gain is None else np.maximum(noise_dn2, np.float32(_NOMINAL_NESZ) / gain)
        void = missing | (mean_dn2 < np.float32(_DARK) * floor)
        bad = missing | (void & _reached(void, rows_above, rows_below))
    if not bad.any():
        return bad
    for axis in (0, 1):
        bad = _grown(bad, reach, axis)
    return bad


def _reached(void: Bools, rows_above: int, rows_below: int) -> Bools:
    """Return which cells only void cells part from the scene's edge, along their row or their column."""
    cols = np.arange(void.shape[1])
    sound = ~void
    some = sound.any(axis=1)
    first = np.where(some, sound.argmax(axis=1), len(cols))
    last = np.where(some, len(cols) - 1 - sound[:, ::-1].argmax(axis=1), -1)
    reached: Bools = (cols < first[:, None]) | (cols > last[:, None])
    if rows_above == 0:
        reached[:BORDER_ROWS] |= np.logical_and.accumulate(void[:BORDER_ROWS], axis=0)
    if rows_below == 0:
        reached[-BORDER_ROWS:] |= np.logical_and.accumulate(void[-BORDER_ROWS:][::-1], axis=0)[::-1]
    return reached


def _grown(cells: Bools, reach: int, axis: int) -> Bools:
    """Return where a cell lies at most `reach` away along an axis."""
    grown: Bools = cells.copy()
    at, out = np.moveaxis(cells, axis, 0), np.moveaxis(grown, axis, 0)
    for step in range(1, reach + 1):
        out[step:] |= at[:-step]
        out[:-step] |= at[step:]
    return grown
