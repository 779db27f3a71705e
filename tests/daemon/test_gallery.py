"""The nuisance gallery: one simulated scene of each trap, with exact counts and flags.

What is asserted is what the daemon answers today, faults included; docs/gallery.md judges it. To change an
expectation deliberately: python tools/gallery.py --record.
"""

from __future__ import annotations

import numpy as np
import pytest

from daemon.scene.product import open_scene
from engine.runtime.predictor import Predictor
from engine.simulate.gallery import FRAMES, frame
from tests.support import gallery
from tests.support.gallery import Look, Thing

NAMES = [entry.name for entry in FRAMES]
RADIUS_M = 6_371_000.0


@pytest.fixture(scope="module")
def expected():
    return gallery.expected()


@pytest.fixture(scope="module")
def predictor():
    return Predictor.open(threads=1)


@pytest.fixture(scope="module")
def detected(predictor):
    """Each frame's result, made once."""
    results = {}

    def of(name):
        if name not in results:
            folder = gallery.product(frame(name))
            results[name] = gallery.truth(folder), gallery.detected(folder, predictor)
        return results[name]

    return of


def test_every_nuisance_has_a_frame_and_an_expectation(expected):
    assert list(expected) == NAMES
    assert set(NAMES) == {
        "turbine_field",
        "platform",
        "ice_edge",
        "border_fringe",
        "ghost_of_ship",
        "ghost_of_port",
        "rfi",
        "port",
        "rafted_fleet",
        "aquaculture",
        "land_only",
        "single_polarisation",
        "antimeridian",
    }


@pytest.mark.parametrize("name", NAMES)
def test_the_prescreen_gives_exactly_these(name, expected):
    folder = gallery.product(frame(name))
    found = gallery.scanned(folder)
    assert gallery.prescreen_counts(gallery.truth(folder), found) == expected[name]["prescreen"]


@pytest.mark.parametrize("name", NAMES)
def test_the_engine_gives_exactly_these(name, expected, detected):
    assert gallery.engine_counts(*detected(name)) == expected[name]["engine"]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "land_only"])
def test_what_is_found_stands_where_it_is(name, detected):
    """On the globe, and so across the antimeridian too."""
    things, result = detected(name)
    look = Look(things, result.detections)
    assert any(index is not None for index in look.meant)
    for detection, index in zip(result.detections, look.meant, strict=True):
        if index is None:
            continue
        thing = things[index]
        east = (detection.lon_deg - thing.lon_deg + 180) % 360 - 180
        east_m = np.radians(east) * np.cos(np.radians(thing.lat_deg)) * RADIUS_M
        north_m = np.radians(detection.lat_deg - thing.lat_deg) * RADIUS_M
        assert -180 <= detection.lon_deg <= 180
        assert np.hypot(east_m, north_m) < 10 * thing.reach_px * 1.05


def test_the_antimeridian_parts_the_footprint_and_not_the_ships(detected):
    _, result = detected("antimeridian")
    for area in (result.scene.footprint, result.coverage.valid_area):
        assert len(area.geoms) == 2
        assert sorted(np.sign(part.centroid.x) for part in area.geoms) == [-1, 1]
        assert sum(part.bounds[2] - part.bounds[0] for part in area.geoms) < 0.3
    assert {np.sign(detection.lon_deg) for detection in result.detections} == {-1, 1}


def test_a_single_polarisation_is_read_as_one():
    with open_scene(str(gallery.product(frame("single_polarisation")))) as scene:
        assert scene.polarisations == ("VV",)
        assert scene.name.polarisation == "SV"


def test_the_docs_hold_the_recorded_table(expected):
    text = gallery.DOCS.read_text("utf-8")
    assert gallery.table() in text, "run python tools/gallery.py --record"
    assert all(entry["verdict"] for entry in expected.values())
    assert "images/gallery.png" in text


def answer(line_px, sample_px):
    return Thing("ship", line_px, sample_px, 0.0, 0.0, 50.0)


def test_an_answer_means_the_nearest_thing_and_each_thing_once():
    things = [answer(100, 100), answer(100, 108), answer(300, 300)]
    assert gallery.match(things, [answer(101, 107), answer(99, 101)]) == [1, 0]
    assert gallery.match(things, [answer(300, 311), answer(300, 309), answer(301, 300)]) == [None, None, 2]
    assert gallery.match(things, []) == []
    assert gallery.match([], [answer(1, 1)]) == [None]


def test_a_far_pair_takes_no_near_one_away():
    """The whole assignment must not give up a pair within reach for the sake of one beyond it."""
    things = [answer(0, 0), answer(0, 40)]
    assert gallery.match(things, [answer(0, 9), answer(0, -300)]) == [0, None]
