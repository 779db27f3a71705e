"""How objects, pixels and the engine's answer become a kind and a score."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.change.decide import LIKELIHOOD, STATES, decide
from daemon.change.domain import Place, Sighting
from daemon.change.pixels import Level, Ratio
from tests.daemon.change.test_matching import at


def seen(score: float = 0.9, **what: Any) -> Sighting:
    return replace(at(0), score=score, **what)


def ratio(appearance: str) -> Ratio:
    return Ratio(appearance, 10.0, 1e-9, Level(1.0, 5.0), Level(10.0, 5.0))  # type: ignore[arg-type]


def test_objects_alone() -> None:
    appeared = decide(Place(None, seen(), "clear"), None, None)
    assert (appeared.kind, appeared.reason) == ("appeared", None)
    assert appeared.score == pytest.approx(0.9 / 1.1, abs=1e-3)
    assert decide(Place(seen(), None, "clear"), None, None).kind == "gone"
    still = decide(Place(seen(), seen()), None, None)
    assert (still.kind, still.score) == ("still_occupied", pytest.approx(0.81))


@pytest.mark.parametrize("absence", ["too_small", "candidate"])
def test_what_objects_leave_open_pixels_tell(absence: Any) -> None:
    place = Place(None, seen(), absence)
    alone = decide(place, None, None, "the product is gone")
    assert (alone.kind, alone.reason) == ("cannot_tell", "no_pixels")
    assert alone.evidence["pixels"]["why"] == "the product is gone"
    assert decide(place, ratio("brighter"), None).kind == "appeared"
    assert decide(place, ratio("bright"), None).kind == "still_occupied"


def test_where_nobody_looked_nothing_is_told() -> None:
    verdict = decide(Place(None, seen(), "not_looked"), None, None)
    assert (verdict.kind, verdict.reason) == ("cannot_tell", "not_looked")


def test_a_ghost_is_no_object() -> None:
    ghost = seen(flags={"azimuth_ghost": {}})
    verdict = decide(Place(None, ghost, "clear"), ratio("brighter"), None)
    assert (verdict.kind, verdict.reason) == ("cannot_tell", "azimuth_ghost")


def test_pixels_that_contradict_win_or_leave_it_open() -> None:
    verdict = decide(Place(None, seen(0.7), "clear"), ratio("bright"), None)
    assert verdict.kind == "still_occupied"
    verdict = decide(Place(seen(0.7), seen(0.7)), ratio("dark"), None)
    assert (verdict.kind, verdict.reason) == ("cannot_tell", "contradiction")


def test_the_engine_is_one_voice() -> None:
    place = Place(None, seen(), "too_small")
    said = {"appeared": 0.9, "gone": 0.02, "still_occupied": 0.05, "cannot_tell": 0.03}
    assert decide(place, None, said).kind == "appeared"
    quiet = {"appeared": 0.0, "gone": 0.0, "still_occupied": 0.0, "cannot_tell": 1.0}
    assert decide(place, None, quiet).score == decide(place, None, None).score


def test_a_ship_far_along_its_swing_is_less_sure() -> None:
    scores = [decide(Place(seen(), seen(), None, 50, close), None, None).score for close in (1.0, 0.8, 0.6)]
    assert scores == sorted(scores, reverse=True)


@given(
    st.floats(0, 1),
    st.floats(0, 1),
    st.sampled_from([None, *LIKELIHOOD]),
    st.sampled_from(["both", "clear", "too_small", "candidate"]),
)
def test_scores_are_probabilities_and_time_runs_both_ways(
    a: float, b: float, appearance: str | None, how: str
) -> None:
    turned = {"brighter": "darker", "darker": "brighter"}
    pixels = ratio(appearance) if appearance else None
    back = ratio(turned.get(appearance, appearance)) if appearance else None
    if how == "both":
        there, again = Place(seen(a), seen(b)), Place(seen(b), seen(a))
    else:
        there, again = Place(None, seen(a), how), Place(seen(a), None, how)  # type: ignore[arg-type]
    verdict, reverse = decide(there, pixels, None), decide(again, back, None)
    assert 0 <= verdict.score <= 1
    assert sum(verdict.evidence["states"][name] for name in STATES) == pytest.approx(1, abs=1e-3)
    assert verdict.score == pytest.approx(reverse.score, abs=1e-4)
    swapped = {"appeared": "gone", "gone": "appeared"}
    if sorted(verdict.evidence["states"].values())[-2] < verdict.score - 1e-3:
        assert reverse.kind == swapped.get(verdict.kind, verdict.kind)
