"""The synchronous side of Kafka: topics, publishing, dead letters, the cluster's identity."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import NewTopic
from kafka.errors import KafkaError, TopicAlreadyExistsError

from .config import KafkaSettings
from .errors import DeliveryError
from .messages import SCHEMA, SceneAcquired, build, new_event_id, now, product_name, resolution_of
from .store.ledger import Origin, said

_TIMEOUT_S = 30


def scene_of(product: str) -> SceneAcquired:
    """Make the message of a product from its name; nothing is opened.

    Args:
        product: folder, zip or other place of it; the last part is the product's name.

    Raises:
        MessageError: the name is not one of a Sentinel-1 product.
    """
    name = product_name(product.rstrip("/").rsplit("/", 1)[-1])
    uri = product if "://" in product or product.startswith("/vsi") else str(Path(product).absolute())
    return build(
        {
            "schema": SCHEMA,
            "event_id": new_event_id(),
            "source": "publish",
            "received": now(),
            "product": {"name": name.id, "uri": uri, "kind": name.kind},
            "platform": name.platform,
            "mode": name.mode,
            "product_type": name.product_type,
            "resolution": resolution_of(name),
            "polarisations": name.polarisations,
            "start": name.start,
            "stop": name.stop,
            "absolute_orbit": name.absolute_orbit,
            "datatake": name.datatake,
        }
    )


class Publisher:
    """An idempotent producer; what `send` returned from is on the broker's disks."""

    def __init__(self, settings: KafkaSettings) -> None:
        """Connect.

        Raises:
            DeliveryError: no broker answers (retry).
        """
        with _translated(settings):
            self._producer = KafkaProducer(
                **client_options(settings), acks="all", enable_idempotence=True, linger_ms=0
            )
        self._settings = settings

    def __enter__(self) -> Publisher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._producer.close(timeout=_TIMEOUT_S)

    def publish(self, scene: SceneAcquired) -> Origin:
        """Send a scene's message; return where it stands.

        Raises:
            DeliveryError: it could not be handed over (retry).
        """
        return self.send(self._settings.scenes_topic, scene.key, scene.encode())

    def send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]] = ()
    ) -> Origin:
        """Send bytes and wait until the broker has them.

        Raises:
            DeliveryError: they could not be handed over (retry).
        """
        with _translated(self._settings):
            future = self._producer.send(topic, key=key, value=value, headers=list(headers))
            at = future.get(timeout=_TIMEOUT_S)
        return Origin("", topic, at.partition, at.offset)


def send_dead(
    settings: KafkaSettings, origin: Origin, key: bytes | None, payload: bytes | None, error: Exception
) -> None:
    """Send a message that cannot be read to the dead-letter topic: its own bytes, and why.

    At least once: a crash between this and the ledger sends it again, under the same origin.

    Raises:
        DeliveryError: it could not be handed over (retry).
    """
    headers = {
        "error_class": type(error).__name__,
        "error_message": said(error),
        "topic": origin.topic,
        "partition": str(origin.partition),
        "offset": str(origin.offset),
    }
    with Publisher(settings) as publisher:
        publisher.send(
            settings.dead_topic, key, payload, [(k, v.encode(errors="replace")) for k, v in headers.items()]
        )


def ensure_topics(settings: KafkaSettings) -> str:
    """Create our topics where they are missing; return the cluster's id.

    Raises:
        DeliveryError: no broker answers, or it will not create them (retry).
    """
    topics = [
        settings.scenes_topic,
        settings.dead_topic,
        settings.questions_topic,
        settings.answers_topic,
        settings.alerts_topic,
    ]
    with _translated(settings):
        admin = KafkaAdminClient(**client_options(settings))
        try:
            cluster = str(admin.describe_cluster()["cluster_id"])
            missing = sorted(set(topics) - set(admin.list_topics()))
            if missing and cluster.startswith("mockCluster"):
                _touch(
                    settings, missing
                )  # confluent-kafka's in-process broker makes topics when asked of them
            elif missing:
                with contextlib.suppress(TopicAlreadyExistsError):
                    admin.create_topics(
                        [NewTopic(topic, settings.partitions, settings.replication) for topic in missing]
                    )
        finally:
            admin.close()
    return cluster


def _touch(settings: KafkaSettings, topics: list[str]) -> None:
    producer = KafkaProducer(**client_options(settings))
    try:
        for topic in topics:
            producer.partitions_for(topic)
    finally:
        producer.close()


def client_options(settings: KafkaSettings) -> dict[str, Any]:
    """Return the settings as kafka-python's arguments."""
    options: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap.split(","),
        "client_id": "fusar",
        "security_protocol": settings.security,
        "bootstrap_timeout_ms": int(1000 * settings.connect_timeout_s),
    }
    if settings.api_version:
        options["api_version"] = tuple(int(part) for part in settings.api_version.split("."))
    if settings.ca_file:
        options["ssl_cafile"] = str(settings.ca_file)
    if settings.security.startswith("SASL"):
        options["sasl_mechanism"] = settings.sasl_mechanism
        options["sasl_plain_username"] = settings.username
        options["sasl_plain_password"] = settings.password.get_secret_value() if settings.password else None
    return options


@contextlib.contextmanager
def _translated(settings: KafkaSettings) -> Iterator[None]:
    try:
        yield
    except (KafkaError, OSError) as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise DeliveryError(f"Kafka at {settings.bootstrap}: {said}") from error
