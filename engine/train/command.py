"""``fusar-engine dataset``, ``train`` and ``merge``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from engine.errors import InputError

_PART = 500  # chips in memory at once
_VALIDATION_SEED = 1_000_000_007  # added to the seed, so that no training chip is drawn again


def dataset(
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    chips: Annotated[int, typer.Option(help="Chips for training.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Of the chips.")] = 1,
    validation: Annotated[int, typer.Option(help="Chips for validation, of another seed.")] = 500,
    size: Annotated[int, typer.Option(help="Side of the enlarged chip: nano 252, Qwen bases 504.")] = 252,
) -> None:
    """Simulate chips and write them as training records of both stages."""
    from rich.progress import Progress

    from engine.data.records import write_records
    from engine.data.simulated import check_size, write_split
    from engine.simulate.chips import make_chips

    if chips <= 0 or validation < 0 or seed < 0:
        raise InputError(
            f"got {chips} chips, {validation} validation chips, seed {seed}; expected none below 0"
        )
    check_size(size)
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out} is not empty: expected a new folder")
    counts: dict[str, int] = {}
    with Progress() as bars:
        bar = bars.add_task("simulating", total=chips + validation)
        for split, total, drawn in (("train", chips, seed), ("val", validation, seed + _VALIDATION_SEED)):
            stages: dict[str, list] = {"stage1": [], "stage2": []}
            for start in range(0, total, _PART):
                part = make_chips(min(_PART, total - start), drawn, start=start)
                made = write_split(out, part, split, size, start, lambda n: bars.update(bar, advance=n))
                stages["stage1"] += made.stage1
                stages["stage2"] += made.stage2
            for stage, records in stages.items():
                name = f"{stage}.jsonl" if split == "train" else f"{stage}.val.jsonl"
                if records:
                    counts[name] = write_records(out / name, records)
    asked = {"chips": chips, "validation": validation, "seed": seed, "size": size, "simulated": True}
    (out / "dataset.json").write_text(json.dumps(asked | {"records": counts}, indent=1) + "\n")
    typer.echo(f"{out}: " + ", ".join(f"{count} in {name}" for name, count in counts.items()))


def train(
    stage: Annotated[int, typer.Option(help="1: align and inject knowledge; 2: tasks.")],
    data: Annotated[Path, typer.Option(help="Folder of stage1.jsonl and stage2.jsonl.")],
    base: Annotated[str, typer.Option(help="Checkpoint folder, name of a base, or stage 1's run.")],
    out: Annotated[Path, typer.Option(help="The run's folder; goes on where it holds the same run.")],
    preset: Annotated[str, typer.Option(help="paper, released or nano.")] = "nano",
    config: Annotated[Path | None, typer.Option(help="YAML with fields that replace the preset's.")] = None,
) -> None:
    """Train one stage; start it with `accelerate launch` to use many devices."""
    from engine.train.config import load_config
    from engine.train.loop import train as train_stage

    typer.echo(f"trained: {train_stage(load_config(stage, preset, config), data, base, out)}")


def merge(
    run: Annotated[Path, typer.Argument(help="A run's folder, or a released adapter folder.")],
    out: Annotated[Path, typer.Option(help="Checkpoint folder to write.")],
) -> None:
    """Fold a run's adapters into its base."""
    from engine.model.checkpoint import merge as merge_run

    typer.echo(f"merged: {merge_run(run, out)}")
