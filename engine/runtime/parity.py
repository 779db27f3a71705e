"""The parity gate: a backend must give what the torch reference gave on the golden chips.

Tensors are compared by their largest error against the largest value; answers by what they name, since
a tie between two tokens may fall either way: same labels in the same order, boxes and scores within what
the manifest allows the backend's precision. Free text must be equal.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import AnswerError, BackendError, DeviceLost, ParityError
from engine.runtime import golden
from engine.runtime.backend import Backend, load_backend
from engine.runtime.forms import parse_change
from engine.runtime.predictor import CACHE_BYTES, Predictor
from engine.runtime.spec import GOLDEN, Bundle, Tolerance
from engine.runtime.tasks import chip_box
from engine.runtime.text import Answer, Box, parse_detections

log = logging.getLogger(__name__)

FALLBACK = "ort"
_SHOWN = 80  # characters of an answer that differs


@dataclass(frozen=True)
class Parity:
    """How far a backend is from the reference.

    Attributes:
        backend: what was compared, with its precision.
        allowed: how far it may be.
        tensors: largest error of each compared tensor, relative to its largest value.
        answers: for each task, (answers that agree, answers).
        differences: what does not agree, for people.
    """

    backend: str
    allowed: Tolerance
    tensors: dict[str, float]
    answers: dict[str, tuple[int, int]]
    differences: tuple[str, ...]

    @property
    def agreeing(self) -> float:
        """Share of the answers that agree."""
        return sum(agree for agree, _ in self.answers.values()) / max(
            sum(count for _, count in self.answers.values()), 1
        )

    @property
    def passed(self) -> bool:
        """Whether tensors and answers are as near as they must be."""
        return max(self.tensors.values()) <= self.allowed.tensor and self.agreeing >= self.allowed.answers


def compare(
    bundle: Bundle, backend: Backend, chips: int | None = None, cache_bytes: int = CACHE_BYTES
) -> Parity:
    """Run golden chips through a backend and compare, scores as the model gives them.

    Args:
        bundle: the opened bundle.
        backend: with its graphs loaded.
        chips: how many; without it, all.
        cache_bytes: what the caches may take.

    Raises:
        ArtifactError: the golden file does not read.
        BackendError: the backend failed.
    """
    given, tensors, reference = golden.read(bundle.file(GOLDEN))
    count = len(given.chips) if chips is None else min(chips, len(given.chips))
    allowed = bundle.manifest.tolerance(backend.name.rpartition(" ")[2])
    predictor = Predictor(bundle.uncalibrated(), backend, cache_bytes=cache_bytes)
    tasks, sensor = bundle.manifest.tasks, bundle.manifest.sensors[0]
    differences: list[str] = []
    errors: dict[str, float] = {}
    first_task = next(iter(tasks))
    first = predictor.first_tensors(given.requests(first_task, tasks[first_task], sensor)[:count])
    for name, got in zip(("visual", "logits"), first, strict=True):
        whole = tensors[name].reshape(len(reference[first_task]), -1)
        expected = whole[:count]
        scale = float(np.abs(whole).max()) or 1.0
        errors[name] = float(np.abs(got.reshape(expected.shape) - expected).max()) / scale
        if errors[name] > allowed.tensor:
            differences.append(f"{name}: relative error {errors[name]:.1e}, expected {allowed.tensor:.0e}")
    counts = {}
    scale = bundle.manifest.chip.size_px / bundle.manifest.chip.enlarged_px
    found = next((_boxes(entries, scale) for task, entries in reference.items()
                  if tasks[task].answer == "detections"), [])  # fmt: skip
    for task, entries in reference.items():
        answers = predictor.ask(given.requests(task, tasks[task], sensor, found)[:count])
        agree = 0
        for index, (answer, entry) in enumerate(zip(answers, entries, strict=False)):
            same = answer.text == entry["text"]
            if tasks[task].answer == "change":
                same = same or _same_places(answer, entry["text"])
            elif tasks[task].answer == "detections":
                same = _same(answer, entry["text"], entry["scores"], predictor, allowed)
            agree += same
            if not same:
                shown = f"{answer.text[:_SHOWN]!r}, expected {entry['text'][:_SHOWN]!r}"
                differences.append(f"{task}, chip {index}: {shown}")
        counts[task] = (agree, len(answers))
    return Parity(backend.name, allowed, errors, counts, tuple(differences))


def check(
    bundle: Bundle, backend: Backend, chips: int | None = None, cache_bytes: int = CACHE_BYTES
) -> Parity:
    """Compare a backend with the reference; arguments as ``compare``'s.

    Raises:
        ParityError: it gives something else.
    """
    parity = compare(bundle, backend, chips, cache_bytes)
    if not parity.passed:
        shown = "; ".join(parity.differences[:3])
        raise ParityError(
            f"got {len(parity.differences)} differences between {backend.name} and the torch reference, "
            f"{parity.agreeing:.2f} of the answers alike ({shown}), expected {parity.allowed.answers:.2f} of "
            f"them and tensors within {parity.allowed.tensor:.0e}: export anew, or use another precision or "
            "backend"
        )
    return parity


def verify(bundle: Bundle, backend: str = "ort", threads: int | None = None) -> Parity:
    """Load a backend and compare it with the reference on all golden chips.

    Raises:
        ParityError: it gives something else.
    """
    return check(bundle, load_backend(backend, bundle, threads))


def open_checked(
    bundle: Path | None = None,
    backend: str = "ort",
    threads: int | None = None,
    chips: int = 4,
    fall_back: bool = False,
    cache_bytes: int = CACHE_BYTES,
) -> Predictor:
    """Open a predictor that gave the reference's answers on some golden chips.

    Args:
        bundle: folder; without it, the bundle that ships with the package.
        backend: one of ``engine.runtime.backend.BACKENDS``.
        threads: how many the backend may use; without it, all cores.
        chips: how many are compared; none where it is 0.
        fall_back: whether a backend that gives something else is replaced by FALLBACK, which must pass.
        cache_bytes: what the caches may take.

    Raises:
        ParityError: the backend, or what it falls back to, gives something else.
        ArtifactError, InputError, BackendError: it does not load.
    """
    opened = Bundle.open(bundle)
    loaded = load_backend(backend, opened, threads)
    if chips:
        try:
            parity = check(opened, loaded, chips, cache_bytes)
        except (ParityError, BackendError) as error:
            if not fall_back or backend == FALLBACK or isinstance(error, DeviceLost):
                raise
            log.error("%s; falling back to %s", error, FALLBACK)
            return open_checked(bundle, FALLBACK, threads, chips, cache_bytes=cache_bytes)
        log.info("%s: %.2f of the golden answers as the reference's", loaded.name, parity.agreeing)
    return Predictor(opened, loaded, cache_bytes=cache_bytes)


def _boxes(entries: Sequence[Mapping[str, Any]], scale: float) -> list[list[Box]]:
    """Return the boxes that detection answers name, in pixels of the chip as cut."""
    return [[chip_box(box, scale) for _, box in parse_detections(entry["text"])] for entry in entries]


def _same_places(answer: Answer, text: str) -> bool:
    """Whether an answer says the same of every place; its counts and its sentence may differ."""
    try:
        expected = parse_change(text, len(answer.places))
    except AnswerError:  # asked about other places, by another version: export the bundle anew
        return False
    return tuple(each.change for each in answer.places) == expected.changes


def _same(answer: Answer, text: str, scores: list[float], predictor: Predictor, allowed: Tolerance) -> bool:
    if answer.text == text and not scores:
        return True
    try:
        expected = parse_detections(text)
    except AnswerError:
        return False
    chip = predictor.manifest.chip
    if len(expected) != len(answer.objects):
        return False
    for got, (label, box), score in zip(answer.objects, expected, scores, strict=True):
        distance = np.abs(np.subtract(got.box_px, chip_box(box, chip.size_px / chip.enlarged_px))).max()
        if got.label != label or distance > allowed.box_px or abs(got.score - score) > allowed.score:
            return False
    return True
