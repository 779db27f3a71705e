"""Land under a scene: the real coastline, displaced by up to 150 m, with land cover and backscatter.

Everything fixed is drawn on one base grid, from which every pass of a scene cuts its own window.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.simulate import clutter, fields, landcover, physics
from engine.simulate.acquisition import Acquisition

STEP_PX = 4  # of the coarse grid that the coastline is drawn on; the coastline itself is coarser
DISPLACEMENT_PX = 15.0
FAR_PX = 1e4


class Ring(Protocol):
    """A closed line of longitudes and latitudes; ``water`` where its inside is water."""

    @property
    def points(self) -> NDArray[np.float64]:
        """Vertices, [n, 2]."""

    @property
    def water(self) -> bool:
        """Whether the inside is water."""


class Coast(Protocol):
    """Anything that gives the rings of a box, such as engine.runtime.land.Coastline."""

    def polygons(self, west: float, south: float, east: float, north: float) -> Sequence[Ring]:
        """Return the rings that meet a box, outer before inner."""


def land_mask(base: Acquisition, coastline: Coast) -> NDArray[np.bool_]:
    """Draw the coastline into the coarse grid of an image, True on land."""
    import shapely
    from rasterio.features import rasterize

    rows, cols = (-(-size // STEP_PX) + 1 for size in base.shape)
    edge = np.linspace(0, 1, 9)
    lines = np.concatenate([edge * 0, edge, edge * 0 + 1, edge]) * base.shape[0]
    samples = np.concatenate([edge, edge * 0, edge, edge * 0 + 1]) * base.shape[1]
    lon, lat = base.lonlat(lines, samples)
    lon = np.unwrap(lon, period=360)  # longitudes run on beyond 180
    beyond = 0.03 / np.cos(np.radians(np.abs(lat).max()))
    west, south, east, north = lon.min() - beyond, lat.min() - 0.03, lon.max() + beyond, lat.max() + 0.03
    box = shapely.box(west, south, east, north)
    shapes = []
    for ring in coastline.polygons(west, south, east, north):
        # range-Doppler bends straight lines: cut to the scene, then set vertices close
        part = shapely.make_valid(shapely.Polygon(ring.points)).intersection(box)
        part = shapely.segmentize(part, 0.01)
        moved = shapely.transform(
            part, lambda xy: np.stack(base.pixel(xy[:, 0], xy[:, 1])[::-1], 1) / STEP_PX
        )
        if not moved.is_empty and moved.area > 0:
            shapes.append((moved, 0 if ring.water else 1))
    if not shapes:
        return np.zeros((rows, cols), bool)
    return np.asarray(rasterize(shapes, (rows, cols), fill=0, dtype="uint8").astype(bool))


class Terrain:
    """Shore, land cover and backscatter on the base grid of a scene."""

    def __init__(self, key: tuple[int, ...], base: Acquisition, mask: NDArray[np.bool_]) -> None:
        from scipy.ndimage import distance_transform_edt

        self._key = key
        self._shape = base.shape
        rng = np.random.default_rng([*key, 0])
        if mask.any() and not mask.all():
            inside = distance_transform_edt(mask) - 0.5
            outside = distance_transform_edt(~mask) - 0.5
            shore = np.where(mask, inside, -outside).astype(np.float32) * STEP_PX
        else:
            shore = np.full(mask.shape, FAR_PX if mask.any() else -FAR_PX, np.float32)
        # no land mask is exact: the true shore lies elsewhere, by up to DISPLACEMENT_PX
        wander = fields.SmoothField(rng, base.shape, 70.0).window(
            0, 0, mask.shape[0], mask.shape[1], step=STEP_PX
        )
        fine = fields.SmoothField(rng, base.shape, 14.0).window(
            0, 0, mask.shape[0], mask.shape[1], step=STEP_PX
        )
        strength = rng.uniform(0.4, 0.85) * DISPLACEMENT_PX
        shore += strength * np.tanh(wander) + 0.15 * DISPLACEMENT_PX * np.tanh(fine)
        self.shore = shore
        weights = np.array(landcover.COAST_WEIGHTS)
        self._classes = rng.choice(len(weights), 3, p=weights / weights.sum())
        self._split = fields.SmoothField(rng, base.shape, 60.0)
        self._town = fields.SmoothField(rng, base.shape, 90.0)
        self._level = np.zeros((2, len(landcover.CLASSES)), np.float32)
        for label in range(len(landcover.CLASSES)):
            stats = landcover.backscatter_db(label)
            self._level[:, label] = physics.from_db(
                stats[:, 0] + 0.7 * stats[:, 1] * rng.standard_normal() + 0.5
            )
        self.site_latent = rng.standard_normal((len(landcover.CLASSES), landcover.rank()))
        self._local = [fields.SmoothField(rng, base.shape, 25.0) for _ in range(landcover.rank())]

    def shore_px(self, line_px: ArrayLike, sample_px: ArrayLike) -> NDArray[np.float32]:
        """Return the distance to the shore at places, positive on land, samples, [...]."""
        from scipy.ndimage import map_coordinates

        line, sample = np.broadcast_arrays(line_px, sample_px)
        where = np.stack([line.ravel(), sample.ravel()]).astype(np.float64) / STEP_PX
        return np.asarray(map_coordinates(self.shore, where, order=1, mode="nearest").reshape(line.shape))

    def labels(self, split: NDArray[np.float32], town: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return classes from the two fields that divide the land, [...]."""
        first, second, third = self._classes
        labels = np.where(split > 0.6, second, np.where(split < -1.0, third, first))
        return np.where(town > 0.9, landcover.CLASSES.index("built"), labels)

    def labels_at(self, line_px: NDArray[np.floating], sample_px: NDArray[np.floating]) -> NDArray[np.int64]:
        """Return the land's classes at places, were they land, [...]."""
        return self.labels(self._split.at(line_px, sample_px), self._town.at(line_px, sample_px))

    def latent(
        self, labels: NDArray[np.int64], line_px: NDArray[np.floating], sample_px: NDArray[np.floating]
    ) -> NDArray[np.float32]:
        """Return factors of AlphaEarth vectors: a site's own of each class, and smooth local ones."""
        local = np.stack([field.at(line_px, sample_px) for field in self._local], -1)
        return np.asarray((np.sqrt(0.8) * self.site_latent[labels] + np.sqrt(0.2) * local).astype(np.float32))

    def block(
        self, block: int, first_line: int, lines: int
    ) -> tuple[NDArray[np.bool_], NDArray[np.float32]] | None:
        """Return land and its mean power in some lines; None where there is no land.

        Args:
            block: number of the block, which seeds its structures.
            first_line: first line.
            lines: number of lines.

        Returns:
            True on land, [lines, W]; power in VV and VH, [2, lines, W].
        """
        samples = self._shape[1]
        near = self.shore[first_line // STEP_PX : (first_line + lines) // STEP_PX + 2]
        if near.max() < -2 * STEP_PX:
            return None
        down = (first_line + np.arange(lines)) / STEP_PX
        across = np.arange(samples) / STEP_PX
        shore = _bilinear(self.shore, down, across)
        shore += fields.texture((*self._key, 1), first_line, lines, samples, 2.0)
        labels = self.labels(
            self._split.window(first_line, 0, lines, samples),
            self._town.window(first_line, 0, lines, samples),
        )
        power = self._level[:, labels]
        rough = 0.35 * fields.texture((*self._key, 2), first_line, lines, samples, 1.0)
        rough += 0.3 * fields.texture((*self._key, 3), first_line, lines, samples, 4.0)
        power *= np.exp(rough)
        power += clutter.structures(np.random.default_rng([*self._key, 4, block]), labels, shore)
        return shore > 0, power


def _bilinear(
    table: NDArray[np.float32], down: NDArray[np.floating], across: NDArray[np.floating]
) -> NDArray[np.float32]:
    i, j = np.minimum(down.astype(int), len(table) - 2), np.minimum(across.astype(int), table.shape[1] - 2)
    u, v = (down - i).astype(np.float32)[:, None], (across - j).astype(np.float32)
    rows = table[i] * (1 - u) + table[i + 1] * u
    return np.asarray(rows[:, j] * (1 - v) + rows[:, j + 1] * v)
