"""Files of AIS for tests, in each form that is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pyais import encode_dict

DANISH = (
    "# Timestamp,Type of mobile,MMSI,Latitude,Longitude,Navigational status,ROT,SOG,COG,Heading,IMO,Callsign,"
    "Name,Ship type,Cargo type,Width,Length,Type of position fixing device,Draught,Destination,ETA,"
    "Data source type,A,B,C,D"
)
CADASTRE = (
    "MMSI,BaseDateTime,LAT,LON,SOG,COG,Heading,VesselName,IMO,CallSign,VesselType,Status,Length,Width,Draft,"
    "Cargo,TransceiverClass"
)


@dataclass(frozen=True)
class Row:
    """What a vessel sends at a time."""

    mmsi: int
    time: datetime
    lon: float
    lat: float
    sog: float | None = 10.0
    cog: float | None = 90.0
    heading: float | None = 90.0
    name: str = "NORDIC STAR"
    length: int = 120
    bow: int = 60


def danish(rows: Sequence[Row]) -> str:
    lines = [DANISH]
    for r in rows:
        sog, cog, heading = ("" if v is None else f"{v:g}" for v in (r.sog, r.cog, r.heading))
        lines.append(
            f"{r.time:%d/%m/%Y %H:%M:%S},Class A,{r.mmsi},{r.lat!r},{r.lon!r},Under way using engine,0.0,"
            f"{sog},{cog},{heading},9074729,OXYZ,{r.name},Cargo,,20,{r.length},GPS,7.1,AARHUS,,AIS,"
            f"{r.bow},{r.length - r.bow},10,10"
        )
    return "\n".join(lines) + "\n"


def cadastre(rows: Sequence[Row]) -> str:
    lines = [CADASTRE]
    for r in rows:
        sog, cog, heading = (
            missing if v is None else v for v, missing in ((r.sog, 102.3), (r.cog, 360.0), (r.heading, 511.0))
        )
        lines.append(
            f"{r.mmsi},{r.time:%Y-%m-%dT%H:%M:%S},{r.lat!r},{r.lon!r},{sog},{cog},{heading},{r.name},IMO9074729,"
            f"OXYZ,70,0,{r.length},20,7.1,70,A"
        )
    return "\n".join(lines) + "\n"


def nmea(rows: Sequence[Row]) -> str:
    lines = []
    for number, r in enumerate(rows):
        position = {
            "type": 1, "mmsi": r.mmsi, "lon": r.lon, "lat": r.lat, "second": r.time.second,
            "speed": 102.3 if r.sog is None else r.sog, "course": 360.0 if r.cog is None else r.cog,
            "heading": 511 if r.heading is None else int(r.heading),
        }  # fmt: skip
        static = {
            "type": 5, "mmsi": r.mmsi, "imo": 9074729, "callsign": "OXYZ", "shipname": r.name,
            "ship_type": 70,
            "to_bow": r.bow, "to_stern": r.length - r.bow, "to_port": 10, "to_starboard": 10,
        }  # fmt: skip
        for message in (position, static):
            for sentence in encode_dict(message, seq_id=number % 10, radio_channel="A"):
                lines.append(f"{tag_block(int(r.time.timestamp()))}{sentence}")
    return "\n".join(lines) + "\n"


def tag_block(seconds: int) -> str:
    body = f"s:2573345,c:{seconds}"
    check = 0
    for character in body:
        check ^= ord(character)
    return f"\\{body}*{check:02X}\\"
