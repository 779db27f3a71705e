from __future__ import annotations

import hashlib

import numpy as np
import pytest

from engine.errors import ArtifactError, InputError
from engine.runtime.land import FILE, Coastline, lon_factor

LAND = {
    "Babeldaob, Palau": (134.57, 7.50),
    "Koror, Palau": (134.474, 7.345),
    "Malmo": (13.02, 55.59),
    "Saltholm": (12.76, 55.64),
    "Gibraltar": (-5.343, 36.13),
    "Singapore": (103.82, 1.36),
    "Pulau Bukom": (103.767, 1.232),
    "Buxton, Hatteras": (-75.54, 35.268),
    "Taveuni, east of 180": (-179.95, -16.8),
    "Taveuni, on 180": (180.0, -16.85),
    "Taveuni, west of 180": (179.99, -16.85),
    "Chukotka, on 180": (180.0, 68.5),
    "Wrangel, on 180": (-180.0, 71.2),
    "Antarctica": (0.0, -80.0),
    "South Pole": (10.0, -89.9),
    "Ross ice shelf": (180.0, -81.0),
    "Isle Royale, Lake Superior": (-88.85, 48.0),
    "Olkhon, Baikal": (107.4, 53.15),
    "Sahara": (10.0, 25.0),
    "Greenland": (-40.0, 72.0),
    "Tristan da Cunha": (-12.28, -37.11),
    "Easter Island": (-109.35, -27.12),
    "Mosken, Lofoten, 1.4 km2": (12.7565, 67.7479),
}
SEA = {
    "Bothnian Bay": (23.0, 64.5),
    "Sea of Azov": (36.5, 46.0),
    "Palau, lagoon": (134.36, 7.25),
    "Oresund": (12.85, 55.68),
    "Strait of Gibraltar": (-5.5, 35.95),
    "Singapore Strait": (103.8, 1.18),
    "off Cape Hatteras": (-75.4, 35.2),
    "Pamlico Sound": (-75.9, 35.3),
    "mid Atlantic": (-30.0, 30.0),
    "null island": (0.0, 0.0),
    "Fiji, on 180": (180.0, -18.0),
    "Somosomo Strait": (179.8, -16.75),
    "North Pole": (0.0, 89.9),
    "Southern Ocean": (0.0, -60.0),
    "Black Sea": (34.0, 43.0),
    "Bosporus": (29.065, 41.1),
}
INLAND = {
    "Caspian Sea": (51.0, 42.0),
    "Caspian Sea, north": (50.5, 46.0),
    "Caspian Sea, off Baku": (50.3, 40.3),
    "Lake Superior": (-87.5, 47.7),
    "Lake Michigan": (-87.0, 43.5),
    "Baikal": (108.0, 53.5),
    "Victoria": (33.0, -1.0),
    "Vanern": (13.3, 58.9),
    "Balkhash": (74.0, 45.6),
}


@pytest.fixture(scope="module")
def coastline() -> Coastline:
    return Coastline.load()


@pytest.mark.parametrize("name", LAND)
def test_land(coastline: Coastline, name: str) -> None:
    assert coastline.is_land(*LAND[name])


@pytest.mark.parametrize("name", SEA)
def test_sea(coastline: Coastline, name: str) -> None:
    assert not coastline.is_land(*SEA[name])
    assert not Coastline.load("none").is_land(*SEA[name])


@pytest.mark.parametrize("name", INLAND)
def test_inland_water_is_water_unless_left_out(coastline: Coastline, name: str) -> None:
    assert not coastline.is_land(*INLAND[name])
    assert Coastline.load("none").is_land(*INLAND[name])


@pytest.mark.parametrize(
    ("choice", "water"),
    [
        ("seas", {"Caspian Sea", "Caspian Sea, north", "Lake Michigan", "Baikal", "Victoria", "Vanern"}),
        ("Caspian Sea", {"Caspian Sea", "Caspian Sea, north", "Caspian Sea, off Baku"}),
        ("lake victoria, Vanern", {"Victoria", "Vanern"}),
    ],
)
def test_inland_seas_are_chosen_by_name(choice: str, water: set[str]) -> None:
    chosen = Coastline.load(choice)
    wet = {name for name, place in INLAND.items() if not chosen.is_land(*place)}
    assert wet >= water and "Balkhash" not in wet
    if choice != "seas":
        assert wet == water
    for place in SEA.values():
        assert not chosen.is_land(*place)
    for name in ("Isle Royale, Lake Superior", "Olkhon, Baikal", "Singapore"):
        assert chosen.is_land(*LAND[name])


def test_every_named_sea_is_water_somewhere(coastline: Coastline) -> None:
    dry = Coastline.load("none")
    for name in coastline.seas:
        chosen = Coastline.load(name)
        tiles = {int(tile) for tile in coastline.metadata["seas"][name]}
        for tile in tiles:
            row, column = divmod(tile, coastline.columns)
            box = (column * 5 - 180.0, row * 5 - 90.0, column * 5 - 175.0, row * 5 - 85.0)
            levels = [ring.level for ring in chosen.polygons(*box)]
            assert levels.count(2) >= 1 > [ring.level for ring in dry.polygons(*box)].count(2)


def test_the_choice_is_in_the_version_whatever_its_order() -> None:
    one, other = Coastline.load("Lake Erie,Caspian Sea"), Coastline.load(" caspian sea , lake erie")
    assert one.version == other.version and one.version.endswith("/inland=Caspian Sea,Lake Erie")
    versions = {Coastline.load(choice).version for choice in ("all", "none", "seas", "Lake Erie")}
    assert len(versions) == 4


def test_a_lagoon_that_openstreetmap_shuts_off_is_land(coastline: Coastline) -> None:
    # the coast runs along the Lido: ships at Venice and Marghera are not looked for; stated in data/README.md
    assert coastline.is_land(12.45, 45.53) and not coastline.is_land(12.45, 45.38)


def test_an_unknown_sea_is_refused() -> None:
    with pytest.raises(InputError, match="'dead sea'.*Caspian Sea"):
        Coastline.load("Caspian Sea, Dead Sea")


def test_the_header_holds_the_hash_of_the_tiles(coastline: Coastline) -> None:
    data = FILE.read_bytes()
    start = 12 + int.from_bytes(data[8:12], "little")
    assert hashlib.sha256(data[start:]).hexdigest() == coastline.metadata["sha256"]
    renamed = data[:start].replace(b'"Vanern"', b'"Venern"') + data[start:]
    assert Coastline(renamed).version != coastline.version


def test_a_damaged_tile_is_refused() -> None:
    data = bytearray(FILE.read_bytes())
    data[-200_000:] = bytes(200_000)
    with pytest.raises(ArtifactError, match="tile .* is damaged"):
        Coastline(bytes(data)).polygons(-180, 60, 180, 85)


def test_earth_is_as_much_land_as_is_known() -> None:
    # equal-area lattice; 29.2% is the share of land with its lakes (CIA World Factbook)
    sines = (np.arange(44) + 0.5) / 22 - 1
    lon, lat = np.meshgrid(np.arange(-176, 180, 8.0), np.degrees(np.arcsin(sines)))
    assert Coastline.load("none").is_land(lon, lat).mean() == pytest.approx(0.292, abs=0.015)


def test_rings_come_by_level_and_in_their_box(coastline: Coastline) -> None:
    box = (-88.0, 41.0, -80.0, 49.0)
    rings = coastline.polygons(*box)
    levels = [ring.level for ring in rings]
    assert levels == sorted(levels) and {1, 2, 3} <= set(levels)
    for ring in rings:
        assert ring.water == (ring.level % 2 == 0)
        assert len(ring.points) >= 3 and ring.points.dtype == np.float64
        (west, south), (east, north) = ring.points.min(axis=0), ring.points.max(axis=0)
        assert west <= box[2] and east >= box[0] and south <= box[3] and north >= box[1]
    assert {ring.level for ring in Coastline.load("none").polygons(*box)} == {1}


def test_a_box_across_the_antimeridian_runs_on(coastline: Coastline) -> None:
    forms = [(179.0, -17.5, -179.0, -16.0), (179.0, -17.5, 181.0, -16.0), (-181.0, -17.5, -179.0, -16.0)]
    first, second, third = ([ring.points for ring in coastline.polygons(*form)] for form in forms)
    assert len(first) == len(second) == len(third) > 10
    for a, b, c in zip(first, second, third, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c + (360.0, 0.0))
    longitudes = np.concatenate(first)[:, 0]
    assert longitudes.min() < 180 < longitudes.max() and np.ptp(longitudes) < 12


def test_neighbouring_tiles_overlap(coastline: Coastline) -> None:
    # inland Africa, where four tiles meet: each must reach beyond the corner
    for ring in coastline.polygons(19.999, 9.999, 20.001, 10.001):
        if ring.level == 1:
            gap = np.abs(ring.points - (20.0, 10.0))
            assert (gap.min(axis=0) > 0.01).all()


def test_open_sea_has_no_rings(coastline: Coastline) -> None:
    assert coastline.polygons(-31, 29, -29, 31) == []


def test_the_version_names_source_tolerance_and_bytes(coastline: Coastline) -> None:
    name, tolerance, date, digest, inland = coastline.version.split("/")
    assert name == "osm-land" and int(tolerance.rstrip("m")) <= 250 and date == "2026-08"
    assert len(digest) == 12 and inland == "inland=all"
    assert "OpenStreetMap" in coastline.metadata["attribution"] and "ODbL" in coastline.metadata["licence"]


@pytest.mark.parametrize(
    "box", [(0, 10, 1, 10), (0, 10, 1, 5), (0, 0, float("nan"), 1), (0, 0, 0, 1), (0, -np.inf, 1, 1)]
)
def test_a_box_that_is_none_is_refused(coastline: Coastline, box: tuple[float, float, float, float]) -> None:
    with pytest.raises(InputError, match="south below north"):
        coastline.polygons(*box)


def test_a_damaged_file_is_refused() -> None:
    data = FILE.read_bytes()
    assert len(data) < 4.9e6
    for damaged in (b"", data[:100], data[:-10], b"x" + data[1:], data[:20] + b"\0" + data[21:]):
        with pytest.raises(ArtifactError):
            Coastline(damaged)


def test_steps_widen_towards_the_poles() -> None:
    assert [lon_factor(south, 5) for south in (0, 55, 60, 75, 85)] == [1, 1, 2, 4, 16]
    assert lon_factor(-65, 5) == lon_factor(60, 5)
