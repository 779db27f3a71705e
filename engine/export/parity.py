"""The parity gate: a backend must give what the torch reference gave on the golden chips.

Tensors are compared by their largest error against the largest value; answers by what they name, since
a tie between two tokens may fall either way: same labels in the same order, boxes within a pixel of the
chip, scores within 0.02. Free text must be equal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.errors import AnswerError, ParityError
from engine.export import golden
from engine.runtime.backend import Backend, load_backend
from engine.runtime.predictor import Predictor
from engine.runtime.spec import GOLDEN, Bundle
from engine.runtime.tasks import chip_box
from engine.runtime.text import Answer, parse_detections

TENSOR_TOLERANCE = 1e-3
BOX_TOLERANCE_PX = 1.0
SCORE_TOLERANCE = 0.02


@dataclass(frozen=True)
class Parity:
    """How far a backend is from the reference.

    Attributes:
        tensors: largest error of each compared tensor, relative to its largest value.
        answers: for each task, (answers that agree, answers).
        differences: what does not agree, for people.
    """

    tensors: dict[str, float]
    answers: dict[str, tuple[int, int]]
    differences: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether every tensor and answer agrees."""
        return not self.differences


def compare(bundle: Bundle, backend: Backend) -> Parity:
    """Run the golden chips through a backend and compare."""
    given, tensors, reference = golden.read(bundle.file(GOLDEN))
    predictor = Predictor(bundle, backend)
    tasks, sensor = bundle.manifest.tasks, bundle.manifest.sensors[0]
    differences: list[str] = []
    errors: dict[str, float] = {}
    first_task = next(iter(tasks))
    for name, got in zip(
        ("visual", "logits"),
        predictor.first_tensors(given.requests(first_task, sensor, tasks[first_task])),
        strict=True,
    ):
        scale = float(np.abs(tensors[name]).max()) or 1.0
        errors[name] = float(np.abs(got.reshape(tensors[name].shape) - tensors[name]).max()) / scale
        if errors[name] > TENSOR_TOLERANCE:
            differences.append(f"{name}: relative error {errors[name]:.1e}, expected {TENSOR_TOLERANCE:.0e}")
    counts = {}
    for task, expected in reference.items():
        answers = predictor.ask(given.requests(task, sensor, tasks[task]))
        agree = 0
        for index, (answer, entry) in enumerate(zip(answers, expected, strict=True)):
            same = _same(answer, entry["text"], entry["scores"], predictor)
            agree += same
            if not same:
                differences.append(f"{task}, chip {index}: {answer.text!r}, expected {entry['text']!r}")
        counts[task] = (agree, len(expected))
    return Parity(errors, counts, tuple(differences))


def verify(bundle: Bundle, backend: str = "ort", threads: int | None = None) -> Parity:
    """Compare a backend with the reference.

    Raises:
        ParityError: it gives something else.
    """
    parity = compare(bundle, load_backend(backend, bundle, threads))
    if not parity.passed:
        shown = "; ".join(parity.differences[:3])
        raise ParityError(
            f"got {len(parity.differences)} differences between {backend} and the torch reference ({shown}), "
            "expected none: export anew, or use another precision or backend"
        )
    return parity


def _same(answer: Answer, text: str, scores: list[float], predictor: Predictor) -> bool:
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
        if got.label != label or distance > BOX_TOLERANCE_PX or abs(got.score - score) > SCORE_TOLERANCE:
            return False
    return True
