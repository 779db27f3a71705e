"""``fusar-engine benchmark change`` and ``benchmark score``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from engine.errors import InputError
from engine.evaluate.bootstrap import share
from engine.evaluate.change import ChangeAnswer, changes, majority_change
from engine.evaluate.pairwise import PairQuestion
from engine.evaluate.report import table, value

app = typer.Typer(help="Benchmarks for others to use.", no_args_is_help=True)
_FIT_PAIRS = 200


@app.command()
def change(
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    seed: Annotated[int, typer.Option(help="Chooses the pairs.")] = 20_261_122,
    count: Annotated[int, typer.Option(help="Pairs.")] = 1000,
) -> None:
    """Write the change benchmark: simulated pairs with questions, truth and a card."""
    from rich.progress import Progress

    from engine.evaluate.benchmark import write_benchmark

    with Progress(transient=True) as bars:
        bar = bars.add_task("simulating", total=count)
        facts = write_benchmark(out, seed, count, lambda n: bars.update(bar, advance=n))
    typer.echo(
        f"{out}: {facts['pairs']} pairs, {facts['places']} places, truth {facts['sha256']['truth.jsonl']}"
    )


@app.command()
def score(
    folder: Annotated[Path, typer.Argument(help="What `benchmark change` wrote.")],
    answers: Annotated[Path | None, typer.Option(help="JSON lines of id and answer.")] = None,
    bundle: Annotated[Path | None, typer.Option(help="Ask this bundle, with the controls.")] = None,
    out: Annotated[Path | None, typer.Option(help="Report, JSON; Markdown stands beside it.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads; all cores without it.")] = None,
    threshold: Annotated[float, typer.Option(help="Score from which an engine's detection counts.")] = 0.5,
) -> None:
    """Score answers to the change benchmark beside the baselines; of a bundle also the controls."""
    from rich.progress import Progress

    from engine.evaluate.benchmark import FIT_SEED, drawn_pairs, read_answers, read_benchmark
    from engine.evaluate.pairwise import baseline_answers

    if answers is not None and bundle is not None:
        raise InputError("got both answers and a bundle, expected one of them")
    questions = read_benchmark(folder)
    facts = json.loads((folder / "benchmark.json").read_text())
    given: dict[str, Sequence[ChangeAnswer | None]] = {}
    with Progress(transient=True) as bars:
        bar = bars.add_task("answers", total=None)

        def tell(count: int) -> None:
            bars.update(bar, advance=count)

        detector = None
        controls: dict[str, Any] = {}
        if answers is not None:
            given["answers"] = read_answers(answers, questions)
        if bundle is not None:
            from engine.evaluate.pair_controls import ask_pairs, open_asker

            asker = open_asker(bundle, threads)
            if asker.knows_change:
                given["engine"], controls = ask_pairs(asker, questions, tell)
            detector = asker.detect
        fitted_on = drawn_pairs(facts["seed"] + FIT_SEED, _FIT_PAIRS)
        given |= baseline_answers(questions, fitted_on, detector, threshold, tell)
    true = [question.true for question in questions]
    given["majority answer"] = majority_change(true)
    report = {
        "benchmark": facts,
        "results": {name: changes(each, true) for name, each in given.items()},
        "controls": controls,
    }
    text = markdown(report)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        out.with_suffix(".md").write_text(text, encoding="utf-8")
    typer.echo(text)


def markdown(report: Mapping[str, Any]) -> str:
    """Write the report of a scoring."""
    facts = report["benchmark"]
    lines = [f"# {facts['name']}, seed {facts['seed']}", ""]
    lines += [f"{facts['pairs']} simulated pairs, {facts['places']} places. In brackets: 95 % intervals.", ""]
    head = ["who", "places right", "macro F1", "pairs exact", "counts exact", "change told", "valid"]
    rows = [
        [
            name,
            value(each["places"]["accuracy"], "share"),
            value(each["places"], "macro_f1"),
            *(value(each[key], "share") for key in ("pairs_exact", "counts_exact", "change_seen", "valid")),
        ]
        for name, each in report["results"].items()
    ]
    lines += table(head, rows)
    if report["controls"]:
        lines += ["", "| control | what is counted | share |", "|---|---|---|"]
        lines += [
            f"| {name} | {each['counted']} | {value(each, 'share')} |"
            for name, each in report["controls"].items()
        ]
    return "\n".join(lines) + "\n"


def agreement(
    answered: Sequence[ChangeAnswer | None],
    questions: Sequence[PairQuestion],
    right: Callable[[str, str], bool],
    counted: str,
) -> dict[str, Any]:
    """Return the share of places whose answer stands in a relation to the truth; pairs stay whole."""
    flags, owner = [], []
    for index, (given, question) in enumerate(zip(answered, questions, strict=True)):
        words = given.changes if given is not None else ("",) * len(question.boxes)
        flags += [right(word, true) for word, true in zip(words, question.true.changes, strict=True)]
        owner += [index] * len(question.boxes)
    return {"counted": counted, **share(np.array(flags, np.bool_), sites=owner)}
