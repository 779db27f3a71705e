"""Curves and comparisons: by hand, and what must hold."""

from __future__ import annotations

import numpy as np
import pytest

from engine.evaluate.metrics import Pairing, Question, Thing, centre_rule, pair
from engine.evaluate.ranking import (
    against_at_equal_false_alarms,
    any_label,
    average_precision,
    average_precision_95,
    curve,
    ranked,
    recall_by_contrast,
)

CENTRE = centre_rule(10.0)
SHIPS = Question("ship")


def at(x: float, score: float = 1.0, contrast: float | None = None, label: str = "ship") -> Thing:
    return Thing(label, (x - 2, 8, x + 2, 12), 50.0, score, contrast)


def chips(count: int, miss: float, false: float, seed: int) -> list[Pairing]:
    """Chips with three ships each; a detector that misses some and adds others, with telling scores."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(count):
        true = [at(x) for x in (20, 60, 100)]
        found = [at(t.centre_px[0], rng.uniform(0.4, 1)) for t in true if rng.random() > miss]
        found += [at(x, rng.uniform(0, 0.6)) for x in (40, 80, 120) if rng.random() < false]
        out.append(pair(found, true, CENTRE))
    return out


def test_recall_at_false_alarms_by_hand() -> None:
    pairing = pair([at(20, 0.9), at(40, 0.8), at(60, 0.7), at(80, 0.6)], [at(20), at(60), at(100)], CENTRE)
    order, one = ranked([pairing], SHIPS), np.ones(1)
    assert [order.at_false_alarms(one, n) for n in (0, 1, 2)] == pytest.approx([1 / 3, 2 / 3, 2 / 3])
    assert order.counted(one, 0.65) == pytest.approx((2 / 3, 1))


def test_equal_scores_stand_or_fall_together() -> None:
    pairing = pair([at(20, 0.5), at(40, 0.5)], [at(20)], CENTRE)
    assert ranked([pairing], SHIPS).at_false_alarms(np.ones(1), 0) == 0


def test_the_better_detector_wins_and_equals_tie() -> None:
    good, bad = chips(80, 0.05, 0.3, 1), chips(80, 0.4, 0.3, 2)
    found = against_at_equal_false_alarms(good, bad, SHIPS, 0.3, 100)
    assert found["gain_95"][0] > 0.1
    assert found["recall"] == pytest.approx(found["other"] + found["gain"], abs=2e-4)
    same = against_at_equal_false_alarms(good, good, SHIPS, 0.3, 100)
    assert same["gain"] == 0
    assert same["gain_95"] == [0, 0]


def test_labels_left_out() -> None:
    pairing = pair([at(20, 0.9, label="platform")], [at(20)], CENTRE)
    assert pairing.match == (None,)
    assert any_label(pairing, CENTRE).match == (0,)


def test_average_precision_lies_in_its_interval_and_perfect_is_one() -> None:
    for miss, false in ((0.0, 0.0), (0.3, 0.5)):
        found = chips(60, miss, false, 5)
        points = curve(found, SHIPS)
        value = average_precision(points["precision"], points["recall"])
        low, high = average_precision_95(found, SHIPS, 100)
        assert low - 1e-9 <= value <= high + 1e-9
        assert (value > 0.999) is (miss == 0)


def test_recall_by_contrast() -> None:
    true = [at(20, contrast=10), at(60, contrast=20), at(100, contrast=20)]
    found = recall_by_contrast([pair([at(20, 0.9), at(60, 0.2)], true, CENTRE)], SHIPS, 0.5, 20)
    assert found["under 12 dB"]["recall"] == 1
    assert (found["18 to 24 dB"]["recall"], found["18 to 24 dB"]["of"]) == (0, 2)
    assert found["24 dB and more"]["recall"] is None
