"""A port on a simulated coast: quays, cranes and sheds on its land, ships along its quays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.simulate import clutter, landcover, objects, physics
from engine.simulate.layers import Glow
from engine.simulate.objects import SceneStatistics
from engine.simulate.terrain import Terrain
from engine.simulate.traffic import Placed

Box = tuple[int, int, int, int]  # first line, first sample, last line, last sample


def shore(terrain: Terrain, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return the distance to the shore over an image, positive on land, samples, [H, W]."""
    line, sample = np.mgrid[: shape[0], : shape[1]]
    return terrain.shore_px(line, sample)


def built(rng: np.random.Generator, terrain: Terrain, shape: tuple[int, int], box: Box, db: float) -> Glow:
    """Build the land of a box over: dense bright points, densest along the quays.

    Args:
        rng: draws the structures.
        terrain: the coast, on the image's grid.
        shape: lines and samples of the image.
        box: where the port is.
        db: raises the structures over those of a town.
    """
    coast = shore(terrain, shape)
    region = np.zeros(shape, bool)
    region[box[0] : box[2] + 1, box[1] : box[3] + 1] = True
    labels = np.where(region, landcover.CLASSES.index("built"), landcover.CLASSES.index("bare"))
    points = clutter.structures(rng, labels, coast) * ((coast > 0) & region)
    return Glow((points * physics.from_db(db)).astype(np.float32))


def moored(
    rng: np.random.Generator,
    stats: SceneStatistics,
    terrain: Terrain,
    shape: tuple[int, int],
    box: Box,
    lengths_m: list[float],
) -> list[Placed]:
    """Lay ships along the quays of a box, a hull's length apart, parallel to the shore.

    Args:
        rng: draws berths and ships.
        stats: the population.
        terrain: the coast, on the image's grid.
        shape: lines and samples of the image.
        box: where the port is.
        lengths_m: one ship of each length.
    """
    coast = shore(terrain, shape)
    down, across = (np.asarray(slope) for slope in np.gradient(coast))
    placed: list[Placed] = []
    for length in sorted(lengths_m, reverse=True):
        off = length / 12 / physics.SPACING_M + 0.5  # half the beam, and fenders
        near = np.abs(coast + off) < 0.5
        near[: box[0]] = near[box[2] :] = near[:, : box[1]] = near[:, box[3] :] = False
        for line, sample in rng.permutation(np.argwhere(near)):
            angle = np.arctan2(down[line, sample], across[line, sample])  # of the gradient, from samples
            axis = float(np.degrees(angle)) % 180  # the shore runs across it
            ends = np.array([-1, 0, 1]) * length / 2 / physics.SPACING_M
            rows = line - ends * np.cos(np.radians(axis))
            columns = sample + ends * np.sin(np.radians(axis))
            berth = terrain.shore_px(rows, columns)
            free = all(
                np.hypot(line - other.line_px, sample - other.sample_px)
                > (length + other.body.length_m) / 2 / physics.SPACING_M + 2
                for other in placed
            )
            if free and (berth < -off / 3).all() and (berth > -6 - off).all():
                body = objects.draw_ship(rng, stats, length_m=length, axis_deg=axis, moving=False)
                placed.append(Placed(f"moored-{len(placed) + 1:02d}", body, float(line), float(sample)))
                break
    return placed
