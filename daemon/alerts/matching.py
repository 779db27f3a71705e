"""What rules find, as SQL over the present state of the tables: live and in a back-test the same statements.

Nothing here remembers what it found before. So it does not matter in which order scenes came: what is wanted
follows from the current runs alone, and `reconcile` brings the alerts to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from .statements import CHANGES, GAPS, IN_FORCE, IN_FORCE_NOW, MATCH, NAMED, OBJECTS, PASSES, SLICE


@dataclass(frozen=True)
class Wanted:
    """One alert that there should be, with everything that it tells."""

    rule_id: int
    version_id: int
    kind: str
    subject: str  # what it is about: a detection, a change, a pass, or "gap"
    acquisition_id: int | None
    pass_: str | None
    product: str | None
    run_id: str | None
    detection_id: str | None
    change_id: str | None
    sensed: datetime | None
    lon_deg: float | None
    lat_deg: float | None
    label: str | None
    score: float | None
    length_m: float | None
    length_low_m: float | None
    length_high_m: float | None
    flags: dict[str, Any]
    evidence: dict[str, Any]
    first: datetime | None = field(default=None, compare=False)  # when rules first looked


def prepare(session: Session) -> None:
    """Set what the statements count on, until the transaction ends: times in UTC, nothing compiled."""
    session.execute(text("SELECT set_config('timezone', 'UTC', true), set_config('jit', 'off', true)"))


def objects(
    session: Session,
    acquisitions: Sequence[int],
    kind: str,
    versions: Sequence[int] | None = None,
    lost: bool = False,
) -> list[Wanted]:
    """Return what rules find in the current runs of acquisitions.

    Args:
        session: of the caller's transaction.
        acquisitions: whose objects or changes are judged.
        kind: of the rules: object, change or count.
        versions: judge by these; None: by those in force when each acquisition was first judged.
        lost: passes before are no longer known, and may have seen, and looked at, as much as a rule asks.
    """
    things = CHANGES if kind == "change" else OBJECTS
    judge = IN_FORCE.format(at="thing.first") if versions is None else NAMED
    statement = f"WITH {SLICE}, {things} {MATCH.format(judge=judge, lost=str(lost).lower())}"
    values: dict[str, Any] = {"acquisitions": list(acquisitions), "kinds": [kind]}
    if versions is not None:
        values["versions"] = list(versions)
    return [_wanted(row) for row in session.execute(text(statement), values).mappings()]


def counts(
    session: Session, acquisitions: Sequence[int], versions: Sequence[int] | None = None
) -> list[Wanted]:
    """Return the passes that show more or fewer objects in a rule's area than it allows.

    Args:
        session: of the caller's transaction.
        acquisitions: all slices of the passes.
        versions: as of `objects`.
    """
    judge = IN_FORCE.format(at="looked.first") if versions is None else NAMED
    values: dict[str, Any] = {"acquisitions": list(acquisitions)}
    if versions is not None:
        values["versions"] = list(versions)
    passes = session.execute(text(PASSES.format(slice=SLICE, judge=judge)), values).mappings().all()
    if not passes:
        return []
    found: dict[tuple[int, str], list[Wanted]] = {}
    used = sorted({row["version_id"] for row in passes})
    for thing in objects(session, acquisitions, "count", used):
        found.setdefault((thing.version_id, thing.pass_ or ""), []).append(thing)
    wanted = []
    for row in passes:
        these = found.get((row["version_id"], row["pass"]), [])
        over, under = row["count_over"], row["count_under"]
        complete = (row["looked_share"] or 0.0) >= (row["share"] or 0.0)
        if (over is not None and len(these) > over) or (
            under is not None and len(these) < under and complete
        ):
            wanted.append(_count(row, these))
    return wanted


def gaps(session: Session, now: datetime, versions: Sequence[int] | None = None) -> list[Wanted]:
    """Return the areas that were not looked at for as long, at a time, as their rules allow.

    Args:
        session: of the caller's transaction.
        now: the time; what was sensed later does not count.
        versions: ask these; None: those in force.
    """
    judge = IN_FORCE_NOW if versions is None else NAMED
    values: dict[str, Any] = {"now": now}
    if versions is not None:
        values["versions"] = list(versions)
    rows = session.execute(text(GAPS.format(judge=judge)), values).mappings()
    return [
        _nothing(
            row,
            "gap",
            "gap",
            {
                "gap": {
                    "hours": row["unseen_hours"],
                    "last_looked": row["last"] and row["last"].isoformat(),
                    "looked_share": round(row["looked_share"], 4),
                }
            },
            sensed=row["last"],
        )
        for row in rows
    ]


def _wanted(row: Any) -> Wanted:
    fields = dict(row)
    return Wanted(pass_=fields.pop("pass"), **fields)


def _count(row: Any, things: Sequence[Wanted]) -> Wanted:
    listed = sorted(thing.subject for thing in things)
    evidence = {
        "count": {
            "objects": len(things),
            **({"over": row["count_over"]} if row["count_over"] is not None else {}),
            **({"under": row["count_under"]} if row["count_under"] is not None else {}),
            "looked_share": round(min(row["looked_share"] or 0.0, 1.0), 4),
            "detections": listed[:100],
        }
    }
    return _nothing(row, "count", f"pass {row['pass']}", evidence, row["sensed"], row["pass"], row["first"])


def _nothing(
    row: Any,
    kind: str,
    subject: str,
    evidence: dict[str, Any],
    sensed: datetime | None,
    pass_: str | None = None,
    first: datetime | None = None,
) -> Wanted:
    """Return what is about no single object."""
    return Wanted(
        rule_id=row["rule_id"],
        version_id=row["version_id"],
        kind=kind,
        subject=subject,
        acquisition_id=None,
        pass_=pass_,
        product=None,
        run_id=None,
        detection_id=None,
        change_id=None,
        sensed=sensed,
        lon_deg=row["lon_deg"],
        lat_deg=row["lat_deg"],
        label=None,
        score=None,
        length_m=None,
        length_low_m=None,
        length_high_m=None,
        flags={},
        evidence=evidence,
        first=first,
    )
