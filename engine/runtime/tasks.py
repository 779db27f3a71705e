"""What a task's answers look like: which grammar writes them, and what becomes of the text.

The kinds are those of ``engine.runtime.spec.TaskSpec.answer``.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engine.errors import ArtifactError, InputError
from engine.runtime import forms
from engine.runtime.closed import ClosedGrammar, Words, change_grammar, choice_grammar, question_grammar
from engine.runtime.grammar import DetectionGrammar, Grammar, TextGrammar
from engine.runtime.prior import Prior
from engine.runtime.spec import Calibration, Manifest, TaskSpec
from engine.runtime.text import (
    MAX_PLACES,
    Answer,
    AnswerObject,
    Place,
    PlaceChange,
    Request,
    parse_detections,
    prompt,
)
from engine.runtime.writing import Writing

_FEWEST_WORDS = 8  # tokens that must be left for the words behind a closed line


class Tasks:
    """The tasks of a bundle.

    Args:
        manifest: the bundle's.
        tokenizer: its ``tokenizers.Tokenizer``.

    Raises:
        ArtifactError: the tokenizer cannot write a task's answers, or too few tokens are allowed for one.
    """

    def __init__(self, manifest: Manifest, tokenizer: Any) -> None:
        self._manifest = manifest
        self._tokenizer = tokenizer
        self._grammars: dict[tuple[str, int], Grammar] = {}
        self._words: dict[str, Words] = {}
        for name in manifest.tasks:
            self._grammar(name, 0)

    def prompt(self, request: Request) -> str:
        """Return a request's prompt.

        Raises:
            InputError: the bundle has no such task, or the request is not one of it.
        """
        manifest = self._manifest
        spec = manifest.tasks.get(request.task)
        if spec is None:
            raise InputError(f"got task {request.task!r}, bundle has {sorted(manifest.tasks)}")
        if spec.answer == "change" and len(request.chips) != 2:
            raise InputError(f"got {len(request.chips)} chips for task {request.task!r}, expected two")
        if spec.answer == "class" and len(request.known) != 1:
            raise InputError(f"got {len(request.known)} known places for task {request.task!r}, expected one")
        if any(prior.years != manifest.prior_years for prior in request.priors):
            years = [prior.years for prior in request.priors]
            raise InputError(f"got priors of {years} years, expected {manifest.prior_years}: the bundle's")
        tokens = [manifest.chip.tokens] * len(request.chips)
        scale = manifest.chip.enlarged_px / manifest.chip.size_px
        return prompt(request, tokens, spec.question, scale, manifest.system)

    def longest_prompt(self) -> int:
        """Return the tokens of the longest prompt: with two images or many places, where a task has them."""
        manifest = self._manifest
        chip = np.zeros((3, manifest.chip.size_px, manifest.chip.size_px), np.uint8)
        texts = [
            self.prompt(example(task, spec, (chip,), (Prior.absent(),), sensor))
            for task, spec in manifest.tasks.items()
            for sensor in manifest.sensors
        ]
        return max(len(self._tokenizer.encode(text, add_special_tokens=False).ids) for text in texts)

    def begin(self, request: Request) -> Writing:
        """Return the answer to a request, not yet begun.

        Raises:
            InputError: the request knows more places than an answer has room for.
        """
        spec = self._manifest.tasks[request.task]
        places = len(request.known) if spec.answer in ("change", "question") else 0
        grammar = self._grammar(request.task, places)
        room = grammar.object_tokens if isinstance(grammar, DetectionGrammar) else 0
        manifest = self._manifest
        return Writing(
            grammar,
            manifest.score_floor,
            spec.max_tokens,
            room,
            coordinates=manifest.score_coordinates,
            odds=manifest.score_odds,
        )

    def answer(self, request: Request, writing: Writing) -> Answer:
        """Return an answer that is written."""
        spec = self._manifest.tasks[request.task]
        calibration = spec.calibration or self._manifest.calibration
        text = writing.grammar.text(writing.tokens)
        facts: dict[str, Any] = {}
        if spec.answer == "detections":
            facts = {"objects": self._objects(text, writing, calibration)}
        elif spec.answer == "change":
            facts = _change(text, writing, len(request.known), calibration)
        elif spec.answer == "question":
            facts = {"cites": forms.parse_question(text, len(request.known))[0]}
        elif spec.answer != "text":
            # a calibration of objects says nothing of a closed answer: only the task's own is applied
            facts = {"score": (spec.calibration or Calibration()).apply(math.exp(writing.log_chance))}
        outcome: Literal["saturated", "complete"] = "saturated" if writing.saturated else "complete"
        return Answer(text, outcome=outcome, tokens=len(writing.tokens), **facts)

    def _objects(self, text: str, writing: Writing, calibration: Calibration) -> tuple[AnswerObject, ...]:
        scale = self._manifest.chip.size_px / self._manifest.chip.enlarged_px
        found = zip(parse_detections(text), map(calibration.apply, writing.scores), strict=True)
        return tuple(AnswerObject(chip_box(box, scale), label, score) for (label, box), score in found)

    def _grammar(self, task: str, places: int) -> Grammar:
        if (task, places) not in self._grammars:
            self._grammars[task, places] = self._new_grammar(task, places)
        return self._grammars[task, places]

    def _new_grammar(self, task: str, places: int) -> Grammar:
        spec, tokenizer = self._manifest.tasks[task], self._tokenizer
        grammar: Grammar
        if spec.answer == "text":
            return TextGrammar(tokenizer)
        if spec.answer == "detections":
            grammar = DetectionGrammar(tokenizer, spec.labels, self._manifest.chip.enlarged_px, spec.empty)
            least = grammar.object_tokens + 2
        else:
            grammar = self._closed(spec, places)
            words = spec.answer in ("change", "question")
            least = grammar.closed_tokens + 1 + (_FEWEST_WORDS if words else 0)
        if spec.max_tokens < least:
            asked = f"task {task!r}" + (f" with {places} known places" if places else "")
            message = f"got max_tokens {spec.max_tokens} for {asked}, expected {least} or more"
            if places:
                raise InputError(f"{message}: ask about fewer places at once")
            raise ArtifactError(message)
        return grammar

    def _closed(self, spec: TaskSpec, places: int) -> ClosedGrammar:
        if spec.answer == "count":
            return choice_grammar(self._tokenizer, [str(count) for count in range(forms.MAX_COUNT + 1)])
        if spec.answer == "cells":
            return choice_grammar(self._tokenizer, forms.every_cells_text())
        if spec.answer not in ("change", "question"):
            return choice_grammar(self._tokenizer, spec.labels)
        if spec.answer not in self._words:
            self._words[spec.answer] = Words(self._tokenizer, one_sentence=spec.answer == "change")
        make = change_grammar if spec.answer == "change" else question_grammar
        return make(self._tokenizer, places, self._words[spec.answer])


def _change(text: str, writing: Writing, places: int, calibration: Calibration) -> dict[str, Any]:
    read = forms.parse_change(text, places)
    changes = []
    for ordinal, (change, chances) in enumerate(zip(read.changes, writing.chances, strict=True), start=1):
        score = calibration.apply(chances[change])
        # what the calibration gives to, or takes from, the change that is told, the others share
        rest = (1 - score) / max(1 - chances[change], 1e-12)
        told = {name: score if name == change else chance * rest for name, chance in chances.items()}
        changes.append(PlaceChange(ordinal, change, score, tuple(told[each] for each in forms.CHANGES)))
    return {"places": tuple(changes), "counts": (read.before, read.after)}


def chip_box(box: Any, scale: float) -> tuple[float, float, float, float]:
    """Scale a box from the enlarged chip to the chip as cut; edges in ascending order."""
    x1, y1, x2, y2 = (float(value) * scale for value in box)
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


def example(
    task: str,
    spec: TaskSpec,
    chips: tuple[NDArray[np.uint8], ...],
    priors: tuple[Prior, ...],
    sensor: str,
    apart: bool = False,
) -> Request:
    """Return a request of a task about a chip, or two where it needs two.

    The longest prompt has this form, with as many places as the task takes.

    Args:
        task: its name.
        spec: what the manifest says of it.
        chips: one or more; the first ones are used.
        priors: of each.
        sensor: as the prompt states it.
        apart: ask about three places that lie apart instead, as golden answers do: two dozen at one spot are
            told apart by rounding alone.
    """
    images = 2 if spec.answer == "change" else 1
    places = {"change": MAX_PLACES, "question": MAX_PLACES, "class": 1}.get(spec.answer, 0)
    far = float(chips[0].shape[-1])  # the longest prompt has three digits everywhere
    box = (far - 16, far - 16, far - 4, far - 4)
    known = (Place(box, "ship", "before" if images == 2 else ""),) * places
    if apart:
        spots = [(far * share - 6, far * share + 6) for share in (0.25, 0.5, 0.75)][:places]
        known = tuple(Place((low, low, high, high), "ship") for low, high in spots)
    return Request(
        task,
        (chips * images)[:images],
        (priors * images)[:images],
        sensor=sensor,
        known=known,
        question="What is to be seen here?" if spec.answer == "question" and not spec.question else None,
        dates=("2023-12-28", "2024-01-09")[:images],
    )
