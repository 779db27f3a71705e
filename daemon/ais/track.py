"""Where a vessel was at a time, from what it said before and after, and how well that is known."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from engine.runtime.geometry import ecef_from_geodetic, local_axes

from .reports import MPS_PER_KNOT

Vector = tuple[float, float]  # east, north

# Between two reports a ship may do what neither tells of. As much as a constant acceleration of this size
# would make of it: b * t_before * t_after / 2 between two, b * t^2 / 2 beyond the last one.
UNSAID_M_S2 = 0.01
UNSAID_STRAIGHT_M_S2 = 0.03  # where the courses are not known, and a straight line is drawn
UNSAID_AT_REST_M_S2 = 0.001
AT_REST_M_S = 0.5
GPS_M = 10.0  # error of a reported position
_UNKNOWN_SPEED_M_S = 8.0  # of a vessel that states none, seen once
_FASTEST_M_S = 40.0  # two reports farther apart than this are of two transmitters, or one is wrong


@dataclass(frozen=True, slots=True)
class Fix:
    """One report."""

    time_s: float  # since 1970
    lon_deg: float
    lat_deg: float
    sog_kn: float | None = None
    cog_deg: float | None = None
    heading_deg: float | None = None

    @property
    def velocity(self) -> Vector | None:
        """Metres a second, east and north; None where the report does not tell."""
        if self.sog_kn is None:
            return None
        if self.sog_kn < 0.2:
            return 0.0, 0.0
        if self.cog_deg is None:
            return None
        speed, course = self.sog_kn * MPS_PER_KNOT, math.radians(self.cog_deg)
        return speed * math.sin(course), speed * math.cos(course)


@dataclass(frozen=True, slots=True)
class Vessel:
    """A vessel with its reports around a time, in order of time."""

    mmsi: int
    fixes: Sequence[Fix]
    name: str | None = None
    length_m: float | None = None
    bow_m: float | None = None  # from the antenna


@dataclass(frozen=True, slots=True)
class State:
    """Where a vessel's antenna was at a time, as far as its reports tell."""

    vessel: Vessel
    time_s: float
    position_m: NDArray[np.float64]  # ECEF, [3]; off the ellipsoid by some metres
    velocity: Vector
    heading_deg: float | None
    sigma_m: float  # standard deviation in either direction
    how: Literal["between", "after last", "before first"]
    before_s: float | None  # since the report before
    after_s: float | None  # until the report after


def states(vessel: Vessel, time_s: float) -> list[State]:
    """Return where a vessel was at a time.

    One state as a rule. Two where the reports before and after are too far apart for one vessel: then each is
    followed by itself. None without reports.
    """
    times = [fix.time_s for fix in vessel.fixes]
    index = bisect.bisect_right(times, time_s)
    before = vessel.fixes[index - 1] if index else None
    after = vessel.fixes[index] if index < len(times) else None
    if before is None or after is None:
        only = before or after
        if only is None:
            return []
        chord = _chord(vessel.fixes[-2:] if before else vessel.fixes[:2])
        return [_reckoned(vessel, only, time_s, chord)]
    here = _ecef(before)
    east, north = _axes(before)
    step = _ecef(after) - here
    d = float(step @ east), float(step @ north)
    span_s = after.time_s - before.time_s
    if math.hypot(*d) > 1000 + _FASTEST_M_S * span_s:
        return [_reckoned(vessel, fix, time_s) for fix in (before, after)]
    place, velocity, told = _between(before, after, d, time_s)
    t0, t1 = time_s - before.time_s, after.time_s - time_s
    speed = max(math.hypot(*velocity), math.hypot(*d) / span_s)
    moving = UNSAID_M_S2 if told else UNSAID_STRAIGHT_M_S2
    unsaid = (UNSAID_AT_REST_M_S2 if speed < AT_REST_M_S else moving) * t0 * t1 / 2
    nearer = before if t0 <= t1 else after
    return [
        State(
            vessel,
            time_s,
            here + place[0] * east + place[1] * north,
            velocity,
            _heading(nearer, velocity),
            math.hypot(GPS_M, unsaid),
            "between",
            t0,
            t1,
        )
    ]


def centre(state: State) -> tuple[Vector, float]:
    """Return the way from the antenna to the middle of the hull, and its standard deviation.

    Where the vessel does not say where its antenna is, it may be anywhere along the hull.
    """
    length = state.vessel.length_m
    if length is None:
        return (0.0, 0.0), 15.0
    if state.vessel.bow_m is None:
        return (0.0, 0.0), length / math.sqrt(12)
    ahead = state.vessel.bow_m - length / 2
    if state.heading_deg is None:
        return (0.0, 0.0), abs(ahead)
    heading = math.radians(state.heading_deg)
    return (ahead * math.sin(heading), ahead * math.cos(heading)), 0.0


def _between(before: Fix, after: Fix, d: Vector, time_s: float) -> tuple[Vector, Vector, bool]:
    """Return the way from `before` at a time, and the velocity: along a cubic that keeps the courses.

    A straight line serves where the reported velocities and the way made do not agree, or are not known; the
    last value says whether they do.
    """
    span_s = after.time_s - before.time_s
    u = (time_s - before.time_s) / span_s
    chord = d[0] / span_s, d[1] / span_s
    v0, v1 = before.velocity, after.velocity
    if v0 is None or v1 is None or not _agree(chord, v0, v1):
        return (d[0] * u, d[1] * u), chord, False
    a, b, c = u * (1 - u) ** 2, u * u * (3 - 2 * u), u * u * (u - 1)  # Hermite's
    place = tuple(a * span_s * p + b * q + c * span_s * r for p, q, r in zip(v0, d, v1, strict=True))
    velocity = tuple((1 - u) * p + u * r for p, r in zip(v0, v1, strict=True))
    return (place[0], place[1]), (velocity[0], velocity[1]), True


def _agree(chord: Vector, v0: Vector, v1: Vector) -> bool:
    mean = (v0[0] + v1[0]) / 2, (v0[1] + v1[1]) / 2
    apart = math.hypot(chord[0] - mean[0], chord[1] - mean[1])
    return apart <= 1.0 + 0.2 * max(math.hypot(*v0), math.hypot(*v1))


def _chord(fixes: Sequence[Fix]) -> Vector | None:
    """Return the velocity of the way between two reports; None where there is but one, or they disagree."""
    if len(fixes) < 2:
        return None
    step, span_s = _ecef(fixes[1]) - _ecef(fixes[0]), fixes[1].time_s - fixes[0].time_s
    east, north = (float(step @ axis) / span_s for axis in _axes(fixes[0]))
    return (east, north) if math.hypot(east, north) <= _FASTEST_M_S and span_s <= 300 else None


def _reckoned(vessel: Vessel, fix: Fix, time_s: float, chord: Vector | None = None) -> State:
    """Follow one report's course and speed, forwards or backwards; where it has none, those given."""
    dt = time_s - fix.time_s
    known = chord if fix.velocity is None else fix.velocity
    velocity = known or (0.0, 0.0)
    east, north = _axes(fix)
    unsaid = (UNSAID_AT_REST_M_S2 if known == (0.0, 0.0) else UNSAID_M_S2) * dt * dt / 2
    if known is None:
        unsaid += _UNKNOWN_SPEED_M_S * abs(dt)
    return State(
        vessel,
        time_s,
        _ecef(fix) + dt * (velocity[0] * east + velocity[1] * north),
        velocity,
        _heading(fix, velocity),
        math.hypot(GPS_M, unsaid),
        "after last" if dt >= 0 else "before first",
        dt if dt >= 0 else None,
        -dt if dt < 0 else None,
    )


def _heading(fix: Fix, velocity: Vector) -> float | None:
    if fix.heading_deg is not None:
        return fix.heading_deg
    if math.hypot(*velocity) > AT_REST_M_S:
        return math.degrees(math.atan2(*velocity)) % 360
    return None


def _ecef(fix: Fix) -> NDArray[np.float64]:
    return np.asarray(ecef_from_geodetic(fix.lon_deg, fix.lat_deg))


def _axes(fix: Fix) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    east, north, _ = local_axes(fix.lon_deg, fix.lat_deg)
    return np.asarray(east), np.asarray(north)
