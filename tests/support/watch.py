"""Passes over a small sea, for tests of what rules find in them: results as a run leaves them, and rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import shapely

from daemon.alerts import definition
from daemon.domain import Flag, SceneResult, detection_id
from daemon.publish import scene_of
from daemon.store import alerts, ledger
from daemon.store.session import Store
from tests.support import tiny

START = datetime(2024, 3, 1, 6, 0, 0, tzinfo=timezone.utc)
SEA = shapely.box(134.0, 6.0, 136.5, 8.0)


def name(day: float, unique: str = "0001", datatake: int | None = None) -> str:
    """Return the name of a product sensed some days after `START`; each day is a datatake of its own."""
    start = START + timedelta(days=day)
    stop = start + timedelta(seconds=25)
    take = 0x50000 + round(day * 1000) if datatake is None else datatake
    return f"S1A_IW_GRDH_1SDV_{start:%Y%m%dT%H%M%S}_{stop:%Y%m%dT%H%M%S}_052800_{take:06X}_{unique}"


def result(
    day: float,
    ships: Sequence[tuple[float, float] | Mapping[str, Any]] = (),
    unique: str = "0001",
    datatake: int | None = None,
    sea: Any = SEA,
    ipf: str = "003.52",
) -> SceneResult:
    """Return what a run found: ships by longitude and latitude, or as members of `Detection`."""
    uri = f"/products/{name(day, unique, datatake)}.SAFE"
    plain = tiny.make_result(uri, 1, ipf)
    model = plain.detections[0]
    found = []
    for rank, ship in enumerate(ships):
        fields: dict[str, Any] = (
            dict(ship) if isinstance(ship, Mapping) else {"lon_deg": ship[0], "lat_deg": ship[1]}
        )
        flags = tuple(Flag(flag, {}) for flag in fields.pop("flags", ()))
        length = fields.get("length_m", 120.0)
        fields = {"length_m": length, "length_low_m": 0.8 * length, "length_high_m": 1.2 * length, **fields}
        lon, lat = fields["lon_deg"], fields["lat_deg"]
        key = detection_id(plain.run_key, lon, lat, rank)
        found.append(replace(model, id=key, line_px=500.0, candidate=None, flags=flags, **fields))
    return replace(
        plain,
        scene=replace(plain.scene, footprint=sea),
        coverage=replace(plain.coverage, valid_area=shapely.MultiPolygon(shapely.get_parts([sea]).tolist())),
        detections=tuple(found),
        candidates=(),
    )


def record(store: Store, found: SceneResult) -> None:
    """Take a result through the ledger, as a worker does."""
    with store.transaction() as session:
        accepted = ledger.accept(session, scene_of(found.scene.uri))
    with store.transaction() as session:
        ledger.record(session, None, accepted, found)


def box(west: float, south: float, east: float, north: float) -> dict[str, Any]:
    """Return a box as GeoJSON."""
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}


def rule(store: Store, name: str = "rule", *, enabled: bool = True, sea: float = 1.0, **fields: Any) -> int:
    """Enter a rule, the whole sea by default, and put it in force; return its version's id."""
    fields.setdefault("area", box(134.0, 6.0, 136.5, 8.0))
    asked, area = definition.parse({"name": name, **fields})
    with store.transaction() as session:
        version, _ = alerts.add_rule(session, asked, area, lambda _: sea)
        if enabled:
            alerts.enable(session, version)
    return version.version_id


def told(
    store: Store, columns: str = "rule.name, round(ST_X(position::geometry)::numeric, 3)::float8"
) -> list[Any]:
    """Return the open alerts."""
    return rows(
        store,
        f"SELECT {columns} FROM alert JOIN alert_rule rule ON rule.id = rule_id "
        "WHERE state = 'open' ORDER BY 1, 2",
    )


def rows(store: Store, query: str, **values: Any) -> list[Any]:
    """Return a query's rows."""
    from sqlalchemy import text

    with store.transaction() as session:
        return [tuple(row) for row in session.execute(text(query), values)]


def content(store: Store) -> list[Any]:
    """Return everything that open alerts tell, and nothing of how they came about."""
    return rows(
        store,
        "SELECT rule_id, version_id, kind, subject, pass, suppressed, sensed, ST_AsText(position), class, "
        "score, length_m, flags::text, detection_id, run_id, product, evidence::text "
        "FROM alert WHERE state = 'open' ORDER BY rule_id, subject",
    )


def along(count: int, lat: float = 7.0) -> Iterable[tuple[float, float]]:
    """Return places along a parallel, a hundredth of a degree apart."""
    return [(134.5 + 0.01 * number, lat) for number in range(count)]
