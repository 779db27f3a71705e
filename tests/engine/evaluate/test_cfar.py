"""CFAR on a chip: finds what is bright, where it is, and little in plain sea."""

from __future__ import annotations

import numpy as np
import pytest

from engine.evaluate.cfar import OPERATING, detect, exceedance
from engine.evaluate.detection import pairings
from engine.evaluate.metrics import Thing
from engine.evaluate.shores import draw_items
from engine.runtime.image import CHIP_PX, channels


def sea(seed: int, ships: list[tuple[int, int]] = (), power: float = 0.6) -> np.ndarray:
    rng = np.random.default_rng(seed)
    vv, vh = (level * rng.gamma(10, 0.1, (CHIP_PX, CHIP_PX)) for level in (0.02, 0.004))
    for line, sample in ships:
        vv[line : line + 4, sample : sample + 6] += power
        vh[line : line + 4, sample : sample + 6] += power / 10
    return channels(vv, vh, np.ones((CHIP_PX, CHIP_PX), bool))


def test_ships_are_found_where_they_are() -> None:
    found = detect(sea(0, [(30, 40), (90, 20)]))
    assert len([thing for thing in found if thing.score > OPERATING]) == 2
    best = sorted(found[:2], key=lambda thing: thing.box_px[1])
    assert best[0].centre_px == pytest.approx((43, 32), abs=1.0)
    assert best[1].centre_px == pytest.approx((23, 92), abs=1.0)


def test_plain_sea_has_few_and_missing_data_none() -> None:
    false = sum(thing.score > OPERATING for seed in range(10) for thing in detect(sea(seed)))
    assert false <= 1
    assert detect(np.zeros((3, CHIP_PX, CHIP_PX), np.uint8)) == []


def test_brightness_of_the_whole_does_not_matter() -> None:
    chip = sea(1, [(60, 60)], 0.3)
    brighter = np.where(chip > 0, np.minimum(chip.astype(int) + 20, 255), 0).astype(np.uint8)
    one, two = exceedance(chip), exceedance(brighter)
    unclipped = (chip[:2] < 230).all(axis=0)
    assert np.abs(one - two)[unclipped].max() < 0.2


def test_land_is_left_out() -> None:
    chip = sea(2, [(10, 10), (90, 90)])
    shore = np.full((CHIP_PX, CHIP_PX), -50.0)
    shore[:40, :40] = 5.0
    strong = [thing for thing in detect(chip, shore) if thing.score > OPERATING]
    assert [thing.centre_px for thing in strong] == [pytest.approx((93, 92), abs=1.0)]


def test_most_simulated_bright_ships_are_found() -> None:
    items = draw_items(40, 77)
    truth = [[t for t in item.things if t.label == "ship" and (t.contrast_db or 0) > 20] for item in items]
    found = [
        [Thing("ship", t.box_px, t.length_m, t.score) for t in detect(i.chips[0], i.shore_px)] for i in items
    ]
    hits = sum(match is not None for pairing in pairings(found, truth) for match in pairing.match)
    assert hits > 0.7 * sum(map(len, truth)) > 7
