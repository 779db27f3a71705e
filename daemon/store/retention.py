"""Retention: old results go, ledgers, runs and alerts stay.

Of a run older than the limit its candidates, detections, coverage and what hangs on them are removed: without
coverage nothing claims that its sea was looked at and found empty. The run's notes say when. A run that a
younger one is compared with, was, or is about to be, stays until that one is as old.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

from .change import MAX_AGE_DAYS

_OLD = """
SELECT coverage.run_id FROM coverage
JOIN run ON run.id = coverage.run_id
JOIN acquisition ON acquisition.id = run.acquisition_id
WHERE acquisition.start < :before AND NOT EXISTS (
    SELECT FROM change_unit
    JOIN run later ON later.id = change_unit.after_run_id
    JOIN acquisition since ON since.id = later.acquisition_id
    WHERE change_unit.before_run_id = run.id AND since.start >= :before
) AND NOT EXISTS (
    SELECT FROM change_due
    JOIN acquisition since ON since.id = change_due.acquisition_id
    JOIN coverage_part theirs ON theirs.run_id = since.current_run_id
    JOIN coverage_part mine ON ST_Intersects(mine.part, theirs.part)
    WHERE mine.run_id = run.id AND since.start >= :before
        AND since.start > acquisition.start AND since.start <= acquisition.start + :reach
)
"""
_REACH = timedelta(days=MAX_AGE_DAYS)
_TABLES = ("candidate", "detection", "coverage_part", "ghost_place", "ais_reception", "coverage")


@dataclass(frozen=True)
class Old:
    """What is older than the limit."""

    runs: int
    detections: int
    candidates: int
    sent: int  # messages of the outbox


def count(session: Session, before: datetime) -> Old:
    """Count what `prune` would remove."""
    row = session.execute(
        text(
            f"""
            WITH old AS MATERIALIZED ({_OLD})
            SELECT (SELECT count(*) FROM old) AS runs,
                   (SELECT count(*) FROM detection WHERE run_id IN (SELECT run_id FROM old)) AS detections,
                   (SELECT count(*) FROM candidate WHERE run_id IN (SELECT run_id FROM old)) AS candidates,
                   (SELECT count(*) FROM alert_outbox WHERE sent < :before) AS sent
            """
        ),
        {"before": before, "reach": _REACH},
    ).one()
    return Old(**row._mapping)


def prune(session: Session, before: datetime, limit: int = 20) -> int:
    """Remove the results of some runs that are older; return of how many: 0 where none is left.

    Whoever judges waits: to see half of a scene's results would take its alerts back.
    """
    session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('alerts', 0))"))
    runs = list(
        session.scalars(
            text(f"{_OLD} ORDER BY acquisition.start, run.id LIMIT :limit"),
            {"before": before, "reach": _REACH, "limit": limit},
        )
    )
    if not runs:
        session.execute(text("DELETE FROM alert_outbox WHERE sent < :before"), {"before": before})
        return 0
    # a change unit goes with either of its runs, whole; its later run is as old by now
    compared = "before_run_id = ANY(:runs) OR after_run_id = ANY(:runs)"
    session.execute(text(f"DELETE FROM change_unit WHERE {compared}"), {"runs": runs})
    for table in _TABLES:
        session.execute(text(f"DELETE FROM {table} WHERE run_id = ANY(:runs)"), {"runs": runs})
    session.execute(
        text(
            "UPDATE run SET notes = notes || jsonb_build_array('results removed by retention on ' "
            "|| to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD')) WHERE id = ANY(:runs)"
        ),
        {"runs": runs},
    )
    return len(runs)
