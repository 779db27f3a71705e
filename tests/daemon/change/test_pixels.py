"""The ratio of intensities against simulated speckle."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from daemon.change.chip import SIZE_PX, Chip
from daemon.change.pixels import CHANCE, compare, equivalent_looks, level, odd_box

LOOKS = 4.4
MIDDLE = (SIZE_PX // 2, SIZE_PX // 2)


def chip_of(intensity: NDArray[np.floating], land: NDArray[np.bool_] | None = None) -> Chip:
    decibels = 10 * np.log10(np.maximum(intensity, 1e-8))
    codes = (np.rint((decibels + 80) / 0.002) + 1).astype(np.uint16)[None]
    none = np.zeros(intensity.shape, bool)
    return Chip((0, 0), codes, none if land is None else land, ("VV",), (1e-4, 0, 0, 0, 1e-4, 0))


def speckle(rng: np.random.Generator, size: int = SIZE_PX) -> NDArray[np.float64]:
    """Correlated speckle of mean 1: as in GRD products, looks of band-limited complex fields."""
    frequency = np.fft.fftfreq(size)
    window = np.where(np.abs(frequency) < 0.23, 0.75 + 0.25 * np.cos(2 * np.pi * frequency / 0.46), 0)
    total = np.zeros((size, size))
    for weight in (0.4, 1.0, 1.0, 1.0, 0.4):
        field = rng.normal(size=(size, size)) + 1j * rng.normal(size=(size, size))
        field = np.fft.ifft2(np.fft.fft2(field) * window[:, None] * window[None])
        total += weight * np.abs(field) ** 2
    return total / total.mean()


@pytest.mark.parametrize("side", [1, 3, 9, 21])
def test_equivalent_looks_are_those_of_correlated_speckle(side: int) -> None:
    rng = np.random.default_rng(side)
    means = []
    for _ in range(40):
        image = speckle(rng)
        boxes = image[: SIZE_PX // side * side, : SIZE_PX // side * side]
        boxes = boxes.reshape(SIZE_PX // side, side, SIZE_PX // side, side).mean((1, 3))
        means.append(boxes[:: 2 if side < 5 else 1].ravel())
    sample = np.concatenate(means)
    found = sample.mean() ** 2 / sample.var()
    assert equivalent_looks((side, side), LOOKS) == pytest.approx(found, rel=0.15)


def test_chance_is_what_it_says_where_nothing_changes() -> None:
    rng = np.random.default_rng(5)
    chances = []
    for _ in range(150):
        a, b = (speckle(rng) * scale for scale in (0.01, 0.03))  # the sea is three times brighter after
        before, after = (level(chip_of(image), MIDDLE, (5, 7), LOOKS) for image in (a, b))
        assert before is not None and after is not None
        chances.append(compare(before, after).chance)
    for quantile in (0.1, 0.3, 0.6):
        assert np.mean(np.array(chances) < quantile) == pytest.approx(quantile, abs=0.1)


def appearance(before_db: float, after_db: float) -> str:
    rng = np.random.default_rng(3)
    levels = []
    for db in (before_db, after_db):
        image = 0.01 * speckle(rng)
        image[MIDDLE[0] - 2 : MIDDLE[0] + 3, MIDDLE[1] - 2 : MIDDLE[1] + 3] *= 10 ** (db / 10)
        found = level(chip_of(image), MIDDLE, (5, 5), LOOKS)
        assert found is not None
        levels.append(found)
    return compare(*levels).appearance


def test_appearances() -> None:
    assert appearance(0, 15) == "brighter"
    assert appearance(15, 0) == "darker"
    assert appearance(15, 16) == "bright"
    assert appearance(0, 0) == "dark"


def test_a_common_gain_changes_nothing_and_swapping_turns_the_sign() -> None:
    rng = np.random.default_rng(9)
    first, second = (chip_of(0.01 * speckle(rng)) for _ in range(2))
    brighter = chip_of(0.04 * second.intensity[0] / 0.01)
    a, b, c = (level(chip, MIDDLE, (5, 5), LOOKS) for chip in (first, second, brighter))
    assert a and b and c
    assert compare(a, b).ratio_db == pytest.approx(compare(a, c).ratio_db, abs=0.01)
    assert compare(a, b).ratio_db == pytest.approx(-compare(b, a).ratio_db)
    assert compare(a, b).chance == pytest.approx(compare(b, a).chance)


def test_no_data_and_land_leave_nothing_to_measure() -> None:
    image = 0.01 * speckle(np.random.default_rng(1))
    blank = chip_of(image)
    blank.codes[:, MIDDLE[0] - 10 : MIDDLE[0] + 10] = 0
    assert level(blank, MIDDLE, (5, 5), LOOKS) is None
    assert level(chip_of(image, np.ones(image.shape, bool)), MIDDLE, (5, 5), LOOKS) is None


def test_boxes_are_odd_and_bounded() -> None:
    assert odd_box((0, 0, 1, 4)) == (5, 3)
    assert odd_box((0, 0, 90, 10)) == (11, 41)
    assert CHANCE < 1e-3
