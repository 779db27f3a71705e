"""``fusar-engine export``, ``fusar-engine verify`` and ``fusar-engine build``."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from engine.errors import InputError
from engine.runtime.text import DATED, RELEASED, SYSTEM

_console = Console()
PROMPTS = {"dated": DATED, "undated": SYSTEM, "released": RELEASED}


def export(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint folder.")],
    out: Annotated[Path, typer.Option(help="Folder of the bundle; new or empty.")],
    name: Annotated[str, typer.Option(help="Name of the bundle.")] = "nano",
    base: Annotated[str, typer.Option(help="What the model was made from.")] = "nano",
    chips: Annotated[Path | None, typer.Option(help="Golden chips, .npz; else test patterns.")] = None,
    card: Annotated[Path | None, typer.Option(help="Model card to copy.")] = None,
    task: Annotated[list[str] | None, typer.Option(help="Task it was trained on; repeat.")] = None,
    sensor: Annotated[list[str] | None, typer.Option(help="Sensor it was trained on; repeat.")] = None,
    spacing: Annotated[float, typer.Option(help="Pixel spacing that it was trained on, metres.")] = 10.0,
    score_floor: Annotated[float, typer.Option(help="A list goes on above this probability.")] = 0.1,
    score_coordinates: Annotated[
        float, typer.Option(help="Power of the coordinates' probability in a score; 0 leaves it out.")
    ] = 1.0,
    score_odds: Annotated[
        str,
        typer.Option(help="Weights of text and tower in the score of what the tower proposes, and a sum."),
    ] = "0.2,0.8,0",
    system: Annotated[
        str, typer.Option(help=f"What prompts stated in training: one of {', '.join(PROMPTS)}.")
    ] = "dated",
    record: Annotated[Path | None, typer.Option(help="Training record, JSON, such as a run.json.")] = None,
    int8: Annotated[bool, typer.Option(help="Add graphs in 8 bit, if they pass the gate.")] = True,
) -> None:
    """Export a checkpoint to a bundle, and check ONNX Runtime against torch."""
    from engine.export.bundle import export as write_bundle
    from engine.runtime.parity import verify as check

    if system not in PROMPTS:
        raise InputError(f"got --system {system!r}, expected one of {', '.join(PROMPTS)}")
    training = _read_record(record) if record is not None else {}
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
            spacing_m=spacing,
            score_floor=score_floor,
            score_coordinates=score_coordinates,
            score_odds=_read_odds(score_odds),
            training=training,
            system=PROMPTS[system],
            int8=int8,
            progress=lambda stage: status.update(f"exporting: {stage}"),
        )
        status.update("checking parity")
        parity = check(opened)
    _show(parity)
    _console.print(f"bundle {opened.bundle_id} in {opened.path}")


def _read_odds(given: str) -> tuple[float, float, float]:
    try:
        text, tower, added = (float(each) for each in given.split(","))
    except ValueError as error:
        raise InputError(f"got --score-odds {given!r}, expected three numbers such as 0.2,0.8,0") from error
    if not (0 <= text < math.inf and 0 <= tower < math.inf and math.isfinite(added)):
        raise InputError(f"got --score-odds {given!r}, expected finite numbers, weights not below 0")
    return text, tower, added


def _read_record(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read --record {path}: {error}; expected a JSON object") from error
    if not isinstance(facts, dict):
        raise InputError(f"got {type(facts).__name__} in --record {path}, expected a JSON object")
    return facts


def verify(
    bundle: Annotated[Path | None, typer.Argument(help="Bundle; else the one that ships.")] = None,
    backend: Annotated[str, typer.Option(help="Backend: ort, ort-int8, tensorrt or torch.")] = "ort",
) -> None:
    """Check a bundle's files, and a backend against the torch reference on the golden chips."""
    from engine.runtime.parity import verify as check
    from engine.runtime.spec import Bundle

    with _console.status("checking"):
        opened = Bundle.open(bundle)
        parity = check(opened, backend)
    _show(parity)
    _console.print(f"bundle {opened.bundle_id}: {backend} gives what the reference gives")


def build(
    bundle: Annotated[Path | None, typer.Argument(help="Bundle; else the one that ships.")] = None,
    target: Annotated[
        str, typer.Option(help="tensorrt (for the GPU at hand) or tensorrt-rtx.")
    ] = "tensorrt-rtx",
    sm: Annotated[
        str, typer.Option(help="Compute capabilities of tensorrt-rtx, such as 80,89,120; else all that fit.")
    ] = "",
    precision: Annotated[
        str | None, typer.Option(help="bf16, fp16 or fp32; else fp16 for nano, bf16 for Qwen's.")
    ] = None,
    max_batch: Annotated[int, typer.Option(help="Rows and chips of a call.")] = 32,
    max_tokens: Annotated[
        int | None, typer.Option(help="Longest prompt and answer together; else what the tasks need.")
    ] = None,
) -> None:
    """Compile a bundle's graphs with TensorRT and enter the plan into its list."""
    from engine.export.build import build as run
    from engine.runtime.spec import Bundle

    try:
        numbers = [int(each) for each in sm.replace(" ", "").split(",") if each]
    except ValueError as error:
        raise InputError(f"got --sm {sm!r}, expected numbers such as 80,89,120") from error
    opened = Bundle.open(bundle)
    bar = Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=_console)
    with bar:
        plan = run(
            opened,
            target,  # type: ignore[arg-type]  # checked there
            sm=numbers,
            precision=precision,  # type: ignore[arg-type]
            max_batch=max_batch,
            max_tokens=max_tokens,
            progress=_Phases(bar),
        )
    table = Table("plan", "bytes", "sha256")
    for file in (plan.vision, plan.decoder):
        table.add_row(file.file, f"{file.bytes:,}", file.sha256[:16])
    _console.print(table)
    _console.print(
        f"{plan.name}, {plan.version}, sm {', '.join(map(str, plan.sm))}, {plan.max_batch} rows of "
        f"{plan.max_tokens} tokens: entered into {opened.path / 'plans.json'}"
    )


class _Phases:
    """Shows the phases of a TensorRT build, each below its parent; they end with it."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._open: dict[str, tuple[TaskID, int]] = {}

    def __call__(self, phase: str, parent: str | None, done: int, steps: int) -> None:
        if phase not in self._open:
            depth = self._open[parent][1] + 1 if parent in self._open else 0
            self._open[phase] = (self._bar.add_task("  " * depth + phase, total=steps), depth)
        if done < steps:
            self._bar.update(self._open[phase][0], completed=done)
        else:
            self._bar.remove_task(self._open.pop(phase)[0])


def _show(parity: Any) -> None:
    table = Table("compared", "result")
    for tensor, error in parity.tensors.items():
        table.add_row(tensor, f"relative error {error:.1e} of {parity.allowed.tensor:.0e} allowed")
    for task, (agree, count) in parity.answers.items():
        table.add_row(task, f"{agree} of {count} answers agree")
    _console.print(table)
