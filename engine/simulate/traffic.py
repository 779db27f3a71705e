"""Who is on the water in a scene: what is fixed, who lies at anchor, who comes and goes, and ghosts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.simulate import objects, physics
from engine.simulate.acquisition import Acquisition
from engine.simulate.objects import Body, SceneStatistics
from engine.simulate.terrain import Terrain

GAP_PX = 2.0


@dataclass(frozen=True)
class Placed:
    """A body in an image.

    Attributes:
        id: its name; an object that stays keeps it from pass to pass.
        body: shape and scatterers.
        line_px: line of its echo's centre.
        sample_px: sample of its echo's centre.
        ghost_of: name of the source where the echo is a ghost, 'land' for a source on land.
    """

    id: str
    body: Body
    line_px: float
    sample_px: float
    ghost_of: str | None = None


class Traffic:
    """The objects of a scene on its base grid."""

    def __init__(
        self, key: tuple[int, ...], shape: tuple[int, int], terrain: Terrain, stats: SceneStatistics
    ) -> None:
        self._key = key
        self._shape = shape
        self._terrain = terrain
        self._stats = stats
        rng = np.random.default_rng([*key, 0])
        area_km2 = shape[0] * shape[1] * physics.PIXEL_AREA_M2 / 1e6
        density = stats.ships_per_1000_km2 * np.exp(rng.normal(0, stats.ships_log_spread))
        self._ships_mean = float(np.clip(density * area_km2 / 1000, 1, 600))
        self._anchorages = [rng.uniform(0, 1, 2) for _ in range(int(rng.integers(1, 3)))]
        fixed: list[Placed] = []
        for index in range(int(rng.poisson(stats.platforms_per_1000_km2 * area_km2 / 1000))):
            self._add(fixed, rng, f"platform-{index + 1:03d}", objects.draw_platform(rng, stats))
        if rng.random() < stats.wind_farm_share:
            self._add_turbines(fixed, rng)
        self.fixed = fixed

    def ships(self, number: int) -> list[Placed]:
        """Return everything that stands and sails in a pass; number 0 is the first."""
        present = list(self.fixed)
        for since in range(number + 1):
            self._arrive(present, np.random.default_rng([*self._key, 1, since]), since, number)
        return present

    def _arrive(self, present: list[Placed], rng: np.random.Generator, since: int, number: int) -> None:
        """Add the ships that came with one pass and are still there in another."""
        wind_axis = rng.uniform(0, 180)
        for index in range(int(rng.poisson(self._ships_mean))):
            seed = [*self._key, 2, since, index]
            role = np.random.default_rng(seed).random()
            draws = np.random.default_rng([*seed, 1])
            name = f"ship-{since + 1:02d}-{index + 1:04d}"
            anchored = role < self._stats.anchored_share
            if since < number and not (
                anchored and all(draws.random(number - since) < self._stats.stay_share)
            ):
                continue
            place = np.random.default_rng([*seed, 2])
            axis = None
            if anchored:  # swings with wind and tide from pass to pass
                swing = np.random.default_rng([*self._key, 3, number]).uniform(0, 180)
                axis = swing + np.random.default_rng([*seed, 4, number]).normal(0, 12)
            elif role < 0.7:
                axis = wind_axis + place.normal(0, 20)  # along a lane
            body = objects.draw_ship(
                np.random.default_rng([*seed, 3]),
                self._stats,
                axis_deg=axis,
                moving=False if anchored else None,
            )
            self._add(
                present,
                place,
                name,
                body,
                self._wish(place, anchored),
                moored=role < 0.25 * self._stats.anchored_share,
            )

    def _wish(self, rng: np.random.Generator, anchored: bool) -> tuple[float, float] | None:
        if not anchored:
            return None
        centre = self._anchorages[int(rng.integers(len(self._anchorages)))]
        return float(centre[0] * self._shape[0]), float(centre[1] * self._shape[1])

    def _add_turbines(self, fixed: list[Placed], rng: np.random.Generator) -> None:
        step = rng.uniform(500, 1100) / physics.SPACING_M
        rows, cols = (int(count) for count in rng.integers(2, 8, 2))
        angle = rng.uniform(0, np.pi)
        centre = rng.uniform(0.15, 0.85, 2) * self._shape
        number = 0
        for row in range(rows):
            for col in range(cols):
                down, across = (row - rows / 2) * step, (col - cols / 2) * step
                line = centre[0] + down * np.cos(angle) - across * np.sin(angle)
                sample = centre[1] + down * np.sin(angle) + across * np.cos(angle)
                body = objects.draw_turbine(rng, self._stats)
                number += 1
                if self._free(fixed, body, line, sample):
                    fixed.append(Placed(f"turbine-{number:03d}", body, float(line), float(sample)))

    def _add(
        self,
        present: list[Placed],
        rng: np.random.Generator,
        name: str,
        body: Body,
        wish: tuple[float, float] | None = None,
        moored: bool = False,
    ) -> None:
        """Try to place a body on free water: anywhere, around a wish, or along the shore."""
        for _ in range(25):
            if moored:
                line, sample = self._berth(rng, body)
            elif wish is not None:
                line, sample = np.array(wish) + rng.normal(0, 90, 2)
            else:
                line, sample = rng.uniform(0, 1, 2) * self._shape
            if self._free(present, body, float(line), float(sample)):
                present.append(Placed(name, body, float(line), float(sample)))
                return

    def _berth(self, rng: np.random.Generator, body: Body) -> tuple[float, float]:
        """Return a place on the water close to the shore."""
        shore = self._terrain
        reach = body.width_m / 2 / physics.SPACING_M + rng.uniform(2, 8)
        line, sample = rng.uniform(0, 1, 2) * self._shape
        for _ in range(6):  # walk along the slope of the distance to the wanted one
            here = float(shore.shore_px(line, sample))
            down = float(shore.shore_px(line + 8, sample)) - float(shore.shore_px(line - 8, sample))
            across = float(shore.shore_px(line, sample + 8)) - float(shore.shore_px(line, sample - 8))
            steep = max(np.hypot(down, across), 1e-3)
            line += (-reach - here) * down / steep
            sample += (-reach - here) * across / steep
        return float(line), float(sample)

    def _free(self, present: list[Placed], body: Body, line: float, sample: float) -> bool:
        if not (0 <= line < self._shape[0] and 0 <= sample < self._shape[1]):
            return False
        along = np.linspace(-0.5, 0.5, 7) * body.length_m / physics.SPACING_M
        angle = np.radians(body.axis_deg)
        hull = self._terrain.shore_px(line - along * np.cos(angle), sample + along * np.sin(angle))
        if hull.max() > -0.5 * body.width_m / physics.SPACING_M - 0.7:
            return False
        half = body.half_extent_px()
        for other in present:
            theirs = other.body.half_extent_px()
            if (
                abs(line - other.line_px) < half[0] + theirs[0] + GAP_PX
                and abs(sample - other.sample_px) < half[1] + theirs[1] + GAP_PX
            ):
                return False
        return True


def ghosts(
    key: tuple[int, ...],
    present: list[Placed],
    grid: Acquisition,
    terrain: Terrain,
    offset: tuple[int, int],
    stats: SceneStatistics,
) -> list[Placed]:
    """Return the azimuth ghosts of bright bodies and of some bright places on land, on the pass's grid.

    Args:
        key: seeds the draws.
        present: bodies on the pass's grid.
        grid: the pass's geometry.
        terrain: the shore, on the base grid.
        offset: line and sample of the pass's first pixel on the base grid.
        stats: the population.
    """
    rng = np.random.default_rng([*key, 5])
    sources = [(entry.id, entry.body, entry.line_px, entry.sample_px) for entry in present]
    for _ in range(int(rng.integers(3, 12))):
        line, sample = rng.uniform(0, 1, 2) * grid.shape
        if terrain.shore_px(line + offset[0], sample + offset[1]) > 5:
            source = objects.draw_platform(rng, stats).brightened(float(rng.uniform(0, 8)))
            sources.append(("land", source, float(line), float(sample)))
    found: list[Placed] = []
    for name, body, line, sample in sources:
        if physics.to_db(body.peak()[0]) < 17.0:
            continue
        distance = grid.ghost_offset_lines(line, sample)
        for side in (-1, 1):
            ghost = objects.draw_ghost(rng, body, stats)
            at = line + side * distance
            if 0 <= at < grid.shape[0] and terrain.shore_px(at + offset[0], sample + offset[1]) < 0:
                found.append(Placed(f"ghost-{len(found) + 1:03d}", ghost, at, sample, ghost_of=name))
    return found
