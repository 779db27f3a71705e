from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.runtime.land import Coastline
from engine.runtime.rings import Rings
from engine.runtime.shore import Shore

Array = NDArray[np.float64]


@pytest.fixture(scope="module")
def coastline() -> Coastline:
    return Coastline.load()


class Drawn:
    """A coastline of given rings."""

    tile_deg, overlap_deg, step_deg = 5, 1 / 64, 1 / 2048

    def __init__(self, *rings: Array) -> None:
        self.all = Rings.of(list(rings), [1] * len(rings))

    def rings(self, *_box: float) -> Rings:
        return self.all


def metres(lon: Array, lat: Array, lon_: Array, lat_: Array) -> Array:
    """Distance by the ellipsoid's radii at the middle latitude: good to 1 m at 50 km below 70 degrees."""
    e2, a = 0.00669437999014, 6_378_137.0
    middle = np.radians((lat + lat_) / 2)
    w = np.sqrt(1 - e2 * np.sin(middle) ** 2)
    north = a * (1 - e2) / w**3 * np.radians(lat_ - lat)
    east = a / w * np.cos(middle) * np.radians((lon_ - lon + 180) % 360 - 180)
    return np.hypot(north, east)


@pytest.mark.parametrize(
    "box",
    [
        (22.4, 37.4, 23.6, 38.4),
        (134.0, 6.8, 135.0, 8.2),
        (178.9, -17.5, 180.6, -16.2),
        (14.0, 67.4, 15.0, 68.0),
    ],
)
def test_distances_are_those_to_the_nearest_of_all_shore(
    coastline: Coastline, box: tuple[float, float, float, float]
) -> None:
    west, south, east, north = box
    rng = np.random.default_rng(8)
    lon, lat = rng.uniform(west, east, 60), rng.uniform(south, north, 60)
    got = Shore(coastline, box).distance_m((lon + 180) % 360 - 180, lat)
    rings = coastline.rings(west - 1.5, south - 0.6, east + 1.5, north + 0.6).densified(0.0003)
    expected = np.full(60, np.inf)
    # cuts between tiles are no shore: take none of the points beside them
    beside = np.abs((rings.points + 2.5) % 5 - 2.5)
    shore = rings.points[(np.abs(beside - 1 / 64) > 1e-6).all(axis=1)]
    for k in range(60):
        near = shore[np.abs(shore[:, 1] - lat[k]) < 0.5]
        if len(near):
            expected[k] = metres(lon[k], lat[k], *near.T).min()
    known = expected < 50_000
    assert known.sum() > 20
    assert np.abs(got - expected)[known].max() < 20
    assert np.isposinf(got[expected > 50_100]).all()


def test_the_antimeridian_is_no_shore(coastline: Coastline) -> None:
    # Taveuni, on 180 degrees, and Chukotka, which the source cuts there
    shore = Shore(coastline, (178.0, 68.0, 182.0, 69.0))
    assert shore.distance_m(180.0, 68.6) > 20_000
    assert shore.distance_m(-180.0, 68.6) == pytest.approx(float(shore.distance_m(180.0, 68.6)))


def test_the_edges_of_tiles_are_no_shore(coastline: Coastline) -> None:
    # inland Africa at 20 degrees east and 10 north, where four tiles meet
    assert np.isposinf(Shore(coastline, (19.0, 9.0, 21.0, 11.0)).distance_m([20.0, 20.3], [10.0, 9.7])).all()


def test_one_long_straight_shore() -> None:
    ring = np.array([(10.0, 0.0), (10.2, 0.0), (10.2, 0.5), (10.0, 0.5)])
    shore = Shore(Drawn(ring), (9.0, 0.0, 10.0, 0.5))  # type: ignore[arg-type]
    lon = 10.0 - np.array([0.001, 0.1, 0.4, 0.5])
    expected = (10.0 - lon) * 111_319.49
    expected[3] = np.inf
    np.testing.assert_allclose(shore.distance_m(lon, 0.25), expected, rtol=1e-4)
    assert shore.distance_m(9.7, 0.25).shape == ()


def test_order_and_company_change_nothing(coastline: Coastline) -> None:
    box = (21.4, 37.4, 24.8, 39.4)
    rng = np.random.default_rng(4)
    lon, lat = rng.uniform(box[0], box[2], 2000), rng.uniform(box[1], box[3], 2000)
    shore = Shore(coastline, box)
    together = shore.distance_m(lon, lat)
    np.testing.assert_allclose(shore.distance_m(lon[::-1], lat[::-1])[::-1], together, rtol=0, atol=1e-6)
    for k in range(0, 2000, 333):
        assert shore.distance_m(lon[k], lat[k]) == pytest.approx(together[k], abs=1e-6)


def test_without_land_nothing_is_near() -> None:
    shore = Shore(Drawn(), (0.0, 0.0, 1.0, 1.0))  # type: ignore[arg-type]
    assert np.isposinf(shore.distance_m([0.5, 0.6], [0.5, 0.5])).all()
    assert shore.distance_m([], []).shape == (0,)
