"""From the objects of a scene to its detections: measured, placed on the globe, flagged."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from daemon.domain import Box, Candidate, Detection, detection_id
from daemon.flags.all import Subject, Surroundings, flags_of, link
from daemon.measure import RESOLUTION_M, Measure, measure
from daemon.merge import Found

if TYPE_CHECKING:
    from daemon.scene.land import LandSource
    from daemon.scene.product import Scene
    from engine.runtime.image import Cell
    from engine.runtime.text import Answer, Request

LONGEST_M = 420.0  # no ship or platform afloat is longer: 400 m today


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked and answered, cell by cell."""

    cells: Sequence[Cell]
    requests: Sequence[Request]
    replies: Sequence[Answer]

    @property
    def answers(self) -> list[tuple[Cell, Answer]]:
        """Cells with their answers."""
        return list(zip(self.cells, self.replies, strict=True))


@dataclass(frozen=True, slots=True)
class Context:
    """What every detection of a scene shares."""

    around: Surroundings
    land: LandSource
    near_land_m: float  # detections this close to land are flagged
    coast_m: float  # how far a coastline may be wrong: what is nearer to land is land's
    run: str  # key of the run
    candidates: Sequence[Candidate]

    @property
    def scene(self) -> Scene:
        """The opened product."""
        return self.around.scene


def detections_of(
    context: Context,
    asked: Asked,
    found: Sequence[tuple[Found, Sequence[int]]],
    report: Callable[[float], None],
) -> tuple[tuple[Detection, ...], dict[str, int]]:
    """Measure objects and make detections of those that the pixels bear out.

    Of objects that turn out to be the same pixels the highest score stays. An object is no detection, and is
    counted instead, where neither a candidate nor an echo in its box supports the text, and where the echo
    may be land's: nearer to it than a coastline errs, or near it without a candidate at sea; and where it is
    surely longer than anything afloat.

    Args:
        context: the scene and what belongs to it.
        asked: cells, requests and answers.
        found: objects with the indices of their candidates, nearest first.
        report: called with the fraction done.

    Returns:
        Detections by line and sample, and counts of the objects that are none, by reason.
    """
    measured: list[tuple[Found, Sequence[int], Measure]] = []
    places = Places(context.scene.spacing_m)
    none = {
        "objects_measured_twice": 0,
        "objects_without_echo": 0,
        "objects_of_land": 0,
        "objects_too_long": 0,
    }
    for done, (item, indices) in enumerate(
        sorted(found, key=lambda pair: (-pair[0].score, pair[0].box_px)), 1
    ):
        size = measure(context.scene, item.box_px, context.land)
        if places.taken(size):
            none["objects_measured_twice"] += 1
        elif size.how == "box" and not indices:
            none["objects_without_echo"] += 1
        elif _is_lands(context, size, bool(indices)):
            none["objects_of_land"] += 1
        elif size.length_low_m > LONGEST_M:
            none["objects_too_long"] += 1
        else:
            measured.append((item, indices, size))
            places.take(size)
        report(done / len(found))
    at = np.array([(size.line_px, size.sample_px) for _, _, size in measured]).reshape(-1, 2)
    lon, lat = context.scene.geometry.lonlat(at[:, 0], at[:, 1])
    shore_m = context.land.shore_m(at[:, 0], at[:, 1])
    incidence = np.broadcast_to(context.scene.geometry.incidence_deg(at[:, 0], at[:, 1]), len(at))
    ratio = context.scene.geometry.range_to_velocity_s(at[:, 0], at[:, 1])
    azimuth = context.scene.geometry.heading_deg(at[:, 0], at[:, 1])
    shift = context.scene.geometry.shift_bound_m(at[:, 0], at[:, 1])
    nearest = nearest_m(context.candidates, at, context.scene.spacing_m)
    by_cell = dict(zip(asked.cells, zip(asked.requests, asked.replies, strict=True), strict=True))
    ranks: Counter[tuple[int, int]] = Counter()
    detections: list[Detection] = []
    subjects: list[Subject] = []
    for i, (item, indices, size) in enumerate(measured):
        place = round(float(lon[i]) * 1e4), round(float(lat[i]) * 1e4)
        request, answer = by_cell[item.cell]
        detections.append(
            Detection(
                id=detection_id(context.run, float(lon[i]), float(lat[i]), ranks[place]),
                label=item.label,
                score=round(item.score, 4),
                line_px=size.line_px,
                sample_px=size.sample_px,
                lon_deg=round(float(lon[i]), 7),
                lat_deg=round(float(lat[i]), 7),
                length_m=size.length_m,
                length_low_m=size.length_low_m,
                length_high_m=size.length_high_m,
                width_m=size.width_m,
                axis_deg=size.axis_deg,
                peak_db=size.peak_db,
                contrast_db=size.contrast_db,
                incidence_deg=round(float(incidence[i]), 2),
                shore_m=round(float(shore_m[i]), 1) if np.isfinite(shore_m[i]) else None,
                measured=size.how,
                box_px=item.box_px,
                cell=(item.cell.row, item.cell.col),
                candidate=indices[0] if indices else None,
                prior_status=request.priors[0].status,
                prior_year=request.priors[0].year,
                brightness_db=_brightness_db(context, item.box_px),
                range_to_velocity_s=round(float(ratio[i]), 3),
                azimuth_deg=round(float(azimuth[i]), 2) % 360,
                shift_bound_m=round(float(shift[i]), 1),
                sensed=context.scene.geometry.time_utc(size.line_px),
            )
        )
        subjects.append(_subject(context, item, indices, detections[-1], size, answer, nearest[i]))
        ranks[place] += 1
    flags = flags_of(context.around, subjects)
    detections = [replace(d, flags=marks) for d, marks in zip(detections, flags, strict=True)]
    detections = link(detections, context.scene)
    detections.sort(key=lambda detection: (detection.line_px, detection.sample_px, detection.id))
    return tuple(detections), none


class Places:
    """Where objects were measured, on a grid, so that each is compared with its neighbours alone."""

    def __init__(self, spacing_m: tuple[float, float]) -> None:
        self._spacing_m = spacing_m
        self._cells: dict[tuple[int, int], list[tuple[float, float]]] = {}

    def take(self, size: Measure) -> None:
        """Note where an object was measured; a box alone is no measurement."""
        if size.how != "box":
            self._cells.setdefault(self._cell(size), []).append((size.line_px, size.sample_px))

    def taken(self, size: Measure) -> bool:
        """Whether the same pixels were measured before."""
        if size.how == "box":
            return False
        row, col = self._cell(size)
        down_m, across_m = self._spacing_m
        return any(
            math.hypot((size.line_px - line) * down_m, (size.sample_px - sample) * across_m) < RESOLUTION_M
            for near in itertools.product((row - 1, row, row + 1), (col - 1, col, col + 1))
            for line, sample in self._cells.get(near, ())
        )

    def _cell(self, size: Measure) -> tuple[int, int]:
        down_m, across_m = self._spacing_m
        width = 2 * RESOLUTION_M
        return math.floor(size.line_px * down_m / width), math.floor(size.sample_px * across_m / width)


def _subject(
    context: Context,
    item: Found,
    indices: Sequence[int],
    detection: Detection,
    size: Measure,
    answer: Answer,
    nearest: float | None,
) -> Subject:
    return Subject(
        size=size,
        box_px=item.box_px,
        lon_deg=detection.lon_deg,
        lat_deg=detection.lat_deg,
        shore_m=_land_distance_m(context, size),
        saturated=answer.outcome == "saturated",
        candidate=bool(indices),
        nearest_m=nearest,
        neighbour=f"{item.cell.row},{item.cell.col}" if item.neighbour else None,
    )


def _land_distance_m(context: Context, size: Measure) -> float | None:
    """Distance to the nearest land; 0 on land, None beyond near_land_m."""
    nearest = float(context.land.shore_m(size.line_px, size.sample_px))
    return nearest if nearest <= context.near_land_m else None


def _is_lands(context: Context, size: Measure, candidate: bool) -> bool:
    distance_m = _land_distance_m(context, size)
    return distance_m is not None and (distance_m <= context.coast_m or not candidate)


def nearest_m(
    candidates: Sequence[Candidate], at_px: NDArray[np.float64], spacing_m: tuple[float, float]
) -> list[float | None]:
    """Return the distance from each place, [n, 2], to the nearest candidate; None where there is none."""
    if not candidates or not len(at_px):
        return [None] * len(at_px)
    spacing = np.array(spacing_m)
    known = np.array([(candidate.line_px, candidate.sample_px) for candidate in candidates])
    _, nearest = cKDTree(known * spacing).query(at_px * spacing)
    apart = (known[nearest] - at_px) * spacing
    return [float(distance) for distance in np.hypot(*apart.T)]


def _brightness_db(context: Context, box_px: Box) -> float | None:
    x1, y1, x2, y2 = box_px
    place = context.around.bright.brightest(context.scene.polarisations[0], (y1, y2 - 1), (x1, x2 - 1))
    return None if place is None else round(float(10 * np.log10(place.power)), 1)
