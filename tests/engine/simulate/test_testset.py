"""The frozen test set: that it still is what it was when it was frozen."""

from __future__ import annotations

import numpy as np
import pytest

from engine.errors import InputError
from engine.simulate import testset
from engine.simulate.chips import ChipSet
from engine.simulate.objects import PUBLISHED

FIRST = 48
FIRST_TRUTH_SHA256 = "ca6d5aa9c2139b7cd3bf4dea4888ba3e2d673f622f54c91932354aad562b9b4b"
FIRST_MEAN = (109.051, 77.327, 50.968)


@pytest.fixture(scope="module")
def chips() -> ChipSet:
    return testset.test_chips(FIRST)


def test_the_first_chips_are_as_frozen(chips: ChipSet) -> None:
    assert testset.truth_sha256(chips) == FIRST_TRUTH_SHA256
    # another processor may round a few pixels otherwise
    assert chips.pixels.mean((0, 2, 3)) == pytest.approx(FIRST_MEAN, abs=0.01)


def test_the_hash_tells_one_box_from_another(chips: ChipSet) -> None:
    without = ChipSet(chips.pixels, [[]] * FIRST, chips.land_fraction, chips.prior, chips.context)
    assert testset.truth_sha256(without) != testset.truth_sha256(chips)
    assert testset.pixels_sha256(without) == testset.pixels_sha256(chips)


def test_the_set_is_frozen_in_length() -> None:
    with pytest.raises(InputError, match="frozen"):
        testset.test_chips(testset.TEST_CHIPS + 1)


def test_boxes_are_the_blurred_extent_of_3_px_or_more(chips: ChipSet) -> None:
    for targets in chips.truth:
        for target in targets:
            x1, y1, x2, y2 = target.box_px
            assert min(x2 - x1, y2 - y1) >= 3
            # the box holds at least the hull: its diagonal is no shorter than the ship
            assert 10 * np.hypot(x2 - x1, y2 - y1) >= target.length_m


@pytest.mark.slow
def test_the_whole_set_is_as_frozen() -> None:
    assert testset.truth_sha256(testset.test_chips()) == testset.TRUTH_SHA256


def test_cross_sections_follow_the_published_law() -> None:
    # 0.08 L^(7/3) (0.78 + 0.11 incidence): 100 m at 38 degrees is 42.6 dB m2
    seen = PUBLISHED.at_incidence(38.0)
    at_100_m = seen.rcs_80m_db + seen.rcs_decade_db * np.log10(100 / 80)
    assert at_100_m == pytest.approx(10 * np.log10(0.08 * 100 ** (7 / 3) * (0.78 + 0.11 * 38)), abs=1e-9)
    assert at_100_m == pytest.approx(42.66, abs=0.01)
