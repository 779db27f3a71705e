from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from daemon.picture import draw
from daemon.pipeline import process_scene
from tests.support.sea import BrightEngine, FakeLand, FlatGeometry, Target, sea_scene

SHIP = Target(120, 260, 200, 30, 52)


def drawn(tmp_path, scene, land=None):
    land = FakeLand(np.zeros(scene.shape, bool) if land is None else land)
    result = process_scene(scene, land, BrightEngine(), None)
    path = tmp_path / "picture.png"
    draw(result, scene, path, land)
    with Image.open(path) as picture:
        return result, np.asarray(picture.convert("RGB")).astype(int)


def marks(pixels):
    """Where the scene's part of the picture is as orange as the mark of a ship."""
    near = np.abs(pixels[150 : 150 + 1400, 48 : 48 + 1400] - [255, 176, 46]).sum(-1) < 40
    return np.argwhere(near)


def test_a_ship_is_marked_where_it_is(tmp_path):
    result, pixels = drawn(tmp_path, sea_scene((350, 350), [SHIP], seed=1))
    assert len(result.detections) == 1
    down, across = np.median(marks(pixels), 0) / 4  # 350 px are drawn as 1,400
    assert down == pytest.approx(120, abs=12)
    assert across == pytest.approx(260, abs=20)  # the score stands beside the ring


def test_north_is_up_whatever_the_pass(tmp_path):
    class Descending(FlatGeometry):
        def lonlat(self, line_px, sample_px, height_m=0.0):
            return super().lonlat(line_px, -np.asarray(sample_px, float))

        def pixel(self, lon_deg, lat_deg, height_m=0.0):
            line, sample = super().pixel(lon_deg, lat_deg)
            return line, -sample

    scene = sea_scene((350, 350), [SHIP], seed=1)
    _, pixels = drawn(tmp_path, replace(scene, geometry=Descending()))
    down, across = np.median(marks(pixels), 0) / 4
    assert down == pytest.approx(120, abs=12)
    assert across == pytest.approx(350 - 260, abs=20)


def test_land_is_tinted(tmp_path):
    scene = sea_scene((350, 350), seed=1)
    land = np.zeros(scene.shape, bool)
    land[:, :100] = True
    _, pixels = drawn(tmp_path, scene, land)
    red_over_blue = pixels[..., 0] - pixels[..., 2]
    assert red_over_blue[600:900, 100:300].mean() > 10 > -10 > red_over_blue[600:900, 700:1000].mean()


def test_a_large_scene_is_reduced_and_an_empty_one_is_drawn(tmp_path):
    scene = sea_scene((300, 2100), seed=1, polarisations=("VV",))
    result, pixels = drawn(tmp_path, replace(scene, valid=np.zeros(scene.shape, bool)))
    assert result.outcome == "empty"
    assert pixels.shape[1] <= 2200


def test_the_same_result_gives_the_same_picture(tmp_path):
    scene = sea_scene((350, 350), [SHIP], seed=1)
    first, second = drawn(tmp_path, scene)[1], drawn(tmp_path, scene)[1]
    assert (first == second).all()
