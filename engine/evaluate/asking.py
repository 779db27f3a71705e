"""Asks an engine every question of some items, as they are and under the controls."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from engine.errors import InputError
from engine.evaluate.controls import CONTROLS
from engine.evaluate.items import Item
from engine.runtime.text import Answer, Request

AS_IS = "as_is"
# What a control is asked: the tasks in which a prior or an image could matter most.
CONTROLLED = ("detection", "counting", "localisation", "landcover", "change")


class Asks(Protocol):
    """What this module needs of ``engine.runtime.predictor.Predictor``."""

    def ask(  # noqa: D102
        self, requests: Sequence[Request], progress: Callable[[int], None] | None = None
    ) -> list[Answer]: ...


@dataclass
class Answered:
    """Items and what was answered to them.

    Attributes:
        items: what was asked about.
        answers: by control (or AS_IS) and task: one answer an item, None where it has no such question.
        changed: by control: the items that it changed; the others' answers are taken over.
    """

    items: list[Item] = field(default_factory=list)
    answers: dict[tuple[str, str], list[Answer | None]] = field(default_factory=dict)
    changed: dict[str, set[int]] = field(default_factory=dict)

    @property
    def sites(self) -> list[str]:
        """Site of each item; an item of no known site is its own."""
        return [item.site or f"item {index}" for index, item in enumerate(self.items)]

    def asked(self, task: str, control: str = AS_IS) -> list[tuple[int, Item, str, Answer]]:
        """Return index, item, right answer and answer of every question of a task."""
        given = self.answers.get((control, task), [])
        found = []
        for index, (item, answer) in enumerate(zip(self.items, given, strict=False)):
            ask = item.ask(task)
            if answer is not None and ask is not None:
                found.append((index, item, ask.answer, answer))
        return found


def ask(
    engine: Asks,
    items: Sequence[Item],
    tasks: Collection[str],
    controls: Collection[str] = tuple(CONTROLS),
    progress: Callable[[int], None] | None = None,
) -> Answered:
    """Ask about items, as they are and under controls.

    Args:
        engine: who is asked.
        items: what about.
        tasks: tasks that the engine knows.
        controls: names in CONTROLS.
        progress: called with the number of answers that came.

    Raises:
        InputError: no such control.
    """
    unknown = set(controls) - set(CONTROLS)
    if unknown:
        raise InputError(f"got controls {sorted(unknown)}, expected some of {sorted(CONTROLS)}")
    out = Answered(list(items))
    for task in sorted({each.task for item in items for each in item.asks} & set(tasks)):
        out.answers[AS_IS, task] = _all(engine, items, task, {}, progress)
    for name in controls:
        changed = CONTROLS[name](items)
        if not changed:
            continue
        out.changed[name] = set(changed)
        for task in CONTROLLED:
            own = out.answers.get((AS_IS, task))
            if own is not None:
                out.answers[name, task] = _all(engine, items, task, changed, progress, own)
    return out


def _all(
    engine: Asks,
    items: Sequence[Item],
    task: str,
    changed: Mapping[int, Item],
    progress: Callable[[int], None] | None,
    own: Sequence[Answer | None] | None = None,
) -> list[Answer | None]:
    """Answers to a task; where ``own`` is given, only the changed items are asked about."""
    out: list[Answer | None] = [None] * len(items) if own is None else list(own)
    places = [i for i, item in enumerate(items) if item.ask(task) and (own is None or i in changed)]
    requests = []
    for index in places:
        item = items[index]
        question = item.ask(task)
        if question is not None:
            other = changed.get(index, item)
            requests.append(item.request(question, other.chips, other.priors))
    for index, answer in zip(places, engine.ask(requests, progress) if requests else [], strict=True):
        out[index] = answer
    return out
