"""A question to its end: refused by rule, or asked of the engine chip by chip, and kept either way."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy.orm import Session

from engine.errors import BackendError, DeviceLost, InputError
from engine.runtime.forms import REFUSAL
from engine.runtime.image import CHIP_PX, Cell, cell_of
from engine.runtime.predictor import Predictor
from engine.runtime.prior import Prior
from engine.runtime.text import MAX_PLACES, Answer, Place, Request

from ..chips import request_for
from ..errors import SceneError, SourceUnavailable
from ..messages import now
from ..prior import PriorIndex
from ..scene.product import Scene, open_scene
from ..store import questions
from ..store.question_tables import Question
from ..store.questions import Looked, Seen
from ..store.session import Store
from .messages import AnswerGiven, Cited, QuestionAsked, Scope
from .refusals import Refusal, by_rule

log = logging.getLogger(__name__)

TASK = "question"
MAX_CHIPS = 24  # asked for one question: those with the surest detections


@dataclass(frozen=True)
class Answerer:
    """Who answers: the engine, and the prior it is asked with."""

    predictor: Predictor
    prior: PriorIndex | None = None
    open_scene: Callable[[str], Scene] = open_scene

    def end(self, store: Store, asked: QuestionAsked, source: str) -> AnswerGiven:
        """Answer or refuse a question and keep it; asked again under the same id, it is not asked anew.

        Args:
            store: what detections there are, and where questions are kept.
            asked: the question.
            source: who brought it, command or kafka.

        Raises:
            StoreUnavailable: the database does not answer (retry).
            DeviceLost: the GPU answers no more in this process.
        """
        with store.transaction() as session:
            known = questions.find(session, asked.question_id)
            if known is not None:
                return _given(known)
            looked = _looked(session, asked.scope)
        reply = self._reply(asked, looked)
        with store.transaction() as session:
            questions.record(
                session,
                id=asked.question_id,
                source=source,
                scope=asked.scope.model_dump(exclude_none=True),
                text=asked.text,
                asked=asked.asked,
                **reply.columns(),
            )
            return _given(session.get_one(Question, asked.question_id))

    def _reply(self, asked: QuestionAsked, looked: Sequence[Looked]) -> _Reply:
        facts = _facts(looked)
        runs = [run.run_id for run in looked]
        refusal = by_rule(asked.text) or _nothing(asked.scope, looked) or self._cannot()
        if refusal is not None:
            return _Reply(runs, facts, refusal=refusal)
        try:
            chips, left_out = self._chips(asked.text, looked)
            answers = self.predictor.ask([chip.request for chip in chips])
        except (SceneError, SourceUnavailable) as error:
            return _Reply(runs, facts, refusal=Refusal("no_pixels", f"({error})"))
        except InputError as error:  # a sensor or a number of places that the bundle was not made for
            return _Reply(runs, facts, refusal=Refusal("engine_cannot", f"({error})"))
        except DeviceLost:
            raise
        except BackendError as error:  # kept as it ended: who wants to know asks again
            return _Reply(runs, facts, refusal=Refusal("engine_failed", f"({error})"))
        if left_out:
            facts["chips_not_asked"] = left_out
        engine = self.predictor.bundle.bundle_id, self.predictor.backend.name
        return _compose(runs, facts, chips, answers, engine)

    def _cannot(self) -> Refusal | None:
        if TASK in self.predictor.manifest.tasks:
            return None
        bundle = self.predictor.bundle
        return Refusal(
            "engine_cannot", f"(bundle {bundle.manifest.name} {bundle.bundle_id} has no task {TASK!r})"
        )

    def _chips(self, question: str, looked: Sequence[Looked]) -> tuple[list[_Chip], int]:
        """Cut the chips of what was chosen, the surest first where there are too many."""
        wanted = sorted(
            {(index, seen.cell) for index, run in enumerate(looked) for seen in run.chosen},
            key=lambda one: (-_surest(looked[one[0]], one[1]), one),
        )
        chips: list[_Chip] = []
        for index, run in enumerate(looked):
            cells = sorted(cell for number, cell in wanted[:MAX_CHIPS] if number == index)
            if cells:
                with self.open_scene(run.uri) as scene:
                    chips += [self._chip(question, run, scene, Cell(*cell)) for cell in cells]
        return chips, max(len(wanted) - MAX_CHIPS, 0)

    def _chip(self, question: str, run: Looked, scene: Scene, cell: Cell) -> _Chip:
        prior = Prior.absent()
        if self.prior is not None:
            prior = self.prior.prior(scene.geometry, cell.chip_origin_px, scene.name.start)
        inside = _inside(run.seen, cell)
        places = tuple(Place(_box_in_chip(seen, cell), seen.label) for seen in inside)
        request = replace(
            request_for(scene, cell, prior),
            task=TASK,
            known=places,
            question=question,
            dates=(run.acquired.date().isoformat(),),
        )
        return _Chip(run, cell, inside, request)


@dataclass(frozen=True)
class _Chip:
    """One chip that is asked about, and the detections that its ordinals name."""

    run: Looked
    cell: Cell
    inside: tuple[Seen, ...]
    request: Request

    @property
    def provenance(self) -> dict[str, Any]:
        return {
            "run": self.run.run_id,
            "product": self.run.product,
            "cell": [self.cell.row, self.cell.col],
            "sha256": hashlib.sha256(self.request.chips[0].tobytes()).hexdigest(),
            "prior": self.request.priors[0].status,
            "detections": [seen.id for seen in self.inside],
        }


@dataclass(frozen=True)
class _Reply:
    """How a question ended."""

    runs: list[str]
    facts: dict[str, Any]
    refusal: Refusal | None = None
    answer: str | None = None
    cited: tuple[Seen, ...] = ()
    chips: tuple[_Chip, ...] = ()
    chip_answers: tuple[dict[str, Any], ...] = ()
    engine: tuple[str | None, str | None] = (None, None)

    def columns(self) -> dict[str, Any]:
        refused = self.refusal
        return {
            "state": "refused" if refused else "answered",
            "answer": self.answer,
            "refusal": refused.name if refused else None,
            "reason": refused.sentence.replace("\0", "") if refused else None,
            "cited": [seen.id for seen in self.cited],
            "inputs": [chip.provenance for chip in self.chips],
            "runs": self.runs,
            "bundle": self.engine[0],
            "backend": self.engine[1],
            "details": {
                "facts": self.facts,
                "chips": list(self.chip_answers),
                "cited": [_cited(seen).model_dump(by_alias=True) for seen in self.cited],
            },
        }


def _compose(
    runs: list[str],
    facts: dict[str, Any],
    chips: Sequence[_Chip],
    answers: Sequence[Answer],
    engine: tuple[str | None, str | None],
) -> _Reply:
    """Put the answers about chips together: each stands by its place, nothing is summed or concluded."""
    lines: list[str] = []
    cited: dict[str, Seen] = {}
    kept = []
    for chip, answer in zip(chips, answers, strict=True):
        words = answer.text.partition("\n")[2].strip() if answer.text != REFUSAL else ""
        kept.append({"text": answer.text, "outcome": answer.outcome, "tokens": answer.tokens})
        if not words:
            continue
        named = [chip.inside[ordinal - 1] for ordinal in answer.cites]
        cited.update((seen.id, seen) for seen in named)
        ending = " (broken off)" if answer.outcome == "saturated" else ""
        lines.append(f"{_place(chip)}: {words}{ending}" if len(chips) > 1 else f"{words}{ending}")
    refusal = None if lines else Refusal("images_cannot_show")
    return _Reply(
        runs,
        facts,
        refusal,
        "\n".join(lines) or None,
        tuple(cited.values()),
        tuple(chips),
        tuple(kept),
        engine,
    )


def _looked(session: Session, scope: Scope) -> list[Looked]:
    if scope.detection is not None:
        return questions.of_detection(session, scope.detection)
    if scope.scene is not None:
        return questions.of_scene(session, scope.scene)
    return questions.of_area(session, scope.area or {})


def _nothing(scope: Scope, looked: Sequence[Looked]) -> Refusal | None:
    if not looked:
        return Refusal("not_looked_at" if scope.area is not None else "not_found")
    if any(run.chosen for run in looked):
        return None
    smallest = max((run.smallest_ship_m for run in looked if run.smallest_ship_m), default=None)
    bound = f"A ship of {smallest:.0f} m and more would have been, with probability 0.9." if smallest else ""
    return Refusal("nothing_seen", bound)


def _facts(looked: Sequence[Looked]) -> dict[str, Any]:
    """Return what the store knows of the scope: counted, not asked of the engine."""
    chosen = [seen for run in looked for seen in run.chosen]
    if not looked:
        return {}
    return {
        "detections": dict(sorted(Counter(seen.label for seen in chosen).items())),
        "ais": dict(sorted(Counter(seen.ais for seen in chosen if seen.ais).items())),
        "longest_m": max((round(seen.length_m, 1) for seen in chosen), default=None),
        "acquired": [run.acquired.isoformat().replace("+00:00", "Z") for run in looked],
    }


def _surest(run: Looked, cell: tuple[int, int]) -> float:
    return max(seen.score for seen in run.chosen if seen.cell == cell)


def _inside(seen: Sequence[Seen], cell: Cell) -> tuple[Seen, ...]:
    """Return what stands in a chip, in reading order; the surest where there are more than can be named."""
    line, sample = cell.chip_origin_px
    found = [
        s
        for s in seen
        if -0.5 <= s.line_px - line < CHIP_PX - 0.5 and -0.5 <= s.sample_px - sample < CHIP_PX - 0.5
    ]
    own = [s for s in found if s.cell == (cell.row, cell.col) or cell_of(s.line_px, s.sample_px) == cell]
    others = [s for s in found if s not in own]
    surest = [*sorted(own, key=lambda s: (-s.score, s.id)), *sorted(others, key=lambda s: (-s.score, s.id))]
    return tuple(sorted(surest[:MAX_PLACES], key=lambda s: (s.line_px, s.sample_px, s.id)))


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


def _place(chip: _Chip) -> str:
    """Name a chip by its surest detection."""
    own = max(chip.inside, key=lambda s: (s.score, s.id))
    return f"{abs(own.lat_deg):.3f}{'NS'[own.lat_deg < 0]} {abs(own.lon_deg):.3f}{'EW'[own.lon_deg < 0]}"


def _cited(seen: Seen) -> Cited:
    return Cited.model_validate(
        {
            "id": seen.id,
            "class": seen.label,
            "lon_deg": seen.lon_deg,
            "lat_deg": seen.lat_deg,
            "length_m": seen.length_m,
            "score": seen.score,
        }
    )


def _given(kept: Question) -> AnswerGiven:
    return AnswerGiven.model_validate(
        {
            "question_id": kept.id,
            "state": kept.state,
            "answer": kept.answer,
            "refusal": kept.refusal,
            "reason": kept.reason,
            "cited": kept.details["cited"],
            "runs": kept.runs,
            "bundle": kept.bundle,
            "backend": kept.backend,
            "facts": kept.details["facts"],
            "asked": kept.asked,
            "answered": kept.recorded or now(),
        }
    )
