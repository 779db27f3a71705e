from __future__ import annotations

import json
from datetime import datetime, timezone

import numpy as np
import pytest
import rasterio
from affine import Affine

from daemon import pipeline
from daemon.errors import ConfigError
from daemon.flags.ice import Chart, IceView, NoChart, SeaIce, matters
from daemon.flags.infrastructure import Infrastructure
from daemon.flags.layers import Layers
from daemon.scan import scan
from tests.support.sea import BrightEngine, FakeLand, sea_scene

WHEN = datetime(2024, 2, 12, 5, 30, tzinfo=timezone.utc)
CSV = """lon,lat,kind,name,valid_from,valid_to
4.0,52.0,turbine,A1,2020-05-01,
4.1,52.0,platform,B,,2024-02-12
4.2,52.0,platform,C,,2024-02-13
"""


def geojson(*features):
    return {
        "type": "FeatureCollection",
        "version": "2024-01",
        "features": [
            {"type": "Feature", "geometry": geometry, "properties": properties}
            for geometry, properties in features
        ],
    }


def point(lon, lat):
    return {"type": "Point", "coordinates": [lon, lat]}


def write(folder, name, what):
    path = folder / name
    path.write_text(what if isinstance(what, str) else json.dumps(what))
    return path


@pytest.fixture
def structures(tmp_path):
    return Infrastructure.open(write(tmp_path, "north_sea.csv", CSV))


def test_a_structure_within_the_radius_is_named(structures) -> None:
    east_150_m = 150 / (111_195 * np.cos(np.radians(52)))
    flag = structures.flag(4.0 + east_150_m, 52.0, WHEN, 200.0)
    assert flag.name == "infrastructure"
    assert flag.evidence == {
        "distance_m": 150,
        "kind": "turbine",
        "structure": "A1",
        "layer": structures.version,
    }
    assert structures.flag(4.0 + east_150_m, 52.0, WHEN, 140.0) is None


def test_a_structure_counts_while_it_stands(structures) -> None:
    before = datetime(2020, 4, 30, 23, tzinfo=timezone.utc)
    assert structures.flag(4.0, 52.0, before, 200.0) is None
    assert structures.flag(4.1, 52.0, WHEN, 200.0) is None, "taken down that day"
    assert structures.flag(4.2, 52.0, WHEN, 200.0).evidence["structure"] == "C"


def test_the_version_is_that_of_the_content(tmp_path, structures) -> None:
    assert structures.version.startswith("north_sea ")
    other = Infrastructure.open(write(tmp_path, "north_sea.csv", CSV.replace("52.0,turbine", "52.1,turbine")))
    assert other.version != structures.version and len(other) == 3


@pytest.mark.parametrize(
    ("layer_lon", "lon"), [(180.0005, -179.9995), (-179.9995, 180.0), (179.9999, -179.9999)]
)
def test_across_the_antimeridian(tmp_path, layer_lon, lon) -> None:
    layer = Infrastructure.open(write(tmp_path, "dateline.geojson", geojson((point(layer_lon, 0.0), {}))))
    assert layer.version.startswith("2024-01 ")
    assert layer.flag(lon, 0.0, WHEN, 200.0).evidence["distance_m"] <= 60


def test_a_field_of_cages_is_an_area(tmp_path) -> None:
    ring = [[5.0, 60.0], [5.01, 60.0], [5.01, 60.01], [5.0, 60.01], [5.0, 60.0]]
    farm = {"type": "Polygon", "coordinates": [ring]}
    layer = Infrastructure.open(write(tmp_path, "farms.geojson", geojson((farm, {"kind": "aquaculture"}))))
    assert layer.flag(5.005, 60.005, WHEN, 10.0).evidence["distance_m"] == 0
    north_100_m = 60.01 + 100 / 111_195
    assert layer.flag(5.005, north_100_m, WHEN, 200.0).evidence["distance_m"] == pytest.approx(100, abs=1)


@pytest.mark.parametrize(
    "text", ["", "{}", '{"type": "Feature"}', "[]", json.dumps(geojson(({"type": "Nothing"}, {})))]
)
def test_a_layer_that_cannot_be_read_stops_the_start(tmp_path, text) -> None:
    with pytest.raises(ConfigError, match="FUSAR_LAYERS__INFRASTRUCTURE"):
        Infrastructure.open(write(tmp_path, "broken.geojson", text))
    with pytest.raises(ConfigError, match="FUSAR_LAYERS__INFRASTRUCTURE"):
        Infrastructure.open(tmp_path / "missing.csv")
    with pytest.raises(ConfigError, match="YYYY-MM-DD"):
        Infrastructure.open(write(tmp_path, "dates.csv", CSV.replace("2020-05-01", "May 2020")))


def chart(folder, day="20240211", crs="EPSG:4326", bounds=(10.0, 60.0, 20.0, 65.0), scale=1.0):
    """Ice of 80% in the north, 5% in the south, nothing known in the west."""
    grid = np.full((50, 100), 80 / scale, np.float32)
    grid[25:] = 5 / scale
    grid[:, :10] = -1
    west, south, east, north = bounds
    width, height = (east - west) / 100, (north - south) / 50
    path = folder / f"{day}.tif"
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=100,
        height=50,
        count=1,
        dtype="float32",
        crs=crs,
        nodata=-1,
        transform=Affine(width, 0, west, 0, -height, north),
    ) as file:
        file.write(grid, 1)
        file.scales = (scale,)
    return path


def index(folder, **charts):
    entries = [{"date": f"{d[1:5]}-{d[5:7]}-{d[7:]}", "path": path} for d, path in charts.items()]
    return write(folder, "index.json", {"source": "test ice", "charts": entries})


def view(folder, when=WHEN, max_age_days=3, lat=(60.0, 65.0)):
    return IceView(SeaIce(folder / "index.json", max_age_days).chart(when), when, lat)


PLACES = np.array([15.0, 15.0, 10.5, 40.0]), np.array([64.0, 61.0, 64.0, 64.0])


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_ice_is_flagged_where_the_chart_has_it(tmp_path, scale) -> None:
    chart(tmp_path, scale=scale)
    index(tmp_path, d20240211="20240211.tif")
    ice = view(tmp_path)
    flags = ice.flags(*PLACES)
    assert [flag is not None for flag in flags] == [True, False, False, False]
    assert flags[0].evidence["concentration_percent"] == 80.0
    assert (flags[0].evidence["date"], flags[0].evidence["age_days"]) == ("2024-02-11", 1)
    status = ice.status()
    # neither the part without data nor what lies beside the chart is known to be free
    assert (status["status"], status["date"], status["places_unknown"]) == ("known", "2024-02-11", 2)


def test_polygons_are_ice_and_the_rest_is_free(tmp_path) -> None:
    ring = [[14.0, 63.0], [16.0, 63.0], [16.0, 65.0], [14.0, 65.0], [14.0, 63.0]]
    write(tmp_path, "ice.geojson", geojson(({"type": "Polygon", "coordinates": [ring]}, {})))
    index(tmp_path, d20240212="ice.geojson")
    flags = view(tmp_path).flags(*PLACES)
    assert [flag is not None for flag in flags] == [True, False, False, False]
    assert "concentration_percent" not in flags[0].evidence


def test_the_newest_chart_counts_that_is_not_of_the_future_nor_too_old(tmp_path) -> None:
    for day in ("20240205", "20240210", "20240211", "20240213"):
        chart(tmp_path, day)
    index(tmp_path, **{f"d{day}": f"{day}.tif" for day in ("20240205", "20240211", "20240210", "20240213")})
    found = SeaIce(tmp_path / "index.json", 3).chart(WHEN)
    assert isinstance(found, Chart) and f"{found.day}" == "2024-02-11"
    late = datetime(2024, 2, 20, tzinfo=timezone.utc)
    missing = SeaIce(tmp_path / "index.json", 3).chart(late)
    assert isinstance(missing, NoChart) and "3 days" in missing.reason


def test_what_is_missing_is_unknown_and_never_free_of_ice(tmp_path) -> None:
    assert view(tmp_path).status()["status"] == "unknown"
    index(tmp_path, d20240211="20240211.tif")
    assert "cannot be read" in view(tmp_path).status()["reason"]
    write(tmp_path, "20240211.tif", "no chart")
    broken = view(tmp_path)
    assert broken.flags(*PLACES) == [None] * 4
    assert broken.status()["status"] == "unknown" and "2024-02-11" in broken.status()["reason"]
    assert view(tmp_path, lat=(0.0, 5.0)).status()["matters"] == 0
    assert view(tmp_path, lat=(59.0, 61.0)).status()["matters"] == 1


def test_where_ice_is_possible() -> None:
    assert [matters(lat) for lat in (80.0, 39.0, 30.0, 0.0, -45.0, -60.0)] == [
        True,
        True,
        False,
        False,
        False,
        True,
    ]


def test_the_layers_of_a_scene_have_versions_and_a_status(tmp_path) -> None:
    scene = sea_scene((60, 60))
    nothing = Layers.open()
    assert nothing.version(WHEN) is None
    status = nothing.status(scene, nothing.ice_view(scene))
    assert {name: said["status"] for name, said in status.items()} == {
        "infrastructure": "unknown",
        "sea_ice": "unknown",
        "rfi": "unknown",
    }
    chart(tmp_path, "20210118")
    layers = Layers.open(
        write(tmp_path, "north_sea.csv", CSV), 150.0, index(tmp_path, d20210118="20210118.tif"), 3
    )
    status = layers.status(scene, layers.ice_view(scene))
    assert (status["infrastructure"]["status"], status["sea_ice"]["status"]) == ("known", "known")
    first = layers.version(scene.name.start)
    assert "150 m" in first and "2021-01-18" in first
    chart(tmp_path, "20210118", scale=0.5)  # the same chart, written again with other content
    assert layers.version(scene.name.start) != first
    assert layers.version(WHEN).endswith("ice unknown")


@pytest.mark.parametrize(("chart_lon", "lon"), [(180.5, -179.5), (-179.5, 180.0 + 0.5), (179.5, 179.5)])
def test_polygons_across_the_antimeridian(tmp_path, chart_lon, lon) -> None:
    west, east = chart_lon - 0.1, chart_lon + 0.1
    ring = [[west, 65.0], [east, 65.0], [east, 66.0], [west, 66.0], [west, 65.0]]
    write(tmp_path, "ice.geojson", geojson(({"type": "Polygon", "coordinates": [ring]}, {})))
    index(tmp_path, d20240212="ice.geojson")
    flags = view(tmp_path).flags(np.array([lon, lon + 0.3]), np.array([65.5, 65.5]))
    assert [flag is not None for flag in flags] == [True, False]


def test_an_index_that_misleads_the_reader_is_no_chart(tmp_path) -> None:
    index(tmp_path, d20240211="a\0b.tif")
    assert "2024-02-11" in view(tmp_path).status()["reason"]
    write(tmp_path, "index.json", "[" * 200_000)
    assert "RecursionError" in view(tmp_path).status()["reason"]


def test_a_result_is_of_the_chart_that_its_key_names(tmp_path, monkeypatch) -> None:
    """A chart that appears while a scene is looked at is the next result's."""
    scene = sea_scene((60, 60))
    chart(tmp_path, "20210117")
    index(tmp_path, d20210117="20210117.tif")
    layers = Layers.open(sea_ice=tmp_path / "index.json")

    def scan_meanwhile(*args, **kwargs):
        chart(tmp_path, "20210118")
        index(tmp_path, d20210117="20210117.tif", d20210118="20210118.tif")
        return scan(*args, **kwargs)

    monkeypatch.setattr(pipeline, "scan", scan_meanwhile)
    sea = FakeLand(np.zeros(scene.shape, bool))
    result = pipeline.process_scene(scene, sea, BrightEngine(), None, layers=layers)
    assert "2021-01-17" in result.versions.layers
    assert result.layers["sea_ice"]["date"] == "2021-01-17"
    assert "2021-01-18" in layers.version(scene.name.start)
