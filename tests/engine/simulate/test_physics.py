from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.simulate import clutter, fields, objects, physics


def _lag(image: np.ndarray, lag: int, axis: int) -> float:
    centred = np.moveaxis(image - image.mean(), axis, 0)
    return float((centred[lag:] * centred[:-lag]).mean() / centred.var())


@pytest.fixture(scope="module")
def speckle_bank() -> physics.SpeckleBank:
    return physics.SpeckleBank(np.random.default_rng(1), fields=3, size=512)


def _image(bank: physics.SpeckleBank, power: np.ndarray, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return physics.detect([bank.cut(rng, len(power)) for _ in range(physics.LOOKS)], np.sqrt(power), [])


def test_speckle_has_the_looks_and_the_correlation_of_real_products(
    speckle_bank: physics.SpeckleBank,
) -> None:
    image = _image(speckle_bank, np.full((400, 400), 0.02, np.float32))
    assert image.mean() == pytest.approx(0.02, rel=0.05)
    assert 4.0 < image.mean() ** 2 / image.var() < 4.8
    for axis in (0, 1):
        assert 0.58 < _lag(image, 1, axis) < 0.68
        assert _lag(image, 2, axis) < 0.25
        assert abs(_lag(image, 6, axis)) < 0.05


def test_sea_correlates_as_real_unclipped_blocks_do(
    real_data: Path, speckle_bank: physics.SpeckleBank
) -> None:
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    lags = []
    with pytest.warns(NotGeoreferencedWarning):
        for path in sorted((real_data / "s1-sea-tiles").rglob("*.png")):
            with rasterio.open(path) as tile:
                stored = tile.read(1).astype(float)
            for block in stored[: len(stored) // 64 * 64].reshape(-1, 64, stored.shape[1]):
                for start in range(0, block.shape[1] - 63, 64):
                    part = block[:, start : start + 64]
                    if part.min() > 0 and part.max() < 255:
                        power = 10 ** (part / 255 * 2.5 - 2.5)
                        lags.append((_lag(power, 1, 1), _lag(power, 2, 1)))
    assert len(lags) > 5
    textures = clutter.TextureBank(np.random.default_rng(2), size=512)
    simulated = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        state = clutter.draw_sea_state(rng, wind_m_s=8.0)
        power = clutter.draw_sea(rng, textures, state, 96)[0] + 10**-2.4
        image = _image(speckle_bank, power, seed)
        simulated.append((_lag(image, 1, 1), _lag(image, 2, 1)))
    assert np.median(simulated, 0) == pytest.approx(np.median(lags, 0), abs=0.1)


def test_mean_echo_of_scatterers_is_their_expected_power() -> None:
    rng = np.random.default_rng(3)
    line, sample = np.array([20.0, 21.3, 24.0]), np.array([20.4, 22.0, 19.0])
    powers = np.array([[1.0, 2.0, 0.5], [0.1, 0.1, 0.4]])
    total = np.zeros((2, 44, 44))
    for _ in range(300):
        patch = physics.render_points(rng, line, sample, powers, (44, 44), 12)
        assert patch is not None
        rows, cols, echo = patch
        total[:, rows, cols] += np.einsum("l,plhw->phw", physics.LOOK_WEIGHTS, np.abs(echo) ** 2)
    total /= 300 * physics.LOOK_WEIGHTS.sum()
    expected = physics.expected_power(line, sample, powers)
    first = int(line.min()) - 3, int(sample.min()) - 3
    window = total[:, first[0] : first[0] + expected.shape[1], first[1] : first[1] + expected.shape[2]]
    assert window == pytest.approx(expected, abs=0.12 * expected.max())


def test_a_point_s_energy_is_its_cross_section() -> None:
    patch = physics.render_points(
        np.random.default_rng(0), np.array([60.0]), np.array([60.3]), np.array([[3.0]]), (121, 121), 60
    )
    assert patch is not None
    energy = (np.abs(patch[2][0, 0]) ** 2).sum()
    assert energy == pytest.approx(3.0 * physics.POINT_ENERGY_PX, rel=0.01)


@settings(max_examples=30, deadline=None)
@given(st.floats(1, 20), st.floats(31, 46), st.floats(0, 360))
def test_sea_brightens_with_wind_and_darkens_with_incidence(
    wind: float, incidence: float, angle: float
) -> None:
    calm, windy = (physics.sea_sigma0_db(speed, incidence, angle) for speed in (wind, wind + 1))
    steep = physics.sea_sigma0_db(wind, incidence - 1, angle)
    assert windy[0] > calm[0] and windy[1] > calm[1]
    assert steep[0] > calm[0]
    assert calm[0] > calm[1]


@pytest.mark.parametrize(("length_m", "rcs_db"), [(80, 39), (125, 43), (175, 49), (230, 50)])
def test_cross_sections_follow_the_measured_table(length_m: float, rcs_db: float) -> None:
    rng = np.random.default_rng(4)
    plain = replace(objects.DEFAULT, faint_share=0.0)  # the table holds ships that were seen
    bodies = [objects.draw_ship(rng, plain, length_m=length_m, moving=False) for _ in range(400)]
    energy = physics.POINT_ENERGY_PX * physics.PIXEL_AREA_M2
    section = physics.to_db(np.array([body.powers.sum(1) for body in bodies]) * energy)
    assert np.median(section[:, 0]) == pytest.approx(rcs_db, abs=2.5)
    assert np.std(section[:, 0]) > 3
    assert np.median(section[:, 0] - section[:, 1]) == pytest.approx(11, abs=1)


def test_scatterers_lie_on_the_hull_along_the_axis() -> None:
    rng = np.random.default_rng(5)
    for _ in range(50):
        body = objects.draw_ship(rng, moving=False)
        angle = np.radians(body.axis_deg)
        along = (-body.line_px * np.cos(angle) + body.sample_px * np.sin(angle)) * physics.SPACING_M
        across = (body.line_px * np.sin(angle) + body.sample_px * np.cos(angle)) * physics.SPACING_M
        assert np.abs(along).max() <= body.length_m / 2 + 1e-6
        assert np.abs(across).max() <= body.width_m / 2 + 1e-6


def test_a_ghost_is_weaker_than_its_source_by_the_stated_loss() -> None:
    rng = np.random.default_rng(6)
    source = objects.draw_platform(rng)
    ghost = objects.draw_ghost(rng, source)
    loss_db = physics.to_db(source.powers.sum(1)) - physics.to_db(ghost.powers.sum(1))
    low, high = objects.DEFAULT.ghost_loss_db
    assert (loss_db >= low).all() and (loss_db <= high).all()


def test_stripes_do_not_depend_on_where_a_block_begins() -> None:
    def draw(rng: np.random.Generator, lines: int) -> np.ndarray:
        return rng.standard_normal((lines, 5))

    whole = fields.stripes((7, 1), -20, 300, draw)
    assert np.array_equal(fields.stripes((7, 1), 77, 50, draw), whole[97:147])
    assert not np.array_equal(fields.stripes((7, 2), 77, 50, draw), whole[97:147])


@pytest.mark.parametrize("start", [0, 100])
def test_blocks_of_a_field_join_without_a_seam(start: int) -> None:
    whole = fields.texture((3, 4), start, 128, 90, 2.0)
    parts = [fields.texture((3, 4), start + first, 64, 90, 2.0) for first in (0, 64)]
    assert np.concatenate(parts) == pytest.approx(whole, abs=1e-3)
    assert np.std(fields.texture((3, 4), 0, 512, 400, 2.0)) == pytest.approx(1, abs=0.1)
    speckle = fields.speckle((3, 5), start, 128, 90)
    halves = np.concatenate([fields.speckle((3, 5), start + first, 64, 90) for first in (0, 64)])
    assert np.abs(halves - speckle).mean() < 0.06  # of a mean amplitude of 0.89


def test_a_smooth_field_reads_the_same_by_window_and_by_place() -> None:
    smooth = fields.SmoothField(np.random.default_rng(8), (200, 300), 40.0)
    window = smooth.window(10, 20, 60, 70, step=2.0)
    line, sample = np.meshgrid(10 + 2.0 * np.arange(60), 20 + 2.0 * np.arange(70), indexing="ij")
    assert window == pytest.approx(smooth.at(line, sample), abs=1e-5)
    big = fields.SmoothField(np.random.default_rng(9), (4000, 4000), 20.0)
    assert np.std(big.window(0, 0, 400, 400, step=10.0)) == pytest.approx(1, abs=0.1)
