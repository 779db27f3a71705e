"""From a scene's pixels to prescreened candidates, tile by tile.

Two passes. The first reads every tile once and keeps sums over cells of 8 x 8 px and their peaks; the
background and the thresholds live on that coarse grid (``daemon.scan.background``). The second reads again
only around the cells whose peak exceeds their threshold, and takes the exceeding pixels. Pixels are joined
to candidates over the whole scene at once, so that no result depends on where tiles end.

The prescreen is tuned for recall: the engine rejects false alarms afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from daemon.domain import Candidate, Clutter, Coverage
from daemon.scan.background import (
    CELL_PX,
    Array,
    Background,
    CellSums,
    ClutterModel,
    cell_sum,
    measure_background,
    smooth3,
    summarise,
    thresholds,
)
from daemon.scan.clusters import Pixels, join
from daemon.scan.coverage import coverage_of
from daemon.scene.product import Window
from engine.errors import InputError
from engine.runtime.image import cell_of

if TYPE_CHECKING:
    from daemon.scene.land import LandSource
    from daemon.scene.product import Scene

_HOLE_PX = 5  # zeros in a smaller patch are dark water, not missing data
_PATCH_CELLS = 16  # side of what the second pass reads at once
_MAX_CELLS = 40_000  # exceeding cells that the second pass takes: bounds its memory

Progress = Callable[[float], None]
_T = TypeVar("_T", bound=np.generic)


@dataclass(frozen=True, slots=True)
class ScanSettings:
    """How the sea is searched.

    Attributes:
        tile_px: side of what is read at once, a multiple of 8; changes memory, never the result.
        guard_m: half side of the square around a pixel that is kept out of its background.
        background_m: half side of the square whose rest is the background.
        false_alarm_rate: probability that a pixel of sea exceeds its threshold.
        clutter_model: distribution of the smoothed intensity.
        border_px: valid pixels taken off beside missing data, where border noise lies.
        land_margin_m: sea this close to land is searched but kept out of the background; land this close
            to the sea is searched too, and what is found there is counted.
        gap_px: exceeding pixels at most this far apart, in line and in sample, are one candidate.
        max_extent_m: larger candidates are cut along the lattice, so that each part gets its chip.
        max_candidates: beyond it the strongest are kept and the rest counted.
    """

    tile_px: int = 1024
    guard_m: float = 500.0
    background_m: float = 1250.0
    false_alarm_rate: float = 2e-6
    clutter_model: ClutterModel = "lognormal"
    border_px: int = 12
    land_margin_m: float = 250.0
    gap_px: int = 3
    max_extent_m: float = 800.0
    max_candidates: int = 5000

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.tile_px < CELL_PX or self.tile_px % CELL_PX:
            raise InputError(f"got tile_px {self.tile_px}, expected a positive multiple of {CELL_PX}")
        if not 0 < self.false_alarm_rate < 0.5:
            raise InputError(f"got false_alarm_rate {self.false_alarm_rate}, expected one in (0, 0.5)")
        if not 0 < self.guard_m < self.background_m:
            raise InputError(
                f"got guard_m {self.guard_m} and background_m {self.background_m}, "
                "expected 0 < guard_m < background_m"
            )


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What the prescreen saw."""

    candidates: tuple[Candidate, ...]  # by line and sample
    coverage: Coverage
    counts: dict[str, int]
    saturated: bool  # more exceeded than was kept
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _View:
    """A window of the scene, masks and smoothed pixels; arrays [lines, samples] of the window."""

    valid: NDArray[np.bool_]  # border taken off
    land: NDArray[np.bool_]
    searched: NDArray[np.bool_]  # valid, and not deep in the land
    background: NDArray[np.bool_]  # valid, and away from land
    sigma0: dict[str, NDArray[np.float32]]
    nesz: dict[str, NDArray[np.float32]]
    smooth: dict[str, NDArray[np.float32]]


@dataclass(slots=True)
class _Grid:
    """What the first pass keeps of a scene."""

    shape: tuple[int, int]
    sums: dict[str, CellSums]
    sea: Array  # valid sea pixels of each cell
    valid: int = 0
    land: int = 0


def scan(
    scene: Scene, land: LandSource, settings: ScanSettings | None = None, progress: Progress | None = None
) -> ScanResult:
    """Search a scene for whatever stands out of the sea.

    Args:
        scene: opened product.
        land: which pixels are land.
        settings: how to search; the defaults when None.
        progress: called with the fraction done.

    Returns:
        Candidates with positions, the area that was looked at, counts.

    Raises:
        SceneCorrupt: the pixels cannot be read.
    """
    settings = settings or ScanSettings()
    report = progress or (lambda _: None)
    grid = _sum_cells(scene, land, settings, lambda done: report(0.7 * done))
    cell_m = CELL_PX * float(np.mean(scene.spacing_m))
    seas: dict[str, Background] = {}
    limits: dict[str, Array] = {}
    excess = np.zeros(grid.shape)
    for polarisation, sums in grid.sums.items():
        sea = measure_background(sums, settings.guard_m, settings.background_m, cell_m)
        limit = thresholds(sea, sums.searched_noise, settings.false_alarm_rate, settings.clutter_model)
        seas[polarisation], limits[polarisation] = sea, limit
        level = np.maximum(sea.mean + sums.searched_noise, 1e-12)
        over = sums.searched_peak > limit
        excess = np.maximum(excess, np.where(over, (sums.searched_peak - limit) / level, 0))
    notes = []
    chosen = excess > 0
    saturated = int(chosen.sum()) > _MAX_CELLS
    if saturated:
        notes.append(
            f"{int(chosen.sum())} cells exceed their threshold; the strongest {_MAX_CELLS} were taken"
        )
        chosen &= excess > np.partition(excess.ravel(), -_MAX_CELLS - 1)[-_MAX_CELLS - 1]
    pixels = _exceeding(scene, land, settings, chosen, limits, seas, lambda done: report(0.7 + 0.3 * done))
    candidates, counts = _candidates(scene, pixels, settings)
    counts["exceeding_pixels"] = len(pixels.line)
    saturated |= counts["candidates_over_limit"] > 0
    clutter = tuple(_clutter(name, grid, seas[name], limits[name]) for name in grid.sums)
    if grid.valid and not any(np.isfinite(sea.mean).any() for sea in seas.values()):
        notes.append("no cell of the scene holds enough sea away from land: nothing could be searched")
    coverage = coverage_of(scene, grid.sea, grid.valid, grid.land, clutter)
    report(1.0)
    return ScanResult(candidates, coverage, counts, saturated, tuple(notes))


def _sum_cells(scene: Scene, land: LandSource, settings: ScanSettings, report: Progress) -> _Grid:
    shape = (-(-scene.shape[0] // CELL_PX), -(-scene.shape[1] // CELL_PX))
    grid = _Grid(shape, {name: CellSums.empty(shape) for name in scene.polarisations}, np.zeros(shape))
    tiles = list(_tiles(shape, settings.tile_px // CELL_PX))
    for done, where in enumerate(tiles, 1):
        view = _view(scene, land, where, settings)
        for name, sums in grid.sums.items():
            part = (view.sigma0[name], view.nesz[name], view.valid, view.searched, view.background)
            sums.put(where, summarise(*part, view.smooth[name]))
        grid.sea[where] = cell_sum(view.valid & ~view.land)
        grid.valid += int(view.valid.sum())
        grid.land += int((view.valid & view.land).sum())
        report(done / len(tiles))
    return grid


def _tiles(shape: tuple[int, int], side: int) -> Iterator[tuple[slice, slice]]:
    for row in range(0, shape[0], side):
        for col in range(0, shape[1], side):
            yield slice(row, min(row + side, shape[0])), slice(col, min(col + side, shape[1]))


def _view(scene: Scene, land: LandSource, where: tuple[slice, slice], settings: ScanSettings) -> _View:
    """Read the window of some cells with the halo that its masks and its smoothing need."""
    margin_px = int(np.ceil(settings.land_margin_m / min(scene.spacing_m)))
    halo = max(settings.border_px + 2 * _HOLE_PX, margin_px) + 1
    rows, cols = where
    window = Window(
        line=rows.start * CELL_PX - halo,
        sample=cols.start * CELL_PX - halo,
        lines=(rows.stop - rows.start) * CELL_PX + 2 * halo,
        samples=(cols.stop - cols.start) * CELL_PX + 2 * halo,
    )
    read = {name: scene.read(name, window) for name in scene.polarisations}
    present = np.logical_and.reduce([pixels.valid for pixels in read.values()])
    sound = present & ~_beside_missing(present, window, scene.shape[0], settings.border_px)
    is_land = np.asarray(land.mask(window), bool)
    if is_land.any():
        size = 2 * margin_px + 1
        near_land = ndimage.maximum_filter(is_land.view(np.uint8), size).view(bool)
        deep_land = ndimage.minimum_filter(is_land.view(np.uint8), size).view(bool)
    else:
        near_land = deep_land = is_land
    core = (slice(halo, -halo), slice(halo, -halo))
    ring = (slice(halo - 1, 1 - halo), slice(halo - 1, 1 - halo))
    return _View(
        valid=sound[core],
        land=is_land[core],
        searched=(sound & ~deep_land)[core],
        background=(sound & ~near_land)[core],
        sigma0={name: pixels.sigma0[core] for name, pixels in read.items()},
        nesz={name: pixels.nesz[core] for name, pixels in read.items()},
        smooth={name: smooth3(pixels.sigma0[ring], sound[ring]) for name, pixels in read.items()},
    )


def _beside_missing(
    valid: NDArray[np.bool_], window: Window, lines: int, border_px: int
) -> NDArray[np.bool_]:
    """Mark what lies within the border of missing data.

    A product's first and last line are a cut between slices, not a border: there the data goes on.
    """
    inside = np.clip(np.arange(window.line, window.line + window.lines), 0, lines - 1) - window.line
    missing = ~valid[np.clip(inside, 0, window.lines - 1)]
    if not missing.any():
        return missing
    solid = ndimage.minimum_filter(missing.view(np.uint8), _HOLE_PX)
    beside: NDArray[np.bool_] = ndimage.maximum_filter(solid, _HOLE_PX + 2 * border_px).view(bool)
    return beside


def _exceeding(
    scene: Scene,
    land: LandSource,
    settings: ScanSettings,
    chosen: NDArray[np.bool_],
    limits: dict[str, Array],
    seas: dict[str, Background],
    report: Progress,
) -> Pixels:
    """Read again around the chosen cells and take the pixels that exceed."""
    parts: list[Pixels] = []
    patches = [where for where in _tiles(chosen.shape, _PATCH_CELLS) if chosen[where].any()]
    for done, where in enumerate(patches, 1):
        where = _bounds(chosen, where)
        view = _view(scene, land, where, settings)
        wanted = view.searched & _spread(chosen[where])
        over, contrast = [], []
        for name in scene.polarisations:
            smooth, noise = view.smooth[name], view.nesz[name]
            over.append(wanted & (smooth > _spread(limits[name][where])))
            level = np.maximum(_spread(seas[name].mean[where]) + noise, 1e-6)
            contrast.append(np.nan_to_num((smooth + noise) / level))
        line, sample = np.nonzero(np.logical_or.reduce(over))
        parts.append(
            Pixels(
                line=line + where[0].start * CELL_PX,
                sample=sample + where[1].start * CELL_PX,
                on_land=view.land[line, sample],
                over=np.stack([band[line, sample] for band in over], 1),
                contrast=np.stack([band[line, sample] for band in contrast], 1),
                smooth=np.stack([view.smooth[name][line, sample] for name in scene.polarisations], 1),
            )
        )
        report(done / len(patches))
    return Pixels.concatenate(parts, len(scene.polarisations))


def _bounds(chosen: NDArray[np.bool_], where: tuple[slice, slice]) -> tuple[slice, slice]:
    """Shrink a patch to its chosen cells."""
    rows, cols = (np.flatnonzero(chosen[where].any(axis)) for axis in (1, 0))
    top, left = where[0].start, where[1].start
    return slice(top + rows[0], top + rows[-1] + 1), slice(left + cols[0], left + cols[-1] + 1)


def _spread(cells: NDArray[_T]) -> NDArray[_T]:
    return np.repeat(np.repeat(cells, CELL_PX, 0), CELL_PX, 1)


def _candidates(
    scene: Scene, pixels: Pixels, settings: ScanSettings
) -> tuple[tuple[Candidate, ...], dict[str, int]]:
    spacing_m = float(np.mean(scene.spacing_m))
    clusters = join(pixels, settings.gap_px, settings.max_extent_m / spacing_m)
    at_sea = [cluster for cluster in clusters if not cluster.on_land]
    strongest = sorted(at_sea, key=lambda c: (-c.contrast, c.line_px, c.sample_px))
    kept = sorted(strongest[: settings.max_candidates], key=lambda c: (c.line_px, c.sample_px))
    lines, samples = np.array([c.line_px for c in kept]), np.array([c.sample_px for c in kept])
    lon, lat = scene.geometry.lonlat(lines, samples) if kept else (lines, lines)
    candidates = []
    for index, cluster in enumerate(kept):
        cell = cell_of(cluster.line_px, cluster.sample_px)
        candidates.append(
            Candidate(
                index=index,
                line_px=cluster.line_px,
                sample_px=cluster.sample_px,
                lon_deg=float(lon[index]),
                lat_deg=float(lat[index]),
                box_px=cluster.box_px,
                pixels=cluster.pixels,
                polarisations=tuple(np.array(scene.polarisations)[cluster.over].tolist()),
                peak_db=_db(cluster.peak),
                contrast_db=_db(cluster.contrast),
                cell=(cell.row, cell.col),
            )
        )
    counts = {
        "candidates": len(candidates),
        "candidates_on_land": len(clusters) - len(at_sea),
        "candidates_over_limit": len(at_sea) - len(kept),
    }
    return tuple(candidates), counts


def _clutter(name: str, grid: _Grid, sea: Background, limit: Array) -> Clutter:
    """Sum up the sea of one polarisation over the cells that were looked at."""
    sums = grid.sums[name]
    seen = (grid.sea > 0) & np.isfinite(sea.mean)
    if not seen.any():
        return Clutter(name, float("nan"), float("nan"), None, float("nan"), 0.0)
    noise = float(np.median(sums.searched_noise[seen]))
    return Clutter(
        polarisation=name,
        mean_db=_db(float(np.median(sea.mean[seen]))),
        spread=round(float(np.median(sea.spread[seen])), 4),
        nesz_db=_db(noise) if noise > 0 else None,
        threshold_db=_db(float(np.median(limit[seen]))),
        negative_fraction=round(float(sums.negative.sum() / max(sums.count.sum(), 1)), 4),
    )


def _db(linear: float) -> float:
    return round(float(10 * np.log10(max(linear, 1e-6))), 2)
