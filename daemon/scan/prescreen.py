"""From a scene's pixels to prescreened candidates and to the area that was looked at.

Every polarisation is scanned by itself (`daemon.scan.band`), in as many parts as there are threads; then
pixels above their threshold in any of them are joined to candidates over the whole scene at once. Neither
the parts nor the size of what is read at a time changes the result.

The prescreen is tuned for recall: the engine rejects false alarms afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from itertools import compress
from math import isfinite
from threading import Event, Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from daemon.domain import Candidate, Coverage
from daemon.scan import thresholds
from daemon.scan.above import Exceeding, joined, selected, strongest
from daemon.scan.band import BandScan, BandScanner, BandSettings, LandMap
from daemon.scan.clusters import Pixels, join
from daemon.scan.coverage import coverage_of
from daemon.scan.kernels import CELL_PX, PATCH, PATCH_PX, Float32, LandRuns, Uint8
from daemon.scan.thresholds import ClutterModel
from daemon.scene.land import SEA
from engine.errors import InputError
from engine.runtime.image import cell_of

if TYPE_CHECKING:
    from daemon.scene.land import LandSource
    from daemon.scene.product import Scene

_CLEAN_IPF = "002.90"  # from this processor on, borders come without noise
_MAX_CELLS = 40_000  # exceeding cells of a polarisation that are kept: bounds memory
_LEAST_ROWS = 64  # of a part: what lies beside it is scanned twice
_RING_SHARE = 0.05  # share of the ring that must be sea, else it says too little
_LEAST_CELLS = 16  # and no fewer: a spread is taken from them
TRIM_SIGMAS = 3.0

Progress = Callable[[float], None]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ScanSettings:
    """How the sea is searched.

    Attributes:
        guard_m: half side of the square around a cell that is kept out of its background.
        background_m: half side of the square whose rest is the background.
        false_alarm_rate: probability that a pixel of sea exceeds a threshold, in any polarisation.
        clutter_model: distribution of the sea's texture.
        border_px: pixels taken off beside missing data, where border noise lies; to whole cells of 8 px.
        land_margin_m: sea this close to land is searched but kept out of the background.
        shore_m: how far a coastline may be wrong: pixels this close to land are left out, and candidates
            beside which they are brighter are counted, not kept.
        gap_px: exceeding pixels at most this far apart, in line and in sample, are one candidate.
        max_extent_m: larger candidates are cut along the lattice, so that each part gets its chip.
        max_candidates: beyond it the strongest are kept and the rest counted.
    """

    guard_m: float = 500.0
    background_m: float = 1250.0
    false_alarm_rate: float = 2e-7
    clutter_model: ClutterModel = "lognormal"
    border_px: int = 12
    land_margin_m: float = 250.0
    shore_m: float = 30.0
    gap_px: int = 3
    max_extent_m: float = 800.0
    max_candidates: int = 5000

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 2e-10 <= self.false_alarm_rate <= 0.01:
            raise InputError(f"got false_alarm_rate {self.false_alarm_rate}, expected one from 2e-10 to 0.01")
        if not 0 < self.guard_m < self.background_m:
            raise InputError(
                f"got guard_m {self.guard_m} and background_m {self.background_m}, "
                "expected 0 < guard_m < background_m"
            )
        if not (0 <= self.shore_m <= self.background_m / 4 and 0 <= self.border_px <= 32):
            raise InputError(
                f"got shore_m {self.shore_m} and border_px {self.border_px}, expected 0 to a quarter of "
                "background_m and 0 to 32"
            )
        if min(self.land_margin_m, self.gap_px, self.max_candidates) < 0 or self.max_extent_m <= 0:
            raise InputError(
                f"got land_margin_m {self.land_margin_m}, gap_px {self.gap_px}, max_candidates "
                f"{self.max_candidates}, max_extent_m {self.max_extent_m}; expected none below zero"
            )


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What the prescreen saw."""

    candidates: tuple[Candidate, ...]  # by line and sample
    coverage: Coverage
    counts: dict[str, int]
    saturated: bool  # more exceeded than was kept
    notes: tuple[str, ...]
    spent_s: Mapping[str, float] = field(default_factory=dict, compare=False)  # by stage, over all threads
    # Highest 3 x 3 mean of intensity of each cell of 8 x 8 px, land too, [rows, cols] in each polarisation.
    peaks: Mapping[str, Float32] = field(default_factory=dict, compare=False)


def scan(
    scene: Scene,
    land: LandSource,
    settings: ScanSettings | None = None,
    progress: Progress | None = None,
    threads: int | None = None,
    keep_peaks: bool = False,
) -> ScanResult:
    """Search a scene for whatever stands out of the sea.

    Args:
        scene: opened product.
        land: which pixels are land.
        settings: how to search; the defaults when None.
        progress: called with the fraction done.
        threads: how many to use; one for each core when None. Changes nothing but time and memory.
        keep_peaks: return the brightness of all cells too.

    Returns:
        Candidates with positions, the area that was looked at, counts.

    Raises:
        SceneCorrupt: the pixels cannot be read.
    """
    settings = settings or ScanSettings()
    report = progress or (lambda _: None)
    sizes = _sizes(scene, settings, keep_peaks)
    ground, scans = _scan_bands(
        scene, lambda: _land_map(scene, land, settings, sizes), sizes, threads or os.cpu_count() or 1, report
    )
    blank = [name for name, part in scans.items() if not part.sound.any()]
    held = [part.sound for name, part in scans.items() if name not in blank or len(blank) == len(scans)]
    sound = np.logical_and.reduce(held).view(np.uint8)
    with ThreadPoolExecutor(1) as beside:  # what was looked at, while what was found is put together
        summary = beside.submit(coverage_of, scene, ground, sound, scans, _rate(scene, settings))
        pixels = _pixels(scene, [_found(part, sizes.most_cells, sound) for part in scans.values()])
        candidates, counts = _candidates(scene, land, pixels, settings)
        coverage = summary.result()
    counts["exceeding_pixels"] = len(pixels.line)
    counts["pixels_by_land"] = sum(part.pixels_by_land for part in scans.values())
    counts["cells_unjudged"] = max(part.cells_unjudged for part in scans.values())
    saturated = counts["candidates_over_limit"] > 0
    notes = [f"{name}: no valid pixel: not searched" for name in blank if len(blank) < len(scans)]
    for name, part in scans.items():
        if part.cells_over > sizes.most_cells:
            saturated = True
            notes.append(
                f"{name}: {part.cells_over} cells exceed their threshold; the strongest {sizes.most_cells} "
                "were taken"
            )
    if sound.any() and all(np.isnan(sea.mean_db) for sea in coverage.clutter):
        notes.append("no cell of the scene holds enough sea away from land: nothing could be searched")
    report(1.0)
    spent_s = _sums(part.spent_s for part in scans.values())
    peaks = {name: part.peaks for name, part in scans.items() if part.peaks is not None}
    return ScanResult(candidates, coverage, counts, saturated, tuple(notes), spent_s, peaks)


def _rate(scene: Scene, settings: ScanSettings) -> float:
    """Return the rate of each polarisation: they add up."""
    return settings.false_alarm_rate / len(scene.polarisations)


def _sizes(scene: Scene, settings: ScanSettings, keep_peaks: bool) -> BandSettings:
    patch_m = PATCH_PX * float(np.mean(scene.spacing_m))
    guard = max(int(round(settings.guard_m / patch_m)), 1)
    reach_px = max(int(np.ceil(settings.shore_m / float(np.mean(scene.spacing_m)))), 1)
    radius = max(int(round(settings.background_m / patch_m)), guard + 1)
    ring_cells = PATCH**2 * ((2 * radius + 1) ** 2 - (2 * guard + 1) ** 2)
    looks = thresholds.NOMINAL_LOOKS.get((scene.name.mode, scene.name.resolution), thresholds.IW_LOOKS)
    return BandSettings(
        guard=guard,
        radius=radius,
        least=max(int(_RING_SHARE * ring_cells), _LEAST_CELLS),
        trim_sigmas=TRIM_SIGMAS,
        border_px=settings.border_px,
        border_noise=not scene.ipf >= _CLEAN_IPF or not scene.ipf[:3].isdigit(),
        land_reach_px=reach_px,
        shade_px=2 * reach_px,
        most_cells=_MAX_CELLS,
        factors=thresholds.scan_factors(_rate(scene, settings), settings.clutter_model, looks),
        keep_peaks=keep_peaks,
    )


def _land_map(scene: Scene, land: LandSource, settings: ScanSettings, sizes: BandSettings) -> LandMap:
    cells = land.cells()
    margin = int(np.ceil(settings.land_margin_m / (CELL_PX * min(scene.spacing_m))))
    return LandMap(
        cells=cells,
        quiet=(~_within(cells != SEA, margin)).view(np.uint8),
        beside=_within(cells != SEA, -(-(sizes.land_reach_px + sizes.shade_px) // CELL_PX)).view(np.uint8),
        runs=LandRuns.of(scene.shape[0], *(np.ascontiguousarray(values) for values in land.runs())),
    )


def _scan_bands(
    scene: Scene, draw: Callable[[], LandMap], sizes: BandSettings, threads: int, report: Progress
) -> tuple[LandMap, dict[str, BandScan]]:
    """Scan all polarisations, each in parts of whole rows of cells; land is drawn as they begin."""
    rows = -(-scene.shape[0] // CELL_PX)
    count = max(1, min(-(-threads // len(scene.polarisations)), rows // _LEAST_ROWS))
    if not all(scene.plain(name) for name in scene.polarisations):
        count = 1  # what is decoded has one reader at a time, and parts would decode what lies between twice
    cuts = [rows * k // count // PATCH * PATCH for k in range(count)] + [rows]
    parts = list(zip(cuts[:-1], cuts[1:], strict=True))
    lock, done, failed = Lock(), 0, Event()

    def count_rows(more: int) -> None:
        nonlocal done
        if failed.is_set():
            raise CancelledError
        with lock:
            done += more
            report(min(0.98 * done / (rows * len(scene.polarisations)), 0.98))

    ground: Future[LandMap] = Future()

    def run(name: str, part: tuple[int, int]) -> BandScan:
        return BandScanner(scene, name, ground.result, sizes, part).run(count_rows)

    with ThreadPoolExecutor(threads) as pool:
        waiting = {name: [pool.submit(run, name, part) for part in parts] for name in scene.polarisations}
        try:
            ground.set_result(draw())
            for task in as_completed([task for tasks in waiting.values() for task in tasks]):
                task.result()  # the first trouble ends the others too
        except BaseException:
            failed.set()
            ground.cancel()  # whoever waits for it
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        found = {name: _stacked([task.result() for task in tasks]) for name, tasks in waiting.items()}
    return ground.result(), found


def _within(cells: Bools, reach: int) -> Bools:
    """Return where a cell of some kind lies at most so far away, in row and in column."""
    if not cells.any():
        return cells
    for axis in (0, 1):
        grown = cells.copy()
        for step in range(1, reach + 1):
            low, high = [slice(None)] * 2, [slice(None)] * 2
            low[axis], high[axis] = slice(step, None), slice(None, -step)
            grown[tuple(low)] |= cells[tuple(high)]
            grown[tuple(high)] |= cells[tuple(low)]
        cells = grown
    return cells


def _stacked(parts: Sequence[BandScan]) -> BandScan:
    return BandScan(
        first_row=0,
        sound=np.concatenate([part.sound for part in parts]),
        judged=np.concatenate([part.judged for part in parts]),
        found=[found for part in parts for found in part.found],
        negative=sum(part.negative for part in parts),
        counted=sum(part.counted for part in parts),
        sampled=np.concatenate([part.sampled for part in parts], 1),
        peaks=_rows([part.peaks for part in parts]),
        cells_over=sum(part.cells_over for part in parts),
        cells_unjudged=sum(part.cells_unjudged for part in parts),
        pixels_by_land=sum(part.pixels_by_land for part in parts),
        spent_s=_sums(part.spent_s for part in parts),
    )


def _sums(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for part in parts:
        for stage, seconds in part.items():
            total[stage] = total.get(stage, 0.0) + seconds
    return total


def _rows(parts: Sequence[Float32 | None]) -> Float32 | None:
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if len(known) > 1 else known[0] if known else None


def _found(scanned: BandScan, most_cells: int, sound: Uint8) -> Exceeding:
    """Return the strongest of what was found, where every polarisation is sound."""
    found = strongest(joined(scanned.found), most_cells)
    return selected(found, sound[found.cell[:, 0], found.cell[:, 1]] > 0)


def _pixels(scene: Scene, found: Sequence[Exceeding]) -> Pixels:
    """Bring the polarisations' pixels together."""
    width = scene.shape[1]
    keys = np.concatenate([part.line.astype(np.int64) * width + part.sample for part in found])
    order = np.argsort(keys, kind="stable")  # quick, since each polarisation's are in order
    key = keys[order]
    fresh = np.diff(key, prepend=-1) > 0
    key = key[fresh]
    place = np.empty(len(keys), np.int64)
    place[order] = np.cumsum(fresh) - 1
    over = np.zeros((len(key), len(found)), bool)
    contrast = np.zeros((len(key), len(found)))
    shaded = np.zeros(len(key), bool)
    smooth = np.zeros((len(key), len(found)), np.float32)
    ends = np.cumsum([len(part.line) for part in found])
    for k, (part, at) in enumerate(zip(found, np.split(place, ends[:-1]), strict=True)):
        over[at, k], contrast[at, k], smooth[at, k] = True, part.contrast, part.smooth
        shaded[at] |= part.shaded
    line, sample = np.divmod(key, width)
    return Pixels(line, sample, shaded, over, contrast, smooth)


def _candidates(
    scene: Scene, land: LandSource, pixels: Pixels, settings: ScanSettings
) -> tuple[tuple[Candidate, ...], dict[str, int]]:
    spacing_m = float(np.mean(scene.spacing_m))
    clusters = join(pixels, settings.gap_px, settings.max_extent_m / spacing_m)
    at_sea = clusters.only(~clusters.shaded)
    strongest = np.lexsort((at_sea.sample_px, at_sea.line_px, -at_sea.contrast))[: settings.max_candidates]
    kept = at_sea.only(strongest)
    kept = kept.only(np.lexsort((kept.sample_px, kept.line_px)))
    lon, lat = scene.geometry.lonlat(kept.line_px, kept.sample_px) if len(kept) else ((), ())
    shore_m = land.shore_m(kept.line_px, kept.sample_px)
    columns = (
        kept.line_px, kept.sample_px, lon, lat, kept.box_px, kept.pixels, kept.over,
        _db(kept.peak), _db(kept.contrast), shore_m.round(1),
    )  # fmt: skip
    candidates: list[Candidate] = []
    for line, sample, lon_deg, lat_deg, box, size, over, peak_db, contrast_db, shore in zip(
        *(np.asarray(column).tolist() for column in columns), strict=True
    ):
        cell = cell_of(line, sample)
        candidates.append(
            Candidate(
                index=len(candidates),
                line_px=line,
                sample_px=sample,
                lon_deg=lon_deg,
                lat_deg=lat_deg,
                box_px=tuple(box),
                pixels=size,
                polarisations=tuple(compress(scene.polarisations, over)),
                peak_db=peak_db,
                contrast_db=contrast_db,
                cell=(cell.row, cell.col),
                shore_m=shore if isfinite(shore) else None,
            )
        )
    counts = {
        "candidates": len(candidates),
        "candidates_at_shore": len(clusters) - len(at_sea),
        "candidates_over_limit": len(at_sea) - len(kept),
    }
    return tuple(candidates), counts


def _db(linear: NDArray[Any]) -> NDArray[np.float64]:
    decibels: NDArray[np.float64] = 10 * np.log10(np.maximum(linear.astype(float), 1e-6))
    return np.round(decibels, 2)
