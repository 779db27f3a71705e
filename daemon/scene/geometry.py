"""Where a scene's pixels lie on the earth, and back.

Positions are (line, sample), integer at pixel centres; heights are above the WGS84 ellipsoid. Where none is
given the place is at sea level, which is the geoid: up to 107 m off the ellipsoid, or 150 m across track.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import ArrayLike, NDArray
from shapely import affinity
from shapely.geometry import Polygon, box
from shapely.geometry.base import BaseGeometry

from daemon.errors import SceneCorrupt
from daemon.scene.safe import Annotation
from engine.runtime.geoid import undulation_m
from engine.runtime.geometry import (
    SPEED_OF_LIGHT_M_S,
    ecef_from_geodetic,
    ground_point,
    local_axes,
    zero_doppler,
)

Array = NDArray[np.float64]

# Farther than this from its own grid an annotation contradicts itself; real products come within 0.01 px.
SELF_CHECK_PX = 1.0
# The mean of what the grid's times may exceed the line times by; 0.4 ms in the worst real product known.
CLOCK_S = 0.01

# The speed over the ground for which displacements of movers are bounded: few ships are faster.
MOVER_KNOTS = 30.0
_MOVER_M_S = MOVER_KNOTS * 1852 / 3600

_NEWTON_STEPS = 6


class SceneGeometry(ABC):
    """What the daemon asks of a scene's geometry; arguments broadcast, answers have their shape.

    Attributes:
        shape: lines and samples.
        self_check_px: how far the geometry at most misses the product's own geolocation grid; None where
            there is no grid to compare with.
    """

    shape: tuple[int, int]
    self_check_px: float | None = None

    @abstractmethod
    def lonlat(
        self, line_px: ArrayLike, sample_px: ArrayLike, height_m: ArrayLike | None = None
    ) -> tuple[Array, Array]:
        """Return longitude and latitude (degrees) of positions in the scene.

        Args:
            line_px: lines, [...].
            sample_px: samples, [...].
            height_m: above the WGS84 ellipsoid, [...]; None is sea level, the geoid.
        """

    @abstractmethod
    def pixel(
        self, lon_deg: ArrayLike, lat_deg: ArrayLike, height_m: ArrayLike | None = None
    ) -> tuple[Array, Array]:
        """Return line and sample of places: the inverse of lonlat.

        Places beside the scene get positions outside it; NaN where the satellite never passes abeam, or
        on the other side of its track.
        """

    @abstractmethod
    def slant_range_m(self, line_px: ArrayLike, sample_px: ArrayLike) -> Array:
        """Return the distance to the satellite."""

    @abstractmethod
    def range_to_velocity_s(self, line_px: ArrayLike, sample_px: ArrayLike) -> Array:
        """Return R/V: how far a mover is displaced in the image for each m/s of its radial speed.

        A target that approaches the radar is displaced in the direction of flight (`heading_deg`), one that
        recedes against it, by R/V times its radial speed towards the radar. Its Doppler frequency vanishes
        when the radar comes nearest to it; while it approaches, that is later than for one at rest. A ship
        that sails at v m/s on a course c approaches at -v cos(c - look_azimuth) sin(incidence).
        """

    def shift_bound_m(self, line_px: ArrayLike, sample_px: ArrayLike) -> Array:
        """Return how far a ship of MOVER_KNOTS is at most displaced, either way along `heading_deg`."""
        across = np.sin(np.radians(self.incidence_deg(line_px, sample_px)))
        return np.asarray(self.range_to_velocity_s(line_px, sample_px) * _MOVER_M_S * across)

    def bearing_deg(
        self, line_px: ArrayLike, sample_px: ArrayLike, down_m: ArrayLike, across_m: ArrayLike
    ) -> Array:
        """Return the bearing of a direction in the image, clockwise from north, 0 to 360.

        Args:
            line_px: line of the place, [...].
            sample_px: sample of the place, [...].
            down_m: the direction's part along increasing lines, metres or any other unit, [...].
            across_m: its part along increasing samples, [...].
        """
        down, across = (
            np.radians(axis(line_px, sample_px)) for axis in (self.heading_deg, self.look_azimuth_deg)
        )
        east = np.sin(down) * down_m + np.sin(across) * across_m
        north = np.cos(down) * down_m + np.cos(across) * across_m
        return np.asarray(np.degrees(np.arctan2(east, north)) % 360)

    @abstractmethod
    def incidence_deg(self, line_px: ArrayLike, sample_px: ArrayLike) -> Array:
        """Return the incidence angle at sea level, against the ellipsoid's normal."""

    @abstractmethod
    def look_azimuth_deg(self, line_px: ArrayLike, sample_px: ArrayLike) -> Array:
        """Return the direction of increasing sample on the ground, clockwise from north, 0 to 360."""

    @abstractmethod
    def heading_deg(self, line_px: ArrayLike, sample_px: ArrayLike) -> Array:
        """Return the direction of increasing line on the ground, clockwise from north, 0 to 360.

        Right angles to look_azimuth_deg only within some tenths of a degree.
        """

    @abstractmethod
    def time_utc(self, line_px: float) -> datetime:
        """Return when a line was sensed (zero-Doppler time)."""

    def footprint(self, points_a_side: int = 12) -> BaseGeometry:
        """Return the scene's outline at sea level, in longitude and latitude, split at the antimeridian."""
        lines, samples = self.shape
        s = np.linspace(0, 1, points_a_side, endpoint=False)
        line = np.concatenate([0 * s, s, 1 + 0 * s, 1 - s]) * lines - 0.5
        sample = np.concatenate([s, 1 + 0 * s, 1 - s, 0 * s]) * samples - 0.5
        return split_at_antimeridian(*self.lonlat(line, sample))


def split_at_antimeridian(lon_deg: Array, lat_deg: Array) -> BaseGeometry:
    """Return the polygon of a ring whose edges take the short way; a MultiPolygon where it crosses 180.

    A ring around a pole gets the pole's parallel as its other border.

    Args:
        lon_deg: longitudes, without the repeated last one, [n].
        lat_deg: latitudes, [n].

    Raises:
        SceneCorrupt: the ring is not finite.
    """
    if not (np.isfinite(lon_deg).all() and np.isfinite(lat_deg).all()):
        raise SceneCorrupt("got an outline that leaves the ground, expected finite longitudes and latitudes")
    lon, lat = np.unwrap(np.append(lon_deg, lon_deg[0]), period=360), np.append(lat_deg, lat_deg[0])
    if abs(lon[-1] - lon[0]) > 180:
        pole = 90.0 if lat.mean() > 0 else -90.0
        lon, lat = np.append(lon, [lon[-1], lon[0]]), np.append(lat, [pole, pole])
    ring = Polygon(np.column_stack([lon, lat])).buffer(0)
    first = int(np.floor((lon.min() + 180) / 360))
    last = int(np.floor((lon.max() + 180) / 360))
    result: BaseGeometry = Polygon()
    for turn in range(first, last + 1):
        part = affinity.translate(ring, -360 * turn)
        result = result.union(part.intersection(box(-180, -90, 180, 90)))
    return result


class RangeDopplerGeometry(SceneGeometry):
    """Geometry from the annotated orbit, line times and ground-to-slant-range polynomials.

    Two properties of real products are followed. The polynomial of a line is the one annotated nearest in
    time: so the product's own grid does, to 1e-9 m (interpolated ones miss it by up to 7 m). And a line's
    time leaves out the bistatic delay that remains after focusing for mid-swath, half the two-way time
    from there: a pixel's zero-Doppler time is line time + c0 + c1 tau, with c0 and c1 fitted to the grid
    (c1 = 0.4997 to 0.5000 in real products; c0 also takes up the 0.4 ms that IPF 2.36 was off).

    Args:
        annotation: what the product says.

    Raises:
        SceneCorrupt: the annotation contradicts itself: the grid, at its own heights, lies farther than
            SELF_CHECK_PX from where orbit, line times and slant ranges put it, or the times differ by more
            than CLOCK_S.
    """

    def __init__(self, annotation: Annotation) -> None:
        self.shape = annotation.shape
        self.annotation = annotation
        self._interval_s = annotation.line_interval_s
        self._spacing_m = annotation.spacing_m[1]
        self._extent_m = (annotation.shape[1] - 1) * self._spacing_m
        self._times_s, self._polynomials = self._updates()
        self._shift = self._fit_azimuth_shift()
        self.self_check_px: float = self._self_check()

    def _updates(self) -> tuple[Array, Array]:
        """Return times [c] and polynomials in ground range from sample 0, lowest power first, [c, k]."""
        a = self.annotation
        degree = a.conversions.shape[1] - 1
        polynomials = a.conversions
        if a.conversion_origins_m.any():
            moved = [
                np.polynomial.Polynomial(p)(np.polynomial.Polynomial([-origin, 1]))
                for p, origin in zip(a.conversions, a.conversion_origins_m, strict=True)
            ]
            polynomials = np.stack([np.pad(p.coef, (0, degree + 1 - len(p.coef))) for p in moved])
        times = a.conversion_times_s
        # IPF 2.36 leaves out the update that its last line used: take it from the grid's last line.
        last = a.grid.line_px.max()
        reach = np.median(np.diff(times)) / 2 if len(times) > 1 else np.inf
        edge = a.grid.line_px == last
        if last * self._interval_s > times[-1] + reach and edge.sum() > degree:
            fit = np.polynomial.Polynomial.fit(
                a.grid.sample_px[edge] * self._spacing_m,
                a.grid.slant_range_time_s[edge] * (SPEED_OF_LIGHT_M_S / 2),
                degree,
            ).convert()
            times = np.append(times, times[-1] + 2 * reach)
            polynomials = np.vstack([polynomials, np.pad(fit.coef, (0, degree + 1 - len(fit.coef)))])
        return times, polynomials

    def _fit_azimuth_shift(self) -> tuple[float, float]:
        """Fit what the grid's zero-Doppler times exceed the line times by: c0 + c1 tau."""
        grid = self.annotation.grid
        t, slant = zero_doppler(self.annotation.orbit, grid.lon_deg, grid.lat_deg, grid.height_m)
        good = np.isfinite(t)
        if good.sum() < 4:
            raise SceneCorrupt(
                f"got {good.sum()} points of the geolocation grid abeam of the annotated orbit, "
                "expected at least 4: grid and orbit do not belong together"
            )
        tau = slant[good] * (2 / SPEED_OF_LIGHT_M_S)
        late = t[good] - grid.line_px[good] * self._interval_s
        middle = tau.mean()
        spread = float(((tau - middle) ** 2).sum())
        slope = float(((tau - middle) * late).sum()) / spread if spread > 1e-12 else 0.0
        if abs(late.mean()) > CLOCK_S:
            raise SceneCorrupt(
                f"got the satellite's passes of the geolocation grid {late.mean():+.3f} s from the line "
                f"times, expected at most {CLOCK_S} s: line times and orbit do not belong together"
            )
        return float(late.mean()) - slope * float(middle), slope

    def _self_check(self) -> float:
        """Return how far the grid's points at most lie from where they are said to be, pixels."""
        grid = self.annotation.grid
        line, sample = self.pixel(grid.lon_deg, grid.lat_deg, grid.height_m)
        miss = float(np.hypot(line - grid.line_px, sample - grid.sample_px).max())
        if not miss <= SELF_CHECK_PX:
            raise SceneCorrupt(
                f"got a geolocation grid up to {miss:.3g} px from where orbit, line times and slant ranges "
                f"put it at its own heights, expected at most {SELF_CHECK_PX} px: fetch the product again"
            )
        return miss

    def _polynomial(self, line: Array) -> Array:
        """Return the polynomial of each line's update, [..., k]."""
        between = (self._times_s[1:] + self._times_s[:-1]) / 2
        return self._polynomials[np.searchsorted(between, line * self._interval_s)]

    def _slant(self, polynomial: Array, ground: Array) -> tuple[Array, Array]:
        """Return slant range and its slope; beyond the swath along the tangent at its edge."""
        inside = np.clip(ground, 0, self._extent_m)
        slant, slope = np.zeros_like(inside), np.zeros_like(inside)
        for power in range(polynomial.shape[-1] - 1, -1, -1):
            slope = slope * inside + slant
            slant = slant * inside + polynomial[..., power]
        return slant + slope * (ground - inside), slope

    def _time_and_range(self, line_px: ArrayLike, sample_px: ArrayLike) -> tuple[Array, Array]:
        line, sample = np.broadcast_arrays(np.asarray(line_px, np.float64), np.asarray(sample_px, np.float64))
        slant, _ = self._slant(self._polynomial(line), sample * self._spacing_m)
        c0, c1 = self._shift
        return line * self._interval_s + c0 + c1 * slant * (2 / SPEED_OF_LIGHT_M_S), slant

    def lonlat(
        self, line_px: ArrayLike, sample_px: ArrayLike, height_m: ArrayLike | None = None
    ) -> tuple[Array, Array]:
        """Return longitude and latitude (degrees) of positions in the scene, by range-Doppler."""
        t, slant = self._time_and_range(line_px, sample_px)
        return ground_point(self.annotation.orbit, t, slant, undulation_m if height_m is None else height_m)

    def pixel(
        self, lon_deg: ArrayLike, lat_deg: ArrayLike, height_m: ArrayLike | None = None
    ) -> tuple[Array, Array]:
        """Return line and sample of places: the inverse of lonlat."""
        if height_m is None:
            height_m = undulation_m(lon_deg, lat_deg)
        t, slant = zero_doppler(self.annotation.orbit, lon_deg, lat_deg, height_m)
        c0, c1 = self._shift
        line = (t - c0 - c1 * slant * (2 / SPEED_OF_LIGHT_M_S)) / self._interval_s
        polynomial = self._polynomial(line)
        ground = np.full_like(slant, self._extent_m / 2)
        for _ in range(_NEWTON_STEPS):
            there, slope = self._slant(polynomial, ground)
            step = (slant - there) / slope
            ground = ground + step
            if not np.any(np.abs(step) > 1e-6):
                break
        return line, ground / self._spacing_m

    def slant_range_m(self, line_px: ArrayLike, sample_px: ArrayLike) -> Array:
        """Return the distance to the satellite."""
        return self._time_and_range(line_px, sample_px)[1]

    def range_to_velocity_s(self, line_px: ArrayLike, sample_px: ArrayLike) -> Array:
        """Return R/V, V the satellite's speed over the turning earth."""
        t, slant = self._time_and_range(line_px, sample_px)
        return np.asarray(slant / np.linalg.norm(self.annotation.orbit.at(t)[1], axis=-1))

    def incidence_deg(self, line_px: ArrayLike, sample_px: ArrayLike) -> Array:
        """Return the incidence angle: between the line of sight and the ellipsoid's normal."""
        (east, north, up), _ = self._sight_and_velocity(line_px, sample_px)
        return np.degrees(np.arctan2(np.hypot(east, north), -up))

    def look_azimuth_deg(self, line_px: ArrayLike, sample_px: ArrayLike) -> Array:
        """Return the direction of increasing sample on the ground, clockwise from north, 0 to 360."""
        _, (east, north, _) = self._sight_and_velocity(line_px, sample_px)
        # At a fixed time the ground point stays in the plane across the velocity. (The bistatic delay moves
        # the time along a line by 0.001 degrees' worth.)
        return np.degrees(np.arctan2(north, -east)) % 360

    def heading_deg(self, line_px: ArrayLike, sample_px: ArrayLike) -> Array:
        """Return the direction of increasing line on the ground, clockwise from north, 0 to 360."""
        (east, north, _), _ = self._sight_and_velocity(line_px, sample_px)
        # At a fixed range the ground point moves across the line of sight.
        return np.degrees(np.arctan2(-north, east)) % 360

    def _sight_and_velocity(
        self, line_px: ArrayLike, sample_px: ArrayLike
    ) -> tuple[list[Array], list[Array]]:
        """Return the line of sight and the satellite's velocity in local east, north and up."""
        t, slant = self._time_and_range(line_px, sample_px)
        lon, lat = ground_point(self.annotation.orbit, t, slant, undulation_m)
        position, velocity = self.annotation.orbit.at(t)
        axes = local_axes(lon, lat)
        sight = ecef_from_geodetic(lon, lat, undulation_m(lon, lat)) - position
        return [(axis * sight).sum(-1) for axis in axes], [(axis * velocity).sum(-1) for axis in axes]

    def time_utc(self, line_px: float) -> datetime:
        """Return when a line was sensed (zero-Doppler time as annotated)."""
        return self.annotation.first_line + timedelta(seconds=float(line_px) * self._interval_s)
