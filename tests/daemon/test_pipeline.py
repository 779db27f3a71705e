from __future__ import annotations

import json
from dataclasses import fields, replace

import numpy as np
import pytest

from daemon import geojson
from daemon.chips import cells_to_ask, cut_chip
from daemon.pipeline import DetectSettings, process_scene
from daemon.scan import ScanSettings, scan
from daemon.scene.land import SceneLand
from daemon.scene.product import Window, open_scene
from engine.errors import InputError
from engine.runtime.image import CHIP_PX, Cell
from engine.runtime.land import Coastline
from engine.runtime.text import AnswerObject
from tests.support.sea import BrightEngine, FakeLand, FakePriors, FlatGeometry, Target, sea_scene

TARGETS = [
    Target(120, 130, 180, 30, 50),
    Target(257.4, 258.3, 120, 75, 47),  # on the corner of four cells
    Target(300, 420, 60, 120, 42),
    Target(470, 110, 40, 0, 40),
]


@pytest.fixture(scope="module")
def scene():
    return sea_scene((560, 560), TARGETS, seed=11)


@pytest.fixture(scope="module")
def sea(scene):
    return FakeLand(np.zeros(scene.shape, bool))


@pytest.fixture(scope="module")
def result(scene, sea):
    return process_scene(scene, sea, BrightEngine(), None)


def without_times(result):
    return replace(result, timings_s={})


def nearest(result, target):
    return min(
        result.detections, key=lambda d: np.hypot(d.line_px - target.line_px, d.sample_px - target.sample_px)
    )


def test_every_ship_is_found_once_and_measured(result, scene):
    assert result.outcome == "done" and result.reason is None
    for target in TARGETS:
        found = nearest(result, target)
        assert 10 * np.hypot(found.line_px - target.line_px, found.sample_px - target.sample_px) < 25
        assert found.length_m == pytest.approx(target.length_m, abs=30)
        assert (found.lon_deg, found.lat_deg) == pytest.approx(
            scene.geometry.lonlat(found.line_px, found.sample_px), abs=1e-6
        )
        assert result.candidates[found.candidate].state == "confirmed"
    assert len({d.id for d in result.detections}) == len(result.detections) == len(TARGETS)


def test_values_are_plain_numbers(result):
    for value in (*result.detections, *result.candidates, result.coverage, *result.coverage.clutter):
        for field in fields(value):
            assert not isinstance(getattr(value, field.name), np.generic), field.name


def test_the_ledger_of_candidates_balances(result):
    counts = result.counts
    states = ("confirmed", "rejected", "unanswered", "not_examined")
    assert sum(counts[state] for state in states) == counts["candidates"] == len(result.candidates)
    assert counts["detections"] == len(result.detections)
    assert set(result.timings_s) == {"open", "scan", "chips", "engine", "measure", "total"}


def test_a_second_run_gives_the_same(result, scene, sea):
    settings = DetectSettings(scan=ScanSettings())
    again = process_scene(scene, sea, BrightEngine(), None, settings)
    assert without_times(again) == without_times(result)


def test_the_run_key_follows_the_versions(result, scene, sea):
    other = process_scene(scene, sea, BrightEngine(), None, DetectSettings(score_threshold=0.4))
    assert other.run_key != result.run_key
    assert {d.id for d in other.detections}.isdisjoint(d.id for d in result.detections)


def test_a_higher_threshold_gives_a_subset_and_keeps_the_scores(result, scene, sea):
    middle = float(np.median([d.score for d in result.detections]))
    strict = process_scene(scene, sea, BrightEngine(), None, DetectSettings(score_threshold=middle))
    assert strict.detections
    assert {d.box_px for d in strict.detections} < {d.box_px for d in result.detections}
    assert [c.score for c in strict.candidates] == [c.score for c in result.candidates]


def test_an_engine_that_sees_nothing_rejects(scene, sea):
    result = process_scene(scene, sea, BrightEngine(blind=True), None)
    assert result.detections == () and result.outcome == "done"
    assert {c.state for c in result.candidates} == {"rejected"}


def test_a_saturated_answer_leaves_candidates_unanswered(scene, sea):
    result = process_scene(scene, sea, BrightEngine(blind=True, outcome="saturated"), None)
    assert {c.state for c in result.candidates} == {"unanswered"}
    assert result.saturated and result.counts["chips_saturated"] == result.counts["chips"]


def test_chips_beyond_the_limit_are_not_examined(scene, sea, result):
    limited = process_scene(scene, sea, BrightEngine(), None, DetectSettings(max_chips=2))
    assert limited.counts["chips"] == 2 and limited.saturated
    assert {c.state for c in limited.candidates} >= {"confirmed", "not_examined"}
    assert any("max_chips" in note for note in limited.notes)
    assert len(limited.candidates) == len(result.candidates)


def test_no_data_is_empty(scene, sea):
    engine = BrightEngine()
    result = process_scene(replace(scene, valid=np.zeros(scene.shape, bool)), sea, engine, None)
    assert result.outcome == "empty" and result.reason
    assert result.detections == () and engine.requests == []


def test_land_alone_is_irrelevant(scene):
    result = process_scene(scene, FakeLand(np.ones(scene.shape, bool)), BrightEngine(), None)
    assert result.outcome == "irrelevant" and result.coverage.area_km2 == 0


def test_flags_carry_their_evidence():
    ships = [Target(120, 130, 120, 30, 48), Target(300, 545, 200, 90, 50)]
    scene = sea_scene((420, 560), ships, seed=12)
    land = np.zeros(scene.shape, bool)
    land[:, :100] = True
    result = process_scene(scene, FakeLand(land), BrightEngine(), None)
    near = nearest(result, ships[0]).flag("near_land")
    assert near is not None and near.evidence["distance_m"] == pytest.approx(300, abs=50)
    assert nearest(result, ships[0]).shore_m == pytest.approx(near.evidence["distance_m"], abs=1)
    clipped = nearest(result, ships[1])
    assert clipped.flag("near_land") is None and clipped.shore_m > 500
    assert clipped.flag("clipped").evidence["invalid_px"] > 0


def test_one_polarisation_is_stated_and_not_invented():
    scene = sea_scene((400, 400), TARGETS[:1], seed=2, polarisations=("VV",))
    engine = BrightEngine()
    result = process_scene(scene, FakeLand(np.zeros(scene.shape, bool)), engine, None)
    assert len(result.detections) == 1
    assert {request.bands for request in engine.requests} == {("VV",)}
    assert not any(request.chips[0][1].any() for request in engine.requests)


def test_prior_status_and_year_stand_with_the_detection(scene, sea):
    middle = scene.geometry.lonlat(0, 280)[0]
    result = process_scene(scene, sea, BrightEngine(), FakePriors(west_deg=middle))
    west, east = nearest(result, TARGETS[0]), nearest(result, TARGETS[2])
    assert (west.prior_status, west.prior_year) == ("absent", None)
    assert (east.prior_status, east.prior_year) == ("full", 2020)
    assert result.versions.prior == "fake priors 1"


def test_an_unreachable_prior_is_absent_and_recorded_once(scene, sea, result):
    degraded = process_scene(scene, sea, BrightEngine(), FakePriors(reachable=False))
    assert [d.box_px for d in degraded.detections] == [d.box_px for d in result.detections]
    assert {d.prior_status for d in degraded.detections} == {"absent"}
    assert sum("prior absent" in note for note in degraded.notes) == 1


@pytest.mark.parametrize(
    ("polarisations", "spacing_m", "sensor", "says"),
    [
        (("VV", "VH"), 10.0, "Sentinel-1 SM", "got Sentinel-1 IW, trained on Sentinel-1 SM"),
        (("VV", "VH"), 40.0, "Sentinel-1 IW", "got a spacing of 40.0 m, trained at 10 m"),
        (("VH",), 10.0, "Sentinel-1 IW", "got VH, trained with VV or HH"),
    ],
)
def test_what_the_engine_never_saw_is_scanned_and_not_asked(polarisations, spacing_m, sensor, says):
    drawn = sea_scene((400, 400), TARGETS[:1], seed=2, polarisations=polarisations)
    scene = replace(drawn, spacing_m=(spacing_m, spacing_m))
    engine = BrightEngine(sensors=(sensor,))
    result = process_scene(scene, FakeLand(np.zeros(scene.shape, bool)), engine, None)
    assert result.outcome == "done" and not engine.requests and not result.detections
    assert result.candidates and {c.state for c in result.candidates} == {"not_examined"}
    assert result.counts["not_examined"] == len(result.candidates) and not result.saturated
    assert [note for note in result.notes if note.startswith("engine_not_asked") and says in note]
    assert not any("max_chips" in note for note in result.notes)


def test_a_bundle_trained_on_stripmap_is_asked_about_every_beam():
    scene = sea_scene((400, 400), TARGETS[:1], seed=2)
    scene.name = replace(scene.name, mode="S3")
    engine = BrightEngine(sensors=("Sentinel-1 IW", "Sentinel-1 SM"))
    result = process_scene(scene, FakeLand(np.zeros(scene.shape, bool)), engine, None)
    assert len(result.detections) == 1 and not result.notes
    assert {request.sensor for request in engine.requests} == {"Sentinel-1 SM"}


def test_a_chip_keeps_its_noise_and_reaches_beyond_the_scene(scene):
    chip = cut_chip(scene, Cell(0, 0))
    assert chip.shape == (3, CHIP_PX, CHIP_PX)
    assert (chip[:, :20] == 0).all() and (chip[:, :, :20] == 0).all()
    # With the noise left in, no sea pixel of VH lies at the floor of its channel.
    assert (chip[1, 20:, 20:] > 0).mean() > 0.95


def test_the_strongest_cells_are_asked_first(scene, sea):
    candidates = scan(scene, sea).candidates
    all_cells, none_left = cells_to_ask(candidates, 10_000)
    one, left = cells_to_ask(candidates, 1)
    strongest = max(candidates, key=lambda c: c.contrast_db)
    assert one == [Cell(*strongest.cell)] and left == len(all_cells) - 1 and none_left == 0


def test_across_the_antimeridian():
    scene = sea_scene((560, 560), TARGETS, seed=11, geometry=FlatGeometry(lon_deg=179.975))
    result = process_scene(scene, FakeLand(np.zeros(scene.shape, bool)), BrightEngine(), None)
    lon = [d.lon_deg for d in result.detections]
    assert len(lon) == 4 and min(lon) < -179.9 and max(lon) > 179.9


def test_progress_names_the_stages_in_order(scene, sea):
    seen: list[str] = []
    process_scene(scene, sea, BrightEngine(), None, progress=lambda stage, done: seen.append(stage))
    assert list(dict.fromkeys(seen)) == ["open", "scan", "chips", "engine", "measure"]


class DreamingEngine(BrightEngine):
    """Names a ship in every chip where the pixels show none, beside what is bright."""

    def ask(self, requests, progress=None):
        dream = AnswerObject((100.0, 100.0, 104.0, 106.0), "ship", 0.99)
        return [
            replace(answer, objects=(*answer.objects, dream)) for answer in super().ask(requests, progress)
        ]


def test_nothing_afloat_is_half_a_kilometre_long():
    scene = sea_scene((560, 560), [Target(300, 300, 620, 30, 50), Target(120, 420, 330, 30, 50)], seed=13)
    result = process_scene(scene, FakeLand(np.zeros(scene.shape, bool)), BrightEngine(), None)
    assert all(d.length_low_m <= 420 for d in result.detections)
    assert any(d.length_m > 250 for d in result.detections)
    assert result.counts["objects_too_long"] >= 1


def test_text_without_an_echo_is_counted_and_no_detection(scene, sea, result):
    dreamt = process_scene(scene, sea, DreamingEngine(), None)
    assert {d.id for d in dreamt.detections} == {d.id for d in result.detections}
    assert dreamt.counts["objects_without_echo"] >= 1
    assert result.counts["objects_without_echo"] == 0


@pytest.mark.parametrize(("coast_px", "kept"), [(418, True), (414, False), (392, False)])
def test_what_is_nearer_to_land_than_a_coastline_errs_is_no_detection(coast_px, kept):
    """A ship at sea has the chip asked; another lies 6 px before the coast, 2 px before it, or behind it."""
    scene = sea_scene((560, 560), [Target(300, 370, 90, 0, 48), Target(300, 412, 60, 0, 48)], seed=12)
    land = np.zeros(scene.shape, bool)
    land[:, coast_px:] = True
    result = process_scene(scene, FakeLand(land), BrightEngine(), None)
    behind = [d for d in result.detections if d.sample_px > 405]
    assert result.counts["objects_of_land"] == (0 if kept else 1)
    assert [d.flag("near_land") is not None for d in behind] == ([True] if kept else [])


@pytest.mark.parametrize(
    "wrong", [{"score_threshold": 1.5}, {"max_chips": 0}, {"near_land_m": -1.0}, {"coast_m": -1.0}]
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(InputError):
        DetectSettings(**wrong)


def test_geojson_says_what_was_found(result, tmp_path):
    path = tmp_path / "found.geojson"
    geojson.write(geojson.feature_collection(result), path)
    document = json.loads(path.read_text("utf-8"))
    assert document["type"] == "FeatureCollection" and list(tmp_path.iterdir()) == [path]
    assert len(document["features"]) == len(result.detections)
    needed = "id class score length_m width_m axis_deg flags acquisition acquired prior_status engine"
    for feature, detection in zip(document["features"], result.detections, strict=True):
        assert feature["geometry"] == {
            "type": "Point",
            "coordinates": [detection.lon_deg, detection.lat_deg],
        }
        assert set(needed.split()) <= set(feature["properties"])
        assert feature["properties"]["acquired"] == "2021-01-19T17:30:00+00:00"
    assert {c["state"] for c in document["candidates"]} >= {"confirmed"}
    assert document["coverage"]["valid_area"]["type"] == "MultiPolygon"


def test_geojson_of_an_empty_scene_is_valid_json(scene, sea):
    result = process_scene(replace(scene, valid=np.zeros(scene.shape, bool)), sea, BrightEngine(), None)
    document = json.dumps(geojson.feature_collection(result), allow_nan=False)
    assert json.loads(document)["outcome"] == "empty"


def test_a_real_scene_at_twenty_times_the_spacing(real_data):
    """Cape Hatteras, decimated: ships cannot be resolved, so nothing is claimed of detection."""
    folder = real_data / "s1-scene" / "S1A_IW_GRDH_1SDV_20201121_cape_hatteras_20x"
    with open_scene(str(folder)) as scene:
        land = SceneLand(Coastline.load(), scene.geometry)
        result = process_scene(scene, land, BrightEngine(), None)
        whole = Window(0, 0, *scene.shape)
        seen = scene.read("VV", whole).valid & scene.read("VH", whole).valid
        is_land = land.mask(whole)
    assert result.outcome == "done" and result.candidates
    assert any("spacing" in note for note in result.notes)
    assert result.coverage.valid_fraction == pytest.approx(seen.mean(), abs=0.05)
    assert result.coverage.land_fraction == pytest.approx(is_land[seen].mean(), abs=0.02)
    assert result.coverage.smallest_ship_m is None
    for candidate in result.candidates:
        at = round(candidate.line_px), round(candidate.sample_px)
        assert seen[at], "a candidate where there is no data"
    # Capes Henry to Lookout; the sea runs east to the Gulf Stream.
    west, south, east, north = result.coverage.valid_area.bounds
    assert -77.5 < west < -75.5 and -74.5 < east < -72 and 33.5 < south < 36 and 35 < north < 37.5


def test_the_run_key_tells_whether_the_annotation_was_there(result):
    assert not result.scene.annotated, "a scene without annotation"
    whole = replace(result, scene=replace(result.scene, annotated=True))
    assert whole.run_key != result.run_key
    assert replace(whole, scene=replace(whole.scene, kind="AWS")).run_key == whole.run_key
