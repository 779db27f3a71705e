from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import distance_transform_edt
from shapely import box

from daemon.errors import SceneCorrupt
from daemon.scene.geometry import RangeDopplerGeometry, split_at_antimeridian
from daemon.scene.land import LAND, MIXED, SEA, SceneLand, relevant
from daemon.scene.raster import Window
from daemon.scene.safe import parse_annotation
from engine.runtime.land import Coastline
from engine.runtime.rings import Rings

Array = NDArray[np.float64]


@dataclass
class Oblique:
    """A plane geometry: a middle, a spacing of 10 m, turned as an ascending pass is."""

    lon: float
    lat: float
    shape: tuple[int, int]
    turn_deg: float = -12.0

    def _turn(self) -> Array:
        t = np.radians(self.turn_deg)
        return np.array([[np.cos(t), np.sin(t)], [-np.sin(t), np.cos(t)]]) * 10.0

    def _scale(self) -> Array:
        return np.array([111_320 * np.cos(np.radians(self.lat)), 110_950])

    def lonlat(self, line_px: ArrayLike, sample_px: ArrayLike) -> tuple[Array, Array]:
        line, sample = np.broadcast_arrays(line_px, sample_px)
        image = np.stack([sample - self.shape[1] / 2, self.shape[0] / 2 - line], axis=-1)
        lon, lat = np.moveaxis(image @ self._turn() / self._scale() + (self.lon, self.lat), -1, 0)
        return (lon + 180) % 360 - 180, lat

    def pixel(self, lon_deg: ArrayLike, lat_deg: ArrayLike) -> tuple[Array, Array]:
        lon = (np.asarray(lon_deg) - self.lon + 180) % 360 - 180
        ground = np.stack([lon, np.asarray(lat_deg) - self.lat], axis=-1) * self._scale()
        sample, line = np.moveaxis(ground @ np.linalg.inv(self._turn()), -1, 0)
        return self.shape[0] / 2 - line, sample + self.shape[1] / 2


class Drawn:
    """A coastline of given rings: pairs of points (longitude, latitude) and level."""

    version = "drawn"
    tile_deg, overlap_deg, step_deg = 5, 1 / 64, 1 / 2048

    def __init__(self, *rings: tuple[Array, int]) -> None:
        self.all = Rings.of([points for points, _ in rings], [level for _, level in rings])

    def rings(self, *_box: float) -> Rings:
        return self.all


@pytest.fixture(scope="module")
def coastline() -> Coastline:
    return Coastline.load()


@pytest.mark.parametrize(
    ("lon", "lat"), [(12.9, 55.7), (134.5, 7.4), (179.9, -16.8), (-180.0, 68.9), (-82.5, 45.9), (104.0, 1.3)]
)
def test_pixels_agree_with_points(coastline: Coastline, lon: float, lat: float) -> None:
    geometry = Oblique(lon, lat, (3000, 4000))
    land = SceneLand(coastline, geometry)
    mask = land.mask(Window(0, 0, *geometry.shape))
    assert 0.02 < mask.mean() < 0.98
    rng = np.random.default_rng(5)
    line, sample = (rng.integers(0, size, 400) for size in geometry.shape)
    # points at sub-pixel distance from the shore may fall either way
    assert (mask[line, sample] == coastline.is_land(*geometry.lonlat(line, sample))).mean() > 0.995


def test_windows_are_cut_from_one_mask(coastline: Coastline) -> None:
    geometry = Oblique(12.9, 55.7, (1500, 2000))
    land = SceneLand(coastline, geometry)
    whole = land.mask(Window(0, 0, *geometry.shape))
    for window in (Window(0, 0, 400, 2000), Window(700, 611, 126, 126), Window(1499, 1999, 1, 1)):
        part = whole[window.line :, window.sample :][: window.lines, : window.samples]
        np.testing.assert_array_equal(land.mask(window), part)
    beyond = land.mask(Window(-20, -20, 126, 126))
    np.testing.assert_array_equal(beyond[20:, 20:], whole[:106, :106])


def test_a_pixel_is_land_where_its_centre_is() -> None:
    geometry = Oblique(0.0, 0.0, (100, 100), turn_deg=0.0)
    corners = [(10.4, 20.4), (10.4, 29.6), (19.6, 29.6), (19.6, 20.4)]  # holds centres 11 to 19, 21 to 29
    points = np.stack(geometry.lonlat(*np.array(corners).T), axis=1)
    expected = np.zeros((100, 100), bool)
    expected[11:20, 21:30] = True
    land = SceneLand(Drawn((points, 1)), geometry)  # type: ignore[arg-type]
    np.testing.assert_array_equal(land.mask(Window(0, 0, 100, 100)), expected)


def test_water_in_land_and_islands_in_it() -> None:
    geometry = Oblique(20.0, 10.0, (300, 300))
    square = np.array([(-1, -1), (-1, 1), (1, 1), (1, -1)], float)
    rings = [
        (np.stack(geometry.lonlat(*(150 + half * square).T), axis=1), level)
        for level, half in ((1, 120), (2, 70), (3, 30))
    ]
    for order in (rings, rings[::-1]):
        row = SceneLand(Drawn(*order), geometry).mask(Window(150, 0, 1, 300))[0]  # type: ignore[arg-type]
        np.testing.assert_array_equal(row[[10, 50, 100, 150, 200, 250, 290]], [0, 1, 0, 1, 0, 1, 0])


def test_open_sea_has_no_land(coastline: Coastline) -> None:
    assert not SceneLand(coastline, Oblique(-30.0, 30.0, (500, 500))).mask(Window(0, 0, 500, 500)).any()


def test_the_version_is_the_coastlines(coastline: Coastline) -> None:
    assert SceneLand(coastline, Oblique(0, 0, (10, 10))).version == coastline.version


def test_a_geometry_off_the_ground_is_refused(coastline: Coastline) -> None:
    class Nowhere(Oblique):
        def lonlat(self, line_px: ArrayLike, sample_px: ArrayLike) -> tuple[Array, Array]:
            return tuple(np.full_like(values, np.nan) for values in super().lonlat(line_px, sample_px))

    with pytest.raises(SceneCorrupt, match="leaves the ground"):
        SceneLand(coastline, Nowhere(0.0, 0.0, (10, 10))).mask(Window(0, 0, 10, 10))


def test_a_real_scene(real_data: Path, coastline: Coastline) -> None:
    file = next((real_data / "s1-safe").glob("S1A_IW_GRDH_1SDV_20221002*/annotation/*vv*.xml"))
    geometry = RangeDopplerGeometry(parse_annotation(file.read_bytes()))
    land = SceneLand(coastline, geometry)
    line, sample = geometry.pixel([134.57, 134.36], [7.50, 7.25])  # Babeldaob; the lagoon
    island, lagoon = (
        land.mask(Window(round(float(y)) - 10, round(float(x)) - 10, 21, 21))
        for y, x in zip(line, sample, strict=True)
    )
    assert island.all() and not lagoon.any()


def filled_by_gdal(land: SceneLand, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Draw the same rings with another program."""
    from rasterio.features import rasterize

    west, south, east, north = land._box
    rings = land._coastline.rings(west, south, east, north)
    rings = rings.clip_box((west, south), (east, north)).densified(0.05)
    image = np.stack(land._geometry.pixel(*rings.points.T), axis=1)
    shapes = []
    for ring, level in sorted(zip(rings.moved(image).split(), rings.levels, strict=True), key=lambda r: r[1]):
        corners = (ring[:, ::-1] + 0.5).tolist()
        shapes.append(({"type": "Polygon", "coordinates": [[*corners, corners[0]]]}, int(level % 2)))
    return rasterize(shapes, shape, fill=0, dtype="uint8").astype(bool)


@pytest.mark.parametrize(("lon", "lat"), [(12.9, 55.7), (-82.5, 45.9), (21.9, 60.2), (179.9, -16.8)])
def test_pixels_agree_with_another_program(coastline: Coastline, lon: float, lat: float) -> None:
    geometry = Oblique(lon, lat, (1700, 2300))
    land = SceneLand(coastline, geometry)
    mask = land.mask(Window(0, 0, *geometry.shape))
    assert 0.02 < mask.mean() < 0.98
    # centres that lie on an edge but for rounding may fall either way
    assert np.count_nonzero(mask != filled_by_gdal(land, geometry.shape)) < 5


def cells_of(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    rows, cols = (-(-size // 8) for size in mask.shape)
    cells = np.empty((rows, cols), np.uint8)
    for row in range(rows):
        for col in range(cols):
            part = mask[8 * row : 8 * row + 8, 8 * col : 8 * col + 8]
            cells[row, col] = LAND if part.all() else MIXED if part.any() else SEA
    return cells


@pytest.mark.parametrize("shape", [(400, 640), (397, 633), (8, 8), (3, 5), (1, 300)])
@pytest.mark.parametrize(("lon", "lat"), [(12.95, 55.62), (-82.5, 45.9), (23.0, 60.0)])
def test_cells_tell_what_the_mask_holds(
    coastline: Coastline, shape: tuple[int, int], lon: float, lat: float
) -> None:
    land = SceneLand(coastline, Oblique(lon, lat, shape))
    np.testing.assert_array_equal(land.cells(), cells_of(land.mask(Window(0, 0, *shape))))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_cells_tell_what_the_mask_holds_of_any_rings(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 90, 2).tolist())
    geometry = Oblique(10.0, 50.0, shape)
    rings = []
    for level in rng.integers(1, 4, rng.integers(1, 12)):
        middle, size = rng.uniform(-20, 110, 2), 10 ** rng.uniform(0, 2.2)
        points = middle + rng.normal(0, size, (rng.integers(3, 9), 2))  # some cross themselves
        rings.append((np.stack(geometry.lonlat(*points.T), axis=1), int(level)))
    land = SceneLand(Drawn(*rings), geometry)  # type: ignore[arg-type]
    whole = land.mask(Window(-30, -40, 200, 220))
    inner = whole[30 : 30 + shape[0], 40 : 40 + shape[1]]
    np.testing.assert_array_equal(land.mask(Window(0, 0, *shape)), inner)
    np.testing.assert_array_equal(land.cells(), cells_of(inner))
    np.testing.assert_array_equal(whole[:170, :180], filled_slowly(land)[:170, :180])


def filled_slowly(land: SceneLand) -> NDArray[np.bool_]:
    """Ask of each pixel of (-30..170, -40..180) in which rings it lies, by the angle around it."""
    rings = land._coastline.rings()  # type: ignore[call-arg]
    line, sample = np.mgrid[-30:170, -40:180]
    state = np.zeros(line.shape, bool)
    for level in range(1, int(rings.levels.max()) + 1):
        for ring, at in zip(rings.split(), rings.levels, strict=True):
            if at == level:
                points = np.stack(land._geometry.pixel(*ring.T), axis=1)
                state[_odd(points, line, sample)] = level % 2 == 1
    return state


def _odd(ring: Array, line: Array, sample: Array) -> NDArray[np.bool_]:
    odd = np.zeros(line.shape, bool)
    for (y, x), (y_, x_) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        if y != y_:
            crossed = (y <= line) != (y_ <= line)
            odd ^= crossed & (x + (line - y) * (x_ - x) / (y_ - y) <= sample)
    return odd


def test_shore_distances_agree_with_the_mask(coastline: Coastline) -> None:
    geometry = Oblique(12.9, 55.7, (1200, 1500))
    land = SceneLand(coastline, geometry)
    mask = land.mask(Window(0, 0, *geometry.shape))
    reference = distance_transform_edt(~mask) * 10.0  # to the centre of a pixel of land: some metres more
    rng = np.random.default_rng(2)
    line, sample = rng.integers(250, 950, 800), rng.integers(250, 1250, 800)
    # nearer than the frame, so that no shore beyond it counts
    near = reference[line, sample] < 2400
    distance = land.shore_m(line, sample)
    assert np.abs(distance - reference[line, sample])[near].max() < 20
    assert near.sum() > 100
    np.testing.assert_array_equal(distance == 0, mask[line, sample])


def test_shores_beyond_the_scene_and_the_reach(coastline: Coastline) -> None:
    far = SceneLand(coastline, Oblique(-30.0, 30.0, (400, 400)))  # mid Atlantic
    assert np.isposinf(far.shore_m([0.0, 200.0], [10.0, 300.0])).all()
    # Helgoland lies 50 km off the Frisian coast; this scene of 4 km lies between, without a shore
    between = SceneLand(coastline, Oblique(7.6, 53.9, (400, 400)))
    assert not between.mask(Window(0, 0, 400, 400)).any()
    north, south = between.shore_m([0, 399], [200, 200])
    assert 5_000 < south < north < 50_000
    assert between.shore_m(np.empty(0), np.empty(0)).shape == (0,)


@pytest.mark.parametrize("choice", ["all", "none", "seas", "Caspian Sea"])
def test_a_scene_without_sea_is_irrelevant_and_no_other(choice: str) -> None:
    chosen = Coastline.load(choice)
    rng = np.random.default_rng(11)
    places = [
        (12.9, 55.7), (51.0, 42.0), (49.6, 41.0), (-87.0, 43.5), (33.0, -1.0), (179.95, -16.85), (10.0, 25.0)
    ]  # fmt: skip
    seen = set()
    for lon, lat in places + [(lon + rng.uniform(-1, 1), lat + rng.uniform(-1, 1)) for lon, lat in places]:
        geometry = Oblique(lon, lat, (3000, 3000))
        wet = not SceneLand(chosen, geometry).mask(Window(0, 0, *geometry.shape)).all()
        line, sample = np.array([0, 0, 2999, 2999]), np.array([0, 2999, 2999, 0])
        outline = split_at_antimeridian(*geometry.lonlat(line, sample))
        found = relevant(chosen, outline)
        assert found or not wet
        seen.add((found, wet))
    assert {(False, False), (True, True)} <= seen


def test_the_caspian_is_relevant_as_the_choice_says() -> None:
    middle = box(50.5, 41.5, 51.5, 42.5)
    assert relevant(Coastline.load("Caspian Sea"), middle) and relevant(Coastline.load(), middle)
    assert not relevant(Coastline.load("none"), middle)
    assert not relevant(Coastline.load("Lake Victoria"), middle)


def test_a_narrow_water_makes_a_scene_relevant(coastline: Coastline) -> None:
    bosporus = box(28.8, 40.9, 29.4, 41.3)
    assert relevant(coastline, bosporus)
    # 20 m of water in a footprint that is else land
    geometry = Oblique(20.0, 10.0, (4000, 4000))
    square = np.array([(-1, -1), (-1, 1), (1, 1), (1, -1)], float)
    around = np.stack(geometry.lonlat(*(2000 + 9000 * square).T), axis=1)
    pool = np.stack(geometry.lonlat(*(700 + square).T), axis=1)
    outline = box(19.8, 9.8, 20.2, 10.2)
    for rings, expected in (([(around, 1)], False), ([(around, 1), (pool, 2)], True)):
        drawn = Drawn(*rings)
        drawn.is_land = lambda lon, lat: np.ones(lon.shape, bool)  # type: ignore[attr-defined]
        assert relevant(drawn, outline) is expected  # type: ignore[arg-type]


def test_an_empty_footprint_is_refused(coastline: Coastline) -> None:
    with pytest.raises(SceneCorrupt, match="empty footprint"):
        relevant(coastline, box(0, 0, 1, 1).difference(box(-1, -1, 2, 2)))
