"""``fusar-engine``: simulate, train, export, build and evaluate.

Commands import what they need when they run: simulating needs no torch.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from engine.ablate.command import ablate
from engine.data.command import read, triplets
from engine.errors import FusarError
from engine.evaluate.baselines import baseline
from engine.evaluate.benchmark_command import app as benchmark
from engine.evaluate.command import calibrate, evaluate, xview3
from engine.export.command import build, export, verify
from engine.export.import_released import import_
from engine.simulate.command import simulate
from engine.train.command import dataset, merge, reading, train

app = typer.Typer(
    help="Offline: simulated scenes, training, export, compilation and evaluation of the engine.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.command()
def pretrain(
    out: Annotated[Path, typer.Argument(help="The run's folder; finished steps in it are kept.")],
    chips: Annotated[int, typer.Option(help="Simulated chips to draw.")] = 24_000,
    seed: Annotated[int, typer.Option(help="Of chips, weights and batches.")] = 1,
    vision_samples: Annotated[int, typer.Option(help="Samples of the vision step.")] = 16_000,
    decoder_samples: Annotated[int, typer.Option(help="Samples of the decoder step.")] = 32_000,
    joint_samples: Annotated[int, typer.Option(help="Samples of the joint step.")] = 24_000,
    batch: Annotated[int, typer.Option(help="Samples a batch and worker.")] = 32,
    workers: Annotated[int, typer.Option(help="Processes, one thread each.")] = 2,
    compile: Annotated[bool, typer.Option(help="Compile both halves first.")] = True,
    start: Annotated[Path | None, typer.Option(help="Folder of a run to go on from.")] = None,
    text_every: Annotated[
        int, typer.Option(help="In the joint step, one batch of so many goes through the decoder.")
    ] = 1,
    decay: Annotated[
        bool, typer.Option(help="Let learning rates fall; without, for runs to go on from.")
    ] = True,
    pairs: Annotated[int, typer.Option(help="Simulated pairs of chips to draw for the last step.")] = 0,
    task_samples: Annotated[
        int, typer.Option(help="Samples of the last step: every task, changes and questions too.")
    ] = 0,
    lean_samples: Annotated[
        int, typer.Option(help="Instead of the first three steps, make the tower of --start leaner.")
    ] = 0,
) -> None:
    """Pretrain nano, our few-million-parameter base, on simulated chips."""
    from engine.train.pretrain import pretrain as run
    from engine.train.pretrain_config import PretrainConfig

    config = PretrainConfig(
        chips=chips,
        seed=seed,
        vision_samples=vision_samples,
        decoder_samples=decoder_samples,
        joint_samples=joint_samples,
        batch=batch,
        workers=workers,
        compile=compile,
        start=None if start is None else str(start),
        text_every=text_every,
        decay=decay,
        pairs=pairs,
        task_samples=task_samples,
        lean_samples=lean_samples,
    )
    typer.echo(f"checkpoint: {run(out, config, typer.echo)}")


for command in (
    simulate, dataset, triplets, read, train, merge, reading, export, verify, build, evaluate, calibrate,
    xview3, baseline, ablate,
):  # fmt: skip
    app.command()(command)
app.command("import")(import_)

app.add_typer(benchmark, name="benchmark")


def main() -> None:
    """Run the command line; our own errors end it with one line and exit code 1."""
    try:
        app()
    except FusarError as error:
        typer.echo(f"fusar-engine: {type(error).__name__}: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
