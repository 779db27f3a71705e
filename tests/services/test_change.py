"""Change units on a real PostGIS: pairing, the queue, and the same end whatever the order of arrival."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from daemon.change.archive import NEAR_M, Archive
from daemon.change.chip import SIZE_PX, Chip
from daemon.change.chips import Chips, NoPixels
from daemon.change.domain import PassRun
from daemon.change.worker import ChangeWorker
from daemon.cli import app
from daemon.config import ChangeSettings
from daemon.domain import Candidate, Flag, SceneResult
from daemon.errors import SourceUnavailable
from daemon.store import change, retention, status
from daemon.store.session import Store
from engine.runtime.land import Coastline
from tests.services.conftest import execute
from tests.services.test_slices import product, record, rows, scene

START = datetime(2022, 10, 2, 20, 51, 0, tzinfo=timezone.utc)
M_PER_DEG = 111_195.0
WEST, EAST = (134.0, 6.0, 135.5, 8.0), (135.0, 6.0, 136.5, 8.0)


class NoChips(Chips):
    """No pixels, whatever is asked."""

    def at(self, run: Any, place: Any) -> Any:
        raise NoPixels("none in this test")


def pass_of(
    day: int,
    ships: Sequence[tuple[float, float]],
    second: int = 0,
    track: int = 1,
    **what: Any,
) -> SceneResult:
    """A slice of a pass some days after the first; track 1 repeats every 12 days, others see otherwise."""
    name = product(START + timedelta(days=day, seconds=second), 45268 + 15 * day, 0x56950 + 88 * day)
    return scene(name, [(lon, lat, 500.0) for lon, lat in ships], relative_orbit=track, **what)


def worker(store: Store, **what: Any) -> ChangeWorker:
    return ChangeWorker(store, Coastline.load(), ChangeSettings(archive=None, **what), chips=_no_chips)


def _no_chips() -> Chips:
    return NoChips(Coastline.load())


def settle(store: Store) -> None:
    """Work out everything that is due."""
    step = worker(store).step
    while step():
        pass


def kinds(store: Store) -> list[tuple[Any, ...]]:
    return rows(
        store,
        """SELECT after_acquired::date - DATE '2022-10-02', kind, coalesce(reason, ''),
                  round(ST_X(position::geometry)::numeric, 3)::float
           FROM current_changes ORDER BY 1, 4, 2""",
    )


def ended(store: Store) -> dict[str, list[str]]:
    """Everything that readers see of changes, without surrogate keys."""
    found = {
        "changes": rows(
            store,
            """SELECT id, unit_id, kind, before_detection_id, after_detection_id, ST_AsText(position), class,
                      length_m, score, reason, evidence::text, before_run_id, after_run_id, pixel_run_id,
                      before_acquired, after_acquired FROM current_changes ORDER BY id""",
        ),
        "units": rows(
            store,
            """SELECT unit.id, before_run_id, after_run_id, pixel_run_id, outcome, unit.reason,
                      alignment::text, counts::text, sentence, digest
               FROM change_unit unit JOIN acquisition ON current_run_id = after_run_id
               WHERE present ORDER BY unit.id""",
        ),
        "due": rows(store, "SELECT count(*) FROM change_due"),
        "fixed": rows(store, "SELECT * FROM fixed_objects ORDER BY id"),
    }
    return {name: list(map(str, part)) for name, part in found.items()}


def test_ships_appear_go_and_stay(store: Store) -> None:
    record(store, pass_of(0, [(135.0, 7.0), (135.2, 7.0)]))
    record(store, pass_of(12, [(135.0, 7.0), (135.4, 7.0)]))
    settle(store)
    assert kinds(store) == [
        (0, "cannot_tell", "not_looked", 135.0),
        (0, "cannot_tell", "not_looked", 135.2),
        (12, "still_occupied", "", 135.0),
        (12, "gone", "", 135.2),
        (12, "appeared", "", 135.4),
    ]
    outcomes = rows(store, "SELECT outcome, reason, sentence, counts FROM change_unit ORDER BY outcome")
    assert [row[:3] for row in outcomes] == [
        ("done", None, "One object appeared, one is gone, one place is still occupied."),
        ("no_partner", "no earlier pass looked here", "Two places cannot be told."),
    ]
    assert outcomes[0][3]["before"] == outcomes[0][3]["after"] == 2


def test_an_earlier_pass_stays_as_long_as_a_younger_is_compared_with_it(store: Store) -> None:
    for day in (0, 12, 24):
        record(store, pass_of(day, [(135.0, 7.0), (135.0 + day / 100, 7.2)]))
    settle(store)
    before, told = START + timedelta(days=20), kinds(store)
    with store.transaction() as session:  # the second pass is older than the limit, the third is not
        assert retention.count(session, before).runs == 1
        assert retention.prune(session, before) == 1
        assert retention.prune(session, before) == 0
    assert kinds(store) == [row for row in told if row[0] == 24]
    with store.transaction() as session:
        assert retention.prune(session, START + timedelta(days=30)) == 2
    assert kinds(store) == []


def test_where_passes_looked_is_asked_of_a_prepared_area(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each place costs as much as the whole area."""
    for day in (0, 12, 24, 36):
        record(store, pass_of(day, [(135.0, 7.0)]))
    asked = []
    within = shapely.dwithin

    def dwithin(area: Any, points: Any, distance: float) -> Any:
        asked.append(bool(shapely.is_prepared(area) or shapely.is_empty(area)))
        return within(area, points, distance)

    monkeypatch.setattr(shapely, "dwithin", dwithin)
    settle(store)
    assert len(asked) >= 6 and all(asked)


def events() -> list[SceneResult]:
    """Passes of two tracks, in part over each other; two slices with a double; a product made anew."""
    metre = 1 / M_PER_DEG
    both = (135.3, 7.05)
    south, north = (134.0, 6.0, 136.5, 7.1), (134.0, 7.0, 136.5, 8.0)
    first = pass_of(0, [(135.0, 6.5), (135.2, 7.5), (135.8, 6.5), both])
    other = pass_of(5, [(135.0, 6.5 + 40 * metre)], track=2, area=WEST)
    slice_1 = pass_of(12, [(135.0, 6.5), (135.9, 6.4), both], area=south)
    slice_2 = pass_of(12, [(135.2, 7.5), (135.3, 7.05 + 8 * metre)], 25, area=north)
    anew = pass_of(12, [(135.0, 6.5), both], area=south)
    renamed = anew.scene.product.removesuffix(".SAFE")[:-4] + "ABCD"
    anew = replace(
        anew, scene=replace(anew.scene, product=renamed, uri=f"/products/{renamed}.SAFE", ipf="003.71")
    )
    anew = replace(anew, detections=tuple(replace(d, id=d.id[::-1]) for d in anew.detections))
    last = pass_of(24, [(135.0, 6.5), (136.2, 6.5)])
    ghost = replace(last.detections[1], flags=(Flag("azimuth_ghost", {"order": 1}),))
    near = Candidate(
        0, 500.0, 0.0, 135.9, 6.4, (0, 0, 5, 5), 12, ("VV",), 1.0, 17.0, (5, 0), "rejected", None
    )
    last = replace(last, detections=(last.detections[0], ghost), candidates=(near,))
    return [first, other, slice_1, slice_2, anew, last]


def empty(store: Store) -> None:
    """Remove everything; quicker than truncating some twenty tables and their indexes."""
    execute(
        store.url,
        "UPDATE acquisition SET current_run_id = NULL",
        *(f"DELETE FROM {name}" for name in ("run", "message", "attempt", "product", "acquisition")),
    )


EXPECTED: dict[str, Any] = {}


@settings(max_examples=12, deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate])
@given(
    order=st.permutations(range(6)),
    settled=st.sets(st.integers(0, 5)),
    again=st.integers(0, 5),
)
def test_every_order_of_arrival_ends_in_the_same_changes(
    one_database: Store, order: list[int], settled: set[int], again: int
) -> None:
    store, results = one_database, events()
    empty(store)
    for position, index in enumerate(order):
        record(store, results[index])
        if position in settled:
            settle(store)
    record(store, results[again])  # announced twice
    settle(store)
    found = ended(store)
    assert found["due"] == ["(0,)"]
    assert found == EXPECTED.setdefault("end", found)
    assert_each_object_in_one_place(store)


def assert_each_object_in_one_place(store: Store) -> None:
    """Each current object stands in one change as the later side, and in at most one as the earlier."""
    now = """SELECT d.id, count(c.id) FROM current_detections d
             LEFT JOIN current_changes c ON c.after_detection_id = d.id GROUP BY d.id"""
    assert {row[1] for row in rows(store, now)} == {1}
    then = """SELECT c.before_detection_id, c.after_acquired FROM current_changes c
              WHERE c.before_detection_id IS NOT NULL GROUP BY 1, 2 HAVING count(*) > 1"""
    assert rows(store, then) == []


def test_what_the_orders_end_in(store: Store) -> None:
    for result in events():
        record(store, result)
    settle(store)
    assert kinds(store) == [
        (0, "cannot_tell", "not_looked", 135.0),
        (0, "cannot_tell", "not_looked", 135.2),
        (0, "cannot_tell", "not_looked", 135.3),
        (0, "cannot_tell", "not_looked", 135.8),
        (5, "still_occupied", "", 135.0),
        (5, "gone", "", 135.2),
        (5, "gone", "", 135.3),
        (12, "still_occupied", "", 135.0),
        (12, "appeared", "", 135.2),
        (12, "appeared", "", 135.3),
        (12, "gone", "", 135.8),
        (24, "still_occupied", "", 135.0),
        (24, "gone", "", 135.2),
        (24, "gone", "", 135.3),
        (24, "cannot_tell", "azimuth_ghost", 136.2),
    ]


def test_a_late_scene_takes_the_places_at_which_it_looked(store: Store) -> None:
    record(store, pass_of(0, [(134.5, 7.0), (136.0, 7.0)]))
    record(store, pass_of(24, [(134.5, 7.0)]))
    settle(store)
    assert [row[1:] for row in kinds(store)[2:]] == [
        ("still_occupied", "", 134.5),
        ("gone", "", 136.0),
    ]
    record(store, pass_of(12, [], area=EAST))
    assert [row[0] for row in kinds(store)] == [0, 0], "what is due is not shown until it is worked out"
    settle(store)
    assert kinds(store)[2:] == [(12, "gone", "", 136.0), (24, "still_occupied", "", 134.5)]
    retired = rows(store, "SELECT count(*) FROM change_unit WHERE NOT present")
    assert retired == [(0,)], "both passes still have a unit: what they hold is another"


def test_what_is_not_worked_out_is_not_lost_when_the_process_ends(store: Store) -> None:
    record(store, pass_of(0, [(135.0, 7.0)]))
    with store.transaction() as session:
        due = change.claim(session, lease_s=0.01)
    assert due is not None  # and its process dies here
    time.sleep(0.05)
    settle(store)
    assert len(kinds(store)) == 1
    assert worker(store).step() is False


def test_a_unit_that_became_due_anew_meanwhile_is_not_written(store: Store) -> None:
    record(store, pass_of(12, [(135.0, 7.0)]))
    with store.transaction() as session:
        due = change.claim(session, lease_s=60)
        assert due is not None
    record(store, pass_of(0, [(135.0, 7.0)]))
    with store.transaction() as session:
        assert not change.finish(session, due, [], [])
    settle(store)
    assert kinds(store)[1:] == [(12, "still_occupied", "", 135.0)]


def test_two_workers_take_different_scenes(store: Store) -> None:
    record(store, pass_of(0, [(135.0, 7.0)]))
    record(store, pass_of(30, [(135.0, 7.0)], area=(10, 0, 11, 1)))
    with store.transaction() as one, store.transaction() as two:
        first, second = change.claim(one, 60), change.claim(two, 60)
        assert first and second and first.acquisition_id != second.acquisition_id
        with store.transaction() as three:
            assert change.claim(three, 60) is None


def test_a_host_that_does_not_answer_is_asked_again_and_then_done_without(store: Store) -> None:
    class Away(Chips):
        def at(self, run: Any, place: Any) -> Any:
            raise SourceUnavailable("no route")

    record(store, pass_of(0, [(135.0, 7.0)]))
    record(store, pass_of(12, [(135.0, 7.0)]))
    settings_ = ChangeSettings(archive=None, attempts=2, retry_delay_s=0.01)
    step = ChangeWorker(store, Coastline.load(), settings_, chips=lambda: Away(Coastline.load())).step
    assert step() and step()
    with store.transaction() as session:
        assert ("due", "SourceUnavailable", 1) in status.read(session).changes
    while step():
        time.sleep(0.01)
    time.sleep(0.05)
    while step():
        pass
    assert kinds(store)[1:] == [(12, "still_occupied", "", 135.0)]
    (evidence,) = rows(
        store, "SELECT evidence -> 'pixels' FROM current_changes WHERE kind = 'still_occupied'"
    )
    assert evidence[0]["reason"] == "no_pixels"


def test_a_fault_of_ours_ends_as_a_failed_unit(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("a fault")

    monkeypatch.setattr("daemon.change.worker.plans", broken)
    record(store, pass_of(0, [(135.0, 7.0)]))
    step = worker(store, attempts=1).step
    assert step() and not step()
    assert rows(store, "SELECT outcome, reason FROM change_unit") == [("failed", "RuntimeError: a fault")]


def test_candidates_and_faint_ships_leave_it_open(store: Store) -> None:
    earlier = pass_of(0, [])
    there = Candidate(
        0, 500.0, 0.0, 135.0, 7.0, (0, 0, 5, 5), 12, ("VV",), 1.0, 17.0, (5, 0), "rejected", None
    )
    blind = replace(earlier.coverage, smallest_ship_m=50.0)
    later = pass_of(12, [(135.0, 7.0), (135.5, 7.0), (136.0, 7.0)])
    small = replace(later.detections[1], length_m=30.0)
    record(store, replace(earlier, candidates=(there,), coverage=blind))
    record(store, replace(later, detections=(later.detections[0], small, later.detections[2])))
    settle(store)
    assert kinds(store) == [
        (12, "cannot_tell", "no_pixels", 135.0),
        (12, "cannot_tell", "no_pixels", 135.5),
        (12, "appeared", "", 136.0),
    ]


def test_platforms_are_followed_through_the_passes(store: Store) -> None:
    metre = 1 / M_PER_DEG
    results = [pass_of(0, [(135.0, 7.0)]), pass_of(12, [(135.0, 7.0 + 30 * metre)]), pass_of(24, [])]
    for result in results:
        fixed = tuple(replace(d, label="platform") for d in result.detections)
        record(store, replace(result, detections=fixed))
    settle(store)
    found = rows(
        store,
        """SELECT first_seen::date - DATE '2022-10-02', last_seen::date - DATE '2022-10-02',
                  last_looked::date - DATE '2022-10-02', passes_seen, passes_not_seen, missed_since
           FROM fixed_objects""",
    )
    assert found == [(0, 12, 24, 2, 1, 1)]
    assert [row[1] for row in kinds(store)[1:]] == ["still_occupied", "gone"]


def test_places_where_ships_stay_are_anchorages(store: Store) -> None:
    ships = [(135.001, 7.001), (135.008, 7.001), (135.5, 7.5)]
    for day in (0, 12, 24):
        record(store, pass_of(day, ships))
    settle(store)
    found = rows(store, "SELECT passes, ships_staying_per_pass FROM anchorages ORDER BY 2 DESC")
    assert found == [(2, 2.0), (2, 1.0)]


def test_status_counts_units(store: Store) -> None:
    record(store, pass_of(0, [(135.0, 7.0)]))
    record(store, pass_of(12, [(135.0, 7.0)]))
    with store.transaction() as session:
        assert status.read(session).changes == [("due", "", 2)]
    settle(store)
    with store.transaction() as session:
        assert status.read(session).changes == [
            ("done", "", 1),
            ("no_partner", "no earlier pass looked here", 1),
        ]


def test_the_command_lists_changes(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    record(store, pass_of(0, [(135.0, 7.0)]))
    record(store, pass_of(12, [(135.5, 7.0)]))
    settle(store)
    monkeypatch.setenv("FUSAR_STORE__URL", store.url.render_as_string(hide_password=False))
    out = tmp_path / "changes.geojson"

    def listed(*options: str) -> list[str]:
        result = CliRunner().invoke(app, ["change", "--out", str(out), *options])
        assert result.exit_code == 0, result.output
        return [f["properties"]["kind"] for f in json.loads(out.read_text())["features"]]

    assert sorted(listed()) == ["appeared", "gone"]
    assert listed("--area", "135.4,6,136,8") == ["appeared"]
    assert listed("--since", "2023-01-01") == []
    assert listed("--kind", "gone") == ["gone"]
    name = rows(store, "SELECT name FROM product ORDER BY name DESC LIMIT 1")[0][0]
    assert sorted(listed("--scene", f"{name}.SAFE")) == ["appeared", "gone"]
    assert CliRunner().invoke(app, ["change", "--area", "1,2,3,x"]).exit_code == 1


RUN = PassRun("run-1", "S1A", 1, "IW", 7, "ASCENDING", START, "/products/none.SAFE", 20.0)


@pytest.fixture
def chip() -> Chip:
    rng = np.random.default_rng(1)
    codes = rng.integers(1, 65535, (2, SIZE_PX, SIZE_PX)).astype(np.uint16)
    codes[:, :3] = 0
    land = rng.random((SIZE_PX, SIZE_PX)) < 0.2
    return Chip((100, 200), codes, land, ("VV", "VH"), (9e-5, 1e-6, 135.0, -2e-6, 8.9e-5, 7.0))


def with_run(store: Store, day: int = 0) -> PassRun:
    """A run that the store knows."""
    record(store, pass_of(day, []))
    ((run_id,),) = rows(store, "SELECT id FROM run ORDER BY recorded DESC LIMIT 1")
    return replace(RUN, run_id=run_id, start=START + timedelta(days=day))


def test_the_archive_gives_back_what_it_was_given(store: Store, chip: Chip, tmp_path: Any) -> None:
    archive, run = Archive(tmp_path, store, 10**9), with_run(store)
    lon, lat = chip.centre
    assert archive.find(run, lon, lat) is None
    archive.keep(run, chip, lon, lat)
    archive.keep(run, chip, lon, lat)
    found = archive.find(run, lon, lat)
    assert found is not None
    assert (found.codes == chip.codes).all() and (found.land == chip.land).all()
    assert (found.origin_px, found.bands) == (chip.origin_px, chip.bands)
    assert found.pixel(lon, lat) == pytest.approx(chip.pixel(lon, lat), abs=1e-6)
    near = lat + 100 / M_PER_DEG
    assert archive.find(run, lon, near) is None, "another place: the product comes first"
    assert archive.find(run, lon, near, NEAR_M) is not None
    assert archive.find(run, lon, lat + 250 / M_PER_DEG, NEAR_M) is None, "not enough pixels around it"
    with rasterio.open(next(tmp_path.glob("*/*/*.tif"))) as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"


def test_the_archive_keeps_its_limit_and_lets_the_oldest_go(store: Store, chip: Chip, tmp_path: Any) -> None:
    old, new = with_run(store), with_run(store, 12)
    lon, lat = chip.centre
    Archive(tmp_path, store, 10**9).keep(old, chip, lon, lat)
    size = rows(store, "SELECT size_bytes FROM chip")[0][0]
    archive = Archive(tmp_path, store, size)
    archive.keep(new, chip, lon, lat)
    assert archive.trim() == 1
    assert archive.find(old, lon, lat) is None and archive.find(new, lon, lat) is not None
    assert len(list(tmp_path.glob("*/*/*.tif"))) == 1


def test_the_archive_survives_what_a_crash_leaves(store: Store, chip: Chip, tmp_path: Any) -> None:
    archive, run = Archive(tmp_path, store, 10**9), with_run(store)
    lon, lat = chip.centre
    archive.keep(run, chip, lon, lat)
    (path,) = tmp_path.glob("*/*/*.tif")
    draft, orphan = path.with_name(".draft.1.tif"), path.with_name("1_1.tif")
    for file in (draft, orphan):
        file.write_bytes(b"half a file")
        os.utime(file, (0, 0))
    assert archive.sweep() == 2 and path.exists()
    path.write_bytes(b"broken")
    assert archive.find(run, lon, lat) is None
    path.unlink()
    assert archive.find(run, lon, lat) is None
