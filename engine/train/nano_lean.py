"""A leaner vision tower out of a trained one: fewer and narrower blocks, taught by what they replace.

Of the tower's blocks those stay that look through windows, and the last one that sees the whole chip; of the
gated products in each, the units that matter most to what it adds. What is cut off is learned back: the
lean tower must give the tokens that the whole one gives, and find what is there as it was taught to. The
decoder and the modulation, which know those tokens, stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine.train.nano_losses import Pretrainer

KEPT = (0, 2, 3)  # blocks of ``engine.model.nano.TOWER`` in ``LEAN``
_ALIKE_WEIGHT = 4.0  # of tokens unlike the whole tower's, as a share of their variance; a guess that did


def start_of(run: Path) -> Path:
    """Return the weights in which a run ended."""
    return next(path for name in ("tasks", "joint") if (path := run / f"{name}.pt").is_file())


def slim(whole: Pretrainer, lean: Pretrainer, patches: Tensor) -> None:
    """Give a lean model a whole one's weights, as far as it has room.

    Args:
        whole: trained.
        lean: moved in place.
        patches: of some chips, which tell what matters, [B, side^2, 3 * patch^2].
    """
    loads = _loads(whole, patches)
    kept = {name: value for name, value in whole.state_dict().items() if ".visual.blocks." not in name}
    prefix = next(name for name in whole.state_dict() if ".visual.blocks." in name).partition("blocks.")[0]
    inner = lean.model.base.config.vision_config.intermediate_size
    for index, block in enumerate(KEPT):
        units = loads[block].topk(inner).indices.sort().values
        for name, value in whole.state_dict().items():
            if name.startswith(f"{prefix}blocks.{block}."):
                to = f"{prefix}blocks.{index}." + name.removeprefix(f"{prefix}blocks.{block}.")
                if ".mlp." in name:
                    value = _some(name, value, units)
                kept[to] = value
    lean.load_state_dict(kept)


def _some(name: str, value: Tensor, units: Tensor) -> Tensor:
    if ".down_proj." in name:
        return value[:, units] if value.ndim == 2 else value
    return value[units]


@torch.no_grad()
def _loads(net: Pretrainer, patches: Tensor) -> list[Tensor]:
    """Return how much each unit of each block's gated product adds, root mean square."""
    found: list[Tensor] = []

    def keep(down: nn.Linear, given: tuple[Tensor, ...]) -> None:
        found.append(given[0].float().square().mean((0, 1)).sqrt() * down.weight.norm(dim=0))

    blocks: Any = net.model.base.model.visual.blocks
    hooks = [block.mlp.down_proj.register_forward_pre_hook(keep) for block in blocks]
    try:
        net.model.vision(patches)
    finally:
        for hook in hooks:
            hook.remove()
    return found


class Alike:
    """How unlike a whole tower's tokens are, as a loss.

    Args:
        whole: trained; stands still.
        compiled: whether to compile its tower first.
    """

    def __init__(self, whole: Pretrainer, compiled: bool) -> None:
        self._see: Callable[[Tensor], Tensor] = whole.model.vision.forward
        if compiled:
            self._see = torch.compile(self._see, dynamic=False)

    def __call__(self, patches: Tensor, visual: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of tokens of the same patches, and the share of variance that they miss."""
        with torch.no_grad():
            wanted = self._see(patches).float()
        missed = (visual.float() - wanted).square().mean() / wanted.var(dim=(0, 1)).mean()
        return _ALIKE_WEIGHT * missed, {"missed": missed.item()}
