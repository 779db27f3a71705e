"""Free questions answered as users get them: read, else asked of the engine where it knows the task.

Of one chip the places' true classes and lengths are given, so that the figures show whether the question was
understood. Of two, the engine is asked what became of each place, as the daemon's change unit asks it; beside
it stands the answer that the true changes give.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.errors import AnswerError
from engine.evaluate.asking import Asks
from engine.evaluate.wordings import Case, Subject
from engine.runtime.forms import REFUSAL, parse_change, question_line
from engine.runtime.image import CHIP_PX
from engine.runtime.lexicon import PAIR_INTENTS
from engine.runtime.reading import REFUSED, Reading, read
from engine.runtime.replies import PlaceKnown, Unanswerable, reply, thirds
from engine.runtime.text import QUESTIONS, Request

NOWHERE = "[]\n"  # an answer that says nothing: of a description, which no case asks for


@dataclass(frozen=True)
class Given:
    """What was answered to a case.

    Attributes:
        text: the answer, or the refusal.
        by_truth: the same by the true changes; of one chip the same.
        reading: how the question was understood; None where it was not.
        asked: whether the answer rests on an engine's look at the images.
    """

    text: str
    by_truth: str
    reading: Reading | None
    asked: bool


Became = tuple[tuple[str, ...], tuple[int, int]]


def answer(
    engine: Asks,
    cases: Sequence[Case],
    tasks: Sequence[str],
    blank: bool = False,
    progress: Callable[[int], None] | None = None,
) -> list[Given]:
    """Answer cases.

    Args:
        engine: who is asked, where it must be.
        cases: what is asked.
        tasks: that the engine knows.
        blank: withhold the images.
        progress: called with 1 after each case.
    """
    readings = [read(case.text) for case in cases]
    about = {
        id(c.subject): c for c, r in zip(cases, readings, strict=True) if r is not None and _of_two(c, r)
    }
    became: dict[int, Became | None] = {}
    if "change" in tasks:
        requests = [_change(case, blank) for case in about.values()]
        said = engine.ask(requests)
        became = {
            key: _became(each.text, len(request.known))
            for key, each, request in zip(about, said, requests, strict=True)
        }
    free = [n for n, reading in enumerate(readings) if reading is None and "question" in tasks]
    words = engine.ask([cases[n].request(blank) for n in free])
    by_engine = {n: each.text for n, each in zip(free, words, strict=True)}
    out = []
    for n, (case, reading) in enumerate(zip(cases, readings, strict=True)):
        if reading is None:
            text = by_engine.get(n, REFUSAL)
            out.append(Given(text, text, None, n in by_engine))
        elif _of_two(case, reading):
            truth = _said(reading, case.subject, (case.subject.changes, case.subject.ships))
            text = _said(reading, case.subject, became.get(id(case.subject)))
            out.append(Given(text, truth, reading, True))
        else:
            text = _said(reading, case.subject, None)
            out.append(Given(text, text, reading, False))
        if progress is not None:
            progress(1)
    return out


def _of_two(case: Case, reading: Reading) -> bool:
    return len(case.subject.chips) == 2 and reading.intent in PAIR_INTENTS


def _change(case: Case, blank: bool) -> Request:
    request = case.request(blank)
    return replace(request, task="change", question=QUESTIONS["change"])


def _became(text: str, places: int) -> Became | None:
    try:
        said = parse_change(text, places)
    except AnswerError:
        return None
    return said.changes, (said.before, said.after)


def _said(reading: Reading, subject: Subject, became: Became | None) -> str:
    """Answer from what is known of the places; the refusal where that does not answer it."""
    if reading.intent == REFUSED:
        return REFUSAL
    if reading.intent == "describe":
        return NOWHERE
    if reading.intent == "count_second" and len(subject.chips) == 1:
        reading = replace(reading, intent="count", label=reading.label or "ship")
    known = _known(subject)
    changes, counts = became or ((), None)
    known = [
        replace(place, change=change)
        for place, change in zip(known, changes or (None,) * len(known), strict=True)
    ]
    if reading.intent in PAIR_INTENTS and became is None:
        return REFUSAL
    found = reply(reading, known, counts, it=1 if len(known) == 1 else None)
    return REFUSAL if isinstance(found, Unanswerable) else question_line(found.cites) + found.words


def _known(subject: Subject) -> list[PlaceKnown]:
    """Return the places of one chip with their true classes and lengths; of two, their classes."""
    if not subject.targets:
        return [PlaceKnown(place.label) for place in subject.known]
    known = []
    for target in subject.targets:
        x1, y1, x2, y2 = np.clip(target.box_px, 0, CHIP_PX) / CHIP_PX
        cut = min(target.box_px) < 0 or max(target.box_px) > CHIP_PX
        parts = thirds(float(x1 + x2) / 2, float(y1 + y2) / 2)
        known.append(PlaceKnown(target.class_, target.length_m, None, cut, parts))
    return known
