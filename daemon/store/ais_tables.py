"""The tables of AIS: what ships said of themselves, and which detection each of them is.

Nobody's silence is told from these tables alone: a detection is ``matched``, ``unmatched`` where reception is
proven, or ``unknown`` (docs/ais.md).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from geoalchemy2 import Geography
from sqlalchemy import ARRAY, BigInteger, CheckConstraint, ForeignKey, Index, String, func, text
from sqlalchemy.orm import Mapped, mapped_column

from .tables import Base, _one_of

MATCH_STATES = ("matched", "unmatched", "unknown")


class AisPosition(Base):
    """One position report; a partition holds one day in UTC (`daemon.store.ais`)."""

    __tablename__ = "ais_position"
    __table_args__ = (Index(None, "time"), {"postgresql_partition_by": "RANGE (time)"})

    mmsi: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    time: Mapped[datetime] = mapped_column(primary_key=True)
    position: Mapped[Any] = mapped_column(Geography("POINT", srid=4326, spatial_index=False))
    sog_kn: Mapped[float | None]  # speed over ground
    cog_deg: Mapped[float | None]  # course over ground, clockwise from true north
    heading_deg: Mapped[float | None]
    equipment: Mapped[str | None]  # A | B: class of the transponder


class AisVessel(Base):
    """What a vessel says it is: of each field the newest value, and when that was said."""

    __tablename__ = "ais_vessel"

    mmsi: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    imo: Mapped[int | None]
    name: Mapped[str | None]
    call_sign: Mapped[str | None]
    type_code: Mapped[
        int | None
    ]  # of ITU-R M.1371: 30 fishing, 60 to 69 passenger, 70 to 79 cargo, 80 tanker
    type: Mapped[str | None]  # in words
    length_m: Mapped[float | None]
    width_m: Mapped[float | None]
    bow_m: Mapped[float | None]  # from the antenna to the bow
    said: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))  # field: time


class AisReception(Base):
    """What of AIS was received around a run's scene, and where that proves reception."""

    __tablename__ = "ais_reception"

    run_id: Mapped[str] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"), primary_key=True)
    area: Mapped[Any | None] = mapped_column(Geography("MULTIPOLYGON", srid=4326, spatial_index=True))
    vessels: Mapped[int]  # heard within the time and the area that were looked at
    positions: Mapped[int]
    near: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))  # MMSI of the vessels near a detection
    rule: Mapped[dict[str, Any]]  # by which reception counts as proven
    recorded: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())


class AisMatch(Base):
    """Which vessel a detection is, as far as AIS tells."""

    __tablename__ = "ais_match"
    __table_args__ = (
        _one_of("status", MATCH_STATES),
        CheckConstraint("(status = 'matched') = (mmsi IS NOT NULL)", name="mmsi"),
    )

    detection_id: Mapped[str] = mapped_column(
        String(32), ForeignKey("detection.id", ondelete="CASCADE"), primary_key=True
    )
    status: Mapped[str]
    mmsi: Mapped[int | None] = mapped_column(index=True)
    distance_m: Mapped[float | None]  # from the vessel's place as the radar would show it
    evidence: Mapped[dict[str, Any]]
    recorded: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())
