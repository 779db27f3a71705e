from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.errors import SceneCorrupt
from daemon.scene.calibrate import AzimuthBlock, Lut, Noise, parse_calibration, parse_noise


def lut(lines: list[float], rows: list[list[float]], knots: list[list[float]]) -> Lut:
    return Lut(lines, [np.array(k, float) for k in knots], [np.array(r, float) for r in rows], "test")


def slow(table: Lut, line: float, sample: float) -> float:
    """The definition, one pixel at a time."""
    at = [float(np.interp(sample, s, v)) for s, v in zip(table.samples, table.values, strict=True)]
    return float(np.interp(line, table.lines, at))


@settings(deadline=None)
@given(
    st.lists(st.integers(-50, 300), min_size=1, max_size=5, unique=True),
    st.integers(-80, 320), st.integers(1, 60), st.integers(-30, 120), st.integers(0, 2**31),
)  # fmt: skip
def test_lut_is_bilinear_and_held_beyond_its_ends(lines, first, height, left, seed) -> None:
    """Vectors may have samples of their own; a table shorter than the image goes on with its last value."""
    lines.sort()
    rng = np.random.default_rng(seed)
    knots = [np.unique(rng.integers(0, 80, 6)) for _ in lines]
    table = Lut(lines, [k.astype(float) for k in knots], [rng.uniform(1, 9, len(k)) for k in knots], "test")
    rows, columns = np.arange(first, first + height), np.arange(left, left + 7)
    got = np.broadcast_to(table.on(rows, columns), (height, 7))
    expected = [[slow(table, line, sample) for sample in columns] for line in rows]
    np.testing.assert_allclose(got, expected, rtol=2e-6)


def test_equal_vectors_give_one_row() -> None:
    table = lut([0, 100], [[1, 2], [1, 2]], [[0, 9], [0, 9]])
    assert table.on(np.arange(50), np.arange(10)).shape == (1, 10)


def test_noise_of_blocks_that_leave_a_corner() -> None:
    """Unequal blocks, edges included; outside them the factor is 1."""
    block = AzimuthBlock(10, 19, 5, 9, np.array([10.0, 19.0]), np.array([2.0, 3.0]))
    late = AzimuthBlock(20, 99, 0, 9, np.array([20.0]), np.array([4.0]))  # one line only
    noise = Noise(lut([0], [[100.0]], [[0.0]]), (block, late))
    power = noise.power(np.arange(-2, 30), np.arange(10))
    assert power[:12] == pytest.approx(100)  # lines -2 to 9
    assert power[12:22, :5] == pytest.approx(100)
    assert power[12, 5:] == pytest.approx(200) and power[21, 9] == pytest.approx(300)
    assert power[22:] == pytest.approx(400)


def test_noise_in_windows_is_the_noise_of_the_whole() -> None:
    rng = np.random.default_rng(1)
    blocks = tuple(
        AzimuthBlock(a, a + 39, b, b + 29, np.arange(a, a + 40.0, 7), rng.uniform(0.9, 1.3, 6))
        for a in (0, 40)
        for b in (0, 30)
    )
    noise = Noise(lut([0, 33, 90], rng.uniform(1, 2, (3, 4)).tolist(), [[0, 11, 37, 59]] * 3), blocks)
    whole = noise.power(np.arange(80), np.arange(60))
    for line, sample in [(0, 0), (25, 13), (38, 29), (70, 50)]:
        part = noise.power(np.arange(line, line + 10), np.arange(sample, sample + 10))
        assert part == pytest.approx(whole[line : line + 10, sample : sample + 10], rel=1e-6)


def test_unknown_and_zero_noise_are_said_to_be_zero() -> None:
    assert Noise(None).zero and Noise(lut([0, 9], [[0.0], [0.0]], [[0.0], [0.0]])).zero
    assert not Noise(lut([0, 9], [[0.0], [1.0]], [[0.0], [0.0]])).zero
    assert Noise(None).power(np.arange(3), np.arange(4)) == pytest.approx(np.zeros((1, 4)))


def calibration_xml(pixel: str = "0 40", sigma: str = "600 610", line: str = "0") -> bytes:
    return (
        f"<calibration><calibrationVectorList><calibrationVector><line>{line}</line><pixel>{pixel}</pixel>"
        f"<sigmaNought>{sigma}</sigmaNought></calibrationVector></calibrationVectorList></calibration>"
    ).encode()


def test_calibration_gain() -> None:
    gain = parse_calibration(calibration_xml()).gain(np.arange(2), np.array([0, 20, 40]))
    assert gain == pytest.approx(np.array([[1 / 600**2, 1 / 605**2, 1 / 610**2]]))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (calibration_xml(sigma="600"), "equal lengths"),
        (calibration_xml(pixel="40 0"), "do not increase"),
        (calibration_xml(sigma="600 -1"), "positive"),
        (calibration_xml(sigma="600 nan"), "not finite"),
        (calibration_xml(sigma="600 x"), "expected numbers"),
        (calibration_xml(line="first"), "expected a number"),
        (calibration_xml(line=""), "no line"),
        (calibration_xml(pixel="", sigma=""), "equal lengths"),
        (b"<calibration/>", "calibrationVector"),
        (b"<noise/>", "expected <calibration>"),
        (b"<calibration>", "does not parse"),
        (b"", "does not parse"),
    ],
)
def test_broken_calibration(data: bytes, says: str) -> None:
    with pytest.raises(SceneCorrupt, match=says):
        parse_calibration(data, "c.xml")


def test_entity_bomb() -> None:
    bomb = b'<!DOCTYPE z [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><noise>&b;</noise>'
    with pytest.raises(SceneCorrupt, match=r"n\.xml.*entities"):
        parse_noise(bomb, "n.xml")


def test_noise_with_an_unreadable_block() -> None:
    data = (
        b"<noise><noiseRangeVectorList><noiseRangeVector><line>0</line><pixel>0</pixel><noiseRangeLut>9"
        b"</noiseRangeLut></noiseRangeVector></noiseRangeVectorList><noiseAzimuthVectorList><noiseAzimuthVector>"
        b"<line>1 2</line><noiseAzimuthLut>1</noiseAzimuthLut></noiseAzimuthVector></noiseAzimuthVectorList>"
        b"</noise>"
    )
    with pytest.raises(SceneCorrupt, match="2 lines and 1 values"):
        parse_noise(data)
