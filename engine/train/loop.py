"""The one training loop: CPU, one GPU or many, resumable to the same weights.

The order of the data and the seed of dropout follow from the step's number alone, so a run that was
interrupted goes on as if it had not been. A step's loss is the mean over all answer tokens of its batch,
however the batch is spread over micro-batches and devices.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader

from engine.data.records import Record, read_records
from engine.data.triplets import Collate, TripletBatch, TripletDataset
from engine.errors import ArtifactError, InputError
from engine.model.fusar import PriorBatch
from engine.train import journal, stages
from engine.train.config import TrainConfig

_VALIDATION_RECORDS = 256


class Order:
    """Which records each forward pass of one device reads: an endless row of shuffled epochs, cut in steps.

    Args:
        count: records.
        config: batch, micro_batch and seed.
        rank: this device.
        world: devices.
        start: first step.
        steps: the step after the last.

    Raises:
        InputError: the batch does not spread evenly over the devices.
    """

    def __init__(
        self, count: int, config: TrainConfig, rank: int, world: int, start: int, steps: int
    ) -> None:
        if config.batch % (config.micro_batch * world):
            raise InputError(
                f"got batch={config.batch} for {world} devices of micro_batch={config.micro_batch}, "
                f"expected a multiple of {config.micro_batch * world}"
            )
        self._count, self._batch, self._micro, self._seed = (
            count,
            config.batch,
            config.micro_batch,
            config.seed,
        )
        self._rank, self._world, self._start, self._steps = rank, world, start, steps

    def __iter__(self) -> Iterator[list[int]]:
        stride = self._micro * self._world
        epoch, order = -1, np.empty(0, np.int64)
        for first in range(self._start * self._batch, self._steps * self._batch, stride):
            chosen = []
            for place in range(first + self._rank * self._micro, first + (self._rank + 1) * self._micro):
                if place // self._count != epoch:
                    epoch = place // self._count
                    order = np.random.default_rng([self._seed, epoch]).permutation(self._count)
                chosen.append(int(order[place % self._count]))
            yield chosen


def rate(step: int, steps: int, warmup: float) -> float:
    """Return the share of the highest learning rate at a step: linear warm-up, then a cosine to 0."""
    rise = max(1, round(warmup * steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def train(config: TrainConfig, data: Path, source: str, out: Path, stop_after: int | None = None) -> Path:
    """Train one stage; goes on where ``out`` holds a saved state of the same run.

    Args:
        config: the stage.
        data: folder of record files.
        source: a base, or the run of the stage before.
        out: the run's folder.
        stop_after: leave after this step, with the state saved, as if interrupted.

    Returns:
        ``out``.

    Raises:
        DatasetError: the data are missing or malformed.
        ArtifactError: the source does not open, or ``out`` holds another run.
        InputError: the configuration does not fit the machine or the model.
    """
    records = [record for name in config.data_files for record in read_records(data / name)]
    steps = config.steps or math.ceil(config.epochs * len(records) / config.batch)
    accelerator = Accelerator(mixed_precision=_precision(config))
    bf16 = accelerator.mixed_precision == "bf16"
    known = {"sha256": journal.data_hash(data, config, records), "records": len(records)}
    facts = journal.facts(config.stage, config.to_dict(), journal.seen_from(out, source), known)
    facts["steps"] = steps
    state = journal.read_state(out, facts)
    if state is not None and state["step"] >= steps and (out / "run.json").is_file():
        accelerator.print(f"{out} is complete ({steps} steps)")
        return out
    opened = stages.begin(config, source, torch.bfloat16 if bf16 else torch.float32)
    runner = _Runner(config, accelerator, opened, records, data, out, facts, steps)
    runner.run(state, min(steps, stop_after or steps))
    return out


class _Runner:
    """One run, with what belongs to it."""

    def __init__(
        self,
        config: TrainConfig,
        accelerator: Accelerator,
        opened: Any,
        records: Sequence[Record],
        data: Path,
        out: Path,
        facts: dict[str, Any],
        steps: int,
    ) -> None:
        self.config, self.accelerator, self.opened, self.out = config, accelerator, opened, out
        self.facts, self.steps, self.curve = facts, steps, journal.Curve()
        model = opened.model
        self.collate = Collate(
            opened.tokenizer, model.image_px, model.pixel_mean, model.pixel_std, model.tlm.config.years
        )
        self.dataset = TripletDataset(records, opened.tokenizer, model.image_px, config.max_length)
        held_out = _validation(data, config)
        self.held_out = TripletDataset(held_out, opened.tokenizer, model.image_px, config.max_length)
        optimizer = torch.optim.AdamW(stages.parameter_groups(model, config))
        self.model, self.optimizer = accelerator.prepare(model, optimizer)

    def run(self, state: dict[str, Any] | None, until: int) -> None:
        """Take steps from the saved state on."""
        start = 0 if state is None else self._restore(state)
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        order = Order(len(self.dataset), self.config, rank, world, start, until)
        batches = iter(
            DataLoader(
                self.dataset,
                batch_sampler=order,
                collate_fn=self.collate,
                num_workers=self.config.workers,
            )
        )
        passes = self.config.batch // (self.config.micro_batch * world)
        began = time.monotonic()
        with journal.progress(self.accelerator.is_main_process, self.steps, start) as report:
            for step in range(start, until):
                loss, norm = self._step(step, [next(batches) for _ in range(passes)])
                self.curve.add(step + 1, loss, norm, self.optimizer.param_groups[0]["lr"])
                report(step + 1, loss)
                every = self.config.save_every
                if step + 1 == until or (every and (step + 1) % every == 0):
                    self._save(step + 1)
        if until == self.steps:
            self._finish(time.monotonic() - began)

    def _step(self, step: int, batches: list[TripletBatch]) -> tuple[float, float]:
        share = rate(step, self.steps, self.config.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * share
        torch.manual_seed((self.config.seed * 1_000_003 + step) * 8_191 + self.accelerator.process_index)
        self.model.train()
        device = self.accelerator.device
        learned = torch.tensor(float(sum(batch.learned_tokens for batch in batches)), device=device)
        tokens = self.accelerator.reduce(learned, "sum")
        total = torch.zeros((), device=device)
        for index, batch in enumerate(batches):
            last = index == len(batches) - 1
            with nullcontext() if last else self.accelerator.no_sync(self.model):
                # devices' gradients are averaged, so each device's share counts `world` times
                loss = forward_loss(self.model, batch.to(device)) / tokens
                self.accelerator.backward(loss * self.accelerator.num_processes)
                total += loss.detach()
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        loss_now = float(self.accelerator.reduce(total, "sum"))
        if not math.isfinite(loss_now):
            raise InputError(f"got loss {loss_now} at step {step}: lower lr, or look at the data")
        return loss_now, float(norm)

    def _validate(self) -> float | None:
        """Return the mean loss a token on held-out records; on the main process alone."""
        if not len(self.held_out):
            return None
        model, device = self.accelerator.unwrap_model(self.model), self.accelerator.device
        model.eval()
        loss, tokens = 0.0, 0
        size = self.config.micro_batch
        with torch.no_grad(), self.accelerator.autocast():
            for first in range(0, len(self.held_out), size):
                last = min(first + size, len(self.held_out))
                batch = self.collate([self.held_out[i] for i in range(first, last)])
                loss += float(forward_loss(model, batch.to(device)))
                tokens += batch.learned_tokens
        return loss / tokens

    def _save(self, step: int) -> None:
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            self.curve.validate(step, self._validate())
            state = {
                "step": step,
                "parameters": {n: p.detach() for n, p in self._learning()},
                "optimizer": self.optimizer.state_dict(),
                "curve": self.curve.to_dict(),
            }
            journal.write_state(self.out, self.facts, state)
        self.accelerator.wait_for_everyone()

    def _restore(self, state: dict[str, Any]) -> int:
        learning = dict(self._learning())
        if set(learning) != set(state["parameters"]):
            raise ArtifactError(f"the state in {self.out} trains other parameters: use another folder")
        with torch.no_grad():
            for name, value in state["parameters"].items():
                learning[name].copy_(value)
        self.optimizer.load_state_dict(state["optimizer"])
        self.curve = journal.Curve.from_dict(state["curve"])
        return int(state["step"])

    def _learning(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        model = self.accelerator.unwrap_model(self.model)
        return ((name, p) for name, p in model.named_parameters() if p.requires_grad)

    def _finish(self, seconds: float) -> None:
        if self.accelerator.is_main_process:
            self.opened.model = self.accelerator.unwrap_model(self.model)
            counts = {
                "trained_parameters": sum(p.numel() for _, p in self._learning()),
                "devices": self.accelerator.num_processes,
                "device": str(self.accelerator.device.type),
                "precision": self.accelerator.mixed_precision,
                "seconds_since_start_or_resume": round(seconds, 1),
            }
            self.opened.model.eval()
            stages.save(self.opened, self.config, self.out)
            journal.write_run(self.out, self.facts | counts, self.curve)
        self.accelerator.wait_for_everyone()


def forward_loss(model: Any, batch: TripletBatch) -> torch.Tensor:
    """Return the loss summed over the answer tokens of a batch."""
    priors = PriorBatch(batch.vectors, batch.positions, batch.mask)
    output = model(batch.input_ids, batch.attention_mask, batch.patches, priors, batch.labels)
    return output.loss * batch.learned_tokens


def _validation(data: Path, config: TrainConfig) -> list[Record]:
    """Return some records of the files' validation parts, evenly spread; none where there are none."""
    found = [data / name.replace(".jsonl", ".val.jsonl") for name in config.data_files]
    records = [record for path in found if path.is_file() for record in read_records(path)]
    return records[:: max(1, math.ceil(len(records) / _VALIDATION_RECORDS))]


def _precision(config: TrainConfig) -> str:
    able = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    if config.precision == "auto":
        return "bf16" if able else "no"
    return "bf16" if config.precision == "bf16" else "no"
