"""Rules on a real PostGIS: what they find, and that the order of arrival makes no difference."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from daemon.alerts import backtest
from daemon.alerts.evaluate import evaluate_ais, evaluate_change, evaluate_timer
from daemon.alerts.message import AlertMessage, render
from daemon.domain import SceneResult
from daemon.store import alerts, retention
from daemon.store.session import Store
from tests.support import watch

EVENTS = "SELECT event, count(*) FROM alert_outbox GROUP BY event ORDER BY event"
LATE = datetime(2100, 1, 1, tzinfo=timezone.utc)


def do(store: Store, *statements: str, **values: Any) -> None:
    with store.transaction() as session:
        for statement in statements:
            session.execute(text(statement), values)


def fired(store: Store, name: str = "rule") -> list[backtest.Fired]:
    with store.transaction() as session:
        rule = alerts.version(session, name)
        return backtest.run(session, rule, watch.START - timedelta(days=1), LATE)


def empty(store: Store) -> None:
    """Forget everything but the rules; done before the next order of arrival."""
    do(store, "TRUNCATE alert, alert_judged, sighting, product, message, attempt, acquisition, run CASCADE")


def test_an_object_in_the_area_is_told_once(store: Store) -> None:
    watch.rule(store, area=watch.box(134.495, 6.9, 134.515, 7.1))
    found = watch.result(0, list(watch.along(4)))
    watch.record(store, found)
    watch.record(store, found)
    assert watch.told(store) == [("rule", 134.5), ("rule", 134.51)]
    assert watch.rows(store, EVENTS) == [("opened", 2)]
    asked = "SELECT rule, rule_version, class, reach_m / extract(epoch FROM age) FROM open_alerts"
    seen = watch.rows(store, asked)
    assert [(*row[:3], round(float(row[3]), 2)) for row in seen] == [("rule", 1, "ship", 15.43)] * 2


def test_every_condition_selects(store: Store) -> None:
    ships = [
        {"lon_deg": 134.50, "lat_deg": 7.0},
        {"lon_deg": 134.51, "lat_deg": 7.0, "score": 0.3},
        {"lon_deg": 134.52, "lat_deg": 7.0, "length_m": 40.0},
        {"lon_deg": 134.53, "lat_deg": 7.0, "label": "platform"},
        {"lon_deg": 134.54, "lat_deg": 7.0, "flags": ["azimuth_ghost"]},
        {"lon_deg": 134.55, "lat_deg": 7.0, "flags": ["near_land"]},
    ]
    watch.rule(store, "usual")
    watch.rule(store, "faint", score=0.0)
    watch.rule(store, "long", length_m={"min": 100})
    watch.rule(store, "short", length_m={"max": 50})
    watch.rule(store, "platforms", classes=["platform"])
    watch.rule(store, "anything", score=0.0, classes=["ship", "platform"], flags_accepted="all")
    watch.rule(store, "offshore", flags_accepted=[])
    watch.rule(store, "off", enabled=False)
    watch.record(store, watch.result(0, ships))
    found: dict[str, set[float]] = {}
    for name, lon in watch.told(store):
        found.setdefault(name, set()).add(round(lon - 134.5, 2))
    assert found == {
        "usual": {0.0, 0.02, 0.05},
        "faint": {0.0, 0.01, 0.02, 0.05},
        "long": {0.0, 0.05},
        "short": {0.02},
        "platforms": {0.03},
        "anything": {0.0, 0.01, 0.02, 0.03, 0.04, 0.05},
        "offshore": {0.0, 0.02},
    }


def test_an_area_over_the_antimeridian(store: Store) -> None:
    ring = [[179, -18], [-179, -18], [-179, -16], [179, -16], [179, -18]]
    watch.rule(store, area={"type": "Polygon", "coordinates": [ring]})
    sea = shapely.MultiPolygon([shapely.box(178, -19, 180, -15), shapely.box(-180, -19, -178, -15)])
    watch.record(store, watch.result(0, [(179.5, -17), (-179.5, -17), (178.5, -17), (-178.5, -17)], sea=sea))
    assert sorted(lon for _, lon in watch.told(store)) == [-179.5, 179.5]


def test_recurrence_over_the_antimeridian(store: Store) -> None:
    ring = [[179, -18], [-179, -18], [-179, -16], [179, -16], [179, -18]]
    area = {"type": "Polygon", "coordinates": [ring]}
    watch.rule(store, area=area, recurrence={"at_least": 1, "days": 20, "within_m": 300})
    sea = shapely.MultiPolygon([shapely.box(178, -19, 180, -15), shapely.box(-180, -19, -178, -15)])
    watch.record(store, watch.result(0, [(179.9995, -17), (179.5, -17)], sea=sea))
    watch.record(store, watch.result(6, [(-179.9995, -17), (-179.5, -17)], sea=sea))
    assert [lon for _, lon in watch.told(store)] == [-180.0]  # rounded from 179.9995 west


def test_areas_that_share_a_border(store: Store) -> None:
    watch.rule(store, "west", area=watch.box(134.0, 6.5, 134.5, 7.5))
    watch.rule(store, "east", area=watch.box(134.5, 6.5, 135.0, 7.5))
    watch.record(store, watch.result(0, [(134.4, 7.0), (134.5, 7.0), (134.6, 7.0)]))
    assert watch.told(store) == [("east", 134.5), ("east", 134.6), ("west", 134.4), ("west", 134.5)]


def test_a_place_on_the_seams_of_an_area_is_told_once(store: Store) -> None:
    circle = shapely.Point(135.0, 7.0).buffer(0.5, quad_segs=500)
    watch.rule(store, area=shapely.geometry.mapping(circle))
    parts = watch.rows(store, "SELECT ST_XMax(part), ST_YMax(part) FROM alert_area_part")
    assert len(parts) > 20
    seams = sorted({x for x, _ in parts if 134.6 < x < 135.4})
    ships = [(x, 7.0) for x in seams] + [(135.0, y) for y in sorted({y for _, y in parts if 6.6 < y < 7.4})]
    watch.record(store, watch.result(0, sorted(set(ships))))
    assert len(watch.told(store)) == len(set(ships))


def test_recurrence_counts_passes_and_needs_looks(store: Store) -> None:
    watch.rule(store, "known", recurrence={"at_least": 2, "days": 20})
    watch.rule(store, "new", recurrence={"at_most": 0, "days": 20})
    elsewhere = shapely.box(135.4, 6.0, 136.5, 8.0)
    watch.record(store, watch.result(0, [(134.5, 7.0)], sea=elsewhere))
    assert watch.told(store) == []  # seen for the first time, yet nobody had looked
    watch.record(store, watch.result(6, [(134.5, 7.0), (134.5005, 7.0)]))
    assert watch.told(store) == []  # one pass before
    watch.record(store, watch.result(12, [(134.501, 7.0), (135.0, 7.0)]))
    assert watch.told(store) == [("known", 134.501), ("new", 135.0)]
    told = dict(
        watch.rows(store, "SELECT round(ST_X(position::geometry)::numeric, 3)::text, evidence FROM alert")
    )
    assert told["134.501"]["recurrence"]["passes_seen"] == 2
    assert told["135.000"]["recurrence"]["passes_looked"] == 1  # the first looked elsewhere
    watch.record(store, watch.result(33, [(134.501, 7.0)]))
    assert len(watch.told(store)) == 2  # all that is longer ago than 20 days


def test_minimum_gap_tells_what_stays_once(store: Store) -> None:
    watch.rule(store, minimum_gap={"hours": 7 * 24, "within_m": 300})
    for day in (0, 6, 12, 24):
        watch.record(store, watch.result(day, [(134.5, 7.0)]))
    days = watch.rows(store, "SELECT sensed FROM alert ORDER BY sensed")
    assert [(day - watch.START).days for (day,) in days] == [0, 24]


def test_what_always_stands_there_is_refused_by_default(store: Store) -> None:
    watch.rule(store, "usual")
    watch.rule(store, "all", flags_accepted="all")
    watch.rule(store, "unseen", flags_accepted=["near_land"])
    takes = dict(enumerate((0, 12, 24, 36, 48)))
    for number, day in takes.items():
        found = watch.result(day, [(134.5, 7.0)])
        watch.record(store, found)
        if number % 2:  # of another orbit than the others
            do(store, "UPDATE acquisition SET relative_orbit = 7 WHERE start = :at", at=found.scene.start)
    last = watch.rows(store, "SELECT max(start) FROM acquisition")[0][0]
    flags = watch.rows(store, "SELECT flags FROM current_detections WHERE acquired = :at", at=last)[0][0]
    assert {"infrastructure", "recurrent"} <= set(flags)
    newest = watch.rows(
        store,
        "SELECT rule.name FROM alert JOIN alert_rule rule ON rule.id = rule_id WHERE alert.sensed = :at",
        at=last,
    )
    assert newest == [("all",)]
    counts = dict(
        watch.rows(
            store,
            "SELECT rule.name, count(*) FROM alert JOIN alert_rule rule ON rule.id = rule_id GROUP BY 1",
        )
    )
    assert counts == {"usual": 3, "all": 5, "unseen": 1}


def test_a_superseding_run_amends_and_retracts(store: Store) -> None:
    watch.rule(store)
    watch.record(store, watch.result(0, [(134.5, 7.0), (134.6, 7.0)], "0001", ipf="003.50"))
    before = dict(
        watch.rows(store, "SELECT round(ST_X(position::geometry)::numeric, 2)::float8, id FROM alert")
    )
    watch.record(store, watch.result(0, [(134.5004, 7.0), (134.7, 7.0)], "0002", ipf="003.60"))
    after = {
        round(lon, 4): (id_, state, sequence)
        for lon, id_, state, sequence in watch.rows(
            store, "SELECT ST_X(position::geometry), id, state, sequence FROM alert"
        )
    }
    assert after[134.5004] == (before[134.5], "open", 2)
    assert after[134.6] == (before[134.6], "retracted", 2)
    assert after[134.7][1:] == ("open", 1)
    assert watch.rows(store, EVENTS) == [("amended", 1), ("opened", 3), ("retracted", 1)]
    watch.record(store, watch.result(0, [], "0001", ipf="003.50"))  # the older product comes again
    assert len(watch.told(store)) == 2


def test_a_rule_changed_between_scenes(store: Store) -> None:
    first = watch.rule(store, length_m={"min": 100})
    watch.record(store, watch.result(0, [{"lon_deg": 134.5, "lat_deg": 7.0, "length_m": 120.0}]))
    second = watch.rule(store, length_m={"min": 200})
    ships = [
        {"lon_deg": 134.5, "lat_deg": 7.0, "length_m": 120.0},
        {"lon_deg": 134.6, "lat_deg": 7.0, "length_m": 220.0},
    ]
    watch.record(store, watch.result(6, ships))
    open_ = "SELECT version_id, length_m FROM alert WHERE state = 'open' ORDER BY 1, 2"
    assert watch.rows(store, open_) == [(first, 120.0), (second, 220.0)]
    # a scene judged by the old version is judged by it again; the second product shows one ship more
    watch.record(store, watch.result(0, ships, "0002", ipf="003.60"))
    assert watch.rows(store, open_) == [(first, 120.0), (first, 220.0), (second, 220.0)]
    with store.transaction() as session:
        assert alerts.disable(session, "rule")
    watch.record(store, watch.result(12, ships))
    watch.record(store, watch.result(0, [*ships, (134.7, 7.0)], "0003", ipf="003.70"))
    assert watch.rows(store, open_) == [
        (first, 120.0),
        (first, 220.0),
        (second, 220.0),
    ]  # nothing new is told
    watch.record(store, watch.result(0, [], "0004", ipf="003.80"))
    assert watch.rows(store, open_) == [(second, 220.0)]  # what was told is taken back


def test_counts_of_a_pass(store: Store) -> None:
    watch.rule(store, "many", count={"over": 2})
    watch.rule(store, "few", count={"under": 2})
    half = shapely.box(134.0, 6.0, 135.25, 8.0), shapely.box(135.25, 6.0, 136.5, 8.0)
    watch.record(store, watch.result(0, [(134.5, 7.0)], sea=half[0], datatake=77))
    assert watch.told(store, "rule.name, evidence") == []  # half the area says nothing of few
    watch.record(store, watch.result(0.0004, [], sea=half[1], datatake=77))
    assert [name for name, _ in watch.told(store)] == ["few"]
    more = [(135.5, 7.0), (135.6, 7.0), (135.7, 7.0)]
    watch.record(store, watch.result(0.0004, more, "0002", sea=half[1], datatake=77, ipf="003.60"))
    [(name, evidence)] = watch.told(store, "rule.name, evidence")
    assert (name, evidence["count"]["objects"]) == ("many", 4)
    assert len(evidence["count"]["detections"]) == 4


def test_a_coverage_gap_opens_and_closes(store: Store) -> None:
    watch.rule(store, coverage_gap={"hours": 48})

    def tick(hours: float) -> None:
        with store.transaction() as session:
            evaluate_timer(session, watch.START + timedelta(hours=hours))

    do(store, "UPDATE alert_rule_period SET since = '2024-01-01'")
    watch.record(store, watch.result(0))
    tick(47)
    assert watch.told(store) == []
    tick(49)
    tick(50)
    assert len(watch.told(store)) == 1
    watch.record(store, watch.result(2.2, sea=shapely.box(134.0, 6.0, 135.0, 8.0)))  # less than half of it
    tick(54)
    assert len(watch.told(store)) == 1
    watch.record(store, watch.result(2.5))
    tick(61)
    assert watch.rows(store, "SELECT state FROM alert") == [("closed",)]
    tick(200)
    assert watch.rows(store, "SELECT state, count(*) FROM alert GROUP BY 1 ORDER BY 1") == [
        ("closed", 1),
        ("open", 1),
    ]
    with store.transaction() as session:
        rule = alerts.version(session, "rule")
        told = {}
        for since in (0, 30, 50, 90):  # the pass that a gap is counted from may lie before
            first, last = (watch.START + timedelta(hours=hours) for hours in (since, 200))
            again = backtest.run(session, rule, first, last)
            told[since] = [(alert.at - watch.START) // timedelta(hours=1) for alert in again]
    assert told == {0: [48, 108], 30: [48, 108], 50: [50, 108], 90: [108]}


def test_unmatched_waits_for_ais(store: Store) -> None:
    watch.rule(store, ais={"status": ["unmatched"], "length_m": 60})
    ships = [
        {"lon_deg": 134.5 + 0.1 * n, "lat_deg": 7.0, "length_m": length}
        for n, length in enumerate((50, 90, 120))
    ]
    found = watch.result(0, ships)
    watch.record(store, found)
    assert watch.told(store) == []
    ids = [ship.id for ship in found.detections]
    match = "UPDATE ais_match SET status = :status, mmsi = :mmsi WHERE detection_id = :id"
    for id_, status, mmsi in zip(ids, ("unmatched", "unmatched", "matched"), (None, None, 123), strict=True):
        do(store, match, id=id_, status=status, mmsi=mmsi)
    with store.transaction() as session:
        evaluate_ais(session, ids)
    assert [lon for _, lon in watch.told(store)] == [134.6]  # 50 m may be below the bound of 60 m
    do(store, "UPDATE ais_match SET status = 'matched', mmsi = 9 WHERE detection_id = :id", id=ids[1])
    with store.transaction() as session:
        evaluate_ais(session, ids)
    assert watch.told(store) == []
    assert watch.rows(store, EVENTS) == [("opened", 1), ("retracted", 1)]


AFTER = "SELECT acquisition_id FROM run WHERE id = :run"


def change_unit(
    store: Store, unit: str, before: SceneResult, after: SceneResult, kinds: str = "gone"
) -> None:
    """Enter a comparison of the first ship before with the first after."""
    with store.transaction() as session:
        session.execute(
            text(
                "INSERT INTO change_unit "
                "(id, after_run_id, before_run_id, outcome, alignment, counts, digest) "
                "VALUES (:id, :after, :before, 'done', '{}', '{}', '')"
            ),
            {"id": unit, "after": after.run_key, "before": before.run_key},
        )
        ship = before.detections[0]
        session.execute(
            text(
                "INSERT INTO change "
                "(id, unit_id, kind, before_detection_id, position, class, score, evidence) VALUES "
                "(:id, :unit, :kind, :before, ST_MakePoint(:lon, :lat)::geography, 'ship', 0.9, '{}')"
            ),
            {
                "id": unit,
                "unit": unit,
                "kind": kinds,
                "before": ship.id,
                "lon": ship.lon_deg,
                "lat": ship.lat_deg,
            },
        )
        session.execute(text("DELETE FROM change_due"))  # as a worker does whose comparison is made
        evaluate_change(session, session.scalar(text(AFTER), {"run": after.run_key}))


def test_changes_are_told_and_taken_back(store: Store) -> None:
    watch.rule(store, "left", changes=["gone"])
    watch.rule(store, "came", changes=["appeared"])
    before, after = watch.result(0, [(134.5, 7.0)]), watch.result(6, [])
    watch.record(store, before)
    watch.record(store, after)
    change_unit(store, "u1", before, after)
    assert watch.told(store) == [("left", 134.5)]
    body = watch.rows(store, "SELECT body FROM alert_outbox")[0][0]
    sent = AlertMessage.model_validate(render(body, watch.START + timedelta(days=7), 30.0))
    assert sent.sensing.age_s == pytest.approx(86400)
    assert sent.sensing.reach_m == pytest.approx(7 * 86400 * 30 * 1852 / 3600)  # unseen since the first pass
    again = watch.result(6, [], "0002", ipf="003.60")
    watch.record(store, again)
    assert watch.told(store) == [("left", 134.5)]  # until the comparison is made anew
    change_unit(store, "u2", before, again, "cannot_tell")
    assert watch.told(store) == []


def test_suppressed_alerts_are_recorded_and_not_sent(store: Store) -> None:
    watch.rule(store, "limited", rate_limit={"alerts": 2, "hours": 1})
    watch.rule(store, "quiet", quiet_hours={"from": "00:00", "to": "23:59:59.999999"})
    watch.rule(store, "old", max_age_hours=24)
    ships = [{"lon_deg": 134.5 + 0.1 * n, "lat_deg": 7.0, "score": 0.6 + 0.1 * n} for n in range(3)]
    watch.record(store, watch.result(0, ships))
    found = watch.rows(
        store,
        "SELECT rule.name, suppressed, count(*), max(score) FROM alert "
        "JOIN alert_rule rule ON rule.id = rule_id GROUP BY 1, 2 ORDER BY 1, 2",
    )
    assert found == [
        ("limited", "rate_limit", 1, 0.6),
        ("limited", None, 2, 0.8),
        ("old", "stale", 3, 0.8),
        ("quiet", "quiet_hours", 3, 0.8),
    ]
    assert watch.rows(store, EVENTS) == [("opened", 2)]
    watch.record(store, watch.result(0, [], "0002", ipf="003.60"))
    assert watch.rows(store, EVENTS) == [("opened", 2), ("retracted", 2)]


def test_a_clock_that_ran_ahead_makes_no_scene_stale(store: Store) -> None:
    watch.rule(store, max_age_hours=24)
    fresh = (datetime.now(timezone.utc) - watch.START) / timedelta(days=1) - 0.5
    do(store, "UPDATE alert_rule_period SET since = now() + interval '30 hours'")
    watch.record(store, watch.result(fresh, [(134.5, 7.0)], datatake=77))
    assert watch.rows(store, "SELECT suppressed FROM alert") == [(None,)]
    assert watch.rows(
        store, "SELECT count(*) FROM alert_judged WHERE first > now() + interval '29 hours'"
    ) == [(1,)]


def test_a_rule_that_fails_costs_no_scene(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    watch.rule(store)
    with monkeypatch.context() as patch:
        patch.setattr(
            "daemon.alerts.matching.MATCH", ", hit AS (SELECT 1 / 0 AS x FROM thing) SELECT x FROM hit"
        )
        watch.record(store, watch.result(0, [(134.5, 7.0)]))
    assert watch.rows(store, "SELECT state FROM acquisition") == [("done",)]
    assert watch.rows(store, "SELECT error LIKE '%division by zero%' FROM alert_judged") == [(True,)]
    assert watch.told(store) == []
    with store.transaction() as session:
        evaluate_timer(session, LATE)
    assert watch.told(store) == [("rule", 134.5)]
    assert watch.rows(store, "SELECT error FROM alert_judged") == [(None,)]


ARRIVALS = [
    watch.result(0, [(134.5, 7.0), (134.6, 7.0)]),
    watch.result(6, [(134.5, 7.0)], "0001", ipf="003.50"),
    watch.result(6, [(134.5004, 7.0), (134.8, 7.0)], "0002", ipf="003.60"),
    watch.result(12, [(134.5, 7.0), (134.6, 7.0), (135.0, 7.0)]),
    watch.result(12.0003, [(135.0002, 7.0)], datatake=0x50000 + 12000),  # the slice after
]
RULES: dict[str, dict[str, Any]] = {
    "any": {},
    "new": {"recurrence": {"at_most": 0, "days": 20}},
    "known": {"recurrence": {"at_least": 2, "days": 20}},
    "gap": {"minimum_gap": {"hours": 24 * 7}},
    "many": {"count": {"over": 2}},
    "few": {"count": {"under": 3}},
}


def test_all_orders_of_arrival_end_the_same(store: Store) -> None:
    for name, fields in RULES.items():
        watch.rule(store, name, **fields)
    first = None
    for number, order in enumerate(itertools.permutations(ARRIVALS)):
        if number % 17:  # every seventeenth of the 120; the property test draws others
            continue
        empty(store)
        first = arrives(store, order, first)
    assert first is not None
    assert {row[0] for row in first} == set(range(1, 7))  # each rule has something to tell


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(order=st.lists(st.sampled_from(ARRIVALS), min_size=5, max_size=9), rest=st.permutations(ARRIVALS))
def test_any_order_with_repetition_ends_the_same(
    store: Store, order: list[SceneResult], rest: list[SceneResult]
) -> None:
    if not watch.rows(store, "SELECT FROM alert_rule"):
        for name, fields in RULES.items():
            watch.rule(store, name, **fields)
    empty(store)
    plain = arrives(store, ARRIVALS, None)
    empty(store)
    arrives(store, [*order, *rest], plain)


def arrives(store: Store, order: Any, first: Any) -> Any:
    """Let results arrive in an order; what is told then is as the first time."""
    for found in order:
        watch.record(store, found)
    told = watch.content(store)
    if first is not None:
        assert told == first
    live = {(row[1], row[3]) for row in told}
    past = {
        (version, subject)
        for version, subject in (
            (alert.told.version_id, alert.told.subject) for name in RULES for alert in fired(store, name)
        )
    }
    assert live == past  # and the back-test says the same
    return told


def test_pruning_removes_results_and_keeps_alerts(store: Store) -> None:
    watch.rule(store)
    for day in (0, 400):
        watch.record(store, watch.result(day, list(watch.along(3))))
    before = watch.START + timedelta(days=100)
    with store.transaction() as session:
        assert retention.count(session, before).detections == 3
    with store.transaction() as session:
        assert retention.prune(session, before) == 1
    with store.transaction() as session:
        assert retention.prune(session, before) == 0
        assert retention.count(session, before) == retention.Old(0, 0, 0, 0)
    assert watch.rows(store, "SELECT count(*) FROM detection") == [(3,)]
    assert watch.rows(store, "SELECT count(*) FROM sighting") == [(3,)]
    assert len(watch.told(store)) == 6
    assert watch.rows(store, "SELECT count(*) FROM acquisition WHERE state = 'done'") == [(2,)]
