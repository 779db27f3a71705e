"""``fusar scan``: one product to the prescreen's candidates, without an engine, a broker or a database.

A scene takes hardly longer than loading the libraries of a command line does: nothing is imported here that
the scan does not need.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from engine.errors import FusarError

if TYPE_CHECKING:
    from daemon.scan import ScanResult

_SENDS = sys.platform == "linux"  # others do not send a file to nowhere: there the scan does its own reading
_PIECE_BYTES = 4 << 20
_CACHED_S = 0.001  # a piece from memory takes less, 4 GB/s, one from a disk mostly more
_CACHED_PIECES = 4  # so many after each other


def main(arguments: Sequence[str]) -> int:
    """Find whatever stands out of the sea in one product, and write it as GeoJSON.

    Args:
        arguments: of the command line, without the command's name.

    Returns:
        The exit code.
    """
    began = time.perf_counter()
    asked = _parser().parse_args(arguments)
    for file in _measurements(asked.product) if _SENDS else ():  # the disk works while the program loads
        Thread(target=_fetch, args=(file,), daemon=True).start()
    from daemon import geojson
    from daemon.scan import ScanSettings, scan
    from daemon.scene.info import scene_info
    from daemon.scene.land import SceneLand
    from daemon.scene.product import open_scene
    from engine.runtime.land import Coastline

    try:
        rate = asked.false_alarm_rate
        settings = ScanSettings() if rate is None else ScanSettings(false_alarm_rate=rate)
        with open_scene(asked.product) as scene, _shown_progress() as progress:
            land = SceneLand(Coastline.load(), scene.geometry)
            found = scan(scene, land, settings, progress, asked.threads)
            document = geojson.candidates_collection(scene_info(scene), found, land.version)
        geojson.write(document, asked.out)
    except (FusarError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    _print(found, asked.out, time.perf_counter() - began)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "fusar scan",
        description="Find whatever stands out of the sea in one product, and write it as GeoJSON.",
    )
    parser.add_argument("product", help="Sentinel-1 GRD product: SAFE folder, zip, COG, AWS folder")
    parser.add_argument("--out", type=Path, required=True, help="GeoJSON file to write")
    parser.add_argument(
        "--false-alarm-rate", type=float, help="probability that a pixel of sea exceeds its threshold"
    )
    parser.add_argument("--threads", type=_positive, help="threads; all cores when left out")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"got {number}, expected 1 or more")
    return number


@contextmanager
def _shown_progress() -> Iterator[Callable[[float], None] | None]:
    """Show a bar where somebody sees it."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("scan"), BarColumn(40), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task("scan", total=1.0)
        yield lambda done: bars.update(bar, completed=done)


def _measurements(product: str) -> list[Path]:
    # Whatever is wrong with the product, opening it says it better.
    with suppress(OSError):
        return sorted(Path(product).glob("measurement/*.tif*"))
    return []


def _fetch(file: Path) -> None:
    """Bring a file into the system's cache ahead of the scan, without copying it anywhere.

    Ends where pieces come as fast as from memory: they are there, or the scan has caught up.
    """
    with (
        suppress(OSError),
        file.open("rb", buffering=0) as stream,
        open(os.devnull, "wb", buffering=0) as nowhere,
    ):
        cached, began = 0, time.perf_counter()
        while cached < _CACHED_PIECES and os.sendfile(nowhere.fileno(), stream.fileno(), None, _PIECE_BYTES):
            now = time.perf_counter()
            cached = cached + 1 if now - began < _CACHED_S else 0
            began = now


def _print(found: ScanResult, out: Path, seconds: float) -> None:
    coverage = found.coverage
    seen = "" if coverage.smallest_ship_m is None else f", ships from about {coverage.smallest_ship_m:.0f} m"
    lines = [
        f"{len(found.candidates)} candidates, {found.counts['candidates_at_shore']} at the shore left out; "
        f"{coverage.area_km2:,.0f} km2 of sea looked at{seen}; {seconds:.2f} s"
    ]
    if coverage.false_alarms_per_1000_km2 is not None:
        lines.append(f"by chance: {coverage.false_alarms_per_1000_km2:.2f} candidates in 1,000 km2")
    lines += [f"note: {note}" for note in found.notes]
    print(*lines, f"wrote {out}", sep="\n", file=sys.stderr)
