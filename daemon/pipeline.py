"""A product to a `SceneResult`: open, scan, cut, ask, merge, measure. No broker, no database.

The same product under the same versions gives the same result, timings aside.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING

from daemon.assemble import Asked, Context, detections_of
from daemon.chips import cells_to_ask, is_cross, request_for
from daemon.domain import Coverage, Outcome, SceneInfo, SceneResult, Versions, run_key
from daemon.flags.all import Surroundings
from daemon.flags.bright import BrightMap
from daemon.flags.ghosts import ghost_places
from daemon.flags.layers import Layers
from daemon.measure import measure_candidates
from daemon.merge import judge, match, objects
from daemon.scan import ScanSettings, scan
from daemon.scan.coverage import nowhere
from daemon.scene.info import scene_info
from daemon.scene.land import SceneLand, relevant
from daemon.scene.product import open_scene
from engine.errors import InputError
from engine.runtime import parts
from engine.runtime.prior import Prior

if TYPE_CHECKING:
    from daemon.prior import PriorIndex
    from daemon.scene.land import LandSource
    from daemon.scene.product import Scene
    from engine.runtime.image import Cell
    from engine.runtime.land import Coastline
    from engine.runtime.predictor import Predictor
    from engine.runtime.text import Answer, Request

_SPACING_TOLERANCE = 0.25  # share by which a scene's spacing may differ from the engine's
# Stages in their order, as progress and timings name them.
STAGES = ("open", "scan", "chips", "engine", "measure")
Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class DetectSettings:
    """How a scene is turned into detections.

    Attributes:
        scan: the prescreen.
        score_threshold: objects below it are no detections; their score stays with the candidate.
        max_chips: cells asked at most, those with the strongest candidates first.
        near_land_m: detections this close to land are flagged; objects without a candidate at sea are none.
        coast_m: how far a coastline may be wrong: an object nearer to land is no detection.
    """

    scan: ScanSettings = field(default_factory=ScanSettings)
    score_threshold: float = 0.6
    max_chips: int = 3000
    near_land_m: float = 500.0
    coast_m: float = 30.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0 <= self.score_threshold <= 1:
            raise InputError(f"got score_threshold {self.score_threshold}, expected one in [0, 1]")
        if self.max_chips < 1 or self.near_land_m < 0 or self.coast_m < 0:
            raise InputError(
                f"got max_chips {self.max_chips}, near_land_m {self.near_land_m}, coast_m {self.coast_m}; "
                "expected at least 1, 0, 0"
            )

    @property
    def digest(self) -> str:
        """Hash of everything that changes a result."""
        values = asdict(self)
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def process(
    uri: str,
    predictor: Predictor,
    prior: PriorIndex | None,
    coastline: Coastline,
    settings: DetectSettings | None = None,
    progress: Progress | None = None,
    layers: Layers | None = None,
) -> SceneResult:
    """Open a product and find what is there.

    Args:
        uri: file, folder or address of the product.
        predictor: the engine.
        prior: index of AlphaEarth files; None for none.
        coastline: land.
        settings: the defaults when None.
        progress: called with a stage's name and the fraction of it that is done.
        layers: infrastructure and sea ice; None for none.

    Returns:
        Everything that was found, and what was looked at.

    Raises:
        SceneMissing: there is no product.
        SceneCorrupt: it cannot be read.
        SceneUnsupported: a kind of product that is not processed.
        SourceUnavailable: its host does not answer.
        BackendError: the engine failed.
    """
    started = time.perf_counter()
    with open_scene(uri) as scene:
        opened_s = time.perf_counter() - started
        if not relevant(coastline, scene.footprint):
            versions = (coastline.version, predictor, prior, settings)
            return _unread(scene, versions, layers or Layers(), opened_s)
        land = SceneLand(coastline, scene.geometry)
        return process_scene(scene, land, predictor, prior, settings, progress, opened_s, layers)


def process_scene(
    scene: Scene,
    land: LandSource,
    predictor: Predictor,
    prior: PriorIndex | None,
    settings: DetectSettings | None = None,
    progress: Progress | None = None,
    opened_s: float = 0.0,
    layers: Layers | None = None,
) -> SceneResult:
    """Find what is in an opened scene; as `process`."""
    settings, layers = settings or DetectSettings(), layers or Layers()
    report = progress or (lambda stage, done: None)
    report("open", 1.0)
    clock = _Clock(open=opened_s)
    info = scene_info(scene)
    ice = layers.ice_view(scene)
    versions = versions_of(land.version, predictor, prior, settings, layers.version(info.start, ice.chart))
    not_trained = _not_trained_at(info, predictor)
    notes = [*scene.notes, *not_trained]

    with clock("scan"):
        scanned = scan(scene, land, settings.scan, lambda done: report("scan", done), keep_peaks=True)
    notes += scanned.notes
    with clock("chips"):
        cells, left_out = cells_to_ask([] if not_trained else scanned.candidates, settings.max_chips)
        requests = _requests(scene, cells, prior, notes, lambda done: report("chips", done))
    if left_out:
        notes.append(f"{left_out} cells with candidates were not asked: max_chips is {settings.max_chips}")
    with clock("engine"):
        answers = _ask(predictor, requests, lambda done: report("engine", done))
    with clock("measure"):
        asked = Asked(cells, requests, answers)
        found = objects(asked.answers, scene.spacing_m)
        matched = match(scanned.candidates, found)
        candidates = judge(scanned.candidates, found, matched, asked.answers, settings.score_threshold)
        candidates = measure_candidates(scene, candidates, land)
        around = Surroundings(scene, BrightMap(scanned.peaks), layers, ice)
        detections, none = detections_of(
            Context(
                around, land, settings.near_land_m, settings.coast_m, run_key(info, versions), candidates
            ),
            asked,
            [(f, m) for f, m in zip(found, matched, strict=True) if f.score >= settings.score_threshold],
            lambda done: report("measure", done),
        )
    notes += around.notes
    outcome, reason = _outcome(scanned.coverage)
    states = Counter(candidate.state for candidate in candidates)
    saturated = scanned.saturated or left_out > 0 or any(a.outcome == "saturated" for a in answers)
    return SceneResult(
        outcome=outcome,
        reason=reason,
        scene=info,
        versions=versions,
        coverage=scanned.coverage,
        candidates=candidates,
        detections=detections,
        saturated=saturated,
        counts={
            **scanned.counts,
            **{state: states[state] for state in ("confirmed", "rejected", "unanswered", "not_examined")},
            "chips": len(cells),
            "chips_left_out": left_out,
            "chips_saturated": sum(answer.outcome == "saturated" for answer in answers),
            "objects": sum(len(answer.objects) for answer in answers),
            "objects_of_neighbours": sum(len(answer.objects) for answer in answers) - len(found),
            "objects_below_threshold": sum(f.score < settings.score_threshold for f in found),
            **none,
            "detections": len(detections),
        },
        timings_s=clock.times(),
        notes=tuple(notes),
        layers=layers.status(scene, ice),
        ghost_places=ghost_places(scene, around.bright),
    )


def _unread(
    scene: Scene,
    versions: tuple[str, Predictor, PriorIndex | None, DetectSettings | None],
    layers: Layers,
    opened_s: float,
) -> SceneResult:
    """Tell of a scene without sea, whose pixels are not read."""
    info, ice = scene_info(scene), layers.ice_view(scene)
    return SceneResult(
        outcome="irrelevant",
        reason="no sea in the footprint nor near it: its pixels were not read",
        scene=info,
        versions=versions_of(*versions, layers.version(info.start, ice.chart)),
        coverage=nowhere(),
        candidates=(),
        detections=(),
        saturated=False,
        counts={"candidates": 0, "chips": 0, "detections": 0},
        timings_s=_Clock(open=opened_s).times(),
        notes=tuple(scene.notes),
        layers=layers.status(scene, ice),
    )


def versions_of(
    land: str,
    predictor: Predictor,
    prior: PriorIndex | None,
    settings: DetectSettings | None = None,
    layers: str | None = None,
) -> Versions:
    """What a result depends on beside its product; known before any scene is opened.

    Args:
        land: version of the coastline.
        predictor: the engine.
        prior: index of AlphaEarth files.
        settings: the defaults when None.
        layers: version of the dated layers that hold for the acquisition.
    """
    try:
        code = metadata.version("fusar")
    except metadata.PackageNotFoundError:  # a source tree that is not installed
        code = "unknown"
    return Versions(
        code=code,
        land=land,
        prior=prior.version if prior is not None else None,
        engine=predictor.bundle.bundle_id,
        backend=predictor.backend.name,
        settings=(settings or DetectSettings()).digest,
        layers=layers,
    )


class _Clock:
    """Wall-clock time of the stages."""

    def __init__(self, **spent_s: float) -> None:
        self._spent_s = spent_s

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self._spent_s[stage] = time.perf_counter() - started

    def times(self) -> dict[str, float]:
        times = {stage: round(spent, 4) for stage, spent in self._spent_s.items()}
        return {**times, "total": round(sum(self._spent_s.values()), 4)}


def _not_trained_at(info: SceneInfo, predictor: Predictor) -> list[str]:
    """Say why the engine cannot be asked about a scene: nothing where it can.

    A model's answer on what it never saw is no evidence, so the scene is scanned, its candidates are kept
    and stay not examined. Every bundle is trained with the co-polarised channel, the cross-polarised one
    may be missing.
    """
    manifest = predictor.bundle.manifest
    spacing_m = sum(info.spacing_m) / 2
    reasons = []
    if info.sensor not in manifest.sensors:
        reasons.append(f"got {info.sensor}, trained on {' and '.join(manifest.sensors)}")
    if abs(spacing_m / manifest.spacing_m - 1) > _SPACING_TOLERANCE:
        reasons.append(f"got a spacing of {spacing_m:.1f} m, trained at {manifest.spacing_m:g} m")
    if all(is_cross(name) for name in info.polarisations):
        reasons.append(f"got {' and '.join(info.polarisations)}, trained with VV or HH")
    if not reasons:
        return []
    return [
        f"engine_not_asked: {'; '.join(reasons)} (engine {predictor.bundle.bundle_id}): candidates are kept "
        "and not examined"
    ]


def _requests(
    scene: Scene,
    cells: Sequence[Cell],
    index: PriorIndex | None,
    notes: list[str],
    report: Callable[[float], None],
) -> list[Request]:
    requests = []
    for done, cell in enumerate(cells, 1):
        prior = Prior.absent()
        if index is not None:
            prior = index.prior(scene.geometry, cell.chip_origin_px, scene.name.start)
        requests.append(request_for(scene, cell, prior))
        report(done / len(cells))
    if index is not None:
        notes += index.take_notes()
    return requests


def _ask(predictor: Predictor, requests: list[Request], report: Callable[[float], None]) -> list[Answer]:
    ended = 0

    def count(more: int) -> None:
        nonlocal ended
        ended += more
        report(ended / len(requests))

    return parts.ask(predictor, requests, count) if requests else []


def _outcome(coverage: Coverage) -> tuple[Outcome, str | None]:
    if coverage.valid_fraction == 0:
        return "empty", "the product holds no valid pixel"
    if coverage.area_km2 == 0:
        return "irrelevant", "no sea that could be searched among the valid pixels"
    return "done", None
