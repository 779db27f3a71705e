"""Checkpoints in training: bases, adapters in the released form, and merging.

A base is a folder that ``save_fusar`` wrote, a folder of transformers' files, or a name such as
``Qwen/Qwen2.5-VL-3B-Instruct``. An adapter folder has the released form (``adapter_config.json``,
``adapter_model.safetensors``, ``vec64_film.pt``, ``tlm_config.json``) and names its base.
"""

from __future__ import annotations

import json
import os
import pickle
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from engine.errors import ArtifactError, InputError
from engine.model.fusar import FusarGpt, load_fusar, save_fusar
from engine.model.tlm import PRIOR_DIM, TlmConfig, TokenwiseModulation
from engine.runtime.image import Pixels

# Full module paths: a list of suffixes such as "gate_proj" would match the vision tower's layers too.
LANGUAGE_LINEARS = r"model\.language_model\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)"
VISION_LINEARS = r"model\.visual\.blocks\.\d+\.(attn\.(qkv|proj)|mlp\.(gate|up|down)_proj)"
QWEN_IMAGE_PX = 504
# CLIP's, by which Qwen2.5-VL scales pixels
QWEN_MEAN, QWEN_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
RELEASED_FORMAT = "tlm_original_train_patch_resize_v1"
OWN_FORMAT = "tlm_fusar_v1"
LORA_FILE = "adapter_model.safetensors"
_PEFT = "base_model.model."  # before every name in an adapter's file


@dataclass
class Opened:
    """A model that is open for training.

    Attributes:
        model: the model; LoRA layers stand in its base where there is an adapter.
        tokenizer: its ``tokenizers.Tokenizer``.
        base: folder or name of the weights below the adapter.
        adapter: peft's view of the same base, or None.
    """

    model: FusarGpt
    tokenizer: Any
    base: str
    adapter: Any = None


def released_hidden(channels: int) -> int:
    """Return the width of the released MLP's hidden layer."""
    return max(128, 4 * channels)


def open_model(
    source: str,
    variant: Literal["fusar", "reference"] = "fusar",
    hidden: int = 64,
    prior_dropout: float = 0.3,
    dtype: torch.dtype = torch.float32,
    base: str | None = None,
) -> Opened:
    """Open a base or an adapter folder.

    Args:
        source: folder, or a name on the Hugging Face hub.
        variant: of the modulation that a base without one gets.
        hidden: width of its hidden layer; 0 for the release's.
        prior_dropout: its share of withheld priors.
        dtype: of the base's weights; the modulation and adapters stay in float32.
        base: of an adapter folder, where it is not the one that the folder names.

    Raises:
        ArtifactError: something is missing or does not fit.
    """
    folder = Path(source)
    if (folder / "vec64_film.pt").is_file():
        return _open_adapter(folder, dtype, base)
    if (folder / "fusar.json").is_file():
        model, tokenizer = load_fusar(folder)
        model.base.to(dtype)
        return Opened(model, tokenizer, source)
    plain, tokenizer = _open_plain(source, dtype)
    channels = plain.config.text_config.hidden_size
    config = TlmConfig(
        channels,
        hidden or released_hidden(channels),
        variant,
        sigma=2.0 if variant == "reference" else 1.0,
        prior_dropout=prior_dropout,
    )
    model = FusarGpt(plain, TokenwiseModulation(config), QWEN_IMAGE_PX, *pixel_scale(source))
    return Opened(model.eval(), tokenizer, source)


def pixel_scale(source: str) -> tuple[Pixels, Pixels]:
    """Return mean and deviation of the channels that a Qwen base expects: its folder's, else Qwen2.5-VL's."""
    file = Path(source) / "preprocessor_config.json"
    if not file.is_file():
        return QWEN_MEAN, QWEN_STD
    facts = _read_json(file)
    try:
        mean, std = ([float(value) for value in facts[name]] for name in ("image_mean", "image_std"))
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{file} states no image_mean and image_std: {error}") from error
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise ArtifactError(f"got image_mean {mean} and image_std {std} in {file}, expected three each")
    return (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])


def _open_plain(source: str, dtype: torch.dtype) -> tuple[Any, Any]:
    from tokenizers import Tokenizer
    from transformers import Qwen2_5_VLForConditionalGeneration

    try:
        base = Qwen2_5_VLForConditionalGeneration.from_pretrained(source, dtype=dtype)
        file = Path(source) / "tokenizer.json"
        known = file.is_file()
        tokenizer = Tokenizer.from_file(str(file)) if known else Tokenizer.from_pretrained(source)
    except Exception as error:  # tokenizers raises bare Exception, the hub many kinds
        raise ArtifactError(
            f"cannot open base {source!r}: {error}; expected a checkpoint folder, or a name such as "
            "Qwen/Qwen2.5-VL-3B-Instruct"
        ) from error
    return base, tokenizer


def add_lora(opened: Opened, r: int, alpha: int, dropout: float, vision: bool = False) -> None:
    """Put new adapters on the language model's linear layers, and on the vision tower's if asked."""
    from peft import LoraConfig

    targets = f"({LANGUAGE_LINEARS})|({VISION_LINEARS})" if vision else LANGUAGE_LINEARS
    _inject(opened, LoraConfig(r=r, lora_alpha=alpha, lora_dropout=dropout, target_modules=targets))


def _inject(opened: Opened, config: Any) -> None:
    from peft import get_peft_model

    config.base_model_name_or_path = None  # peft warns of any name but transformers' own
    # peft replaces layers inside the base itself; its wrapper serves only to save and to merge
    opened.adapter = get_peft_model(opened.model.base, config)


def fold_lora(opened: Opened) -> None:
    """Add the adapters' products to the weights, and take the adapters out."""
    if opened.adapter is not None:
        opened.adapter.merge_and_unload()
        opened.adapter = None


def save_adapter(opened: Opened, folder: Path) -> None:
    """Write an adapter folder in the released form."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    base = _base_reference(opened.base, folder)
    if opened.adapter is not None:
        state = get_peft_model_state_dict(opened.adapter, save_embedding_layers=False)
        save_file({k: v.contiguous() for k, v in state.items()}, folder / "adapter_model.safetensors")
        config = opened.adapter.peft_config["default"].to_dict()
        config |= {"base_model_name_or_path": base, "inference_mode": True}
        plain = {k: sorted(v) if isinstance(v, set) else v for k, v in config.items()}
        (folder / "adapter_config.json").write_text(json.dumps(plain, indent=1, sort_keys=True) + "\n")
    state = {name: value.cpu() for name, value in opened.model.tlm.state_dict().items()}
    film = {name.removeprefix("mlp."): state.pop(name) for name in list(state) if name.startswith("mlp.")}
    torch.save({"film_mlp": film, **({"beside": state} if state else {})}, folder / "vec64_film.pt")
    tlm = opened.model.tlm.config
    facts = {
        "format": RELEASED_FORMAT if tlm.variant == "reference" else OWN_FORMAT,
        "hidden_mult": tlm.hidden / tlm.channels,
        "image_size": opened.model.image_px,
        "vec_dim": PRIOR_DIM * tlm.years,
        "base": base,
        **tlm.to_dict(),
    }
    (folder / "tlm_config.json").write_text(json.dumps(facts, indent=1) + "\n")
    opened.tokenizer.save(str(folder / "tokenizer.json"))


def save_checkpoint(opened: Opened, folder: Path) -> None:
    """Write a checkpoint folder of whole weights, with adapters folded in."""
    fold_lora(opened)
    save_fusar(opened.model, opened.tokenizer, folder)


def merge(run: Path, out: Path) -> Path:
    """Write the checkpoint folder that a run amounts to: LoRA folded into the base, the modulation beside it.

    Args:
        run: a run's folder, or a released adapter folder.
        out: the folder to write.

    Returns:
        ``out``.

    Raises:
        ArtifactError: the run is not complete, or its base is missing.
        InputError: the two folders are the same.
    """
    if run.resolve() == out.resolve():
        raise InputError(f"got {run} to merge into itself, expected another folder")
    if not any((run / name).is_file() for name in ("vec64_film.pt", "fusar.json")):
        raise ArtifactError(f"{run} holds no adapter and no checkpoint: expected a finished run's folder")
    save_checkpoint(open_model(str(run)), out)
    if (run / "run.json").is_file():
        (out / "run.json").write_bytes((run / "run.json").read_bytes())
    return out


def _open_adapter(folder: Path, dtype: torch.dtype, given: str | None = None) -> Opened:
    adapter = _read_json(folder / "adapter_config.json") if (folder / "adapter_config.json").is_file() else {}
    facts = _read_json(folder / "tlm_config.json") if (folder / "tlm_config.json").is_file() else {}
    base = given or facts.get("base") or adapter.get("base_model_name_or_path")
    if not isinstance(base, str):
        raise ArtifactError(f"{folder} names no base: expected one in adapter_config.json")
    beside = folder / base
    opened = open_model(str(beside) if beside.is_dir() and given is None else base, dtype=dtype)
    own, size = opened.model, facts.get("image_size", opened.model.image_px)
    if not isinstance(size, int) or size <= 0 or size % 28:
        raise ArtifactError(f"got image_size {size!r} in {folder}, expected a multiple of 28 px")
    tlm = _read_tlm(folder, facts, own.tlm.config.channels)
    if own.tlm.config.places and not tlm.config.places and tlm.config.variant == "fusar":
        tlm.config = replace(tlm.config, places=own.tlm.config.places, width=own.tlm.config.width)
        tlm.places = own.tlm.places  # an adapter that says nothing of places leaves the base's
    opened.model = FusarGpt(own.base, tlm, size, own.pixel_mean, own.pixel_std)
    if adapter:
        _read_lora(opened, folder)
    if not any("lora_" in name and ".visual." in name for name, _ in opened.model.named_parameters()):
        opened.model.readout = own.readout  # of the base's tower, as long as that is the same
    opened.model.eval()
    return opened


def _read_tlm(folder: Path, facts: dict[str, Any], channels: int) -> TokenwiseModulation:
    """Read the modulation; a folder without ``tlm_config.json`` has the released variant, sigma 2."""
    try:
        saved = torch.load(folder / "vec64_film.pt", map_location="cpu", weights_only=True)
        state, beside = saved["film_mlp"], saved.get("beside", {})
        config = TlmConfig(
            channels=int(facts.get("channels", channels)),
            hidden=len(state["0.bias"]),
            variant="fusar" if facts.get("format") == OWN_FORMAT else "reference",
            sigma=float(facts.get("sigma", 2.0)),
            prior_dropout=float(facts.get("prior_dropout", 0.0)),
            **{
                name: facts[name] for name in ("fusion", "place", "years", "places", "width") if name in facts
            },
        )
        tlm = TokenwiseModulation(config)
        tlm.load_state_dict({f"mlp.{name}": value for name, value in state.items()} | beside)
    except (KeyError, TypeError, ValueError, RuntimeError, pickle.UnpicklingError) as error:
        raise ArtifactError(
            f"vec64_film.pt of {folder} does not fit: {error}; expected film_mlp for tokens {channels} wide"
        ) from error
    return tlm


def _read_lora(opened: Opened, folder: Path) -> None:
    from peft import LoraConfig, set_peft_model_state_dict
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = {modern_name(name): value for name, value in load_file(folder / LORA_FILE).items()}
        config = LoraConfig.from_pretrained(folder)
        # exactly the layers that the file holds: names such as "gate_proj" fit the vision tower's as well
        held = {name.split(".lora_")[0].removeprefix(_PEFT) for name in state}
        lost = sorted(set(_language_targets(opened.model.base, config.target_modules)) - held)
        config.target_modules = held
        config.exclude_modules = None
        _inject(opened, config)
        result = set_peft_model_state_dict(opened.adapter, state)
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise ArtifactError(f"the adapter of {folder} does not fit its base: {error}") from error
    missing = lost + [name for name in result.missing_keys if "lora_" in name]
    if missing or result.unexpected_keys:
        raise ArtifactError(
            f"the adapter of {folder} does not fit its base: {len(missing)} tensors missing, "
            f"{len(result.unexpected_keys)} unknown, such as {(missing + result.unexpected_keys)[0]}"
        )


def _language_targets(base: Any, targets: Any) -> list[str]:
    """Return the language model's layers that an adapter's configuration names, by pattern or by suffix."""
    if not targets:
        return []
    names = [name for name, _ in base.named_modules() if re.fullmatch(LANGUAGE_LINEARS, name)]
    if isinstance(targets, str):
        return [name for name in names if re.fullmatch(targets, name)]
    return [name for name in names if any(name == each or name.endswith(f".{each}") for each in targets)]


def modern_name(name: str) -> str:
    """Return an adapter tensor's name as transformers 5 has its layer; older releases had shorter paths."""
    path = name.removeprefix(_PEFT)
    for old, new in (
        ("visual.", "model.visual."),
        ("language_model.layers.", "model.language_model.layers."),
        ("model.layers.", "model.language_model.layers."),
    ):
        if path.startswith(old):
            path = new + path.removeprefix(old)
            break
    return _PEFT + path


def _base_reference(base: str, folder: Path) -> str:
    """Return a name as it is, a folder relative to the adapter's, so that both can move together."""
    return os.path.relpath(Path(base).resolve(), folder.resolve()) if Path(base).is_dir() else base


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"cannot read {path}: {error}") from error
    if not isinstance(values, dict):
        raise ArtifactError(f"got {type(values).__name__} in {path}, expected an object")
    return values
