"""What a rule would have fired on history: the live statements, with the version named instead of in force.

Judged are the results as they stand now. Quiet hours and rate limits are taken at the time at which each
scene was first judged; where none was, at its sensing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from ..store import alerts as store
from ..store.alerts import RuleVersion
from . import matching
from .evaluate import Suppression, passes_of
from .matching import Wanted

_BATCH = 20  # scenes at a time

_SCENES = text(
    """
    SELECT a.id, a.start, a.platform || '-' || a.datatake AS pass, coalesce(judged.first, a.start) AS at
    FROM alert_area area
    JOIN acquisition a ON a.footprint::geometry && area.outline
        AND ST_Intersects(a.footprint::geometry, area.outline)
    LEFT JOIN alert_judged judged ON judged.acquisition_id = a.id
    WHERE area.id = :area AND a.current_run_id IS NOT NULL AND a.start >= :since AND a.start < :until
    ORDER BY a.start, a.id
    """
)


@dataclass(frozen=True)
class Fired:
    """An alert that there would have been."""

    at: datetime  # when it would have been judged
    told: Wanted
    suppressed: str | None  # why it would not have been sent


def run(
    session: Session,
    rule: RuleVersion,
    since: datetime,
    until: datetime,
    progress: Callable[[int, int], None] | None = None,
) -> list[Fired]:
    """Return what a rule's version would have fired, in the order of time.

    Args:
        session: of a transaction; nothing is written.
        rule: the version.
        since: sensing times from here on count.
        until: and before this.
        progress: told how many of how many scenes are done.
    """
    matching.prepare(session)
    report = progress or (lambda done, total: None)
    kind = store.kind_of(session, rule.version_id)
    hours = rule.definition["coverage_gap"]["hours"] if kind == "gap" else 0
    window = {"area": rule.area_id, "since": since - timedelta(hours=hours), "until": until}
    scenes = session.execute(_SCENES, window).all()
    if kind == "gap":
        found = _gaps(session, rule, [scene.start for scene in scenes], since, until, report)
    elif kind == "count":
        found = _counts(session, rule, scenes, report)
    else:
        found = []
        for start in range(0, len(scenes), _BATCH):
            batch = {scene.id: scene.at for scene in scenes[start : start + _BATCH]}
            for told in matching.objects(session, list(batch), kind, [rule.version_id]):
                at = batch[told.acquisition_id]
                found.append((at, replace(told, first=at)))
            report(min(start + _BATCH, len(scenes)), len(scenes))
    return _suppressed(session, rule, found)


def _counts(
    session: Session, rule: RuleVersion, scenes: Any, report: Callable[[int, int], None]
) -> list[tuple[datetime, Wanted]]:
    passes: dict[str, tuple[datetime, int]] = {}
    for scene in scenes:
        passes.setdefault(scene[2], (scene.at, scene.id))
    found = []
    for done, (at, one) in enumerate(passes.values(), 1):
        slices, _ = passes_of(session, [one])
        for told in matching.counts(session, slices, [rule.version_id]):
            found.append((at, replace(told, first=at)))
        report(done, len(passes))
    return found


def _gaps(
    session: Session,
    rule: RuleVersion,
    looked: list[datetime],
    since: datetime,
    until: datetime,
    report: Callable[[int, int], None],
) -> list[tuple[datetime, Wanted]]:
    """A gap can only begin when a pass becomes too old, and only end with a pass.

    One that is open when the rule comes into force is told then, as live.
    """
    hours = rule.definition["coverage_gap"]["hours"]
    begins = [start + timedelta(hours=hours, seconds=1) for start in looked]
    found = []
    inside = False
    times = sorted(time for time in {since, *begins, *looked, until} if since <= time <= until)
    for done, now in enumerate(times, 1):
        told = matching.gaps(session, now, [rule.version_id])
        if told and not inside:
            found.append((now, told[0]))
        inside = bool(told)
        report(done, len(times))
    return found


def _suppressed(session: Session, rule: RuleVersion, found: list[tuple[datetime, Wanted]]) -> list[Fired]:
    rules = store.rules_of(session, [rule.version_id])
    sent: list[datetime] = []
    fired = []
    for at, told in sorted(found, key=lambda one: (one[0], -(one[1].score or 0.0), one[1].subject)):
        suppress = Suppression(rules, lambda _, since: sum(time > since for time in sent), at)
        reason = suppress(told)
        if reason is None:
            sent.append(at)
        fired.append(Fired(at, told, reason))
    return fired
