"""How nano's weights move: what each step of pretraining trains, at which rates, over several processes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from engine.train.nano_losses import Pretrainer

_TLM_RATE = 5e-4


def average_gradients(parameters: Sequence[nn.Parameter], world: int) -> None:
    """Average gradients over the processes of a group.

    A batch without objects leaves the pointer without a gradient: in one process perhaps, not in all. What
    has one in any process gets one in all; what has none in any keeps none: optimisers leave it alone.
    """
    moves = torch.tensor([parameter.grad is not None for parameter in parameters], dtype=torch.uint8)
    dist.all_reduce(moves, dist.ReduceOp.MAX)
    moved = [parameter for parameter, moves_ in zip(parameters, moves.tolist(), strict=True) if moves_]
    for parameter in moved:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    grads = [parameter.grad for parameter in moved if parameter.grad is not None]
    if not grads:
        return
    flat = torch.cat([grad.flatten() for grad in grads])
    dist.all_reduce(flat)
    flat /= world
    for grad, mean in zip(grads, flat.split([grad.numel() for grad in grads]), strict=True):
        grad.copy_(mean.view_as(grad))


def optimisers(net: Pretrainer, step: str) -> list[torch.optim.Optimizer]:
    """Muon for the blocks' matrices, AdamW for the rest."""
    muon, decayed, plain, modulation = [], [], [], []
    for name, parameter in net.named_parameters():
        visual = ".visual." in name
        if (step in ("vision", "lean")) != visual and step != "joint":
            continue
        if name.endswith(".tlm.places"):
            plain.append(parameter)
        elif ".tlm." in name:
            if step == "joint":
                modulation.append(parameter)
        elif parameter.ndim == 2 and any(part in name for part in ("blocks", "layers", "merger")):
            muon.append(parameter)
        elif parameter.ndim >= 2 and "embed_tokens" not in name:
            decayed.append(parameter)
        else:
            plain.append(parameter)
    rate = {"vision": 1.5e-3, "lean": 1.5e-3, "decoder": 2e-3, "joint": 1.2e-3, "tasks": 1.2e-3}[step]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}]
    groups.append({"params": modulation, "weight_decay": 0.01, "lr": _TLM_RATE})
    found: list[torch.optim.Optimizer] = [
        torch.optim.AdamW([g for g in groups if g["params"]], lr=1.5e-3, betas=(0.9, 0.98))
    ]
    found.append(
        torch.optim.Muon(muon, lr=rate, weight_decay=0.05, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    )
    for optimiser in found:
        for group in optimiser.param_groups:
            group["peak"] = group["lr"]
    return found


def schedule(
    optimisers: list[torch.optim.Optimizer], step: int, steps: int, decay: bool, warm: int = 100
) -> None:
    """Warm up over at most so many steps, then a cosine down to 3% where rates decay."""
    warmed = step / max(1, min(warm, steps // 10))
    factor = min(warmed, 0.03 + 0.97 * 0.5 * (1 + np.cos(np.pi * step / steps)) if decay else 1.0)
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * factor
