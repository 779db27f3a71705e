from __future__ import annotations

import numpy as np
import pytest

from daemon.flags.ghosts import ghost_flag, ghost_offset, ghost_places, swath_of
from daemon.measure import Measure
from daemon.scene.product import open_scene
from daemon.scene.safe import parse_annotation
from tests.support.bright import bright_map
from tests.support.safe import build_safe, sea

SHAPE = (2200, 90)
AT = (2100.0, 45.0)
BOX = (43.0, 2098.0, 48.0, 2103.0)


def measured(at=AT, peak_db: float = 0.0) -> Measure:
    return Measure(*at, 30.0, 20.0, 50.0, None, None, peak_db, 15.0, "pixels", 0)


def scene_with(folder, spots, shape=SHAPE):
    """A scene of sea with spots of 3 x 3 px: line, sample, digital number in VV and in VH."""
    pixels = {p: sea(shape, mean_dn=60.0 / (1 + 2 * seed), seed=seed) for seed, p in enumerate(("VV", "VH"))}
    for line, sample, *numbers in spots:
        rows, cols = (slice(max(round(at) - 1, 0), round(at) + 2) for at in (line, sample))
        for name, dn in zip(pixels, numbers, strict=True):
            pixels[name][rows, cols] = dn
    return open_scene(str(build_safe(folder, shape=shape, dn=pixels)))


@pytest.fixture(scope="module")
def offset(tmp_path_factory):
    with scene_with(tmp_path_factory.mktemp("plain"), []) as scene:
        return ghost_offset(scene, *AT)


def flag_of(folder, spots, at=AT, box=BOX):
    with scene_with(folder, spots) as scene:
        return ghost_flag(scene, bright_map(scene), measured(at), box)


def test_the_offset_is_that_of_the_reference(tmp_path, offset) -> None:
    """IW1 at mid range: 5.07 km over Palau; lambda R PRF / (2 V) with the satellite's speed."""
    with scene_with(tmp_path, []) as scene:
        slant = float(scene.geometry.slant_range_m(*AT))
        incidence = np.radians(scene.geometry.incidence_deg(*AT))
        distance_m = offset.lines * scene.spacing_m[0]
    assert distance_m == pytest.approx(0.055466 * slant * 1717.1289 / (2 * 7590), rel=0.01)
    assert 4500 < distance_m < 5800
    # n^2 lambda^2 R PRF^2 / (8 V^2) of slant range
    shift_m = 0.055466**2 * slant * 1717.1289**2 / (8 * 7590**2) / np.sin(incidence)
    assert offset.shift_px * 10 == pytest.approx(shift_m, rel=0.02)


GHOST = (*AT, 400, 30)  # 25 dB below 7000
FAINT = (*AT, 280, 30)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_ghost_of_each_order_names_its_source(tmp_path, offset, order) -> None:
    source = AT[0] - order * offset.lines, AT[1] - order**2 * offset.shift_px / 2
    between = [(AT[0] - n * offset.lines, AT[1] - 3, 500, 30) for n in range(1, order)]
    flag = flag_of(tmp_path, [GHOST, *between, (*source, 7000, 2000)])
    assert flag is not None and flag.name == "azimuth_ghost"
    assert flag.evidence["order"] == order
    assert abs(flag.evidence["source_line_px"] - source[0]) <= 2
    assert abs(flag.evidence["source_sample_px"] - source[1]) <= 2
    assert flag.evidence["below_db"] == pytest.approx(20 * np.log10(7000 / 400), abs=1.0)
    assert flag.evidence["offset_m"] == pytest.approx(flag.evidence["expected_m"], abs=30)
    assert flag.evidence["chance"] == 0.0
    assert all(type(value) in (int, float, str) for value in flag.evidence.values())


def test_a_second_ghost_without_a_first_is_none(tmp_path, offset) -> None:
    assert flag_of(tmp_path, [GHOST, (AT[0] - 2 * offset.lines, AT[1], 7000, 2000)]) is None


@pytest.mark.parametrize(
    ("slip_px", "dn"),
    [(40, 7000), (-40, 7000), (0, 2000), (0, 65000)],
    ids=["far", "near", "faint", "bright"],
)
def test_a_source_stands_at_its_distance_and_has_its_brightness(tmp_path, offset, slip_px, dn) -> None:
    assert flag_of(tmp_path, [GHOST, (AT[0] - offset.lines + slip_px, AT[1], dn, 2000)]) is None


def test_what_is_as_bright_in_vh_as_no_ghost_can_be_is_a_ship(tmp_path, offset) -> None:
    """A ghost lies as far below its source in VH as in VV; a ship owes its source nothing."""
    source = AT[0] - offset.lines, AT[1], 7000, 1500
    assert flag_of(tmp_path / "ghost", [(*AT, 400, 90), source]) is not None
    assert flag_of(tmp_path / "ship", [(*AT, 400, 800), source]) is None


def test_where_everything_is_bright_a_coincidence_says_nothing(tmp_path, offset) -> None:
    town = [(line, AT[1], 7000, 2000) for line in np.arange(20, AT[0] - 60, 20)]
    assert flag_of(tmp_path, [GHOST, *town]) is None


def test_the_twin_on_the_other_side_is_evidence(tmp_path, offset) -> None:
    at = AT[0] - offset.lines * 2, AT[1]
    source = (AT[0] - offset.lines, AT[1], 7000, 2000)
    with_twin = flag_of(tmp_path / "with", [GHOST, source, (*at, 400, 30)])
    without = flag_of(tmp_path / "without", [GHOST, source])
    assert with_twin.evidence["twin_contrast_db"] > without.evidence["twin_contrast_db"] + 8


def test_the_prf_is_that_of_the_swath_that_rules_the_pixel(real_data) -> None:
    """Palau: the border of IW1 and IW2 lies at sample 8535 in the first 718 lines, at 8455 below."""
    folder = next((real_data / "s1-safe").glob("*20221002*0664.SAFE"))
    file = next(folder.glob("annotation/s1a-iw-grd-vv-*.xml"))
    annotation = parse_annotation(file.read_bytes())
    assert swath_of(annotation, 100, 8500) == "IW1"
    assert swath_of(annotation, 1000, 8500) == "IW2"
    assert swath_of(annotation, -300, 8500) == "IW1"  # beyond the first line, by which neighbours are reached
    assert swath_of(annotation, 5000, 24000) == "IW3"
    assert {round(annotation.prf_hz[s]) for s in ("IW1", "IW2", "IW3")} == {1717, 1452, 1686}


def test_without_annotation_nothing_is_claimed(real_data) -> None:
    folder = real_data / "s1-scene" / "S1A_IW_GRDH_1SDV_20201121_cape_hatteras_20x"
    with open_scene(str(folder)) as scene:
        bright = bright_map(scene)
        assert ghost_flag(scene, bright, measured((300.0, 300.0)), (298.0, 298.0, 303.0, 303.0)) is None
        assert ghost_places(scene, bright) == ()


def test_sources_near_an_end_cast_ghosts_into_the_next_slice(tmp_path, offset) -> None:
    """A target 100 lines before the last has a first ghost beyond it, and one inside that must show."""
    source = (SHAPE[0] - 100, 45, 7000, 2000)
    inside = (SHAPE[0] - 100 - offset.lines, 45, 400, 30)
    with scene_with(tmp_path, [source, inside]) as scene:
        places = ghost_places(scene, bright_map(scene))
        beyond = [place for place in places if place.order == 1]
        assert len(beyond) == 1
        line, sample = scene.geometry.pixel(beyond[0].lon_deg, beyond[0].lat_deg)
        source_at = scene.geometry.pixel(beyond[0].source_lon_deg, beyond[0].source_lat_deg)
    assert float(line) - SHAPE[0] == pytest.approx(offset.lines - 100, abs=3)
    assert float(sample) == pytest.approx(45 + offset.shift_px / 2, abs=3)
    assert [float(at) for at in source_at] == pytest.approx([source[0], source[1]], abs=2)
    assert (beyond[0].source_line_px, beyond[0].source_sample_px) == pytest.approx((source[0], 45), abs=2)
    assert {place.order for place in places} == {1, 2, 3}


def test_a_source_in_mid_scene_casts_none_where_its_first_ghost_is_missing(tmp_path, offset) -> None:
    spots = [(SHAPE[0] // 2, 45, 20000, 2000)]
    with scene_with(tmp_path, spots) as scene:
        assert ghost_places(scene, bright_map(scene)) == ()
