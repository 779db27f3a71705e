"""`fusar detect`: a product to GeoJSON and a picture, without a broker or a database."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from daemon import geojson
from daemon.config import LandSettings
from daemon.domain import SceneResult
from daemon.errors import SourceUnavailable
from daemon.pipeline import STAGES, DetectSettings, process
from daemon.prior import PriorIndex
from daemon.scene.product import open_scene
from engine.errors import FusarError
from engine.runtime.land import Coastline
from engine.runtime.predictor import Predictor

_SHOWN = 20  # detections in the table


def detect(
    product: Annotated[
        str, typer.Argument(help="Sentinel-1 GRD product: SAFE folder, zip, COG, AWS folder.")
    ],
    out: Annotated[Path, typer.Option("--out", help="GeoJSON file to write.")],
    prior: Annotated[str | None, typer.Option(help="Index of AlphaEarth files.")] = None,
    engine: Annotated[
        Path | None,
        typer.Option(help="Engine bundle; the one in the package when left out."),
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="PNG file to write.")] = None,
    score_threshold: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Objects below it are no detections.")
    ] = DetectSettings().score_threshold,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the engine.")] = None,
    inland_water: Annotated[
        str, typer.Option(help="Inland water to search: all, none, seas, or names such as 'Caspian Sea'.")
    ] = LandSettings().inland_water,
) -> None:
    """Find ships in one product and write them as GeoJSON."""
    console = Console(stderr=True)
    try:
        coastline = Coastline.load(inland_water)
        result = _detect(console, product, coastline, out, prior, engine, picture, score_threshold, threads)
    except (FusarError, OSError) as error:
        console.print(f"[bold red]{type(error).__name__}[/]: {error}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    _print(console, result, out, picture)


def _detect(
    console: Console,
    product: str,
    coastline: Coastline,
    out: Path,
    prior: str | None,
    engine: Path | None,
    picture: Path | None,
    score_threshold: float,
    threads: int | None,
) -> SceneResult:
    predictor = Predictor.open(engine, threads=threads)
    settings = DetectSettings(score_threshold=score_threshold)
    index, trouble = _open_prior(prior)
    with _bars(console) as bars:
        tasks: dict[str, TaskID] = {stage: bars.add_task(stage, total=1.0, start=False) for stage in STAGES}
        bars.start_task(tasks["open"])

        def report(stage: str, done: float) -> None:
            bars.start_task(tasks[stage])
            bars.update(tasks[stage], completed=done)

        result = process(product, predictor, index, coastline, settings, report)
        for task in tasks.values():
            bars.update(task, completed=1.0)
    result = replace(result, notes=(*result.notes, *trouble))
    geojson.write(geojson.feature_collection(result), out)
    if picture is not None:
        from daemon.picture import draw
        from daemon.scene.land import SceneLand

        with open_scene(product) as scene:
            draw(result, scene, picture, SceneLand(coastline, scene.geometry))
    return result


def _open_prior(index: str | None) -> tuple[PriorIndex | None, tuple[str, ...]]:
    """Open the index; without it a scene is still worth looking at."""
    if index is None:
        return None, ()
    try:
        return PriorIndex.open(index), ()
    except SourceUnavailable as error:
        return None, (f"prior absent: {error}",)


def _bars(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:>8}"),
        BarColumn(40),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )


def _print(console: Console, result: SceneResult, out: Path, picture: Path | None) -> None:
    counts, coverage = result.counts, result.coverage
    console.print(f"[bold]{result.scene.product}[/]", highlight=False, soft_wrap=True)
    if result.reason:
        console.print(f"{result.outcome}: {result.reason}")
    seen = "" if coverage.smallest_ship_m is None else f", ships from about {coverage.smallest_ship_m:.0f} m"
    console.print(
        f"{len(result.detections)} detections from {counts['candidates']} candidates in {counts['chips']} "
        f"chips; {coverage.area_km2:,.0f} km2 of sea looked at{seen}; {result.timings_s['total']:.1f} s"
    )
    if result.detections:
        console.print(_table(result))
    for note in result.notes:
        console.print(f"note: {note}", highlight=False, soft_wrap=True)
    if result.saturated:
        console.print("[yellow]a limit was reached: the counts are lower bounds[/]")
    console.print(f"wrote {out}" + (f" and {picture}" if picture else ""), soft_wrap=True)


def _table(result: SceneResult) -> Table:
    table = Table("class", "score", "length m", "axis", "longitude", "latitude", "flags", box=None)
    ranked = sorted(result.detections, key=lambda detection: (-detection.score, detection.id))
    for item in ranked[:_SHOWN]:
        table.add_row(
            item.label,
            f"{item.score:.2f}",
            f"{item.length_m:.0f} ({item.length_low_m:.0f}-{item.length_high_m:.0f})",
            "" if item.axis_deg is None else f"{item.axis_deg:.0f}",
            f"{item.lon_deg:.5f}",
            f"{item.lat_deg:.5f}",
            " ".join(flag.name for flag in item.flags),
        )
    if len(ranked) > _SHOWN:
        table.caption = f"and {len(ranked) - _SHOWN} more"
    return table
