"""The odds of text and tower for changes come back from places drawn with them."""

from __future__ import annotations

import numpy as np
import pytest

from engine.errors import DatasetError
from engine.evaluate.change_odds import TOWER_ALONE, fit_odds, put_together
from engine.runtime.changes import by_tower

RNG = np.random.default_rng


def _drawn(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places of which text knows little and the tower much; its log odds are half of what they should be."""
    rng = RNG(seed)
    right = rng.integers(4, size=count)
    was, is_ = np.isin(right, (1, 2)), np.isin(right, (0, 2))
    seen = 1 / (1 + np.exp(-np.where(np.stack([was, is_], 1), 1.5, -1.5) - rng.normal(0, 1.5, (count, 2))))
    seen = seen.clip(0.015, 0.985)
    log = rng.normal(0, 1, (count, 4))
    log[np.arange(count), right] += 1
    text = np.exp(log) / np.exp(log).sum(1, keepdims=True)
    tower = np.exp(by_tower(seen, TOWER_ALONE))
    return text, tower / tower.sum(1, keepdims=True), right


def test_both_together_know_more_than_either() -> None:
    odds, facts = fit_odds(*_drawn(2000, 1))
    assert facts["both right"] > max(facts["text alone right"], facts["tower alone right"]) + 0.03
    text, tower, right = _drawn(2000, 2)
    seen = np.stack([tower[:, 1] + tower[:, 2], tower[:, 0] + tower[:, 2]], 1)
    both = put_together(text, seen, odds)
    assert both.sum(1) == pytest.approx(1)
    # on other places: as often right as it says
    assert both.max(1).mean() == pytest.approx((both.argmax(1) == right).mean(), abs=0.03)


def test_text_that_knows_nothing_gets_no_say() -> None:
    text, tower, right = _drawn(2000, 3)
    noise = RNG(4).dirichlet(np.ones(4), 2000)
    odds, facts = fit_odds(noise, tower, right)
    assert odds.text < 0.15
    assert facts["both right"] == pytest.approx(facts["tower alone right"], abs=0.02)


def test_too_few_places_fit_nothing() -> None:
    text, tower, right = _drawn(30, 5)
    with pytest.raises(DatasetError, match="more pairs"):
        fit_odds(text, tower, right)
