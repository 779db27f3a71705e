"""``fusar scan``: one product to the prescreen's candidates, without an engine, a broker or a database."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from engine.errors import FusarError

if TYPE_CHECKING:
    from daemon.scan import ScanResult

_AHEAD_BYTES = 32 << 20


def scan_product(
    product: Annotated[
        str, typer.Argument(help="Sentinel-1 GRD product: SAFE folder, zip, COG, AWS folder.")
    ],
    out: Annotated[Path, typer.Option("--out", help="GeoJSON file to write.")],
    false_alarm_rate: Annotated[
        float | None, typer.Option(help="Probability that a pixel of sea exceeds its threshold.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads; all cores when left out.")] = None,
) -> None:
    """Find whatever stands out of the sea in one product, and write it as GeoJSON."""
    console = Console(stderr=True)
    began = time.perf_counter()
    Thread(target=_fetch, args=(product,), daemon=True).start()  # the disk works while the program loads
    from daemon import geojson
    from daemon.scan import ScanSettings, scan
    from daemon.scene.info import scene_info
    from daemon.scene.land import SceneLand
    from daemon.scene.product import open_scene
    from engine.runtime.land import Coastline

    try:
        settings = (
            ScanSettings() if false_alarm_rate is None else ScanSettings(false_alarm_rate=false_alarm_rate)
        )
        bars = Progress(
            TextColumn("scan"), BarColumn(40), TimeElapsedColumn(), console=console, transient=True
        )
        with bars, open_scene(product) as scene:
            bar = bars.add_task("scan", total=1.0)
            land = SceneLand(Coastline.load(), scene.geometry)
            found = scan(
                scene,
                land,
                settings,
                lambda done: bars.update(bar, completed=done),
                threads,
            )
            document = geojson.candidates_collection(scene_info(scene), found, land.version)
        geojson.write(document, out)
    except (FusarError, OSError) as error:
        console.print(f"[bold red]{type(error).__name__}[/]: {error}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    _print(console, found, out, time.perf_counter() - began)


def _fetch(product: str) -> None:
    """Ask the operating system for a folder's measurement files, all at the same pace."""
    if not hasattr(os, "posix_fadvise"):
        return
    # Whatever is wrong with the product, opening it says it better.
    with suppress(OSError), ExitStack() as opened:
        files = [opened.enter_context(file.open("rb")) for file in Path(product).glob("measurement/*.tif*")]
        sizes = [os.fstat(file.fileno()).st_size for file in files]
        for at in range(0, max(sizes, default=0), _AHEAD_BYTES):
            for file in files:
                os.posix_fadvise(file.fileno(), at, _AHEAD_BYTES, os.POSIX_FADV_WILLNEED)


def _print(console: Console, found: ScanResult, out: Path, seconds: float) -> None:
    coverage = found.coverage
    seen = "" if coverage.smallest_ship_m is None else f", ships from about {coverage.smallest_ship_m:.0f} m"
    console.print(
        f"{len(found.candidates)} candidates, {found.counts['candidates_at_shore']} at the shore left out; "
        f"{coverage.area_km2:,.0f} km2 of sea looked at{seen}; {seconds:.2f} s"
    )
    if coverage.false_alarms_per_1000_km2 is not None:
        console.print(f"by chance: {coverage.false_alarms_per_1000_km2:.2f} candidates in 1,000 km2")
    for note in found.notes:
        console.print(f"note: {note}", highlight=False, soft_wrap=True)
    console.print(f"wrote {out}", soft_wrap=True)
