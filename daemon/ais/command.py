"""The commands ``fusar ais``."""

from __future__ import annotations

import contextlib
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from engine.errors import InputError

from .. import config, log
from ..store import ais, schema
from ..store.ais_positions import drop_partitions
from ..store.session import Store
from .files import Tally
from .load import Loaded, load_file, rematch, touched

app = typer.Typer(help="What ships say of themselves, and which detection each is.", no_args_is_help=True)
console = Console()


@app.command()
def load(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="CSV of the Danish Maritime Authority's or of MarineCadastre's form, or NMEA; zipped too."
        ),
    ],
) -> None:
    """Load AIS, and match it with the detections that are there; loading again changes nothing."""
    with contextlib.closing(_store()) as store:
        _load(store, files)


def _load(store: Store, files: list[Path]) -> None:
    loaded, failed = Loaded(), []
    tallies: list[tuple[Path, Tally]] = []
    with _progress() as progress:
        for path in files:
            tally = Tally()
            task = progress.add_task(path.name, total=None)

            def show(task: int = task, tally: Tally = tally) -> None:
                progress.update(task, completed=tally.bytes_read, total=tally.size)  # type: ignore[arg-type]

            try:
                load_file(store, path, loaded, tally, show)
            except (InputError, OSError) as error:
                failed.append(f"{type(error).__name__}: {error}")
            tallies.append((path, tally))
        runs = touched(store, loaded)
        task = progress.add_task("matching runs", total=len(runs))
        count, changed = rematch(store, runs, lambda done: progress.update(task, completed=done))
    _print(tallies)
    console.print(
        f"{loaded.positions:,} positions, {loaded.new:,} new or corrected; {len(loaded.vessels):,} vessels; "
        f"{count} runs matched, {changed} detections changed"
    )
    for line in failed:
        console.print(line, style="red", markup=False, highlight=False, soft_wrap=True)
    if failed:
        raise typer.Exit(1)


@app.command()
def match(
    since: Annotated[datetime, typer.Option(help="Runs sensed from this time on, UTC.")],
    until: Annotated[datetime | None, typer.Option(help="And before this one; else all later.")] = None,
) -> None:
    """Match detections with the AIS that is there anew, as after a change of the rules of matching."""
    end = until or datetime(9999, 1, 1)
    with contextlib.closing(_store()) as store, _progress() as progress:
        with store.transaction() as session:
            runs = ais.runs_between(session, _utc(since), _utc(end))
        task = progress.add_task("matching runs", total=len(runs))
        count, changed = rematch(store, runs, lambda done: progress.update(task, completed=done))
    console.print(f"{count} runs matched, {changed} detections changed")


@app.command()
def prune(
    before: Annotated[datetime, typer.Option(help="Day, UTC; positions of it and later stay.")],
) -> None:
    """Remove old positions, whole days at once; matches stay as they were."""
    with contextlib.closing(_store()) as store, store.transaction() as session:
        days = drop_partitions(session, _utc(before).date())
    console.print(f"{len(days)} days removed" + (f", {days[0]} to {days[-1]}" if days else ""))


def _store() -> Store:
    settings = config.load()
    log.configure(settings.log)
    store = Store(settings.store.url.get_secret_value(), settings.store.connect_timeout_s)
    schema.require_current(store)
    return store


def _utc(time: datetime) -> datetime:
    return time.astimezone(timezone.utc) if time.tzinfo else time.replace(tzinfo=timezone.utc)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


def _print(tallies: list[tuple[Path, Tally]]) -> None:
    table = Table()
    for name in ("file", "rows read", "rows left out", "why"):
        table.add_column(name, justify="right" if name.startswith("rows") else "left")
    for path, tally in tallies:
        why = ", ".join(f"{reason} {count:,}" for reason, count in tally.bad.most_common())
        table.add_row(path.name, f"{tally.rows:,}", f"{sum(tally.bad.values()):,}", why)
    console.print(table)
