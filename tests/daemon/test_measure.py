from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from daemon.domain import Candidate
from daemon.measure import Patch, measure, measure_candidates, measure_patch
from daemon.measure.region import sidelobes
from engine.simulate import physics
from tests.support.sea import M_PER_DEG, FakeLand, FlatGeometry, Target, sea_scene

SPECKLE = physics.SpeckleBank(np.random.default_rng(0))


def hull(line_px, sample_px, length_m, axis_deg, peak_db, every_m=12.0, width_m=0.0):
    """Equal scatterers along a line, seen with the point spread and in the speckle of the simulator."""
    along = np.linspace(-0.5, 0.5, max(2, round(length_m / every_m) + 1)) * length_m / 10
    along, across = (g.ravel() for g in np.meshgrid(along, np.unique([-width_m / 20, width_m / 20])))
    axis = np.radians(axis_deg)
    line = line_px - along * np.cos(axis) + across * np.sin(axis)
    sample = sample_px + along * np.sin(axis) + across * np.cos(axis)
    return line, sample, np.full((2, len(line)), 10 ** (peak_db / 10)) * [[1.0], [0.08]]


def patch(hulls, box_px, seed=0, size=110, sea_db=(-18.0, -27.0), land=None, change=None):
    """A patch that begins at line 300 and sample 500 of a scene; hulls and box count from there."""
    rng = np.random.default_rng(seed)
    nesz = np.full((2, size, size), 0.003, np.float32)
    power = np.empty_like(nesz)
    power[:] = (10 ** (np.array(sea_db) / 10))[:, None, None]
    power = (power if change is None else power * change) + nesz
    echoes = [physics.render_points(rng, *one, (size, size), 45) for one in hulls]
    bands = [
        physics.detect(
            [SPECKLE.cut(rng, size) for _ in range(physics.LOOKS)],
            np.sqrt(power[band]).astype(np.float32),
            [(lines, samples, echo[band]) for lines, samples, echo in echoes],
        )
        for band in range(2)
    ]
    x1, y1, x2, y2 = box_px
    return Patch(
        intensity=np.stack(bands),
        nesz=nesz,
        valid=np.ones(nesz.shape, bool),
        origin_px=(300, 500),
        spacing_m=(10.0, 10.0),
        box_px=(x1 + 500, y1 + 300, x2 + 500, y2 + 300),
        land=land,
    )


def box_of(target, slack=1.5):
    axis = np.radians(target.axis_deg)
    down = target.length_m / 20 * abs(np.cos(axis)) + slack
    across = target.length_m / 20 * abs(np.sin(axis)) + slack
    line, sample = target.line_px + 0.5, target.sample_px + 0.5
    return (sample - across, line - down, sample + across, line + down)


def fleet(lengths, repeat=8, seed=0):
    rng = np.random.default_rng(seed)
    return [
        Target(
            90 + 110 * i + rng.uniform(-0.5, 0.5),
            90 + 110 * j + rng.uniform(-0.5, 0.5),
            length,
            rng.uniform(0, 180),
            39 + 22 * np.log10(length / 80) + rng.normal(0, 2),
        )
        for i in range(repeat)
        for j, length in enumerate(lengths)
    ]


@pytest.fixture(scope="module")
def targets():
    return fleet((30, 60, 100, 180, 300))


@pytest.fixture(scope="module")
def measures(targets):
    scene = sea_scene((1000, 640), targets, seed=1)
    return [measure(scene, box_of(target)) for target in targets]


def test_lengths_come_without_the_point_spread(targets, measures):
    errors = np.array([m.length_m - t.length_m for t, m in zip(targets, measures, strict=True)])
    assert np.abs(errors).mean() < 12  # the plain extent misses by about 25 m, a box by more
    assert abs(errors.mean()) < 8


def test_intervals_hold_the_length(targets, measures):
    held = [m.length_low_m <= t.length_m <= m.length_high_m for t, m in zip(targets, measures, strict=True)]
    assert np.mean(held) >= 0.9
    assert all(m.length_low_m <= m.length_m <= m.length_high_m for m in measures)


def test_positions(targets, measures):
    errors = [
        10 * np.hypot(m.line_px - t.line_px, m.sample_px - t.sample_px)
        for t, m in zip(targets, measures, strict=True)
    ]
    assert np.median(errors) < 8 and max(errors) < 40


def test_axes_of_long_ships_only(targets, measures):
    short = [got for target, got in zip(targets, measures, strict=True) if target.length_m <= 30]
    assert np.mean([got.axis_deg is None and got.width_m is None for got in short]) > 0.8
    for target, got in zip(targets, measures, strict=True):
        if target.length_m >= 100:
            assert got.axis_deg is not None
            assert abs((got.axis_deg - target.axis_deg + 90) % 180 - 90) < 12
            assert 0 <= got.axis_deg < 180


def test_the_axis_is_a_bearing_on_the_globe():
    target = Target(150.0, 150.0, 200.0, 30.0, 48.0)
    scene = sea_scene((300, 300), [target], seed=2)

    class Mirrored(FlatGeometry):  # samples run west, as in a descending pass
        def lonlat(self, line_px, sample_px, height_m=0.0):
            lon, lat = super().lonlat(line_px, sample_px)
            return self.lon_deg - np.asarray(sample_px, float) * 10.0 / M_PER_DEG, lat

    here = measure(scene, box_of(target)).axis_deg
    there = measure(replace(scene, geometry=Mirrored()), box_of(target)).axis_deg
    assert here == pytest.approx(30, abs=6)
    assert there == pytest.approx(150, abs=6)


def test_ten_pixels_further_is_a_hundred_metres_further():
    target = Target(150.0, 150.0, 120.0, 70.0, 46.0)
    scene = sea_scene((300, 300), [target], seed=2)
    moved = replace(scene, sigma0={k: np.roll(v, 10, 1) for k, v in scene.sigma0.items()})
    x1, y1, x2, y2 = box_of(target)
    first, second = measure(scene, (x1, y1, x2, y2)), measure(moved, (x1 + 10, y1, x2 + 10, y2))
    assert second == replace(first, sample_px=pytest.approx(first.sample_px + 10))


def test_where_nothing_stands_out_the_box_speaks():
    scene = sea_scene((300, 300), seed=3)
    got = measure(scene, (100.0, 120.0, 112.0, 124.0))
    assert got.how == "box"
    assert (got.line_px, got.sample_px, got.length_m) == (121.5, 105.5, 120.0)
    assert got.axis_deg is None and got.peak_db is None
    assert got.length_low_m < 120 < got.length_high_m


def test_a_neighbour_outside_the_box_is_not_measured():
    ship, other = Target(150.0, 150.0, 100.0, 0.0, 45.0), Target(150.0, 162.0, 100.0, 0.0, 50.0)
    scene = sea_scene((300, 300), [ship, other], seed=4)
    got = measure(scene, box_of(ship))
    assert got.sample_px == pytest.approx(150, abs=2)


def test_missing_data_beside_the_object_is_counted():
    target = Target(150.0, 150.0, 100.0, 90.0, 45.0)
    scene = sea_scene((300, 300), [target], seed=4)
    valid = np.ones(scene.shape, bool)
    valid[:, 154:] = False
    assert measure(replace(scene, valid=valid), box_of(target)).invalid_px > 0
    assert measure(scene, box_of(target)).invalid_px == 0


def test_a_box_beyond_all_data():
    scene = sea_scene((300, 300), seed=3)
    got = measure(replace(scene, valid=np.zeros(scene.shape, bool)), (100.0, 120.0, 112.0, 124.0))
    assert got.how == "box" and got.contrast_db is None


def test_the_cross_polarisation_measures_what_the_other_does_not_show():
    scene = sea_scene((300, 300), seed=3)
    scene.sigma0["VH"][140:143, 145:155] += 1.0
    got = measure(scene, (144.0, 138.0, 156.0, 145.0))
    assert got.how == "pixels"
    assert (got.line_px, got.sample_px) == pytest.approx((141, 149.5), abs=1)


SHIP = hull(55.2, 54.7, 150.0, 35.0, 12.0)
SHIP_BOX = (48.0, 46.0, 62.0, 64.0)


def test_the_scale_of_the_numbers_is_nothing():
    plain = patch([SHIP], SHIP_BOX)
    first = measure_patch(plain)
    second = measure_patch(replace(plain, intensity=plain.intensity * 4, nesz=plain.nesz * 4))
    assert second == replace(first, peak_db=pytest.approx(first.peak_db + 10 * np.log10(4), abs=0.011))


def test_a_patch_elsewhere_is_measured_alike():
    here = patch([SHIP], SHIP_BOX)
    x1, y1, x2, y2 = here.box_px
    there = replace(here, origin_px=(307, 488), box_px=(x1 - 12, y1 + 7, x2 - 12, y2 + 7))
    first, second = measure_patch(here), measure_patch(there)
    assert second == replace(
        first, line_px=pytest.approx(first.line_px + 7), sample_px=pytest.approx(first.sample_px - 12)
    )


def test_half_a_turn_keeps_axis_and_length():
    here = patch([SHIP], SHIP_BOX)
    turned = {name: getattr(here, name)[:, ::-1, ::-1] for name in ("intensity", "nesz", "valid")}
    x1, y1, x2, y2 = SHIP_BOX
    box_px = (500 + 110 - x2, 300 + 110 - y2, 500 + 110 - x1, 300 + 110 - y1)
    first, second = measure_patch(here), measure_patch(replace(here, box_px=box_px, **turned))
    assert (second.line_px - 300, second.sample_px - 500) == pytest.approx(
        (109 - (first.line_px - 300), 109 - (first.sample_px - 500)), abs=0.002
    )
    assert second.axis_deg == pytest.approx(first.axis_deg, abs=0.11)
    assert second.length_m == pytest.approx(first.length_m, abs=0.11)


def test_lines_and_samples_exchanged_mirror_the_axis():
    here = patch([SHIP], SHIP_BOX)
    changed = {name: getattr(here, name).transpose(0, 2, 1) for name in ("intensity", "nesz", "valid")}
    x1, y1, x2, y2 = here.box_px
    other = replace(here, origin_px=(500, 300), box_px=(y1, x1, y2, x2), **changed)
    first, second = measure_patch(here), measure_patch(other)
    assert second.axis_deg == pytest.approx((270 - first.axis_deg) % 180, abs=0.11)
    assert second.length_m == pytest.approx(first.length_m, abs=0.11)


@pytest.mark.parametrize("peak_db", [0.0, 12.0, 24.0, 36.0])
def test_brightness_does_not_lengthen(peak_db):
    got = measure_patch(patch([hull(55.2, 54.7, 150.0, 35.0, peak_db)], SHIP_BOX))
    assert got.length_m == pytest.approx(150, abs=20)
    assert got.axis_deg == pytest.approx(35, abs=5)


@pytest.mark.parametrize("peak_db", [10.0, 25.0, 40.0])
def test_a_point_has_no_length_axis_or_width(peak_db):
    got = measure_patch(patch([hull(55.3, 54.6, 0.0, 0.0, peak_db)], (52.0, 52.0, 58.0, 58.0)))
    assert got.how == "pixels"
    assert got.length_m <= 30 and got.axis_deg is None and got.width_m is None
    assert (got.line_px - 300, got.sample_px - 500) == pytest.approx((55.3, 54.6), abs=0.7)


def test_a_box_that_blooms_with_the_sidelobes_says_nothing_of_the_length():
    ship = hull(55.2, 54.7, 150.0, 45.0, 32.0)
    tight, bloomed = (measure_patch(patch([ship], box)) for box in (SHIP_BOX, (30.0, 32.0, 80.0, 78.0)))
    assert bloomed.length_m == pytest.approx(tight.length_m, abs=10)


def test_sidelobes_bound_what_a_point_shows_off_its_main_lobe():
    response = physics.point_response(np.arange(81.0) - 40) ** 2
    bound = sidelobes(np.outer(response, response))[40]
    away = np.arange(5, 38)
    highest = physics.point_response(away + np.linspace(-0.5, 0.5, 11)[:, None]).max(0) ** 2
    assert (2 * bound[40 + away] >= highest).all()  # the level is twice the bound
    assert (bound[40 + away] < 4 * (0.46 / away) ** 2).all()


def test_a_scatterer_past_a_gap_in_the_hull_belongs_to_it():
    broken = [hull(55.0, 47.0, 60.0, 90.0, 10.0), hull(55.0, 61.0, 40.0, 90.0, 6.0)]
    assert measure_patch(patch(broken, (43.0, 53.0, 64.0, 58.0))).length_m == pytest.approx(190, abs=20)


@pytest.mark.parametrize(
    "neighbour",
    [
        hull(55.0, 67.0, 80.0, 90.0, 14.0),  # ahead, 50 m off
        hull(62.5, 55.0, 150.0, 90.0, 14.0),  # alongside, 75 m off
        hull(70.0, 63.0, 120.0, 0.0, 14.0),  # across
    ],
)
def test_a_neighbour_beyond_the_box_is_left_out(neighbour):
    ship = hull(55.0, 53.0, 100.0, 90.0, 10.0)
    got = measure_patch(patch([ship, neighbour], (47.0, 53.0, 60.0, 58.0)))
    assert got.length_m == pytest.approx(100, abs=20)
    assert (got.line_px - 300, got.sample_px - 500) == pytest.approx((55, 53), abs=1.5)


def test_a_brighter_neighbour_is_cut_off_above_the_saddle():
    ship, bright = hull(55.0, 50.0, 80.0, 90.0, 6.0), hull(55.0, 64.0, 120.0, 90.0, 16.0)
    got = measure_patch(patch([ship, bright], (45.0, 53.0, 56.0, 58.0)))
    assert got.sample_px - 500 < 54 and got.length_m < 130


@pytest.mark.parametrize("seed", range(6))
def test_a_box_on_a_dark_pixel_beside_bright_ones_is_measured(seed):
    """Such a candidate once kept the measurement going round for ever."""
    rng = np.random.default_rng(seed)
    sea = patch([], (50.0, 50.0, 51.0, 51.0), seed)
    intensity = sea.intensity.copy()
    intensity[:, 49:52, 49:66] = rng.uniform(1.0, 3.0, (2, 3, 17))
    intensity[:, 50, 50] = 1e-4  # darker than the sea
    got = measure_patch(replace(sea, intensity=intensity))
    assert np.isfinite([got.line_px, got.sample_px, got.length_m]).all()


def test_land_is_neither_sea_nor_ship():
    land = np.zeros((110, 110), bool)
    land[59:] = True
    change = np.where(land, 3000.0, 1.0)
    ship = hull(56.0, 55.0, 120.0, 90.0, 12.0)
    box = (47.0, 53.0, 64.0, 60.0)
    alone = measure_patch(patch([ship], box))
    masked = measure_patch(patch([ship], box, land=land, change=change))
    assert masked.length_m == pytest.approx(alone.length_m, abs=15)
    assert masked.line_px - 300 == pytest.approx(56, abs=1)
    unknown = measure_patch(patch([ship], box, change=change))
    assert abs(unknown.line_px - masked.line_px) > 1.5 or abs(unknown.length_m - masked.length_m) > 30


def test_a_coastline_that_covers_the_box_is_not_believed():
    land = np.zeros((110, 110), bool)
    land[40:70, 30:80] = True
    assert measure_patch(patch([SHIP], SHIP_BOX, land=land)) == measure_patch(patch([SHIP], SHIP_BOX))


def test_a_wake_does_not_lengthen():
    change = np.ones((110, 110))
    change[56:, 54] = 0.3
    change[56:, 56:58] = 2.2
    ship = hull(55.0, 55.0, 100.0, 0.0, 10.0)
    box = (52.0, 48.0, 59.0, 63.0)
    got, plain = measure_patch(patch([ship], box, change=change)), measure_patch(patch([ship], box))
    assert got.length_m == pytest.approx(plain.length_m, abs=12)


def test_only_a_wide_hull_has_a_width():
    narrow = measure_patch(
        patch([hull(55.0, 55.0, 150.0, 20.0, 10.0, width_m=18.0)], (45.0, 45.0, 65.0, 65.0))
    )
    wide = measure_patch(patch([hull(55.0, 55.0, 300.0, 20.0, 14.0, width_m=50.0)], (40.0, 36.0, 70.0, 74.0)))
    assert narrow.width_m is None
    assert wide.width_m == pytest.approx(50, abs=20)
    assert wide.axis_deg == pytest.approx(20, abs=4)


def test_no_data_beside_the_ship_does_not_enter():
    here = patch([SHIP], SHIP_BOX)
    valid = here.valid.copy()
    valid[:, :, 68:] = False
    cut = replace(here, valid=valid, intensity=np.where(valid, here.intensity, np.nan).astype(np.float32))
    assert measure_patch(cut).length_m == pytest.approx(measure_patch(here).length_m, abs=5)


@pytest.mark.parametrize("box_px", [(55.0, 54.0, 55.0, 54.0), (500.0, 500.0, 510.0, 504.0)])
def test_a_box_without_pixels(box_px):
    got = measure_patch(patch([SHIP], box_px, land=np.zeros((110, 110), bool)))
    assert (got.how == "pixels") == (box_px[0] == 55.0)  # an empty box has something beside it


def test_a_patch_without_sea_is_its_box():
    here = patch([SHIP], SHIP_BOX)
    got = measure_patch(replace(here, land=np.ones((110, 110), bool), valid=here.valid & False))
    assert got.how == "box" and got.contrast_db is None


def test_land_comes_from_its_source():
    scene = sea_scene((300, 300), [Target(150.0, 150.0, 120.0, 90.0, 46.0)], seed=6)
    land = np.zeros(scene.shape, bool)
    land[156:] = True
    scene.sigma0["VV"][156:] += 2.0
    box = (142.0, 147.0, 159.0, 154.0)
    assert measure(scene, box, FakeLand(land)).length_m == pytest.approx(120, abs=25)


def found(index, line, sample, contrast_db, half=8):
    box = (sample - half, line - half, sample + half, line + half)
    return Candidate(index, line, sample, 4.0, 0.0, box, 30, ("VV",), 5.0, contrast_db, (0, 0))


def test_candidates_get_a_length_and_keep_the_rest():
    ships = [Target(150.0, 150.0, 150.0, 45.0, 48.0), Target(150.0, 300.0, 80.0, 45.0, 42.0)]
    scene = sea_scene((300, 450), ships, seed=7)
    candidates = [found(0, 150.0, 150.0, 30.0), found(1, 150.0, 300.0, 20.0), found(2, 60.0, 60.0, 8.0, 2)]
    got = measure_candidates(scene, candidates)
    for before, after, length in zip(candidates[:2], got, (150, 80), strict=False):
        size = measure(scene, before.box_px)
        assert after.length_m == size.length_m == pytest.approx(length, abs=25)
        assert (after.length_low_m, after.length_high_m) == (size.length_low_m, size.length_high_m)
        assert after.axis_deg == size.axis_deg
        assert replace(before, **{n: getattr(after, n) for n in LENGTHS}) == after
    assert got[2] == candidates[2]  # nothing stands out there


LENGTHS = ("length_m", "length_low_m", "length_high_m", "width_m", "axis_deg")


def test_only_the_strongest_candidates_are_measured():
    scene = sea_scene((300, 300), [Target(150.0, 150.0, 150.0, 45.0, 48.0)], seed=7)
    candidates = [found(0, 150.0, 150.0, 20.0), found(1, 150.0, 150.0, 30.0)]
    got = measure_candidates(scene, candidates, most=1)
    assert got[0] == candidates[0] and got[1].length_m is not None


def test_a_dark_place_beside_a_brighter_neighbour_is_measured() -> None:
    """Nothing near the box stands out by itself: the seed lies a pixel beyond, on the neighbour's flank."""
    power = np.random.default_rng(0).gamma(4, 1 / 4, (1, 51, 51)) * 0.01
    power[0, 16:35, 20:31] = 0.003
    for step, column in enumerate(range(31, 40)):
        power[0, 22:29, column] = 0.01 * (40 + 60 * step)
    dark = Patch(
        intensity=power,
        nesz=np.full_like(power, 0.001),
        valid=np.ones(power.shape, bool),
        origin_px=(0, 0),
        spacing_m=(10.0, 10.0),
        box_px=(24.0, 24.0, 27.0, 27.0),
        land=None,
    )
    assert measure_patch(dark).sample_px <= 32.0
