"""What the ledgers say, as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Text, cast, column, distinct, func, select, table
from sqlalchemy.orm import Session

from . import change
from .tables import Acquisition, Attempt, Candidate, Coverage, Message, Product, Run

Row = tuple[str, str, int]

_DETECTIONS = table("current_detections", column("class"), column("score"), column("length_m"))


@dataclass(frozen=True)
class Status:
    """The three ledgers by state and reason, and what there is of results."""

    messages: Sequence[Row]  # state, error class, count
    products: Sequence[Row]  # state, error class, count
    acquisitions: Sequence[Row]  # state, reason, count
    attempts_open: int
    next_attempt_at: datetime | None
    runs: int
    candidates: Sequence[tuple[str, int]]  # state, count, of current runs
    detections: Sequence[tuple[str, int, float]]  # class, count, mean score, of current runs
    area_km2: float  # of valid sea, of current runs
    changes: Sequence[Row]  # outcome, reason, count of present change units; due ones among them
    unbalanced: int  # acquisitions in a state that their products do not account for; 0 is sound


def read(session: Session) -> Status:
    """Read the ledgers."""
    current = select(Acquisition.current_run_id).where(Acquisition.current_run_id.is_not(None))
    opened = select(func.count(), func.min(Attempt.next_attempt_at)).where(
        Attempt.next_attempt_at.is_not(None)
    )
    attempts, next_at = session.execute(opened).one()
    candidates = (
        select(Candidate.state, func.count()).where(Candidate.run_id.in_(current)).group_by(Candidate.state)
    )
    detections = (
        select(_DETECTIONS.c["class"], func.count(), func.avg(_DETECTIONS.c.score))
        .group_by(_DETECTIONS.c["class"])
        .order_by(_DETECTIONS.c["class"])
    )
    area = select(func.coalesce(func.sum(Coverage.area_km2), 0.0)).where(Coverage.run_id.in_(current))
    return Status(
        messages=_grouped(session, Message.state, Message.error_class),
        products=_grouped(session, func.coalesce(Product.state, "not ended"), Product.error_class),
        acquisitions=_grouped(session, Acquisition.state, Acquisition.reason),
        attempts_open=attempts,
        next_attempt_at=next_at,
        runs=session.scalar(select(func.count()).select_from(Run)) or 0,
        candidates=[(state, count) for state, count in session.execute(candidates)],
        detections=[(label, count, score) for label, count, score in session.execute(detections)],
        area_km2=session.scalar(area) or 0.0,
        changes=change.outcomes(session),
        unbalanced=_unbalanced(session),
    )


def _grouped(session: Session, state: Any, why: Any) -> list[Row]:
    columns = cast(state, Text), func.coalesce(cast(why, Text), "")
    query = select(*columns, func.count()).group_by(*columns).order_by(*columns)
    return [(a, b, n) for a, b, n in session.execute(query)]


def _unbalanced(session: Session) -> int:
    """Count acquisitions whose state contradicts their products.

    With a current run exactly one product is current; without one none is, and the state is pending just
    where a product has not ended.
    """
    currents = func.count().filter(Product.state == "current")
    unended = func.count().filter(Product.id.is_not(None), Product.state.is_(None))
    has_run = Acquisition.current_run_id.is_not(None)
    wrong = (
        (has_run & (currents != 1))
        | (~has_run & (currents != 0))
        | (~has_run & ((Acquisition.state == "pending") != (unended > 0)))
    )
    query = (
        select(Acquisition.id)
        .join(Product, Product.acquisition_id == Acquisition.id, isouter=True)
        .group_by(Acquisition.id)
        .having(wrong)
    )
    return session.scalar(select(func.count(distinct(query.subquery().c.id)))) or 0
