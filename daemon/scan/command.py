"""``fusar scan``: one product to the prescreen's candidates, without an engine, a broker or a database."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from daemon import geojson
from daemon.scan import ScanResult, ScanSettings, scan
from daemon.scene.info import scene_info
from daemon.scene.land import SceneLand
from daemon.scene.product import open_scene
from engine.errors import FusarError
from engine.runtime.land import Coastline


def scan_product(
    product: Annotated[
        str, typer.Argument(help="Sentinel-1 GRD product: SAFE folder, zip, COG, AWS folder.")
    ],
    out: Annotated[Path, typer.Option("--out", help="GeoJSON file to write.")],
    false_alarm_rate: Annotated[
        float, typer.Option(help="Probability that a pixel of sea exceeds its threshold.")
    ] = ScanSettings().false_alarm_rate,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads; all cores when left out.")] = None,
) -> None:
    """Find whatever stands out of the sea in one product, and write it as GeoJSON."""
    console = Console(stderr=True)
    try:
        began = time.perf_counter()
        bars = Progress(
            TextColumn("scan"), BarColumn(40), TimeElapsedColumn(), console=console, transient=True
        )
        with bars, open_scene(product) as scene:
            bar = bars.add_task("scan", total=1.0)
            land = SceneLand(Coastline.load(), scene.geometry)
            found = scan(
                scene,
                land,
                ScanSettings(false_alarm_rate=false_alarm_rate),
                lambda done: bars.update(bar, completed=done),
                threads,
            )
            document = geojson.candidates_collection(scene_info(scene), found, land.version)
        geojson.write(document, out)
    except (FusarError, OSError) as error:
        console.print(f"[bold red]{type(error).__name__}[/]: {error}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    _print(console, found, out, time.perf_counter() - began)


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
