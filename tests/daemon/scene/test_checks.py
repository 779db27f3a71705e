from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.errors import SceneCorrupt
from daemon.scene.checks import check_grid, check_orbit
from engine.runtime.geometry import SPEED_OF_LIGHT_M_S, Orbit, ground_point
from tests.support.orbits import circular_path

TIMES = np.arange(-60.0, 100.0, 10.0)


def grid(phase_deg: float = 40.0, node_deg: float = 20.0, height_m=0.0) -> dict:
    """Tie points as a radar that looks right places them: 5 lines, 6 samples, flat."""
    orbit = Orbit(TIMES, *circular_path(TIMES, node_deg, phase_deg))
    line, sample = (
        a.ravel() for a in np.meshgrid(np.arange(5.0) * 4000, np.arange(6.0) * 5000, indexing="ij")
    )
    slant = 8.0e5 + sample * 6.0
    height = np.broadcast_to(np.asarray(height_m, float), line.shape).copy()
    lon, lat = ground_point(orbit, line * 1.5e-3, slant, height)
    return {
        "line_px": line,
        "sample_px": sample,
        "lon_deg": lon,
        "lat_deg": lat,
        "height_m": height,
        "azimuth_time_s": line * 1.5e-3,
        "slant_range_time_s": slant * 2 / SPEED_OF_LIGHT_M_S,
    }


@settings(deadline=None, max_examples=40)
@given(st.floats(0, 360), st.floats(-180, 180), st.integers(0, 2**31))
def test_a_sound_grid_anywhere_and_in_any_order(phase_deg: float, node_deg: float, seed: int) -> None:
    """Ascending, descending, at the poles and over the antimeridian, with hills."""
    rng = np.random.default_rng(seed)
    points = grid(phase_deg, node_deg, rng.uniform(0, 800, 30))
    order = rng.permutation(30)
    check_grid(**{name: values[order] for name, values in points.items()}, source="test")


def test_mountains_are_no_fold() -> None:
    """Neighbours 8 km apart in height change places on the ground; that the radar sees them so is true."""
    rng = np.random.default_rng(1)
    check_grid(**grid(height_m=rng.choice([0.0, 8000.0], 30)), source="test")


def swap(name: str, a: int, b: int):
    def spoil(points: dict) -> None:
        points[name][[a, b]] = points[name][[b, a]]

    return spoil


def mirror(points: dict) -> None:
    for name in ("lon_deg", "lat_deg"):
        points[name] = points[name].reshape(5, 6)[:, ::-1].ravel()


def fall_together(points: dict) -> None:
    for name in ("lon_deg", "lat_deg"):
        points[name][8] = points[name][7]


def drop(points: dict) -> None:
    for name in points:
        points[name] = points[name][:-1]


def jump(points: dict) -> None:
    points["lat_deg"][8] += 1.5


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (swap("lon_deg", 7, 8), "folds at line"),
        (swap("lat_deg", 7, 13), "folds at line"),
        (swap("azimuth_time_s", 7, 13), "growing azimuth time"),
        (swap("slant_range_time_s", 7, 8), "growing slant range"),
        (swap("line_px", 0, 29), "each of at least 2 lines with each"),
        (mirror, "folds at line"),
        (fall_together, "folds at line"),
        (jump, "folds at line"),
        (drop, "29 tie points on 5 lines and 6 samples"),
    ],
)
def test_what_folds(spoil, says: str) -> None:
    points = grid()
    spoil(points)
    with pytest.raises(SceneCorrupt, match=says):
        check_grid(**points, source="test")


def test_one_line_is_no_grid_and_91_degrees_no_latitude() -> None:
    points = grid()
    with pytest.raises(SceneCorrupt, match="at least 2 lines"):
        check_grid(**{name: values[:6] for name, values in points.items()}, source="test")
    points["lat_deg"][3] = 91
    with pytest.raises(SceneCorrupt, match="no longitude and latitude"):
        check_grid(**points, source="test")


@pytest.mark.parametrize(
    ("first_s", "vectors", "sound"),
    [
        (-60.0, 16, True),
        (0.0, 4, True),
        (0.9, 4, True),
        (1.1, 4, False),
        (-20.9, 6, True),
        (-21.2, 6, False),
        (-90, 9, False),
        (40, 5, False),
    ],
)
def test_state_vectors_cover_the_scene(first_s: float, vectors: int, sound: bool) -> None:
    """Of 29.9 s; vectors 10 s apart reach 1 s beyond the first and the last, not more."""
    times = first_s + 10.0 * np.arange(vectors)
    orbit = Orbit(times, *circular_path(times, 20.0, 40.0))
    if sound:
        check_orbit(orbit, 29.9, "test")
        return
    with pytest.raises(SceneCorrupt, match="expected them to cover the scene, 0 to 29.9 s"):
        check_orbit(orbit, 29.9, "test")
