"""`make bench-recall`: what `fusar detect` finds of what the simulator put into scenes of an unseen seed.

Simulates scenes (kept in .demo/recall between calls), runs `fusar detect` on each with a low score threshold,
and prints recall by length and false detections per 1,000 km2 of sea at several thresholds. Matching is the
demo's: centres within 100 m, or within half the length where that is more. Detections that are flagged as
azimuth ghosts count neither as found nor as false. The last line is JSON.

Simulated data: nothing here is a claim about real scenes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "deploy"))
from demo_report import Thing, kind_of, match, ratio, read_truth  # noqa: E402

LOWEST = 0.05


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", default="6")
    parser.add_argument("--size", default="3000x3000")
    parser.add_argument("--seed", default="20261122", help="Not a seed of training chips or of the demo.")
    parser.add_argument("--engine", type=Path, help="Bundle; else the one that ships.")
    arguments = parser.parse_args()
    folder = ROOT / ".demo" / "recall" / f"{arguments.seed}-{arguments.scenes}-{arguments.size}"
    programs = Path(sys.executable).parent
    if not folder.exists():
        simulate = ["simulate", str(folder), "--scenes", arguments.scenes, "--seed", arguments.seed]
        subprocess.run([programs / "fusar-engine", *simulate, "--size", arguments.size], check=True)
    scenes = []
    for product in sorted(folder.glob("*.SAFE")):
        out = product.with_suffix(".geojson")
        command = [programs / "fusar", "detect", str(product), "--out", str(out)]
        command += ["--prior", str(folder / "alphaearth" / "index.json"), "--score-threshold", str(LOWEST)]
        if arguments.engine:
            command += ["--engine", str(arguments.engine)]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        scenes.append((read_truth(product), json.loads(out.read_text())))
    rows = [score(scenes, threshold) for threshold in (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)]
    show(rows)
    print(json.dumps({"benchmark": "recall", "seed": arguments.seed, "scenes": len(scenes), "rows": rows}))


def score(scenes: list[tuple[list[Thing], dict[str, Any]]], threshold: float) -> dict[str, Any]:
    """Count over all scenes what stands at a threshold."""
    totals: Counter[tuple[str, int]] = Counter()
    found: Counter[tuple[str, int]] = Counter()
    detected = right = on_ghosts = classes = 0
    area_km2 = 0.0
    for truth, collection in scenes:
        seen = [
            Thing(p["class"], *feature["geometry"]["coordinates"][:2], p["length_m"] or 0.0)
            for feature in collection["features"]
            if (p := feature["properties"])["score"] >= threshold
            and not any(flag["name"] == "azimuth_ghost" for flag in p["flags"])
        ]
        real, ghosts = [t for t in truth if not t.ghost], [t for t in truth if t.ghost]
        pairs = match(real, seen)
        totals.update(map(kind_of, real))
        found.update(kind_of(real[i]) for i, _ in pairs)
        detected += len(seen)
        right += len(pairs)
        classes += sum(real[i].label == seen[j].label for i, j in pairs)
        taken = {j for _, j in pairs}
        on_ghosts += len(match(ghosts, [s for j, s in enumerate(seen) if j not in taken]))
        area_km2 += collection["coverage"]["area_km2"]
    over_50 = [kind for kind in totals if kind[0] == "ship" and kind[1] >= 50]
    return {
        "threshold": threshold,
        "recall_ships_over_50m": float(
            ratio(sum(found[k] for k in over_50), sum(totals[k] for k in over_50))
        ),
        "recall": {f"{k[0]} {k[1]}": f"{found[k]}/{totals[k]}" for k in sorted(totals)},
        "precision": float(ratio(right, detected)) if detected else None,
        "class_right": float(ratio(classes, right)) if right else None,
        "false": detected - right,
        "false_on_ghosts": on_ghosts,
        "area_km2": round(area_km2),
        "false_per_1000_km2": round(1000 * (detected - right) / area_km2, 2),
    }


def show(rows: list[dict[str, Any]]) -> None:
    """Print the operating points."""
    table = Table(title=f"simulated scenes, {rows[0]['area_km2']} km2 of sea")
    names = ("threshold", "ships over 50 m", "precision", "class right", "false in 1,000 km2", "on ghosts")
    for name in names:
        table.add_column(name, justify="right")
    for row in rows:
        keys = ("threshold", "recall_ships_over_50m", "precision", "class_right", "false_per_1000_km2")
        table.add_row(*(str(row[key]) for key in keys), f"{row['false_on_ghosts']} of {row['false']}")
    Console().print(table)
    detail = Table(title="recall by class and lower bound of length", show_header=False)
    middle = next(row for row in rows if row["threshold"] == 0.5)
    for kind, part in middle["recall"].items():
        detail.add_row(f"{kind} m and more, threshold 0.5" if "ship" in kind else kind, part)
    Console().print(detail)


if __name__ == "__main__":
    main()
