"""Alerts that stand although the present results no longer show them, since retention took what showed them.

Retention is no evidence. An alert is taken back only if it could not be true whatever the removed passes saw:
by what its own pass shows now, and by what is still known of the passes before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from sqlalchemy import text
from sqlalchemy.orm import Session

from . import matching
from .matching import Wanted
from .reconcile import SAME_OBJECT_M, Known, Step, plan

_EDGE_DEG = 0.0005  # as of store/change.py: a place so close to an area was looked at
_OUTLINE_M = 1000.0  # footprints are rougher than areas
_BESIDE_DEG = 0.1  # what a rule looks up may lie so far beside its area

# Of alerts: whether their rule looks back to a pass, or they compare with one, whose results were removed; in
# the latter case whether their own pass shows the contrary.
_LOST = text(
    """
    SELECT alert.id, back.looks, back.compares AND NOT CASE
            WHEN alert.evidence -> 'change' ->> 'kind' = 'gone' THEN now.seen
            WHEN alert.evidence -> 'change' ->> 'kind' = 'cannot_tell' THEN false
            ELSE now.looked AND NOT now.seen
        END AS stands
    FROM alert
    JOIN alert_rule_version v ON v.id = alert.version_id
    JOIN acquisition own ON own.id = alert.acquisition_id
    CROSS JOIN LATERAL (
        SELECT coalesce(bool_or(e.start >= (alert.evidence -> 'change' ->> 'before_acquired')::timestamptz),
                        false) AS compares,
               coalesce(bool_or(e.start >= own.start - make_interval(secs => 86400 * v.seen_days)),
                        false) AS looks
        FROM acquisition e
        WHERE e.start < own.start AND e.start >= least(
                (alert.evidence -> 'change' ->> 'before_acquired')::timestamptz,
                own.start - make_interval(secs => 86400 * v.seen_days)
            )
            AND (e.platform, e.datatake) <> (own.platform, own.datatake) AND e.current_run_id IS NOT NULL
            AND NOT EXISTS (SELECT FROM coverage WHERE coverage.run_id = e.current_run_id)
            AND ST_DWithin(e.footprint, alert.position, :outline_m)
    ) back
    CROSS JOIN LATERAL (
        SELECT EXISTS (
                   SELECT FROM acquisition a
                   JOIN detection d ON d.run_id = a.current_run_id
                   WHERE (a.platform, a.datatake) = (own.platform, own.datatake) AND d.class = alert.class
                       AND ST_DWithin(d.position, alert.position, :same_m)
               ) AS seen,
               EXISTS (
                   SELECT FROM acquisition a
                   JOIN coverage_part part ON part.run_id = a.current_run_id
                   WHERE (a.platform, a.datatake) = (own.platform, own.datatake)
                       AND ST_DWithin(part.part, alert.position::geometry, :edge)
               ) AS looked
    ) now
    WHERE alert.id = ANY(:ids) AND (back.looks OR back.compares)
    """
)

# Whether a count's rule looks back to a pass near its area whose results were removed.
_LOST_COUNT = text(
    """
    SELECT EXISTS (
        SELECT FROM alert_rule_version v
        JOIN alert_area area ON area.id = v.area_id
        JOIN acquisition e ON e.start < :sensed
            AND e.start >= CAST(:sensed AS timestamptz) - make_interval(secs => 86400 * v.seen_days)
            AND ST_DWithin(e.footprint::geometry, area.outline, :beside)
        WHERE v.id = :version AND e.platform || '-' || e.datatake <> :pass AND e.current_run_id IS NOT NULL
            AND NOT EXISTS (SELECT FROM coverage WHERE coverage.run_id = e.current_run_id)
    )
    """
)


def standing(session: Session, steps: Iterable[Step], wanted: Sequence[Wanted]) -> list[Step]:
    """Return the steps without those, retractions most of all, for which there is no evidence.

    Args:
        session: of the caller's transaction.
        steps: as `plan` made them.
        wanted: from these.
    """
    steps = [step for step in steps if not _lost_count(session, step)]
    orphans = {step.known.id: step.known for step in steps if step.event == "retracted" and step.known}
    counted = {step.known.id for step in steps if step.known and _only_counts(step)}
    if not orphans and not counted:
        return steps
    ids = [*orphans, *counted]
    values = {"ids": ids, "outline_m": _OUTLINE_M, "same_m": SAME_OBJECT_M, "edge": _EDGE_DEG}
    lost = session.execute(_LOST, values).all()
    held = {row.id for row in lost if row.stands or row.id in counted}
    held |= _possible(session, [orphans[row.id] for row in lost if row.looks and row.id in orphans], wanted)
    return [step for step in steps if step.known is None or step.known.id not in held]


def gaps(steps: Iterable[Step]) -> list[Step]:
    """Return the steps without those by which an area that was looked at would never have been."""
    return [
        step
        for step in steps
        if not (step.known and step.wanted and step.known.told.sensed and step.wanted.sensed is None)
    ]


def _lost_count(session: Session, step: Step) -> bool:
    """Whether a step says of a count what rests on passes whose results were removed.

    Fewer objects with a past than there were take an alert on many back, or tell of few.
    """
    told = step.wanted or (step.known and step.known.told)
    if not told or told.kind != "count":
        return False
    if step.event == "opened" and "under" not in told.evidence["count"]:
        return False
    values = {"version": told.version_id, "sensed": told.sensed, "pass": told.pass_, "beside": _BESIDE_DEG}
    return bool(session.scalar(_LOST_COUNT, values))


def _only_counts(step: Step) -> bool:
    """Whether an open alert would be amended for nothing but how often something was seen before."""
    known, one = step.known, step.wanted
    if known is None or one is None or known.state != "open":
        return False
    then, now = ({**told.evidence, "recurrence": None} for told in (known.told, one))
    return then == now and replace(one, evidence=known.told.evidence) == known.told


def _possible(session: Session, orphans: Sequence[Known], wanted: Sequence[Wanted]) -> set[str]:
    """Return those alerts that would be wanted, had the passes that are gone seen what they then saw."""
    told = {(one.rule_id, one.subject) for one in wanted}
    held: set[str] = set()
    for kind in sorted({alert.told.kind for alert in orphans}):
        these = [alert for alert in orphans if alert.told.kind == kind]
        scenes = sorted({a.told.acquisition_id for a in these if a.told.acquisition_id is not None})
        found = matching.objects(session, scenes, kind, lost=True)
        steps = plan([one for one in found if (one.rule_id, one.subject) not in told], these)
        gone = {step.known.id for step in steps if step.event == "retracted" and step.known}
        held |= {alert.id for alert in these} - gone
    return held
