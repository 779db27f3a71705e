"""Whether what a product says of its own geometry can be true."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from daemon.errors import SceneCorrupt
from engine.runtime.geometry import Orbit, ecef_from_geodetic, local_axes

Array = NDArray[np.float64]

# How far a scene may reach beyond its state vectors, in their intervals: a path through vectors 10 s apart
# goes on for 1 s within a millimetre. Products of IPF 2.36 have vectors each second up to the last line.
ORBIT_REACH = 0.1
_NEAR_TAN = 0.33  # tangent of 18 degrees, the smallest incidence angle of any mode


def check_orbit(orbit: Orbit, last_line_s: float, source: str) -> None:
    """Check that the state vectors cover a scene whose first line is at second 0.

    Raises:
        SceneCorrupt: the scene reaches more than ORBIT_REACH of an interval beyond them.
    """
    first, last = float(orbit.times_s[0]), float(orbit.times_s[-1])
    reach_s = ORBIT_REACH * float(np.diff(orbit.times_s).min())
    if first > reach_s or last < last_line_s - reach_s:
        raise SceneCorrupt(
            f"{source}: got orbit state vectors from {first:.1f} to {last:.1f} s, expected them to cover the "
            f"scene, 0 to {last_line_s:.1f} s: positions would be guessed; fetch the product again"
        )


def check_grid(
    line_px: Array,
    sample_px: Array,
    lon_deg: Array,
    lat_deg: Array,
    height_m: Array,
    source: str,
    azimuth_time_s: Array | None = None,
    slant_range_time_s: Array | None = None,
) -> None:
    """Check that tie points lie on a grid that does not fold; arrays [n].

    Line after line is later, sample after sample farther away, and on the ground each mesh turns the same
    way. Points stand at the terrain's height, so mountains displace them by up to height / tan(incidence):
    meshes that this alone could fold are left out.

    Raises:
        SceneCorrupt: the points do not fill a grid of at least 2 x 2, are no places on the earth, or fold.
    """
    lines, samples = np.unique(line_px), np.unique(sample_px)
    shape = len(lines), len(samples)
    order = np.lexsort((sample_px, line_px))
    whole = len(line_px) == shape[0] * shape[1] and min(shape) >= 2
    if not whole or np.any(sample_px[order].reshape(shape) != samples):
        raise SceneCorrupt(
            f"{source}: got {len(line_px)} tie points on {shape[0]} lines and {shape[1]} samples, expected "
            "each of at least 2 lines with each of at least 2 samples once: fetch the product again"
        )
    if np.abs(lat_deg).max() > 90 or np.abs(lon_deg).max() > 360:
        raise SceneCorrupt(f"{source}: got tie points that are no longitude and latitude")
    for name, values, axis in (
        ("azimuth time from line to line", azimuth_time_s, 0),
        ("slant range from sample to sample", slant_range_time_s, 1),
    ):
        if values is not None and np.any(np.diff(values[order].reshape(shape), axis=axis) <= 0):
            raise SceneCorrupt(f"{source}: got a grid of tie points that folds, expected growing {name}")
    lon, lat, height = (values[order].reshape(shape) for values in (lon_deg, lat_deg, height_m))
    bad = _folded(lon, lat, height)
    if bad.any():
        row, col = np.argwhere(bad)[0]
        raise SceneCorrupt(
            f"{source}: got a grid of tie points that folds at line {lines[row]:g}, sample {samples[col]:g} "
            f"({int(bad.sum())} of {bad.size} meshes), expected places that follow lines and samples: fetch "
            "the product again"
        )


def _folded(lon_deg: Array, lat_deg: Array, height_m: Array) -> NDArray[np.bool_]:
    """Return which meshes turn the wrong way for a radar that looks right, [rows - 1, cols - 1]."""
    place = ecef_from_geodetic(lon_deg, lat_deg)
    up = local_axes(lon_deg, lat_deg)[2]
    across, along = np.diff(place, axis=1), np.diff(place, axis=0)
    first = (np.cross(across[:-1], along[:, :-1]) * up[:-1, :-1]).sum(-1)
    last = (np.cross(across[1:], along[:, 1:]) * up[1:, 1:]).sum(-1)
    corners = np.stack([height_m[:-1, :-1], height_m[1:, :-1], height_m[:-1, 1:], height_m[1:, 1:]])
    displaced_m = np.ptp(corners, axis=0) / _NEAR_TAN
    reach_m = np.minimum(*(np.linalg.norm(side, axis=-1) for side in (across[:-1], across[1:])))
    steep = displaced_m > 0.5 * reach_m
    # Where two points fall together the mesh has no turn, and no reach either: flat ground does not do that.
    steep &= displaced_m > 0
    return np.asarray(((first <= 0) | (last <= 0)) & ~steep, bool)
