"""``fusar rules``: alert rules are added, tried on history, put in force and taken out of it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

if TYPE_CHECKING:
    from .alerts.backtest import Fired
    from .store.alerts import RuleVersion
    from .store.session import Store

rules = typer.Typer(help="Rules that say what to alert of.", no_args_is_help=True)
console = Console()

_SPAN = re.compile(r"(\d+(?:\.\d+)?)([dh])")
Name = Annotated[str, typer.Argument(help="The rule's name.")]
Number = Annotated[int | None, typer.Option("--version", min=1, help="A version; the newest by default.")]


@rules.command()
def add(file: Annotated[Path, typer.Argument(help="Rule as JSON (docs/alerts.md).", dir_okay=False)]) -> None:
    """Enter a rule, or a new version of one; it fires only once it is enabled."""
    from engine.runtime.land import Coastline

    from .alerts import areas, definition
    from .store import alerts

    asked, area = definition.read(file)
    store, settings = _open()
    coastline = Coastline.load(settings.land.inland_water)
    with store.transaction() as session:
        version, new = alerts.add_rule(session, asked, area, lambda a: areas.sea_share(a, coastline))
    _say(f"{version.name} version {version.number}" + ("" if new else ": nothing has changed"))
    _say(f"area of {version.area_km2:,.0f} km², {version.sea_km2:,.0f} km² of it sea")
    _say(f"try it: fusar rules test {version.name} --since 30d; then: fusar rules enable {version.name}")


@rules.command("list")
def list_() -> None:
    """List the rules: the versions in force, and the newest."""
    from .store import alerts

    store, _ = _open()
    with store.transaction() as session:
        found = alerts.versions(session)
    table = Table("rule", "version", "in force", "asks", "area km²", "open alerts")
    for one in found:
        state = "yes" if one.in_force else "no"
        table.add_row(one.name, str(one.number), state, _asks(one), f"{one.area_km2:,.0f}", str(one.alerts))
    console.print(table)


@rules.command()
def show(name: Name, number: Number = None) -> None:
    """Print a rule as JSON, with its area as GeoJSON."""
    from .store import alerts

    store, _ = _open()
    with store.transaction() as session:
        one = alerts.version(session, name, number)
        area = alerts.outline(session, one.area_id)
    print(json.dumps({**one.definition, "area": area}, indent=2))


@rules.command()
def test(
    name: Name,
    since: Annotated[str, typer.Option(help="From when on: a date, or an age such as 30d or 12h.")],
    until: Annotated[str | None, typer.Option(help="Until when; now by default.")] = None,
    number: Number = None,
    geojson: Annotated[Path | None, typer.Option(help="Write the alerts to this file.")] = None,
) -> None:
    """Show what a rule would have fired on the results that there are; nothing is stored or sent."""
    from .alerts import backtest
    from .store import alerts

    store, _ = _open()
    now = datetime.now(timezone.utc)
    span = _time(since, now), _time(until, now) if until else now
    began = time.monotonic()
    with store.transaction() as session, Progress(console=console, transient=True) as bar:
        one = alerts.version(session, name, number)
        task = bar.add_task(f"{one.name} version {one.number}", total=None)
        fired = backtest.run(
            session, one, *span, lambda done, total: bar.update(task, completed=done, total=total)
        )
    _print_fired(fired)
    kept = sum(alert.suppressed is None for alert in fired)
    _say(
        f"{len(fired)} alerts from {span[0]:%F %T} to {span[1]:%F %T} UTC, {len(fired) - kept} of them "
        f"suppressed; {time.monotonic() - began:.1f} s"
    )
    if geojson:
        from .geojson import write

        write(_features(one, fired), geojson)


@rules.command()
def enable(name: Name, number: Number = None) -> None:
    """Put a version of a rule in force: from now on, for scenes that come from now on."""
    from .store import alerts

    store, _ = _open()
    with store.transaction() as session:
        one = alerts.version(session, name, number)
        alerts.enable(session, one)
    _say(f"{one.name} version {one.number} is in force")


@rules.command()
def disable(name: Name) -> None:
    """Take a rule out of force; what it told before is still amended and retracted."""
    from .store import alerts

    store, _ = _open()
    with store.transaction() as session:
        was = alerts.disable(session, name)
    _say(f"{name} is out of force" if was else f"{name} was not in force")


@rules.command()
def remove(name: Name) -> None:
    """Take a rule out of force and out of the list; its alerts stay."""
    from .store import alerts

    store, _ = _open()
    with store.transaction() as session:
        alerts.remove(session, name)
    _say(f"{name} removed")


@rules.command()
def redeliver() -> None:
    """Try again to deliver what was given up."""
    from .store import outbox

    store, _ = _open()
    with store.transaction() as session:
        count = outbox.try_again(session)
    _say(f"{count} messages are due again")


def prune_results(older_than: str, dry_run: bool) -> None:
    """Remove results of scenes older than an age, pass by pass; see `store.retention`."""
    from .errors import StoreConflict
    from .store import retention

    store, _ = _open()
    before = _time(older_than, datetime.now(timezone.utc))
    with store.transaction() as session:
        old = retention.count(session, before)
    _say(
        f"{old.runs} runs before {before:%F %T} UTC: {old.detections} detections, "
        f"{old.candidates} candidates; {old.sent} sent messages"
    )
    if dry_run:
        return
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("removing", total=old.runs)
        while True:
            try:
                with store.transaction() as session:
                    done = retention.prune(session, before)
            except StoreConflict:  # a scene of them is being worked on; nothing was removed of this turn
                continue
            if not done:
                break
            bar.advance(task, done)
    _say("removed")


def _open() -> tuple[Store, Any]:
    from . import config
    from .store.session import Store

    settings = config.load()
    return Store(settings.store.url.get_secret_value(), settings.store.connect_timeout_s), settings


def _time(text: str, now: datetime) -> datetime:
    """Read a date, a time, or an age."""
    if span := _SPAN.fullmatch(text):
        return now - timedelta(hours=float(span[1]) * (24 if span[2] == "d" else 1))
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise typer.BadParameter(f"{text!r}: expected a date, a time, or an age such as 30d or 12h") from None
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)


def _asks(one: RuleVersion) -> str:
    """Say in a few words what a rule asks."""
    told = []
    for name, value in one.definition.items():
        if name in ("name", "description", "webhooks"):
            continue
        if isinstance(value, dict):
            value = " ".join(f"{k} {v}" for k, v in value.items() if v is not None)
        elif isinstance(value, list):
            value = " ".join(map(str, value))
        told.append(f"{name.replace('_', ' ')}: {value}")
    return "; ".join(told) or "any ship"


def _print_fired(fired: Sequence[Fired], most: int = 50) -> None:
    table = Table("sensed", "what", "longitude", "latitude", "length m", "score", "sent")
    for alert in fired[:most]:
        told = alert.told
        length = "" if told.length_m is None else f"{told.length_m:.0f}"
        if told.length_low_m is not None and told.length_high_m is not None:
            length += f" ({told.length_low_m:.0f} to {told.length_high_m:.0f})"
        table.add_row(
            f"{told.sensed:%F %T}" if told.sensed else "never",
            told.label or told.subject,
            "" if told.lon_deg is None else f"{told.lon_deg:.4f}",
            "" if told.lat_deg is None else f"{told.lat_deg:.4f}",
            length,
            "" if told.score is None else f"{told.score:.2f}",
            alert.suppressed or "yes",
        )
    console.print(table)
    if len(fired) > most:
        _say(f"and {len(fired) - most} more: --geojson writes them all")


def _features(one: RuleVersion, fired: Sequence[Fired]) -> dict[str, Any]:
    """Return alerts as a FeatureCollection."""
    features = []
    for alert in fired:
        told = alert.told
        point = None
        if told.lon_deg is not None and told.lat_deg is not None:
            point = {"type": "Point", "coordinates": [told.lon_deg, told.lat_deg]}
        properties = {
            "rule": one.name,
            "version": one.number,
            "sensed": told.sensed.isoformat() if told.sensed else None,
            "judged": alert.at.isoformat(),
            "suppressed": alert.suppressed,
            "class": told.label,
            **{n: getattr(told, n) for n in "subject score length_m length_low_m length_high_m".split()},
            **{n: getattr(told, n) for n in "detection_id change_id run_id product".split()},
            "flags": told.flags,
            "evidence": told.evidence,
        }
        features.append({"type": "Feature", "geometry": point, "properties": properties})
    return {"type": "FeatureCollection", "features": features}


def _say(line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
