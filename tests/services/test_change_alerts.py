"""Change units and alerts together, on a real PostGIS: crashes, workers, bundles, slices, clocks."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from daemon.change import pairing
from daemon.change.worker import ChangeWorker
from daemon.config import ChangeSettings
from daemon.domain import SceneResult
from daemon.errors import SceneCorrupt, StoreConflict
from daemon.publish import scene_of
from daemon.store import alerts, change, ledger
from daemon.store.session import Store
from engine.runtime.land import Coastline
from tests.services.test_change import START, NoChips, empty, ended, kinds, pass_of, settle, worker
from tests.services.test_change import events as arrivals
from tests.services.test_retention import HERE, LATER, PAIR, THERE, again, events, rules, told, two_passes
from tests.services.test_slices import M_PER_DEG, product, record, rows, scene
from tests.services.test_store import OTHER_ENGINE
from tests.support import watch

CHANGES = ("came", "left", "stays")


def do(store: Store, statement: str) -> None:
    with store.transaction() as session:
        session.execute(text(statement))


def slice_of(day: int, second: int, ships: Sequence[tuple[float, float, float]]) -> SceneResult:
    name = product(START + timedelta(days=day, seconds=second), 45268 + 15 * day, 0x56950 + 88 * day)
    return scene(name, ships, relative_orbit=1)


@pytest.mark.parametrize("later_first", [False, True])
def test_an_object_that_a_neighbouring_slice_shows_better_is_not_taken_back(
    store: Store, later_first: bool
) -> None:
    rules(store, "came")
    metre = 1 / M_PER_DEG
    one = slice_of(12, 0, [(135.0, 7.0, 997.0), (135.3, 7.0, 500.0)])
    two = slice_of(12, 25, [(135.0, 7.0 + 8 * metre, 40.0)])
    record(store, pass_of(0, []))
    record(store, one)
    settle(store)
    assert told(store, "came") == [(12, 135.0), (12, 135.3)]
    record(store, two)
    if later_first:
        do(
            store,
            "UPDATE change_due SET next_attempt_at = now() - interval '1 day' WHERE acquisition_id = "
            "(SELECT max(id) FROM acquisition)",
        )
    settle(store)
    assert rows(store, "SELECT count(*) FROM detection WHERE duplicate_of IS NOT NULL") == [(1,)]
    assert told(store, "came") == [(12, 135.0), (12, 135.3)]
    assert {row[1] for row in events(store)} == {"opened", "amended"}
    assert [row[2] for row in events(store) if row[1] == "opened"] == [2]
    record(store, replace(two, detections=(), versions=OTHER_ENGINE))
    settle(store)
    assert told(store, "came") == [(12, 135.0), (12, 135.3)], "the first slice shows it, too"
    record(store, again(12, [], second=0))
    settle(store)
    assert told(store, "came") == []


def test_a_neighbouring_slice_whose_comparison_failed_takes_nothing_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules(store, "came")
    two = slice_of(12, 25, [(135.0, 7.0 + 8 / M_PER_DEG, 40.0)])
    record(store, pass_of(0, []))
    record(store, slice_of(12, 0, [(135.0, 7.0, 997.0)]))
    record(store, replace(two, detections=()))
    settle(store)
    assert told(store, "came") == [(12, 135.0)]
    record(store, replace(two, versions=OTHER_ENGINE))  # which shows the object better
    assert rows(store, "SELECT count(*) FROM detection WHERE duplicate_of IS NOT NULL") == [(1,)]
    with monkeypatch.context() as patch:
        first, plans = [True], pairing.plans

        def broken(*what: Any) -> Any:
            if first:
                first.clear()
                return plans(*what)
            raise RuntimeError("a fault")

        patch.setattr("daemon.change.worker.plans", broken)
        by = worker(store, attempts=1)
        while by.step():
            pass
    assert rows(store, "SELECT count(*) FROM change_unit WHERE present AND outcome = 'failed'") == [(1,)]
    assert rows(store, "SELECT count(*) FROM change_due") == [(0,)]
    assert told(store, "came") == [(12, 135.0)], "a fault of ours is no evidence"
    record(store, again(12, [], second=25))
    settle(store)
    assert told(store, "came") == [(12, 135.0)], "nothing failed, and the first slice still shows it"
    assert {row[1] for row in events(store)} <= {"opened", "amended"}


def test_a_worker_that_lost_its_lease_changes_nothing(store: Store) -> None:
    rules(store, *CHANGES)
    two_passes(store)
    before = told(store)
    record(store, again(12, [HERE, LATER]))
    with store.transaction() as session:
        slow = change.claim(session, lease_s=0.01)  # and hangs
    time.sleep(0.05)
    settle(store)
    assert told(store) == before
    assert slow is not None
    with store.transaction() as session:
        assert not change.finish(session, slow, [], [])
    assert told(store) == before
    record(store, again(12, [HERE, LATER], 2))
    with store.transaction() as session:
        assert not change.finish(session, slow, [], [])  # the row is there again: it is another one
    settle(store)
    assert told(store) == before


class Engine:
    """A bundle that has nothing to say."""

    def __init__(self, bundle_id: str) -> None:
        self.bundle_id = bundle_id

    def ask(self, *_: Any) -> Mapping[int, Mapping[str, float]]:
        return {}


def by_bundle(store: Store, bundle_id: str) -> ChangeWorker:
    engine: Any = Engine(bundle_id)
    chips = lambda: NoChips(Coastline.load())  # noqa: E731
    return ChangeWorker(store, Coastline.load(), ChangeSettings(archive=None), engine, chips=chips)


def test_a_pair_under_two_bundles_has_one_unit_and_one_alert_each(store: Store) -> None:
    rules(store, *CHANGES)
    record(store, pass_of(0, [HERE, THERE]))
    record(store, pass_of(12, [HERE, LATER]))
    one, two = by_bundle(store, "one"), by_bundle(store, "two")
    assert one.step() and two.step() and not one.step()
    assert told(store) == PAIR
    record(store, pass_of(0, [], 600, area=(10.0, 1.0, 11.0, 2.0)))
    do(store, "INSERT INTO change_due (acquisition_id) SELECT id FROM acquisition ON CONFLICT DO NOTHING")
    while one.step():
        pass
    do(store, "INSERT INTO change_due (acquisition_id) SELECT id FROM acquisition ON CONFLICT DO NOTHING")
    while two.step() or one.step():
        pass
    assert told(store) == PAIR
    assert {row[1] for row in events(store)} == {"opened", "amended"}
    present = "SELECT count(*), count(DISTINCT (after_run_id, before_run_id)) FROM change_unit WHERE present"
    assert rows(store, present) == [(3, 3)]


@pytest.mark.parametrize("before_the_pair", [False, True])
def test_a_partner_done_anew_and_found_empty(store: Store, before_the_pair: bool) -> None:
    rules(store, *CHANGES)
    first, second = pass_of(0, [HERE, THERE]), pass_of(12, [HERE, LATER])
    nothing = replace(
        first,
        outcome="empty",
        reason="no valid pixels",
        versions=OTHER_ENGINE,
        detections=(),
        coverage=replace(
            first.coverage, valid_area=first.coverage.valid_area.difference(first.coverage.valid_area)
        ),
    )
    for result in (first, nothing, second) if before_the_pair else (first, second, nothing):
        record(store, result)
        settle(store)
    assert told(store) == []
    assert kinds(store) == [
        (12, "cannot_tell", "not_looked", 135.0),
        (12, "cannot_tell", "not_looked", 135.4),
    ]


def test_a_partner_whose_newer_product_fails_or_is_empty_stays(store: Store) -> None:
    rules(store, *CHANGES)
    two_passes(store)
    end = ended(store)
    torn, hollow = again(0, []), again(0, [], 2)
    with store.transaction() as session:
        accepted = ledger.accept(session, scene_of(torn.scene.uri))
        ledger.fail(session, None, accepted, SceneCorrupt("torn"))
    record(store, replace(hollow, outcome="empty", reason="no valid pixels"))
    settle(store)
    assert told(store) == PAIR and ended(store) == end
    assert {row[1] for row in events(store)} == {"opened"}


def test_a_rule_put_in_force_between_a_scene_and_its_unit_is_not_asked(store: Store) -> None:
    rules(store, "came")
    record(store, pass_of(0, [HERE, THERE]))
    record(store, pass_of(12, [HERE, LATER]))
    rules(store, "left")
    with store.transaction() as session:
        alerts.disable(session, "came")
    settle(store)
    assert told(store) == [], "the one was not in force when the scene came, the other is no more"
    record(store, pass_of(24, []))
    settle(store)
    assert told(store) == [("left", 24, 135.0), ("left", 24, 135.4)]


def test_a_clock_that_went_back_loses_no_rule_and_no_alert(store: Store) -> None:
    rules(store, "came")
    ahead = "now() + interval '1 hour'"  # until then the clock ran ahead, and was set right
    do(store, f"UPDATE alert_rule_period SET since = {ahead}")
    two_passes(store)
    assert told(store) == [("came", 12, 135.4)]
    do(store, f"UPDATE alert_judged SET first = {ahead} + interval '1 minute'")
    with store.transaction() as session:
        alerts.disable(session, "came")
    record(store, again(12, [HERE, LATER]))
    settle(store)
    assert told(store) == [("came", 12, 135.4)], "it was in force when the scene was first judged"
    rules(store, "came")
    record(store, pass_of(24, [HERE, THERE]))
    settle(store)
    assert told(store) == [("came", 12, 135.4), ("came", 24, 135.2)]


def test_a_gap_is_judged_by_the_rules_in_force_whatever_the_clock_says(store: Store) -> None:
    from daemon.alerts.evaluate import evaluate_timer

    watch.rule(store, coverage_gap={"hours": 48})
    with store.transaction() as session:
        evaluate_timer(session, START)  # long before the rule, by this clock
    assert rows(store, "SELECT state FROM alert") == [("open",)]


def test_two_workers_at_once_while_scenes_arrive(store: Store, store_url: str) -> None:
    rules(store, *CHANGES)
    for result in arrivals():
        record(store, result)
    settle(store)
    end, before = ended(store), told(store)
    do(store, "TRUNCATE alert, alert_judged, sighting CASCADE")
    empty(store)
    stop = threading.Event()
    faults: list[Exception] = []

    def work() -> None:
        own = Store(store_url)
        step = worker(own).step
        while True:
            last = stop.is_set()
            try:
                while step():
                    pass
            except StoreConflict:
                continue
            except Exception as error:
                faults.append(error)
                return
            if last:
                break
        own.close()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for result in reversed(arrivals()):
        record(store, result)
    stop.set()
    for thread in threads:
        thread.join()
    settle(store)
    assert not faults
    assert ended(store) == end and told(store) == before
