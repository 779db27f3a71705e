"""The compiled loops against their plain formulas."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from daemon.scan import cells, kernels
from daemon.scan.kernels import CELL_PX, PATCH, LandRuns
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


def widened(patches, rows, cols):
    """Repeat each patch's number for its cells."""
    return patches.repeat(PATCH, 0)[:rows].repeat(PATCH, 1)[:, :cols]


@pytest.mark.parametrize("shape", [(64, 512), (37, 45), (41, 1030), (24, 513), (8, 7), (16, 520)])
def test_cells_are_summed_up(shape):
    rng = np.random.default_rng(shape[1])
    dn = rng.integers(0, 400, shape).astype(np.uint16)
    dn[dn < 20] = 0
    dn[0, 0] = 65_535  # its square needs 32 bits, nine of them 36
    s, square = nine(dn)
    rows, cols = s.shape[0], s.shape[2]
    noise = rng.uniform(0, 5000, (-(-rows // PATCH), -(-cols // PATCH))).astype(np.float32)
    circle = np.zeros((5, rows + rows % PATCH, cols), np.float32)
    kernels.sum_cells(dn, 0, rows, shape[0], noise, circle)
    sums = circle[:, :rows]
    np.testing.assert_allclose(sums[0], s.sum((1, 3)), rtol=1e-6)
    np.testing.assert_allclose(sums[1], (s**2).sum((1, 3)), rtol=1e-6)
    np.testing.assert_allclose(sums[2], s.max((1, 3)), rtol=1e-6)
    np.testing.assert_array_equal(sums[3], (square == 0).sum((1, 3)))
    dark = square < widened(noise, rows, cols)[:, None, :, None]
    np.testing.assert_array_equal(sums[4], dark.sum((1, 3)))


def test_lines_may_lie_in_a_circle():
    dn = np.random.default_rng(3).integers(1, 300, (96, 40)).astype(np.uint16)
    noise = np.full((6, 3), 900, np.float32)
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


@pytest.mark.parametrize("shape", [(30, 40), (31, 41)])
def test_the_sea_around_patches_and_its_limits(shape):
    rng = np.random.default_rng(8)
    guard, radius = 1, 3
    tall, wide = patches = tuple(-(-size // PATCH) for size in shape)
    gains = rng.uniform(2.9e-6, 3.1e-6, patches).astype(np.float32)
    nesz = rng.uniform(0.0039, 0.0041, patches).astype(np.float32)
    gain = widened(gains, *shape).astype(float)
    mean = rng.gamma(30, 0.02 / 30, shape)
    circle = np.zeros((5, PATCH * tall, shape[1]), np.float32)
    sums, ship = circle[:, : shape[0]], (15, 20)
    sums[0] = 64 * 9 * mean / gain
    sums[1] = 64 * 81 * mean**2 * rng.uniform(1.05, 1.15, shape) / gain**2
    sums[2] = 9 * mean * rng.uniform(2, 3, shape) / gain
    sums[(slice(3), *ship)] *= np.array([1e3, 1e6, 1e3])  # to be trimmed
    sea = np.zeros(circle.shape[1:], np.uint8)
    sea[: shape[0]] = rng.random(shape) < 0.8
    sea[ship] = 1
    level_ = np.zeros(sea.shape, np.float32)
    fields, kept = np.zeros((3, *patches), np.int64), np.zeros((4, *patches), np.int64)
    for first in (0, 10):  # in two parts
        stop = 10 if first == 0 else shape[0]
        cells.weigh_cells(first, stop, circle, gains, sea, level_, fields)
    rings = cells.ring_sums(fields, 0, tall, (0, tall), guard, radius)
    cells.trim_cells(0, shape[0], rings, 3.0, circle, gains, nesz, sea, level_, kept)
    rings = cells.ring_sums(kept, 0, tall, (0, tall), guard, radius)
    factors = scan_factors(1e-6, "lognormal")
    found = cells.limit_patches(rings, 10, factors)
    limit = cells.limits(found, gains, nesz)

    level = np.log(sums[2].astype(float) * gain / 9)
    np.testing.assert_allclose(level_[: shape[0]], level, atol=1e-5)
    spoken, keep = sea[: shape[0]] > 0, np.zeros(shape, bool)
    for i, j in np.argwhere(spoken):
        ring = ring_of(spoken, i, j, guard, radius)
        keep[i, j] = level[i, j] <= level[ring].mean() + 3 * level[ring].std()
    assert not keep[ship]
    counted = np.zeros(patches, int)
    np.add.at(counted, tuple(np.argwhere(keep).T // PATCH), 1)
    np.testing.assert_array_equal(kept[0], counted)
    for i, j in ((0, 0), (3, 39), (15, 24), (29, 11)):
        ring = ring_of(keep, i, j, guard, radius)
        around = float((sums[0] * gain / 9 / 64)[ring].mean())
        noise = float(widened(nesz, *shape)[ring].mean())
        square = float((sums[1].astype(float) * gain**2 / 81 / 64)[ring].mean())
        spread = np.sqrt(square - around**2) / around
        at = i // PATCH, j // PATCH
        factor = factors.at(spread, noise / around)
        np.testing.assert_allclose(found[(slice(None), *at)], [around - noise, spread, factor], rtol=2e-5)
        expected = 9 * (around - noise + nesz[at]) * factor / gains[at]
        np.testing.assert_allclose(limit[at], expected, rtol=2e-5)

    searched = (rng.random(shape) < 0.9).astype(np.uint8)
    low = (0.8 * limit).astype(np.float32)
    places, their = cells.cells_over(10, shape[0], circle, low[5:], searched[10:].copy())
    over = (sums[2] > widened(low, *shape)) & (searched > 0)
    over[:10] = False
    np.testing.assert_array_equal(places, np.argwhere(over))
    np.testing.assert_array_equal(their, widened(low, *shape)[over])


def test_narrow_waters_are_described():
    rng = np.random.default_rng(4)
    shape, radius = (26, 31), 4
    patches = tuple(-(-size // PATCH) for size in shape)
    gains, nesz = (np.full(patches, value, np.float32) for value in (2e-6, 0.003))
    mean = rng.gamma(30, 0.02 / 30, shape)
    sums = np.zeros((5, *shape), np.float32)
    sums[0], sums[2] = 64 * 9 * mean / 2e-6, 9 * 2.5 * mean / 2e-6
    sums[1] = 64 * 81 * 1.1 * mean**2 / 2e-6**2
    sums[:3, 12, 9] *= np.array([1e3, 1e6, 1e3])
    water = (rng.random(shape) < 0.3).astype(np.uint8)
    water[12, 9] = 1
    level, fields = np.zeros(shape, np.float32), np.zeros((3, *patches), np.int64)
    cells.weigh_cells(0, 26, sums, gains, np.zeros(shape, np.uint8), level, fields)
    assert not fields.any()
    places = np.array([(0, 0), (7, 8), (12, 15)])
    given_ = (places, (2, 26), radius, 8, 3.0, sums, level, gains, nesz, water)
    found = cells.narrow_waters(*given_)
    water[:2] = 0  # rows that are not there
    for k, (i, j) in enumerate(PATCH * places):
        around = ring_of(water > 0, i, j, 1, radius)
        keep = around & (level <= level[around].mean() + 3 * level[around].std())
        intensity = (sums[0] * 2e-6 / 9 / 64)[keep].mean()
        square = (sums[1].astype(float) * 2e-6**2 / 81 / 64)[keep].mean()
        spread = np.sqrt(square - intensity**2) / intensity
        np.testing.assert_allclose(found[:, k], [intensity - 0.003, spread, 0.003], rtol=2e-5)
    water[:] = 0
    assert (cells.narrow_waters(*given_)[1] == cells.UNKNOWN).all()


def dense(*arrays):
    return (np.ascontiguousarray(values) for values in arrays)


def ring_of(cells_, i, j, guard, radius):
    """Cells of the ring around the patch of a cell."""
    at = np.indices(cells_.shape) // PATCH
    apart = np.maximum(*np.abs(at - np.array([i // PATCH, j // PATCH])[:, None, None]))
    return cells_ & (apart <= radius) & (apart > guard)


def test_too_little_sea_gives_no_limit():
    rings = np.zeros((4, 1, 3), np.int64)
    rings[:, 0, 2] = 50
    found = cells.limit_patches(rings, 40, scan_factors(1e-6, "k"))
    assert np.isinf(found[2, 0, :2]).all() and (found[1, 0, :2] == cells.UNKNOWN).all()
    assert np.isfinite(found[2, 0, 2])
    ones = np.ones((1, 3), np.float32)
    assert np.isinf(cells.limits(found, ones, ones)[0, :2]).all()


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
    np.testing.assert_array_equal(found[:, 1:], np.argwhere(expected))
    np.testing.assert_allclose(sums, s[expected], rtol=1e-6)
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
