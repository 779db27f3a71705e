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


def test_where_blocks_overlap_the_last_one_goes() -> None:
    first = AzimuthBlock(0, 19, 0, 9, np.array([0.0]), np.array([2.0]))
    last = AzimuthBlock(15, 30, 5, 9, np.array([15.0]), np.array([3.0]))
    power = Noise(lut([0], [[100.0]], [[0.0]]), (first, last)).power(np.arange(31), np.arange(10))
    assert power[:15] == pytest.approx(200) and power[15:20, :5] == pytest.approx(200)
    assert power[15:, 5:] == pytest.approx(300) and power[20:, :5] == pytest.approx(100)


@settings(deadline=None)
@given(st.integers(0, 2**31))
def test_between_pixels_the_nearest_pixels_block_rules(seed: int) -> None:
    """Positions of cells: at and within half a pixel of a block's edges."""
    rng = np.random.default_rng(seed)
    edges = np.sort(rng.choice(np.arange(1, 60), 2, replace=False))
    block = AzimuthBlock(int(edges[0]), int(edges[1]), 10, 19, np.array([0.0, 60.0]), rng.uniform(1, 2, 2))
    table = lut([0, 60], rng.uniform(50, 90, (2, 2)).tolist(), [[0, 40]] * 2)
    lines = np.sort(rng.uniform(-5, 65, 40))
    samples = np.sort(np.append(rng.uniform(-5, 45, 20), [9.49, 9.51, 19.49, 19.51]))
    got = np.broadcast_to(Noise(table, (block,)).power(lines, samples), (40, 24))
    for i, line in enumerate(lines):
        for j, sample in enumerate(samples):
            inside = edges[0] <= round(line) <= edges[1] and 10 <= round(sample) <= 19
            factor = np.interp(line, block.lines, block.values) if inside else 1.0
            assert got[i, j] == pytest.approx(slow(table, line, sample) * factor, rel=1e-5)


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
    ("lines", "says"),
    [([0, 200, 100], "line 100 after one at line 200"), ([0, 100, 100], "two different vectors at line 100")],
)
def test_vectors_out_of_order(lines: list[float], says: str) -> None:
    with pytest.raises(SceneCorrupt, match=says):
        lut(lines, [[1, 2], [3, 4], [5, 6]], [[0, 9]] * 3)


def test_the_same_vector_twice_is_taken_once() -> None:
    table = lut([0, 100, 100, 200], [[1, 2], [3, 4], [3, 4], [5, 6]], [[0, 9]] * 4)
    assert list(table.lines) == [0, 100, 200] and len(table.values) == 3
    assert table.on(np.array([150]), np.array([0]))[0, 0] == pytest.approx(4)


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


def noise_xml(
    line: str = "0 9", values: str = "1 1", first_line: int = 0, last_line: int = 9, last_sample: int = 9
) -> bytes:
    return (
        "<noise><noiseRangeVectorList><noiseRangeVector><line>0</line><pixel>0</pixel><noiseRangeLut>9"
        "</noiseRangeLut></noiseRangeVector></noiseRangeVectorList><noiseAzimuthVectorList><noiseAzimuthVector>"
        f"<firstAzimuthLine>{first_line}</firstAzimuthLine><firstRangeSample>0</firstRangeSample>"
        f"<lastAzimuthLine>{last_line}</lastAzimuthLine><lastRangeSample>{last_sample}</lastRangeSample>"
        f"<line>{line}</line><noiseAzimuthLut>{values}</noiseAzimuthLut></noiseAzimuthVector>"
        "</noiseAzimuthVectorList></noise>"
    ).encode()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (noise_xml(values="1"), "2 lines and 1 values"),
        (noise_xml(line="9 0"), "lines increasing"),
        (noise_xml(values="1 nan"), "values finite"),
        (noise_xml(line="", values=""), "0 lines and 0 values"),
        (noise_xml(first_line=10), "lines 10 to 9"),
        (noise_xml(last_sample=-1), "samples 0 to -1"),
        (noise_xml().replace(b"<lastAzimuthLine>9</lastAzimuthLine>", b""), "no lastAzimuthLine"),
    ],
)
def test_noise_with_an_unreadable_block(data: bytes, says: str) -> None:
    with pytest.raises(SceneCorrupt, match=says):
        parse_noise(data)


def test_an_azimuth_vector_of_one_line() -> None:
    power = parse_noise(noise_xml(line="4", values="2")).power(np.arange(12), np.arange(12))
    assert power[:10, :10] == pytest.approx(18) and power[10:] == pytest.approx(9)
