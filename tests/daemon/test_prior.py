from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import ArrayLike, NDArray
from rasterio.transform import Affine
from rasterio.warp import transform as warp
from rasterio.warp import transform_bounds

from daemon.errors import ConfigError, SourceUnavailable
from daemon.prior import PriorIndex
from engine.errors import InputError
from engine.runtime.prior import NODATA, dequantise

SIZE = 64
ACQUIRED = datetime(2024, 6, 1, tzinfo=timezone.utc)
EASTING, NORTHING = 500_000.0, 5_550_000.0  # a tile's south-west corner


@dataclass
class Folder:
    """Writes tiles whose bytes tell their row from the south and column: bands 0 and 1, band 2 a mark."""

    path: Path
    tiles: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self,
        name: str,
        *,
        year: int = 2023,
        epsg: int = 32633,
        origin: tuple[float, float] = (EASTING, NORTHING),
        mark: int = 1,
        bottom_up: bool = True,
        masked: NDArray[np.bool_] | None = None,
    ) -> Path:
        """Write a tile; masked counts rows from the south."""
        values = np.ones((64, SIZE, SIZE), np.int8)
        values[0] = np.arange(SIZE)[:, None]
        values[1] = np.arange(SIZE)[None]
        values[2] = mark
        if masked is not None:
            values[:, masked] = NODATA
        step = Affine(10, 0, origin[0], 0, 10, origin[1])
        if not bottom_up:
            values = values[:, ::-1]
            step = Affine(10, 0, origin[0], 0, -10, origin[1] + 10 * SIZE)
        file = self.path / name
        profile = {"driver": "GTiff", "count": 64, "height": SIZE, "width": SIZE, "dtype": "int8"}
        with rasterio.open(file, "w", crs=f"EPSG:{epsg}", transform=step, nodata=NODATA, **profile) as raster:
            raster.write(values)
        bounds = transform_bounds(
            f"EPSG:{epsg}", "EPSG:4326", *origin, origin[0] + 10 * SIZE, origin[1] + 10 * SIZE
        )
        self.tiles.append(
            {
                "year": year,
                "crs": f"EPSG:{epsg}",
                "path": name,
                "bounds": list(bounds),
                "transform": list(step)[:6],
                "shape": [SIZE, SIZE],
            }
        )
        return file

    def open(self) -> PriorIndex:
        file = self.path / "index.json"
        file.write_text(json.dumps({"version": 1, "tiles": self.tiles}))
        return PriorIndex.open(file)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def places(row: ArrayLike, column: ArrayLike, epsg: int = 32633) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return longitude and latitude of pixels, counted from the south-west corner."""
    x = EASTING + 10 * (np.asarray(column, float) + 0.5)
    y = NORTHING + 10 * (np.asarray(row, float) + 0.5)
    lon, lat = warp(f"EPSG:{epsg}", "EPSG:4326", x.tolist(), y.tolist())
    return np.array(lon), np.array(lat)


ROWS = np.repeat(np.arange(5, 60, 10), 6)
COLUMNS = np.tile(np.arange(2, 63, 12), 6)


@pytest.mark.parametrize("bottom_up", [True, False])
def test_vectors_are_those_of_the_pixel_whatever_way_rows_run(folder: Folder, bottom_up: bool) -> None:
    folder.add("a.tif", bottom_up=bottom_up)
    with folder.open() as index:
        prior = index.sample(*places(ROWS, COLUMNS), ACQUIRED)
    assert (prior.status, prior.year) == ("full", 2023)
    np.testing.assert_array_equal(prior.vectors[:, 0], dequantise(ROWS.astype(np.int8)))
    np.testing.assert_array_equal(prior.vectors[:, 1], dequantise(COLUMNS.astype(np.int8)))


@pytest.mark.parametrize(
    ("acquired", "year"),
    [
        (datetime(2024, 1, 1, tzinfo=timezone.utc), 2023),
        (datetime(2023, 12, 31, 23, 59, tzinfo=timezone.utc), 2022),
        (datetime(2030, 1, 1, tzinfo=timezone.utc), 2024),
        (datetime(2022, 7, 1, tzinfo=timezone.utc), None),
    ],
)
def test_the_newest_year_that_ended_before(folder: Folder, acquired: datetime, year: int | None) -> None:
    for tile_year in (2022, 2024, 2023):
        folder.add(f"{tile_year}.tif", year=tile_year, mark=tile_year - 2000)
    with folder.open() as index:
        prior = index.sample(*places(ROWS, COLUMNS), acquired)
    assert prior.year == year
    if year is None:
        assert prior.status == "absent"
    else:
        np.testing.assert_array_equal(prior.vectors[:, 2], dequantise(np.int8([year - 2000]))[0])


def test_years_are_not_mixed_in_one_chip(folder: Folder) -> None:
    sea = np.zeros((SIZE, SIZE), bool)
    sea[:, 20:] = True
    folder.add("new.tif", year=2023, mark=5, masked=sea)
    folder.add("old.tif", year=2022, mark=9)
    with folder.open() as index:
        prior = index.sample(*places(ROWS, COLUMNS), ACQUIRED)
    np.testing.assert_array_equal(prior.mask, COLUMNS < 20)
    assert (prior.status, prior.year) == ("partial", 2023)
    assert not prior.vectors[~prior.mask].any()


def test_masked_sea_and_places_without_a_tile_have_no_prior(folder: Folder) -> None:
    folder.add("sea.tif", masked=np.ones((SIZE, SIZE), bool))
    with folder.open() as index:
        masked = index.sample(*places(ROWS, COLUMNS), ACQUIRED)
        ocean = index.sample(np.full(36, -30.0), np.full(36, 30.0), ACQUIRED)
        nowhere = index.sample(np.full(36, np.nan), np.full(36, np.nan), ACQUIRED)
        assert index.take_notes() == []
    for prior in (masked, ocean, nowhere):
        assert (prior.status, prior.year) == ("absent", None) and prior.vectors.shape == (36, 64)


def test_a_chip_across_tiles_and_zones_is_filled_from_all(folder: Folder) -> None:
    # the western half is known in zone 33; zone 34's tile knows the same ground whole, in its own grid
    half = np.zeros((SIZE, SIZE), bool)
    half[:, 32:] = True
    folder.add("33.tif", mark=3, masked=half)
    lon, lat = places([0, 63], [0, 63])
    x, y = warp("EPSG:4326", "EPSG:32634", lon.tolist(), lat.tolist())
    middle = (float(np.mean(x)) - 5 * SIZE, float(np.mean(y)) - 5 * SIZE)
    folder.add("34.tif", epsg=32634, mark=4, origin=middle)
    rows, columns = np.repeat(np.arange(20, 44, 4), 6), np.tile(np.arange(20, 44, 4), 6)
    with folder.open() as index:
        prior = index.sample(*places(rows, columns), ACQUIRED)
    assert prior.status == "full"
    expected = np.where(columns < 32, 3, 4).astype(np.int8)
    np.testing.assert_array_equal(prior.vectors[:, 2], dequantise(expected))


def test_a_tile_across_the_antimeridian(folder: Folder) -> None:
    # zone 1 begins at 180 degrees; 10 m pixels reach a little beyond
    x, y = (values[0] for values in warp("EPSG:4326", "EPSG:32601", [-180.0], [10.0]))
    folder.add("dateline.tif", epsg=32601, origin=(x - 320.0, y))
    west, _, east, _ = folder.tiles[0]["bounds"]
    assert west > east
    with folder.open() as index:
        lon, lat = np.linspace(179.9985, 180.0015, 9), np.full(9, 10.002)
        positions = np.zeros((9, 2), np.float32)
        plain = index.sample(lon, lat, ACQUIRED, positions)
        wrapped = index.sample((lon + 180) % 360 - 180, lat, ACQUIRED, positions)
    assert plain.status == wrapped.status == "full"
    np.testing.assert_array_equal(plain.vectors, wrapped.vectors)
    assert (np.diff(plain.vectors[:, 1]) >= 0).all() and np.ptp(plain.vectors[:, 1]) > 0


def test_anchors_of_a_chip_lie_where_the_lattice_says(folder: Folder) -> None:
    folder.add("a.tif")

    class North:
        """Line 0 at the northern edge, 1 px = 4 m: a chip of 126 px covers 50 pixels of the tile."""

        def lonlat(self, line_px: ArrayLike, sample_px: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
            row = SIZE - 1 - np.asarray(line_px) * 0.4
            return places(row, np.asarray(sample_px) * 0.4)

    with folder.open() as index:
        prior = index.prior(North(), (0, 20), ACQUIRED)
    anchors = np.array([10, 31, 52, 73, 94, 115])
    columns = np.floor((anchors + 20) * 0.4 + 0.5)
    rows = np.floor(SIZE - 1 - anchors * 0.4 + 0.5)
    np.testing.assert_array_equal(prior.vectors[:6, 1], dequantise(columns.astype(np.int8)))
    np.testing.assert_array_equal(prior.vectors[::6, 0], dequantise(rows.astype(np.int8)))


def test_a_tile_that_cannot_be_read_is_absent_noted_and_left_alone(folder: Folder) -> None:
    file = folder.add("a.tif")
    index = folder.open()
    good = file.read_bytes()
    file.write_bytes(good[:300])
    now = 0.0
    index.clock = lambda: now
    assert index.sample(*places(ROWS, COLUMNS), ACQUIRED).status == "absent"
    notes = index.take_notes()
    assert len(notes) == 1 and "a.tif" in notes[0]
    file.write_bytes(good)
    assert index.sample(*places(ROWS, COLUMNS), ACQUIRED).status == "absent"
    assert index.take_notes() == []
    now = 120.0
    assert index.sample(*places(ROWS, COLUMNS), ACQUIRED).status == "full"
    index.close()


def test_a_tile_that_is_not_what_the_index_states_is_not_used(folder: Folder) -> None:
    folder.add("a.tif", bottom_up=True)
    terms = folder.tiles[0]["transform"]
    folder.tiles[0]["transform"] = [*terms[:4], -10.0, terms[5] + 10 * SIZE]  # north-up, which it is not
    with folder.open() as index:
        assert index.sample(*places(ROWS, COLUMNS), ACQUIRED).status == "absent"
        assert "write the index anew" in index.take_notes()[0]


def test_many_tiles_are_opened_a_few_at_a_time(folder: Folder) -> None:
    for k in range(20):
        folder.add(f"{k}.tif", origin=(EASTING + 640.0 * k, NORTHING), mark=k)
    with folder.open() as index:
        for k in [*range(20), 0]:
            prior = index.sample(*places(ROWS, COLUMNS + 64 * k), ACQUIRED)
            assert prior.vectors[0, 2] == dequantise(np.int8([k]))[0]
        assert len(index._open) == 16


def test_an_index_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailable, match="index"):
        PriorIndex.open(tmp_path / "none.json")
    with pytest.raises(SourceUnavailable, match="index"):
        PriorIndex.open("http://127.0.0.1:9/index.json")
    assert SourceUnavailable.retry


@pytest.mark.parametrize(
    "text", ["", "[]", '{"version": 2, "tiles": []}', '{"version": 1, "tiles": [{"year": 2023}]}', "\xff"]
)
def test_an_index_that_does_not_read_is_a_wrong_setting(tmp_path: Path, text: str) -> None:
    (tmp_path / "index.json").write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError, match="index"):
        PriorIndex.open(tmp_path)


def test_the_version_follows_the_index(folder: Folder) -> None:
    folder.add("a.tif")
    first = folder.open().version
    assert first == folder.open().version
    folder.add("b.tif", year=2022)
    assert folder.open().version != first


def test_a_naive_time_is_refused(folder: Folder) -> None:
    with folder.open() as index, pytest.raises(InputError, match="zone"):
        index.sample(np.zeros(36), np.zeros(36), datetime(2024, 1, 1))
