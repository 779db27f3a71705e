"""An engine on the change benchmark, and the controls of its answers.

- images swapped: the question stays, the images change places. Right is then the reverse; who keeps the old
  answer did not look at the order;
- before or after withheld: one image is blank. What is still right was not seen;
- same image twice: nothing can have come or gone. What is said to have is invented.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from engine.data.simulated import SENSOR, SPACING_M
from engine.evaluate.benchmark import parsed
from engine.evaluate.benchmark_command import agreement
from engine.evaluate.change import ChangeAnswer
from engine.evaluate.detection import things
from engine.evaluate.metrics import Thing
from engine.evaluate.pairwise import PairQuestion, Pixels
from engine.runtime.predictor import Predictor
from engine.runtime.prior import Prior
from engine.runtime.text import Place, Request

_REVERSE = {"appeared": "gone", "gone": "appeared"}
_FIRST = date(2024, 3, 1)  # the pairs have no date of their own: only the days between them count
_CAME_OR_WENT = ("appeared", "gone")


@dataclass
class Asker:
    """A predictor that is asked about pairs.

    Attributes:
        predictor: the engine.
    """

    predictor: Any

    @property
    def knows_change(self) -> bool:
        """Whether the bundle was trained on change questions."""
        return "change" in self.predictor.bundle.manifest.tasks

    def ask(
        self,
        questions: Sequence[PairQuestion],
        images: Callable[[PairQuestion], tuple[Pixels, Pixels]],
        progress: Callable[[int], None] | None = None,
    ) -> list[ChangeAnswer | None]:
        """Answer the questions about the images that a control chooses."""
        requests = [
            Request(
                "change",
                images(question),
                (Prior.absent(), Prior.absent()),
                sensor=SENSOR,
                spacing_m=SPACING_M,
                known=places(question),
                dates=(_FIRST.isoformat(), (_FIRST + timedelta(days=question.days)).isoformat()),
            )
            for question in questions
        ]
        answers = self.predictor.ask(requests, progress)
        return [parsed(answer.text, question) for answer, question in zip(answers, questions, strict=True)]

    def detect(self, chip: Pixels) -> list[Thing]:
        """Return what the engine finds in one image alone."""
        (answer,) = self.predictor.ask([Request("detection", (chip,), (Prior.absent(),), sensor=SENSOR)])
        return things(answer)


def places(question: PairQuestion) -> tuple[Place, ...]:
    """Return a question's places as a request knows them."""
    labels = question.labels or ("",) * len(question.boxes)
    return tuple(
        Place(box, label, seen)  # type: ignore[arg-type]
        for box, label, seen in zip(question.boxes, labels, question.seen, strict=True)
    )


def open_asker(bundle: Path, threads: int | None = None) -> Asker:
    """Open a bundle to be asked about pairs."""
    return Asker(Predictor.open(bundle, threads=threads))


def ask_pairs(
    asker: Asker, questions: Sequence[PairQuestion], progress: Callable[[int], None] | None = None
) -> tuple[list[ChangeAnswer | None], dict[str, Any]]:
    """Return an engine's answers, and its controls' figures."""
    blank = np.zeros_like(questions[0].chips[0]) if questions else np.zeros((3, 1, 1), np.uint8)
    own = asker.ask(questions, lambda q: q.chips, progress)
    swapped = asker.ask(questions, lambda q: (q.chips[1], q.chips[0]), progress)
    no_before = asker.ask(questions, lambda q: (blank, q.chips[1]), progress)
    no_after = asker.ask(questions, lambda q: (q.chips[0], blank), progress)
    twice = asker.ask(questions, lambda q: (q.chips[1], q.chips[1]), progress)

    def same(word: str, true: str) -> bool:
        return word == true

    def reversed_(word: str, true: str) -> bool:
        return word == _REVERSE.get(true, true)

    figures = {
        "images swapped": agreement(swapped, questions, reversed_, "places right for the swapped order"),
        "images swapped, old answer": agreement(
            swapped, questions, same, "places answered as if not swapped"
        ),
        "before withheld": agreement(no_before, questions, same, "places right"),
        "after withheld": agreement(no_after, questions, same, "places right"),
        "same image twice": agreement(
            twice, questions, lambda word, _: word in _CAME_OR_WENT, "places said to have changed (wrong)"
        ),
    }
    return own, figures
