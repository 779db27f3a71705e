"""Detections matched with vessels; the azimuth shift against the radar's geometry from first principles."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.ais.match import Echo, Match, match
from daemon.ais.reports import MPS_PER_KNOT
from daemon.ais.track import Fix, Vessel
from engine.runtime.geometry import ecef_from_geodetic
from tests.support.globe import PLACES, full_scene
from tests.support.movers import echo_of, moved

FIRST, LAST = 0.0, 25.0
MIDDLE = 12.5


def echo(id_: str, lon: float, lat: float, **other: object) -> Echo:
    plain = Echo(id_, "ship", lon, lat, 120.0, 100.0, 140.0, 38.0, MIDDLE, 115.0, 348.0)
    return replace(plain, **other)


def vessel(
    mmsi: int, lon: float, lat: float, speed: float = 0.0, course: float = 0.0, length: float | None = 120.0,
    times: tuple[float, ...] = (-50.0, 70.0),
) -> Vessel:  # fmt: skip
    """A vessel that is at a place at MIDDLE, and reports at times."""
    fixes = [
        Fix(t, *moved(lon, lat, speed, course, t - MIDDLE), speed / MPS_PER_KNOT, course, course)
        for t in times
    ]
    return Vessel(mmsi, fixes, length_m=length, bow_m=None if length is None else length / 2)


def matched(echoes: list[Echo], vessels: list[Vessel]) -> dict[str, Match]:
    return {m.detection_id: m for m in match(echoes, vessels, FIRST, LAST).matches}


def north_of(lon: float, lat: float, metres: float) -> tuple[float, float]:
    return moved(lon, lat, metres, 0.0, 1.0)


@lru_cache
def scene(place: str):
    return full_scene(*PLACES[place])[1]


@pytest.mark.parametrize("place", ["Oresund", "Palau", "Fiji", "Chukchi Sea"])
@pytest.mark.parametrize("course", [0.0, 77.0, 180.0, 260.0])
def test_a_mover_is_sought_where_its_echo_is(place: str, course: float) -> None:
    geometry, speed = scene(place), 10.0
    line, sample = 8000.0, 12000.0
    lon, lat = (float(v) for v in geometry.lonlat(line, sample))
    t = float(geometry._time_and_range(line, sample)[0])
    echo_lon, echo_lat, imaged = echo_of(geometry, lon, lat, t, speed, course)
    at = tuple(float(v) for v in geometry.pixel(echo_lon, echo_lat))
    seen = Echo(
        "e", "ship", echo_lon, echo_lat, 120.0, 100.0, 140.0, float(geometry.incidence_deg(*at)),
        MIDDLE + imaged - t, float(geometry.range_to_velocity_s(*at)), float(geometry.heading_deg(*at)),
    )  # fmt: skip
    there = vessel(5, lon, lat, speed, course)
    found = matched([seen], [there])["e"]
    assert (found.status, found.mmsi) == ("matched", 5)
    assert found.distance_m < 25
    told = found.evidence["vessel_lon_deg"], found.evidence["vessel_lat_deg"]
    assert np.linalg.norm(ecef_from_geodetic(*told) - ecef_from_geodetic(lon, lat)) < 30
    shift = np.linalg.norm(ecef_from_geodetic(echo_lon, echo_lat) - ecef_from_geodetic(lon, lat))
    assert abs(found.evidence["shift_m"]) == pytest.approx(shift, abs=25)
    if shift > 300:
        backwards = replace(seen, range_to_velocity_s=-seen.range_to_velocity_s)
        assert matched([backwards], [there])["e"].status != "matched", "the sign counts"


def test_length_decides_between_two_at_one_distance() -> None:
    small = vessel(1, *north_of(10.0, 57.0, -60.0), length=40.0)
    large = vessel(2, *north_of(10.0, 57.0, 60.0), length=300.0)
    for length, mmsi in ((42.0, 1), (290.0, 2)):
        seen = echo("e", 10.0, 57.0, length_m=length, length_low_m=0.85 * length, length_high_m=1.15 * length)
        assert matched([seen], [small, large])["e"].mmsi == mmsi


def test_each_vessel_is_one_detection() -> None:
    """The nearest of each alone would give one vessel to both."""
    echoes = [echo("a", 10.0, 57.0), echo("b", *north_of(10.0, 57.0, 90.0))]
    vessels = [vessel(1, *north_of(10.0, 57.0, 40.0)), vessel(2, *north_of(10.0, 57.0, -60.0))]
    found = matched(echoes, vessels)
    assert (found["a"].mmsi, found["b"].mmsi) == (2, 1)


def witnesses(lon: float, lat: float) -> list[Vessel]:
    """Three, all around."""
    return [vessel(900 + i, *moved(lon, lat, 4000.0 + 1000 * i, 120.0 * i, 1.0)) for i in range(3)]


def test_unmatched_is_said_only_where_others_are_heard() -> None:
    seen = echo("e", 10.0, 57.0)
    assert matched([seen], witnesses(10.0, 57.0))["e"].status == "unmatched"
    for few in ([], witnesses(10.0, 57.0)[:2], witnesses(10.0, 58.0)):
        found = matched([seen], few)["e"]
        assert (found.status, found.evidence["reason"]) == ("unknown", "reception_unproven")
    before = [replace(w, fixes=w.fixes[:1]) for w in witnesses(10.0, 57.0)]
    assert matched([seen], before)["e"].status == "unknown", "the receiver may have failed since"


def test_a_vessel_is_no_witness_of_another_beside_it_that_is_not_there() -> None:
    one, two, three = witnesses(10.0, 57.0)
    echoes = [echo("e", 10.0, 57.0), echo("w", *north_of(10.0, 57.0, 4000.0))]
    found = matched(echoes, [one, two, three])
    assert (found["w"].mmsi, found["e"].status) == (900, "unmatched")
    assert matched(echoes, [one, two])["e"].status == "unknown"


def test_one_that_may_be_there_makes_it_unknown() -> None:
    """Last heard eight minutes ago, and it could be here by now."""
    late = vessel(7, *north_of(10.0, 57.0, 400.0), speed=6.0, course=45.0, times=(-480.0,))
    found = matched([echo("e", 10.0, 57.0)], [late, *witnesses(10.0, 57.0)])["e"]
    assert (found.status, found.evidence["reason"]) == ("unknown", "position_uncertain")
    assert found.evidence["maybe"] == [7]


def test_without_what_tells_the_shift_a_mover_is_never_called_unmatched() -> None:
    seen = echo("e", *north_of(10.0, 57.0, 700.0), range_to_velocity_s=None, azimuth_deg=None)
    there = vessel(3, 10.0, 57.0, speed=10.0, course=90.0)
    assert matched([seen], [there, *witnesses(10.0, 57.0)])["e"].status in ("matched", "unknown")


def test_a_turbine_does_not_take_a_boat_from_a_ship() -> None:
    echoes = [
        echo("t", *north_of(10.0, 57.0, 30.0), label="turbine"),
        echo("s", *north_of(10.0, 57.0, -55.0)),
    ]
    assert matched(echoes, [vessel(4, 10.0, 57.0)])["s"].mmsi == 4


def test_no_detection_no_match() -> None:
    assert match([], [vessel(1, 10.0, 57.0)], FIRST, LAST).matches == ()


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_the_order_of_what_comes_in_changes_nothing(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    places = rng.uniform((179.97, -17.03), (180.03, -16.97), (8, 2))  # across the antimeridian
    places[:, 0] = (places[:, 0] + 180) % 360 - 180
    echoes = [echo(f"e{i}", *p, length_m=float(rng.uniform(30, 200))) for i, p in enumerate(places)]
    vessels = [
        vessel(100 + i, *north_of(*p, float(rng.normal(0, 60))), length=float(rng.uniform(30, 200)))
        for i, p in enumerate(places[:6])
    ]
    expected = matched(echoes, vessels)
    for _ in range(3):
        rng.shuffle(echoes)
        rng.shuffle(vessels)
        assert matched(echoes, vessels) == expected
    used = [m.mmsi for m in expected.values() if m.mmsi is not None]
    assert len(used) == len(set(used))
