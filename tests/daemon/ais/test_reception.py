from __future__ import annotations

import numpy as np
import pytest
import shapely

from daemon.ais.reception import ReceptionRule, witnesses
from daemon.ais.track import Fix, Vessel
from engine.runtime.geometry import ecef_from_geodetic
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
def test_the_area_is_where_two_are_near(middle: float) -> None:
    """Held against the rule itself at random places, off the border by a cell of the drawing."""
    rng = np.random.default_rng(3)
    lon = (middle + rng.uniform(-0.5, 0.5, 40) + 180) % 360 - 180
    lat = rng.uniform(56.5, 57.5, 40)
    who = witnesses([heard(i, *p) for i, p in enumerate(zip(lon, lat, strict=True))], 0.0, 25.0)
    boxes = [shapely.box(middle - 1, 56, min(middle + 1, 180), 58)]
    if middle == 180:
        boxes.append(shapely.box(-180, 56, -179, 58))
    area = who.area(shapely.MultiPolygon(boxes))
    assert area.is_valid
    checked = {True: 0, False: 0}
    for x, y in rng.uniform((middle - 1, 56), (middle + 1, 58), (400, 2)):
        x = (x + 180) % 360 - 180
        apart = np.sort(np.linalg.norm(who.position_m - ecef_from_geodetic(x, y), axis=1))[RULE.vessels - 1]
        if abs(apart - RULE.reach_m) > 2500:
            assert area.covers(shapely.Point(x, y)) == (apart < RULE.reach_m)
            checked[bool(apart < RULE.reach_m)] += 1
    assert min(checked.values()) > 20


def test_a_vessel_does_not_witness_itself() -> None:
    who = witnesses([heard(1, 10.0, 57.0), heard(2, *moved(10.0, 57.0, 3000.0, 90.0, 1.0))], 0.0, 25.0)
    place = np.asarray(ecef_from_geodetic(10.0, 57.0))
    assert [mmsi for _, mmsi in who.near(place)] == [1, 2]
    assert [mmsi for _, mmsi in who.near(place, but=1)] == [2]


def test_nobody_heard_is_no_area() -> None:
    assert witnesses([], 0.0, 25.0).area(shapely.MultiPolygon([shapely.box(0, 0, 1, 1)])).is_empty
