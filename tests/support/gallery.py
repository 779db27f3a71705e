"""The gallery's frames looked at by the daemon, and what came of it as a few exact counts."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from shapely.geometry import Polygon, mapping, shape

from daemon.domain import Candidate, Detection, SceneResult
from daemon.flags.ice import SeaIce
from daemon.flags.infrastructure import Infrastructure, Structure
from daemon.flags.layers import Layers
from daemon.pipeline import process
from daemon.scan import ScanResult, scan
from daemon.scene.land import SceneLand
from daemon.scene.product import open_scene
from engine.runtime.land import Coastline
from engine.runtime.predictor import Predictor
from engine.simulate import stage
from engine.simulate.gallery import FRAMES, Frame

ROOT = Path(__file__).resolve().parents[2]
EXPECTED = ROOT / "tests" / "daemon" / "gallery.json"
KEPT = ROOT / ".demo" / "gallery"  # products, between calls
WANTED = ("ship", "platform", "turbine")  # what a detector is to find
ICE_RAD = np.radians(35.0)  # direction into the pack, clockwise from the image's upward direction
REACH_PX = 10.0  # or half the length: how far an answer may lie from what it means

Counts = dict[str, Any]


@dataclass(frozen=True)
class Thing:
    """One object of the truth."""

    kind: str  # its class; 'ghost' for a ghost of anything
    line_px: float
    sample_px: float
    lon_deg: float
    lat_deg: float
    length_m: float

    @property
    def reach_px(self) -> float:
        """How far from its centre an answer may lie."""
        return max(REACH_PX, self.length_m / 20)


@dataclass
class Look:
    """What was found in a frame; index of the thing that each answer means, None for nothing."""

    truth: list[Thing]
    answers: Iterable[Candidate | Detection]
    meant: list[int | None] = field(init=False)

    def __post_init__(self) -> None:
        self.answers = list(self.answers)
        self.meant = match(self.truth, self.answers)

    def kind(self, index: int) -> str:
        """What an answer stands on."""
        meant = self.meant[index]
        return "nothing" if meant is None else self.truth[meant].kind


def product(frame: Frame, folder: Path = KEPT) -> Path:
    """Return a frame's product; it is simulated anew only where the simulator has changed."""
    current = folder / simulator_digest()
    home = current / frame.name
    if not home.exists():
        current.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            if old != current:
                shutil.rmtree(old, ignore_errors=True)
        draft = Path(tempfile.mkdtemp(dir=current, prefix="."))
        stage.write(frame.setting, draft, Coastline.load())
        try:
            draft.rename(home)
        except OSError:  # another process was quicker
            shutil.rmtree(draft)
    (found,) = home.glob("*.SAFE")
    return found


@lru_cache(maxsize=1)
def simulator_digest() -> str:
    """Hash everything that shapes a product."""
    versions = f"{np.__version__} {scipy.__version__} {Coastline.load().version}"
    digest = hashlib.sha256(versions.encode())
    parts = [*(ROOT / "engine" / "simulate").iterdir(), ROOT / "engine" / "runtime" / "geometry.py"]
    for path in sorted(part for part in parts if part.is_file()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def truth(folder: Path) -> list[Thing]:
    """Read what stands in a product."""
    document = json.loads(folder.with_suffix(".truth.geojson").read_text())
    things = []
    for feature in document["features"]:
        about = feature["properties"]
        kind = "ghost" if about["ghost_of"] else about["class"]
        lon, lat = feature["geometry"]["coordinates"]
        things.append(Thing(kind, about["line_px"], about["sample_px"], lon, lat, about["length_m"]))
    return things


def match(things: list[Thing], answers: Iterable[Candidate | Detection]) -> list[int | None]:
    """Give each answer at most one thing and each thing at most one answer, as near as can be."""
    at = np.array([(a.line_px, a.sample_px) for a in answers]).reshape(-1, 2)
    there = np.array([(t.line_px, t.sample_px) for t in things]).reshape(-1, 2)
    apart = np.hypot(*(at[:, None] - there).transpose(2, 0, 1))
    share = apart / np.array([t.reach_px for t in things])
    cost = np.where(share <= 1, share, 1e6)
    rows, columns = linear_sum_assignment(cost)
    meant: list[int | None] = [None] * len(at)
    for row, column in zip(rows, columns, strict=True):
        if share[row, column] <= 1:
            meant[row] = int(column)
    return meant


def near(things: list[Thing], candidates: Sequence[Candidate]) -> NDArray[np.bool_]:
    """Whether a candidate lies within reach, for each thing and candidate, [things, candidates]."""
    reach = [
        [np.hypot(c.line_px - t.line_px, c.sample_px - t.sample_px) <= t.reach_px for c in candidates]
        for t in things
    ]
    return np.array(reach, bool).reshape(len(things), len(reach[0]) if reach else 0)


def scanned(folder: Path) -> ScanResult:
    """Prescreen a product."""
    with open_scene(str(folder)) as scene:
        return scan(scene, SceneLand(Coastline.load(), scene.geometry))


def detected(folder: Path, predictor: Predictor) -> SceneResult:
    """Take a product through the whole pipeline, without a prior, with the layers that would be at hand."""
    return process(str(folder), predictor, None, Coastline.load(), layers=layers(folder))


def layers(folder: Path) -> Layers:
    """Return what charts would hold of a frame: its fixed structures, and its ice on the day before."""
    document = json.loads(folder.with_suffix(".truth.geojson").read_text("utf-8"))
    structures = []
    for feature in document["features"]:
        kind, name = feature["properties"]["class"], feature["properties"]["id"]
        if kind in ("turbine", "platform", "aquaculture") and not feature["properties"]["ghost_of"]:
            structures.append((Structure(kind, name, date.min, date.max), shape(feature["geometry"])))
    infrastructure = Infrastructure(structures, "the frame's own") if structures else None
    if folder.parent.name != "ice_edge":
        return Layers(infrastructure)
    with open_scene(str(folder)) as scene:
        lines, samples = scene.shape
        # The edge runs through the middle, as engine.simulate.ice draws it; line and sample.
        across = np.array([-np.cos(ICE_RAD), np.sin(ICE_RAD)])
        along = np.array([np.sin(ICE_RAD), np.cos(ICE_RAD)])
        middle, far = np.array([lines / 2, samples / 2]), 2.0 * max(lines, samples)
        corners = [middle + far * (a * along + b * across) for a, b in ((-1, 0), (1, 0), (1, 1), (-1, 1))]
        outline = np.stack(scene.geometry.lonlat(*np.array([*corners, corners[0]]).T), axis=1)
        day = (scene.name.start - timedelta(days=1)).date().isoformat()
    ice = {"type": "Feature", "properties": {"concentration_percent": 90}}
    document = {"type": "FeatureCollection", "features": [{**ice, "geometry": mapping(Polygon(outline))}]}
    (folder.parent / "ice.geojson").write_text(json.dumps(document))
    index = folder.parent / "ice.json"
    charts = [{"date": day, "path": "ice.geojson"}]
    index.write_text(json.dumps({"source": "the frame's own", "charts": charts}))
    return Layers(infrastructure, sea_ice=SeaIce(index, 3))


def prescreen_counts(things: list[Thing], found: ScanResult) -> Counts:
    """Count what the prescreen saw.

    `left_out`: what exceeds and is no candidate, by reason; `seen`: things with a candidate within reach, of
    all, by kind; `elsewhere`: candidates near nothing.
    """
    close = near(things, found.candidates)
    totals, seen = Counter(t.kind for t in things), Counter[str]()
    seen.update(t.kind for t, row in zip(things, close, strict=True) if row.any())
    return {
        "candidates": len(found.candidates),
        "left_out": {
            name.removeprefix("candidates_"): count
            for name, count in sorted(found.counts.items())
            if name.startswith("candidates_") and count
        },
        "seen": {kind: f"{seen[kind]}/{totals[kind]}" for kind in sorted(totals)},
        "elsewhere": int((~close.any(0)).sum()) if len(things) else len(found.candidates),
        "flags": flags((c, "candidate") for c in found.candidates),
        "sea_km2": round(found.coverage.area_km2),
    }


def engine_counts(things: list[Thing], result: SceneResult) -> Counts:
    """Count what the daemon answers.

    `found`: wanted things with a detection, of all; `class_right`: of these, as what they are;
    `length_held`: of the ships found, those whose length lies in the stated interval; `named`: detections of
    other things; `false`: of nothing; `flags`: by name and what the detection stands on; `sources_right`:
    ghosts flagged with a source that is one.
    """
    look = Look(things, result.detections)
    kinds = [look.kind(i) for i in range(len(result.detections))]
    totals, found = Counter(t.kind for t in things), Counter(kinds)
    pairs = list(zip(result.detections, kinds, strict=True))
    ships = [d for d, kind in pairs if kind == "ship"]
    lengths = [things[i].length_m for i in look.meant if i is not None and things[i].kind == "ship"]
    return {
        "outcome": result.outcome,
        "detections": _sorted(Counter(d.label for d in result.detections)),
        "found": {kind: f"{found[kind]}/{totals[kind]}" for kind in WANTED if totals[kind]},
        "length_held": f"{sum(map(_length_held, ships, lengths))}/{len(ships)}",
        "class_right": sum(d.label == kind for d, kind in pairs),
        "named": {kind: found[kind] for kind in sorted(totals) if kind not in WANTED},
        "false": found["nothing"],
        "flags": flags(pairs),
        "sources_right": sum(_source_right(things, d) for d, kind in pairs if kind == "ghost"),
        "states": _sorted(Counter(c.state for c in result.candidates)),
        "saturated": result.saturated,
    }


def flags(pairs: Iterable[tuple[Any, str]]) -> dict[str, dict[str, int]]:
    """Count flags by name and by what they stand on."""
    counts: dict[str, Counter[str]] = {}
    for item, kind in pairs:
        for flag in getattr(item, "flags", ()):
            counts.setdefault(flag.name, Counter())[kind] += 1
    return {name: _sorted(counts[name]) for name in sorted(counts)}


def _length_held(detection: Detection, length_m: float) -> bool:
    return detection.length_low_m <= length_m <= detection.length_high_m


def _source_right(things: list[Thing], detection: Detection) -> bool:
    flag = detection.flag("azimuth_ghost")
    if flag is None:
        return False
    line, sample = float(flag.evidence["source_line_px"]), float(flag.evidence["source_sample_px"])
    return any(
        np.hypot(line - t.line_px, sample - t.sample_px) <= t.reach_px + 5
        for t in things
        if t.kind != "ghost"
    )


def _sorted(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: counts[name] for name in sorted(counts)}


def expected() -> dict[str, dict[str, Any]]:
    """Read what each frame must give: `prescreen`, `engine`, and the `verdict` in words."""
    found: dict[str, dict[str, Any]] = json.loads(EXPECTED.read_text("utf-8"))
    return found


def in_words(counts: Mapping[str, Counts]) -> str:
    """Say a frame's counts in one line."""
    scan_, engine = counts["prescreen"], counts["engine"]
    if engine["outcome"] != "done":
        return f"outcome {engine['outcome']}, {scan_['candidates']} candidates"
    parts = [f"{scan_['candidates']} candidates"]
    parts += [f"{kind}s {share}" for kind, share in engine["found"].items()]
    parts += [f"{n} on {_plural(kind)}" for kind, n in engine["named"].items()]
    parts.append(f"{engine['false']} on nothing")
    wrong = sum(engine["detections"].values()) - sum(engine["named"].values()) - engine["false"]
    if wrong != engine["class_right"]:
        parts.append(f"{wrong - engine['class_right']} of a wrong class")
    held, _, ships = engine["length_held"].partition("/")
    if held != ships:
        parts.append(f"{held} of {ships} lengths in their interval")
    for name, on in engine["flags"].items():
        parts.append(f"{name} " + ", ".join(f"{n} on {_plural(kind)}" for kind, n in on.items()))
    if engine["saturated"]:
        parts.append("saturated")
    return "; ".join(parts)


def _plural(kind: str) -> str:
    return kind if kind in ("nothing", "aquaculture") else f"{kind}s"


TABLE = ("<!-- table: written by tools/gallery.py -->", "<!-- end of table -->")
DOCS = ROOT / "docs" / "gallery.md"


def table() -> str:
    """Write the table of docs/gallery.md from the recorded counts."""
    known = expected()
    lines = ["| frame | shows | right would be | today | verdict |", "|---|---|---|---|---|"]
    for frame in FRAMES:
        entry = known[frame.name]
        lines.append(
            f"| {frame.title} | {frame.shows} | {frame.right} | {in_words(entry)} | {entry['verdict']} |"
        )
    return "\n".join(lines)


def write_table() -> None:
    """Put the table between its marks in docs/gallery.md."""
    before, _, rest = DOCS.read_text("utf-8").partition(TABLE[0])
    after = rest.partition(TABLE[1])[2]
    DOCS.write_text(f"{before}{TABLE[0]}\n{table()}\n{TABLE[1]}{after}", "utf-8")
