"""Exceeding pixels, joined to clusters over a whole scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from daemon.domain import Box
from engine.runtime.image import CORE_PX


@dataclass(frozen=True, slots=True)
class Pixels:
    """Pixels that exceed their threshold in some polarisation; n pixels, p polarisations."""

    line: NDArray[np.int64]  # [n]
    sample: NDArray[np.int64]  # [n]
    on_land: NDArray[np.bool_]  # [n]
    over: NDArray[np.bool_]  # [n, p], in which polarisations
    contrast: NDArray[np.float64]  # [n, p], smooth intensity over the local mean, noise left in
    smooth: NDArray[np.float32]  # [n, p], smooth sigma0

    @classmethod
    def concatenate(cls, parts: Sequence[Pixels], polarisations: int) -> Pixels:
        """Join parts and sort them by line and sample."""
        if not parts:
            none, wide = np.zeros(0, np.int64), np.zeros((0, polarisations))
            return cls(none, none, none.astype(bool), wide.astype(bool), wide, wide.astype(np.float32))
        whole = cls(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)))
        order = np.lexsort((whole.sample, whole.line))
        return cls(*(getattr(whole, f.name)[order] for f in fields(cls)))


@dataclass(frozen=True, slots=True)
class Cluster:
    """Pixels that belong together."""

    line_px: float  # centroid, weighted by what rises above the local mean
    sample_px: float
    box_px: Box
    pixels: int
    on_land: bool
    over: NDArray[np.bool_]  # [p]
    contrast: float  # highest, over all polarisations
    peak: float  # smooth sigma0 of that pixel, in that polarisation


def join(pixels: Pixels, gap_px: int, max_extent_px: float) -> list[Cluster]:
    """Join pixels that lie at most ``gap_px`` apart in line and in sample.

    Pixels on land and at sea never join: a ship at a quay stays itself. A cluster longer than
    ``max_extent_px`` is cut along the cores of the chip lattice.
    """
    n = len(pixels.line)
    if n == 0:
        return []
    label = _components(pixels, gap_px)
    top, bottom = _extremes(pixels.line, label)
    left, right = _extremes(pixels.sample, label)
    large = (np.maximum(bottom - top, right - left) + 1 > max_extent_px)[label]
    cell = np.where(large, (pixels.line // CORE_PX) * 100_000 + pixels.sample // CORE_PX, -1)
    _, label = np.unique(np.stack([label, cell], 1), axis=0, return_inverse=True)
    label = label.reshape(n)
    return _describe(pixels, label)


def _components(pixels: Pixels, gap_px: int) -> NDArray[np.int64]:
    """Label connected pixels; each neighbour offset is one search in the sorted positions.

    Labels are merged offset by offset: all pairs of a coast at once would take gigabytes.
    """
    n, width = len(pixels.line), int(pixels.sample.max()) + 2 * gap_px + 1
    key = pixels.line * width + pixels.sample
    label = np.arange(n, dtype=np.int32)
    for down in range(gap_px + 1):
        for across in range(-gap_px if down else 1, gap_px + 1):
            target = key + down * width + across
            found = np.minimum(np.searchsorted(key, target), n - 1)
            joined = (key[found] == target) & (pixels.on_land[found] == pixels.on_land)
            joined &= np.abs(pixels.sample[found] - pixels.sample) <= gap_px
            first, second = label[joined], label[found[joined]]
            apart = first != second
            ends = first[apart], second[apart]
            count = int(label.max()) + 1
            graph = coo_array((np.ones(len(ends[0]), np.int8), ends), shape=(count, count))
            label = connected_components(graph, directed=False)[1][label]
    return label.astype(np.int64)


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
                on_land=bool(pixels.on_land[members[0]]),
                over=np.asarray(pixels.over[members].any(0)),
                contrast=float(pixels.contrast[members][at, band]),
                peak=float(pixels.smooth[members][at, band]),
            )
        )
    return clusters
