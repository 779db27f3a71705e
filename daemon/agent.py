"""A scene's message to its end: decoded, looked at, recorded; nothing lost and nothing blocked.

Faust acknowledges an event whose agent raised, so nothing here raises for a message's sake: each message
ends handled or dead-lettered, and only then may its offset be committed. While the database is away nothing
ends, and the queue waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from engine.errors import DeviceLost

from .config import SceneSettings
from .domain import SceneResult, Versions
from .errors import ConfigError, DaemonError
from .messages import SceneAcquired, decode, product_name
from .scene import names
from .store import ledger
from .store.ledger import Accepted, Origin
from .store.session import Store

log = logging.getLogger(__name__)

T = TypeVar("T")
Process = Callable[[str], SceneResult]  # a product's place to what was found there
VersionsOf = Versions | Callable[[str], Versions]
SendDead = Callable[[Origin, "bytes | None", "bytes | None", Exception], None]  # origin, key, payload, error


class SceneWorker:
    """Takes one scene at a time to its end; heavy work runs in a thread of its own."""

    def __init__(
        self,
        store: Store,
        process: Process,
        send_dead: SendDead,
        settings: SceneSettings,
        wait_s: float = 5.0,
        versions: VersionsOf | None = None,
        changes: Callable[[], bool] | None = None,
    ) -> None:
        """Prepare.

        Args:
            store: where everything ends.
            process: looks at a product; called in a thread.
            send_dead: hands a message that cannot be read to the dead-letter topic, durably.
            settings: attempts and delays.
            wait_s: seconds between attempts while the database or the broker is away.
            versions: what `process` will state in its results, for all products or by a product's name; a
                product whose result under these very versions stands in the store is not looked at again.
                None: always look.
            changes: takes the change unit that is due to its end, in a thread; tells whether there was one.
        """
        self._store = store
        self._process = process
        self._send_dead = send_dead
        self._settings = settings
        self._wait_s = wait_s
        self._versions = versions
        self._changes = changes
        self._turn = asyncio.Lock()
        self.active_s = time.monotonic()  # when something was last begun or ended
        self.fatal: Exception | None = None  # what makes going on useless
        self.stopped = asyncio.Event()  # set with fatal

    @property
    def busy(self) -> bool:
        """Whether a scene is being worked on."""
        return self._turn.locked()

    async def handle(self, origin: Origin, key: bytes | None, payload: bytes | None) -> None:
        """Take a message to its durable end.

        Raises:
            ConfigError: the database is not as it must be; the message has not ended.
            DeviceLost: the GPU answers no more in this process; the message has not ended.
        """
        async with self._working():
            try:
                scene = decode(payload)
                accepted: Accepted = await self._stored(ledger.accept, scene)
                await self._look(dataclasses.replace(origin, event_id=scene.event_id), accepted, scene)
            except (ConfigError, DeviceLost):
                raise
            except Exception as error:
                # A message that cannot be read; or a fault of ours, which must not block the queue.
                if not isinstance(error, DaemonError):
                    log.exception("%s could not be recorded", origin)
                await self._bury(origin, key, payload, error)

    async def handle_other(
        self, origin: Origin, key: bytes | None, payload: bytes | None, end: Callable[[bytes | None], Any]
    ) -> None:
        """Take a message of another kind to its durable end, between two scenes: they share the engine.

        Args:
            origin: where it stood.
            key: of the message.
            payload: of the message.
            end: does it, in a thread; what it raises and says to retry is retried, else dead-lettered.

        Raises:
            ConfigError: the database is not as it must be; the message has not ended.
            DeviceLost: the GPU answers no more in this process; the message has not ended.
        """
        async with self._working():
            try:
                await self._until_done(end, payload)
            except (ConfigError, DeviceLost):
                raise
            except Exception as error:
                if not isinstance(error, DaemonError):
                    log.exception("%s could not be ended", origin)
                await self._bury(origin, key, payload, error)

    async def retry_due(self) -> bool:
        """Take one attempt whose time has come to its end; return whether there was one."""
        with self._store_may_be_away():
            due = await in_thread(self._transact, ledger.claim_due, self._settings.lease_s)
            if due is None:
                return False
            async with self._working():
                accepted: Accepted = await self._stored(ledger.accepted_again, due)
                log.info("%s: another attempt", accepted.name)
                await self._look(None, accepted, None)
            return True
        return False

    async def change_due(self) -> bool:
        """Take the changes of one acquisition to their end; return whether any were due."""
        if self._changes is None:
            return False
        with self._store_may_be_away():
            async with self._turn:
                done = await in_thread(self._changes)
                if done:
                    self.active_s = time.monotonic()
                return done
        return False

    async def _look(self, origin: Origin | None, accepted: Accepted, scene: SceneAcquired | None) -> None:
        if accepted.done is not None and accepted.done == await in_thread(self._expected, accepted.name):
            log.info("%s: done before by the same versions, nothing changes", accepted.name)
            if origin:
                await self._stored(ledger.end_message, origin, accepted)
            return
        began = time.monotonic()
        log.info("%s: begun", accepted.name)
        try:
            if scene:
                check_supported(scene)
            result = await in_thread(self._process, accepted.uri)
            changed = await self._stored(ledger.record, origin, accepted, result)
        except (ConfigError, DeviceLost):  # nothing is recorded: the next process takes the scene up again
            raise
        except Exception as error:
            await self._failed(origin, accepted, error)
            return
        log.info(
            "%s: %s, %d detections, %.1f s%s",
            accepted.name,
            result.outcome,
            len(result.detections),
            time.monotonic() - began,
            "" if changed else ", nothing changes",
        )

    def _expected(self, product: str) -> Versions | None:
        return self._versions(product) if callable(self._versions) else self._versions

    async def _failed(self, origin: Origin | None, accepted: Accepted, error: Exception) -> None:
        said = f"{type(error).__name__}: {ledger.said(error)}"
        if getattr(error, "retry", False):
            s = self._settings
            next_at = await self._stored(
                ledger.postpone, origin, accepted, error, s.attempts, s.retry_delay_s, s.retry_delay_limit_s
            )
            again = f"again at {next_at:%H:%M:%S} UTC" if next_at else "given up"
            log.warning("%s: %s; %s", accepted.name, said, again)
            return
        await self._stored(ledger.fail, origin, accepted, error)
        log.warning("%s: %s", accepted.name, said)

    async def _bury(self, origin: Origin, key: bytes | None, payload: bytes | None, error: Exception) -> None:
        await self._until_done(self._send_dead, origin, key, payload, error)
        await self._stored(ledger.dead_letter, origin, payload, error)
        log.warning(
            "dead letter %s[%d]@%d: %s: %s",
            origin.topic,
            origin.partition,
            origin.offset,
            type(error).__name__,
            ledger.said(error),
        )

    async def _stored(self, function: Callable[..., T], *args: Any) -> T:
        """Run a function of the ledger in a transaction, as often as it takes for the database to answer."""
        return await self._until_done(self._transact, function, *args)

    def _transact(self, function: Callable[..., T], *args: Any) -> T:
        with self._store.transaction() as session:
            return function(session, *args)

    async def _until_done(self, function: Callable[..., T], *args: Any) -> T:
        waited = False
        while True:
            try:
                value = await in_thread(function, *args)
            except Exception as error:
                if not getattr(error, "retry", False):
                    raise
                if not waited:
                    log.warning("waiting: %s", ledger.said(error))
                waited = True
                await asyncio.sleep(self._wait_s)
                continue
            if waited:
                log.info("going on")
            return value

    @contextlib.asynccontextmanager
    async def _working(self) -> Any:
        async with self._turn:
            self.active_s = time.monotonic()
            try:
                yield
            except Exception as error:
                self._give_up(error)
                raise
            finally:
                self.active_s = time.monotonic()

    @contextlib.contextmanager
    def _store_may_be_away(self) -> Any:
        try:
            yield
        except Exception as error:
            if not getattr(error, "retry", False):
                self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self.fatal = self.fatal or error
        self.stopped.set()


def check_supported(scene: SceneAcquired) -> None:
    """Refuse what the product's name says is not processed, before anything is fetched.

    Raises:
        SceneUnsupported: anything but a standard GRD product of IW, EW or StripMap.
        MessageError: not the name of a Sentinel-1 product.
    """
    names.check_supported(product_name(scene.product.name))


async def in_thread(function: Callable[..., T], *args: Any) -> T:
    """Run a function in a daemon thread: unlike an executor's, it never holds up the end of the process."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(value: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(value)  # type: ignore[arg-type]

    def run() -> None:
        value, caught = None, None
        try:
            value = function(*args)
        except BaseException as error:
            caught = error
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
            loop.call_soon_threadsafe(settle, value, caught)

    threading.Thread(target=run, name=getattr(function, "__name__", "work"), daemon=True).start()
    return await future
