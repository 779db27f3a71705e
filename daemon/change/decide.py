"""What became of a place, from what objects, pixels and the engine say of it.

A place is in one of four states: occupied before or not, occupied after or not. Objects give the probability
that it was occupied, for each pass by itself; pixels and the engine's answer multiply each state by how
likely they are in it; the three are taken as independent. The kind is the likeliest state if it has at least
half of the probability, and its score is that probability:

    P(b, a) ~ P_before(b) P_after(a) x pixels[state] x engine[state]

    appeared (0, 1)    gone (1, 0)    still_occupied (1, 1)    nothing (0, 0)

A detection of score s: s. Nothing where a pass looked and could have seen it: MISSED. Everything that leaves
it open (nobody looked, too small to be seen, a candidate that was not confirmed): one half.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .domain import KINDS, Absence, Kind, Place, Verdict
from .pixels import Appearance, Ratio

STATES = ("appeared", "gone", "still_occupied", "nothing")
LEAST = 0.5
# A ship that could be seen is missed 1 time in 10 (the coverage's own definition); a place is as likely
# occupied as not before anybody looks.
MISSED = 0.1 / 1.1
OPEN = 0.5
DOUBT = 0.1  # least probability that an engine's answer means nothing

# How often each appearance is measured in each state, in the order of STATES. Measured on simulated repeat
# passes (tools/bench_change.py), rounded and kept from certainty.
LIKELIHOOD: Mapping[Appearance, tuple[float, float, float, float]] = {
    "brighter": (0.90, 0.01, 0.10, 0.04),
    "darker": (0.01, 0.90, 0.10, 0.04),
    "bright": (0.04, 0.04, 0.75, 0.02),
    "dark": (0.05, 0.05, 0.05, 0.90),
}
Said = Mapping[str, float]  # the engine's chances of each kind, "cannot_tell" among them


def decide(place: Place, ratio: Ratio | None, said: Said | None, no_pixels: str | None = None) -> Verdict:
    """Return what became of a place.

    Args:
        place: what was seen there.
        ratio: what the pixels of these very two passes say; None where there are none.
        said: what the engine says of these very two passes; None where it was not asked.
        no_pixels: why there are no pixels.
    """
    phantom = place.sighting.phantom
    before, after = _occupied(place)
    states = _product(
        (
            (1 - before) * after,
            before * (1 - after),
            before * after,
            (1 - before) * (1 - after),
        ),
        LIKELIHOOD[ratio.appearance] if ratio else (1.0, 1.0, 1.0, 1.0),
        _answer(said),
    )
    evidence: dict[str, Any] = {
        "objects": _objects(place, before, after),
        "states": {name: round(p, 4) for name, p in zip(STATES, states, strict=True)},
    }
    score, best = max((p, -i) for i, p in enumerate(states))
    kind = STATES[-best]
    told: Kind = next((k for k in KINDS if k == kind), "cannot_tell")
    reason: str | None = None
    if phantom:
        told, reason = "cannot_tell", phantom
    elif place.absence in ("not_looked", "removed"):
        told, reason = "cannot_tell", place.absence
    elif score <= LEAST or told == "cannot_tell":
        told, reason = "cannot_tell", _reason(place.absence, ratio, said)
    if said is not None:
        evidence["engine"] = {name: round(p, 4) for name, p in said.items()}
    if ratio is None and no_pixels:
        evidence["pixels"] = {"kind": "cannot_tell", "reason": "no_pixels", "why": no_pixels}
    return Verdict(told, round(max(states[:3]), 4), reason, evidence)


def _occupied(place: Place) -> tuple[float, float]:
    """Probability that a place was occupied before and after, by objects alone."""
    missing = MISSED if place.absence == "clear" else OPEN
    if place.before is None or place.after is None:
        seen = place.sighting.score
        return (missing, seen) if place.before is None else (seen, missing)
    # Far apart, the earlier object may have lain elsewhere: then nothing is known to have been here.
    close = place.closeness
    return place.before.score * close + MISSED * (1 - close), place.after.score


def _answer(said: Said | None) -> tuple[float, ...]:
    """Likelihood of the engine's answer: its chances; what it cannot tell goes to all states alike."""
    if said is None:
        return (1.0, 1.0, 1.0, 1.0)
    shared = max(said.get("cannot_tell", 0.0), DOUBT) / len(STATES)
    return tuple(said.get(name, 0.0) + shared for name in STATES)


def _product(*factors: tuple[float, ...]) -> tuple[float, ...]:
    """Multiply and normalise."""
    values = [1.0] * len(STATES)
    for factor in factors:
        values = [value * part for value, part in zip(values, factor, strict=True)]
    total = sum(values)
    return tuple(value / total for value in values)


def _reason(absence: Absence | None, ratio: Ratio | None, said: Said | None) -> str:
    """Why nothing can be told."""
    if ratio is None and absence in ("candidate", "too_small"):
        return "no_pixels"  # objects leave it open, and only pixels could tell
    if ratio is not None or said is not None:
        return "contradiction"
    return "doubtful"


def _objects(place: Place, before: float, after: float) -> Mapping[str, Any]:
    found: dict[str, Any] = {"before": round(before, 4), "after": round(after, 4)}
    if place.absence:
        found["absence"] = place.absence
    if place.distance_m is not None:
        found |= {"distance_m": round(place.distance_m), "closeness": round(place.closeness, 3)}
    candidate = place.sighting.candidate
    if candidate and place.absence == "candidate":
        found["candidate"] = candidate
    shift_m = place.sighting.shift_bound_m
    if shift_m is not None and place.distance_m is None:
        found["displaced_by_up_to_m"] = round(shift_m)  # were it under way at 30 knots, along azimuth
    return found
