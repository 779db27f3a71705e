from __future__ import annotations

import numpy as np
import pytest

from engine.errors import InputError
from engine.runtime.image import CHIP_PX
from engine.simulate import clutter, landcover, objects
from engine.simulate.chips import ChipSet, make_chips
from engine.simulate.objects import DEFAULT, PUBLISHED, TRAINING, SceneStatistics


@pytest.fixture(scope="module")
def chips() -> ChipSet:
    return make_chips(240, 5)


def test_equal_seeds_give_equal_chips_and_a_prefix_stays(chips: ChipSet) -> None:
    done: list[int] = []
    again = make_chips(6, 5, progress=done.append)
    assert done == [1, 2, 3, 4, 5, 6]
    assert np.array_equal(again.pixels, chips.pixels[:6])
    assert again.truth == chips.truth[:6]
    assert np.array_equal(again.prior, chips.prior[:6])
    later = make_chips(2, 5, start=4)
    assert np.array_equal(later.pixels, chips.pixels[4:6])
    assert not np.array_equal(make_chips(2, 6).pixels, chips.pixels[:2])


def test_shapes_and_types(chips: ChipSet) -> None:
    assert chips.pixels.shape == (240, 3, CHIP_PX, CHIP_PX) and chips.pixels.dtype == np.uint8
    assert chips.prior.shape == (240, 64, 6, 6) and chips.prior.dtype == np.int8
    assert chips.land_fraction.shape == (240,)
    assert len(chips.truth) == len(chips.context) == 240


def test_about_45_percent_hold_nothing_and_all_classes_occur(chips: ChipSet) -> None:
    empty = np.mean([not targets for targets in chips.truth])
    assert 0.35 < empty < 0.58
    assert {target.class_ for targets in chips.truth for target in targets} == {"ship", "platform", "turbine"}
    assert max(len(targets) for targets in chips.truth) <= 8
    lengths = [target.length_m for targets in chips.truth for target in targets if target.class_ == "ship"]
    assert min(lengths) < 40 and max(lengths) > 200 and min(lengths) >= 15 and max(lengths) <= 350


def test_boxes_hold_their_objects(chips: ChipSet) -> None:
    for targets in chips.truth:
        for target in targets:
            x1, y1, x2, y2 = target.box_px
            assert x2 - x1 >= 3 and y2 - y1 >= 3
            assert (x1 + x2) / 2 == pytest.approx(target.sample_px + 0.5)
            assert (y1 + y2) / 2 == pytest.approx(target.line_px + 0.5)
            assert target.clipped == (min(x1, y1) < 0 or max(x2, y2) > CHIP_PX)
            assert target.contrast_db >= DEFAULT.faintest_db - 0.1


def test_boxes_are_bright_and_their_surroundings_dark(chips: ChipSet) -> None:
    shown = []
    for pixels, targets in zip(chips.pixels, chips.truth, strict=True):
        for target in targets:
            if target.clipped or target.contrast_db < 14:
                continue
            x1, y1, x2, y2 = (round(edge) for edge in target.box_px)
            inside = pixels[:2, y1:y2, x1:x2].reshape(2, -1).max(1).astype(float)
            shown.append((inside - np.median(pixels[:2], axis=(1, 2))).max())
    assert len(shown) > 40
    assert np.mean(np.array(shown) > 40) > 0.97  # 40 of 255 is about 6 dB


def test_a_ship_s_brightest_pixel_lies_in_its_box(chips: ChipSet) -> None:
    hits = total = 0
    for pixels, targets in zip(chips.pixels, chips.truth, strict=True):
        if len(targets) != 1 or targets[0].clipped or targets[0].contrast_db < 20:
            continue
        x1, y1, x2, y2 = targets[0].box_px
        margin = pixels[0].astype(int) + pixels[1]
        window = margin[max(0, int(y1) - 8) : int(y2) + 9, max(0, int(x1) - 8) : int(x2) + 9]
        line, sample = np.unravel_index(window.argmax(), window.shape)
        line, sample = line + max(0, int(y1) - 8), sample + max(0, int(x1) - 8)
        total += 1
        hits += y1 <= line + 0.5 <= y2 and x1 <= sample + 0.5 <= x2
    assert total >= 15
    assert hits >= 0.93 * total


def test_prior_knows_land_and_masks_the_open_sea(chips: ChipSet) -> None:
    masked = (chips.prior == landcover.NODATA).all(1)
    assert (masked == (chips.prior == landcover.NODATA).any(1)).all()
    land = chips.land_fraction > 0.2
    assert masked[chips.land_fraction == 0].mean() > 0.85
    assert (~masked[land]).mean() > 0.2
    raw = chips.prior.transpose(0, 2, 3, 1)[~masked].astype(float)
    vectors = np.sign(raw) * (raw / 127.5) ** 2
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=0.02)


def test_land_is_described(chips: ChipSet) -> None:
    for fraction, context in zip(chips.land_fraction, chips.context, strict=True):
        assert (context.land_cover is not None) == (fraction > 0)
        assert context.sea_db[0] > context.sea_db[1]


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(InputError, match="count of -1"):
        make_chips(-1, 0)


def test_narrow_hulls_alongside_are_one_body_and_broad_ones_several() -> None:
    rng = np.random.default_rng(3)

    def lay(length_m: float) -> list[tuple[objects.Body, float, float]]:
        ships = [objects.draw_ship(rng, length_m=length_m, axis_deg=0.0, moving=False) for _ in range(3)]
        return objects.lay_alongside(rng, ships)

    ((raft, line, sample),) = lay(60.0)
    assert (line, sample) == (0.0, 0.0) and raft.length_m == 60.0
    assert raft.width_m > 3 * 60 / 8  # three beams
    assert raft.powers.shape[1] == len(raft.line_px) == len(raft.sample_px)
    broad = lay(300.0)
    assert len(broad) == 3
    across = np.array([sample for _, _, sample in broad])
    assert (np.diff(across) > 2.8).all()  # to the right of the axis, which points up


def test_a_seam_steps_the_noise_at_one_sample() -> None:
    steps = clutter.draw_seam(np.random.default_rng(2), CHIP_PX)
    assert steps.shape == (2, 1, CHIP_PX)
    assert len(np.unique(steps)) == 2 and np.count_nonzero(np.diff(steps[0, 0])) == 1


def test_training_has_fainter_ships_than_the_scenes_and_the_test_set_none_made_faint() -> None:
    def faint(stats: SceneStatistics) -> float:
        rng = np.random.default_rng(4)
        peaks = [objects.draw_ship(rng, stats, length_m=100.0).powers.sum() for _ in range(400)]
        return float(np.quantile(10 * np.log10(peaks), 0.1))

    assert faint(TRAINING) < faint(DEFAULT) - 0.5
    assert faint(DEFAULT) < faint(PUBLISHED.at_incidence(38.0)) - 1
