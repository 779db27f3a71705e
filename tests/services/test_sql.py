"""The views of docs/sql.md: its questions, asked by the role that may only read, with known answers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import psycopg
import pytest
import shapely
from sqlalchemy import text
from typer.testing import CliRunner

from daemon.ais.files import Tally
from daemon.ais.load import Loaded, load_file, rematch, touched
from daemon.ais.reports import MPS_PER_KNOT
from daemon.cli import app
from daemon.domain import SceneResult, detection_id
from daemon.errors import ConfigError
from daemon.publish import scene_of
from daemon.store import ledger, views
from daemon.store.session import Store
from tests.services.conftest import execute
from tests.services.test_store import rows
from tests.support import tiny
from tests.support.ais_files import Row, danish
from tests.support.movers import moved

DOCS = Path(__file__).resolve().parents[2] / "docs" / "sql.md"
NOW = datetime.now(timezone.utc).replace(microsecond=0)
NEW, OLD, EMPTY = NOW - timedelta(hours=6), NOW - timedelta(days=6), NOW - timedelta(hours=5)
PALAU = shapely.box(134.0, 6.0, 136.0, 8.0)
SHIPS = [  # longitude, latitude, length, class, score
    (134.50, 7.00, 180.0, "ship", 0.95),
    (134.56, 7.00, 90.0, "ship", 0.9),
    (134.60, 7.02, 60.0, "ship", 0.8),
    (134.52, 7.05, 30.0, "ship", 0.7),
    (135.50, 7.80, 70.0, "platform", 0.9),
]


def product(start: datetime, orbit: int, datatake: int, unique: str) -> str:
    stop = start + timedelta(seconds=25)
    times = f"{start:%Y%m%dT%H%M%S}_{stop:%Y%m%dT%H%M%S}"
    return f"S1A_IW_GRDH_1SDV_{times}_{orbit:06d}_{datatake:06X}_{unique}"


def result(start: datetime, ships: list[Any], orbit: int, area: Any = PALAU) -> SceneResult:
    name = product(start, orbit, 0x50000 + orbit, f"{orbit:04X}")
    base = tiny.make_result(f"/products/{name}.SAFE", 1)
    found = [
        replace(
            base.detections[0], id=detection_id(base.run_key, lon, lat, 0), lon_deg=lon, lat_deg=lat,
            length_m=length, length_low_m=0.85 * length, length_high_m=1.15 * length, label=label,
            score=score, flags=(), candidate=None, sensed=start + timedelta(seconds=12),
        )
        for lon, lat, length, label, score in ships
    ]  # fmt: skip
    coverage = replace(base.coverage, valid_area=shapely.MultiPolygon([area]), area_km2=48000.0)
    return replace(base, detections=tuple(found), candidates=(), coverage=coverage)


def record(store: Store, found: SceneResult, published: datetime, received: datetime) -> None:
    scene = scene_of(found.scene.uri)
    scene = scene.model_copy(
        update={"received": received, "product": scene.product.model_copy(update={"published": published})}
    )
    with store.transaction() as session:
        ledger.record(session, None, ledger.accept(session, scene), found)


# Two changes between the passes, as the unit of change would write them.
CHANGES = """
DELETE FROM change_due;
INSERT INTO change_unit (id, after_run_id, before_run_id, outcome, alignment, counts, digest)
VALUES ('u', :after, :before, 'done', '{}', '{}', '');
INSERT INTO change (id, unit_id, kind, after_detection_id, position, class, length_m, score, evidence)
VALUES ('a', 'u', 'appeared', :detection, ST_MakePoint(134.56, 7.0), 'ship', 90, 0.9, '{}'),
       ('g', 'u', 'gone', NULL, ST_MakePoint(134.9, 7.1), 'ship', 120, 0.7, '{}'),
       ('s', 'u', 'still_occupied', NULL, ST_MakePoint(134.5, 7.0), 'ship', 180, 0.7, '{}'),
       ('f', 'u', 'gone', NULL, ST_MakePoint(135.9, 8.5), 'ship', 50, 0.7, '{}');
"""


@pytest.fixture
def filled(store: Store, tmp_path: Path) -> Store:
    """Two passes over Palau and one over an empty sea; AIS of two ships of the newer one."""
    late = timedelta(minutes=90), timedelta(minutes=100)
    scenes = [result(OLD, [SHIPS[0], SHIPS[4]], 100), result(NEW, SHIPS, 200)]
    runs = [scene.run_key for scene in scenes]
    for scene, start in zip(scenes, (OLD, NEW), strict=True):
        record(store, scene, *(start + d for d in late))
    record(store, result(EMPTY, [], 201, shapely.box(140, 6, 141, 7)), *(EMPTY + d for d in late))
    reports = []
    for mmsi, name, (lon, lat, length, *_), speed in (
        (538000001, "NORDIC STAR", SHIPS[0], 0.0),
        (538000002, "BLUE TUG", SHIPS[2], 0.0),
        (538000003, "A BOAT", (134.53, 7.12, 12.0), 0.0),  # these two are not seen, but heard
        (538000004, "ANOTHER", (134.55, 6.93, 12.0), 0.0),
    ):
        for s in (-60, 0, 60):
            time = NEW + timedelta(seconds=12 + s)
            there = moved(lon, lat, speed, 0.0, s)
            reports.append(
                Row(mmsi, time, *there, speed / MPS_PER_KNOT, 0.0, 0.0, name, int(length), int(length / 2))
            )
    path = tmp_path / "ais.csv"
    path.write_text(danish(reports))
    loaded = Loaded()
    load_file(store, path, loaded, Tally())
    rematch(store, touched(store, loaded))
    with store.transaction() as session:
        for statement in CHANGES.split(";")[:-1]:
            session.execute(text(statement), {"before": runs[0], "after": runs[1], "detection": IDS[1]})
        session.execute(
            text(
                "UPDATE run SET recorded = product.received + interval '3 minutes' FROM product "
                "WHERE product.id = product_id"
            )
        )
    return store


def connect(store: Store, name: str, password: str) -> psycopg.Connection:
    url = store.url
    where = {"host": url.host, "port": url.port, "dbname": url.database}
    return psycopg.connect(**where, user=name, password=password, autocommit=True)


@pytest.fixture
def reader(filled: Store, administrator: Any) -> Iterator[psycopg.Connection]:
    """A connection of the role that may only read."""
    name = f"reader_{filled.url.database}"
    views.make_reader(filled, name, "s3cret ' \\")
    try:
        with connect(filled, name, "s3cret ' \\") as connection:
            yield connection
    finally:
        execute(filled.url, f"DROP OWNED BY {name}", f"DROP ROLE {name}")


def questions() -> dict[int, str]:
    found = re.findall(r"### (\d+)\. .*?```sql\n(.*?)```", DOCS.read_text(), re.DOTALL)
    return {int(number): query for number, query in found}


NEW_RUN = result(NEW, SHIPS, 200)
IDS = [d.id for d in NEW_RUN.detections]
EXPECTED: dict[int, list[tuple[Any, ...]]] = {
    1: [(IDS[i], NEW, *(SHIPS[i][k] for k in (2, 4, 0, 1))) for i in range(3)],
    2: [(IDS[1], NEW + timedelta(seconds=12), 90.0, "4")],
    3: [("matched", None, 2), ("unmatched", None, 2), ("unknown", "reception_unproven", 1)],
    4: [(538000001, "NORDIC STAR", NEW + timedelta(seconds=12), "POINT(134.5 7)", 0, 0.0)],
    5: [("ship", 2, NEW, 180.0)],
    6: [(NEW, "S1A", 18.0, True)],
    7: [(EMPTY, 48000.0, 18.0)],
    9: [("appeared", "ship", 90.0, 0.9, OLD, NEW), ("gone", "ship", 120.0, 0.7, OLD, NEW)],
    10: [(3, 5400 - 25.0, 600.0, 180.0, 6180 - 25.0)],
}  # fmt: skip


def by_day() -> list[tuple[Any, ...]]:
    """Answer question 8 in plain words: scenes, area and ships of each day."""
    days: dict[Any, list[float]] = {}
    for start, ships in ((OLD, 1), (NEW, 4), (EMPTY, 0)):
        scenes, area, count = days.get(start.date(), (0, 0, 0))
        days[start.date()] = [scenes + 1, area + 48000, count + ships]
    return [(day, *values) for day, values in sorted(days.items())]


def test_ten_questions_have_their_answers(reader: psycopg.Connection) -> None:
    asked = questions()
    assert sorted(asked) == list(range(1, 11))
    reader.execute("SET timezone TO 'UTC'")
    found = {number: reader.execute(query).fetchall() for number, query in asked.items()}
    found[7] = [row[1:] for row in found[7]]  # without the acquisition's number
    for number, expected in {**EXPECTED, 8: by_day()}.items():
        assert found[number] == expected, f"question {number}"


def test_the_role_reads_views_and_nothing_else(filled: Store, reader: psycopg.Connection) -> None:
    there = {row[0] for row in rows(filled, "SELECT viewname FROM pg_views WHERE schemaname = 'public'")}
    assert set(views.READABLE) & there == {
        "current_detections", "current_changes", "current_coverage", "current_ais", "scene_latency",
        "fixed_objects", "anchorages", *({"open_alerts"} & there),
    }  # fmt: skip
    for view in set(views.READABLE) & there:
        reader.execute(f"SELECT * FROM {view} LIMIT 1").fetchall()
    tables = [row[0] for row in rows(filled, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
    for table in (*tables, "pg_authid"):
        if table == "spatial_ref_sys":
            continue
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute(f"SELECT * FROM {table} LIMIT 1")
    for statement in (
        "CREATE TABLE mine (a int)",
        "DELETE FROM current_detections",
        "CREATE ROLE other",
        "SET default_transaction_read_only = off; DELETE FROM current_coverage",
    ):
        with pytest.raises(psycopg.errors.Error):
            reader.execute(statement)


def test_a_reader_is_made_again_and_no_other_role_is_touched(
    filled: Store, reader: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = reader.info.user
    monkeypatch.setenv("FUSAR_STORE__URL", filled.url.render_as_string(hide_password=False))
    run = CliRunner().invoke(app, ["db", "reader", name], input="an0ther\nan0ther\n")
    assert run.exit_code == 0, run.output
    assert "an0ther" not in run.output
    connect(filled, name, "an0ther").close()
    before = rows(filled, "SELECT rolpassword FROM pg_authid ORDER BY rolname")
    with pytest.raises(ConfigError, match="may do more"):
        views.make_reader(filled, str(filled.url.username), "x")
    assert rows(filled, "SELECT rolpassword FROM pg_authid ORDER BY rolname") == before


def test_views_open_as_layers(filled: Store) -> None:
    """What QGIS asks of a view: a typed geometry column with its reference system, and a key."""
    layers = rows(
        filled,
        "SELECT f_table_name, f_geography_column, lower(type), srid FROM geography_columns "
        "WHERE f_table_name IN ('current_detections', 'current_ais', 'current_changes', 'current_coverage')",
    )
    assert sorted(layers) == [
        ("current_ais", "position", "point", 4326),
        ("current_changes", "position", "point", 4326),
        ("current_coverage", "ais_reception", "multipolygon", 4326),
        ("current_coverage", "valid_area", "multipolygon", 4326),
        ("current_detections", "position", "point", 4326),
    ]
    for view, key in (
        ("current_detections", "id"),
        ("current_ais", "id"),
        ("current_coverage", "run_id"),
        ("scene_latency", "acquisition_id"),
    ):
        counts = rows(filled, f"SELECT count(*), count({key}), count(DISTINCT {key}) FROM {view}")[0]
        assert counts[0] == counts[1] == counts[2] > 0
