"""sigma0 of opened scenes: against another reader, the definition, and under what must change nothing."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray_sentinel  # type: ignore[import-untyped]
from defusedxml import ElementTree
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.interpolate import make_interp_spline

from daemon.scene.calibrate import parse_noise
from daemon.scene.product import Window, open_scene
from daemon.scene.safe import parse_manifest
from engine.simulate.cog import to_cog
from tests.support.real import with_pixels
from tests.support.safe import build_safe, sea, seal

PRODUCTS = ("6D00", "FEC3", "8255", "0664", "861B", "B918", "4B8B")
SHAPE = (260, 330)


def folder_of(real_data: Path, ending: str) -> Path:
    (folder,) = (real_data / "s1-safe").glob(f"*_{ending}.SAFE")
    return folder


def noise_of_the_definition(path: Path, line: NDArray, sample: NDArray) -> NDArray[np.float64]:
    """Noise power at lines and samples, [h, w]: straight from the XML, by splines of degree 1 and masks."""
    root = ElementTree.fromstring(path.read_bytes())

    def array(node, tag: str) -> NDArray[np.float64]:
        return np.array([float(v) for v in node.findtext(tag).split()])

    def linear(x: NDArray, y: NDArray, at: NDArray) -> NDArray[np.float64]:
        if len(x) == 1:
            return np.repeat(y[:1], len(at), 0)
        return np.asarray(make_interp_spline(x, y, k=1, axis=0)(np.clip(at, x[0], x[-1])))

    old = root.findall(".//noiseVector")
    vectors, tag = (old, "noiseLut") if old else (root.findall(".//noiseRangeVector"), "noiseRangeLut")
    table = np.stack([linear(array(v, "pixel"), array(v, tag), sample) for v in vectors])
    power = linear(np.array([float(v.findtext("line")) for v in vectors]), table, line)
    factor = np.ones((len(line), len(sample)))
    nearest_line, nearest_sample = np.floor(line + 0.5), np.floor(sample + 0.5)
    for block in root.findall(".//noiseAzimuthVector"):
        first, last, left, right = (
            int(block.findtext(c))
            for c in ("firstAzimuthLine", "lastAzimuthLine", "firstRangeSample", "lastRangeSample")
        )
        along = linear(array(block, "line"), array(block, "noiseAzimuthLut"), line)
        inside = ((nearest_line >= first) & (nearest_line <= last))[:, None] & (
            (nearest_sample >= left) & (nearest_sample <= right)
        )
        factor = np.where(inside, along[:, None], factor)
    return power * factor


@pytest.mark.parametrize("ending", PRODUCTS)
def test_noise_is_the_definitions_in_every_pixel(real_data: Path, ending: str) -> None:
    """Over the whole scene on a sparse grid, and densely where blocks meet; both polarisations."""
    folder = folder_of(real_data, ending)
    manifest = parse_manifest((folder / "manifest.safe").read_bytes())
    for (role, _), file in manifest.files.items():
        if role != "noise":
            continue
        path = folder / file
        noise = parse_noise(path.read_bytes())
        grids = [
            (np.arange(-40.0, 20000, 97), np.arange(-40.0, 26500, 111)),
            (np.arange(690, 730), np.arange(8440, 8550)),
            (np.arange(1355, 1372), np.arange(17250, 17360)),
            # cells of 8 px: their centres lie between pixels
            (np.arange(80, 180) * 8 + 3.5, np.arange(1050, 1070) * 8 + 3.5),
            (np.array([717.4, 717.5, 717.6]), np.array([8535.4, 8535.6, 8742.5, 8743.0])),
        ]
        for line, sample in grids:
            got = np.broadcast_to(noise.power(line, sample), (len(line), len(sample)))
            expected = noise_of_the_definition(path, line, sample)
            np.testing.assert_allclose(got, expected, rtol=3e-6, atol=1e-3)


@pytest.mark.parametrize("ending", ["FEC3", "8255", "4B8B"])
def test_calibration_is_xarray_sentinels_on_the_same_file(
    real_data: Path, tmp_path: Path, ending: str
) -> None:
    """Noise off, that is intensity; of FEC3, whose noise is zero, sigma0 too."""
    source = folder_of(real_data, ending)
    mode, polarisation = source.name[4:6], "HH" if ending == "4B8B" else "VV"
    window = Window(2900, 4300, 60, 80)
    dn = np.random.default_rng(3).integers(1, 3000, (60, 80)).astype(np.uint16)
    both = ("HH", "HV") if ending == "4B8B" else ("VV", "VH")
    product = with_pixels(source, tmp_path, {name: [(window, dn)] for name in both})
    group = f"{mode}/{polarisation}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what they warn of is theirs
        theirs = xarray_sentinel.open_sentinel1_dataset(str(product), group=group)
        table = xarray_sentinel.open_sentinel1_dataset(str(product), group=f"{group}/calibration")
        part = theirs.measurement[2900:2960, 4300:4380].load()
        expected = xarray_sentinel.calibrate_intensity(part, table.sigmaNought).values
    with open_scene(str(product)) as scene:
        got = scene.read(polarisation, window)
    assert np.array_equal(got.dn, part.values)
    np.testing.assert_allclose(got.intensity, expected, rtol=1e-4)
    if ending == "FEC3":
        np.testing.assert_allclose(got.sigma0, expected, rtol=1e-4)
    else:
        assert (got.sigma0 < got.intensity).all()


@pytest.mark.parametrize("ending", ["0664"])
def test_sigma0_of_a_real_product_by_the_definition(real_data: Path, tmp_path: Path, ending: str) -> None:
    """Where blocks meet, one corner in none; negative values stay."""
    source = folder_of(real_data, ending)
    window = Window(700, 8440, 40, 40)
    dn = np.random.default_rng(1).integers(1, 80, (40, 40)).astype(np.uint16)
    product = with_pixels(source, tmp_path, {name: [(window, dn)] for name in ("VV", "VH")})
    manifest = parse_manifest((source / "manifest.safe").read_bytes())
    line, sample = np.arange(700.0, 740), np.arange(8440.0, 8480)
    noise = noise_of_the_definition(source / manifest.files["noise", "VH"], line, sample)
    calibration = ElementTree.fromstring((source / manifest.files["calibration", "VH"]).read_bytes())
    vectors = calibration.findall(".//calibrationVector")[:4]
    table = [
        np.interp(
            sample, *([float(v) for v in node.findtext(tag).split()] for tag in ("pixel", "sigmaNought"))
        )
        for node in vectors
    ]
    at = np.interp(line, [float(node.findtext("line")) for node in vectors], range(4))
    a = np.array([(1 - t % 1) * table[int(t)] + t % 1 * table[int(t) + 1] for t in at])
    with open_scene(str(product)) as scene:
        got = scene.read("VH", window)
    expected = (dn.astype(float) ** 2 - noise) / a**2
    np.testing.assert_allclose(got.sigma0, expected, rtol=1e-4, atol=1e-8)
    assert (got.sigma0 < 0).mean() > 0.2


def scale(text: str, tag: str, factor: float) -> str:
    """Multiply every number of an element."""
    return re.sub(
        rf"(<{tag}[^>]*>)([^<]*)(<)",
        lambda m: m[1] + " ".join(repr(float(v) * factor) for v in m[2].split()) + m[3],
        text,
    )


@settings(deadline=None, max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(factor=st.integers(2, 40), form=st.sampled_from(["modern", "old"]))
def test_scaling_numbers_with_their_tables_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, factor: int, form
) -> None:
    """DN by k, sigmaNought by k, noise by k^2: sigma0 and its noise are what they were."""
    dn = sea(SHAPE, 60)
    window = Window(-5, -5, SHAPE[0] + 10, SHAPE[1] + 10)
    found = []
    for k in (1, factor):
        folder = tmp_path_factory.mktemp("scaled")
        product = build_safe(folder, shape=SHAPE, dn={"VV": dn * k, "VH": dn * k}, noise=form)
        for path in product.glob("annotation/calibration/*.xml"):
            text = scale(path.read_text(), "sigmaNought", k)
            text = scale(scale(text, "noiseRangeLut", k * k), "noiseLut", k * k)
            path.write_text(text)
        seal(product)
        with open_scene(str(product)) as scene:
            assert scene.notes == ()
            found.append(scene.read("VH", window))
    one, other = found
    assert np.array_equal(one.valid, other.valid)
    for name in ("intensity", "nesz", "sigma0"):
        np.testing.assert_allclose(getattr(other, name), getattr(one, name), rtol=2e-5, atol=1e-8)


@pytest.mark.parametrize(("compression", "block_px"), [("ZSTD", 1024), ("DEFLATE", 512), ("LZW", 128)])
def test_the_cloud_optimised_twin_reads_alike(tmp_path: Path, compression: str, block_px: int) -> None:
    product = build_safe(tmp_path, shape=(700, 600))
    twin = to_cog(product, tmp_path / "cogs", compression, block_px)
    with open_scene(str(product)) as scene, open_scene(str(twin), verify_pixels=True) as other:
        assert other.name.kind == "COG" and other.name.unique_id != scene.name.unique_id
        assert (other.shape, other.notes, other.ipf) == (scene.shape, scene.notes, scene.ipf)
        for polarisation in scene.polarisations:
            for window in (Window(0, 0, 700, 600), Window(-30, 500, 126, 126), Window(511, 127, 3, 3)):
                a, b = scene.read(polarisation, window), other.read(polarisation, window)
                for name in ("dn", "intensity", "nesz", "sigma0", "valid"):
                    assert np.array_equal(getattr(a, name), getattr(b, name)), name
