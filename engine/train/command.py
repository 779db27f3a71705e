"""``fusar-engine dataset``, ``train``, ``merge`` and ``reading``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from engine.errors import InputError
from engine.runtime.image import channel_stamp
from engine.runtime.reading import WEIGHTS

_PART = 500  # chips in memory at once
_VALIDATION_SEED = 1_000_000_007  # added to the seed, so that no training chip is drawn again


def dataset(
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    chips: Annotated[int, typer.Option(help="Chips for training.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Of the chips.")] = 1,
    validation: Annotated[int, typer.Option(help="Chips for validation, of another seed.")] = 500,
    size: Annotated[int, typer.Option(help="Side of the enlarged chip: nano 252, Qwen bases 504.")] = 252,
    pairs: Annotated[
        int | None, typer.Option(help="Pairs of chips for change questions; else a fifth of the chips.")
    ] = None,
    tasks: Annotated[
        str, typer.Option(help="Tasks of stage 2 and the share of chips or pairs that are asked each.")
    ] = "detection,counting:0.5,localisation:0.35,classification:0.4,landcover:0.2,question:0.25,change",
) -> None:
    """Simulate chips, and pairs of chips, and write them as training records of both stages."""
    from rich.progress import Progress

    from engine.data.records import write_records
    from engine.data.simulated import check_size, write_pairs, write_split
    from engine.simulate.chips import make_chips
    from engine.simulate.objects import DEFAULT
    from engine.simulate.pairs import make_pairs

    pairs = chips // 5 if pairs is None else pairs
    if chips <= 0 or validation < 0 or seed < 0 or pairs < 0:
        raise InputError(
            f"got {chips} chips, {pairs} pairs, {validation} validation chips, seed {seed}; expected none "
            "below 0"
        )
    check_size(size)
    of_chips, of_pairs = _shares(tasks)
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out} is not empty: expected a new folder")
    counts: dict[str, int] = {}
    pairs = pairs if of_pairs else 0
    held_out_pairs = validation * pairs // chips
    with Progress() as bars:
        bar = bars.add_task("simulating", total=chips + validation + pairs + held_out_pairs)

        def step(count: int) -> None:
            bars.update(bar, advance=count)

        for split, total, doubles, drawn in (
            ("train", chips, pairs, seed),
            ("val", validation, held_out_pairs, seed + _VALIDATION_SEED),
        ):
            stages: dict[str, list] = {"stage1": [], "stage2": []}
            for start in range(0, total, _PART):
                part = make_chips(min(_PART, total - start), drawn, start=start, stats=DEFAULT)
                made = write_split(out, part, split, size, start, step, of_chips)
                stages["stage1"] += made.stage1
                stages["stage2"] += made.stage2
            for start in range(0, doubles, _PART):
                drawn_pairs = make_pairs(min(_PART, doubles - start), drawn, start=start, stats=DEFAULT)
                stages["stage2"] += write_pairs(out, drawn_pairs, split, size, start, step, of_pairs)
            for stage, records in stages.items():
                name = f"{stage}.jsonl" if split == "train" else f"{stage}.val.jsonl"
                if records:
                    counts[name] = write_records(out / name, records)
    asked: dict[str, object] = {
        "chips": chips,
        "pairs": pairs,
        "validation": validation,
        "seed": seed,
        "size": size,
    }
    asked |= {"tasks": tasks, "simulated": True, "channels": channel_stamp()}
    (out / "dataset.json").write_text(json.dumps(asked | {"records": counts}, indent=1) + "\n")
    typer.echo(f"{out}: " + ", ".join(f"{count} in {name}" for name, count in counts.items()))


def _shares(tasks: str) -> tuple[dict[str, float], dict[str, float]]:
    """Read tasks with their shares; return those of chips and those of pairs."""
    from engine.data.asks import CHIP_TASKS, PAIR_TASKS

    asked: dict[str, float] = {}
    for each in tasks.split(","):
        name, _, share = each.strip().partition(":")
        try:
            asked[name] = float(share or 1)
        except ValueError as error:
            raise InputError(f"got --tasks {each!r}, expected a name, or a name and a share") from error
    known = {**CHIP_TASKS, **PAIR_TASKS}
    if unknown := [name for name in asked if name not in known]:
        raise InputError(f"got tasks {unknown}, expected some of {sorted(known)}")
    if any(not 0 <= share <= 1 for share in asked.values()):
        raise InputError(f"got --tasks {tasks!r}, expected shares from 0 to 1")
    of_pairs = {name: share for name, share in asked.items() if name in PAIR_TASKS}
    of_chips = {name: share for name, share in asked.items() if name in CHIP_TASKS}
    return of_chips, of_pairs if "change" in asked else {}


def train(
    stage: Annotated[int, typer.Option(help="1: align and inject knowledge; 2: tasks.")],
    data: Annotated[Path, typer.Option(help="Folder of stage1.jsonl and stage2.jsonl.")],
    base: Annotated[str, typer.Option(help="Checkpoint folder, name of a base, or stage 1's run.")],
    out: Annotated[Path, typer.Option(help="The run's folder; goes on where it holds the same run.")],
    preset: Annotated[str, typer.Option(help="paper, released or nano.")] = "nano",
    config: Annotated[Path | None, typer.Option(help="YAML with fields that replace the preset's.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be trained, and end.")] = False,
) -> None:
    """Train one stage; start it with `accelerate launch` to use many devices."""
    from engine.train.config import load_config

    if dry_run:
        from engine.data.records import read_records
        from engine.train import dry

        stage_config = load_config(stage, preset, config)
        records = sum(len(read_records(data / name)) for name in stage_config.data_files)
        typer.echo(dry.told(dry.plan(stage_config, base, records, stage_config.precision != "fp32")))
        return
    from engine.train.loop import train as train_stage

    typer.echo(f"trained: {train_stage(load_config(stage, preset, config), data, base, out)}")


def merge(
    run: Annotated[Path, typer.Argument(help="A run's folder, or a released adapter folder.")],
    out: Annotated[Path, typer.Option(help="Checkpoint folder to write.")],
) -> None:
    """Fold a run's adapters into its base."""
    from engine.model.checkpoint import merge as merge_run

    typer.echo(f"merged: {merge_run(run, out)}")


def reading(
    out: Annotated[
        Path, typer.Option(help="File of the weights; without it, those of the package.")
    ] = WEIGHTS,
    seed: Annotated[int, typer.Option(help="Of the questions that are drawn.")] = 1,
) -> None:
    """Fit the reader of questions, on drawn wordings."""
    from rich.progress import Progress

    from engine.train.reading import STEPS, fit

    with Progress(transient=True) as bars:
        bar = bars.add_task("fitting", total=2 * STEPS)
        weights, figures = fit(seed, progress=lambda n: bars.update(bar, advance=n))
    out.parent.mkdir(parents=True, exist_ok=True)
    weights.save(out)
    typer.echo(
        f"{out}: weights {weights.digest}, least probability {weights.threshold:.2f}; of questions of unseen "
        f"templates {figures.understood:.3f} were understood, and {figures.misread:.4f} of those "
        f"misread; of what "
        f"no image shows {figures.refused:.3f} was refused, of what is not to be understood "
        f"{figures.passed_on:.3f} "
        f"passed on"
    )
