"""The AlphaEarth prior of a chip: bytes to vectors, anchors over the chip, what is known and what is not.

AlphaEarth's annual embedding is 64 bytes a pixel of 10 m, value = sign(q) (q / 127.5)^2, -128 where there is
no data; the values of a pixel have unit length (earthengine guide "aef_on_gcs_readme"). It covers land and
shallow coast: over the open sea there is no prior, and that is an ordinary input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.errors import InputError
from engine.runtime.image import ANCHORS_SIDE

ANCHORS = ANCHORS_SIDE  # anchors a side
PRIOR_DIM = 64
YEARS = (1, 2)  # of how many a prior can be; bundles take one
NODATA = -128
_SCALE = 127.5
_EPS = 1e-6

_BYTES = np.arange(-128, 128, dtype=np.float64)
_TABLE = np.where(_BYTES == NODATA, np.nan, np.sign(_BYTES) * (_BYTES / _SCALE) ** 2).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Prior:
    """What AlphaEarth says about a chip.

    Attributes:
        vectors: float32 [S, 64], or [S, 128] of two years, the newest first; zeros where the mask is False.
        positions: float32 [S, 2], (y, x) in [0, 1] over the whole chip.
        mask: bool [S], True where an anchor has a vector (of every year).
        year: the newest year of the embedding; None where there is none or it is not known.

    Raises:
        InputError: shapes differ, or a vector is not finite.
    """

    vectors: NDArray[np.float32]
    positions: NDArray[np.float32]
    mask: NDArray[np.bool_]
    year: int | None

    def __post_init__(self) -> None:
        count = len(self.mask)
        widths = [PRIOR_DIM * years for years in YEARS]
        if self.vectors.shape not in [(count, width) for width in widths] or self.positions.shape != (
            count,
            2,
        ):
            raise InputError(
                f"got vectors {self.vectors.shape}, positions {self.positions.shape} and mask "
                f"{self.mask.shape}, expected [S, {PRIOR_DIM}] (or twice as wide), [S, 2] and [S]"
            )
        if not np.isfinite(self.vectors).all():
            raise InputError("got vectors that are not finite, expected zeros where the mask is False")

    @property
    def years(self) -> int:
        """Of how many years the vectors are."""
        return int(self.vectors.shape[1]) // PRIOR_DIM

    @property
    def status(self) -> Literal["absent", "partial", "full"]:
        """Whether none, some or all of the anchors have a vector."""
        if not self.mask.any():
            return "absent"
        return "full" if self.mask.all() else "partial"

    @classmethod
    def absent(cls) -> Prior:
        """Return the prior of a place that AlphaEarth does not cover."""
        positions = anchor_positions()
        count = len(positions)
        return cls(np.zeros((count, PRIOR_DIM), np.float32), positions, np.zeros(count, np.bool_), None)

    @classmethod
    def from_bytes(cls, raw: NDArray[np.int8], year: int | None, positions: ArrayLike | None = None) -> Prior:
        """Return the prior of anchors' bytes, masked where any of them is -128.

        Args:
            raw: int8 [64, S] or [64, rows, columns]; of two years [128, ...], the newest first.
            year: the newest of the embedding; dropped where every anchor is masked.
            positions: (y, x) of each anchor; None for the grid of `anchor_positions`.
        """
        vectors = dequantise(raw).reshape(len(raw), -1).T
        mask = np.isfinite(vectors).all(axis=1)
        return cls(
            np.ascontiguousarray(np.where(mask[:, None], vectors, np.float32(0))),
            anchor_positions() if positions is None else np.asarray(positions, np.float32),
            mask,
            year if mask.any() else None,
        )


def dequantise(raw: NDArray[np.int8]) -> NDArray[np.float32]:
    """Return the values of AlphaEarth bytes: sign(q) (q / 127.5)^2, NaN where -128.

    Raises:
        InputError: the bytes are not int8.
    """
    if raw.dtype != np.int8:
        raise InputError(f"got AlphaEarth values of {raw.dtype}, expected int8: read them without scaling")
    values: NDArray[np.float32] = _TABLE[raw.astype(np.int16) + 128]
    return values


def quantise(values: NDArray[np.floating]) -> NDArray[np.int8]:
    """Return the nearest AlphaEarth bytes of values in [-1, 1], -128 where NaN."""
    known = np.nan_to_num(values)
    q = np.clip(np.rint(np.sign(known) * np.sqrt(np.abs(known)) * _SCALE), -127, 127)
    raw: NDArray[np.int8] = np.where(np.isnan(values), NODATA, q).astype(np.int8)
    return raw


def anchor_positions(side: int = ANCHORS) -> NDArray[np.float32]:
    """Return where the anchors of a chip are: (y, x) of the centres of side x side equal cells, [S, 2].

    A position p lies at pixel p * size - 0.5 of a chip of that size, since integers are pixel centres.
    """
    along = (np.arange(side, dtype=np.float32) + 0.5) / side
    y, x = np.meshgrid(along, along, indexing="ij")
    return np.stack([y.ravel(), x.ravel()], axis=1)


def gaussian_weights(
    positions: NDArray[np.floating],
    mask: NDArray[np.bool_],
    grid_h: int,
    grid_w: int,
    sigma: float = 1.0,
    *,
    renormalise: bool = True,
) -> NDArray[np.float32]:
    """Return how much each anchor weighs in each token of a grid, [grid_h * grid_w, S].

    w = exp(-d^2 / (2 sigma^2)), d in cells between token and position * (grid - 1); divided by its sum over
    all anchors + 1e-6, masked, and divided by its sum again. The plain form of what the vision graph holds.

    Args:
        positions: (y, x) in [0, 1], [S, 2].
        mask: [S].
        grid_h: rows of tokens.
        grid_w: columns of tokens.
        sigma: in cells.
        renormalise: False leaves out the second division: then weights fade where anchors are masked.
    """
    anchors = np.asarray(positions, np.float32) * np.array([grid_h - 1, grid_w - 1], np.float32)
    y, x = np.meshgrid(np.arange(grid_h), np.arange(grid_w), indexing="ij")
    tokens = np.stack([y.ravel(), x.ravel()], axis=1).astype(np.float32)
    squares = np.square(tokens[:, None] - anchors[None]).sum(axis=-1)
    weights: NDArray[np.float32] = np.exp(-squares / np.float32(2 * sigma**2))
    weights /= weights.sum(axis=1, keepdims=True) + _EPS
    weights *= mask
    if renormalise:
        weights /= weights.sum(axis=1, keepdims=True) + _EPS
    return weights
