"""``fusar-engine evaluate``, ``calibrate`` and ``xview3``."""

from __future__ import annotations

import json
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.errors import InputError


def evaluate(
    bundle: Annotated[Path, typer.Argument(help="Bundle: a folder with manifest.json.")],
    dataset: Annotated[
        Path | None, typer.Argument(help="Records: JSON lines or their folder. Without it, simulated chips.")
    ] = None,
    chips: Annotated[int, typer.Option(help="Simulated chips to ask about.")] = 1000,
    frozen: Annotated[bool, typer.Option(help="Chips of the frozen test set; --chips of its first.")] = False,
    pairs: Annotated[int, typer.Option(help="Simulated pairs to ask change questions about.")] = 200,
    seed: Annotated[int, typer.Option(help="Of the chips; take one that no training used.")] = 9_001,
    out: Annotated[Path, typer.Option(help="Report, JSON; Markdown and pictures stand beside it.")] = Path(
        "report.json"
    ),
    backend: Annotated[str, typer.Option(help="Backend of the runtime.")] = "ort",
    threads: Annotated[int | None, typer.Option(help="Threads; all cores without it.")] = None,
    threshold: Annotated[float, typer.Option(help="Score from which an object counts.")] = 0.5,
    controls: Annotated[bool, typer.Option(help="Ask again under the controls.")] = True,
    task: Annotated[list[str] | None, typer.Option(help="Ask this task alone; repeat.")] = None,
    baseline: Annotated[
        list[Path] | None, typer.Option(help="Trained by `fusar-engine baseline`; may be repeated.")
    ] = None,
    questions: Annotated[
        int, typer.Option(help="Free questions asked with each wording that is not of training.")
    ] = 2,
    only: Annotated[
        str | None, typer.Option(help="questions: those free questions and nothing else.")
    ] = None,
) -> None:
    """Score an engine on every task, with controls and other detectors beside it."""
    from rich.console import Console
    from rich.progress import Progress

    from engine.evaluate.asking import ask
    from engine.evaluate.baselines import find_all
    from engine.evaluate.controls import CONTROLS
    from engine.evaluate.pictures import draw
    from engine.evaluate.report import markdown
    from engine.evaluate.score import score
    from engine.runtime.predictor import Predictor

    if not 0 <= threshold <= 1:
        raise InputError(f"got threshold {threshold}, expected 0 to 1")
    if questions < 0 or only not in (None, "questions"):
        raise InputError(f"got --questions {questions} --only {only}, expected 0 or more, and questions")
    predictor = Predictor.open(bundle, backend, threads)
    manifest = predictor.bundle.manifest
    if unknown := set(task or ()) - set(manifest.tasks):
        raise InputError(f"got tasks {sorted(unknown)}, expected some of {sorted(manifest.tasks)}")
    tasks = task or list(manifest.tasks)
    if only and not questions:
        raise InputError(f"got --only {only} --questions {questions}, expected 1 or more of each wording")
    with Progress(transient=True) as bars:
        items, data = (
            ([], "free questions alone")
            if only
            else _items(dataset, chips, seed, bars, pairs if "change" in tasks else 0, frozen)
        )
        bar = bars.add_task("asking", total=None)
        began = time.perf_counter()
        answered = ask(
            predictor,
            items,
            tasks,
            tuple(CONTROLS) if controls else (),
            lambda n: bars.update(bar, advance=n),
        )
        asking_s = time.perf_counter() - began
        requests = int(bars.tasks[bar].completed)
        other = bars.add_task("other detectors", total=len(items) * (1 + len(baseline or ())))
        found = find_all(predictor, items, baseline or (), lambda n: bars.update(other, advance=n))
        worded = {}
        if questions and (only or (dataset is None and task is None)):
            worded["wordings"] = _worded(predictor, questions, controls, bars)
    report: dict[str, Any] = {
        "conditions": {
            "data": data,
            "tasks": ", ".join(tasks),
            "items": len(items),
            "sites": len(set(answered.sites)),
            "bundle": f"{manifest.name} {predictor.bundle.bundle_id}",
            "backend": backend,
            "threads": threads or "all",
            "threshold": threshold,
            "match": "same label, centre within max(20 m, length / 4), greedy by score",
            "requests": requests,
            "requests_per_s": round(requests / asking_s, 1),
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        },
        "results": score(answered, threshold, found) | worded,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    report["pictures"] = draw(report["results"], out.parent, out.stem)
    out.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    text = markdown(report)
    out.with_suffix(".md").write_text(text, encoding="utf-8")
    Console().print(text, markup=False, highlight=False)


def calibrate(
    bundle: Annotated[Path, typer.Argument(help="Bundle whose scores are to become probabilities.")],
    out: Annotated[Path, typer.Option(help="Folder of the new bundle; must not hold anything.")],
    dataset: Annotated[
        Path | None, typer.Option(help="Validation records. Without it, simulated chips.")
    ] = None,
    chips: Annotated[int, typer.Option(help="Simulated chips.")] = 1000,
    pairs: Annotated[int, typer.Option(help="Simulated pairs, asked of a bundle that knows changes.")] = 500,
    seed: Annotated[int, typer.Option(help="Of the chips: neither training's nor the test's.")] = 7_001,
    method: Annotated[str, typer.Option(help="logistic or table.")] = "logistic",
    backend: Annotated[str, typer.Option(help="Backend of the runtime.")] = "ort",
    threads: Annotated[int | None, typer.Option(help="Threads; all cores without it.")] = None,
) -> None:
    """Fit a calibration of the objects' scores on validation data, and write a bundle that holds it."""
    from rich.progress import Progress

    from engine.evaluate.change_odds import TASK
    from engine.evaluate.heldout import SEED
    from engine.evaluate.recalibrate import recalibrate
    from engine.runtime.spec import Bundle
    from engine.simulate.testset import TEST_SEED

    if seed in (TEST_SEED, SEED):
        raise InputError(f"got --seed {seed}, of a frozen test set: expected one of validation's own")
    if method not in ("logistic", "table"):
        raise InputError(f"got method {method!r}, expected logistic or table")
    with Progress(transient=True) as bars:
        knows = TASK in Bundle.open(bundle).manifest.tasks
        items, data = _items(dataset, chips, seed, bars, pairs if knows else 0)
        bar = bars.add_task("asking", total=len(items))
        made = recalibrate(
            bundle, items, data, out, method, backend, threads, lambda n: bars.update(bar, advance=n)  # type: ignore[arg-type]
        )  # fmt: skip
    facts = made.manifest.calibration.fitted
    typer.echo(
        f"{out}: bundle {made.bundle_id}, calibrated on {facts['objects']} objects of {data}; on the same "
        f"objects the expected error was {facts['expected_error_before']}, is {facts['expected_error_after']}"
    )
    changes = made.manifest.tasks[TASK].calibration if knows else None
    if changes is not None and changes.fitted:
        typer.echo(f"changes: {json.dumps(changes.fitted)}")


def xview3(
    found: Annotated[Path, typer.Argument(help="GeoJSON of `fusar detect`, or a folder of them.")],
    truth: Annotated[Path, typer.Argument(help="GeoJSON of the truth, or a folder with the same names.")],
    threshold: Annotated[float, typer.Option(help="Score from which a detection counts.")] = 0.5,
    faint_db: Annotated[
        float, typer.Option(help="Labels of less contrast are of low confidence: neither way.")
    ] = 8.0,
    drop: Annotated[
        list[str] | None, typer.Option(help="Flags whose detections do not count; may be repeated.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Report, JSON.")] = None,
) -> None:
    """Score detections of whole scenes as xView3 does."""
    from engine.evaluate.xview3 import read_spots, with_shore, xview3_score

    pairs = list(_scene_pairs(found, truth))
    scenes = [
        (
            with_shore(read_spots(one, threshold, drop or ("azimuth_ghost",))),
            with_shore(read_spots(other, faint_db=faint_db)),
        )
        for one, other in pairs
    ]
    result = xview3_score(scenes)
    text = json.dumps(result, indent=1, allow_nan=False)
    if out is not None:
        out.write_text(text + "\n", encoding="utf-8")
    typer.echo(text)


def _scene_pairs(found: Path, truth: Path) -> list[tuple[Path, Path]]:
    """Pair files by the product's name, which ends at the first dot."""
    if found.is_file() and truth.is_file():
        return [(found, truth)]
    names = {path.name.partition(".")[0]: path for path in truth.glob("*.geojson")}
    pairs = [
        (path, names[path.name.partition(".")[0]])
        for path in sorted(found.glob("*.geojson"))
        if path.name.partition(".")[0] in names and path != names[path.name.partition(".")[0]]
    ]
    if not pairs:
        raise InputError(
            f"got no scene of {found} with a truth in {truth}: names must agree up to the first dot"
        )
    return pairs


def _worded(predictor: Any, repeats: int, controls: bool, bars: Any) -> dict[str, Any]:
    from engine.evaluate import heldout

    tasks = predictor.bundle.manifest.tasks
    two = "change" in tasks  # who was never shown two images is not asked of them
    drawing = bars.add_task("simulating", total=heldout.CHIPS + two * heldout.PAIRS)
    cases = heldout.draw(repeats, two, lambda n: bars.update(drawing, advance=n))
    bar = bars.add_task("free questions", total=len(cases) * (1 + controls))
    return heldout.ask_cases(predictor, cases, tuple(tasks), controls, lambda n: bars.update(bar, advance=n))


def _items(
    dataset: Path | None, chips: int, seed: int, bars: Any, pairs: int = 0, frozen: bool = False
) -> tuple[list[Any], str]:
    from engine.evaluate.items import read_items
    from engine.evaluate.shores import draw_items, draw_pair_items, frozen_items

    if dataset is not None:
        return read_items(dataset), f"records of {dataset.name}"
    if chips <= 0 or pairs < 0:
        raise InputError(f"got {chips} chips and {pairs} pairs, expected 1 or more, and none below 0")
    bar = bars.add_task("simulating", total=chips + pairs)

    def tell(count: int) -> None:
        bars.update(bar, advance=count)

    drawn = frozen_items(chips, tell) if frozen else draw_items(chips, seed, progress=tell)
    items = [*drawn, *draw_pair_items(pairs, seed, progress=tell)]
    which = f"{chips} chips of the frozen test set" if frozen else f"{chips} simulated chips of seed {seed}"
    more = f" and {pairs} simulated pairs of seed {seed}" if pairs else ""
    return items, f"{which}{more}: simulated, not radar images"
