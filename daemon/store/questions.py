"""What a question is about, as rows; questions with their ends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import shapely
from shapely.geometry import shape
from sqlalchemy import Double, cast, func, or_, select, text
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
    interval_m: tuple[float, float] | None = None  # between which its length lies
    flags: tuple[str, ...] = ()
    duplicate: bool = False  # a neighbouring slice's detection stands for the same object


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
    bundle: str | None = None  # that said what was seen
    backend: str | None = None
    saturated: bool = False  # a list reached its limit: counts are lower bounds
    valid_area: Any = None  # shapely geometry, longitude and latitude

    def choose(self, chosen: Iterable[Seen]) -> Looked:
        """Return the same run, of which other detections are in the scope."""
        return replace(self, chosen=tuple(chosen))


@dataclass(frozen=True)
class Changed:
    """What became of one place between an earlier pass and a run."""

    kind: str  # of change_tables.CHANGE_KINDS
    reason: str | None
    before_label: str | None  # what was seen there; None where nothing was
    after_label: str | None
    before: datetime | None  # when the earlier pass looked
    seen: Seen  # the later of the two detections


@dataclass(frozen=True)
class Compared:
    """The changes of some runs, as far as they are worked out."""

    places: tuple[Changed, ...]
    partners: tuple[datetime, ...]  # earlier passes that were compared with
    reasons: tuple[str, ...]  # why there is none, or none was worked out
    due: bool  # they are to be worked out anew: nothing holds until then


def of_detection(session: Session, detection_id: str) -> list[Looked]:
    """Return the run of a detection, which alone is chosen; empty where there is none."""
    run_id = session.scalar(select(Detection.run_id).where(Detection.id == detection_id))
    if run_id is None:
        return []
    looked = _looked(session, run_id)
    return [looked.choose(seen for seen in looked.seen if seen.id == detection_id)]


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
        run.choose(
            s for s in run.seen if not s.duplicate and inside.covers(shapely.Point(s.lon_deg, s.lat_deg))
        )
        for run in found
    ]


def compared(session: Session, run_ids: Sequence[str]) -> Compared:
    """Return what became of the places of some runs since the passes before them."""
    rows: Any = session.execute(_CHANGES, {"runs": list(run_ids)})
    places = tuple(_changed(row) for row in rows)
    units: Any = session.execute(_UNITS, {"runs": list(run_ids)}).all()
    due = session.scalar(_DUE, {"runs": list(run_ids)})
    return Compared(
        () if due else places,
        tuple(sorted({unit.start for unit in units if unit.start is not None})),
        tuple(sorted({unit.reason or unit.outcome for unit in units if unit.outcome != "done"})),
        bool(due),
    )


_CHANGES = text(
    """
    SELECT c.kind, c.reason, c.before_acquired, before.class AS before_label, after.class AS after_label,
        ST_X(c.position::geometry) AS lon_deg, ST_Y(c.position::geometry) AS lat_deg, d.id, d.class AS label,
        d.score, d.line_px, d.sample_px, d.length_m, d.length_low_m, d.length_high_m, d.box_px, d.cell_row,
        d.cell_column, d.flags
    FROM current_changes c
    JOIN detection d ON d.id = coalesce(c.after_detection_id, c.before_detection_id)
    LEFT JOIN detection before ON before.id = c.before_detection_id
    LEFT JOIN detection after ON after.id = c.after_detection_id
    WHERE c.after_run_id = ANY(:runs)
    ORDER BY c.after_run_id, d.line_px, d.sample_px, c.id
    """
)
_UNITS = text(
    """
    SELECT unit.outcome, unit.reason, earlier.start FROM change_unit unit
    LEFT JOIN acquisition earlier ON earlier.current_run_id = unit.before_run_id
    WHERE unit.present AND unit.after_run_id = ANY(:runs)
    """
)
_DUE = text(
    """
    SELECT EXISTS (
        SELECT FROM change_due JOIN acquisition a ON a.id = change_due.acquisition_id
        WHERE a.current_run_id = ANY(:runs)
    )
    """
)


def find(session: Session, question_id: str) -> Question | None:
    """Return a question that has ended."""
    return session.get(Question, question_id)


def record(session: Session, **fields: Any) -> None:
    """Keep a question with its end; of one that has ended before, the first end stays."""
    session.execute(insert(Question).values(**fields).on_conflict_do_nothing(index_elements=["id"]))


def _looked(session: Session, run_id: str) -> Looked:
    name, uri, area_km2, smallest_ship_m, area, bundle, backend, saturated = session.execute(
        select(
            Product.name,
            Product.uri,
            Coverage.area_km2,
            Coverage.smallest_ship_m,
            func.ST_AsBinary(Coverage.valid_area),
            Run.engine,
            Run.backend,
            Run.saturated,
        )
        .select_from(Run)
        .join(Product, Product.id == Run.product_id)
        .join(Coverage, Coverage.run_id == Run.id)
        .where(Run.id == run_id)
    ).one()
    seen = tuple(_seen(session, run_id))
    acquired = ProductName.parse(name).start
    valid_area = None if area is None else shapely.from_wkb(bytes(area))
    return Looked(
        run_id,
        name,
        uri,
        acquired,
        area_km2,
        smallest_ship_m,
        seen,
        seen,
        bundle,
        backend,
        saturated,
        valid_area,
    )


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
            (d.cell_row, d.cell_column), ais, (d.length_low_m, d.length_high_m), tuple(sorted(d.flags)),
            d.duplicate_of is not None,
        )
        for d, lon, lat, ais in rows
    ]  # fmt: skip


def _changed(row: Any) -> Changed:
    seen = Seen(
        row.id, row.label, row.score, row.lon_deg, row.lat_deg, row.line_px, row.sample_px, row.length_m,
        tuple(row.box_px), (row.cell_row, row.cell_column), None, (row.length_low_m, row.length_high_m),
        tuple(sorted(row.flags)),
    )  # fmt: skip
    return Changed(row.kind, row.reason, row.before_label, row.after_label, row.before_acquired, seen)
