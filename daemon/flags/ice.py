"""Sea ice from dated charts: what looks like a ship may be a floe, and no chart never means no ice.

An index names the charts, `{"source": ..., "charts": [{"date": "2024-02-11", "path": "20240211.tif"}, ...]}`,
paths beside the index. A chart is a GeoTIFF of ice concentration in percent (other values through the band's
scale and offset; no data is unknown), or GeoJSON polygons of ice with `concentration_percent` if it is known.
Of a scene's day the newest chart counts that is not younger than the scene and not too old.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import shape

from daemon.domain import Flag

# Where ice is possible at all: Bohai lies at 38 to 41 degrees north; in the south it stays beyond 50.
ICE_NORTH_DEG, ICE_SOUTH_DEG = 38.0, -50.0
LEAST_PERCENT = 15.0  # the usual edge of the ice

Answer = tuple[
    float | None, bool
]  # concentration in percent, None where it is not stated; whether it is known


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart of the index."""

    day: date
    path: Path
    source: str
    digest: str  # of the chart's file: the same name may be written again


@dataclass(frozen=True, slots=True)
class NoChart:
    """Why there is none."""

    reason: str


class SeaIce:
    """The charts that an index names. The index is read anew each time: charts appear daily.

    Args:
        index: path of the index.
        max_age_days: older charts do not count.
    """

    def __init__(self, index: Path, max_age_days: int) -> None:
        self.index = index
        self.max_age_days = max_age_days

    def chart(self, when: datetime) -> Chart | NoChart:
        """Return the chart that holds for a time."""
        try:
            document = json.loads(self.index.read_text("utf-8"))
            source = str(document["source"])
            charts = [(date.fromisoformat(entry["date"]), str(entry["path"])) for entry in document["charts"]]
        except (OSError, AttributeError, ValueError, KeyError, TypeError, RecursionError) as error:
            return NoChart(f"the index cannot be read: {type(error).__name__}: {error}")
        usable = [entry for entry in charts if 0 <= (when.date() - entry[0]).days <= self.max_age_days]
        if not usable:
            return NoChart(f"no chart of the {self.max_age_days} days before")
        day, path = max(usable)
        place = self.index.parent / path
        try:
            digest = hashlib.sha256(place.read_bytes()).hexdigest()[:12]
        except (OSError, ValueError) as error:  # a path with a null byte is a ValueError
            return NoChart(f"the chart of {day} cannot be read: {getattr(error, 'strerror', None) or error}")
        return Chart(day, place, source, digest)


def matters(lat_deg: float) -> bool:
    """Whether ice is possible at a latitude: where it is not, a missing chart is no lack."""
    return lat_deg >= ICE_NORTH_DEG or lat_deg <= ICE_SOUTH_DEG


class IceView:
    """What one chart says of one scene's detections.

    Args:
        chart: that holds for the scene, or why there is none.
        when: the scene's time.
        reach_lat_deg: lowest and highest latitude of the scene.
    """

    def __init__(
        self, chart: Chart | NoChart | None, when: datetime, reach_lat_deg: tuple[float, float]
    ) -> None:
        self.chart = chart
        self._when = when
        self._reach = reach_lat_deg
        self._trouble: str | None = None
        self._unknown = 0  # places of which the chart says nothing

    def flags(self, lon_deg: NDArray[np.float64], lat_deg: NDArray[np.float64]) -> list[Flag | None]:
        """Return the flag of each place, None where no ice is known."""
        if not isinstance(self.chart, Chart):
            return [None] * len(lon_deg)
        try:
            answers = _answers(self.chart.path, lon_deg, lat_deg)
        except Exception as error:
            # A broken chart must not lose a scene: rasterio, GDAL and shapely raise whatever they meet.
            self._trouble = f"the chart of {self.chart.day} cannot be read: {type(error).__name__}: {error}"
            return [None] * len(lon_deg)
        self._unknown = sum(not known for _, known in answers)
        return [self._flag(percent) if known else None for percent, known in answers]

    def status(self) -> Mapping[str, float | int | str]:
        """Say what is known of ice over the scene."""
        important = int(any(matters(lat) for lat in self._reach))
        if self._trouble or not isinstance(self.chart, Chart):
            reason = self._trouble or (
                self.chart.reason if isinstance(self.chart, NoChart) else "no layer is set"
            )
            return {"status": "unknown", "reason": reason, "matters": important}
        return {
            "status": "known",
            "date": self.chart.day.isoformat(),
            "age_days": (self._when.date() - self.chart.day).days,
            "source": self.chart.source,
            "places_unknown": self._unknown,
            "matters": important,
        }

    def _flag(self, percent: float | None) -> Flag | None:
        if percent is not None and percent < LEAST_PERCENT or not isinstance(self.chart, Chart):
            return None
        evidence: dict[str, float | int | str] = {} if percent is None else {"concentration_percent": percent}
        evidence |= {
            "date": self.chart.day.isoformat(),
            "age_days": (self._when.date() - self.chart.day).days,
            "layer": f"{self.chart.source} {self.chart.digest}",
        }
        return Flag("sea_ice", evidence)


def _answers(path: Path, lon_deg: NDArray[np.float64], lat_deg: NDArray[np.float64]) -> list[Answer]:
    if path.suffix.lower() in (".tif", ".tiff"):
        return _of_raster(path, lon_deg, lat_deg)
    return _of_polygons(path, lon_deg, lat_deg)


def _of_raster(path: Path, lon_deg: NDArray[np.float64], lat_deg: NDArray[np.float64]) -> list[Answer]:
    import rasterio
    from rasterio.warp import transform

    with rasterio.open(path) as chart:
        x, y = transform("EPSG:4326", chart.crs, lon_deg.tolist(), lat_deg.tolist())
        scale, offset = chart.scales[0], chart.offsets[0]
        answers: list[Answer] = []
        for value in chart.sample(zip(x, y, strict=True), indexes=1, masked=True):
            if np.ma.is_masked(value) or not np.isfinite(float(value[0])):
                answers.append((None, False))
                continue
            percent = float(value[0]) * scale + offset
            answers.append((round(percent, 1), 0.0 <= percent <= 100.0))
    return answers


def _of_polygons(path: Path, lon_deg: NDArray[np.float64], lat_deg: NDArray[np.float64]) -> list[Answer]:
    document = json.loads(path.read_text("utf-8"))
    percents, shapes = [], []
    for feature in document["features"]:
        stated = (feature.get("properties") or {}).get("concentration_percent")
        percents.append(None if stated is None else float(stated))
        shapes.append(shape(feature["geometry"]))
    answers: list[Answer] = []
    turned = [shapely.points(lon_deg + turn, lat_deg) for turn in (-360.0, 0.0, 360.0)]
    for points in zip(*turned, strict=True):  # a chart may write longitudes beyond 180 degrees
        inside = [percents[i] for i, area in enumerate(shapes) if any(area.covers(p) for p in points)]
        stated = [percent for percent in inside if percent is not None]
        if inside:
            answers.append((max(stated) if stated else None, True))
        else:
            answers.append((0.0, True))  # a chart of polygons says that the rest is free
    return answers
