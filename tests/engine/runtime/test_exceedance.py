"""The channel of what stands out: as the plain rule, whatever the gain, and deaf to what has no data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.evaluate import cfar
from engine.runtime.exceedance import exceedance
from engine.runtime.image import CHIP_PX, channels, intensities

SHAPE = (CHIP_PX, CHIP_PX)
ALL = np.ones(SHAPE, bool)


def sea(seed: int, level: float = 0.02) -> np.ndarray:
    return level * np.random.default_rng(seed).gamma(4.4, 1 / 4.4, SHAPE)


def test_a_ship_stands_out_and_the_sea_does_not() -> None:
    band = sea(0)
    band[60:64, 40:46] *= 20
    z = exceedance([band], ALL)
    assert z[61:63, 41:45].min() > 10
    away = np.ones(SHAPE, bool)
    away[58:66, 38:48] = False
    assert abs(z[away].mean()) < 0.1
    assert z[away].std() == pytest.approx(1, abs=0.15)


def test_it_is_the_prescreens_rule_but_for_the_cells() -> None:
    vv, vh = sea(1), sea(2, 0.004)
    vv[20:26, 30:40] *= 30
    vh[90:94, 90:94] *= 30
    chip = channels(vv, vh, ALL)
    bands = intensities(chip)
    known = np.isfinite(bands).all(axis=0)
    apart = np.abs(cfar.exceedance(chip) - exceedance(list(bands), known))[known]
    assert known.mean() > 0.99
    assert apart.max() < 0.6
    assert apart.mean() < 0.05


@settings(max_examples=20, deadline=None)
@given(st.floats(0.05, 20), st.integers(0, 99))
def test_gain_changes_nothing(gain: float, seed: int) -> None:
    band = sea(seed)
    assert exceedance([band * gain], ALL) == pytest.approx(exceedance([band], ALL), abs=1e-3)


def test_what_has_no_data_is_zero_and_says_nothing_of_the_rest() -> None:
    band, valid = sea(3), ALL.copy()
    valid[:, 80:] = False
    wild = np.where(valid, band, 1e6)
    z = exceedance([wild], valid)
    assert not z[:, 80:].any()
    assert (z == exceedance([np.where(valid, band, np.nan)], valid)).all()
    assert np.abs(z).max() < 6
    assert not exceedance([band], np.zeros(SHAPE, bool)).any()


def test_the_polarisation_that_stands_out_more_counts_and_chips_are_apart() -> None:
    bands = [sea(4), sea(5, 0.004)]
    bands[1][30:33, 30:33] *= 40
    both = exceedance(bands, ALL)
    alone = [exceedance([band], ALL) for band in bands]
    assert (both == np.maximum(*alone)).all()
    stacked = exceedance([np.stack([band, band[::-1]]) for band in bands], np.stack([ALL, ALL]))
    assert stacked[0] == pytest.approx(both, abs=1e-4)
    assert stacked[1] == pytest.approx(both[::-1], abs=1e-4)
