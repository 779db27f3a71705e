"""`make bench-scan`: a full-size scene from files to candidates, beside a pure read and a plain chain.

Simulates a dual-polarised IW scene of 25,117 x 17,000 pixels once (some minutes, kept under .demo/bench),
runs ``fusar scan`` on it as a user would, in processes of their own, with the files in the page cache and
without; the same in process, by stage; reads the same files without looking at them; and runs the same
search as plain numpy and scipy (tools/dense_scan.py), whose candidates are compared. Then the same scene as
a cloud-optimised product, beside the mere decoding of it. The last line is JSON. Simulated data: the figures
are of speed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]
LIMIT_S, LIMIT_GIB, LIMIT_RATIO, LIMIT_COLD, LIMIT_COG = 2.0, 0.5, 75.0, 1.3, 1.5
SAME_PX = 5.0  # candidates of both ways this close are the same
OFFSHORE_M = 500.0


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="25117x17000", help="Samples x lines.")
    parser.add_argument("--seed", default="11")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--no-chain", action="store_true", help="Without the plain chain, which takes minutes."
    )
    parser.add_argument("--no-cog", action="store_true", help="Leave the cloud-optimised product out.")
    arguments = parser.parse_args()
    console = Console(stderr=True)
    folder = ROOT / ".demo" / "bench" / f"scan-{arguments.size}-{arguments.seed}"
    product = simulated(folder, arguments.size, arguments.seed)
    facts: dict[str, Any] = {
        "benchmark": "scan",
        "size": arguments.size,
        "seed": arguments.seed,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
    }
    with console.status("files in the page cache"):
        facts |= warm(product, arguments.repeats)
    with console.status("files on disk"):
        facts |= cold(product, arguments.repeats)
        longer = max(facts["cold_read_s"], facts["whole_s"])
        facts["cold_over_longer"] = round(facts["cold_s"] / longer, 2)
    # A child's peak of memory begins at what its parent holds: what runs in this process comes last.
    if not arguments.no_chain:
        with console.status("plain numpy and scipy"):
            facts |= chain(product)
    with console.status("in process"):
        facts |= in_process(product, arguments.repeats)
    if not arguments.no_cog:
        with console.status("cloud-optimised"):
            facts |= cog(product, folder, arguments.repeats)
    show(facts)
    print(json.dumps(facts))


def simulated(folder: Path, size: str, seed: str) -> Path:
    """Return the scene, simulated if it is not there."""
    if not list(folder.glob("*.truth.geojson")):
        command = [sys.executable, "-m", "engine.cli", "simulate", str(folder)]
        subprocess.run([*command, "--scenes", "1", "--seed", seed, "--size", size], check=True, cwd=ROOT)
    return next(path for path in folder.glob("*.SAFE") if not path.name.endswith("_COG.SAFE"))


def warm(product: Path, repeats: int) -> dict[str, Any]:
    """Time the whole process, warm."""
    read_all(product)
    runs = [whole_process(product) for _ in range(repeats + 1)][1:]
    reads = [timed(lambda: read_all(product)) for _ in range(repeats)]
    return {
        "whole_s": round(float(np.median([run.wall_s for run in runs])), 3),
        "whole_best_s": round(min(run.wall_s for run in runs), 3),
        "whole_cpu_s": round(float(np.median([run.cpu_s for run in runs])), 3),
        "peak_gib": round(max(run.peak_gib for run in runs), 3),
        "read_s": round(float(np.median(reads)), 3),
    }


def cold(product: Path, repeats: int) -> dict[str, Any]:
    """Time the whole process and a pure read, in turn, each with nothing of the files in memory."""
    scans, reads = [], []
    for _ in range(repeats):
        forget(product)
        reads.append(timed(lambda: read_all(product)))
        forget(product)
        scans.append(whole_process(product).wall_s)
    return {
        "cold_s": round(float(np.median(scans)), 3),
        "cold_read_s": round(float(np.median(reads)), 3),
        "cold_ratio": round(float(np.median(np.array(scans) / np.array(reads))), 2),
    }


def in_process(product: Path, repeats: int) -> dict[str, Any]:
    """Time opening and scanning within one process, and each stage."""
    from daemon.scan import scan
    from daemon.scene.land import SceneLand
    from daemon.scene.product import open_scene
    from engine.runtime.land import Coastline

    coastline = Coastline.load()
    spent: list[tuple[float, float, dict[str, float]]] = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        with open_scene(str(product)) as scene:
            opened = time.perf_counter() - began
            result = scan(scene, SceneLand(coastline, scene.geometry))
            pixels = scene.shape[0] * scene.shape[1] * len(scene.polarisations)
        spent.append((time.perf_counter() - began, opened, dict(result.spent_s)))
    total, opened, stages = min(spent[1:])
    return {
        "in_process_s": round(total, 3),
        "open_s": round(opened, 3),
        "pixels": pixels,
        "candidates": len(result.candidates),
        "thread_s": {stage: round(seconds, 3) for stage, seconds in stages.items()},
        "pixels_per_thread_s": {stage: round(pixels / seconds) for stage, seconds in stages.items()},
    }


def cog(product: Path, folder: Path, repeats: int) -> dict[str, Any]:
    """Time the cloud-optimised twin, in process, against decoding all of its tiles on as many threads."""
    from daemon.scan import scan
    from daemon.scene.land import SceneLand
    from daemon.scene.product import open_scene
    from engine.runtime.land import Coastline
    from engine.simulate.cog import to_cog

    twin = next((folder / "cog").glob("*_COG.SAFE"), None)
    twin = twin or to_cog(product, folder / "cog", "DEFLATE", 512)
    read_all(twin)
    decoded, scanned = [], []
    for _ in range(repeats):
        with open_scene(str(twin)) as scene:
            decoded.append(timed(lambda: decode(scene)))
        with open_scene(str(twin)) as scene:
            began = time.perf_counter()
            scan(scene, SceneLand(Coastline.load(), scene.geometry))
            scanned.append(time.perf_counter() - began)
    return {
        "cog_scan_s": round(min(scanned), 2),
        "cog_decode_s": round(min(decoded), 2),
        "cog_ratio": round(min(scanned) / min(decoded), 2),
    }


def decode(scene: Any) -> None:
    """Read all lines of all bands and do nothing with them, a thread for each band."""

    def band(name: str) -> None:
        block = scene.block_lines(name)
        lines = np.empty((block, scene.shape[1]), np.uint16)
        for first in range(0, scene.shape[0], block):
            scene.read_lines(name, first, lines[: min(block, scene.shape[0] - first)])

    with ThreadPoolExecutor() as pool:
        list(pool.map(band, scene.polarisations))


def chain(product: Path) -> dict[str, Any]:
    """Time plain numpy and scipy in a process of its own, and compare what both found."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "dense.npy"
        code = (
            "import sys, numpy as np; import dense_scan\n"
            "from daemon.scan import ScanSettings\n"
            "from daemon.scene.land import SceneLand\n"
            "from daemon.scene.product import open_scene\n"
            "from engine.runtime.land import Coastline\n"
            "with open_scene(sys.argv[1]) as scene:\n"
            "    land = SceneLand(Coastline.load(), scene.geometry)\n"
            "    np.save(sys.argv[2], dense_scan.candidates(scene, land, ScanSettings()))\n"
        )
        ran = process([sys.executable, "-c", code, str(product), str(file)])
        dense = np.load(file)
        out = Path(folder) / "candidates.geojson"
        process([sys.executable, "-m", "daemon", "scan", str(product), "--out", str(out)])
        document = json.loads(out.read_text())
    found = [feature["properties"] for feature in document["features"]]
    ours = np.array([(one["line_px"], one["sample_px"]) for one in found]).reshape(-1, 2)
    facts: dict[str, Any] = {
        "chain_s": round(ran.wall_s, 1),
        "chain_cpu_s": round(ran.cpu_s, 1),
        "chain_peak_gib": round(ran.peak_gib, 2),
    }
    for where, least_m in (("all", 0.0), ("offshore", OFFSHORE_M)):
        mine, others = (away_from_land(product, places, least_m) for places in (ours, dense))
        facts[where] = {
            "ours": len(mine),
            "chain": len(others),
            "ours_in_chain": round(share_near(mine, dense), 4),
            "chain_in_ours": round(share_near(others, ours), 4),
        }
    return facts


def away_from_land(product: Path, places: np.ndarray, least_m: float) -> np.ndarray:
    """Keep candidates at least so far from land."""
    from daemon.scene.land import SceneLand
    from daemon.scene.product import open_scene
    from engine.runtime.land import Coastline

    with open_scene(str(product)) as scene:
        shore_m = SceneLand(Coastline.load(), scene.geometry).shore_m(*places.T)
    return places[shore_m >= least_m]


def share_near(places: np.ndarray, others: np.ndarray) -> float:
    """Return the share of some places that have one of the others near; places in pixels, [n, 2]."""
    from scipy.spatial import cKDTree

    if not len(places) or not len(others):
        return 0.0
    return float((cKDTree(others).query(places)[0] <= SAME_PX).mean())


def whole_process(product: Path) -> Ran:
    """Run fusar scan."""
    with tempfile.TemporaryDirectory() as folder:
        out = str(Path(folder) / "candidates.geojson")
        return process([sys.executable, "-m", "daemon", "scan", str(product), "--out", out])


class Ran(NamedTuple):
    """What a process took."""

    wall_s: float
    peak_gib: float
    cpu_s: float


def process(command: list[str]) -> Ran:
    """Run a command to its end."""
    began = time.perf_counter()
    path = os.pathsep.join([str(ROOT), str(ROOT / "tools")])
    inherited = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}  # as installed
    child = subprocess.Popen(
        command, env={**inherited, "PYTHONPATH": path}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    trouble = child.stderr.read() if child.stderr else b""
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"{command[0]}: exit status {status}: {trouble.decode()}")
    return Ran(time.perf_counter() - began, usage.ru_maxrss / 2**20, usage.ru_utime + usage.ru_stime)


def read_all(product: Path) -> None:
    """Read every measurement once, a thread for each file."""

    def one(file: Path) -> None:
        buffer = bytearray(6 << 20)
        with file.open("rb", buffering=0) as stream:
            while stream.readinto(buffer):
                pass

    with ThreadPoolExecutor() as pool:
        list(pool.map(one, product.glob("measurement/*.tiff")))


def forget(product: Path) -> None:
    """Have the operating system drop the files from its cache."""
    for file in product.glob("measurement/*.tiff"):
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that something takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def show(facts: dict[str, Any]) -> None:
    """Print the figures beside their limits."""
    table = Table("what", "figure", "limit", title=f"fusar scan, {facts['size']}, two polarisations")
    table.add_row("whole process, warm cache", f"{facts['whole_s']:.2f} s", f"{LIMIT_S:g} s")
    table.add_row("peak memory", f"{facts['peak_gib']:.2f} GiB", f"{LIMIT_GIB:g} GiB")
    table.add_row("a pure read, warm", f"{facts['read_s']:.2f} s", "")
    table.add_row("a pure read, cold", f"{facts['cold_read_s']:.2f} s", "")
    cold_ratio = f"{facts['cold_ratio']:.2f} x a pure read"
    table.add_row("whole process, cold", f"{facts['cold_s']:.2f} s, {cold_ratio}", f"{LIMIT_COLD:g} x")
    table.add_row("  of the longer of read and warm process", f"{facts['cold_over_longer']:.2f} x", "")
    table.add_row("in process", f"{facts['in_process_s']:.2f} s ({facts['open_s']:.2f} s opening)", "")
    for stage, seconds in facts["thread_s"].items():
        rate = facts["pixels_per_thread_s"][stage] / 1e6
        table.add_row(f"  {stage}", f"{seconds:.2f} thread-s, {rate:,.0f} Mpx/s a thread", "")
    if "cog_ratio" in facts:
        ratio = f"{facts['cog_ratio']:.2f} x decoding it, {facts['cog_decode_s']:.2f} s"
        table.add_row(
            "cloud-optimised, in process", f"{facts['cog_scan_s']:.2f} s, {ratio}", f"{LIMIT_COG:g} x"
        )
    if "chain_s" in facts:
        ratio = (
            facts["chain_cpu_s"] / facts["whole_s"]
        )  # the chain is one thread: so much it needs, undisturbed
        took = f"{facts['chain_s']:.0f} s, {facts['chain_cpu_s']:.0f} s of them computing"
        table.add_row("numpy and scipy", f"{took}, {facts['chain_peak_gib']:.1f} GiB", "")
        table.add_row("  over ours", f"{ratio:.0f} x", f"{LIMIT_RATIO:g} x")
        for where in ("all", "offshore"):
            both = facts[where]
            shared = (
                f"{both['ours_in_chain']:.3f} of our {both['ours']}, "
                f"{both['chain_in_ours']:.3f} of its {both['chain']}"
            )
            table.add_row(f"  candidates of both, {where}", shared, "")
    Console().print(table)


if __name__ == "__main__":
    main()
