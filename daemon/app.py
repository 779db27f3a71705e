"""Wiring: settings to objects to a Faust app that runs in this process; nothing happens at import."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import signal
import ssl
import tempfile
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import faust

from .agent import Process, SceneWorker, VersionsOf, in_thread
from .alerts.tasks import AlertTasks
from .config import KafkaSettings, Settings
from .errors import DeliveryError
from .publish import ensure_topics, send_dead
from .store import schema
from .store.ledger import Origin
from .store.session import Store

if TYPE_CHECKING:
    from .ask.answering import Answerer

log = logging.getLogger(__name__)


def faust_app(settings: KafkaSettings, datadir: str) -> faust.App:
    """Return a Faust app without tables, web server, topics of its own or more than one message in hand."""
    return faust.App(
        settings.group,
        broker="kafka://" + settings.bootstrap.replace(",", ";"),
        broker_credentials=_credentials(settings),
        datadir=datadir,
        store="memory://",
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        stream_buffer_maxsize=1,
        stream_wait_empty=False,  # at a stop, what has not ended is left for the next worker
        stream_processing_timeout=0.9 * settings.max_poll_interval_s,
        broker_max_poll_interval=settings.max_poll_interval_s,
        broker_max_poll_records=1,
        broker_session_timeout=settings.session_timeout_s,
        broker_heartbeat_interval=settings.session_timeout_s / 3,
        broker_commit_interval=1.0,
        consumer_auto_offset_reset="earliest",
        agent_supervisor="mode.supervisors.CrashingSupervisor",
        logging_config=None,
    )


def _credentials(settings: KafkaSettings) -> Any:
    context = None
    if settings.security.endswith("SSL"):
        context = ssl.create_default_context(cafile=str(settings.ca_file) if settings.ca_file else None)
    if settings.security.startswith("SASL"):
        password = settings.password.get_secret_value() if settings.password else ""
        return faust.SASLCredentials(
            username=settings.username,
            password=password,
            mechanism=settings.sasl_mechanism,
            ssl_context=context,
        )
    return faust.SSLCredentials(context) if context else None


class Daemon:
    """The online side in one process: a Faust app, the worker of its scenes, the timer of its attempts."""

    def __init__(
        self,
        settings: Settings,
        process: Process,
        versions: VersionsOf | None = None,
        until_idle_s: float | None = None,
        answerer: Answerer | None = None,
        changes: Callable[[Store], Callable[[], bool]] | None = None,
    ) -> None:
        """Prepare; `run` starts.

        Args:
            settings: all settings.
            process: looks at a product, in a thread.
            versions: what `process` states in its results; see `SceneWorker`.
            until_idle_s: end when nothing has come for so long and no attempt is due; None: run on.
            answerer: who answers free questions; None: nobody, and none are read.
            changes: makes what takes due change units to their end; see `SceneWorker`.
        """
        self._settings = settings
        self._process = process
        self._versions = versions
        self._until_idle_s = until_idle_s
        self._answerer = answerer
        self._changes = changes

    def run(self) -> None:
        """Run until idle, or until SIGTERM or SIGINT.

        A scene in hand is then abandoned: its offset is not committed, so it comes again.

        Raises:
            ConfigError: the database is not as it must be.
            DeliveryError: no broker answers, or Faust crashed.
        """
        asyncio.run(self._main())

    async def _main(self) -> None:
        settings = self._settings
        cluster = await asyncio.to_thread(ensure_topics, settings.kafka)
        store = Store(settings.store.url.get_secret_value(), settings.store.connect_timeout_s)
        try:
            await asyncio.to_thread(schema.require_current, store)
            worker = SceneWorker(
                store,
                self._process,
                functools.partial(send_dead, settings.kafka),
                settings.scene,
                settings.store.wait_s,
                self._versions,
                self._changes(store) if self._changes else None,
            )
            with tempfile.TemporaryDirectory(prefix="fusar-") as datadir:
                app = faust_app(settings.kafka, datadir)
                assigned = register(app, settings.kafka.scenes_topic, cluster, worker)
                if self._answerer is not None:
                    from .ask.topic import end_question  # it brings all that reads scenes

                    end = functools.partial(end_question, settings.kafka, store, self._answerer)
                    register_questions(app, settings.kafka.questions_topic, cluster, worker, end)
                ended = asyncio.Event()
                alerts = asyncio.ensure_future(AlertTasks(store, settings).run(ended, in_thread))
                try:
                    await self._serve(app, worker, assigned)
                finally:
                    ended.set()
                    await alerts
        finally:
            store.close()

    async def _serve(self, app: faust.App, worker: SceneWorker, assigned: asyncio.Event) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        app.loop = loop
        await app.start()
        log.info(
            "reading %s at %s, group %s",
            self._settings.kafka.scenes_topic,
            self._settings.kafka.bootstrap,
            self._settings.kafka.group,
        )
        try:
            while not (stop.is_set() or worker.stopped.is_set() or app.should_stop or app.crashed):
                ready = assigned.is_set() and not worker.busy
                again = ready and (await worker.retry_due() or await worker.change_due())
                if not again and assigned.is_set() and self._is_idle(worker):
                    log.info("nothing has come for %g s", self._until_idle_s)
                    break
                if not again:
                    await self._pause(stop, worker)
        finally:
            await app.stop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
        if worker.fatal:
            raise worker.fatal
        if app.crashed:
            raise DeliveryError(f"the connection to Kafka broke down: {app.crash_reason!r}")

    def _is_idle(self, worker: SceneWorker) -> bool:
        if self._until_idle_s is None or worker.busy:
            return False
        return time.monotonic() - worker.active_s >= self._until_idle_s

    async def _pause(self, stop: asyncio.Event, worker: SceneWorker) -> None:
        seconds = self._settings.scene.poll_s
        if self._until_idle_s is not None:
            seconds = min(seconds, max(0.1, self._until_idle_s / 4))
        waiting = [asyncio.ensure_future(event.wait()) for event in (stop, worker.stopped)]
        _, pending = await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


def register(app: faust.App, topic: str, cluster: str, worker: SceneWorker) -> asyncio.Event:
    """Let an app's agent hand each message to the worker; return the event of the first assignment.

    Acknowledgement is by hand: Faust would acknowledge an event whose agent was cancelled or raised.
    """
    assigned = asyncio.Event()
    scenes = app.topic(topic, key_serializer="raw", value_serializer="raw", value_type=bytes)

    @app.on_partitions_assigned.connect  # type: ignore[untyped-decorator]
    async def _note(*_: Any, **__: Any) -> None:
        if not assigned.is_set():
            worker.active_s = time.monotonic()
        assigned.set()

    @app.agent(scenes, name="scenes", concurrency=1)  # type: ignore[untyped-decorator]
    async def _scenes(stream: Any) -> None:
        async for event in stream.noack().events():
            message = event.message
            origin = Origin(cluster, message.topic, message.partition, message.offset)
            await worker.handle(origin, message.key, message.value)
            event.ack()

    return assigned


def register_questions(
    app: faust.App, topic: str, cluster: str, worker: SceneWorker, end: Callable[[bytes | None], Any]
) -> None:
    """Let an app's second agent hand each question to the worker, which ends it between two scenes."""
    questions = app.topic(topic, key_serializer="raw", value_serializer="raw", value_type=bytes)

    @app.agent(questions, name="questions", concurrency=1)  # type: ignore[untyped-decorator]
    async def _questions(stream: Any) -> None:
        async for event in stream.noack().events():
            message = event.message
            origin = Origin(cluster, message.topic, message.partition, message.offset)
            await worker.handle_other(origin, message.key, message.value, end)
            event.ack()
