"""`make bench-false-alarms`: false alarms of the prescreen against their setting, on pure simulated sea.

Seas are made as engine.simulate makes them (band-limited complex Gaussian looks, weighted, their variance
texture x mean + noise), but in periodic tiles (periodic_sea). Background, thresholds and joining are the
scan's own. A tile's speckle serves all seas: figures of different seas share their luck. Prints, for each sea
and clutter model, the measured rate over the set one, by rate; the candidates over the predicted ones; and
the sea's true spread beside the median that the scan measured. Draws docs/images/false-alarms.png with
--picture. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from periodic_sea import SIDE, Fields, Sea, broad_of, cells_of, smooth_sea
from rich.console import Console
from rich.progress import track
from rich.table import Table

from daemon.scan import cells
from daemon.scan.clusters import Pixels, join
from daemon.scan.kernels import CELL_PX, PATCH
from daemon.scan.prescreen import TRIM_SIGMAS
from daemon.scan.thresholds import ClutterModel, false_alarms_per_km2, scan_factors
from engine.simulate import physics

RATES = (1e-4, 1e-5, 1e-6, 1e-7)
MODELS: tuple[ClutterModel, ...] = ("lognormal", "k")
CELL_M = CELL_PX * physics.SPACING_M
GUARD_M, BACKGROUND_M, GAP_PX = 500.0, 1250.0, 3
LEAST_EXPECTED = 20  # exceeding pixels, below which a rate is left out of the picture

SCENE = {"scale_px": 2.0, "noise": 0.1, "gusts": 0.07, "wind": 0.2}
SEAS = (
    Sea("speckle only"),
    Sea("K 20, 2 px", "k", 20, 2),
    Sea("K 5, 1 px", "k", 5, 1),
    Sea("K 5, 2 px", "k", 5, 2),
    Sea("K 5, 4 px", "k", 5, 4),
    Sea("K 2.5, 2 px", "k", 2.5, 2),
    Sea("K 5, 2 px, noise .5", "k", 5, 2, 0.5),
    Sea("log-normal 20, 2 px", "lognormal", 20, 2),
    Sea("log-normal 5, 1 px", "lognormal", 5, 1),
    Sea("log-normal 5, 2 px", "lognormal", 5, 2),
    Sea("log-normal 5, 4 px", "lognormal", 5, 4),
    Sea("log-normal 2.5, 2 px", "lognormal", 2.5, 2),
    Sea("log-normal 5, 2 px, noise .5", "lognormal", 5, 2, 0.5),
    Sea("scene, order 20", "lognormal", 20, **SCENE),
    Sea("scene, order 5", "lognormal", 5, **SCENE),
    Sea("scene, order 5, VV and VH", "lognormal", 5, **SCENE, paired=0.7),
    Sea("scene, order 5, swell", "lognormal", 5, **SCENE, swell=0.35),
    Sea("scene, order 5, slicks", "lognormal", 5, **SCENE, slicks=1.5),
)


class Background(NamedTuple):
    """What surrounds each cell, [rows, cols] each."""

    mean: NDArray[np.float32]  # of sigma0
    noise: float
    spread: NDArray[np.float32]  # standard deviation of the statistic over its mean


def background_of(sums: NDArray[np.float64], noise: float) -> Background:
    """Measure the background of a periodic tile: the scan's own loops, on a grid that is wrapped around."""
    guard, radius = (round(metres / (PATCH * CELL_M)) for metres in (GUARD_M, BACKGROUND_M))
    pad = 2 * radius * PATCH  # trimming looks a ring further than the ring
    padded = np.pad(sums, ((0, 2), (pad, pad), (pad, pad)), mode="wrap").astype(np.float32)
    grid = padded.shape[1:]
    patches = tuple(size // PATCH for size in grid)
    rows, inner = (0, patches[0]), (2 * radius, patches[0] - 2 * radius)
    gain, nesz = np.full(patches, 9, np.float32), np.full(patches, noise, np.float32)  # of means, not sums
    fields, kept = np.zeros((3, *patches), np.int64), np.zeros((4, *patches), np.int64)
    sea, level = np.ones(grid, np.uint8), np.empty(grid, np.float32)
    cells.weigh_cells(0, grid[0], padded, gain, sea, level, fields)
    rings = cells.ring_sums(fields, *rows, rows, guard, radius)
    cells.trim_cells(0, grid[0], rings, TRIM_SIGMAS, padded, gain, nesz, sea, level, kept)
    rings = cells.ring_sums(kept, *inner, rows, guard, radius)
    around = cells.limit_patches(rings, 1, scan_factors(1e-6, "k"))[:2, :, 2 * radius : -2 * radius]
    mean, spread = around.repeat(PATCH, 1).repeat(PATCH, 2)
    return Background(mean, noise, spread)


Found = dict[tuple[ClutterModel, float], NDArray[np.int64]]


@dataclass
class Band:
    """One polarisation of a tile: the statistic and what the scan measures of it."""

    smooth: NDArray[np.float32]
    cells: NDArray[np.float64]
    background: Background

    @classmethod
    def of(cls, smooth: NDArray[np.float32], noise: float) -> Band:
        """Measure a tile."""
        sums = cells_of(smooth)
        return cls(smooth, sums, background_of(sums, noise))

    def exceeding(self, bands: int) -> Found:
        """Places [n, 2] of the pixels over their threshold, each band with its share of the rate."""
        sea = self.background
        level = sea.mean + sea.noise
        limits = {
            (model, rate): level * scan_factors(rate / bands, model).at(sea.spread, sea.noise / level)
            for model in MODELS
            for rate in RATES
        }
        rows, cols = np.nonzero(self.cells[2] > np.minimum.reduce(list(limits.values())))
        blocks = self.smooth.reshape(SIDE // CELL_PX, CELL_PX, -1, CELL_PX)[rows, :, cols]
        found = {}
        for key, limit in limits.items():
            cell, line, sample = np.nonzero(blocks > limit[rows, cols][:, None, None])
            found[key] = np.stack([rows[cell] * CELL_PX + line, cols[cell] * CELL_PX + sample], 1)
        return found


@dataclass
class Tally:
    """Sums over the tiles of one sea."""

    tiles: int = 0
    mean: float = 0.0  # of the statistic
    square: float = 0.0
    spread: float = 0.0  # of the backgrounds, median over a tile
    level: float = 0.0  # of the backgrounds, mean over a tile
    predicted: dict[float, float] = field(default_factory=lambda: defaultdict(float))  # candidates
    pixels: dict[tuple[ClutterModel, float], int] = field(default_factory=lambda: defaultdict(int))
    candidates: dict[tuple[ClutterModel, float], int] = field(default_factory=lambda: defaultdict(int))

    def add(self, bands: list[Band]) -> None:
        """Count a tile."""
        self.tiles += 1
        first = bands[0]
        self.mean += float(first.cells[0].mean()) / CELL_PX**2
        self.square += float(first.cells[1].mean()) / CELL_PX**2
        self.spread += float(np.median(first.background.spread))
        self.level += float((first.background.mean + first.background.noise).mean())
        area_km2 = (SIDE * physics.SPACING_M / 1000) ** 2
        for rate in RATES:
            for band in bands:
                spread = float(np.median(band.background.spread))
                spacing = (physics.SPACING_M, physics.SPACING_M)
                self.predicted[rate] += area_km2 * false_alarms_per_km2(rate / len(bands), spread, spacing)
        found = [band.exceeding(len(bands)) for band in bands]
        for key in found[0]:
            places = np.unique(np.concatenate([part[key] for part in found]), axis=0)
            self.pixels[key] += len(places)
            self.candidates[key] += _joined(places)

    def report(self) -> dict[str, Any]:
        """Ratios of measured to set, and the counts behind them."""
        n = self.tiles
        searched = n * SIDE**2
        mean, square = self.mean / n, self.square / n
        rows = {
            f"{model} {rate:g}": {
                "pixels_over_set": self.pixels[model, rate] / (searched * rate),
                "pixels": self.pixels[model, rate],
                "candidates": self.candidates[model, rate],
                "candidates_over_predicted": self.candidates[model, rate] / self.predicted[rate],
            }
            for model in MODELS
            for rate in RATES
        }
        spread = float(np.sqrt(square / mean**2 - 1))
        return {
            "searched_px": searched,
            "spread": spread,
            "spread_measured": self.spread / n,
            "mean_measured": self.level / n / mean,
            "rates": rows,
        }


def _joined(places: NDArray[np.int64]) -> int:
    """Number of candidates that the prescreen makes of exceeding pixels, [n, 2] sorted."""
    n = len(places)
    if not n:
        return 0
    flat = np.ones((n, 1))
    pixels = Pixels(places[:, 0], places[:, 1], np.zeros(n, bool), flat > 0, flat, flat.astype(np.float32))
    return len(join(pixels, GAP_PX, np.inf))


def study(tiles: int, seed: int, seas: tuple[Sea, ...]) -> dict[str, Any]:
    """Count exceeding pixels and candidates of some seas over some tiles."""
    fields = Fields()
    tallies: dict[str, Tally] = defaultdict(Tally)
    bend = [{sea.name: sea.texture_of_normal(strength) for sea in seas} for strength in (1.0, 0.5)]
    console = Console(stderr=True)
    for tile in track(range(tiles), description=f"tiles of {SIDE} x {SIDE}", console=console):
        rng = np.random.default_rng([seed, tile])
        speckle = [fields.speckle(rng) for _ in range(2 if any(sea.paired for sea in seas) else 1)]
        scales = sorted({sea.scale_px for sea in seas} | {20.0, 60.0, 250.0})
        normal = {scale: fields.normal(rng, scale) for scale in scales}
        for sea in seas:
            bands = []
            for band, noise in enumerate((sea.noise, sea.paired)):
                if noise is not None:
                    smooth = np.empty((SIDE, SIDE), np.float32)
                    broad = broad_of(sea, normal, 1.0 if band == 0 else 0.5)
                    texture = bend[band][sea.name]
                    smooth_sea(normal[sea.scale_px], texture, broad, np.float32(noise), speckle[band], smooth)
                    bands.append(Band.of(smooth, noise))
            tallies[sea.name].add(bands)
    return {name: tally.report() for name, tally in tallies.items()}


def show(report: dict[str, Any]) -> None:
    """Print the ratios."""
    table = Table(title="exceeding pixels, measured / set (candidates, measured / predicted)")
    for head in ("sea", "px", "spread", "measured", "model", *(f"{rate:g}" for rate in RATES)):
        table.add_column(head)
    for name, row in report.items():
        for model in MODELS:
            cells = []
            for rate in RATES:
                entry = row["rates"][f"{model} {rate:g}"]
                mark = "" if entry["pixels"] >= 100 else f" n={entry['pixels']}"
                cells.append(
                    f"{entry['pixels_over_set']:.2f} ({entry['candidates_over_predicted']:.2f}){mark}"
                )
            spreads = (f"{row['spread']:.3f}", f"{row['spread_measured']:.3f}")
            table.add_row(name, f"{row['searched_px']:.1g}", *spreads, model, *cells)
    Console(width=150).print(table)


def draw(report: dict[str, Any], path: Path) -> None:
    """Draw measured over set rates by rate, one panel for each model."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(11, 5.2), sharey=True)
    colours = plt.get_cmap("tab20").colors
    titles = {"lognormal": "threshold: log-normal texture (default)", "k": "threshold: gamma texture (K)"}
    for panel, model in zip(panels, MODELS, strict=True):
        panel.axhspan(0.5, 2, color="0.9", zorder=0)
        panel.axhline(1, color="0.6", lw=0.8)
        for number, (name, row) in enumerate(report.items()):
            shown = [rate for rate in RATES if rate * row["searched_px"] >= LEAST_EXPECTED]
            entries = [row["rates"][f"{model} {rate:g}"] for rate in shown]
            ratio = [max(entry["pixels_over_set"], 0.02) for entry in entries]
            style = "--" if name.startswith("K") else "-"
            panel.loglog(shown, ratio, style, marker="o", ms=3, color=colours[number % 20], label=name)
        panel.invert_xaxis()
        panel.set(title=titles[model], xlabel="set probability that a pixel exceeds", ylim=(0.02, 30))
    panels[0].set_ylabel("measured / set (below 0.02 at 0.02)")
    panels[1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    figure.suptitle(
        "False alarms on simulated sea, backgrounds as measured by the scan; grey: within a factor of two"
    )
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tiles", type=int, default=24, help="Of 4.2 million pixels.")
    parser.add_argument("--long-tiles", type=int, default=0, help="Of these for the seas named in --long.")
    parser.add_argument(
        "--long", nargs="*", default=["speckle only", "K 5, 2 px", "log-normal 5, 2 px", "scene, order 5"]
    )
    parser.add_argument("--seed", type=int, default=20261122)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--json", type=Path, help="Write the report here too.")
    arguments = parser.parse_args()
    start = time.perf_counter()
    report = study(arguments.tiles, arguments.seed, SEAS)
    if arguments.long_tiles:
        chosen = tuple(sea for sea in SEAS if sea.name in arguments.long)
        report |= study(arguments.long_tiles, arguments.seed + 1, chosen)
    show(report)
    if arguments.picture:
        draw(report, arguments.picture)
    result = {"benchmark": "false-alarms", "seconds": round(time.perf_counter() - start, 1), "seas": report}
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
