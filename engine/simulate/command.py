"""``fusar-engine simulate``: scenes over real coasts, with truth and prior."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from engine.errors import InputError
from engine.simulate import acquisition, alphaearth, clutter, cog, physics, radiometry, safe, scene, traffic
from engine.simulate.acquisition import Acquisition
from engine.simulate.annotation import IPF_VERSION, Identity
from engine.simulate.objects import DEFAULT, SceneStatistics
from engine.simulate.sites import SITES, Site
from engine.simulate.terrain import Coast, Terrain, land_mask

POLARISATIONS = (("VV", "VH"), ("VV",), ("HH", "HV"), ("HH",))
MARGIN_PX = 24  # of the base grid around the passes, which begin up to so much apart
REPEAT = timedelta(days=12)
FULL_WIDTH = acquisition.SWATH_ENDS[-1]
# one real acquisition, to number orbits and datatakes by
_REFERENCE_NODE = datetime(2022, 10, 2, 20, 4, 15, 132380, tzinfo=timezone.utc)
_REFERENCE_ORBIT = 45268
_REFERENCE_DATATAKE = 0x056950

app = typer.Typer(help="Simulate Sentinel-1 scenes with truth and prior.", no_args_is_help=True)


@dataclass(frozen=True, eq=False)
class World:
    """What is fixed about one scene of a seed: site, orbit, land, and who is there."""

    key: tuple[int, ...]
    site: Site
    base: Acquisition
    terrain: Terrain
    traffic: traffic.Traffic
    node_time: datetime


@app.command()
def simulate(
    out: Annotated[Path, typer.Argument(help="Folder that receives the products.")],
    scenes: Annotated[int, typer.Option(help="Number of scenes, each over a site of its own.", min=1)] = 1,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal bytes.", min=0)] = 0,
    size: Annotated[str, typer.Option(help="Samples x lines of a product.")] = "3000x3000",
    passes: Annotated[int, typer.Option(help="Passes of one relative orbit, 12 days apart.", min=1)] = 1,
    polarisations: Annotated[
        str, typer.Option(help="VV+VH, VV, HH+HV or HH: in HH the sea is darker, ships are alike.")
    ] = "VV+VH",
    with_cog: Annotated[bool, typer.Option("--cog", help="Write each product's _COG.SAFE twin too.")] = False,
) -> None:
    """Write Sentinel-1 IW GRDH products with truth, and AlphaEarth tiles under them."""
    from engine.runtime.land import Coastline

    bands = parse_polarisations(polarisations)
    for product in run(out, scenes, seed, parse_size(size), passes, Coastline.load(), polarisations=bands):
        typer.echo(product)
        if with_cog:
            typer.echo(cog.to_cog(product, out))


def parse_size(text: str) -> tuple[int, int]:
    """Return lines and samples of a size such as '3000x2000' (samples x lines).

    Raises:
        InputError: it is not two numbers, or does not fit the swath.
    """
    match = re.fullmatch(r"(\d+)x(\d+)", text.strip().lower())
    if match is None:
        raise InputError(f"got a size of {text!r}, expected SAMPLESxLINES such as 3000x3000")
    samples, lines = int(match[1]), int(match[2])
    if not (200 <= samples <= FULL_WIDTH and 200 <= lines <= 30_000):
        raise InputError(f"got a size of {text}, expected 200 to {FULL_WIDTH} samples and 200 to 30000 lines")
    return lines, samples


def parse_polarisations(text: str) -> tuple[str, ...]:
    """Return the polarisations of a text such as 'HH+HV'.

    Raises:
        InputError: not what a radar that sends one polarisation receives, co-polarised first.
    """
    bands = tuple(text.strip().upper().split("+"))
    if bands not in POLARISATIONS:
        known = ", ".join("+".join(bands) for bands in POLARISATIONS)
        raise InputError(f"got polarisations {text!r}, expected one of {known}")
    return bands


def run(
    out: Path,
    scenes: int,
    seed: int,
    shape: tuple[int, int],
    passes: int,
    coastline: Coast,
    stats: SceneStatistics = DEFAULT,
    polarisations: tuple[str, ...] = POLARISATIONS[0],
) -> list[Path]:
    """Write scenes and return their products' folders.

    Args:
        out: folder that receives everything; made if missing.
        scenes: number of scenes.
        seed: equal seeds give equal bytes.
        shape: lines and samples of a product.
        passes: passes of each scene.
        coastline: gives the land's rings.
        stats: the population.
        polarisations: what the products hold, one of POLARISATIONS.
    """
    out.mkdir(parents=True, exist_ok=True)
    index = alphaearth.Index(out / "alphaearth")
    order = np.random.default_rng([seed, 0]).permutation(len(SITES))
    products = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("lines"))
    with Progress(*columns, TimeElapsedColumn()) as progress:
        for number in range(scenes):
            site = SITES[order[number % len(SITES)]]
            task = progress.add_task(f"{number + 1}/{scenes} {site.name}", total=passes * shape[0])
            world = make_world((seed, 1, number), site, shape, coastline, stats)
            for count in range(passes):
                identity, acquired = make_pass(world, count, shape, stats, polarisations)
                products.append(
                    safe.write(
                        out,
                        identity,
                        acquired,
                        scene.blocks(acquired, world.terrain, stats),
                        partial(progress.advance, task),
                    )
                )
            # the year before the first pass, and the pass's own, which a daemon must not use
            years = [world.node_time.year - 1, world.node_time.year]
            alphaearth.write_tiles(index, world.base, world.terrain, years, f"s{seed}n{number:02d}")
    index.save()
    return products


def make_world(
    key: tuple[int, ...],
    site: Site,
    shape: tuple[int, int],
    coastline: Coast,
    stats: SceneStatistics = DEFAULT,
) -> World:
    """Draw what is fixed about a scene: orbit, coast, land cover, traffic, date."""
    rng = np.random.default_rng([*key, 0])
    base_shape = (shape[0] + 2 * MARGIN_PX, shape[1] + 2 * MARGIN_PX)
    views = []
    for _ in range(5):  # look for a view with some coast and much sea
        lon = site.lon_deg + rng.normal(0, 0.06)
        lat = site.lat_deg + rng.normal(0, 0.05)
        swath_sample = int(rng.integers(0, max(1, FULL_WIDTH - base_shape[1])))
        view = acquisition.plan(lon, lat, bool(rng.random() < 0.5), base_shape, swath_sample)
        mask = land_mask(view, coastline)
        miss = abs(float(mask.mean()) - 0.2)
        views.append((miss, view, mask))
        if miss < 0.17:
            break
    _, base, mask = min(views, key=lambda entry: entry[0])
    terrain = Terrain((*key, 1), base, mask)
    population = traffic.Traffic((*key, 2), base_shape, terrain, stats)
    return World(key, site, base, terrain, population, _node_time(rng, base))


def make_pass(
    world: World,
    number: int,
    shape: tuple[int, int],
    stats: SceneStatistics = DEFAULT,
    polarisations: tuple[str, ...] = POLARISATIONS[0],
) -> tuple[Identity, scene.Pass]:
    """Draw one pass of a scene: its window, wind, ships, ghosts and borders; number 0 is the first."""
    key = (*world.key, 3, number)
    rng = np.random.default_rng([*key, 9])
    offset = (int(rng.integers(0, 2 * MARGIN_PX + 1)), int(rng.integers(0, 2 * MARGIN_PX + 1)))
    grid = acquisition.shifted(world.base, offset[0], offset[1], shape)
    state = clutter.draw_sea_state(rng, stats)
    incidence = float(grid.incidence_deg(shape[0] / 2, shape[1] / 2))
    copol = state.sea_db[0] - 0.4 * (incidence - state.incidence_deg)
    if polarisations[0] == "HH":
        copol -= physics.vv_over_hh_db(incidence)
    state = clutter.SeaState(state.wind_m_s, incidence, (max(copol, -30.0), state.sea_db[1]), state.noise_db)
    phase = float(rng.uniform())
    tables = (
        radiometry.tables(grid, state.noise_db[0], phase),
        radiometry.tables(grid, state.noise_db[1], phase),
    )
    seams = [block.first_sample for block in tables[0].blocks[1:]]
    border = scene.Border(rng, shape, seams)
    present = [
        traffic.Placed(entry.id, entry.body, entry.line_px - offset[0], entry.sample_px - offset[1])
        for entry in world.traffic.ships(number)
    ]
    present += traffic.ghosts(key, present, grid, world.terrain, offset, stats)
    present = [entry for entry in present if border.holds(entry.line_px, entry.sample_px)]
    identity = identify(grid, world.node_time + number * REPEAT)
    acquired = scene.Pass(
        key, grid, offset, world.base.shape, tables, present, state, border, polarisations=polarisations
    )
    return identity, acquired


def identify(grid: Acquisition, node: datetime, ipf: str = IPF_VERSION) -> Identity:
    """Return names and times of an image whose orbit crossed the equator northwards at some time."""
    start = node + timedelta(seconds=grid.node_age_s)
    stop = start + timedelta(seconds=(grid.shape[0] - 1) * grid.line_interval_s)
    orbit = _REFERENCE_ORBIT + round((node - _REFERENCE_NODE).total_seconds() / acquisition.ORBIT_PERIOD_S)
    datatake = _REFERENCE_DATATAKE + round((orbit - _REFERENCE_ORBIT) * 5.9)
    return Identity("S1A", start, stop, orbit, datatake, node, ipf)


def _node_time(rng: np.random.Generator, base: Acquisition) -> datetime:
    """Draw a day; the orbit crosses the equator northwards at 18 h local time."""
    day = datetime(2023, 2, 1, tzinfo=timezone.utc) + timedelta(days=int(rng.integers(0, 600)))
    if day.month > 10 or day.month < 2:  # leave room for repeat passes within the year
        day = day.replace(month=5)
    hours = (18.0 - base.node_longitude_deg / 15.0) % 24
    return day + timedelta(seconds=round(hours * 3600, 6))
