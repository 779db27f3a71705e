"""A bundle with a calibration fitted on validation data: a new folder, since a manifest never changes."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from engine.errors import InputError
from engine.evaluate.asking import AS_IS, Asks, ask
from engine.evaluate.calibration import expected_error, fit
from engine.evaluate.detection import pairings, things
from engine.evaluate.items import Item
from engine.evaluate.metrics import Question
from engine.evaluate.score import change_of
from engine.runtime.backend import load_backend
from engine.runtime.predictor import Predictor
from engine.runtime.spec import MANIFEST, Bundle, Calibration

_ANY = Question(None)
CHANGE = "change"


def measured(engine: Asks, items: Sequence[Item], progress: Callable[[int], None] | None = None) -> Any:
    """Return score and outcome of every object that an engine names on some items, [K, 2]."""
    answered = ask(engine, items, ("detection",), (), progress)
    rows = []
    given = [(item, answer) for _, item, _, answer in answered.asked("detection", AS_IS)]
    found = pairings([things(answer) for _, answer in given], [item.things for item, _ in given])
    for pairing in found:
        for outcome, thing in zip(_ANY.outcomes(pairing), pairing.predicted, strict=True):
            rows.append((thing.score, outcome == "hit"))
    return np.array(rows, np.float64).reshape(-1, 2)


def measured_changes(
    engine: Asks, items: Sequence[Item], progress: Callable[[int], None] | None = None
) -> Any:
    """Return score and rightness of what an engine says of every place of some pairs, [K, 2]."""
    answered = ask(engine, items, ("change",), (), progress)
    rows = [
        (said.score, said.change == change)
        for _, _, right, answer in answered.asked("change", AS_IS)
        for said, change in zip(answer.places, change_of(right).changes, strict=True)
    ]
    return np.array(rows, np.float64).reshape(-1, 2)


def recalibrate(
    bundle: Path,
    items: Sequence[Item],
    data: str,
    out: Path,
    method: Literal["logistic", "table"] = "logistic",
    backend: str = "ort",
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Bundle:
    """Fit a calibration and write the bundle that holds it.

    Args:
        bundle: whose scores to calibrate; a calibration that it has already is replaced.
        items: validation data: neither training's nor the test's; pairs among them for a bundle that knows
            changes.
        data: what they are, for the record.
        out: the new bundle's folder.
        method: logistic or a table.
        backend: of the runtime.
        threads: for it.
        progress: called with the number of answers that came.

    Raises:
        InputError: ``out`` holds something already.
        DatasetError: too few objects to fit anything.
    """
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out} is not empty: expected a new folder")
    opened = Bundle.open(bundle)
    raw = Predictor(opened.uncalibrated(), load_backend(backend, opened, threads))
    score, hit = measured(raw, items, progress).T
    facts = {"data": data, "objects": len(score), "from": opened.bundle_id, "method": method}
    objects = _fitted(score, hit, method, facts)
    changes = None
    if CHANGE in opened.manifest.tasks and any(item.ask(CHANGE) for item in items):
        score, hit = measured_changes(raw, items, progress).T
        facts = {"data": data, "places": len(score), "from": opened.bundle_id, "method": method}
        changes = _fitted(score, hit, method, facts)
    return write_calibrated(opened, objects, out, changes)


def _fitted(score: Any, hit: Any, method: Literal["logistic", "table"], facts: dict[str, Any]) -> Calibration:
    """Fit a calibration, and say in it how it came about."""
    fitted = fit(score, hit, method=method)
    after = np.array([fitted.apply(value) for value in score])
    facts |= {
        "expected_error_before": round(expected_error(score, hit), 4),
        "expected_error_after": round(expected_error(after, hit), 4),
        "brier_before": round(float(np.mean((score - hit) ** 2)), 4),
        "brier_after": round(float(np.mean((after - hit) ** 2)), 4),
    }
    return fitted.model_copy(update={"fitted": facts})


def write_calibrated(
    bundle: Bundle, calibration: Calibration, out: Path, changes: Calibration | None = None
) -> Bundle:
    """Write a bundle with other calibrations; golden answers keep the model's own scores.

    Args:
        bundle: to copy.
        calibration: of objects.
        out: the new bundle's folder.
        changes: of places of a change; without it, what the bundle has.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name in bundle.manifest.files:
        shutil.copyfile(bundle.path / name, out / name)
    # places of a change are no objects of a list: what was fitted to these says nothing of those
    tasks = {
        name: task.model_copy(update={"calibration": changes or task.calibration or Calibration()})
        if task.answer == "change"
        else task.model_copy(update={"calibration": None})
        if task.answer == "detections"
        else task
        for name, task in bundle.manifest.tasks.items()
    }
    manifest = bundle.manifest.model_copy(update={"calibration": calibration, "tasks": tasks})
    (out / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return Bundle.open(out)
