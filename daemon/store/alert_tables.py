"""The tables of alerts: areas, rules and their versions, what was sighted where, alerts, and the outbox.

A rule's versions never change; when one was in force stands in ``alert_rule_period``. An acquisition is
judged by the versions that were in force when it was first judged (``alert_judged``), however often again.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from geoalchemy2 import Geography, Geometry
from sqlalchemy import ForeignKey, Identity, Index, String, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from .tables import Base, _one_of

RULE_KINDS = ("object", "change", "count", "gap")
ALERT_STATES = ("open", "retracted", "closed")
SUPPRESSIONS = ("quiet_hours", "rate_limit", "stale")
ALERT_EVENTS = ("opened", "amended", "retracted", "closed")


class AlertArea(Base):
    """An area as it was given; rules that name the same area share it."""

    __tablename__ = "alert_area"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)  # hash of the geometry
    outline: Mapped[Any] = mapped_column(Geometry("MULTIPOLYGON", srid=4326, spatial_index=True))
    area_km2: Mapped[float]
    sea_km2: Mapped[float]  # of it, as the coastline has it; what can be looked at
    vertices: Mapped[int]
    created: Mapped[datetime] = mapped_column(server_default=func.now())


class AlertAreaPart(Base):
    """A small piece of an area, by which a place is found in it."""

    __tablename__ = "alert_area_part"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    area_id: Mapped[str] = mapped_column(ForeignKey("alert_area.id", ondelete="CASCADE"), index=True)
    part: Mapped[Any] = mapped_column(Geometry("POLYGON", srid=4326, spatial_index=True))


class AlertRule(Base):
    """A rule by its name; what it asks stands in its versions."""

    __tablename__ = "alert_rule"
    __table_args__ = (UniqueConstraint("name"),)

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str]
    removed: Mapped[datetime | None]
    created: Mapped[datetime] = mapped_column(server_default=func.now())


class AlertRuleVersion(Base):
    """What a rule asks, from one change of it to the next: the definition, and its columns for SQL."""

    __tablename__ = "alert_rule_version"
    __table_args__ = (_one_of("kind", RULE_KINDS), UniqueConstraint("rule_id", "number"), Index(None, "kind"))

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    rule_id: Mapped[int] = mapped_column(ForeignKey("alert_rule.id", ondelete="CASCADE"))
    number: Mapped[int]
    kind: Mapped[str]
    definition: Mapped[dict[str, Any]]  # without the area
    area_id: Mapped[str] = mapped_column(ForeignKey("alert_area.id"), index=True)
    classes: Mapped[list[str]]
    score_min: Mapped[float]
    length_min_m: Mapped[float | None]
    length_max_m: Mapped[float | None]
    flags_accepted: Mapped[list[str] | None]  # null: all
    changes: Mapped[list[str] | None]
    gap_hours: Mapped[float | None]  # between two alerts of one place
    gap_within_m: Mapped[float | None]
    seen_at_least: Mapped[int | None]
    seen_at_most: Mapped[int | None]
    seen_days: Mapped[float | None]
    seen_within_m: Mapped[float | None]
    looked_at_least: Mapped[int | None]
    ais: Mapped[list[str] | None]
    ais_length_m: Mapped[float | None]
    count_over: Mapped[int | None]
    count_under: Mapped[int | None]
    unseen_hours: Mapped[float | None]
    share: Mapped[float | None]  # of the area that counts as the whole, for unseen_hours and count_under
    created: Mapped[datetime] = mapped_column(server_default=func.now())


class AlertRulePeriod(Base):
    """When a version was in force."""

    __tablename__ = "alert_rule_period"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    rule_id: Mapped[int] = mapped_column(ForeignKey("alert_rule.id", ondelete="CASCADE"))
    version_id: Mapped[int] = mapped_column(
        ForeignKey("alert_rule_version.id", ondelete="CASCADE"), index=True
    )
    since: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    until: Mapped[datetime | None]


Index(  # a rule has one version in force
    "uq_alert_rule_period_open",
    AlertRulePeriod.__table__.c.rule_id,
    unique=True,
    postgresql_where=AlertRulePeriod.__table__.c.until.is_(None),
)


class AlertJudged(Base):
    """An acquisition that rules have looked at, when they first did, and the error of the last look."""

    __tablename__ = "alert_judged"

    acquisition_id: Mapped[int] = mapped_column(
        ForeignKey("acquisition.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    first: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    error: Mapped[str | None]


class Sighting(Base):
    """A detection of a current run, as narrow as looking back at a place needs it."""

    __tablename__ = "sighting"
    __table_args__ = (Index(None, "cell", "sensed"),)

    detection_id: Mapped[str] = mapped_column(
        String(32), ForeignKey("detection.id", ondelete="CASCADE"), primary_key=True
    )
    cell: Mapped[int]  # place_cell(position)
    sensed: Mapped[datetime]  # start of the acquisition
    position: Mapped[Any] = mapped_column(Geography("POINT", srid=4326, spatial_index=False))
    label: Mapped[str] = mapped_column("class")
    pass_: Mapped[str] = mapped_column("pass")  # platform and datatake


class Alert(Base):
    """One alert: of a rule, on one object, change, pass or gap."""

    __tablename__ = "alert"
    __table_args__ = (
        _one_of("kind", RULE_KINDS),
        _one_of("state", ALERT_STATES),
        _one_of("suppressed", SUPPRESSIONS),
        Index(None, "acquisition_id"),
        Index(None, "rule_id", "opened"),
        Index(
            "uq_alert_open",
            "rule_id",
            "subject",
            unique=True,
            postgresql_where=text("state = 'open'"),
        ),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    rule_id: Mapped[int] = mapped_column(ForeignKey("alert_rule.id"))
    version_id: Mapped[int] = mapped_column(ForeignKey("alert_rule_version.id"), index=True)
    kind: Mapped[str]
    subject: Mapped[str]  # detection, change, pass, or gap
    acquisition_id: Mapped[int | None] = mapped_column(ForeignKey("acquisition.id"))
    pass_: Mapped[str | None] = mapped_column("pass")
    state: Mapped[str]
    reason: Mapped[str | None]  # why it is open no more
    suppressed: Mapped[str | None]  # why it was not sent
    sequence: Mapped[int]  # of its last event, from 1
    sensed: Mapped[datetime | None]
    position: Mapped[Any | None] = mapped_column(Geography("POINT", srid=4326, spatial_index=True))
    label: Mapped[str | None] = mapped_column("class")
    score: Mapped[float | None]
    length_m: Mapped[float | None]
    length_low_m: Mapped[float | None]
    length_high_m: Mapped[float | None]
    flags: Mapped[dict[str, Any]]
    detection_id: Mapped[str | None]  # results may be pruned, their alerts stay
    change_id: Mapped[str | None]
    run_id: Mapped[str | None]
    product: Mapped[str | None]
    evidence: Mapped[dict[str, Any]]
    opened: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    updated: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class AlertOutbox(Base):
    """One event of an alert for one destination, as it was when it happened."""

    __tablename__ = "alert_outbox"
    __table_args__ = (
        _one_of("event", ALERT_EVENTS),
        UniqueConstraint("alert_id", "sequence", "destination"),
        Index(
            "ix_alert_outbox_due",
            "next_attempt_at",
            "id",
            postgresql_where=text("next_attempt_at IS NOT NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    alert_id: Mapped[str] = mapped_column(ForeignKey("alert.id", ondelete="CASCADE"))
    sequence: Mapped[int]
    event: Mapped[str]
    destination: Mapped[str]  # kafka, or the URL of a webhook
    body: Mapped[dict[str, Any]]
    created: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    next_attempt_at: Mapped[datetime | None] = mapped_column(server_default=func.clock_timestamp())
    sent: Mapped[datetime | None]
    error: Mapped[str | None]  # of the last attempt; without sent and next_attempt_at it was given up
