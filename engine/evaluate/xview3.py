"""The xView3 score over scenes, from GeoJSON of detections and of truth.

As published (arXiv 2206.00897): detections are assigned to labels one to one, a hit within 200 m;
labels of low confidence count neither way; the aggregate is
F1_detection (1 + length + F1_vessel + F1_fishing + F1_shore) / 5, pooled over scenes.

What is ours: pairs beyond 200 m are barred before the assignment, so that none of them takes the label of a
nearer one (the reference assigns first and cuts afterwards). Where no truth says who fishes, there is no
F1_fishing, and the aggregate is the mean of the other terms, called ``aggregate_without_fishing``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import DatasetError
from engine.evaluate.bootstrap import RESAMPLES, interval, number, resampled_sums

TOLERANCE_M = 200.0
SHORE_M = 2000.0
LONGEST_M = 500.0
_RADIUS_M = 6_371_008.8
# Columns that are summed over scenes.
_HIT, _FALSE, _MISSED, _LENGTHS, _LENGTH_ERROR = range(5)
_VESSEL, _FISHING, _SHORE = 5, 8, 11  # three each: hits, false, missed
_COLUMNS = 14


@dataclass(frozen=True)
class Spot:
    """A detection or a label in a scene.

    Attributes:
        lon_deg: longitude.
        lat_deg: latitude.
        vessel: whether it is a vessel; None where unknown.
        fishing: whether it fishes; None where unknown.
        length_m: length; None where unknown.
        shore_m: distance to the shore; None where unknown.
        low: a label of low confidence: what meets it counts neither way.
    """

    lon_deg: float
    lat_deg: float
    vessel: bool | None = None
    fishing: bool | None = None
    length_m: float | None = None
    shore_m: float | None = None
    low: bool = False


def distances_m(one: Sequence[Spot], other: Sequence[Spot]) -> NDArray[np.float64]:
    """Return great-circle distances, [len(one), len(other)]."""
    a, b = (np.radians([[s.lon_deg, s.lat_deg] for s in spots]).reshape(-1, 2) for spots in (one, other))
    half = (a[:, None] - b[None]) / 2
    across = np.cos(a[:, None, 1]) * np.cos(b[None, :, 1]) * np.sin(half[..., 0]) ** 2
    return np.asarray(2 * _RADIUS_M * np.arcsin(np.sqrt(np.sin(half[..., 1]) ** 2 + across)))


def assign(predicted: Sequence[Spot], true: Sequence[Spot]) -> list[tuple[int, int]]:
    """Return pairs (prediction, label) within 200 m: as many as possible, then the nearest."""
    from scipy.optimize import linear_sum_assignment

    if not predicted or not true:
        return []
    distance = distances_m(predicted, true)
    cost = np.where(distance <= TOLERANCE_M, distance, 1e6)
    return [
        (int(i), int(j))
        for i, j in zip(*linear_sum_assignment(cost), strict=True)
        if distance[i, j] <= TOLERANCE_M
    ]


def scene_sums(predicted: Sequence[Spot], true: Sequence[Spot]) -> NDArray[np.float64]:
    """Return what a scene adds to the sums of the score."""
    sums = np.zeros(_COLUMNS)
    pairs = assign(predicted, true)
    low = {i for i, j in pairs if true[j].low}
    pairs = [(i, j) for i, j in pairs if i not in low]
    labels = [spot for spot in true if not spot.low]
    sums[_HIT] = len(pairs)
    sums[_FALSE] = len(predicted) - len(low) - len(pairs)
    sums[_MISSED] = len(labels) - len(pairs)
    for i, j in pairs:
        got, want = predicted[i], true[j]
        if got.length_m is not None and want.length_m:
            given = min(got.length_m, LONGEST_M)
            sums[_LENGTHS] += 1
            sums[_LENGTH_ERROR] += abs(given - want.length_m) / want.length_m
        _binary(sums, _VESSEL, got.vessel, want.vessel)
        if want.vessel:
            _binary(sums, _FISHING, got.fishing, want.fishing)
    near = [s for i, s in enumerate(predicted) if i not in low and _near(s)]
    coast = [spot for spot in labels if _near(spot)]
    met = len(assign(near, coast))
    sums[_SHORE : _SHORE + 3] = met, len(near) - met, len(coast) - met
    return sums


def _near(spot: Spot) -> bool:
    return spot.shore_m is not None and spot.shore_m <= SHORE_M


def _binary(sums: NDArray[np.float64], at: int, got: bool | None, want: bool | None) -> None:
    if want is None:
        return
    sums[at : at + 3] += (want and bool(got), bool(got) and not want, want and not got)


def _f1(part: NDArray[np.float64]) -> float:
    hits, false, missed = part
    total = 2 * hits + false + missed
    return 2 * hits / total if total else float("nan")


def terms(sums: NDArray[np.float64]) -> dict[str, float]:
    """Return the terms and the aggregate of sums over scenes; NaN where a term has nothing to go by."""
    found = {
        "detection_f1": _f1(sums[:3]),
        "length": 1 - min(sums[_LENGTH_ERROR] / sums[_LENGTHS], 1.0) if sums[_LENGTHS] else float("nan"),
        "vessel_f1": _f1(sums[_VESSEL : _VESSEL + 3]),
        "fishing_f1": _f1(sums[_FISHING : _FISHING + 3]),
        "shore_f1": _f1(sums[_SHORE : _SHORE + 3]),
    }
    others = [found[name] for name in ("length", "vessel_f1", "shore_f1")]
    found["aggregate"] = found["detection_f1"] * (1 + sum(others) + found["fishing_f1"]) / 5
    found["aggregate_without_fishing"] = found["detection_f1"] * (1 + sum(others)) / 4
    return found


def xview3_score(
    scenes: Sequence[tuple[Sequence[Spot], Sequence[Spot]]], resamples: int = RESAMPLES
) -> dict[str, Any]:
    """Return the score of scenes (predictions, labels), with intervals from resampling scenes."""
    stack = np.array([scene_sums(predicted, true) for predicted, true in scenes]).reshape(-1, _COLUMNS)
    drawn = [terms(row) for row in resampled_sums(stack, resamples)] if len(scenes) > 1 else []
    values = terms(stack.sum(axis=0))
    out: dict[str, Any] = {"scenes": len(scenes)}
    out |= dict(zip(("hits", "false", "missed"), map(int, stack.sum(axis=0)[:3]), strict=True))
    for name, value in values.items():
        out[name] = number(value)
        out[f"{name}_95"] = interval(np.array([each[name] for each in drawn])) if drawn else None
    return out


def read_spots(
    path: Path, threshold: float = 0.0, drop_flags: Sequence[str] = (), faint_db: float = -np.inf
) -> list[Spot]:
    """Read points of a GeoJSON file, as ``fusar detect`` or the simulator's truth writes them.

    Ghosts in a truth are no objects, and are left out.

    Args:
        path: the file.
        threshold: features with a ``score`` below it are left out.
        drop_flags: features with one of these flags are left out, such as ``azimuth_ghost``.
        faint_db: labels of less ``contrast_db`` are of low confidence; for a truth alone.

    Raises:
        DatasetError: the file is missing or is no collection of points.
    """
    try:
        features = json.loads(path.read_text(encoding="utf-8"))["features"]
        kept = [each for each in features if _wanted(each["properties"], threshold, drop_flags)]
        return [_spot(each, faint_db) for each in kept]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"cannot read {path}: {error!r}; expected a GeoJSON collection of points"
        ) from error


def _wanted(facts: Mapping[str, Any], threshold: float, drop_flags: Sequence[str]) -> bool:
    if facts.get("ghost_of") is not None:
        return False
    score = facts.get("score")
    names = {each["name"] if isinstance(each, dict) else each for each in facts.get("flags") or ()}
    return (score is None or score >= threshold) and not names & set(drop_flags)


def _spot(feature: Mapping[str, Any], faint_db: float) -> Spot:
    facts, point = feature["properties"], feature["geometry"]["coordinates"]
    kind, fishing, contrast = facts.get("class"), facts.get("is_fishing"), facts.get("contrast_db")
    low = str(facts.get("confidence", "")).upper() == "LOW" or (contrast is not None and contrast < faint_db)
    return Spot(
        float(point[0]),
        float(point[1]),
        facts.get("is_vessel", None if kind is None else kind == "ship"),
        None if fishing is None else bool(fishing),
        facts.get("length_m"),
        facts.get("shore_m"),
        low,
    )


def with_shore(spots: Sequence[Spot]) -> list[Spot]:
    """Return spots with their distance to the shore, from the coastline that ships with the package."""
    from engine.runtime.land import Coastline
    from engine.runtime.shore import Shore

    missing = [spot for spot in spots if spot.shore_m is None]
    if not missing:
        return list(spots)
    lon, lat = (np.array([getattr(s, name) for s in missing]) for name in ("lon_deg", "lat_deg"))
    shore = Shore(Coastline.load(), (lon.min(), lat.min(), lon.max(), lat.max()), reach_m=2 * SHORE_M)
    found = iter(shore.distance_m(lon, lat))
    return [spot if spot.shore_m is not None else replace(spot, shore_m=float(next(found))) for spot in spots]
