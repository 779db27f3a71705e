"""A product of a few bytes and the function that "looks" at it: for tests of what stands around that.

The product is one JSON file: how many detections it has, how long looking takes, or the error that ends it.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import shapely

from daemon import errors
from daemon.domain import (
    Candidate,
    Clutter,
    Coverage,
    Detection,
    Flag,
    SceneInfo,
    SceneResult,
    Versions,
    detection_id,
    run_key,
)
from daemon.scene.names import ProductName

VERSIONS = Versions("test", "land-1", None, "bundle-1", "ort fp32", "settings-1")
NAME = "S1A_IW_GRDH_1SDV_20221002T205126_20221002T205156_045268_056950_0664"


def name(unique: str = "0664", second: int = 26, datatake: int = 0x56950, mode: str = "IW") -> str:
    """Return a product's name: 30 s from the given second of 20:51 on."""
    stop = second + 30
    times = f"20221002T2051{second:02d}_20221002T205{1 + stop // 60}{stop % 60:02d}"
    return f"S1A_{mode}_GRDH_1SDV_{times}_045268_{datatake:06X}_{unique}"


def write_product(folder: Path, product: str = NAME, **what: Any) -> str:
    """Write a product; return its place."""
    path = folder / f"{product}.SAFE"
    path.write_text(json.dumps(what))
    return str(path)


def process(uri: str, versions: Versions = VERSIONS) -> SceneResult:
    """Look at a product."""
    path = Path(uri)
    if not path.exists():
        raise errors.SceneMissing(f"nothing at {uri}")
    try:
        what = json.loads(path.read_text())
    except ValueError as error:
        raise errors.SceneCorrupt(f"{uri}: {error}") from error
    if "log" in what:  # who looked, for tests that kill
        with Path(what["log"]).open("a") as log:
            log.write("begun\n")
    time.sleep(what.get("sleep_s", 0.0))
    if "error" in what:
        raise getattr(errors, what["error"], RuntimeError)(what.get("says", "as told"))
    return make_result(uri, what.get("detections", 2), what.get("ipf", "003.52"), versions)


def make_result(uri: str, count: int = 2, ipf: str = "003.52", versions: Versions = VERSIONS) -> SceneResult:
    """Return a result with `count` ships along a parallel."""
    parsed = ProductName.parse(Path(uri).name)
    footprint = shapely.box(134.0, 6.0, 136.5, 8.0)
    scene = SceneInfo(
        product=str(parsed),
        uri=uri,
        kind=parsed.kind,
        platform=parsed.platform,
        mode=parsed.mode,
        product_type=parsed.product_type,
        resolution=parsed.resolution,
        polarisations=parsed.polarisations,
        start=parsed.start,
        stop=parsed.stop,
        absolute_orbit=parsed.absolute_orbit,
        relative_orbit=parsed.relative_orbit,
        orbit_direction="ascending",
        datatake=parsed.datatake,
        unique_id=parsed.unique_id,
        ipf=ipf,
        shape=(1000, 1000),
        spacing_m=(10.0, 10.0),
        footprint=footprint,
    )
    run = run_key(scene, versions)
    places = [(i, 134.5 + 0.01 * i, 7.0) for i in range(count)]
    return SceneResult(
        outcome="done",
        reason=None,
        scene=scene,
        versions=versions,
        coverage=Coverage(
            valid_area=shapely.MultiPolygon([footprint]),
            area_km2=61000.0,
            valid_fraction=0.98,
            land_fraction=0.1,
            smallest_ship_m=18.0,
            rcs_model="test",
            clutter=(Clutter("VV", -18.0, 0.3, None, -8.0, 0.01),),
        ),
        candidates=tuple(
            Candidate(
                i, 500.0, 10.0 * i, lon, lat, (0, 0, 5, 5), 12, ("VV",), 1.0, 17.0, (5, i), "confirmed", 0.9
            )
            for i, lon, lat in places
        ),
        detections=tuple(
            Detection(
                id=detection_id(run, lon, lat, 0),
                label="ship",
                score=0.9,
                line_px=500.0,
                sample_px=10.0 * i,
                lon_deg=lon,
                lat_deg=lat,
                length_m=120.0 + i,
                length_low_m=100.0,
                length_high_m=140.0,
                width_m=None,
                axis_deg=12.5,
                peak_db=1.0,
                contrast_db=17.0,
                incidence_deg=38.0,
                measured="pixels",
                box_px=(0.0, 0.0, 5.0, 5.0),
                cell=(5, i),
                candidate=i,
                prior_status="absent",
                prior_year=None,
                range_to_velocity_s=115.2,
                azimuth_deg=347.25,
                shift_bound_m=1093.0,
                flags=(Flag("near_land", {"distance_m": 120.0}),),
            )
            for i, lon, lat in places
        ),
        saturated=False,
        counts={"chips": count},
        timings_s={"total": 0.1},
        notes=(),
    )
