from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import InputError
from engine.runtime.geoid import undulation_m
from engine.runtime.geometry import (
    WGS84_A_M,
    WGS84_B_M,
    Orbit,
    ecef_from_geodetic,
    geodetic_from_ecef,
    ground_point,
    local_axes,
    zero_doppler,
)
from tests.support.orbits import circular_path


def orbit(node_deg: float = 20.0, phase_deg: float = 40.0, spacing_s: float = 10.0) -> Orbit:
    times = np.arange(-60.0, 100.0, spacing_s)
    return Orbit(times, *circular_path(times, node_deg, phase_deg))


def test_orbit_is_exact_to_a_tenth_of_a_millimetre_at_ten_seconds() -> None:
    t = np.linspace(-60, 90, 4001)
    position, velocity = orbit().at(t)
    true_position, true_velocity = circular_path(t, 20.0, 40.0)
    assert np.abs(position - true_position).max() < 1e-4
    assert np.abs(velocity - true_velocity).max() < 1e-4


def test_orbit_goes_on_for_one_interval_and_is_nan_beyond() -> None:
    path = orbit()
    position, velocity = path.at([-70.0, 100.0, -70.1, 100.1])
    assert np.abs(position[:2] - circular_path(np.array([-70.0, 100.0]), 20.0, 40.0)[0]).max() < 0.01
    assert np.isnan(position[2:]).all() and np.isnan(velocity[2:]).all()


def test_orbit_takes_two_state_vectors() -> None:
    times = np.array([0.0, 10.0])
    short = Orbit(times, *circular_path(times, 20.0, 40.0))
    t = np.array([0.0, 5.0, 10.0])
    assert np.abs(short.at(t)[0] - circular_path(t, 20.0, 40.0)[0]).max() < 1e-2


@pytest.mark.parametrize("times", [[0.0], [0.0, 0.0], [1.0, 0.0]])
def test_orbit_refuses_times_that_do_not_increase(times: list[float]) -> None:
    with pytest.raises(InputError, match="state vectors"):
        Orbit(times, np.zeros((len(times), 3)), np.zeros((len(times), 3)))  # type: ignore[arg-type]


def test_wgs84_at_known_places() -> None:
    assert ecef_from_geodetic(0, 0, 0) == pytest.approx([WGS84_A_M, 0, 0])
    assert ecef_from_geodetic(0, 90, 100) == pytest.approx([0, 0, WGS84_B_M + 100], abs=1e-6)
    # 45 degrees north, 90 east: z = N (1 - e2) sin(lat), worked by hand from the defining constants.
    assert ecef_from_geodetic(90, 45, 0) == pytest.approx([0, 4517590.8788, 4487348.4088], abs=1e-3)


@settings(deadline=None)
@given(st.floats(-180, 180), st.floats(-90, 90), st.floats(-500, 900_000))
def test_geodetic_round_trip(lon: float, lat: float, height: float) -> None:
    xyz = ecef_from_geodetic(lon, lat, height)
    assert np.abs(ecef_from_geodetic(*geodetic_from_ecef(xyz)) - xyz).max() < 1e-5


def test_local_axes_are_the_derivatives_of_position() -> None:
    east, north, up = local_axes(-75.0, 36.0)
    here = ecef_from_geodetic(-75.0, 36.0, 0)
    for axis, there in ((east, (-74.999, 36, 0)), (north, (-75, 36.001, 0)), (up, (-75, 36, 100))):
        step = ecef_from_geodetic(*there) - here
        assert step / np.linalg.norm(step) == pytest.approx(axis, abs=2e-5)


@settings(deadline=None)
@given(
    st.floats(-180, 180), st.floats(0, 360), st.floats(0, 30), st.floats(800_000, 960_000),
    st.floats(-100, 8000), st.sampled_from(["right", "left"]),
)  # fmt: skip
def test_ground_point_meets_the_three_surfaces(node, phase, t, slant, height, look) -> None:
    path = orbit(node, phase)
    lon, lat = ground_point(path, t, slant, height, look)
    line = ecef_from_geodetic(lon, lat, height) - path.at(t)[0]
    velocity = path.at(t)[1]
    assert np.linalg.norm(line) == pytest.approx(slant, abs=1e-3)
    assert line @ velocity / np.linalg.norm(velocity) == pytest.approx(0, abs=1e-3)
    t_back, slant_back = zero_doppler(path, lon, lat, height, look)
    assert t_back == pytest.approx(t, abs=1e-7) and slant_back == pytest.approx(slant, abs=1e-3)


@pytest.mark.parametrize("phase", [40.0, 80.0, 100.0, 250.0])
def test_a_surface_is_met_at_its_own_height(phase: float) -> None:
    """The geoid in place of a number: the height of the answer is the surface's height there."""
    path = orbit(-70.0, phase)
    t, slant = np.arange(0.0, 20.0, 4.0)[:, None], np.linspace(800e3, 950e3, 7)
    lon, lat = ground_point(path, t, slant, undulation_m)
    height = undulation_m(lon, lat)
    assert np.abs(height).max() > 1
    line = ecef_from_geodetic(lon, lat, height) - path.at(t)[0]
    assert np.linalg.norm(line, axis=-1) == pytest.approx(np.broadcast_to(slant, lon.shape), abs=1e-3)
    again = ground_point(path, t, slant, height)
    assert np.abs(np.subtract(again, (lon, lat))).max() < 1e-9


def test_passes_far_from_the_middle_of_the_orbit_are_found_as_exactly() -> None:
    path = orbit()
    t = np.array([-59.0, -30.0, 15.0, 60.0, 98.0])
    lon, lat = ground_point(path, t, 870e3)
    for chosen in (slice(None), slice(0, 1), slice(4, 5)):
        back, slant = zero_doppler(path, lon[chosen], lat[chosen])
        assert np.abs(back - t[chosen]).max() < 1e-9 and np.abs(slant - 870e3).max() < 1e-4


def test_look_side() -> None:
    """An ascending satellite looks east to its right."""
    path = orbit()
    below, _, _ = geodetic_from_ecef(path.at(0.0)[0])
    right, left = ground_point(path, 0.0, 850e3)[0], ground_point(path, 0.0, 850e3, look="left")[0]
    assert left < below < right


def test_what_cannot_be_seen_is_nan() -> None:
    path = orbit()
    lon, lat = ground_point(path, [0.0, 0.0, 500.0], [850e3, 600e3, 850e3])
    assert np.isfinite(lon).tolist() == [
        True,
        False,
        False,
    ]  # too near to reach the ground; outside the orbit
    assert np.isnan(zero_doppler(path, lon[0], lat[0], 0.0, look="left")[0])
    assert np.isnan(zero_doppler(path, lon[0], lat[0] + 40, 0.0)[0])  # passes later than the state vectors


def test_higher_ground_is_seen_nearer() -> None:
    """A mountain's top lies at a shorter slant range than its foot: layover."""
    path = orbit()
    lon, lat = ground_point(path, 0.0, 850e3)
    slant = zero_doppler(path, lon, lat, [0.0, 100.0, 2000.0])[1]
    assert slant[0] > slant[1] > slant[2]
    assert slant[0] - slant[1] == pytest.approx(100 * np.cos(np.radians(37)), abs=10)


def test_arguments_broadcast() -> None:
    lon, lat = ground_point(orbit(), np.arange(3.0)[:, None], np.array([800e3, 900e3]), 0.0)
    assert lon.shape == lat.shape == (3, 2)
    t, slant = zero_doppler(orbit(), lon, lat)
    assert t == pytest.approx(np.repeat(np.arange(3.0)[:, None], 2, 1), abs=1e-7)
    assert slant == pytest.approx(np.array([[800e3, 900e3]] * 3), abs=1e-3)
