"""Many closed lines in one array: cut, followed and refined all at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Rings:
    """Rings end to end; the last vertex of each joins its first without being repeated.

    Attributes:
        points: two coordinates of each vertex, [n, 2].
        counts: vertices of each ring, at least one, [k].
        levels: 1 land, 2 water in it (lake, wide river), 3 island in that, and so on, [k]. Rings nest, so
            painting them by rising level gives land and water.
    """

    points: Array
    counts: NDArray[np.int64]
    levels: NDArray[np.int64]

    @classmethod
    def empty(cls) -> Rings:
        """Return no rings."""
        return cls(np.empty((0, 2)), np.empty(0, np.int64), np.empty(0, np.int64))

    @classmethod
    def of(cls, rings: Sequence[Array], levels: Sequence[int]) -> Rings:
        """Join single rings, [n, 2] each."""
        if not rings:
            return cls.empty()
        counts = np.array([len(ring) for ring in rings], np.int64)
        return cls(np.concatenate(rings), counts, np.array(levels, np.int64))

    @classmethod
    def concatenate(cls, parts: Sequence[Rings]) -> Rings:
        """Join several."""
        parts = [part for part in parts if len(part.counts)]
        if not parts:
            return cls.empty()
        return cls(
            np.concatenate([part.points for part in parts]),
            np.concatenate([part.counts for part in parts]),
            np.concatenate([part.levels for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.counts)

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Index of each ring's first vertex, [k]."""
        return np.cumsum(self.counts) - self.counts

    @cached_property
    def index(self) -> NDArray[np.int64]:
        """Index of each vertex's ring, [n]."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    @cached_property
    def following(self) -> NDArray[np.int64]:
        """Index of the vertex after each vertex, around its ring, [n]."""
        after = np.arange(1, len(self.points) + 1)
        after[self.starts + self.counts - 1] = self.starts
        return after

    @cached_property
    def boxes(self) -> Array:
        """Least and greatest coordinates of each ring, [k, 4]."""
        if not len(self):
            return np.empty((0, 4))
        low = np.minimum.reduceat(self.points, self.starts, axis=0)
        return np.concatenate([low, np.maximum.reduceat(self.points, self.starts, axis=0)], axis=1)

    def split(self) -> list[Array]:
        """Return the points ring by ring."""
        return np.split(self.points, self.starts[1:]) if len(self) else []

    def take(self, keep: NDArray[np.bool_]) -> Rings:
        """Return the rings for which `keep` [k] is true."""
        if keep.all():
            return self
        return Rings(self.points[np.repeat(keep, self.counts)], self.counts[keep], self.levels[keep])

    def moved(self, points: Array) -> Rings:
        """Return the same rings through other points [n, 2]; what has a point that is not finite loses it."""
        sound = np.isfinite(points).all(axis=1)
        if sound.all():
            return Rings(points, self.counts, self.levels)
        return self._thinned(points[sound], np.bincount(self.index[sound], minlength=len(self)))

    def clip(self, axis: int, bound: float, *, upper: bool) -> Rings:
        """Cut by a half-plane (Sutherland and Hodgman, 1974).

        Args:
            axis: of the coordinate that is bounded.
            bound: where the cut is.
            upper: whether to keep what lies above the bound, else what lies below.

        Returns:
            What is left of each ring as one ring, which may run back and forth along the cut; the rings
            themselves where nothing is cut.
        """
        value = (self.points[:, axis] - bound) * (1.0 if upper else -1.0)
        inside = value >= 0
        if inside.all():
            return self
        crossing = inside != inside[self.following]
        count = inside.astype(np.int64) + crossing
        place = np.cumsum(count) - count
        cut = np.empty((int(count.sum()), 2))
        cut[place[inside]] = self.points[inside]
        p, q = self.points[crossing], self.points[self.following[crossing]]
        t = (bound - p[:, axis]) / (q[:, axis] - p[:, axis])
        between = p + t[:, None] * (q - p)
        between[:, axis] = bound
        cut[(place + inside)[crossing]] = between
        return self._thinned(cut, np.bincount(self.index, count, len(self)).astype(np.int64))

    def clip_box(self, low: Sequence[float], high: Sequence[float]) -> Rings:
        """Cut by a box."""
        rings = self
        for axis in (0, 1):
            rings = rings.clip(axis, low[axis], upper=True).clip(axis, high[axis], upper=False)
        return rings

    def densified(self, longest: float) -> Rings:
        """Return rings none of whose edges is longer, in either coordinate."""
        if not len(self):
            return self
        ahead = self.points[self.following] - self.points
        pieces = np.maximum(np.ceil(np.abs(ahead).max(axis=1) / longest), 1).astype(np.int64)
        if pieces.max() == 1:
            return self
        edge = np.repeat(np.arange(len(self.points)), pieces)
        part = (np.arange(len(edge)) - np.repeat(np.cumsum(pieces) - pieces, pieces)) / pieces[edge]
        points = self.points[edge] + part[:, None] * ahead[edge]
        return Rings(points, np.add.reduceat(pieces, self.starts), self.levels)

    def _thinned(self, points: Array, counts: NDArray[np.int64]) -> Rings:
        """Return rings of other points and counts without those that are left with none."""
        return Rings(points, counts[counts > 0], self.levels[counts > 0])


def clip_ring(ring: Array, axis: int, bound: float, *, upper: bool) -> Array:
    """Cut one ring [n, 2] by a half-plane: as `Rings.clip`."""
    return Rings.of([ring], [1]).clip(axis, bound, upper=upper).points if len(ring) else ring
