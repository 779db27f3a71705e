"""Exceeding pixels, joined to clusters over a whole scene."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from daemon.scan.kernels import link, sum_clusters
from engine.runtime.image import CORE_PX

_CELLS = 1 << 16  # more cores than any scene has in a row or a column


@dataclass(frozen=True, slots=True)
class Pixels:
    """Pixels that exceed their threshold in some polarisation; n pixels, p polarisations."""

    line: NDArray[np.int64]  # [n]
    sample: NDArray[np.int64]  # [n]
    shaded: NDArray[np.bool_]  # [n], a brighter pixel beside land is near
    over: NDArray[np.bool_]  # [n, p], in which polarisations
    contrast: NDArray[np.float64]  # [n, p], smooth intensity over the local mean, noise left in
    smooth: NDArray[np.float32]  # [n, p], smooth sigma0


@dataclass(frozen=True, slots=True)
class Clusters:
    """Pixels that belong together, [m] each."""

    line_px: NDArray[np.float64]  # centroid, weighted by what rises above the local mean
    sample_px: NDArray[np.float64]
    box_px: NDArray[np.float64]  # x1, y1, x2, y2, [m, 4]
    pixels: NDArray[np.int64]
    shaded: NDArray[np.bool_]  # the brightest pixel is
    over: NDArray[np.bool_]  # [m, p]
    contrast: NDArray[np.float64]  # highest, over all polarisations
    peak: NDArray[np.float32]  # smooth sigma0 of that pixel, in that polarisation

    def __len__(self) -> int:
        return len(self.pixels)

    def only(self, keep: NDArray[np.bool_] | NDArray[np.int64]) -> Clusters:
        """Take some of them, by mask or index."""
        return Clusters(*(getattr(self, field.name)[keep] for field in fields(self)))


def join(pixels: Pixels, gap_px: int, max_extent_px: float) -> Clusters:
    """Join pixels that lie at most ``gap_px`` apart in line and in sample.

    A cluster longer than ``max_extent_px`` is cut along the cores of the chip lattice.

    Args:
        pixels: by line and sample.
        gap_px: largest distance, in line and in sample.
        max_extent_px: longest cluster.
    """
    line, sample = np.ascontiguousarray(pixels.line), np.ascontiguousarray(pixels.sample)
    label, count = link(line, sample, gap_px)
    contrast = np.maximum.reduce(list(pixels.contrast.T))
    sums, brightest = sum_clusters(label, count, line, sample, contrast)
    longest = np.maximum(sums[:, 2] - sums[:, 0], sums[:, 3] - sums[:, 1])
    cut = np.flatnonzero((longest > max_extent_px)[label])
    if len(cut):
        cell = line[cut] // CORE_PX * _CELLS + sample[cut] // CORE_PX
        key: NDArray[np.int64] = label[cut] * _CELLS**2 + cell
        part = np.unique(key, return_inverse=True)[1]
        label[cut] = count + part
        present = np.bincount(label) > 0
        label = (np.cumsum(present) - 1)[label]
        count = int(present.sum())
        sums, brightest = sum_clusters(label, count, line, sample, contrast)
    over = np.zeros((count, pixels.over.shape[1]), bool)
    for k in range(over.shape[1]):
        over[label[pixels.over[:, k]], k] = True
    return Clusters(
        line_px=(sums[:, 5] / sums[:, 4]).round(3),
        sample_px=(sums[:, 6] / sums[:, 4]).round(3),
        box_px=sums[:, :4],
        pixels=np.bincount(label, minlength=count),
        shaded=pixels.shaded[brightest],
        over=over,
        contrast=contrast[brightest],
        peak=pixels.smooth[brightest, pixels.contrast[brightest].argmax(1)],
    )
