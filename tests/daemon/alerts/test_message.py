"""The message: its documented schema, its age and reach; and plans from known to wanted alerts."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.alerts import message
from daemon.alerts.matching import Wanted
from daemon.alerts.reconcile import Known, plan
from tests.conftest import ROOT

SENSED = datetime(2024, 3, 1, 6, 0, tzinfo=timezone.utc)
SHIP = Wanted(
    rule_id=1,
    version_id=2,
    kind="object",
    subject="d1",
    acquisition_id=7,
    pass_="S1A-77",
    product="P",
    run_id="r1",
    detection_id="d1",
    change_id=None,
    sensed=SENSED,
    lon_deg=134.5,
    lat_deg=7.0,
    label="ship",
    score=0.9,
    length_m=120.0,
    length_low_m=100.0,
    length_high_m=140.0,
    flags={"near_land": {"distance_m": 120.0}},
    evidence={},
)
RULE = {"name": "rule", "number": 3, "definition": {"description": "what it is for"}}


def body(told: Wanted = SHIP) -> dict[str, object]:
    head = message.Head("a" * 32, 1, "open", None, SENSED + timedelta(hours=3), None)
    return message.body("opened", head, SENSED + timedelta(hours=3), RULE, told)


def test_the_schema_is_the_documented_one() -> None:
    documented = json.loads((ROOT / "docs" / "alert.schema.json").read_text())
    assert documented == message.json_schema()


def test_age_and_reach_are_those_of_the_sending() -> None:
    for hours in (3, 30):
        sent = message.render(body(), SENSED + timedelta(hours=hours), 30.0)
        read = message.AlertMessage.model_validate_json(message.encode(sent))
        assert read.sensing.age_s == hours * 3600
        assert read.sensing.speed_bound_kn == 30
        assert read.sensing.reach_m == pytest.approx(hours * 30 * 1852, abs=0.1)
        assert read.event_id == "a" * 32 + "/1"
        assert read.object.position is not None
        assert read.object.position.coordinates == (134.5, 7.0)
        assert read.links.detection == "d1"
        assert read.rule.version == 3


def test_what_does_not_sail_has_no_reach() -> None:
    sent = message.render(body(replace(SHIP, label="platform")), SENSED + timedelta(hours=3), 30.0)
    assert sent["sensing"]["reach_m"] is None
    assert sent["sensing"]["age_s"] == 3 * 3600
    message.AlertMessage.model_validate(sent)
    nothing = replace(SHIP, kind="gap", label=None, sensed=None, lon_deg=None, lat_deg=None)
    sent = message.render(body(nothing), SENSED, 30.0)
    assert message.AlertMessage.model_validate(sent).sensing.age_s is None


def known(told: Wanted, state: str = "open", id_: str = "a1") -> Known:
    return Known(id_, state, 1, SENSED, None, told)


def test_plans() -> None:
    near = replace(SHIP, subject="d2", lat_deg=7.001)
    far = replace(SHIP, subject="d2", lat_deg=7.01)
    other = replace(near, label="platform")

    def events(wanted: list[Wanted], *alerts: Known) -> list[str]:
        return sorted(step.event for step in plan(wanted, alerts))

    assert events([SHIP]) == ["opened"]
    assert events([SHIP], known(SHIP)) == []
    assert events([replace(SHIP, score=0.8)], known(SHIP)) == ["amended"]
    assert events([], known(SHIP)) == ["retracted"]
    assert events([], known(SHIP, "retracted")) == []
    assert events([SHIP], known(SHIP, "retracted")) == ["amended"]  # it is there again
    assert events([near], known(SHIP)) == ["amended"]
    assert events([replace(near, acquisition_id=8)], known(SHIP)) == ["amended"]  # next slice
    assert events([replace(near, pass_="S1A-99")], known(SHIP)) == ["opened", "retracted"]
    assert events([far], known(SHIP)) == ["opened", "retracted"]
    assert events([other], known(SHIP)) == ["opened", "retracted"]
    assert events([SHIP, near], known(SHIP)) == ["opened"]
    assert events([SHIP], known(SHIP, "closed")) == ["opened"]


@given(
    before=st.lists(st.integers(0, 8), unique=True, max_size=6),
    after=st.lists(st.integers(0, 8), unique=True, max_size=6),
)
def test_a_plan_leads_to_what_is_wanted_and_then_to_nothing(before: list[int], after: list[int]) -> None:
    # places 80 m apart, so that objects have several near ones
    objects = {n: replace(SHIP, subject=f"d{n}", lat_deg=7.0 + 0.00072 * n) for n in range(9)}
    alerts = {f"a{n}": known(objects[n], id_=f"a{n}") for n in before}
    wanted = [objects[n] for n in after]
    for step in plan(wanted, alerts.values()):
        if step.known and step.wanted is None:
            alerts[step.known.id] = replace(step.known, state="retracted")
        elif step.wanted is not None:
            id_ = step.known.id if step.known else f"new-{step.wanted.subject}"
            alerts[id_] = known(step.wanted, id_=id_)
    told = sorted(alert.told.subject for alert in alerts.values() if alert.state == "open")
    assert told == sorted(one.subject for one in wanted)
    assert plan(wanted, alerts.values()) == []


def test_the_documented_example_is_one() -> None:
    part = (ROOT / "docs" / "messages.md").read_text().split("`sentinel1.alerts`")[1]
    example = json.loads(part.split("```json")[1].split("```")[0])
    read = message.AlertMessage.model_validate(example)
    assert read.sensing.age_s is not None
    assert read.sensing.reach_m == pytest.approx(read.sensing.age_s * 30 * 1852 / 3600, abs=1)
    assert (read.sent - read.sensing.sensed).total_seconds() == pytest.approx(read.sensing.age_s, abs=0.1)  # type: ignore[operator]
