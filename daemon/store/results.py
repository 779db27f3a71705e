"""A run's results as rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import shapely
from geoalchemy2 import WKTElement
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry
from sqlalchemy import insert, text
from sqlalchemy.orm import Session

from ..domain import Candidate as FoundCandidate
from ..domain import Detection as FoundDetection
from ..domain import GhostPlace as FoundGhostPlace
from ..domain import SceneResult
from ..errors import MessageError
from .tables import Candidate, Coverage, Detection, GhostPlace, Run

# Small parts of an area are found, and tested for a point, many times faster than a whole scene's outline.
_SUBDIVIDE = text(
    """
    INSERT INTO coverage_part (run_id, part)
    SELECT run_id, ST_Subdivide(valid_area::geometry, 64) FROM coverage
    WHERE run_id = :run AND valid_area IS NOT NULL
    """
)


def insert_run(
    session: Session, result: SceneResult, acquisition_id: int, product_id: int, kind: str
) -> None:
    """Insert a run over a product of a kind, with its candidates, detections and coverage."""
    run_id = result.run_key
    session.add(
        Run(
            id=run_id,
            acquisition_id=acquisition_id,
            product_id=product_id,
            kind=kind,
            outcome=result.outcome,
            reason=result.reason,
            **asdict(result.versions),
            layer_status={name: _json(status) for name, status in result.layers.items()},
            saturated=result.saturated,
            prior_status=result.prior_status,
            counts=_json(result.counts),
            timings_s=_json(result.timings_s),
            notes=list(result.notes),
        )
    )
    session.flush()
    coverage = result.coverage
    session.add(
        Coverage(
            run_id=run_id,
            valid_area=multipolygon(coverage.valid_area),
            area_km2=coverage.area_km2,
            valid_fraction=coverage.valid_fraction,
            land_fraction=coverage.land_fraction,
            smallest_ship_m=coverage.smallest_ship_m,
            rcs_model=coverage.rcs_model,
            clutter=[_json(asdict(clutter)) for clutter in coverage.clutter],
            sensitivity=[_json(asdict(cell)) for cell in coverage.sensitivity],
            false_alarms_per_1000_km2=coverage.false_alarms_per_1000_km2,
        )
    )
    session.flush()
    session.execute(_SUBDIVIDE, {"run": run_id})
    if result.candidates:
        session.execute(insert(Candidate), [_candidate(run_id, c) for c in result.candidates])
    if result.detections:
        lines, spacing_m = result.scene.shape[0], result.scene.spacing_m[0]
        session.execute(
            insert(Detection),
            [
                {
                    **_detection(run_id, d),
                    "edge_m": max(min(d.line_px, lines - 1 - d.line_px), 0.0) * spacing_m,
                }
                for d in result.detections
            ],
        )
    if result.ghost_places:
        session.execute(insert(GhostPlace), [_ghost_place(run_id, place) for place in result.ghost_places])


def multipolygon(geometry: BaseGeometry | Mapping[str, Any] | None) -> WKTElement | None:
    """Return a polygon or multipolygon, shapely's or GeoJSON, as geography; None where it is empty.

    Raises:
        MessageError: the GeoJSON is not a polygon.
    """
    if geometry is None:
        return None
    polygon: Any = geometry  # shapely is untyped
    if isinstance(geometry, Mapping):
        try:
            polygon = shape(geometry)
        except Exception as error:
            # shapely raises whatever its parsing met: a missing key, a wrong type, too few points
            raise MessageError(f"the footprint is not GeoJSON: {error}") from error
    if polygon.is_empty:
        return None
    polygon = shapely.force_2d(polygon)  # GeoJSON may state heights, the column has none
    if polygon.geom_type == "Polygon":
        polygon = shapely.MultiPolygon([polygon])
    if polygon.geom_type != "MultiPolygon":
        raise MessageError(f"the footprint is a {polygon.geom_type}; expected a Polygon or MultiPolygon")
    return WKTElement(polygon.wkt, srid=4326)


def _ghost_place(run_id: str, place: FoundGhostPlace) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "order": place.order,
        "position": _point(place.lon_deg, place.lat_deg),
        "source": _point(place.source_lon_deg, place.source_lat_deg),
        "source_line_px": place.source_line_px,
        "source_sample_px": place.source_sample_px,
        "source_db": place.source_db,
        "brightness_db": place.brightness_db,
    }


def _candidate(run_id: str, candidate: FoundCandidate) -> dict[str, Any]:
    measured = "length_m length_low_m length_high_m width_m axis_deg shore_m"
    return {
        **{name: getattr(candidate, name) for name in measured.split()},
        "run_id": run_id,
        "index": candidate.index,
        "position": _point(candidate.lon_deg, candidate.lat_deg),
        "line_px": candidate.line_px,
        "sample_px": candidate.sample_px,
        "box_px": list(candidate.box_px),
        "pixels": candidate.pixels,
        "polarisations": list(candidate.polarisations),
        "peak_db": candidate.peak_db,
        "contrast_db": candidate.contrast_db,
        "cell_row": candidate.cell[0],
        "cell_column": candidate.cell[1],
        "state": candidate.state,
        "score": candidate.score,
    }


def _detection(run_id: str, detection: FoundDetection) -> dict[str, Any]:
    same = (
        "id label score line_px sample_px length_m length_low_m length_high_m width_m axis_deg peak_db "
        "contrast_db incidence_deg measured prior_status prior_year brightness_db range_to_velocity_s "
        "azimuth_deg shift_bound_m shore_m sensed"
    )
    return {
        **{name: getattr(detection, name) for name in same.split()},
        "run_id": run_id,
        "position": _point(detection.lon_deg, detection.lat_deg),
        "box_px": list(detection.box_px),
        "cell_row": detection.cell[0],
        "cell_column": detection.cell[1],
        "candidate_index": detection.candidate,
        "flags": {flag.name: _json(flag.evidence) for flag in detection.flags},
    }


def _point(lon_deg: float, lat_deg: float) -> WKTElement:
    return WKTElement(f"POINT({float(lon_deg)!r} {float(lat_deg)!r})", srid=4326)


def _json(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no NaN or infinity: they become null; nor tuples: they become lists."""
    return {key: _plain(value) for key, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
