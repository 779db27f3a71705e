from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from daemon.flags.sidelobes import envelope_db, sidelobe_flag
from daemon.measure import Measure
from engine.simulate.physics import point_response
from tests.support.bright import bright_map
from tests.support.sea import sea_scene

SHAPE = (500, 500)
SOURCE = (250, 240)


def with_point(peak_db: float, more=()):
    """A sea with a point whose response is followed to the scene's edges, and other spots."""
    scene = sea_scene(SHAPE, seed=5)
    line, sample = np.arange(SHAPE[0])[:, None], np.arange(SHAPE[1])[None]
    echo = 10 ** (peak_db / 10) * (
        point_response(line - SOURCE[0]) ** 2 * point_response(sample - SOURCE[1]) ** 2
    )
    sigma0 = {name: array + echo.astype(np.float32) for name, array in scene.sigma0.items()}
    for at, level_db in more:
        for name in sigma0:
            sigma0[name][at[0] - 1 : at[0] + 2, at[1] - 1 : at[1] + 2] += 10 ** (level_db / 10)
    return replace(scene, sigma0=sigma0)


def flag_at(scene, line: int, sample: int):
    box = (sample - 1.0, line - 1.0, sample + 2.0, line + 2.0)
    size = Measure(line, sample, 30.0, 20.0, 50.0, None, None, 0.0, 12.0, "pixels", 0)
    return sidelobe_flag(scene, bright_map(scene), size, box)


def test_the_envelope_bounds_the_response_that_the_simulator_draws() -> None:
    """Two derivations of one thing: the asymptote, and sums of sinc functions."""
    x = np.arange(6.0, 120.0, 0.05)
    drawn = 20 * np.log10(np.abs(point_response(x)) + 1e-12)
    bound = np.array([-envelope_db(10 * at, "azimuth") for at in x])
    highest = np.maximum.reduceat(drawn, np.arange(0, len(x), 50))
    assert (drawn <= bound + 1.0).all()
    assert (highest[2:] >= bound[::50][2:] - 3.0).all()


@pytest.mark.parametrize(
    ("down", "across", "arm"), [(14, 0, "azimuth"), (-20, 0, "azimuth"), (0, 18, "range"), (0, -14, "range")]
)
def test_sidelobes_name_their_source(down, across, arm) -> None:
    flag = flag_at(with_point(38.0), SOURCE[0] + down, SOURCE[1] + across)
    assert flag is not None and flag.evidence["arm"] == arm
    assert (flag.evidence["source_line_px"], flag.evidence["source_sample_px"]) == SOURCE
    assert flag.evidence["distance_m"] == pytest.approx(10 * max(abs(down), abs(across)), abs=10)
    assert flag.evidence["source_db"] == pytest.approx(38.0, abs=0.5)
    assert all(type(value) in (int, float, str) for value in flag.evidence.values())


def test_what_is_brighter_than_a_sidelobe_is_a_ship() -> None:
    at = SOURCE[0], SOURCE[1] + 60
    assert flag_at(with_point(38.0, [(at, 8.0)]), *at) is None


def test_what_has_no_mirror_image_is_a_ship() -> None:
    """As faint as a sidelobe may be, and on the arm; but the other side is dark."""
    at, other = (SOURCE[0], SOURCE[1] + 80), (SOURCE[0], SOURCE[1] - 80)
    assert -6.0 < 38.0 - envelope_db(800, "range") + 6.0, "by its level it could be one"
    assert flag_at(with_point(-60.0, [(SOURCE, 38.0), (at, -6.0)]), *at) is None
    assert flag_at(with_point(-60.0, [(SOURCE, 38.0), (at, -6.0), (other, -6.0)]), *at) is not None


def test_beside_the_cross_nothing_is_a_sidelobe() -> None:
    at = SOURCE[0] + 30, SOURCE[1] + 30
    assert flag_at(with_point(38.0, [(at, -6.0)]), *at) is None


def test_an_ordinary_ship_casts_none() -> None:
    at = SOURCE[0], SOURCE[1] + 20
    assert flag_at(with_point(5.0, [(at, -8.0)]), *at) is None


def test_a_box_without_data_is_no_sidelobe() -> None:
    """The ship beside the product's border is brighter than nothing, and its box lies beyond."""
    scene = with_point(38.0, [((SOURCE[0], SOURCE[1] - 98), -3.0)])
    valid = np.ones(SHAPE, bool)
    valid[:, : SOURCE[1] - 99] = False
    scene = replace(scene, valid=valid)
    column = SOURCE[1] - 104
    box = (column, SOURCE[0] - 1.0, column + 3.0, SOURCE[0] + 2.0)
    size = Measure(SOURCE[0], column, 30.0, 20.0, 50.0, None, None, 0.0, 12.0, "pixels", 0)
    assert sidelobe_flag(scene, bright_map(scene), size, box) is None
