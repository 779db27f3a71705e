"""From the outbox to a real Kafka and to a webhook on this machine that answers as it likes."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from kafka import KafkaConsumer, TopicPartition
from pydantic import SecretStr

from daemon.alerts import webhooks
from daemon.alerts.message import AlertMessage
from daemon.alerts.relay import Relay
from daemon.config import AlertSettings, KafkaSettings
from daemon.errors import DeliveryError
from daemon.publish import client_options, ensure_topics
from daemon.store import outbox
from daemon.store.session import Store
from tests.support import watch

SECRET = "no-one-knows"


class Receiver(BaseHTTPRequestHandler):
    """Notes what comes and answers with the next of the statuses; 0 is no answer in time."""

    def do_POST(self) -> None:
        server: Any = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server.got.append((dict(self.headers), body))
        status = server.answers.pop(0) if server.answers else 204
        if status == 0:
            time.sleep(1.0)
            return
        self.send_response(status)
        if status == 302:
            self.send_header("Location", f"http://127.0.0.1:{server.server_port}/elsewhere")
        self.end_headers()

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def hook() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    server.got, server.answers = [], []
    server.url = f"http://127.0.0.1:{server.server_port}/alerts?token=hidden"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def quick(hook: Any) -> AlertSettings:
    return AlertSettings(
        webhook_hosts=f"127.0.0.1:{hook.server_port}",
        webhook_secret=SecretStr(SECRET),
        webhook_timeout_s=1.0,
        attempts=3,
        retry_delay_s=0.05,
        retry_delay_limit_s=0.1,
    )


class Kept:
    """In place of the broker: keeps what is sent, and fails when told to."""

    def __init__(self, *_: Any) -> None:
        self.sent: list[dict[str, Any]] = []
        self.failures = 0

    def send(self, topic: str, key: bytes, value: bytes) -> None:
        if self.failures:
            self.failures -= 1
            raise DeliveryError("the broker is away")
        self.sent.append(json.loads(value))

    def __exit__(self, *_: Any) -> None: ...


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Kept:
    kept = Kept()
    monkeypatch.setattr("daemon.alerts.relay.Publisher", lambda _: kept)
    return kept


def relay(store: Store, settings: AlertSettings) -> int:
    return Relay(store, KafkaSettings(), settings).run()


def until_ended(store: Store, settings: AlertSettings) -> None:
    """Let the relay run until nothing is due any more."""
    for _ in range(100):
        relay(store, settings)
        if watch.rows(store, "SELECT count(*) FROM alert_outbox WHERE next_attempt_at IS NOT NULL") == [(0,)]:
            return
        time.sleep(0.05)
    pytest.fail("the outbox does not empty")


def superseded(store: Store, *hooks: str) -> None:
    """Leave three events of one alert, and two of another, in the outbox."""
    watch.rule(store, webhooks=list(hooks))
    watch.record(store, watch.result(0, [(134.5, 7.0), (134.6, 7.0)], "0001", ipf="003.50"))
    watch.record(store, watch.result(0, [(134.5001, 7.0)], "0002", ipf="003.60"))
    watch.record(store, watch.result(0, [(134.5002, 7.0)], "0003", ipf="003.70"))


def in_order(messages: list[dict[str, Any]]) -> bool:
    """Say whether each alert's events came in order, repetitions aside."""
    last: dict[str, int] = {}
    for one in messages:
        at = one["alert"]["sequence"]
        if at not in (last.get(one["alert"]["id"], 0), last.get(one["alert"]["id"], 0) + 1):
            return False
        last[one["alert"]["id"]] = at
    return True


def test_slow_webhooks_leave_the_turn_to_others(
    store: Store, quick: AlertSettings, broker: Kept, hook: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    superseded(store, hook.url)
    post = webhooks.post

    def slow(*arguments: Any) -> None:
        time.sleep(0.2)
        post(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("daemon.alerts.relay.webhooks.post", slow)
        patch.setattr("daemon.alerts.relay._ROUND_S", 0.1)
        relay(store, quick)
        assert len(hook.got) == 1  # the one that was under way when the time was over
    until_ended(store, quick)
    assert len(hook.got) == len(broker.sent) == 5


def test_events_arrive_in_order_whatever_fails(
    store: Store, quick: AlertSettings, broker: Kept, hook: Any
) -> None:
    superseded(store, hook.url)
    broker.failures = 2
    hook.answers = [500, 302, 204, 0]
    # One event may meet every failure.
    until_ended(store, quick.model_copy(update={"attempts": 6}))
    assert len(broker.sent) == 5
    assert in_order(broker.sent)
    assert watch.rows(store, "SELECT count(*) FROM alert_outbox WHERE sent IS NULL") == [(0,)]
    delivered = [json.loads(body) for _, body in hook.got]
    assert in_order(delivered)
    assert {one["event_id"] for one in delivered} == {one["event_id"] for one in broker.sent}
    for headers, body in hook.got:
        message = AlertMessage.model_validate_json(body)
        assert headers["X-Fusar-Event-Id"] == message.event_id
        assert headers["X-Fusar-Signature"] == webhooks.sign(SECRET, headers["X-Fusar-Timestamp"], body)
        assert headers["X-Fusar-Signature"] != webhooks.sign("else", headers["X-Fusar-Timestamp"], body)
    assert all("elsewhere" not in str(headers) for headers, _ in hook.got)


def test_a_webhook_is_given_up_and_taken_up_again(
    store: Store, quick: AlertSettings, broker: Kept, hook: Any, caplog: pytest.LogCaptureFixture
) -> None:
    watch.rule(store, webhooks=[hook.url])
    watch.record(store, watch.result(0, [(134.5, 7.0)]))
    hook.answers = [503, 410, 404]
    until_ended(store, quick)
    assert len(hook.got) == 3
    left = "SELECT attempts, error, sent FROM alert_outbox WHERE destination <> 'kafka'"
    assert watch.rows(store, left) == [
        (3, f"127.0.0.1:{hook.server_port} answers 404, expected 200 to 299", None)
    ]
    assert SECRET not in caplog.text
    assert "hidden" not in caplog.text
    with store.transaction() as session:
        assert outbox.try_again(session) == 1
    until_ended(store, quick)
    assert len(hook.got) == 4
    assert len(broker.sent) == 1


def test_what_was_sent_and_not_noted_is_sent_again(
    store: Store, quick: AlertSettings, broker: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    superseded(store)
    with monkeypatch.context() as patch:
        patch.setattr("daemon.store.outbox.mark_sent", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            relay(store, quick)
    until_ended(store, quick)
    assert len(broker.sent) == 6
    assert in_order(broker.sent)
    assert len({one["event_id"] for one in broker.sent}) == 5


def test_one_relay_at_a_time(store: Store, quick: AlertSettings, broker: Kept) -> None:
    superseded(store)
    first = Relay(store, KafkaSettings(), quick)
    with first._locked() as mine:
        assert mine is not None
        assert relay(store, quick) == 0
    assert relay(store, quick) > 0


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://elsewhere.example/x", "not among"),
        ("http://ops.example/x", "expected https"),
        ("https://ops.example:8443/x", "not among"),
        ("http://127.0.0.1:1/x", "not among"),
    ],
)
def test_hosts_that_are_not_allowed(url: str, said: str) -> None:
    settings = AlertSettings(webhook_hosts="ops.example, ops.example:80", webhook_secret=SecretStr(SECRET))
    with pytest.raises(DeliveryError, match=said):
        webhooks.post(url, "e", b"{}", datetime.now(timezone.utc), settings)
    webhooks.check("https://ops.example/x", settings)
    unsigned = settings.model_copy(update={"webhook_secret": None})
    with pytest.raises(DeliveryError, match="FUSAR_ALERTS__WEBHOOK_SECRET"):
        webhooks.post("https://ops.example/x", "e", b"{}", datetime.now(timezone.utc), unsigned)


def test_alerts_reach_the_topic_of_a_real_broker(
    store: Store, kafka_settings: KafkaSettings, quick: AlertSettings
) -> None:
    settings = kafka_settings.model_copy(update={"alerts_topic": f"{kafka_settings.scenes_topic}.alerts"})
    ensure_topics(settings)
    superseded(store)
    real = Relay(store, settings, quick)
    assert real.run() == 5
    real.close()
    consumer = KafkaConsumer(
        **client_options(settings), auto_offset_reset="earliest", consumer_timeout_ms=4000
    )
    try:
        consumer.assign([TopicPartition(settings.alerts_topic, 0)])
        records = []
        for record in consumer:
            records.append(record)
            if len(records) == 5:
                break
    finally:
        consumer.close()
    messages = [json.loads(record.value) for record in records]
    assert in_order(messages)
    for record, message in zip(records, messages, strict=True):
        assert record.key.decode() == message["alert"]["id"]
        read = AlertMessage.model_validate(message)
        assert read.sensing.age_s is not None
        assert read.sensing.age_s > timedelta(days=300).total_seconds()
    assert sorted(m["event"] for m in messages) == ["amended", "amended", "opened", "opened", "retracted"]
