"""The queue of change units, what they compare, and the transaction in which those of a scene end.

Whatever changes what a unit would say marks its acquisition as due, in the same transaction: nothing is lost
if the process dies before the unit is worked out, and no order of arrival matters.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import shapely
from geoalchemy2 import WKTElement
from sqlalchemy import Row, func, insert, select, text, update
from sqlalchemy.orm import Session

from ..alerts.evaluate import evaluate_change
from ..change.domain import Comparison, PassRun, Sighting, Unit
from .change_tables import Change, ChangeDue, ChangeUnit
from .tables import Acquisition

MAX_AGE_DAYS = 60  # passes that lie farther back are no partners
_NEIGHBOURS = timedelta(seconds=60)  # slices of a pass that can share an object with one of its slices
_EDGE_DEG = 0.0005  # an area is traced by cells: a place so close to it was looked at

# Later scenes that meet any area that the pass has, or ever had, and the neighbouring slices of the pass.
_MARK = text(
    """
    INSERT INTO change_due (acquisition_id)
    SELECT a.id FROM acquisition a
    WHERE a.current_run_id IS NOT NULL AND (
        (a.platform = :platform AND a.datatake = :datatake
            AND a.start BETWEEN :start - :neighbours AND :start + :neighbours)
        OR (a.start > :start AND a.start <= :start + :age AND EXISTS (
            SELECT FROM acquisition own
            JOIN run ON run.acquisition_id = own.id
            JOIN coverage_part mine ON mine.run_id = run.id
            JOIN coverage_part theirs ON ST_Intersects(theirs.part, mine.part)
            WHERE own.platform = :platform AND own.datatake = :datatake
                AND own.start BETWEEN :start - :neighbours AND :start + :neighbours
                AND theirs.run_id = a.current_run_id
        ))
    )
    ORDER BY a.id
    ON CONFLICT (acquisition_id) DO UPDATE SET version = change_due.version + 1, attempts = 0,
        error_class = NULL, error_message = NULL, next_attempt_at = now()
    """
)

_RUN = """
    a.current_run_id AS run_id, a.platform, a.datatake, a.mode, a.relative_orbit, a.orbit_direction, a.start,
    product.uri, coverage.smallest_ship_m
"""
_OF_RUN = """
    JOIN run ON run.id = a.current_run_id
    JOIN product ON product.id = run.product_id
    JOIN coverage ON coverage.run_id = run.id
"""
_SLICES = text(
    f"""
    SELECT {_RUN} FROM acquisition a {_OF_RUN}
    JOIN acquisition own ON own.id = :id
    WHERE (a.platform, a.datatake, a.mode) = (own.platform, own.datatake, own.mode)
        AND a.start BETWEEN own.start - :neighbours AND own.start + :neighbours
    ORDER BY a.id = :id DESC, a.start, a.current_run_id
    """
)
_EARLIER = text(
    f"""
    SELECT {_RUN} FROM acquisition a {_OF_RUN}
    WHERE a.start < :start AND a.start >= :start - :age AND (a.platform, a.datatake) <> (:platform, :datatake)
        AND a.current_run_id IN (
            SELECT theirs.run_id FROM coverage_part mine
            JOIN coverage_part theirs ON ST_Intersects(theirs.part, mine.part)
            WHERE mine.run_id = ANY(:runs)
        )
    ORDER BY a.start DESC, a.current_run_id
    """
)
_SIGHTING = """
    d.id, d.run_id, d.class AS label, d.score, ST_X(d.position::geometry) AS lon_deg,
    ST_Y(d.position::geometry) AS lat_deg, d.line_px, d.sample_px, d.length_m, d.box_px, d.incidence_deg,
    d.azimuth_deg, d.range_to_velocity_s, d.shift_bound_m,
    neighbour_ghost(d.position, d.brightness_db, a.id) || d.flags AS flags
"""
# One candidate, the strongest, that the other side has at a place and did not confirm.
_CANDIDATE = """
    LEFT JOIN LATERAL (
        SELECT candidate.state FROM candidate
        WHERE candidate.run_id = other.run_id AND candidate.state <> 'confirmed'
            AND ST_DWithin(candidate.position, d.position, 60)
        ORDER BY candidate.contrast_db DESC, candidate.index LIMIT 1
    ) AS candidate ON true
"""
# Each object of the pass with the latest earlier run that looked at its place.
_SEEN_AFTER = text(
    f"""
    SELECT {_SIGHTING}, other.run_id AS other_run_id, candidate.state AS candidate
    FROM acquisition a
    JOIN detection d ON d.run_id = a.current_run_id AND d.duplicate_of IS NULL
    LEFT JOIN LATERAL (
        SELECT part.run_id
        FROM coverage_part part
        JOIN acquisition e ON e.current_run_id = part.run_id
        WHERE ST_DWithin(part.part, d.position::geometry, :edge) AND e.current_run_id = ANY(:earlier)
        ORDER BY e.start DESC, e.current_run_id LIMIT 1
    ) AS other ON true
    {_CANDIDATE}
    WHERE a.current_run_id = ANY(:runs)
    ORDER BY d.id
    """
)
# Objects of earlier passes at places at which this one looked.
_NEAR = text(
    """
    SELECT DISTINCT d.id, d.run_id, ST_X(d.position::geometry) AS lon_deg,
        ST_Y(d.position::geometry) AS lat_deg
    FROM coverage_part part
    JOIN detection d ON d.position && ST_Expand(part.part, :edge)::geography
        AND ST_DWithin(part.part, d.position::geometry, :edge)
    WHERE part.run_id = ANY(:runs) AND d.run_id = ANY(:earlier) AND d.duplicate_of IS NULL
    """
)
_AREAS = text(
    """
    SELECT run_id, ST_AsBinary(valid_area::geometry) AS area FROM coverage
    WHERE run_id = ANY(:earlier) AND valid_area IS NOT NULL
    """
)
# Those of them, by id, at whose places no pass looked in between; with the slice that speaks for the place.
_SEEN_BEFORE = text(
    f"""
    SELECT {_SIGHTING}, other.run_id AS other_run_id, candidate.state AS candidate
    FROM detection d
    JOIN acquisition a ON a.current_run_id = d.run_id
    JOIN LATERAL (
        SELECT part.run_id
        FROM coverage_part part
        JOIN acquisition own ON own.current_run_id = part.run_id
        WHERE ST_DWithin(part.part, d.position::geometry, :edge) AND part.run_id = ANY(:runs)
        ORDER BY own.start, part.run_id LIMIT 1
    ) AS other ON true
    {_CANDIDATE}
    WHERE d.id = ANY(:last)
    ORDER BY d.id
    """
)


@dataclass(frozen=True, slots=True)
class Due:
    """An acquisition whose changes are to be worked out, as it was claimed."""

    acquisition_id: int
    version: int
    attempts: int


def mark_due(session: Session, acquisition: Acquisition) -> None:
    """Mark what an acquisition's new result may have changed: its pass, and later scenes that it meets.

    Transactions that mark end one after the other, so that each sees what the one before it did.
    """
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended("change", 0))))
    session.flush()
    session.execute(
        _MARK,
        {
            "platform": acquisition.platform,
            "datatake": acquisition.datatake,
            "start": acquisition.start,
            "neighbours": _NEIGHBOURS,
            "age": timedelta(days=MAX_AGE_DAYS),
        },
    )


def claim(session: Session, lease_s: float) -> Due | None:
    """Take the acquisition that is due longest, for a time: then another worker may take it."""
    due = session.scalar(
        select(ChangeDue)
        .join(Acquisition, Acquisition.id == ChangeDue.acquisition_id)
        .where(ChangeDue.next_attempt_at <= func.clock_timestamp())
        .order_by(ChangeDue.next_attempt_at, Acquisition.start, ChangeDue.acquisition_id)
        .limit(1)
        .with_for_update(of=ChangeDue, skip_locked=True)
    )
    if due is None:
        return None
    due.next_attempt_at = session.scalars(select(func.clock_timestamp())).one() + timedelta(seconds=lease_s)
    return Due(due.acquisition_id, due.version, due.attempts)


def compare(session: Session, acquisition_id: int) -> Comparison | None:
    """Read what an acquisition's current run is compared with; None where it looked at no sea."""
    neighbours = {"neighbours": _NEIGHBOURS}
    slices = [_run(row) for row in session.execute(_SLICES, {"id": acquisition_id, **neighbours})]
    current = session.scalar(select(Acquisition.current_run_id).where(Acquisition.id == acquisition_id))
    area = text("SELECT EXISTS (SELECT FROM coverage_part WHERE run_id = :run)")
    if not slices or slices[0].run_id != current or not session.scalar(area, {"run": current}):
        return None
    after, siblings = slices[0], slices[1:]
    within = {"start": after.start, "platform": after.platform, "datatake": after.datatake}
    age = {"age": timedelta(days=MAX_AGE_DAYS)}
    all_runs = [run.run_id for run in slices]
    reach = [_run(row) for row in session.execute(_EARLIER, {**within, **age, "runs": all_runs})]
    own = session.execute(_EARLIER, {**within, **age, "runs": [after.run_id]})
    meets = {_run(row).run_id for row in own}
    values = {"runs": all_runs, "earlier": [run.run_id for run in reach], "edge": _EDGE_DEG}
    seen_after = [_sighting(row) for row in session.execute(_SEEN_AFTER, values)]
    near = session.execute(_NEAR, values).all()
    areas = {row.run_id: shapely.from_wkb(bytes(row.area)) for row in session.execute(_AREAS, values)}
    values["last"] = _last_seen(near, reach, areas)
    seen_before = [_sighting(row) for row in session.execute(_SEEN_BEFORE, values)]
    needed = meets | {s.other_run_id for s in seen_after} | {s.run_id for s in seen_before}
    return Comparison(
        after,
        tuple(siblings),
        tuple(run for run in reach if run.run_id in needed),
        tuple(seen_after),
        tuple(seen_before),
    )


def _last_seen(near: Sequence[Row[Any]], reach: Sequence[PassRun], areas: Mapping[str, Any]) -> list[str]:
    """Return the objects at whose places no later one of the passes looked."""
    passes: dict[tuple[str, int], list[str]] = {}
    for run in reach:  # the latest first
        passes.setdefault(run.key, []).append(run.run_id)
    by_run: dict[str, list[Row[Any]]] = {}
    for row in near:
        by_run.setdefault(row.run_id, []).append(row)
    last: list[str] = []
    looked: Any = shapely.MultiPolygon()
    for runs in passes.values():
        seen = [row for run_id in runs for row in by_run.get(run_id, ())]
        points = shapely.points([(row.lon_deg, row.lat_deg) for row in seen] or np.empty((0, 2)))
        again = shapely.dwithin(looked, points, _EDGE_DEG)
        last += [row.id for row, covered in zip(seen, again, strict=True) if not covered]
        here = [shapely.make_valid(areas[run_id]) for run_id in runs if run_id in areas]
        looked = shapely.union_all([looked, *here])
        shapely.prepare(looked)
    return sorted(last)


def digests(session: Session, after_run_id: str) -> dict[str, str]:
    """Return the digests of a run's present units by their ids."""
    query = select(ChangeUnit.id, ChangeUnit.digest).where(
        ChangeUnit.after_run_id == after_run_id, ChangeUnit.present
    )
    return {row.id: row.digest for row in session.execute(query)}


def finish(session: Session, due: Due, units: Sequence[Unit], kept: Iterable[str]) -> bool:
    """End an acquisition's changes: write its units, retire those that hold no more.

    Args:
        session: the transaction.
        due: as it was claimed.
        units: what was worked out.
        kept: ids of present units that need no writing.

    Returns:
        False, with nothing done, where it became due anew in between.
    """
    row = session.scalar(
        select(ChangeDue).where(ChangeDue.acquisition_id == due.acquisition_id).with_for_update()
    )
    if row is None or row.version != due.version:
        if row is not None:
            row.next_attempt_at = session.scalars(select(func.clock_timestamp())).one()
        return False
    _retire(session, due.acquisition_id, {*kept, *(unit.id for unit in units)})
    for unit in units:
        _write(session, unit)
    session.delete(row)
    session.flush()
    evaluate_change(session, due.acquisition_id)
    return True


def postpone(session: Session, due: Due, error: Exception, delay_s: float) -> None:
    """Note that working out failed, and try again later; nothing where it became due anew."""
    session.execute(
        update(ChangeDue)
        .where(ChangeDue.acquisition_id == due.acquisition_id, ChangeDue.version == due.version)
        .values(
            attempts=due.attempts + 1,
            error_class=type(error).__name__,
            error_message=str(error).replace("\0", ""),
            next_attempt_at=func.clock_timestamp() + timedelta(seconds=delay_s),
        )
    )


def outcomes(session: Session) -> list[tuple[str, str, int]]:
    """Count present units by outcome and reason, and what is due."""
    reason = func.coalesce(ChangeUnit.reason, "")
    query = (
        select(ChangeUnit.outcome, reason, func.count())
        .where(ChangeUnit.present, ChangeUnit.after_run_id.in_(select(Acquisition.current_run_id)))
        .group_by(ChangeUnit.outcome, reason)
        .order_by(ChangeUnit.outcome, reason)
    )
    waiting = (
        select(func.coalesce(ChangeDue.error_class, ""), func.count())
        .group_by(ChangeDue.error_class)
        .order_by(func.coalesce(ChangeDue.error_class, ""))
    )
    found = [(outcome, why, count) for outcome, why, count in session.execute(query)]
    return found + [("due", why, count) for why, count in session.execute(waiting)]


def _retire(session: Session, acquisition_id: int, keep: set[str]) -> None:
    """Take the present mark from units of an acquisition, whichever of its runs they are of."""
    held = session.scalars(
        select(ChangeUnit.id)
        .where(
            ChangeUnit.present,
            ChangeUnit.after_run_id.in_(text("SELECT id FROM run WHERE acquisition_id = :acquisition")),
        )
        .params(acquisition=acquisition_id)
        .order_by(ChangeUnit.id)
    ).all()
    retired = [id_ for id_ in held if id_ not in keep]
    if retired:
        session.execute(update(ChangeUnit).where(ChangeUnit.id.in_(retired)).values(present=False))


def _write(session: Session, unit: Unit) -> None:
    plan = unit.plan
    session.execute(text("DELETE FROM change WHERE unit_id = :id"), {"id": unit.id})
    session.merge(
        ChangeUnit(
            id=unit.id,
            after_run_id=plan.after.run_id,
            before_run_id=plan.before.run_id if plan.before else None,
            pixel_run_id=plan.pixels.run_id if plan.pixels else None,
            engine=unit.engine,
            outcome=unit.outcome,
            reason=unit.reason,
            alignment=dict(unit.alignment),
            counts=dict(unit.counts),
            sentence=unit.sentence,
            present=True,
            digest=unit.digest,
        )
    )
    session.flush()
    rows = []
    for place, verdict in zip(plan.places, unit.verdicts, strict=True):
        seen = place.sighting
        before, after = (side.id if side else None for side in (place.before, place.after))
        rows.append(
            {
                "id": change_id(unit.id, before, after),
                "unit_id": unit.id,
                "kind": verdict.kind,
                "before_detection_id": before,
                "after_detection_id": after,
                "position": WKTElement(f"POINT({seen.lon_deg!r} {seen.lat_deg!r})", srid=4326),
                "label": seen.label,
                "length_m": seen.length_m,
                "score": verdict.score,
                "reason": verdict.reason,
                "evidence": dict(verdict.evidence),
            }
        )
    if rows:
        session.execute(insert(Change), rows)


def change_id(unit_id: str, before: str | None, after: str | None) -> str:
    """Hash a unit and the detections of a place."""
    return hashlib.sha256(json.dumps([unit_id, before, after]).encode()).hexdigest()[:32]


def _run(row: Row[Any]) -> PassRun:
    return PassRun(**row._mapping)


def _sighting(row: Row[Any]) -> Sighting:
    values = dict(row._mapping)
    return Sighting(**{**values, "box_px": tuple(values["box_px"])})
