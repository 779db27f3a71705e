"""How often the flags are right: azimuth ghosts, sidelobes and wakes on simulated scenes of known truth.

Simulates scenes (kept in .demo/flags between calls), takes the candidates of the prescreen that lie on an
object of the truth, measures and flags them: no engine has a say. A ghost that is flagged counts for recall;
a ship, platform or turbine that is flagged counts against precision. What is neither (coast, sea) is counted
apart: the engine rejects most of it.

Neighbouring slices: the upper half of each scene is taken for a slice of its own, and its ghost places are
compared with the candidates of the lower half, by the bounds that the store uses.

Thresholds were chosen on the seeds 771 to 774; the default seeds were drawn before and never looked at for
that. The last line is JSON. Simulated data: nothing here is a claim about real scenes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from daemon.flags.bright import BrightMap
from daemon.flags.ghosts import BELOW_DB, ghost_flag, ghost_places
from daemon.flags.sidelobes import sidelobe_flag
from daemon.flags.wakes import wake_flag
from daemon.measure import Measure, measure
from daemon.scan import scan
from daemon.scan.kernels import CELL_PX
from daemon.scene.land import SceneLand
from daemon.scene.product import Scene, open_scene
from engine.runtime.land import Coastline

ROOT = Path(__file__).resolve().parents[1]
FLAGS = {"azimuth_ghost": ghost_flag, "sidelobe": sidelobe_flag, "wake": wake_flag}
REAL = ("ship", "platform", "turbine")
BEYOND = "neighbour's"  # ghosts whose source lies in the upper half


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", default="881,882,883,884")
    parser.add_argument("--scenes", default="3", help="Of each seed.")
    parser.add_argument("--size", default="3000x3000")
    arguments = parser.parse_args()
    products = []
    for seed in arguments.seeds.split(","):
        folder = ROOT / ".demo" / "flags" / f"{seed}-{arguments.scenes}-{arguments.size}"
        if not folder.exists():
            program = Path(sys.executable).parent / "fusar-engine"
            order = ["simulate", str(folder), "--scenes", arguments.scenes, "--seed", seed]
            subprocess.run([program, *order, "--size", arguments.size], check=True)
        products += sorted(folder.glob("*.SAFE"))
    coastline = Coastline.load()
    counts: Counter[tuple[str, str]] = Counter()
    for product in track(products, "scenes"):
        count(product, coastline, counts)
    rows = summary(counts)
    show(counts, rows, len(products))
    print(json.dumps({"benchmark": "flags", "seeds": arguments.seeds, "scenes": len(products), **rows}))


def count(product: Path, coastline: Coastline, counts: Counter[tuple[str, str]]) -> None:
    """Flag the candidates of one scene and count them by what they are."""
    collection = json.loads(product.with_suffix(".truth.geojson").read_text())
    truth = [feature["properties"] for feature in collection["features"]]
    with open_scene(str(product)) as scene:
        scanned = scan(scene, SceneLand(coastline, scene.geometry), keep_peaks=True)
        bright = BrightMap(scanned.peaks)
        half = scene.shape[0] // 2 // CELL_PX * CELL_PX
        upper = replace(scene, shape=(half, scene.shape[1]))
        places = ghost_places(
            upper, BrightMap({name: peaks[: half // CELL_PX] for name, peaks in bright.peaks.items()})
        )
        at = scene.geometry.pixel(
            np.array([p.lon_deg for p in places]), np.array([p.lat_deg for p in places])
        )
        for candidate in scanned.candidates:
            size = measure(scene, candidate.box_px)
            if size.how != "pixels":
                continue
            what = kind(truth, candidate.line_px, candidate.sample_px)
            counts[what["kind"], "all"] += 1
            for name, flag in FLAGS.items():
                counts[what["kind"], name] += flag(scene, bright, size, candidate.box_px) is not None
            if size.line_px > half:
                source = next((t for t in truth if t["id"] == what["ghost_of"]), None)
                beyond = what["kind"] == "ghost" and source is not None and source["line_px"] < half
                counts[BEYOND if beyond else what["kind"], "lower half"] += 1
                hit = neighbours(scene, bright, places, at, size, candidate.box_px)
                counts[BEYOND if beyond else what["kind"], "neighbour"] += hit


def kind(truth: list[dict[str, Any]], line_px: float, sample_px: float) -> dict[str, Any]:
    """Return what stands at a place: the nearest object of the truth that reaches it."""
    best: tuple[float, dict[str, Any]] = (np.inf, {"kind": "nothing", "ghost_of": None})
    for entry in truth:
        down, across = abs(entry["line_px"] - line_px), abs(entry["sample_px"] - sample_px)
        ghost = entry["ghost_of"] is not None
        # ghosts are smeared along the azimuth, and fall into pieces
        reach = (30.0, 6 + entry["length_m"] / 20) if ghost else (max(6, entry["length_m"] / 20),) * 2
        distance = float(np.hypot(down, across))
        if down <= reach[0] and across <= reach[1] and distance < best[0]:
            best = distance, {"kind": "ghost" if ghost else entry["class"], "ghost_of": entry["ghost_of"]}
    return best[1]


def neighbours(scene: Scene, bright: BrightMap, places: Any, at: Any, size: Measure, box_px: Any) -> bool:
    """Whether a place where the upper half has a ghost is here, by the store's bounds."""
    x1, y1, x2, y2 = box_px
    own = bright.brightest(scene.polarisations[0], (y1, y2 - 1), (x1, x2 - 1))
    if own is None or not places:
        return False
    own_db = 10 * np.log10(own.power)
    apart = np.hypot(at[0] - size.line_px, at[1] - size.sample_px) * scene.spacing_m[0]
    return any(
        distance <= 50 + 100 * place.order
        and BELOW_DB[place.order][0] <= place.brightness_db - own_db <= BELOW_DB[place.order][1]
        for distance, place in zip(apart, places, strict=True)
    )


def summary(counts: Counter[tuple[str, str]]) -> dict[str, Any]:
    """Return precision and recall of each flag."""
    ghosts = counts["ghost", "azimuth_ghost"]
    wrong = sum(counts[name, "azimuth_ghost"] for name in REAL)
    beyond = counts[BEYOND, "neighbour"]
    wrong_beyond = sum(counts[name, "neighbour"] for name in REAL)
    return {
        "azimuth_ghost": {
            "recall": f"{ghosts}/{counts['ghost', 'all']}",
            "precision": f"{ghosts}/{ghosts + wrong}",
            "on_neither": counts["nothing", "azimuth_ghost"],
        },
        "neighbours_ghost": {
            "recall": f"{beyond}/{counts[BEYOND, 'lower half']}",
            "precision": f"{beyond}/{beyond + wrong_beyond}",
            "on_neither": counts["nothing", "neighbour"],
        },
        **{
            name: {
                "on_real_objects": sum(counts[what, name] for what in REAL),
                "real_objects": sum(counts[what, "all"] for what in REAL),
                "on_ghosts": counts["ghost", name],
                "on_neither": counts["nothing", name],
            }
            for name in ("sidelobe", "wake")
        },
    }


def show(counts: Counter[tuple[str, str]], rows: dict[str, Any], scenes: int) -> None:
    """Print what was counted."""
    table = Table(title=f"candidates of {scenes} simulated scenes, by what they are")
    for name in ("what", "all", *FLAGS):
        table.add_column(name, justify="left" if name == "what" else "right")
    for what in ("ghost", *REAL, "nothing"):
        table.add_row(what, *(str(counts[what, name]) for name in ("all", *FLAGS)))
    Console().print(table)
    Console().print(rows)


if __name__ == "__main__":
    main()
