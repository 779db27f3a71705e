"""Simulated chips as records: boxes as answers write them, in the order of the tokens, splits apart."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.data.asks import TOKEN_PX, answer_objects, target_box
from engine.data.records import load_images, load_priors
from engine.data.simulated import BAND_SHARES, BANDS, draw_bands, write_split
from engine.runtime.image import copol_alone
from engine.runtime.text import parse_detections


@dataclass
class Target:
    box_px: tuple[float, float, float, float]
    class_: str = "ship"
    length_m: float = 100.0


@dataclass
class Context:
    sea_db: tuple[float, float] = (-18.0, -25.0)
    land_cover: str | None = None


@dataclass
class Chips:
    truth: list[list[Target]]
    pixels: np.ndarray = field(init=False)
    prior: np.ndarray = field(init=False)
    land_fraction: np.ndarray = field(init=False)
    context: list[Context] = field(init=False)

    def __post_init__(self) -> None:
        count = len(self.truth)
        self.pixels = np.random.default_rng(0).integers(1, 256, (count, 3, 126, 126), dtype=np.uint8)
        self.prior = np.full((count, 64, 6, 6), -128, np.int8)
        self.land_fraction = np.zeros(count, np.float32)
        self.context = [Context() for _ in self.truth]


edges = st.tuples(st.floats(-40, 150), st.floats(-40, 150), st.floats(3, 60), st.floats(3, 60))
boxes = edges.map(lambda e: (e[0], e[1], e[0] + e[2], e[1] + e[3]))


@given(boxes, st.sampled_from([252, 504]))
def test_box_lies_in_the_chip_and_has_extent(box, size_px) -> None:
    x1, y1, x2, y2 = target_box(box, size_px)
    assert 0 <= x1 < x2 <= size_px
    assert 0 <= y1 < y2 <= size_px
    assert min(x2 - x1, y2 - y1) >= 3 * size_px // 126


def test_box_is_the_enlarged_one() -> None:
    assert target_box((10.2, 20.4, 30, 40), 252) == (20, 41, 60, 80)
    assert target_box((-5, 100, 20, 140), 252) == (0, 200, 40, 252)


@given(st.lists(boxes, max_size=6))
def test_order_is_that_of_the_tokens(drawn) -> None:
    named = answer_objects([Target(box) for box in drawn], 252)
    cells = [((b[1] + b[3]) // 2 // TOKEN_PX, (b[0] + b[2]) // 2 // TOKEN_PX) for _, b, _ in named]
    assert cells == sorted(cells)
    assert len(named) == len(drawn)


def test_split_on_disk(tmp_path: Path) -> None:
    ships = [Target((60, 60, 70, 66)), Target((10, 10, 20, 14), "platform")]
    chips = Chips([ships, []])
    chips.prior[1, :, 0] = 100
    chips.prior[1, 5, 0, 2] = -128  # one channel missing: the anchor is not valid
    chips.context[1].land_cover = "shrub_and_scrub"
    chips.land_fraction[1] = 0.4
    split = write_split(tmp_path, chips, "train", 252, first=7, shares={"detection": 1, "counting": 1})
    detection, counting = (record for record in split.stage2 if record.id.startswith("train-000007"))
    assert detection.id == "train-000007-detection"
    assert parse_detections(detection.answer) == [
        ("platform", (20, 20, 40, 28)),
        ("ship", (120, 120, 140, 132)),
    ]
    assert counting.answer == "1"
    assert [record.answer for record in split.stage2[2:]] == ["[]", "0"]
    assert split.stage1[0].aef == (None,)
    assert "some land, shrub;" in split.stage1[1].answer
    assert len({record.site for record in split.stage1}) == 2
    (prior,) = load_priors(_at(split.stage1[1], tmp_path))
    assert prior.mask.sum() == 5
    pixels = load_images(_at(split.stage1[0], tmp_path))[0]
    single = len(split.stage1[0].bands) == 1
    assert np.array_equal(pixels, copol_alone(chips.pixels[0]) if single else chips.pixels[0])


def test_cover_is_named_only_where_the_prior_knows_it(tmp_path: Path) -> None:
    chips = Chips([[]])
    chips.context[0].land_cover = "trees"
    chips.land_fraction[0] = 0.4
    assert "trees" not in write_split(tmp_path, chips, "train", 252).stage1[0].answer


def test_every_cover_of_the_simulator_has_a_word() -> None:
    from engine.data.simulated import COVERS
    from engine.simulate.landcover import CLASSES

    assert tuple(COVERS) == tuple(CLASSES)


def test_bands_are_drawn_as_stated() -> None:
    drawn = [draw_bands(f"train-{index:06d}") for index in range(4000)]
    for bands, share in zip(BANDS, BAND_SHARES, strict=True):
        assert abs(drawn.count(bands) / 4000 - share) < 0.02


def _at(record, folder):
    from dataclasses import replace

    return replace(record, folder=folder)
