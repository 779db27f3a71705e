"""Chips: the lattice, the channels, and an enlargement and patches equal to torch's and transformers'."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import InputError
from engine.runtime.image import (
    CHIP_PX,
    CORE_PX,
    MARGIN_PX,
    Cell,
    cell_of,
    channels,
    copol_alone,
    enlargement,
    intensities,
    patches,
)


@given(st.floats(0, 30_000), st.floats(0, 30_000))
def test_every_position_has_one_cell_and_a_margin_around_it(line: float, sample: float) -> None:
    cell = cell_of(line, sample)
    assert cell.holds(line, sample)
    first_line, first_sample = cell.chip_origin_px
    assert MARGIN_PX <= line - first_line < CHIP_PX - MARGIN_PX
    assert MARGIN_PX <= sample - first_sample < CHIP_PX - MARGIN_PX
    assert not Cell(cell.row + 1, cell.col).holds(line, sample)
    assert cell_of(line + CORE_PX, sample) == Cell(cell.row + 1, cell.col)


def test_channels_scale_decibels_linearly_and_hold_their_ends() -> None:
    vv = 10 ** (np.array([[-40.0, -32.0, -14.0, 4.0, 20.0]]) / 10)
    vh = np.full_like(vv, 10 ** (-17.0 / 10))
    out = channels(vv, vh, np.ones(vv.shape, bool))
    assert out[0, 0].tolist() == [0, 0, 128, 255, 255]
    assert set(out[1, 0].tolist()) == {128}
    nothing_stands_out = round(3 / 18 * 255)  # too little sea to say more
    assert set(out[2, 0].tolist()) == {nothing_stands_out}


def test_missing_and_invalid_pixels_are_zero() -> None:
    vv = np.ones((2, 2))
    valid = np.array([[True, False], [True, True]])
    out = channels(vv, None, valid)
    assert out[0].tolist() == [[227, 0], [227, 227]]
    assert not out[1].any()
    assert (out[2] > 0).tolist() == valid.tolist()
    with pytest.raises(InputError, match="no polarisation"):
        channels(None, None, valid)
    with pytest.raises(InputError, match="equal shapes"):
        channels(vv, np.ones((3, 2)), valid)


def test_intensities_come_back_within_a_step() -> None:
    rng = np.random.default_rng(1)
    bands = [10 ** (rng.uniform(low, high, (126, 126)) / 10) for low, high in ((-31.9, 3.9), (-33.9, -0.1))]
    valid = rng.random((126, 126)) < 0.9
    again = intensities(channels(*bands, valid))
    assert (np.isfinite(again) == valid).all()
    for band, got in zip(bands, again, strict=True):
        assert np.abs(10 * np.log10(got[valid] / band[valid])).max() < 0.08


def test_a_chip_without_its_second_band_is_as_if_it_had_never_had_one() -> None:
    rng = np.random.default_rng(2)
    vv, vh = (level * rng.gamma(4.4, 1 / 4.4, (126, 126)) for level in (0.02, 0.004))
    valid = np.ones(vv.shape, bool)
    expected = channels(vv, None, valid)
    got = copol_alone(channels(vv, vh, valid))
    assert (got[:2] == expected[:2]).all()
    assert np.abs(got[2].astype(int) - expected[2]).max() <= 1
    dark = channels(vv / 16, None, valid)  # -29 dB: some pixels below what the channel shows
    assert (dark[0] == 0).any()
    assert np.abs(copol_alone(channels(vv / 16, vh, valid)).astype(int) - dark).mean() < 1.5


@pytest.mark.parametrize(("size_in", "size_out"), [(126, 252), (126, 504), (10, 25)])
def test_enlargement_is_torchs_bicubic(size_in: int, size_out: int) -> None:
    torch = pytest.importorskip("torch")
    image = np.random.default_rng(0).normal(size=(size_in, size_in)).astype(np.float32)
    m = enlargement(size_in, size_out)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(image)[None, None], size=(size_out, size_out), mode="bicubic", align_corners=False
    )[0, 0].numpy()
    np.testing.assert_allclose(m @ image @ m.T, expected, atol=2e-5)


def test_patches_stand_in_the_order_of_transformers_processor() -> None:
    pytest.importorskip("torch")
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    chip = np.random.default_rng(1).integers(0, 256, (3, 56, 56), dtype=np.uint8)
    processor = Qwen2VLImageProcessorPil(
        do_resize=False, image_mean=[0.5] * 3, image_std=[0.5] * 3, do_convert_rgb=False
    )
    theirs = processor(images=[chip.transpose(1, 2, 0)], return_tensors="np")["pixel_values"]
    frames = theirs.reshape(16, 3, 2, 14 * 14)
    np.testing.assert_array_equal(frames[:, :, 0], frames[:, :, 1])
    ours = patches(chip[None], 56)
    np.testing.assert_allclose(ours[0], frames[:, :, 0].reshape(16, -1), atol=1e-6)


def test_patches_of_a_batch_are_those_of_each_chip() -> None:
    chips = np.random.default_rng(2).integers(0, 256, (3, 3, 126, 126), dtype=np.uint8)
    together = patches(chips, 252)
    assert together.shape == (3, 324, 588)
    assert together.dtype == np.float32
    for chip, own in zip(chips, together, strict=True):
        np.testing.assert_allclose(patches(chip[None], 252)[0], own, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "size"), [((3, 126, 126), 252), ((1, 2, 126, 126), 252), ((1, 3, 126, 126), 250)]
)
def test_wrong_shapes_are_refused(shape, size) -> None:
    with pytest.raises(InputError, match="expected"):
        patches(np.zeros(shape, np.uint8), size)
