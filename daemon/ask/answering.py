"""A question to its end, kept either way: refused by rule, else read, else asked of the engine.

What is understood is answered from what was said and measured of all detections in the scope (``closed``);
only what an engine can add, what one thing is and what a chip looks like, is asked anew. What is not
understood goes to the engine where its bundle knows the task, else it is refused.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy.orm import Session

from engine.errors import BackendError, DeviceLost, InputError
from engine.runtime.predictor import Predictor
from engine.runtime.reading import REFUSED, Reading, read, shipped

from ..errors import SceneError, SourceUnavailable
from ..messages import now
from ..prior import PriorIndex
from ..scene.product import Scene, open_scene
from ..store import questions
from ..store.question_tables import Question
from ..store.questions import Compared, Looked, Seen
from ..store.session import Store
from .asking import MAX_CHIPS, Asker, Said
from .closed import Told, ground, needs_changes, told
from .messages import AnswerGiven, Cited, QuestionAsked, Scope
from .refusals import Refusal, by_rule

__all__ = ["MAX_CHIPS", "Answerer"]

log = logging.getLogger(__name__)

TASK = "question"
MAX_CITED = 500  # detections that a message names in full; the table names all


@dataclass(frozen=True)
class Answerer:
    """Who answers: the reader, and the engine with the prior it is asked with."""

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
        reading = read(asked.text)
        # what changed, and whether it is to be worked out anew, as of one moment
        with store.transaction(snapshot=True) as session:
            known = questions.find(session, asked.question_id)
            if known is not None:
                return _given(known)
            looked = _looked(session, asked.scope)
            compared = None
            if reading is not None and needs_changes(reading):
                compared = questions.compared(session, [run.run_id for run in looked])
        reply = self._reply(asked, looked, reading, compared)
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

    def _reply(
        self,
        asked: QuestionAsked,
        looked: Sequence[Looked],
        reading: Reading | None,
        compared: Compared | None,
    ) -> _Reply:
        empty = _Reply(
            [run.run_id for run in looked],
            _facts(looked),
            engine=(next((run.bundle for run in looked), None), next((run.backend for run in looked), None)),
            reading=_provenance(reading),
        )
        refusal = by_rule(asked.text) or _not_looked(asked.scope, looked)
        if refusal is not None:
            return replace(empty, refusal=refusal, engine=(None, None))
        try:
            if reading is None:
                return self._free(empty, asked, looked)
            if reading.intent == REFUSED:
                return replace(empty, refusal=Refusal("images_cannot_show"))
            if reading.intent == "describe":
                return self._described(empty, looked)
            given = told(reading, asked.scope, looked, compared)
            if isinstance(given, Refusal):
                return replace(empty, refusal=given)
            if reading.intent == "what":
                return self._classified(empty, asked.scope, looked, given)
            return replace(empty, answer=given.words, cited=given.cited)
        except (SceneError, SourceUnavailable) as error:
            return replace(empty, refusal=Refusal("no_pixels", f"({error})"))
        except InputError as error:  # a sensor or a number of places that the bundle was not made for
            return replace(empty, refusal=Refusal("engine_cannot", f"({error})"))
        except DeviceLost:
            raise
        except BackendError as error:  # kept as it ended: who wants to know asks again
            return replace(empty, refusal=Refusal("engine_failed", f"({error})"))

    @property
    def _asker(self) -> Asker:
        return Asker(self.predictor, self.prior, self.open_scene)

    def _free(self, empty: _Reply, asked: QuestionAsked, looked: Sequence[Looked]) -> _Reply:
        """Ask the engine the question as it is, where it was trained to read one."""
        if not self._asker.knows(TASK):
            return replace(empty, refusal=Refusal("not_understood"))
        if not any(run.chosen for run in looked):
            return replace(empty, refusal=Refusal("nothing_seen", ground(looked)))
        return self._said(empty, *self._asker.free(asked.text, looked))

    def _described(self, empty: _Reply, looked: Sequence[Looked]) -> _Reply:
        """Ask the engine what each chip looks like."""
        if not self._asker.knows("description"):
            bundle = self.predictor.bundle
            why = f"(bundle {bundle.manifest.name} {bundle.bundle_id} has no task 'description')"
            return replace(empty, refusal=Refusal("engine_cannot", why))
        if not any(run.chosen for run in looked):
            return replace(empty, refusal=Refusal("nothing_seen", ground(looked)))
        said, left_out = self._asker.describe(looked)
        more = f"Described are the chips of detections alone, {left_out} left out. " if left_out else ""
        return self._said(empty, replace(said, words=f"{said.words}\n{more}{ground(looked)}"), left_out)

    def _classified(self, empty: _Reply, scope: Scope, looked: Sequence[Looked], given: Told) -> _Reply:
        """Ask the engine anew what one thing is, and say both where that differs from what was said."""
        stored = replace(empty, answer=given.words, cited=given.cited)
        if not self._asker.knows("classification"):
            return stored
        (it,) = given.cited
        run = next(run for run in looked if it in run.chosen)
        first = f"It is a {it.label} (score {it.score:.2f})"
        try:
            label, score, said = self._asker.classify([run.choose([it])])
        except (SceneError, SourceUnavailable, InputError) as error:
            words = f"{first}, as the scene was read; its pixels could not be asked anew ({error})."
            return replace(stored, answer=f"{words} {ground(looked)}")
        sure = f" ({score:.2f})" if score is not None else ""
        also = f"{first}; asked about it alone, the engine says {label} again{sure}."
        if label != it.label:
            kind = "no object, but clutter" if label == "clutter" else f"a {label}"
            alone = f"asked about it alone, the engine says it is {kind}{sure}: take neither for certain."
            also = f"{first}, as the scene was read; {alone}"
        reply = self._said(stored, replace(said, words=f"{also} {ground(looked)}"), 0)
        return replace(reply, cited=given.cited)

    def _said(self, empty: _Reply, said: Said, left_out: int) -> _Reply:
        facts = {**empty.facts, "chips_not_asked": left_out} if left_out else empty.facts
        return replace(
            empty,
            facts=facts,
            refusal=None if said.words else Refusal("images_cannot_show"),
            answer=said.words,
            cited=said.cited,
            chips=tuple(chip.provenance for chip in said.chips),
            chip_answers=said.answers,
            engine=(self.predictor.bundle.bundle_id, self.predictor.backend.name),
        )


@dataclass(frozen=True)
class _Reply:
    """How a question ended."""

    runs: list[str]
    facts: dict[str, Any]
    refusal: Refusal | None = None
    answer: str | None = None
    cited: tuple[Seen, ...] = ()
    chips: tuple[dict[str, Any], ...] = ()
    chip_answers: tuple[dict[str, Any], ...] = ()
    engine: tuple[str | None, str | None] = (None, None)  # of what was said, anew or when the scene was read
    reading: dict[str, Any] | None = None

    def columns(self) -> dict[str, Any]:
        refused = self.refusal
        facts = dict(self.facts)
        if len(self.cited) > MAX_CITED:
            facts["cited"] = len(self.cited)
        return {
            "state": "refused" if refused else "answered",
            "answer": self.answer,
            "refusal": refused.name if refused else None,
            "reason": refused.sentence.replace("\0", "") if refused else None,
            "cited": [seen.id for seen in self.cited],
            "inputs": list(self.chips),
            "runs": self.runs,
            "bundle": self.engine[0],
            "backend": self.engine[1],
            "details": {
                "facts": facts,
                "chips": list(self.chip_answers),
                "cited": [_cited(seen).model_dump(by_alias=True) for seen in self.cited[:MAX_CITED]],
                "reading": self.reading,
            },
        }


def _provenance(reading: Reading | None) -> dict[str, Any] | None:
    """Return how a question was understood, and by which weights."""
    if reading is None:
        return None
    return {**asdict(reading), "probability": round(reading.probability, 4), "weights": shipped().digest}


def _looked(session: Session, scope: Scope) -> list[Looked]:
    if scope.detection is not None:
        return questions.of_detection(session, scope.detection)
    if scope.scene is not None:
        return questions.of_scene(session, scope.scene)
    return questions.of_area(session, scope.area or {})


def _not_looked(scope: Scope, looked: Sequence[Looked]) -> Refusal | None:
    if looked:
        return None
    return Refusal("not_looked_at" if scope.area is not None else "not_found")


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
            "reading": kept.details.get("reading"),
            "asked": kept.asked,
            "answered": kept.recorded or now(),
        }
    )
