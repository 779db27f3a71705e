"""Uncompressed TIFF strips, read as the bytes they are.

What ESA delivers in a SAFE folder is one run of rows on disk, or a few. Reading it so takes a tenth of what a
raster library needs for the same; for anything else `strips_of` gives None and the library serves.
"""

from __future__ import annotations

import os
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_WIDTH, _HEIGHT, _BITS, _COMPRESSION = 256, 257, 258, 259
_OFFSETS, _SAMPLES, _ROWS, _COUNTS, _PREDICTOR, _FORMAT = 273, 277, 278, 279, 317, 339
_WANTED = {_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _OFFSETS, _SAMPLES, _ROWS, _COUNTS, _PREDICTOR, _FORMAT}
_MOST_ITEMS = 1 << 20  # more strips than any scene has lines
_TYPES = {3: "<u2", 4: "<u4", 16: "<u8"}
_PLAIN = {_BITS: 16, _COMPRESSION: 1, _SAMPLES: 1, _PREDICTOR: 1, _FORMAT: 1}


@dataclass(frozen=True, slots=True)
class Strips:
    """Rows of 16-bit numbers in runs of bytes.

    Attributes:
        path: the file.
        shape: lines and samples.
        lines: line with which each run begins, and the number of lines, [n + 1].
        offsets: where each run begins in the file, [n].
    """

    path: str
    shape: tuple[int, int]
    lines: NDArray[np.int64]
    offsets: NDArray[np.int64]

    @property
    def end(self) -> int:
        """Where the last run ends in the file."""
        return int((self.offsets + np.diff(self.lines) * self.shape[1] * 2).max())

    def read_into(self, first_line: int, out: NDArray[np.uint16], first_sample: int = 0) -> None:
        """Fill lines, [lines, samples], contiguous; whole ones are read together.

        Raises:
            OSError: the file cannot be read, or ends early.
        """
        pitch, stop = self.shape[1] * 2, first_line + len(out)
        handle = os.open(self.path, os.O_RDONLY)
        try:
            for run in range(int(np.searchsorted(self.lines, first_line, "right")) - 1, len(self.offsets)):
                low, high = max(int(self.lines[run]), first_line), min(int(self.lines[run + 1]), stop)
                if low >= stop:
                    break
                part = out[low - first_line : high - first_line]
                at = int(self.offsets[run]) + (low - int(self.lines[run])) * pitch + 2 * first_sample
                if part.shape[1] == self.shape[1]:
                    _fill(handle, part.data.cast("B"), at)
                    continue
                for k, line in enumerate(part):
                    _fill(handle, line.data.cast("B"), at + k * pitch)
        finally:
            os.close(handle)


def _fill(handle: int, view: memoryview, at: int) -> None:
    done = 0
    while done < len(view):
        got = os.preadv(handle, [view[done:]], at + done)
        if got == 0:
            raise OSError(f"got {done} bytes at {at}, expected {len(view)}: the file ends early")
        done += got


def strips_of(path: str) -> Strips | None:
    """Return the strips of a local file; None where it is not a plain run of 16-bit rows."""
    if sys.byteorder != "little" or not hasattr(os, "preadv") or not Path(path).is_file():
        return None
    try:
        with open(path, "rb") as file:
            tags = _tags(file.fileno())
    except (OSError, struct.error, ValueError):
        return None  # whatever is wrong with it, the library says it better
    if any(np.any(tags.get(tag, np.array([value])) != value) for tag, value in _PLAIN.items()):
        return None
    if not {_WIDTH, _HEIGHT, _BITS, _OFFSETS, _ROWS, _COUNTS} <= tags.keys():
        return None
    offsets, counts, rows = tags[_OFFSETS], tags[_COUNTS], int(tags[_ROWS][0])
    shape = int(tags[_HEIGHT][0]), int(tags[_WIDTH][0])
    lines = np.append(np.arange(len(offsets)) * rows, shape[0])
    if len(counts) != len(offsets) or np.any(np.diff(lines) * shape[1] * 2 != counts):
        return None
    begins = np.append(True, offsets[1:] != offsets[:-1] + counts[:-1])
    return Strips(path, shape, np.append(lines[:-1][begins], shape[0]), offsets[begins])


def _tags(handle: int) -> dict[int, NDArray[np.int64]]:
    """Return the integer tags of the first directory of a little-endian TIFF or BigTIFF."""
    head = os.pread(handle, 16, 0)
    if head[:4] == b"II*\0":
        at, number, entry, inline = struct.unpack("<I", head[4:8])[0], "<H", 12, 4
    elif head[:4] == b"II+\0":
        at, number, entry, inline = struct.unpack("<Q", head[8:16])[0], "<Q", 20, 8
    else:
        return {}
    size = struct.calcsize(number)
    count = struct.unpack(number, os.pread(handle, size, at))[0]
    table = os.pread(handle, count * entry, at + size)
    tags = {}
    for k in range(count):
        tag, kind = struct.unpack_from("<HH", table, k * entry)
        if kind not in _TYPES or tag not in _WANTED:
            continue
        dtype = np.dtype(_TYPES[kind])
        items = struct.unpack_from("<I" if inline == 4 else "<Q", table, k * entry + 4)[0]
        if not 0 < items <= _MOST_ITEMS:
            return {}
        place = k * entry + entry - inline
        data = table[place : place + items * dtype.itemsize]
        if items * dtype.itemsize > inline:
            data = os.pread(
                handle,
                items * dtype.itemsize,
                struct.unpack_from("<I" if inline == 4 else "<Q", table, place)[0],
            )
        tags[tag] = np.frombuffer(data, dtype).astype(np.int64)
    return tags
