"""Scenes anywhere on the globe: across the antimeridian, near the poles, in both directions."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import MultiPolygon, Polygon

from daemon.scene.geometry import MOVER_KNOTS, RangeDopplerGeometry, split_at_antimeridian
from daemon.scene.land import _bounds
from engine.runtime.geoid import undulation_m
from engine.runtime.geometry import ecef_from_geodetic, ground_point, local_axes
from engine.simulate.acquisition import Acquisition
from tests.support.globe import PLACES, area_km2, degrees_apart, full_scene

cached = lru_cache(full_scene)
every = pytest.mark.parametrize("place", PLACES)
KM2 = 16000 * 25000 * 1e-4


@pytest.fixture
def grid(place: str) -> Acquisition:
    return cached(*PLACES[place])[0]


@pytest.fixture
def geometry(place: str) -> RangeDopplerGeometry:
    return cached(*PLACES[place])[1]


def metres(a: tuple, b: tuple) -> np.ndarray:
    return np.linalg.norm(ecef_from_geodetic(*a) - ecef_from_geodetic(*b), axis=-1)


@every
def test_simulated_and_seen_places_are_one(grid: Acquisition, geometry: RangeDopplerGeometry) -> None:
    """What the simulator puts on a pixel the daemon finds there, to a millimetre."""
    line, sample = np.linspace(0, 15999, 41)[:, None], np.linspace(0, 24999, 37)
    assert metres(grid.lonlat(line, sample), geometry.lonlat(line, sample)).max() < 1e-3
    back = geometry.pixel(*geometry.lonlat(line, sample))
    assert np.abs(back[0] - line).max() < 1e-5 and np.abs(back[1] - sample).max() < 1e-5
    assert geometry.self_check_px < 1e-3


@every
def test_sea_level_is_the_geoid(geometry: RangeDopplerGeometry) -> None:
    line, sample = np.linspace(0, 15999, 9)[:, None], np.linspace(0, 24999, 7)
    here = geometry.lonlat(line, sample)
    height = undulation_m(*here)
    assert metres(here, geometry.lonlat(line, sample, height)).max() < 1e-3
    moved = metres(here, geometry.lonlat(line, sample, 0.0))
    # a height h moves a place by h / tan(incidence) across track
    expected = np.abs(height) / np.tan(np.radians(geometry.incidence_deg(line, sample)))
    assert moved == pytest.approx(expected, rel=0.05, abs=0.05)


@every
def test_footprint(place: str, geometry: RangeDopplerGeometry) -> None:
    footprint = geometry.footprint()
    assert footprint.is_valid
    assert area_km2(footprint) == pytest.approx(KM2, rel=0.002)
    parts = getattr(footprint, "geoms", [footprint])
    assert len(parts) == (2 if abs(PLACES[place][0]) > 179 else 1)
    for west, south, east, north in (part.bounds for part in parts):
        assert -180 <= west < east <= 180 and -90 <= south < north <= 90
        # about 250 km wide, however the meridians run together
        assert (east - west) * 111 * np.cos(np.radians((south + north) / 2)) < 400


@every
def test_land_is_asked_for_in_a_box_around_the_scene(place: str, geometry: RangeDopplerGeometry) -> None:
    west, south, east, north = _bounds(geometry)
    lines, samples = geometry.shape
    edge = np.concatenate([np.linspace(0, 1, 50), np.linspace(0, 1, 50)])
    sides = np.repeat([0.0, 1.0], 50)
    line, sample = np.concatenate([edge, sides]) * lines - 0.5, np.concatenate([sides, edge]) * samples - 0.5
    lon, lat = geometry.lonlat(line, sample)
    lon = (lon - west) % 360 + west
    assert (lon <= east).all() and (south <= lat).all() and (lat <= north).all()
    assert (east - west) * np.cos(np.radians((south + north) / 2)) < 5


@every
def test_axes_are_those_of_the_grid(geometry: RangeDopplerGeometry) -> None:
    """Against finite differences, away from where one slant range polynomial follows another."""
    updates = geometry._times_s / geometry._interval_s
    line = updates[(updates > 100) & (updates < 15900)][::4, None]
    sample = np.linspace(50, 24900, 9)
    east, north, _ = local_axes(*geometry.lonlat(line, sample))
    for lines, samples, said in (
        (20, 0, geometry.heading_deg(line, sample)),
        (0, 20, geometry.look_azimuth_deg(line, sample)),
        (20, 20, geometry.bearing_deg(line, sample, 20 * geometry.annotation.spacing_m[0], 200.0)),
    ):
        ahead = ecef_from_geodetic(*geometry.lonlat(line + lines, sample + samples))
        step = ahead - ecef_from_geodetic(*geometry.lonlat(line - lines, sample - samples))
        bearing = np.degrees(np.arctan2((step * east).sum(-1), (step * north).sum(-1)))
        # lines are 9.97 to 10.1 m apart, which turns a diagonal; the geoid's slope turns a heading by 0.01
        assert degrees_apart(bearing, said).max() < (0.4 if lines and samples else 0.03)


@every
def test_lines_run_with_the_flight_and_samples_to_its_right(
    place: str, geometry: RangeDopplerGeometry
) -> None:
    line, sample = np.linspace(0, 15999, 5)[:, None], np.linspace(0, 24999, 5)
    turn = (geometry.look_azimuth_deg(line, sample) - geometry.heading_deg(line, sample)) % 360
    assert turn == pytest.approx(np.full(turn.shape, 90), abs=0.5)
    _, velocity = geometry.annotation.orbit.at(0.0)
    assert (velocity[2] > 0) == PLACES[place][2]


@every
@pytest.mark.parametrize("course_deg", [0.0, 77.0, 180.0, 260.0])
def test_movers_are_displaced_as_said(geometry: RangeDopplerGeometry, course_deg: float) -> None:
    """From first principles: a moving target is imaged when the range to it is least."""
    orbit, speed = geometry.annotation.orbit, 12.0
    line, sample = np.array([8000.0, 3000.0]), np.array([500.0, 23000.0])
    lon, lat = geometry.lonlat(line, sample)
    t, _ = geometry._time_and_range(line, sample)
    east, north, _ = local_axes(lon, lat)
    course = np.radians(course_deg)
    motion = speed * (np.sin(course) * east + np.cos(course) * north)
    start = ecef_from_geodetic(lon, lat, undulation_m(lon, lat))
    imaged = t.copy()
    for _ in range(5):  # Newton's method on the range's derivative
        position, velocity, acceleration = orbit._state(imaged)
        sight = start + motion * (imaged - t)[:, None] - position
        against = motion - velocity
        slope = (sight * against).sum(-1)
        imaged -= slope / ((against * against).sum(-1) - (sight * acceleration).sum(-1))
    sight = start + motion * (imaged - t)[:, None] - orbit.at(imaged)[0]
    echo = ground_point(orbit, imaged, np.linalg.norm(sight, axis=-1), undulation_m)
    step = ecef_from_geodetic(*echo, undulation_m(*echo)) - start
    along, ahead = (np.radians(geometry.heading_deg(line, sample)), (step * north).sum(-1))
    moved = (step * east).sum(-1) * np.sin(along) + ahead * np.cos(along)

    look, incidence = geometry.look_azimuth_deg(line, sample), geometry.incidence_deg(line, sample)
    approach = -speed * np.cos(course - np.radians(look)) * np.sin(np.radians(incidence))
    expected = geometry.range_to_velocity_s(line, sample) * approach
    # the satellite's speed over the turning earth, and the ship's own way meanwhile, make 2%
    assert moved == pytest.approx(expected, rel=0.02, abs=8)
    bound = geometry.shift_bound_m(line, sample) * speed / (MOVER_KNOTS * 0.514444)
    assert (np.abs(moved) <= bound * 1.02).all()


def test_the_bound_is_met_by_a_ship_that_sails_at_the_radar() -> None:
    geometry = cached(*PLACES["Oresund"])[1]
    bound = geometry.shift_bound_m(100, np.array([0, 24999]))
    assert bound == pytest.approx([108 * 15.43 * np.sin(np.radians(30.9)), 126 * 15.43 * 0.717], rel=0.03)


boxes = st.tuples(
    st.floats(-180, 180), st.floats(-89, 89), st.floats(0.05, 40), st.floats(0.05, 4), st.floats(0, 360)
)


def ring(box: tuple[float, ...], centre_lon: float) -> tuple[np.ndarray, np.ndarray]:
    """An ellipse's outline, its longitudes in -180 to 180."""
    _, lat, width, height, turn = box
    angle = np.radians(np.arange(0, 360, 15) + turn)
    lon = centre_lon + width * np.cos(angle)
    return (lon + 180) % 360 - 180, np.clip(lat + height * np.sin(angle), -90, 90)


@given(boxes)
def test_splitting_keeps_the_area(box: tuple[float, ...]) -> None:
    """The same outline, moved to where nothing needs splitting, has the same area in degrees and km2."""
    split = split_at_antimeridian(*ring(box, box[0]))
    whole = split_at_antimeridian(*ring(box, 0.0))
    assert isinstance(whole, Polygon) and split.is_valid
    assert split.area == pytest.approx(whole.area, rel=1e-9)
    assert area_km2(split) == pytest.approx(area_km2(whole), rel=1e-4)
    for part in getattr(split, "geoms", [split]):
        west, _, east, _ = part.bounds
        assert -180 <= west and east <= 180 and east - west <= 2 * box[2] + 1e-9


def test_a_ring_that_meets_the_antimeridian_is_cut_there() -> None:
    split = split_at_antimeridian(
        np.array([179.0, -179.0, -179.0, 179.0]), np.array([10.0, 10.0, 12.0, 12.0])
    )
    assert isinstance(split, MultiPolygon) and len(split.geoms) == 2
    assert sorted(part.bounds for part in split.geoms) == [(-180, 10, -179, 12), (179, 10, 180, 12)]


@pytest.mark.parametrize("pole", [1, -1])
def test_a_ring_around_a_pole_holds_the_pole(pole: int) -> None:
    lon = np.arange(-170.0, 180, 20)
    cap = split_at_antimeridian(lon, np.full(lon.shape, pole * 80.0))
    assert cap.is_valid and cap.area == pytest.approx(360 * 10)
    assert cap.bounds == (-180, min(pole * 80, pole * 90), 180, max(pole * 80, pole * 90))
    assert area_km2(cap) == pytest.approx(2 * np.pi * 6399.6**2 * (1 - np.sin(np.radians(80))), rel=0.002)
