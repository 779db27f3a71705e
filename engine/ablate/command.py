"""``fusar-engine ablate``."""

from __future__ import annotations

import json
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

import typer

from engine.errors import InputError


def ablate(
    out: Annotated[Path, typer.Option(help="Folder; cells that are done in it are kept.")],
    base: Annotated[
        Path | None, typer.Option(help="Checkpoint folder that all cells start from; a tiny one without it.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Runs of each cell.")] = 3,
    bits: Annotated[str, typer.Option(help="Dials: what priors tell, in bits of at most 2.")] = "0,1,2",
    fusions: Annotated[str, typer.Option(help="Kinds to compare; all without it.")] = "",
    chips: Annotated[int, typer.Option(help="For training, of each dial.")] = 1000,
    test_chips: Annotated[int, typer.Option(help="For testing, of each dial.")] = 200,
    steps: Annotated[
        str, typer.Option(help="Of optimisation in each cell; one number, or one for each dial.")
    ] = "450,900,450",
    batch: Annotated[int, typer.Option(help="Records a step.")] = 32,
    base_steps: Annotated[int, typer.Option(help="Of the tiny base's own training.")] = 150,
    trains: Annotated[str, typer.Option(help="Parts that move, as in a stage's configuration.")] = "tlm,lora",
    threads: Annotated[int | None, typer.Option(help="Threads; all cores without it.")] = None,
) -> None:
    """Train and ask every cell of the ablation from one base, and write its table."""
    import torch

    from engine.ablate.cells import Ablation, AblationSettings, cells
    from engine.ablate.report import draw, markdown, summarise

    if threads is not None:
        torch.set_num_threads(threads)
    try:
        dials = tuple(float(each) for each in bits.split(","))
        taken = tuple(int(each) for each in steps.split(","))
    except ValueError as error:
        raise InputError(
            f"got bits {bits!r} and steps {steps!r}, expected numbers such as 0,1,2 and 450,900,450"
        ) from error
    settings = AblationSettings(
        bits=dials,
        fusions=tuple(filter(None, fusions.split(","))),
        seeds=tuple(range(seeds)),
        chips=chips,
        test_chips=test_chips,
        steps=taken,
        batch=batch,
        trains=tuple(trains.split(",")),
        base_steps=base_steps,
    )
    ablation = Ablation(out, settings, base)
    results = []
    every = cells(settings)
    for number, cell in enumerate(every, start=1):
        began = time.monotonic()
        results.append(ablation.run(cell))
        typer.echo(f"{number}/{len(every)} {cell.name} {time.monotonic() - began:.0f} s")
    rows = summarise(results)
    facts = {
        "base": "tiny: nano's classes, two layers each, 84 px" if base is None else base.name,
        "cells": f"{len(every)}, {steps} steps of {batch} at {bits} bits",
        "chips": f"{chips} to train on, {test_chips} to test, of each dial",
        "moves": trains,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    (out / "ablation.json").write_text(json.dumps({"facts": facts, "rows": rows}, indent=1) + "\n")
    text = markdown(rows, facts)
    (out / "ablation.md").write_text(text)
    draw(rows, out / "ablation.png")
    typer.echo(text)
