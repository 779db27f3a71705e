"""A run's comparison to units: with which earlier run each place is compared."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta

from .domain import Absence, Comparison, PassRun, Place, Plan, Sighting
from .matching import match


def plans(comparison: Comparison, pixel_age_days: float) -> list[Plan]:
    """Return the units of a run: one for each earlier run that looked last at a place of it.

    Each object of the run stands in exactly one place of one unit; each object of an earlier pass, that no
    pass looked at since, in exactly one place of one slice of this pass. The latest earlier pass that meets
    the run has a unit even where nothing was seen; a run that no pass met has one without a partner.
    """
    runs = {run.run_id: run for run in (comparison.after, *comparison.siblings, *comparison.earlier)}
    places: dict[str | None, list[Place]] = defaultdict(list)
    for before_id, place in _places(comparison, runs):
        places[before_id].append(place)
    if comparison.earlier:
        latest = comparison.earlier[0].key
        for run in comparison.earlier:
            if run.key == latest:
                places.setdefault(run.run_id, [])
    elif not places:
        places[None] = []
    return [
        Plan(
            comparison.after,
            before := None if before_id is None else runs[before_id],
            _pixels(comparison, before, pixel_age_days),
            tuple(sorted(places[before_id], key=lambda p: p.sighting.id)),
            before is None and _removed(comparison, places[before_id]),
        )
        for before_id in sorted(places, key=lambda i: i or "")
    ]


def _removed(comparison: Comparison, places: Sequence[Place]) -> bool:
    """Whether places without a partner are without one because its results were removed."""
    return any(p.absence == "removed" for p in places) if places else comparison.removed


def _places(comparison: Comparison, runs: dict[str, PassRun]) -> list[tuple[str | None, Place]]:
    """Return each place of the run with the earlier run that it is compared with."""
    mine = comparison.after.run_id
    found: list[tuple[str | None, Place]] = []
    before: dict[tuple[str, int], list[Sighting]] = defaultdict(list)
    after: dict[tuple[str, int], list[Sighting]] = defaultdict(list)
    for item in sorted(comparison.seen_before, key=lambda s: s.id):
        if item.phantom:
            if item.other_run_id == mine:
                found.append((item.run_id, Place(item, None, "clear")))
        else:
            before[runs[item.run_id].key].append(item)
    for item in sorted(comparison.seen_after, key=lambda s: s.id):
        if item.phantom or item.other_run_id is None:
            if item.run_id == mine:
                found.append((item.other_run_id, Place(None, item, _absence(item, runs))))
        else:
            after[runs[item.other_run_id].key].append(item)
    for key in before.keys() | after.keys():
        earlier, later = before[key], after[key]
        view = next(run for run in runs.values() if run.key == key)
        matches = match(earlier, later, view.same_view(comparison.after))
        for m in matches:
            if later[m.after].run_id == mine:
                place = Place(earlier[m.before], later[m.after], None, m.distance_m, m.closeness)
                found.append((earlier[m.before].run_id, place))
        alone_before = set(range(len(earlier))) - {m.before for m in matches}
        alone_after = set(range(len(later))) - {m.after for m in matches}
        found += [
            (earlier[i].run_id, Place(earlier[i], None, _absence(earlier[i], runs)))
            for i in alone_before
            if earlier[i].other_run_id == mine
        ]
        found += [
            (later[j].other_run_id, Place(None, later[j], _absence(later[j], runs)))
            for j in alone_after
            if later[j].run_id == mine
        ]
    return found


def _absence(item: Sighting, runs: dict[str, PassRun]) -> Absence:
    """What the other side says of a place where it has no object."""
    if item.other_run_id is None:
        return "removed" if item.removed else "not_looked"
    if item.candidate is not None:
        return "candidate"
    smallest_m = runs[item.other_run_id].smallest_ship_m
    return "clear" if smallest_m is not None and item.length_m >= smallest_m else "too_small"


def _pixels(comparison: Comparison, before: PassRun | None, age_days: float) -> PassRun | None:
    """Choose the run whose pixels are compared: the partner, if it saw alike; else the latest that did."""
    after = comparison.after
    alike = [
        run
        for run in comparison.earlier
        if run.same_view(after) and after.start - run.start <= timedelta(days=age_days)
    ]
    if before is None or before in alike:
        return before
    return alike[0] if alike else None
