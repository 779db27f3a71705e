from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import InputError
from engine.runtime.image import CHIP_PX
from engine.runtime.prior import NODATA, Prior, anchor_positions, dequantise, gaussian_weights, quantise

ALL_BYTES = np.arange(-127, 128).astype(np.int8)


@pytest.mark.parametrize("name", ["california_coast.csv", "iowa_ag.csv"])
def test_real_vectors_are_exact_and_of_unit_length(real_data: Path, name: str) -> None:
    with (real_data / "alphaearth" / name).open() as file:
        vectors = np.array(
            [[float(row[f"A{band:02d}"]) for band in range(64)] for row in csv.DictReader(file)]
        )
    assert len(vectors) == 720
    back = dequantise(quantise(vectors))
    np.testing.assert_allclose(back, vectors, atol=1e-7)
    # bytes round each component, so the length is one to a few parts in a thousand
    np.testing.assert_allclose(np.linalg.norm(back, axis=1), 1.0, atol=0.01)


def test_every_byte_survives_the_round_trip() -> None:
    np.testing.assert_array_equal(quantise(dequantise(ALL_BYTES)), ALL_BYTES)
    assert (np.diff(dequantise(ALL_BYTES)) > 0).all()
    assert np.isnan(dequantise(np.array([NODATA], np.int8))).all()
    assert quantise(np.array([np.nan]))[0] == NODATA
    assert dequantise(np.array([127], np.int8))[0] == pytest.approx((127 / 127.5) ** 2)


def test_scaled_values_are_not_taken_for_bytes() -> None:
    with pytest.raises(InputError, match="int8"):
        dequantise(np.zeros((64, 4), np.float32))  # type: ignore[arg-type]


def test_anchors_are_evenly_spaced_over_the_whole_chip() -> None:
    positions = anchor_positions()
    assert positions.shape == (36, 2) and positions.dtype == np.float32
    pixels = positions * CHIP_PX - 0.5
    np.testing.assert_allclose(pixels[:6, 1], [10, 31, 52, 73, 94, 115])
    np.testing.assert_allclose(pixels[::6, 0], [10, 31, 52, 73, 94, 115])
    np.testing.assert_allclose(positions + positions[::-1], 1.0, atol=1e-6)


def test_status_follows_the_mask() -> None:
    raw = np.ones((64, 6, 6), np.int8)
    assert Prior.from_bytes(raw, 2023).status == "full"
    raw[5, 0, 1] = NODATA
    partial = Prior.from_bytes(raw, 2023)
    assert (partial.status, partial.year) == ("partial", 2023)
    np.testing.assert_array_equal(np.flatnonzero(~partial.mask), [1])
    assert not partial.vectors[1].any() and partial.vectors[2].all()
    raw[:] = NODATA
    absent = Prior.from_bytes(raw, 2023)
    assert (absent.status, absent.year) == ("absent", None)
    assert Prior.absent().status == "absent" and Prior.absent().vectors.shape == (36, 64)


def test_a_prior_of_wrong_shape_is_refused() -> None:
    with pytest.raises(InputError, match=r"\[S, 64\]"):
        Prior(np.zeros((36, 63), np.float32), anchor_positions(), np.ones(36, bool), None)
    with pytest.raises(InputError, match="finite"):
        Prior(np.full((36, 64), np.nan, np.float32), anchor_positions(), np.zeros(36, bool), None)


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=36, max_size=36), st.integers(3, 18), st.floats(0.5, 3))
def test_weights_are_a_mean_over_known_anchors(known: list[bool], side: int, sigma: float) -> None:
    mask = np.array(known)
    weights = gaussian_weights(anchor_positions(), mask, side, side, sigma)
    assert weights.shape == (side * side, 36)
    assert not weights[:, ~mask].any()
    assert (weights.sum(axis=1) <= 1 + 1e-5).all()
    faded = gaussian_weights(anchor_positions(), mask, side, side, sigma, renormalise=False)
    assert (faded.sum(axis=1) <= 1 + 1e-5).all()
    if mask.all():
        np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=1e-2)


def test_a_token_listens_to_the_anchor_it_lies_on() -> None:
    positions = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    weights = gaussian_weights(positions, np.ones(4, bool), 9, 9).reshape(9, 9, 4)
    np.testing.assert_array_equal(weights[[0, 0, -1, -1], [0, -1, 0, -1]].argmax(axis=1), [0, 1, 2, 3])
    # turning the chip turns the weights
    turned = gaussian_weights(positions[:, ::-1], np.ones(4, bool), 9, 9).reshape(9, 9, 4)
    np.testing.assert_allclose(turned, weights.transpose(1, 0, 2), atol=1e-6)


def test_an_anchor_of_two_years_is_known_where_both_are() -> None:
    raw = np.concatenate([np.full((64, 6, 6), 3, np.int8), np.full((64, 6, 6), 5, np.int8)])
    raw[7, 0, 0] = raw[100, 0, 1] = NODATA
    prior = Prior.from_bytes(raw, 2023)
    assert (prior.years, prior.year, Prior.absent().years) == (2, 2023, 1)
    np.testing.assert_array_equal(np.flatnonzero(~prior.mask), [0, 1])
    np.testing.assert_allclose(prior.vectors[2], np.repeat([(3 / 127.5) ** 2, (5 / 127.5) ** 2], 64))
    with pytest.raises(InputError, match="twice as wide"):
        Prior.from_bytes(np.ones((192, 36), np.int8), 2023)
