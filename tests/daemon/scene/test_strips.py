from __future__ import annotations

import struct

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.errors import NotGeoreferencedWarning

from daemon.scene.strips import strips_of

pytestmark = pytest.mark.filterwarnings("ignore", category=NotGeoreferencedWarning)
DN = np.random.default_rng(1).integers(0, 65_535, (37, 53)).astype(np.uint16)


def write(path, **options):
    profile = {"driver": "GTiff", "height": 37, "width": 53, "count": 1, "dtype": "uint16", **options}
    with rasterio.open(path, "w", **profile) as file:
        file.write(DN, 1)
    return str(path)


@pytest.mark.parametrize(
    "options", [{"blockysize": 1}, {"blockysize": 8}, {"blockysize": 8, "BIGTIFF": "YES"}]
)
def test_lines_are_the_library_s(tmp_path, options):
    strips = strips_of(write(tmp_path / "a.tiff", **options))
    assert strips is not None and strips.shape == DN.shape
    for first, stop in ((0, 37), (5, 6), (7, 33), (36, 37)):
        out = np.empty((stop - first, 53), np.uint16)
        strips.read_into(first, out)
        np.testing.assert_array_equal(out, DN[first:stop])


@pytest.mark.parametrize("blocksize", [1, 8])
def test_a_part_of_lines_is_the_library_s(tmp_path, blocksize):
    strips = strips_of(write(tmp_path / "a.tiff", blockysize=blocksize))
    assert strips is not None and strips.end <= (tmp_path / "a.tiff").stat().st_size
    for first, sample, shape in ((0, 0, (37, 52)), (5, 1, (9, 52)), (30, 17, (7, 1)), (7, 52, (1, 1))):
        out = np.empty(shape, np.uint16)
        strips.read_into(first, out, sample)
        np.testing.assert_array_equal(out, DN[first : first + shape[0], sample : sample + shape[1]])


@settings(deadline=None, max_examples=20)
@given(st.permutations(range(6)), st.integers(0, 5), st.integers(1, 6))
def test_strips_may_lie_in_any_order(tmp_path_factory, order, first, lines):
    """A little TIFF by hand: six strips of one line, somewhere in the file."""
    dn = DN[:6]
    lines = min(lines, 6 - first)
    places = {strip: 8 + 106 * k for k, strip in enumerate(order)}
    data = b"".join(dn[strip].tobytes() for strip in order)
    end = 8 + len(data)
    tags = [(256, 3, 1, 53), (257, 3, 1, 6), (258, 3, 1, 16), (259, 3, 1, 1), (273, 4, 6, end)]
    tags += [(277, 3, 1, 1), (278, 3, 1, 1), (279, 4, 6, end + 24)]
    body = struct.pack("<6I", *(places[k] for k in range(6))) + struct.pack("<6I", *[106] * 6)
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    path = tmp_path_factory.mktemp("strips") / "a.tiff"
    path.write_bytes(b"II*\0" + struct.pack("<I", end + 48) + data + body + directory)
    strips = strips_of(str(path))
    assert strips is not None
    out = np.empty((lines, 53), np.uint16)
    strips.read_into(first, out)
    np.testing.assert_array_equal(out, dn[first : first + lines])


@pytest.mark.parametrize(
    "options",
    [{"compress": "deflate"}, {"tiled": True, "blockxsize": 16, "blockysize": 16}, {"dtype": "int32"}],
)
def test_anything_else_is_left_to_the_library(tmp_path, options):
    assert strips_of(write(tmp_path / "a.tiff", **options)) is None


def test_what_is_no_tiff_is_left_to_the_library(tmp_path):
    path = tmp_path / "a.tiff"
    assert strips_of(str(path)) is None
    for content in (b"", b"II*\0", b"II*\0" + bytes(20), b"MM\0*" + bytes(20), bytes(300)):
        path.write_bytes(content)
        assert strips_of(str(path)) is None


def test_a_file_that_ends_early_says_so(tmp_path):
    path = tmp_path / "a.tiff"
    strips = strips_of(write(path, blockysize=1))
    assert strips is not None
    path.write_bytes(path.read_bytes()[: int(strips.offsets[0]) + 500])
    with pytest.raises(OSError, match="ends early"):
        strips.read_into(0, np.empty((37, 53), np.uint16))
