from __future__ import annotations

import pytest

from daemon.flags.ghosts import ghost_distance_px, ghost_flag
from daemon.measure import Measure
from daemon.scene.product import open_scene
from tests.support.safe import build_safe, sea

SHAPE = (700, 90)
AT = (640.0, 45.0)


def measured(peak_db: float) -> Measure:
    return Measure(*AT, 30.0, 20.0, 50.0, None, None, peak_db, 15.0, "pixels", 0)


def scene_with(folder, line=None, dn=6000):
    pixels = {p: sea(SHAPE, seed=seed) for seed, p in enumerate(("VV", "VH"))}
    if line is not None:
        pixels["VV"][round(line), 44:47] = dn
    return open_scene(str(build_safe(folder, shape=SHAPE, dn=pixels)))


def test_the_distance_is_that_of_the_reference(tmp_path) -> None:
    """IW1 at mid range: 5.07 km over Palau; lambda R PRF / (2 V) with the satellite's speed."""
    with scene_with(tmp_path) as scene:
        distance_m = ghost_distance_px(scene, *AT) * scene.spacing_m[0]
        slant = float(scene.geometry.slant_range_m(*AT))
    assert distance_m == pytest.approx(0.055466 * slant * 1717.1289 / (2 * 7590), rel=0.01)
    assert 4500 < distance_m < 5800


@pytest.mark.parametrize(("slip_px", "dn", "flagged"), [(0, 6000, True), (40, 6000, False), (0, 1200, False)])
def test_a_ghost_needs_a_much_brighter_source_at_its_distance(tmp_path, slip_px, dn, flagged) -> None:
    with scene_with(tmp_path / "plain") as plain:
        line = AT[0] - ghost_distance_px(plain, *AT)
    with scene_with(tmp_path / "bright", line + slip_px, dn) as scene:
        flag = ghost_flag(scene, measured(0.0))
    assert (flag is not None) == flagged
    if flag is not None:
        assert flag.name == "azimuth_ghost" and flag.evidence["order"] == 1
        assert abs(flag.evidence["source_line_px"] - line) <= 1


def test_a_bright_ship_is_no_ghost_of_an_equal(tmp_path) -> None:
    with scene_with(tmp_path / "plain") as plain:
        line = AT[0] - ghost_distance_px(plain, *AT)
    with scene_with(tmp_path / "bright", line) as scene:
        assert ghost_flag(scene, measured(15.0)) is None


def test_without_annotation_nothing_is_claimed(real_data) -> None:
    folder = real_data / "s1-scene" / "S1A_IW_GRDH_1SDV_20201121_cape_hatteras_20x"
    with open_scene(str(folder)) as scene:
        assert ghost_flag(scene, measured(0.0)) is None
