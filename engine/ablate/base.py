"""The shared base of an ablation, and a fresh module on it for each cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

import torch

from engine.errors import InputError
from engine.model.fusar import load_fusar, new_fusar, save_fusar
from engine.model.nano import build_tokenizer, nano_config
from engine.model.tlm import TlmConfig, TokenwiseModulation

TINY_PX = 84  # 3 x 3 visual tokens
NONE = "none"  # the prior is withheld, so that the module is the identity


def known_fusions() -> tuple[str, ...]:
    """Return how a prior can meet the visual tokens: not at all, then the kinds of this release's module."""
    kinds = get_args(get_type_hints(TlmConfig).get("fusion", Literal["tokens"]))
    return (NONE, *(str(kind) for kind in kinds))


def plain_fusion() -> str:
    """Return the kind of the module that a configuration gets where it names none."""
    return str(next((each.default for each in fields(TlmConfig) if each.name == "fusion"), "tokens"))


def check_fusions(kinds: Sequence[str]) -> None:
    """Refuse kinds that there are not.

    Raises:
        InputError: an unknown one.
    """
    unknown = set(kinds) - set(known_fusions())
    if unknown:
        raise InputError(f"got fusion {sorted(unknown)}, expected some of {', '.join(known_fusions())}")


def tiny_base(out: Path, seed: int = 0) -> Path:
    """Write an untrained base of nano's classes with two layers each and images of 84 px."""
    from transformers import Qwen2_5_VLForConditionalGeneration

    tokenizer = build_tokenizer()
    config = nano_config(tokenizer)
    config.vision_config.depth, config.vision_config.fullatt_block_indexes = 2, [1]
    config.text_config.num_hidden_layers = 2
    config.text_config.layer_types = config.text_config.layer_types[:2]
    torch.manual_seed(seed)
    save_fusar(new_fusar(Qwen2_5_VLForConditionalGeneration(config), TINY_PX), tokenizer, out)
    return out


def fresh(base: Path, fusion: str, seed: int, out: Path, hidden: int = 64) -> Path:
    """Write the base with a new module of one kind on it, where that is not done yet.

    Args:
        base: checkpoint folder.
        fusion: one of `known_fusions`.
        seed: of the module's weights.
        out: folder to write.
        hidden: width of the module's hidden layer.
    """
    if (out / "fusar.json").is_file():
        return out
    model, tokenizer = load_fusar(base)
    model.tlm = new_module(model.tlm.config.channels, fusion, seed, hidden)
    save_fusar(model, tokenizer, out)
    return out


def new_module(channels: int, fusion: str, seed: int, hidden: int) -> Any:
    """Return an untrained module of one kind."""
    torch.manual_seed(seed)
    config: dict[str, Any] = {"channels": channels, "hidden": hidden}
    if fusion != NONE and any(each.name == "fusion" for each in fields(TlmConfig)):
        config["fusion"] = fusion
    return TokenwiseModulation(TlmConfig(**config))
