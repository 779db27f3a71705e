"""Other detectors on the same items: CFAR alone, and those that ``fusar-engine baseline`` trains."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.errors import ArtifactError, InputError
from engine.evaluate import cfar
from engine.evaluate.items import Item
from engine.evaluate.metrics import Thing

KINDS = ("candidates", "linear", "equal")


def find_all(
    predictor: Any,
    items: Sequence[Item],
    files: Sequence[Path],
    progress: Callable[[int], None] | None = None,
) -> dict[str, list[list[Thing]]]:
    """Return what each detector finds, by name; CFAR is always among them.

    Args:
        predictor: the engine, whose vision a dense head reads.
        items: what about.
        files: saved detectors.
        progress: called with the number of chips done.

    Raises:
        ArtifactError: a file holds no detector, or one of another bundle.
    """
    tell = progress or (lambda count: None)
    out: dict[str, list[list[Thing]]] = {"cfar": []}
    for item in items:  # pairs are asked no detection question: their place stays empty
        out["cfar"].append(cfar.detect(item.chips[-1], item.shore_px) if item.ask("detection") else [])
        tell(1)
    tokens: list[Any] = []  # of the vision graph, which all dense heads read: worked out once
    for path in files:
        name, found = _found(predictor, items, path, tokens, tell)
        out[name] = found
    return out


def _found(
    predictor: Any, items: Sequence[Item], path: Path, tokens: list[Any], tell: Callable[[int], None]
) -> tuple[str, list[list[Thing]]]:
    import torch

    from engine.evaluate import candidates, dense

    try:
        saved = torch.load(path, weights_only=True)
        kind = saved["kind"]
    except (OSError, KeyError, TypeError, RuntimeError, pickle.UnpicklingError) as error:
        raise ArtifactError(f"cannot read {path}: {error}; expected what `baseline` wrote") from error
    if kind == candidates.KIND:
        net = candidates.load(saved["state"])
        found = []
        for item in items:
            found.append(candidates.find(net, item))
            tell(1)
        return "classifier on candidates", found
    if kind == dense.KIND:
        head = dense.load(saved, predictor.bundle)
        if not tokens:
            tokens.append(dense.visual_tokens(predictor, items, tell))
        return f"dense head, {head.facts['size']}", dense.find(head, tokens[0])
    raise ArtifactError(f"got a detector of kind {kind!r} in {path}, expected what `baseline` wrote")


def baseline(
    kind: Annotated[str, typer.Argument(help=f"One of {', '.join(KINDS)}.")],
    out: Annotated[Path, typer.Option(help="File to write.")],
    bundle: Annotated[
        Path | None, typer.Option(help="Bundle whose visual tokens a dense head reads.")
    ] = None,
    chips: Annotated[int, typer.Option(help="Simulated chips to train on.")] = 4000,
    seed: Annotated[int, typer.Option(help="Of the chips: not the test's.")] = 5_001,
    epochs: Annotated[int, typer.Option(help="Passes over them; 0 for the usual.")] = 0,
    threads: Annotated[int | None, typer.Option(help="Threads; all cores without it.")] = None,
) -> None:
    """Train a detector to compare with: a classifier on candidates, or a dense head on visual tokens."""
    import torch
    from rich.progress import Progress

    from engine.evaluate import candidates, dense
    from engine.evaluate.shores import draw_items
    from engine.runtime.predictor import Predictor

    if kind not in KINDS or chips <= 0 or epochs < 0:
        raise InputError(
            f"got kind {kind!r}, {chips} chips, {epochs} epochs; expected one of {KINDS}, 1 or more"
        )
    if threads is not None:
        torch.set_num_threads(threads)
    with Progress(transient=True) as bars:
        drawing = bars.add_task("simulating", total=chips)
        items = draw_items(chips, seed, progress=lambda n: bars.update(drawing, advance=n))
        passes = epochs or (8 if kind == "candidates" else 20)
        bar = bars.add_task("training", total=passes)

        def tell(count: int) -> None:
            bars.update(bar, advance=count)

        out.parent.mkdir(parents=True, exist_ok=True)
        if kind == "candidates":
            candidates.save(candidates.train(items, seed, passes, tell), out)
        else:
            predictor = Predictor.open(bundle, threads=threads)
            head = dense.train(
                predictor, items, "linear" if kind == "linear" else "equal", seed, passes, tell
            )
            dense.save(head, predictor.bundle, out)
    typer.echo(f"{out}: {kind}, trained on {chips} simulated chips of seed {seed}")
