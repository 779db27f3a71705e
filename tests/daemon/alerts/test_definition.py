"""Rules as documents: what is taken, what is refused and with which words; areas on the globe."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import shapely
from hypothesis import example, given
from hypothesis import strategies as st

from daemon.alerts import areas, definition
from daemon.errors import RuleError
from engine.runtime.land import Coastline

AREA = {"type": "Polygon", "coordinates": [[[3, 55], [5, 55], [5, 56], [3, 56], [3, 55]]]}


def rule(**fields: Any) -> definition.Definition:
    return definition.parse({"name": "rule", "area": AREA, **fields})[0]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"scor": 1}, "scor: there is no such member"),
        ({"score": 1.5}, "score: .*less than or equal to 1"),
        ({"score": float("nan")}, "score: .*finite"),
        ({"name": "Two Words"}, "name: .*pattern"),
        ({"classes": []}, "classes: .*at least 1"),
        ({"classes": ["boat"]}, "classes.0: .*'ship'"),
        ({"flags_accepted": ["ghost"]}, "'ghost', expected \"all\" or a list of near_land"),
        ({"length_m": {}}, "length_m: expected min, max or both"),
        ({"length_m": {"min": 50, "max": 40}}, "max 40 is below min 50"),
        ({"recurrence": {"days": 10}}, "expected at_least, at_most or both"),
        ({"recurrence": {"at_least": 3, "at_most": 2, "days": 10}}, "at_most 2 is below at_least 3"),
        ({"recurrence": {"at_least": 1, "days": 10, "within_m": 1e5}}, "within_m"),
        ({"count": {"over": 1, "under": 3}}, "over or under, one of them"),
        ({"changes": ["gone"], "count": {"over": 1}}, "changes and count are rules of different kinds"),
        ({"coverage_gap": {"hours": 5}, "score": 0.5}, "score say nothing of a coverage gap"),
        ({"quiet_hours": {"from": "22:00", "to": "22:00"}}, "from and to are the same"),
        (
            {"quiet_hours": {"from": "22:00", "to": "06:00", "timezone": "Mars/Base"}},
            "no time zone 'Mars/Base'",
        ),
        ({"webhooks": ["ftp://a/b"]}, "expected https://host/path"),
        ({"webhooks": ["https://me:secret@a/b"]}, "holds no user, password"),
        ({"area": None}, "no area"),
        ({"area": {"type": "Point", "coordinates": [1, 2]}}, "got 'Point', expected a Polygon"),
        (
            {"area": {"type": "Polygon", "coordinates": [[[55, 3], [5, 155], [5, 6], [55, 3]]]}},
            "longitude first",
        ),
        (
            {"area": {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [2, 2], [3, 3]]]}},
            "the last like the first",
        ),
        (
            {"area": {"type": "Polygon", "coordinates": [[[0, 0], [2, 2], [2, 0], [0, 2], [0, 0]]]}},
            "Self-intersection",
        ),
        ({"area": {**AREA, "crs": {"properties": {"name": "EPSG:3857"}}}}, "expected longitude and latitude"),
    ],
)
def test_what_is_wrong_is_said(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(RuleError, match=said) as caught:
        rule(**fields)
    assert "secret" not in str(caught.value)


def test_defaults_and_a_way_there_and_back() -> None:
    plain = rule()
    assert (plain.kind, plain.score, plain.classes) == ("object", 0.5, ("ship",))
    assert "azimuth_ghost" not in plain.columns()["flags_accepted"]
    full = rule(
        changes=["gone"],
        length_m={"min": 20.5},
        recurrence={"at_most": 0, "days": 30},
        quiet_hours={"from": "22:00", "to": "06:00", "timezone": "Europe/Oslo"},
        webhooks=["https://a.example/b"],
    )
    assert full.kind == "change"
    assert definition.build(full.plain()) == full
    assert full.columns()["looked_at_least"] == 1
    assert rule(recurrence={"at_least": 2, "days": 30}).columns()["looked_at_least"] == 0
    assert rule(coverage_gap={"hours": 48}).kind == "gap"


def test_an_area_may_be_a_file_beside_the_rule(tmp_path: Path) -> None:
    (tmp_path / "cape.geojson").write_text(json.dumps({"type": "Feature", "geometry": AREA}))
    (tmp_path / "rule.json").write_text('{"name": "cape", "area": "cape.geojson"}')
    asked, area = definition.read(tmp_path / "rule.json")
    assert asked.name == "cape"
    assert area.equals(shapely.box(3, 55, 5, 56))
    (tmp_path / "rule.json").write_text("{")
    with pytest.raises(RuleError, match="is not JSON"):
        definition.read(tmp_path / "rule.json")


@pytest.mark.parametrize(
    ("hour", "quiet"), [(21, False), (22, True), (23, True), (3, True), (5, False), (12, False)]
)
def test_quiet_hours_over_midnight_in_their_zone(hour: int, quiet: bool) -> None:
    hours = rule(quiet_hours={"from": "23:30", "to": "06:00", "timezone": "Europe/Oslo"}).quiet_hours
    assert hours is not None
    assert hours.holds(datetime(2024, 1, 15, hour, 45, tzinfo=timezone.utc)) == quiet  # one hour behind Oslo


@example(west=153.0, wide=27.68281498989297, south=0.0, high=1.0)
@given(west=st.floats(100, 180), wide=st.floats(1, 120), south=st.floats(-60, 40), high=st.floats(1, 20))
def test_however_a_crossing_is_written_the_area_is_the_same(
    west: float, wide: float, south: float, high: float
) -> None:
    east, north = west + wide, south + high
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    wrapped = [[(lon + 180) % 360 - 180, lat] for lon, lat in ring]
    one = areas.parse({"type": "Polygon", "coordinates": [ring]})
    other = areas.parse({"type": "Polygon", "coordinates": [wrapped]})
    assert one.symmetric_difference(other).area < 1e-6
    assert one.area == pytest.approx(wide * high)
    assert one.bounds[0] >= -180
    assert one.bounds[2] <= 180


def test_the_world_a_pole_and_a_hole() -> None:
    world = [[-180, -90], [180, -90], [180, 90], [-180, 90], [-180, -90]]
    assert areas.parse({"type": "Polygon", "coordinates": [world]}).area == pytest.approx(360 * 180)
    cap = [[-90, 70], [0, 70], [90, 70], [180, 70], [-90, 70]]
    assert areas.parse({"type": "Polygon", "coordinates": [cap]}).equals(shapely.box(-180, 70, 180, 90))
    outline = [[170, 0], [-170, 0], [-170, 20], [170, 20], [170, 0]]
    hole = [[-178, 5], [-178, 10], [-172, 10], [-172, 5], [-178, 5]]
    assert areas.parse({"type": "Polygon", "coordinates": [outline, hole]}).area == pytest.approx(400 - 30)


def test_the_share_of_sea() -> None:
    coastline = Coastline.load()
    sea = areas.parse(AREA)
    assert areas.sea_share(sea, coastline) == 1.0
    half = areas.parse(
        {"type": "Polygon", "coordinates": [[[7, 55], [9.3, 55], [9.3, 56.5], [7, 56.5], [7, 55]]]}
    )
    share = areas.sea_share(half, coastline)  # Jutland's west coast
    assert 0.4 < share < 0.75
    assert share == areas.sea_share(half, coastline)
