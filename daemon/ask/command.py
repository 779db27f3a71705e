"""The command ``fusar ask``."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from .. import config, log
from ..messages import new_event_id, now
from ..store import schema
from ..store.session import Store
from ..wiring import open_engine, open_prior
from .answering import Answerer
from .messages import AnswerGiven, Cited, build

console = Console()
SHOWN = 20  # detections that are listed


def ask(
    question: Annotated[str, typer.Argument(help="In words.")],
    detection: Annotated[str | None, typer.Option(help="Id of the detection that it is about.")] = None,
    scene: Annotated[str | None, typer.Option(help="Product's name, or acquisition's number.")] = None,
    area: Annotated[
        str | None, typer.Option(help="GeoJSON polygon, a file of one, or west,south,east,north.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as its message.")] = False,
) -> None:
    """Ask about what the radar saw; the answer cites detections, or says why there is none.

    Asked about are current results, of the newest pass where an area is given: how many, which or whether
    there are ships, platforms or turbines, by length or by side; what, or how long, one detection is; what is
    new, gone or changed since the last pass; a description. Question, inputs and answer are kept.
    """
    scope = {"detection": detection, "scene": scene, "area": None if area is None else read_area(area)}
    asked = build(
        {
            "schema": "fusar.question/1",
            "question_id": new_event_id(),
            "asked": now(),
            "scope": {name: value for name, value in scope.items() if value is not None},
            "text": question,
        }
    )
    settings = config.load()
    log.configure(settings.log)
    url = settings.store.url.get_secret_value()
    with contextlib.closing(Store(url, settings.store.connect_timeout_s)) as store:
        schema.require_current(store)
        given = Answerer(open_engine(settings), open_prior(settings.prior.index)).end(store, asked, "command")
    if as_json:
        print(given.encode().decode())
    else:
        _print(given)


def read_area(text: str) -> Any:
    """Read an area from an option.

    Raises:
        BadParameter: it is none of the forms.
        OSError: there is no such file.
    """
    parts = text.split(",")
    if len(parts) == 4 and not text.lstrip().startswith("{"):
        try:
            west, south, east, north = map(float, parts)
        except ValueError:
            raise typer.BadParameter(
                f"{text!r}: expected west,south,east,north", param_hint="--area"
            ) from None
        ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
        return {"type": "Polygon", "coordinates": [ring]}
    try:
        found = json.loads(text if text.lstrip().startswith("{") else Path(text).read_text())
    except ValueError as error:
        raise typer.BadParameter(f"not GeoJSON: {error}", param_hint="--area") from None
    features = found.get("features") if isinstance(found, dict) else None
    if isinstance(features, list) and len(features) == 1:
        found = features[0]
    return found.get("geometry", found) if isinstance(found, dict) else found


def _print(given: AnswerGiven) -> None:
    def say(text: str | None) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    say(given.answer if given.state == "answered" else f"no answer: {given.reason}")
    if given.cited:
        console.print(_table(given.cited))
    total = given.facts.get("cited", len(given.cited))
    if total > SHOWN:
        say(f"and {total - SHOWN} more")
    say(f"kept as question {given.question_id}")


def _table(cited: Sequence[Cited]) -> Table:
    """Show detections that are cited, the first SHOWN of them."""
    table = Table(box=None, pad_edge=False)
    for name in ("detection", "class", "latitude", "longitude"):
        table.add_column(name, no_wrap=True)
    for name in ("length", "score"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in cited[:SHOWN]:
        table.add_row(
            one.id,
            one.label,
            f"{abs(one.lat_deg):.4f} {'NS'[one.lat_deg < 0]}",
            f"{abs(one.lon_deg):.4f} {'EW'[one.lon_deg < 0]}",
            f"{one.length_m:.0f} m",
            f"{one.score:.2f}",
        )
    return table
