"""The demo's alert rules, and what they told of."""

from __future__ import annotations

import json
from pathlib import Path

import shapely
from demo_report import query
from rich.console import Console
from rich.table import Table
from sqlalchemy import URL

SHOWN = 8
RULES = (
    {"name": "demo-long", "description": "ships of 200 m and more", "length_m": {"min": 200}},
    {"name": "demo-new", "description": "ships that were not there before", "changes": ["appeared"]},
)
ALERTS = """
SELECT rule, class, length_m, score, ST_X(position::geometry), ST_Y(position::geometry), sensed
FROM open_alerts
WHERE rule LIKE 'demo-%'
ORDER BY rule, score DESC, id
"""
SENT = "SELECT count(*), count(sent) FROM alert_outbox"


def write_rules(products: list[Path], folder: Path) -> list[Path]:
    """Write the rules over the area of some products, one file each."""
    from daemon.scene.product import open_scene

    footprints = []
    for product in products:
        with open_scene(str(product)) as scene:
            footprints.append(scene.footprint.buffer(0.02))
    area = shapely.geometry.mapping(shapely.union_all(footprints))
    folder.mkdir(exist_ok=True)
    files = []
    for rule in RULES:
        files.append(folder / f"{rule['name']}.json")
        files[-1].write_text(json.dumps({**rule, "area": area}, indent=1) + "\n")
    return files


def alerts(console: Console, url: URL) -> None:
    """Print the open alerts of the demo's rules."""
    rows = query(url, ALERTS)
    table = Table("rule", "class", "m", "score", "longitude", "latitude", "sensed")
    for rule, label, length_m, score, lon, lat, sensed in rows[:SHOWN]:
        table.add_row(
            *(rule, label, f"{length_m:.0f}", f"{score:.2f}", f"{lon:.4f}", f"{lat:.4f}", f"{sensed:%F %R}")
        )
    if len(rows) > SHOWN:
        table.caption = f"and {len(rows) - SHOWN} more: SELECT * FROM open_alerts"
    console.print(table if rows else "no open alerts")
    events, sent = query(url, SENT)[0]
    console.print(f"{len(rows)} open alerts; {sent} of {events} events sent to sentinel1.alerts")
