"""The ledgers and results on a real PostGIS."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import shapely
from geoalchemy2.shape import to_shape
from sqlalchemy import URL, func, select, text

from daemon.domain import Versions
from daemon.errors import (
    ConfigError,
    SceneCorrupt,
    SceneMissing,
    SceneUnsupported,
    SourceUnavailable,
    StoreUnavailable,
)
from daemon.messages import SceneAcquired
from daemon.publish import scene_of
from daemon.store import ledger, schema, status
from daemon.store.ledger import Accepted, Origin
from daemon.store.session import Store
from daemon.store.tables import (
    Acquisition,
    Attempt,
    Base,
    Candidate,
    Coverage,
    Detection,
    Message,
    Product,
    Run,
)
from tests.services.conftest import execute
from tests.support import tiny

OTHER_ENGINE = Versions("test", "land-1", None, "bundle-2", "ort fp32", "settings-1")


def place(product: str) -> str:
    return f"/products/{product}.SAFE"


def origin(offset: int = 0) -> Origin:
    return Origin("cluster", "scenes", 0, offset, "event")


def accept(store: Store, product: str = tiny.NAME) -> Accepted:
    with store.transaction() as session:
        return ledger.accept(session, scene_of(place(product)))


def record(store: Store, product: str = tiny.NAME, offset: int = 0, **what: Any) -> bool:
    accepted = accept(store, product)
    with store.transaction() as session:
        return ledger.record(session, origin(offset), accepted, tiny.make_result(place(product), **what))


def fail(store: Store, error: Exception, product: str = tiny.NAME, offset: int = 0) -> None:
    accepted = accept(store, product)
    with store.transaction() as session:
        ledger.fail(session, origin(offset), accepted, error)


def count(store: Store, table: type[Base]) -> int:
    with store.transaction() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def rows(store: Store, query: str) -> list[tuple[Any, ...]]:
    with store.transaction() as session:
        return [tuple(row) for row in session.execute(text(query))]


def everything(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of all tables, without the columns that tell when."""
    found = {}
    for table in Base.metadata.sorted_tables:
        times = ("updated", "ended", "created", "recorded", "received")
        names = [c.name for c in table.columns if c.name not in times]
        listed = ", ".join(f'"{name}"::text' for name in names)
        found[table.name] = sorted(map(str, rows(store, f"SELECT {listed} FROM {table.name}")))
    return found


def states(store: Store) -> list[tuple[Any, ...]]:
    return rows(store, "SELECT state, reason FROM acquisition ORDER BY id")


def balanced(store: Store) -> bool:
    with store.transaction() as session:
        return status.read(session).unbalanced == 0


def test_upgrade_downgrade_upgrade_and_nothing_differs(administrator: URL) -> None:
    name = "fusar_test_migrations"
    execute(administrator, f"DROP DATABASE IF EXISTS {name}", f"CREATE DATABASE {name}")
    store = Store(administrator.set(database=name).render_as_string(hide_password=False))
    try:
        with pytest.raises(ConfigError, match="fusar db upgrade"):
            schema.require_current(store)
        schema.upgrade(store)
        schema.downgrade(store)
        assert rows(store, "SELECT 1 FROM pg_tables WHERE tablename IN ('run', 'product')") == []
        schema.upgrade(store)
        schema.require_current(store)
        schema.check(store)
    finally:
        store.close()
        execute(administrator, f"DROP DATABASE {name} WITH (FORCE)")


def test_a_result_is_stored_as_found(store: Store) -> None:
    record(store, count=3)
    assert states(store) == [("done", None)]
    with store.transaction() as session:
        found = session.scalars(select(Detection).order_by(Detection.sample_px)).all()
        result = tiny.make_result(place(tiny.NAME), 3)
        for row, detection in zip(found, result.detections, strict=True):
            assert row.id == detection.id
            assert to_shape(row.position) == shapely.Point(detection.lon_deg, detection.lat_deg)
            assert row.length_m == detection.length_m
            assert row.flags == {"near_land": {"distance_m": 120.0}}
        coverage = session.scalars(select(Coverage)).one()
        assert to_shape(coverage.valid_area).equals(result.coverage.valid_area)
        message = session.scalars(select(Message)).one()
        assert (message.state, message.event_id) == ("handled", "event")
    assert count(store, Candidate) == 3
    east = "ST_DWithin(position, 'POINT(134.51 7.0)'::geography, 10)"
    assert rows(store, f"SELECT count(*) FROM current_detections WHERE {east}") == [(1,)]
    assert balanced(store)


def test_a_scene_done_twice_changes_nothing(store: Store) -> None:
    assert record(store)
    before = everything(store)
    assert not record(store)
    assert everything(store) == before


def test_a_new_engine_replaces_the_current_run_and_keeps_the_old(store: Store) -> None:
    record(store, count=2)
    assert record(store, count=5, versions=OTHER_ENGINE, offset=1)
    assert count(store, Run) == 2
    assert count(store, Detection) == 7
    assert rows(store, "SELECT count(*), min(engine) FROM current_detections") == [(5, "bundle-2")]
    assert record(store, count=2, offset=2), "going back to the first engine is a change"
    assert rows(store, "SELECT count(*), min(engine) FROM current_detections") == [(2, "bundle-1")]
    assert accept(store).done == tiny.VERSIONS


@pytest.mark.parametrize("newer_first", [False, True])
def test_a_reprocessed_product_supersedes_whatever_the_order(store: Store, newer_first: bool) -> None:
    products = [(tiny.name("FEC3"), "002.36", 2), (tiny.name("6D00"), "002.70", 4)]
    for offset, (product, ipf, ships) in enumerate(reversed(products) if newer_first else products):
        record(store, product, offset, count=ships, ipf=ipf)
    assert count(store, Acquisition) == 1
    assert rows(store, "SELECT unique_id, state FROM product ORDER BY ipf") == [
        ("FEC3", "superseded"),
        ("6D00", "current"),
    ]
    assert rows(store, "SELECT count(*) FROM current_detections") == [(4,)]
    assert balanced(store)


def test_readers_see_the_old_or_the_new_run_never_a_mixture(store: Store) -> None:
    record(store, tiny.name("FEC3"), ipf="002.36", count=2)
    accepted = accept(store, tiny.name("6D00"))
    with store.transaction() as session:
        ledger.record(session, origin(1), accepted, tiny.make_result(place(tiny.name("6D00")), 4, "002.70"))
        assert rows(store, "SELECT count(*) FROM current_detections") == [(2,)], "seen from outside"
    assert rows(store, "SELECT count(*) FROM current_detections") == [(4,)]


def test_a_failure_within_the_transaction_leaves_the_good_result(store: Store) -> None:
    record(store, count=2)
    before = everything(store)
    accepted = accept(store)
    with pytest.raises(RuntimeError), store.transaction() as session:
        ledger.record(
            session, origin(1), accepted, tiny.make_result(place(tiny.NAME), 5, versions=OTHER_ENGINE)
        )
        raise RuntimeError
    assert everything(store) == before


def test_a_failed_rerun_leaves_the_good_result(store: Store) -> None:
    record(store, count=2)
    fail(store, SceneMissing("gone"), offset=1)
    assert states(store) == [("done", None)]
    assert rows(store, "SELECT state FROM product") == [("current",)]
    assert rows(store, "SELECT count(*) FROM current_detections") == [(2,)]
    assert rows(store, "SELECT state, error_class FROM message WHERE kafka_offset = 1") == [
        ("handled", "SceneMissing")
    ]
    assert balanced(store)


def test_a_failed_product_kills_its_acquisition_only_without_another(store: Store) -> None:
    fail(store, SceneCorrupt("torn"), tiny.name("0001"))
    assert states(store) == [("dead", "torn")]
    record(store, tiny.name("0002"), 1)
    assert states(store) == [("done", None)]
    fail(store, SceneCorrupt("torn"), tiny.name("0003"), 2)
    assert states(store) == [("done", None)]
    assert rows(store, "SELECT state FROM product ORDER BY name") == [("failed",), ("current",), ("failed",)]
    assert balanced(store)


def test_a_product_that_failed_may_succeed_later(store: Store) -> None:
    fail(store, SceneMissing("not there yet"))
    assert record(store, offset=1)
    assert states(store) == [("done", None)]
    assert rows(store, "SELECT state, error_class FROM product") == [("current", None)]


def test_unsupported_is_a_state_with_a_reason(store: Store) -> None:
    fail(store, SceneUnsupported("EW is not processed"), tiny.name(mode="EW"))
    assert states(store) == [("unsupported", "EW is not processed")]


def test_another_product_than_announced_is_refused(store: Store) -> None:
    accepted = accept(store, tiny.name("0001"))
    with pytest.raises(SceneCorrupt, match="0002"), store.transaction() as session:
        ledger.record(session, origin(), accepted, tiny.make_result(place(tiny.name("0002"))))
    assert count(store, Run) == 0


@pytest.mark.parametrize(
    ("second", "datatake", "same"),
    [
        (26, 0x56950, True),
        (15, 0x56950, True),
        (11, 0x56950, True),
        (10, 0x56950, False),
        (26, 0x56951, False),
    ],
)
def test_one_acquisition_is_half_an_overlap(store: Store, second: int, datatake: int, same: bool) -> None:
    accept(store, tiny.name("0001", 26))
    accept(store, tiny.name("0002", second, datatake))
    assert count(store, Acquisition) == (1 if same else 2)


def test_a_notice_that_contradicts_its_products_name_spoils_nothing(store: Store) -> None:
    fields = scene_of(place(tiny.NAME)).model_dump(by_alias=True)
    with store.transaction() as session:
        wrong = ledger.accept(session, SceneAcquired.model_validate({**fields, "mode": "EW", "datatake": 1}))
        ledger.fail(session, origin(), wrong, SceneUnsupported("EW"))
    record(store, offset=1)
    assert rows(store, "SELECT mode, datatake, state FROM acquisition") == [("IW", 0x56950, "done")]


def test_twenty_at_once_make_one_acquisition(store: Store, store_url: str) -> None:
    def enter(index: int) -> None:
        own = Store(store_url)
        accept(own, tiny.name(f"{index:04X}"))
        own.close()

    threads = [threading.Thread(target=enter, args=(i,)) for i in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count(store, Acquisition) == 1
    assert count(store, Product) == 20


def test_attempts_come_due_later_each_time_and_end(store: Store) -> None:
    accepted = accept(store)
    delays = []
    for _ in range(3):
        with store.transaction() as session:
            now = session.scalars(select(func.clock_timestamp())).one()
            next_at = ledger.postpone(session, None, accepted, SourceUnavailable("away"), 3, 10.0, 15.0)
            delays.append(next_at and round((next_at - now) / timedelta(seconds=1)))
    assert delays == [10, 15, None]
    assert states(store) == [("dead", "away")]
    assert rows(store, "SELECT number, next_attempt_at FROM attempt ORDER BY id") == [
        (1, None),
        (2, None),
        (3, None),
    ]


def test_an_attempt_that_is_due_is_claimed_once(store: Store) -> None:
    accepted = accept(store)
    with store.transaction() as session:
        ledger.postpone(session, None, accepted, SourceUnavailable("away"), 3, 0.0, 0.0)
    assert states(store) == [("pending", None)]
    with store.transaction() as session:
        due = ledger.claim_due(session, 60.0)
        assert due and ledger.accepted_again(session, due) == accepted
    with store.transaction() as session:
        assert ledger.claim_due(session, 60.0) is None
    record(store)
    with store.transaction() as session:
        assert session.scalars(select(Attempt.next_attempt_at)).all() == [None]


def test_offsets_of_another_cluster_are_other_messages(store: Store) -> None:
    for cluster in ("one", "two", "two"):
        with store.transaction() as session:
            ledger.dead_letter(session, Origin(cluster, "scenes", 0, 7), b"\xff", ValueError("no"))
    assert count(store, Message) == 2
    assert rows(store, "SELECT DISTINCT state, payload, error_class FROM message") == [
        ("dead_lettered", b"\xff", "ValueError")
    ]


def test_what_postgresql_cannot_hold_of_an_error_is_left_out(store: Store) -> None:
    with store.transaction() as session:
        ledger.dead_letter(session, origin(), b"\0", ValueError("a\0b \ud800"))
    assert rows(store, "SELECT error_message, payload FROM message") == [("ab ?", b"\0")]


def test_footprints_of_notices_are_kept(store: Store) -> None:
    scene = scene_of(place(tiny.NAME))
    ring = [[0, 0], [1, 0], [1, 1], [0, 0]]
    with_footprint = SceneAcquired.model_validate(
        {**scene.model_dump(by_alias=True), "footprint": {"type": "Polygon", "coordinates": [ring]}}
    )
    with store.transaction() as session:
        ledger.accept(session, with_footprint)
    assert rows(store, "SELECT ST_AsText(footprint) FROM acquisition") == [
        ("MULTIPOLYGON(((0 0,1 0,1 1,0 0)))",)
    ]


def test_errors_of_the_database_are_ours(store_url: str, administrator: URL) -> None:
    nobody = administrator.set(port=1)
    for url, error in (
        (nobody, StoreUnavailable),
        (administrator.set(password="wrong"), ConfigError),
        (administrator.set(database="no_such_database"), ConfigError),
        (administrator.set(database="template1"), ConfigError),  # no tables of ours
    ):
        store = Store(url.render_as_string(hide_password=False))
        with pytest.raises(error) as caught, store.transaction() as session:
            status.read(session)
        store.close()
        assert str(administrator.password) not in str(caught.value)


def test_what_a_run_was_done_by_is_read_back_whole(store: Store) -> None:
    versions = Versions("test", "land-1", "prior-1", "bundle-1", "ort fp32", "settings-1", layers="x")
    record(store, versions=versions)
    assert accept(store).done == versions


def test_footprints_lose_their_heights(store: Store) -> None:
    ring = [[0, 0, 5.0], [1, 0, 5.0], [1, 1, 5.0], [0, 0, 5.0]]
    scene = scene_of(place(tiny.NAME)).model_dump(by_alias=True)
    with store.transaction() as session:
        ledger.accept(
            session,
            SceneAcquired.model_validate({**scene, "footprint": {"type": "Polygon", "coordinates": [ring]}}),
        )
    assert rows(store, "SELECT ST_AsText(footprint) FROM acquisition") == [
        ("MULTIPOLYGON(((0 0,1 0,1 1,0 0)))",)
    ]


def test_transactions_are_isolated_as_the_locks_expect(store: Store, store_url: str) -> None:
    name = store.url.database
    execute(store.url, f"ALTER DATABASE {name} SET default_transaction_isolation TO 'serializable'")
    other = Store(store_url)
    with other.transaction() as session:
        assert session.scalar(text("SHOW transaction_isolation")) == "read committed"
    other.close()


def test_a_product_announced_as_another_kind_is_looked_at_again(store: Store) -> None:
    notice = scene_of(place(tiny.NAME))
    aws = notice.model_copy(update={"product": notice.product.model_copy(update={"kind": "AWS"})})

    def announced(scene: SceneAcquired) -> Accepted:
        with store.transaction() as session:
            return ledger.accept(session, scene)

    def recorded(accepted: Accepted, annotated: bool) -> None:
        result = tiny.make_result(place(tiny.NAME))
        bare = replace(result, scene=replace(result.scene, annotated=annotated), detections=())
        with store.transaction() as session:
            ledger.record(session, None, accepted, result if annotated else bare)

    recorded(announced(aws), annotated=False)
    assert announced(aws).done == tiny.VERSIONS
    assert announced(notice).done is None
    again = announced(notice)
    assert again.done is None, "until it has been looked at"
    recorded(again, annotated=True)
    assert announced(notice).done == tiny.VERSIONS
    assert rows(store, "SELECT kind FROM product") == [("SAFE",)]
    assert rows(store, "SELECT count(*) FROM current_detections") == [(2,)]
    recorded(announced(aws), annotated=True)
    assert announced(aws).done == tiny.VERSIONS, "of the same run, which is not written twice"
    assert count(store, Run) == 2
