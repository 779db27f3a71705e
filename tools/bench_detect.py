"""`make bench-detect`: the whole way of one scene through `fusar detect`, in time and memory.

Simulates one dual-polarised scene (kept in .demo/bench between calls), runs `fusar detect` on it as a user
would, in a process of its own, and prints what it took beside a pure read of the same pixels. The last line
is JSON. Simulated data: the figures are of speed, not of detection.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
LIMIT_S, LIMIT_GIB = 60.0, 1.5


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="6000x6000")
    parser.add_argument("--seed", default="11")
    arguments = parser.parse_args()
    folder = ROOT / ".demo" / "bench" / arguments.size
    programs = Path(sys.executable).parent
    if not list(folder.glob("*.SAFE")):
        simulate = [
            "simulate",
            str(folder),
            "--scenes",
            "1",
            "--seed",
            arguments.seed,
            "--size",
            arguments.size,
        ]
        subprocess.run([programs / "fusar-engine", *simulate], check=True)
    product = next(folder.glob("*.SAFE"))
    read_s, pixel_bytes = pure_read(product)
    out = folder / "detections.geojson"
    command = [
        programs / "fusar", "detect", str(product), "--prior", str(folder / "alphaearth" / "index.json"),
        "--out", str(out),
    ]  # fmt: skip
    began = time.perf_counter()
    subprocess.run(command, check=True)
    wall_s = time.perf_counter() - began
    peak_gib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    collection = json.loads(out.read_text())
    facts = {
        "benchmark": "detect",
        "size": arguments.size,
        "pixels_bytes": pixel_bytes,
        "detections": len(collection["features"]),
        "wall_s": round(wall_s, 2),
        "peak_gib": round(peak_gib, 2),
        "pure_read_s": round(read_s, 3),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "within": bool(wall_s <= LIMIT_S and peak_gib <= LIMIT_GIB),
    }
    table = Table("what", "figure", "limit", title="fusar detect, whole process, warm page cache")
    table.add_row("wall time", f"{wall_s:.1f} s", f"{LIMIT_S:.0f} s")
    table.add_row("peak memory", f"{peak_gib:.2f} GiB", f"{LIMIT_GIB} GiB")
    table.add_row("a pure read of the same pixels", f"{read_s:.2f} s", "")
    Console().print(table)
    print(json.dumps(facts))


def pure_read(product: Path) -> tuple[float, int]:
    """Read every measurement once, as bytes; the peak of memory stays with the detection."""
    began, size = time.perf_counter(), 0
    for file in product.glob("measurement/*.tiff"):
        with file.open("rb") as stream:
            while block := stream.read(1 << 24):
                size += len(block)
    return time.perf_counter() - began, size


if __name__ == "__main__":
    main()
