"""Where the sea was looked at: an area on the globe, and the smallest ship that could be seen there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import gammaincinv

from daemon.domain import Clutter, Coverage
from daemon.scan.area import area_of
from daemon.scan.background import Array

if TYPE_CHECKING:
    from daemon.scene.product import Scene

# 115 ships with AIS lengths in one IW VV scene: the tenth percentile of the radar cross-section was
# 35 dB m2 at 60 to 100 m and grew by about 11 dB to 250 m. Below 60 m the line is an extrapolation.
RCS_MODEL = "tenth percentile of 115 AIS-matched ships, IW VV: 35 dB m2 + 22 log10(length / 80 m)"
_CROSS_DB = 11.0  # by which the cross-polarised cross-section is lower
_LOOKS = 4.4  # equivalent looks of IW GRDH
_SPACING_M = (8.0, 12.5)  # over which these hold
_CAPTURED = 0.75  # share of a point target's energy within 3 x 3 px of 10 m at 20 x 22 m resolution


def coverage_of(
    scene: Scene, sea_pixels: Array, valid: int, land: int, clutter: Sequence[Clutter]
) -> Coverage:
    """Sum up what was looked at.

    Args:
        scene: for its size and geometry.
        sea_pixels: valid sea pixels of each cell of 8 x 8 px.
        valid: valid pixels of the scene, land included.
        land: valid pixels on land.
        clutter: the sea of each polarisation.

    Returns:
        Coverage; the area is empty where there is no sea.
    """
    pixel_km2 = scene.spacing_m[0] * scene.spacing_m[1] * 1e-6
    return Coverage(
        valid_area=area_of(scene, sea_pixels),
        area_km2=round(float(sea_pixels.sum()) * pixel_km2, 3),
        valid_fraction=round(valid / (scene.shape[0] * scene.shape[1]), 5),
        land_fraction=round(land / valid, 5) if valid else 0.0,
        smallest_ship_m=smallest_ship_m(clutter, scene.spacing_m) if sea_pixels.any() else None,
        rcs_model=RCS_MODEL,
        clutter=tuple(clutter),
    )


def smallest_ship_m(clutter: Sequence[Clutter], spacing_m: tuple[float, float]) -> float | None:
    """Length of the smallest ship whose 3 x 3 mean exceeds the median threshold with probability 0.9.

    None where the spacing is not that of IW GRDH, for which alone the numbers hold.
    """
    if not all(_SPACING_M[0] <= spacing <= _SPACING_M[1] for spacing in spacing_m):
        return None
    quiet = float(gammaincinv(_LOOKS, 0.1)) / _LOOKS  # what speckle leaves of the mean in one of ten cases
    area_db = 10 * np.log10(9 * spacing_m[0] * spacing_m[1] / (_CAPTURED * quiet))
    lengths = []
    for sea in clutter:
        cross = len(set(sea.polarisation)) == 2
        needed_db = sea.threshold_db + area_db + (_CROSS_DB if cross else 0.0)
        lengths.append(80 * 10 ** ((needed_db - 35) / 22))
    known = [length for length in lengths if np.isfinite(length)]
    return round(float(min(known)), 1) if known else None
