"""What the engine is asked for a question: chips with their places, and what its answers come to."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from engine.runtime.forms import REFUSAL
from engine.runtime.image import CHIP_PX, Cell, cell_of
from engine.runtime.predictor import Predictor
from engine.runtime.prior import Prior
from engine.runtime.text import MAX_PLACES, Answer, Place, Request

from ..chips import request_for
from ..prior import PriorIndex
from ..scene.product import Scene, open_scene
from ..store.questions import Looked, Seen
from .closed import inside

MAX_CHIPS = 24  # asked for one question: those with the surest detections


@dataclass(frozen=True)
class Chip:
    """One chip that is asked about, and the detections that its ordinals name."""

    run: Looked
    cell: Cell
    inside: tuple[Seen, ...]
    request: Request

    @property
    def provenance(self) -> dict[str, Any]:
        """Return what was asked about, for the record."""
        return {
            "run": self.run.run_id,
            "product": self.run.product,
            "cell": [self.cell.row, self.cell.col],
            "sha256": hashlib.sha256(self.request.chips[0].tobytes()).hexdigest(),
            "prior": self.request.priors[0].status,
            "detections": [seen.id for seen in self.inside],
        }

    @property
    def place(self) -> str:
        """Name the chip by its surest detection."""
        own = max(self.inside, key=lambda s: (s.score, s.id))
        return f"{abs(own.lat_deg):.3f}{'NS'[own.lat_deg < 0]} {abs(own.lon_deg):.3f}{'EW'[own.lon_deg < 0]}"


@dataclass(frozen=True)
class Said:
    """What the engine said of some chips: words, or None where it says that no image can show it."""

    words: str | None
    cited: tuple[Seen, ...]
    chips: tuple[Chip, ...]
    answers: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Asker:
    """The engine, and the prior it is asked with."""

    predictor: Predictor
    prior: PriorIndex | None = None
    open_scene: Callable[[str], Scene] = open_scene

    def knows(self, task: str) -> bool:
        """Whether the bundle knows a task."""
        return task in self.predictor.manifest.tasks

    def chips(
        self, task: str, looked: Sequence[Looked], question: str | None = None, alone: bool = False
    ) -> tuple[list[Chip], int]:
        """Cut the chips of what was chosen, the surest first where there are too many.

        Args:
            task: what is asked.
            looked: the runs, with what of them is chosen.
            question: in words; the task's own without it.
            alone: name the chosen detections alone, without their class; else all that stands in the chip.

        Returns:
            The chips, and how many were left out.

        Raises:
            SceneError: the product cannot be read.
            SourceUnavailable: it is out of reach.
        """
        wanted = sorted(
            {(index, seen.cell) for index, run in enumerate(looked) for seen in run.chosen},
            key=lambda one: (-_surest(looked[one[0]], one[1]), one),
        )
        chips: list[Chip] = []
        for index, run in enumerate(looked):
            cells = sorted(cell for number, cell in wanted[:MAX_CHIPS] if number == index)
            if cells:
                with self.open_scene(run.uri) as scene:
                    chips += [self._chip(task, run, scene, Cell(*cell), question, alone) for cell in cells]
        return chips, max(len(wanted) - MAX_CHIPS, 0)

    def _chip(
        self, task: str, run: Looked, scene: Scene, cell: Cell, question: str | None, alone: bool
    ) -> Chip:
        prior = Prior.absent()
        if self.prior is not None:
            prior = self.prior.prior(scene.geometry, cell.chip_origin_px, scene.name.start)
        named = tuple(run.chosen) if alone else nameable(run.seen, cell)
        request = replace(
            request_for(scene, cell, prior),
            task=task,
            known=tuple(Place(_box_in_chip(seen, cell), "" if alone else seen.label) for seen in named),
            question=question,
            dates=(run.acquired.date().isoformat(),),
        )
        return Chip(run, cell, named, request)

    def describe(self, looked: Sequence[Looked]) -> tuple[Said, int]:
        """Ask for a description of each chip; return it, and how many chips were left out."""
        chips, left_out = self.chips("description", looked)
        blank = [replace(chip.request, known=()) for chip in chips]
        answers = self.predictor.ask(blank)
        lines = [
            f"{chip.place}: {answer.text}" if len(chips) > 1 else answer.text
            for chip, answer in zip(chips, answers, strict=True)
        ]
        shown = {seen.id: seen for chip in chips for seen in chip.inside}
        return Said("\n".join(lines), tuple(shown.values()), tuple(chips), _kept(answers)), left_out

    def classify(self, looked: Sequence[Looked]) -> tuple[str, float | None, Said]:
        """Ask what the one chosen detection is: the class, its probability, and what was asked."""
        chips, _ = self.chips("classification", looked, alone=True)
        (answer,) = self.predictor.ask([chip.request for chip in chips])
        return answer.text, answer.score, Said(answer.text, (), tuple(chips), _kept([answer]))

    def free(self, question: str, looked: Sequence[Looked]) -> tuple[Said, int]:
        """Ask the question itself of each chip: each answer stands by its place, nothing is concluded."""
        chips, left_out = self.chips("question", looked, question)
        answers = self.predictor.ask([chip.request for chip in chips])
        lines: list[str] = []
        cited: dict[str, Seen] = {}
        for chip, answer in zip(chips, answers, strict=True):
            words = answer.text.partition("\n")[2].strip() if answer.text != REFUSAL else ""
            if not words:
                continue
            named = [chip.inside[ordinal - 1] for ordinal in answer.cites]
            cited.update((seen.id, seen) for seen in named)
            ending = " (broken off)" if answer.outcome == "saturated" else ""
            lines.append(f"{chip.place}: {words}{ending}" if len(chips) > 1 else f"{words}{ending}")
        return Said("\n".join(lines) or None, tuple(cited.values()), tuple(chips), _kept(answers)), left_out


def nameable(seen: Sequence[Seen], cell: Cell) -> tuple[Seen, ...]:
    """Return what stands in a chip, in reading order; the surest where there are more than can be named."""
    found = inside(seen, cell)
    own = [s for s in found if s.cell == (cell.row, cell.col) or cell_of(s.line_px, s.sample_px) == cell]
    others = [s for s in found if s not in own]
    surest = [*sorted(own, key=lambda s: (-s.score, s.id)), *sorted(others, key=lambda s: (-s.score, s.id))]
    return tuple(sorted(surest[:MAX_PLACES], key=lambda s: (s.line_px, s.sample_px, s.id)))


def _kept(answers: Sequence[Answer]) -> tuple[dict[str, Any], ...]:
    return tuple({"text": each.text, "outcome": each.outcome, "tokens": each.tokens} for each in answers)


def _surest(run: Looked, cell: tuple[int, int]) -> float:
    return max(seen.score for seen in run.chosen if seen.cell == cell)


def _box_in_chip(seen: Seen, cell: Cell) -> tuple[float, float, float, float]:
    line, sample = cell.chip_origin_px
    x1, y1, x2, y2 = seen.box_px
    limit = float(CHIP_PX)
    return (
        min(max(x1 - sample, 0.0), limit),
        min(max(y1 - line, 0.0), limit),
        min(max(x2 - sample, 0.0), limit),
        min(max(y2 - line, 0.0), limit),
    )
