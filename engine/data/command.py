"""``fusar-engine triplets``: chip folders to the JSON lines of both stages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from engine.errors import InputError


def triplets(
    chips: Annotated[list[Path], typer.Argument(help="Chip folders that `fusar chips` wrote.")],
    out: Annotated[Path, typer.Option(help="Dataset folder; new or empty.")],
    prior: Annotated[Path | None, typer.Option(help="Index of AlphaEarth files.")] = None,
    size: Annotated[int, typer.Option(help="Side of the enlarged chip: nano 252, Qwen bases 504.")] = 252,
    validation: Annotated[float, typer.Option(help="Share of the chips, at sites of their own.")] = 0.1,
    test: Annotated[float, typer.Option(help="The same for a test set.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Of the splits.")] = 1,
) -> None:
    """Attach anchors and AlphaEarth vectors to chips, and write the texts of both stages, split by site."""
    from rich.progress import Progress

    from engine.data.chipfolder import read_chips, write_triplets
    from engine.data.embeddings import Embeddings

    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out} is not empty: expected a new folder")
    held_out = {name: share for name, share in (("val", validation), ("test", test)) if share > 0}
    if not 0 <= validation + test < 1 or min(validation, test) < 0:
        raise InputError(f"got shares {validation} and {test}, expected none below 0 and less than 1 in all")
    listed = [chip for folder in chips for chip in read_chips(folder)]
    embeddings = None if prior is None else Embeddings(prior)
    out.mkdir(parents=True, exist_ok=True)
    with Progress() as bars:
        bar = bars.add_task("writing", total=sum(chip.labelled for chip in listed))
        counts = write_triplets(
            listed,
            out,
            embeddings,
            size,
            held_out=held_out,
            seed=seed,
            progress=lambda n: bars.advance(bar, n),
        )
    asked = {"chips": len(listed), "size": size, "seed": seed, "held_out": held_out, "gap_km": 50}
    (out / "dataset.json").write_text(json.dumps(asked | {"records": counts}, indent=1) + "\n")
    typer.echo(f"{out}: " + ", ".join(f"{count} in {name}" for name, count in counts.items()))
