"""Questions from one topic, answers to another."""

from __future__ import annotations

import logging

from ..config import KafkaSettings
from ..publish import Publisher
from ..store.session import Store
from .answering import Answerer
from .messages import decode

log = logging.getLogger(__name__)


def end_question(settings: KafkaSettings, store: Store, answerer: Answerer, payload: bytes | None) -> None:
    """Take a question to its end: kept in the store, then published.

    At least once: a question that comes again gets the answer that was kept.

    Raises:
        MessageError: it cannot be read.
        StoreUnavailable: the database does not answer (retry).
        DeliveryError: the answer could not be handed over (retry).
        DeviceLost: the GPU answers no more in this process.
    """
    asked = decode(payload)
    given = answerer.end(store, asked, "kafka")
    with Publisher(settings) as publisher:
        publisher.send(settings.answers_topic, asked.question_id.encode(), given.encode())
    log.info("question %s: %s", asked.question_id, given.refusal or given.state)
