"""A run's comparison to units."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

from daemon.change.domain import Comparison, PassRun, Sighting
from daemon.change.pairing import plans
from tests.daemon.change.test_matching import at

NOON = datetime(2024, 5, 13, 12, tzinfo=timezone.utc)


def run(name: str, days: float, datatake: int, orbit: int = 7, smallest_m: float | None = 30.0) -> PassRun:
    start = NOON - timedelta(days=days)
    return PassRun(name, "S1A", datatake, "IW", orbit, "ASCENDING", start, f"/{name}", smallest_m)


def of(run_id: str, other: str | None, east_m: float, **what: Any) -> Sighting:
    return replace(at(east_m, **what), id=f"{run_id} {east_m}", run_id=run_id, other_run_id=other)


AFTER = run("after", 0, 10)


def compare(after: list[Sighting], before: list[Sighting], *earlier: PassRun) -> Any:
    found = plans(Comparison(AFTER, (), earlier, tuple(after), tuple(before)), pixel_age_days=20)
    return {plan.before.run_id if plan.before else None: plan for plan in found}


def test_no_partner_is_a_unit_of_its_own() -> None:
    units = compare([of("after", None, 0)], [])
    assert list(units) == [None]
    assert units[None].places[0].absence == "not_looked"
    assert units[None].pixels is None
    assert list(compare([], [])) == [None]


def test_the_latest_pass_has_a_unit_even_where_nothing_was_seen() -> None:
    units = compare([], [], run("new", 3, 9), run("old", 12, 8))
    assert list(units) == ["new"]
    assert units["new"].places == ()


def test_each_place_is_compared_with_the_pass_that_looked_last() -> None:
    new, old = run("new", 3, 9, orbit=1), run("old", 12, 8)
    units = compare(
        [of("after", "new", 0), of("after", "old", 5000)],
        [of("new", "after", 10), of("old", "after", 9000)],
        new,
        old,
    )
    (still,) = units["new"].places
    assert still.before is not None and still.after is not None
    assert sorted((p.before is None, p.after is None) for p in units["old"].places) == [
        (False, True),
        (True, False),
    ]
    # pixels of the same orbit alone, be it an older pass than the objects'
    assert units["new"].pixels == units["old"].pixels == old


def test_pixels_that_are_too_old_are_none() -> None:
    units = compare([of("after", "old", 0)], [], run("old", 24, 8))
    assert units["old"].pixels is None


def test_what_could_not_be_seen_is_told_from_what_was_not_there() -> None:
    unit = compare(
        [
            of("after", "old", 0, length_m=20.0),
            replace(of("after", "old", 3000), candidate="rejected"),
            of("after", "old", 6000),
        ],
        [],
        run("old", 12, 8),
    )["old"]
    assert [p.absence for p in sorted(unit.places, key=lambda p: p.sighting.lon_deg)] == [
        "too_small",
        "candidate",
        "clear",
    ]


def test_ghosts_take_no_partner() -> None:
    ghost = replace(of("after", "old", 0), flags={"azimuth_ghost": {}})
    unit = compare([ghost], [of("old", "after", 0)], run("old", 12, 8))["old"]
    assert {(p.before is None, p.after is None) for p in unit.places} == {(True, False), (False, True)}


def test_an_object_of_a_sibling_slice_takes_its_partner_with_it() -> None:
    sibling = replace(run("sibling", 0, 10), start=NOON + timedelta(seconds=25))
    comparison = Comparison(
        AFTER,
        (sibling,),
        (run("old", 12, 8),),
        (of("sibling", "old", 0),),
        (of("old", "after", 20), of("old", "sibling", 9000)),
    )
    (unit,) = plans(comparison, 20)
    assert unit.places == ()


def test_a_partner_whose_results_were_removed_is_none() -> None:
    units = compare([replace(of("after", None, 0), removed=True), of("after", None, 5000)], [])
    assert sorted(str(p.absence) for p in units[None].places) == ["not_looked", "removed"]
    assert units[None].removed
    assert not compare([of("after", None, 0)], [])[None].removed
    (nothing,) = plans(Comparison(AFTER, (), (), (), (), removed=True), pixel_age_days=20)
    assert nothing.removed
