"""From the boxes of single chips to objects of the scene, and from objects back to the candidates.

Who owns an object: the cell whose core holds its centre. An object that a chip sees beyond its own core
is the owner's to name, and is dropped if the owner was asked and answered in full. It is kept, and
marked, where the owner was not asked or did not finish, and where it lies so close to the border that
the two cells may disagree about the side. What is kept twice is one object if the centres are close.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import cKDTree

from daemon.domain import Box, Candidate, CandidateState
from engine.runtime.image import Cell, cell_of
from engine.runtime.text import Answer, AnswerObject

_BORDER_PX = 4.0  # by which two cells' boxes of one object may differ
_SAME_M = 30.0  # closer centres are one object: a resolution cell and a half
_SAME_SHARE = 0.25  # or closer than this share of the shorter one's length
_BESIDE_PX = 3.0  # a candidate this far outside a box still belongs to it


@dataclass(frozen=True, slots=True)
class Found:
    """An object of one chip's answer, in the scene."""

    cell: Cell  # that was asked
    label: str
    score: float
    box_px: Box
    neighbour: bool = False  # its centre lies in another cell's core

    @property
    def centre_px(self) -> tuple[float, float]:
        """Line and sample of the centre; integers are pixel centres."""
        x1, y1, x2, y2 = self.box_px
        return (y1 + y2) / 2 - 0.5, (x1 + x2) / 2 - 0.5

    def extent_m(self, spacing_m: tuple[float, float]) -> float:
        """Longer side of the box."""
        x1, y1, x2, y2 = self.box_px
        return max((y2 - y1) * spacing_m[0], (x2 - x1) * spacing_m[1])


def place(cell: Cell, item: AnswerObject) -> Found:
    """Move an object from its chip to the scene."""
    line, sample = cell.chip_origin_px
    x1, y1, x2, y2 = item.box_px
    found = Found(cell, item.label, item.score, (x1 + sample, y1 + line, x2 + sample, y2 + line))
    return replace(found, neighbour=cell_of(*found.centre_px) != cell)


def objects(answers: Sequence[tuple[Cell, Answer]], spacing_m: tuple[float, float]) -> list[Found]:
    """Join the answers of all chips: every object once.

    Args:
        answers: of the cells that were asked.
        spacing_m: of the scene.

    Returns:
        Objects by line and sample.
    """
    complete = {cell for cell, answer in answers if answer.outcome == "complete"}
    placed = [place(cell, item) for cell, answer in answers for item in answer.objects]
    return unique([found for found in placed if _counts(found, complete)], spacing_m)


def unique(found: Iterable[Found], spacing_m: tuple[float, float]) -> list[Found]:
    """Drop duplicates: of objects that lie too close the owner's stays, then the higher score.

    Neither the order of the input nor doing it twice changes the result.
    """
    items = sorted(found, key=lambda f: (f.neighbour, -f.score, f.box_px, f.label, f.cell))
    if not items:
        return []
    at_m = np.array([item.centre_px for item in items]) * spacing_m
    tree = cKDTree(at_m)
    kept: list[Found] = []
    stays = np.zeros(len(items), bool)
    for index, item in enumerate(items):
        # No farther than this can another be the same, whatever its own extent.
        reach_m = max(_SAME_M, _SAME_SHARE * item.extent_m(spacing_m)) + 1e-3
        near = tree.query_ball_point(at_m[index], reach_m)
        if not any(stays[other] and _same(item, items[other], spacing_m) for other in near):
            stays[index] = True
            kept.append(item)
    return sorted(kept, key=lambda f: (f.centre_px, f.box_px))


def match(candidates: Sequence[Candidate], found: Sequence[Found]) -> list[list[int]]:
    """For each object, the indices of the candidates that it explains, nearest first.

    A candidate belongs to every object whose box, widened a little, holds its centroid: several bright
    points of one ship are one ship.
    """
    if not candidates:
        return [[] for _ in found]
    at = np.array([(candidate.line_px, candidate.sample_px) for candidate in candidates])
    matched = []
    for item in found:
        x1, y1, x2, y2 = item.box_px
        low = np.array([y1, x1]) - 0.5 - _BESIDE_PX
        high = np.array([y2, x2]) - 0.5 + _BESIDE_PX
        inside = np.flatnonzero(((at >= low) & (at <= high)).all(1))
        distance = np.hypot(*(at[inside] - item.centre_px).T)
        matched.append([int(i) for i in inside[np.argsort(distance, kind="stable")]])
    return matched


def judge(
    candidates: Sequence[Candidate],
    found: Sequence[Found],
    matched: Sequence[Sequence[int]],
    answers: Sequence[tuple[Cell, Answer]],
    score_threshold: float,
) -> tuple[Candidate, ...]:
    """Give every candidate its end and its score.

    Args:
        candidates: of the prescreen, in the order of their indices.
        found: objects of the scene.
        matched: indices of each object's candidates.
        answers: of the cells that were asked.
        score_threshold: objects below it confirm nothing; their score is recorded all the same.

    Returns:
        The candidates with state and score.
    """
    best: dict[int, float] = {}
    for item, indices in zip(found, matched, strict=True):
        for index in indices:
            best[index] = max(best.get(index, 0.0), item.score)
    outcome: dict[Cell, str] = {cell: answer.outcome for cell, answer in answers}
    return tuple(
        replace(
            candidate,
            state=_state(best.get(index), outcome.get(Cell(*candidate.cell)), score_threshold),
            score=best.get(index),
        )
        for index, candidate in enumerate(candidates)
    )


def _state(score: float | None, outcome: str | None, threshold: float) -> CandidateState:
    if score is not None and score >= threshold:
        return "confirmed"
    if outcome is None:
        return "not_examined"
    return "rejected" if score is not None or outcome == "complete" else "unanswered"


def _counts(found: Found, complete: Collection[Cell]) -> bool:
    """Whether an object is its chip's to name: own, or nobody else's, or on the border."""
    if not found.neighbour:
        return True
    if cell_of(*found.centre_px) not in complete:
        return True
    line, sample = found.centre_px
    reach = (-_BORDER_PX, 0.0, _BORDER_PX)
    return any(found.cell.holds(line + down, sample + across) for down in reach for across in reach)


def _same(a: Found, b: Found, spacing_m: tuple[float, float]) -> bool:
    (line_a, sample_a), (line_b, sample_b) = a.centre_px, b.centre_px
    distance_m = np.hypot((line_a - line_b) * spacing_m[0], (sample_a - sample_b) * spacing_m[1])
    shorter_m = min(a.extent_m(spacing_m), b.extent_m(spacing_m))
    return bool(distance_m <= max(_SAME_M, _SAME_SHARE * shorter_m))
