from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from daemon.errors import SceneCorrupt
from daemon.scene.geometry import RangeDopplerGeometry
from daemon.scene.land import SceneLand
from daemon.scene.raster import Window
from daemon.scene.safe import parse_annotation
from engine.runtime.land import Coastline, Ring

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


class Rings:
    """A coastline of given rings."""

    version = "rings"

    def __init__(self, *rings: Ring) -> None:
        self.rings = list(rings)

    def polygons(self, *_box: float, inland_water: bool = True) -> list[Ring]:
        return [ring for ring in self.rings if inland_water or ring.level == 1]


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
    land = SceneLand(Rings(Ring(points, 1)), geometry)  # type: ignore[arg-type]
    np.testing.assert_array_equal(land.mask(Window(0, 0, 100, 100)), expected)


def test_water_in_land_and_islands_in_it() -> None:
    geometry = Oblique(20.0, 10.0, (300, 300))
    square = np.array([(-1, -1), (-1, 1), (1, 1), (1, -1)], float)
    rings = [
        Ring(np.stack(geometry.lonlat(*(150 + half * square).T), axis=1), level)
        for level, half in ((1, 120), (2, 70), (3, 30))
    ]
    with_water = SceneLand(Rings(*rings), geometry)  # type: ignore[arg-type]
    row = with_water.mask(Window(150, 0, 1, 300))[0]
    np.testing.assert_array_equal(row[[10, 50, 100, 150, 200, 250, 290]], [0, 1, 0, 1, 0, 1, 0])
    without = SceneLand(Rings(*rings), geometry, inland_water=False)  # type: ignore[arg-type]
    assert without.mask(Window(150, 40, 1, 220)).all()
    assert without.version != with_water.version


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
