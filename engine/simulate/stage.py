"""A small scene set by hand: a chosen place and sea, and what is put on it, written as a real product.

Where `command` draws whole populations, a stage holds what its setting put there and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np

from engine.simulate import acquisition, clutter, command, objects, physics, radiometry, rfi, safe, scene
from engine.simulate.acquisition import Acquisition
from engine.simulate.annotation import IPF_VERSION, Identity
from engine.simulate.objects import DEFAULT, Body, SceneStatistics
from engine.simulate.radiometry import Tables
from engine.simulate.sites import Site
from engine.simulate.terrain import Coast, Terrain, land_mask
from engine.simulate.traffic import Placed

# Ships of the usual brightness, none of the faint or glaring tails, on a sea without slicks.
PLAIN = replace(DEFAULT, bright_share=0.0, faint_share=0.0, slick_share=0.0, texture_order=(20.0, 20.0))
NOISE_DB = (-24.5, -25.0)


@dataclass
class Stage:
    """An image and what stands in it so far; its setting adds to the lists.

    Attributes:
        rng: draws whatever the setting leaves open.
        key: seeds the sea and the speckle.
        grid: geometry of the image.
        terrain: the coast.
        state: wind and mean backscatter.
        tables: calibration and noise, VV and VH.
        objects: everything that echoes.
        layers: laid over sea and land.
        border: no-data at the edges.
        polarisations: which the product holds.
        interference: percentage of lines with interference by polarisation; None writes no document.
    """

    rng: np.random.Generator
    key: tuple[int, ...]
    grid: Acquisition
    terrain: Terrain
    state: clutter.SeaState
    tables: tuple[Tables, Tables]
    border: scene.Border
    objects: list[Placed] = field(default_factory=list)
    layers: list[scene.Layer] = field(default_factory=list)
    polarisations: tuple[str, ...] = scene.POLARISATIONS
    interference: dict[str, float] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Lines and samples."""
        return self.grid.shape

    def add(self, body: Body, line_px: float, sample_px: float, ghost_of: str | None = None) -> Placed:
        """Put a body on the image."""
        name = "ghost" if ghost_of else body.class_
        placed = Placed(f"{name}-{len(self.objects) + 1:03d}", body, line_px, sample_px, ghost_of)
        self.objects.append(placed)
        return placed

    def ship(self, line_px: float, sample_px: float, length_m: float, axis_deg: float) -> Placed:
        """Put a ship that lies still on the image."""
        body = objects.draw_ship(self.rng, PLAIN, length_m=length_m, axis_deg=axis_deg, moving=False)
        return self.add(body, line_px, sample_px)

    def ghosts(self, source: Body, line_px: float, sample_px: float, of: str, stats: SceneStatistics) -> None:
        """Put a body's first azimuth ghosts on the image, where they fall on water in it."""
        distance = self.grid.ghost_offset_lines(line_px, sample_px)
        for line in (line_px - distance, line_px + distance):
            if 0 <= line < self.shape[0] and self.terrain.shore_px(line, sample_px) < 0:
                self.add(objects.draw_ghost(self.rng, source, stats), line, sample_px, ghost_of=of)


@dataclass(frozen=True)
class Setting:
    """How a stage is set.

    Attributes:
        site: place of the image's middle.
        put: adds what the stage shows.
        seed: equal seeds give equal bytes.
        shape: lines and samples.
        ascending: direction of the pass.
        swath_sample: where in the whole IW swath the image begins.
        wind_m_s: wind speed.
        date: day of the acquisition.
        ipf: version of the processor that the product names.
    """

    site: Site
    put: Callable[[Stage], None]
    seed: int
    shape: tuple[int, int] = (900, 900)
    ascending: bool = True
    swath_sample: int = 3000
    wind_m_s: float = 5.0
    date: datetime = datetime(2024, 5, 14, tzinfo=timezone.utc)
    ipf: str = IPF_VERSION


def build(setting: Setting, coastline: Coast) -> tuple[Identity, Stage]:
    """Lay the pass over the site and set the stage."""
    site, key = setting.site, (setting.seed,)
    grid = acquisition.plan(
        site.lon_deg, site.lat_deg, setting.ascending, setting.shape, setting.swath_sample
    )
    incidence = float(grid.incidence_deg(setting.shape[0] / 2, setting.shape[1] / 2))
    sea_db = physics.sea_sigma0_db(setting.wind_m_s, incidence, 45.0)
    tables = [radiometry.tables(grid, level, 0.3) for level in NOISE_DB]
    if float(setting.ipf) < 2.9:  # no factors along the azimuth in the old form
        tables = [replace(table, noise_azimuth=np.ones_like(table.noise_azimuth)) for table in tables]
    stage = Stage(
        rng=np.random.default_rng([*key, 0]),
        key=key,
        grid=grid,
        terrain=Terrain((*key, 1), grid, land_mask(grid, coastline)),
        state=clutter.SeaState(setting.wind_m_s, incidence, sea_db, NOISE_DB),
        tables=(tables[0], tables[1]),
        border=scene.Border.none(setting.shape),
    )
    setting.put(stage)
    stage.objects = [entry for entry in stage.objects if stage.border.holds(entry.line_px, entry.sample_px)]
    # the orbit crosses the equator northwards at 18 h local time
    hours = (18.0 - grid.node_longitude_deg / 15.0) % 24
    node = setting.date + timedelta(seconds=round(hours * 3600, 6))
    return command.identify(grid, node, setting.ipf), stage


def write(setting: Setting, out: Path, coastline: Coast) -> Path:
    """Write a stage's product and its truth; return the product's folder."""
    identity, stage = build(setting, coastline)
    acquired = scene.Pass(
        key=(*stage.key, 2),
        grid=stage.grid,
        offset=(0, 0),
        base_shape=stage.shape,
        tables=stage.tables,
        objects=stage.objects,
        state=stage.state,
        border=stage.border,
        layers=stage.layers,
        polarisations=stage.polarisations,
    )
    notes = None
    if stage.interference is not None:
        notes = rfi.documents(identity, stage.grid, stage.tables[0].blocks, stage.interference)
    return safe.write(
        out, identity, acquired, scene.blocks(acquired, stage.terrain, PLAIN), interference=notes
    )
