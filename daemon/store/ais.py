"""Matches of detections with AIS, in a scene's transaction and when AIS comes later.

The rows of a run depend on its detections and on all AIS around its sensing, and on nothing else: whichever
came first, they end the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

import shapely
from geoalchemy2.shape import to_shape
from sqlalchemy import ARRAY, BigInteger, Double, cast, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from ..ais.match import Echo, Match, match
from ..ais.track import Fix, Vessel
from ..scene.names import ProductName
from .ais_tables import AisMatch, AisReception, AisVessel
from .results import multipolygon
from .tables import Acquisition, Coverage, Detection, Product, Run

WINDOW = timedelta(minutes=20)  # reports this long before and after a sensing are looked at
MARGIN_DEG = 0.25  # and this far around the area that was looked at: 28 km, 23 knots for the window

_LOCK = "SELECT pg_advisory_xact_lock{}(hashtextextended('ais matches', 0))"

# Of each vessel the last report before the sensing, the first one after it, and those during it.
_AROUND = """
    WITH near AS (
        SELECT mmsi, time, ST_X(position::geometry) AS lon, ST_Y(position::geometry) AS lat,
               sog_kn, cog_deg, heading_deg
        FROM ais_position
        WHERE time BETWEEN :start AND :stop AND ({boxes})
    ), ordered AS (
        SELECT near.*, lag(time) OVER track AS previous, lead(time) OVER track AS next
        FROM near WINDOW track AS (PARTITION BY mmsi ORDER BY time)
    )
    SELECT mmsi, extract(epoch FROM time)::double precision, lon, lat, sog_kn, cog_deg, heading_deg
    FROM ordered
    WHERE time BETWEEN :first AND :last
        OR (time < :first AND (next IS NULL OR next >= :first))
        OR (time > :last AND (previous IS NULL OR previous <= :last))
    ORDER BY mmsi, time
"""


def match_run(session: Session, run_id: str) -> list[str]:
    """Match a run's detections with the AIS that is there; called in its own scene's transaction.

    Returns:
        Ids of the detections whose status or vessel is another than before.
    """
    session.execute(text(_LOCK.format("_shared")))
    return _match(session, run_id)


def match_again(session: Session, run_id: str) -> list[str]:
    """Match a run's detections anew, in a transaction that has just begun: one load after the other.

    Returns:
        Ids of the detections whose status or vessel is another than before.
    """
    session.execute(text(_LOCK.format("")))
    return _match(session, run_id)


def touched_runs(
    session: Session, first: datetime, last: datetime, heard: Iterable[tuple[int, int, int]], said: set[int]
) -> list[str]:
    """Return the runs whose matches newly loaded AIS may change, by the time of their sensing.

    In a transaction that has just begun: it waits for the scenes that are being recorded, whose runs nobody
    sees yet and which may not have seen the newest positions. Those that are recorded later will.

    Args:
        session: of the store.
        first: time of the earliest position loaded.
        last: time of the latest one.
        heard: where and when positions were loaded, as `cell` gives it.
        said: MMSI of vessels whose length or antenna is known anew.
    """
    session.execute(text(_LOCK.format("")))
    cells = set(heard)
    rows = session.execute(
        select(Run.id, Product.name, Coverage.valid_area)
        .join(Product, Product.id == Run.product_id)
        .join(Acquisition, Acquisition.id == Run.acquisition_id)
        .join(Coverage, Coverage.run_id == Run.id)
        .where(Acquisition.start <= last + 2 * WINDOW, Acquisition.stop >= first - 2 * WINDOW)
    ).all()
    found = {
        run_id
        for run_id, name, area in rows
        if area is not None and not cells.isdisjoint(_cells_of(ProductName.parse(name), to_shape(area)))
    }
    if said:
        found |= set(
            session.scalars(
                select(AisReception.run_id).where(
                    AisReception.near.op("&&")(cast(sorted(said), ARRAY(BigInteger)))
                )
            )
        )
    ordered = (
        select(Run.id)
        .join(Acquisition, Acquisition.id == Run.acquisition_id)
        .where(Run.id.in_(found))
        .order_by(Acquisition.start, Run.id)
    )
    return list(session.scalars(ordered)) if found else []


def runs_between(session: Session, since: datetime, until: datetime) -> list[str]:
    """Return the runs of a time, by the time of their sensing."""
    return list(
        session.scalars(
            select(Run.id)
            .join(Acquisition, Acquisition.id == Run.acquisition_id)
            .join(Coverage, Coverage.run_id == Run.id)  # pruned runs have none, and nothing to match
            .where(Acquisition.stop >= since, Acquisition.start < until)
            .order_by(Acquisition.start, Run.id)
        )
    )


def cell(time: datetime, lon_deg: float, lat_deg: float) -> tuple[int, int, int]:
    """Return ten minutes and one degree, by which loaded positions are remembered."""
    return int(time.timestamp() // 600), math.floor(lon_deg), math.floor(lat_deg)


def _cells_of(name: ProductName, area: Any) -> Iterable[tuple[int, int, int]]:
    start, stop = (int(t.timestamp() // 600) for t in (name.start - WINDOW, name.stop + WINDOW))
    for west, south, east, north in _boxes(area):
        for lon in range(math.floor(west), math.floor(east) + 1):
            for lat in range(math.floor(south), math.floor(north) + 1):
                yield from ((when, lon, lat) for when in range(start, stop + 1))


def _match(session: Session, run_id: str) -> list[str]:
    name, area = session.execute(
        select(Product.name, Coverage.valid_area)
        .select_from(Run)
        .join(Product, Product.id == Run.product_id)
        .join(Coverage, Coverage.run_id == Run.id)
        .where(Run.id == run_id)
    ).one()
    looked = shapely.MultiPolygon() if area is None else to_shape(area)
    sensed = ProductName.parse(name)
    echoes = _echoes(session, run_id)
    vessels = _vessels(session, sensed.start, sensed.stop, looked)
    if not vessels and session.scalar(select(AisReception.positions).where(AisReception.run_id == run_id)):
        return []  # positions are only ever added: these were pruned, and their matches stay
    found = match(echoes, vessels, sensed.start.timestamp(), sensed.stop.timestamp())
    changed = _write(session, [echo.id for echo in echoes], found.matches)
    reception = {
        "run_id": run_id,
        "area": multipolygon(found.witnesses.area(looked)),
        "vessels": len(vessels),
        "positions": sum(len(vessel.fixes) for vessel in vessels),
        "near": list(found.near),
        "rule": asdict(found.witnesses.rule),
    }
    statement = insert(AisReception).values(reception)
    session.execute(statement.on_conflict_do_update(index_elements=["run_id"], set_=reception))
    return changed


def _echoes(session: Session, run_id: str) -> list[Echo]:
    place = func.ST_GeomFromWKB(func.ST_AsBinary(Detection.position))
    rows: Any = session.execute(
        select(
            Detection.id,
            Detection.label,
            cast(func.ST_X(place), Double),
            cast(func.ST_Y(place), Double),
            Detection.length_m,
            Detection.length_low_m,
            Detection.length_high_m,
            Detection.incidence_deg,
            Detection.sensed,
            Detection.range_to_velocity_s,
            Detection.azimuth_deg,
        )
        .where(Detection.run_id == run_id)
        .order_by(Detection.id)
    )
    return [
        Echo(
            *(id_, label, lon, lat, length, low, high, incidence),
            time_s=sensed and sensed.timestamp(),
            range_to_velocity_s=ratio,
            azimuth_deg=azimuth,
        )
        for id_, label, lon, lat, length, low, high, incidence, sensed, ratio, azimuth in rows
    ]


def _vessels(session: Session, first: datetime, last: datetime, area: Any) -> list[Vessel]:
    boxes = _boxes(area)
    if not boxes:
        return []
    within = " OR ".join(
        f"position::geometry && ST_MakeEnvelope(:w{i}, :s{i}, :e{i}, :n{i}, 4326)" for i in range(len(boxes))
    )
    values = {
        f"{side}{i}": value for i, box in enumerate(boxes) for side, value in zip("wsen", box, strict=True)
    }
    rows = session.execute(
        text(_AROUND.format(boxes=within)),
        {"start": first - WINDOW, "stop": last + WINDOW, "first": first, "last": last, **values},
    ).all()
    fixes = {mmsi: [Fix(*row[1:]) for row in group] for mmsi, group in groupby(rows, key=lambda row: row[0])}
    said = {
        mmsi: of
        for mmsi, *of in session.execute(
            select(AisVessel.mmsi, AisVessel.name, AisVessel.length_m, AisVessel.bow_m).where(
                AisVessel.mmsi == func.any(sorted(fixes))
            )
        )
    }
    return [Vessel(mmsi, of, *said.get(mmsi, ())) for mmsi, of in fixes.items()]


def _boxes(area: Any) -> list[tuple[float, float, float, float]]:
    """Return an area's bounding boxes with a margin: one, or more where it lies at the antimeridian."""
    boxes = []
    for side in (shapely.box(-180, -90, 0, 90), shapely.box(0, -90, 180, 90)):
        half = area if area.is_empty or area.bounds[2] - area.bounds[0] < 180 else area.intersection(side)
        if half.is_empty:
            continue
        west, south, east, north = half.bounds
        wide = MARGIN_DEG / max(math.cos(math.radians(max(abs(south), abs(north)))), 0.02)
        south, north = max(south - MARGIN_DEG, -90.0), min(north + MARGIN_DEG, 90.0)
        boxes.append((max(west - wide, -180.0), south, min(east + wide, 180.0), north))
        if west - wide < -180:
            boxes.append((max(west - wide + 360, -180.0), south, 180.0, north))
        if east + wide > 180:
            boxes.append((-180.0, south, min(east + wide - 360, 180.0), north))
    return sorted(set(boxes))


def _write(session: Session, ids: Sequence[str], matches: Sequence[Match]) -> list[str]:
    known = {
        row.detection_id: row
        for row in session.scalars(select(AisMatch).where(AisMatch.detection_id.in_(ids)))
    }
    rows, changed = [], []
    for found in matches:
        old = known.get(found.detection_id)
        row = {**asdict(found), "evidence": dict(found.evidence)}
        if old is not None and all(getattr(old, name) == value for name, value in row.items()):
            continue
        rows.append(row)
        if old is None or (old.status, old.mmsi) != (found.status, found.mmsi):
            changed.append(found.detection_id)
    if rows:
        statement = insert(AisMatch)
        updated = {name: statement.excluded[name] for name in ("status", "mmsi", "distance_m", "evidence")}
        session.execute(
            statement.on_conflict_do_update(
                index_elements=["detection_id"], set_={**updated, "recorded": func.now()}
            ),
            rows,
        )
    return changed
