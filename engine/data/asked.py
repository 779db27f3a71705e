"""Questions by themselves, without an image: what the reader of questions learns from.

A template is drawn as in ``phrases``; here no scene stands behind it, so that every slot is drawn freely, and
what a question means (its reading) is known from how it was drawn.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from engine.data import phrases, spoken, unanswerable, wordings
from engine.runtime.lexicon import FILTERS, LISTED
from engine.runtime.marking import Bound
from engine.runtime.reading import LISTING, OTHER, REFUSED, Reading
from engine.runtime.text import LABELS, MAX_PLACES

_BOUNDS = {  # words that compare: longer, strict
    "longer": (True, True), "at_least": (True, False), "shorter": (False, True), "at_most": (False, False),
}  # fmt: skip
_OF = {"shorter": "longer", "shortest": "longest"}  # intents that share templates
_PARTS = {**wordings.PARTS, **spoken.GEOGRAPHY}
PEOPLE = Path(__file__).with_name("people.json")  # templates by person and intent
LABELLED = (*FILTERS, "beyond", *LISTED)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question and what it means; None: it is not to be understood."""

    text: str
    intent: str
    reading: Reading | None


@cache
def people() -> dict[str, dict[str, list[str]]]:
    """Return the templates of people who each ask in a way of their own, by person and intent."""
    return dict(json.loads(PEOPLE.read_text()))


def templates(without: Collection[str] = ()) -> dict[str, tuple[str, ...]]:
    """Return the templates of every intent, of what is refused and of what is not understood, each once.

    Args:
        without: people whose templates are left out.
    """
    found: dict[str, list[str]] = {}
    for table in (wordings.CHIP, spoken.CHIP, wordings.PAIR, spoken.PAIR):
        for intent, texts in table.items():
            found.setdefault(intent, []).extend(texts)
    found["describe"] = list(spoken.DESCRIBE)
    refused = [*unanswerable.OF_ONE.values(), *unanswerable.OF_TWO.values(), spoken.SMALL_TALK]
    found[REFUSED] = [text for texts in refused for text in texts]
    found[OTHER] = list(spoken.OTHER)
    for name, tables in people().items():
        for intent, said in tables.items() if name not in without else ():
            found[intent].extend(said)
    for other, intent in _OF.items():
        found[other] = found[intent]
    return {intent: tuple(dict.fromkeys(texts)) for intent, texts in found.items()}


def draw(chosen: Mapping[str, Sequence[str]], each: int, rng: np.random.Generator) -> Iterator[Asked]:
    """Draw questions.

    Args:
        chosen: templates by intent.
        each: how many of each template.
        rng: draws.
    """
    for intent, texts in chosen.items():
        for template in texts:
            for _ in range(each):
                yield _drawn(intent, template, rng)


def _drawn(intent: str, template: str, rng: np.random.Generator) -> Asked:
    label = _one((*LABELS, "ship", "object"), rng)
    side = _one(tuple(_PARTS), rng)
    name = _one([key for key, (longer, _) in _BOUNDS.items() if longer != (intent == "shorter")], rng)
    place, metres = int(rng.integers(1, MAX_PLACES + 1)), int(rng.integers(20, 351))
    given: phrases.Given = {
        **unanswerable.WORDS,
        **spoken.TABLES,
        "one": wordings.ONE[label],
        "many": wordings.MANY[label],
        "part": _PARTS[side],
        "side": side,
        "bound": wordings.TABLES[name],
        "with_bound": wordings.TABLES[f"with_{name}"],
        "most": wordings.TABLES["shortest" if intent == "shortest" else "longest"],
        "n": str(metres),
        "k": str(place),
    }
    text = phrases.worded(template, given, rng)
    if intent == OTHER:
        return Asked(text, intent, None)
    bounded = "bound}" in template
    parts = (side,) if "{part}" in template or "{side}" in template else ()
    return Asked(
        text,
        intent,
        Reading(
            intent,
            1.0,
            _label(template, label, intent),
            Bound(float(metres), *_BOUNDS[name]) if bounded else None,
            parts,
            place if "{k}" in template and intent != REFUSED else None,
        ),
    )


def _label(template: str, drawn: str, intent: str) -> str | None:
    """Return the class that a template names; None where it names none, or none is needed."""
    if intent not in LABELLED:
        return None
    if "{one}" in template or "{many}" in template:
        return drawn
    if "{ship" in template or "a ship" in template:
        return "ship"
    return "object" if re.search(r"\{object|contact|detection|blip|\bthing\b", template) else None


def _one(values: Sequence[str], rng: np.random.Generator) -> str:
    return values[int(rng.integers(len(values)))]


def agree(found: Reading | None, true: Reading | None) -> bool:
    """Whether a question was read as it was meant; a class that an intent does not need is not compared."""
    if found is None or true is None:
        return found is true
    if found.intent != true.intent and not (found.intent in LISTING and true.intent in LISTING):
        return found.intent == "count_second" and true.intent == "count"  # "now", where nothing came before
    same = (found.bound, found.parts, found.place) == (true.bound, true.parts, true.place)
    if found.intent in LISTED:
        return same and (found.label or "ship") == (true.label or "ship")
    return found.intent == REFUSED or same and (found.intent not in LABELLED or found.label == true.label)
