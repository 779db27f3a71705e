"""What a stage trains: opens the weights it starts from, and freezes the rest."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from engine.errors import InputError
from engine.model.checkpoint import Opened, add_lora, fold_lora, open_model, save_adapter, save_checkpoint
from engine.train.config import TrainConfig


def begin(config: TrainConfig, source: str, dtype: torch.dtype = torch.float32) -> Opened:
    """Open the weights that a stage starts from, with what it trains set to learn.

    An adapter of the stage before goes on learning, so that one adapter over one base holds both stages;
    where whole weights move, it is folded into them first.

    Args:
        config: the stage.
        source: a base, or the run of the stage before.
        dtype: of frozen base weights.

    Raises:
        ArtifactError: the source does not open.
        InputError: the adapter has another shape than the configuration asks for.
    """
    torch.manual_seed(config.seed)
    tlm = config.tlm
    opened = open_model(
        source, tlm.variant, tlm.hidden, tlm.prior_dropout, torch.float32 if config.full else dtype
    )
    if tlm.years > opened.model.tlm.config.years:
        opened.model.tlm.widen(tlm.years)
    if config.full:
        fold_lora(opened)
    elif "lora" in config.trains:
        lora = config.lora
        if opened.adapter is None:
            add_lora(opened, lora.r, lora.alpha, lora.dropout, lora.vision)
        else:
            have = opened.adapter.peft_config["default"]
            if (have.r, have.lora_alpha) != (lora.r, lora.alpha):
                raise InputError(
                    f"got lora r={lora.r}, alpha={lora.alpha} on an adapter of r={have.r}, "
                    f"alpha={have.lora_alpha}: use the same, or merge the run first (fusar-engine merge)"
                )
    choose(opened.model, config)
    if config.gradient_checkpointing:
        opened.model.base.gradient_checkpointing_enable({"use_reentrant": False})
    return opened


def choose(model: Any, config: TrainConfig) -> None:
    """Freeze every parameter but those of the parts that the stage trains."""
    model.requires_grad_(False)
    if {"vision", "all"} & set(config.trains) or ("lora" in config.trains and config.lora.vision):
        model.readout = None  # of another tower than the one that comes out
    parts: dict[str, list[nn.Module]] = {
        "tlm": [model.tlm],
        "vision": [model.base.model.visual],
        "language": [model.base.model.language_model, model.base.lm_head],
        "all": [model],
    }
    for name in config.trains:
        for part in parts.get(name, []):
            part.requires_grad_(True)
    if "lora" in config.trains:
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.requires_grad_(True)


def parameter_groups(model: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """Return AdamW's groups: the modulation with its own rate, vectors without weight decay."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            rate = config.tlm_lr if config.tlm_lr and name.startswith("tlm.") else config.lr
            decay = config.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((rate, decay), []).append(parameter)
    return [
        {"params": params, "lr": rate, "peak": rate, "weight_decay": decay}
        for (rate, decay), params in groups.items()
    ]


def save(opened: Opened, config: TrainConfig, folder: Any) -> None:
    """Write what a stage leaves: an adapter folder, or a whole checkpoint where weights of the base moved."""
    if config.full:
        save_checkpoint(opened, folder)
    else:
        save_adapter(opened, folder)
