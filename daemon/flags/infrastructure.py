"""Fixed infrastructure from a dated layer: platforms, turbines, aquaculture that are known to stand there.

The layer is GeoJSON (points, lines or polygons in longitude and latitude) or CSV with the columns lon and
lat. Each structure may say when it stood: `valid_from` and `valid_to`, ISO dates, the end not included; and
what it is: `kind`, `name`. A GeoJSON collection may state its `version`.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely import STRtree
from shapely.affinity import translate
from shapely.geometry import Point, shape
from shapely.geometry.base import BaseGeometry

from daemon.domain import Flag
from daemon.errors import ConfigError

M_PER_DEG = 111_195.0  # of latitude, on a sphere of 6,371 km
_NEVER = date.max


@dataclass(frozen=True, slots=True)
class Structure:
    """One structure of the layer."""

    kind: str
    name: str
    valid_from: date
    valid_to: date  # the first day on which it stood no more


class Infrastructure:
    """The layer, indexed by place.

    Args:
        structures: with their geometries, longitude and latitude.
        version: of the layer.
    """

    def __init__(self, structures: list[tuple[Structure, BaseGeometry]], version: str) -> None:
        self.version = version
        self._structures = [structure for structure, _ in structures]
        self._shapes = [geometry for _, geometry in structures]
        self._tree = STRtree(self._shapes)

    @classmethod
    def open(cls, path: Path) -> Infrastructure:
        """Read a layer.

        Raises:
            ConfigError: the file cannot be read as one.
        """
        try:
            data = path.read_bytes()
            read = _read_csv if path.suffix.lower() == ".csv" else _read_geojson
            structures, version = read(data.decode("utf-8-sig"))
        except OSError as error:
            raise ConfigError(
                f"FUSAR_LAYERS__INFRASTRUCTURE: got {path}, which cannot be read: {error}"
            ) from None
        except (AttributeError, ValueError, KeyError, TypeError, shapely.errors.ShapelyError) as error:
            raise ConfigError(
                f"FUSAR_LAYERS__INFRASTRUCTURE: got {path} with {type(error).__name__} {error}, expected "
                "GeoJSON features or CSV with lon and lat, dates as YYYY-MM-DD"
            ) from None
        named = version or path.stem
        return cls(structures, f"{named} {hashlib.sha256(data).hexdigest()[:12]}")

    def __len__(self) -> int:
        """Return the number of structures."""
        return len(self._structures)

    def flag(self, lon_deg: float, lat_deg: float, when: datetime, radius_m: float) -> Flag | None:
        """Return the flag of a place that has a structure within a radius at a time."""
        reach = radius_m / M_PER_DEG
        wide = reach / max(float(np.cos(np.radians(abs(lat_deg) + reach))), 1e-3)
        best: tuple[float, Structure] | None = None
        for turn in (-360.0, 0.0, 360.0):  # a layer may write longitudes beyond 180 degrees
            lon = lon_deg + turn
            near = self._tree.query(shapely.box(lon - wide, lat_deg - reach, lon + wide, lat_deg + reach))
            for index in near:
                structure = self._structures[int(index)]
                if not structure.valid_from <= when.date() < structure.valid_to:
                    continue
                distance = _distance_m(self._shapes[int(index)], lon, lat_deg)
                if distance <= radius_m and (best is None or distance < best[0]):
                    best = distance, structure
        if best is None:
            return None
        distance, structure = best
        return Flag(
            "infrastructure",
            {
                "distance_m": round(distance),
                "kind": structure.kind,
                "structure": structure.name,
                "layer": self.version,
            },
        )


def infrastructure_status(layer: Infrastructure | None) -> Mapping[str, float | int | str]:
    """Say what is known of structures."""
    if layer is None:
        return {"status": "unknown", "reason": "no layer is set"}
    return {"status": "known", "version": layer.version, "structures": len(layer)}


def _distance_m(geometry: BaseGeometry, lon_deg: float, lat_deg: float) -> float:
    """Distance on a plane that touches the globe at the place; good to a part in a thousand within 10 km."""
    east = M_PER_DEG * float(np.cos(np.radians(lat_deg)))
    scaled = shapely.transform(
        translate(geometry, -lon_deg, -lat_deg), lambda at: at * np.array([east, M_PER_DEG])
    )
    return float(scaled.distance(Point(0.0, 0.0)))


def _read_geojson(text: str) -> tuple[list[tuple[Structure, BaseGeometry]], str | None]:
    document = json.loads(text)
    if document.get("type") != "FeatureCollection":
        raise ValueError(f"a {document.get('type')} instead of a FeatureCollection")
    found = []
    for feature in document["features"]:
        geometry = shape(feature["geometry"])
        if not geometry.is_empty:
            found.append((_structure(feature.get("properties") or {}), geometry))
    version = document.get("version")
    return found, None if version is None else str(version)


def _read_csv(text: str) -> tuple[list[tuple[Structure, BaseGeometry]], str | None]:
    rows: Iterator[dict[str, Any]] = csv.DictReader(io.StringIO(text))
    return [(_structure(row), Point(float(row["lon"]), float(row["lat"]))) for row in rows], None


def _structure(said: Mapping[str, Any]) -> Structure:
    return Structure(
        str(said.get("kind") or "structure"),
        str(said.get("name") or ""),
        _date(said.get("valid_from"), date.min),
        _date(said.get("valid_to"), _NEVER),
    )


def _date(text: Any, otherwise: date) -> date:
    return date.fromisoformat(str(text)[:10]) if text else otherwise
