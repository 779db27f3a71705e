from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from daemon.scan.border import BORDER_ROWS, NEAR_ROWS, unsound_cells
from engine.errors import InputError

A2 = 600.0**2
NESZ = 10**-2.6
BORDER_PX = 12


def speckle(shape: tuple[int, int], sigma0: float, seed: int) -> NDArray[np.uint16]:
    """Digital numbers of a sea of a given sigma0 under the noise, of 4.4 looks, neighbours correlated."""
    rng = np.random.default_rng(seed)
    fields = rng.normal(size=(2, 5, shape[0] + 1, shape[1] + 1))
    fields = (fields[..., :-1, :-1] + fields[..., 1:, :-1] + fields[..., :-1, 1:] + fields[..., 1:, 1:]) / 2
    power = (fields**2).sum(axis=0).mean(axis=0) / 2 * (sigma0 + NESZ) * A2
    return np.clip(np.rint(np.sqrt(power)), 1, 65535).astype(np.uint16)


def cells(dn: NDArray[np.uint16]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Zeros and mean DN^2 of cells of 8 x 8 px; the last line and sample stand for what is beyond."""
    rows, cols = (-(-size // 8) for size in dn.shape)
    full = np.pad(dn, [(0, rows * 8 - dn.shape[0]), (0, cols * 8 - dn.shape[1])], mode="edge")
    parts = full.reshape(rows, 8, cols, 8).astype(np.float32)
    return (parts == 0).sum(axis=(1, 3)).astype(np.float32), (parts**2).mean(axis=(1, 3))


def unsound(
    dn: NDArray[np.uint16], nesz: float | None = NESZ, border_px: int = BORDER_PX
) -> NDArray[np.bool_]:
    zeros, mean = cells(dn)
    noise = np.full(mean.shape, 0.0 if nesz is None else nesz * A2, np.float32)
    gain = np.full(mean.shape, 1 / A2, np.float32)
    return unsound_cells(zeros, mean, noise, 0, 0, border_px, gain)


def stepped(lines: int, widths: tuple[int, ...]) -> NDArray[np.int64]:
    """A width for each line that changes in steps along the scene."""
    return np.repeat(widths, -(-lines // len(widths)))[:lines]


def spread(cells_: NDArray[np.bool_], shape: tuple[int, int]) -> NDArray[np.bool_]:
    return np.repeat(np.repeat(cells_, 8, 0), 8, 1)[: shape[0], : shape[1]]


SHAPE = (1204, 1501)


@pytest.fixture(scope="module")
def dark_sea() -> NDArray[np.uint16]:
    """Calm cross-polarised sea, 10 dB below the noise."""
    return speckle(SHAPE, NESZ / 10, seed=1)


def test_dark_sea_is_no_border(dark_sea: NDArray[np.uint16]) -> None:
    assert not unsound(dark_sea).any()
    assert not unsound(dark_sea, nesz=None).any()  # and not where the table is zero
    # the table may be wrong by as much as was seen in real scenes, and more
    assert not unsound(dark_sea, nesz=NESZ / 0.75).any()


def test_the_steps_of_modern_products_are_taken_off_with_their_border(dark_sea: NDArray[np.uint16]) -> None:
    dn = dark_sea.copy()
    sample = np.arange(SHAPE[1])
    left, right = stepped(SHAPE[0], (40, 133, 75)), SHAPE[1] - stepped(SHAPE[0], (90, 17, 221, 64))
    missing = (sample < left[:, None]) | (sample >= right[:, None])
    dn[missing] = 0
    got = spread(unsound(dn), SHAPE)
    assert got[missing].mean() > 0.99
    lines = np.arange(SHAPE[0])
    step = np.flatnonzero(np.diff(left, prepend=left[0]) + np.diff(right, prepend=right[0]))
    level = (np.abs(lines[:, None] - step) > 24).all(axis=1)  # away from the steps
    for edge, sign in ((left, 1), (right - 1, -1)):
        beside = np.stack([got[lines, edge + sign * k] for k in range(60)])[:, level]
        assert beside[:5].all(), "what lies beside missing data must go"
        assert not beside[32:].any(), "what lies well away must stay"
    assert not got[:, 250:1250].any()


def test_first_and_last_lines_are_no_border(dark_sea: NDArray[np.uint16]) -> None:
    dn = dark_sea.copy()
    dn[:, :60] = 0
    got = unsound(dn)
    assert not got[:, 12:].any() and got[:, :9].all()
    np.testing.assert_array_equal(got[0], got[70])
    np.testing.assert_array_equal(got[-1], got[70])


def old_borders(dn: NDArray[np.uint16], seed: int) -> tuple[NDArray[np.uint16], NDArray[np.bool_]]:
    """Put border noise as of before March 2018 into a scene: small numbers, in steps, beside zeros."""
    rng = np.random.default_rng(seed)
    lines, samples = dn.shape
    sample, line = np.arange(samples), np.arange(lines)[:, None]
    left, right = stepped(lines, (150, 220, 180)), samples - stepped(lines, (260, 130, 190, 90))
    zero = (sample < left[:, None] // 3) | (sample >= right[:, None] + 40)
    noisy = (sample < left[:, None]) | (sample >= right[:, None]) | (line < 90) | (line >= lines - 60)
    out = dn.copy()
    out[noisy] = np.minimum(rng.integers(1, 31, dn.shape), rng.integers(1, 31, dn.shape))[noisy]
    out[zero] = 0
    return out, noisy


@pytest.mark.parametrize("nesz", [NESZ, None])
def test_border_noise_of_old_products_is_taken_off(dark_sea: NDArray[np.uint16], nesz: float | None) -> None:
    dn, noisy = old_borders(dark_sea, seed=3)
    if nesz is None:  # a table of zeros says less: only what lies below -34 dB is too dark
        dn[noisy] = np.minimum(dn[noisy], 9)
    got = spread(unsound(dn, nesz), SHAPE)
    assert got[noisy].mean() > 0.995
    inner = np.zeros(SHAPE, bool)
    inner[140:-110, 270:-310] = True
    assert not got[inner].any()


def test_darkness_that_no_edge_reaches_stays(dark_sea: NDArray[np.uint16]) -> None:
    dn = dark_sea.copy()
    dn[400:560, 500:700] = 3  # a shadow, or a fault: not the border's
    assert not unsound(dn).any()
    dn[400:560, :700] = 3
    got = unsound(dn)
    assert got[50:70, :87].all() and not got[:, 92:].any()
    assert not got[:45].any()


def test_darkness_from_the_first_lines_reaches_so_far_only(dark_sea: NDArray[np.uint16]) -> None:
    dn = dark_sea.copy()
    dn[:, 600:760] = 3  # all the way down: its middle is not the border's
    got = unsound(dn)
    assert got[: BORDER_ROWS + 2, 75:95].all() and got[-BORDER_ROWS - 2 :, 75:95].all()
    assert not got[BORDER_ROWS + 3 : -BORDER_ROWS - 3].any()


@pytest.mark.parametrize(("border_px", "reach"), [(0, 0), (1, 1), (8, 1), (9, 2), (12, 2), (32, 4)])
def test_a_missing_cell_spoils_those_within_the_border(
    dark_sea: NDArray[np.uint16], border_px: int, reach: int
) -> None:
    dn = dark_sea.copy()
    dn[400:408, 480:484] = 0  # 32 of 64: missing
    dn[800:808, 480:483] = 0  # 24: dark water
    expected = np.zeros((151, 188), bool)
    expected[50 - reach : 51 + reach, 60 - reach : 61 + reach] = True
    np.testing.assert_array_equal(unsound(dn, border_px=border_px), expected)


def test_a_border_too_wide_is_refused(dark_sea: NDArray[np.uint16]) -> None:
    for border_px in (-1, 33):
        with pytest.raises(InputError, match="border_px"):
            unsound(dark_sea, border_px=border_px)


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_it_does_not_matter_where_strips_end(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, cols = rng.integers(1, 160), rng.integers(1, 40)
    kind = rng.choice([0, 1, 2], (rows, cols), p=rng.dirichlet([1, 1, 1]))
    kind[: rng.integers(0, 50)] = 1
    kind[:, : rng.integers(0, 10)] = rng.integers(0, 3)
    zeros = np.where(kind == 0, 30, 2).astype(np.float32)
    mean = np.where(kind == 1, 100, 1000).astype(np.float32)
    noise = np.full(mean.shape, 900, np.float32)
    border_px = int(rng.integers(0, 33))
    whole = unsound_cells(zeros, mean, noise, 0, 0, border_px)
    beside = BORDER_ROWS + NEAR_ROWS
    first = 0
    while first < rows:
        stop = min(first + int(rng.integers(1, 60)), rows)
        low, high = max(first - beside, 0), min(stop + beside, rows)
        part = unsound_cells(zeros[low:high], mean[low:high], noise[low:high], low, rows - high, border_px)
        np.testing.assert_array_equal(part[first - low : stop - low], whole[first:stop])
        first = stop
