"""AIS as receivers write it: NMEA 0183 sentences (AIVDM), decoded by pyais.

A message says at which second it was sent, not when: the time comes from the line. Understood are the tag
block's ``c:`` (seconds or milliseconds since 1970), and seconds since 1970 or ISO 8601 before the sentence or
after its checksum. A line without any is counted and left out.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

from pyais.exceptions import AISBaseException
from pyais.messages import AISSentence, NMEAMessage, NMEASentenceFactory

from .reports import (
    BadRow,
    Fields,
    Position,
    Report,
    Said,
    bearing_deg,
    hull,
    imo_number,
    known,
    place,
    speed_kn,
    type_words,
    vessel_mmsi,
    words,
)

_PENDING = 1000  # messages of several sentences that wait for the rest; the oldest is given up
_LATE_S = 20  # a message that arrives later than this after its own second keeps its time of arrival

# before, tag block, sentence, after
_LINE = re.compile(r"^([^!\\]*)(?:\\([^\\]*)\\)?(![A-Z]{2}VD[MO],[^*]*\*[0-9A-Fa-f]{2})(.*)$")
_TAG_TIME = re.compile(r"(?:^|,)c:(\d+)")
_EPOCH = re.compile(r"(?:^|[\s,;])(\d{9,13}(?:\.\d+)?)(?=$|[\s,;])")
_ISO = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)?")

_CLASS_A, _CLASS_B = (1, 2, 3, 27), (18, 19)


def is_nmea(line: str) -> bool:
    """Whether a line holds a sentence of AIS."""
    return _LINE.match(line.strip()) is not None


def messages(lines: Iterable[str], bad: Callable[[str], None]) -> Iterator[Report]:
    """Decode lines; those that give no report are counted by reason.

    Args:
        lines: of the file.
        bad: called with the reason of each bad line or message.
    """
    pending: OrderedDict[tuple[Any, ...], list[tuple[AISSentence, datetime | None]]] = OrderedDict()
    for line in lines:
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        try:
            sentence, time = _sentence(text)
            if sentence.is_single:
                yield _report(sentence, time)
                continue
            whole = _joined(pending, sentence, time, bad)
            if whole is not None:
                yield _report(*whole)
        except BadRow as error:
            bad(str(error))
    for _ in pending:
        bad("sentence missing")


def _sentence(text: str) -> tuple[AISSentence, datetime | None]:
    found = _LINE.match(text)
    if found is None:
        raise BadRow("no sentence of AIS")
    before, tag, body, after = found.groups()
    try:
        sentence = NMEASentenceFactory.produce(body.encode("ascii", "replace"))
    except (AISBaseException, ValueError, IndexError):
        raise BadRow("sentence unreadable") from None
    if not isinstance(sentence, AISSentence) or not sentence.is_valid:
        raise BadRow("checksum wrong")
    return sentence, _time(before, tag or "", after)


def _time(before: str, tag: str, after: str) -> datetime | None:
    try:
        if found := _TAG_TIME.search(tag):
            return _since_1970(float(found[1]))
        for part in (before, after):
            if found := _ISO.search(part):
                time = datetime.fromisoformat(found[0].replace("Z", "+00:00"))
                return time.astimezone(timezone.utc) if time.tzinfo else time.replace(tzinfo=timezone.utc)
            if found := _EPOCH.search(part):
                return _since_1970(float(found[1]))
    except (ValueError, OverflowError, OSError):
        raise BadRow("time unreadable") from None
    return None


def _since_1970(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds / 1000 if seconds > 1e11 else seconds, tz=timezone.utc)


def _joined(
    pending: OrderedDict[tuple[Any, ...], list[tuple[AISSentence, datetime | None]]],
    sentence: AISSentence,
    time: datetime | None,
    bad: Callable[[str], None],
) -> tuple[AISSentence, datetime | None] | None:
    """Put a sentence to those of its message; return the message when it is whole."""
    key = (sentence.talker, sentence.channel, sentence.seq_id, sentence.frag_cnt)
    if sentence.frag_num == 1:
        if pending.pop(key, None):
            bad("sentence missing")
        pending[key] = [(sentence, time)]
        if len(pending) > _PENDING:
            pending.popitem(last=False)
            bad("sentence missing")
        return None
    parts = pending.get(key)
    if parts is None or sentence.frag_num != len(parts) + 1:
        raise BadRow("sentence missing")
    parts.append((sentence, time))
    if len(parts) < sentence.frag_cnt:
        return None
    del pending[key]
    when = next((time for _, time in parts if time is not None), None)
    return NMEAMessage.assemble_from_iterable([part for part, _ in parts]), when


def _report(sentence: AISSentence, time: datetime | None) -> Report:
    try:
        message: Any = sentence.decode()
    except Exception as error:  # whatever a broken payload makes of the decoder
        raise BadRow("message undecodable") from error
    kind = int(message.msg_type)
    if kind not in (*_CLASS_A, *_CLASS_B, 5, 24):
        raise BadRow("another message type")
    mmsi = vessel_mmsi(message.mmsi)
    if time is None:
        raise BadRow("time missing")
    if kind in (5, 24):
        return Report(None, Said(mmsi, time, _static(message, kind), _understand))
    equipment = "A" if kind in _CLASS_A else "B"
    position = Position(
        mmsi,
        time if kind == 27 else _sent(time, int(message.second)),
        *place(round(float(message.lon), 7), round(float(message.lat), 7)),
        None if kind == 27 and message.speed == 63 else speed_kn(message.speed),
        None if kind == 27 and message.course == 511 else bearing_deg(message.course),
        bearing_deg(getattr(message, "heading", None)),
        equipment,
    )
    said = Said(mmsi, time, _static(message, kind), _understand) if kind == 19 else None
    return Report(position, said)


def _sent(time: datetime, second: int) -> datetime:
    """Return when a position was fixed, from the time of arrival and the second that the message states."""
    if second > 59:  # not available, or the position is entered by hand or estimated
        return time
    late_s = (time.second + time.microsecond / 1e6 - second) % 60
    return time - timedelta(seconds=late_s) if late_s <= _LATE_S else time


def _static(message: Any, kind: int) -> tuple[Any, ...]:
    given = {
        name: getattr(message, name, None)
        for name in (
            "imo",
            "callsign",
            "shipname",
            "ship_type",
            "to_bow",
            "to_stern",
            "to_port",
            "to_starboard",
        )
    }
    if kind == 24 and str(message.mmsi).startswith("98"):  # their place holds the mother ship's MMSI
        given.update(to_bow=None, to_stern=None, to_port=None, to_starboard=None)
    return tuple(None if value is None else value for value in given.values())


def _understand(raw: tuple[Any, ...]) -> Fields:
    imo, call_sign, name, kind, bow, stern, port, starboard = raw
    code = int(kind) if kind else None
    width = (port or 0) + (starboard or 0)
    return {
        **known(
            imo=None if imo is None else imo_number(f"{int(imo):07d}"),
            call_sign=None if call_sign is None else words(call_sign),
            name=None if name is None else words(name),
            type_code=code,
            type=type_words(code),
            width_m=float(width) if width else None,
        ),
        **hull(bow, stern),
    }
