"""The compiled loops over pixels, each with its plain formula; their source is ``kernels.c``.

Pixels are summed up into cells of 8 x 8, four cells make a patch. Lines of the image and rows of cells and of
patches are kept in circles: line l lies at l mod the circle's length, so that memory is bounded and nothing
is ever moved.

``s`` is the sum of 3 x 3 squared digital numbers around a pixel, edges repeated beyond the scene: nine times
the mean intensity there.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CELL_PX = 8
PATCH = 2  # cells to a side of a patch: what changes slowly is known by patches
PATCH_PX = PATCH * CELL_PX
Uint8 = NDArray[np.uint8]
Uint16 = NDArray[np.uint16]
Int64 = NDArray[np.int64]
Float32 = NDArray[np.float32]


def _load() -> ctypes.CDLL:
    folder = Path(__file__).parent
    for suffix in EXTENSION_SUFFIXES:
        if (library := folder / f"_kernels{suffix}").is_file():
            return ctypes.CDLL(str(library))
    raise ImportError(
        f"got no compiled kernels in {folder}, expected _kernels{EXTENSION_SUFFIXES[0]}: install the package "
        "(pip install -e . in a source tree)"
    )


_LIBRARY = _load()
_ARRAYS = {
    code: np.ctypeslib.ndpointer(np.dtype(kind), flags="C_CONTIGUOUS")
    for code, kind in {
        "B": "u1", "H": "u2", "i": "i4", "q": "i8", "f": "f4", "d": "f8",
    }.items()
}  # fmt: skip
_SCALARS = {"n": ctypes.c_int64, "x": ctypes.c_double, "y": ctypes.c_float}


def bound(name: str, arguments: str, result: Any = None) -> Any:
    """Return a function of the library, which checks the kinds of its arrays.

    Args:
        name: of the function.
        arguments: a letter for each: arrays B uint8, H uint16, i int32, q int64, f float32, d float64;
            numbers n integer, x double, y float.
        result: its type; None for none.
    """
    function = getattr(_LIBRARY, name)
    function.argtypes = [_ARRAYS.get(code) or _SCALARS[code] for code in arguments]
    function.restype = result
    return function


_sum_cells = bound("sum_cells", "Hnnnnnfnnf")
_exceeding = bound("exceeding", "HnnnqnfBnnqqqnnifBq", ctypes.c_int64)
_link = bound("link_pixels", "qqnnq", ctypes.c_int64)
_sum_clusters = bound("sum_clusters", "qnqqddq")


def sum_cells(
    lines: Uint16, first_row: int, stop_row: int, total_lines: int, noise: Float32, sums: Float32
) -> None:
    """Sum up the pixels of each cell.

    Plainly, over the cell's pixels: sums[0] = sum of s, sums[1] = sum of s^2, sums[2] = max of s, sums[3] =
    number of zeros, sums[4] = number of DN^2 < noise. Pixels beyond the scene repeat its last ones.

    Args:
        lines: circle of lines, [K, samples]; line 8 stop_row must be there unless the scene ends before.
        first_row: first row of cells.
        stop_row: row after the last.
        total_lines: lines of the scene.
        noise: noise power in DN^2 of patches, circle of rows, [R/2, cols/2].
        sums: circle of rows of cells that receives the sums, [5, R, cols]; R even.
    """
    _sum_cells(lines, *lines.shape, first_row, stop_row, total_lines, noise, *sums.shape[1:], sums)


@dataclass(frozen=True, slots=True)
class LandRuns:
    """Runs of land along the scene's lines, by line and sample.

    Attributes:
        first: index of each line's first run, and the number of runs, [lines + 1].
        start: first sample of each run, [n].
        stop: the sample after its last, [n].
    """

    first: Int64
    start: Int64
    stop: Int64

    @classmethod
    def of(cls, lines: int, line: Int64, start: Int64, stop: Int64) -> LandRuns:
        """Index runs by their lines; runs beside the scene are left out."""
        inside = slice(*np.searchsorted(line, [0, lines]))
        return cls(np.searchsorted(line[inside], np.arange(lines + 1)), start[inside], stop[inside])


def exceeding(
    lines: Uint16,
    total_lines: int,
    cells: Int64,
    limits: Float32,
    ashore: Uint8,
    land: LandRuns,
    reach_px: int,
    shade_px: int,
) -> tuple[NDArray[np.int32], Float32, NDArray[np.bool_], int]:
    """Take the pixels of some cells whose s exceeds the cell's limit, save those on and beside land.

    Args:
        lines: circle of lines, [K, samples]; those within ``shade_px`` + 1 of the cells are read.
        total_lines: lines of the scene.
        cells: row and column of each cell, by row, [n, 2], n at least 1.
        limits: of each cell, [n].
        ashore: 1 for cells where land has to be looked for, [rows, cols] of the scene.
        land: where it is.
        reach_px: pixels that have land this close, in line and in sample, are left out.
        shade_px: pixels that one of those outshines from this close are shaded; of each cell only the
            brightest of them counts.

    Returns:
        Cell, line and sample of each pixel, by line and sample, [m, 3]; s of each, [m]; True for the
        shaded, [m]; number of pixels beside land that were not looked at.
    """
    found = np.empty((CELL_PX**2 * len(cells), 3), np.int32)
    sums = np.empty(CELL_PX**2 * len(cells), np.float32)
    shaded = np.empty(CELL_PX**2 * len(cells), np.uint8)
    left_out = np.zeros(1, np.int64)
    count = _exceeding(
        lines, *lines.shape, total_lines, cells, len(cells), limits, ashore, *ashore.shape,
        land.first, land.start, land.stop, reach_px, shade_px, found, sums, shaded, left_out,
    )  # fmt: skip
    if count < 0:
        raise MemoryError(f"got no memory to look at {len(cells)} cells")
    return found[:count].copy(), sums[:count].copy(), shaded[:count] > 0, int(left_out[0])


def link(line: Int64, sample: Int64, gap_px: int) -> tuple[Int64, int]:
    """Label pixels that are joined by steps of at most ``gap_px`` in line and in sample.

    Plainly: the connected components of the graph of such steps.

    Args:
        line: sorted, [n].
        sample: sorted within a line, [n].
        gap_px: longest step.

    Returns:
        Component of each pixel, numbered by their first pixels, [n]; number of components.
    """
    label = np.empty(len(line), np.int64)
    count = _link(line, sample, len(line), gap_px, label)
    if count < 0:
        raise MemoryError(f"got no memory to join {len(line)} pixels")
    return label, int(count)


def sum_clusters(
    label: Int64, count: int, line: Int64, sample: Int64, contrast: NDArray[np.float64]
) -> tuple[NDArray[np.float64], Int64]:
    """Sum up the pixels of each cluster.

    Plainly: sums[:, :4] = the box, x1, y1, x2, y2 at pixel edges; sums[:, 4:] = sums of weight, weight line
    and weight sample, the weight being what the contrast has over one.

    Args:
        label: cluster of each pixel, [n].
        count: number of clusters.
        line: [n].
        sample: [n].
        contrast: intensity over the sea's mean, [n].

    Returns:
        Sums, [count, 7], and the index of each cluster's first brightest pixel, [count].
    """
    sums, brightest = np.empty((count, 7)), np.full(count, -1, np.int64)
    _sum_clusters(label, len(label), line, sample, contrast, sums, brightest)
    return sums, brightest
