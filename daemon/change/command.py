"""`fusar change`: what changed, as a table or as GeoJSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any

import shapely
import typer
from rich.console import Console
from rich.table import Table
from sqlalchemy import Row, text

from daemon.errors import ConfigError
from daemon.store.session import Store
from engine.errors import FusarError

QUERY = """
SELECT c.id, c.kind, c.class AS label, c.length_m, c.score, c.reason, c.before_acquired, c.after_acquired,
       c.before_detection_id, c.after_detection_id, ST_X(c.position::geometry) AS lon_deg,
       ST_Y(c.position::geometry) AS lat_deg, c.evidence, c.unit_id
FROM current_changes c
JOIN run ON run.id = c.after_run_id
JOIN product ON product.id = run.product_id
WHERE (CAST(:kinds AS text[]) IS NULL OR c.kind = ANY(:kinds))
    AND (CAST(:scene AS text) IS NULL OR product.name = :scene)
    AND (CAST(:since AS timestamptz) IS NULL OR c.after_acquired >= :since)
    AND (CAST(:area AS text) IS NULL OR ST_Intersects(c.position, ST_GeogFromText(:area)))
ORDER BY c.after_acquired DESC, c.score DESC, c.id
LIMIT :limit
"""


def change(
    area: Annotated[
        str | None, typer.Option(help="GeoJSON file, or west,south,east,north in degrees.")
    ] = None,
    scene: Annotated[str | None, typer.Option(help="Name of the later product.")] = None,
    since: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="Earliest later pass, in UTC."),
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(help="appeared, gone, still_occupied or cannot_tell; may be given several times."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Changes at most.")] = 1000,
    out: Annotated[Path | None, typer.Option("--out", help="GeoJSON file to write.")] = None,
) -> None:
    """List what changed between passes; without a kind, what appeared and what is gone."""
    from daemon import config

    console = Console(highlight=False)
    try:
        settings = config.load()
        store = Store(settings.store.url.get_secret_value(), settings.store.connect_timeout_s)
        values = {
            "kinds": kind or ["appeared", "gone"],
            "scene": None if scene is None else scene.removesuffix(".zip").removesuffix(".SAFE"),
            "since": None if since is None else since.replace(tzinfo=timezone.utc),
            "area": None if area is None else area_wkt(area),
            "limit": limit,
        }
        with store.transaction() as session:
            found = session.execute(text(QUERY), values).all()
        store.close()
        if out is not None:
            out.write_text(json.dumps(feature_collection(found), indent=1) + "\n")
    except (FusarError, OSError) as error:
        Console(stderr=True).print(f"[bold red]{type(error).__name__}[/]: {error}", highlight=False)
        raise typer.Exit(1) from None
    console.print(_table(found) if found else "no such change")
    if out is not None:
        console.print(f"wrote {out}", soft_wrap=True)


def area_wkt(area: str) -> str:
    """Return an area as WKT, from bounds or from a GeoJSON file; west of east crosses the antimeridian.

    Raises:
        ConfigError: neither bounds nor a file with polygons.
    """
    parts = area.split(",")
    if len(parts) == 4:
        try:
            west, south, east, north = (float(part) for part in parts)
        except ValueError:
            raise ConfigError(f"--area: got {area!r}, expected west,south,east,north in degrees") from None
        boxes = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
        return str(shapely.MultiPolygon([shapely.box(w, south, e, north) for w, e in boxes]).wkt)
    try:
        found = shapely.from_geojson(Path(area).read_text())
    except (OSError, shapely.errors.ShapelyError) as error:
        raise ConfigError(f"--area: got {area}, expected a GeoJSON file or four degrees: {error}") from None
    merged = shapely.force_2d(shapely.union_all(found))
    if merged.geom_type not in ("Polygon", "MultiPolygon"):
        raise ConfigError(f"--area: got a {merged.geom_type} in {area}, expected polygons")
    return str(merged.wkt)


def feature_collection(found: Sequence[Row[Any]]) -> dict[str, Any]:
    """Return changes as GeoJSON."""
    features = []
    for row in found:
        properties = {k: v for k, v in row._mapping.items() if k not in ("lon_deg", "lat_deg", "label")}
        properties["class"] = row.label
        for name in ("before_acquired", "after_acquired"):
            properties[name] = properties[name].isoformat() if properties[name] else None
        point = {"type": "Point", "coordinates": [round(row.lon_deg, 6), round(row.lat_deg, 6)]}
        features.append({"type": "Feature", "id": row.id, "geometry": point, "properties": properties})
    return {"type": "FeatureCollection", "features": features}


def _table(found: Sequence[Row[Any]]) -> Table:
    table = Table("change", "class", "length m", "score", "longitude", "latitude", "before", "after", "why")
    for row in found:
        table.add_row(
            row.kind,
            row.label,
            "" if row.length_m is None else f"{row.length_m:.0f}",
            f"{row.score:.2f}",
            f"{row.lon_deg:.5f}",
            f"{row.lat_deg:.5f}",
            f"{row.before_acquired:%F %H:%M}" if row.before_acquired else "",
            f"{row.after_acquired:%F %H:%M}",
            row.reason or "",
        )
    return table
