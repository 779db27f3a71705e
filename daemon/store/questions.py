"""What a question is about, as rows; questions with their ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import shapely
from shapely.geometry import shape
from sqlalchemy import Double, cast, func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from ..scene.names import ProductName
from .ais_tables import AisMatch
from .ledger import bare
from .question_tables import Question
from .results import multipolygon
from .tables import Acquisition, Coverage, Detection, Product, Run


@dataclass(frozen=True)
class Seen:
    """A detection, as far as a question needs it."""

    id: str
    label: str
    score: float
    lon_deg: float
    lat_deg: float
    line_px: float
    sample_px: float
    length_m: float
    box_px: tuple[float, float, float, float]
    cell: tuple[int, int]
    ais: str | None  # matched, unmatched, unknown


@dataclass(frozen=True)
class Looked:
    """A run, where its product lies, and what of it a question is about."""

    run_id: str
    product: str
    uri: str
    acquired: datetime
    area_km2: float
    smallest_ship_m: float | None
    chosen: tuple[Seen, ...]  # in the scope
    seen: tuple[Seen, ...]  # all of the run


def of_detection(session: Session, detection_id: str) -> list[Looked]:
    """Return the run of a detection, which alone is chosen; empty where there is none."""
    run_id = session.scalar(select(Detection.run_id).where(Detection.id == detection_id))
    if run_id is None:
        return []
    looked = _looked(session, run_id)
    return [_choose(looked, [seen for seen in looked.seen if seen.id == detection_id])]


def of_scene(session: Session, name: str) -> list[Looked]:
    """Return the current run of a scene, by a product's name or an acquisition's number.

    Empty where there is none, or retention has removed its results.
    """
    number = int(name) if name.isascii() and name.isdecimal() and len(name) < 19 else -1
    products = select(Product.acquisition_id).where(Product.name == bare(name.rstrip("/").rsplit("/", 1)[-1]))
    run_id = session.scalar(
        select(Acquisition.current_run_id)
        .join(Coverage, Coverage.run_id == Acquisition.current_run_id)
        .where(or_(Acquisition.id == number, Acquisition.id.in_(products)))
    )
    return [] if run_id is None else [_looked(session, run_id)]


def of_area(session: Session, area: dict[str, Any]) -> list[Looked]:
    """Return the current runs of the newest pass that looked at an area, with what was seen within."""
    polygon = multipolygon(area)
    covers = func.ST_Intersects(Coverage.valid_area, polygon)
    newest = (
        select(Acquisition.platform, Acquisition.datatake)
        .join(Coverage, Coverage.run_id == Acquisition.current_run_id)
        .where(covers)
        .order_by(Acquisition.start.desc())
        .limit(1)
        .subquery()
    )
    runs = session.scalars(
        select(Acquisition.current_run_id)
        .join(Coverage, Coverage.run_id == Acquisition.current_run_id)
        .join(
            newest,
            (newest.c.platform == Acquisition.platform) & (newest.c.datatake == Acquisition.datatake),
        )
        .where(covers)
        .order_by(Acquisition.start)
    ).all()
    inside = shape(area)
    found = [_looked(session, run_id) for run_id in runs if run_id]
    return [
        _choose(run, [s for s in run.seen if inside.covers(shapely.Point(s.lon_deg, s.lat_deg))])
        for run in found
    ]


def find(session: Session, question_id: str) -> Question | None:
    """Return a question that has ended."""
    return session.get(Question, question_id)


def record(session: Session, **fields: Any) -> None:
    """Keep a question with its end; of one that has ended before, the first end stays."""
    session.execute(insert(Question).values(**fields).on_conflict_do_nothing(index_elements=["id"]))


def _looked(session: Session, run_id: str) -> Looked:
    name, uri, area_km2, smallest_ship_m = session.execute(
        select(Product.name, Product.uri, Coverage.area_km2, Coverage.smallest_ship_m)
        .select_from(Run)
        .join(Product, Product.id == Run.product_id)
        .join(Coverage, Coverage.run_id == Run.id)
        .where(Run.id == run_id)
    ).one()
    seen = tuple(_seen(session, run_id))
    acquired = ProductName.parse(name).start
    return Looked(run_id, name, uri, acquired, area_km2, smallest_ship_m, seen, seen)


def _choose(looked: Looked, chosen: Sequence[Seen]) -> Looked:
    return Looked(**{**looked.__dict__, "chosen": tuple(chosen)})


def _seen(session: Session, run_id: str) -> list[Seen]:
    place = func.ST_GeomFromWKB(func.ST_AsBinary(Detection.position))
    rows: Any = session.execute(
        select(Detection, cast(func.ST_X(place), Double), cast(func.ST_Y(place), Double), AisMatch.status)
        .join(AisMatch, AisMatch.detection_id == Detection.id, isouter=True)
        .where(Detection.run_id == run_id)
        .order_by(Detection.line_px, Detection.sample_px, Detection.id)
    )
    return [
        Seen(
            d.id, d.label, d.score, lon, lat, d.line_px, d.sample_px, d.length_m, tuple(d.box_px),
            (d.cell_row, d.cell_column), ais,
        )
        for d, lon, lat, ais in rows
    ]  # fmt: skip
