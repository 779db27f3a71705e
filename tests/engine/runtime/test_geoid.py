from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import InputError
from engine.runtime.geoid import SHAPE, _grid, packed, undulation_m, unpacked
from tools import bake_geoid

# of WW15MGH.DAC as the NGA publishes it
PUBLISHED = "9dcaf4efd6857aaa2e1e2e2c574d3f5264eacf47024cdcd5291c40ddad5e5acc"


def test_the_grid_is_the_published_one_whole() -> None:
    grid = _grid()
    assert hashlib.sha256(grid[:, :-1].astype(">i2").tobytes()).hexdigest() == PUBLISHED


@pytest.mark.parametrize(
    ("lon", "lat", "low", "high"),
    [
        (78.75, 4.75, -107.0, -106.5),  # south of India, the lowest
        (147.3, -4.0, 76.0, 86.0),  # north of New Guinea
        (-20.0, 64.5, 60.0, 68.0),  # Iceland
        (134.5, 7.3, 60.0, 70.0),  # Palau
        (0.0, 0.0, 17.1, 17.2),  # as the documentation of EGM96's programs has it: 17.16
    ],
)
def test_known_heights(lon: float, lat: float, low: float, high: float) -> None:
    assert low < undulation_m(lon, lat) < high


def test_poles_have_one_height() -> None:
    lon = np.linspace(-180, 540, 97)
    assert undulation_m(lon, 90.0) == pytest.approx(13.61, abs=1e-9)
    assert undulation_m(lon, -90.0) == pytest.approx(-29.53, abs=1e-9)
    # and are met from any side
    assert undulation_m(lon, 89.999) == pytest.approx(13.61, abs=0.02)


@given(st.floats(-89.9, 89.9))
def test_heights_go_on_across_the_antimeridian(lat: float) -> None:
    lon = np.array([179.9, 179.99, 179.999, 180.0, 180.001, 180.01, 180.1])
    heights = undulation_m(lon, lat)
    assert heights == pytest.approx(undulation_m((lon + 180) % 360 - 180, lat), abs=1e-9)
    assert np.abs(np.diff(heights) / np.diff(lon)).max() < 20  # m a degree; a wrong column makes more


@given(st.floats(-720, 720), st.floats(-90, 90))
def test_heights_lie_between_their_nodes(lon: float, lat: float) -> None:
    rows = (90 - lat) * 4
    cols = (lon % 360) * 4
    nodes = [
        _grid()[min(int(rows) + i, SHAPE[0] - 1), (int(cols) + j) % SHAPE[1]] / 100
        for i in (0, 1)
        for j in (0, 1)
    ]
    assert min(nodes) - 1e-9 <= undulation_m(lon, lat) <= max(nodes) + 1e-9


def test_bilinear_by_hand() -> None:
    nodes = _grid()[280:282, 538:540] / 100  # 20 and 19.75 north, 134.5 and 134.75 east
    assert undulation_m([134.5, 134.75], [20.0, 19.75]) == pytest.approx([nodes[0, 0], nodes[1, 1]])
    expected = 0.8 * (0.6 * nodes[0, 0] + 0.4 * nodes[0, 1]) + 0.2 * (0.6 * nodes[1, 0] + 0.4 * nodes[1, 1])
    assert undulation_m(134.6, 19.95) == pytest.approx(expected, abs=1e-9)


def test_what_is_not_a_place_has_no_height() -> None:
    assert np.isnan(undulation_m([np.nan, 3.0, np.inf], [3.0, np.nan, 3.0])).all()
    assert undulation_m(np.zeros((3, 1)), np.zeros(2)).shape == (3, 2)
    assert undulation_m([], []).shape == (0,)


def test_packing_there_and_back() -> None:
    grid = np.random.default_rng(0).integers(-2000, 2000, SHAPE).cumsum(1).astype(np.int16) // 8
    assert np.array_equal(unpacked(packed(grid)), grid)
    with pytest.raises(InputError, match="got a grid of shape"):
        packed(grid[:-1])


def test_both_published_forms_are_read_alike(tmp_path: Path) -> None:
    grid = _grid()[:, :-1]
    dac, gtx = tmp_path / "WW15MGH.DAC", tmp_path / "egm96_15.gtx"
    dac.write_bytes(grid.astype(">i2").tobytes())
    header = np.array([-90, -180, 0.25, 0.25], ">f8").tobytes() + np.array(SHAPE, ">i4").tobytes()
    from_south_and_180 = np.roll(grid, 720, axis=1)[::-1] / 100
    gtx.write_bytes(header + from_south_and_180.astype(">f4").tobytes())
    assert np.array_equal(bake_geoid.read(dac), grid) and np.array_equal(bake_geoid.read(gtx), grid)
    dac.write_bytes(b"short")
    with pytest.raises(InputError, match="got 5 bytes"):
        bake_geoid.read(dac)
