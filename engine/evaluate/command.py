"""``fusar-engine evaluate``."""

from __future__ import annotations

import json
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

import typer

from engine.errors import InputError

_PART = 500  # chips in memory at once


def evaluate(
    bundle: Annotated[Path, typer.Argument(help="Bundle: a folder with manifest.json.")],
    chips: Annotated[int, typer.Option(help="Simulated chips to ask about.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of the chips; take one that no training used.")] = 9_001,
    out: Annotated[Path, typer.Option(help="Report, JSON; Markdown is written beside it.")] = Path(
        "report.json"
    ),
    backend: Annotated[str, typer.Option(help="Backend of the runtime.")] = "ort",
    threads: Annotated[int | None, typer.Option(help="Threads; all cores without it.")] = None,
    threshold: Annotated[float, typer.Option(help="Score from which an object counts.")] = 0.5,
) -> None:
    """Score an engine on simulated chips, with and without their priors."""
    from rich.console import Console
    from rich.progress import Progress

    from engine.evaluate.run import Answered, ask, markdown, score
    from engine.runtime.predictor import Predictor
    from engine.simulate.chips import make_chips

    if chips <= 0 or not 0 <= threshold <= 1:
        raise InputError(
            f"got {chips} chips at threshold {threshold}, expected 1 or more, at a threshold of 0 to 1"
        )
    predictor = Predictor.open(bundle, backend, threads)
    manifest = predictor.bundle.manifest
    answered, asking_s = Answered(), 0.0
    with Progress() as bars:
        bar = bars.add_task("asking", total=chips)
        for start in range(0, chips, _PART):
            part = make_chips(min(_PART, chips - start), seed, start=start)
            began = time.perf_counter()
            ask(predictor, part, answered, list(manifest.tasks))
            asking_s += time.perf_counter() - began
            bars.update(bar, completed=min(start + _PART, chips))
    asked = len(answered.with_prior) + sum(each != "absent" for each in answered.status)
    report = {
        "conditions": {
            "data": f"{chips} simulated chips, seed {seed}: not radar images",
            "bundle": f"{manifest.name} {predictor.bundle.bundle_id}",
            "backend": backend,
            "threads": threads or "all",
            "threshold": threshold,
            "match": "same label, centre within max(20 m, length / 4), greedy by score",
            "requests": asked + len(answered.counting),
            "requests_per_s": round((asked + len(answered.counting)) / asking_s, 1),
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        },
        "results": score(answered, threshold),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    text = markdown(report)
    out.with_suffix(".md").write_text(text, encoding="utf-8")
    Console().print(text, markup=False, highlight=False)
