"""Which vessel a detection is: by the likelihood of its place and length, each with one of the other.

A ship under way is not seen where it is: its echo is displaced along the flight by R/V times its radial speed
(`daemon.scene.geometry.SceneGeometry.range_to_velocity_s`). From AIS the speed is known, so the place where
the radar shows it is known too, and that is compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engine.runtime.geometry import ecef_from_geodetic, geodetic_from_ecef, local_axes

from .reception import RULE, ReceptionRule, Witnesses, witnesses
from .track import State, Vessel, centre, states

Array = NDArray[np.float64]
Status = Literal["matched", "unmatched", "unknown"]

REACH_M = 6000.0  # no vessel farther from a detection is looked at: shift and uncertainty together
SURE_M = 500.0  # a vessel whose place is known worse than this is matched to nothing
_GATE = 5.0  # standard deviations
_PLACE_M = 15.0  # error of a detection's place, with _PLACE_SHARE of its length
_PLACE_SHARE = 0.08
_SPEED_M_S = 0.25  # error of a reported velocity, and what the sea adds to it
_CLOCK_S = 0.5  # AIS tells times in whole seconds
_UNSENSED_S = 8.0  # where the line's time was not kept: anywhere in a slice of 25 s
_NEIGHBOURS_M = 2000.0  # within which detections are counted, for their density
_SPARSE_M2 = 1e9  # at least one unrelated detection in 1,000 km2
_LENGTHS = (math.log(100.0), 0.8)  # of all detections: mean and spread of the logarithm
_LENGTH_SPREAD = 0.15  # of a measured length's logarithm, beside its interval
_WRONG_LENGTH = 0.1  # share of vessels whose stated length is wrong
_OTHER_LABEL = 3.0  # log-likelihood by which a vessel is less likely what the engine calls no ship


@dataclass(frozen=True, slots=True)
class Echo:
    """A detection, as far as matching needs it."""

    id: str
    label: str
    lon_deg: float
    lat_deg: float
    length_m: float
    length_low_m: float
    length_high_m: float
    incidence_deg: float
    time_s: float | None  # since 1970, of its line
    range_to_velocity_s: float | None
    azimuth_deg: float | None


@dataclass(frozen=True)
class Match:
    """What AIS tells of a detection."""

    detection_id: str
    status: Status
    mmsi: int | None
    distance_m: float | None
    evidence: Mapping[str, Any]


@dataclass(frozen=True)
class Matches:
    """The matches of a run's detections, in their order, and who proves reception."""

    matches: tuple[Match, ...]
    witnesses: Witnesses
    near: tuple[int, ...]  # MMSI of the vessels near any detection: what they say of themselves matters


@dataclass(frozen=True)
class _Pair:
    """A detection and a vessel that it may be."""

    state: State
    distance_m: float
    deviations: float  # of the distance, by its uncertainty
    shift_m: float  # along the flight, negative against it
    gain: float  # log-likelihood over that of an unrelated detection
    lonlat: tuple[float, float]  # of the vessel's middle when it was sensed


@dataclass
class _Options:
    """The vessels that one detection may be: those known well, and those that only may be near."""

    sure: dict[int, _Pair] = field(default_factory=dict)  # by number of the state
    vague: list[_Pair] = field(default_factory=list)


def match(
    echoes: Sequence[Echo],
    vessels: Sequence[Vessel],
    first_s: float,
    last_s: float,
    rule: ReceptionRule = RULE,
) -> Matches:
    """Match a run's detections with the vessels around.

    Equal inputs give equal values, in whatever order they come.

    Args:
        echoes: the detections.
        vessels: with their reports around the sensing.
        first_s: when the sensing began, seconds since 1970.
        last_s: when it ended.
        rule: when reception counts as proven.
    """
    vessels = sorted(vessels, key=lambda vessel: vessel.mmsi)
    heard = witnesses(vessels, first_s, last_s, rule)
    ordered = sorted(echoes, key=lambda echo: echo.id)
    if not ordered:
        return Matches((), heard, ())
    places = np.asarray(
        ecef_from_geodetic([e.lon_deg for e in ordered], [e.lat_deg for e in ordered])
    ).reshape(-1, 3)
    options, near = _options(ordered, places, vessels, (first_s + last_s) / 2)
    chosen = _assign(options)
    taken = {options[index].sure[number].state.vessel.mmsi for index, number in chosen.items()}
    found = {
        echo.id: _conclude(echo, places[i], options[i], chosen.get(i), taken, heard)
        for i, echo in enumerate(ordered)
    }
    return Matches(tuple(found[echo.id] for echo in echoes), heard, tuple(sorted(near)))


def _options(
    echoes: Sequence[Echo], places: Array, vessels: Sequence[Vessel], middle_s: float
) -> tuple[list[_Options], set[int]]:
    """Return what each detection may be, and the MMSI of all vessels that were weighed."""
    from scipy.spatial import cKDTree  # here, since what only names the ledger would wait a second for scipy

    tree = cKDTree(places)
    density = np.array([len(near) for near in tree.query_ball_point(places, _NEIGHBOURS_M)], float)
    density = np.maximum((density - 1) / (math.pi * _NEIGHBOURS_M**2), 1 / _SPARSE_M2)
    east, north, _ = (
        np.asarray(axis) for axis in local_axes([e.lon_deg for e in echoes], [e.lat_deg for e in echoes])
    )
    options = [_Options() for _ in echoes]
    number = 0
    weighed: set[int] = set()
    for vessel in vessels:
        for guess in states(vessel, middle_s):
            _, nearest = tree.query(guess.position_m)
            at_s = echoes[int(nearest)].time_s or middle_s
            # the reports beside that very time: the same ones but for those of these few seconds
            state = min(
                states(vessel, at_s),
                key=lambda s: float(np.linalg.norm(s.position_m - guess.position_m)),
            )
            number += 1
            for i in tree.query_ball_point(state.position_m, REACH_M):
                weighed.add(vessel.mmsi)
                axes = east[i], north[i]
                pair = _pair(echoes[i], places[i], axes, state, float(density[i]), middle_s)
                if pair.deviations > _GATE:
                    continue
                if state.sigma_m <= SURE_M:
                    options[i].sure[number] = pair
                else:
                    options[i].vague.append(pair)
    return options, weighed


def _pair(
    echo: Echo, place: Array, axes: tuple[Array, Array], state: State, density: float, middle_s: float
) -> _Pair:
    """Weigh one vessel against one detection."""
    later_s = (echo.time_s or middle_s) - state.time_s
    (ahead_e, ahead_n), hull_m = centre(state)
    velocity = np.array(state.velocity)
    from_antenna = np.array([float((place - state.position_m) @ axis) for axis in axes])
    offset = from_antenna - velocity * later_s - (ahead_e, ahead_n)  # from the vessel's middle, at that time
    apart = offset
    speed = math.hypot(*state.velocity)
    size = echo.length_m if state.vessel.length_m is None else state.vessel.length_m
    around_m2 = state.sigma_m**2 + hull_m**2 + _PLACE_M**2 + (_PLACE_SHARE * size) ** 2
    clock_s = _CLOCK_S if echo.time_s is not None else _UNSENSED_S
    covariance = around_m2 * np.eye(2) + clock_s**2 * np.outer(velocity, velocity)
    shift_m = 0.0
    if echo.range_to_velocity_s is None or echo.azimuth_deg is None:
        covariance += (80.0 * speed) ** 2 * np.eye(2)  # R/V and incidence as usual, direction unknown
    else:
        along, across = _axes(echo.azimuth_deg)
        slant = echo.range_to_velocity_s * math.sin(math.radians(echo.incidence_deg))
        shift_m = -slant * float(velocity @ across)
        apart = offset - shift_m * along
        covariance += (slant * _SPEED_M_S) ** 2 * np.outer(along, along)
    deviations2 = float(apart @ np.linalg.solve(covariance, apart))
    log_place = -deviations2 / 2 - math.log(2 * math.pi) - math.log(np.linalg.det(covariance)) / 2
    gain = log_place - math.log(density) + _length_gain(echo, state.vessel.length_m)
    if echo.label != "ship":
        gain -= _OTHER_LABEL
    lon, lat, _ = geodetic_from_ecef(place - offset @ np.array(axes))
    return _Pair(
        state,
        float(np.hypot(*apart)),
        math.sqrt(deviations2),
        shift_m,
        gain,
        (float(lon), float(lat)),
    )


def _axes(azimuth_deg: float) -> tuple[Array, Array]:
    """Return the directions of flight and of look on the ground, east and north; Sentinel-1 looks right."""
    angle = math.radians(azimuth_deg)
    along = np.array([math.sin(angle), math.cos(angle)])
    return along, np.array([along[1], -along[0]])


def _length_gain(echo: Echo, stated_m: float | None) -> float:
    """Log-likelihood of the measured length, if this is the vessel, over that of any detection."""
    if stated_m is None or echo.length_m <= 0:
        return 0.0
    measured = math.log(echo.length_m)
    low, high = max(echo.length_low_m, 1.0), max(echo.length_high_m, 1.0)
    spread = math.hypot(math.log(max(high / low, 1.0)) / 2, _LENGTH_SPREAD)
    anything = _normal(measured, *_LENGTHS)
    same = (1 - _WRONG_LENGTH) * _normal(measured, math.log(stated_m), spread) + _WRONG_LENGTH * anything
    return math.log(same / anything)


def _normal(x: float, mean: float, spread: float) -> float:
    return math.exp(-(((x - mean) / spread) ** 2) / 2) / (spread * math.sqrt(2 * math.pi))


def _assign(options: Sequence[_Options]) -> dict[int, int]:
    """Choose for each detection at most one state and for each state at most one detection.

    The sum of what is gained is as great as it can be.
    """
    from scipy.optimize import linear_sum_assignment

    rows = [i for i, option in enumerate(options) if any(p.gain > 0 for p in option.sure.values())]
    columns = sorted({number for i in rows for number in options[i].sure})
    if not rows:
        return {}
    gain = np.zeros((len(rows), len(columns)))
    place = {number: k for k, number in enumerate(columns)}
    for k, i in enumerate(rows):
        for number, pair in options[i].sure.items():
            gain[k, place[number]] = max(pair.gain, 0.0)
    chosen = zip(*linear_sum_assignment(gain, maximize=True), strict=True)
    return {rows[k]: columns[j] for k, j in chosen if gain[k, j] > 0}


def _conclude(
    echo: Echo, place: Array, option: _Options, number: int | None, taken: set[int], heard: Witnesses
) -> Match:
    if number is not None:
        return _matched(echo, option, number, taken)
    proof = heard.prove(place)
    free = [p for p in (*option.sure.values(), *option.vague) if p.state.vessel.mmsi not in taken]
    maybe = sorted({p.state.vessel.mmsi for p in free if p.deviations <= 3})
    evidence: dict[str, Any] = {"reception": proof}
    if maybe:
        evidence |= {"reason": "position_uncertain", "maybe": maybe[:10]}
    elif not proof["proven"]:
        evidence["reason"] = "reception_unproven"
    status: Status = "unknown" if "reason" in evidence else "unmatched"
    return Match(echo.id, status, None, None, evidence)


def _matched(echo: Echo, option: _Options, number: int, taken: set[int]) -> Match:
    pair = option.sure[number]
    state, vessel = pair.state, pair.state.vessel
    others = sorted(
        (
            p
            for n, p in option.sure.items()
            if n != number and p.gain > 0 and p.state.vessel.mmsi not in taken
        ),
        key=lambda p: (-p.gain, p.state.vessel.mmsi),
    )
    evidence: dict[str, Any] = {
        "log_likelihood": round(pair.gain, 2),
        "deviations": round(pair.deviations, 2),
        "shift_m": round(pair.shift_m, 1),
        "vessel_lon_deg": round(pair.lonlat[0], 6),
        "vessel_lat_deg": round(pair.lonlat[1], 6),
        "speed_m_s": round(math.hypot(*state.velocity), 2),
        "course_deg": round(math.degrees(math.atan2(*state.velocity)) % 360, 1),
        "position": state.how,
        "before_s": None if state.before_s is None else round(state.before_s, 1),
        "after_s": None if state.after_s is None else round(state.after_s, 1),
        "sigma_m": round(state.sigma_m, 1),
        "vessel_length_m": vessel.length_m,
        "sensed": "line" if echo.time_s is not None else "scene",
    }
    if others:
        evidence["others"] = [
            {"mmsi": p.state.vessel.mmsi, "log_likelihood": round(p.gain, 2)} for p in others[:5]
        ]
    return Match(echo.id, "matched", vessel.mmsi, round(pair.distance_m, 1), evidence)
