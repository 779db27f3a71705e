"""The engine asked about changes: two chips in time order, places by their ordinals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from daemon.chips import is_cross
from engine.runtime.forms import CHANGES
from engine.runtime.image import CHIP_PX, cell_of, channels
from engine.runtime.prior import Prior
from engine.runtime.text import MAX_PLACES, Place, Request

from .chip import Chip, Question

if TYPE_CHECKING:
    from engine.runtime.predictor import Predictor

TASK = "change"
_RIM_PX = 8.0  # places closer to a chip's edge are asked with a chip of their own


class ChangeEngine:
    """A predictor whose bundle knows the task."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    @classmethod
    def of(cls, predictor: Predictor) -> ChangeEngine | None:
        """Return the engine; None where its bundle does not know the task."""
        return cls(predictor) if TASK in predictor.bundle.manifest.tasks else None

    @property
    def bundle_id(self) -> str:
        """Which bundle is asked."""
        return self._predictor.bundle.bundle_id

    def ask(self, questions: Sequence[Question], limit: int) -> Mapping[int, Mapping[str, float]]:
        """Ask about places, those of one lattice cell in one request.

        The engine is told where to look, and not in which image a detection was: its answer is evidence of
        its own.

        Args:
            questions: places with their pixels.
            limit: requests at most, those with the surest places first.

        Returns:
            For each index the chances of each kind; none where the request was beyond the limit or broke off.

        Raises:
            BackendError: the engine failed.
        """
        cells: dict[tuple[int, int], list[Question]] = defaultdict(list)
        for question in questions:
            cell = cell_of(*question.pair.after_px)
            cells[cell.row, cell.col].append(question)
        requests: list[tuple[list[Question], Request]] = []
        for members in sorted(cells.values(), key=_surest):
            # One chip serves all: the one around the surest place. What lies off its centre asks by itself.
            left = sorted(members, key=lambda q: (-_score(q), q.index))
            while left and len(requests) < limit:
                together = [q for q in left if _inside(left[0], q)][:MAX_PLACES]
                requests.append((together, _request(together)))
                left = [q for q in left if q not in together]
        answers = self._predictor.ask([request for _, request in requests])
        found: dict[int, Mapping[str, float]] = {}
        for (together, _), answer in zip(requests, answers, strict=True):
            for said in answer.places:
                found[together[said.place - 1].index] = dict(zip(CHANGES, said.chances, strict=True))
        return found


def _score(question: Question) -> float:
    return question.plan.places[question.index].sighting.score


def _surest(members: Sequence[Question]) -> tuple[float, int]:
    return -max(_score(q) for q in members), min(q.index for q in members)


def _box(question: Question, centre: tuple[float, float]) -> tuple[float, float, float, float]:
    """Return a place's box in the chip of CHIP_PX around a position in the later scene."""
    line, sample = (
        at - (round(middle) - CHIP_PX // 2) for at, middle in zip(question.pair.after_px, centre, strict=True)
    )
    x1, y1, x2, y2 = question.plan.places[question.index].sighting.box_px
    half = (x2 - x1) / 2, (y2 - y1) / 2
    return sample - half[0], line - half[1], sample + half[0], line + half[1]


def _inside(first: Question, other: Question) -> bool:
    """Whether a place lies well inside the chip around another."""
    box = _box(other, first.pair.after_px)
    return min(box) >= _RIM_PX and max(box) <= CHIP_PX - _RIM_PX or other is first


def _request(together: Sequence[Question]) -> Request:
    """Write the request of places around the first of them."""
    first = together[0]
    pair, plan = first.pair, first.plan
    if plan.pixels is None:
        raise ValueError("a question without an earlier pass")
    chips = []
    for chip, at_px in ((pair.before, pair.before_px), (pair.after, pair.after_px)):
        line, sample = (round(at) - CHIP_PX // 2 for at in at_px)
        chips.append(chip.cut(line, sample))
    bands = tuple(name for name in chips[1].bands if name in chips[0].bands)
    mode = "SM" if plan.after.mode.startswith("S") else plan.after.mode
    return Request(
        task=TASK,
        chips=tuple(_channels(chip, bands) for chip in chips),
        priors=(Prior.absent(), Prior.absent()),
        sensor=f"Sentinel-1 {mode}",
        bands=bands,
        known=tuple(_place(q, pair.after_px) for q in together),
        dates=(plan.pixels.start.date().isoformat(), plan.after.start.date().isoformat()),
    )


def _place(question: Question, centre: tuple[float, float]) -> Place:
    """Name a place by its box in the chip and what it was taken for, not by when it was seen."""
    x1, y1, x2, y2 = (min(max(v, 0.0), float(CHIP_PX)) for v in _box(question, centre))
    return Place((x1, y1, x2, y2), question.plan.places[question.index].sighting.label)


def _channels(chip: Chip, bands: Sequence[str]) -> NDArray[np.uint8]:
    """Scale a chip's intensities to the engine's channels."""
    of = {is_cross(name): chip.intensity[chip.bands.index(name)] for name in bands}
    return channels(of.get(False), of.get(True), chip.valid)
