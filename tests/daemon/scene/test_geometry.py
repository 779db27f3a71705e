from __future__ import annotations

import re
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from shapely.geometry import MultiPolygon, Polygon

from daemon.errors import SceneCorrupt
from daemon.scene.gcps import GcpGeometry
from daemon.scene.geometry import RangeDopplerGeometry, split_at_antimeridian
from daemon.scene.product import open_scene
from daemon.scene.safe import parse_annotation
from engine.runtime.geometry import ecef_from_geodetic, local_axes
from tests.support.safe import GRSR, build_safe


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_safe(tmp_path_factory.mktemp("safe"))


@pytest.fixture(scope="module")
def annotation_xml(product: Path) -> str:
    return next((product / "annotation").glob("*-vv-*.xml")).read_text()


@pytest.fixture(scope="module")
def geometry(annotation_xml: str) -> RangeDopplerGeometry:
    return RangeDopplerGeometry(parse_annotation(annotation_xml.encode()))


def metres(a: tuple, b: tuple) -> float:
    return float(np.linalg.norm(ecef_from_geodetic(*a) - ecef_from_geodetic(*b)))


def test_round_trip_also_beside_the_scene(geometry: RangeDopplerGeometry) -> None:
    rng = np.random.default_rng(0)
    line, sample = rng.uniform(-2000, 2300, 500), rng.uniform(-500, 2000, 500)
    for height in (0.0, 45.0):
        there = geometry.pixel(*geometry.lonlat(line, sample, height), height)
        assert np.abs(there[0] - line).max() < 1e-5 and np.abs(there[1] - sample).max() < 1e-5


def test_pixels_are_about_ten_metres_apart(geometry: RangeDopplerGeometry) -> None:
    here = geometry.lonlat(100, 200)
    assert metres(here, geometry.lonlat(101, 200)) == pytest.approx(10, abs=0.3)
    assert metres(here, geometry.lonlat(100, 201)) == pytest.approx(10, abs=0.3)


def test_axes_of_the_image(geometry: RangeDopplerGeometry) -> None:
    """Ascending on a right-looking satellite: lines go a little west of north, samples east."""
    lon, lat = geometry.lonlat([100, 110, 100], [200, 200, 210])
    steps = np.diff(ecef_from_geodetic(lon, lat)[[0, 1, 0, 2]], axis=0)[::2]
    east, north, _ = (steps @ axis for axis in local_axes(lon[0], lat[0]))
    line_axis, sample_axis = np.degrees(np.arctan2(east, north)) % 360
    assert geometry.heading_deg(100, 200) == pytest.approx(line_axis, abs=0.02)
    assert geometry.look_azimuth_deg(100, 200) == pytest.approx(sample_axis, abs=0.02)
    assert 345 < line_axis < 350 and 75 < sample_axis < 80


def test_ranges_and_angles(geometry: RangeDopplerGeometry) -> None:
    slant = geometry.slant_range_m(10, [0, 399])
    assert slant == pytest.approx(np.polyval(GRSR[::-1], [0, 3990]), abs=1e-6)
    incidence = geometry.incidence_deg(10, [0, 399])
    # the slope of slant range over ground range is the sine of the incidence angle
    assert np.sin(np.radians(incidence)) == pytest.approx(
        GRSR[1] + 2 * GRSR[2] * np.array([0, 3990]), abs=0.02
    )
    assert 100 < geometry.range_to_velocity_s(10, 10) < 130
    assert (geometry.time_utc(100) - geometry.time_utc(0)).total_seconds() == pytest.approx(
        0.14883458, abs=1e-6
    )


def test_the_other_side_of_the_track_is_not_in_the_image(geometry: RangeDopplerGeometry) -> None:
    lon, lat = geometry.lonlat(100, 200)
    line, sample = geometry.pixel(lon - 15, lat)
    assert np.isnan(line) and np.isnan(sample)


def test_slant_range_of_the_nearest_update(annotation_xml: str) -> None:
    """A line follows the update nearest in time, with the origin that it has."""
    shifted = annotation_xml.replace("<gr0>0.0</gr0>", "<gr0>5.0</gr0>", 2)  # the first two: -1 s and 0 s
    moved = RangeDopplerGeometry(parse_annotation(shifted.encode()))
    expected = np.polyval(GRSR[::-1], np.array([200 * 10 - 5, 200 * 10]))
    assert moved.slant_range_m([299, 400], 200) == pytest.approx(expected, abs=1e-6)  # 0.45 s and 0.6 s


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("<numberOfLines>300<", "<numberOfLines>0<", "more than 0"),
        ("grsrCoefficients", "gone", "grsrCoefficients"),
        ("<orbit>", "<orbital>", "does not parse"),
        ("<longitude>", "<longitude>1e9", "expected a number|abeam"),
        ("T18:0", "T99:0", "expected a time"),
        ("<x>", "<x>nope", "expected a number"),
        ("orbitList", "noList", "orbit"),
    ],
)
def test_broken_annotation(annotation_xml: str, old: str, new: str, says: str) -> None:
    with pytest.raises(SceneCorrupt, match=says):
        RangeDopplerGeometry(parse_annotation(annotation_xml.replace(old, new).encode()))


def test_state_vectors_out_of_order(annotation_xml: str) -> None:
    again = annotation_xml.replace("T18:06:14", "T18:06:04")  # repeats the first
    with pytest.raises(SceneCorrupt, match="do not increase"):
        parse_annotation(again.encode())


def test_the_self_check(annotation_xml: str, geometry: RangeDopplerGeometry) -> None:
    assert geometry.self_check_px < 1e-3
    low, high = (annotation_xml.replace("<gr0>0.0</gr0>", f"<gr0>{m}</gr0>") for m in (5.0, 100.0))
    assert RangeDopplerGeometry(parse_annotation(low.encode())).self_check_px == pytest.approx(0.5, abs=0.01)
    with pytest.raises(SceneCorrupt, match=r"got a geolocation grid up to 10 px .* expected at most 1.0 px"):
        RangeDopplerGeometry(parse_annotation(high.encode()))


def test_one_wrong_point_of_the_grid_is_seen(annotation_xml: str) -> None:
    """A grid that folds: one point stands where another should."""
    first, second = re.findall(r"<longitude>[^<]+</longitude>", annotation_xml)[:2]
    with pytest.raises(SceneCorrupt, match="got a geolocation grid"):
        RangeDopplerGeometry(parse_annotation(annotation_xml.replace(second, first).encode()))


def test_line_times_of_another_orbit(annotation_xml: str) -> None:
    """The first line two seconds later than it was: lines and orbit no longer belong together."""
    time = re.search(r"<productFirstLineUtcTime>([^<]+)<", annotation_xml)
    assert time
    later = datetime.fromisoformat(time[1]) + timedelta(seconds=2)
    moved = annotation_xml.replace(f"Time>{time[1]}<", f"Time>{later.isoformat(timespec='microseconds')}<")
    with pytest.raises(SceneCorrupt, match=r"grid -2\.000 s from the line times"):
        RangeDopplerGeometry(parse_annotation(moved.encode()))


def test_footprint_across_the_antimeridian(tmp_path: Path, product: Path) -> None:
    with open_scene(str(product)) as scene:
        here = scene.footprint
        west = here.bounds[0]
    assert isinstance(here, Polygon) and here.is_valid
    with open_scene(str(build_safe(tmp_path, node_deg=20.0 + 180 - west - 0.02))) as scene:
        there = scene.footprint
    assert isinstance(there, MultiPolygon) and there.is_valid and len(there.geoms) == 2
    assert there.area == pytest.approx(here.area, rel=1e-3)
    assert there.bounds[0] == -180 and there.bounds[2] == 180
    assert max(part.bounds[2] - part.bounds[0] for part in there.geoms) < 1


def test_split_refuses_what_is_not_finite() -> None:
    with pytest.raises(SceneCorrupt, match="leaves the ground"):
        split_at_antimeridian(np.array([0, 1, np.nan]), np.zeros(3))


def test_gcps_alone_give_the_same_places(product: Path, geometry: RangeDopplerGeometry) -> None:
    with open_scene(str(product)) as scene:
        gcps = scene.bands["VV"].raster.gcps
        alone = GcpGeometry(gcps + [0.5, 0.5, 0, 0], scene.shape, scene.name.start, scene.name.stop)
    line, sample = np.mgrid[0:300:37, 0:400:41]
    assert np.abs(np.subtract(alone.lonlat(line, sample), geometry.lonlat(line, sample, 0.0))).max() < 1e-7
    back = alone.pixel(*alone.lonlat(line - 30.0, sample + 50.0))
    assert np.abs(back[0] - line + 30).max() < 1e-6 and np.abs(back[1] - sample - 50).max() < 1e-6
    assert alone.heading_deg(9, 9) == pytest.approx(geometry.heading_deg(9, 9), abs=0.02)
    assert alone.look_azimuth_deg(9, 9) == pytest.approx(geometry.look_azimuth_deg(9, 9), abs=0.02)
    assert alone.spacing_m() == pytest.approx((10, 10), abs=0.3)
    with pytest.raises(SceneCorrupt, match="full grid"):
        GcpGeometry(gcps[:-1], alone.shape, scene.name.start, scene.name.stop)
