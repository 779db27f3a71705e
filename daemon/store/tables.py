"""The tables: three ledgers (messages, products, acquisitions) and what runs found.

A *message* is handled or dead-lettered. A *product* is current, superseded or failed; null until its first
end. An *acquisition* is pending, done, empty, unsupported, irrelevant or dead. A retry is an attempt, not a
state. Readers of results use the view ``current_detections``, never ``detection`` alone.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from geoalchemy2 import Geography, Geometry
from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

MESSAGE_STATES = ("handled", "dead_lettered")
PRODUCT_STATES = ("current", "superseded", "failed")
ACQUISITION_STATES = ("pending", "done", "empty", "unsupported", "irrelevant", "dead")
CANDIDATE_STATES = ("confirmed", "rejected", "unanswered", "not_examined")


def _one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


class Base(DeclarativeBase):
    """Base of the tables; constraints get predictable names, so that migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {
        str: Text,
        int: BigInteger,
        float: Double,
        datetime: DateTime(timezone=True),
        list[str]: ARRAY(Text),
        list[float]: ARRAY(Double),
        dict[str, Any]: JSONB,
        list[Any]: JSONB,
        bytes: LargeBinary,
    }


class Acquisition(Base):
    """What the satellite recorded: one row, however many products of it appear."""

    __tablename__ = "acquisition"
    __table_args__ = (
        _one_of("state", ACQUISITION_STATES),
        Index(None, "platform", "datatake", "mode"),
        Index(None, "start"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    platform: Mapped[str]
    datatake: Mapped[int]
    mode: Mapped[str]
    polarisations: Mapped[list[str]]
    start: Mapped[datetime]
    stop: Mapped[datetime]
    absolute_orbit: Mapped[int]
    relative_orbit: Mapped[int | None]
    orbit_direction: Mapped[str | None]
    footprint: Mapped[Any | None] = mapped_column(Geography("MULTIPOLYGON", srid=4326, spatial_index=True))
    state: Mapped[str] = mapped_column(server_default="pending")
    reason: Mapped[str | None]
    current_run_id: Mapped[str | None] = mapped_column(
        ForeignKey("run.id", use_alter=True, name="fk_acquisition_current_run_id"), index=True
    )
    created: Mapped[datetime] = mapped_column(server_default=func.now())
    updated: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())


class Product(Base):
    """One product of an acquisition, by its name; the newest place at which it was announced."""

    __tablename__ = "product"
    __table_args__ = (_one_of("state", PRODUCT_STATES), UniqueConstraint("name"))

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    acquisition_id: Mapped[int] = mapped_column(ForeignKey("acquisition.id"), index=True)
    name: Mapped[str]
    uri: Mapped[str]
    kind: Mapped[str]
    product_type: Mapped[str]
    unique_id: Mapped[str]
    uuid: Mapped[str | None]
    size_bytes: Mapped[int | None]
    checksum: Mapped[str | None]  # algorithm:value
    published: Mapped[datetime | None]
    received: Mapped[datetime | None]  # by us, the first notice of it
    source: Mapped[str]
    ipf: Mapped[str | None]
    state: Mapped[str | None]
    error_class: Mapped[str | None]
    error_message: Mapped[str | None]
    created: Mapped[datetime] = mapped_column(server_default=func.now())
    updated: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())


class Message(Base):
    """One message and its end. ``cluster`` is Kafka's id: offsets begin anew in another cluster."""

    __tablename__ = "message"
    __table_args__ = (
        _one_of("state", MESSAGE_STATES),
        UniqueConstraint("cluster", "topic", "kafka_partition", "kafka_offset"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    cluster: Mapped[str]
    topic: Mapped[str]
    kafka_partition: Mapped[int]
    kafka_offset: Mapped[int]
    event_id: Mapped[str | None]
    state: Mapped[str]
    product_id: Mapped[int | None] = mapped_column(ForeignKey("product.id"), index=True)
    error_class: Mapped[str | None]
    error_message: Mapped[str | None]
    payload: Mapped[bytes | None]  # original bytes, of dead-lettered messages only
    ended: Mapped[datetime] = mapped_column(server_default=func.now())


class Attempt(Base):
    """One attempt at a product that failed in a way that may pass."""

    __tablename__ = "attempt"
    __table_args__ = (
        Index(
            "ix_attempt_due",
            "next_attempt_at",
            postgresql_where="next_attempt_at IS NOT NULL",
        ),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    product_id: Mapped[int] = mapped_column(ForeignKey("product.id"), index=True)
    number: Mapped[int]
    error_class: Mapped[str]
    error_message: Mapped[str]
    failed: Mapped[datetime] = mapped_column(server_default=func.now())
    next_attempt_at: Mapped[datetime | None]  # null once that next attempt has ended


class Run(Base):
    """One way of looking at one product; its id is the hash of everything that it depends on."""

    __tablename__ = "run"
    __table_args__ = (_one_of("outcome", ("done", "empty", "irrelevant", "unsupported")),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    acquisition_id: Mapped[int] = mapped_column(ForeignKey("acquisition.id"), index=True)
    product_id: Mapped[int] = mapped_column(ForeignKey("product.id"), index=True)
    kind: Mapped[str]  # of the product as it was looked at last: its layout may change, and what it holds
    outcome: Mapped[str]
    reason: Mapped[str | None]
    code: Mapped[str]
    land: Mapped[str]
    prior: Mapped[str | None]
    engine: Mapped[str | None]
    backend: Mapped[str | None]
    settings: Mapped[str]
    layers: Mapped[str | None]  # version of the dated layers
    layer_status: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    saturated: Mapped[bool]
    prior_status: Mapped[str]
    counts: Mapped[dict[str, Any]]
    timings_s: Mapped[dict[str, Any]]
    notes: Mapped[list[Any]]
    recorded: Mapped[datetime] = mapped_column(server_default=func.now())


class Candidate(Base):
    """One bright thing of the prescreen, and what became of it."""

    __tablename__ = "candidate"
    __table_args__ = (_one_of("state", CANDIDATE_STATES),)

    run_id: Mapped[str] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"), primary_key=True)
    index: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    position: Mapped[Any] = mapped_column(Geography("POINT", srid=4326, spatial_index=True))
    line_px: Mapped[float]
    sample_px: Mapped[float]
    box_px: Mapped[list[float]]  # x1, y1, x2, y2
    pixels: Mapped[int]
    polarisations: Mapped[list[str]]
    peak_db: Mapped[float]
    contrast_db: Mapped[float]
    cell_row: Mapped[int]
    cell_column: Mapped[int]
    state: Mapped[str]
    score: Mapped[float | None]
    length_m: Mapped[float | None]
    length_low_m: Mapped[float | None]
    length_high_m: Mapped[float | None]
    width_m: Mapped[float | None]
    axis_deg: Mapped[float | None]
    shore_m: Mapped[float | None]


class Detection(Base):
    """One object: named by the engine, measured in the pixels."""

    __tablename__ = "detection"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"), index=True)
    label: Mapped[str] = mapped_column("class", index=True)
    score: Mapped[float]
    position: Mapped[Any] = mapped_column(Geography("POINT", srid=4326, spatial_index=True))
    line_px: Mapped[float]
    sample_px: Mapped[float]
    length_m: Mapped[float]
    length_low_m: Mapped[float]
    length_high_m: Mapped[float]
    width_m: Mapped[float | None]
    axis_deg: Mapped[float | None]
    peak_db: Mapped[float | None]
    contrast_db: Mapped[float | None]
    incidence_deg: Mapped[float]
    measured: Mapped[str]
    box_px: Mapped[list[float]]  # as the engine wrote it: x1, y1, x2, y2
    cell_row: Mapped[int]
    cell_column: Mapped[int]
    candidate_index: Mapped[int | None]
    prior_status: Mapped[str]
    prior_year: Mapped[int | None]
    flags: Mapped[dict[str, Any]]  # name of the flag: its evidence; of its own scene alone
    brightness_db: Mapped[float | None]  # highest 3 x 3 mean of intensity, first polarisation
    edge_m: Mapped[float | None]  # from the scene's first or last line, whichever is nearer
    duplicate_of: Mapped[str | None] = mapped_column(
        ForeignKey("detection.id", ondelete="SET NULL"), index=True
    )  # the detection in a neighbouring slice that stands for the same object
    range_to_velocity_s: Mapped[float | None]
    azimuth_deg: Mapped[float | None]
    shift_bound_m: Mapped[float | None]
    shore_m: Mapped[float | None]
    sensed: Mapped[datetime | None]  # zero-Doppler time of its line


class Coverage(Base):
    """Where a run looked, and how small a ship it could have seen there."""

    __tablename__ = "coverage"

    run_id: Mapped[str] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"), primary_key=True)
    valid_area: Mapped[Any | None] = mapped_column(Geography("MULTIPOLYGON", srid=4326, spatial_index=True))
    area_km2: Mapped[float]
    valid_fraction: Mapped[float]
    land_fraction: Mapped[float]
    smallest_ship_m: Mapped[float | None]
    rcs_model: Mapped[str]
    clutter: Mapped[list[Any]]
    sensitivity: Mapped[list[Any]] = mapped_column(server_default=text("'[]'::jsonb"))
    false_alarms_per_1000_km2: Mapped[float | None]


class CoveragePart(Base):
    """A small piece of a run's valid area, by which to ask whether a pass looked at a place."""

    __tablename__ = "coverage_part"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"), index=True)
    part: Mapped[Any] = mapped_column(Geometry("POLYGON", srid=4326, spatial_index=True))


class GhostPlace(Base):
    """Where a neighbouring slice has the azimuth ghost of a bright target of this run's scene."""

    __tablename__ = "ghost_place"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"), index=True)
    order: Mapped[int]
    position: Mapped[Any] = mapped_column(Geography("POINT", srid=4326, spatial_index=True))
    source: Mapped[Any] = mapped_column(Geography("POINT", srid=4326, spatial_index=False))
    source_line_px: Mapped[int]
    source_sample_px: Mapped[int]
    source_db: Mapped[float]
    brightness_db: Mapped[float]
