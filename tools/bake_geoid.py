"""Bake the EGM96 geoid into `engine/runtime/data/geoid.bin`.

    python tools/bake_geoid.py WW15MGH.DAC
    python tools/bake_geoid.py /usr/share/proj/egm96_15.gtx

Reads the grid of a quarter of a degree in either of its published forms: NGA's WW15MGH.DAC (16-bit big-endian
centimetres from the north pole and longitude 0), or PROJ's .gtx (metres from the south pole and longitude
-180; the same to the rounding of a centimetre). The report says what bilinear interpolation may miss between
the nodes.
"""

from __future__ import annotations

import argparse
import hashlib
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from engine.errors import InputError
from engine.runtime import geoid

OUT = Path(__file__).resolve().parents[1] / "engine" / "runtime" / "data" / "geoid.bin"
GTX_HEADER = struct.Struct(">4d2i")  # south, west, steps in latitude and longitude (degrees), rows, columns


def read(path: Path) -> NDArray[np.int16]:
    """Read a published grid: centimetres from the north pole and longitude 0, [721, 1440].

    Raises:
        InputError: the file is neither form of the grid.
    """
    data = path.read_bytes()
    nodes = geoid.SHAPE[0] * geoid.SHAPE[1]
    if len(data) == 2 * nodes:
        return np.frombuffer(data, ">i2").reshape(geoid.SHAPE).astype(np.int16)
    if len(data) == GTX_HEADER.size + 4 * nodes:
        if GTX_HEADER.unpack_from(data) != (-90, -180, 0.25, 0.25, *geoid.SHAPE):
            raise InputError(f"got {path} with another origin or step, expected -90, -180 and 0.25 degrees")
        metres = np.frombuffer(data, ">f4", offset=GTX_HEADER.size).reshape(geoid.SHAPE)
        north_first = np.roll(metres[::-1], geoid.SHAPE[1] // 2, axis=1)
        return np.rint(north_first.astype(np.float64) * 100).astype(np.int16)
    raise InputError(
        f"got {len(data)} bytes in {path}, expected the EGM96 grid of 15 minutes as .DAC or .gtx"
    )


def between_nodes(grid_cm: NDArray[np.int16]) -> NDArray[np.float64]:
    """Return bilinear less bicubic heights midway between the nodes, metres, [720, 1440]."""
    from scipy.ndimage import map_coordinates

    wrapped = np.pad(grid_cm.astype(np.float64) / 100, ((0, 0), (16, 16)), mode="wrap")
    where = np.meshgrid(np.arange(geoid.SHAPE[0] - 1) + 0.5, np.arange(geoid.SHAPE[1]) + 16.5, indexing="ij")
    linear, cubic = (map_coordinates(wrapped, where, order=order, mode="nearest") for order in (1, 3))
    return np.asarray(linear - cubic)


def main() -> None:
    """Bake, check, report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("grid", type=Path, help="WW15MGH.DAC or egm96_15.gtx")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    grid = read(arguments.grid)
    data = geoid.packed(grid)
    if not np.array_equal(geoid.unpacked(data), grid):
        raise InputError("the packed grid does not unpack to what it was")
    arguments.out.write_bytes(data)
    miss = np.abs(between_nodes(grid))
    area = np.cos(np.radians(89.875 - 0.25 * np.arange(len(miss))))[:, None] * np.ones(miss.shape[1])
    console = Console(soft_wrap=True)
    console.print(
        f"{arguments.out}: {len(data):,} bytes, the grid whole: {grid.min() / 100} to {grid.max() / 100} m"
    )
    console.print(
        f"sha256 of the grid as WW15MGH.DAC: {hashlib.sha256(grid.astype('>i2').tobytes()).hexdigest()}"
    )
    rms = np.sqrt(np.average(miss**2, weights=area))
    console.print(
        f"bilinear against bicubic midway between nodes: rms {rms:.3f} m, "
        f"99.9% within {np.quantile(miss, 0.999):.2f} m, at most {miss.max():.2f} m"
    )


if __name__ == "__main__":
    main()
