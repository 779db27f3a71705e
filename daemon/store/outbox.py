"""The outbox of alerts: what is due, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

KAFKA = "kafka"

# Of one alert and destination only the oldest that has not ended: the next waits for it, and stays behind it.
_DUE = text(
    """
    SELECT id, alert_id, sequence, event, destination, body, attempts
    FROM alert_outbox due
    WHERE next_attempt_at <= clock_timestamp() AND NOT EXISTS (
        SELECT FROM alert_outbox earlier
        WHERE earlier.alert_id = due.alert_id AND earlier.destination = due.destination
            AND earlier.sequence < due.sequence AND earlier.next_attempt_at IS NOT NULL
    )
    ORDER BY destination <> 'kafka', id
    LIMIT :limit
    """
)
_SENT = text(
    """
    UPDATE alert_outbox
    SET sent = clock_timestamp(), next_attempt_at = NULL, error = NULL, attempts = attempts + 1
    WHERE id = ANY(:ids)
    """
)
_FAILED = text(
    """
    UPDATE alert_outbox
    SET attempts = attempts + 1, error = :error, next_attempt_at = CASE
        WHEN destination <> 'kafka' AND attempts + 1 >= :limit THEN NULL
        ELSE clock_timestamp() + make_interval(
            secs => least(CAST(:delay_s AS double precision) * 2 ^ least(attempts, 30), :delay_limit_s)
        )
    END
    WHERE id = ANY(:ids)
    """
)
_AGAIN = text(
    """
    UPDATE alert_outbox SET next_attempt_at = clock_timestamp(), attempts = 0
    WHERE sent IS NULL AND next_attempt_at IS NULL
    """
)


@dataclass(frozen=True)
class Due:
    """An event that is to be sent now."""

    id: int
    alert_id: str
    sequence: int
    event: str
    destination: str
    body: dict[str, Any]
    attempts: int


def due(connection: Connection, limit: int) -> list[Due]:
    """Return what is due, Kafka's first, then the oldest; of each alert and destination the next one."""
    return [Due(**row) for row in connection.execute(_DUE, {"limit": limit}).mappings()]


def mark_sent(connection: Connection, ids: Sequence[int]) -> None:
    """Note that events have arrived."""
    connection.execute(_SENT, {"ids": list(ids)})


def mark_failed(
    connection: Connection,
    ids: Sequence[int],
    error: str,
    limit: int,
    delay_s: float,
    delay_limit_s: float,
) -> None:
    """Note a failure and when to try again: the delay doubles; webhooks are given up after `limit` times."""
    connection.execute(
        _FAILED,
        {
            "ids": list(ids),
            "error": error,
            "limit": limit,
            "delay_s": delay_s,
            "delay_limit_s": delay_limit_s,
        },
    )


def put_off(connection: Connection, ids: Sequence[int], delay_s: float) -> None:
    """Let events wait for a destination that is silent; they were not tried, and lose no attempt."""
    connection.execute(
        text(
            "UPDATE alert_outbox SET next_attempt_at = clock_timestamp() + make_interval(secs => :delay_s) "
            "WHERE id = ANY(:ids)"
        ),
        {"ids": list(ids), "delay_s": delay_s},
    )


def try_again(session: Session) -> int:
    """Make due what was given up; return how much."""
    return len(session.execute(text(f"{_AGAIN.text} RETURNING id")).all())
