"""What exceeds its threshold in one polarisation: pixels, by the cells that hold them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daemon.scan.kernels import Float32, Int64


@dataclass(slots=True)
class Exceeding:
    """Pixels that exceed in one polarisation; n pixels of m cells."""

    cell: Int64  # row and column, [m, 2]
    excess: Float32  # by how many means of the sea a cell's peak exceeds its limit, [m]
    owner: NDArray[np.int32]  # cell of each pixel, [n]
    line: NDArray[np.int32]  # [n]
    sample: NDArray[np.int32]  # [n]
    smooth: Float32  # 3 x 3 mean of sigma0, [n]
    contrast: Float32  # 3 x 3 mean of the intensity over the sea's mean, [n]
    shaded: NDArray[np.bool_]  # a brighter pixel beside land is near, [n]


def joined(parts: list[Exceeding]) -> Exceeding:
    """Put parts together; empty without any."""
    shift = np.cumsum([0] + [len(part.cell) for part in parts])
    empty = np.zeros(0, np.float32)
    return Exceeding(
        cell=np.concatenate([np.zeros((0, 2), np.int64), *(part.cell for part in parts)]),
        excess=np.concatenate([empty, *(part.excess for part in parts)]),
        owner=np.concatenate(
            [
                empty.astype(np.int32),
                *(part.owner + np.int32(k) for part, k in zip(parts, shift, strict=False)),
            ]
        ),
        line=np.concatenate([empty.astype(np.int32), *(part.line for part in parts)]),
        sample=np.concatenate([empty.astype(np.int32), *(part.sample for part in parts)]),
        smooth=np.concatenate([empty, *(part.smooth for part in parts)]),
        contrast=np.concatenate([empty, *(part.contrast for part in parts)]),
        shaded=np.concatenate([empty.astype(bool), *(part.shaded for part in parts)]),
    )


def strongest(found: Exceeding, most: int) -> Exceeding:
    """Keep the cells of the highest excess; what is cut from parts is what would be cut from the whole."""
    if len(found.cell) <= most:
        return found
    order = np.lexsort((found.cell[:, 1], found.cell[:, 0], -found.excess))[:most]
    return selected(found, np.isin(np.arange(len(found.cell)), order))


def selected(found: Exceeding, keep: NDArray[np.bool_]) -> Exceeding:
    """Keep some cells, [m], and their pixels."""
    index = np.cumsum(keep) - 1
    pixels = keep[found.owner]
    return Exceeding(
        cell=found.cell[keep],
        excess=found.excess[keep],
        owner=index[found.owner[pixels]].astype(np.int32),
        line=found.line[pixels],
        sample=found.sample[pixels],
        smooth=found.smooth[pixels],
        contrast=found.contrast[pixels],
        shaded=found.shaded[pixels],
    )
