"""Retention and reprocessing, in every order, on a real PostGIS: what was told stands until something speaks
against it, and nothing is told because something is no longer known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from daemon.alerts.evaluate import evaluate_ais, evaluate_timer, lock
from daemon.domain import SceneResult
from daemon.errors import StoreConflict
from daemon.store import change, retention
from daemon.store.session import Store
from tests.services.test_change import EAST, START, WEST, empty, kinds, pass_of, settle, worker
from tests.services.test_slices import M_PER_DEG, product, record, rows, scene
from tests.support import watch

HERE, THERE, LATER = (135.0, 7.0), (135.2, 7.0), (135.4, 7.0)
RULES: dict[str, dict[str, Any]] = {
    "came": {"changes": ["appeared"]},
    "left": {"changes": ["gone"]},
    "stays": {"changes": ["still_occupied"]},
    "open": {"changes": ["cannot_tell"], "score": 0.0},
}


def again(
    day: int, ships: Sequence[tuple[float, float]], number: int = 1, second: int = 0, **what: Any
) -> SceneResult:
    """A pass's scene as a newer processor made it."""
    found = pass_of(day, ships, second, **what)
    name = found.scene.product.removesuffix(".SAFE")[:-4] + f"{0xAB00 + number:04X}"
    info = replace(found.scene, product=name, uri=f"/products/{name}.SAFE", ipf=f"003.{70 + number}")
    ids = [f"{number:02d}{d.id[2:]}" for d in found.detections]
    detections = tuple(replace(d, id=id_) for d, id_ in zip(found.detections, ids, strict=True))
    return replace(found, scene=info, detections=detections)


def keep_from(store: Store, day: float, *, limit: int = 50, batches: int = 100) -> int:
    """Let retention remove what was sensed before a day; return how many runs it took."""
    taken = 0
    for _ in range(batches):
        with store.transaction() as session:
            taken += (done := retention.prune(session, START + timedelta(days=day), limit))
        if not done:
            break
    return taken


def rules(store: Store, *names: str) -> None:
    for name in names or RULES:
        watch.rule(store, name, **RULES[name])


def told(store: Store, name: str | None = None) -> list[Any]:
    """Open alerts of a rule as days after the first pass and longitudes; of all rules with their names."""
    found = rows(
        store,
        """SELECT rule.name, alert.pass, round(ST_X(position::geometry)::numeric, 3)::float
           FROM alert JOIN alert_rule rule ON rule.id = rule_id WHERE state = 'open' ORDER BY 1, 2, 3""",
    )
    days = {f"S1A-{0x56950 + 88 * day}": day for day in range(400)}
    return [
        (days[row[1]], row[2]) if name else (row[0], days[row[1]], row[2])
        for row in found
        if name in (None, row[0])
    ]


def events(store: Store) -> list[Any]:
    """What was ever sent, by rule."""
    return rows(
        store,
        """SELECT rule.name, event, count(*) FROM alert_outbox
           JOIN alert ON alert.id = alert_id JOIN alert_rule rule ON rule.id = rule_id
           GROUP BY 1, 2 ORDER BY 1, 2""",
    )


def two_passes(store: Store) -> None:
    """One ship leaves, one stays, one comes."""
    record(store, pass_of(0, [HERE, THERE]))
    record(store, pass_of(12, [HERE, LATER]))
    settle(store)


PAIR = [("came", 12, 135.4), ("left", 12, 135.2), ("stays", 12, 135.0)]
FIRST = [("open", 0, 135.0), ("open", 0, 135.2)]


def test_a_scene_reprocessed_after_both_were_pruned_takes_nothing_back(store: Store) -> None:
    rules(store)
    two_passes(store)
    assert told(store) == sorted(PAIR + FIRST)
    assert keep_from(store, 100) == 2
    record(store, again(12, [HERE, LATER]))
    settle(store)
    assert told(store) == sorted(PAIR + FIRST)
    assert {row[1] for row in events(store)} == {"opened"}


def test_what_a_reprocessed_scene_itself_says_still_counts(store: Store) -> None:
    rules(store)
    two_passes(store)
    keep_from(store, 100)
    record(store, again(12, [HERE, THERE]))  # nothing came where one came, nothing left where one left
    settle(store)
    assert told(store) == sorted([*FIRST, ("stays", 12, 135.0)])
    assert [row for row in events(store) if row[1] != "opened"] == [
        ("came", "retracted", 1),
        ("left", "retracted", 1),
    ]


def test_a_scene_reprocessed_so_that_it_no_longer_looks_there_says_nothing(store: Store) -> None:
    rules(store, "came", "left")
    two_passes(store)
    keep_from(store, 100)
    record(store, again(12, [], area=(135.6, 6.0, 136.5, 8.0)))
    settle(store)
    assert told(store) == [("came", 12, 135.4), ("left", 12, 135.2)]


def test_a_pass_kept_for_a_younger_one_keeps_its_alerts(store: Store) -> None:
    """The partner of the second pass goes, the second pass stays for the third's sake; then it is judged."""
    rules(store)
    two_passes(store)
    record(store, pass_of(24, [HERE]))
    settle(store)
    before = told(store)
    assert keep_from(store, 20) == 1
    record(store, pass_of(6, [(136.0, 7.0)], track=2, area=EAST))  # late: all that follow are judged again
    settle(store)
    stood = [row for row in told(store) if row in before]
    assert stood == before
    assert not [row for row in events(store) if row[1] == "retracted"]


def test_a_pass_kept_for_a_younger_one_may_be_reprocessed(store: Store) -> None:
    rules(store)
    two_passes(store)
    record(store, pass_of(24, [HERE]))
    settle(store)
    before = told(store)
    keep_from(store, 20)
    record(store, again(12, [HERE, LATER]))
    settle(store)
    assert told(store) == before
    assert {row[1] for row in events(store)} <= {"opened", "amended"}
    units = rows(
        store, "SELECT DISTINCT outcome, reason FROM change_unit WHERE present AND reason IS NOT NULL"
    )
    assert units == [("no_partner", "the results of the earlier passes were removed")]
    assert [row for row in kinds(store) if row[0] == 12] == [
        (12, "cannot_tell", "removed", 135.0),
        (12, "cannot_tell", "removed", 135.4),
    ]


def test_a_pass_that_was_pruned_is_not_passed_over(store: Store) -> None:
    """An earlier pass that comes late does not stand in for a later one whose results are gone."""
    rules(store)
    record(store, pass_of(12, [HERE]))
    record(store, pass_of(24, [HERE, LATER]))
    record(store, pass_of(36, [HERE, LATER]))
    settle(store)
    before = told(store)
    assert keep_from(store, 30) == 1
    record(store, pass_of(0, [THERE]))
    settle(store)
    assert [row for row in told(store) if row[1] != 0] == before, "what left, left before the second pass"
    assert [row[:2] for row in kinds(store) if row[0] == 24] == [(24, "cannot_tell")] * 2


def test_an_old_pass_may_be_reprocessed_whose_partner_was_pruned(store: Store) -> None:
    rules(store)
    two_passes(store)
    record(store, pass_of(24, [HERE]))
    settle(store)
    before = told(store)
    keep_from(store, 100)
    for day, ships in ((0, [HERE, THERE]), (12, [HERE, LATER]), (24, [HERE])):
        record(store, again(day, ships))
        settle(store)
        assert told(store) == before, f"day {day}"
    # all three are back: everything can be compared anew
    assert [row[:2] for row in kinds(store) if row[0] == 24] == [(24, "still_occupied"), (24, "gone")]
    assert {row[1] for row in events(store)} == {"opened", "amended"}


@pytest.mark.parametrize("order", [(0, 12, 24), (24, 12, 0), (12, 24, 0)])
def test_history_done_anew_ends_as_if_nothing_had_been_pruned(store: Store, order: tuple[int, ...]) -> None:
    rules(store)
    ships = {0: [HERE, THERE], 12: [HERE, LATER], 24: [HERE]}
    for day in (0, 12, 24):
        record(store, pass_of(day, ships[day]))
    settle(store)
    before = told(store)
    keep_from(store, 100)
    for day in order:
        record(store, again(day, ships[day]))
        settle(store)
    assert told(store) == before


def test_a_late_scene_whose_neighbours_were_pruned(store: Store) -> None:
    rules(store)
    two_passes(store)
    keep_from(store, 100)
    before = told(store)
    record(store, pass_of(6, [HERE], track=2))
    settle(store)
    assert told(store) == before
    assert kinds(store) == [(6, "cannot_tell", "removed", 135.0)]


def test_what_is_due_keeps_its_partners(store: Store) -> None:
    rules(store)
    record(store, pass_of(0, [HERE, THERE]))
    record(store, pass_of(1, [HERE], track=2, area=(10.0, 1.0, 11.0, 2.0)))
    record(store, pass_of(12, [HERE, LATER]))
    with store.transaction() as session:
        assert retention.count(session, START + timedelta(days=6)).runs == 1
    assert keep_from(store, 6) == 1, "the scene far away, which nothing is compared with"
    settle(store)
    assert [row for row in told(store) if row[1] == 12] == sorted(PAIR)


def test_retention_between_a_run_and_its_unit_takes_nothing_back(store: Store) -> None:
    rules(store)
    two_passes(store)
    record(store, again(12, [HERE, LATER]))
    keep_from(store, 6)
    settle(store)
    assert told(store) == sorted(PAIR + FIRST)
    record(store, again(12, [HERE, LATER], 2))
    keep_from(store, 6, limit=1, batches=1)
    keep_from(store, 100, limit=1, batches=1)  # the first pass goes, the second would be next
    settle(store)
    assert told(store) == sorted(PAIR + FIRST)


def test_a_partner_stays_while_its_unit_has_failed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    rules(store)
    two_passes(store)
    record(store, again(12, [HERE, LATER]))
    with monkeypatch.context() as patch:

        def broken(*_: Any) -> Any:
            raise RuntimeError("a fault")

        patch.setattr("daemon.change.worker.plans", broken)
        assert worker(store, attempts=1).step()
    assert ("failed",) in rows(store, "SELECT outcome FROM change_unit WHERE present")
    assert told(store) == sorted(PAIR + FIRST), "a fault of ours is no evidence"
    assert keep_from(store, 6) == 0
    record(store, again(12, [HERE, LATER], 2))
    settle(store)
    assert told(store) == sorted(PAIR + FIRST)


HISTORY: dict[str, dict[str, Any]] = {
    "new": {"recurrence": {"at_most": 0, "days": 30}},
    "known": {"recurrence": {"at_least": 1, "days": 30}},
    "plain": {},
}


def test_rules_that_look_back_take_nothing_back_for_what_was_pruned(store: Store) -> None:
    for name, asked in HISTORY.items():
        watch.rule(store, name, **asked)
    two_passes(store)
    record(store, pass_of(24, [HERE, LATER]))
    settle(store)
    before = told(store)
    assert [row for row in before if row[1] == 12] == [
        ("known", 12, 135.0),
        ("new", 12, 135.4),
        ("plain", 12, 135.0),
        ("plain", 12, 135.4),
    ]
    seen = "SELECT rule_id, subject, evidence::text FROM alert WHERE state = 'open' ORDER BY 1, 2"
    evidence = rows(store, seen)
    keep_from(store, 20)
    with store.transaction() as session:
        ids = [id_ for (id_,) in session.execute(text("SELECT id FROM detection"))]
        evaluate_ais(session, ids)  # judged again, by what is left
    assert rows(store, seen) == evidence
    assert {row[1] for row in events(store)} == {"opened"}
    record(store, again(12, [HERE, LATER]))
    settle(store)
    assert told(store) == before
    record(store, again(12, [HERE], 2))  # that nothing was there, it may say
    settle(store)
    assert [row for row in told(store) if row[1] == 12] == [("known", 12, 135.0), ("plain", 12, 135.0)]


def test_what_is_still_known_of_the_passes_before_counts(store: Store) -> None:
    watch.rule(store, "new", **HISTORY["new"])
    two_passes(store)
    record(store, pass_of(24, [HERE]))
    settle(store)
    keep_from(store, 20)
    assert told(store) == [("new", 12, 135.4)]
    record(store, pass_of(6, [HERE, LATER], track=2))
    settle(store)
    assert told(store) == [], "a late scene shows that it was there before"


def two_slices(store: Store) -> None:
    """A pass of two slices: a ship that both show, the second better; then a pass of its own."""
    one = scene(product(START), [(135.0, 7.0, 997.0)], relative_orbit=1)
    second = START + timedelta(seconds=25)
    two = scene(product(second), [(135.0, 7.0 + 8 / M_PER_DEG, 40.0)], relative_orbit=1)
    record(store, one)
    record(store, two)
    assert rows(store, "SELECT count(*) FROM detection WHERE duplicate_of IS NOT NULL") == [(1,)]
    record(store, pass_of(100, []))
    settle(store)


def standing(store: Store) -> list[Any]:
    return rows(store, "SELECT run_id FROM detection WHERE duplicate_of IS NULL")


def test_a_pass_goes_with_all_its_slices(store: Store) -> None:
    two_slices(store)
    ship = standing(store)
    assert keep_from(store, 10 / 86400) == 0, "the second slice is younger"
    assert standing(store) == ship
    with store.transaction() as session:
        assert retention.count(session, START + timedelta(days=50)).runs == 2
    assert keep_from(store, 50, limit=1, batches=1) == 2
    assert rows(store, "SELECT count(*) FROM detection") == [(0,)]


def test_a_pass_stays_whole_for_a_younger_one(store: Store) -> None:
    """The younger pass is compared with one slice of two."""
    north, south = (134.0, 7.0, 136.5, 8.0), (134.0, 6.0, 136.5, 7.0)
    record(store, pass_of(0, [(135.0, 6.5)], area=south))
    record(store, pass_of(0, [(135.0, 7.5)], 25, area=north))
    record(store, pass_of(12, [(135.0, 7.5)], area=(134.0, 7.2, 136.5, 8.0)))
    settle(store)
    assert keep_from(store, 6) == 0
    assert keep_from(store, 20, limit=1, batches=1) == 2
    assert keep_from(store, 20) == 1


def test_nobody_judges_half_of_what_is_removed(store: Store) -> None:
    rules(store)
    two_passes(store)
    with store.transaction() as judging:
        lock(judging)
        with pytest.raises(StoreConflict), store.transaction() as session:
            session.execute(text("SET LOCAL lock_timeout = '50ms'"))
            retention.prune(session, START + timedelta(days=100))
    assert keep_from(store, 100) == 2


def test_counts_of_a_pass_that_is_not_whole_stand(store: Store) -> None:
    watch.rule(store, "many", count={"over": 1})
    record(store, pass_of(0, [(134.5, 7.0)], area=WEST))
    record(store, pass_of(0, [(136.0, 7.0)], 25, area=EAST))
    assert [row[:2] for row in told(store)] == [("many", 0)]
    keep_from(store, 100)
    record(store, again(0, [(134.5, 7.0)], area=WEST))
    assert [row[:2] for row in told(store)] == [("many", 0)]
    record(store, again(0, [], 1, 25, area=EAST))
    assert told(store) == []


def test_counts_of_what_was_seen_before_stand(store: Store) -> None:
    seen = {"recurrence": {"at_least": 1, "days": 30}}
    watch.rule(store, "many", count={"over": 1}, **seen)
    watch.rule(store, "few", count={"under": 2}, **seen)
    watch.rule(store, "any", count={"over": 1})
    record(store, pass_of(0, [HERE, THERE]))
    record(store, pass_of(12, [HERE, THERE]))
    settle(store)
    before = [row[:2] for row in told(store)]
    assert before == [("any", 0), ("any", 12), ("few", 0), ("many", 12)]
    assert keep_from(store, 100) == 2
    record(store, again(12, [HERE, THERE]))
    assert [row[:2] for row in told(store)] == before
    assert [row for row in events(store) if row[1] == "retracted"] == []
    record(store, again(12, [HERE], 2))
    assert [row[:2] for row in told(store)] == [("any", 0), ("few", 0), ("many", 12)]
    record(store, pass_of(50, [HERE, THERE]))  # whose look back holds nothing that was removed
    assert [row[:2] for row in told(store) if row[1] == 50] == [("any", 50), ("few", 50)]


def test_an_area_whose_last_pass_was_removed_was_looked_at(store: Store) -> None:
    watch.rule(store, coverage_gap={"hours": 48})

    def tick(day: float) -> None:
        with store.transaction() as session:
            evaluate_timer(session, START + timedelta(days=day))

    record(store, pass_of(0, []))
    tick(5)
    last = "SELECT state, evidence -> 'gap' ->> 'last_looked', sensed FROM alert"
    assert rows(store, last) == [("open", START.isoformat(), START)]
    assert keep_from(store, 50) == 1
    tick(60)
    assert rows(store, last) == [("open", START.isoformat(), START)]
    assert [row[1:] for row in events(store)] == [("opened", 1)]
    record(store, pass_of(61, []))
    tick(61.5)
    assert [row[0] for row in rows(store, last)] == ["closed"]


def test_retention_while_a_comparison_is_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    rules(store)
    two_passes(store)
    record(store, again(12, [HERE, LATER]))
    pruned = []
    not_passing_over = change._not_passing_over

    def meanwhile(*what: Any) -> Any:
        if not pruned:
            pruned.append(keep_from(store, 100, limit=1, batches=1))
        return not_passing_over(*what)

    monkeypatch.setattr(change, "_not_passing_over", meanwhile)
    by = worker(store, retry_delay_s=1e-6)
    while by.step():
        pass
    assert pruned == [1]
    assert not [row for row in kinds(store) if row[1] == "appeared" and row[3] == HERE[0]]
    assert told(store) == sorted(PAIR + FIRST)


PASSES: dict[int, dict[str, Any]] = {
    0: {"ships": [(135.0, 6.5), (135.2, 7.5), (135.8, 6.5)]},
    5: {"ships": [(135.0, 6.5), (134.5, 7.0)], "track": 2, "area": WEST},
    12: {"ships": [(135.0, 6.5), (135.9, 6.4), (135.2, 7.5)]},
    24: {"ships": [(135.0, 6.5), (136.2, 6.5)]},
}
STEPS = st.one_of(
    st.tuples(st.just("prune"), st.sampled_from((3, 8, 20, 100))),
    st.tuples(st.just("again"), st.sampled_from(tuple(PASSES))),
    st.tuples(st.just("settle"), st.just(0)),
)


@settings(max_examples=6, deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate])
@given(steps=st.lists(STEPS, min_size=3, max_size=8))
def test_removing_and_doing_anew_tells_nothing_and_takes_nothing_back(
    one_database: Store, steps: list[tuple[str, int]]
) -> None:
    store = one_database
    with store.transaction() as session:
        session.execute(text("TRUNCATE alert, alert_judged, sighting CASCADE"))
    empty(store)
    if not rows(store, "SELECT FROM alert_rule"):
        rules(store)
    for day, what in PASSES.items():
        record(store, pass_of(day, **what))
    settle(store)
    before = told(store)
    assert len({row[0] for row in before}) == 4, "each rule has something to tell"
    for number, (step, day) in enumerate([*steps, ("settle", 0)], 1):
        if step == "prune":
            keep_from(store, day, limit=1, batches=1 + number % 3)
        elif step == "again":
            record(store, again(day, number=number, **PASSES[day]))
        else:
            settle(store)
    assert told(store) == before
    assert {row[1] for row in events(store)} <= {"opened", "amended"}
    assert sum(row[2] for row in events(store) if row[1] == "opened") == len(before)
    for day, what in PASSES.items():
        record(store, again(day, number=20, **what))
    settle(store)
    assert told(store) == before
