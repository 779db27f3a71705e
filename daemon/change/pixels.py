"""What pixels say of a place in two passes: the ratio of multilooked intensities, and how likely by chance.

Over n pixels the mean intensity of homogeneous speckle is gamma distributed with

    L = looks x n / prod(1 + 2 sum_k rho_k (1 - k / m))        over the box's two sides of m pixels

equivalent looks, where rho_k are the intensity's correlations at k pixels. The ratio of two such means that
have one expectation follows Fisher's F(2 L, 2 L') (Touzi, Lopes and Bousquet 1988). Wind changes the sea
between passes, so each mean is taken over the sea around it first; that adds the sea's own looks:
1/L = 1/L_box + 1/L_ring. The sea's texture is not in it: chances are those of speckle alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from .chip import Chip

# Of intensity at lags of 1 and 2 px, as in daemon/scan/thresholds.py: squares of .80 and .38.
CORRELATION = (0.64, 0.15)
CHANCE = 1e-4  # below it a ratio is no speckle
LEAST_DB = 3.0  # below it a ratio is no change of what is there: ships differ so much by aspect alone
GUARD_PX = 8  # between the box and the sea around it: smear and sidelobes
REACH_PX = 60  # of the sea that is measured, from the place
_LEAST_RING_PX = 200
_MEDIAN_EFFICIENCY = 0.64  # of the median against the mean, in looks

Appearance = Literal["brighter", "darker", "bright", "dark"]


@dataclass(frozen=True, slots=True)
class Level:
    """A place's mean intensity over the median of the sea around it, and their equivalent looks."""

    contrast: float
    looks: float

    @property
    def db(self) -> float:
        """The contrast in decibels."""
        return float(10 * np.log10(max(self.contrast, 1e-6)))


@dataclass(frozen=True, slots=True)
class Ratio:
    """A place in two passes.

    Attributes:
        appearance: brighter or darker than before; else bright or dark in both.
        ratio_db: after over before, each over its sea.
        chance: two-sided probability of such a ratio by speckle where nothing changed.
        before: contrast before.
        after: contrast after.
    """

    appearance: Appearance
    ratio_db: float
    chance: float
    before: Level
    after: Level

    def evidence(self) -> Mapping[str, Any]:
        """Return the figures as they are stored."""
        return {
            "appearance": self.appearance,
            "ratio_db": round(self.ratio_db, 2),
            "chance": float(f"{self.chance:.2e}"),
            "contrast_before_db": round(self.before.db, 2),
            "contrast_after_db": round(self.after.db, 2),
            "looks_before": round(self.before.looks, 1),
            "looks_after": round(self.after.looks, 1),
        }

    @classmethod
    def stored(cls, figures: Mapping[str, Any]) -> Ratio:
        """Return a ratio from its evidence."""
        before, after = (
            Level(10 ** (figures[f"contrast_{side}_db"] / 10), figures[f"looks_{side}"])
            for side in ("before", "after")
        )
        return cls(figures["appearance"], figures["ratio_db"], figures["chance"], before, after)


def equivalent_looks(shape: tuple[int, int], looks: float) -> float:
    """Return the looks of the mean over a box of correlated pixels, each of so many looks."""
    spread = 1.0
    for side in shape:
        spread *= 1 + 2 * sum(rho * max(1 - lag / side, 0) for lag, rho in enumerate(CORRELATION, 1))
    return looks * shape[0] * shape[1] / spread


def level(chip: Chip, at_px: tuple[float, float], box_px: tuple[int, int], looks: float) -> Level | None:
    """Measure a place in the first polarisation.

    Args:
        chip: pixels around it.
        at_px: line and sample of the place in the scene.
        box_px: lines and samples that are averaged, odd.
        looks: equivalent looks of a pixel.

    Returns:
        None where too few pixels of the place or of the sea around it hold data.
    """
    line, sample = (round(at) - first for at, first in zip(at_px, chip.origin_px, strict=True))
    half = box_px[0] // 2, box_px[1] // 2
    down = np.abs(np.arange(chip.size_px) - line)[:, None]
    across = np.abs(np.arange(chip.size_px) - sample)[None]
    away = np.maximum(np.maximum(down - half[0], across - half[1]), 0)  # pixels from the box
    box = (away == 0) & chip.valid
    ring = (away > GUARD_PX) & (np.maximum(down, across) <= REACH_PX) & chip.valid & ~chip.land
    if 2 * box.sum() < box_px[0] * box_px[1] or ring.sum() < _LEAST_RING_PX:
        return None
    sea = float(np.median(chip.intensity[0][ring])) / _median_share(looks)
    side_px = max(round(float(np.sqrt(ring.sum()))), 1)
    inverse = 1 / equivalent_looks(box_px, looks)
    inverse += 1 / (_MEDIAN_EFFICIENCY * equivalent_looks((side_px, side_px), looks))
    return Level(float(chip.intensity[0][box].mean()) / max(sea, 1e-9), 1 / inverse)


def compare(before: Level, after: Level) -> Ratio:
    """Compare a place's two levels."""
    ratio = max(after.contrast, 1e-6) / max(before.contrast, 1e-6)
    degrees = 2 * after.looks, 2 * before.looks
    tails = stats.f.sf(ratio, *degrees), stats.f.cdf(ratio, *degrees)
    chance = float(min(1.0, 2 * min(tails)))
    ratio_db = float(10 * np.log10(ratio))
    appearance: Appearance
    if chance <= CHANCE and abs(ratio_db) >= LEAST_DB:
        appearance = "brighter" if ratio_db > 0 else "darker"
    else:
        appearance = "bright" if before.db >= LEAST_DB and after.db >= LEAST_DB else "dark"
    return Ratio(appearance, ratio_db, chance, before, after)


def odd_box(box_px: tuple[float, float, float, float], limit_px: int = 41) -> tuple[int, int]:
    """Return the lines and samples of a box as odd numbers, from 3 to a limit."""
    sides = box_px[3] - box_px[1], box_px[2] - box_px[0]
    lines, samples = (int(min(max(2 * (round(side) // 2) + 1, 3), limit_px)) for side in sides)
    return lines, samples


def _median_share(looks: float) -> float:
    """Median over mean of gamma distributed speckle."""
    return float(stats.gamma.ppf(0.5, looks) / looks)


def log_intensity(chip: Chip) -> NDArray[np.float64]:
    """Return decibels of the first polarisation, their median where there is no data, [h, w]."""
    decibels = 10 * np.log10(np.maximum(chip.intensity[0].astype(np.float64), 1e-8))
    middle = float(np.median(decibels[chip.valid])) if chip.valid.any() else 0.0
    return np.where(chip.valid, decibels, middle)
