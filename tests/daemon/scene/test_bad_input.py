"""Broken and hostile products: each a typed error that says what to do, or an outcome that is true."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.shutil import copy as copy_raster

from daemon.errors import SceneCorrupt
from daemon.pipeline import process_scene
from daemon.scene.product import Scene, Window, open_scene
from tests.support.safe import build_safe, sea, seal
from tests.support.sea import BrightEngine, FakeLand

SHAPE = (300, 400)


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_safe(tmp_path_factory.mktemp("safe"), shape=SHAPE)


@pytest.fixture
def copy(product: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(product, tmp_path / product.name))


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def truncate(pattern: str, keep: float) -> Callable[[Path], None]:
    def spoil(product: Path) -> None:
        path = only(product, pattern)
        os.truncate(path, int(path.stat().st_size * keep))

    return spoil


def remove(pattern: str) -> Callable[[Path], None]:
    return lambda product: only(product, pattern).unlink()


def replace(pattern: str, old: str, new: str) -> Callable[[Path], None]:
    def spoil(product: Path) -> None:
        path = only(product, pattern)
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return spoil


def rewrite(dtype: str, lines: int) -> Callable[[Path], None]:
    def spoil(product: Path) -> None:
        path = only(product, "measurement/*-vh-*.tiff")
        with rasterio.open(path) as source:
            profile, gcps = source.profile, source.gcps
        profile.update(dtype=dtype, height=lines, gcps=gcps[0], crs=gcps[1])
        del profile["transform"]
        with rasterio.open(path, "w", **profile) as target:
            target.write(np.indices((1, lines, SHAPE[1]))[2].astype(dtype) + 1)

    return spoil


def edit(
    pattern: str, form: str, to: str | Callable[[re.Match[str]], str], count: int = 0
) -> Callable[[Path], None]:
    def spoil(product: Path) -> None:
        path = only(product, pattern)
        text, changed = re.subn(form, to, path.read_text(), count=count, flags=re.DOTALL)
        assert changed
        path.write_text(text)

    return spoil


def zeroed(pattern: str) -> Callable[[Path], None]:
    """As a file that was laid out and never filled."""

    def spoil(product: Path) -> None:
        path = only(product, pattern)
        path.write_bytes(bytes(path.stat().st_size))

    return spoil


def disguised(product: Path) -> None:
    """A file of another format that points GDAL to another place."""
    path = only(product, "measurement/*-vv-*.tiff")
    there = path.rename(product.parent / "elsewhere.tiff")
    with rasterio.open(there) as source:
        copy_raster(source, path, driver="VRT")


CALIBRATION, NOISE = (
    "annotation/calibration/calibration-*-vv-*.xml",
    "annotation/calibration/noise-*-vv-*.xml",
)
BOMB = '<!DOCTYPE z [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><product>'


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (truncate("measurement/*-vv-*.tiff", 0.7), r"measurement/.*truncated"),
        (truncate("measurement/*-vv-*.tiff", 0.001), r"measurement/.*truncated"),
        (truncate("measurement/*-vh-*.tiff", 0), r"measurement/.*empty file \(0 bytes\)"),
        (remove("measurement/*-vh-*.tiff"), r"got no measurement/.*vh"),
        (rewrite("float32", 300), "float32, expected one of uint16"),
        (rewrite("uint16", 299), r"\(299, 400\) pixels, expected \(300, 400\)"),
        (truncate("annotation/*-vv-*.xml", 0.5), r"annotation/.*does not parse"),
        (remove("annotation/*-vh-*.xml"), r"got no annotation/.*vh"),
        (remove("annotation/calibration/noise-*-vv-*.xml"), "got no annotation/calibration/noise"),
        (replace("annotation/*-vv-*.xml", "<product>", BOMB), "entities"),
        (replace("annotation/*-vv-*.xml", ">S1A<", ">S1B<"), "as the name says"),
        (replace("annotation/*-vv-*.xml", ">VV<", ">VH<"), "as the name says"),
        (replace("manifest.safe", "s1a-iw-grd-vh", "s1a-iw-grd-hv"), "got no product of VH.*VV and VH"),
        (replace("manifest.safe", "./annotation/", "../annotation/"), "inside the product"),
        (replace("manifest.safe", "./annotation/", "/annotation/"), "inside the product"),
        (replace("manifest.safe", "./annotation/", "http://host/annotation/"), "inside the product"),
        (truncate("manifest.safe", 0.5), "does not parse"),
        (zeroed("measurement/*-vv-*.tiff"), r"measurement/.*not recognized"),
        (disguised, r"measurement/.*not recognized"),
        (zeroed("annotation/*-vv-*.xml"), "does not parse"),
        (edit(CALIBRATION, "<line>100<", "<line>300<"), "vector at line 200 after one at line 300"),
        (edit(NOISE, "<line>100</line>", "<line>0</line>", 1), "two different vectors at line 0"),
        (edit(CALIBRATION, "<polarisation>VV", "<polarisation>VH"), "tables of VH, expected VV"),
        (edit(NOISE, "<polarisation>VV", "<polarisation>HV"), "tables of HV, expected VV"),
        (edit("annotation/*-vv-*.xml", "<mode>IW", "<mode>EW"), "got platform, mode.*EW.*as the name says"),
        (
            edit("annotation/*-vv-*.xml", "(<productFirstLineUtcTime>2023-06-15T18:07:)04", r"\g<1>29"),
            "another slice",
        ),
        # state vectors from 14 s on, and up to 14 s before
        (
            edit("annotation/*-vv-*.xml", r"<orbit><time>2023-06-15T18:0(6|7:[01]).*?</orbit>", ""),
            "cover the scene",
        ),
        (
            edit("annotation/*-vv-*.xml", r"<orbit><time>2023-06-15T18:(07|08).*?</orbit>", ""),
            "cover the scene",
        ),
        (
            edit("annotation/*-vv-*.xml", r"(<latitude>)([^<]+)(</latitude>)", r"\g<1>41.5\3", 1),
            "folds at line 0, sample 0",
        ),
        (
            edit("annotation/*-vv-*.xml", "<line>75</line><pixel>0<", "<line>75</line><pixel>1<", 1),
            "tie points on 5 lines and 7 samples",
        ),
        (
            edit(
                "annotation/*-vv-*.xml",
                r"(<slantRangeTime>)[^<]+(</slantRangeTime><line>0</line><pixel>160<)",
                r"\g<1>5.0e-3\2",
            ),
            "growing slant range",
        ),
    ],
)
def test_broken_products(copy: Path, spoil: Callable[[Path], None], says: str) -> None:
    spoil(copy)
    seal(copy)
    with pytest.raises(SceneCorrupt, match=says):
        open_scene(str(copy))


def test_broken_pixels_are_found_when_they_are_read(tmp_path: Path) -> None:
    product = build_safe(tmp_path, layout="COG")
    path = only(product, "measurement/*-vv-*.tiff")
    data = bytearray(path.read_bytes())
    data[2000:40000] = b"\xff" * 38000
    path.write_bytes(bytes(data))
    with pytest.raises(SceneCorrupt, match="measurement/"), open_scene(str(product)) as scene:
        scene.read("VV", Window(0, 0, *SHAPE))


def test_aws_without_product_id(tmp_path: Path) -> None:
    product = build_safe(tmp_path, layout="AWS")
    (product / "productInfo.json").write_text("[]")
    with pytest.raises(SceneCorrupt, match="no product id"):
        open_scene(str(product))


def test_the_same_vector_twice_is_one(copy: Path) -> None:
    """The tables of calibration are the same at each line."""
    edit(CALIBRATION, "<line>100<", "<line>0<")(copy)
    seal(copy)
    with open_scene(str(copy)) as scene:
        assert list(scene.bands["VV"].calibration.sigma_nought.lines) == [0, 200, 300]


def test_ground_control_points_that_fold(tmp_path: Path) -> None:
    product = build_safe(tmp_path, layout="AWS")
    shutil.rmtree(product / "annotation")
    path = product / "measurement" / "iw-vv.tiff"
    with rasterio.open(path, "r+") as dataset:
        points, crs = dataset.gcps
        points[7].x, points[8].x = points[8].x, points[7].x
        dataset.gcps = points, crs
    with pytest.raises(SceneCorrupt, match="ground control points: got a grid .* folds"):
        open_scene(str(product))


def engine_and_sea(scene: Scene) -> tuple[BrightEngine, FakeLand]:
    return BrightEngine(), FakeLand(np.zeros(scene.shape, bool))


def test_zeros_alone_are_an_empty_scene(tmp_path: Path) -> None:
    nothing = np.zeros(SHAPE, np.uint16)
    with open_scene(str(build_safe(tmp_path, dn={"VV": nothing, "VH": nothing}))) as scene:
        assert not scene.read("VV", Window(0, 0, *SHAPE)).valid.any()
        engine, land = engine_and_sea(scene)
        result = process_scene(scene, land, engine, None)  # type: ignore[arg-type]
    assert (result.outcome, result.reason) == ("empty", "the product holds no valid pixel")
    assert not result.candidates and not engine.requests


@pytest.mark.parametrize("layout", ["SAFE", "COG", "zip"])
def test_one_number_alone_is_no_image(tmp_path: Path, layout: str) -> None:
    """Nothing would stand out of it, and to say that nothing was there would be false."""
    flat = np.full(SHAPE, 70, np.uint16)
    flat[:, :30] = flat[:200, :80] = 0
    dn = {"VV": sea(SHAPE, 60), "VH": flat}
    product = build_safe(tmp_path, dn=dn, layout=layout)  # type: ignore[arg-type]
    with pytest.raises(SceneCorrupt, match=r"measurement/.*-vh-.*got the number 70 wherever"):
        open_scene(str(product))


def test_a_little_data_is_an_image(tmp_path: Path) -> None:
    dn = np.zeros(SHAPE, np.uint16)
    dn[-40:, -60:] = sea((40, 60), 60)
    with open_scene(str(build_safe(tmp_path, dn={"VV": dn, "VH": dn}))) as scene:
        assert scene.read("VV", Window(0, 0, *SHAPE)).valid.sum() == 2400


@pytest.mark.parametrize(
    ("factor", "says"), [(1e-6, "peaks at -8"), (30.0, "peaks at -9"), (-1.0, "down to -"), (1.0, None)]
)
def test_a_noise_table_of_another_scale_is_said(copy: Path, factor: float, says: str | None) -> None:
    def scaled(match: re.Match[str]) -> str:
        return match[1] + " ".join(f"{float(v) * factor:.6e}" for v in match[2].split()) + match[3]

    edit(NOISE, r"(<noiseRangeLut[^>]*>)([^<]*)(<)", scaled)(copy)
    seal(copy)
    with open_scene(str(copy)) as scene:
        assert [note for note in scene.notes if says and says in note] or (says is None and not scene.notes)
