"""Chips read from a scene, and places in them."""

from __future__ import annotations

import numpy as np
import pytest

from daemon.change.chip import SHIFT_PX, SIZE_PX, read_chip
from engine.runtime.image import CHIP_PX
from tests.support.sea import FakeLand, Target, sea_scene

SHIP = Target(150, 260, 200, 30, 52)


def test_a_chip_holds_the_scene_s_pixels_and_places() -> None:
    scene = sea_scene((350, 400), [SHIP], seed=1)
    land = np.zeros(scene.shape, bool)
    land[:, 300:] = True
    chip = read_chip(scene, FakeLand(land), 150.4, 259.6)
    y, x = 150 - chip.origin_px[0], 260 - chip.origin_px[1]
    from daemon.scene.product import Window

    there = scene.read(scene.polarisations[0], Window(150, 260, 1, 1)).intensity[0, 0]
    assert chip.intensity[0, y, x] == pytest.approx(there, rel=5e-4)
    assert chip.land[y, x + 41] and not chip.land[y, x + 39]
    lon, lat = (float(v) for v in scene.geometry.lonlat(170.0, 230.0))
    assert chip.pixel(lon, lat) == pytest.approx((170.0, 230.0), abs=0.05)


def test_outside_the_scene_there_is_no_data() -> None:
    scene = sea_scene((350, 400), [], seed=1)
    chip = read_chip(scene, FakeLand(np.zeros(scene.shape, bool)), 2.0, 200.0)
    assert not chip.valid[: SIZE_PX // 2 - 3].any()
    assert chip.valid[SIZE_PX // 2 :].all()
    assert (chip.intensity[:, ~chip.valid] == 0).all()


def test_the_engine_s_chip_is_inside_wherever_it_is_said_to_be() -> None:
    scene = sea_scene((350, 400), [], seed=1)
    chip = read_chip(scene, FakeLand(np.zeros(scene.shape, bool)), 170.0, 200.0)
    assert chip.holds(170.0 + SHIFT_PX - 1, 200.0 - SHIFT_PX + 1)
    assert not chip.holds(170.0 + SHIFT_PX + 1, 200.0)
    part = chip.cut(170 - CHIP_PX // 2 + 15, 200 - CHIP_PX // 2 - 15)
    assert part.size_px == CHIP_PX
    lon, lat = (float(v) for v in scene.geometry.lonlat(180.0, 190.0))
    assert part.pixel(lon, lat) == pytest.approx(chip.pixel(lon, lat))
    line, sample = (round(v) for v in part.pixel(lon, lat))
    here = part.codes[:, line - part.origin_px[0], sample - part.origin_px[1]]
    assert (here == chip.codes[:, line - chip.origin_px[0], sample - chip.origin_px[1]]).all()
