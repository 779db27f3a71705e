"""What a stage would train, worked out without its weights: parameters, memory, steps.

The model is made on torch's meta device from its ``config.json`` alone, so that a base of billions of
parameters costs nothing. Memory is exact for weights, gradients and AdamW's state, and an estimate for
activations.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from engine.errors import ArtifactError
from engine.model import checkpoint
from engine.model.tlm import TlmConfig, TokenwiseModulation
from engine.train import stages
from engine.train.config import TrainConfig

_TEXT_TOKENS = 256  # of question and answer, beside an image's
# Floats kept a token and layer, in widths of the hidden state: all, or a layer's input alone.
_KEPT, _KEPT_CHECKPOINTED = 34, 1


class _Skeleton(nn.Module):
    """The two parts of FusarGpt that hold parameters."""

    def __init__(self, base: Any, tlm: TokenwiseModulation) -> None:
        super().__init__()
        self.base, self.tlm = base, tlm


def plan(config: TrainConfig, source: str, records: int, bf16: bool = True) -> dict[str, Any]:
    """Return what a stage would train.

    Args:
        config: the stage.
        source: folder of a base: its ``config.json`` suffices; or a name, whose configuration is fetched.
        records: how many the data hold.
        bf16: whether frozen weights are kept in bf16.

    Raises:
        ArtifactError: there is no such configuration.
    """
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    folder = Path(source)
    try:
        facts = Qwen2_5_VLConfig.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"cannot read the configuration of {source!r}: {error}") from error
    width = facts.text_config.hidden_size
    own = folder / "fusar.json"
    saved = json.loads(own.read_text()) if own.is_file() else {}
    image_px = saved.get("image_px", checkpoint.QWEN_IMAGE_PX)
    settings = config.tlm
    tlm = TlmConfig(
        **saved.get(
            "tlm",
            {
                "channels": width,
                "hidden": settings.hidden or checkpoint.released_hidden(width),
                "variant": settings.variant,
            },
        )
    )
    if settings.years > tlm.years:
        tlm = replace(tlm, years=settings.years)
    with torch.device("meta"):
        model = _Skeleton(Qwen2_5_VLForConditionalGeneration(facts), TokenwiseModulation(tlm))
        if "lora" in config.trains:
            lora = config.lora
            opened: Any = checkpoint.Opened(model, None, source)  # type: ignore[arg-type]  # parameters alone
            checkpoint.add_lora(opened, lora.r, lora.alpha, lora.dropout, lora.vision)
    stages.choose(model, config)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    half = bf16 and not config.full
    tokens = (image_px // 28) ** 2 + _TEXT_TOKENS
    kept = _KEPT_CHECKPOINTED if config.gradient_checkpointing else _KEPT
    size = 2 if bf16 else 4
    layers = facts.text_config.num_hidden_layers
    activations = config.micro_batch * tokens * size * width * (layers * kept + _KEPT)
    activations += (
        config.micro_batch * tokens * facts.text_config.vocab_size * 4 * 2
    )  # logits, their gradient
    return {
        "trained_parameters": trained,
        "frozen_parameters": frozen,
        "trained_by_part": _by_part(model),
        "steps": config.steps or math.ceil(config.epochs * records / config.batch),
        "memory_bytes": {
            "weights": frozen * (2 if half else 4) + trained * 4,
            "gradients": trained * 4,
            "adamw": trained * 8,
            "activations_estimated": activations,
        },
    }


def _by_part(model: nn.Module) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            part = "lora" if "lora_" in name else "tlm" if name.startswith("tlm.") else "base"
            counts[part] = counts.get(part, 0) + parameter.numel()
    return counts


def told(plan: dict[str, Any]) -> str:
    """Return a plan in words."""
    memory = plan["memory_bytes"]
    parts = ", ".join(f"{part} {count:,}" for part, count in plan["trained_by_part"].items())
    needs = ", ".join(f"{name.replace('_', ' ')} {size / 2**30:.2f}" for name, size in memory.items())
    return (
        f"trains {plan['trained_parameters']:,} parameters ({parts}), {plan['frozen_parameters']:,} frozen\n"
        f"{plan['steps']} steps\n"
        f"{sum(memory.values()) / 2**30:.2f} GiB on each device: {needs}"
    )
