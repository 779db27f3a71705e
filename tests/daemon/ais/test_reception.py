from __future__ import annotations

import numpy as np
import pytest
import shapely

from daemon.ais.reception import ReceptionRule, widest_gap_deg, witnesses
from daemon.ais.track import Fix, Vessel
from engine.runtime.geometry import ecef_from_geodetic, local_axes
from tests.support.movers import moved

RULE = ReceptionRule()


def heard(mmsi: int, lon: float, lat: float, times: tuple[float, ...] = (-30.0, 60.0)) -> Vessel:
    return Vessel(mmsi, [Fix(t, lon, lat) for t in times])


@pytest.mark.parametrize(
    ("times", "counts"),
    [
        ((-30.0, 60.0), True),
        ((-30.0,), False),
        ((60.0,), False),
        ((-700.0, 60.0), False),
        ((-30.0, 700.0), False),
    ],
)
def test_a_witness_is_heard_before_and_after(times: tuple[float, ...], counts: bool) -> None:
    assert len(witnesses([heard(1, 10.0, 57.0, times)], 0.0, 25.0).mmsi) == int(counts)


@pytest.mark.parametrize("middle", [10.0, 180.0])
def test_the_area_is_what_lies_between_those_that_are_heard(middle: float) -> None:
    """Held against shapely's convex hull of those within reach, off its border by a cell of the drawing."""
    rng = np.random.default_rng(3)
    lon = (middle + rng.uniform(-0.8, 0.8, 60) + 180) % 360 - 180
    lat = rng.uniform(56.2, 57.8, 60)
    who = witnesses([heard(i, *p) for i, p in enumerate(zip(lon, lat, strict=True))], 0.0, 25.0)
    boxes = [shapely.box(middle - 1, 56, min(middle + 1, 180), 58)]
    if middle == 180:
        boxes.append(shapely.box(-180, 56, -179, 58))
    area = who.area(shapely.MultiPolygon(boxes))
    assert area.is_valid
    checked = {True: 0, False: 0}
    for x, y in rng.uniform((middle - 1, 56), (middle + 1, 58), (400, 2)):
        x = (x + 180) % 360 - 180
        place = np.asarray(ecef_from_geodetic(x, y))
        east, north, _ = local_axes(x, y)
        proven = set()
        for reach_m in (RULE.reach_m - 3000, RULE.reach_m, RULE.reach_m + 3000):
            near = who.position_m[np.linalg.norm(who.position_m - place, axis=1) < reach_m] - place
            hull = shapely.MultiPoint(np.stack([near @ east, near @ north], -1)).convex_hull
            edge = abs(hull.boundary.distance(shapely.Point(0, 0))) if len(near) > 2 else 1e9
            inside = len(near) > 2 and bool(hull.contains(shapely.Point(0, 0)))
            proven |= {inside} if edge > 3000 else {True, False}
        if len(proven) == 1:
            assert area.covers(shapely.Point(x, y)) == (proven == {True})
            checked[proven == {True}] += 1
    assert min(checked.values()) > 20


def test_a_vessel_does_not_witness_itself() -> None:
    who = witnesses([heard(1, 10.0, 57.0), heard(2, *moved(10.0, 57.0, 3000.0, 90.0, 1.0))], 0.0, 25.0)
    place = np.asarray(ecef_from_geodetic(10.0, 57.0))
    assert [who.prove(place)[key] for key in ("vessels", "nearest_m")] == [2, 0]
    assert [who.prove(place, but=1)[key] for key in ("vessels", "nearest_m")] == [1, 3000]


def test_nobody_heard_is_no_area() -> None:
    assert witnesses([], 0.0, 25.0).area(shapely.MultiPolygon([shapely.box(0, 0, 1, 1)])).is_empty


@pytest.mark.parametrize(
    ("bearings", "gap"), [([], np.inf), ([10.0], 360.0), ([0.0, 90.0], 270.0), ([0.0, 120.0, 240.0], 120.0)]
)
@pytest.mark.parametrize("lat", [0.0, 57.0, -89.9])
def test_the_widest_gap_between_others(bearings: list[float], gap: float, lat: float) -> None:
    others = [ecef_from_geodetic(*moved(10.0, lat, 5000.0, bearing, 1.0)) for bearing in bearings]
    found = widest_gap_deg(np.asarray(ecef_from_geodetic(10.0, lat)), np.array(others).reshape(-1, 3))
    assert found == pytest.approx(gap, abs=0.5)
