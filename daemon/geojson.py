"""A `SceneResult` as GeoJSON (RFC 7946): detections as points, the rest as members of the collection."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from shapely.geometry import mapping

from daemon.domain import Candidate, Detection, SceneResult


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
        "scene": {
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
        },
        "coverage": {
            "area_km2": coverage.area_km2,
            "valid_fraction": coverage.valid_fraction,
            "land_fraction": coverage.land_fraction,
            "smallest_ship_m": coverage.smallest_ship_m,
            "rcs_model": coverage.rcs_model,
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
        },
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


def write(result: SceneResult, path: Path) -> None:
    """Write a result to a file, whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(json.dumps(feature_collection(result), indent=1, allow_nan=False) + "\n", "utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


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
            "flags": [{"name": flag.name, **flag.evidence} for flag in detection.flags],
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
        "state": candidate.state,
        "score": None if candidate.score is None else round(candidate.score, 4),
    }


def _plain(value: Any) -> Any:
    """Make tuples lists and what is not finite null: JSON knows neither."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
