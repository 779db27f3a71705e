"""Geometry of a scene without annotation, from its ground control points alone."""

from __future__ import annotations

from datetime import datetime

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import RectBivariateSpline

from daemon.errors import SceneCorrupt
from daemon.scene.geometry import SceneGeometry
from engine.runtime.geometry import ecef_from_geodetic, local_axes

Array = NDArray[np.float64]

# Nominal over IW's swath, near to far.
_INCIDENCE_DEG = (30.9, 46.0)
_SLANT_RANGE_M = (800e3, 960e3)
_SPEED_M_S = 7_590.0
_NEWTON_STEPS = 8


class GcpGeometry(SceneGeometry):
    """Splines through a regular grid of ground control points; angles and ranges are nominal.

    Exact at the points, at whatever heights they have. These are unknown here, so that neither sea level
    nor a height that is passed can be told from them: beside high ground the sea is misplaced across track,
    by up to the height's difference over the tangent of the incidence angle.

    Args:
        gcps: line, sample, longitude, latitude, [n, 4], on a grid of at least 4 x 4.
        shape: lines, samples.
        start: time of the first line.
        stop: time of the last line.

    Raises:
        SceneCorrupt: the points are no such grid.
    """

    def __init__(self, gcps: Array, shape: tuple[int, int], start: datetime, stop: datetime) -> None:
        self.shape, self._start, self._stop = shape, start, stop
        lines, samples = np.unique(gcps[:, 0].round(3)), np.unique(gcps[:, 1].round(3))
        if len(lines) * len(samples) != len(gcps) or min(len(lines), len(samples)) < 4:
            raise SceneCorrupt(
                f"got {len(gcps)} ground control points on {len(lines)} lines and {len(samples)} "
                "samples, expected a full grid of at least 4 x 4"
            )
        table = gcps[np.lexsort((gcps[:, 1], gcps[:, 0]))].reshape(len(lines), len(samples), 4)
        lon = np.unwrap(np.unwrap(table[..., 2], period=360, axis=0), period=360, axis=1)
        self._lon = RectBivariateSpline(lines, samples, lon)
        self._lat = RectBivariateSpline(lines, samples, table[..., 3])
        # An affine inverse is where Newton's method starts.
        known = np.column_stack([lon.ravel(), table[..., 3].ravel(), np.ones(len(gcps))])
        self._affine = np.linalg.lstsq(known, table[..., :2].reshape(-1, 2), rcond=None)[0]
        self._middle_lon = float(lon.mean())

    def lonlat(
        self, line_px: ArrayLike, sample_px: ArrayLike, height_m: ArrayLike | None = None
    ) -> tuple[Array, Array]:
        """Return longitude and latitude (degrees) of positions in the scene."""
        line, sample = np.broadcast_arrays(np.asarray(line_px, np.float64), np.asarray(sample_px, np.float64))
        lon = self._extended(self._lon, line, sample)
        return (lon + 180) % 360 - 180, self._extended(self._lat, line, sample)

    def _extended(self, spline: RectBivariateSpline, line: Array, sample: Array) -> Array:
        """Evaluate, beyond the scene along the tangent at its edge."""
        y, x = np.clip(line, -0.5, self.shape[0] - 0.5), np.clip(sample, -0.5, self.shape[1] - 0.5)
        inside = spline.ev(y, x)
        beyond = spline.ev(y, x, dx=1) * (line - y) + spline.ev(y, x, dy=1) * (sample - x)
        return np.asarray(inside + beyond)

    def pixel(
        self, lon_deg: ArrayLike, lat_deg: ArrayLike, height_m: ArrayLike | None = None
    ) -> tuple[Array, Array]:
        """Return line and sample of places: the inverse of lonlat."""
        lon, lat = np.broadcast_arrays(np.asarray(lon_deg, np.float64), np.asarray(lat_deg, np.float64))
        lon = (lon - self._middle_lon + 180) % 360 - 180 + self._middle_lon
        position = np.stack([lon, lat, np.ones_like(lon)], -1) @ self._affine
        line, sample = position[..., 0], position[..., 1]
        for _ in range(_NEWTON_STEPS):
            y, x = np.clip(line, -0.5, self.shape[0] - 0.5), np.clip(sample, -0.5, self.shape[1] - 0.5)
            a, b = self._lon.ev(y, x, dx=1), self._lon.ev(y, x, dy=1)
            c, d = self._lat.ev(y, x, dx=1), self._lat.ev(y, x, dy=1)
            e = lon - self._extended(self._lon, line, sample)
            f = lat - self._extended(self._lat, line, sample)
            determinant = a * d - b * c
            line = line + (d * e - b * f) / determinant
            sample = sample + (a * f - c * e) / determinant
        return line, sample

    def spacing_m(self) -> tuple[float, float]:
        """Return the mean distance of lines and of samples."""
        lines, samples = self.shape
        middle = (lines - 1) / 2, (samples - 1) / 2
        column = ecef_from_geodetic(*self.lonlat([0, lines - 1], middle[1]))
        row = ecef_from_geodetic(*self.lonlat(middle[0], [0, samples - 1]))
        return (
            float(np.linalg.norm(column[1] - column[0])) / (lines - 1),
            float(np.linalg.norm(row[1] - row[0])) / (samples - 1),
        )

    def _across(self, nominal: tuple[float, float], line_px: ArrayLike, sample_px: ArrayLike) -> Array:
        line, sample = np.broadcast_arrays(np.asarray(line_px, np.float64), np.asarray(sample_px, np.float64))
        part = sample / max(self.shape[1] - 1, 1)
        return np.asarray(nominal[0] + part * (nominal[1] - nominal[0]) + 0 * line)

    def slant_range_m(self, line_px: ArrayLike, sample_px: ArrayLike) -> Array:
        """Return the nominal distance to the satellite."""
        return self._across(_SLANT_RANGE_M, line_px, sample_px)

    def range_to_velocity_s(self, line_px: ArrayLike, sample_px: ArrayLike) -> Array:
        """Return the nominal R/V."""
        return self.slant_range_m(line_px, sample_px) / _SPEED_M_S

    def incidence_deg(self, line_px: ArrayLike, sample_px: ArrayLike) -> Array:
        """Return the nominal incidence angle."""
        return self._across(_INCIDENCE_DEG, line_px, sample_px)

    def look_azimuth_deg(self, line_px: ArrayLike, sample_px: ArrayLike) -> Array:
        """Return the direction of increasing sample on the ground, clockwise from north, 0 to 360."""
        return self._azimuth_deg(line_px, sample_px, 0, 1)

    def heading_deg(self, line_px: ArrayLike, sample_px: ArrayLike) -> Array:
        """Return the direction of increasing line on the ground, clockwise from north, 0 to 360."""
        return self._azimuth_deg(line_px, sample_px, 1, 0)

    def _azimuth_deg(self, line_px: ArrayLike, sample_px: ArrayLike, lines: int, samples: int) -> Array:
        """Return the direction of a small step."""
        line, sample = np.asarray(line_px, np.float64), np.asarray(sample_px, np.float64)
        east, north, _ = local_axes(*self.lonlat(line, sample))
        ahead = ecef_from_geodetic(*self.lonlat(line + lines, sample + samples))
        step = ahead - ecef_from_geodetic(*self.lonlat(line - lines, sample - samples))
        return np.asarray(np.degrees(np.arctan2((step * east).sum(-1), (step * north).sum(-1))) % 360)

    def time_utc(self, line_px: float) -> datetime:
        """Return when a line was sensed, to about a second."""
        return self._start + (self._stop - self._start) * (float(line_px) / max(self.shape[0] - 1, 1))
