"""What goes on beside the scenes: the relay, and the timer of coverage gaps."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timezone

from ..config import Settings
from ..store.session import Store
from .evaluate import evaluate_timer
from .relay import Relay

log = logging.getLogger(__name__)

InThread = Callable[..., Awaitable[object]]


class AlertTasks:
    """Runs relay and timer until told to stop; a failure is logged, and tried again at the next turn."""

    def __init__(self, store: Store, settings: Settings) -> None:
        """Prepare."""
        self._store = store
        self._settings = settings.alerts
        self._relay = Relay(store, settings.kafka, settings.alerts)
        self._timer_s = -float("inf")  # when the timer last ran
        self._said: str | None = None

    async def run(self, stop: asyncio.Event, in_thread: InThread) -> None:
        """Take turns until `stop` is set, then one more, so that what the last scene brought is sent."""
        while not stop.is_set():
            await in_thread(self.turn)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(stop.wait(), self._settings.poll_s)
        await in_thread(self.turn)
        await in_thread(self._relay.close)

    def turn(self) -> None:
        """Let the timer judge where its time has come, and send what is due: neither waits for the other."""
        said = [self._guarded(self._timer), self._guarded(self._relay.run)]
        self._said = next((each for each in said if each), None)

    def _timer(self) -> None:
        if time.monotonic() - self._timer_s < self._settings.timer_s:
            return
        with self._store.transaction() as session:
            evaluate_timer(session, datetime.now(timezone.utc))
        self._timer_s = time.monotonic()

    def _guarded(self, work: Callable[[], object]) -> str | None:
        """Do work; log what fails, and what may pass only when it is new. Return what is waited for."""
        try:
            work()
        except Exception as error:
            if not getattr(error, "retry", False):
                log.exception("alerts")
                return None
            if self._said != str(error):
                log.warning("alerts wait: %s", error)
            return str(error)
        return None
