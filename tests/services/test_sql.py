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
            length_m=length, length_low_m=0.85 * length, length_high_m=1.15 * length, label=label, score=score,
            flags=(), candidate=None, sensed=start + timedelta(seconds=12),
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


@pytest.fixture
def filled(store: Store, tmp_path: Path) -> Store:
    """Two passes over Palau and one over an empty sea; AIS of two ships of the newer one."""
    late = timedelta(minutes=90), timedelta(minutes=100)
    record(store, result(OLD, [SHIPS[0], SHIPS[4]], 100), *(OLD + d for d in late))
    record(store, result(NEW, SHIPS, 200), *(NEW + d for d in late))
    record(store, result(EMPTY, [], 201, shapely.box(140, 6, 141, 7)), *(EMPTY + d for d in late))
    reports = []
    for mmsi, name, (lon, lat, length, *_), speed in (
        (538000001, "NORDIC STAR", SHIPS[0], 0.0),
        (538000002, "BLUE TUG", SHIPS[2], 0.0),
    ):
        for s in (-60, 0, 60):
            time = NEW + timedelta(seconds=12 + s)
            there = moved(lon, lat, speed, 0.0, s)
            reports.append(Row(mmsi, time, *there, speed / MPS_PER_KNOT, 0.0, 0.0, name, int(length), int(length / 2)))
    path = tmp_path / "ais.csv"
    path.write_text(danish(reports))
    loaded = Loaded()
    load_file(store, path, loaded, Tally())
    rematch(store, touched(store, loaded))
    with store.transaction() as session:
        session.execute(text("UPDATE run SET recorded = p.received + interval '3 minutes' FROM product p WHERE p.id = product_id"))
    return store


@pytest.fixture
def reader(filled: Store, administrator: Any) -> Iterator[psycopg.Connection]:
    """A connection of the role that may only read."""
    name = f"reader_{filled.url.database}"
    views.make_reader(filled, name, "s3cret ' \\")
    url = filled.url.set(drivername="postgresql", username=name, password="s3cret ' \\")
    try:
        with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as connection:
            yield connection
    finally:
        execute(filled.url, f"DROP OWNED BY {name}", f"DROP ROLE {name}")


def questions() -> dict[int, str]:
    found = re.findall(r"### (\d+)\. .*?```sql\n(.*?)```", DOCS.read_text(), re.DOTALL)
    return {int(number): query for number, query in found}


NEW_RUN = result(NEW, SHIPS, 200)
IDS = [d.id for d in NEW_RUN.detections]
EXPECTED: dict[int, list[tuple[Any, ...]]] = {
    1: [(IDS[0], NEW, 180.0, 0.95, 134.5, 7.0), (IDS[1], NEW, 90.0, 0.9, 134.56, 7.0), (IDS[2], NEW, 60.0, 0.8, 134.6, 7.02)],
    2: [(IDS[1], NEW + timedelta(seconds=12), 90.0, "2")],
    3: [("matched", None, 2), ("unknown", "reception_unproven", 1), ("unmatched", None, 2)],
    4: [(538000001, "NORDIC STAR", NEW + timedelta(seconds=12), "POINT(134.5 7)", 0, 0.0)],
    5: [("ship", 2, NEW, 180.0)],
    6: [(NEW, "S1A", 18.0, True)],
    10: [(3, 5400 - 25.0, 600.0, 180.0, 6180 - 25.0)],
}  # fmt: skip


def test_ten_questions_are_documented() -> None:
    assert sorted(questions()) == list(range(1, 11))


@pytest.mark.parametrize("number", EXPECTED)
def test_a_question_has_its_answer(reader: psycopg.Connection, number: int) -> None:
    assert reader.execute(questions()[number]).fetchall() == EXPECTED[number]
