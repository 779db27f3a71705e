"""The coastline that ships with the package: land and water rings of any box on Earth, in milliseconds.

The file (`data/coastline.bin`, written by `tools/bake_coastline.py`) holds the world in tiles of whole
degrees, each compressed by itself, and is read tile by tile:

    8 bytes   magic
    uint32    length of the header
    JSON      header: source, licence, attribution, tolerance, tile and step sizes, which rings are the named
              seas, sha256 of all that follows
    uint32    [tiles + 1] offsets of the tiles' bytes, row by row from the south-west; an empty tile is sea
    bytes     raw LZMA of a tile: varints

A tile's varints are the number of rings, each ring's level, each ring's number of vertices, then all
longitudes and all latitudes as zigzag differences from vertex to vertex, straight on from ring to ring. They
count steps from the tile's south-west corner; a step in longitude is doubled as often as the narrowing
of the meridians allows. Rings are cut at the tile's edge plus a small overlap: neighbours leave no seam.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import math
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.errors import ArtifactError, InputError
from engine.runtime.rings import Rings
from engine.runtime.varints import unpack_varints, unzigzag

MAGIC = b"FSRCOAST"
FORMAT = 2
LZMA_FILTERS: list[dict[str, Any]] = [
    {"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20, "lc": 0, "lp": 0, "pb": 0}  # a tile is well below 1 MiB
]
FILE = Path(__file__).with_name("data") / "coastline.bin"


@dataclass(frozen=True)
class Ring:
    """One closed line; the last vertex joins the first without being repeated.

    Attributes:
        points: longitude and latitude in degrees, float64 [n, 2]. Longitudes run on beyond 180 where the
            box asked for crosses the antimeridian.
        level: 1 land, 2 water in it (lake, wide river), 3 island in that, and so on.
    """

    points: NDArray[np.float64]
    level: int

    @property
    def water(self) -> bool:
        """True where the inside of the ring is water."""
        return self.level % 2 == 0


class Coastline:
    """A versioned coastline of the world, and a choice of the inland waters that count as water.

    Attributes:
        version: name, tolerance, date and hash of the file, and the choice: what every answer depends on.
        metadata: the file's header.
    """

    def __init__(self, data: bytes | mmap.mmap, inland_water: str = "all") -> None:
        """Read the header.

        Args:
            data: the file's bytes.
            inland_water: "all" lakes and rivers of the file are water; "none" is, and the sea alone counts;
                "seas": only those that the file names; or some of these names, separated by commas.

        Raises:
            ArtifactError: the file is damaged, or of another format.
            InputError: the choice names a sea that the file does not.
        """
        if data[:8] != MAGIC:
            raise ArtifactError(
                f"coastline file starts with {data[:8]!r}, expected {MAGIC!r}: run tools/bake_coastline.py"
            )
        try:
            start = 12 + int.from_bytes(data[8:12], "little")
            text = data[12:start]
            header = json.loads(text)
            if header["format"] != FORMAT:
                raise ArtifactError(
                    f"coastline format is {header['format']}, expected {FORMAT}: bake it anew"
                )
            self.tile_deg: int = header["tile_deg"]
            self.step_deg: float = header["step_deg"]
            self.overlap_deg: float = header["overlap_deg"]
            self.columns, self.rows = 360 // self.tile_deg, 180 // self.tile_deg
            self._offsets = np.frombuffer(data, "<u4", self.columns * self.rows + 1, start).astype(int)
            self._start = start + 4 * len(self._offsets)
            seas: dict[str, dict[str, list[int]]] = header["seas"]
            # the header holds the hash of the rest, so its own stands for the whole file
            self._file = (
                f"{header['name']}/{header['tolerance_m']}m/{header['date']}/"
                f"{hashlib.sha256(text).hexdigest()[:12]}"
            )
        except (KeyError, ValueError) as error:
            raise ArtifactError(
                f"coastline header is damaged ({error}): run tools/bake_coastline.py"
            ) from error
        if len(data) - self._start != self._offsets[-1]:
            raise ArtifactError(
                f"coastline file holds {len(data) - self._start} bytes of tiles, expected "
                f"{self._offsets[-1]}: it is truncated, install it again"
            )
        self._data = data
        self.metadata: dict[str, Any] = header
        self.inland_water = _canonical(inland_water, list(seas))
        self.version = f"{self._file}/inland={self.inland_water}"
        self._chosen: dict[int, list[int]] = {}
        for name in seas if self.inland_water == "seas" else self.inland_water.split(","):
            for tile, rings in seas.get(name, {}).items():
                self._chosen.setdefault(int(tile), []).extend(rings)
        self._read = lru_cache(maxsize=128)(self._decode)

    @classmethod
    def load(cls, inland_water: str = "all") -> Coastline:
        """Return the coastline that ships with the package; its tiles are read when they are asked for.

        Raises:
            ArtifactError: the file is missing or damaged.
            InputError: `inland_water` names a sea that the file does not.
        """
        return _shipped(inland_water)

    @property
    def seas(self) -> tuple[str, ...]:
        """Inland waters that can be chosen by name."""
        return tuple(self.metadata["seas"])

    def rings(self, west: float, south: float, east: float, north: float) -> Rings:
        """Return the rings whose bounding boxes meet a box, longitudes before latitudes.

        Rings are cut at tile edges (of `tile_deg`, with a small overlap), not at the box.

        Args:
            west: western longitude in degrees.
            south: southern latitude in degrees.
            east: eastern longitude; less than `west` where the box crosses the antimeridian.
            north: northern latitude.

        Raises:
            InputError: a bound is not finite, or south is not below north.
            ArtifactError: a tile is damaged.
        """
        found = []
        for column, row, shift, west_, east_ in self._cover(west, south, east, north):
            rings = self._read(column, row)
            boxes = rings.boxes
            near = rings.take(
                (boxes[:, 0] <= east_ - shift)
                & (boxes[:, 2] >= west_ - shift)
                & (boxes[:, 1] <= north)
                & (boxes[:, 3] >= south)
            )
            found.append(near.moved(near.points + (shift, 0.0)) if shift else near)
        return Rings.concatenate(found)

    def polygons(self, west: float, south: float, east: float, north: float) -> list[Ring]:
        """Return the rings of a box one by one, by rising level: as `rings`."""
        found = self.rings(west, south, east, north)
        rings = [
            Ring(points, level) for points, level in zip(found.split(), found.levels.tolist(), strict=True)
        ]
        return sorted(rings, key=lambda ring: ring.level)

    def is_land(self, lon_deg: ArrayLike, lat_deg: ArrayLike) -> NDArray[np.bool_]:
        """Return True where points lie on land; for points, not for rasters (it visits each ring)."""
        lon, lat = np.broadcast_arrays(np.asarray(lon_deg, float), np.asarray(lat_deg, float))
        x = (lon.ravel() + 180.0) % 360.0 - 180.0
        y = lat.ravel()
        column = np.clip((x + 180.0) // self.tile_deg, 0, self.columns - 1).astype(int)
        row = np.clip((y + 90.0) // self.tile_deg, 0, self.rows - 1).astype(int)
        land = np.zeros(x.shape, bool)
        for tile in np.unique(row * self.columns + column):
            here = np.flatnonzero(row * self.columns + column == tile)
            rings = self._read(int(tile % self.columns), int(tile // self.columns))
            parts = rings.split()
            for k in np.argsort(rings.levels, kind="stable"):
                box, px, py = rings.boxes[k], x[here], y[here]
                near = here[(px >= box[0]) & (px <= box[2]) & (py >= box[1]) & (py <= box[3])]
                if near.size:
                    land[near[_inside(parts[k], x[near], y[near])]] = rings.levels[k] % 2 == 1
        return land.reshape(lon.shape)

    def _cover(
        self, west: float, south: float, east: float, north: float
    ) -> Iterator[tuple[int, int, float, float, float]]:
        """Yield each tile of a box: column, row, shift of its longitudes, and the box's west and east."""
        if not (all(map(math.isfinite, (west, south, east, north))) and south < north and west != east):
            raise InputError(
                f"box is west {west}, south {south}, east {east}, north {north}; expected finite degrees, "
                "south below north"
            )
        if east < west:
            east += 360.0 * math.ceil((west - east) / 360.0)
        east = min(east, west + 360.0)
        low = max(0, math.floor((south + 90.0) / self.tile_deg))
        high = min(self.rows - 1, math.floor((north + 90.0) / self.tile_deg))
        first, last = (math.floor((bound + 180.0) / self.tile_deg) for bound in (west, east))
        for unwrapped in range(first, min(last, first + self.columns - 1) + 1):
            turns, column = divmod(unwrapped, self.columns)
            for row in range(low, high + 1):
                yield column, row, 360.0 * turns, west, east

    def _decode(self, column: int, row: int) -> Rings:
        """Return a tile's rings, without the waters that do not count."""
        tile = row * self.columns + column
        first, last = (self._start + int(offset) for offset in self._offsets[tile : tile + 2])
        if first == last:
            return Rings.empty()
        try:
            raw = lzma.decompress(self._data[first:last], lzma.FORMAT_RAW, filters=LZMA_FILTERS)
            values = unpack_varints(raw)
            n = int(values[0])
            levels, counts = values[1 : n + 1], values[n + 1 : 2 * n + 1]
            steps = unzigzag(values[2 * n + 1 :]).reshape(2, -1).cumsum(axis=1)
        except (lzma.LZMAError, ValueError, IndexError) as error:
            raise ArtifactError(
                f"coastline tile {tile} is damaged ({error}): install the package again"
            ) from error
        south = row * self.tile_deg - 90.0
        west = column * self.tile_deg - 180.0
        step_lon = self.step_deg * lon_factor(south, self.tile_deg)
        points = np.stack([west + steps[0] * step_lon, south + steps[1] * self.step_deg], axis=1)
        points.flags.writeable = False
        rings = Rings(points, counts, levels)
        if self.inland_water == "all":
            return rings
        keep = levels == 1
        if chosen := self._chosen.get(tile):
            keep |= levels == 3  # islands in waters that do not count are land in land
            keep[chosen] = True
        return rings.take(keep)


def _canonical(inland_water: str, seas: list[str]) -> str:
    """Return the choice in one form, whatever its order and its letters' case."""
    text = inland_water.strip().lower()
    if text in ("all", "none", "seas"):
        return text
    known = {name.lower(): name for name in seas}
    names = [name.strip() for name in text.split(",")]
    strangers = [name for name in names if name not in known]
    if strangers:
        raise InputError(
            f"got inland water {strangers[0]!r}, expected all, none, seas, or some of {', '.join(seas)}"
        )
    return ",".join(sorted({known[name] for name in names}))


@lru_cache(maxsize=4)
def _shipped(inland_water: str) -> Coastline:
    try:
        with FILE.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError as error:
        raise ArtifactError(
            f"{FILE} is missing: install the package again or run tools/bake_coastline.py"
        ) from error
    return Coastline(data, inland_water)


def lon_factor(tile_south_deg: float, tile_deg: float) -> int:
    """Return how many latitude steps one longitude step is: the power of two below 1/cos(latitude)."""
    cosine = math.cos(math.radians(tile_south_deg + tile_deg / 2))
    return int(2 ** math.floor(math.log2(1.0 / cosine)))


def _inside(ring: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Even-odd rule: count the edges that a ray to the east crosses."""
    a, b = ring, np.roll(ring, -1, axis=0)
    inside = np.empty(len(x), bool)
    for k, (px, py) in enumerate(zip(x, y, strict=True)):
        crossing = (a[:, 1] > py) != (b[:, 1] > py)
        p, q = a[crossing], b[crossing]
        at = p[:, 0] + (py - p[:, 1]) * (q[:, 0] - p[:, 0]) / (q[:, 1] - p[:, 1])
        inside[k] = np.count_nonzero(at > px) % 2
    return inside
