from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, label

from daemon.scan.area import area_of, outline, split_antimeridian
from daemon.scene.geometry import RangeDopplerGeometry
from daemon.scene.safe import parse_annotation
from engine.runtime.geometry import ecef_from_geodetic
from tests.daemon.scene.test_land import Oblique


def scene_at(lon: float, lat: float, shape: tuple[int, int]) -> Any:
    return SimpleNamespace(shape=shape, geometry=Oblique(lon, lat, shape))


def blobs(shape: tuple[int, int], seed: int, size: float = 20.0) -> NDArray[np.float32]:
    """Sea pixels of cells: a coast of islands, and of the last cells only what the scene holds."""
    rows, cols = (-(-n // 8) for n in shape)
    coarse = np.random.default_rng(seed).normal(size=(-(-rows // 5), -(-cols // 5)))
    field = np.kron(gaussian_filter(coarse, size / 5), np.ones((5, 5)))[:rows, :cols]
    lines, samples = (np.minimum(8, n - np.arange(0, n, 8)) for n in shape)
    return ((field > -0.3 * field.std()) * np.outer(lines, samples)).astype(np.float32)


def square_metres(area: shapely.MultiPolygon, lat: float) -> float:
    """Area under the scale of `Oblique`."""
    return area.area * 111_320 * np.cos(np.radians(lat)) * 110_950


@pytest.mark.parametrize(
    ("lon", "lat"), [(12.0, 55.0), (179.95, -16.8), (-179.9, 0.0), (40.0, 84.0), (180.0, 82.0)]
)
@pytest.mark.parametrize("shape", [(5000, 6000), (4997, 6051)])
def test_the_area_is_that_of_the_cells(lon: float, lat: float, shape: tuple[int, int]) -> None:
    sea = blobs(shape, seed=3)
    area = area_of(scene_at(lon, lat, shape), sea)
    assert area.is_valid
    assert square_metres(area, lat) == pytest.approx(float(sea.sum()) * 100, rel=0.01)
    west, south, east, north = area.bounds
    assert -180 <= west < east <= 180 and north - south < 1
    assert all(part.bounds[2] - part.bounds[0] < 20 for part in area.geoms)


def test_places_that_were_looked_at_lie_in_it() -> None:
    shape = (2400, 3000)
    scene, sea = scene_at(180.0, 70.0, shape), blobs(shape, seed=9)
    sea[100:200, 150:250] = 64
    sea[130:170, 180:220] = 0  # an island
    area = area_of(scene, sea)
    assert sum(len(part.interiors) for part in area.geoms) >= 1
    rng = np.random.default_rng(0)
    line, sample = rng.uniform(0, 2399, 1000), rng.uniform(0, 2999, 1000)
    wet = gaussian_filter((sea > 0).astype(float), 4)
    here = wet[line.astype(int) // 8, sample.astype(int) // 8]
    certain = (here < 0.02) | (here > 0.98)  # not near an edge
    inside = shapely.contains_xy(area, *scene.geometry.lonlat(line, sample))
    assert certain.mean() > 0.5
    np.testing.assert_array_equal(inside[certain], here[certain] > 0.5)


def test_no_sea_is_an_empty_area_and_all_sea_one_polygon() -> None:
    shape = (1000, 1500)
    scene = scene_at(5.0, 5.0, shape)
    rows, cols = 125, 188
    assert area_of(scene, np.zeros((rows, cols))).is_empty
    whole = area_of(scene, np.outer(np.full(rows, 8), [8] * 187 + [4]))
    assert len(whole.geoms) == 1 and square_metres(whole, 5.0) == pytest.approx(1.5e8, rel=1e-3)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_outlines_are_the_squares(seed: int) -> None:
    rng = np.random.default_rng(seed)
    squares = rng.random(rng.integers(1, 12, 2)) < rng.random()
    found = outline(squares)
    assert shapely.is_valid(found).all()
    assert shapely.area(found).sum() == squares.sum()
    for row, col in np.ndindex(squares.shape):
        hit = shapely.contains_xy(found, col + 0.5, row + 0.5) if len(found) else np.zeros(0)
        assert hit.sum() == squares[row, col]
    assert len(found) == label(squares)[1]  # of four neighbours
    if len(found):
        assert shapely.MultiPolygon(list(found)).is_valid


def test_corners_that_touch_and_holes_in_holes() -> None:
    board = np.indices((6, 7)).sum(axis=0) % 2 == 0
    assert len(outline(board)) == board.sum()
    rings = np.zeros((9, 9), bool)
    rings[:] = True
    rings[1:-1, 1:-1] = False
    rings[3:-3, 3:-3] = True
    assert sorted(shapely.get_num_interior_rings(outline(rings)).tolist()) == [0, 1]
    assert shapely.get_num_coordinates(outline(np.ones((50, 90), bool)))[0] == 5


def test_a_real_scene(real_data: Path) -> None:
    file = next((real_data / "s1-safe").glob("*FEC3.SAFE/annotation/*vv*.xml"))
    geometry = RangeDopplerGeometry(parse_annotation(file.read_bytes()))
    sea = blobs(geometry.shape, seed=5, size=60)
    area = area_of(SimpleNamespace(shape=geometry.shape, geometry=geometry), sea)  # type: ignore[arg-type]
    assert area.is_valid and shapely.get_num_coordinates(area) < 5000
    # equal-area cylinder of the ellipsoid (authalic): its area is the ground's
    e2, a = 0.00669437999014, 6_378_137.0

    def authalic(at: NDArray[np.float64]) -> NDArray[np.float64]:
        e, sine = np.sqrt(e2), np.sin(np.radians(at[:, 1]))
        q = (1 - e2) * (sine / (1 - e2 * sine**2) + np.arctanh(e * sine) / e)
        return np.stack([np.radians(at[:, 0]) * a, q * a / 2], 1)

    # lines lie 10.10 to 10.17 m apart on the ground, whatever the annotated spacing says
    line, sample = np.meshgrid(*(np.linspace(100, n - 200, 5) for n in geometry.shape), indexing="ij")
    at, below, beside = (
        ecef_from_geodetic(*geometry.lonlat(line + i, sample + j)) for i, j in ((0, 0), (50, 0), (0, 50))
    )
    pixel_m2 = np.linalg.norm(np.cross(below - at, beside - at), axis=-1).mean() / 2500
    assert 100 < pixel_m2 < 102
    assert shapely.transform(area, authalic).area == pytest.approx(float(sea.sum()) * pixel_m2, rel=0.005)


def test_shapes_within_180_degrees_are_left_alone() -> None:
    shape = shapely.box(-179, -10, 179, 10)
    assert split_antimeridian(shape)[0].equals(shape)
    parts = split_antimeridian(shapely.box(170, 0, 200, 10))
    assert sorted(part.bounds for part in parts) == [(-180, 0, -160, 10), (170, 0, 180, 10)]
