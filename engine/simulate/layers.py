"""What lies over a small image and is no object: whole arrays, laid block by block."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Cover:
    """Hides what is below it, as ice does.

    Attributes:
        level: mean sigma0 in VV and VH, [2, H, W].
        where: True where it lies, [H, W].
    """

    level: NDArray[np.float32]
    where: NDArray[np.bool_]

    def lay(self, power: NDArray[np.float32], first_line: int) -> None:
        """Change the mean power of some lines of the image, [2, lines, W], in place."""
        rows = slice(first_line, first_line + power.shape[1])
        np.copyto(power, self.level[:, rows], where=self.where[rows])


@dataclass(frozen=True, eq=False)
class Glow:
    """Adds to what is there, as interference and corner reflectors do.

    Attributes:
        level: added sigma0 in VV and VH, [2, H, W].
    """

    level: NDArray[np.float32]

    def lay(self, power: NDArray[np.float32], first_line: int) -> None:
        """Change the mean power of some lines of the image, [2, lines, W], in place."""
        power += self.level[:, first_line : first_line + power.shape[1]]
