"""WGS84, orbits, and range-Doppler geometry in both directions.

A zero-Doppler image is a table of (azimuth time, slant range). A pixel lies on the ground where three
surfaces meet: the sphere of its slant range about the satellite, the plane through the satellite at right
angles to its velocity, and the surface of a given height above the ellipsoid. Everything is earth-centred
and earth-fixed (ECEF), in metres and seconds, and vectorised: arguments broadcast against each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.errors import InputError

Array = NDArray[np.float64]
Look = Literal["right", "left"]
# Heights above WGS84 in metres of places, longitude and latitude in degrees: geoid.undulation_m is one.
Surface = Callable[[Array, Array], Array]

SPEED_OF_LIGHT_M_S = 299_792_458.0
WGS84_A_M = 6_378_137.0
WGS84_F = 1 / 298.257223563
WGS84_B_M = WGS84_A_M * (1 - WGS84_F)
_E2 = WGS84_F * (2 - WGS84_F)

_NODES = 4  # state vectors a polynomial runs through
_ITERATIONS = 8  # Newton's method needs 3 to 5 here
_TOLERANCE_M = 1e-5
# A step of Newton's method so short leaves 2e-10 s: D = velocity . (ground - satellite) is all but linear in
# time, |D'' / 2 D'| = 3 |velocity . acceleration| / 2 |velocity|^2 or about 2e-6 a second.
_LAST_STEP_S = 1e-2


def ecef_from_geodetic(lon_deg: ArrayLike, lat_deg: ArrayLike, height_m: ArrayLike = 0.0) -> Array:
    """Return ECEF positions of geodetic coordinates on WGS84.

    Args:
        lon_deg: longitude, [...].
        lat_deg: geodetic latitude, [...].
        height_m: height above the ellipsoid, [...].

    Returns:
        Positions in metres, [..., 3].
    """
    lon, lat, height = np.broadcast_arrays(np.radians(lon_deg), np.radians(lat_deg), height_m)
    sin, cos = np.sin(lat), np.cos(lat)
    normal = WGS84_A_M / np.sqrt(1 - _E2 * sin**2)
    across = (normal + height) * cos
    return np.stack([across * np.cos(lon), across * np.sin(lon), ((1 - _E2) * normal + height) * sin], -1)


def geodetic_from_ecef(xyz_m: ArrayLike) -> tuple[Array, Array, Array]:
    """Return longitude, latitude (degrees) and height above WGS84 (metres) of ECEF positions.

    Bowring's formula, applied twice: exact to a micrometre from the surface to satellite heights.

    Args:
        xyz_m: positions, [..., 3], outside the earth's core.

    Returns:
        lon_deg, lat_deg, height_m, [...] each.
    """
    xyz = np.asarray(xyz_m, np.float64)
    lon, sin, cos, height = _geodetic(xyz)
    return np.degrees(lon), np.degrees(np.arctan2(sin, cos)), height


def _geodetic(xyz: Array) -> tuple[Array, Array, Array, Array]:
    """Return longitude (radians), sine and cosine of the latitude, and height."""
    x, y, z = xyz[..., 0], xyz[..., 1], xyz[..., 2]
    across = np.hypot(x, y)
    reduced = np.arctan2(WGS84_A_M * z, WGS84_B_M * across)
    for _ in range(2):
        up = z + _E2 / (1 - _E2) * WGS84_B_M * np.sin(reduced) ** 3
        out = across - _E2 * WGS84_A_M * np.cos(reduced) ** 3
        reduced = np.arctan2((1 - WGS84_F) * up, out)
    length = np.hypot(up, out)
    sin, cos = up / length, out / length
    height = across * cos + z * sin - WGS84_A_M * np.sqrt(1 - _E2 * sin**2)
    return np.arctan2(y, x), sin, cos, height


def local_axes(lon_deg: ArrayLike, lat_deg: ArrayLike) -> tuple[Array, Array, Array]:
    """Return the unit vectors east, north and up at geodetic coordinates, ECEF, [..., 3] each."""
    lon, lat = np.broadcast_arrays(np.radians(lon_deg), np.radians(lat_deg))
    sin_lon, cos_lon, sin_lat, cos_lat = np.sin(lon), np.cos(lon), np.sin(lat), np.cos(lat)
    east = np.stack([-sin_lon, cos_lon, np.zeros_like(lon)], -1)
    north = np.stack([-sin_lat * cos_lon, -sin_lat * sin_lon, cos_lat], -1)
    up = np.stack([cos_lat * cos_lon, cos_lat * sin_lon, sin_lat], -1)
    return east, north, up


@dataclass(frozen=True, eq=False)
class Orbit:
    """A satellite's path through its state vectors.

    Between two state vectors the path is the polynomial that takes the positions and the velocities of the
    four nearest (degree 7): at a spacing of 10 s exact far below a millimetre. The path goes on for one
    interval beyond the first and the last; farther out it is NaN.

    Attributes:
        times_s: seconds since an epoch of the caller's choice, increasing, [n].
        position_m: ECEF positions, [n, 3].
        velocity_m_s: ECEF velocities, [n, 3].

    Raises:
        InputError: fewer than two state vectors, shapes that differ, or times that do not increase.
    """

    times_s: Array
    position_m: Array
    velocity_m_s: Array

    def __post_init__(self) -> None:
        for name in ("times_s", "position_m", "velocity_m_s"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), np.float64))
        n = len(self.times_s) if self.times_s.ndim == 1 else 0
        if n < 2 or self.position_m.shape != (n, 3) or self.velocity_m_s.shape != (n, 3):
            shapes = self.times_s.shape, self.position_m.shape, self.velocity_m_s.shape
            raise InputError(f"got state vectors of shapes {shapes}, expected [n], [n, 3], [n, 3], n >= 2")
        if not np.all(np.diff(self.times_s) > 0):
            raise InputError("got state vectors whose times do not increase: sort them, drop repeated ones")

    @property
    def span_s(self) -> tuple[float, float]:
        """First and last time at which the path is known."""
        t = self.times_s
        return float(2 * t[0] - t[1]), float(2 * t[-1] - t[-2])

    @cached_property
    def _polynomials(self) -> tuple[Array, Array]:
        """Return each interval's length [m] and coefficients, highest power first, [m, degree + 1, 3]."""
        n = len(self.times_s)
        k = min(_NODES, n)
        first = np.clip(np.arange(n - 1) - (k - 2) // 2, 0, n - k)
        nodes = first[:, None] + np.arange(k)
        scale = np.diff(self.times_s)
        t = (self.times_s[nodes] - self.times_s[:-1, None]) / scale[:, None]
        power = np.arange(2 * k)[::-1]
        value = t[..., None] ** power
        slope = np.where(power > 0, power * t[..., None] ** np.maximum(power - 1, 0), 0.0)
        known = [self.position_m[nodes], self.velocity_m_s[nodes] * scale[:, None, None]]
        return scale, np.linalg.solve(np.concatenate([value, slope], 1), np.concatenate(known, 1))

    def _state(self, t_s: ArrayLike) -> tuple[Array, Array, Array]:
        """Return position, velocity and acceleration, [..., 3] each."""
        t = np.asarray(t_s, np.float64)
        scale, polynomials = self._polynomials
        index = np.clip(np.searchsorted(self.times_s, t, side="right") - 1, 0, len(scale) - 1)
        first, last = self.span_s
        inside = (t >= first) & (t <= last)
        unit = scale[index][..., None]
        tau = np.where(inside, t - self.times_s[index], np.nan)[..., None] / unit
        p = np.zeros((*t.shape, 3))
        v, a = np.zeros_like(p), np.zeros_like(p)
        for power in range(polynomials.shape[1]):
            a = a * tau + 2 * v
            v = v * tau + p
            p = p * tau + polynomials[index, power]
        return p, v / unit, a / unit**2

    def at(self, t_s: ArrayLike) -> tuple[Array, Array]:
        """Return position (m) and velocity (m/s) at times, [..., 3] each; NaN outside span_s."""
        p, v, _ = self._state(t_s)
        return p, v


def ground_point(
    orbit: Orbit,
    t_s: ArrayLike,
    slant_range_m: ArrayLike,
    height_m: ArrayLike | Surface = 0.0,
    look: Look = "right",
) -> tuple[Array, Array]:
    """Return where a zero-Doppler time and a slant range lie on the ground (range-Doppler).

    Args:
        orbit: path of the satellite.
        t_s: zero-Doppler time on the orbit's epoch, [...].
        slant_range_m: distance to the satellite, [...].
        height_m: geodetic height of the ground above WGS84, [...], or a surface whose slope is gentle, as the
            geoid's.
        look: side of the satellite's track that the radar looks at.

    Returns:
        lon_deg, lat_deg, [...] each; NaN where the three surfaces do not meet.
    """
    fixed = np.asarray(0.0 if callable(height_m) else height_m, np.float64)
    t, slant, height = np.broadcast_arrays(
        np.asarray(t_s, np.float64), np.asarray(slant_range_m, np.float64), fixed
    )
    p, v = orbit.at(t)
    ahead = v / np.linalg.norm(v, axis=-1, keepdims=True)
    x = _on_sphere(p, ahead, slant, height, 1.0 if look == "right" else -1.0)
    for _ in range(_ITERATIONS):
        lon, sin, cos, above = _geodetic(x)
        if callable(height_m):
            height = height_m(np.degrees(lon), np.degrees(np.arctan2(sin, cos)))
        up = np.stack([cos * np.cos(lon), cos * np.sin(lon), sin], -1)
        line = x - p
        reach = np.linalg.norm(line, axis=-1)
        sight = line / reach[..., None]
        # One Newton step: three planes, sight . d = a, ahead . d = b, up . d = c, meet in d.
        a, b, c = slant - reach, -_dot(ahead, line), height - above
        ahead_up, up_sight, sight_ahead = np.cross(ahead, up), np.cross(up, sight), np.cross(sight, ahead)
        with np.errstate(divide="ignore", invalid="ignore"):
            step = (a[..., None] * ahead_up + b[..., None] * up_sight + c[..., None] * sight_ahead) / _dot(
                sight, ahead_up
            )[..., None]
        x = x + step
        if not np.any(np.abs(step) > _TOLERANCE_M):  # NaN counts as done
            break
    lon, sin, cos, _ = _geodetic(x)
    return np.degrees(lon), np.degrees(np.arctan2(sin, cos))


def _dot(a: Array, b: Array) -> Array:
    return np.asarray(np.einsum("...i,...i->...", a, b))


def _on_sphere(p: Array, ahead: Array, slant: Array, height: Array, side: float) -> Array:
    """Return the point on a sphere of the local radius, within some kilometres of the ground point."""
    radius = np.linalg.norm(p, axis=-1)
    sin2 = (p[..., 2] / radius) ** 2
    ground = WGS84_A_M * (1 - WGS84_F * sin2) + height
    down = -p / radius[..., None]
    down = down - _dot(down, ahead)[..., None] * ahead
    down = down / np.linalg.norm(down, axis=-1, keepdims=True)
    right = np.cross(ahead, -down)
    with np.errstate(invalid="ignore", divide="ignore"):
        cos = (slant**2 + radius**2 - ground**2) / (2 * slant * radius)
        sin = np.sqrt(1 - cos**2)  # NaN where the range does not reach the ground
    return np.asarray(p + slant[..., None] * (cos[..., None] * down + side * sin[..., None] * right))


def zero_doppler(
    orbit: Orbit,
    lon_deg: ArrayLike,
    lat_deg: ArrayLike,
    height_m: ArrayLike = 0.0,
    look: Look = "right",
) -> tuple[Array, Array]:
    """Return when the satellite passes a ground point abeam, and how far off: the inverse of ground_point.

    Args:
        orbit: path of the satellite.
        lon_deg: longitude, [...].
        lat_deg: geodetic latitude, [...].
        height_m: height above WGS84, [...].
        look: side of the satellite's track that the radar looks at.

    Returns:
        t_s, slant_range_m, [...] each; NaN where the pass lies outside the orbit's span, or the point on the
        other side of the track.
    """
    x = ecef_from_geodetic(lon_deg, lat_deg, height_m)
    first, last = orbit.span_s
    t = np.full(x.shape[:-1], (first + last) / 2)
    p, v, a = orbit._state((first + last) / 2)  # one for all: this step comes within a few milliseconds
    for _ in range(_ITERATIONS):
        line = x - p
        step = np.clip(t + _dot(v, line) / (_dot(v, v) - _dot(a, line)), first, last) - t
        t = t + step
        if not np.any(np.abs(step) > _LAST_STEP_S):
            break
        p, v, a = orbit._state(t)
        step = np.zeros_like(t)
    p = p + v * step[..., None] + a * (step**2 / 2)[..., None]
    v = v + a * step[..., None]
    line = x - p
    slant = np.linalg.norm(line, axis=-1)
    side = _dot(np.cross(v, p), line)
    abeam = np.abs(_dot(v, line)) < 1e-7 * _dot(v, v)  # within 0.1 microseconds of the pass
    good = abeam & ((side > 0) == (look == "right"))
    return np.where(good, t, np.nan), np.where(good, slant, np.nan)
