"""The command ``fusar``."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup

from engine.errors import FusarError

# The scan and the engine bring threads of their own; those of numpy's BLAS would only spin beside them.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

if TYPE_CHECKING:
    from . import config
    from .store.session import Store


# `scan` reads its own arguments, and is reached without this module where time counts (__main__).
_AS_IT_IS = {"ignore_unknown_options": True, "allow_interspersed_args": False}


def scan(arguments: Annotated[list[str] | None, typer.Argument()] = None) -> None:
    """Find whatever stands out of the sea in one product, and write it as GeoJSON."""
    from . import scan_command

    raise typer.Exit(scan_command.main(arguments or []))


# Fetched when they are asked for, since what they need takes seconds to load: module, and a function or a
# group of commands there.
_FETCHED = {
    "detect": ("detect", "detect"),
    "chips": ("chips_command", "chips"),
    "change": ("change.command", "change"),
    "ais": ("ais.command", "app"),
    "ask": ("ask.command", "ask"),
    "rules": ("rules_command", "rules"),
}


class _Commands(TyperGroup):
    """Every command, those among them that are fetched."""

    def list_commands(self, ctx: Any) -> list[str]:
        return ["scan", *_FETCHED, *super().list_commands(ctx)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        alone = typer.Typer(add_completion=False)
        if cmd_name == "scan":
            alone.command("scan", context_settings=_AS_IT_IS, add_help_option=False)(scan)
        elif cmd_name in _FETCHED:
            module, name = _FETCHED[cmd_name]
            found = getattr(import_module(f"daemon.{module}"), name)
            if isinstance(found, typer.Typer):
                alone = found
            else:
                alone.command(cmd_name)(found)
        else:
            return super().get_command(ctx, cmd_name)
        command = typer.main.get_command(alone)
        command.name = cmd_name
        return command


app = typer.Typer(
    name="fusar",
    cls=_Commands,
    help="Watch for new Sentinel-1 scenes, ask what ships are there, and keep the answers in PostGIS.",
    no_args_is_help=True,
    add_completion=False,
)
db = typer.Typer(help="The database's tables.", no_args_is_help=True)
app.add_typer(db, name="db")
console = Console()


@app.command()
def publish(
    products: Annotated[
        list[str], typer.Argument(help="Products: folder, zip or other place; or notices of a provider.")
    ],
    source: Annotated[
        str, typer.Option(help="What is named: products, or files that hold notices of aws-sns.")
    ] = "products",
) -> None:
    """Tell the daemon of newly acquired scenes."""
    from . import config, log
    from . import publish as kafka
    from .sources import aws_sns

    settings = config.load()
    log.configure(settings.log)
    if source == "products":
        scenes = [kafka.scene_of(product) for product in products]
    elif source == aws_sns.SOURCE:
        scenes = [scene for file in products for scene in aws_sns.scenes(Path(file).read_bytes())]
    else:
        raise typer.BadParameter(f"{source!r}: expected products or {aws_sns.SOURCE}", param_hint="--source")
    kafka.ensure_topics(settings.kafka)
    with kafka.Publisher(settings.kafka) as publisher:
        for scene in scenes:
            at = publisher.publish(scene)
            line = f"{at.topic}[{at.partition}]@{at.offset} {scene.product.name}"
            console.print(line, markup=False, highlight=False, soft_wrap=True)


@app.command()
def run(
    until_idle: Annotated[
        float | None,
        typer.Option(min=0.1, help="End when nothing has come for so many seconds and no attempt is due."),
    ] = None,
) -> None:
    """Watch the topic of scenes and take each one to its end."""
    from engine.runtime.land import Coastline

    from . import config, log
    from .app import Daemon
    from .ask.answering import Answerer
    from .wiring import open_changes, open_engine, open_prior, open_process

    settings = config.load()
    log.configure(settings.log)
    predictor, coastline = open_engine(settings), Coastline.load(settings.land.inland_water)
    prior = open_prior(settings.prior.index)
    process, versions = open_process(settings, predictor, coastline, prior)
    changes = open_changes(settings, predictor, coastline)
    Daemon(settings, process, versions, until_idle, Answerer(predictor, prior), changes).run()


@app.command()
def status() -> None:
    """Print the three ledgers, and what has been found."""
    from . import config
    from .store import status as ledgers

    settings = config.load()
    store = _store(settings)
    with store.transaction() as session:
        found = ledgers.read(session)
    for title, why, rows in (
        ("messages", "error", found.messages),
        ("products", "error", found.products),
        ("acquisitions", "reason", found.acquisitions),
        ("change units", "reason", found.changes),
    ):
        _print_table(title, ("state", why, "count"), rows)
    _print_table("candidates of current runs", ("state", "count"), found.candidates)
    _print_table(
        "detections of current runs",
        ("class", "count", "mean score"),
        [(label, count, f"{score:.2f}") for label, count, score in found.detections],
    )
    console.print(f"{found.runs} runs; {found.area_km2:,.0f} km² of sea looked at in the current ones")
    if found.next_attempt_at:
        console.print(f"{found.attempts_open} attempts to come, the next at {found.next_attempt_at:%F %T %Z}")
    if found.unbalanced:
        console.print(f"[red]{found.unbalanced} acquisitions do not agree with their products[/red]")
        raise typer.Exit(1)
    console.print("ledgers balanced")


@db.command()
def upgrade(revision: Annotated[str, typer.Argument(help="Revision to reach.")] = "head") -> None:
    """Bring the database to this version's tables."""
    from . import config, log
    from .store import schema

    settings = config.load()
    log.configure(settings.log)
    schema.upgrade(_store(settings), revision)
    console.print(f"database at revision {revision}")


@db.command()
def reader(
    name: Annotated[str, typer.Argument(help="Name of the role.")],
    password: Annotated[
        str,
        typer.Option(prompt=True, hide_input=True, confirmation_prompt=True, envvar="READER_PASSWORD"),
    ],
) -> None:
    """Make a role that may read the views and nothing else, or bring it up to date."""
    from . import config
    from .store import views

    with contextlib.closing(_store(config.load())) as store:
        granted = views.make_reader(store, name, password)
    console.print(f"{name} reads {', '.join(granted)}")


@db.command()
def prune(
    older_than: Annotated[str, typer.Option(help="Age from which results are removed, such as 730d.")],
    dry_run: Annotated[bool, typer.Option(help="Say what would be removed; remove nothing.")] = False,
) -> None:
    """Remove old results; ledgers, runs and alerts stay."""
    from .rules_command import prune_results

    prune_results(older_than, dry_run)


def _store(settings: config.Settings) -> Store:
    from .store.session import Store

    return Store(settings.store.url.get_secret_value(), settings.store.connect_timeout_s)


def _print_table(title: str, columns: tuple[str, ...], rows: Iterable[Sequence[object]]) -> None:
    console.print(title)
    table = Table()
    for name in columns:
        table.add_column(name, justify="right" if name in ("count", "mean score") else "left")
    for row in rows:
        table.add_row(*map(str, row))
    console.print(table)


def main() -> None:
    """Run the command; our errors and missing files are one line on standard error and exit code 1."""
    try:
        app()
    except (FusarError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
