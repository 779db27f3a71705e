"""The whole online way on a real Kafka and a real PostGIS, with a tiny function in place of the scan."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, TopicPartition
from sqlalchemy import make_url, text

from daemon.app import Daemon
from daemon.config import Settings, StoreSettings
from daemon.publish import Publisher, client_options, ensure_topics, scene_of
from daemon.store import schema, status
from daemon.store.session import Store
from tests.services.conftest import ROOT, execute
from tests.services.test_store import everything, rows
from tests.support import tiny

IDLE_S = 3.0


@pytest.fixture
def topics(settings: Settings) -> None:
    ensure_topics(settings.kafka)


def publish(settings: Settings, *products: str | bytes) -> None:
    """Publish products by place, and other messages by their bytes."""
    with Publisher(settings.kafka) as publisher:
        for product in products:
            if isinstance(product, bytes):
                publisher.send(settings.kafka.scenes_topic, b"key", product)
            else:
                publisher.publish(scene_of(product))


def run(settings: Settings, versions: Any = tiny.VERSIONS) -> None:
    Daemon(settings, lambda uri: tiny.process(uri, versions), versions, IDLE_S).run()


def spawn(settings: Settings, folder: Path, until_idle_s: float | None = IDLE_S) -> subprocess.Popen[str]:
    """Start a daemon in a process of its own."""
    plain = settings.model_dump(mode="json")
    plain["store"]["url"] = settings.store.url.get_secret_value()
    file = folder / f"{uuid.uuid4().hex}.json"
    file.write_text(json.dumps({"settings": plain, "until_idle_s": until_idle_s}))
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.worker", str(file)], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )


def wait_for(condition: Callable[[], Any], what: str, timeout_s: float = 40.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {timeout_s} s"
        time.sleep(0.1)


def read_dead(settings: Settings) -> list[Any]:
    consumer = KafkaConsumer(**client_options(settings.kafka), consumer_timeout_ms=3000)
    at = TopicPartition(settings.kafka.dead_topic, 0)
    consumer.assign([at])
    consumer.seek_to_beginning(at)
    found = list(consumer)
    consumer.close()
    return found


def committed(settings: Settings) -> int | None:
    consumer = KafkaConsumer(**client_options(settings.kafka), group_id=settings.kafka.group)
    offset = consumer.committed(TopicPartition(settings.kafka.scenes_topic, 0))
    consumer.close()
    return offset


def assert_balanced(store: Store, messages: int) -> None:
    """Every message has ended once, every product and acquisition too."""
    with store.transaction() as session:
        found = status.read(session)
    assert sum(count for *_, count in found.messages) == messages
    assert found.unbalanced == 0
    assert all(state != "not ended" for state, *_ in found.products)
    assert all(state != "pending" for state, *_ in found.acquisitions)
    twice = "SELECT product_id FROM run GROUP BY product_id, engine, settings HAVING count(*) > 1"
    assert rows(store, twice) == []


@pytest.mark.usefixtures("topics")
def test_every_kind_of_message_ends_in_the_ledgers(settings: Settings, store: Store, tmp_path: Path) -> None:
    good = tiny.write_product(tmp_path, tiny.name("0001"), detections=3, ipf="002.36")
    better = tiny.write_product(tmp_path, tiny.name("0002"), detections=4, ipf="002.70")
    torn = tiny.write_product(tmp_path, tiny.name("0003", datatake=3))
    Path(torn).write_text("{")
    missing = str(tmp_path / f"{tiny.name('0004', datatake=4)}.SAFE")
    wide = tiny.write_product(tmp_path, tiny.name("0005", datatake=5, mode="WV"))
    bug = tiny.write_product(tmp_path, tiny.name("0006", datatake=6), error="RuntimeError", says="a fault")
    scene = json.loads(scene_of(good).encode())
    newer = json.dumps({**scene, "schema": "fusar.scene-acquired/2"}).encode()
    sentinel2 = json.dumps({**scene, "product": {**scene["product"], "name": "S2A_MSIL1C"}}).encode()
    extended = json.dumps({**scene, "added_later": {"a": 1}}).encode()
    # sound by its form, and yet nothing that PostgreSQL can hold: no text has NUL, no bigint is so big
    nul = json.dumps({**scene, "source": "\0", "event_id": "\0"}).encode()
    surrogate = json.dumps({**scene, "schema": "\ud800"}).encode()
    big = json.dumps({**scene, "datatake": 10**30}).encode()
    bad = [b"not json", newer, b"", b"[]", sentinel2, nul, surrogate, big]
    publish(settings, good, *bad, good, extended, torn, missing, wide, bug, better)

    run(settings)

    assert rows(store, "SELECT state, error_class, count(*) FROM message GROUP BY 1, 2 ORDER BY 1, 2") == [
        ("dead_lettered", "MessageError", 8),
        ("handled", "RuntimeError", 1),
        ("handled", "SceneCorrupt", 1),
        ("handled", "SceneMissing", 1),
        ("handled", "SceneUnsupported", 1),
        ("handled", None, 4),
    ]
    assert rows(store, "SELECT unique_id, state, error_class FROM product ORDER BY unique_id") == [
        ("0001", "superseded", None),
        ("0002", "current", None),
        ("0003", "failed", "SceneCorrupt"),
        ("0004", "failed", "SceneMissing"),
        ("0005", "failed", "SceneUnsupported"),
        ("0006", "failed", "RuntimeError"),
    ]
    assert rows(store, "SELECT state, count(*) FROM acquisition GROUP BY 1 ORDER BY 1") == [
        ("dead", 3),
        ("done", 1),
        ("unsupported", 1),
    ]
    assert rows(store, "SELECT count(*) FROM current_detections") == [(4,)]
    assert_balanced(store, messages=16)
    assert committed(settings) == 16

    dead = read_dead(settings)
    assert sorted(message.value or b"" for message in dead) == sorted(bad)
    for message in dead:
        headers = dict(message.headers)
        assert headers["error_class"] == b"MessageError"
        assert headers["error_message"]
        assert headers["topic"].decode() == settings.kafka.scenes_topic
        assert headers["partition"] == b"0"
        assert message.key == b"key"
        assert (message.value or b"") == bad[int(headers["offset"]) - 1]
    kept = rows(store, "SELECT payload FROM message WHERE state = 'dead_lettered' ORDER BY kafka_offset")
    assert [payload or b"" for (payload,) in kept] == bad

    # The same scenes announced again: new messages, and nothing else new.
    before = everything(store)
    publish(settings, good, better)
    run(settings)
    after = everything(store)
    assert len(after.pop("message")) == len(before.pop("message")) + 2
    assert after == before


@pytest.mark.usefixtures("topics")
def test_a_host_that_answers_later_is_asked_again(settings: Settings, store: Store, tmp_path: Path) -> None:
    away = tiny.write_product(tmp_path, tiny.name("0001"), error="SourceUnavailable", says="503")
    for_ever = tiny.write_product(
        tmp_path, tiny.name("0002", datatake=2), error="SourceUnavailable", says="503"
    )
    publish(settings, away, for_ever)

    def answer() -> None:
        wait_for(lambda: rows(store, "SELECT 1 FROM attempt"), "the first attempt")
        tiny.write_product(tmp_path, tiny.name("0001"))

    answering = threading.Thread(target=answer)
    answering.start()
    run(settings)
    answering.join()
    assert rows(store, "SELECT unique_id, state, error_class FROM product ORDER BY unique_id") == [
        ("0001", "current", None),
        ("0002", "failed", "SourceUnavailable"),
    ]
    assert rows(
        store,
        "SELECT max(number), count(*) FROM attempt WHERE product_id IN "
        "(SELECT id FROM product WHERE unique_id = '0002')",
    ) == [(3, 3)]
    assert rows(store, "SELECT state, reason FROM acquisition ORDER BY state") == [
        ("dead", "503"),
        ("done", None),
    ]
    assert_balanced(store, messages=2)


@pytest.mark.usefixtures("topics")
def test_a_worker_killed_in_the_middle_of_a_scene(settings: Settings, store: Store, tmp_path: Path) -> None:
    log = tmp_path / "log"
    first = tiny.write_product(tmp_path, tiny.name("0001"), sleep_s=3.0, log=str(log))
    second = tiny.write_product(tmp_path, tiny.name("0002", datatake=2), log=str(log))
    publish(settings, first, b"not json", second)
    killed = spawn(settings, tmp_path)
    wait_for(lambda: log.exists() or killed.poll() is not None, "the scene")
    killed.send_signal(signal.SIGKILL)
    _, said = killed.communicate()
    assert killed.returncode == -signal.SIGKILL, said
    assert rows(store, "SELECT state FROM acquisition") == [("pending",)]
    assert rows(store, "SELECT * FROM message") == []

    run(settings)
    assert log.read_text() == "begun\n" * 3, "the killed scene twice, the other once"
    assert rows(store, "SELECT state, count(*) FROM acquisition GROUP BY 1") == [("done", 2)]
    assert rows(store, "SELECT count(*) FROM run") == [(2,)]
    assert_balanced(store, messages=3)
    assert committed(settings) == 3


@pytest.mark.usefixtures("topics")
def test_a_worker_told_to_stop_leaves_the_scene_to_the_next(
    settings: Settings, store: Store, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    publish(settings, tiny.write_product(tmp_path, sleep_s=8.0, log=str(log)))
    worker = spawn(settings, tmp_path, None)
    wait_for(lambda: log.exists() or worker.poll() is not None, "the scene")
    worker.send_signal(signal.SIGTERM)
    _, said = worker.communicate(timeout=6)
    assert worker.returncode == 0, said
    assert committed(settings) in (None, 0)

    tiny.write_product(tmp_path)
    run(settings)
    assert rows(store, "SELECT state FROM acquisition") == [("done",)]
    assert_balanced(store, messages=1)


@pytest.mark.usefixtures("topics")
def test_two_workers_share_the_scenes(settings: Settings, store: Store, tmp_path: Path) -> None:
    products = [tiny.write_product(tmp_path, tiny.name("0001", datatake=i), sleep_s=0.1) for i in range(12)]
    publish(settings, *products, *products)
    workers = [spawn(settings, tmp_path) for _ in range(2)]
    for worker in workers:
        _, said = worker.communicate(timeout=120)
        assert worker.returncode == 0, said
    assert rows(store, "SELECT state, count(*) FROM acquisition GROUP BY 1") == [("done", 12)]
    assert_balanced(store, messages=24)


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """A PostGIS cluster that a test may stop: a function that starts or stops it and returns its URL."""
    folder = Path("/var/tmp") / f"fusar-test-{uuid.uuid4().hex[:8]}"
    folder.mkdir(mode=0o755)

    def control(action: str) -> str:
        subprocess.run(
            [ROOT / "deploy" / "postgis.sh", action],
            env={**os.environ, "FUSAR_SERVICES": str(folder)},
            check=True,
            capture_output=True,
        )
        url = folder / "postgis.url"
        return url.read_text().strip() if url.exists() else ""

    yield control
    control("clean")
    subprocess.run(["rm", "-rf", str(folder)], check=True)


@pytest.mark.usefixtures("topics")
def test_while_the_database_is_away_the_queue_waits(
    settings: Settings, own_cluster: Callable[[str], str], tmp_path: Path
) -> None:
    administrator = make_url(own_cluster("start"))
    execute(administrator, "CREATE DATABASE fusar")
    url = administrator.set(database="fusar").render_as_string(hide_password=False)
    settings = settings.model_copy(update={"store": StoreSettings(url=url, wait_s=0.2, connect_timeout_s=1)})
    store = Store(url)
    schema.upgrade(store)
    log = tmp_path / "log"
    first = tiny.write_product(tmp_path, tiny.name("0001"), sleep_s=1.5, log=str(log))
    second = tiny.write_product(tmp_path, tiny.name("0002", datatake=2))
    publish(settings, first, b"not json", second)
    worker = spawn(settings, tmp_path)
    wait_for(lambda: log.exists() or worker.poll() is not None, "the scene")
    own_cluster("stop")
    time.sleep(4.0)  # longer than the scene takes and than the worker's idle time
    assert worker.poll() is None, worker.communicate()
    assert committed(settings) in (None, 0), "nothing may be committed while nothing can be recorded"
    own_cluster("start")
    _, said = worker.communicate(timeout=60)
    assert worker.returncode == 0, said
    assert log.read_text() == "begun\n", "the scene's result was kept, not computed again"
    with store.transaction() as session:
        assert session.execute(text("SELECT state, count(*) FROM acquisition GROUP BY 1")).all() == [
            ("done", 2)
        ]
    assert_balanced(store, messages=3)
    assert committed(settings) == 3
    store.close()
