from __future__ import annotations

import numpy as np
import pytest

from engine.runtime.rings import Rings, clip_ring

STAR = np.array([(0, 0), (4, 0), (4, 4), (2, 1), (0, 4)], float)
SQUARE = np.array([(1, 1), (3, 1), (3, 3), (1, 3)], float)


def area(ring: np.ndarray) -> float:
    x, y = ring.T
    return 0.5 * abs(float(np.dot(x, np.roll(y, -1)) - np.dot(np.roll(x, -1), y)))


def test_clipping_keeps_what_is_inside() -> None:
    half = clip_ring(STAR, 1, 2.0, upper=True)  # two teeth, joined along the cut
    assert half[:, 1].min() == 2.0
    assert area(half) + area(clip_ring(STAR, 1, 2.0, upper=False)) == pytest.approx(area(STAR))
    np.testing.assert_array_equal(clip_ring(STAR, 0, -1.0, upper=True), STAR)
    assert len(clip_ring(STAR, 0, 5.0, upper=True)) == 0


def test_many_rings_are_clipped_as_one_by_one() -> None:
    rng = np.random.default_rng(3)
    rings = [rng.uniform(-1, 1, (n, 2)) + rng.uniform(-2, 2, 2) for n in rng.integers(3, 9, 60)]
    levels = rng.integers(1, 4, 60).tolist()
    low, high = (-1.0, -0.7), (1.2, 0.9)
    together = Rings.of(rings, levels).clip_box(low, high)
    alone = []
    for ring, level in zip(rings, levels, strict=True):
        for axis in (0, 1):
            ring = clip_ring(ring, axis, low[axis], upper=True)
            ring = clip_ring(ring, axis, high[axis], upper=False)
        if len(ring):
            alone.append((ring, level))
    assert 10 < len(together) < 60
    assert [level for _, level in alone] == together.levels.tolist()
    for (expected, _), got in zip(alone, together.split(), strict=True):
        np.testing.assert_allclose(got, expected)


def test_densifying_moves_no_edge() -> None:
    dense = Rings.of([STAR, SQUARE], [1, 2]).densified(0.3)
    assert len(dense) == 2 and dense.levels.tolist() == [1, 2]
    ahead = dense.points[dense.following] - dense.points
    assert np.abs(ahead).max() <= 0.3 + 1e-12
    for ring, original in zip(dense.split(), (STAR, SQUARE), strict=True):
        assert area(ring) == pytest.approx(area(original))
        assert {tuple(point) for point in original} <= {tuple(point) for point in ring}


def test_boxes_and_choices() -> None:
    rings = Rings.of([STAR, SQUARE], [1, 2])
    assert rings.boxes.tolist() == [[0, 0, 4, 4], [1, 1, 3, 3]]
    only = rings.take(np.array([False, True]))
    np.testing.assert_array_equal(only.points, SQUARE)
    assert len(Rings.concatenate([rings, Rings.empty(), only])) == 3
    assert len(Rings.empty().clip_box((0, 0), (1, 1)).densified(0.1)) == 0


def test_points_that_are_nowhere_are_lost() -> None:
    points = np.concatenate([STAR, SQUARE])
    points[5:] = np.nan
    points[1] = np.inf
    moved = Rings.of([STAR, SQUARE], [1, 2]).moved(points)
    assert moved.counts.tolist() == [4] and moved.levels.tolist() == [1]
    np.testing.assert_array_equal(moved.points, np.delete(STAR, 1, axis=0))
