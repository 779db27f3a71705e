"""What one AIS message or one row of a file says, checked: a position, and what the vessel says it is."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

MPS_PER_KNOT = 1852 / 3600
FASTEST_KN = 102.2  # the field's largest value; 102.3 is "not available"

Fields = dict[str, "str | int | float"]  # columns of the table ais_vessel


class Position(NamedTuple):
    """Where a vessel was."""

    mmsi: int
    time: datetime
    lon_deg: float
    lat_deg: float
    sog_kn: float | None
    cog_deg: float | None
    heading_deg: float | None
    equipment: str | None  # A | B


class Said(NamedTuple):
    """What a vessel says it is, as it stood in the file: it is understood once, however often repeated."""

    mmsi: int
    time: datetime
    raw: tuple[Any, ...]
    understand: Callable[[tuple[Any, ...]], Fields]


class Report(NamedTuple):
    """One row or message."""

    position: Position | None
    said: Said | None


class BadRow(Exception):
    """A row that gives no report; its text is the reason by which such rows are counted."""


def vessel_mmsi(value: str | int) -> int:
    """Return a vessel's MMSI.

    Nine digits that begin with a country's 2 to 7, or 98 for a craft of a mother ship (ITU-R M.585). Coast
    stations, aids to navigation, aircraft and distress beacons are no vessels.

    Raises:
        BadRow: no number, or not of a vessel.
    """
    try:
        mmsi = int(value)
    except ValueError:
        raise BadRow("mmsi unreadable") from None
    if 200_000_000 <= mmsi < 800_000_000 or 980_000_000 <= mmsi < 990_000_000:
        return mmsi
    raise BadRow("not a vessel")


def place(lon: Any, lat: Any) -> tuple[float, float]:
    """Return longitude and latitude.

    Raises:
        BadRow: unreadable, not available (181 and 91, or both nought), or out of range.
    """
    try:
        lon_deg, lat_deg = float(lon), float(lat)
    except ValueError:
        raise BadRow("position unreadable") from None
    if lat_deg == 91 or lon_deg == 181 or (lat_deg == 0 and lon_deg == 0):
        raise BadRow("position not available")
    if not (-180 <= lon_deg <= 180 and -90 <= lat_deg <= 90):  # also where either is NaN
        raise BadRow("position out of range")
    return lon_deg, lat_deg


def speed_kn(value: Any) -> float | None:
    """Return a speed over ground; None where it is not available."""
    number = _number(value)
    return number if number is not None and 0 <= number <= FASTEST_KN else None


def bearing_deg(value: Any) -> float | None:
    """Return a course or heading, 0 to 360; None where it is not available (360, 511)."""
    number = _number(value)
    return number if number is not None and 0 <= number < 360 else None


def size_m(value: Any) -> float | None:
    """Return a length or width; None for nought, which means not available, and for what no ship has."""
    number = _number(value)
    return number if number is not None and 0 < number < 500 else None


def hull(bow_m: Any, stern_m: Any) -> Fields:
    """Return length and distance from antenna to bow, from the distances to bow and stern.

    A bow of nought with a stern above it is a length whose antenna is nowhere stated (ITU-R M.1371).
    """
    bow, stern = _number(bow_m) or 0.0, _number(stern_m) or 0.0
    length = size_m(bow + stern)
    if length is None or bow < 0 or stern < 0:
        return {}
    return {"length_m": length, "bow_m": bow} if bow > 0 and stern > 0 else {"length_m": length}


def words(value: Any) -> str | None:
    """Return a name without padding; None where it is empty or says that it is unknown."""
    text = str(value).replace("\0", "").replace("@", " ").strip()
    return None if text.casefold() in ("", "unknown", "undefined", "unknown value") else text


def known(**fields: Any) -> Fields:
    """Return the fields that have a value."""
    return {name: value for name, value in fields.items() if value is not None}


def imo_number(value: Any) -> int | None:
    """Return an IMO ship number, whose last digit must check; None otherwise."""
    digits = str(value).upper().removeprefix("IMO").strip()
    if len(digits) != 7 or not digits.isdecimal():
        return None
    checks = sum(int(digit) * weight for digit, weight in zip(digits, range(7, 1, -1), strict=False)) % 10
    return int(digits) if checks == int(digits[6]) else None


_TENS = {2: "wing in ground", 4: "high-speed craft", 6: "passenger", 7: "cargo", 8: "tanker", 9: "other"}
_THIRTIES = {
    30: "fishing", 31: "towing", 32: "towing", 33: "dredging", 34: "diving", 35: "military", 36: "sailing",
    37: "pleasure", 50: "pilot", 51: "search and rescue", 52: "tug", 53: "port tender",
    54: "anti-pollution", 55: "law enforcement", 58: "medical",
}  # fmt: skip


def type_words(code: int | None) -> str | None:
    """Return a ship and cargo type of ITU-R M.1371 in words; None where it says nothing."""
    if code is None:
        return None
    return _THIRTIES.get(code) or _TENS.get(code // 10)


def whole(value: Any) -> int | None:
    """Return a whole number; None where it is none."""
    number = _number(value)
    return None if number is None else int(number)


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
