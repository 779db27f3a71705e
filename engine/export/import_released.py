"""``fusar-engine import``: a released adapter over a Qwen2.5-VL base to our bundle.

The release keeps LoRA in peft's form, the modulation in ``vec64_film.pt``, and says neither at which spacing
nor of which sensors its images were: whoever imports it states both, and the manifest keeps them.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import typer

from engine.errors import ArtifactError, InputError
from engine.runtime import spec
from engine.runtime.text import RELEASED

# The release asks for one class by name and shows the form of the answer; its own words travel with its
# records, and --question takes them.
DETECTION = (
    "This is a SAR image. Check it carefully and detect every {label}. Answer with a JSON list such as "
    '[{{"bbox_2d": [x1, y1, x2, y2], "label": "{label}"}}], or None if there is none.'
)
RELEASED_SENSORS = ("Qilu-1", "Gaofen-3", "Hongtu-1")
_SKETCH = {"detection": "detections", "counting": "count", "localisation": "cells", "description": "text"}


def released_task(task: str, label: str, question: str | None) -> spec.TaskSpec:
    """Return how a released adapter is asked.

    Args:
        task: detection, counting, localisation or description.
        label: the class it was trained to name.
        question: its own words; only detection's are known.

    Raises:
        InputError: the task is unknown, or needs a question.
    """
    if task not in _SKETCH:
        raise InputError(f"got task {task!r}, expected one of {', '.join(_SKETCH)}")
    if question is None:
        if task != "detection":
            raise InputError(f"got task {task!r} without a question, expected the words it was trained on")
        question = DETECTION.format(label=label)
    return spec.TaskSpec(
        question=question,
        answer=_SKETCH[task],  # type: ignore[arg-type]
        labels=(label,) if task == "detection" else (),
        max_tokens=2048 if task == "detection" else 96,
        empty="None",
    )


def import_released(
    adapter: Path,
    base: str,
    out: Path,
    tasks: Mapping[str, spec.TaskSpec],
    sensors: tuple[str, ...],
    spacing_m: float,
    name: str = "fusar-gpt",
    progress: Callable[[str], None] | None = None,
) -> spec.Bundle:
    """Write the bundle of a released Stage-1 or Stage-2 adapter.

    Args:
        adapter: its folder.
        base: folder or name of the Qwen2.5-VL that it was trained on.
        out: the bundle's folder; new or empty.
        tasks: what it is asked, by name.
        sensors: what it was trained on.
        spacing_m: pixel spacing of its images, as they were cut.
        name: the bundle's name.
        progress: called with the name of each stage.

    Raises:
        ArtifactError: adapter and base do not fit each other, or a file is missing.
        InputError: the folder is not empty, or the spacing is not positive.
        ExportError: a graph could not be exported.
    """
    from engine.export.bundle import export
    from engine.model.checkpoint import open_model, save_checkpoint

    if not (adapter / "vec64_film.pt").is_file():
        raise ArtifactError(f"{adapter} holds no vec64_film.pt: expected a released adapter folder")
    if spacing_m <= 0:
        raise InputError(f"got a spacing of {spacing_m} m, expected that of the images it was trained on")
    opened = open_model(str(adapter), base=base)
    facts = {"imported_from": adapter.name, "base": base, "tlm": opened.model.tlm.config.to_dict()}
    out.parent.mkdir(parents=True, exist_ok=True)
    whole = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        if progress is not None:
            progress("merging")
        save_checkpoint(opened, whole)
        del opened
        return export(
            whole,
            out,
            name=name,
            base=base,
            tasks=tasks,
            sensors=sensors,
            spacing_m=spacing_m,
            training=facts,
            system=RELEASED,
            progress=progress,
        )
    finally:
        shutil.rmtree(whole, ignore_errors=True)


def import_(
    adapter: Annotated[Path, typer.Option(help="Released Stage-1 or Stage-2 adapter folder.")],
    base: Annotated[str, typer.Option(help="Folder or name of its Qwen2.5-VL base.")],
    out: Annotated[Path, typer.Option(help="Folder of the bundle; new or empty.")],
    spacing: Annotated[float, typer.Option(help="Pixel spacing of the images it was trained on, metres.")],
    sensor: Annotated[list[str] | None, typer.Option(help="Sensor it was trained on; repeat.")] = None,
    task: Annotated[
        str, typer.Option(help="detection, counting, localisation or description.")
    ] = "detection",
    label: Annotated[str, typer.Option(help="Class that a detection adapter names.")] = "ship",
    question: Annotated[str | None, typer.Option(help="The words it was trained on.")] = None,
    name: Annotated[str, typer.Option(help="Name of the bundle.")] = "fusar-gpt",
) -> None:
    """Import a released FUSAR-GPT adapter as a bundle."""
    from rich.console import Console

    console = Console()
    with console.status("importing") as status:
        bundle = import_released(
            adapter,
            base,
            out,
            {task: released_task(task, label, question)},
            tuple(sensor or RELEASED_SENSORS),
            spacing,
            name,
            lambda stage: status.update(f"importing: {stage}"),
        )
    sensors = ", ".join(bundle.manifest.sensors)
    console.print(f"bundle {bundle.bundle_id} in {bundle.path}, for {sensors} at {spacing:g} m")
