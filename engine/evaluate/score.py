"""All metrics of a set of answers, the controls beside them, as one tree of plain values.

Everything here is a result on the items that were given, and a report says what those were.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import AnswerError
from engine.evaluate import calibration, cfar
from engine.evaluate.asking import AS_IS, Answered
from engine.evaluate.bootstrap import RESAMPLES, difference, interval, number, resampled_sums, share
from engine.evaluate.change import ChangeAnswer, changes, majority_change, parse_change
from engine.evaluate.classes import classification, majority, named_class
from engine.evaluate.counting import counting, parse_count
from engine.evaluate.description import descriptions
from engine.evaluate.detection import (
    CENTRE,
    SHIPS,
    Things,
    answers_valid,
    curve_points,
    detection,
    pairings,
    things,
)
from engine.evaluate.metrics import Pairing, Question, Thing, count, precision_recall_f1, summary
from engine.evaluate.places import localisation, parse_cells
from engine.evaluate.questions import questions
from engine.evaluate.ranking import against_at_equal_false_alarms, any_label, ranked

ANY = Question(None)
OBJECT = Question("object")


def score(
    answered: Answered,
    threshold: float,
    baselines: Mapping[str, Things] | None = None,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """Return all metrics of a set of answers.

    Args:
        answered: items, answers, controls.
        threshold: the operating point: objects below this score do not count.
        baselines: detections of other detectors on the same items, by name; "cfar" is one of them.
        resamples: of the sites, for intervals.
    """
    out: dict[str, Any] = {}
    given = answered.asked("detection")
    if given:
        out |= _detection(answered, threshold, dict(baselines or {}), resamples)
    out |= {
        name: value
        for name, value in (
            ("counting", _counting(answered, AS_IS, resamples)),
            ("localisation", _cells(answered, AS_IS, resamples)),
            ("classification", _words(answered, "classification", AS_IS, resamples)),
            ("landcover", _words(answered, "landcover", AS_IS, resamples)),
            ("description", _descriptions(answered, resamples)),
            ("question", _questions(answered, resamples)),
            ("change", _changes(answered, AS_IS, resamples)),
        )
        if value is not None
    }
    out["controls"] = _controls(answered, threshold, resamples)
    return out


def _detection(
    answered: Answered, threshold: float, baselines: dict[str, Things], resamples: int
) -> dict[str, Any]:
    given = answered.asked("detection")
    index = [at for at, *_ in given]
    sites = [answered.sites[at] for at in index]
    truth = [list(item.things) for _, item, _, _ in given]
    answers = [answer for *_, answer in given]
    predicted = [things(answer) for answer in answers]
    found = detection(predicted, truth, threshold, resamples, sites)
    found |= answers_valid(answers, resamples, sites)
    status = np.array([item.status for _, item, _, _ in given])
    found["by_prior_status"] = {
        name: _f1(pairings(predicted, truth), status == name, threshold, resamples, sites)
        for name in ("absent", "partial", "full")
    }
    ours = pairings(predicted, truth)
    out = {"detection": found, "calibration": score_quality(ours, resamples, sites)}
    if baselines:
        out["baselines"] = {
            name: _baseline(ours, [list(each[at]) for at in index], truth, name, resamples, sites)
            for name, each in baselines.items()
        }
    return out


def outcomes(found: Sequence[Pairing]) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64]]:
    """Return score, outcome and chip of every predicted object of any class, by falling score."""
    order = ranked(found, ANY)
    return order.score, order.hit, order.chip


def score_quality(found: Sequence[Pairing], resamples: int, sites: Sequence[str]) -> dict[str, Any]:
    """Return how far the scores of predicted objects are probabilities."""
    return calibration.quality(*outcomes(found), resamples=resamples, sites=sites)


def _f1(
    found: Sequence[Pairing],
    chosen: NDArray[np.bool_],
    threshold: float,
    resamples: int,
    sites: Sequence[str],
) -> dict[str, Any]:
    kept = [each for each, one in zip(found, chosen, strict=True) if one]
    where = [site for site, one in zip(sites, chosen, strict=True) if one]
    return {"chips": len(kept), **summary(count(kept, SHIPS, threshold), resamples, sites=where)}


def _baseline(
    ours: Sequence[Pairing],
    theirs: Sequence[Sequence[Thing]],
    truth: Sequence[Sequence[Thing]],
    name: str,
    resamples: int,
    sites: Sequence[str],
) -> dict[str, Any]:
    """Compare with another detector; where it knows no classes, labels are left out on both sides."""
    blind = name == "cfar"
    other = pairings(theirs, truth)
    if blind:
        ours = [any_label(each, CENTRE) for each in ours]
        other = [any_label(each, CENTRE) for each in other]
    question = OBJECT if blind else SHIPS
    points = curve_points(other, question, resamples, sites)
    thresholds = {"its best F1": (points["best"] or {"threshold": 0.5})["threshold"]}
    if blind:
        thresholds["the scan's false-alarm rate"] = cfar.OPERATING
    return {
        "labels": "left out" if blind else "must agree",
        "curve": points,
        "ours": curve_points(ours, question, resamples, sites),
        "equal_false_alarms": {
            where: {
                "threshold": at,
                **against_at_equal_false_alarms(ours, other, question, at, min(resamples, 300), sites),
            }
            for where, at in thresholds.items()
        },
    }


def _counting(answered: Answered, control: str, resamples: int) -> dict[str, Any] | None:
    given = answered.asked("counting", control)
    true = [parse_count(right) or 0 for _, _, right, _ in given]
    if not given:
        return None
    sites = [answered.sites[at] for at, *_ in given]
    found = counting([parse_count(answer.text) for *_, answer in given], true, resamples, sites)
    commonest = int(majority([str(each) for each in true]))
    found["majority"] = share([each == commonest for each in true], resamples, sites=sites)
    return found


def _cells(answered: Answered, control: str, resamples: int) -> dict[str, Any] | None:
    given = answered.asked("localisation", control)
    if not given:
        return None
    sites = [answered.sites[at] for at, *_ in given]
    true = [parse_cells(right) for _, _, right, _ in given]
    found = localisation([parse_cells(answer.text) for *_, answer in given], true, resamples, sites)
    commonest = parse_cells(majority([", ".join(each) for each in true if each] or [""]))
    found["majority"] = localisation([commonest] * len(true), true, resamples, sites)["occupied"]
    return found


def _words(answered: Answered, task: str, control: str, resamples: int) -> dict[str, Any] | None:
    given = answered.asked(task, control)
    if not given:
        return None
    sites = [answered.sites[at] for at, *_ in given]
    true = [right for _, _, right, _ in given]
    classes = sorted(set(true))
    return classification(
        [named_class(answer.text, classes) for *_, answer in given], true, classes, resamples, sites
    )


def _descriptions(answered: Answered, resamples: int) -> dict[str, Any] | None:
    given = answered.asked("description")
    if not given:
        return None
    sites = [answered.sites[at] for at, *_ in given]
    true = [right for _, _, right, _ in given]
    found = descriptions([answer.text for *_, answer in given], true, resamples, sites)
    found["majority"] = descriptions([majority(true)] * len(true), true, resamples, sites)["all"]
    return found


def _questions(answered: Answered, resamples: int) -> dict[str, Any] | None:
    given = answered.asked("question")
    if not given:
        return None
    places = [len(ask.record.known) if (ask := item.ask("question")) else 0 for _, item, _, _ in given]
    return questions(
        [answer.text for *_, answer in given],
        [right for _, _, right, _ in given],
        places,
        resamples,
        [answered.sites[at] for at, *_ in given],
    )


def _changes(answered: Answered, control: str, resamples: int) -> dict[str, Any] | None:
    given = answered.asked("change", control)
    if not given:
        return None
    sites = [answered.sites[at] for at, *_ in given]
    true = [change_of(right) for _, _, right, _ in given]
    got = [
        _change_or_none(answer.text, len(one.changes)) for (*_, answer), one in zip(given, true, strict=True)
    ]
    found = changes(got, true, resamples, sites)
    found["majority"] = changes(majority_change(true), true, resamples, sites)
    return found


def change_of(text: str) -> ChangeAnswer:
    """Read a right change answer, whatever its number of places."""
    given = json.loads(text.partition("\n")[0])
    return parse_change(text, len(set(given) - {"before", "after"}))


def _change_or_none(text: str, places: int) -> ChangeAnswer | None:
    try:
        return parse_change(text, places)
    except AnswerError:
        return None


def _controls(answered: Answered, threshold: float, resamples: int) -> dict[str, Any]:
    """Each control's figures on the items that it changed, and the same items as they are."""
    out: dict[str, Any] = {}
    for name, chosen in answered.changed.items():
        part: dict[str, Any] = {"items": len(chosen)}
        for task in ("detection", "counting", "localisation", "landcover", "change"):
            if (name, task) in answered.answers:
                figure = _control(answered, name, task, chosen, threshold, resamples)
                if figure is not None:
                    part[task] = figure
        out[name] = part
    return out


def _control(
    answered: Answered, name: str, task: str, chosen: set[int], threshold: float, resamples: int
) -> dict[str, Any] | None:
    both = [[row for row in answered.asked(task, control) if row[0] in chosen] for control in (AS_IS, name)]
    if not both[0]:
        return None
    sites = [answered.sites[at] for at, *_ in both[0]]
    if task == "detection":
        return _control_f1(both, threshold, resamples, sites)
    right = [np.array([_right(task, want, got.text) for _, _, want, got in rows], float) for rows in both]
    return {
        "measure": "exact answers" if task != "change" else "places right",
        "as_is": number(right[0].mean()),
        "control": number(right[1].mean()),
        "gain": difference(right[0], right[1], resamples, sites=sites),
    }


def _control_f1(
    both: Sequence[Sequence[Any]], threshold: float, resamples: int, sites: Sequence[str]
) -> dict[str, Any]:
    columns = []
    for rows in both:
        found = pairings(
            [things(answer) for *_, answer in rows], [list(item.things) for _, item, _, _ in rows]
        )
        counts = count(found, SHIPS, threshold)
        columns += [counts.hits, counts.false, counts.missed]
    stack = np.stack(columns, axis=1)

    def f1s(sums: NDArray[np.float64]) -> tuple[float, float]:
        return precision_recall_f1(*sums[:3])[2], precision_recall_f1(*sums[3:])[2]

    own, other = f1s(stack.sum(axis=0).astype(np.float64))
    drawn = np.array([f1s(row) for row in resampled_sums(stack, resamples, 0, sites)])
    return {
        "measure": "ship F1",
        "as_is": number(own),
        "control": number(other),
        "gain": {
            "mean": number(own - other),
            "mean_95": interval(drawn[:, 0] - drawn[:, 1]),
            "of": len(stack),
        },
    }


def _right(task: str, want: str, got: str) -> float:
    if task == "counting":
        return float(parse_count(got) == parse_count(want))
    if task == "localisation":
        return float(set(parse_cells(got)) == set(parse_cells(want)))
    if task == "change":
        true = change_of(want)
        given = _change_or_none(got, len(true.changes))
        if not true.changes:
            return float(given is not None and given == true)
        return (
            0.0
            if given is None
            else float(np.mean([a == b for a, b in zip(given.changes, true.changes, strict=True)]))
        )
    return float(got.strip() == want.strip())
