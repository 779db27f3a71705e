"""The geometry of a simulated pass: a circular orbit over a site, and the image's grid on the ground.

Line and sample map to zero-Doppler time and ground range, ground range to slant range through the
polynomials that the annotation will hold, and both to the earth by range-Doppler. Ground range is counted
on the ellipsoid; the sea stands on the geoid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.errors import InputError
from engine.runtime import geometry
from engine.runtime.geoid import undulation_m
from engine.simulate.physics import SPACING_M

Array = NDArray[np.float64]

EARTH_RATE_RAD_S = 7.2921159e-5
GRAVITATION_M3_S2 = 3.986004418e14
ORBIT_RADIUS_M = 7_071_000.0  # 693 km above the equator
INCLINATION_RAD = np.radians(98.18)
ORBIT_PERIOD_S = 12 * 86_400 / 175  # as the real satellites: 175 orbits in 12 days
WAVELENGTH_M = geometry.SPEED_OF_LIGHT_M_S / 5.405000454334350e9

# the whole IW swath as real products have it, in samples
SWATH_ENDS = (8456, 17262, 25117)
SWATHS = ("IW1", "IW2", "IW3")
PRF_HZ = (1717.128973878037, 1451.627119231594, 1685.817302492702)
NEAR_INCIDENCE_DEG = 30.8
_DEGREE = 8


@dataclass(frozen=True, eq=False)
class Acquisition:
    """The grid of one image.

    Attributes:
        orbit: state vectors; second 0 is the time of line 0.
        shape: lines and samples.
        line_interval_s: time between lines.
        slant_range_m: slant range of sample 0.
        swath_sample: where sample 0 lies in the whole IW swath.
        conversion_s: times of the coordinate conversions, [n].
        grsr: ground range to slant range, rising powers, [n, 9].
        srgr: slant range less slant_range_m to ground range, [n, 9].
        ascending: direction of the pass.
        node_longitude_deg: where the orbit crossed the equator northwards.
        node_age_s: time since then at line 0.
    """

    orbit: geometry.Orbit
    shape: tuple[int, int]
    line_interval_s: float
    slant_range_m: float
    swath_sample: int
    conversion_s: Array
    grsr: Array
    srgr: Array
    ascending: bool
    node_longitude_deg: float
    node_age_s: float

    def slant_range(self, line_px: ArrayLike, sample_px: ArrayLike) -> Array:
        """Return slant ranges in metres."""
        return self._polynomial(
            self.grsr, np.asarray(line_px) * self.line_interval_s, np.asarray(sample_px) * SPACING_M
        )

    def lonlat(self, line_px: ArrayLike, sample_px: ArrayLike) -> tuple[Array, Array]:
        """Return longitude and latitude of the sea surface at lines and samples, degrees."""
        time = np.asarray(line_px) * self.line_interval_s
        slant = self.slant_range(line_px, sample_px)
        return geometry.ground_point(self.orbit, time, slant, undulation_m)

    def pixel(self, lon_deg: ArrayLike, lat_deg: ArrayLike) -> tuple[Array, Array]:
        """Return line and sample of places at sea level; NaN where the pass does not see them."""
        height = undulation_m(lon_deg, lat_deg)
        time, slant = geometry.zero_doppler(self.orbit, lon_deg, lat_deg, height)
        ground = self._polynomial(self.srgr, time, slant - self.slant_range_m)
        return time / self.line_interval_s, ground / SPACING_M

    def incidence_deg(self, line_px: ArrayLike, sample_px: ArrayLike) -> Array:
        """Return the angle between the line of sight and the ellipsoid's normal."""
        return np.degrees(np.arccos(self._cosine(line_px, sample_px, "ground")))

    def elevation_deg(self, line_px: ArrayLike, sample_px: ArrayLike) -> Array:
        """Return the angle between the line of sight and the satellite's downward direction."""
        return np.degrees(np.arccos(self._cosine(line_px, sample_px, "satellite")))

    def upward_deg(self, line_px: ArrayLike, sample_px: ArrayLike) -> Array:
        """Return the bearing, clockwise from north, of the image's upward direction (falling lines)."""
        return self.bearing_deg(line_px, sample_px, 0.0)

    def bearing_deg(self, line_px: ArrayLike, sample_px: ArrayLike, axis_deg: float) -> Array:
        """Return the bearing of a direction in the image, given clockwise from up; images are mirrored."""
        down, across = -np.cos(np.radians(axis_deg)), np.sin(np.radians(axis_deg))
        line, sample = np.asarray(line_px, float), np.asarray(sample_px, float)
        east, north, _ = geometry.local_axes(*self.lonlat(line, sample))
        ahead = geometry.ecef_from_geodetic(*self.lonlat(line + down, sample + across))
        step = ahead - geometry.ecef_from_geodetic(*self.lonlat(line - down, sample - across))
        return np.degrees(np.arctan2((step * east).sum(-1), (step * north).sum(-1))) % 360

    def swath(self, sample_px: float) -> int:
        """Return the index of the swath that holds a sample."""
        return int(np.searchsorted(SWATH_ENDS[:2], self.swath_sample + sample_px, side="right"))

    def ghost_offset_lines(self, line_px: float, sample_px: float) -> float:
        """Return the offset of the first azimuth ambiguity: lambda R PRF / (2 V) on the ground, in lines.

        In time, PRF / |azimuth FM rate| with the rate 2 V^2 / (lambda R) of a satellite of speed V, where
        V^2 is the product of the speeds of satellite and footprint.
        """
        slant = float(self.slant_range(np.array(line_px), np.array(sample_px)))
        return PRF_HZ[self.swath(sample_px)] / abs(self.fm_rate_hz_s(slant)) / self.line_interval_s

    def fm_rate_hz_s(self, slant_range_m: float) -> float:
        """Return the azimuth FM rate at mid image."""
        _, velocity = self.orbit.at(np.array(self.shape[0] / 2 * self.line_interval_s))
        ground_speed = SPACING_M / self.line_interval_s
        return float(-2 * np.linalg.norm(velocity) * ground_speed / (WAVELENGTH_M * slant_range_m))

    def _polynomial(self, table: Array, time_s: Array, x: Array) -> Array:
        """Evaluate the polynomials that are nearest in time, as real products do."""
        time_s, x = np.broadcast_arrays(time_s, x)
        between = (self.conversion_s[1:] + self.conversion_s[:-1]) / 2
        coefficients = table[np.searchsorted(between, time_s)]
        total = np.zeros(x.shape)
        for power in range(_DEGREE, -1, -1):
            total = total * x + coefficients[..., power]
        return total

    def _cosine(self, line_px: ArrayLike, sample_px: ArrayLike, where: str) -> Array:
        position, _ = self.orbit.at(np.asarray(line_px) * self.line_interval_s)
        lon, lat = self.lonlat(line_px, sample_px)
        sight = position - geometry.ecef_from_geodetic(lon, lat, undulation_m(lon, lat))
        sight /= np.linalg.norm(sight, axis=-1, keepdims=True)
        if where == "ground":
            up = geometry.local_axes(lon, lat)[2]
        else:
            up = position / np.linalg.norm(position, axis=-1, keepdims=True)
        return np.asarray(np.clip((sight * up).sum(-1), -1, 1))


def plan(
    lon_deg: float, lat_deg: float, ascending: bool, shape: tuple[int, int], swath_sample: int
) -> Acquisition:
    """Lay a pass over a site: the image's centre falls on it.

    Args:
        lon_deg: longitude of the site.
        lat_deg: latitude of the site.
        ascending: direction of the pass.
        shape: lines and samples of the image.
        swath_sample: where in the whole IW swath the image begins.

    Raises:
        InputError: the site lies nearer to a pole than the radar sees. It looks right: farther in the north.
    """
    slant_near, slant_mid = (_slant_at(lat_deg, swath_sample + at) for at in (0, shape[1] / 2))
    argument, node = _orbit_over(lon_deg, lat_deg, ascending, slant_mid)
    middle = _orbit(argument, node, np.arange(-40.0, 41.0, 10.0))
    speed = _ground_speed(middle, slant_mid)
    interval = SPACING_M / speed
    before = shape[0] / 2 * interval  # line 0 comes this much before the site
    motion = np.sqrt(GRAVITATION_M3_S2 / ORBIT_RADIUS_M**3)
    first = argument - motion * before
    orbit = _orbit(first, node - np.degrees(EARTH_RATE_RAD_S * -before), np.arange(-60.0, 101.0, 10.0))
    times = np.arange(-1.0, shape[0] * interval + 1.5)
    grsr, srgr = _conversions(orbit, times, slant_near, shape[1])
    age = (first % (2 * np.pi)) / motion
    node_longitude = node + np.degrees(EARTH_RATE_RAD_S * (before + age))
    return Acquisition(
        orbit,
        shape,
        interval,
        slant_near,
        swath_sample,
        times,
        grsr,
        srgr,
        ascending,
        float((node_longitude + 180) % 360 - 180),
        float(age),
    )


def shifted(base: Acquisition, line: int, sample: int, shape: tuple[int, int]) -> Acquisition:
    """Return the grid of a window of another grid, as a repeat pass sees it: same orbit, other borders."""
    slant = float(base.slant_range(np.array(shape[0] / 2 + line), np.array(sample)))
    start = line * base.line_interval_s
    orbit = geometry.Orbit(base.orbit.times_s - start, base.orbit.position_m, base.orbit.velocity_m_s)
    times = base.conversion_s - start
    grsr, srgr = _conversions(orbit, times, slant, shape[1])
    return Acquisition(
        orbit,
        shape,
        base.line_interval_s,
        slant,
        base.swath_sample + sample,
        times,
        grsr,
        srgr,
        base.ascending,
        base.node_longitude_deg,
        base.node_age_s + start,
    )


def _orbit(argument: float, node_deg: float, times_s: Array) -> geometry.Orbit:
    """Return a circular orbit, earth-fixed; argument of latitude and node longitude hold at second 0."""
    motion = np.sqrt(GRAVITATION_M3_S2 / ORBIT_RADIUS_M**3)
    u = argument + motion * times_s
    node = np.radians(node_deg) - EARTH_RATE_RAD_S * times_s
    cos_i, sin_i = np.cos(INCLINATION_RAD), np.sin(INCLINATION_RAD)
    x, y = np.cos(u), np.sin(u) * cos_i
    dx, dy = -np.sin(u) * motion, np.cos(u) * cos_i * motion
    cos_n, sin_n = np.cos(node), np.sin(node)
    px, py, pz = x * cos_n - y * sin_n, x * sin_n + y * cos_n, np.sin(u) * sin_i
    vx = dx * cos_n - dy * sin_n + EARTH_RATE_RAD_S * py
    vy = dx * sin_n + dy * cos_n - EARTH_RATE_RAD_S * px
    vz = np.cos(u) * sin_i * motion
    position, velocity = np.stack([px, py, pz], -1), np.stack([vx, vy, vz], -1)
    return geometry.Orbit(times_s, ORBIT_RADIUS_M * position, ORBIT_RADIUS_M * velocity)


def _earth_radius(lat_deg: float) -> float:
    return float(np.linalg.norm(geometry.ecef_from_geodetic(0.0, lat_deg, 0.0)))


def _slant_at(lat_deg: float, swath_sample: float) -> float:
    """Return about the slant range of a place in the whole swath, on a sphere of the local radius."""
    earth = _earth_radius(lat_deg)
    near = np.radians(NEAR_INCIDENCE_DEG)
    angle = near - np.arcsin(earth / ORBIT_RADIUS_M * np.sin(near)) + swath_sample * SPACING_M / earth
    return float(np.sqrt(earth**2 + ORBIT_RADIUS_M**2 - 2 * earth * ORBIT_RADIUS_M * np.cos(angle)))


def _orbit_over(lon_deg: float, lat_deg: float, ascending: bool, slant_m: float) -> tuple[float, float]:
    """Return argument of latitude and node longitude that put the site at a slant range at second 0."""
    middle, reach = (0.0, 90.0) if ascending else (180.0, 90.0)
    times = np.array([-10.0, 0.0, 10.0])
    for _ in range(5):
        arguments = np.radians(np.linspace(middle - reach, middle + reach, 25))
        seen = [geometry.ground_point(_orbit(u, 0.0, times), 0.0, slant_m) for u in arguments]
        miss = np.abs(np.array([float(lat) for _, lat in seen]) - lat_deg)
        best = int(np.argmin(miss))
        middle, reach = float(np.degrees(arguments[best])), reach / 12
    if miss[best] > 1e-3:
        most = lat_deg - np.sign(lat_deg) * miss[best]
        raise InputError(
            f"got a site at latitude {lat_deg}, expected one no nearer to the pole than {most:.2f} at this "
            "place in the swath: the radar looks to the right of its orbit"
        )
    return float(arguments[best]), lon_deg - float(seen[best][0])


def _ground_speed(orbit: geometry.Orbit, slant_m: float) -> float:
    lon, lat = geometry.ground_point(orbit, np.array([-0.5, 0.5]), slant_m)
    return float(np.linalg.norm(np.diff(geometry.ecef_from_geodetic(lon, lat, 0.0), axis=0)))


def _conversions(
    orbit: geometry.Orbit, times_s: Array, slant_near_m: float, samples: int
) -> tuple[Array, Array]:
    """Fit ground range to slant range and back, both counted from sample 0."""
    reach = samples * SPACING_M * 1.02 + 2000.0
    # slant range grows by at most sin(47 degrees) of the ground range
    slant = slant_near_m + np.linspace(-1500.0, 0.75 * reach, 600)
    grsr, srgr = [], []
    for time in times_s:
        lon, lat = geometry.ground_point(orbit, time, slant)
        xyz = geometry.ecef_from_geodetic(lon, lat, 0.0)
        step = np.linalg.norm(np.diff(xyz, axis=0), axis=1)
        ground = np.concatenate([[0.0], np.cumsum(step)])
        ground -= np.interp(slant_near_m, slant, ground)
        grsr.append(_fit(ground, slant))
        srgr.append(_fit(slant - slant_near_m, ground))
    return np.array(grsr), np.array(srgr)


def _fit(x: Array, y: Array) -> Array:
    polynomial = np.polynomial.Polynomial.fit(x, y, _DEGREE).convert().coef
    return np.pad(polynomial, (0, _DEGREE + 1 - len(polynomial)))
