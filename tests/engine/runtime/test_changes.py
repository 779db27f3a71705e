"""What the tower sees at the places of a change, and how it is put together with the text."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.runtime.changes import NOTHING, ChangeOdds, by_tower, seen_at
from engine.runtime.forms import CHANGES
from engine.runtime.proposals import Proposal
from engine.runtime.text import Place

PLAIN = ChangeOdds(1.0, 1.0, 0.0, 0.0)
CHANCE = st.floats(0.001, 0.999)


def _proposal(x: int, y: int, chance: float) -> Proposal:
    return Proposal((x - 5, y - 5, x + 5, y + 5), {"ship": chance, "platform": chance / 2})


def test_the_likeliest_object_at_a_place_is_what_is_seen_there() -> None:
    place = Place((40.0, 40.0, 50.0, 50.0), "ship")  # its centre is at (90, 90) of the enlarged chip
    near, nearer, far = _proposal(96, 90, 0.8), _proposal(91, 90, 0.3), _proposal(120, 90, 0.99)
    assert seen_at([near, nearer, far], place, 2.0) == 0.8
    assert seen_at([far], place, 2.0) == NOTHING
    assert seen_at([], place, 2.0) == NOTHING


def test_a_long_object_is_met_within_half_its_length() -> None:
    long = Place((20.0, 40.0, 80.0, 50.0), "ship")
    assert seen_at([_proposal(150, 90, 0.7)], long, 2.0) == 0.7
    assert seen_at([_proposal(170, 90, 0.7)], long, 2.0) == NOTHING


def _chances(seen: tuple[float, float], odds: ChangeOdds = PLAIN) -> dict[str, float]:
    (log,) = by_tower(np.array([seen]), odds)
    return dict(zip(CHANGES, np.exp(log) / np.exp(log).sum(), strict=True))


@given(CHANCE, CHANCE)
def test_plain_odds_are_products_of_what_is_seen(before: float, after: float) -> None:
    told = _chances((before, after))
    assert told["appeared"] == pytest.approx((1 - before) * after)
    assert told["gone"] == pytest.approx(before * (1 - after))
    assert told["still_occupied"] == pytest.approx(before * after)


@given(CHANCE, CHANCE, st.floats(0.2, 3), st.floats(-2, 2), st.floats(-1, 2))
def test_images_swapped_swap_who_came_and_who_left(
    before: float, after: float, slope: float, offset: float, doubt: float
) -> None:
    odds = ChangeOdds(0.5, slope, offset, doubt)
    one, other = _chances((before, after), odds), _chances((after, before), odds)
    assert one["appeared"] == pytest.approx(other["gone"])
    assert one["still_occupied"] == pytest.approx(other["still_occupied"])
    assert one["cannot_tell"] == pytest.approx(other["cannot_tell"])


def test_what_is_seen_in_neither_cannot_be_told() -> None:
    told = _chances((NOTHING, NOTHING), ChangeOdds(0.5, 1.3, 1.5, 0.2))
    assert max(told, key=lambda name: told[name]) == "cannot_tell"
