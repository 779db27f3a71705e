"""`fusar chips`: the chips of candidates and labels, with their objects where the pixels show them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from daemon.chips_command import Label, cut_product, read_labels
from daemon.errors import ConfigError
from engine.runtime.image import Cell, cell_of, channel_stamp
from tests.support.sea import FakeLand, Target, sea_scene

TARGETS = [Target(120, 130, 180, 30, 50), Target(300, 250, 60, 120, 42)]


@pytest.fixture
def scene():
    scene = sea_scene((400, 400), TARGETS, seed=11)
    scene.geometry.look_azimuth_deg = lambda line, sample: np.full(np.shape(line), 90.0)
    scene.relative_orbit = 52
    return scene


def label(scene, line: float, sample: float, **changes) -> Label:
    lon, lat = scene.geometry.lonlat(line, sample)
    values = {"length_m": 180.0, "width_m": 30.0, "axis_deg": 30.0, "contrast_db": 20.0}
    return Label("ship", float(lon), float(lat), **{**values, **changes})


def test_chips_hold_candidates_and_labels_and_their_boxes(scene, tmp_path) -> None:
    labels = [label(scene, 120, 130), label(scene, 40, 350, axis_deg=90.0)]
    land = FakeLand(np.zeros(scene.shape, bool))
    count = cut_product(scene, land, labels, tmp_path, 50, simulated=True)
    lines = [json.loads(each) for each in (tmp_path / "chips.jsonl").read_text().splitlines()]
    assert len(lines) == count
    cells = {tuple(each["cell"]) for each in lines}
    for line, sample in ((120, 130), (300, 250), (40, 350)):
        cell = cell_of(line, sample)
        assert (cell.row, cell.col) in cells
    by_cell = {tuple(each["cell"]): each for each in lines}
    own = cell_of(40, 350)
    chip = by_cell[own.row, own.col]
    (ship,) = chip["objects"]
    x1, y1, x2, y2 = ship["box_px"]
    first_line, first_sample = Cell(*chip["cell"]).chip_origin_px
    assert (x1 + x2) / 2 == pytest.approx(350.5 - first_sample, abs=0.1)
    assert (y1 + y2) / 2 == pytest.approx(40.5 - first_line, abs=0.1)
    # it lies across the lines: 180 m and a point's width long, 30 m and a point's width high
    assert x2 - x1 == pytest.approx(18 + 3.7, abs=0.1)
    assert y2 - y1 == pytest.approx(3 + 3.7, abs=0.1)
    assert chip["labelled"] and chip["simulated"] and len(chip["anchors"]) == 36
    assert chip["channels"] == channel_stamp()
    assert chip["sea_db"] is not None and chip["land_fraction"] == 0
    pixels = np.asarray(Image.open(tmp_path / chip["image"]))
    assert pixels.shape == (126, 126, 3)


def test_an_object_at_a_chips_edge_is_marked_clipped(scene, tmp_path) -> None:
    cut_product(scene, FakeLand(np.zeros(scene.shape, bool)), [label(scene, 120, 130)], tmp_path, 50, False)
    lines = [json.loads(each) for each in (tmp_path / "chips.jsonl").read_text().splitlines()]
    marks = {each["clipped"] for line in lines for each in line["objects"]}
    for line in lines:
        for each in line["objects"]:
            x1, y1, x2, y2 = each["box_px"]
            assert each["clipped"] == (min(x1, y1) < 0 or max(x2, y2) > 126)
    assert False in marks


def test_cutting_anew_replaces_a_products_chips(scene, tmp_path) -> None:
    land = FakeLand(np.zeros(scene.shape, bool))
    for labels in (None, [label(scene, 120, 130)]):
        count = cut_product(scene, land, labels, tmp_path, 50, simulated=False)
    lines = [json.loads(each) for each in (tmp_path / "chips.jsonl").read_text().splitlines()]
    assert len(lines) == count and all(each["labelled"] for each in lines)


def write(path, features, **more):
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features, **more}))
    return path


def feature(**properties):
    return {"geometry": {"type": "Point", "coordinates": [4.0, 0.5]}, "properties": properties}


def test_labels_are_read_and_ghosts_left_out(tmp_path) -> None:
    path = write(tmp_path / "a.geojson", [
        feature(**{"class": "ship", "length_m": 100}),
        feature(**{"class": "ship", "ghost_of": "ship-1"}),
    ], properties={"simulated": True})  # fmt: skip
    labels, simulated = read_labels(path)
    assert simulated
    assert labels == [Label("ship", 4.0, 0.5, 100.0, None, None, None)]


@pytest.mark.parametrize("bad", [feature(**{"class": "boat"}), feature(), {"properties": {"class": "ship"}}])
def test_labels_that_do_not_read_are_refused(tmp_path, bad) -> None:
    with pytest.raises(ConfigError, match="expected GeoJSON"):
        read_labels(write(tmp_path / "a.geojson", [bad]))
    with pytest.raises(ConfigError, match="cannot read"):
        read_labels(tmp_path / "no.geojson")
