"""A unit from its plan: pixels fetched, laid on each other and compared, the engine asked, kinds decided."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from daemon.scan.thresholds import IW_LOOKS, NOMINAL_LOOKS

from .align import Alignment, align, holds_land
from .chip import Pair, Question
from .chips import Chips, NoPixels
from .decide import decide
from .domain import Comparison, Kept, Place, Plan, Sighting, Unit, Verdict
from .matching import M_PER_DEG
from .pixels import Ratio, compare, level, odd_box

if TYPE_CHECKING:
    from .ask import ChangeEngine

SAME_PLACE_M = 60.0  # that close, what pixels said of a place holds for another run's sighting
METHOD = 1  # of comparing: a unit worked out by another is worked out anew when it is due

_REMOVED = "the results of the earlier passes were removed"
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@dataclass(frozen=True, slots=True)
class UnitSettings:
    """How a unit is worked out.

    Attributes:
        max_places: places of a unit whose pixels are fetched, the surest first.
        max_questions: chips about which the engine is asked.
    """

    max_places: int = 500
    max_questions: int = 200


def unit_id(plan: Plan, engine: str | None) -> str:
    """Hash before run, after run and bundle."""
    before = plan.before.run_id if plan.before else None
    return hashlib.sha256(json.dumps([before, plan.after.run_id, engine]).encode()).hexdigest()[:32]


def digest(plan: Plan, engine: str | None, settings: UnitSettings) -> str:
    """Hash everything that is compared."""
    parts: list[Any] = [METHOD, unit_id(plan, engine), settings.max_places, settings.max_questions]
    parts.append(plan.pixels.run_id if plan.pixels else None)
    if plan.removed:
        parts.append("removed")
    for place in plan.places:
        sides = [
            None if side is None else [side.id, side.other_run_id, side.candidate, side.phantom, side.fixed]
            for side in (place.before, place.after)
        ]
        parts.append([*sides, place.absence, place.distance_m, place.closeness])
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def work_out(
    plan: Plan,
    chips: Chips,
    engine: ChangeEngine | None = None,
    settings: UnitSettings | None = None,
    kept: Sequence[Kept] = (),
) -> Unit:
    """Say what became of each place of a unit.

    Args:
        plan: runs and places.
        chips: where pixels come from.
        engine: what is asked about changes; None where the bundle does not know the task.
        settings: the defaults when None.
        kept: what pixels said before; it stands in for pixels that can no longer be read.

    Raises:
        SourceUnavailable: a product's host does not answer.
        BackendError: the engine failed.
    """
    settings = settings or UnitSettings()
    pairs, missing, unread = _fetch(plan, chips, settings.max_places)
    alignment = align(
        [
            (pair.before, pair.before_px, pair.after, pair.after_px)
            for index, pair in pairs.items()
            if plan.places[index].sighting.fixed or holds_land(pair.after)
        ]
    )
    pairs = {index: _moved(pair, alignment) for index, pair in pairs.items()}
    ratios = {
        index: ratio
        for index, pair in pairs.items()
        if (ratio := _ratio(plan, plan.places[index], pair)) is not None
    }
    same_passes = plan.before is not None and plan.pixels == plan.before
    said: dict[int, Mapping[str, float]] = {}
    if engine is not None and same_passes:
        said |= engine.ask([Question(i, plan, pairs[i]) for i in sorted(pairs)], settings.max_questions)
    of_old = {index: old for index in unread if (old := _kept(plan, plan.places[index], kept)) is not None}
    for index, old in of_old.items():
        ratios[index] = Ratio.stored(old.evidence["pixels"])
        if "engine" in old.evidence:
            said[index] = old.evidence["engine"]
    verdicts = tuple(
        _verdict(
            plan,
            index,
            ratios.get(index),
            said.get(index),
            missing.get(index),
            same_passes,
            of_old.get(index),
        )
        for index in range(len(plan.places))
    )
    counts = _counts(plan, verdicts)
    engine_id = engine.bundle_id if engine is not None else None
    return Unit(
        unit_id(plan, engine_id),
        plan,
        engine_id,
        digest(plan, engine_id, settings),
        "done" if plan.before else "no_partner",
        None if plan.before else _REMOVED if plan.removed else "no earlier pass looked here",
        alignment.evidence() if pairs else {"method": "none", "reason": _why_none(plan, missing)},
        counts,
        sentence(counts),
        verdicts,
    )


def failed(comparison: Comparison, error: Exception) -> Unit:
    """Return a unit that says that a run's changes could not be worked out, and why."""
    plan = Plan(comparison.after, None, None, ())
    reason = f"{type(error).__name__}: {error}".replace("\0", "")
    return Unit(unit_id(plan, None), plan, None, "", "failed", reason, {}, {}, None, ())


def sentence(counts: Mapping[str, int]) -> str:
    """Say in one sentence what changed."""
    words = {
        "appeared": ("object appeared", "objects appeared"),
        "gone": ("is gone", "are gone"),
        "still_occupied": ("place is still occupied", "places are still occupied"),
        "cannot_tell": ("place cannot be told", "places cannot be told"),
    }
    parts = []
    for kind, (one, more) in words.items():
        count = counts[kind]
        if count:
            number = _NUMBERS[count] if count < len(_NUMBERS) else f"{count:,}"
            parts.append(f"{number} {one if count == 1 else more}")
    text = ", ".join(parts) or "nothing was seen in either pass"
    return text[0].upper() + text[1:] + "."


def _fetch(plan: Plan, chips: Chips, limit: int) -> tuple[dict[int, Pair], dict[int, str], list[int]]:
    """Fetch the chips of both passes for the surest places; say why there are none for the others.

    Returns:
        Pairs by place, reasons by place, and the places whose pixels were asked for in vain.
    """
    pairs: dict[int, Pair] = {}
    missing: dict[int, str] = {}
    unread: list[int] = []
    ranked = sorted(
        range(len(plan.places)), key=lambda i: (-plan.places[i].sighting.score, plan.places[i].sighting.id)
    )
    taken = 0
    for index in ranked:
        place = plan.places[index]
        if plan.pixels is None:
            missing[index] = "no earlier pass of the same orbit, direction and mode"
        elif place.sighting.phantom:
            missing[index] = "not compared"
        elif taken >= limit:
            missing[index] = "beyond max_places"
        else:
            taken += 1
            seen = place.sighting
            try:
                before, before_px = chips.at(plan.pixels, seen)
                after, after_px = chips.at(plan.after, seen)
            except NoPixels as error:
                missing[index] = str(error)
                unread.append(index)
                continue
            pairs[index] = Pair(before, before_px, after, after_px)
    return pairs, missing, unread


def _kept(plan: Plan, place: Place, kept: Sequence[Kept]) -> Kept | None:
    """Return what was kept of a place in the same two acquisitions, the nearest; of equals the latest."""
    seen = place.sighting
    found = [
        (apart_m, rank)
        for rank, one in enumerate(kept)
        if plan.pixels is not None and (one.key, one.start) == (plan.pixels.key, plan.pixels.start)
        if (apart_m := _apart_m(one, seen)) <= SAME_PLACE_M
    ]
    return kept[min(found)[1]] if found else None


def _apart_m(one: Kept, seen: Sighting) -> float:
    east = math.remainder(one.lon_deg - seen.lon_deg, 360.0) * math.cos(math.radians(seen.lat_deg))
    return math.hypot(east, one.lat_deg - seen.lat_deg) * M_PER_DEG


def _moved(pair: Pair, alignment: Alignment) -> Pair:
    """Lay the earlier chip by the unit's offset."""
    line, sample = (at + by for at, by in zip(pair.before_px, alignment.offset_px, strict=True))
    return replace(pair, before_px=(line, sample))


def _ratio(plan: Plan, place: Place, pair: Pair) -> Ratio | None:
    """Compare the two levels of a place, in the larger of the boxes."""
    seen: Sequence[Sighting] = [side for side in (place.before, place.after) if side is not None]
    boxes = [odd_box(side.box_px) for side in seen]
    box = max(b[0] for b in boxes), max(b[1] for b in boxes)
    looks = NOMINAL_LOOKS.get(("SM" if plan.after.mode.startswith("S") else plan.after.mode, "H"), IW_LOOKS)
    before = level(pair.before, pair.before_px, box, looks)
    after = level(pair.after, pair.after_px, box, looks)
    return compare(before, after) if before and after else None


def _verdict(
    plan: Plan,
    index: int,
    ratio: Ratio | None,
    said: Mapping[str, float] | None,
    missing: str | None,
    same_passes: bool,
    kept: Kept | None,
) -> Verdict:
    """Decide by what speaks of these two passes; what speaks of others is evidence alone."""
    place = plan.places[index]
    # A ship that swung around its anchor changed two places of pixels and none of occupation.
    one_place = place.distance_m is None or place.closeness == 1.0
    counts = same_passes and one_place
    no_pixels = missing or (None if ratio else "too few pixels with data")
    verdict = decide(place, ratio if counts else None, said if counts else None, no_pixels)
    if ratio is None or plan.pixels is None:
        return verdict
    pixels = {**ratio.evidence(), "run": plan.pixels.run_id, "acquired": plan.pixels.start.isoformat()}
    pixels["counts"] = counts
    if kept is not None:
        was = kept.evidence["pixels"]
        pixels |= {"run": was["run"], "kept_from": was.get("kept_from", kept.unit_id)}
    return replace(verdict, evidence={**verdict.evidence, "pixels": pixels})


def _counts(plan: Plan, verdicts: Sequence[Verdict]) -> dict[str, int]:
    kinds = Counter(verdict.kind for verdict in verdicts)
    real = [place for place in plan.places if not place.sighting.phantom]
    return {
        "before": sum(place.before is not None for place in real),
        "after": sum(place.after is not None for place in real),
        **{kind: kinds[kind] for kind in ("appeared", "gone", "still_occupied", "cannot_tell")},
        "phantoms": len(plan.places) - len(real),
    }


def _why_none(plan: Plan, missing: Mapping[int, str]) -> str:
    if plan.pixels is None or not plan.places:
        return "no_pixels" if plan.pixels is None else "no_places"
    common = Counter(missing.values()).most_common(1)
    return common[0][0] if common else "no_pixels"
