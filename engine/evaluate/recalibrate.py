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
from engine.evaluate.change_odds import TASK, TOWER_ALONE, chances_of, fit_odds
from engine.evaluate.detection import pairings, things
from engine.evaluate.items import Item
from engine.evaluate.metrics import Question
from engine.runtime.backend import load_backend
from engine.runtime.changes import ChangeOdds
from engine.runtime.predictor import Predictor
from engine.runtime.spec import MANIFEST, READOUT, Bundle, Calibration

_ANY = Question(None)


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
    if TASK not in opened.manifest.tasks or not any(item.ask(TASK) for item in items):
        return write_calibrated(opened, objects, out)
    return write_calibrated(opened, objects, out, *_changes(raw, items, data, method, progress))


def _changes(
    raw: Predictor,
    items: Sequence[Item],
    data: str,
    method: Literal["logistic", "table"],
    progress: Callable[[int], None] | None,
) -> tuple[Calibration, ChangeOdds | None]:
    """Return the calibration of what is said of changes, and the odds where the tower has a say."""
    told = Predictor(raw.bundle.replaced(change_odds=None), raw.backend)
    text, right = chances_of(told, items, progress)
    facts = {"data": data, "places": len(right), "from": raw.bundle.bundle_id}
    if READOUT not in raw.manifest.files:
        facts["method"] = method
        return _fitted(text.max(axis=1), text.argmax(axis=1) == right, method, facts), None
    seen = Predictor(raw.bundle.replaced(change_odds=TOWER_ALONE), raw.backend)
    tower, _ = chances_of(seen, items, progress)
    odds, more = fit_odds(text, tower, right)
    # fitted by their likelihood, the chances are probabilities already
    return Calibration(fitted=facts | {"method": "odds of text and tower"} | more), odds


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
    bundle: Bundle,
    calibration: Calibration,
    out: Path,
    changes: Calibration | None = None,
    odds: ChangeOdds | None = None,
) -> Bundle:
    """Write a bundle with other calibrations; golden answers keep the model's own scores.

    Args:
        bundle: to copy.
        calibration: of objects.
        out: the new bundle's folder.
        changes: of places of a change; without it, what the bundle has.
        odds: of text and tower for changes; likewise.
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
    update = {"calibration": calibration, "tasks": tasks}
    if odds is not None:
        update["change_odds"] = odds
    manifest = bundle.manifest.model_copy(update=update)
    (out / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return Bundle.open(out)
