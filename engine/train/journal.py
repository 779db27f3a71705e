"""What a run writes of itself: the state from which it goes on, its curves, its record."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from engine.data.records import Record
from engine.errors import ArtifactError, DatasetError
from engine.train.config import TrainConfig

# Fields that change how the work is done, not what comes out: a run may go on with other values.
_MANNER = ("micro_batch", "workers", "save_every", "gradient_checkpointing")
_BLOCK = 1 << 20  # bytes read at once


@dataclass
class Curve:
    """Loss, gradient norm and rate by step, the loss on held-out records, and other figures by step.

    A figure that was not taken at a step is None there.
    """

    step: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    gradient_norm: list[float] = field(default_factory=list)
    lr: list[float] = field(default_factory=list)
    validation_step: list[int] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    figures: dict[str, list[float | None]] = field(default_factory=dict)

    def add(
        self,
        step: int,
        loss: float,
        gradient_norm: float,
        lr: float,
        figures: Mapping[str, float] | None = None,
    ) -> None:
        """Note a step."""
        for name in {**self.figures, **(figures or {})}:
            values = self.figures.setdefault(name, [None] * len(self.step))
            values.append((figures or {}).get(name))
        self.step.append(step)
        self.loss.append(loss)
        self.gradient_norm.append(gradient_norm)
        self.lr.append(lr)

    def validate(self, step: int, loss: float | None) -> None:
        """Note the loss on held-out records."""
        if loss is not None:
            self.validation_step.append(step)
            self.validation_loss.append(loss)

    def to_dict(self) -> dict[str, Any]:
        """Return the lists."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Curve:
        """Take the lists up again."""
        return cls(**values)


def file_hash(path: Path) -> str:
    """Return a file's sha256.

    Raises:
        DatasetError: it cannot be read.
    """
    total = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                total.update(block)
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror}; a record or the run names it") from error
    return total.hexdigest()


def files_hash(paths: Iterable[Path]) -> str:
    """Return the sha256 over the sha256 of each file."""
    return hashlib.sha256(b"".join(bytes.fromhex(file_hash(path)) for path in paths)).hexdigest()


def data_hash(data: Path, config: TrainConfig, records: Sequence[Record]) -> str:
    """Return the hash of the record files and of every image and prior that they name.

    Raises:
        DatasetError: a file is missing.
    """
    named = {path for record in records for path in record.files()}
    return files_hash([*(data / name for name in config.data_files), *sorted(named)])


def seen_from(out: Path, source: str) -> str:
    """Return where a source stands, seen from a run's folder; a base's name as it is."""
    return os.path.relpath(source, out) if Path(source).exists() else source


def facts(stage: int | str, config: Mapping[str, Any], base: Any, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run's record says before it starts.

    Args:
        stage: what is trained.
        config: how.
        base: what it starts from.
        data: what it learns from: ``sha256`` and how much there is of it.
    """
    return {
        "stage": stage,
        "config": dict(config),
        "base": base,
        "data": dict(data),
        "commit": _commit(),
        "versions": {name: version(name) for name in ("torch", "transformers", "peft", "accelerate")},
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def fingerprint(facts: dict[str, Any]) -> str:
    """Return a hash of what decides a run's outcome."""
    config = {name: value for name, value in facts["config"].items() if name not in _MANNER}
    if config["tlm"]["years"] == 1:  # runs begun before there was another go on
        config["tlm"] = {name: value for name, value in config["tlm"].items() if name != "years"}
    named = json.dumps([config, facts["base"], facts["data"], facts["steps"]], sort_keys=True)
    return hashlib.sha256(named.encode()).hexdigest()


def read_state(out: Path, facts: dict[str, Any]) -> dict[str, Any] | None:
    """Return the last saved state, or None where the folder is new.

    Raises:
        ArtifactError: the folder holds another run, or something else.
    """
    path = out / "state" / "state.pt"
    if not path.is_file():
        if out.is_dir() and any(each.name != "state" for each in out.iterdir()):
            raise ArtifactError(f"{out} is not empty and holds no run: expected a new folder")
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        same = state["fingerprint"] == fingerprint(facts)
    except (OSError, KeyError, RuntimeError, pickle.UnpicklingError) as error:
        raise ArtifactError(f"cannot read {path}: {error}; remove {out} to start anew") from error
    if not same:
        raise ArtifactError(
            f"{out} holds a run with another configuration, base or data: use another folder, or remove it"
        )
    return state


def write_state(out: Path, facts: dict[str, Any], state: dict[str, Any]) -> None:
    """Save a state; the one before stays until the new one is whole."""
    folder = out / "state"
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(state | {"fingerprint": fingerprint(facts)}, folder / "state.pt.part")
    os.replace(folder / "state.pt.part", folder / "state.pt")


def write_run(out: Path, facts: dict[str, Any], curve: Curve, loss_is: str = "loss per answer token") -> None:
    """Write ``run.json``, ``curves.json`` and ``curves.png``."""
    out.mkdir(parents=True, exist_ok=True)
    held_out = curve.validation_loss[-1] if curve.validation_loss else None
    last = {"loss": curve.loss[-1], "validation_loss": held_out}
    record = facts | {"finished": datetime.now(timezone.utc).isoformat(timespec="seconds"), "last": last}
    (out / "curves.json").write_text(json.dumps(curve.to_dict()) + "\n")
    _draw(curve, out / "curves.png", loss_is)
    (out / "run.json").write_text(json.dumps(record, indent=1) + "\n")


def _draw(curve: Curve, path: Path, loss_is: str) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(curve.step, curve.loss, linewidth=0.8, label="training")
    for name, values in curve.figures.items():
        taken = [(step, value) for step, value in zip(curve.step, values, strict=True) if value is not None]
        axes.plot(*zip(*taken, strict=True), linewidth=0.6, linestyle="--", label=name)
    if curve.validation_step:
        axes.plot(curve.validation_step, curve.validation_loss, "o-", label="validation")
    axes.set(xlabel="optimizer step", ylabel=loss_is, yscale="log")
    axes.legend(loc="upper right")  # "best" warns where drawing is slow
    figure.savefig(path, dpi=120)


@contextmanager
def progress(shown: bool, steps: int, start: int) -> Iterator[Callable[[int, float], None]]:
    """Show a bar of steps with the loss; yields the function that moves it."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=not shown) as bars:
        bar = bars.add_task("training", total=steps, completed=start)
        yield lambda step, loss: bars.update(bar, completed=step, description=f"loss {loss:.4f}")


def _commit() -> str | None:
    """Return the commit of the working tree this package stands in, "+" where files differ; None without."""
    here = Path(__file__).resolve().parent
    try:
        head = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty=+", "--abbrev=40", "--exclude=*"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return head.stdout.strip() or None
