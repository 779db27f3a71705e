"""The agent: an acknowledgement only after the end, one scene at a time, off the event loop."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
from contextlib import nullcontext
from typing import Any

import pytest
from sqlalchemy.exc import DataError

from daemon import publish
from daemon.agent import SceneWorker, in_thread
from daemon.config import KafkaSettings, SceneSettings
from daemon.errors import ConfigError, SceneCorrupt, SceneUnsupported, SourceUnavailable, StoreUnavailable
from daemon.publish import scene_of
from daemon.store import ledger
from daemon.store.ledger import Accepted, Origin
from daemon.store.session import Store
from engine.errors import BackendError, DeviceLost
from tests.support import tiny

ORIGIN = Origin("cluster", "scenes", 0, 3)


class Book:
    """Stands in for the database: functions of the ledger note their calls, and fail when told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self.errors: dict[str, list[Exception]] = {}
        self.accepted = Accepted(1, 2, tiny.NAME, f"/data/{tiny.NAME}.SAFE", "SAFE", None)
        for name in ("accept", "record", "fail", "postpone", "dead_letter", "end_message", "claim_due"):
            monkeypatch.setattr(ledger, name, self._function(name))

    def _function(self, name: str) -> Any:
        def call(session: Any, *args: Any) -> Any:
            self.calls.append(name)
            if self.errors.get(name):
                raise self.errors[name].pop(0)
            return {"accept": self.accepted, "record": True}.get(name)

        return call

    def transaction(self) -> Any:
        return nullcontext()


@pytest.fixture
def book(monkeypatch: pytest.MonkeyPatch) -> Book:
    return Book(monkeypatch)


def worker(book: Book, process: Any = None, versions: Any = None) -> SceneWorker:
    dead = lambda *args: book.calls.append("send_dead")  # noqa: E731
    look = process or (lambda uri: tiny.make_result(uri))
    return SceneWorker(book, look, dead, SceneSettings(), 0.01, versions)  # type: ignore[arg-type]


def message(product: str = tiny.NAME) -> bytes:
    return scene_of(f"/data/{product}.SAFE").encode()


def handle(target: SceneWorker, payload: bytes | None) -> None:
    asyncio.run(target.handle(ORIGIN, None, payload))


def test_a_scene_is_accepted_looked_at_and_recorded(book: Book) -> None:
    handle(worker(book), message())
    assert book.calls == ["accept", "record"]


def test_what_cannot_be_read_is_sent_before_it_is_recorded(book: Book) -> None:
    handle(worker(book), b"no")
    assert book.calls == ["send_dead", "dead_letter"]


def test_while_the_store_is_away_nothing_ends_and_nothing_is_done_twice(book: Book) -> None:
    looked = []

    def process(uri: str) -> Any:
        looked.append(uri)
        return tiny.make_result(uri)

    book.errors = {"accept": [StoreUnavailable("away")], "record": [StoreUnavailable("away")] * 3}
    handle(worker(book, process), message())
    assert book.calls == ["accept"] * 2 + ["record"] * 4
    assert len(looked) == 1


@pytest.mark.parametrize(
    ("error", "end"),
    [
        (SceneUnsupported("SLC"), "fail"),
        (SceneCorrupt("torn"), "fail"),
        (ValueError("a fault of ours"), "fail"),
        (SourceUnavailable("503"), "postpone"),
        (BackendError("NaN"), "postpone"),
    ],
)
def test_errors_of_a_scene_end_it(book: Book, error: Exception, end: str) -> None:
    def process(uri: str) -> Any:
        raise error

    handle(worker(book, process), message())
    assert book.calls == ["accept", end]


def test_a_result_that_cannot_be_recorded_fails_the_scene_and_not_the_queue(book: Book) -> None:
    book.errors = {"record": [TypeError("a bug")]}
    handle(worker(book), message())
    assert book.calls == ["accept", "record", "fail"]


def test_a_scene_whose_failure_cannot_be_recorded_is_a_dead_letter(book: Book) -> None:
    book.errors = {"record": [TypeError("a bug")], "fail": [TypeError("another")]}
    handle(worker(book), message())
    assert book.calls == ["accept", "record", "fail", "send_dead", "dead_letter"]


def test_a_database_without_tables_stops_the_worker_and_ends_nothing(book: Book) -> None:
    book.errors = {"accept": [ConfigError("run fusar db upgrade")]}
    target = worker(book)
    with pytest.raises(ConfigError):
        handle(target, message())
    assert isinstance(target.fatal, ConfigError)
    assert book.calls == ["accept"]


def test_a_lost_device_stops_the_worker_and_the_scene_has_not_ended(book: Book) -> None:
    def process(uri: str) -> Any:
        raise DeviceLost("Xid 79")

    target = worker(book, process)
    with pytest.raises(DeviceLost):
        handle(target, message())
    assert isinstance(target.fatal, DeviceLost)
    assert target.stopped.is_set()
    assert book.calls == ["accept"]


def test_a_lost_device_at_a_repeated_attempt_stops_the_worker_too(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    def process(uri: str) -> Any:
        raise DeviceLost("Xid 79")

    monkeypatch.setattr(ledger, "claim_due", lambda session, lease_s: 1)
    monkeypatch.setattr(ledger, "accepted_again", lambda session, due: book.accepted)
    target = worker(book, process)
    asyncio.run(target.retry_due())
    assert isinstance(target.fatal, DeviceLost)
    assert book.calls == []


@pytest.mark.parametrize(
    ("mode", "calls", "looked"), [("WV", ["accept", "fail"], 0), ("EW", ["accept", "record"], 1)]
)
def test_what_is_not_processed_is_not_even_opened(
    book: Book, mode: str, calls: list[str], looked: int
) -> None:
    opened: list[str] = []

    def process(uri: str) -> Any:
        opened.append(uri)
        return tiny.make_result(tiny.name(mode=mode))

    handle(worker(book, process), message(tiny.name(mode=mode)))
    assert book.calls == calls and len(opened) == looked


def test_what_is_done_by_the_same_versions_is_not_looked_at_again(book: Book) -> None:
    book.accepted = dataclasses.replace(book.accepted, done=tiny.VERSIONS)
    handle(worker(book, versions=tiny.VERSIONS), message())
    assert book.calls == ["accept", "end_message"]
    handle(worker(book), message())
    assert book.calls[2:] == ["accept", "record"], "without known versions it is"


def test_versions_may_depend_on_the_product(book: Book) -> None:
    """A chart of ice holds for a day: what a scene would be done by depends on its time."""
    asked = []

    def versions(product: str) -> Any:
        asked.append(product)
        return dataclasses.replace(tiny.VERSIONS, layers="ice of that day")

    book.accepted = dataclasses.replace(book.accepted, done=tiny.VERSIONS)
    handle(worker(book, versions=versions), message())
    assert book.calls == ["accept", "record"] and asked == [book.accepted.name]
    book.accepted = dataclasses.replace(
        book.accepted, done=dataclasses.replace(tiny.VERSIONS, layers="ice of that day")
    )
    handle(worker(book, versions=versions), message())
    assert book.calls[2:] == ["accept", "end_message"]


def test_one_scene_at_a_time_and_the_loop_stays_free(book: Book) -> None:
    inside = threading.Semaphore(1)

    def process(uri: str) -> Any:
        assert inside.acquire(blocking=False), "two scenes at once"
        time.sleep(0.1)
        inside.release()
        return tiny.make_result(uri)

    async def main() -> int:
        target, ticks = worker(book, process), 0
        both = asyncio.gather(*(target.handle(ORIGIN, None, message()) for _ in range(2)))
        while not both.done():
            await asyncio.sleep(0.01)
            ticks += 1
        await both
        return ticks

    assert asyncio.run(main()) >= 3
    assert book.calls.count("record") == 2
    assert "fail" not in book.calls


def test_a_thread_gives_its_value_or_its_error() -> None:
    def fail() -> None:
        raise KeyError("x")

    assert asyncio.run(in_thread(lambda a: a + 1, 2)) == 3
    with pytest.raises(KeyError):
        asyncio.run(in_thread(fail))


@pytest.mark.parametrize("errors", [["record"], ["record", "fail"]])
def test_the_log_holds_no_statement_of_the_database(
    book: Book, caplog: pytest.LogCaptureFixture, errors: list[str]
) -> None:
    broken = DataError("INSERT INTO run", {"id": "a value"}, ValueError("out of range"), hide_parameters=True)
    book.errors = {name: [broken] for name in errors}
    handle(worker(book), message())
    said = [record.getMessage() for record in caplog.records]
    assert any("DataError: out of range" in text for text in said)
    assert not any("INSERT" in text or "a value" in text for text in said)


def test_a_dead_letter_holds_no_statement_of_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []

    class Fake(nullcontext):  # type: ignore[type-arg]
        def __enter__(self) -> Any:
            return self

        def send(self, *args: Any) -> None:
            sent.append(args)

    monkeypatch.setattr(publish, "Publisher", Fake)
    broken = DataError("INSERT INTO run", {"id": "a value"}, ValueError("out of range"))
    publish.send_dead(KafkaSettings(), ORIGIN, None, b"x", broken)
    assert dict(sent[0][3])["error_message"] == b"out of range"


def test_errors_of_statements_hold_no_values() -> None:
    store = Store("postgresql://user@host/base")
    assert store.engine.hide_parameters
    store.close()
