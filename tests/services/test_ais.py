"""AIS in a real PostGIS: loaded in any order and any number of times, the matches end the same."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import shapely
from sqlalchemy import text
from typer.testing import CliRunner

from daemon.ais.files import Tally
from daemon.ais.load import Loaded, load_file, rematch, touched
from daemon.ais.reports import MPS_PER_KNOT
from daemon.cli import app
from daemon.domain import SceneResult, detection_id
from daemon.publish import scene_of
from daemon.store import ledger
from daemon.store.ais_positions import drop_partitions
from daemon.store.session import Store
from tests.services.test_store import OTHER_ENGINE, rows
from tests.support import tiny
from tests.support.ais_files import Row, cadastre, danish, nmea
from tests.support.movers import moved

START = datetime(2022, 10, 2, 20, 51, 26, tzinfo=timezone.utc)
SENSED = START + timedelta(seconds=12)
PLACES = {"a": (134.50, 7.00), "b": (134.55, 7.02), "c": (134.60, 7.00), "d": (135.90, 7.50)}
SHIPS = {538000001: ("a", 8.0, 80.0, 120), 538000002: ("b", 0.0, 0.0, 200), 538000003: ("c", 5.0, 200.0, 90)}
SLANT = 115.2 * 0.6157  # R/V times the sine of 38 degrees, the incidence in tiny's result


def result(product: str = tiny.NAME, versions: Any = tiny.VERSIONS) -> SceneResult:
    """Four detections: three ships with AIS, displaced as movers are, and one far from all without any."""
    base = tiny.make_result(f"/products/{product}.SAFE", 1, versions=versions)
    found = []
    for name, (lon, lat) in PLACES.items():
        length = 120.0
        for place, speed, course, size in SHIPS.values():
            if place == name:
                look = math.radians(base.detections[0].azimuth_deg + 90)
                radial = -speed * math.cos(math.radians(course) - look)
                lon, lat = moved(lon, lat, SLANT * radial, base.detections[0].azimuth_deg, 1.0)
                length = size
        found.append(
            replace(
                base.detections[0],
                id=detection_id(base.run_key, lon, lat, 0),
                lon_deg=lon,
                lat_deg=lat,
                length_m=float(length),
                length_low_m=0.85 * length,
                length_high_m=1.15 * length,
                flags=(),
                candidate=None,
                sensed=SENSED,
            )
        )
    return replace(base, detections=tuple(found), candidates=())


def ais(mmsis: Sequence[int] = tuple(SHIPS), every_s: int = 60, minutes: int = 8) -> list[Row]:
    found = []
    for mmsi in mmsis:
        place, speed, course, length = SHIPS[mmsi]
        for second in range(-60 * minutes, 60 * minutes + 1, every_s):
            at = SENSED + timedelta(seconds=second)
            lon, lat = moved(*PLACES[place], speed, course, second)
            found.append(
                Row(
                    mmsi,
                    at,
                    lon,
                    lat,
                    speed / MPS_PER_KNOT,
                    course,
                    course,
                    f"SHIP {place}",
                    length,
                    length // 2,
                )
            )
    return sorted(found, key=lambda row: (row.time, row.mmsi))


def load(store: Store, path: Path) -> tuple[Loaded, int, int]:
    loaded = Loaded()
    load_file(store, path, loaded, Tally())
    runs, changed = rematch(store, touched(store, loaded))
    return loaded, runs, changed


def file(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.write_text(content)
    return path


def record(store: Store, found: SceneResult) -> None:
    with store.transaction() as session:
        accepted = ledger.accept(session, scene_of(found.scene.uri))
    with store.transaction() as session:
        ledger.record(session, None, accepted, found)


def matches(store: Store) -> list[tuple[Any, ...]]:
    return rows(
        store,
        "SELECT detection_id, status, mmsi, distance_m, evidence::text FROM ais_match ORDER BY detection_id",
    )


def statuses(store: Store) -> list[tuple[Any, ...]]:
    return rows(
        store,
        "SELECT mmsi, status, evidence->>'reason' FROM ais_match JOIN detection ON id = detection_id "
        "ORDER BY ST_X(position::geometry)",
    )


MATCHED = [(mmsi, "matched", None) for mmsi in SHIPS]
FAR = (None, "unknown", "reception_unproven")
NOTHING = [FAR] * 4


def test_before_any_ais_everything_is_unknown(store: Store) -> None:
    record(store, result())
    assert statuses(store) == NOTHING


@pytest.mark.parametrize("scene_at", [0, 1, 2, 3])
def test_the_order_of_scene_and_ais_changes_nothing(store: Store, tmp_path: Path, scene_at: int) -> None:
    reports = ais()
    files = [
        file(tmp_path, "1.csv", danish(reports[::3])),
        file(tmp_path, "2.csv", danish(reports[1::3])),
        file(tmp_path, "3.csv", danish(reports[2::3])),
    ]
    for index, path in enumerate(files):
        if index == scene_at:
            record(store, result())
        load(store, path)
    if scene_at == 3:
        record(store, result())
    assert statuses(store) == [*MATCHED, FAR]
    assert [round(row[3]) < 25 for row in matches(store) if row[1] == "matched"] == [True] * 3
    found, reception = (
        matches(store),
        rows(
            store, "SELECT run_id, ST_AsText(area), vessels, positions, near, rule::text FROM ais_reception"
        ),
    )
    if scene_at:
        return
    for order in itertools.permutations(files):
        for path in order:
            assert load(store, path)[2] == 0
    assert matches(store) == found
    assert reception == rows(
        store, "SELECT run_id, ST_AsText(area), vessels, positions, near, rule::text FROM ais_reception"
    )


def test_the_forms_end_in_the_same_matches(store: Store, tmp_path: Path) -> None:
    record(store, result())
    for form in (cadastre, danish, nmea):
        load(store, file(tmp_path, "ais", form(ais())))
        assert statuses(store) == [*MATCHED, FAR]


def test_loading_again_is_nothing_new(store: Store, tmp_path: Path) -> None:
    record(store, result())
    path = file(tmp_path, "a.csv", danish(ais()))
    first, runs, changed = load(store, path)
    assert (first.new, runs, changed) == (len(ais()), 1, 3)
    again, runs, changed = load(store, path)
    assert (again.positions, again.new, runs, changed) == (len(ais()), 0, 1, 0)


def test_unmatched_where_others_are_heard(store: Store, tmp_path: Path) -> None:
    record(store, result())
    others = [
        Row(mmsi, SENSED + timedelta(seconds=s), 134.55, lat, 0.0, 0.0, 0.0)
        for mmsi, lat in ((538000008, 7.1), (538000009, 6.95))
        for s in (-60, 60)
    ]
    load(store, file(tmp_path, "a.csv", danish([*ais((538000001, 538000003)), *others])))
    assert statuses(store) == [MATCHED[0], (None, "unmatched", None), MATCHED[2], FAR]
    inside = "ST_Covers(area, position)"
    proven = rows(store, f"SELECT {inside} FROM ais_reception, detection ORDER BY ST_X(position::geometry)")
    assert (proven[1], proven[3]) == ((True,), (False,))


def test_what_a_vessel_says_of_itself_later_counts(store: Store, tmp_path: Path) -> None:
    """Two vessels at one distance of a detection: only the length tells, and it comes a month later."""
    record(store, result())
    place, _, _, _ = SHIPS[538000002]
    both = []
    for mmsi, course, length in ((538000008, 0.0, 40), (538000009, 180.0, 200)):
        lon, lat = moved(*PLACES[place], 45.0, course, 1.0)
        both += [
            Row(mmsi, SENSED + timedelta(seconds=s), lon, lat, 0.0, 0.0, None, "", 0, 0) for s in (-60, 60)
        ]
        both += [Row(mmsi, SENSED + timedelta(days=30), lon, lat, 0.0, 0.0, None, "", length, length // 2)]
    early, late = [r for r in both if r.length == 0], [r for r in both if r.length]
    load(store, file(tmp_path, "early.csv", danish(early)))
    _, runs, _ = load(store, file(tmp_path, "late.csv", danish(late)))
    assert runs == 1
    assert statuses(store)[1][:2] == (538000009, "matched")


def test_of_two_reports_of_one_second_one_stays_whichever_came_first(store: Store, tmp_path: Path) -> None:
    one, other = Row(538000001, SENSED, 134.5, 7.0, None), Row(538000001, SENSED, 134.5, 7.0, 5.0)
    kept = []
    for order in ((one, other), (other, one)):
        for row in order:
            load(store, file(tmp_path, "a.csv", danish([row])))
        load(store, file(tmp_path, "b.csv", danish(order)))
        kept.append(rows(store, "SELECT sog_kn, ST_AsText(position) FROM ais_position"))
        with store.transaction() as session:
            session.execute(text("TRUNCATE ais_position"))
    assert kept[0] == kept[1] == [(5.0, "POINT(134.5 7)")]


def test_of_each_field_the_newest_stays(store: Store, tmp_path: Path) -> None:
    def row(day: int, name: str, length: int) -> Row:
        return Row(
            538000001, SENSED + timedelta(days=day), 134.5, 7.0, name=name, length=length, bow=length // 2
        )

    for order in itertools.permutations(
        [row(0, "OLD NAME", 100), row(1, "NEW NAME", 0), row(-1, "OLDEST", 90)]
    ):
        for one in order:
            load(store, file(tmp_path, "a.csv", danish([one])))
        assert rows(store, "SELECT name, length_m, bow_m, imo, type FROM ais_vessel") == [
            ("NEW NAME", 100.0, 50.0, 9074729, "cargo")
        ]
        with store.transaction() as session:
            session.execute(text("DELETE FROM ais_vessel"))


def test_every_run_has_its_own_matches(store: Store, tmp_path: Path) -> None:
    load(store, file(tmp_path, "a.csv", danish(ais())))
    record(store, result())
    record(store, result(versions=OTHER_ENGINE))
    assert len(matches(store)) == 8
    _, runs, changed = load(store, file(tmp_path, "a.csv", danish(ais())))
    assert (runs, changed) == (2, 0)
    with store.transaction() as session:
        session.execute(text("DELETE FROM detection WHERE run_id = (SELECT current_run_id FROM acquisition)"))
    assert len(matches(store)) == 4, "matches go with their detections"


def test_only_scenes_near_in_space_and_time_are_matched_again(store: Store, tmp_path: Path) -> None:
    record(store, result())
    far = [Row(538000009, SENSED, -20.0, 7.0)]
    late = [Row(538000009, SENSED + timedelta(hours=2), 134.5, 7.0)]
    for rows_ in (far, late):
        assert load(store, file(tmp_path, "a.csv", danish(rows_)))[1] == 0
    near = [Row(538000009, SENSED + timedelta(minutes=19), 134.5, 7.0)]
    assert load(store, file(tmp_path, "a.csv", danish(near)))[1] == 1


def test_days_are_partitions_and_go_whole(store: Store, tmp_path: Path) -> None:
    days = [Row(538000001, SENSED + timedelta(days=d), 134.5, 7.0) for d in range(4)]
    load(store, file(tmp_path, "a.csv", danish(days)))
    names = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'ais_position'::regclass"
    assert len(rows(store, names)) == 4
    with store.transaction() as session:
        gone = drop_partitions(session, (SENSED + timedelta(days=2)).date())
    assert len(gone) == 2
    assert rows(store, "SELECT min(time), count(*) FROM ais_position") == [(SENSED + timedelta(days=2), 2)]


def test_loads_and_scenes_at_once_end_as_one_after_the_other(
    store: Store, store_url: str, tmp_path: Path
) -> None:
    reports = ais()
    files = [file(tmp_path, f"{i}.csv", danish(reports[i::4])) for i in range(4)]
    errors: list[Exception] = []

    def work(path: Path | None) -> None:
        own = Store(store_url)
        try:
            record(own, result()) if path is None else load(own, path)
        except Exception as error:
            errors.append(error)
        finally:
            own.close()

    threads = [threading.Thread(target=work, args=(path,)) for path in (*files[:2], None, *files[2:])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    found = matches(store)
    assert statuses(store) == [*MATCHED, FAR]
    for path in files:
        load(store, path)
    assert matches(store) == found


def test_a_load_waits_for_a_scene_that_is_being_recorded(
    store: Store, store_url: str, tmp_path: Path
) -> None:
    """Its run is not seen yet, and it did not see the positions: neither may miss the other."""
    path = file(tmp_path, "a.csv", danish(ais()))
    own = Store(store_url)
    loading = threading.Thread(target=load, args=(own, path))
    found = result()
    with store.transaction() as session:
        ledger.record(session, None, ledger.accept(session, scene_of(found.scene.uri)), found)
        loading.start()
        loading.join(3.0)
        assert loading.is_alive(), "it waits"
    loading.join(60.0)
    own.close()
    assert statuses(store) == [*MATCHED, FAR]


def test_across_the_antimeridian(store: Store, tmp_path: Path) -> None:
    """The detection on one side, the vessel's report before on the other."""
    base = result()
    area = shapely.MultiPolygon([shapely.box(179.5, 6.5, 180, 7.5), shapely.box(-180, 6.5, -179.5, 7.5)])
    lon, lat = -179.999, 7.0
    one = replace(
        base.detections[1],
        id=detection_id(base.run_key, lon, lat, 0),
        lon_deg=lon,
        lat_deg=lat,
        sensed=SENSED,
    )
    record(
        store,
        replace(base, detections=(one,), coverage=replace(base.coverage, valid_area=area)),
    )
    reports = [
        Row(538000002, SENSED + timedelta(seconds=s), *moved(lon, lat, 8.0, 347.25, s), 8 / MPS_PER_KNOT,
            347.25, 347.25, "X", 200, 100)
        for s in (-120, 120)
    ]  # fmt: skip
    east = [replace(r, lon=r.lon - 360) if r.lon > 180 else r for r in reports]
    load(store, file(tmp_path, "a.csv", danish(east)))
    assert statuses(store) == [(538000002, "matched", None)]


def test_the_command_loads_reports_and_matches(
    store: Store, store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FUSAR_STORE__URL", store_url)
    record(store, result())
    good = file(tmp_path, "good.csv", danish(ais()) + "31/01/2024 00:00:00,Class A,1" + "," * 22 + "\n")
    future = danish([replace(ais()[0], time=datetime(2199, 1, 1, tzinfo=timezone.utc))])
    bad = [file(tmp_path, "bad.csv", "a,b\n"), file(tmp_path, "future.csv", future)]
    run = CliRunner().invoke(app, ["ais", "load", str(good), *map(str, bad)], env={"COLUMNS": "200"})
    assert run.exit_code == 1, "one file was none"
    assert "not a vessel 1" in run.output and "time out of range 1" in run.output
    assert "1 runs matched, 3 detections changed" in run.output
    assert "MarineCadastre" in run.output
    assert statuses(store) == [*MATCHED, FAR]
    run = CliRunner().invoke(app, ["ais", "match", "--since", "2022-10-01"])
    assert run.exit_code == 0 and "1 runs matched, 0 detections changed" in run.output
    run = CliRunner().invoke(app, ["ais", "prune", "--before", "2022-10-03"])
    assert "1 days removed, 2022-10-02 to 2022-10-02" in run.output
    assert len(matches(store)) == 4
    run = CliRunner().invoke(app, ["ais", "match", "--since", "2022-10-01"])
    assert run.exit_code == 0 and "0 detections changed" in run.output
    assert statuses(store) == [*MATCHED, FAR]  # what was matched by reports that are gone stays
