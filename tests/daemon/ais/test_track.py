from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.ais.reports import MPS_PER_KNOT
from daemon.ais.track import Fix, Vessel, centre, states
from engine.runtime.geometry import ecef_from_geodetic
from tests.support.movers import moved

PLACES = [(10.5, 57.2), (179.999, -17.0), (-20.0, 83.0)]


def fix(lon: float, lat: float, speed: float, course: float, at_s: float, tell: bool = True) -> Fix:
    there = moved(lon, lat, speed, course, at_s)
    return Fix(at_s, *there, speed / MPS_PER_KNOT if tell else None, course if tell else None)


def apart_m(state, lonlat: tuple[float, float]) -> float:
    return float(np.linalg.norm(state.position_m - ecef_from_geodetic(*lonlat)))


@pytest.mark.parametrize(("lon", "lat"), PLACES)
@pytest.mark.parametrize("tell", [True, False])
@pytest.mark.parametrize("at_s", [0.0, 50.0, 119.0, 120.0])
def test_a_straight_course_is_found_at_any_time(lon: float, lat: float, tell: bool, at_s: float) -> None:
    vessel = Vessel(1, [fix(lon, lat, 8.0, 63.0, 0.0, tell), fix(lon, lat, 8.0, 63.0, 120.0, tell)])
    (state,) = states(vessel, at_s)
    assert apart_m(state, moved(lon, lat, 8.0, 63.0, at_s)) < 0.5
    assert math.hypot(*state.velocity) == pytest.approx(8.0, abs=0.05)
    assert state.how == ("between" if at_s < 120 else "after last")


def test_courses_are_followed_through_a_turn() -> None:
    """A quarter of a circle of 600 m: the chord is 176 m off its middle, and the courses tell of it."""
    radius, speed = 600.0, 5.0
    turn_s = math.pi / 2 * radius / speed
    start = moved(10.0, 57.0, radius, 270.0, 1.0)  # the circle's middle lies at 10, 57
    end = moved(10.0, 57.0, radius, 0.0, 1.0)
    middle = moved(10.0, 57.0, radius, 315.0, 1.0)
    knots = speed / MPS_PER_KNOT
    told = Vessel(1, [Fix(0.0, *start, knots, 0.0), Fix(turn_s, *end, knots, 90.0)])
    silent = Vessel(1, [Fix(0.0, *start), Fix(turn_s, *end)])
    (followed,), (straight,) = states(told, turn_s / 2), states(silent, turn_s / 2)
    assert apart_m(straight, middle) > 150
    assert apart_m(followed, middle) < 40
    assert apart_m(straight, middle) < 3 * straight.sigma_m, "what is not told is not claimed either"


@settings(deadline=None)
@given(
    before=st.floats(0, 600), after=st.floats(0.1, 600), more=st.floats(1, 600), speed=st.floats(1.0, 12.0)
)
def test_a_longer_silence_is_never_surer(before: float, after: float, more: float, speed: float) -> None:
    def sigma(b: float, a: float) -> float:
        vessel = Vessel(1, [fix(0.0, 50.0, speed, 90.0, -b), fix(0.0, 50.0, speed, 90.0, a)])
        return states(vessel, 0.0)[0].sigma_m

    assert sigma(before + more, after) >= sigma(before, after) - 1e-9
    assert sigma(before, after + more) >= sigma(before, after) - 1e-9


@pytest.mark.parametrize("at_s", [-60.0, 200.0])
def test_beyond_the_reports_the_course_is_followed_and_doubt_grows(at_s: float) -> None:
    vessel = Vessel(1, [fix(10.0, 57.0, 6.0, 200.0, 0.0), fix(10.0, 57.0, 6.0, 200.0, 30.0)])
    (state,) = states(vessel, at_s)
    assert apart_m(state, moved(10.0, 57.0, 6.0, 200.0, at_s)) < 0.5
    assert state.how == ("before first" if at_s < 0 else "after last")
    assert state.sigma_m > states(vessel, 15.0)[0].sigma_m


def test_one_number_used_by_two_ships_is_two_places() -> None:
    vessel = Vessel(1, [Fix(0.0, 10.0, 57.0, 10.0, 90.0), Fix(60.0, 11.0, 57.0, 10.0, 90.0)])
    found = states(vessel, 30.0)
    assert [state.how for state in found] == ["after last", "before first"]
    assert apart_m(found[0], (10.0, 57.0)) < 200 and apart_m(found[1], (11.0, 57.0)) < 200


def test_no_report_is_no_place() -> None:
    assert states(Vessel(1, []), 0.0) == []


def test_the_hulls_middle_lies_ahead_of_an_antenna_at_the_stern() -> None:
    at = [Fix(0.0, 10.0, 57.0, 0.0, None, 90.0)]
    (state,) = states(Vessel(1, at, length_m=300.0, bow_m=270.0), 0.0)
    (east, north), unsaid = centre(state)
    assert (east, north) == pytest.approx((120.0, 0.0), abs=1e-9)
    assert unsaid == 0.0
    (state,) = states(Vessel(1, at, length_m=300.0), 0.0)
    assert centre(state) == ((0.0, 0.0), pytest.approx(300 / math.sqrt(12)))
