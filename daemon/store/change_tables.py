"""The tables of change: which units are due, the units, their changes, and the archive of chips.

A *unit* compares one run with one earlier one, under one engine. Units that no longer hold stay as history
with ``present`` false: readers use the view ``current_changes``, never ``change`` alone.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from geoalchemy2 import Geography
from sqlalchemy import ForeignKey, Identity, Index, String, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from .tables import Base, _one_of

UNIT_OUTCOMES = ("done", "no_partner", "failed")
CHANGE_KINDS = ("appeared", "gone", "still_occupied", "cannot_tell")


class ChangeDue(Base):
    """An acquisition whose changes must be worked out anew; written in the transactions that make it so."""

    __tablename__ = "change_due"
    __table_args__ = (Index(None, "next_attempt_at"),)

    acquisition_id: Mapped[int] = mapped_column(
        ForeignKey("acquisition.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    version: Mapped[int] = mapped_column(server_default=text("1"))  # another one each time it becomes due
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    error_class: Mapped[str | None]
    error_message: Mapped[str | None]
    since: Mapped[datetime] = mapped_column(server_default=func.now())
    next_attempt_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ChangeUnit(Base):
    """One comparison: a run with one before it, or with nothing where no pass looked before."""

    __tablename__ = "change_unit"
    __table_args__ = (
        _one_of("outcome", UNIT_OUTCOMES),
        # what exists once: of each comparison one is present
        Index(
            "uq_change_unit_present",
            "after_run_id",
            text("coalesce(before_run_id, '')"),
            unique=True,
            postgresql_where=text("present"),
        ),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)  # hash of before run, after run, bundle
    after_run_id: Mapped[str] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"), index=True)
    before_run_id: Mapped[str | None] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"), index=True)
    pixel_run_id: Mapped[str | None] = mapped_column(ForeignKey("run.id", ondelete="SET NULL"), index=True)
    engine: Mapped[str | None]  # id of the bundle that was asked; null where none knows the task
    outcome: Mapped[str]
    reason: Mapped[str | None]
    alignment: Mapped[dict[str, Any]]
    counts: Mapped[dict[str, Any]]
    sentence: Mapped[str | None]
    present: Mapped[bool] = mapped_column(server_default=text("true"))
    digest: Mapped[str]  # of everything that was compared: equal digests give equal changes
    recorded: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())


class Change(Base):
    """What became of one place between two passes."""

    __tablename__ = "change"
    __table_args__ = (_one_of("kind", CHANGE_KINDS),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    unit_id: Mapped[str] = mapped_column(ForeignKey("change_unit.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str]
    before_detection_id: Mapped[str | None] = mapped_column(
        ForeignKey("detection.id", ondelete="CASCADE"), index=True
    )
    after_detection_id: Mapped[str | None] = mapped_column(
        ForeignKey("detection.id", ondelete="CASCADE"), index=True
    )
    position: Mapped[Any] = mapped_column(Geography("POINT", srid=4326, spatial_index=True))
    label: Mapped[str] = mapped_column("class")
    length_m: Mapped[float | None]
    score: Mapped[float]
    reason: Mapped[str | None]
    evidence: Mapped[dict[str, Any]]


class Chip(Base):
    """One chip of the archive: a file that holds a run's pixels around a place."""

    __tablename__ = "chip"
    __table_args__ = (UniqueConstraint("path"), UniqueConstraint("run_id", "line_px", "sample_px"))

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"))
    line_px: Mapped[int]  # of its first pixel in the scene
    sample_px: Mapped[int]
    size_px: Mapped[int]
    position: Mapped[Any] = mapped_column(Geography("POINT", srid=4326, spatial_index=True))  # the place
    acquired: Mapped[datetime] = mapped_column(index=True)  # the oldest goes first
    size_bytes: Mapped[int]
    path: Mapped[str]  # below the archive's folder
    recorded: Mapped[datetime] = mapped_column(server_default=func.now())
