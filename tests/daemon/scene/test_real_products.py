"""The real products of the test data, with what is known of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import xarray_sentinel  # type: ignore[import-untyped]
from defusedxml import ElementTree
from numpy.typing import NDArray

from daemon.errors import SceneCorrupt
from daemon.scene.calibrate import Calibration, Noise, parse_calibration, parse_noise
from daemon.scene.geometry import RangeDopplerGeometry
from daemon.scene.names import ProductName, same_acquisition
from daemon.scene.product import Window, open_scene
from daemon.scene.safe import Annotation, Manifest, parse_annotation, parse_manifest
from engine.runtime.geoid import undulation_m
from engine.runtime.geometry import ecef_from_geodetic


@dataclass(frozen=True, eq=False)
class Real:
    folder: Path
    name: ProductName
    manifest: Manifest

    def file(self, role: str, polarisation: str) -> Path:
        return self.folder / self.manifest.files[role, polarisation]

    def annotation(self, polarisation: str | None = None) -> Annotation:
        return parse_annotation(self.file("product", polarisation or self.name.polarisations[0]).read_bytes())

    def calibration(self, polarisation: str) -> Calibration:
        return parse_calibration(self.file("calibration", polarisation).read_bytes())

    def noise(self, polarisation: str) -> Noise:
        return parse_noise(self.file("noise", polarisation).read_bytes())


@lru_cache
def load(folder: Path) -> Real:
    manifest = parse_manifest((folder / "manifest.safe").read_bytes())
    return Real(folder, ProductName.parse(folder.name), manifest)


# ending: IPF, relative orbit, noise vectors, azimuth blocks, swath bounds, state vectors
KNOWN = {
    "FEC3": ("002.36", 7, 27, 0, [37, 94, 59], 28),
    "6D00": ("002.70", 7, 27, 0, [43, 110, 69], 17),
    "8255": ("003.31", 79, 27, 3, [1, 1, 1], 17),
    "0664": ("003.52", 46, 32, 5, [2, 2, 1], 17),
    "861B": ("003.52", 46, 31, 5, [2, 2, 1], 17),
    "B918": ("003.52", 46, 32, 5, [2, 2, 1], 17),
    "4B8B": ("003.90", 15, 19, 0, [], 16),
}
IW = [ending for ending in KNOWN if ending != "4B8B"]


@pytest.fixture
def real(request: pytest.FixtureRequest, real_data: Path) -> Real:
    (folder,) = (real_data / "s1-safe").glob(f"*_{request.param}.SAFE")
    return load(folder)


every = pytest.mark.parametrize("real", KNOWN, indirect=True)


@every
def test_metadata(real: Real) -> None:
    ipf, orbit, vectors, blocks, bounds, states = KNOWN[real.name.unique_id]
    assert (real.manifest.ipf, real.manifest.relative_orbit) == (ipf, orbit)
    roles = [role for role, _ in real.manifest.files]
    assert len(roles) - roles.count("rfi") == 8
    assert roles.count("rfi") == (2 if ipf >= "003.40" else 0)
    for polarisation in real.name.polarisations:
        annotation, noise = real.annotation(polarisation), real.noise(polarisation)
        said = real.name.platform, real.name.mode, "GRD", real.name.absolute_orbit, real.name.datatake
        assert said == (
            annotation.platform,
            annotation.mode,
            annotation.product_type,
            annotation.absolute_orbit,
            annotation.datatake,
        )
        assert abs(annotation.first_line - real.name.start).total_seconds() < 1
        assert annotation.spacing_m == pytest.approx((10, 10), abs=0.01)
        assert len(annotation.orbit.times_s) == states
        assert noise.range_lut is not None and len(noise.range_lut.lines) == vectors
        assert len(noise.azimuth) == blocks
        swaths = sorted({s.swath for s in annotation.swaths})
        assert [sum(s.swath == swath for s in annotation.swaths) for swath in swaths] == bounds
        if real.name.mode == "IW":
            prf = {swath: round(value, 1) for swath, value in annotation.prf_hz.items()}
            assert prf == {"IW1": 1717.1, "IW2": 1451.6, "IW3": 1685.8}


@every
def test_relative_orbit_by_formula(real: Real) -> None:
    """S1C flew its commissioning orbit in January 2025: there only the manifest knows."""
    if real.name.platform == "S1C":
        assert real.name.relative_orbit != real.manifest.relative_orbit
    else:
        assert real.name.relative_orbit == real.manifest.relative_orbit


@every
def test_range_doppler_reproduces_the_grid(real: Real) -> None:
    """At each grid point's own height, both ways, within a tenth of a pixel."""
    annotation = real.annotation()
    geometry, grid = RangeDopplerGeometry(annotation), annotation.grid
    line, sample = geometry.pixel(grid.lon_deg, grid.lat_deg, grid.height_m)
    assert np.abs(line - grid.line_px).max() < 0.01
    assert np.abs(sample - grid.sample_px).max() < 0.001
    lon, lat = geometry.lonlat(grid.line_px, grid.sample_px, grid.height_m)
    there = ecef_from_geodetic(grid.lon_deg, grid.lat_deg, grid.height_m)
    assert np.linalg.norm(ecef_from_geodetic(lon, lat, grid.height_m) - there, axis=-1).max() < 0.1  # metres
    assert geometry.self_check_px == pytest.approx(
        np.hypot(line - grid.line_px, sample - grid.sample_px).max()
    )
    assert geometry._shift[1] == pytest.approx(0.5, abs=5e-4)  # the bistatic delay: half the two-way time


@every
def test_angles_agree_with_the_grid(real: Real) -> None:
    annotation = real.annotation()
    geometry, grid = RangeDopplerGeometry(annotation), annotation.grid
    flat = np.abs(grid.height_m) < 50
    incidence = geometry.incidence_deg(grid.line_px, grid.sample_px)
    assert np.abs(incidence - grid.incidence_deg)[flat].max(initial=0) < 0.05
    assert np.abs(incidence - grid.incidence_deg).max() < 0.3  # mountains
    heading = geometry.heading_deg(0, 0)
    southward = 90 < heading < 270
    assert annotation.orbit_direction == ("DESCENDING" if southward else "ASCENDING")


@every
def test_round_trip(real: Real) -> None:
    annotation = real.annotation()
    geometry = RangeDopplerGeometry(annotation)
    rng = np.random.default_rng(0)
    line = rng.uniform(-50, annotation.shape[0] + 50, 2000)
    sample = rng.uniform(-50, annotation.shape[1] + 50, 2000)
    back = geometry.pixel(*geometry.lonlat(line, sample))
    assert np.abs(back[0] - line).max() < 1e-3 and np.abs(back[1] - sample).max() < 1e-3


@every
def test_the_sea_is_not_where_the_grid_is(real: Real) -> None:
    """At sea level a place lies up to 124 m from where it would lie on the ellipsoid."""
    geometry = RangeDopplerGeometry(real.annotation())
    line, sample = geometry.shape[0] / 2, np.linspace(0, geometry.shape[1] - 1, 9)
    here, flat = geometry.lonlat(line, sample), geometry.lonlat(line, sample, 0.0)
    height = undulation_m(*here)
    moved = np.linalg.norm(ecef_from_geodetic(*here) - ecef_from_geodetic(*flat), axis=-1)
    expected = np.abs(height) / np.tan(np.radians(geometry.incidence_deg(line, sample)))
    assert moved == pytest.approx(expected, rel=0.03, abs=0.2)


def test_two_processors_agree_at_sea_level(real_data: Path) -> None:
    """FEC3 and 6D00 are one acquisition: a place has the same time and range in both, to 0.1 m.

    Their grids differ in origin (155 lines, up to 13 samples), line interval, time (by 0.4 ms) and orbit
    (2.8 m along track).
    """
    first, second = (
        RangeDopplerGeometry(load(next((real_data / "s1-safe").glob(f"*_{ending}.SAFE"))).annotation())
        for ending in ("FEC3", "6D00")
    )
    line, sample = (np.linspace(0, size - 1, 41) for size in first.shape)
    line = line[:, None]
    there = second.pixel(*first.lonlat(line, sample))
    assert 150 < np.abs(there[0] - line).min() and np.abs(there[1] - sample).max() > 10
    apart = (second.annotation.first_line - first.annotation.first_line).total_seconds()
    late = there[0] * second.annotation.line_interval_s + apart - line * first.annotation.line_interval_s
    ground_speed = first.annotation.spacing_m[0] / first.annotation.line_interval_s
    assert np.abs(late * ground_speed).max() < 0.1
    farther = second.slant_range_m(*there) - first.slant_range_m(line, sample)
    assert np.abs(farther / np.sin(np.radians(first.incidence_deg(line, sample)))).max() < 0.1
    # and back on the ground
    back = ecef_from_geodetic(*second.lonlat(*there))
    assert np.linalg.norm(back - ecef_from_geodetic(*first.lonlat(line, sample)), axis=-1).max() < 0.01


@pytest.mark.parametrize("real", ["0664"], indirect=True)
def test_footprint_is_the_manifests(real: Real) -> None:
    footprint = RangeDopplerGeometry(real.annotation()).footprint()
    said = [(134.940063, 6.552638), (132.714203, 7.008058), (133.065231, 8.758910), (135.301147, 8.308175)]
    ring = np.array(footprint.exterior.coords)
    for corner in said:
        assert np.hypot(*(ring - corner).T).min() < 1e-3
    assert footprint.is_valid


@every
def test_calibration_bounds(real: Real) -> None:
    for polarisation in real.name.polarisations:
        table = real.calibration(polarisation).sigma_nought
        low, high = table.bounds
        if real.name.mode == "IW":
            assert 558 < low < high < 666
            assert len(table.lines) == (32 if real.manifest.ipf == "003.52" else 27)
        else:
            assert 212 < low < high < 226


def independent_noise(path: Path, line: int, sample: int) -> float:
    """Noise power of one pixel, straight from the XML, in plain Python."""
    root = ElementTree.fromstring(path.read_bytes())

    def floats(node, tag: str) -> list[float]:
        return [float(v) for v in node.findtext(tag).split()]

    def between(x: float, xs: list[float], ys: list[float]) -> float:
        if x <= xs[0]:
            return ys[0]
        for x0, x1, y0, y1 in zip(xs, xs[1:], ys, ys[1:], strict=False):
            if x <= x1:
                return y0 + (x - x0) / (x1 - x0) * (y1 - y0)
        return ys[-1]

    vectors = root.findall(".//noiseVector") + root.findall(".//noiseRangeVector")
    tag = "noiseLut" if root.findall(".//noiseVector") else "noiseRangeLut"
    lines = [float(v.findtext("line")) for v in vectors]
    power = between(line, lines, [between(sample, floats(v, "pixel"), floats(v, tag)) for v in vectors])
    for block in root.findall(".//noiseAzimuthVector"):
        corners = ("firstAzimuthLine", "lastAzimuthLine", "firstRangeSample", "lastRangeSample")
        first, last, left, right = (int(block.findtext(c)) for c in corners)
        if first <= line <= last and left <= sample <= right:
            power *= between(line, floats(block, "line"), floats(block, "noiseAzimuthLut"))
    return power


@every
def test_noise_by_an_independent_evaluation(real: Real) -> None:
    shape = real.annotation().shape
    rng = np.random.default_rng(2)
    polarisation = real.name.polarisations[-1]
    noise, path = real.noise(polarisation), real.file("noise", polarisation)
    spots = [(0, 0), (0, shape[1] - 1), (shape[0] - 1, shape[1] - 1), (717, 8535), (718, 8456), (1362, 17344)]
    spots += [(int(rng.integers(shape[0])), int(rng.integers(shape[1]))) for _ in range(6)]
    for line, sample in spots:
        if line < shape[0] and sample < shape[1]:
            # in a window around it: the windows' edges must not matter
            lines, samples = np.arange(line - 3, line + 40), np.arange(sample - 5, sample + 30)
            got = np.broadcast_to(noise.power(lines, samples), (43, 35))[3, 5]
            assert got == pytest.approx(independent_noise(path, line, sample), rel=1e-5)


def nesz_db(real: Real, polarisation: str) -> NDArray[np.float64]:
    """Noise-equivalent sigma0 on every 37th pixel, 2% of the edges left out."""
    lines, samples = (np.arange(n // 50, n - n // 50, 37) for n in real.annotation().shape)
    power = real.noise(polarisation).power(lines, samples)
    nesz = power * real.calibration(polarisation).gain(lines, samples)
    return 10 * np.log10(nesz[nesz > 0])


@pytest.mark.parametrize("real", [ending for ending in IW if ending != "FEC3"], indirect=True)
def test_highest_nesz(real: Real) -> None:
    for polarisation in real.name.polarisations:
        nesz = nesz_db(real, polarisation)
        assert -25 < nesz.max() < -22
        assert -28 < np.median(nesz) < -25


@pytest.mark.parametrize("real", ["FEC3"], indirect=True)
def test_noise_of_ipf_236_is_zero(real: Real) -> None:
    noise = real.noise("VV")
    assert noise.zero and not noise.power(np.arange(100), np.arange(100)).any()


@pytest.mark.parametrize("real", ["0664"], indirect=True)
def test_corner_of_palau_lies_in_no_block(real: Real) -> None:
    """Five blocks of unequal width; the first lines of IW2 and IW3 have none, and the factor there is 1."""
    noise = real.noise("VV")
    assert noise.range_lut is not None
    lines, samples = np.arange(0, 1363, 94), np.arange(20000, 20010)
    power, table = noise.power(lines, samples), noise.range_lut.on(lines, samples)
    np.testing.assert_array_equal(power, table)
    assert power.max() > 100
    inside = noise.power(lines, np.arange(100, 110)) / noise.range_lut.on(lines, np.arange(100, 110))
    assert inside.max() > 1.05


def test_reprocessed_and_neighbouring(real_data: Path) -> None:
    """FEC3 and 6D00 are one acquisition; the passes over Palau are three."""
    names = {p.name[-9:-5]: ProductName.parse(p.name) for p in (real_data / "s1-safe").glob("*.SAFE")}
    same = {(a, b) for a in names for b in names if a < b and same_acquisition(names[a], names[b])}
    assert same == {("6D00", "FEC3")}


@pytest.mark.parametrize("real", IW, indirect=True)
def test_metadata_without_pixels_say_so(real: Real) -> None:
    with pytest.raises(SceneCorrupt, match=r"got no measurement/s1a-iw-grd-vv.*tiff"):
        open_scene(str(real.folder))


@pytest.mark.parametrize("real", ["4B8B"], indirect=True)
def test_empty_measurement_says_so(real: Real) -> None:
    with pytest.raises(SceneCorrupt, match=r"s1c-s4-grd-hh.*empty file \(0 bytes\)"):
        open_scene(str(real.folder))


@pytest.mark.parametrize("real", ["6D00", "8255", "4B8B"], indirect=True)
def test_sigma0_agrees_with_xarray_sentinel(real: Real) -> None:
    xarray = pytest.importorskip("xarray")
    polarisation = real.name.polarisations[0]
    lines, samples = np.arange(1000, 1200), np.arange(3000, 3300)
    dn = np.random.default_rng(0).integers(1, 2000, (200, 300)).astype(np.float64)
    path = str(real.file("calibration", polarisation))
    try:
        table = xarray_sentinel.sentinel1.open_calibration_dataset(path).sigmaNought
    except Exception as error:  # its schemas are bundled; whatever fails in there is not ours
        pytest.skip(f"xarray-sentinel cannot read it: {error}")
    image = xarray.DataArray(dn, dims=("line", "pixel"), coords={"line": lines, "pixel": samples})
    theirs = xarray_sentinel.calibrate_intensity(image, table).values
    ours = dn**2 * real.calibration(polarisation).gain(lines, samples)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)


def test_decimated_scene_without_annotation(real_data: Path) -> None:
    folder = real_data / "s1-scene" / "S1A_IW_GRDH_1SDV_20201121_cape_hatteras_20x"
    with open_scene(str(folder)) as scene:
        assert scene.name.unique_id == "62EA" and scene.name.kind == "AWS"
        assert (scene.shape, scene.ipf, scene.orbit_direction) == ((969, 1274), "003.31", "ASCENDING")
        assert scene.spacing_m == pytest.approx((200, 200), rel=0.02)
        assert sum(note.startswith("without annotation") for note in scene.notes) == 4
        # the corners that productInfo.json gives
        corners = [
            (-75.811516, 34.682152),
            (-73.067101, 35.083424),
            (-73.421303, 36.82753),
            (-76.226768, 36.428398),
        ]
        where = scene.geometry.lonlat([-0.5, -0.5, 968.5, 968.5], [-0.5, 1273.5, 1273.5, -0.5])
        assert np.abs(np.transpose(where) - np.array(corners)[[0, 1, 2, 3]]).max() < 0.005
        got = scene.read("VV", Window(0, 0, *scene.shape))
        assert 0.9 < got.valid.mean() < 1
        assert np.array_equal(got.sigma0, got.intensity)
        assert -25 < 10 * np.log10(np.median(got.sigma0[got.valid])) < -15  # a calm sea
        assert np.median(scene.read("VH", Window(0, 0, *scene.shape)).sigma0) < np.median(got.sigma0) / 2
