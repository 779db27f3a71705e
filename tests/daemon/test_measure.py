from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from daemon.measure import measure
from tests.support.sea import M_PER_DEG, FlatGeometry, Target, sea_scene


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
            assert got.axis_deg is not None and got.width_m is not None
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
