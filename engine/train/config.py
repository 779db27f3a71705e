"""Configuration of a stage of training: a dataclass, read from YAML, checked when made.

A preset holds both stages (``presets/*.yaml``): ``paper`` follows the paper's equations, ``released`` the
released code, ``nano`` our own small model. A file given beside it replaces single fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from engine.errors import InputError

PRESETS = Path(__file__).parent / "presets"
PARTS = ("tlm", "lora", "vision", "language", "all")
T = TypeVar("T")


@dataclass(frozen=True)
class LoraSettings:
    """Low-rank adapters of the language model's linear layers.

    Attributes:
        r: rank.
        alpha: scale; the update is alpha / r times the product.
        dropout: on the adapter's input.
        vision: whether the vision tower's linear layers get adapters too.
    """

    r: int = 8
    alpha: int = 32
    dropout: float = 0.05
    vision: bool = False

    def __post_init__(self) -> None:
        """Check the ranges."""
        _check(self.r > 0 and self.alpha > 0, f"got lora r={self.r}, alpha={self.alpha}, expected positive")
        _check(0 <= self.dropout < 1, f"got lora dropout {self.dropout}, expected 0 to 1")


@dataclass(frozen=True)
class TlmSettings:
    """The modulation that a base without one gets.

    Attributes:
        variant: "fusar" or "reference" (see ``engine.model.tlm``).
        hidden: width of the hidden layer; 0 for the release's max(128, 4 * channels).
        prior_dropout: share of images whose prior is withheld in training, "fusar" only.
        years: of a prior, 1 or 2 ("fusar" only); a modulation of one year is widened to two.
    """

    variant: Literal["fusar", "reference"] = "fusar"
    hidden: int = 64
    prior_dropout: float = 0.3
    years: int = 1

    def __post_init__(self) -> None:
        """Check the ranges."""
        _check(self.hidden >= 0, f"got tlm hidden {self.hidden}, expected 0 or more")
        fits = self.years == 1 or (self.years == 2 and self.variant == "fusar")
        _check(fits, f"got tlm years {self.years} of {self.variant}, expected 1, or 2 of fusar")
        _check(0 <= self.prior_dropout < 1, f"got tlm prior_dropout {self.prior_dropout}, expected 0 to 1")


@dataclass(frozen=True)
class TrainConfig:
    """One stage.

    Attributes:
        stage: 1 (align and inject knowledge) or 2 (tasks).
        trains: what learns: any of tlm, lora, vision, language, or all. Whatever is not named is frozen.
        files: record files in the data folder; ``stage<n>.jsonl`` where none is named.
        epochs: passes over the data; used where steps is 0.
        steps: optimizer steps.
        lr: AdamW's highest learning rate.
        tlm_lr: the same for the modulation; 0 where it is lr.
        batch: records an optimizer step, over all devices.
        micro_batch: records a forward pass of one device.
        warmup: share of the steps over which the rate rises; it then falls as a cosine to 0.
        weight_decay: AdamW's, on matrices.
        clip: highest norm of the gradient.
        seed: of order, dropout and new weights.
        max_length: most tokens of a prompt with its answer; longer ones are an error.
        precision: "auto" is bf16 on a GPU that has it, otherwise fp32.
        gradient_checkpointing: recompute activations in the backward pass.
        save_every: steps between saved states; 0 for the last alone.
        workers: processes that read data.
        lora: the adapters.
        tlm: the modulation.
    """

    stage: int
    trains: tuple[str, ...]
    files: tuple[str, ...] = ()
    epochs: float = 0.0
    steps: int = 0
    lr: float = 1e-4
    tlm_lr: float = 0.0
    batch: int = 16
    micro_batch: int = 1
    warmup: float = 0.05
    weight_decay: float = 0.01
    clip: float = 1.0
    seed: int = 42
    max_length: int = 2048
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    gradient_checkpointing: bool = False
    save_every: int = 500
    workers: int = 0
    lora: LoraSettings = field(default_factory=LoraSettings)
    tlm: TlmSettings = field(default_factory=TlmSettings)

    def __post_init__(self) -> None:
        """Check what contradicts itself."""
        _check(self.stage in (1, 2), f"got stage {self.stage}, expected 1 or 2")
        unknown = set(self.trains) - set(PARTS)
        _check(not unknown and bool(self.trains), f"got trains {self.trains}, expected some of {PARTS}")
        _check(
            not ("lora" in self.trains and self.full),
            f"got trains {self.trains}, expected either lora or whole weights: adapters of weights that "
            "move say nothing",
        )
        _check(
            (self.epochs > 0) != (self.steps > 0),
            f"got epochs={self.epochs} and steps={self.steps}, expected one of them above 0",
        )
        _check(self.lr > 0 and self.tlm_lr >= 0, f"got lr={self.lr}, tlm_lr={self.tlm_lr}, expected positive")
        _check(
            0 < self.micro_batch <= self.batch and self.batch % self.micro_batch == 0,
            f"got batch={self.batch}, micro_batch={self.micro_batch}, expected batch to be a multiple",
        )
        _check(0 <= self.warmup < 1, f"got warmup {self.warmup}, expected a share of the steps, 0 to 1")
        _check(self.clip > 0 and self.weight_decay >= 0, "got a clip or weight_decay out of range")
        _check(
            self.max_length > 0 and self.save_every >= 0 and self.workers >= 0,
            f"got max_length={self.max_length}, save_every={self.save_every}, workers={self.workers}, "
            "expected none below 0",
        )

    @property
    def full(self) -> bool:
        """Whether weights of the base itself move."""
        return bool({"vision", "language", "all"} & set(self.trains))

    @property
    def data_files(self) -> tuple[str, ...]:
        """Names of the record files."""
        return self.files or (f"stage{self.stage}.jsonl",)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, for a run's record."""
        return asdict(self)


def presets() -> list[str]:
    """Return the names of the presets."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def load_config(stage: int, preset: str = "nano", file: Path | None = None) -> TrainConfig:
    """Read a preset's stage, and replace fields by those of a file.

    Args:
        stage: 1 or 2.
        preset: name of a preset.
        file: YAML with fields of TrainConfig; ``lora`` and ``tlm`` may name single fields.

    Raises:
        InputError: no such preset or file, an unknown field, or a value that does not fit.
    """
    if preset not in presets():
        raise InputError(f"got preset {preset!r}, expected one of {', '.join(presets())}")
    values = _read_yaml(PRESETS / f"{preset}.yaml").get(f"stage{stage}")
    if values is None:
        raise InputError(f"got stage {stage}, expected 1 or 2")
    if file is not None:
        values = _overlay(values, _read_yaml(file))
    return build(TrainConfig, {"stage": stage} | values)


def build(kind: type[T], values: Mapping[str, Any], where: str = "") -> T:
    """Make a dataclass of a mapping, with its types checked.

    Raises:
        InputError: an unknown field or a value of another type.
    """
    known = {each.name for each in fields(kind)}  # type: ignore[arg-type]
    unknown = set(values) - known
    if unknown:
        raise InputError(f"got unknown {where}{sorted(unknown)}, expected some of {sorted(known)}")
    hints = get_type_hints(kind)
    made = {name: _convert(hints[name], value, where + name) for name, value in values.items()}
    try:
        return kind(**made)
    except TypeError as error:
        raise InputError(f"{where or 'configuration'}: {error}") from error


def _convert(hint: Any, value: Any, where: str) -> Any:
    if is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            raise InputError(f"got {where} {value!r}, expected a mapping of fields")
        return build(hint, value, where + ".")
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise InputError(f"got {where} {value!r}, expected one of {get_args(hint)}")
        return value
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
            raise InputError(f"got {where} {value!r}, expected a list of text")
        return tuple(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        # YAML 1.1 reads 1e-4 as text, since it lacks the point
        hinted = ": write 1.0e-4, with a point" if hint is float and isinstance(value, str) else ""
        raise InputError(f"got {where} {value!r}, expected {hint.__name__}{hinted}")
    return value


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"cannot read {path}: {error}; expected a YAML mapping") from error
    if not isinstance(values, dict):
        raise InputError(f"got {type(values).__name__} in {path}, expected a YAML mapping of fields")
    return values


def _overlay(values: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    out = dict(values)
    for name, value in more.items():
        both = isinstance(value, Mapping) and isinstance(out.get(name), Mapping)
        out[name] = {**out[name], **value} if both else value
    if "steps" in more and "epochs" not in more:
        out.pop("epochs", None)
    if "epochs" in more and "steps" not in more:
        out.pop("steps", None)
    return out


def _check(fits: bool, message: str) -> None:
    if not fits:
        raise InputError(message)
