from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from shapely.geometry import Point

from daemon.errors import SceneCorrupt, SceneMissing, SceneUnsupported
from daemon.scene.product import Window, open_scene
from tests.support.safe import NAME, build_safe, sea, seal

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


def test_metadata(product: Path) -> None:
    with open_scene(str(product)) as scene:
        assert str(scene.name) == NAME and scene.uri == str(product)
        assert scene.shape == SHAPE and scene.spacing_m == (10, 10)
        assert (scene.relative_orbit, scene.orbit_direction, scene.ipf) == (102, "ASCENDING", "003.61")
        assert scene.polarisations == tuple(scene.bands) == ("VV", "VH")
        assert scene.notes == ()
        corners = zip(*scene.geometry.lonlat([0, 0, 299, 299, 150], [0, 399, 0, 399, 200]), strict=True)
        assert all(scene.footprint.covers(Point(corner)) for corner in corners)


@pytest.mark.parametrize("layout", ["SAFE", "COG", "zip", "AWS"])
@pytest.mark.parametrize("form", ["path", "uri"])
def test_layouts_hold_the_same_scene(product: Path, tmp_path: Path, layout: str, form: str) -> None:
    other = build_safe(tmp_path, shape=SHAPE, layout=layout)  # type: ignore[arg-type]
    window = Window(40, 50, 30, 20)
    with (
        open_scene(str(product)) as scene,
        open_scene(other.as_uri() if form == "uri" else str(other)) as twin,
    ):
        assert twin.name.kind == {"zip": "SAFE"}.get(layout, layout)
        assert (twin.name.absolute_orbit, twin.name.unique_id) == (
            scene.name.absolute_orbit,
            scene.name.unique_id,
        )
        assert (twin.shape, twin.relative_orbit, twin.ipf) == (scene.shape, scene.relative_orbit, scene.ipf)
        for polarisation in scene.polarisations:
            a, b = scene.read(polarisation, window), twin.read(polarisation, window)
            assert np.array_equal(a.sigma0, b.sigma0) and np.array_equal(a.dn, b.dn)
        assert twin.geometry.lonlat(10, 20) == pytest.approx(scene.geometry.lonlat(10, 20), abs=1e-12)


def test_radiometry_by_the_definition(tmp_path: Path) -> None:
    """sigma0 = (DN^2 - N) / A^2, with the tables that the product was written with; negative values stay."""
    dn = sea(SHAPE, 35.0, seed=3)
    dn[100:110, 100:110] = 0
    dn[5, 5] = 65535
    with open_scene(str(build_safe(tmp_path, dn={"VV": dn, "VH": dn}))) as scene:
        got = scene.read("VV", Window(0, 0, *SHAPE))
    line, sample = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(float)
    a = 661.6 - 0.006 * sample
    knot = np.unique(np.append(np.arange(0.0, SHAPE[0], 10), SHAPE[0] - 1))
    late = knot[knot >= 75]
    late = np.unique(np.append(np.arange(75.0, SHAPE[0], 10), SHAPE[0] - 1))
    factor = np.where(
        sample < 200,
        np.interp(line, knot, 1.05 + 0.05 * np.cos(knot / 20)),
        np.where(line >= 75, np.interp(line, late, 1.05 + 0.05 * np.cos(late / 20)), 1.0),
    )
    n = (1400 + 0.5 * sample + 0.1 * line) * factor
    valid = dn > 0
    assert np.array_equal(got.valid, valid) and np.array_equal(got.dn, dn)
    power = dn.astype(float) ** 2
    np.testing.assert_allclose(got.intensity, power / a**2, rtol=1e-5)
    np.testing.assert_allclose(got.nesz, np.where(valid, n / a**2, 0), rtol=1e-5)
    expected = np.where(valid, (power - n) / a**2, 0)
    np.testing.assert_allclose(got.sigma0, expected, rtol=1e-4, atol=1e-7)
    assert (got.sigma0 < 0).sum() > 1000
    assert {x.dtype for x in (got.intensity, got.nesz, got.sigma0)} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    "window",
    [
        Window(-20, -20, 126, 126),
        Window(250, 350, 126, 126),
        Window(-10, 100, 500, 5),
        Window(-200, 0, 50, 50),
        Window(0, 400, 10, 10),
        Window(299, 399, 1, 1),
    ],
)
def test_windows_beyond_the_scene_are_padded(product: Path, window: Window) -> None:
    with open_scene(str(product)) as scene:
        whole = scene.read("VH", Window(0, 0, *SHAPE))
        part = scene.read("VH", window)
    line, sample = np.mgrid[: window.lines, : window.samples]
    line, sample = line + window.line, sample + window.sample
    inside = (line >= 0) & (line < SHAPE[0]) & (sample >= 0) & (sample < SHAPE[1])
    assert np.array_equal(part.valid, inside)
    for name in ("dn", "intensity", "nesz", "sigma0"):
        values, expected = getattr(part, name), getattr(whole, name)
        assert values.shape == (window.lines, window.samples)
        np.testing.assert_allclose(values[inside], expected[line[inside], sample[inside]], rtol=1e-6)
        assert not values[~inside].any()


def test_scaling_pixels_and_table_alike_changes_nothing(tmp_path: Path) -> None:
    dn = sea(SHAPE, 60)
    window = Window(0, 0, *SHAPE)
    with open_scene(str(build_safe(tmp_path / "a", dn={"VV": dn}, noise="zero"))) as scene:
        before = scene.read("VV", window).sigma0
    twice = build_safe(tmp_path / "b", dn={"VV": dn * 2}, noise="zero")
    table = only(twice, "annotation/calibration/calibration-*-vv-*.xml")
    head, *vectors = table.read_text().split("<sigmaNought")
    doubled = [head]
    for vector in vectors:
        numbers, rest = vector.split("</sigmaNought>")
        tag, values = numbers.split(">")
        doubled.append(f"{tag}>{' '.join(str(2 * float(v)) for v in values.split())}</sigmaNought>{rest}")
    table.write_text("<sigmaNought".join(doubled))
    seal(twice)
    with open_scene(str(twice)) as scene:
        np.testing.assert_allclose(scene.read("VV", window).sigma0, before, rtol=1e-5)


def test_zero_noise_is_a_no_op_and_said(tmp_path: Path) -> None:
    with open_scene(str(build_safe(tmp_path, noise="zero"))) as scene:
        got = scene.read("VV", Window(0, 0, 50, 50))
        assert any("noise table is zero" in note for note in scene.notes)
    assert np.array_equal(got.sigma0, got.intensity) and not got.nesz.any()


def test_old_noise_form(tmp_path: Path) -> None:
    with open_scene(str(build_safe(tmp_path, noise="old"))) as scene:
        got = scene.read("VV", Window(100, 80, 1, 1))
    assert got.nesz[0, 0] == pytest.approx((1400 + 40 + 10) / (661.6 - 0.48) ** 2, rel=1e-5)


def test_single_polarisation_and_stripmap(tmp_path: Path) -> None:
    name = NAME.replace("_IW_", "_S4_").replace("1SDV", "1SSH")
    with open_scene(str(build_safe(tmp_path, name=name))) as scene:
        assert scene.polarisations == ("HH",) and scene.spacing_m == (10, 10)
        with pytest.raises(SceneUnsupported, match="VV"):
            scene.read("VV", Window(0, 0, 1, 1))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("IW_GRDH_1", "IW_SLC__1", "got IW SLC of level 1.*complex"),
        ("IW_GRDH_1", "S3_SLC__1", "got S3 SLC.*complex"),
        ("IW_GRDH_1", "IW_RAW__0", "got IW RAW of level 0.*echoes"),
        ("IW_GRDH_1", "IW_OCN__2", "got IW OCN of level 2.*wind"),
        ("IW_GRDH_1", "WV_SLC__1", "got WV SLC.*complex"),
        ("IW_GRDH_1", "WV_GRDM_1", "got WV GRDM.*vignettes"),
        ("GRDH_1S", "GRDH_1A", "class A.*no pixels"),
        ("GRDH_1S", "GRDH_1C", "class C.*no pixels"),
        ("GRDH_1S", "GRDH_1N", "class N.*no pixels"),
        ("GRDH_1S", "GRDH_2S", "level 2.*not known"),
        ("GRDH_1S", "GRD__1S", "got IW GRD of.*not known"),
        ("IW_GRDH_1", "EN_GRDH_1", "calibration"),
        ("S1A_", "S3A_", "expected one such as"),
    ],
)
def test_what_is_not_processed(copy: Path, old: str, new: str, says: str) -> None:
    with pytest.raises(SceneUnsupported, match=says):
        open_scene(str(copy.rename(copy.with_name(copy.name.replace(old, new)))))


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(SceneMissing, match="nothing"):
        open_scene(str(tmp_path / NAME))
    (tmp_path / "folder").mkdir()
    with pytest.raises(SceneMissing, match="neither"):
        open_scene(str(tmp_path / "folder"))
    (tmp_path / NAME).mkdir()
    with pytest.raises(SceneCorrupt, match="neither"):
        open_scene(str(tmp_path / NAME))
