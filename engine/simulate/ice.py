"""Pack ice: bright and textured, brightest against the sea in VH, with leads, ridges and broken floes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.simulate import fields, physics
from engine.simulate.layers import Cover

# First-year ice at C band and 35 to 45 degrees, and open water or new ice in a lead; VV and VH, dB.
PACK_DB = (-12.5, -21.0)
LEAD_DB = (-22.0, -30.0)
RIDGE_DB = 7.0  # above the pack
OLD_FLOE_DB = (3.0, 6.0)  # of many years, above the pack: their volume answers in VH


def pack(rng: np.random.Generator, shape: tuple[int, int], across_deg: float, margin_px: float) -> Cover:
    """Draw the edge of the ice through the middle of an image.

    Args:
        rng: draws everything.
        shape: lines and samples.
        across_deg: direction into the ice, clockwise from the image's upward direction.
        margin_px: width of the zone of broken floes before the edge.
    """

    def smooth(scale_px: float) -> NDArray[np.float32]:
        return fields.SmoothField(rng, shape, scale_px).window(0, 0, *shape)

    line, sample = np.ogrid[: shape[0], : shape[1]]
    angle = np.radians(across_deg)
    inside = (sample - shape[1] / 2) * np.sin(angle) - (line - shape[0] / 2) * np.cos(angle)
    inside = inside + 35 * smooth(120.0) + 10 * smooth(30.0) + 2 * smooth(8.0)
    # floes thin out with the distance from the edge
    floes = smooth(7.0) > 1.0 - 1.7 * (inside / margin_px)
    where = (inside > 0) | (floes & (inside > -margin_px))
    level_db = np.array(PACK_DB)[:, None, None] + 1.3 * smooth(40.0) + 0.8 * smooth(5.0)
    # cracks follow the zero lines of a smooth field: thin where it is steep
    level_db += RIDGE_DB * np.exp(-((smooth(28.0) / 0.03) ** 2))
    old = np.clip((smooth(14.0) - 1.7) * 6, 0, 1)
    level_db += old * np.array(OLD_FLOE_DB)[:, None, None]
    lead = np.exp(-((smooth(110.0) / 0.035) ** 2)) * (inside > 0)
    level_db += lead * (np.array(LEAD_DB)[:, None, None] - level_db)
    return Cover(physics.from_db(level_db).astype(np.float32), where)
