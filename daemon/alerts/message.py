"""The message of an alert: one form for Kafka and webhooks; an example is in ``docs/messages.md``.

An event's body is kept in the outbox as it was when it happened. What depends on the time of sending, the
sensing's age and how far a ship may have gone since, is added when it is sent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter

from .matching import Wanted

SCHEMA: Final = "fusar.alert/1"
KNOT_M_S = 1852 / 3600
_TIME: TypeAdapter[datetime] = TypeAdapter(AwareDatetime)

Longitude = Annotated[float, Field(ge=-180, le=180)]
Latitude = Annotated[float, Field(ge=-90, le=90)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)


class AlertState(_Part):
    """Which alert it is, and how it stands after this event."""

    id: str
    sequence: int = Field(ge=1, description="Of the event within the alert; a higher one replaces a lower.")
    state: Literal["open", "retracted", "closed"]
    opened: AwareDatetime
    reason: str | None = Field(description="Why it is open no more; null while it is.")


class RuleOf(_Part):
    """The rule's version that fired."""

    name: str
    version: int
    kind: Literal["object", "change", "count", "gap"]
    description: str


class Position(_Part):
    """A point of GeoJSON: longitude, latitude in degrees."""

    type: Literal["Point"]
    coordinates: tuple[Longitude, Latitude]


class Object(_Part):
    """What was seen; a count or a gap has a position within its area alone."""

    position: Position | None
    class_: str | None = Field(alias="class")
    score: float | None
    length_m: float | None
    length_low_m: float | None
    length_high_m: float | None
    flags: dict[str, Any]


class Sensing(_Part):
    """When it was seen, and what that is worth at the time of sending."""

    sensed: AwareDatetime | None = Field(description="When the place was sensed; null: never.")
    last_seen: AwareDatetime | None = Field(
        description="When the object was seen last: before `sensed` where it is gone."
    )
    age_s: float | None = Field(ge=0, description="From `sensed` to `sent`.")
    speed_bound_kn: float | None = Field(description="Speed that a ship is taken not to exceed.")
    reach_m: float | None = Field(
        ge=0, description="How far from the position a ship may be: the bound's way from last_seen to sent."
    )


class Links(_Part):
    """Where to look further: keys of the tables detection, run, product, acquisition, change."""

    detection: str | None
    run: str | None
    product: str | None
    acquisition: int | None
    change: str | None


class AlertMessage(_Part):
    """One event of one alert."""

    schema_: Literal["fusar.alert/1"] = Field(alias="schema")
    event_id: str = Field(description="The alert's id and the sequence: the same each time it is sent.")
    source: str
    event: Literal["opened", "amended", "retracted", "closed"]
    time: AwareDatetime = Field(description="When the event happened.")
    sent: AwareDatetime = Field(description="When this copy was sent.")
    alert: AlertState
    rule: RuleOf
    object: Object
    sensing: Sensing
    evidence: dict[str, Any]
    links: Links


@dataclass(frozen=True)
class Head:
    """An alert as it stands after an event."""

    id: str
    sequence: int
    state: str
    reason: str | None
    opened: datetime
    suppressed: str | None


def body(event: str, head: Head, time: datetime, rule: Mapping[str, Any], told: Wanted) -> dict[str, Any]:
    """Return the message of an event, as far as it does not depend on when it is sent."""
    point = None
    if told.lon_deg is not None and told.lat_deg is not None:
        point = {"type": "Point", "coordinates": [told.lon_deg, told.lat_deg]}
    change = told.evidence.get("change", {})
    gone = change.get("kind") == "gone"
    return {
        "schema": SCHEMA,
        "event_id": f"{head.id}/{head.sequence}",
        "source": "fusar",
        "event": event,
        "time": _z(time),
        "alert": {
            "id": head.id,
            "sequence": head.sequence,
            "state": head.state,
            "opened": _z(head.opened),
            "reason": head.reason,
        },
        "rule": {
            "name": rule["name"],
            "version": rule["number"],
            "kind": told.kind,
            "description": rule["definition"].get("description", ""),
        },
        "object": {
            "position": point,
            "class": told.label,
            "score": told.score,
            "length_m": told.length_m,
            "length_low_m": told.length_low_m,
            "length_high_m": told.length_high_m,
            "flags": told.flags,
        },
        "sensing": {
            "sensed": _z(told.sensed),
            "last_seen": change.get("before_acquired") if gone else _z(told.sensed),
        },
        "evidence": told.evidence,
        "links": {
            "detection": told.detection_id,
            "run": told.run_id,
            "product": told.product,
            "acquisition": told.acquisition_id,
            "change": told.change_id,
        },
    }


def render(stored: Mapping[str, Any], sent: datetime, speed_bound_kn: float) -> dict[str, Any]:
    """Return the message as it is sent at a time: with the sensing's age and a ship's reach."""
    sensing = stored["sensing"]
    age_s = _age_s(sensing["sensed"], sent)
    unseen_s = _age_s(sensing["last_seen"], sent)
    ship = stored["object"]["class"] == "ship" and unseen_s is not None
    return {
        **stored,
        "sent": _z(sent),
        "sensing": {
            **sensing,
            "age_s": age_s,
            "speed_bound_kn": speed_bound_kn if ship else None,
            "reach_m": round(speed_bound_kn * KNOT_M_S * (unseen_s or 0.0), 1) if ship else None,
        },
    }


def encode(message: Mapping[str, Any]) -> bytes:
    """Return a message as JSON."""
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def json_schema() -> dict[str, Any]:
    """Return the message's JSON schema, as ``docs/alert.schema.json`` holds it."""
    return AlertMessage.model_json_schema(by_alias=True)


def _age_s(since: str | None, sent: datetime) -> float | None:
    if since is None:
        return None
    return round(max((sent - _TIME.validate_python(since)).total_seconds(), 0.0), 1)


def _z(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat().replace("+00:00", "Z")
