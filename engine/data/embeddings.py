"""AlphaEarth files under the anchors of chips: the newest year that ended before the acquisition, or two.

Reads the index that the simulator and a mirror write (``index.json``: version 1; tiles with year, crs, path,
bounds, transform and shape). Nothing here assumes that rows run north to south.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import DatasetError
from engine.runtime.prior import NODATA, PRIOR_DIM, Prior


class Embeddings:
    """Tiles by year.

    Args:
        index: ``index.json``, or the folder that holds it.

    Raises:
        DatasetError: it is missing, or no such index.
    """

    def __init__(self, index: Path) -> None:
        path = index / "index.json" if index.is_dir() else index
        try:
            content = json.loads(path.read_text("utf-8"))
            if content["version"] != 1:
                raise ValueError(f"version {content['version']!r}")
            self._tiles: list[dict[str, Any]] = sorted(content["tiles"], key=lambda tile: -int(tile["year"]))
            for tile in self._tiles:
                west, south, east, north = (float(edge) for edge in tile["bounds"])
                tile["bounds"] = (west, south, east + 360 if east < west else east, north)
                tile["path"] = str(path.parent / tile["path"])
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise DatasetError(
                f"cannot read {path}: {error}; expected an index of AlphaEarth tiles"
            ) from error

    def prior(self, lonlat_deg: NDArray[np.floating], acquired_year: int, years: int = 1) -> Prior:
        """Return the prior of the anchors of a chip, [S, 2]; all anchors get the same year or years.

        Args:
            lonlat_deg: where the anchors are.
            acquired_year: of the image; only embeddings of years before it are read.
            years: 2 adds the year before the newest; an anchor is known where both are.

        Raises:
            DatasetError: a tile is missing, or is not what the index says.
        """
        lon, lat = np.asarray(lonlat_deg, np.float64).T
        raw, year = self._bytes(lon, lat, [each for each in self._tiles if each["year"] < acquired_year])
        if years == 2:
            before = [] if year is None else [each for each in self._tiles if each["year"] == year - 1]
            raw = np.concatenate([raw, self._bytes(lon, lat, before)[0]])
        return Prior.from_bytes(raw, year)

    def _bytes(
        self, lon: NDArray[np.float64], lat: NDArray[np.float64], tiles: list[dict[str, Any]]
    ) -> tuple[NDArray[np.int8], int | None]:
        """Return the bytes of the first year that has any, [64, S], and the year."""
        raw = np.full((PRIOR_DIM, len(lon)), NODATA, np.int8)
        year: int | None = None
        for tile in tiles:
            if year is not None and tile["year"] != year:
                continue
            west, south, east, north = tile["bounds"]
            inside = (lat >= south) & (lat <= north) & ((lon - west) % 360 <= east - west)
            missing = inside & (raw == NODATA).any(axis=0)
            if missing.any() and (values := _read(tile, lon[missing], lat[missing])) is not None:
                raw[:, missing], year = values, tile["year"]
        return raw, year


def _read(tile: dict[str, Any], lon: NDArray[np.float64], lat: NDArray[np.float64]) -> Any:
    """Return a tile's bytes at places, [64, n]; None where none of them lies in it."""
    import rasterio
    from rasterio.errors import RasterioError
    from rasterio.warp import transform
    from rasterio.windows import Window

    try:
        with rasterio.open(tile["path"]) as file:
            if file.count != PRIOR_DIM or set(file.dtypes) != {"int8"}:
                raise DatasetError(f"{tile['path']}: got {file.count} bands, expected {PRIOR_DIM} of int8")
            x, y = transform("EPSG:4326", file.crs, lon.tolist(), lat.tolist())
            back, east, north = ~file.transform, np.array(x), np.array(y)
            col = np.floor(back.a * east + back.b * north + back.c).astype(np.int64)
            row = np.floor(back.d * east + back.e * north + back.f).astype(np.int64)
            inside = (row >= 0) & (row < file.height) & (col >= 0) & (col < file.width)
            if not inside.any():
                return None
            top, left = int(row[inside].min()), int(col[inside].min())
            size = int(np.ptp(col[inside])) + 1, int(np.ptp(row[inside])) + 1
            block = file.read(window=Window(left, top, *size))
    except RasterioError as error:
        raise DatasetError(f"cannot read {tile['path']}: {error}; the index names it") from error
    values = np.full((PRIOR_DIM, len(lon)), NODATA, np.int8)
    values[:, inside] = block[:, row[inside] - top, col[inside] - left]
    return values
