from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import Polygon

from daemon.errors import SceneCorrupt
from daemon.scan import ScanSettings, prescreen, scan
from daemon.scan import band as band_module
from daemon.scan.area import split_antimeridian
from engine.errors import InputError
from tests.support.sea import FakeLand, FakeScene, FlatGeometry, Target, sea_scene


def grid_of_targets(side=5, pitch_px=110, lengths=(25, 40, 60, 120, 250)):
    rng = np.random.default_rng(9)
    return [
        Target(
            line_px=90 + i * pitch_px,
            sample_px=90 + j * pitch_px,
            length_m=lengths[j % len(lengths)],
            axis_deg=rng.uniform(0, 180),
            rcs_db=36 + 22 * np.log10(lengths[j % len(lengths)] / 80),
        )
        for i in range(side)
        for j in range(side)
    ]


@pytest.fixture(scope="module")
def targets():
    return grid_of_targets()


@pytest.fixture(scope="module")
def scene(targets):
    return sea_scene((620, 620), targets, seed=3)


def no_land(scene):
    return FakeLand(np.zeros(scene.shape, bool))


def positions(result):
    return np.array([(c.line_px, c.sample_px) for c in result.candidates]).reshape(-1, 2)


def nearest_m(result, target):
    apart = positions(result) - [target.line_px, target.sample_px]
    return 10 * np.hypot(*apart.T).min() if len(apart) else np.inf


def test_every_planted_target_has_a_candidate(scene, targets):
    result = scan(scene, no_land(scene))
    for target in targets:
        assert nearest_m(result, target) <= max(25, target.length_m / 4), target


def test_empty_sea_gives_few_candidates():
    scene = sea_scene((800, 800), seed=5)
    result = scan(scene, no_land(scene))
    assert len(result.candidates) <= 5  # 64 km2: 800 per 10^4 km2 would be too many
    assert result.coverage.area_km2 == pytest.approx(64, rel=0.06)


def test_a_candidate_says_where_it_is(scene, targets):
    result = scan(scene, no_land(scene))
    target = targets[12]
    candidate = min(
        result.candidates,
        key=lambda c: abs(c.line_px - target.line_px) + abs(c.sample_px - target.sample_px),
    )
    x1, y1, x2, y2 = candidate.box_px
    assert x1 - 0.5 <= candidate.sample_px <= x2 - 0.5 and y1 - 0.5 <= candidate.line_px <= y2 - 0.5
    assert (candidate.lon_deg, candidate.lat_deg) == pytest.approx(
        scene.geometry.lonlat(candidate.line_px, candidate.sample_px)
    )
    assert candidate.cell == (int(candidate.line_px // 86), int(candidate.sample_px // 86))
    assert candidate.contrast_db > 6
    assert [c.index for c in result.candidates] == list(range(len(result.candidates)))


@pytest.mark.parametrize(("chunk_lines", "threads"), [(64, 1), (136, 1), (4096, 1), (256, 8), (8, 11)])
def test_chunks_and_threads_change_nothing(scene, monkeypatch, chunk_lines, threads):
    land = np.zeros(scene.shape, bool)
    land[:200, 400:] = True
    for sample in range(0, 400, 40):  # canals, too narrow for open sea
        land[300:560, sample : sample + 12] = True
    reference = scan(scene, FakeLand(land), threads=1)
    assert reference.counts["cells_unjudged"] < 100
    monkeypatch.setattr(band_module, "_CHUNK_LINES", chunk_lines)
    monkeypatch.setattr(prescreen, "_LEAST_ROWS", 8)
    assert scan(scene, FakeLand(land), threads=threads) == reference


def test_a_bright_target_changes_nothing_beyond_its_windows():
    weak = [Target(300, 300, 60, 40, 34), Target(150, 320, 80, 100, 35)]
    scene = sea_scene((600, 1100), weak, seed=6)
    bright = {name: band.copy() for name, band in scene.sigma0.items()}
    for band in bright.values():
        band[300:305, 800:803] += 3e4
    before = scan(scene, no_land(scene))
    after = scan(FakeScene(sigma0=bright), no_land(scene))
    # Two rings of 1,250 m, one to trim with and one to average over, and the pixel's own cell.
    far = [c for c in after.candidates if c.sample_px < 800 - 2 * 125 - 16]
    assert [replace(c, index=0) for c in far] == [
        replace(c, index=0) for c in before.candidates if c.sample_px < 800 - 2 * 125 - 16
    ]
    assert len(far) >= 2


def test_a_bright_neighbour_hides_no_ship():
    ship = Target(300, 300, 60, 40, 36)
    scene = sea_scene((600, 600), [ship], seed=6)
    for band in scene.sigma0.values():
        band[300:320, 380:384] += 3e3  # in the ring of the ship's background
    assert nearest_m(scan(scene, no_land(scene)), ship) < 25


def test_turning_the_image_turns_the_candidates():
    scene = sea_scene((640, 640), grid_of_targets(4, 130), seed=3)
    turned = FakeScene(sigma0={name: image[::-1, ::-1].copy() for name, image in scene.sigma0.items()})
    before, after = scan(scene, no_land(scene)).candidates, scan(turned, no_land(turned)).candidates
    back = sorted((639 - c.line_px, 639 - c.sample_px) for c in after)
    assert back == [
        pytest.approx(place, abs=0.01) for place in sorted((c.line_px, c.sample_px) for c in before)
    ]


@pytest.mark.parametrize("times", [2, 5])
def test_scaling_the_numbers_with_their_table_changes_nothing(scene, targets, monkeypatch, times):
    reference = scan(scene, no_land(scene))
    numbers, tables = FakeScene.numbers, FakeScene.tables
    monkeypatch.setattr(FakeScene, "numbers", lambda self, name: numbers(self, name) * times)
    monkeypatch.setattr(
        FakeScene,
        "tables",
        lambda *at: (tables(*at)[0] / times**2, tables(*at)[1] * times**2),
    )
    again = scan(scene, no_land(scene))
    assert positions(again) == pytest.approx(positions(reference), abs=0.01)
    assert again.coverage.clutter == reference.coverage.clutter


def test_a_lower_false_alarm_rate_gives_a_subset(scene):
    few = scan(scene, no_land(scene), ScanSettings(false_alarm_rate=1e-9))
    many = scan(scene, no_land(scene), ScanSettings(false_alarm_rate=1e-4))
    assert len(few.candidates) < len(many.candidates)
    for candidate in few.candidates:
        x1, y1, x2, y2 = candidate.box_px
        assert any(
            b[0] <= x1 and b[1] <= y1 and b[2] >= x2 and b[3] >= y2
            for b in (other.box_px for other in many.candidates)
        )


def test_one_polarisation_is_enough(targets):
    scene = sea_scene((620, 620), targets, seed=3, polarisations=("VV",))
    result = scan(scene, no_land(scene))
    assert all(nearest_m(result, target) <= max(25, target.length_m / 4) for target in targets)
    assert {c.polarisations for c in result.candidates} == {("VV",)}


def test_a_target_in_the_cross_polarisation_alone_is_found():
    scene = sea_scene((400, 400), seed=1)
    scene.sigma0["VH"][200:203, 200:203] += 0.5
    near = [c for c in scan(scene, no_land(scene)).candidates if abs(c.line_px - 201) < 3]
    assert len(near) == 1
    assert near[0].polarisations == ("VH",)


def test_negative_power_is_kept():
    scene = sea_scene((400, 400), seed=2)
    clutter = {sea.polarisation: sea for sea in scan(scene, no_land(scene)).coverage.clutter}
    assert (scene.sigma0["VH"] < 0).mean() > 0.1
    assert clutter["VH"].negative_fraction == pytest.approx((scene.sigma0["VH"] < 0).mean(), abs=0.02)
    # Clipping at zero would raise the mean by more than half a decibel.
    assert clutter["VH"].mean_db == pytest.approx(-26, abs=0.3)


def test_what_lies_on_land_is_counted_and_dropped():
    on_land, at_sea = Target(300, 217, 60, 0, 45), Target(300, 420, 60, 0, 45)
    scene = sea_scene((600, 600), [on_land, at_sea], seed=4)
    land = np.zeros(scene.shape, bool)
    land[:, :220] = True
    result = scan(scene, FakeLand(land))
    assert nearest_m(result, on_land) > 500
    assert nearest_m(result, at_sea) < 25
    assert result.counts["pixels_by_land"] >= 1
    assert result.coverage.land_fraction == pytest.approx(220 / 600, abs=0.02)


def test_bright_land_beside_the_sea_hides_no_ship():
    ship = Target(300, 300, 60, 20, 36)
    scene = sea_scene((600, 600), [ship], seed=4)
    land = np.zeros(scene.shape, bool)
    land[:, :260] = True
    for band in scene.sigma0.values():
        band[:, :270] *= 30  # the coastline is 100 m off
    assert nearest_m(scan(scene, FakeLand(land)), ship) < 25


def test_border_noise_is_no_target():
    scene = sea_scene((600, 600), seed=8)
    valid = np.ones(scene.shape, bool)
    valid[:, :70] = valid[:250, :100] = False
    for band in scene.sigma0.values():
        band[:250, 100:104] = band[250:, 70:74] = 1.0
    result = scan(replace(scene, valid=valid), no_land(scene))
    assert not [c for c in result.candidates if c.sample_px < 120]


def test_single_dark_pixels_are_water():
    scene = sea_scene((400, 400), seed=8)
    valid = np.ones(scene.shape, bool)
    valid[20::40, 20::40] = False
    result = scan(replace(scene, valid=valid), no_land(scene))
    assert result.coverage.valid_fraction > 0.9


def test_a_polarisation_without_data_does_not_hide_the_other(targets):
    scene = sea_scene((620, 620), targets, seed=3)
    empty = np.zeros(scene.shape, np.uint16)
    numbers = scene.numbers
    scene.numbers = lambda name: numbers(name) if name == "VV" else empty
    result = scan(scene, no_land(scene))
    assert any("VH" in note for note in result.notes)
    assert result.coverage.valid_fraction > 0.9
    assert all(nearest_m(result, target) <= max(25, target.length_m / 4) for target in targets)


@pytest.mark.parametrize(("ipf", "searched"), [("003.31", True), ("002.70", False)])
def test_a_table_of_noise_that_is_too_high_is_no_border(ipf, searched):
    scene = sea_scene((300, 300), seed=4, sea_db=(-18.0, -60.0))
    scene.ipf = ipf
    tables = scene.tables
    scene.tables = lambda *at: (tables(*at)[0], tables(*at)[1] * 4)  # VH holds the noise alone
    result = scan(scene, no_land(scene))
    assert result.coverage.valid_fraction > 0.9
    # In an old product it could be border noise.
    assert searched == (not any(note.startswith("VH") for note in result.notes))


def test_water_that_cannot_be_judged_was_not_looked_at():
    scene = sea_scene((400, 400), [Target(200, 205, 60, 0, 45)], seed=1)
    land = np.ones(scene.shape, bool)
    land[190:214, 190:222] = False  # a pond of a dozen cells
    result = scan(scene, FakeLand(land))
    assert result.candidates == () and result.counts["cells_unjudged"] > 0
    assert result.coverage.area_km2 == 0 and result.coverage.land_fraction < 1


def test_a_band_that_cannot_be_read_ends_the_scan_early():
    scene = sea_scene((4000, 64), seed=1)
    read = scene.read_lines

    def read_lines(name, first, out):
        if name == "VV" and first >= 512:
            raise SceneCorrupt("VV breaks off")
        time.sleep(0.002)
        read(name, first, out)

    scene.read_lines = read_lines
    with pytest.raises(SceneCorrupt, match="breaks off"):
        scan(scene, no_land(scene), threads=2)
    assert scene.reads < 100, "VH alone is 125 pieces, VV gave 16 before it broke off"


def test_no_data_at_all():
    scene = sea_scene((300, 300), seed=1)
    result = scan(replace(scene, valid=np.zeros(scene.shape, bool)), no_land(scene))
    assert result.candidates == () and result.coverage.valid_fraction == 0
    assert result.coverage.valid_area.is_empty and result.coverage.smallest_ship_m is None


def test_land_only():
    scene = sea_scene((300, 300), [Target(150, 150, 60, 0, 45)], seed=1)
    result = scan(scene, FakeLand(np.ones(scene.shape, bool)))
    assert result.candidates == () and result.coverage.area_km2 == 0
    assert result.coverage.land_fraction == 1 and result.notes


def test_the_limit_keeps_the_strongest_and_counts_the_rest(scene):
    whole = scan(scene, no_land(scene))
    cut = scan(scene, no_land(scene), ScanSettings(max_candidates=10))
    assert cut.saturated and not whole.saturated
    assert cut.counts["candidates_over_limit"] == len(whole.candidates) - 10
    strongest = sorted(whole.candidates, key=lambda c: -c.contrast_db)[:10]
    assert {(c.line_px, c.sample_px) for c in cut.candidates} == {(c.line_px, c.sample_px) for c in strongest}


def test_a_huge_bright_area_is_cut_along_the_lattice():
    scene = sea_scene((600, 700), seed=2)
    for band in scene.sigma0.values():
        band[400:404, 300:600] += 30
    cells = {c.cell for c in scan(scene, no_land(scene)).candidates}
    assert {(4, col) for col in range(3, 7)} <= cells


def test_the_area_lies_where_the_sea_is():
    scene = sea_scene((640, 640), seed=2, geometry=FlatGeometry(lon_deg=4.0))
    land = np.zeros(scene.shape, bool)
    land[:, :320] = True
    area = scan(scene, FakeLand(land)).coverage.valid_area
    west, south, east, north = area.bounds
    assert west == pytest.approx(scene.geometry.lonlat(0, 319.5)[0], abs=1e-4)
    assert (south, north) == pytest.approx(
        (scene.geometry.lonlat(639.5, 0)[1], scene.geometry.lonlat(-0.5, 0)[1])
    )
    assert area.is_valid


def test_the_area_is_split_at_the_antimeridian():
    scene = sea_scene((512, 512), seed=2, geometry=FlatGeometry(lon_deg=179.98))
    coverage = scan(scene, no_land(scene)).coverage
    assert len(coverage.valid_area.geoms) == 2
    for part in coverage.valid_area.geoms:
        assert part.bounds[2] - part.bounds[0] < 0.1
    assert {180.0, -180.0} <= {round(edge, 9) for part in coverage.valid_area.geoms for edge in part.bounds}


def test_progress_ends_at_one(scene):
    seen: list[float] = []
    scan(scene, no_land(scene), progress=seen.append)
    assert seen == sorted(seen) and seen[-1] == 1.0


@pytest.mark.parametrize("wrong", [{"false_alarm_rate": 0.0}, {"guard_m": 1300.0}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(InputError):
        ScanSettings(**wrong)


@settings(deadline=None, max_examples=25)
@given(st.floats(-180, 180), st.floats(0.1, 5))
def test_a_split_keeps_the_area(west, width):
    parts = split_antimeridian(Polygon([(west, 0), (west + width, 0), (west + width, 1), (west, 1)]))
    assert sum(part.area for part in parts) == pytest.approx(width)
    assert all(-180 <= part.bounds[0] and part.bounds[2] <= 180 for part in parts)
