"""From the alerts that there are to those that there should be: what is opened, amended, retracted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from .matching import Wanted

Event = Literal["opened", "amended", "retracted", "closed"]

SAME_OBJECT_M = 200.0  # within one acquisition, a new result's object so close is the one that was told of
_METRES_PER_DEGREE = 111_195.0  # of a sphere of the Earth's mean radius: distances of metres need no better


@dataclass(frozen=True)
class Known:
    """An alert as it stands."""

    id: str
    state: str
    sequence: int
    opened: datetime
    suppressed: str | None
    told: Wanted


@dataclass(frozen=True)
class Step:
    """One event: of a known alert, or a new one."""

    event: Event
    known: Known | None
    wanted: Wanted | None
    reason: str | None = None


def plan(wanted: Iterable[Wanted], known: Iterable[Known]) -> list[Step]:
    """Say what leads from the known alerts to the wanted ones; nothing where they agree.

    Of a rule's alerts the one on the very subject stays; else one on an object of the same pass, the
    neighbouring slices among it, so close that it is the same, an open one first, then the nearest; else the
    alert is new. A retracted alert whose object is there again is amended: it is open again.
    """
    steps: list[Step] = []
    left: dict[tuple[int, str], list[Known]] = {}
    for alert in sorted(known, key=lambda k: (k.state != "open", -k.opened.timestamp(), k.id)):
        if alert.state != "closed":
            left.setdefault((alert.told.rule_id, alert.told.subject), []).append(alert)
    strange: list[Wanted] = []
    for one in wanted:
        same = left.get((one.rule_id, one.subject))
        if not same:
            strange.append(one)
            continue
        this = same.pop(0)
        if this.state != "open" or this.told != one:
            steps.append(Step("amended", this, one))
    orphans = [alert for alerts in left.values() for alert in alerts]
    paired = _near(strange, orphans)
    steps.extend(Step("amended" if alert else "opened", alert, one) for one, alert in paired)
    used = {alert.id for _, alert in paired if alert}
    steps.extend(Step("retracted", a, None) for a in orphans if a.state == "open" and a.id not in used)
    return steps


def _near(strange: Sequence[Wanted], orphans: Sequence[Known]) -> list[tuple[Wanted, Known | None]]:
    """Pair objects with alerts on objects so close that they are the same; each at most once."""
    places: dict[tuple[int, str, str | None], list[Known]] = {}
    for alert in orphans:
        told = alert.told
        if told.kind in ("object", "change"):
            places.setdefault((told.rule_id, told.kind, told.pass_), []).append(alert)
    pairs = []
    for number, one in enumerate(strange):
        for alert in places.get((one.rule_id, one.kind, one.pass_), ()):
            apart_m = distance_m(one, alert.told)
            if apart_m <= SAME_OBJECT_M and one.label == alert.told.label:
                pairs.append((alert.state != "open", apart_m, one.subject, alert.id, number, alert))
    taken: dict[int, Known] = {}
    used: set[str] = set()
    for *_, number, alert in sorted(pairs, key=lambda pair: pair[:4]):
        if number not in taken and alert.id not in used:
            taken[number] = alert
            used.add(alert.id)
    return [(one, taken.get(number)) for number, one in enumerate(strange)]


def distance_m(one: Wanted, other: Wanted) -> float:
    """Distance over a few hundred metres; infinite where a position is missing."""
    if one.lon_deg is None or one.lat_deg is None or other.lon_deg is None or other.lat_deg is None:
        return math.inf
    east = math.remainder(one.lon_deg - other.lon_deg, 360) * math.cos(math.radians(one.lat_deg))
    return math.hypot(east, one.lat_deg - other.lat_deg) * _METRES_PER_DEGREE
