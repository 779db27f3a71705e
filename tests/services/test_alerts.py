"""Rules on a real PostGIS: what they find, and that the order of arrival makes no difference."""

from __future__ import annotations

from daemon.store.session import Store
from tests.support import watch


def test_an_object_in_the_area_is_told_once(store: Store) -> None:
    watch.rule(store, area=watch.box(134.495, 6.9, 134.515, 7.1))
    found = watch.result(0, list(watch.along(4)))
    watch.record(store, found)
    watch.record(store, found)
    assert watch.told(store) == [("rule", 134.5), ("rule", 134.51)]
    assert (
        watch.rows(store, "SELECT event, sequence, destination FROM alert_outbox")
        == [("opened", 1, "kafka")] * 2
    )
