from __future__ import annotations

import hashlib
import json
import re
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import defusedxml.ElementTree as ElementTree
import numpy as np
import pytest

from engine.errors import InputError
from engine.runtime.geoid import undulation_m
from engine.runtime.geometry import SPEED_OF_LIGHT_M_S, Orbit, ground_point
from engine.simulate import command, landcover
from engine.simulate.objects import DEFAULT

SHAPE = (420, 640)
# enough ships in a small image, none too faint to be looked for
CROWDED = replace(DEFAULT, ships_per_1000_km2=700.0, ships_log_spread=0.1, faint_share=0.0, mover_share=0.0)


@dataclass(frozen=True)
class Ring:
    points: np.ndarray
    water: bool = False


class WestCoast:
    """Land in the western fifth of whatever box is asked for, and an island."""

    def polygons(self, west: float, south: float, east: float, north: float) -> list[Ring]:
        share = np.linspace(0, 1, 20)
        shore = west + (east - west) * (0.34 + 0.02 * np.sin(9 * share))
        land = np.concatenate(
            [np.stack([shore, south + (north - south) * share], 1), [[west, north], [west, south]]]
        )
        return [Ring(land)]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    out = tmp_path_factory.mktemp("simulated")
    return out, command.run(out, 1, 3, SHAPE, 2, WestCoast(), CROWDED)


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _truth(product: Path) -> dict:
    return json.loads(product.with_suffix(".truth.geojson").read_text())


def _image(product: Path, polarisation: str = "vv") -> np.ndarray:
    import rasterio

    (path,) = product.glob(f"measurement/*-{polarisation}-*.tiff")
    with rasterio.open(path) as raster:
        return raster.read(1)


def test_a_second_run_gives_equal_bytes(simulated: tuple[Path, list[Path]], tmp_path: Path) -> None:
    out, _ = simulated
    command.run(tmp_path, 1, 3, SHAPE, 2, WestCoast(), CROWDED)
    assert _digests(tmp_path) == _digests(out)


def test_names_are_real_ones(simulated: tuple[Path, list[Path]]) -> None:
    out, products = simulated
    assert len(products) == 2
    pattern = r"S1A_IW_GRDH_1SDV_(\d{8}T\d{6})_\d{8}T\d{6}_(\d{6})_[0-9A-F]{6}_[0-9A-F]{4}\.SAFE"
    first, second = (re.fullmatch(pattern, product.name) for product in products)
    assert first is not None and second is not None
    assert int(second[2]) - int(first[2]) == 175  # one repeat cycle
    assert not list(out.glob(".*"))


def test_the_manifest_lists_every_file_with_its_checksum(simulated: tuple[Path, list[Path]]) -> None:
    product = simulated[1][0]
    root = ElementTree.parse(product / "manifest.safe").getroot()
    listed = set()
    for stream in root.iter("byteStream"):
        path = product / stream.find("fileLocation").get("href")
        assert path.stat().st_size == int(stream.get("size"))
        assert hashlib.md5(path.read_bytes()).hexdigest() == stream.find("checksum").text
        listed.add(path.resolve())
    there = {path.resolve() for path in product.rglob("*") if path.is_file()}
    assert there - listed == {(product / "manifest.safe").resolve()}


def test_rasterio_opens_uncompressed_strips_with_control_points(simulated: tuple[Path, list[Path]]) -> None:
    import rasterio

    for path in simulated[1][0].glob("measurement/*.tiff"):
        with rasterio.open(path) as raster:
            points, crs = raster.gcps
            assert raster.dtypes == ("uint16",) and raster.shape == SHAPE
            assert raster.compression is None and not raster.profile["tiled"]
        assert crs.to_epsg() == 4326 and len(points) == 11 * 21


def test_an_independent_reader_opens_the_product(simulated: tuple[Path, list[Path]]) -> None:
    product = simulated[1][0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the reader's own
        import xarray

        groups = ["orbit", "gcp", "calibration", "noise_range", "noise_azimuth", "azimuth_fm_rate"]
        groups += ["dc_estimate", "coordinate_conversion"]
        sizes = {}
        for group in groups:
            with xarray.open_dataset(product, engine="sentinel-1", group=f"IW/VH/{group}") as found:
                sizes[group] = dict(found.sizes)
        with xarray.open_dataset(product, engine="sentinel-1", group="IW/VV") as image:
            values = image["measurement"].values
            assert image.attrs["mode"] == "IW"
    assert sizes["orbit"]["azimuth_time"] == 17
    assert sizes["gcp"] == {"azimuth_time": 11, "slant_range_time": 21}
    assert np.array_equal(values, _image(product))


def test_the_geolocation_grid_agrees_with_range_doppler(simulated: tuple[Path, list[Path]]) -> None:
    (path,) = simulated[1][1].glob("annotation/*-vv-*.xml")
    root = ElementTree.parse(path).getroot()
    epoch = np.datetime64(root.findtext(".//productFirstLineUtcTime"), "ns")

    def seconds(text: str | None) -> float:
        return float((np.datetime64(text, "ns") - epoch) / np.timedelta64(1, "s"))

    states = root.findall(".//orbit")
    orbit = Orbit(
        np.array([seconds(state.findtext("time")) for state in states]),
        np.array([[float(state.findtext(f"position/{axis}")) for axis in "xyz"] for state in states]),
        np.array([[float(state.findtext(f"velocity/{axis}")) for axis in "xyz"] for state in states]),
    )
    points = root.findall(".//geolocationGridPoint")
    assert len(points) == 11 * 21
    for point in points[::7]:
        slant = float(point.findtext("slantRangeTime")) * SPEED_OF_LIGHT_M_S / 2
        height = float(point.findtext("height"))
        lon, lat = ground_point(orbit, seconds(point.findtext("azimuthTime")), slant, height)
        assert float(lon) == pytest.approx(float(point.findtext("longitude")), abs=1e-6)
        assert float(lat) == pytest.approx(float(point.findtext("latitude")), abs=1e-6)
        assert height == pytest.approx(undulation_m(lon, lat), abs=1e-3) and abs(height) > 1  # the sea


def test_truth_has_its_schema_and_places(simulated: tuple[Path, list[Path]]) -> None:
    for product in simulated[1]:
        truth = _truth(product)
        assert truth["properties"]["simulated"] is True
        names = [feature["properties"]["id"] for feature in truth["features"]]
        assert len(set(names)) == len(names) > 5
        for feature in truth["features"]:
            about = feature["properties"]
            assert feature["geometry"]["type"] == "Point"
            assert about["class"] in ("ship", "platform", "turbine")
            assert about["length_m"] >= about["width_m"] > 0
            assert about["axis_deg"] is None or 0 <= about["axis_deg"] < 180
            assert (about["ghost_of"] is not None) == about["id"].startswith("ghost")
            assert -0.5 <= about["line_px"] < SHAPE[0] and -0.5 <= about["sample_px"] < SHAPE[1]


def test_echoes_stand_where_the_truth_says(simulated: tuple[Path, list[Path]]) -> None:
    errors, peaks = [], []
    for product in simulated[1]:
        image = _image(product).astype(float) ** 2
        floor = np.median(image[image > 0])
        for feature in _truth(product)["features"]:
            about = feature["properties"]
            if about["ghost_of"] or about["contrast_db"] < 16:
                continue
            reach = round(about["length_m"] / 20 + 2)
            line, sample = round(about["line_px"]), round(about["sample_px"])
            window = image[
                max(0, line - reach) : line + reach + 1, max(0, sample - reach) : sample + reach + 1
            ]
            rows, cols = np.nonzero(window > window.max() / 10)
            errors.append(
                np.hypot(
                    max(0, line - reach) + rows.mean() - about["line_px"],
                    max(0, sample - reach) + cols.mean() - about["sample_px"],
                )
                / (1.5 + about["length_m"] / 20)
            )
            peaks.append(window.max() / floor)
    assert len(errors) > 8
    assert np.min(peaks) > 5
    assert np.mean(np.array(errors) < 1) > 0.9


def test_axis_follows_the_ground(simulated: tuple[Path, list[Path]]) -> None:
    """The truth's axis, laid over the ground from the centre, runs along the echo in the image."""
    world = command.make_world((3, 1, 0), _site(simulated), SHAPE, WestCoast(), CROWDED)
    identity, acquired = command.make_pass(world, 0, SHAPE, CROWDED)
    assert f"{identity.start:%Y%m%dT%H%M%S}" in simulated[1][0].name
    features = {f["properties"]["id"]: f for f in _truth(simulated[1][0])["features"]}
    checked = 0
    for entry in acquired.objects:
        if entry.body.class_ != "ship" or entry.ghost_of:
            continue
        lon, lat = features[entry.id]["geometry"]["coordinates"]
        axis = np.radians(features[entry.id]["properties"]["axis_deg"])
        step = 0.001
        ahead = acquired.grid.pixel(
            lon + step * np.sin(axis) / np.cos(np.radians(lat)), lat + step * np.cos(axis)
        )
        run = np.array([ahead[0] - entry.line_px, ahead[1] - entry.sample_px])
        angle = np.radians(entry.body.axis_deg)
        along = np.array([-np.cos(angle), np.sin(angle)])
        assert abs(run @ along) / np.linalg.norm(run) > 0.999
        checked += 1
    assert checked > 3


def _site(simulated: tuple[Path, list[Path]]) -> command.Site:
    from engine.simulate.sites import SITES

    return SITES[np.random.default_rng([3, 0]).permutation(len(SITES))[0]]


def test_what_is_fixed_stays_and_ships_come_and_go() -> None:
    farm = replace(CROWDED, wind_farm_share=1.0, platforms_per_1000_km2=200.0)
    shape = (900, 900)
    world = command.make_world((11,), command.SITES[0], shape, WestCoast(), farm)
    seen = []
    for number in range(2):
        _, acquired = command.make_pass(world, number, shape, farm)
        places = {
            entry.id: acquired.grid.lonlat(entry.line_px, entry.sample_px)
            for entry in acquired.objects
            if entry.ghost_of is None
        }
        seen.append(places)
    both = seen[0].keys() & seen[1].keys()
    fixed = [name for name in both if not name.startswith("ship")]
    assert fixed
    for name in fixed:
        assert np.hypot(*(np.array(seen[0][name]) - np.array(seen[1][name]))) < 1e-5
    ships = [{name for name in places if name.startswith("ship")} for places in seen]
    assert ships[0] - ships[1] and ships[1] - ships[0] and ships[0] & ships[1]


def test_border_is_zero_and_the_rest_is_not(simulated: tuple[Path, list[Path]]) -> None:
    for product in simulated[1]:
        copol, crosspol = _image(product, "vv"), _image(product, "vh")
        assert np.array_equal(copol == 0, crosspol == 0)
        assert (copol[60:-60, 60:-60] > 0).mean() > 0.95


def test_alphaearth_has_the_real_form(simulated: tuple[Path, list[Path]]) -> None:
    import rasterio

    out, products = simulated
    index = json.loads((out / "alphaearth" / "index.json").read_text())
    assert index["version"] == 1 and index["tiles"]
    year = int(products[0].name[17:21])
    assert {tile["year"] for tile in index["tiles"]} == {year - 1, year}
    known = 0
    for tile in index["tiles"]:
        with rasterio.open(out / "alphaearth" / tile["path"]) as raster:
            assert raster.dtypes == ("int8",) * 64 and raster.nodata == landcover.NODATA
            assert raster.transform.e > 0 and raster.transform.a == 10  # bottom-up rows
            assert list(raster.transform)[:6] == tile["transform"]
            assert list(raster.shape) == tile["shape"] and raster.crs.to_string() == tile["crs"]
            assert raster.descriptions[0] == "A00" and raster.descriptions[63] == "A63"
            raw = raster.read().astype(float)
        masked = (raw == landcover.NODATA).any(0)
        assert ((raw == landcover.NODATA).all(0) == masked).all()
        vectors = (np.sign(raw) * (raw / 127.5) ** 2)[:, ~masked]
        known += vectors.shape[1]
        if vectors.size:
            assert np.linalg.norm(vectors, axis=0) == pytest.approx(1, abs=0.02)
    assert known > 0


def test_alphaearth_lies_on_the_land_of_the_image(simulated: tuple[Path, list[Path]]) -> None:
    """Row 0 is the south: a vector's class, looked up through the transform, fits the scene's shore."""
    import rasterio
    from rasterio.warp import transform

    out, _ = simulated
    world = command.make_world((3, 1, 0), _site(simulated), SHAPE, WestCoast(), CROWDED)
    index = json.loads((out / "alphaearth" / "index.json").read_text())
    agree = []
    for tile in index["tiles"]:
        with rasterio.open(out / "alphaearth" / tile["path"]) as raster:
            raw = raster.read(1)
            rows, cols = np.mgrid[2:256:12, 2:256:12]
            x = raster.transform.c + raster.transform.a * (cols.ravel() + 0.5)
            y = raster.transform.f + raster.transform.e * (rows.ravel() + 0.5)
            lon, lat = transform(raster.crs, "EPSG:4326", x.tolist(), y.tolist())
        line, sample = world.base.pixel(lon, lat)
        inside = (line > 5) & (line < SHAPE[0]) & (sample > 5) & (sample < SHAPE[1])
        shore = world.terrain.shore_px(line[inside], sample[inside])
        known = (raw[rows.ravel(), cols.ravel()] != landcover.NODATA)[inside]
        clear = np.abs(shore + 60) > 6  # water is known to 600 m from the shore
        agree.append(known[clear] == (shore[clear] > -60))
    together = np.concatenate(agree)
    assert len(together) > 100 and together.mean() > 0.97


@pytest.mark.parametrize("text", ["3000", "10x3000", "99999x3000", "axb"])
def test_a_bad_size_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="got a size"):
        command.parse_size(text)


def test_size_is_samples_by_lines() -> None:
    assert command.parse_size("3000x2000") == (2000, 3000)
