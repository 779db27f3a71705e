"""The geoid: where the sea stands above or below the WGS84 ellipsoid.

The model is EGM96 on its published grid of a quarter of a degree, kept whole; between the nodes heights are
bilinear. The mean sea lies within about 1.5 m of it (currents), the tide aside.

The file holds the grid of ``WW15MGH.DAC`` (16-bit centimetres, rows from the north pole to the south pole,
columns from longitude 0 eastwards) so that it compresses: third differences, with 0, -1, 1,
-2, 2 ... written as 0, 1, 2, 3, 4 ..., all low bytes before all high bytes, zlib. `packed` and `unpacked`
are each other's inverse.
"""

from __future__ import annotations

import zlib
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.errors import InputError

Array = NDArray[np.float64]

MODEL = "EGM96, 15 minutes"
SHAPE = (721, 1440)
_FILE = Path(__file__).parent / "data" / "geoid.bin"
_PER_DEG = 4


def undulation_m(lon_deg: ArrayLike, lat_deg: ArrayLike) -> Array:
    """Return the geoid's height above the WGS84 ellipsoid.

    Args:
        lon_deg: longitude, any number of turns, [...].
        lat_deg: geodetic latitude, -90 to 90, [...].

    Returns:
        Heights in metres, [...]; NaN where a coordinate is.
    """
    lon, lat = np.broadcast_arrays(np.asarray(lon_deg, np.float64), np.asarray(lat_deg, np.float64))
    known = np.isfinite(lon) & np.isfinite(lat)
    row = np.where(known, np.clip(90 - lat, 0, 180), 0.0) * _PER_DEG
    col = np.where(known, lon, 0.0) % 360 * _PER_DEG
    top = np.minimum(row.astype(np.int64), SHAPE[0] - 2)
    left = col.astype(np.int64) % SHAPE[1]  # a hair below 0 comes out as a full turn
    down, across = row - top, col - np.floor(col)
    grid = _grid()
    at = top * grid.shape[1] + left
    flat = grid.ravel()
    north = flat[at] * (1 - across) + flat[at + 1] * across
    at += grid.shape[1]
    south = flat[at] * (1 - across) + flat[at + 1] * across
    height = (north * (1 - down) + south * down) / 100
    return np.where(known, height, np.nan)


@cache
def _grid() -> NDArray[np.int16]:
    """Return the grid in centimetres, its first column repeated behind the last, [721, 1441]."""
    grid = unpacked(_FILE.read_bytes())
    return np.concatenate([grid, grid[:, :1]], axis=1)


def packed(grid_cm: NDArray[np.int16]) -> bytes:
    """Return the file's bytes of a grid, [721, 1440]."""
    rest = grid_cm.astype(np.int32)
    for axis in (0, 1, 1):
        rest = np.diff(rest, axis=axis, prepend=0)
    mapped = (rest << 1) ^ (rest >> 31)
    if grid_cm.shape != SHAPE or mapped.max() > 0xFFFF:
        raise InputError(f"got a grid of shape {grid_cm.shape} or one too rough, expected EGM96's {SHAPE}")
    planes = mapped.astype("<u2").view(np.uint8).reshape(-1, 2).T
    return zlib.compress(planes.tobytes(), 9)


def unpacked(data: bytes) -> NDArray[np.int16]:
    """Return the grid of a file's bytes in centimetres, [721, 1440]."""
    planes = np.frombuffer(zlib.decompress(data), np.uint8).reshape(2, *SHAPE)
    mapped = planes[0].astype(np.int32) | planes[1].astype(np.int32) << 8
    grid: NDArray[np.int32] = (mapped >> 1) ^ -(mapped & 1)
    for axis in (1, 1, 0):
        grid = np.cumsum(grid, axis=axis, dtype=np.int32)
    return grid.astype(np.int16)
