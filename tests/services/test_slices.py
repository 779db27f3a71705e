"""What the store knows of one scene from others: doubles of slices, ghosts of neighbours, recurrence."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import shapely
from sqlalchemy import URL, text

from daemon.domain import GhostPlace, SceneResult, detection_id
from daemon.publish import scene_of
from daemon.store import ledger, schema
from daemon.store.session import Store
from tests.services.conftest import execute
from tests.services.test_store import OTHER_ENGINE, everything, rows
from tests.support import tiny

START = datetime(2022, 10, 2, 20, 51, 0, tzinfo=timezone.utc)
M_PER_DEG = 111_195.0


def product(start: datetime, orbit: int = 45268, datatake: int = 0x56950) -> str:
    stop = start + timedelta(seconds=25)
    unique = f"{(orbit * 31 + start.second + 60 * start.minute) % 65536:04X}"
    times = f"{start:%Y%m%dT%H%M%S}_{stop:%Y%m%dT%H%M%S}"
    return f"S1A_IW_GRDH_1SDV_{times}_{orbit:06d}_{datatake:06X}_{unique}"


def scene(
    name: str,
    ships: Sequence[tuple[float, float, float]],
    area: tuple[float, float, float, float] = (134.0, 6.0, 136.5, 8.0),
    relative_orbit: int | None = None,
    direction: str = "ASCENDING",
    brightness_db: float = -5.0,
    ghosts: Sequence[GhostPlace] = (),
    versions: Any = tiny.VERSIONS,
) -> SceneResult:
    """A result with ships at longitude, latitude and line; of 120 m, slices of 1000 lines."""
    base = tiny.make_result(f"/products/{name}.SAFE", 1, versions=versions)
    info = replace(
        base.scene,
        orbit_direction=direction,
        relative_orbit=relative_orbit or base.scene.relative_orbit,
        footprint=shapely.box(*area),
    )
    base = replace(base, scene=info)
    detections = []
    for index, (lon, lat, line) in enumerate(ships):
        detections.append(
            replace(
                base.detections[0],
                id=detection_id(base.run_key, lon, lat, index),
                lon_deg=lon,
                lat_deg=lat,
                line_px=line,
                sample_px=10.0 * index,
                length_m=120.0,
                brightness_db=brightness_db,
                flags=(),
                candidate=None,
            )
        )
    coverage = replace(base.coverage, valid_area=shapely.MultiPolygon([shapely.box(*area)]))
    return replace(
        base, candidates=(), detections=tuple(detections), coverage=coverage, ghost_places=tuple(ghosts)
    )


def record(store: Store, result: SceneResult) -> None:
    with store.transaction() as session:
        accepted = ledger.accept(session, scene_of(result.scene.uri))
    with store.transaction() as session:
        ledger.record(session, None, accepted, result)


def slices() -> list[SceneResult]:
    """Three slices: one ship whole in the first two, one in pieces at the second cut, others apart."""
    first = product(START)
    second = product(START + timedelta(seconds=25))
    third = product(START + timedelta(seconds=50))
    metre = 1 / M_PER_DEG
    both = (135.0, 7.0, 990.0)
    return [
        scene(first, [both, (135.2, 6.5, 500.0)]),
        scene(
            second,
            [(135.0, 7.0 + 8 * metre, 5.0), (135.0, 7.0 + 400 * metre, 35.0), (135.4, 7.3, 996.0)],
        ),
        scene(third, [(135.4, 7.3 + 90 * metre, 4.0), (135.4, 7.3 + 900 * metre, 85.0)]),
    ]


def without_keys(store: Store) -> dict[str, list[str]]:
    """Everything but surrogate keys, which do tell the order: acquisitions by their start, runs by hash."""
    found = {
        "detection": rows(store, "SELECT id, run_id, duplicate_of FROM detection ORDER BY id"),
        "current": rows(store, "SELECT id, flags::text FROM current_detections ORDER BY id"),
        "run": rows(store, "SELECT id, layer_status::text FROM run ORDER BY id"),
        "parts": rows(store, "SELECT run_id, ST_AsText(part) FROM coverage_part ORDER BY 1, 2"),
        "acquisition": rows(store, "SELECT start, state, current_run_id FROM acquisition ORDER BY start"),
    }
    return {name: list(map(str, part)) for name, part in found.items()}


def clear(store: Store) -> None:
    execute(store.url, "TRUNCATE acquisition, product, run CASCADE")


def test_every_order_of_arrival_ends_in_the_same_rows(store: Store) -> None:
    ends = []
    for order in itertools.permutations(slices()):
        clear(store)
        for result in order:
            record(store, result)
        ends.append(without_keys(store))
    assert all(end == ends[0] for end in ends)
    marked = rows(
        store,
        "SELECT a.line_px, b.line_px FROM detection a JOIN detection b ON b.id = a.duplicate_of ORDER BY 1",
    )
    # the ship in both: 9 lines from one edge, 5 from the other; the pieces: 3 lines and 4
    assert marked == [(5.0, 990.0), (996.0, 4.0)]
    assert rows(store, "SELECT count(*) FROM current_detections") == [(5,)]
    assert rows(store, "SELECT count(*) FROM detection") == [(7,)]


def test_the_same_again_changes_nothing(store: Store) -> None:
    for result in slices():
        record(store, result)
    before = everything(store)
    for result in reversed(slices()):
        record(store, result)
    assert everything(store) == before


def test_a_new_run_of_a_slice_frees_its_neighbours_doubles(store: Store) -> None:
    first, second, _ = slices()
    record(store, first)
    record(store, second)
    assert rows(store, "SELECT count(*) FROM detection WHERE duplicate_of IS NOT NULL") == [(1,)]
    empty = scene(product(START), [(135.2, 6.5, 500.0)], versions=OTHER_ENGINE)
    record(store, empty)
    assert rows(store, "SELECT count(*) FROM detection WHERE duplicate_of IS NOT NULL") == [(0,)]
    assert rows(store, "SELECT count(*) FROM current_detections") == [(4,)]
    record(store, first)
    assert rows(store, "SELECT count(*) FROM detection WHERE duplicate_of IS NOT NULL") == [(1,)]


def test_another_pass_is_no_double(store: Store) -> None:
    record(store, scene(product(START), [(135.0, 7.0, 990.0)]))
    record(store, scene(product(START + timedelta(days=12), 45443, 0x56F2D), [(135.0, 7.0, 990.0)]))
    assert rows(store, "SELECT count(*) FROM current_detections") == [(2,)]


def ghost_place(lat: float, brightness_db: float = 20.0) -> GhostPlace:
    return GhostPlace(1, 135.0, lat, 900, 300, 134.98, lat - 0.04, 24.0, brightness_db)


@pytest.mark.parametrize("neighbour_first", [True, False])
def test_a_ghost_of_a_target_in_the_neighbouring_slice(store: Store, neighbour_first: bool) -> None:
    metre = 1 / M_PER_DEG
    place = ghost_place(7.0)
    source = scene(product(START), [(134.98, 6.96, 900.0)], ghosts=[place])
    ghost = scene(product(START + timedelta(seconds=25)), [(135.0, 7.0 + 60 * metre, 300.0)])
    for result in (source, ghost) if neighbour_first else (ghost, source):
        record(store, result)
    [(flags,)] = rows(store, f"SELECT flags FROM current_detections WHERE id = '{ghost.detections[0].id}'")
    evidence = flags["azimuth_ghost"]
    assert evidence["source_id"] == source.detections[0].id
    assert (evidence["order"], evidence["below_db"]) == (1, 25.0)
    assert evidence["apart_m"] == pytest.approx(60, abs=2)
    assert rows(store, f"SELECT flags FROM current_detections WHERE id = '{source.detections[0].id}'") == [
        ({},)
    ]


@pytest.mark.parametrize(
    ("brightness_db", "north_m", "datatake"),
    [(8.0, 0, 0x56950), (40.0, 0, 0x56950), (20.0, 400, 0x56950), (20.0, 0, 1)],
)
def test_no_ghost_of_what_is_not_bright_not_there_or_of_another_datatake(
    store: Store, brightness_db: float, north_m: float, datatake: int
) -> None:
    record(store, scene(product(START), [], ghosts=[ghost_place(7.0, brightness_db)]))
    other = product(START + timedelta(seconds=25), datatake=datatake)
    record(store, scene(other, [(135.0, 7.0 + north_m / M_PER_DEG, 300.0)]))
    assert rows(store, "SELECT flags FROM current_detections") == [({},)]


PLATFORM = (135.0, 7.0, 500.0)
MISSED = (135.3, 7.0, 500.0)


def passes(seen: str, orbit: int, first_day: int, direction: str = "ASCENDING") -> list[SceneResult]:
    """One pass each 12 days of one orbit; 'x' saw the platform, '.' looked, 'o' looked elsewhere."""
    found = []
    for number, what in enumerate(seen):
        start = START + timedelta(days=first_day + 12 * number, seconds=orbit)
        name = product(start, 40_000 + 175 * number + orbit, 0x50000 + 997 * number + orbit)
        area = (134.0, 6.0, 136.5, 8.0) if what != "o" else (100.0, 6.0, 101.0, 8.0)
        ships = [PLATFORM] if what == "x" else [MISSED] if what == "." else []
        found.append(scene(name, ships, area, orbit, direction))
    return found


def flags_at(store: Store, result: SceneResult) -> dict[str, Any]:
    [(flags,)] = rows(store, f"SELECT flags FROM current_detections WHERE id = '{result.detections[0].id}'")
    return dict(flags)


def test_one_orbit_alone_proves_no_structure(store: Store) -> None:
    same = passes("x.xxxx", 15, 0)
    others = passes("...", 22, 3, "DESCENDING")
    for result in (*same, *others):
        record(store, result)
    flags = flags_at(store, same[-1])
    assert "infrastructure" not in flags
    evidence = flags["recurrent"]
    assert (evidence["passes_seen"], evidence["passes_looked"], evidence["geometries"]) == (4, 8, 1)
    assert evidence["orbits"] == [
        {"relative_orbit": 15, "direction": "ASCENDING", "seen": 4, "looked": 5},
        {"relative_orbit": 22, "direction": "DESCENDING", "seen": 0, "looked": 3},
    ]
    assert datetime.fromisoformat(evidence["first"]) == same[0].scene.start
    assert datetime.fromisoformat(evidence["last"]) == same[4].scene.start
    assert flags_at(store, same[0]) == {}


def test_two_geometries_prove_a_structure_and_what_did_not_look_does_not_count(store: Store) -> None:
    up, down = passes("xooxx", 15, 0), passes("x.xx", 22, 3, "DESCENDING")
    for result in (*up, *down):
        record(store, result)
    evidence = flags_at(store, up[-1])["infrastructure"]
    assert (evidence["passes_seen"], evidence["passes_looked"], evidence["geometries"]) == (5, 6, 2)


def test_a_ship_at_anchor_for_some_days_is_no_structure(store: Store) -> None:
    up, down = passes("xx", 15, 0), passes("xx", 22, 3, "DESCENDING")
    for result in (*up, *down):
        record(store, result)
    flags = flags_at(store, down[-1])
    assert "infrastructure" not in flags and flags["recurrent"]["geometries"] == 2


def test_recurrence_does_not_depend_on_the_order_of_arrival(store: Store) -> None:
    scenes = [*passes("xxx", 15, 0), *passes("xx", 22, 3, "DESCENDING")]
    ends = []
    for order in (scenes, scenes[::-1], scenes[2:] + scenes[:2]):
        clear(store)
        for result in order:
            record(store, result)
        ends.append(rows(store, "SELECT id, flags::text FROM current_detections ORDER BY id"))
    assert ends[0] == ends[1] == ends[2]


def test_slices_of_one_pass_are_one_pass(store: Store) -> None:
    near_cut = (135.0, 7.0, 990.0)
    record(store, scene(product(START), [near_cut]))
    record(store, scene(product(START + timedelta(seconds=25)), [(135.0, 7.0, 5.0)]))
    later = scene(product(START + timedelta(days=12), 45443, 0x56F2D), [near_cut])
    record(store, later)
    assert flags_at(store, later)["recurrent"]["passes_looked"] == 1


def test_a_populated_database_goes_up_and_down(administrator: URL) -> None:
    name = "fusar_test_flags_migration"
    execute(administrator, f"DROP DATABASE IF EXISTS {name}", f"CREATE DATABASE {name}")
    store = Store(administrator.set(database=name).render_as_string(hide_password=False))
    try:
        schema.upgrade(store)
        for result in slices():
            record(store, result)
        schema.downgrade(store, "0001")
        kept = rows(store, "SELECT count(*) FROM detection"), rows(store, "SELECT count(*) FROM coverage")
        assert kept == ([(7,)], [(3,)])
        assert rows(store, "SELECT count(*) FROM current_detections") == [(7,)]
        schema.upgrade(store)
        schema.check(store)
        assert rows(store, "SELECT count(*) FROM coverage_part") == [(3,)]
        assert rows(store, "SELECT count(*) FROM current_detections") == [(7,)], "until a slice is recorded"
        record(store, scene(product(START), [(135.0, 7.0, 990.0)], versions=OTHER_ENGINE))
        assert rows(store, "SELECT count(*) FROM current_detections") == [(4,)]
    finally:
        store.close()
        execute(administrator, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize(("order", "north_m", "found"), [(3, 345, True), (3, 355, False), (2, 255, False)])
def test_a_ghost_of_higher_order_may_lie_farther_off(
    store: Store, order: int, north_m: float, found: bool
) -> None:
    place = replace(ghost_place(7.0, 25.0), order=order)
    record(store, scene(product(START), [], ghosts=[place]))
    ghost = scene(product(START + timedelta(seconds=25)), [(135.0, 7.0 + north_m / M_PER_DEG, 300.0)])
    record(store, ghost)
    assert ("azimuth_ghost" in flags_at(store, ghost)) == found


def test_the_source_of_a_ghost_is_named_by_what_stands_for_it(store: Store) -> None:
    metre = 1 / M_PER_DEG
    cut = scene(product(START), [(134.98, 6.96, 995.0)], ghosts=[ghost_place(7.0)])
    after = product(START + timedelta(seconds=25))
    whole = scene(after, [(134.98, 6.96 + 5 * metre, 20.0), (135.0, 7.0 + 60 * metre, 300.0)])
    record(store, cut)
    record(store, whole)
    assert rows(store, "SELECT id, duplicate_of FROM detection WHERE duplicate_of IS NOT NULL") == [
        (cut.detections[0].id, whole.detections[0].id)
    ]
    [(flags,)] = rows(store, f"SELECT flags FROM current_detections WHERE id = '{whole.detections[1].id}'")
    assert flags["azimuth_ghost"]["source_id"] == whole.detections[0].id


def test_of_equal_ghosts_the_first_source_counts_whatever_was_written_first(store: Store) -> None:
    places = [replace(ghost_place(7.0), source_line_px=line) for line in (900, 700)]
    for order in (places, places[::-1]):
        clear(store)
        record(store, scene(product(START), [], ghosts=order))
        ghost = scene(product(START + timedelta(seconds=25)), [(135.0, 7.0, 300.0)])
        record(store, ghost)
        assert flags_at(store, ghost)["azimuth_ghost"]["source_line_px"] == 700


def test_ghost_places_are_found_by_the_index(store: Store) -> None:
    record(store, scene(product(START), [], ghosts=[ghost_place(7.0)]))
    execute(
        store.url,
        """
        INSERT INTO ghost_place (run_id, "order", position, source, source_line_px, source_sample_px,
            source_db, brightness_db)
        SELECT run_id, 1, ST_Point(90 + n % 100, n / 1000.0)::geography, source, n, 1, 24, 20
        FROM ghost_place, generate_series(1, 20000) AS n
        """,
        "ANALYZE ghost_place",
    )
    ghost = scene(product(START + timedelta(seconds=25)), [(135.0, 7.0, 300.0)])
    record(store, ghost)
    scans = "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'idx_ghost_place_position'"
    [(before,)] = rows(store, scans)
    with store.transaction() as session:
        session.execute(text("SELECT flags FROM current_detections"))
        session.execute(text("SELECT pg_stat_force_next_flush()"))
    [(after,)] = rows(store, scans)
    assert after > before
