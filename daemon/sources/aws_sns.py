"""Amazon's notice of a new Sentinel-1 product, from the SNS topic ``SentinelS1L1C``.

The notice is a JSON string within a JSON envelope: a Lambda event with ``Records``, or the flat body that
HTTP and SQS deliver. Times come with and without Z, ``resolution`` may be null, and the datatake is the
decimal of the hexadecimal digits in the name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import Any

from ..errors import MessageError
from ..messages import SCHEMA, SceneAcquired, build, new_event_id, now, product_name, resolution_of
from ..scene.names import POLARISATIONS

SOURCE = "aws-sns"
BUCKET = "s3://sentinel-s1-l1c"


def scenes(payload: bytes, received: datetime | None = None) -> list[SceneAcquired]:
    """Return the scenes that a notice tells of, whatever their mode: the ledger says what is not processed.

    Args:
        payload: the Lambda event, or the flat body of a notification.
        received: when it came; now by default.

    Raises:
        MessageError: it is not such a notice, or a field is missing or wrong.
    """
    received = received or now()
    return [_scene(_object(body.get("Message"), "Message"), body, received) for body in _bodies(payload)]


def _bodies(payload: bytes) -> Iterator[Mapping[str, Any]]:
    envelope = _object(payload, "notice")
    if "Records" not in envelope:
        yield _notification(envelope)
        return
    records = envelope["Records"]
    if not isinstance(records, list) or not records:
        raise MessageError("the notice's Records is not a list of at least one record")
    for record in records:
        if not isinstance(record, Mapping) or not isinstance(record.get("Sns"), Mapping):
            raise MessageError("a record of the notice holds no Sns")
        yield _notification(record["Sns"])


def _notification(body: Mapping[str, Any]) -> Mapping[str, Any]:
    if body.get("Type") != "Notification":
        raise MessageError(f"the notice's Type is {body.get('Type')!r}; expected 'Notification'")
    return body


def _object(text: Any, what: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except (TypeError, ValueError) as error:
        raise MessageError(f"the {what} is not JSON: {error}") from error
    if not isinstance(value, Mapping):
        raise MessageError(f"the {what} is a JSON {type(value).__name__}; expected an object")
    return value


def _scene(notice: Mapping[str, Any], body: Mapping[str, Any], received: datetime) -> SceneAcquired:
    name = product_name(str(notice.get("id")))
    footprint = notice.get("footprint")
    if isinstance(footprint, Mapping):
        footprint = {k: v for k, v in footprint.items() if k != "crs"}
    return build(
        {
            "schema": SCHEMA,
            "event_id": body.get("MessageId") or new_event_id(),
            "source": SOURCE,
            "received": received,
            "product": {
                "name": str(notice["id"]),
                "uri": f"{BUCKET}/{notice.get('path')}",
                "uuid": notice.get("sciHubId"),
                "kind": "AWS",
                "published": _utc(notice.get("s3Ingestion")),
            },
            "platform": notice.get("missionId"),
            "mode": name.mode,  # of StripMap the notice says SM, and only the name which beam
            "product_type": notice.get("productType"),
            "resolution": notice.get("resolution") or resolution_of(name),
            "polarisations": POLARISATIONS.get(str(notice.get("polarization")), name.polarisations),
            "start": _utc(notice.get("startTime")),
            "stop": _utc(notice.get("stopTime")),
            "absolute_orbit": notice.get("absoluteOrbitNumber"),
            "datatake": notice.get("missionDataTakeId"),
            "footprint": footprint,
        }
    )


def _utc(text: Any) -> datetime | None:
    """Read a time that is UTC whether it says so or not."""
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(_padded(str(text)))
    except ValueError as error:
        raise MessageError(f"{text!r} is not a time") from error
    return time if time.tzinfo else time.replace(tzinfo=timezone.utc)


def _padded(text: str) -> str:
    """Python 3.10 reads neither Z nor fractions of other than three or six digits."""
    text, zone = (text[:-1], "+00:00") if text.endswith("Z") else (text, "")
    whole, dot, fraction = text.partition(".")
    return f"{whole}{dot}{fraction[:6].ljust(6, '0') if dot else ''}{zone}"
