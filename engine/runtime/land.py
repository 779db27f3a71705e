"""The coastline that ships with the package: land and water rings of any box on Earth, in milliseconds.

The file (`data/coastline.bin`, written by `tools/bake_coastline.py`) holds the world in tiles of whole
degrees, each compressed by itself:

    8 bytes   magic
    uint32    length of the header
    JSON      header: source, licence, attribution, tolerance, tile and step sizes
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
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.errors import ArtifactError, InputError

MAGIC = b"FSRCOAST"
FORMAT = 1
LZMA_FILTERS: list[dict[str, Any]] = [
    {"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20, "lc": 0, "lp": 0, "pb": 0}  # a tile is well below 1 MiB
]


@dataclass(frozen=True)
class Ring:
    """One closed line; the last vertex joins the first without being repeated.

    Attributes:
        points: longitude and latitude in degrees, float64 [n, 2]. Longitudes run on beyond 180 where the
            box asked for crosses the antimeridian.
        level: 1 land, 2 water in it (lake, wide river), 3 island in that, and so on. Rings nest, so painting
            them by rising level gives land and water.
    """

    points: NDArray[np.float64]
    level: int

    @property
    def water(self) -> bool:
        """True where the inside of the ring is water."""
        return self.level % 2 == 0


class Coastline:
    """A versioned coastline of the world."""

    def __init__(self, data: bytes) -> None:
        if data[:8] != MAGIC:
            raise ArtifactError(
                f"coastline file starts with {data[:8]!r}, expected {MAGIC!r}: run tools/bake_coastline.py"
            )
        try:
            start = 12 + int.from_bytes(data[8:12], "little")
            header = json.loads(data[12:start])
            if header["format"] != FORMAT:
                raise ArtifactError(
                    f"coastline format is {header['format']}, expected {FORMAT}: bake it anew"
                )
            self.tile_deg: int = header["tile_deg"]
            self.step_deg: float = header["step_deg"]
            self.overlap_deg: float = header["overlap_deg"]
            self.columns, self.rows = 360 // self.tile_deg, 180 // self.tile_deg
            self._offsets = np.frombuffer(data, "<u4", self.columns * self.rows + 1, start).astype(int)
            self._tiles = memoryview(data)[start + 4 * len(self._offsets) :]
        except (KeyError, ValueError) as error:
            raise ArtifactError(
                f"coastline header is damaged ({error}): run tools/bake_coastline.py"
            ) from error
        if len(self._tiles) != self._offsets[-1]:
            raise ArtifactError(
                f"coastline file holds {len(self._tiles)} bytes of tiles, expected {self._offsets[-1]}: "
                "it is truncated, install it again"
            )
        self.metadata: dict[str, Any] = header
        digest = hashlib.sha256(data).hexdigest()[:12]
        self.version = f"{header['name']}/{header['tolerance_m']}m/{header['date']}/{digest}"
        self._read = lru_cache(maxsize=128)(self._decode)

    @classmethod
    def load(cls) -> Coastline:
        """Return the coastline that ships with the package.

        Raises:
            ArtifactError: the file is missing or damaged.
        """
        return _shipped()

    def polygons(
        self, west: float, south: float, east: float, north: float, *, inland_water: bool = True
    ) -> list[Ring]:
        """Return the rings whose bounding boxes meet a box, by rising level.

        Rings are cut at tile edges (of `tile_deg`, with a small overlap), not at the box.

        Args:
            west: western longitude in degrees.
            south: southern latitude in degrees.
            east: eastern longitude; less than `west` where the box crosses the antimeridian.
            north: northern latitude.
            inland_water: False leaves out lakes and rivers (and the islands in them): then all that the
                sea surrounds is land.

        Raises:
            InputError: a bound is not finite, or south is not below north.
        """
        found: list[Ring] = []
        for column, row, shift, west_, east_ in self._cover(west, south, east, north):
            rings, boxes = self._read(column, row)
            if not rings:
                continue
            keep = (
                (boxes[:, 0] <= east_ - shift)
                & (boxes[:, 2] >= west_ - shift)
                & (boxes[:, 1] <= north)
                & (boxes[:, 3] >= south)
            )
            for index in np.flatnonzero(keep):
                ring = rings[index]
                if inland_water or ring.level == 1:
                    moved = ring.points + (shift, 0.0) if shift else ring.points
                    found.append(Ring(moved, ring.level))
        return sorted(found, key=lambda ring: ring.level)

    def is_land(
        self, lon_deg: ArrayLike, lat_deg: ArrayLike, *, inland_water: bool = True
    ) -> NDArray[np.bool_]:
        """Return True where points lie on land; for points, not for rasters (it visits each ring)."""
        lon, lat = np.broadcast_arrays(np.asarray(lon_deg, float), np.asarray(lat_deg, float))
        x = (lon.ravel() + 180.0) % 360.0 - 180.0
        y = lat.ravel()
        column = np.clip((x + 180.0) // self.tile_deg, 0, self.columns - 1).astype(int)
        row = np.clip((y + 90.0) // self.tile_deg, 0, self.rows - 1).astype(int)
        land = np.zeros(x.shape, bool)
        for tile in np.unique(row * self.columns + column):
            here = np.flatnonzero(row * self.columns + column == tile)
            rings, boxes = self._read(int(tile % self.columns), int(tile // self.columns))
            for ring, box in zip(rings, boxes, strict=True):
                if not inland_water and ring.level > 1:
                    continue
                px, py = x[here], y[here]
                near = here[(px >= box[0]) & (px <= box[2]) & (py >= box[1]) & (py <= box[3])]
                if near.size:
                    land[near[_inside(ring.points, x[near], y[near])]] = not ring.water
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

    def _decode(self, column: int, row: int) -> tuple[list[Ring], NDArray[np.float64]]:
        """Return a tile's rings and their boxes [n, 4] (west, south, east, north)."""
        tile = row * self.columns + column
        raw = bytes(self._tiles[self._offsets[tile] : self._offsets[tile + 1]])
        if not raw:
            return [], np.empty((0, 4))
        values = unpack_varints(lzma.decompress(raw, lzma.FORMAT_RAW, filters=LZMA_FILTERS))
        n = int(values[0])
        levels, counts = values[1 : n + 1], values[n + 1 : 2 * n + 1]
        steps = unzigzag(values[2 * n + 1 :]).reshape(2, -1).cumsum(axis=1)
        south = row * self.tile_deg - 90.0
        west = column * self.tile_deg - 180.0
        step_lon = self.step_deg * lon_factor(south, self.tile_deg)
        points = np.stack([west + steps[0] * step_lon, south + steps[1] * self.step_deg], axis=1)
        points.flags.writeable = False
        ends = np.cumsum(counts)
        starts = ends - counts
        boxes = np.concatenate(
            [np.minimum.reduceat(points, starts, axis=0), np.maximum.reduceat(points, starts, axis=0)], axis=1
        )
        rings = [
            Ring(points[a:b], int(level))
            for a, b, level in zip(starts.tolist(), ends.tolist(), levels.tolist(), strict=True)
        ]
        return rings, boxes


@lru_cache(maxsize=1)
def _shipped() -> Coastline:
    try:
        data = resources.files("engine.runtime").joinpath("data/coastline.bin").read_bytes()
    except FileNotFoundError as error:
        raise ArtifactError(
            "engine/runtime/data/coastline.bin is missing: install the package again or run "
            "tools/bake_coastline.py"
        ) from error
    return Coastline(data)


def lon_factor(tile_south_deg: float, tile_deg: float) -> int:
    """Return how many latitude steps one longitude step is: the power of two below 1/cos(latitude)."""
    cosine = math.cos(math.radians(tile_south_deg + tile_deg / 2))
    return int(2 ** math.floor(math.log2(1.0 / cosine)))


def clip_ring(ring: NDArray[np.float64], axis: int, bound: float, *, upper: bool) -> NDArray[np.float64]:
    """Cut a ring by a half-plane (Sutherland and Hodgman, 1974).

    Args:
        ring: vertices, [n, 2].
        axis: of the coordinate that is bounded.
        bound: where the cut is.
        upper: whether to keep what lies above the bound, else what lies below.

    Returns:
        One ring, which may run back and forth along the cut; the ring itself where nothing is cut.
    """
    value = (ring[:, axis] - bound) * (1.0 if upper else -1.0)
    inside = value >= 0
    if inside.all():
        return ring
    if not inside.any():
        return ring[:0]
    following = np.roll(ring, -1, axis=0)
    crossing = inside != np.roll(inside, -1)
    count = inside.astype(int) + crossing
    place = np.cumsum(count) - count
    cut = np.empty((int(count.sum()), 2))
    cut[place[inside]] = ring[inside]
    p, q = ring[crossing], following[crossing]
    t = (bound - p[:, axis]) / (q[:, axis] - p[:, axis])
    between = p + t[:, None] * (q - p)
    between[:, axis] = bound
    cut[(place + inside)[crossing]] = between
    return cut


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
