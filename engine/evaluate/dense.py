"""A dense head on the engine's own visual tokens: what the text decoder earns beyond what vision knows.

The head reads classes and a box off every token, as pretraining's interface does. Two sizes: ``linear`` is
one linear layer, fitted anew; ``equal`` puts as many layers of the decoder's width before it as the decoder
has, so that it costs about what writing the answer costs. The vision tower is frozen in both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from engine.errors import ArtifactError
from engine.evaluate.items import Item
from engine.evaluate.metrics import Thing
from engine.runtime.image import CHIP_PX, patches, scale_pixels
from engine.runtime.predictor import Predictor
from engine.runtime.spec import VISION, Bundle
from engine.runtime.text import LABELS

Size = Literal["linear", "equal"]
KIND = "dense"
FLOOR = 0.02  # objects of lower probability are not listed
_HEADS = 3


class DenseHead(nn.Module):
    """Visual tokens [B, side^2, C] to class logits [B, side^2, 3] and boxes [B, side^2, 4]."""

    def __init__(self, side: int, width: int, size: Size = "linear", layers: int = 3) -> None:
        super().__init__()
        self.facts = {"side": side, "width": width, "size": size, "layers": layers}
        self.layers = nn.ModuleList()
        if size == "equal":
            heads = _HEADS if width % _HEADS == 0 else 1
            self.places = nn.Parameter(torch.zeros(side * side, width))
            self.layers = nn.ModuleList(
                nn.TransformerEncoderLayer(
                    width, heads, 8 * width // 3, dropout=0.0, batch_first=True, norm_first=True
                )
                for _ in range(layers)
            )
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, len(LABELS) + 4)
        nn.init.constant_(self.out.bias[: len(LABELS)], -3.0)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return class logits, and boxes: centre in the cell (x, y) and log sides in cells."""
        x = tokens
        if len(self.layers):
            x = x + self.places
            for layer in self.layers:
                x = layer(x)
        out = self.out(self.norm(x))
        return out[..., : len(LABELS)], out[..., len(LABELS) :]


def visual_tokens(
    predictor: Predictor, items: Sequence[Item], progress: Callable[[int], None] | None = None
) -> NDArray[np.float32]:
    """Return the engine's visual tokens of items' chips, [N, side^2, C]."""
    chip = predictor.bundle.manifest.chip
    parts = []
    for start in range(0, len(items), 32):
        some = items[start : start + 32]
        priors = [item.priors[-1] for item in some]
        pixels = patches(
            np.stack([item.chips[-1] for item in some]), chip.enlarged_px, chip.patch_px, chip.merge
        )
        parts.append(
            predictor.backend.vision(
                scale_pixels(pixels, chip.pixel_mean, chip.pixel_std),
                np.stack([prior.vectors for prior in priors]).astype(np.float32, copy=False),
                np.stack([prior.positions for prior in priors]).astype(np.float32, copy=False),
                np.stack([prior.mask for prior in priors]),
            ).reshape(len(some), chip.tokens, -1)
        )
        if progress is not None:
            progress(len(some))
    return np.concatenate(parts)


def targets(items: Sequence[Item], side: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return classes present [N, side^2, 3] and boxes [N, side^2, 4] at each token; the last object wins."""
    cell = CHIP_PX / side
    present = np.zeros((len(items), side * side, len(LABELS)), np.float32)
    boxes = np.zeros((len(items), side * side, 4), np.float32)
    for index, item in enumerate(items):
        for thing in item.things:
            x, y = (value / cell for value in thing.centre_px)
            column, row = (int(np.clip(value, 0, side - 1)) for value in (x, y))
            at = row * side + column
            present[index, at, LABELS.index(thing.label)] = 1
            sides = [max(thing.box_px[k + 2] - thing.box_px[k], 1.0) / cell for k in (0, 1)]
            boxes[index, at] = x - column, y - row, *np.log(sides)
    return present, boxes


def train(
    predictor: Predictor,
    items: Sequence[Item],
    size: Size = "linear",
    seed: int = 0,
    epochs: int = 20,
    progress: Callable[[int], None] | None = None,
) -> DenseHead:
    """Train a head on frozen visual tokens of some items.

    Args:
        predictor: whose vision.
        items: chips with truth.
        size: linear or equal.
        seed: of weights and order.
        epochs: passes.
        progress: called with 1 after each pass.
    """
    manifest = predictor.bundle.manifest
    tokens = torch.from_numpy(visual_tokens(predictor, items))
    present, boxes = (torch.from_numpy(each) for each in targets(items, manifest.chip.tokens_side))
    torch.manual_seed(seed)
    head = DenseHead(manifest.chip.tokens_side, tokens.shape[2], size, manifest.model.layers)
    optimizer = torch.optim.AdamW(head.parameters(), lr=2e-3, weight_decay=1e-2)
    steps = epochs * -(-len(tokens) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 4e-3 if size == "linear" else 1.5e-3, total_steps=steps + 1
    )
    for _ in range(epochs):
        for chosen in torch.randperm(len(tokens)).split(64):
            with torch.autocast("cpu", torch.bfloat16, enabled=size == "equal"):  # nearly twice as fast
                logits, given = head(tokens[chosen])
            loss = dense_loss(logits.float(), given.float(), present[chosen], boxes[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        if progress is not None:
            progress(1)
    return head.eval()


def dense_loss(logits: Tensor, given: Tensor, present: Tensor, boxes: Tensor) -> Tensor:
    """Focal loss of the classes and L1 of the boxes, an object each."""
    some = present.amax(-1) > 0
    count = some.sum().clamp(min=1)
    chance = logits.sigmoid()
    right = torch.where(present > 0, chance, 1 - chance)
    cross = F.binary_cross_entropy_with_logits(logits, present, reduction="none")
    return ((cross * (1 - right) ** 2).sum() + F.l1_loss(given[some], boxes[some], reduction="sum")) / count


@torch.no_grad()
def find(head: DenseHead, tokens: NDArray[np.float32]) -> list[list[Thing]]:
    """Return the objects that the head reads off the tokens of each chip, [N, side^2, C]."""
    side = int(head.facts["side"])
    cell = CHIP_PX / side
    out = []
    for start in range(0, len(tokens), 64):
        logits, given = head(torch.from_numpy(tokens[start : start + 64]))
        for chances, boxes in zip(logits.sigmoid().numpy(), given.numpy(), strict=True):
            found = []
            for at, kind in zip(*np.nonzero(chances > FLOOR), strict=True):
                row, column = divmod(int(at), side)
                x, y = (column + float(boxes[at, 0])) * cell, (row + float(boxes[at, 1])) * cell
                wide, high = (float(np.exp(np.clip(v, -4, 3))) * cell for v in boxes[at, 2:])
                box = (x - wide / 2, y - high / 2, x + wide / 2, y + high / 2)
                found.append(Thing(LABELS[kind], box, 10.0 * max(wide, high), float(chances[at, kind])))
            out.append(found)
    return out


def save(head: DenseHead, bundle: Bundle, path: Path) -> None:
    """Write a head, with the checksum of the vision graph whose tokens it reads."""
    torch.save(
        {"kind": KIND, "facts": head.facts, "vision": _vision(bundle), "state": head.state_dict()}, path
    )


def load(saved: dict[str, Any], bundle: Bundle) -> DenseHead:
    """Return a saved head; it serves every bundle with the same vision graph.

    Raises:
        ArtifactError: it was fitted to another graph's tokens.
    """
    if saved.get("vision") != _vision(bundle):
        raise ArtifactError(
            f"got a dense head of the vision graph {str(saved.get('vision'))[:16]}, expected "
            f"{_vision(bundle)[:16]} of bundle {bundle.bundle_id}: train one with `fusar-engine baseline`"
        )
    head = DenseHead(**saved["facts"])
    head.load_state_dict(saved["state"])
    return head.eval()


def _vision(bundle: Bundle) -> str:
    return bundle.manifest.files[VISION].sha256
