"""From the outbox to Kafka and webhooks: at least once, each alert's events in order, one relay at a time."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from datetime import datetime, timezone

from sqlalchemy import Connection, text

from ..config import AlertSettings, KafkaSettings
from ..errors import DeliveryError
from ..publish import Publisher
from ..store import outbox
from ..store.outbox import KAFKA, Due
from ..store.session import Store, translated
from . import message, webhooks

log = logging.getLogger(__name__)

_BATCH = 500
_ROUND_S = 20.0  # webhooks may be slow: gaps are looked for, and a stop is heard, between rounds
_LOCK = text("SELECT pg_try_advisory_lock(hashtextextended('alert relay', 0))")


class Relay:
    """Sends what is due; what it sent and could not note any more is sent again, under the same event id."""

    def __init__(self, store: Store, kafka: KafkaSettings, settings: AlertSettings) -> None:
        """Prepare; nothing is opened yet."""
        self._store = store
        self._kafka = kafka
        self._settings = settings
        self._publisher: Publisher | None = None

    def run(self) -> int:
        """Send what is due; return how many arrived. Nothing happens while another relay is at work.

        After `_ROUND_S` what is left waits for the next call, in which Kafka's come first, whatever webhooks
        take.

        Raises:
            StoreUnavailable: the database does not answer (retry).
        """
        count, until = 0, time.monotonic() + _ROUND_S
        with translated(), self._locked() as connection:
            while connection is not None and time.monotonic() < until:
                with connection.begin():
                    rows = outbox.due(connection, _BATCH)
                if not rows:
                    break
                count += self._send(connection, rows, until)
        return count

    def close(self) -> None:
        """Let go of the broker."""
        publisher, self._publisher = self._publisher, None
        if publisher:
            with contextlib.suppress(Exception):  # it may be away: nothing waits to be sent
                publisher.__exit__(None, None, None)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[Connection | None]:
        """Hold the relays' lock on a connection of its own: who loses the one has lost the other."""
        with self._store.engine.connect() as connection:
            connection.detach()  # closed at the end, with the lock
            with connection.begin():
                mine = connection.scalar(_LOCK)
            yield connection if mine else None

    def _send(self, connection: Connection, rows: list[Due], until: float) -> int:
        silent: set[str] = set()  # destinations that failed in this round
        arrived = 0
        s = self._settings
        for row in rows:
            if row.destination != KAFKA and time.monotonic() > until:
                break
            at = row.destination if row.destination == KAFKA else webhooks.host_of(row.destination)
            if at in silent:
                with connection.begin():
                    outbox.put_off(connection, [row.id], s.retry_delay_s)
                continue
            error = None
            try:
                self._deliver(row)
            except DeliveryError as raised:
                error = str(raised)
                silent.add(at)
                log.warning("alert %s not delivered: %s", row.body["event_id"], error)
            with connection.begin():
                if error is None:
                    outbox.mark_sent(connection, [row.id])
                    arrived += 1
                else:
                    limits = s.attempts, s.retry_delay_s, s.retry_delay_limit_s
                    outbox.mark_failed(connection, [row.id], error, *limits)
        return arrived

    def _deliver(self, row: Due) -> None:
        sent = datetime.now(timezone.utc)
        payload = message.encode(message.render(row.body, sent, self._settings.speed_bound_kn))
        if row.destination != KAFKA:
            webhooks.post(row.destination, row.body["event_id"], payload, sent, self._settings)
            return
        try:
            if self._publisher is None:
                self._publisher = Publisher(self._kafka)
            self._publisher.send(self._kafka.alerts_topic, row.alert_id.encode(), payload)
        except DeliveryError:
            self.close()
            raise
