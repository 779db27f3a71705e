"""An orbit that is known exactly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def circular_path(
    t_s: NDArray[np.float64], node_deg: float, phase_deg: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Position and velocity on Sentinel-1's orbit, taken as a circle, over the turning earth: exact."""
    radius, inclination, turn = 7_070_000.0, np.radians(98.18), 7.2921159e-5
    rate = np.sqrt(3.986004418e14 / radius**3)
    u, node = np.radians(phase_deg) + rate * t_s, np.radians(node_deg) - turn * t_s
    cos_u, sin_u, cos_i, sin_i = np.cos(u), np.sin(u), np.cos(inclination), np.sin(inclination)
    cos_n, sin_n, zero = np.cos(node), np.sin(node), np.zeros_like(t_s)

    def turned(x: NDArray[np.float64], y: NDArray[np.float64], z: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.stack([cos_n * x - sin_n * y, sin_n * x + cos_n * y, z], -1)

    position = radius * turned(cos_u, sin_u * cos_i, sin_u * sin_i)
    along = radius * rate * turned(-sin_u, cos_u * cos_i, cos_u * sin_i)
    return position, along - turn * np.stack([-position[..., 1], position[..., 0], zero], -1)
