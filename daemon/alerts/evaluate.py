"""Judging by rules: a scene in its transaction, changes and AIS in theirs, gaps on a timer.

Call these last in a transaction: from here to its end all others that judge wait, so that each sees what
the ones before it committed, and the alerts end the same in whatever order scenes, changes and AIS arrive. A
fault of a rule never costs the scene: it is undone, noted in ``alert_judged``, and tried again on the timer.
"""

from __future__ import annotations

import logging
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import exc, text
from sqlalchemy.orm import Session

from ..store import alerts as store
from . import matching, message, removed
from .definition import Definition
from .matching import Wanted
from .message import Head
from .reconcile import Known, Step, plan

log = logging.getLogger(__name__)

REVISIT_DAYS = 90  # scenes so much later are judged again when an earlier one arrives after them
BESIDE_S = 60.0  # slices of a datatake so close in time are neighbours

_LIMITS = {"max_age_hours", "quiet_hours", "rate_limit"}
_REASONS = {
    "retracted": "the present results no longer show it as the rule asks",
    "closed": "the area was looked at again, or the rule no longer asks",
}

# A pass's detections that stand, against the sightings that there are; what differs tells which neighbours'
# detections became doubles, or are doubles no more.
_SIGHT = text(
    """
    WITH slice AS MATERIALIZED (
        SELECT other.id, other.start, other.current_run_id, other.platform || '-' || other.datatake AS pass
        FROM acquisition own
        JOIN acquisition other ON other.platform = own.platform AND other.datatake = own.datatake
            AND other.mode = own.mode AND other.current_run_id IS NOT NULL
            AND (other.id = own.id OR (other.start < own.stop + make_interval(secs => :beside_s)
                AND other.stop > own.start - make_interval(secs => :beside_s)))
        WHERE own.id = :acquisition
    ), replaced AS (
        DELETE FROM sighting USING detection, run
        WHERE run.acquisition_id IN (SELECT id FROM slice) AND detection.run_id = run.id
            AND sighting.detection_id = detection.id
            AND (detection.duplicate_of IS NOT NULL
                OR NOT EXISTS (SELECT FROM slice WHERE slice.current_run_id = run.id))
        RETURNING run.acquisition_id
    ), new AS (
        INSERT INTO sighting (detection_id, cell, sensed, position, class, pass)
        SELECT detection.id, place_cell(detection.position), slice.start, detection.position,
               detection.class, slice.pass
        FROM slice
        JOIN detection ON detection.run_id = slice.current_run_id
        WHERE detection.duplicate_of IS NULL
            AND NOT EXISTS (SELECT FROM sighting WHERE sighting.detection_id = detection.id)
        ON CONFLICT DO NOTHING
        RETURNING detection_id
    )
    SELECT acquisition_id FROM replaced
    UNION
    SELECT run.acquisition_id FROM new
    JOIN detection ON detection.id = new.detection_id
    JOIN run ON run.id = detection.run_id
    """
)

# Neighbours with something where a ghost of this scene's runs may lie; and later scenes over the same sea.
_ALSO = text(
    """
    SELECT other.id
    FROM run
    JOIN ghost_place ghost ON ghost.run_id = run.id
    JOIN acquisition own ON own.id = run.acquisition_id
    JOIN acquisition other ON other.platform = own.platform AND other.datatake = own.datatake
        AND other.mode = own.mode AND other.id <> own.id
    JOIN detection ON detection.run_id = other.current_run_id
        AND ST_DWithin(detection.position, ghost.position, 350)
    WHERE run.acquisition_id = :acquisition
    UNION
    SELECT later.id
    FROM acquisition own
    JOIN acquisition later ON later.start > own.start
        AND later.start <= own.start + make_interval(days => :revisit_days)
        AND later.current_run_id IS NOT NULL AND later.id <> own.id
        AND (later.platform, later.datatake) <> (own.platform, own.datatake)
        AND ST_Intersects(later.footprint::geometry, own.footprint::geometry)
    WHERE own.id = :acquisition
    """
)

# Not before what is in force came into force, even where the clock went back since.
_JUDGED = text(
    """
    INSERT INTO alert_judged (acquisition_id, first)
    SELECT :acquisition, greatest(clock_timestamp(), max(greatest(since, until))) FROM alert_rule_period
    ON CONFLICT (acquisition_id) DO UPDATE SET error = NULL
    """
)

# That a scene's comparison is still to be made, or failed.
_UNSETTLED = """(
    EXISTS (SELECT FROM change_due WHERE change_due.acquisition_id = {one}.id)
    OR EXISTS (
        SELECT FROM change_unit unit
        WHERE unit.after_run_id = {one}.current_run_id AND unit.present AND unit.outcome = 'failed'
    )
)"""

# Scenes and their neighbouring slices, which may show an object better, so that its alert goes from one to
# the other: whether their comparison is made, and whether those of all their neighbours are.
_BESIDE = text(
    f"""
    SELECT DISTINCT other.id, NOT {_UNSETTLED.format(one="other")} AS settled,
        NOT EXISTS (
            SELECT FROM acquisition near
            WHERE (near.platform, near.datatake) = (other.platform, other.datatake)
                AND abs(extract(epoch FROM near.start - other.start)) <= :beside_s
                AND {_UNSETTLED.format(one="near")}
        ) AS quiet
    FROM acquisition own
    JOIN acquisition other ON (other.platform, other.datatake) = (own.platform, own.datatake)
        AND abs(extract(epoch FROM other.start - own.start)) <= :beside_s
    JOIN coverage ON coverage.run_id = other.current_run_id
    WHERE own.id = ANY(:acquisitions)
    ORDER BY other.id
    """
)


# Of a scene whose results were pruned nothing is said any more, nor taken back.
_KEPT = text(
    """
    SELECT a.id FROM acquisition a JOIN coverage ON coverage.run_id = a.current_run_id
    WHERE a.id = ANY(:acquisitions) ORDER BY a.id
    """
)


def evaluate_run(session: Session, run_id: str) -> None:
    """Judge the scene whose current run this is, and those that its objects say something about.

    Amends or retracts the alerts of the runs that it replaced. Nothing happens where it is not current.
    """
    acquisition = session.scalar(
        text("SELECT id FROM acquisition WHERE current_run_id = :run"), {"run": run_id}
    )
    if acquisition is None:
        return
    lock(session)
    session.execute(_JUDGED, {"acquisition": acquisition})
    touched = set(session.scalars(_SIGHT, {"acquisition": acquisition, "beside_s": BESIDE_S}))

    kinds = store.kinds_in_use(session)
    if kinds - {"gap"}:
        values = {"acquisition": acquisition, "revisit_days": REVISIT_DAYS}
        scenes = sorted({acquisition, *touched, *session.scalars(_ALSO, values)})
        _guarded(session, scenes, lambda: judge(session, scenes, kinds))


def evaluate_change(session: Session, acquisition_id: int) -> None:
    """Judge the changes of a scene whose comparison with earlier ones has ended.

    Call it when its units and its queue are as they shall be, whether or not a unit is another one now:
    changes of a scene that is still due are left alone, whatever else they are judged by.
    """
    _judge_later(session, [acquisition_id], {"change"})


def evaluate_ais(session: Session, detection_ids: Sequence[str]) -> None:
    """Judge the scenes of detections whose AIS match was made or changed."""
    acquisitions = session.scalars(
        text(
            "SELECT DISTINCT a.id FROM detection d JOIN acquisition a ON a.current_run_id = d.run_id "
            "WHERE d.id = ANY(:ids) ORDER BY a.id"
        ),
        {"ids": list(detection_ids)},
    ).all()
    if acquisitions:
        _judge_later(session, acquisitions, {"object", "change", "count"})


def evaluate_timer(session: Session, now: datetime) -> None:
    """Judge what no scene brings: areas that were not looked at; and scenes whose judging failed before."""
    lock(session)
    failed = session.scalars(
        text("SELECT acquisition_id FROM alert_judged WHERE error IS NOT NULL ORDER BY acquisition_id")
    ).all()
    for acquisition in failed:
        _guarded(session, [acquisition], lambda a=acquisition: judge(session, [a]))  # type: ignore[misc]
    open_gaps = store.known(session, "kind = 'gap' AND state = 'open'", {})
    if not open_gaps and "gap" not in store.kinds_in_use(session):
        return
    wanted = matching.gaps(session, now)
    _apply(session, [_ended(step) for step in removed.gaps(plan(wanted, open_gaps))])


def lock(session: Session) -> None:
    """Wait until no other transaction judges, and set what the statements count on."""
    session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('alerts', 0))"))
    matching.prepare(session)


def judge(session: Session, acquisitions: Iterable[int], kinds: set[str] | None = None) -> None:
    """Bring the alerts of acquisitions, and of their passes, to what the tables say now; under `lock`."""
    kinds = store.kinds_in_use(session) if kinds is None else kinds
    ids = list(session.scalars(_KEPT, {"acquisitions": list(acquisitions)}))
    wanted: list[Wanted] = []
    known: list[Known] = []
    if "object" in kinds:
        wanted += matching.objects(session, ids, "object")
        known += store.known(session, "kind = 'object' AND acquisition_id = ANY(:ids)", {"ids": ids})
    open_ended: set[int] = set()
    if "change" in kinds:
        beside = session.execute(_BESIDE, {"acquisitions": ids, "beside_s": BESIDE_S}).all()
        settled = [row.id for row in beside if row.settled]
        wanted += matching.objects(session, settled, "change") if settled else []
        slices_ = {"ids": [row.id for row in beside]}
        known += store.known(session, "kind = 'change' AND acquisition_id = ANY(:ids)", slices_)
        open_ended = {row.id for row in beside if not (row.settled and row.quiet)}
    if "count" in kinds:
        slices, passes = passes_of(session, ids)
        wanted += matching.counts(session, slices)
        known += store.known(session, "kind = 'count' AND pass = ANY(:passes)", {"passes": passes})
    steps = [step for step in plan(wanted, known) if not _early(step, open_ended)]
    _apply(session, removed.standing(session, steps, wanted))


def _early(step: Step, open_ended: set[int]) -> bool:
    """Whether a step takes back what a comparison that is still to be made may show again."""
    told = _told(step)
    return step.event == "retracted" and told.kind == "change" and told.acquisition_id in open_ended


def _judge_later(session: Session, acquisitions: Sequence[int], kinds: set[str]) -> None:
    lock(session)
    used = store.kinds_in_use(session) & kinds
    if used:
        _guarded(session, acquisitions, lambda: judge(session, acquisitions, used), whole=False)


def _guarded(
    session: Session, acquisitions: Sequence[int], work: Callable[[], None], whole: bool = True
) -> None:
    """Do work on acquisitions; undo it and note the error, unless the server is the cause.

    Where only some kinds of rules are judged, success leaves a noted error: the rest is still to be done.
    """
    error = None
    try:
        with session.begin_nested():
            work()
    except (exc.OperationalError, exc.InterfaceError, exc.PendingRollbackError):
        raise  # away or in conflict: the whole transaction is tried again
    except Exception as raised:
        log.exception("rules could not judge acquisitions %s", list(acquisitions))
        error = f"{type(raised).__name__}: {getattr(raised, 'orig', raised)}".replace("\0", "")
    if error is None and not whole:
        return
    session.execute(
        text("UPDATE alert_judged SET error = :error WHERE acquisition_id = ANY(:ids)"),
        {"error": error, "ids": list(acquisitions)},
    )


def passes_of(session: Session, acquisitions: Sequence[int]) -> tuple[list[int], list[str]]:
    """Return all slices of the passes of acquisitions, and the passes: of those that are whole."""
    rows = session.execute(
        text(
            """
            SELECT DISTINCT other.id, other.platform || '-' || other.datatake AS pass
            FROM acquisition own
            JOIN acquisition other ON other.platform = own.platform AND other.datatake = own.datatake
                AND other.mode = own.mode AND other.current_run_id IS NOT NULL
            WHERE own.id = ANY(:ids) AND NOT EXISTS (
                SELECT FROM acquisition pruned
                WHERE pruned.platform = own.platform AND pruned.datatake = own.datatake
                    AND pruned.mode = own.mode AND pruned.current_run_id IS NOT NULL
                    AND NOT EXISTS (SELECT FROM coverage WHERE coverage.run_id = pruned.current_run_id)
            )
            ORDER BY other.id
            """
        ),
        {"ids": list(acquisitions)},
    ).all()
    return [row.id for row in rows], sorted({row[1] for row in rows})


def _ended(step: Step) -> Step:
    """A gap that there is no more was none of an object's: its alert closes."""
    return replace(step, event="closed") if step.event == "retracted" else step


def _apply(session: Session, steps: Sequence[Step]) -> None:
    """Write what a plan says, and put what is to be told into the outbox."""
    if not steps:
        return
    now: datetime = session.scalars(text("SELECT clock_timestamp()")).one()
    rules = store.rules_of(session, sorted({_told(step).version_id for step in steps}))
    suppress = Suppression(rules, lambda rule, since: store.sent_since(session, rule, since), now)
    rows: list[dict[str, Any]] = []
    events: list[dict[str, Any]] = []
    for step in steps:
        known, content = step.known, _told(step)
        rule = rules[content.version_id]
        if not rule["live"] and step.wanted and (known is None or known.state != "open"):
            continue  # taken out of force since: nothing is told anew
        head = Head(
            id=known.id if known else uuid.uuid4().hex,
            sequence=known.sequence + 1 if known else 1,
            state=step.event if step.event in ("retracted", "closed") else "open",
            reason=_REASONS.get(step.event),
            opened=known.opened if known else now,
            suppressed=known.suppressed if known else suppress(content),
        )
        rows.append({**store.row_of(content), **vars(head), "opened": head.opened.isoformat()})
        if head.suppressed is None:
            events.extend(_outbox(step.event, head, rule, content, now))
    store.write(session, rows, now)
    store.send(session, events, now)


def _told(step: Step) -> Wanted:
    if step.wanted is not None:
        return step.wanted
    if step.known is not None:
        return step.known.told
    raise ValueError("a step is of a known alert, a wanted one, or both")


def _outbox(
    event: str, head: Head, rule: dict[str, Any], content: Wanted, now: datetime
) -> Iterator[dict[str, Any]]:
    """Yield the rows of an event, one for each destination."""
    body = message.body(event, head, now, rule, content)
    for destination in ("kafka", *rule["definition"].get("webhooks", ())):
        yield {
            "alert_id": head.id,
            "sequence": head.sequence,
            "event": event,
            "destination": destination,
            "body": body,
        }


class Suppression:
    """Says of new alerts, one after the other, why they are not sent; None where they are."""

    def __init__(
        self, rules: dict[int, dict[str, Any]], sent: Callable[[int, datetime], int], now: datetime
    ) -> None:
        """Prepare.

        Args:
            rules: by version, with the definition.
            sent: counts a rule's alerts that were sent since a time.
            now: the time.
        """
        self._now = now
        self._sent = sent
        self._counts: Counter[int] = Counter()
        self._definitions: dict[int, Definition] = {}
        self._rules = rules

    def __call__(self, content: Wanted) -> str | None:
        """Return quiet_hours, rate_limit, stale, or None."""
        if not _LIMITS & self._rules[content.version_id]["definition"].keys():
            return None
        definition = self._definition(content.version_id)
        oldest = definition.max_age_hours
        first = min(content.first or self._now, self._now)  # where the clock that said so ran ahead
        if oldest is not None and content.sensed and first - content.sensed > timedelta(hours=oldest):
            return "stale"
        if definition.quiet_hours and definition.quiet_hours.holds(self._now):
            return "quiet_hours"
        limit = definition.rate_limit
        if limit:
            if content.rule_id not in self._counts:
                self._counts[content.rule_id] = self._sent(content.rule_id, self._now - limit.span)
            if self._counts[content.rule_id] >= limit.alerts:
                return "rate_limit"
            self._counts[content.rule_id] += 1
        return None

    def _definition(self, version_id: int) -> Definition:
        if version_id not in self._definitions:
            self._definitions[version_id] = Definition.model_validate(self._rules[version_id]["definition"])
        return self._definitions[version_id]
