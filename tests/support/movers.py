"""Ships under way as a radar shows them, from first principles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from daemon.scene.geometry import RangeDopplerGeometry
from engine.runtime.geoid import undulation_m
from engine.runtime.geometry import ecef_from_geodetic, geodetic_from_ecef, ground_point, local_axes

Array = NDArray[np.float64]


def echo_of(
    geometry: RangeDopplerGeometry,
    lon_deg: float,
    lat_deg: float,
    time_s: float,
    speed_m_s: float,
    course_deg: float,
) -> tuple[float, float, float]:
    """Return longitude and latitude of a ship's echo, and the time of its line.

    The ship is imaged when the range to it is least; its echo is placed as that of something at rest.

    Args:
        geometry: of the scene.
        lon_deg: of the ship at a time.
        lat_deg: of the ship at that time.
        time_s: that time, on the orbit's clock.
        speed_m_s: over ground.
        course_deg: over ground.
    """
    orbit = geometry.annotation.orbit
    start = ecef_from_geodetic(lon_deg, lat_deg, undulation_m(lon_deg, lat_deg))
    east, north, _ = local_axes(lon_deg, lat_deg)
    course = np.radians(course_deg)
    motion = speed_m_s * (np.sin(course) * east + np.cos(course) * north)
    imaged = time_s
    for _ in range(8):  # Newton's method on the range's derivative
        position, velocity, acceleration = orbit._state(imaged)
        sight = start + motion * (imaged - time_s) - position
        against = motion - velocity
        imaged -= float(sight @ against) / float(against @ against - sight @ acceleration)
    sight = start + motion * (imaged - time_s) - orbit.at(imaged)[0]
    lon, lat = ground_point(orbit, imaged, float(np.linalg.norm(sight)), undulation_m)
    return float(lon), float(lat), imaged


def moved(
    lon_deg: float, lat_deg: float, speed_m_s: float, course_deg: float, dt_s: float
) -> tuple[float, float]:
    """Return where a ship is some seconds later."""
    east, north, _ = local_axes(lon_deg, lat_deg)
    course = np.radians(course_deg)
    step = speed_m_s * dt_s * (np.sin(course) * east + np.cos(course) * north)
    lon, lat, _ = geodetic_from_ecef(ecef_from_geodetic(lon_deg, lat_deg) + step)
    return float(lon), float(lat)
