"""Intervals: they cover as often as they say, and sites are drawn whole."""

from __future__ import annotations

import numpy as np
import pytest

from engine.evaluate.bootstrap import difference, mean, only, resampled_sums, share, site_weights, statistic


def test_sites_are_drawn_whole() -> None:
    sites = ["a", "a", "b", "c", "c", "c"]
    weights = site_weights(6, 200, 1, sites)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 3] == weights[:, 5]).all()
    assert (weights[:, [0, 2, 3]].sum(axis=1) == 3).all()
    assert (site_weights(6, 50, 1).sum(axis=1) == 6).all()


def test_chips_of_one_site_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    flags = np.repeat(rng.random(40) < 0.5, 25)  # forty sites of 25 equal chips
    sites = np.repeat(np.arange(40), 25)
    narrow, wide = (share(flags, sites=each)["share_95"] for each in (None, sites.tolist()))
    assert wide[1] - wide[0] > 3 * (narrow[1] - narrow[0])


def test_interval_by_site_covers_where_the_one_by_chip_does_not() -> None:
    rng = np.random.default_rng(3)
    covered = {"chip": 0, "site": 0}
    for trial in range(150):
        level = np.repeat(rng.random(60) < 0.6, 10)
        sites = np.repeat(np.arange(60), 10).tolist()
        for name, each in (("chip", None), ("site", sites)):
            low, high = share(level, 300, trial, each)["share_95"]
            covered[name] += low <= 0.6 <= high
    assert covered["site"] >= 132
    assert covered["chip"] < 90


def test_means_by_hand() -> None:
    found = mean([1.0, np.nan, 4.0], sites=["a", "b", "c"])
    assert (found["mean"], found["of"]) == (2.5, 2)
    assert mean([])["mean"] is None
    assert share(only([True, True, False], [True, False, True]))["share"] == 0.5
    gain = difference([1, 1, 0, 1], [0, 1, 0, 1])
    assert gain["mean"] == 0.25
    assert difference([1, 0, 1], [1, 0, 1])["mean_95"] == [
        0,
        0,
    ]  # paired: no spread where there is no difference


def test_statistic_of_sums() -> None:
    value, bounds = statistic(np.array([[1, 2], [3, 4]]), lambda s: float(s[0] / s[1]))
    assert value == pytest.approx(4 / 6)
    assert bounds[0] <= value <= bounds[1]
    assert resampled_sums(np.zeros((0, 2)), 5).shape == (5, 2)
