"""The compiled loops against their plain formulas."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from daemon.scan import cells, kernels
from daemon.scan.kernels import CELL_PX, LandRuns
from daemon.scan.thresholds import scan_factors


def grown(dn, rows, cols):
    """Repeat the last pixels to whole cells, and one around."""
    tall, wide = rows * CELL_PX - dn.shape[0], cols * CELL_PX - dn.shape[1]
    return np.pad(np.pad(dn.astype(float) ** 2, ((0, tall), (0, wide)), mode="edge"), 1, mode="edge")


def nine(dn):
    """The sum of 3 x 3 squares around each pixel of whole cells, and their squares."""
    rows, cols = (-(-size // CELL_PX) for size in dn.shape)
    square = grown(dn, rows, cols)
    height, width = rows * CELL_PX, cols * CELL_PX
    s = sum(square[y : y + height, x : x + width] for y in range(3) for x in range(3))
    shape = (rows, CELL_PX, cols, CELL_PX)
    return s.reshape(shape), square[1:-1, 1:-1].reshape(shape)


@pytest.mark.parametrize("shape", [(64, 512), (37, 45), (41, 1030), (24, 513), (8, 7), (16, 520)])
def test_cells_are_summed_up(shape):
    rng = np.random.default_rng(shape[1])
    dn = rng.integers(0, 400, shape).astype(np.uint16)
    dn[dn < 20] = 0
    dn[0, 0] = 65_535  # its square needs 32 bits, nine of them 36
    s, square = nine(dn)
    rows, cols = s.shape[0], s.shape[2]
    noise = rng.uniform(0, 5000, (rows, cols)).astype(np.float32)
    sums = np.zeros((5, rows, cols), np.float32)
    kernels.sum_cells(dn, 0, rows, shape[0], noise, sums)
    np.testing.assert_allclose(sums[0], s.sum((1, 3)), rtol=1e-6)
    np.testing.assert_allclose(sums[1], (s**2).sum((1, 3)), rtol=1e-6)
    np.testing.assert_allclose(sums[2], s.max((1, 3)), rtol=1e-6)
    np.testing.assert_array_equal(sums[3], (square == 0).sum((1, 3)))
    np.testing.assert_array_equal(sums[4], (square < noise[:, None, :, None]).sum((1, 3)))


def test_lines_may_lie_in_a_circle():
    dn = np.random.default_rng(3).integers(1, 300, (96, 40)).astype(np.uint16)
    noise = np.full((12, 5), 900, np.float32)
    whole, parts = np.zeros((5, 12, 5), np.float32), np.zeros((5, 12, 5), np.float32)
    kernels.sum_cells(dn, 0, 12, 96, noise, whole)
    circle = np.empty((32, 40), np.uint16)
    for row in range(12):  # cells of one row at a time, with a line above and one below
        for line in range(max(row * 8 - 1, 0), min(row * 8 + 9, 96)):
            circle[line % 32] = dn[line]
        kernels.sum_cells(circle, row, row + 1, 96, noise, parts)
    np.testing.assert_array_equal(parts, whole)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 99))
def test_rings_are_summed_up(guard, more, seed):
    radius = guard + more
    values = np.random.default_rng(seed).integers(0, 9, (2, 17, 23))
    padded = np.pad(values, ((0, 0), (radius, radius), (radius, radius)))
    expected = np.zeros_like(values)
    for i in range(17):
        for j in range(23):
            window = padded[:, i : i + 2 * radius + 1, j : j + 2 * radius + 1]
            expected[:, i, j] = window.sum((1, 2)) - window[:, more:-more, more:-more].sum((1, 2))
    np.testing.assert_array_equal(cells.ring_sums(values, 0, 17, (0, 17), guard, radius), expected)
    circle = np.zeros((2, 16, 23), np.int64)  # a part of the rows, in a circle too short for all
    for row in range(1, 17):
        circle[:, row % 16] = values[:, row]
    if radius <= 7:
        part = cells.ring_sums(circle, 8, 10, (0, 17), guard, radius)
        np.testing.assert_array_equal(part, expected[:, 8:10])


def test_the_sea_around_cells_and_its_limits():
    rng = np.random.default_rng(8)
    shape, guard, radius, gain, nesz = (30, 40), 2, 6, 3e-6, 0.004
    mean = rng.gamma(30, 0.02 / 30, shape)
    sums = np.zeros((5, *shape), np.float32)
    sums[0] = 64 * 9 * mean / gain
    sums[1] = 64 * 81 * mean**2 * rng.uniform(1.05, 1.15, shape) / gain**2
    sums[2] = 9 * mean * rng.uniform(2, 3, shape) / gain
    sums[:3, 15, 20] *= np.array([1e3, 1e6, 1e3])  # a ship, to be trimmed
    sea = (rng.random(shape) < 0.8).astype(np.uint8)
    sea[15, 20] = 1
    gains, noises = (np.full(shape, value, np.float32) for value in (gain, nesz))
    fields, kept = np.zeros((3, *shape), np.int64), np.zeros((4, *shape), np.int64)
    rows = (0, shape[0])
    cells.weigh_cells(0, 30, sums, gains, sea, fields)
    rings = cells.ring_sums(fields, 0, 30, rows, guard, radius)
    cells.trim_cells(0, 30, rings, 3.0, sums, gains, noises, fields, kept)
    rings = cells.ring_sums(kept, 0, 30, rows, guard, radius)
    factors = scan_factors(1e-6, "lognormal")
    found = np.empty((3, *shape), np.float32)
    cells.limit_cells(0, 30, rings, 10, factors, gains, noises, np.ones(shape, np.uint8), found)

    level = np.log(sums[2].astype(float) * gain / 9)
    keep = np.zeros(shape, bool)
    for i, j in np.argwhere(sea > 0):
        ring = ring_of(sea > 0, i, j, guard, radius)
        keep[i, j] = level[i, j] <= level[ring].mean() + 3 * level[ring].std()
    assert not keep[15, 20]
    np.testing.assert_array_equal(kept[0] > 0, keep)
    for i, j in ((0, 0), (3, 39), (15, 24), (29, 11)):
        ring = ring_of(keep, i, j, guard, radius)
        around = float((sums[0, ring] * gain / 9 / 64).mean())
        square = float((sums[1, ring].astype(float) * gain**2 / 81 / 64).mean())
        spread = np.sqrt(square - around**2) / around
        limit = 9 * around * factors.at(spread, nesz / around) / gain
        np.testing.assert_allclose(found[:, i, j], [around - nesz, spread, limit], rtol=2e-5)


def dense(*arrays):
    return (np.ascontiguousarray(values) for values in arrays)


def ring_of(cells_, i, j, guard, radius):
    apart = np.maximum(*np.abs(np.indices(cells_.shape) - np.array([i, j])[:, None, None]))
    return cells_ & (apart <= radius) & (apart > guard)


def test_too_little_sea_gives_no_limit():
    rings = np.zeros((4, 1, 3), np.int64)
    rings[:, 0, 2] = 50
    ones = np.ones((1, 3), np.float32)
    found = np.empty((3, 1, 3), np.float32)
    wanted = np.ones((1, 3), np.uint8)
    cells.limit_cells(0, 1, rings, 40, scan_factors(1e-6, "k"), ones, ones, wanted, found)
    assert np.isinf(found[2, 0, :2]).all() and (found[1, 0, :2] == cells.UNKNOWN).all()
    assert np.isfinite(found[2, 0, 2])


@pytest.mark.parametrize("shade_px", [4, 13])
def test_exceeding_pixels_are_taken_away_from_land(shade_px):
    rng = np.random.default_rng(5)
    dn = rng.integers(1, 200, (40, 48)).astype(np.uint16)
    land = np.zeros(dn.shape, bool)
    land[:, :13] = land[30:, 20:22] = True
    edges = np.diff(np.pad(land, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    line, start, stop = dense(*np.nonzero(edges > 0), np.nonzero(edges < 0)[1])
    runs = LandRuns.of(40, line, start, stop)
    s = nine(dn)[0].reshape(40, 48)
    near = ndimage.maximum_filter(land, 5)
    (places,) = dense(np.argwhere(np.ones((5, 6), bool)))
    limits = np.full(len(places), np.quantile(s, 0.7), np.float32)
    found, sums, shaded, _ = kernels.exceeding(
        dn, 40, places, limits, np.ones((5, 6), np.uint8), runs, reach_px=2, shade_px=shade_px
    )
    expected = (s > limits[0]) & ~near
    order = np.lexsort((found[:, 2], found[:, 1]))
    np.testing.assert_array_equal(found[order, 1:], np.argwhere(expected))
    np.testing.assert_allclose(sums[order], s[expected], rtol=1e-6)
    for pixel, value, dark in zip(found[:, 1:], sums, shaded, strict=True):
        outshone = False
        for row, col in np.argwhere(np.ones((5, 6), bool)):
            cell = np.zeros(dn.shape, bool)
            cell[row * 8 : row * 8 + 8, col * 8 : col * 8 + 8] = True
            if (cell & near).any():
                brightest = np.unravel_index(np.where(cell & near, s, -1).argmax(), s.shape)
                apart = np.abs(np.array(brightest) - pixel).max()
                outshone |= s[brightest] > value and apart <= shade_px
        assert dark == outshone


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 4), st.floats(0.01, 0.3))
def test_pixels_are_joined(seed, gap, share):
    over = np.random.default_rng(seed).random((30, 40)) < share
    line, sample = dense(*np.nonzero(over))
    label, count = kernels.link(line, sample, gap)
    # Squares of side gap + 1 around the pixels touch where pixels lie at most gap apart.
    far = ndimage.binary_dilation(np.kron(over, [[1, 0], [0, 0]]), np.ones((2 * gap + 1,) * 2))
    expected, number = ndimage.label(far, np.ones((3, 3)))
    assert count == number
    assert len(np.unique(np.stack([label, expected[2 * line, 2 * sample]]), axis=1).T) == count


def test_clusters_are_summed_up():
    rng = np.random.default_rng(2)
    label = np.array([0, 0, 1, 0, 1], np.int64)
    line, sample = np.array([3, 3, 4, 4, 9]), np.array([7, 8, 30, 7, 31])
    contrast = rng.uniform(2, 9, 5)
    sums, brightest = kernels.sum_clusters(label, 2, line, sample, contrast)
    for k in range(2):
        mine = label == k
        weight = contrast[mine] - 1
        box = [sample[mine].min(), line[mine].min(), sample[mine].max() + 1, line[mine].max() + 1]
        moments = [weight.sum(), (weight * line[mine]).sum(), (weight * sample[mine]).sum()]
        np.testing.assert_allclose(sums[k], [*box, *moments])
        assert brightest[k] == np.flatnonzero(mine)[contrast[mine].argmax()]


def test_arrays_of_the_wrong_kind_are_refused():
    with pytest.raises(Exception, match="argument 1"):
        kernels.sum_cells(
            np.zeros((8, 8), np.int16), 0, 1, 8, np.zeros((1, 1), np.float32), np.zeros((5, 1, 1), np.float32)
        )
