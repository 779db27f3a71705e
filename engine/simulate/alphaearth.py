"""AlphaEarth tiles under simulated scenes, in the form of the real ones.

64 bands of int8 with -128 where masked, 10 m in UTM, bottom-up rows (a positive step in y), one folder a
year and zone, and an index. Only coastal tiles are written: land near the shore and shallow water.
Vectors are drawn from class statistics, never from ships, and vary on a grid of 40 m.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.simulate import landcover
from engine.simulate.acquisition import Acquisition
from engine.simulate.physics import SPACING_M
from engine.simulate.terrain import Terrain

TILE_PX = 256
PIXEL_M = 10.0
CELL_PX = 4  # vectors vary from cell to cell
SHALLOW_M = 600.0  # how far from the shore water is known
BANDS = 64
YEAR_DRIFT = 0.2  # how much of a site's factors changes from year to year


@dataclass
class Index:
    """The list of tiles, written as index.json; bounds are west, south, east, north in degrees."""

    folder: Path
    tiles: list[dict[str, Any]] = field(default_factory=list)

    def save(self) -> Path:
        """Write the index and return its path."""
        path = self.folder / "index.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        ordered = sorted(self.tiles, key=lambda tile: tile["path"])
        path.write_text(json.dumps({"version": 1, "tiles": ordered}, indent=1) + "\n")
        return path


def write_tiles(index: Index, base: Acquisition, terrain: Terrain, years: list[int], name: str) -> None:
    """Write the coastal tiles of a scene for some years and enter them in the index.

    Args:
        index: receives the entries.
        base: the scene's base grid.
        terrain: shore and land cover.
        years: calendar years.
        name: begins the tiles' names.
    """
    from rasterio.warp import transform

    height, width = base.shape
    edge = np.linspace(0, 1, 9)
    lines = np.concatenate([edge * 0, edge, edge * 0 + 1, edge]) * height
    samples = np.concatenate([edge, edge * 0, edge, edge * 0 + 1]) * width
    lon, lat = base.lonlat(lines, samples)
    zone = int((float(base.lonlat(height / 2, width / 2)[0]) + 180) // 6) % 60 + 1
    north = lat.mean() >= 0
    crs = f"EPSG:{(32600 if north else 32700) + zone}"
    x, y = (np.array(values) for values in transform("EPSG:4326", crs, lon.tolist(), lat.tolist()))
    side = TILE_PX * PIXEL_M
    for row in range(int(y.min() // side), int(y.max() // side) + 1):
        for column in range(int(x.min() // side), int(x.max() // side) + 1):
            origin = (column * side, row * side)
            cells = _cells(origin, crs, base, terrain)
            if cells is None:
                continue
            for year in years:
                folder = f"{year}/{zone:02d}{'N' if north else 'S'}"
                path = f"{folder}/{name}_x{column:04d}_y{row:05d}.tif"
                _write_tile(index, path, year, crs, origin, _bytes(terrain, cells, year, years[0]))


def _cells(
    origin: tuple[float, float], crs: str, base: Acquisition, terrain: Terrain
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float32]] | None:
    """Return line, sample and distance to the shore of a tile's cells; None where no coast is near."""
    from rasterio.warp import transform

    reach = SHALLOW_M / SPACING_M
    for count in (5, TILE_PX // CELL_PX):  # a few places tell whether to look closer
        along = (np.arange(count) + 0.5) * TILE_PX * PIXEL_M / count
        x, y = np.meshgrid(origin[0] + along, origin[1] + along)
        lon, lat = transform(crs, "EPSG:4326", x.ravel().tolist(), y.ravel().tolist())
        line, sample = (values.reshape(count, count) for values in base.pixel(np.array(lon), np.array(lat)))
        between = TILE_PX * PIXEL_M / SPACING_M / count if count == 5 else 0.0
        inside = (line >= -between) & (line < base.shape[0] + between)
        inside &= (sample >= -between) & (sample < base.shape[1] + between)
        shore = terrain.shore_px(line, sample)
        if (
            not inside.any()
            or shore[inside].max() < -reach - between
            or shore[inside].min() > reach + between
        ):
            return None
    shore[~inside] = -1e6
    return line, sample, shore


def _bytes(
    terrain: Terrain,
    cells: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float32]],
    year: int,
    first_year: int,
) -> NDArray[np.int8]:
    """Return a tile's bytes, south to north, [64, TILE_PX, TILE_PX]."""
    line, sample, shore = cells
    labels = np.where(shore > 0, terrain.labels_at(line, sample), landcover.WATER)
    latent = terrain.latent(labels, line, sample)
    if year != first_year:  # the same places a year on
        drift = np.random.default_rng([year, 64]).standard_normal((len(landcover.CLASSES), landcover.rank()))
        latent = np.sqrt(1 - YEAR_DRIFT**2) * latent + YEAR_DRIFT * drift[labels]
    values = landcover.quantise(landcover.vectors(labels, latent))
    values[shore < -SHALLOW_M / SPACING_M] = landcover.NODATA
    return np.asarray(values.transpose(2, 0, 1).repeat(CELL_PX, 1).repeat(CELL_PX, 2))


def _write_tile(
    index: Index, path: str, year: int, crs: str, origin: tuple[float, float], values: NDArray[np.int8]
) -> None:
    import rasterio
    from rasterio.io import MemoryFile
    from rasterio.shutil import copy
    from rasterio.transform import Affine
    from rasterio.warp import transform_bounds

    full = index.folder / path
    full.parent.mkdir(parents=True, exist_ok=True)
    # row 0 is the southernmost: y grows with the row
    step = Affine(PIXEL_M, 0.0, origin[0], 0.0, PIXEL_M, origin[1])
    profile = {
        "count": BANDS,
        "dtype": "int8",
        "height": TILE_PX,
        "width": TILE_PX,
        "nodata": landcover.NODATA,
    }
    with MemoryFile() as memory:
        with memory.open(driver="GTiff", crs=crs, transform=step, **profile) as raster:
            raster.write(values)
            raster.descriptions = tuple(f"A{band:02d}" for band in range(BANDS))
        with memory.open() as raster:
            copy(raster, full, driver="COG", compress="DEFLATE", level=1, overviews="NONE", blocksize=256)
    with rasterio.open(full) as raster:
        far = (origin[0] + TILE_PX * PIXEL_M, origin[1] + TILE_PX * PIXEL_M)
        bounds = transform_bounds(crs, "EPSG:4326", *origin, *far)
        index.tiles.append(
            {
                "year": year,
                "crs": crs,
                "path": path,
                "bounds": [round(value, 7) for value in bounds],
                "transform": list(raster.transform)[:6],
                "shape": list(raster.shape),
            }
        )
