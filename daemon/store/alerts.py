"""Rules, alerts and the outbox as rows; every function works within the caller's transaction."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shapely.geometry import MultiPolygon
from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from ..alerts.definition import Definition
from ..alerts.matching import Wanted
from ..alerts.reconcile import Known
from ..errors import RuleError
from .alert_tables import AlertArea, AlertRule, AlertRulePeriod, AlertRuleVersion

_PART_VERTICES = 64  # of a piece of an area; small pieces are found, and tested for a place, quickest

ADD_AREA = text(
    """
    INSERT INTO alert_area (id, outline, area_km2, sea_km2, vertices)
    SELECT :id, outline, area_km2, area_km2 * :sea_share, ST_NPoints(outline)
    FROM (SELECT ST_GeomFromWKB(:wkb, 4326) AS outline) AS given
    CROSS JOIN LATERAL (SELECT ST_Area(outline::geography) / 1e6 AS area_km2) AS measured
    """
)
ADD_PARTS = text(
    f"""
    INSERT INTO alert_area_part (area_id, part)
    SELECT id, ST_Subdivide(outline, {_PART_VERTICES}) FROM alert_area WHERE id = :id
    """
)

_NEXT_TIME = text(
    """
    SELECT greatest(
        clock_timestamp(),
        (SELECT max(first) + interval '1 microsecond' FROM alert_judged),
        (SELECT max(greatest(since, until)) FROM alert_rule_period)
    )
    """
)

# Often the rules are of one kind or two, and the others' statements are left out.
_KINDS = text(
    """
    SELECT kind.kind FROM unnest(ARRAY['object', 'change', 'count', 'gap']) AS kind(kind)
    WHERE EXISTS (
        SELECT FROM alert_rule_version v
        JOIN alert_rule_period period ON period.version_id = v.id
        WHERE v.kind = kind.kind
    )
    """
)

_CONTENT = (
    "rule_id version_id kind subject acquisition_id product run_id detection_id change_id sensed score "
    "length_m length_low_m length_high_m flags evidence"
).split()

_KNOWN = f"""
SELECT id, state, sequence, opened, suppressed, {", ".join(_CONTENT)}, pass AS pass_, class AS label,
       ST_X(position::geometry) AS lon_deg, ST_Y(position::geometry) AS lat_deg
FROM alert
"""

_TYPES = {
    "rule_id": "bigint",
    "version_id": "bigint",
    "acquisition_id": "bigint",
    "sensed": "timestamptz",
    "score": "double precision",
    "length_m": "double precision",
    "length_low_m": "double precision",
    "length_high_m": "double precision",
    "flags": "jsonb",
    "evidence": "jsonb",
}
_ROW = ", ".join(f"{name} {_TYPES.get(name, 'text')}" for name in _CONTENT)
_SET = ", ".join(f"{name} = excluded.{name}" for name in _CONTENT)

_WRITE = text(
    f"""
    INSERT INTO alert (id, state, reason, suppressed, sequence, opened, updated, pass, class, position,
                       {", ".join(_CONTENT)})
    SELECT id, state, reason, suppressed, sequence, opened, :now, pass, label,
           CASE WHEN lon_deg IS NOT NULL
               THEN ST_SetSRID(ST_MakePoint(lon_deg, lat_deg), 4326)::geography
           END,
           {", ".join(_CONTENT)}
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS row(
        id text, state text, reason text, suppressed text, sequence bigint, opened timestamptz, pass text,
        label text, lon_deg double precision, lat_deg double precision, {_ROW}
    )
    ON CONFLICT (id) DO UPDATE SET state = excluded.state, reason = excluded.reason,
        sequence = excluded.sequence, updated = excluded.updated, pass = excluded.pass,
        class = excluded.class, position = excluded.position, {_SET}
    """
)
_SEND = text(
    """
    INSERT INTO alert_outbox (alert_id, sequence, event, destination, body, created, next_attempt_at)
    SELECT alert_id, sequence, event, destination, body, :now, :now
    FROM jsonb_to_recordset(CAST(:rows AS jsonb))
        AS row(alert_id text, sequence bigint, event text, destination text, body jsonb)
    """
)


@dataclass(frozen=True)
class RuleVersion:
    """A version of a rule, and whether it is in force."""

    rule_id: int
    version_id: int
    name: str
    number: int
    definition: dict[str, Any]
    in_force: bool
    newest: bool
    area_id: str
    area_km2: float
    sea_km2: float
    alerts: int  # that are open


def add_rule(
    session: Session,
    definition: Definition,
    area: MultiPolygon,
    sea_share: Callable[[MultiPolygon], float],
) -> tuple[RuleVersion, bool]:
    """Enter a rule, or a new version of the rule of that name; none of it is in force by that.

    Args:
        session: of the caller's transaction.
        definition: what it asks.
        area: where.
        sea_share: how much of an area is sea, 0 to 1; asked where the area is new.

    Returns:
        The newest version, and whether it is a new one: the same definition and area make none.
    """
    wkb = area.normalize().wkb
    area_id = hashlib.sha256(wkb).hexdigest()[:32]
    session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('rules', 0))"))
    if session.get(AlertArea, area_id) is None:
        session.execute(ADD_AREA, {"id": area_id, "wkb": wkb, "sea_share": sea_share(area)})
        session.execute(ADD_PARTS, {"id": area_id})
    rule = session.scalar(select(AlertRule).where(AlertRule.name == definition.name))
    if rule is None:
        rule = AlertRule(name=definition.name)
        session.add(rule)
        session.flush()
    rule.removed = None
    last = session.scalar(
        select(AlertRuleVersion)
        .where(AlertRuleVersion.rule_id == rule.id)
        .order_by(AlertRuleVersion.number.desc())
        .limit(1)
    )
    plain = definition.plain()
    new = last is None or last.definition != plain or last.area_id != area_id
    if new:
        session.add(
            AlertRuleVersion(
                rule_id=rule.id,
                number=1 + (last.number if last else 0),
                definition=plain,
                area_id=area_id,
                **definition.columns(),
            )
        )
    session.flush()
    return versions(session, definition.name)[-1], new


def versions(session: Session, name: str | None = None) -> list[RuleVersion]:
    """Return the versions of a rule, oldest first; without a name those in force and the newest of all.

    Raises:
        RuleError: there is no rule of that name.
    """
    rows = session.execute(
        text(
            """
            SELECT rule.id AS rule_id, v.id AS version_id, rule.name, v.number, v.definition,
                   v.area_id, area.area_km2, area.sea_km2,
                   EXISTS (
                       SELECT FROM alert_rule_period period
                       WHERE period.version_id = v.id AND period.until IS NULL
                   ) AS in_force,
                   v.number = (
                       SELECT max(number) FROM alert_rule_version other WHERE other.rule_id = rule.id
                   ) AS newest,
                   (
                       SELECT count(*) FROM alert WHERE version_id = v.id AND state = 'open'
                   ) AS alerts
            FROM alert_rule rule
            JOIN alert_rule_version v ON v.rule_id = rule.id
            JOIN alert_area area ON area.id = v.area_id
            WHERE rule.removed IS NULL AND rule.name = coalesce(:name, rule.name)
            ORDER BY rule.name, v.number
            """
        ),
        {"name": name},
    )
    found = [RuleVersion(**row) for row in rows.mappings()]
    if name is not None and not found:
        raise RuleError(f"no rule {name!r}; `fusar rules list` tells their names")
    return found if name is not None else [v for v in found if v.in_force or v.newest]


def version(session: Session, name: str, number: int | None = None) -> RuleVersion:
    """Return a version of a rule, the newest by default.

    Raises:
        RuleError: there is none.
    """
    found = versions(session, name)
    for one in found:
        if one.number == number or (number is None and one.newest):
            return one
    raise RuleError(f"{name} has no version {number}, expected 1 to {found[-1].number}")


def outline(session: Session, area_id: str) -> Any:
    """Return an area as a GeoJSON geometry."""
    found = text("SELECT ST_AsGeoJSON(outline, 15)::json FROM alert_area WHERE id = :id")
    return session.scalars(found, {"id": area_id}).one()


def enable(session: Session, one: RuleVersion) -> None:
    """Put a version in force from now on, in place of the rule's other one."""
    _lock_judging(session)
    if one.in_force:
        return
    _end_period(session, one.rule_id)
    session.add(AlertRulePeriod(rule_id=one.rule_id, version_id=one.version_id, since=_next_time(session)))
    session.flush()


def disable(session: Session, name: str) -> bool:
    """Take a rule out of force; what it has told is still amended and retracted. Return whether it was."""
    _lock_judging(session)
    return _end_period(session, versions(session, name)[0].rule_id)


def remove(session: Session, name: str) -> None:
    """Take a rule out of force and out of the list; its alerts and versions stay."""
    disable(session, name)
    session.execute(update(AlertRule).where(AlertRule.name == name).values(removed=func.clock_timestamp()))


def kind_of(session: Session, version_id: int) -> str:
    """Return a version's kind."""
    return session.get_one(AlertRuleVersion, version_id).kind


def kinds_in_use(session: Session) -> set[str]:
    """Return the kinds of the rules that are or were in force."""
    return set(session.scalars(_KINDS))


def known(session: Session, where: str, values: Mapping[str, Any]) -> list[Known]:
    """Return alerts by a condition on their columns."""
    found = []
    for row in session.execute(text(f"{_KNOWN} WHERE {where}"), dict(values)).mappings():
        fields = dict(row)
        head = {name: fields.pop(name) for name in ("id", "state", "sequence", "opened", "suppressed")}
        found.append(Known(**head, told=Wanted(**fields)))
    return found


def rules_of(session: Session, version_ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Return name, number, definition and whether the rule is in force now, by version."""
    rows = session.execute(
        text(
            """
            SELECT v.id, v.rule_id, rule.name, v.number, v.definition, EXISTS (
                SELECT FROM alert_rule_period period WHERE period.rule_id = rule.id AND period.until IS NULL
            ) AS live
            FROM alert_rule_version v
            JOIN alert_rule rule ON rule.id = v.rule_id
            WHERE v.id = ANY(:ids)
            """
        ),
        {"ids": list(version_ids)},
    )
    return {row["id"]: dict(row) for row in rows.mappings()}


def sent_since(session: Session, rule_id: int, since: datetime) -> int:
    """Count a rule's alerts that were opened since, and not suppressed."""
    count: int = session.scalars(
        text("SELECT count(*) FROM alert WHERE rule_id = :rule AND opened > :since AND suppressed IS NULL"),
        {"rule": rule_id, "since": since},
    ).one()
    return count


def write(session: Session, rows: Sequence[Mapping[str, Any]], now: datetime) -> None:
    """Insert alerts, or bring those of the same id to what is given."""
    if rows:
        session.execute(_WRITE, {"rows": _json(rows), "now": now})


def send(session: Session, rows: Sequence[Mapping[str, Any]], now: datetime) -> None:
    """Put events into the outbox."""
    if rows:
        session.execute(_SEND, {"rows": _json(rows), "now": now})


def row_of(told: Wanted) -> dict[str, Any]:
    """Return an alert's content as `write` takes it."""
    fields = {name: getattr(told, name) for name in (*_CONTENT, "label", "lon_deg", "lat_deg")}
    return {**fields, "pass": told.pass_, "sensed": told.sensed.isoformat() if told.sensed else None}


def _json(rows: Sequence[Mapping[str, Any]]) -> str:
    return json.dumps(rows, allow_nan=False)


def _lock_judging(session: Session) -> None:
    """Wait for the scenes that are being judged: the next one sees what is in force from its beginning on."""
    session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('alerts', 0))"))


def _next_time(session: Session) -> datetime:
    """Return the time; where the clock went back, one that all that was judged and in force lies before."""
    time: datetime = session.scalars(_NEXT_TIME).one()
    return time


def _end_period(session: Session, rule_id: int) -> bool:
    ended = session.execute(
        update(AlertRulePeriod)
        .where(AlertRulePeriod.rule_id == rule_id, AlertRulePeriod.until.is_(None))
        .values(until=_next_time(session))
        .returning(AlertRulePeriod.id)
    )
    return bool(ended.all())
