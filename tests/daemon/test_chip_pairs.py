"""Two simulated passes, cut by `fusar chips`, to records of change: do they say what the simulator knows?"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from daemon.cli import app as fusar
from daemon.scene.product import Scene, open_scene
from engine.cli import app as fusar_engine
from engine.data.chipfolder import LEAST_CONTRAST_DB
from engine.data.passes import RIM_PX
from engine.data.records import Record, load_images, read_records
from engine.errors import DatasetError
from engine.runtime.image import CHIP_PX
from engine.runtime.land import Coastline
from engine.runtime.text import MAX_PLACES
from engine.simulate import command
from engine.simulate.objects import DEFAULT
from engine.simulate.pairs import VISIBLE_DB

CROWDED = replace(
    DEFAULT,
    ships_per_1000_km2=500.0,
    ships_log_spread=0.1,
    anchored_share=0.8,
    stay_share=0.6,
    mover_share=0.0,
)
NEAR_M = 45.0  # a place's box is that of a detector: it lies a little off


@dataclass(frozen=True)
class Passes:
    """Both products with their truth, and the folders made of them."""

    products: tuple[Path, Path]
    truth: tuple[list[dict], list[dict]]
    folders: tuple[Path, Path]
    lines: tuple[dict[str, dict], dict[str, dict]]
    records: list[Record]


def _run(app, *arguments: object) -> None:
    done = CliRunner().invoke(app, [str(each) for each in arguments])
    assert done.exit_code == 0, done.output


@pytest.fixture(scope="module")
def passes(tmp_path_factory: pytest.TempPathFactory) -> Passes:
    home = tmp_path_factory.mktemp("passes")
    before, after = command.run(home, 1, 5, (700, 800), 2, Coastline.load(), CROWDED)
    later, earlier, data = home / "after", home / "before", home / "data"
    _run(fusar, "chips", after, "--out", later)
    _run(fusar, "chips", before, "--out", earlier, "--at", later)
    _run(fusar_engine, "triplets", later, "--before", earlier, "--out", data, "--validation", 0)
    truth = tuple(_truth(product) for product in (before, after))
    lines = tuple(_lines(folder) for folder in (earlier, later))
    records = [record for record in read_records(data / "stage2.jsonl") if len(record.images) == 2]
    return Passes((before, after), truth, (earlier, later), lines, records)


def _lines(folder: Path) -> dict[str, dict]:
    """Return a chip folder's lines by the names that their chips have in a dataset."""
    lines = map(json.loads, (folder / "chips.jsonl").read_text().splitlines())
    return {line["id"].replace("/", "-"): line for line in lines}


def _truth(product: Path) -> list[dict]:
    document = json.loads(product.with_suffix(".truth.geojson").read_text())
    return [
        {**each["properties"], "lonlat": each["geometry"]["coordinates"]}
        for each in document["features"]
        if each["properties"]["ghost_of"] is None
    ]


def _near(objects: list[dict], lon: float, lat: float, reach_m: float) -> dict | None:
    """Return the object nearest to a place, within reach."""
    east = np.array([each["lonlat"][0] - lon for each in objects]) * np.cos(np.radians(lat))
    apart = 111_195 * np.hypot(east, np.array([each["lonlat"][1] - lat for each in objects]))
    return objects[int(apart.argmin())] if len(objects) and apart.min() <= reach_m else None


def _lines_of(passes: Passes, record: Record) -> tuple[dict, dict]:
    """Return the chip folders' lines of a record's images."""
    names = [Path(image).stem for image in record.images]
    return passes.lines[0][names[0]], passes.lines[1][names[1]]


def _changes(passes: Passes) -> list[Record]:
    return [record for record in passes.records if record.task == "change"]


def _told(record: Record) -> dict:
    return json.loads(record.answer.partition("\n")[0])


def _lonlat(scene: Scene, line: dict, x: float, y: float) -> tuple[float, float]:
    """Return where a point of a chip lies, by the scene's own geometry."""
    first_line, first_sample = line["origin_px"]
    lon, lat = scene.geometry.lonlat(first_line + y - 0.5, first_sample + x - 0.5)
    return float(lon), float(lat)


def test_changes_are_those_of_the_simulator(passes: Passes) -> None:
    told: dict[str, int] = {}
    with open_scene(str(passes.products[1])) as scene:
        for record in _changes(passes):
            answer, lines = _told(record), _lines_of(passes, record)
            for number, place in enumerate(record.known, start=1):
                x1, y1, x2, y2 = place.box_px
                where = _lonlat(scene, lines[1], (x1 + x2) / 2, (y1 + y2) / 2)
                was, is_ = (_near(objects, *where, NEAR_M) for objects in passes.truth)
                assert was or is_, "a place without an object"
                change = answer[str(number)]
                told[change] = told.get(change, 0) + 1
                if change == "cannot_tell":
                    rise_db = lines[is_ is None]["sea_db"] - lines[is_ is not None]["sea_db"]
                    shown_db = [each["contrast_db"] for each in (was, is_) if each]
                    least_db = min(shown_db) - (max(rise_db, 0) if len(shown_db) == 1 else 0)
                    assert least_db < VISIBLE_DB + 4 or not _data_at(record, place.box_px)
                    continue
                assert change == ("still_occupied" if was and is_ else "gone" if was else "appeared")
                assert all(each["contrast_db"] >= VISIBLE_DB for each in (was, is_) if each)
                assert place.label == (is_ or was)["class"] and place.seen == ""
    assert min(told.get(change, 0) for change in ("appeared", "gone", "still_occupied")) >= 5, told
    assert told.get("cannot_tell", 0) >= 1


def _data_at(record: Record, box: tuple[float, ...]) -> bool:
    """Whether both images have data all over a box."""
    x1, y1, x2, y2 = (int(edge) for edge in box)
    return bool(load_images(record)[:, :, y1 : y2 + 1, x1 : x2 + 1].any(axis=1).all())


def test_every_visible_object_is_a_place_and_counts_hold(passes: Passes) -> None:
    changes = _changes(passes)
    by_images = {Path(record.images[1]).stem: record for record in changes}
    seen = 0
    with open_scene(str(passes.products[1])) as scene:
        for name, line in passes.lines[1].items():
            record = by_images.get(name)
            objects = [
                (each, _at(scene, line, each)) for side in passes.truth for each in side
                if each["contrast_db"] >= VISIBLE_DB
            ]  # fmt: skip
            inner = [each for each, at in objects if RIM_PX + 1 < min(at) and max(at) < CHIP_PX - RIM_PX - 1]
            if record is None:
                assert not inner or not _partner(passes, line)
                continue
            places = [
                {"lonlat": _lonlat(scene, line, (x1 + x2) / 2, (y1 + y2) / 2)}
                for x1, y1, x2, y2 in (place.box_px for place in record.known)
            ]
            for each in inner:
                assert len(places) == MAX_PLACES or _near(places, *each["lonlat"], NEAR_M)
                seen += 1
            answer = _told(record)
            for which, side in zip(("before", "after"), passes.truth, strict=True):
                shown = (e for e in side if e["class"] == "ship" and e["contrast_db"] >= LEAST_CONTRAST_DB)
                ships = [_at(scene, line, each) for each in shown]
                surely = sum(4 < min(at) and max(at) < CHIP_PX - 4 for at in ships)
                perhaps = sum(-20 < min(at) and max(at) < CHIP_PX + 20 for at in ships)
                assert surely <= answer[which] <= perhaps, (which, surely, perhaps)
    assert seen >= 30


def _at(scene: Scene, line: dict, each: dict) -> tuple[float, float]:
    """Return where an object of the truth lies in a chip."""
    row, col = scene.geometry.pixel(*each["lonlat"])
    return float(col) - line["origin_px"][1] + 0.5, float(row) - line["origin_px"][0] + 0.5


def _partner(passes: Passes, line: dict) -> bool:
    return any(np.allclose(line["centre"], other["centre"], atol=2e-4) for other in passes.lines[0].values())


def test_chips_cut_at_anothers_places_lie_on_them(passes: Passes) -> None:
    before, after = (list(lines.values()) for lines in passes.lines)
    assert all(line["cell"] is None for line in before) and all(line["cell"] for line in after)
    pairs = [record for record in passes.records if record.task == "change"]
    assert len(before) >= 0.8 * len(after) > 10
    for record in pairs:
        one, other = _lines_of(passes, record)
        apart = 111_195 * (np.array(one["anchors"]) - other["anchors"])
        apart[:, 0] *= np.cos(np.radians(one["centre"][1]))
        assert np.hypot(*apart.T).max() < 10  # rounding to whole pixels, both ways
        assert list(record.dates) == [line["acquired"][:10] for line in (one, other)]


def test_the_later_pass_first_is_refused(passes: Passes, tmp_path: Path) -> None:
    asked = ["triplets", passes.folders[0], "--before", passes.folders[1], "--out", tmp_path / "x"]
    done = CliRunner().invoke(fusar_engine, [*map(str, asked), "--validation", "0"])
    assert isinstance(done.exception, DatasetError) and "the earlier first" in str(done.exception)
