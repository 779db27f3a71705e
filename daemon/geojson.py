"""A `SceneResult` as GeoJSON (RFC 7946): detections as points, the rest as members of the collection."""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shapely.geometry import mapping

from daemon.domain import Candidate, Coverage, Detection, SceneInfo, SceneResult

if TYPE_CHECKING:
    from daemon.scan import ScanResult

_CANDIDATE = tuple(field.name for field in fields(Candidate))


def feature_collection(result: SceneResult) -> dict[str, Any]:
    """Write a result as a FeatureCollection; a reader of GeoJSON ignores the members it does not know."""
    scene, versions, coverage = result.scene, result.versions, result.coverage
    document = {
        "type": "FeatureCollection",
        "features": [_feature(result, detection) for detection in result.detections],
        "outcome": result.outcome,
        "reason": result.reason,
        "saturated": result.saturated,
        "run": result.run_key,
        "scene": _scene(scene),
        "coverage": _coverage(coverage),
        "versions": {
            "code": versions.code,
            "land": versions.land,
            "prior": versions.prior,
            "engine": versions.engine,
            "backend": versions.backend,
            "settings": versions.settings,
            "layers": versions.layers,
        },
        "layers": {name: dict(status) for name, status in result.layers.items()},
        "counts": dict(result.counts),
        "candidates": [_candidate(candidate) for candidate in result.candidates],
        "timings_s": dict(result.timings_s),
        "notes": list(result.notes),
    }
    plain: dict[str, Any] = _plain(document)
    return plain


def write(document: dict[str, Any], path: Path) -> None:
    """Write a collection to a file, whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(_text(document), "utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _text(document: dict[str, Any]) -> str:
    try:
        return _lines(document)
    except ValueError:  # something is not finite; to look for it takes longer than to write
        return _lines(_plain(document))


def _lines(document: dict[str, Any]) -> str:
    """Write a line for each feature: quick to write, and easy to compare."""
    features = ",\n".join(json.dumps(feature, allow_nan=False) for feature in document["features"])
    rest = json.dumps({key: value for key, value in document.items() if key != "features"}, allow_nan=False)
    return f'{rest[:-1]}, "features": [\n{features}\n]}}\n'


def _feature(result: SceneResult, detection: Detection) -> dict[str, Any]:
    return {
        "type": "Feature",
        "id": detection.id,
        "geometry": {"type": "Point", "coordinates": [detection.lon_deg, detection.lat_deg]},
        "properties": {
            "id": detection.id,
            "class": detection.label,
            "score": detection.score,
            "length_m": detection.length_m,
            "length_low_m": detection.length_low_m,
            "length_high_m": detection.length_high_m,
            "width_m": detection.width_m,
            "axis_deg": detection.axis_deg,
            "measured": detection.measured,
            "peak_db": detection.peak_db,
            "contrast_db": detection.contrast_db,
            "incidence_deg": detection.incidence_deg,
            "shore_m": detection.shore_m,
            "range_to_velocity_s": detection.range_to_velocity_s,
            "azimuth_deg": detection.azimuth_deg,
            "shift_bound_m": detection.shift_bound_m,
            "flags": [{**flag.evidence, "name": flag.name} for flag in detection.flags],
            "candidate": detection.candidate,
            "line_px": detection.line_px,
            "sample_px": detection.sample_px,
            "box_px": list(detection.box_px),
            "acquisition": result.scene.acquisition,
            "acquired": result.scene.start.isoformat(),
            "prior_status": detection.prior_status,
            "prior_year": detection.prior_year,
            "engine": result.versions.engine,
            "brightness_db": detection.brightness_db,
        },
    }


def _candidate(candidate: Candidate) -> dict[str, Any]:
    return {
        "lon": round(candidate.lon_deg, 6),
        "lat": round(candidate.lat_deg, 6),
        "line_px": candidate.line_px,
        "sample_px": candidate.sample_px,
        "contrast_db": candidate.contrast_db,
        "shore_m": candidate.shore_m,
        "length_m": candidate.length_m,
        "length_low_m": candidate.length_low_m,
        "length_high_m": candidate.length_high_m,
        "width_m": candidate.width_m,
        "axis_deg": candidate.axis_deg,
        "state": candidate.state,
        "score": None if candidate.score is None else round(candidate.score, 4),
    }


def _plain(value: Any) -> Any:
    """Make what is not finite null: JSON does not know it."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):  # noqa: UP038 - quicker, and asked for every number
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def candidates_collection(scene: SceneInfo, scanned: ScanResult, land: str) -> dict[str, Any]:
    """Write the prescreen's candidates as a FeatureCollection.

    Args:
        scene: what was scanned.
        scanned: what was found.
        land: version of the coastline.
    """
    return {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "id": candidate.index,
                "geometry": {"type": "Point", "coordinates": [candidate.lon_deg, candidate.lat_deg]},
                "properties": {name: getattr(candidate, name) for name in _CANDIDATE},
            }
            for candidate in scanned.candidates
        ],
        "saturated": scanned.saturated,
        "scene": _scene(scene),
        "coverage": _coverage(scanned.coverage),
        "versions": {"land": land},
        "counts": dict(scanned.counts),
        "notes": list(scanned.notes),
    }


def _scene(scene: SceneInfo) -> dict[str, Any]:
    return {
        "acquisition": scene.acquisition,
        "acquired": scene.start.isoformat(),
        "stop": scene.stop.isoformat(),
        "product": scene.product,
        "platform": scene.platform,
        "mode": scene.mode,
        "polarisations": list(scene.polarisations),
        "absolute_orbit": scene.absolute_orbit,
        "relative_orbit": scene.relative_orbit,
        "orbit_direction": scene.orbit_direction,
        "ipf": scene.ipf,
        "footprint": mapping(scene.footprint),
    }


def _coverage(coverage: Coverage) -> dict[str, Any]:
    return {
        "area_km2": coverage.area_km2,
        "valid_fraction": coverage.valid_fraction,
        "land_fraction": coverage.land_fraction,
        "smallest_ship_m": coverage.smallest_ship_m,
        "rcs_model": coverage.rcs_model,
        "false_alarms_per_1000_km2": coverage.false_alarms_per_1000_km2,
        "sensitivity": [asdict(entry) for entry in coverage.sensitivity],
        "clutter": [
            {
                "polarisation": sea.polarisation,
                "mean_db": sea.mean_db,
                "spread": sea.spread,
                "nesz_db": sea.nesz_db,
                "threshold_db": sea.threshold_db,
                "negative_fraction": sea.negative_fraction,
            }
            for sea in coverage.clutter
        ],
        "valid_area": mapping(coverage.valid_area),
    }
