"""Nano's last step: its decoder learns every task, two images among them, the tower held still.

Each worker draws its own pairs and works out its own visual tokens; only gradients are shared.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from engine.model.nano import IMAGE_PX
from engine.runtime.image import enlargement
from engine.simulate.chips import ChipSet
from engine.train.nano_batch import IGNORE, STRANGE_PRIOR_SHARE, TOKENS_SIDE
from engine.train.nano_chips import draw_pairs, load_pairs, pair_files, share_of
from engine.train.nano_losses import Pretrainer, modulated, positions
from engine.train.nano_steps import average_gradients, schedule
from engine.train.nano_tasks import PRIOR_WITHHELD_SHARE, TOKENS, TaskBank, TaskBatch, draw_images, work_out
from engine.train.pretrain_config import PretrainConfig

_WORDS = 1 / 16  # a batch's loss: of its answers' tokens together, for so many tokens an answer
_POINTER = 0.5


class Tower:
    """What one worker sees through the tower and the modulation, as they are."""

    def __init__(self, net: Pretrainer, compiled: bool) -> None:
        self._net = net
        self._see = net.model.vision.forward
        if compiled:
            self._see = torch.compile(self._see, dynamic=False)
        self._enlarge = torch.from_numpy(np.ascontiguousarray(enlargement(126, IMAGE_PX)))

    @torch.no_grad()
    def __call__(
        self, pixels: NDArray[np.uint8], vectors: NDArray[np.float32], known: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """Return the tokens of images with their priors, [n, 81, C]."""
        with torch.autocast("cpu", torch.bfloat16):
            visual = self._see(patches(torch.from_numpy(pixels), self._enlarge))
            told = modulated(self._net.model, visual, torch.from_numpy(vectors), torch.from_numpy(known))
            return np.asarray(told.float())


def patches(pixels: Tensor, enlarge: Tensor) -> Tensor:
    """The arithmetic of ``engine.runtime.image.patches``, in torch."""
    image = enlarge @ (pixels.float() / 127.5 - 1) @ enlarge.T
    grid = image.clamp(-1, 1).reshape(len(pixels), 3, TOKENS_SIDE, 2, 14, TOKENS_SIDE, 2, 14)
    return grid.permute(0, 2, 5, 3, 6, 1, 4, 7).reshape(len(pixels), -1, 3 * 14 * 14)


def bank(
    net: Pretrainer,
    tokenizer: Any,
    chips: ChipSet,
    out: Path,
    config: PretrainConfig,
    rank: int,
    world: int,
    say: Callable[[str], None],
) -> TaskBank:
    """Return one worker's questions: its share of the chips, and pairs of its own."""
    count, path = config.pairs // world, pair_files(out, rank, world)[0]
    if not path.exists():
        draw_pairs(path, count, config.seed, rank * count, say)
    pairs, pair_pixels = load_pairs(path)
    own = slice(rank * config.chips // world, (rank + 1) * config.chips // world)
    mine = share_of(chips, own)
    rng = np.random.default_rng([config.seed, 3, rank])
    chip_images = draw_images(mine.prior, rng, 0.0, STRANGE_PRIOR_SHARE)
    pair_images = draw_images(np.stack([pair.prior for pair in pairs]), rng, PRIOR_WITHHELD_SHARE, 0.0)
    tower = Tower(net, config.compile)
    tokens = []
    for name, pixels, images in (
        ("chip", mine.pixels, chip_images),
        ("pair", pair_pixels, pair_images),
    ):
        kept = out / f"{name}-tokens-{rank}-{world}.npy"
        if not kept.exists():
            part = kept.with_suffix(".part.npy")
            np.save(part, work_out(tower, pixels, images, say))
            part.rename(kept)
        tokens.append(np.load(kept, mmap_mode="r"))
    seed = config.seed * 1000 + 500 + rank
    return TaskBank(mine, chip_images, tokens[0], pairs, pair_images, tokens[1], tokenizer, seed)


class TaskLoss:
    """The loss of a batch of tasks."""

    def __init__(self, net: Pretrainer, compiled: bool) -> None:
        self._net = net
        self._decode = net.decode
        if compiled:
            self._decode = torch.compile(self._decode, dynamic=False)

    def __call__(self, batch: TaskBatch) -> tuple[Tensor, dict[str, float]]:
        """Return the loss, and what to log of it."""
        net = self._net
        ids, labels = torch.from_numpy(batch.ids), torch.from_numpy(batch.labels)
        with torch.autocast("cpu", torch.bfloat16):
            visual = torch.from_numpy(batch.visual).bfloat16()
            hidden, middle = self._decode(net.model.embed(ids, visual), positions(net.model, ids))
            asked = labels != IGNORE
            target = labels[asked]
            log_p = net.model.base.lm_head(hidden[asked]).float().log_softmax(-1)
            number = torch.from_numpy(batch.coordinate)[asked] & (net.value_of[target] >= 0)
            words = -log_p[~number].gather(1, target[~number][:, None]).sum()
            soft = net.soft(log_p[number], net.value_of[target[number]]).sum()
            loss = _WORDS * (words + soft) / len(ids)
            kind = "pair" if visual.shape[0] > len(ids) else "chip"
            facts = {f"{kind}_words": words.item() / len(ids)}
            pointer = self._point(middle, ids, torch.from_numpy(batch.owner))
        if pointer is not None:
            loss = loss + _POINTER * pointer
            facts[f"{kind}_pointer"] = pointer.item()
        return loss, facts

    def _point(self, middle: Tensor, ids: Tensor, owner: Tensor) -> Tensor | None:
        """Cross-entropy of finding a place's token, in each image, from the tokens that are about it."""
        points = owner >= 0
        if not points.any():
            return None
        net = self._net
        width = middle.shape[-1]
        at = (ids == net.model.base.config.image_token_id).nonzero()[:, 1].reshape(len(ids), -1)
        cells = middle.gather(1, at[:, :, None].expand(-1, -1, width))
        score = net.query(middle) @ net.key(cells).transpose(1, 2) * width**-0.5
        found = score.float()[points].unflatten(1, (-1, TOKENS))
        images = found.shape[1]
        return F.cross_entropy(found.reshape(-1, TOKENS), owner[points].repeat_interleave(images))


def train_tasks(
    net: Pretrainer,
    questions: TaskBank,
    config: PretrainConfig,
    optimisers: list[torch.optim.Optimizer],
    world: int,
    after: Callable[[int, int, int, float, dict[str, list[float]]], None],
) -> None:
    """Train until so many samples are seen.

    Args:
        net: nano, as the steps before left it; moved in place.
        questions: of this worker.
        config: how many samples.
        optimisers: of what moves.
        world: workers.
        after: called after each step with it, this worker's samples so far, how many they shall be, seconds,
            and what is to be logged.
    """
    loss_of, batches = TaskLoss(net, config.compile), questions.batches()
    total, seen, step = config.task_samples // world, 0, 0
    began, recent = time.monotonic(), dict[str, list[float]]()
    done = torch.zeros(1)
    while float(done) < 1:
        step += 1
        batch = next(batches)
        schedule(optimisers, max(seen, 1), total, config.decay, warm=2000)
        loss, facts = loss_of(batch)
        loss.backward()
        if world > 1:
            average_gradients(list(net.parameters()), world)
        facts["norm"] = float(nn.utils.clip_grad_norm_(net.parameters(), 1.0))
        for optimiser in optimisers:
            optimiser.step()
        net.zero_grad()
        seen += len(batch.ids)
        for name, value in {"loss": loss.item(), **facts}.items():
            recent.setdefault(name, []).append(value)
        after(step, seen, total, time.monotonic() - began, recent)
        done = torch.tensor([seen / total])
        if world > 1:  # all end together, with the first
            torch.distributed.all_reduce(done, torch.distributed.ReduceOp.MAX)
