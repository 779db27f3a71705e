"""What the vision tower itself sees: boxes read off the visual tokens, for the decoder to choose from.

Nano's tower is trained to write classes and boxes along fixed directions of each visual token
(``engine.train.nano_losses``). A bundle may hold these directions (``readout.npz``): then a list of objects
is written out of what they say. The tower proposes where; the decoder says which to name, and as what.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.errors import ArtifactError

LEAST = 0.03  # proposals of a lower chance are dropped
APART_PX = 6.0  # of the enlarged chip: nearer centres are one object
_EDGES = 4  # centre in the token's cell (x, y) and logarithms of the sides, in cells


@dataclass(frozen=True, slots=True)
class Proposal:
    """An object that the tower sees.

    Attributes:
        box: x1, y1, x2, y2, edges, whole pixels of the enlarged chip, x1 < x2 and y1 < y2.
        chances: of each label.
    """

    box: tuple[int, int, int, int]
    chances: dict[str, float]

    @property
    def chance(self) -> float:
        """Of its likeliest label."""
        return max(self.chances.values())


class Readout:
    """The directions of a bundle.

    Args:
        weight: label by label, then the box's four numbers, [labels + 4, C].
        bias: what is added, at each token, [tokens, labels + 4].
        labels: in the weight's order.

    Raises:
        ArtifactError: they do not fit each other.
    """

    def __init__(self, weight: NDArray[np.float32], bias: NDArray[np.float32], labels: Sequence[str]) -> None:
        side = math.isqrt(len(bias))
        if len(weight) != len(labels) + _EDGES or bias.shape != (side * side, len(weight)):
            raise ArtifactError(
                f"got a readout of weight {weight.shape} and bias {bias.shape} for labels {tuple(labels)}"
            )
        self.weight, self.bias, self.labels = weight, bias, tuple(labels)
        self._side = side

    @classmethod
    def open(cls, path: Path) -> Readout:
        """Read the file of a bundle.

        Raises:
            ArtifactError: it holds something else.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                return cls(file["weight"], file["bias"], [str(label) for label in file["labels"]])
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise ArtifactError(f"{path} does not read ({error}): copy the bundle anew") from error

    def save(self, path: Path) -> None:
        """Write the file."""
        np.savez(path, weight=self.weight, bias=self.bias, labels=np.array(self.labels))

    def proposals(self, visual: NDArray[np.floating], size_px: int) -> list[Proposal]:
        """Read the objects off a chip's visual tokens, likeliest first.

        Args:
            visual: in raster order, [tokens, C].
            size_px: side of the enlarged chip.
        """
        said = visual.astype(np.float32, copy=False) @ self.weight.T + self.bias
        count = len(self.labels)
        chances = 1 / (1 + np.exp(-said[:, :count]))
        best = chances.max(axis=1)
        cell_px = size_px / self._side
        found: list[Proposal] = []
        centres: list[tuple[float, float]] = []
        order = np.argsort(-best, kind="stable")
        order = order[best[order] >= LEAST]
        rows = (each.tolist() for each in (order, chances[order], said[order, count:]))
        for token, own, numbers in zip(*rows, strict=True):
            row, col = divmod(token, self._side)
            x, y = (numbers[0] + col) * cell_px, (numbers[1] + row) * cell_px
            if any(math.hypot(x - u, y - v) < APART_PX for u, v in centres):
                continue
            wide, high = (math.exp(min(each, 5.0)) * cell_px - 1 for each in numbers[2:])
            box = (*_span(x, wide, size_px), *_span(y, high, size_px))
            named = dict(zip(self.labels, own, strict=True))
            found.append(Proposal((box[0], box[2], box[1], box[3]), named))
            centres.append((x, y))
        return found


def _span(middle: float, length: float, size_px: int) -> tuple[int, int]:
    """Return the edges of a side, inside the chip, at least one pixel apart."""
    low = min(max(round(middle - length / 2), 0), size_px - 1)
    return low, min(max(round(middle + length / 2), low + 1), size_px)
