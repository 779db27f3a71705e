from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from daemon.scan.kernels import CELL_PX
from daemon.scene.product import Window
from tests.support.bright import bright_map
from tests.support.sea import Target, sea_scene


@pytest.fixture(scope="module")
def scene():
    return sea_scene((300, 210), [Target(120, 130, 100, 30, 45)], seed=3)


def test_a_cell_holds_the_highest_mean_of_its_pixels(scene) -> None:
    bright = bright_map(scene)
    whole = scene.read("VH", Window(0, 0, *scene.shape))
    mean = ndimage.uniform_filter(whole.intensity, 3, mode="constant")
    assert bright.shape == (38, 27)
    for row, col in ((0, 0), (15, 16), (33, 20), (37, 26)):
        cell = mean[row * CELL_PX : (row + 1) * CELL_PX, col * CELL_PX : (col + 1) * CELL_PX]
        # a cell that leaves the scene may hold a mean whose centre lies just beside it
        assert bright.peaks["VH"][row, col] >= cell.max() * 0.99
    inner = np.stack([mean[8:296, 8:208].reshape(36, 8, 25, 8)])[0].max((1, 3))
    assert bright.peaks["VH"][1:37, 1:26] == pytest.approx(inner, rel=0.02)


def test_the_brightest_of_a_window_and_none_beside_the_scene(scene) -> None:
    bright = bright_map(scene)
    place = bright.brightest("VV", (100, 140), (110, 150))
    assert abs(place.line_px - 120) <= 8 and abs(place.sample_px - 130) <= 8
    assert bright.brightest("VV", (-50, -20), (0, 50)) is None
    assert bright.brightest("VV", (400, 420), (0, 50)) is None
    assert bright.brightest("VV", (-50, 5), (-50, 5)) is not None
