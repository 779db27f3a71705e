"""Positions and vessels of AIS as rows: written in bulk, in any order, and as often as one likes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta, timezone
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from ..ais.reports import Fields, Position
from .ais_tables import AisVessel
from .ledger import lock

# field: (when it was said, its value)
Statements = Mapping[str, tuple[datetime, "str | int | float"]]

_FIELDS = ("imo", "name", "call_sign", "type_code", "type", "length_m", "width_m", "bow_m")
_WEIGHED = {"length_m", "bow_m"}  # what matching reads

_PARTITIONS = text(
    "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'ais_position'::regclass"
)
_STAGE = text(
    """
    CREATE TEMPORARY TABLE ais_incoming (
        mmsi bigint, time timestamptz, lon double precision, lat double precision, sog_kn double precision,
        cog_deg double precision, heading_deg double precision, equipment text
    ) ON COMMIT DROP
    """
)
# Of two reports of one vessel and second the lesser stays, whichever came first; what is missing is greatest.
_ORDER = (
    "{0}.lon, {0}.lat, coalesce({0}.sog_kn, 1e9), coalesce({0}.cog_deg, 1e9), "
    "coalesce({0}.heading_deg, 1e9), coalesce({0}.equipment, 'Z')"
)
_MERGE = text(
    f"""
    INSERT INTO ais_position AS known (mmsi, time, position, sog_kn, cog_deg, heading_deg, equipment)
    SELECT DISTINCT ON (mmsi, time) mmsi, time, ST_SetSRID(ST_MakePoint(lon, lat), 4326)::geography,
           sog_kn, cog_deg, heading_deg, equipment
    FROM ais_incoming ORDER BY mmsi, time, {_ORDER.format("ais_incoming")}
    ON CONFLICT (mmsi, time) DO UPDATE SET position = excluded.position, sog_kn = excluded.sog_kn,
        cog_deg = excluded.cog_deg, heading_deg = excluded.heading_deg, equipment = excluded.equipment
    WHERE ({_ORDER.format("excluded")}) < ({_ORDER.format("known")})
    """.replace(
        "excluded.lon, excluded.lat", "ST_X(excluded.position::geometry), ST_Y(excluded.position::geometry)"
    ).replace("known.lon, known.lat", "ST_X(known.position::geometry), ST_Y(known.position::geometry)")
)


def make_partitions(session: Session, days: Sequence[date]) -> None:
    """Make the partitions of days, where they are missing.

    Attached, not created in place: that would lock out readers of all other days.
    """
    lock(session, "ais partitions")
    there = set(session.scalars(_PARTITIONS))
    for day in sorted(set(days)):
        name = f"ais_position_{day:%Y%m%d}"
        if name in there:
            continue
        session.execute(text(f"CREATE TABLE {name} (LIKE ais_position INCLUDING DEFAULTS)"))
        until = day + timedelta(days=1)
        bounds = f"FROM ('{day} 00:00+00') TO ('{until} 00:00+00')"
        session.execute(text(f"ALTER TABLE ais_position ATTACH PARTITION {name} FOR VALUES {bounds}"))


def drop_partitions(session: Session, before: date) -> list[date]:
    """Remove the positions of all days before one; return those days. Matches stay as they were."""
    lock(session, "ais partitions")
    names = session.scalars(_PARTITIONS).all()
    gone = []
    for name in sorted(names):
        day = datetime.strptime(name[-8:], "%Y%m%d").replace(tzinfo=timezone.utc).date()
        if day < before:
            session.execute(text(f"DROP TABLE {name}"))
            gone.append(day)
    return gone


def write_positions(session: Session, positions: Sequence[Position]) -> int:
    """Write positions whose partitions are there; return how many were new or better than what was known."""
    if not positions:
        return 0
    session.execute(_STAGE)
    driver: Any = session.connection().connection.driver_connection
    with driver.cursor() as cursor, cursor.copy("COPY ais_incoming FROM STDIN") as copy:
        for p in positions:
            copy.write_row((p.mmsi, p.time, *p[2:]))
    result: Any = session.execute(_MERGE)
    session.execute(text("DROP TABLE ais_incoming"))
    return int(result.rowcount)


def write_vessels(session: Session, said: Mapping[int, Statements]) -> set[int]:
    """Write what vessels say of themselves: of each field the newest, of two at once the greater.

    Returns:
        MMSI of the vessels of which something changed that matching reads.
    """
    if not said:
        return set()
    lock(session, "ais vessels")
    known = {v.mmsi: v for v in session.scalars(select(AisVessel).where(AisVessel.mmsi.in_(list(said))))}
    changed, rows = set(), []
    for mmsi in sorted(said):
        vessel = known.get(mmsi)
        values: dict[str, Any] = {name: getattr(vessel, name, None) for name in _FIELDS}
        when: dict[str, str] = dict(vessel.said) if vessel else {}
        for name, (time, value) in said[mmsi].items():
            old = values[name]
            stamp = time.astimezone(timezone.utc).isoformat(timespec="seconds")
            if old is None or (stamp, value) > (when[name], old):
                if name in _WEIGHED and value != old:
                    changed.add(mmsi)
                values[name], when[name] = value, stamp
        rows.append({"mmsi": mmsi, **values, "said": when})
    statement = insert(AisVessel)
    session.execute(
        statement.on_conflict_do_update(
            index_elements=["mmsi"], set_={name: statement.excluded[name] for name in (*_FIELDS, "said")}
        ),
        rows,
    )
    return changed


def newest(statements: dict[str, tuple[datetime, Any]], time: datetime, fields: Fields) -> None:
    """Put what a vessel said at a time to its statements; of two at once the greater stays."""
    for name, value in fields.items():
        if name not in statements or (time, value) > statements[name]:
            statements[name] = time, value
