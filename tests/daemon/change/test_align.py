"""Laying one pass on another."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, shift

from daemon.change.align import align, holds_land
from daemon.change.chip import SIZE_PX, Chip
from tests.daemon.change.test_pixels import chip_of, speckle

MIDDLE = (SIZE_PX // 2, SIZE_PX // 2)


def coast(rng: np.random.Generator, offset: tuple[float, float], ground: np.ndarray) -> Chip:
    """A coast seen by a pass that lies so many lines and samples beside where it should."""
    land = shift(ground, offset, order=1, mode="nearest") > 0
    return chip_of(speckle(rng) * np.where(land, 0.2, 0.01), land)


@pytest.mark.parametrize("offset", [(0.0, 0.0), (3.0, -2.0), (-1.0, 5.0)])
def test_a_coast_gives_the_offset(offset: tuple[float, float]) -> None:
    rng = np.random.default_rng(2)
    pairs = []
    for _ in range(3):
        ground = gaussian_filter(rng.normal(size=(SIZE_PX, SIZE_PX)), 12)
        pairs.append((coast(rng, offset, ground), MIDDLE, coast(rng, (0.0, 0.0), ground), MIDDLE))
    found = align(pairs)
    assert found.method == "correlation"
    assert found.offset_px == pytest.approx(offset, abs=0.4)
    assert holds_land(pairs[0][2])


def test_open_sea_has_nothing_to_correlate() -> None:
    rng = np.random.default_rng(2)
    sea = [chip_of(0.01 * speckle(rng)) for _ in range(2)]
    assert align([(sea[0], MIDDLE, sea[1], MIDDLE)]).method == "geolocation"
    assert align([]).method == "geolocation"
    assert not holds_land(sea[0])


def test_chips_that_disagree_leave_it_to_geolocation() -> None:
    rng = np.random.default_rng(4)
    pairs = []
    for offset in ((5.0, 0.0), (-5.0, 4.0)):
        ground = gaussian_filter(rng.normal(size=(SIZE_PX, SIZE_PX)), 12)
        pairs.append((coast(rng, offset, ground), MIDDLE, coast(rng, (0.0, 0.0), ground), MIDDLE))
    assert align(pairs).method == "geolocation"
