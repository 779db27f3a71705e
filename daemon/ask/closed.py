"""Answers to questions that were understood, over all that was detected in a scope; no engine is asked here.

Every answer says when the scope was seen, and how small a ship would have been detected: what was not
detected is not counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import shapely
from shapely.geometry import shape

from engine.runtime.image import CHIP_PX, Cell, cell_of
from engine.runtime.lexicon import GEOGRAPHY, LISTED, PAIR_INTENTS
from engine.runtime.reading import Reading
from engine.runtime.replies import PlaceKnown, Reply, Unanswerable, reply, thirds

from ..change.domain import PHANTOMS
from ..store.questions import Changed, Compared, Looked, Seen
from .messages import Scope
from .refusals import Refusal

DOUBTFUL = (*PHANTOMS, "infrastructure")  # flags of what may be no ship
_CHIP_SIDES = ("left", "right", "top", "bottom")
_HALF_CHIP_DEG = CHIP_PX * 10.0 / 2 / 111_200  # of latitude


@dataclass(frozen=True)
class Told:
    """An answer in words, and the detections that it rests on."""

    words: str
    cited: tuple[Seen, ...] = ()


def needs_changes(reading: Reading) -> bool:
    """Whether a question is about two passes."""
    return reading.intent in PAIR_INTENTS and reading.intent != "count_second"


def told(
    reading: Reading, scope: Scope, looked: Sequence[Looked], compared: Compared | None = None
) -> Told | Refusal:
    """Answer a question that was understood.

    Args:
        reading: what is asked.
        scope: of what.
        looked: the runs that looked there, one at least.
        compared: what changed since the passes before, where ``needs_changes``.
    """
    if all(run.valid_area is None or run.valid_area.is_empty for run in looked):
        return Refusal("not_looked_at", "(the scene holds no sea that could be looked at)")
    if reading.place is not None:
        return Refusal("which_one", "Detections have ids here, not numbers.")
    if compared is not None:
        return _of_changes(reading, scope, looked, compared)
    if reading.intent == "beyond" and scope.detection is None:
        return Refusal("no_edge")
    if reading.intent == "count_second":
        reading = replace(reading, intent="count", label=reading.label or "ship")
    seen = in_scope(scope, looked)
    known = [_known(one, scope, looked) for one in seen]
    said = reply(reading, known, it=_it(scope, looked, seen), sides=_sides(scope))
    if isinstance(said, Unanswerable):
        return _refusal(said, seen)
    cited = tuple(seen[ordinal - 1] for ordinal in said.cites)
    where = " in the chip around it" if scope.detection and reading.intent not in ("what", "length") else ""
    words = f"{said.words.rstrip('.')}{where}."
    return Told(
        " ".join(filter(None, [words, *_cautions(said, cited, scope, looked), ground(looked)])), cited
    )


def in_scope(scope: Scope, looked: Sequence[Looked]) -> list[Seen]:
    """Return what a question is about: what was chosen, or all in the chip of a detection."""
    if scope.detection is None:
        return [seen for run in looked for seen in run.chosen]
    run = looked[0]
    return inside(run.seen, Cell(*run.chosen[0].cell))


def inside(seen: Iterable[Seen], cell: Cell) -> list[Seen]:
    """Return what stands in the chip of a cell."""
    line, sample = cell.chip_origin_px
    return [
        s
        for s in seen
        if -0.5 <= s.line_px - line < CHIP_PX - 0.5
        and -0.5 <= s.sample_px - sample < CHIP_PX - 0.5
        or cell_of(s.line_px, s.sample_px) == cell
    ]


def ground(looked: Sequence[Looked]) -> str:
    """Say when it was seen, and what would have been detected."""
    when = _times(run.acquired for run in looked)
    bounds = [run.smallest_ship_m for run in looked if run.smallest_ship_m]
    smallest = max(bounds) if bounds and len(bounds) == len(looked) else None
    bound = f": a ship of {smallest:.0f} m or more would have been, with probability 0.9" if smallest else ""
    return f"Seen {when}; what was not detected is not counted{bound}."


def _it(scope: Scope, looked: Sequence[Looked], seen: Sequence[Seen]) -> int | None:
    if scope.detection is not None:
        it = looked[0].chosen[0].id
        return next((n for n, one in enumerate(seen, start=1) if one.id == it), None)
    return 1 if len(seen) == 1 else None


def _sides(scope: Scope) -> tuple[str, ...]:
    return _CHIP_SIDES if scope.detection is not None else GEOGRAPHY


def _known(seen: Seen, scope: Scope, looked: Sequence[Looked]) -> PlaceKnown:
    x1, y1, x2, y2 = seen.box_px
    parts, cut = frozenset[str](), None
    if scope.detection is not None:
        line, sample = Cell(*looked[0].chosen[0].cell).chip_origin_px
        x, y = (x1 + x2) / 2 - sample, (y1 + y2) / 2 - line
        parts = thirds(x / CHIP_PX, y / CHIP_PX)
        cut = min(x1 - sample, y1 - line) < 0 or max(x2 - sample, y2 - line) > CHIP_PX
    else:
        parts = _compass(seen.lon_deg, seen.lat_deg, scope, looked)
    return PlaceKnown(seen.label, seen.length_m, seen.interval_m, cut, parts)


def _compass(lon_deg: float, lat_deg: float, scope: Scope, looked: Sequence[Looked]) -> frozenset[str]:
    """Return the thirds of the scope's bounds; across the antimeridian, longitudes go on beyond 180."""
    if scope.area is not None:
        west, south, east, north = shape(scope.area).bounds
    else:
        west, south, east, north = _bounds([run.valid_area for run in looked if run.valid_area is not None])
    if east > 180 and lon_deg < 0:
        lon_deg += 360
    x = (lon_deg - west) / (east - west) if east > west else 0.5
    y = (north - lat_deg) / (north - south) if north > south else 0.5
    return thirds(x, y, ("west", "east", "north", "south"))


def _bounds(areas: Sequence[Any]) -> tuple[float, float, float, float]:
    points = shapely.get_coordinates(areas)
    if points[:, 0].max() - points[:, 0].min() > 180:
        points[:, 0] += 360 * (points[:, 0] < 0)
    (west, south), (east, north) = points.min(0), points.max(0)
    return float(west), float(south), float(east), float(north)


def _refusal(said: Unanswerable, seen: Sequence[Seen]) -> Refusal:
    if said.name == "parts":
        return Refusal("no_side", said.words)
    if said.name == "which_one":
        return Refusal(
            "which_one", f"{len(seen)} were detected in this scope." if seen else "None was detected here."
        )
    if said.name == "not_compared":
        return Refusal("not_compared", said.words)
    return Refusal("which_one", said.words)


def _cautions(said: Reply, cited: Sequence[Seen], scope: Scope, looked: Sequence[Looked]) -> list[str]:
    """Say what makes an answer less certain than it sounds."""
    out = []
    if said.unsure:
        out.append(f"For {len(said.unsure)} the bound lies within the error of the length.")
    doubtful = [one for one in cited if set(one.flags) & set(DOUBTFUL)]
    if doubtful:
        names = sorted({flag for one in doubtful for flag in one.flags if flag in DOUBTFUL})
        out.append(
            f"{len(doubtful)} of these may be no ship or a known structure (flags: {', '.join(names)})."
        )
    if any(run.saturated for run in looked):
        out.append("A list reached its limit: there may be more.")
    share = covered(scope, looked)
    if share is not None and share < 0.995:
        out.append(f"Only {share:.0%} of the area was looked at; the rest is land, or outside the pass.")
    return out


def covered(scope: Scope, looked: Sequence[Looked]) -> float | None:
    """Return the share of an area that was looked at; None where no area is asked about."""
    if scope.area is None:
        return None
    area = shape(scope.area)
    areas = [shapely.make_valid(run.valid_area) for run in looked if run.valid_area is not None]
    return float(shapely.union_all(areas).intersection(area).area / area.area) if area.area else None


def _of_changes(
    reading: Reading, scope: Scope, looked: Sequence[Looked], compared: Compared
) -> Told | Refusal:
    """Answer about two passes, by the changes that are worked out."""
    if compared.due:
        return Refusal(
            "not_compared", "The comparison with the passes before is not worked out yet: ask again later."
        )
    if not compared.partners:
        why = ", ".join(each.replace("_", " ") for each in compared.reasons) or "not worked out"
        return Refusal("not_compared", f"({why})")
    places = _chosen(scope, looked, compared.places, reading.intent == "happened")
    first = reading.intent == "count_first"  # what was seen then was there then, whatever became of it
    ships = [each for each in places if first or not _one_sided(each)]
    counts = (
        sum(each.before_label == "ship" for each in ships),
        sum(each.after_label == "ship" for each in ships),
    )
    known = [
        PlaceKnown(
            each.seen.label,
            each.seen.length_m,
            each.seen.interval_m,
            parts=_compass(each.seen.lon_deg, each.seen.lat_deg, scope, looked),
            change=each.kind,
            reason=each.reason,
        )
        for each in places
    ]
    it = 1 if len(places) == 1 else None
    said = reply(reading, known, counts, it, () if scope.detection is not None else GEOGRAPHY)
    if isinstance(said, Unanswerable):
        if reading.intent == "happened" and scope.detection is not None and not places:
            return Refusal("not_compared", "No change is known of this detection.")
        return _refusal(said, [each.seen for each in places])
    cited = tuple(places[ordinal - 1].seen for ordinal in said.cites)
    passes = f"Compared with {_times(compared.partners)}, where each place was looked at last."
    if compared.reasons:
        why = ", ".join(each.replace("_", " ") for each in compared.reasons)
        passes += f" Part of it could not be compared ({why})."
    words = said.words
    if reading.intent == "more" and sum(map(_one_sided, places)) > abs(counts[1] - counts[0]):
        words = f"It cannot be told for certain: {words[0].lower()}{words[1:]}"
    open_ = _left_open(reading, places)
    more = [words, *open_, *_cautions(said, cited, scope, looked), passes, ground(looked)]
    return Told(" ".join(more), cited)


def _chosen(scope: Scope, looked: Sequence[Looked], places: Sequence[Changed], one: bool) -> list[Changed]:
    """Return the changes in a scope; of one detection alone, its own."""
    if scope.area is not None:
        area = shape(scope.area)
        return [each for each in places if area.covers(shapely.Point(each.seen.lon_deg, each.seen.lat_deg))]
    if scope.detection is None:
        return list(places)
    it = looked[0].chosen[0]
    if one:
        return [each for each in places if each.seen.id == it.id]
    wide = _HALF_CHIP_DEG / max(math.cos(math.radians(it.lat_deg)), 0.01)
    return [
        each
        for each in places
        if abs(each.seen.lat_deg - it.lat_deg) <= _HALF_CHIP_DEG
        and abs((each.seen.lon_deg - it.lon_deg + 180) % 360 - 180) <= wide
    ]


def _one_sided(place: Changed) -> bool:
    """Whether something was seen in one pass only, and nothing can be told of the other."""
    return place.kind == "cannot_tell" and None in (place.before_label, place.after_label)


def _left_open(reading: Reading, places: Sequence[Changed]) -> list[str]:
    """Say of how many places nothing could be told, and why."""
    open_ = [each for each in places if each.kind == "cannot_tell"]
    if reading.intent == "more":  # the others are in the counts
        open_ = [each for each in open_ if _one_sided(each)]
    elif reading.intent == "count_first":
        open_ = [each for each in open_ if each.before_label is None]
    if not open_ or reading.intent == "happened":
        return []
    why = sorted({each.reason.replace("_", " ") for each in open_ if each.reason})
    reasons = f" ({', '.join(why)})" if why else ""
    if reading.intent == "cannot_tell":
        return [f"Reasons: {', '.join(why)}."] if why else []
    if reading.intent in (*LISTED, "changed", "more", "count_first"):
        return [
            f"Of {len(open_)} more {'place' if len(open_) == 1 else 'places'} it cannot be told{reasons}."
        ]
    return []


def _times(times: Iterable[datetime]) -> str:
    told = sorted({time.strftime("%Y-%m-%d %H:%M UTC") for time in times})
    return ", ".join(told) if len(told) < 4 else f"{told[0]} to {told[-1]}"
