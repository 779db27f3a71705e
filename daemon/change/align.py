"""How two passes lie on each other: by geolocation, and by correlation where land or a structure allows.

Open sea has nothing to correlate. Where chips hold land or a structure, their decibels are correlated within
a few pixels of where geolocation puts them; chips that agree give one offset for the unit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from .chip import Chip
from .pixels import log_intensity

SEARCH_PX = 8  # geolocation is never off by more: beyond it the peak is not the right one
LEAST = 0.35  # correlation at the peak
AGREE_PX = 1.5  # between chips
LAND_SHARE = (0.05, 0.95)  # of a chip in which land can be correlated
_TEMPLATE_PX = 101


@dataclass(frozen=True, slots=True)
class Alignment:
    """How the earlier pass was laid on the later one.

    Attributes:
        method: geolocation alone, or with the offset that correlation found.
        offset_px: lines and samples to add to a position in the earlier scene.
        chips: that were correlated and agree.
        correlation: median of their peaks.
    """

    method: str = "geolocation"
    offset_px: tuple[float, float] = (0.0, 0.0)
    chips: int = 0
    correlation: float | None = None

    def evidence(self) -> Mapping[str, Any]:
        """Return it as it is stored."""
        found = {"method": self.method, "offset_px": list(self.offset_px), "chips": self.chips}
        return found if self.correlation is None else {**found, "correlation": round(self.correlation, 2)}


Pair = tuple[Chip, tuple[float, float], Chip, tuple[float, float]]  # earlier chip and place in it, later ones


def align(pairs: Sequence[Pair]) -> Alignment:
    """Return the alignment of chips that hold land or a structure.

    Args:
        pairs: the earlier chip, line and sample of a place in its scene, and the same of the later one.
    """
    peaks = [peak for pair in pairs if (peak := _peak(*pair)) is not None]
    if not peaks:
        return Alignment()
    offsets = np.array([peak[:2] for peak in peaks])
    middle = np.median(offsets, 0)
    agree = np.abs(offsets - middle).max(1) <= AGREE_PX
    if 2 * agree.sum() <= len(peaks):
        return Alignment()
    line, sample = (float(round(v, 2)) for v in offsets[agree].mean(0))
    correlation = float(np.median([p[2] for p, good in zip(peaks, agree, strict=True) if good]))
    return Alignment("correlation", (line, sample), int(agree.sum()), correlation)


def holds_land(chip: Chip) -> bool:
    """Whether a chip holds enough land, and sea, to correlate."""
    return LAND_SHARE[0] <= float(chip.land.mean()) <= LAND_SHARE[1]


def _peak(
    before: Chip, before_px: tuple[float, float], after: Chip, after_px: tuple[float, float]
) -> tuple[float, float, float] | None:
    """Return the offset of the earlier chip, lines and samples, and its correlation; None without a peak."""
    template = _around(log_intensity(after), after, after_px, _TEMPLATE_PX)
    image = _around(log_intensity(before), before, before_px, _TEMPLATE_PX + 2 * SEARCH_PX)
    if template is None or image is None or template.std() == 0:
        return None
    scores = _correlate(image, template)
    row, col = (int(i) for i in np.unravel_index(int(scores.argmax()), scores.shape))
    if scores[row, col] < LEAST or not (0 < row < 2 * SEARCH_PX and 0 < col < 2 * SEARCH_PX):
        return None
    # where in the earlier scene the later place's pixel lies, as far as rounding left it open
    rounding = [(round(b) - b) - (round(a) - a) for b, a in zip(before_px, after_px, strict=True)]
    line = row - SEARCH_PX + _between(scores[row - 1 : row + 2, col]) + rounding[0]
    sample = col - SEARCH_PX + _between(scores[row, col - 1 : col + 2]) + rounding[1]
    return line, sample, float(scores[row, col])


def _around(
    image: NDArray[np.float64], chip: Chip, at_px: tuple[float, float], size: int
) -> NDArray[np.float64] | None:
    line, sample = (round(at) - first - size // 2 for at, first in zip(at_px, chip.origin_px, strict=True))
    if min(line, sample) < 0 or max(line, sample) + size > chip.size_px:
        return None
    return image[line : line + size, sample : sample + size]


def _correlate(image: NDArray[np.float64], template: NDArray[np.float64]) -> NDArray[np.float64]:
    """Normalised cross-correlation of a template at every place inside an image."""
    zero = template - template.mean()
    count = template.size
    ones = np.ones_like(template)
    dot = fftconvolve(image, zero[::-1, ::-1], "valid")
    total, squares = (fftconvolve(power, ones, "valid") for power in (image, image**2))
    spread = np.sqrt(np.maximum(squares - total**2 / count, 1e-12)) * np.sqrt((zero**2).sum())
    return np.asarray(dot / spread)


def _between(values: NDArray[np.float64]) -> float:
    """Place of a parabola's peak through three values, from the middle one."""
    bend = values[0] - 2 * values[1] + values[2]
    return 0.0 if bend == 0 else float(np.clip(0.5 * (values[0] - values[2]) / bend, -0.5, 0.5))
