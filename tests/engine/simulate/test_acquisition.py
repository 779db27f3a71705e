from __future__ import annotations

import numpy as np
import pytest

from engine.errors import InputError
from engine.runtime.geoid import undulation_m
from engine.simulate import acquisition, radiometry

SHAPE = (600, 800)


@pytest.fixture(scope="module", params=[(12.7, 55.8, True), (103.8, 1.2, False), (-71.6, -33.0, True)])
def grid(request: pytest.FixtureRequest) -> acquisition.Acquisition:
    lon, lat, ascending = request.param
    found = acquisition.plan(lon, lat, ascending, SHAPE, 8200)
    middle = found.lonlat(SHAPE[0] / 2, SHAPE[1] / 2)
    assert middle == pytest.approx((lon, lat), abs=0.01)
    return found


def test_there_and_back(grid: acquisition.Acquisition) -> None:
    line, sample = np.meshgrid([0.0, 123.4, 599.0], [0.0, 401.7, 799.0], indexing="ij")
    back = grid.pixel(*grid.lonlat(line, sample))
    assert back[0] == pytest.approx(line, abs=1e-4)
    assert back[1] == pytest.approx(sample, abs=1e-3)


def test_samples_are_ten_metres(grid: acquisition.Acquisition) -> None:
    from engine.runtime.geometry import ecef_from_geodetic

    def place(line: float, sample: float) -> np.ndarray:
        return ecef_from_geodetic(*grid.lonlat(line, sample))

    assert np.linalg.norm(place(300, 401) - place(300, 400)) == pytest.approx(10, abs=0.02)
    assert np.linalg.norm(place(301, 400) - place(300, 400)) == pytest.approx(10, abs=0.1)


def test_orbit_is_sentinel_1_s(grid: acquisition.Acquisition) -> None:
    speed = np.linalg.norm(grid.orbit.velocity_m_s, axis=1)
    assert len(speed) == 17 and set(np.diff(grid.orbit.times_s)) == {10.0}
    assert speed == pytest.approx(7595, abs=15)
    assert np.linalg.norm(grid.orbit.position_m, axis=1) == pytest.approx(7.071e6, rel=1e-6)
    assert (grid.orbit.velocity_m_s[8, 2] > 0) == grid.ascending
    # looking right: near range lies west on ascending passes
    lon, _ = grid.lonlat(np.array([300, 300]), np.array([0, 799]))
    assert (lon[1] > lon[0]) == grid.ascending


def test_incidence_and_ghosts_lie_where_real_ones_do(grid: acquisition.Acquisition) -> None:
    incidence = grid.incidence_deg(300, np.array([0, 799]))
    assert 34 < incidence[0] < incidence[1] < 39
    for sample, swath in ((0, 0), (799, 1)):
        assert grid.swath(sample) == swath
        assert 4300 < 10 * grid.ghost_offset_lines(300, sample) < 5500


def test_a_repeat_pass_sees_the_same_ground(grid: acquisition.Acquisition) -> None:
    again = acquisition.shifted(grid, 7, 5, (500, 700))
    lon, lat = grid.lonlat(np.array([10.0, 300]), np.array([20.0, 600]))
    line, sample = again.pixel(lon, lat)
    assert line == pytest.approx([3, 293], abs=1e-3)
    assert sample == pytest.approx([15, 595], abs=0.02)


def test_bearings_mirror_as_the_image_does(grid: acquisition.Acquisition) -> None:
    up, right = (float(grid.bearing_deg(300, 400, axis)) for axis in (0, 90))
    assert (up - right) % 360 == pytest.approx(90, abs=0.5)


def test_tables_agree_with_the_products_they_imitate(grid: acquisition.Acquisition) -> None:
    tables = radiometry.tables(grid, -24.5, 0.3)
    assert [block.name for block in tables.blocks] == ["IW1", "IW2"]
    assert tables.blocks[0].last_sample + 1 == tables.blocks[1].first_sample
    assert 558 < tables.sigma_nought.min() and tables.sigma_nought.max() < 666
    calibration, noise = tables.calibration(100, 40), tables.noise(100, 40)
    assert calibration.shape == noise.shape == (40, 800)
    nesz_db = 10 * np.log10(noise / calibration**2)
    assert -25 < nesz_db.min() and nesz_db.max() < -21
    beta = radiometry.BETA_NOUGHT / np.sqrt(np.sin(np.radians(grid.incidence_deg(100, 400))))
    assert calibration[0, 400] == pytest.approx(beta, rel=1e-4)


@pytest.mark.parametrize(
    ("lon", "lat", "ascending"),
    [(179.99, -17.0, True), (20.0, 83.5, True), (-179.99, 83.0, False), (170.0, -77.0, False)],
)
def test_passes_lie_over_far_places_too(lon: float, lat: float, ascending: bool) -> None:
    grid = acquisition.plan(lon, lat, ascending, SHAPE, 15_000)
    middle = grid.lonlat(SHAPE[0] / 2, SHAPE[1] / 2)
    off = ((middle[0] - lon + 180) % 360 - 180) * np.cos(np.radians(lat)), middle[1] - lat
    assert np.abs(off).max() < 0.005
    assert (grid.orbit.velocity_m_s[6, 2] > 0) == ascending  # at line 0
    # a bearing near the antimeridian and the poles: right is a quarter turn from up
    up, right = (float(grid.bearing_deg(300, 400, axis)) for axis in (0, 90))
    assert (up - right) % 360 == pytest.approx(90, abs=0.5)


@pytest.mark.parametrize("lat", [-80.0, 89.0])
def test_the_radar_does_not_see_the_poles(lat: float) -> None:
    with pytest.raises(InputError, match="looks to the right"):
        acquisition.plan(0.0, lat, True, SHAPE, 15_000)


def test_the_sea_stands_on_the_geoid(grid: acquisition.Acquisition) -> None:
    from engine.runtime.geometry import ground_point, zero_doppler

    line, sample = np.array([0.0, 300.0, 599.0]), np.array([10.0, 400.0, 790.0])
    lon, lat = grid.lonlat(line, sample)
    time, slant = zero_doppler(grid.orbit, lon, lat, undulation_m(lon, lat))
    assert time == pytest.approx(line * grid.line_interval_s, abs=1e-8)
    assert slant == pytest.approx(grid.slant_range(line, sample), abs=1e-3)
    flat = ground_point(grid.orbit, time, slant)
    assert np.abs(np.subtract(flat, (lon, lat))).max() > 1e-5
