"""Calibration: lowers the error of what is miscalibrated, leaves the order, refuses what says nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import DatasetError, InputError
from engine.evaluate.calibration import expected_error, fit, quality, reliability, wilson
from engine.runtime.calibration import logistic, table
from engine.runtime.spec import Calibration


def sample(count: int, seed: int, slope: float = 2.5, shift: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Outcomes of true probabilities, shown as scores that are too sure and too high."""
    rng = np.random.default_rng(seed)
    true = rng.beta(1.2, 0.8, count)
    odds = np.log(true / (1 - true))
    return 1 / (1 + np.exp(-(slope * odds + shift))), rng.random(count) < true


@pytest.mark.parametrize("method", ["logistic", "table"])
def test_a_fit_lowers_the_error_on_other_data_and_keeps_the_order(method) -> None:
    score, hit = sample(3000, 0)
    other, there = sample(3000, 1)
    fitted = fit(score, hit, method=method)
    moved = np.array([fitted.apply(value) for value in other])
    assert expected_error(other, there) > 0.1
    assert expected_error(moved, there) < 0.05
    order = np.argsort(other, kind="stable")
    assert (np.diff(moved[order]) >= -1e-12).all()
    assert moved.min() >= 0
    assert moved.max() <= 1


def test_logistic_recovers_what_was_done() -> None:
    score, hit = sample(40_000, 2, slope=2.0, shift=1.0)
    fitted = fit(score, hit)
    assert fitted.slope == pytest.approx(0.5, abs=0.03)
    assert fitted.intercept == pytest.approx(-0.5, abs=0.05)


def test_what_cannot_be_fitted() -> None:
    with pytest.raises(DatasetError):
        fit([0.5] * 30, [True] * 30)
    score = np.linspace(0.1, 0.9, 400)
    with pytest.raises(InputError):
        fit(score, np.random.default_rng(0).random(400) > score)


def test_true_probabilities_show_little_error() -> None:
    rng = np.random.default_rng(7)
    score = rng.random(5000)
    hit = rng.random(5000) < score
    found = quality(score, hit, np.arange(5000) // 2, 100)
    assert found["expected_error"] < 0.03
    assert found["brier"] == pytest.approx(1 / 6, abs=0.01)
    inside = sum(row["share_95"][0] <= row["score"] <= row["share_95"][1] for row in found["curve"])
    assert inside >= 8
    assert sum(row["of"] for row in found["curve"]) == 5000


def test_expected_error_by_hand() -> None:
    assert expected_error([0.8] * 10, [True] * 5 + [False] * 5) == pytest.approx(0.3)
    assert reliability([0.8] * 4, [1, 1, 1, 0])[0]["share"] == 0.75
    low, high = wilson(0.5, 100)
    assert (round(low, 3), round(high, 3)) == (0.404, 0.596)
    assert quality([], [], [])["of"] == 0


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0.05, 5), st.floats(-4, 4))
def test_logistic_is_monotone(a: float, b: float, slope: float, intercept: float) -> None:
    low, high = sorted((a, b))
    assert logistic(low, slope, intercept) <= logistic(high, slope, intercept)


def test_table_by_hand() -> None:
    knots = ((0.2, 0.1), (0.6, 0.5))
    assert [table(score, knots) for score in (0.0, 0.2, 0.4, 0.6, 1.0)] == pytest.approx(
        [0.1, 0.1, 0.3, 0.5, 0.5]
    )


def test_identity_without_calibration_and_malformed_ones_are_refused() -> None:
    assert [Calibration().apply(score) for score in (0.0, 0.3, 1.0)] == [0.0, 0.3, 1.0]
    for wrong in ({"slope": -1.0}, {"knots": ((0.5, 0.5), (0.4, 0.6))}):
        with pytest.raises(ValueError, match="got|greater"):
            Calibration(**wrong)
