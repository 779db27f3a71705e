"""A small convolutional classifier on CFAR's candidates: what a detector without language earns.

A window of 33 px around each candidate; the net names its class, or clutter, and corrects the box. It has
seen nothing but windows: no prior, no text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from engine.evaluate.cfar import CfarSettings, detect
from engine.evaluate.items import Item
from engine.evaluate.metrics import Thing, centre_rule, iou
from engine.runtime.text import LABELS

WINDOW_PX = 33
SETTINGS = CfarSettings(least=4.0)  # lower than the scan's: the net is to sort them
KIND = "candidates"
BATCH = 64
_CLASSES = len(LABELS) + 1  # the last is clutter
_REACH_PX = 6.0  # scale of the box's corrections


class CandidateNet(nn.Module):
    """Four convolutions and two layers: windows [N, 3, 33, 33] to classes [N, 4] and corrections [N, 4]."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels_in, channels_out in (
            (3, width),
            (width, width),
            (width, 2 * width),
            (2 * width, 2 * width),
        ):
            layers += [
                nn.Conv2d(channels_in, channels_out, 3, padding=1),
                nn.BatchNorm2d(channels_out),
                nn.ReLU(),
            ]
            if channels_in != width or channels_out != width:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(2 * width * (WINDOW_PX // 8) ** 2, 64),
            nn.ReLU(),
            nn.Linear(64, _CLASSES + 4),
        )

    def forward(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Return class logits and the box's corrections (centre in px / 6, log of its sides in px)."""
        out = self.head(self.features(windows))
        return out[:, :_CLASSES], out[:, _CLASSES:]


def window(chip: NDArray[np.uint8], thing: Thing) -> NDArray[np.uint8]:
    """Return the window around a candidate, [3, 33, 33]; 0 beyond the chip."""
    half = WINDOW_PX // 2
    padded = np.pad(chip, ((0, 0), (half, half), (half, half)))
    x, y = (int(np.clip(value, 0, chip.shape[1] - 1)) for value in thing.centre_px)
    return padded[:, y : y + WINDOW_PX, x : x + WINDOW_PX]


def matched(thing: Thing, truth: Sequence[Thing]) -> Thing | None:
    """Return the truth that a candidate is for: within the centre's reach, or overlapping most."""
    rule = centre_rule(10.0)
    near = [(value, one) for one in truth if (value := rule.value(thing, one)) is not None]
    if near:
        return max(near, key=lambda pair: pair[0])[1]
    over = [(iou(thing.box_px, one.box_px), one) for one in truth]
    best = max(over, key=lambda pair: pair[0], default=(0.0, None))
    return best[1] if best[0] >= 0.2 else None


def examples(items: Sequence[Item]) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.float32]]:
    """Return windows, classes and boxes' corrections of all candidates of some items."""
    windows, classes, boxes = [], [], []
    for item in items:
        for thing in detect(item.chips[-1], item.shore_px, SETTINGS):
            true = matched(thing, item.things)
            windows.append(window(item.chips[-1], thing))
            classes.append(len(LABELS) if true is None else LABELS.index(true.label))
            boxes.append(_correction(thing, true) if true is not None else np.zeros(4, np.float32))
    shape = (0, 3, WINDOW_PX, WINDOW_PX)
    return (
        np.stack(windows) if windows else np.zeros(shape, np.uint8),
        np.array(classes, np.int64),
        np.array(boxes, np.float32).reshape(-1, 4),
    )


def _correction(thing: Thing, true: Thing) -> NDArray[np.float32]:
    (x, y), (u, v) = thing.centre_px, true.centre_px
    sides = [max(true.box_px[at + 2] - true.box_px[at], 1.0) for at in (0, 1)]
    return np.array([(u - int(x)) / _REACH_PX, (v - int(y)) / _REACH_PX, *np.log(sides)], np.float32)


def train(
    items: Sequence[Item], seed: int = 0, epochs: int = 8, progress: Callable[[int], None] | None = None
) -> CandidateNet:
    """Train the net on the candidates of some items.

    Args:
        items: chips with truth.
        seed: of weights and order.
        epochs: passes over the candidates, mirrored at random.
        progress: called with 1 after each pass.
    """
    windows, classes, boxes = (torch.from_numpy(each) for each in examples(items))
    torch.manual_seed(seed)
    net = CandidateNet()
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-2)
    steps = max(1, epochs * -(-len(classes) // BATCH))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps + 1)
    net.train()
    for _ in range(epochs):
        for chosen in torch.randperm(len(classes)).split(BATCH):
            if len(chosen) < 2:
                continue
            x, box = windows[chosen].float() / 127.5 - 1, boxes[chosen].clone()
            for axis in (0, 1):  # corrections of the centre: x mirrors columns, y rows
                if torch.rand(()) < 0.5:
                    x, box[:, axis] = x.flip(3 - axis), -box[:, axis] + 1 / _REACH_PX
            logits, given = net(x)
            loss = F.cross_entropy(logits, classes[chosen])
            real = classes[chosen] < len(LABELS)
            if real.any():
                loss = loss + F.smooth_l1_loss(given[real], box[real])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        if progress is not None:
            progress(1)
    return net.eval()


@torch.no_grad()
def find(net: CandidateNet, item: Item) -> list[Thing]:
    """Return the objects that the net names among the candidates of a chip."""
    things = detect(item.chips[-1], item.shore_px, SETTINGS)
    if not things:
        return []
    windows = np.stack([window(item.chips[-1], thing) for thing in things])
    logits, boxes = net(torch.from_numpy(windows).float() / 127.5 - 1)
    out = []
    for thing, chances, box in zip(things, logits.softmax(1).numpy(), boxes.numpy(), strict=True):
        label = int(chances[:-1].argmax())
        x, y = (
            int(value) + _REACH_PX * float(step) for value, step in zip(thing.centre_px, box[:2], strict=True)
        )
        wide, high = (float(np.exp(np.clip(side, 0, 5))) for side in box[2:])
        corrected = (x - wide / 2, y - high / 2, x + wide / 2, y + high / 2)
        out.append(
            replace(
                thing,
                label=LABELS[label],
                box_px=corrected,
                length_m=10.0 * max(wide, high),
                score=float(chances[label]),
            )
        )
    return out


def save(net: CandidateNet, path: Path) -> None:
    """Write the net."""
    torch.save({"kind": KIND, "state": net.state_dict()}, path)


def load(state: dict[str, Tensor]) -> CandidateNet:
    """Return the net of a saved state."""
    net = CandidateNet()
    net.load_state_dict(state)
    return net.eval()
