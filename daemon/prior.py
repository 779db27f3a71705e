"""AlphaEarth tiles under a scene: an index by year, windowed reads, the anchors of a chip.

The index is a JSON file beside the tiles:

    {"version": 1, "tiles": [{"year": 2023, "crs": "EPSG:32633", "path": "2023/33N/x.tif",
      "bounds": [west, south, east, north], "transform": [a, b, c, d, e, f], "shape": [rows, columns]}]}

A path is relative to the index, or absolute, or a URI that GDAL opens (https, s3, gs). Bounds are degrees;
the transform leads from (column, row) to the tile's CRS. AlphaEarth stores rows bottom-up (e > 0): nothing
here assumes a direction.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx
import numpy as np
import rasterio
from numpy.typing import ArrayLike, NDArray
from rasterio.errors import RasterioError
from rasterio.transform import Affine
from rasterio.warp import transform as warp
from rasterio.windows import Window

from daemon.errors import ConfigError, SourceUnavailable
from engine.errors import InputError
from engine.runtime.image import CHIP_PX
from engine.runtime.prior import NODATA, PRIOR_DIM, Prior, anchor_positions

Array = NDArray[np.float64]

_OPEN_TILES = 16
_FAILED_FOR_S = 60.0  # a tile that cannot be read is left alone so long: a dead host costs one time-out
_TIMEOUT_S = 30.0
_GDAL = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_HTTP_TIMEOUT": "30",
    "GDAL_HTTP_MAX_RETRY": "2",
    "GDAL_HTTP_RETRY_DELAY": "1",
}


class Geometry(Protocol):
    """What this module asks of a scene's geometry."""

    def lonlat(self, line_px: ArrayLike, sample_px: ArrayLike) -> tuple[Array, Array]:
        """Return longitude and latitude of pixels at sea level."""


@dataclass(frozen=True)
class Tile:
    """One file of an embedding, as the index states it."""

    year: int
    crs: str
    uri: str
    bounds: tuple[float, float, float, float]
    transform: Affine
    shape: tuple[int, int]


class PriorIndex:
    """AlphaEarth tiles by year. Threads may share it: reads take turns.

    A tile that cannot be read leaves its anchors without a vector; `take_notes` says which and why.
    """

    def __init__(self, tiles: list[Tile], version: str) -> None:
        self.version = version
        self._tiles = sorted(tiles, key=lambda tile: (-tile.year, tile.uri))
        bounds = np.array([tile.bounds for tile in self._tiles], float).reshape(-1, 4)
        bounds[:, 2] += np.where(bounds[:, 2] < bounds[:, 0], 360.0, 0.0)  # across the antimeridian
        self._bounds = bounds
        self._years = np.array([tile.year for tile in self._tiles], int)
        self._lock = threading.Lock()
        self._open: OrderedDict[str, Any] = OrderedDict()
        self._failed_until_s: dict[str, float] = {}
        self._notes: list[str] = []
        self.clock: Callable[[], float] = time.monotonic

    @classmethod
    def open(cls, location: str | Path) -> PriorIndex:
        """Read an index.

        Args:
            location: a path, a folder that holds `index.json`, or an http(s) URI.

        Raises:
            SourceUnavailable: it is not there, or its host does not answer.
            ConfigError: it is no such index.
        """
        location = str(location)
        raw, base = _fetch(location)
        try:
            content = json.loads(raw)
            if content["version"] != 1:
                raise ConfigError(
                    f"{location}: got an index of version {content['version']!r}, expected 1: write it anew"
                )
            tiles = [_tile(entry, base) for entry in content["tiles"]]
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(
                f"{location}: got an index that does not read ({type(error).__name__}: {error}), expected "
                "version and tiles with year, crs, path, bounds, transform and shape"
            ) from error
        return cls(tiles, f"alphaearth/{len(tiles)}/{hashlib.sha256(raw).hexdigest()[:12]}")

    def prior(self, geometry: Geometry, chip_origin_px: tuple[int, int], acquired: datetime) -> Prior:
        """Return the prior of a chip of the lattice; as `sample`."""
        positions = anchor_positions()
        line, sample = (positions.astype(float) * CHIP_PX - 0.5 + chip_origin_px).T
        lon, lat = geometry.lonlat(line, sample)
        return self.sample(lon, lat, acquired)

    def sample(
        self, lon_deg: Array, lat_deg: Array, acquired: datetime, positions: ArrayLike | None = None
    ) -> Prior:
        """Return the newest embedding whose year ended before a time, at the anchors of one chip.

        All anchors get the same year: the newest that has a tile under any of them.

        Args:
            lon_deg: longitudes of the anchors, [S]; not finite where an anchor is off the ground.
            lat_deg: latitudes, [S].
            acquired: when the chip was seen; aware.
            positions: (y, x) of the anchors in the chip, [S, 2]; None for those of `anchor_positions`.

        Raises:
            InputError: the time is naive.
        """
        if acquired.tzinfo is None:
            raise InputError(f"got a time without a zone ({acquired}), expected an aware one")
        ended = acquired.astimezone(timezone.utc).year - 1
        raw = np.full((PRIOR_DIM, len(lon_deg)), NODATA, np.int8)
        year: int | None = None
        with self._lock:
            for index in self._under(lon_deg, lat_deg, ended):
                tile = self._tiles[index]
                if year is not None and tile.year != year:
                    break
                missing = np.flatnonzero((raw == NODATA).any(axis=0))
                row, column = _pixels(tile, lon_deg[missing], lat_deg[missing])
                inside = (row >= 0) & (row < tile.shape[0]) & (column >= 0) & (column < tile.shape[1])
                if not inside.any():
                    continue
                year = tile.year
                values = self._read(tile, row[inside], column[inside])
                if values is not None:
                    raw[:, missing[inside]] = values
        return Prior.from_bytes(raw, year, positions)

    def take_notes(self) -> list[str]:
        """Return what could not be read since the last call."""
        with self._lock:
            notes, self._notes = self._notes, []
        return notes

    def close(self) -> None:
        """Let go of the files."""
        with self._lock:
            while self._open:
                self._open.popitem()[1].close()

    def __enter__(self) -> PriorIndex:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _under(self, lon_deg: Array, lat_deg: Array, newest_year: int) -> list[int]:
        """Return the tiles whose bounds meet the anchors' bounds, the newest year first."""
        known = np.isfinite(lon_deg) & np.isfinite(lat_deg)
        if not known.any():
            return []
        lon = np.unwrap(lon_deg[known], period=360)
        south, north = lat_deg[known].min(), lat_deg[known].max()
        b = self._bounds
        meets = (self._years <= newest_year) & (b[:, 1] <= north) & (b[:, 3] >= south)
        across = np.zeros(len(b), bool)
        for turn in (-360.0, 0.0, 360.0):
            across |= (b[:, 0] <= lon.max() + turn) & (b[:, 2] >= lon.min() + turn)
        return [int(index) for index in np.flatnonzero(meets & across)]

    def _read(self, tile: Tile, row: NDArray[np.int64], column: NDArray[np.int64]) -> NDArray[np.int8] | None:
        """Return the bytes of pixels of a tile, [64, n]; None where it cannot be read, which is noted."""
        if self.clock() < self._failed_until_s.get(tile.uri, -np.inf):
            return None
        try:
            with rasterio.Env(**_GDAL):
                dataset = self._dataset(tile)
                top, left = int(row.min()), int(column.min())
                window = Window(left, top, int(column.max()) - left + 1, int(row.max()) - top + 1)
                block: NDArray[np.int8] = dataset.read(window=window)
        except (RasterioError, OSError, SourceUnavailable) as error:
            self._failed_until_s[tile.uri] = self.clock() + _FAILED_FOR_S
            self._notes.append(f"prior absent: {tile.uri}: {error.__cause__ or error}")
            stale = self._open.pop(tile.uri, None)
            if stale is not None:
                stale.close()
            return None
        picked: NDArray[np.int8] = block[:, row - top, column - left]
        return picked

    def _dataset(self, tile: Tile) -> Any:
        """Return a tile's open file; it must be what the index states."""
        if tile.uri in self._open:
            self._open.move_to_end(tile.uri)
            return self._open[tile.uri]
        dataset = rasterio.open(tile.uri)
        got = (dataset.count, set(dataset.dtypes), dataset.shape)
        same_place = dataset.transform.almost_equals(tile.transform, 1e-6) and dataset.crs == tile.crs
        if got != (PRIOR_DIM, {"int8"}, tile.shape) or not same_place:
            dataset.close()
            raise SourceUnavailable(
                f"got {got[0]} bands of {sorted(got[1])}, {got[2]}, {dataset.crs}, "
                f"{tuple(dataset.transform)[:6]}; expected {PRIOR_DIM} of int8, {tile.shape}, {tile.crs}, "
                f"{tuple(tile.transform)[:6]} as the index states: write the index anew"
            )
        self._open[tile.uri] = dataset
        if len(self._open) > _OPEN_TILES:
            self._open.popitem(last=False)[1].close()
        return dataset


def _pixels(tile: Tile, lon_deg: Array, lat_deg: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return row and column of places in a tile; -1 where a place is not finite."""
    known = np.isfinite(lon_deg) & np.isfinite(lat_deg)
    places_m = warp("EPSG:4326", tile.crs, lon_deg[known].tolist(), lat_deg[known].tolist())
    x, y = (np.array(values) for values in places_m)
    back = ~tile.transform
    row, column = back.d * x + back.e * y + back.f, back.a * x + back.b * y + back.c
    places = np.full((2, len(lon_deg)), -1, np.int64)
    # far outside its zone a projection may not be finite
    places[:, known] = np.floor(np.nan_to_num(np.clip([row, column], -1, 2**31), nan=-1)).astype(np.int64)
    return places[0], places[1]


def _fetch(location: str) -> tuple[bytes, str]:
    """Return an index's bytes and what its paths are relative to."""
    if urlsplit(location).scheme in ("http", "https"):
        try:
            response = httpx.get(location, timeout=_TIMEOUT_S, follow_redirects=True)
            response.raise_for_status()
        except httpx.HTTPError as error:
            raise SourceUnavailable(
                f"{location}: got {error}, expected the prior's index: check the address, or try again later"
            ) from error
        return response.content, location
    path = Path(location)
    if path.is_dir():
        path = path / "index.json"
    try:
        return path.read_bytes(), str(path.absolute())
    except OSError as error:
        raise SourceUnavailable(
            f"{path}: got {error.strerror or error}, expected the prior's index: check the setting"
        ) from error


def _tile(entry: dict[str, Any], base: str) -> Tile:
    path = str(entry["path"])
    if not urlsplit(path).scheme and not path.startswith("/"):
        path = posixpath.join(posixpath.dirname(base), path)
    west, south, east, north = (float(bound) for bound in entry["bounds"])
    a, b, c, d, e, f = (float(term) for term in entry["transform"])
    rows, columns = (int(size) for size in entry["shape"])
    return Tile(
        int(entry["year"]),
        str(entry["crs"]),
        path,
        (west, south, east, north),
        Affine(a, b, c, d, e, f),
        (rows, columns),
    )
