"""Retention: old results go, ledgers, runs and alerts stay.

Of a run older than the limit its candidates, detections, coverage and what hangs on them are removed: without
coverage nothing claims that its sea was looked at and found empty. The run's notes say when. A pass goes with
all its slices: one of which a slice is younger, or that a younger one is compared with, was, or is about to
be, stays until that one is as old.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

from .change import MAX_AGE_DAYS

# Whole passes: a slice that stays without its neighbours would show doubles and ghosts as objects.
_OLD = """
WITH aged AS MATERIALIZED (
    SELECT run.id, acquisition.platform, acquisition.datatake, acquisition.start
    FROM coverage
    JOIN run ON run.id = coverage.run_id
    JOIN acquisition ON acquisition.id = run.acquisition_id
    WHERE acquisition.start < :before
), kept AS (
    SELECT aged.platform, aged.datatake
    FROM aged
    JOIN acquisition beside ON (beside.platform, beside.datatake) = (aged.platform, aged.datatake)
    WHERE beside.start >= :before
    UNION
    SELECT aged.platform, aged.datatake
    FROM aged
    JOIN change_unit ON change_unit.before_run_id = aged.id
    JOIN run later ON later.id = change_unit.after_run_id
    JOIN acquisition since ON since.id = later.acquisition_id
    WHERE since.start >= :before
    UNION
    SELECT aged.platform, aged.datatake
    FROM change_due
    JOIN acquisition since ON since.id = change_due.acquisition_id
    JOIN coverage_part theirs ON theirs.run_id = since.current_run_id
    JOIN coverage_part mine ON ST_Intersects(mine.part, theirs.part)
    JOIN aged ON aged.id = mine.run_id
    WHERE since.start >= :before
        AND since.start > aged.start AND since.start <= aged.start + :reach
)
SELECT aged.id AS run_id,
       min(aged.start) OVER (PARTITION BY aged.platform, aged.datatake) AS first, aged.platform, aged.datatake
FROM aged
WHERE NOT EXISTS (
    SELECT FROM kept WHERE (kept.platform, kept.datatake) = (aged.platform, aged.datatake)
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

    Passes go whole, the oldest first, until there are as many runs as the limit says, or more.
    Whoever judges waits: to see half of a scene's results would take its alerts back.
    """
    session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('alerts', 0))"))
    runs = list(
        session.scalars(
            text(
                f"""
                WITH old AS ({_OLD})
                SELECT run_id
                FROM (SELECT run_id, rank() OVER (ORDER BY first, platform, datatake) FROM old) AS ranked
                WHERE rank <= :limit
                """
            ),
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
