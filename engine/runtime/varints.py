"""Integers in as few bytes as they need: how the coastline's file writes its vertices."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def zigzag(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Map signed integers to non-negative ones, small to small: 0, -1, 1, -2 to 0, 1, 2, 3."""
    return np.where(values >= 0, 2 * values, -2 * values - 1)


def unzigzag(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Undo `zigzag`."""
    return (values >> 1) ^ -(values & 1)


def pack_varints(values: NDArray[np.int64]) -> bytes:
    """Write non-negative integers in groups of seven bits, the low ones first (LEB128)."""
    rest = values.astype(np.uint64)
    groups = np.stack([(rest >> np.uint64(7 * k)) & np.uint64(0x7F) for k in range(5)], axis=1).astype(
        np.uint8
    )
    last = np.max(np.where(groups > 0, np.arange(5), 0), axis=1)
    groups |= np.where(np.arange(5) < last[:, None], 0x80, 0).astype(np.uint8)
    packed: bytes = groups[np.arange(5) <= last[:, None]].tobytes()
    return packed


def unpack_varints(data: bytes) -> NDArray[np.int64]:
    """Undo `pack_varints`."""
    raw = np.frombuffer(data, np.uint8)
    starts = np.flatnonzero(np.concatenate([[True], raw[:-1] < 0x80]))
    place = np.arange(len(raw)) - np.repeat(starts, np.diff(np.append(starts, len(raw))))
    return np.add.reduceat((raw & 0x7F).astype(np.int64) << (7 * place), starts)
