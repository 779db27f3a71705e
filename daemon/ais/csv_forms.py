"""AIS in comma-separated values: the Danish Maritime Authority's form and MarineCadastre's."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from functools import lru_cache
from typing import Any

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
    size_m,
    speed_kn,
    type_words,
    vessel_mmsi,
    whole,
    words,
)

# Columns by the names in the files: lower case, letters and digits only.
_DANISH = "timestamp typeofmobile mmsi latitude longitude sog cog heading imo callsign name shiptype"
_DANISH_SIZES = "width length a b"
_CADASTRE = "mmsi basedatetime lat lon sog cog heading vesselname imo callsign vesseltype length width"
_LATER_NAMES = {"latitude": "lat", "longitude": "lon", "transceiverclass": "transceiver"}

Reader = Callable[[Sequence[str]], Report]


def reader(header: str) -> Reader | None:
    """Return what reads the rows below a header; None where it is of neither form."""
    names = ["".join(c for c in name.casefold() if c.isalnum()) for name in next(csv.reader([header]), [])]
    if set(_DANISH.split()) <= set(names):
        return _danish(_Columns(names))
    names = [_LATER_NAMES.get(name, name) for name in names]
    if set(_CADASTRE.split()) <= set(names):
        return _cadastre(_Columns(names))
    return None


def rows(lines: Iterator[str], read: Reader, bad: Callable[[str], None]) -> Iterator[Report]:
    """Read rows; those that give no report are counted by reason.

    Args:
        lines: of the file, below its header.
        read: of the form.
        bad: called with the reason of each bad row.
    """
    table = csv.reader(lines)
    while True:
        try:
            row = next(table)
        except StopIteration:
            return
        except csv.Error:
            bad("row unreadable")
            continue
        if not row:
            continue
        try:
            yield read(row)
        except IndexError:
            bad("columns missing")
        except BadRow as error:
            bad(str(error))


class _Columns:
    """Where the columns of a file stand."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)

    def __call__(self, listed: str) -> list[int]:
        return [self._names.index(name) for name in listed.split()]

    def maybe(self, name: str) -> int | None:
        return self._names.index(name) if name in self._names else None


def _danish(columns: _Columns) -> Reader:
    time, mobile, mmsi, lat, lon, sog, cog, heading = columns(" ".join(_DANISH.split()[:8]))
    said = columns("imo callsign name shiptype")
    sizes = [columns.maybe(name) for name in _DANISH_SIZES.split()]
    wanted = said + [column for column in sizes if column is not None]

    def understand(raw: tuple[Any, ...]) -> Fields:
        given = dict(zip(wanted, raw, strict=True))
        imo, call_sign, name, kind = (given[column] for column in said)
        width, length, bow, stern = (None if column is None else given.get(column) for column in sizes)
        type_ = words(kind)
        return {
            **known(
                imo=imo_number(imo),
                call_sign=words(call_sign),
                name=words(name),
                type=type_.casefold() if type_ else None,
                length_m=size_m(length),
                width_m=size_m(width),
            ),
            **hull(bow, stern),
        }

    def read(row: Sequence[str]) -> Report:
        kind = row[mobile].strip()
        if kind not in ("Class A", "Class B"):
            raise BadRow("not a vessel")
        number, at = vessel_mmsi(row[mmsi]), _danish_time(row[time])
        there = place(row[lon], row[lat])
        position = Position(
            number, at, *there, speed_kn(row[sog]), bearing_deg(row[cog]), bearing_deg(row[heading]), kind[-1]
        )
        return Report(position, Said(number, at, tuple(row[column] for column in wanted), understand))

    return read


def _cadastre(columns: _Columns) -> Reader:
    mmsi, time, lat, lon, sog, cog, heading, *said = columns(_CADASTRE)
    transceiver = columns.maybe("transceiver")

    def understand(raw: tuple[Any, ...]) -> Fields:
        name, imo, call_sign, kind, length, width = raw
        code = whole(kind)
        return known(
            imo=imo_number(imo),
            call_sign=words(call_sign),
            name=words(name),
            type_code=code or None,
            type=type_words(code),
            length_m=size_m(length),
            width_m=size_m(width),
        )

    def read(row: Sequence[str]) -> Report:
        number, at = vessel_mmsi(row[mmsi]), _iso_time(row[time])
        there = place(row[lon], row[lat])
        equipment = row[transceiver].strip() if transceiver is not None else ""
        position = Position(
            number,
            at,
            *there,
            speed_kn(row[sog]),
            bearing_deg(row[cog]),
            bearing_deg(row[heading]),
            equipment if equipment in ("A", "B") else None,
        )
        return Report(position, Said(number, at, tuple(row[column] for column in said), understand))

    return read


@lru_cache(4096)
def _danish_time(text: str) -> datetime:
    """Parse 31/12/2024 23:59:59, in UTC."""
    try:
        return datetime.strptime(text.strip(), "%d/%m/%Y %H:%M:%S").replace(tzinfo=timezone.utc)
    except ValueError:
        raise BadRow("time unreadable") from None


@lru_cache(4096)
def _iso_time(text: str) -> datetime:
    """Parse 2024-12-31T23:59:59, or with a space; in UTC where no offset is given."""
    try:
        time = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except ValueError:
        raise BadRow("time unreadable") from None
    return time.astimezone(timezone.utc) if time.tzinfo else time.replace(tzinfo=timezone.utc)
