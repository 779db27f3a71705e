"""Whether an answer depends on what is answered beside it: the same chips in other orders and batches.

    python tools/bench_batching.py [--bundle folder] [--backend ort|ort-int8] [--chips 2000]

The first line is the rule the others are held against: batches of 8, 32 answers side by side. Chips are
simulated, in the prescreen's mix, as ``tools/bench_engine.py`` draws them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from engine.runtime.backend import load_backend
from engine.runtime.predictor import Predictor
from engine.runtime.spec import Bundle
from engine.runtime.text import Answer
from tools.bench_engine import draw

_console = Console(stderr=True)
BUCKETS = ((8, 32), (8, 8), (1, 1), (3, 16), (16, 32))  # chips looked at together, answers side by side


def compare(answers: Sequence[Answer], others: Sequence[Answer]) -> tuple[float, float]:
    """Return the share of equal answers, and the largest difference of two scores in those."""
    same, largest = 0, 0.0
    for a, b in zip(answers, others, strict=True):
        if a.text == b.text:
            same += 1
            pairs = zip(a.objects, b.objects, strict=True)
            largest = max([largest, *(abs(x.score - y.score) for x, y in pairs)])
    return same / len(answers), largest


def main(
    bundle: Annotated[Path | None, typer.Option(help="Bundle; else the one that ships.")] = None,
    backend: Annotated[str, typer.Option(help="Backend.")] = "ort",
    chips: Annotated[int, typer.Option(help="How many.")] = 2000,
    empty: Annotated[float, typer.Option(help="Share of chips without an object.")] = 0.69,
    threads: Annotated[int, typer.Option(help="Workers: with more than one, who meets whom varies.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the chips.")] = 20261130,
) -> None:
    """Compare answers across orders and batches."""
    opened = Bundle.open(bundle)
    loaded = load_backend(backend, opened, threads)
    requests = draw(chips, empty, seed)
    order = np.random.default_rng(seed).permutation(chips)
    given: dict[str, list[Answer]] = {}
    settings = [(*bucket, False) for bucket in BUCKETS] + [(*BUCKETS[0], True)]
    for batch, rows, mixed in track(settings, "answering", console=_console):
        loaded.batch = batch
        asked = [requests[i] for i in order] if mixed else requests
        answers = Predictor(opened, loaded, rows=rows).ask(asked)
        if mixed:
            answers = [answers[i] for i in np.argsort(order)]
        given[f"{batch} together, {rows} rows" + (", another order" if mixed else "")] = answers
    table = Table("what", "equal answers", "largest difference of a score")
    first, *rest = given
    found = {name: compare(given[first], given[name]) for name in rest}
    for name, (share, largest) in found.items():
        table.add_row(name, f"{share:.4f}", f"{largest:.1e}")
    _console.print(table)
    named = float(np.mean([bool(each.objects) for each in given[first]]))
    print(json.dumps({
        "bundle": opened.bundle_id, "backend": loaded.name, "chips": chips, "named": round(named, 3),
        "against": first, "equal": {name: round(share, 5) for name, (share, _) in found.items()},
        "largest_difference": {name: largest for name, (_, largest) in found.items()},
    }))  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
