"""Asks an engine about simulated chips, and scores its answers against their truth.

Everything here is a result on simulated chips, and a report says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.data.simulated import SENSOR, SPACING_M, Chips
from engine.errors import AnswerError
from engine.evaluate.metrics import (
    LENGTH_CLASSES_M,
    Pairing,
    Question,
    Rule,
    Thing,
    average_precision,
    centre_rule,
    count,
    counted_right,
    curve,
    iou_rule,
    pair,
    share,
    summary,
)
from engine.runtime.image import CHIP_PX, CORE_PX, MARGIN_PX
from engine.runtime.prior import Prior
from engine.runtime.text import LABELS, Answer, Request, parse_detections

CORE = (float(MARGIN_PX), float(MARGIN_PX + CORE_PX))
SHIPS = Question("ship")
_CURVE_POINTS = 200


class Asks(Protocol):
    """What this module needs of ``engine.runtime.predictor.Predictor``."""

    def ask(  # noqa: D102
        self, requests: Sequence[Request], progress: Callable[[int], None] | None = None
    ) -> list[Answer]: ...


@dataclass
class Answered:
    """Truth and answers, chip by chip.

    Attributes:
        truth: objects of each chip.
        status: "absent", "partial" or "full": what the prior knows of each chip.
        with_prior: answers to the detection question.
        without_prior: the same with the prior withheld; where there is none, the same answer.
        counting: answers to the counting question; empty where the engine does not know the task.
    """

    truth: list[list[Thing]] = field(default_factory=list)
    status: list[str] = field(default_factory=list)
    with_prior: list[Answer] = field(default_factory=list)
    without_prior: list[Answer] = field(default_factory=list)
    counting: list[Answer] = field(default_factory=list)


def ask(
    engine: Asks,
    chips: Chips,
    answered: Answered,
    tasks: Sequence[str],
    progress: Callable[[int], None] | None = None,
) -> None:
    """Ask about chips, and append truth and answers.

    Args:
        engine: who is asked.
        chips: simulated chips.
        answered: what is appended to.
        tasks: tasks that the engine knows.
        progress: called with the number of answers that came.
    """
    priors = [Prior.from_bytes(raw, None) for raw in chips.prior]
    answered.truth.extend([true_thing(target) for target in targets] for targets in chips.truth)
    answered.status.extend(prior.status for prior in priors)
    requests = [request("detection", chip, prior) for chip, prior in zip(chips.pixels, priors, strict=True)]
    answers = engine.ask(requests, progress)
    answered.with_prior.extend(answers)
    known = [index for index, prior in enumerate(priors) if prior.mask.any()]
    withheld = [request("detection", chips.pixels[index], Prior.absent()) for index in known]
    others = dict(zip(known, engine.ask(withheld, progress) if withheld else [], strict=True))
    answered.without_prior.extend(others.get(index, answer) for index, answer in enumerate(answers))
    if "counting" in tasks:
        asked = [request("counting", chip, prior) for chip, prior in zip(chips.pixels, priors, strict=True)]
        answered.counting.extend(engine.ask(asked, progress))


def request(task: str, chip: NDArray[np.uint8], prior: Prior) -> Request:
    """Return the request that a chip of both polarisations makes."""
    return Request(task, (chip,), (prior,), sensor=SENSOR, bands=("VV", "VH"), spacing_m=SPACING_M)


def true_thing(target: Any) -> Thing:
    """Return a simulated target as a truth; its box clipped to the chip, as an answer's is."""
    x1, y1, x2, y2 = (float(min(max(edge, 0), CHIP_PX)) for edge in target.box_px)
    return Thing(target.class_, (x1, y1, x2, y2), float(target.length_m))


def things(answer: Answer) -> list[Thing]:
    """Return what an answer names; an object's length is its box's longer side."""
    return [
        Thing(
            each.label,
            each.box_px,
            SPACING_M * max(each.box_px[2] - each.box_px[0], each.box_px[3] - each.box_px[1]),
            each.score,
        )
        for each in answer.objects
    ]


def valid_text(text: str) -> bool:
    """Whether a detection answer parses, with known labels and boxes that have extent."""
    try:
        named = parse_detections(text)
    except AnswerError:
        return False
    return all(label in LABELS and box[0] < box[2] and box[1] < box[3] for label, box in named)


def score(answered: Answered, threshold: float, resamples: int = 1000) -> dict[str, Any]:
    """Return all metrics of a set of answers.

    Args:
        answered: truth and answers.
        threshold: the operating point: objects below this score do not count.
        resamples: of the chips, for intervals.
    """
    status = np.array(answered.status)
    both = {"given": answered.with_prior, "withheld": answered.without_prior}
    out: dict[str, Any] = {
        "with_prior": _detection(answered.truth, answered.with_prior, threshold, resamples),
        "prior_withheld": _detection(answered.truth, answered.without_prior, threshold, resamples),
        "by_prior_status": {},
    }
    for name in ("absent", "partial", "full"):
        chosen = np.flatnonzero(status == name)
        truth = [answered.truth[i] for i in chosen]
        part: dict[str, Any] = {"chips": len(chosen)}
        for key, answers in both.items():
            pairings = _pairings(truth, [answers[i] for i in chosen], centre_rule(SPACING_M))
            part[key] = summary(count(pairings, SHIPS, threshold), resamples)
        out["by_prior_status"][name] = part
    if answered.counting:
        ships = [sum(thing.label == "ship" for thing in things) for things in answered.truth]
        right = [a.text.strip() == str(n) for a, n in zip(answered.counting, ships, strict=True)]
        out["counting_task"] = {
            "exact": share(right, resamples),
            "valid": share([a.text.strip().isdecimal() for a in answered.counting], resamples),
        }
    return out


def _detection(
    truth: Sequence[Sequence[Thing]], answers: Sequence[Answer], threshold: float, resamples: int
) -> dict[str, Any]:
    centre = _pairings(truth, answers, centre_rule(SPACING_M))

    def found(question: Question, pairings: Sequence[Pairing] = centre) -> dict[str, object]:
        return summary(count(pairings, question, threshold), resamples)

    return {
        "ships": {
            "centre": found(SHIPS),
            "iou25": found(SHIPS, _pairings(truth, answers, iou_rule(0.25))),
            "iou50": found(SHIPS, _pairings(truth, answers, iou_rule(0.5))),
        },
        "ships_of_25_m_and_more": found(Question("ship", (25, np.inf))),
        "ships_in_the_core": found(Question("ship", region_px=CORE)),
        "ships_by_length": {
            _length_name(low, high): found(Question("ship", (low, high))) for low, high in LENGTH_CLASSES_M
        },
        "by_label": {label: found(Question(label)) for label in LABELS[1:]},
        "ship_count_exact": share(counted_right(centre, SHIPS, threshold), resamples),
        "text_valid": share([valid_text(answer.text) for answer in answers], resamples),
        "saturated": share([answer.outcome == "saturated" for answer in answers], resamples),
        "curve": _curve(centre),
    }


def _pairings(truth: Sequence[Sequence[Thing]], answers: Sequence[Answer], rule: Rule) -> list[Pairing]:
    return [pair(things(answer), true, rule) for answer, true in zip(answers, truth, strict=True)]


def _curve(pairings: Sequence[Pairing]) -> dict[str, Any]:
    points = curve(pairings, SHIPS)
    if not len(points["f1"]):
        return {"average_precision": 0.0, "best": None}
    best = int(np.argmax(points["f1"]))
    kept = np.unique(np.linspace(0, len(points["f1"]) - 1, _CURVE_POINTS).round().astype(int))
    named = {name: [round(float(value), 4) for value in values[kept]] for name, values in points.items()}
    return {
        "average_precision": round(average_precision(points["precision"], points["recall"]), 4),
        "best": {name: round(float(values[best]), 4) for name, values in points.items()},
        **named,
    }


def _length_name(low: float, high: float) -> str:
    return f"{low:g} m and more" if np.isinf(high) else f"{low:g} to {high:g} m"


def markdown(report: dict[str, Any]) -> str:
    """Write a report for people."""
    lines = ["# Evaluation on simulated chips", ""]
    lines += [f"- {name.replace('_', ' ')}: {value}" for name, value in report["conditions"].items()]
    lines += ["", "Intervals are 95 %, from resampling chips.", ""]
    for key, title in (("with_prior", "Prior given"), ("prior_withheld", "Prior withheld")):
        part = report["results"][key]
        lines += [f"## {title}", "", "| what | precision | recall | F1 | truths |", "|---|---|---|---|---|"]
        rows = {
            "ships, centre": part["ships"]["centre"],
            "ships, IoU 0.25": part["ships"]["iou25"],
            "ships, IoU 0.50": part["ships"]["iou50"],
            "ships of 25 m and more, centre": part["ships_of_25_m_and_more"],
            "ships in the chip's core, centre": part["ships_in_the_core"],
            **{f"ships, {name}, centre": value for name, value in part["ships_by_length"].items()},
            **{f"{label}s, centre": value for label, value in part["by_label"].items()},
        }
        lines += [_row(name, value) for name, value in rows.items()]
        lines += [
            "",
            f"Ship count exact {_share(part['ship_count_exact'])}; text valid {_share(part['text_valid'])}; "
            f"saturated {_share(part['saturated'])}; average precision {part['curve']['average_precision']}.",
            "",
        ]
    lines += ["## By what the prior knows", ""]
    lines += ["| prior | chips | F1 given | F1 withheld |", "|---|---|---|---|"]
    for name, part in report["results"]["by_prior_status"].items():
        given, withheld = (_value(part[key], "f1") for key in ("given", "withheld"))
        lines.append(f"| {name} | {part['chips']} | {given} | {withheld} |")
    counting = report["results"].get("counting_task")
    if counting:
        lines += ["", f"Counting task: exact {_share(counting['exact'])}, valid {_share(counting['valid'])}."]
    return "\n".join(lines) + "\n"


def _row(name: str, part: dict[str, Any]) -> str:
    values = " | ".join(_value(part, each) for each in ("precision", "recall", "f1"))
    return f"| {name} | {values} | {part['hits'] + part['missed']} |"


def _value(part: dict[str, Any], name: str) -> str:
    if part[name] is None:
        return "-"
    low, high = part[f"{name}_95"] or (float("nan"), float("nan"))
    return f"{part[name]:.3f} ({low:.3f} to {high:.3f})"


def _share(part: dict[str, Any]) -> str:
    return _value(part, "share")
