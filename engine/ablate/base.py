"""The shared base of an ablation, and a fresh module on it for each cell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from engine.errors import InputError
from engine.model.fusar import load_fusar, new_fusar, save_fusar
from engine.model.nano import build_tokenizer, nano_config
from engine.model.tlm import TlmConfig, TokenwiseModulation

TINY_PX = 84  # 3 x 3 visual tokens
NONE = "none"  # the prior is withheld, so that the module is the identity
PLAIN = "modulate"  # what is shipped
# How a prior can meet the visual tokens, and what of the module's configuration says so.
FUSIONS: dict[str, dict[str, Any]] = {
    NONE: {},
    PLAIN: {},
    "tower": {"place": "tower"},
    "sum": {"fusion": "sum"},
    "concat": {"fusion": "concat"},
    "two-years": {"years": 2},  # modulate, by the year before beside the newest
}


def years_of(fusion: str) -> int:
    """Return of how many years a kind's priors are."""
    return int(FUSIONS[fusion].get("years", 1))


def check_fusions(kinds: Sequence[str]) -> None:
    """Refuse kinds that there are not.

    Raises:
        InputError: an unknown one.
    """
    if unknown := set(kinds) - set(FUSIONS):
        raise InputError(f"got fusion {sorted(unknown)}, expected some of {', '.join(FUSIONS)}")


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
        fusion: one of FUSIONS.
        seed: of the module's weights.
        out: folder to write.
        hidden: width of the module's hidden layer.
    """
    if (out / "fusar.json").is_file():
        return out
    model, tokenizer = load_fusar(base)
    torch.manual_seed(seed)
    vision = model.base.config.vision_config
    channels = vision.hidden_size if fusion == "tower" else vision.out_hidden_size
    told = model.tlm.config.places
    config = TlmConfig(channels, hidden, places=told, width=vision.out_hidden_size, **FUSIONS[fusion])
    places = model.tlm.places if told else None
    model.tlm = TokenwiseModulation(config)
    if places is not None:
        model.tlm.places = places  # of the base, whatever becomes of the prior
    save_fusar(model, tokenizer, out)
    return out
