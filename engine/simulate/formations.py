"""What people lay out in rows: turbines, cages, ships side by side. Places on an image, in samples."""

from __future__ import annotations

import numpy as np

from engine.simulate import objects, physics
from engine.simulate.objects import Body, SceneStatistics
from engine.simulate.traffic import Placed

Place = tuple[float, float]


def lattice(centre_px: Place, rows: int, columns: int, step_m: Place, axis_deg: float) -> list[Place]:
    """Return the places of a regular lattice, row by row.

    Args:
        centre_px: line and sample of its middle.
        rows: number of rows.
        columns: places in a row.
        step_m: from row to row, and along a row.
        axis_deg: direction of the rows, clockwise from the image's upward direction.
    """
    angle = np.radians(axis_deg)
    places = []
    for row in range(rows):
        for column in range(columns):
            across = (row - (rows - 1) / 2) * step_m[0] / physics.SPACING_M
            along = (column - (columns - 1) / 2) * step_m[1] / physics.SPACING_M
            line = centre_px[0] - along * np.cos(angle) + across * np.sin(angle)
            sample = centre_px[1] + along * np.sin(angle) + across * np.cos(angle)
            places.append((float(line), float(sample)))
    return places


def raft(
    rng: np.random.Generator,
    stats: SceneStatistics,
    name: str,
    centre_px: Place,
    ships: int,
    length_m: Place,
    axis_deg: float,
) -> list[Placed]:
    """Return ships at anchor that lie side by side, hull at hull.

    Args:
        rng: draws the ships.
        stats: the population.
        name: of the raft; the ships' names begin with it.
        centre_px: line and sample of its middle.
        ships: how many.
        length_m: shortest and longest.
        axis_deg: of the hulls, clockwise from the image's upward direction.
    """
    bodies = [
        objects.draw_ship(
            rng,
            stats,
            length_m=float(rng.uniform(*length_m)),
            axis_deg=float(axis_deg + rng.normal(0, 2)),
            moving=False,
        )
        for _ in range(ships)
    ]
    beams = np.array([body.width_m + 1.5 for body in bodies])
    aside = (np.cumsum(beams) - beams / 2 - beams.sum() / 2) / physics.SPACING_M
    angle = np.radians(axis_deg)
    shift = rng.normal(0, 4, ships) / physics.SPACING_M
    return [
        Placed(
            f"{name}-{index + 1:02d}",
            body,
            float(centre_px[0] + across * np.sin(angle) - along * np.cos(angle)),
            float(centre_px[1] + across * np.cos(angle) + along * np.sin(angle)),
        )
        for index, (body, across, along) in enumerate(zip(bodies, aside, shift, strict=True))
    ]


def draw_cage(rng: np.random.Generator, rcs_db: Place, side_m: float = 20.0) -> Body:
    """Draw a cage or raft of aquaculture: a low frame, weak, nearly lost in the sea in VH."""
    count = 4
    level_db = rng.normal(*rcs_db)
    share = rng.gamma(1.5, 1.0, count)
    energy = physics.POINT_ENERGY_PX * physics.PIXEL_AREA_M2
    copol = share / share.sum() * physics.from_db(level_db) / energy
    crosspol = copol * physics.from_db(-rng.normal(12.0, 1.5))
    at = rng.uniform(-0.5, 0.5, (2, count)) * side_m / physics.SPACING_M
    return Body("aquaculture", side_m, side_m, 0.0, at[0], at[1], np.stack([copol, crosspol]))
