"""Pairs: what lasts is the same, what does not is new, and the truth says no more than pixels can show."""

from __future__ import annotations

import numpy as np
import pytest

from engine.errors import InputError
from engine.runtime.forms import CHANGES
from engine.simulate.pairs import make_pairs, reverse

PAIRS = make_pairs(30, 5)


def test_equal_seeds_give_equal_pairs_and_a_start_goes_on() -> None:
    again = make_pairs(2, 5, start=3)
    for made, other in zip(again, PAIRS[3:5], strict=True):
        assert np.array_equal(made.pixels, other.pixels)
        assert made.places == other.places
    with pytest.raises(InputError):
        make_pairs(-1, 5)


def test_places_have_one_change_each_and_lie_in_the_chip() -> None:
    for pair in PAIRS:
        assert len(pair.places) == len(pair.changes)
        assert set(pair.changes) <= set(CHANGES)
        for place in pair.places:
            x1, y1, x2, y2 = place.box_px
            assert 0 <= x1 < x2 <= 126
            assert 0 <= y1 < y2 <= 126
    seen = [place.seen for pair in PAIRS for place in pair.places]
    assert {"before", "after", "both", ""} == set(seen)
    assert {change for pair in PAIRS for change in pair.changes} == set(CHANGES)


def test_truth_of_both_images_bears_the_changes_out() -> None:
    """Who appeared has a target after and none before; who stayed has both."""
    for pair in PAIRS:
        for place, change in zip(pair.places, pair.changes, strict=True):
            near = [any(_near(target, place.box_px) for target in truth) for truth in pair.truth]
            if change == "appeared":
                assert near[1]
            if change == "gone":
                assert near[0]
            if change == "still_occupied":
                assert all(near)


def _near(target, box) -> bool:
    x1, y1, x2, y2 = box
    return x1 - 6 <= target.sample_px <= x2 + 6 and y1 - 6 <= target.line_px <= y2 + 6


def test_land_is_the_same_and_speckle_is_not() -> None:
    coast = [_correlation(pair) for pair in PAIRS if pair.land_fraction > 0.2]
    sea = [_correlation(pair) for pair in PAIRS if pair.land_fraction == 0 and not pair.places]
    assert len(coast) > 3
    assert sea
    assert np.median(coast) > 0.3
    assert max(coast) < 0.97
    assert np.abs(sea).max() < 0.3


def _correlation(pair) -> float:
    a, b = (pair.pixels[i, 0].astype(float).ravel() for i in (0, 1))
    both = (a > 0) & (b > 0)
    return float(np.corrcoef(a[both], b[both])[0, 1])


def test_a_reversed_pair_swaps_who_came_and_who_left() -> None:
    pair = next(each for each in PAIRS if "appeared" in each.changes)
    other = reverse(pair)
    assert other.changes.count("gone") == pair.changes.count("appeared")
    assert np.array_equal(other.pixels[0], pair.pixels[1])
    assert reverse(other).places == pair.places
