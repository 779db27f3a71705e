"""Asks free questions in words not of training, and judges the answers by the truth, not by their form.

What is cited must be the very places; words must hold the number, the length or the meaning asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from engine.evaluate.asking import Asks
from engine.evaluate.bootstrap import RESAMPLES, difference, only, share
from engine.evaluate.questions import cited
from engine.evaluate.told import Given, answer
from engine.evaluate.wordings import Case, Right, chip_subjects, draw_cases, pair_subjects
from engine.runtime.forms import CHANGES, REFUSAL
from engine.runtime.reading import REFUSED
from engine.runtime.text import LABELS
from engine.simulate.chips import make_chips
from engine.simulate.pairs import make_pairs

SEED = 90_017  # of chips and pairs: frozen, no training used it
CHIPS, PAIRS = 600, 200
LENGTH_WITHIN = 0.2

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
            "twelve")  # fmt: skip
_VALUES = {**{word: n for n, word in enumerate(_NUMBERS)}, "none": 0, "zero": 0, "nothing": 0}
_LENGTH = re.compile(r"(\d+(?:\.\d+)?) ?(?:m|metres?|meters?)\b")
_NAMED = re.compile(
    r"\b(?:places?|images?|numbers?|contacts?) \d+(?:(?:, | and |, and )\d+)*|^(?:no|yes)[,.;:]"
)
_COUNT = re.compile(rf"\b(?:\d+|{'|'.join(_VALUES)})\b")
_MEANS = {
    "ship": r"\b(ship|vessel|boat)",
    "platform": r"\b(platform|rig\b)",
    "turbine": r"\b(turbine|windmill)",
    "cannot_tell": r"\b(can ?not|can't|unclear|not clear|uncertain|unknown|undecid|not sure)",
    "gone": r"\b(left|gone|depart|disappear|vanish|no longer|vacated)",
    "still_occupied": r"\b(still|stay|remain|unchanged|occupied|both images)",
    "appeared": r"\b(new|newly|appear|arriv|came|come)",
    "same": r"\b(same|as many|equal|unchanged|no change)\b",
    "fewer": r"\b(fewer|less|decreas|down\b|emptier)",
    "more": r"\b(more|increas|up\b|grew|grown|fuller|busier)",
}  # fmt: skip
# of a change "cannot be told whether it left" and of a trend "no more than before, as many": the first counts
_KINDS = (LABELS, ("cannot_tell", *CHANGES), ("same", "fewer", "more"))
_FIRST = ("cannot_tell", "same")


def counts_of(words: str) -> set[int]:
    """Return the counts that words hold, in digits or words: neither lengths nor places."""
    plain = _LENGTH.sub(" ", _NAMED.sub(" ", words.lower().strip()))
    return {int(each) if each.isdigit() else _VALUES[each] for each in _COUNT.findall(plain)}


def lengths_of(words: str) -> list[float]:
    """Return the lengths that words hold, in metres; a bare number is one where no other is."""
    found = [float(each) for each in _LENGTH.findall(words.lower())]
    return found or [float(each) for each in counts_of(words)]


def means(words: str, what: str) -> bool:
    """Whether words mean one thing and no other of its kind: a label, a change, a trend."""
    kind = next(kind for kind in _KINDS if what in kind)
    found = {each for each in kind if re.search(_MEANS[each], words.lower())}
    return what == next((each for each in _FIRST if each in found), None) or found == {what}


def judge(text: str, right: Right, places: int) -> tuple[bool, bool | None, bool | None]:
    """Judge an answer.

    Args:
        text: the answer.
        right: what is right.
        places: how many are known.

    Returns:
        Whether it refuses; whether it cites rightly; whether its words hold what they must. None where
        nothing is asked of them.
    """
    refuses = text.strip() == REFUSAL
    if right.refused:
        return refuses, None, None
    cites = cited(text, places)
    cited_right = None if right.cites is None else cites == right.cites
    words = text.partition("\n")[2] if cites is not None else ""
    checks = []
    if right.count is not None:
        checks.append(counts_of(words) == {right.count})
    if right.length_m is not None:
        near = [abs(each - right.length_m) <= LENGTH_WITHIN * right.length_m for each in lengths_of(words)]
        checks.append(bool(near) and all(near))
    if right.says is not None:
        checks.append(means(words, right.says))
    return refuses, cited_right, all(checks) if checks else None


def is_right(text: str, case: Case) -> bool:
    """Whether an answer is right in everything that is asked of it."""
    refuses, cites, words = judge(text, case.right, len(case.subject.known))
    return refuses == case.right.refused and cites is not False and words is not False


def draw(repeats: int, two: bool = True, progress: Callable[[int], None] | None = None) -> list[Case]:
    """Draw the frozen chips and pairs, and the questions about them.

    Args:
        repeats: how often each wording is asked.
        two: ask about pairs, too.
        progress: called with 1 after each chip or pair.
    """

    def tell(_: int) -> None:
        if progress is not None:
            progress(1)

    chips = chip_subjects(make_chips(CHIPS, SEED, progress=tell), SEED)
    pairs = pair_subjects(make_pairs(PAIRS, SEED, progress=tell), SEED) if two else []
    return draw_cases(chips, pairs, repeats)


def ask_cases(
    engine: Asks,
    cases: Sequence[Case],
    tasks: Sequence[str],
    controls: bool = True,
    progress: Callable[[int], None] | None = None,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """Answer cases as users get them (``told``), and return the figures.

    Args:
        engine: who is asked what cannot be answered without.
        cases: what is asked.
        tasks: that the engine knows.
        controls: ask again with the images withheld.
        progress: called with the number of answers that came.
        resamples: of the chips, for intervals.
    """
    given = answer(engine, cases, tasks, progress=progress)
    blank = None
    if controls:
        blank = [each.text for each in answer(engine, cases, tasks, True, progress)]
    return worded(cases, given, blank, resamples)


def worded(
    cases: Sequence[Case], given: Sequence[Given], blank: Sequence[str] | None, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """Return the figures of answers.

    Args:
        cases: what was asked.
        given: the answers.
        blank: those without images; None where nobody asked so.
        resamples: of the chips, for intervals.

    Returns:
        ``wordings``; ``all`` and ``by_intent``, each with ``right`` (everything), ``answered`` (the same, of
        what can be answered), ``understood`` (of that: the reader read it), ``by_truth`` (right by the true
        changes, of what was understood and can be answered), ``cites``, ``words`` (numbers, lengths,
        meanings), ``refused`` (of what must be), ``refused_wrongly`` (of what must not be); ``right`` of the
        intent's best constant answer (``majority``). Of answers that rest on an engine's look at the images
        besides ``looked``, ``image_withheld`` and their difference ``gain``.
    """
    texts = [each.text for each in given]
    judged = [
        judge(text, case.right, len(case.subject.known)) for text, case in zip(texts, cases, strict=True)
    ]
    must = np.array([case.right.refused for case in cases], np.bool_)
    refuses = np.array([each[0] for each in judged], np.bool_)
    read = np.array([each.reading is not None and each.reading.intent != REFUSED for each in given], np.bool_)
    asked = np.array([each.asked for each in given], np.bool_)
    truth = [is_right(each.by_truth, case) for each, case in zip(given, cases, strict=True)]
    columns = {
        "right": np.array([is_right(text, case) for text, case in zip(texts, cases, strict=True)], float),
        "understood": only(read, ~must),
        "by_truth": only(truth, read & ~must),
        "cites": _flags([each[1] for each in judged]),
        "words": _flags([each[2] for each in judged]),
        "refused": only(refuses, must),
        "refused_wrongly": only(refuses, ~must),
        "majority": _majority(cases),
    }
    columns["answered"] = only(columns["right"], ~must)
    if blank is not None:
        pairs = zip(blank, cases, strict=True)
        columns["looked"] = only(columns["right"], asked)
        columns["image_withheld"] = only([is_right(text, case) for text, case in pairs], asked)

    def part(chosen: np.ndarray[Any, Any]) -> dict[str, Any]:
        sites = [case.subject.name for case, one in zip(cases, chosen, strict=True) if one]
        found: dict[str, Any] = {
            name: share(each[chosen], resamples, sites=sites) for name, each in columns.items()
        }
        if blank is not None and (chosen & asked).any():
            both = chosen & asked
            sites = [case.subject.name for case, one in zip(cases, both, strict=True) if one]
            one, other = columns["looked"][both], columns["image_withheld"][both]
            found["gain"] = difference(one, other, resamples, sites=sites)
        return found

    intents = np.array([case.intent for case in cases])
    return {
        "wordings": len({(case.intent, case.wording) for case in cases}),
        "all": part(np.ones(len(cases), np.bool_)),
        "by_intent": {name: part(intents == name) for name in dict.fromkeys(intents.tolist())},
    }


def _flags(values: Sequence[bool | None]) -> np.ndarray[Any, Any]:
    return np.array([np.nan if each is None else float(each) for each in values])


def _majority(cases: Sequence[Case]) -> np.ndarray[Any, Any]:
    """Whether each case is answered rightly by the constant answer that suits most of its intent."""
    out = np.zeros(len(cases))
    for intent in {case.intent for case in cases}:
        own = [n for n, case in enumerate(cases) if case.intent == intent]
        texts = sorted({cases[n].right.text() for n in own})
        out[own] = max(([is_right(text, cases[n]) for n in own] for text in texts), key=sum)
    return out
