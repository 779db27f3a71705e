"""``fusar-engine export`` and ``fusar-engine verify``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

_console = Console()


def export(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint folder.")],
    out: Annotated[Path, typer.Option(help="Folder of the bundle; new or empty.")],
    name: Annotated[str, typer.Option(help="Name of the bundle.")] = "nano",
    base: Annotated[str, typer.Option(help="What the model was made from.")] = "nano",
    chips: Annotated[Path | None, typer.Option(help="Golden chips, .npz; else test patterns.")] = None,
    card: Annotated[Path | None, typer.Option(help="Model card to copy.")] = None,
    task: Annotated[list[str] | None, typer.Option(help="Task it was trained on; repeat.")] = None,
    sensor: Annotated[list[str] | None, typer.Option(help="Sensor it was trained on; repeat.")] = None,
    score_floor: Annotated[float, typer.Option(help="A list goes on above this probability.")] = 0.1,
    record: Annotated[Path | None, typer.Option(help="Training record, JSON.")] = None,
) -> None:
    """Export a checkpoint to a bundle, and check ONNX Runtime against torch."""
    from engine.export.bundle import export as write_bundle
    from engine.export.parity import verify as check

    training: dict[str, Any] = json.loads(record.read_text()) if record is not None else {}
    with _console.status("exporting") as status:
        opened = write_bundle(
            checkpoint,
            out,
            name=name,
            base=base,
            chips=chips,
            card=card,
            tasks=task or ("detection", "description"),
            sensors=sensor or ("Sentinel-1 IW",),
            score_floor=score_floor,
            training=training,
            progress=lambda stage: status.update(f"exporting: {stage}"),
        )
        status.update("checking parity")
        parity = check(opened)
    _show(parity)
    _console.print(f"bundle {opened.bundle_id} in {opened.path}")


def verify(
    bundle: Annotated[Path | None, typer.Argument(help="Bundle; else the one that ships.")] = None,
    backend: Annotated[str, typer.Option(help="Backend to check.")] = "ort",
) -> None:
    """Check a bundle's files, and a backend against the torch reference on the golden chips."""
    from engine.export.parity import verify as check
    from engine.runtime.spec import Bundle

    with _console.status("checking"):
        opened = Bundle.open(bundle)
        parity = check(opened, backend)
    _show(parity)
    _console.print(f"bundle {opened.bundle_id}: {backend} gives what the reference gives")


def _show(parity: Any) -> None:
    table = Table("compared", "result")
    for tensor, error in parity.tensors.items():
        table.add_row(tensor, f"relative error {error:.1e}")
    for task, (agree, count) in parity.answers.items():
        table.add_row(task, f"{agree} of {count} answers agree")
    _console.print(table)
