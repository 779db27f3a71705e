"""Whole scenes across the antimeridian and near the poles: simulated, written, opened, scanned, detected."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import shapely

from daemon.domain import SceneResult
from daemon.pipeline import process_scene
from daemon.scene.land import SceneLand
from daemon.scene.product import Window, open_scene
from engine.runtime.geometry import ecef_from_geodetic
from engine.runtime.land import Coastline
from engine.simulate import command, safe, scene
from engine.simulate.objects import DEFAULT
from engine.simulate.sites import Site
from engine.simulate.terrain import Terrain
from tests.support.globe import area_km2, degrees_apart
from tests.support.sea import BrightEngine

SHAPE = (560, 700)
CROWDED = replace(
    DEFAULT,
    ships_per_1000_km2=900.0,
    ships_log_spread=0.1,
    faint_share=0.0,
    mover_share=0.0,
    anchored_share=0.0,
)
# with the seed of a view that has both land and sea
SITES = {
    "Taveuni, on the antimeridian": (Site("Taveuni", 179.98, -16.97), 2),
    "Franz Josef Land, 80.6 north": (Site("Franz Josef Land", 55.0, 80.6), 7),
    "McMurdo Sound, 77 south": (Site("McMurdo Sound", 166.5, -77.3), 5),
}


@dataclass(frozen=True, eq=False)
class Case:
    product: Path
    truth: list[dict]
    terrain: Terrain
    offset: tuple[int, int]
    result: SceneResult


@lru_cache
def build(name: str, folder: Path) -> Case:
    coastline = Coastline.load()
    site, seed = SITES[name]
    world = command.make_world((7, seed), site, SHAPE, coastline, CROWDED)
    identity, acquired = command.make_pass(world, 0, SHAPE, CROWDED)
    product = safe.write(folder, identity, acquired, scene.blocks(acquired, world.terrain, CROWDED))
    truth = json.loads(product.with_suffix(".truth.geojson").read_text())["features"]
    with open_scene(str(product)) as opened:
        result = process_scene(opened, SceneLand(coastline, opened.geometry), BrightEngine(), None)
    return Case(product, truth, world.terrain, acquired.offset, result)


@pytest.fixture(params=SITES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return build(request.param, tmp_path_factory.getbasetemp())


def places(objects: list) -> np.ndarray:
    return ecef_from_geodetic([o[0] for o in objects], [o[1] for o in objects])


def test_footprint_and_valid_area(case: Case) -> None:
    footprint, coverage = case.result.scene.footprint, case.result.coverage
    assert area_km2(footprint) == pytest.approx(SHAPE[0] * SHAPE[1] * 1e-4, rel=0.003)
    assert coverage.valid_area.is_valid
    # drawn in groups of 64 px, so as to half a group along every shore
    assert area_km2(coverage.valid_area) == pytest.approx(coverage.area_km2, rel=0.12)
    for part in (*getattr(footprint, "geoms", [footprint]), *coverage.valid_area.geoms):
        west, south, east, north = part.bounds
        assert -180 <= west < east <= 180 and north - south < 0.2
        assert (east - west) * np.cos(np.radians(south)) < 0.2
    beyond = coverage.valid_area.difference(footprint.buffer(1e-3))
    assert beyond.area < 1e-6


def test_detections_stand_where_the_truth_does(case: Case) -> None:
    ships = [f for f in case.truth if f["properties"]["class"] == "ship" and not f["properties"]["ghost_of"]]
    long = [f for f in ships if f["properties"]["length_m"] > 90 and f["properties"]["contrast_db"] > 15]
    found = places([(d.lon_deg, d.lat_deg) for d in case.result.detections])
    near, axes = [], []
    for ship in long:
        apart = np.linalg.norm(found - places([ship["geometry"]["coordinates"]]), axis=-1)
        detection = case.result.detections[int(apart.argmin())]
        if apart.min() < 100:
            near.append(apart.min())
            if detection.axis_deg is not None:
                axes.append(degrees_apart(detection.axis_deg, ship["properties"]["axis_deg"], 180))
    assert len(long) > 5 and len(near) > 0.6 * len(long)
    assert np.median(near) < 25 and np.median(axes) < 10
    candidates = places([(c.lon_deg, c.lat_deg) for c in case.result.candidates])
    apart = np.array([np.linalg.norm(candidates - place, axis=-1).min() for place in found])
    assert (apart < 200).mean() > 0.4 and np.median(apart[apart < 200]) < 40


def test_land_lies_where_it_was_drawn(case: Case) -> None:
    with open_scene(str(case.product)) as opened:
        land = SceneLand(Coastline.load(), opened.geometry).mask(Window(0, 0, *SHAPE))
    line, sample = np.mgrid[0 : SHAPE[0] : 9, 0 : SHAPE[1] : 9]
    shore = case.terrain.shore_px(line + case.offset[0], sample + case.offset[1])
    clear = np.abs(shore) > 20  # the simulator moves the shore by up to 15 px
    assert 0.02 < land.mean() < 0.9
    assert (land[line, sample] == (shore > 0))[clear].mean() > 0.99


@pytest.mark.parametrize("case", ["Taveuni, on the antimeridian"], indirect=True)
def test_ships_are_seen_on_both_sides_of_the_antimeridian(case: Case) -> None:
    assert isinstance(case.result.scene.footprint, shapely.MultiPolygon)
    west = np.array([candidate.lon_deg for candidate in case.result.candidates]) < 0
    assert 0 < west.sum() < len(west)
