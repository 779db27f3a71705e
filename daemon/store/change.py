"""The queue of change units, what they compare, and the transaction in which those of a scene end.

Whatever changes what a unit would say marks its acquisition as due, in the same transaction: nothing is lost
if the process dies before the unit is worked out, and no order of arrival matters.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import shapely
from geoalchemy2 import WKTElement
from sqlalchemy import Row, func, insert, select, text, update
from sqlalchemy.orm import Session

from ..alerts.evaluate import evaluate_change
from ..change.domain import Comparison, Kept, PassRun, Sighting, Unit
from .change_statements import AREAS, EARLIER, KEPT, MARK, NEAR, REMOVED, SEEN_AFTER, SEEN_BEFORE, SLICES
from .change_tables import Change, ChangeDue, ChangeUnit
from .tables import Acquisition

MAX_AGE_DAYS = 60  # passes that lie farther back are no partners
_NEIGHBOURS = timedelta(seconds=60)  # slices of a pass that can share an object with one of its slices
_EDGE_DEG = 0.0005  # an area is traced by cells: a place so close to it was looked at


@dataclass(frozen=True, slots=True)
class _Removed:
    """An earlier pass of which retention left nothing but where it looked."""

    start: datetime
    key: tuple[str, int]
    area: Any


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
        MARK,
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
    """Read what an acquisition's current run is compared with; None where it looked at no sea.

    Call it in a snapshot: of half of what retention removes in between, objects would seem to have appeared.
    """
    neighbours = {"neighbours": _NEIGHBOURS}
    slices = [_run(row) for row in session.execute(SLICES, {"id": acquisition_id, **neighbours})]
    current = session.scalar(select(Acquisition.current_run_id).where(Acquisition.id == acquisition_id))
    area = text("SELECT EXISTS (SELECT FROM coverage_part WHERE run_id = :run)")
    if not slices or slices[0].run_id != current or not session.scalar(area, {"run": current}):
        return None
    after, siblings = slices[0], slices[1:]
    within = {"start": after.start, "platform": after.platform, "datatake": after.datatake}
    age = {"age": timedelta(days=MAX_AGE_DAYS)}
    all_runs = [run.run_id for run in slices]
    reach = [_run(row) for row in session.execute(EARLIER, {**within, **age, "runs": all_runs})]
    own = session.execute(EARLIER, {**within, **age, "runs": [after.run_id]})
    meets = {_run(row).run_id for row in own}
    values = {"runs": all_runs, "earlier": [run.run_id for run in reach], "edge": _EDGE_DEG}
    seen_after = [_sighting(row) for row in session.execute(SEEN_AFTER, values)]
    near = session.execute(NEAR, values).all()
    removed = [_removed(row) for row in session.execute(REMOVED, {**within, **age, "runs": all_runs})]
    seen_after = _not_passing_over(seen_after, reach, removed)
    areas = {row.run_id: shapely.from_wkb(bytes(row.area)) for row in session.execute(AREAS, values)}
    values["last"] = _last_seen(near, reach, areas, removed)
    seen_before = [_sighting(row) for row in session.execute(SEEN_BEFORE, values)]
    needed = meets | {s.other_run_id for s in seen_after} | {s.run_id for s in seen_before}
    return Comparison(
        after,
        tuple(siblings),
        tuple(run for run in reach if run.run_id in needed),
        tuple(seen_after),
        tuple(seen_before),
        removed=bool(removed),
        kept=tuple(_kept(row) for row in session.execute(KEPT, {"id": acquisition_id})),
    )


def _not_passing_over(
    seen: Sequence[Sighting], reach: Sequence[PassRun], removed: Sequence[_Removed]
) -> list[Sighting]:
    """Take the partner from objects at whose places a later pass looked that nobody knows anything of."""
    runs = {run.run_id: run for run in reach}

    def passed_over(item: Sighting) -> bool:
        other = runs.get(item.other_run_id or "")
        point = shapely.Point(item.lon_deg, item.lat_deg)
        return any(
            other is None or (gone.start > other.start and gone.key != other.key)
            for gone in removed
            if shapely.dwithin(gone.area, point, _EDGE_DEG)
        )

    return [
        replace(item, other_run_id=None, candidate=None, removed=True) if passed_over(item) else item
        for item in seen
    ]


def _last_seen(
    near: Sequence[Row[Any]],
    reach: Sequence[PassRun],
    areas: Mapping[str, Any],
    removed: Sequence[_Removed],
) -> list[str]:
    """Return the objects at whose places no later one of the passes looked."""
    passes: dict[tuple[str, int], list[str]] = {}
    starts: dict[tuple[str, int], datetime] = {}
    for run in reach:  # the latest first
        passes.setdefault(run.key, []).append(run.run_id)
        starts[run.key] = run.start
    by_run: dict[str, list[Row[Any]]] = {}
    for row in near:
        by_run.setdefault(row.run_id, []).append(row)
    last: list[str] = []
    looked: Any = shapely.MultiPolygon()
    for key, runs in passes.items():
        gone = [one.area for one in removed if one.start > starts[key] and one.key != key]
        if gone:
            looked = shapely.union_all([looked, *gone])
            shapely.prepare(looked)
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


def _removed(row: Row[Any]) -> _Removed:
    area = shapely.make_valid(shapely.from_wkb(bytes(row.area)))
    return _Removed(row.start, (row.platform, row.datatake), area)


def _kept(row: Row[Any]) -> Kept:
    key = row.platform, row.datatake
    return Kept(row.unit_id, key, row.start, row.lon_deg, row.lat_deg, row.evidence)


def _run(row: Row[Any]) -> PassRun:
    return PassRun(**row._mapping)


def _sighting(row: Row[Any]) -> Sighting:
    values = dict(row._mapping)
    return Sighting(**{**values, "box_px": tuple(values["box_px"])})
