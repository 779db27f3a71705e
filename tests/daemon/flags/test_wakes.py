from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from daemon.flags.wakes import wake_flag
from daemon.measure import Measure
from tests.support.bright import bright_map
from tests.support.sea import Target, sea_scene

SHAPE = (560, 560)
SHIP = (420, 300)
BEARING = np.radians(25.0)  # of the wake, from the upward direction


def along(distance_px: float) -> tuple[float, float]:
    return SHIP[0] - distance_px * np.cos(BEARING), SHIP[1] + distance_px * np.sin(BEARING)


def sea_with_wake(rise_db: float, seed: int = 2, ship=True):
    """A ship, a line of changed roughness behind it, and a spot on the line 70 px away."""
    scene = sea_scene(SHAPE, [Target(*SHIP, 120, 25, 48)] if ship else [], seed=seed)
    line, sample = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1]]
    behind = -(line - SHIP[0]) * np.cos(BEARING) + (sample - SHIP[1]) * np.sin(BEARING)
    aside = (line - SHIP[0]) * np.sin(BEARING) + (sample - SHIP[1]) * np.cos(BEARING)
    change = rise_db * np.exp(-((aside / 1.8) ** 2)) * (behind > 0) * (behind < 200)
    spot = along(70.0)
    change = change + 9.0 * np.exp(-(((line - spot[0]) / 2) ** 2) - ((sample - spot[1]) / 2) ** 2)
    return replace(
        scene, sigma0={n: a * (10 ** (change / 10)).astype(np.float32) for n, a in scene.sigma0.items()}
    )


def flag_of(scene, contrast_db: float = 8.0):
    line, sample = along(70.0)
    box = (sample - 3, line - 3, sample + 4, line + 4)
    size = Measure(line, sample, 40.0, 20.0, 60.0, None, None, -8.0, contrast_db, "pixels", 0)
    return wake_flag(scene, bright_map(scene), size, box)


@pytest.mark.parametrize("rise_db", [4.0, -4.0])
def test_a_spot_on_a_line_through_a_brighter_target_is_its_wake(rise_db) -> None:
    flag = flag_of(sea_with_wake(rise_db))
    assert flag is not None and flag.name == "wake"
    assert flag.evidence["distance_m"] == pytest.approx(700, abs=100)
    assert np.sign(flag.evidence["line_db"]) == np.sign(rise_db)
    assert abs(flag.evidence["deviations"]) >= 5


def test_without_a_line_in_the_pixels_nothing_is_a_wake() -> None:
    assert sum(flag_of(sea_with_wake(0.0, seed)) is not None for seed in range(6)) == 0


def test_without_a_brighter_target_nothing_is_a_wake() -> None:
    assert flag_of(sea_with_wake(4.0, ship=False)) is None


def test_a_bright_target_on_the_line_is_no_wake() -> None:
    assert flag_of(sea_with_wake(4.0), contrast_db=20.0) is None
