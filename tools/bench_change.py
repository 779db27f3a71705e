"""`make bench-change`: what is told of the changes between simulated repeat passes, against the truth.

Simulates pairs of passes (kept in .demo/change between calls), looks at each with `daemon.pipeline`, compares
them as the daemon does, without a database, and prints precision and recall of each kind, beside two
baselines: the difference of the two detection sets (nearest within 100 m), and a threshold on the log-ratio
alone. Then how often each appearance of the pixels is measured in each state, from which the constants of
daemon/change/decide.py were taken, and how well the scores are calibrated. The last line is JSON.

Simulated data: nothing here is a claim about real scenes.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from shapely.geometry import Point

from daemon.change.ask import ChangeEngine
from daemon.change.chips import Chips
from daemon.change.domain import Comparison, PassRun, Place, Sighting, Unit
from daemon.change.pairing import plans
from daemon.change.unit import work_out
from daemon.domain import SceneResult
from daemon.pipeline import process
from engine.runtime.land import Coastline
from engine.runtime.predictor import Predictor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "deploy"))
from change_truth import KINDS, scores, total, truth_changes  # noqa: E402
from demo_report import Thing, match, ratio  # noqa: E402

EDGE_DEG = 0.0005  # as daemon/store/change.py has it
LOG_RATIO_DB = 6.0  # of the second baseline


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sites", default="6")
    parser.add_argument("--size", default="2400x2400")
    parser.add_argument("--seed", default="20261123", help="Not a seed of training chips or of the demo.")
    parser.add_argument("--engine", type=Path, help="Bundle; else the one that ships.")
    parser.add_argument("--folder", type=Path, help="Simulated products that are there already.")
    arguments = parser.parse_args()
    folder = arguments.folder or simulated(arguments)
    predictor, coastline = Predictor.open(arguments.engine, threads=1), Coastline.load()
    engine = ChangeEngine.of(predictor)
    pairs = []
    for before, after in repeat_passes(folder):
        earlier, later = (look(product, predictor, coastline) for product in (before, after))
        comparison = compare(earlier, later)
        with Chips(coastline) as chips:
            units = [work_out(plan, chips, engine) for plan in plans(comparison, 48)]
        twice = earlier.coverage.valid_area.intersection(later.coverage.valid_area).buffer(EDGE_DEG)
        pairs.append((truth_changes(before, after, twice), units, comparison))
    report = show(pairs)
    print(
        json.dumps(
            {
                "benchmark": "change",
                "seed": arguments.seed,
                "pairs": len(pairs),
                "engine_asked": engine is not None,
                **report,
            }
        )
    )


def simulated(arguments: argparse.Namespace) -> Path:
    """Return the folder of the products; they are simulated where it is missing."""
    folder = ROOT / ".demo" / "change" / f"{arguments.seed}-{arguments.sites}-{arguments.size}"
    if not folder.exists():
        command = [sys.executable, "-m", "engine.cli", "simulate", str(folder), "--passes", "2"]
        command += ["--scenes", arguments.sites, "--seed", arguments.seed, "--size", arguments.size]
        subprocess.run(command, check=True, cwd=ROOT)
    return folder


def repeat_passes(folder: Path) -> list[tuple[Path, Path]]:
    """Pair products of one place, 12 days apart."""
    by_orbit: dict[Any, list[Path]] = defaultdict(list)
    for product in folder.glob("*.SAFE"):
        truth = json.loads(product.with_suffix(".truth.geojson").read_text())
        fixed = [f["geometry"]["coordinates"] for f in truth["features"]] or [[0.0, 0.0]]
        middle = np.median(np.array(fixed)[:, :2], 0)
        key = next((k for k in by_orbit if np.hypot(*(np.array(k) - middle)) < 0.3), tuple(middle))
        by_orbit[key].append(product)
    ordered = [sorted(products, key=lambda p: p.name.split("_")[4]) for products in by_orbit.values()]
    return [pair for products in ordered for pair in zip(products, products[1:], strict=False)]


def look(product: Path, predictor: Predictor, coastline: Coastline) -> SceneResult:
    """Look at a product; the result is kept beside it for the engine at hand."""
    kept = product.with_suffix(f".{predictor.bundle.bundle_id[:12]}.result")
    if kept.exists():
        return pickle.loads(kept.read_bytes())  # noqa: S301 - written below, by ourselves
    result = process(str(product), predictor, None, coastline)
    kept.write_bytes(pickle.dumps(result))
    return result


def compare(earlier: SceneResult, later: SceneResult) -> Comparison:
    """Put two results side by side, as the database would."""
    runs = [
        PassRun(
            r.run_key,
            r.scene.platform,
            r.scene.datatake,
            r.scene.mode,
            r.scene.relative_orbit,
            r.scene.orbit_direction,
            r.scene.start,
            r.scene.uri,
            r.coverage.smallest_ship_m,
        )
        for r in (earlier, later)
    ]
    seen = []
    for result, other in ((earlier, later), (later, earlier)):
        area = other.coverage.valid_area.buffer(EDGE_DEG)
        seen.append([sighting(d, result, other, area) for d in result.detections])
    before = [s for s in seen[0] if s.other_run_id is not None]
    return Comparison(runs[1], (), (runs[0],), tuple(seen[1]), tuple(before))


def sighting(detection: Any, result: SceneResult, other: SceneResult, area: Any) -> Sighting:
    """Turn a detection into one side of a place."""
    lon, lat = detection.lon_deg, detection.lat_deg
    looked = area.covers(Point(lon, lat))
    scale = 111_195.0 * np.array([np.cos(np.radians(lat)), 1.0])
    near = [
        c
        for c in other.candidates
        if c.state != "confirmed" and np.hypot(*((c.lon_deg - lon, c.lat_deg - lat) * scale)) <= 60
    ]
    strongest = max(near, key=lambda c: c.contrast_db, default=None)
    same = "id label score lon_deg lat_deg line_px sample_px length_m box_px incidence_deg azimuth_deg"
    same += " range_to_velocity_s shift_bound_m"
    return Sighting(
        run_id=result.run_key,
        flags={flag.name: dict(flag.evidence) for flag in detection.flags},
        other_run_id=other.run_key if looked else None,
        candidate=strongest.state if strongest and looked else None,
        **{name: getattr(detection, name) for name in same.split()},
    )


def told(units: Sequence[Unit]) -> dict[str, list[Thing]]:
    """Return what units say, by kind."""
    found: dict[str, list[Thing]] = defaultdict(list)
    for unit in units:
        for place, verdict in zip(unit.plan.places, unit.verdicts, strict=True):
            found[verdict.kind].append(thing(place.sighting))
    return found


def difference(comparison: Comparison) -> dict[str, list[Thing]]:
    """The first baseline: what one detection set holds and the other does not."""
    before, after = (
        [s for s in side if not s.phantom] for side in (comparison.seen_before, comparison.seen_after)
    )
    pairs = match([thing(s) for s in before], [thing(s) for s in after])
    paired_before, paired_after = {i for i, _ in pairs}, {j for _, j in pairs}
    return {
        "appeared": [thing(s) for j, s in enumerate(after) if j not in paired_after and s.other_run_id],
        "gone": [thing(s) for i, s in enumerate(before) if i not in paired_before],
        "still_occupied": [thing(after[j]) for j in paired_after],
    }


def log_ratio(units: Sequence[Unit]) -> dict[str, list[Thing]]:
    """The second baseline: a threshold on the ratio of intensities at places where anything was seen."""
    found: dict[str, list[Thing]] = defaultdict(list)
    for unit in units:
        for place, verdict in zip(unit.plan.places, unit.verdicts, strict=True):
            db = verdict.evidence.get("pixels", {}).get("ratio_db")
            if db is None:
                continue
            kind = "still_occupied" if abs(db) < LOG_RATIO_DB else "appeared" if db > 0 else "gone"
            found[kind].append(thing(place.sighting))
    return found


def thing(item: Sighting) -> Thing:
    """Return a sighting as the report matches it."""
    return Thing(item.label, item.lon_deg, item.lat_deg, item.length_m)


def show(pairs: Sequence[tuple[Any, Sequence[Unit], Comparison]]) -> dict[str, Any]:
    """Print the tables; return their figures."""
    console = Console(highlight=False)
    report: dict[str, Any] = {}
    table = Table("method", "kind", "truth", "told", "right", "precision", "recall")
    for name, said in (
        ("fusar", lambda units, _: told(units)),
        ("difference of detections", lambda _, comparison: difference(comparison)),
        (f"log-ratio of {LOG_RATIO_DB:g} dB", lambda units, _: log_ratio(units)),
    ):
        sums = total(scores(truth, said(units, comparison)) for truth, units, comparison in pairs)
        for kind, score in sums.items():
            figures = ratio(score.right, score.told), ratio(score.right, score.truth)
            table.add_row(name, kind, str(score.truth), str(score.told), str(score.right), *figures)
        table.add_section()
        report[name] = {kind: vars(score) for kind, score in sums.items()}
    console.print(table)
    report |= {"appearances": appearances(console, pairs), "brier": calibration(console, pairs)}
    kinds = Counter(v.reason for _, units, _ in pairs for u in units for v in u.verdicts if v.reason)
    console.print(f"cannot tell, by reason: {dict(kinds)}")
    return report


def state_of(place: Place, truth: dict[str, list[Thing]]) -> str:
    """Return what is true of a place."""
    for kind in KINDS:
        if match(truth[kind], [thing(place.sighting)]):
            return kind
    return "nothing"


def appearances(console: Console, pairs: Sequence[tuple[Any, Sequence[Unit], Comparison]]) -> dict[str, Any]:
    """Print how often each appearance is measured in each state."""
    counts: Counter[tuple[str, str]] = Counter()
    for truth, units, _ in pairs:
        for unit in units:
            for place, verdict in zip(unit.plan.places, unit.verdicts, strict=True):
                seen = verdict.evidence.get("pixels", {}).get("appearance")
                if seen:
                    counts[state_of(place, truth), seen] += 1
    names = ("brighter", "darker", "bright", "dark")
    table = Table("state in truth", "places", *names, title="appearance of the pixels", title_justify="left")
    for state in (*KINDS, "nothing"):
        whole = sum(counts[state, name] for name in names)
        table.add_row(state, str(whole), *(ratio(counts[state, name], whole) for name in names))
    console.print(table)
    return {f"{state} {name}": count for (state, name), count in sorted(counts.items())}


def calibration(console: Console, pairs: Sequence[tuple[Any, Sequence[Unit], Comparison]]) -> float | None:
    """Print how often a kind told with some score is right; return the Brier score."""
    rows = [
        (verdict.score, state_of(place, truth) == verdict.kind)
        for truth, units, _ in pairs
        for unit in units
        for place, verdict in zip(unit.plan.places, unit.verdicts, strict=True)
        if verdict.kind != "cannot_tell"
    ]
    table = Table("score", "places", "mean score", "right", title="calibration", title_justify="left")
    edges = (0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0001)
    for low, high in zip(edges, edges[1:], strict=False):
        here = [row for row in rows if low <= row[0] < high]
        mean = f"{np.mean([score for score, _ in here]):.2f}" if here else "-"
        table.add_row(
            f"{low:g} to {min(high, 1):g}", str(len(here)), mean, ratio(sum(r for _, r in here), len(here))
        )
    console.print(table)
    brier = float(np.mean([(score - right) ** 2 for score, right in rows])) if rows else None
    console.print("no kind was told" if brier is None else f"Brier score {brier:.3f} of {len(rows)} places")
    return None if brier is None else round(brier, 4)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
