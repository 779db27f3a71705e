"""Change units with pixels: from products, from the archive, in every order, on a real PostGIS."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daemon.change.archive import Archive
from daemon.change.chips import Chips, NoPixels
from daemon.change.domain import PassRun
from daemon.change.worker import ChangeWorker
from daemon.config import ChangeSettings
from daemon.domain import SceneResult
from daemon.store.session import Store
from engine.runtime.land import Coastline
from tests.services.test_change import empty, ended, kinds, pass_of
from tests.services.test_retention import again
from tests.services.test_slices import record, rows
from tests.services.test_store import OTHER_ENGINE
from tests.support import watch
from tests.support.sea import FakeLand, FakeScene, Target, sea_scene

STAYS, LEAVES = (120, 130), (250, 280)
AREA = (3.99, -0.06, 4.06, 0.01)


class Products(Chips):
    """Serves fake scenes by their place; counts the reads."""

    def __init__(self, scenes: Mapping[str, FakeScene], archive: Archive | None = None) -> None:
        super().__init__(Coastline.load(), archive)
        self._fakes = scenes

    def _scene(self, run: PassRun) -> Any:
        if run.uri not in self._fakes:
            raise NoPixels("the product is gone")
        scene = self._fakes[run.uri]
        return scene, FakeLand(np.zeros(scene.shape, bool))


def look(day: int, there: tuple[tuple[int, int], ...], found: tuple[tuple[int, int], ...]) -> Any:
    """A pass in whose pixels ships lie at some lines and samples, of which a detector found some."""
    scene = sea_scene((400, 400), [Target(*at, 120, 30, 52) for at in there], seed=day + 1)
    result = pass_of(day, [(0.0, 0.0)] * len(found), area=AREA)
    detections = []
    for detection, (line, sample) in zip(result.detections, found, strict=True):
        lon, lat = (float(v) for v in scene.geometry.lonlat(line, sample))
        box = (sample - 4.0, line - 6.0, sample + 5.0, line + 7.0)
        detections.append(
            replace(
                detection,
                lon_deg=lon,
                lat_deg=lat,
                line_px=float(line),
                sample_px=float(sample),
                box_px=box,
            )
        )
    return scene, replace(result, detections=tuple(detections))


@pytest.fixture(scope="module")
def looks() -> list[tuple[FakeScene, SceneResult]]:
    """A ship that stays, missed by the detector once; and one that is there in the first pass alone."""
    return [
        look(0, (STAYS, LEAVES), (STAYS, LEAVES)),
        look(12, (STAYS,), ()),
        look(24, (STAYS,), (STAYS,)),
    ]


def settle(store: Store, scenes: Mapping[str, FakeScene], folder: Path | None = None) -> None:
    archive = Archive(folder, store, 10**9) if folder else None
    settings = ChangeSettings(archive=folder)
    step = ChangeWorker(store, Coastline.load(), settings, chips=lambda: Products(scenes, archive)).step
    while step():
        pass


def test_pixels_tell_a_missed_ship_from_one_that_left(store: Store, looks: Any) -> None:
    for _, result in looks:
        record(store, result)
    settle(store, {result.scene.uri: scene for scene, result in looks})
    assert [row[:3] for row in kinds(store)] == [
        (0, "cannot_tell", "not_looked"),
        (0, "cannot_tell", "not_looked"),
        (12, "still_occupied", ""),
        (12, "gone", ""),
        (24, "still_occupied", ""),
    ]
    found = rows(store, "SELECT evidence -> 'pixels' FROM current_changes WHERE kind = 'gone'")[0][0]
    assert found["appearance"] == "darker" and found["counts"] and found["chance"] < 1e-6
    assert found["ratio_db"] < -6
    (alignment,) = set(rows(store, "SELECT alignment ->> 'method' FROM change_unit WHERE outcome = 'done'"))
    assert alignment == ("geolocation",), "open sea has nothing to correlate"


def test_every_order_gives_the_same_pixels_with_an_archive(store: Store, looks: Any, tmp_path: Path) -> None:
    scenes = {result.scene.uri: scene for scene, result in looks}
    ends = []
    for number, order in enumerate(itertools.permutations(range(3))):
        empty(store)
        for index in order:
            record(store, looks[index][1])
            if number % 2:
                settle(store, scenes, tmp_path / str(number))
        settle(store, scenes, tmp_path / str(number))
        ends.append(ended(store))
    assert all(end == ends[0] for end in ends)
    assert any("brighter" in row or "darker" in row for row in ends[0]["changes"])


def test_the_archive_stands_in_for_a_product_that_is_gone(store: Store, looks: Any, tmp_path: Path) -> None:
    scenes = {result.scene.uri: scene for scene, result in looks}
    record(store, looks[0][1])
    settle(store, scenes, tmp_path)
    record(store, looks[1][1])
    del scenes[looks[0][1].scene.uri]
    settle(store, scenes, tmp_path)
    assert [row[:3] for row in kinds(store)[2:]] == [(12, "still_occupied", ""), (12, "gone", "")]
    empty(store)
    for _, result in looks[:2]:
        record(store, result)
    settle(store, scenes, tmp_path / "empty")
    found = rows(
        store,
        "SELECT kind, evidence -> 'pixels' ->> 'reason' FROM current_changes c "
        "WHERE before_run_id IS NOT NULL",
    )
    assert found == [("gone", "no_pixels")] * 2, "by objects alone"


def test_what_pixels_said_is_kept_when_they_are_gone(store: Store, looks: Any) -> None:
    """The later pass is done anew after the earlier product was deleted: alerts stand."""
    for kind in ("gone", "still_occupied", "cannot_tell"):
        area = watch.box(*AREA)
        watch.rule(store, kind, changes=[kind], area=area, score=0.0)
    scenes = {result.scene.uri: scene for scene, result in looks}
    for _, result in looks[:2]:
        record(store, result)
    settle(store, scenes)
    before, opened = kinds(store), watch.told(store)
    assert [row[1] for row in before[2:]] == ["still_occupied", "gone"]
    del scenes[looks[0][1].scene.uri]
    anew = again(12, [], area=AREA)
    scenes[anew.scene.uri] = looks[1][0]
    record(store, anew)
    settle(store, scenes)
    assert kinds(store) == before and watch.told(store) == opened
    found = rows(
        store,
        """SELECT evidence -> 'pixels' ->> 'counts', evidence -> 'pixels' ->> 'kept_from', before_run_id
           FROM current_changes WHERE before_run_id IS NOT NULL""",
    )
    ((unit,),) = rows(store, "SELECT id FROM change_unit WHERE before_run_id IS NOT NULL AND NOT present")
    assert {row[:2] for row in found} == {("true", unit)}
    events = rows(store, "SELECT DISTINCT event FROM alert_outbox")
    assert {event for (event,) in events} <= {"opened", "amended"}
    record(store, replace(anew, versions=OTHER_ENGINE))  # and once more: it is kept from where it came
    settle(store, {})
    assert kinds(store) == before
    (sources,) = set(
        rows(
            store,
            "SELECT evidence -> 'pixels' ->> 'kept_from' FROM current_changes"
            " WHERE before_run_id IS NOT NULL",
        )
    )
    assert sources == (unit,)
