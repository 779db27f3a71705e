"""Exceeding pixels, joined to clusters over a whole scene."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daemon.domain import Box
from daemon.scan.kernels import link
from engine.runtime.image import CORE_PX


@dataclass(frozen=True, slots=True)
class Pixels:
    """Pixels that exceed their threshold in some polarisation; n pixels, p polarisations."""

    line: NDArray[np.int64]  # [n]
    sample: NDArray[np.int64]  # [n]
    by_land: NDArray[np.bool_]  # [n], so close to land that it may be land's
    over: NDArray[np.bool_]  # [n, p], in which polarisations
    contrast: NDArray[np.float64]  # [n, p], smooth intensity over the local mean, noise left in
    smooth: NDArray[np.float32]  # [n, p], smooth sigma0


@dataclass(frozen=True, slots=True)
class Cluster:
    """Pixels that belong together."""

    line_px: float  # centroid, weighted by what rises above the local mean
    sample_px: float
    box_px: Box
    pixels: int
    by_land: bool  # its brightest pixel is
    over: NDArray[np.bool_]  # [p]
    contrast: float  # highest, over all polarisations
    peak: float  # smooth sigma0 of that pixel, in that polarisation


def join(pixels: Pixels, gap_px: int, max_extent_px: float) -> list[Cluster]:
    """Join pixels that lie at most ``gap_px`` apart in line and in sample.

    A cluster longer than ``max_extent_px`` is cut along the cores of the chip lattice.

    Args:
        pixels: by line and sample.
        gap_px: largest distance, in line and in sample.
        max_extent_px: longest cluster.
    """
    if len(pixels.line) == 0:
        return []
    _, label = np.unique(link(pixels.line, pixels.sample, gap_px), return_inverse=True)
    top, bottom = _extremes(pixels.line, label)
    left, right = _extremes(pixels.sample, label)
    large = (np.maximum(bottom - top, right - left) + 1 > max_extent_px)[label]
    cell = np.where(large, (pixels.line // CORE_PX) * 100_000 + pixels.sample // CORE_PX, -1)
    _, label = np.unique(np.stack([label, cell], 1), axis=0, return_inverse=True)
    return _describe(pixels, label.reshape(-1))


def _extremes(
    values: NDArray[np.int64], label: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    order = np.argsort(label, kind="stable")
    starts = np.searchsorted(label[order], np.arange(label.max() + 1))
    return np.minimum.reduceat(values[order], starts), np.maximum.reduceat(values[order], starts)


def _describe(pixels: Pixels, label: NDArray[np.int64]) -> list[Cluster]:
    top, bottom = _extremes(pixels.line, label)
    left, right = _extremes(pixels.sample, label)
    weight = np.maximum(pixels.contrast.max(1) - 1, 1e-6)
    mass = np.bincount(label, weight)
    line, sample = (np.bincount(label, weight * at) / mass for at in (pixels.line, pixels.sample))
    order = np.argsort(label, kind="stable")
    groups = np.split(order, np.searchsorted(label[order], np.arange(1, label.max() + 1)))
    clusters = []
    for i, members in enumerate(groups):
        at, band = np.unravel_index(pixels.contrast[members].argmax(), (len(members), pixels.over.shape[1]))
        clusters.append(
            Cluster(
                line_px=round(float(line[i]), 3),
                sample_px=round(float(sample[i]), 3),
                box_px=(float(left[i]), float(top[i]), float(right[i] + 1), float(bottom[i] + 1)),
                pixels=len(members),
                by_land=bool(pixels.by_land[members[at]]),
                over=np.asarray(pixels.over[members].any(0)),
                contrast=float(pixels.contrast[members][at, band]),
                peak=float(pixels.smooth[members][at, band]),
            )
        )
    return clusters
