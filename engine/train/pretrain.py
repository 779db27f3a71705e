"""Pretraining of nano: vision and decoder apart, then together.

1. ``vision``: the tower alone, by a dense loss through a fixed linear interface;
2. ``decoder``: the language model alone, on symbols written through the same interface;
3. ``joint``: both, on chips with their priors through the modulation, and with a share of
   the other tasks about one chip;
4. ``tasks``, where asked for: the decoder alone, tower and modulation held still, on every task, changes
   between two chips and free questions among them.

The first two need nothing of each other and run side by side where there are two workers; the third, and
vision where it runs alone, average gradients over the workers. The modulation learns in the third, where
priors are withheld at times, and at times another chip's: learned later only, from few chips, it did harm.

A run may instead make the tower of an earlier one leaner (``lean``), in place of the first three steps.
Trained in one go from scratch, the decoder of so small a model lags far behind its vision
(docs/measurements.md).

Each step leaves its weights (``vision.pt``) and a folder of its own (``vision/``) with its run record.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from engine.model.fusar import new_fusar, save_fusar
from engine.model.nano import IMAGE_PX, LEAN, TOWER, build_nano, number_ids
from engine.runtime.image import enlargement
from engine.train import journal
from engine.train.nano_batch import TOKENS_SIDE, Batch, ChipBank
from engine.train.nano_chips import draw_chips, load_chips, pair_files
from engine.train.nano_decoder import bank, patches, train_tasks
from engine.train.nano_lean import Alike, slim, start_of
from engine.train.nano_losses import Pretrainer, modulated, positions
from engine.train.nano_steps import average_gradients, optimisers, schedule
from engine.train.pretrain_config import PretrainConfig

_MEETING = "joint.rendezvous"
_KEEP_EVERY = 200  # steps between weights left behind to look at; a run does not go on from them
_DENSE_WEIGHT = 1.0  # in the third step: a list is no better than what vision sees


def pretrain(out: Path, config: PretrainConfig, say: Callable[[str], None] = print) -> Path:
    """Pretrain nano; steps whose result stands in ``out`` already are not done again.

    Args:
        out: the run's folder.
        config: what to do.
        say: receives lines of progress.

    Returns:
        The checkpoint folder, ``out/checkpoint``.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").write_text(json.dumps(asdict(config), indent=1) + "\n")
    _run("chips", out, config, config.workers, say)
    if config.lean_samples:
        _run("lean", out, config, config.workers, say)
    elif config.workers > 1 and config.vision_samples and config.decoder_samples:
        _spawn([("vision", 0, 1), ("decoder", 0, 1)], out, config, say)
    else:
        _run("vision", out, config, config.workers if config.vision_samples else 1, say)
        _run("decoder", out, config, 1, say)
    if not config.lean_samples:
        _run("joint", out, config, config.workers, say)
    if config.task_samples:
        _run("tasks", out, config, config.workers, say)
    _save(out, config)
    return out / "checkpoint"


def _run(step: str, out: Path, config: PretrainConfig, world: int, say: Callable[[str], None]) -> None:
    _spawn([(step, rank, world) for rank in range(world)], out, config, say)


def _spawn(
    jobs: list[tuple[str, int, int]], out: Path, config: PretrainConfig, say: Callable[[str], None]
) -> None:
    jobs = [job for job in jobs if not (out / _result(*job)).exists()]
    (out / _MEETING).unlink(missing_ok=True)  # left by a run that was killed, it would hold up the next
    if jobs:
        say(f"pretrain: {', '.join(sorted({job[0] for job in jobs}))}")
    if len(jobs) == 1:
        _job(0, jobs, out, config)
    elif jobs:
        from torch.multiprocessing.spawn import start_processes

        start_processes(_job, args=(jobs, out, config), nprocs=len(jobs), start_method="spawn")


def _result(step: str, rank: int, world: int) -> str:
    return f"chips-{rank}-{world}.npz" if step == "chips" else f"{step}.pt"


def _job(index: int, jobs: list[tuple[str, int, int]], out: Path, config: PretrainConfig) -> None:
    step, rank, world = jobs[index]
    torch.set_num_threads(1)
    if step == "chips":
        share = config.chips // world
        draw_chips(out / _result(step, rank, world), share, config.seed, rank * share)
        return
    if world > 1:
        meeting = (out / _MEETING).resolve()
        dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=world)
    trainer = _Trainer(step, out, config, rank, world)
    if step == "tasks":
        trainer.run_tasks()
    else:
        trainer.run()
    if world > 1:
        dist.destroy_process_group()


def _chip_files(out: Path, config: PretrainConfig) -> list[Path]:
    return [out / _result("chips", rank, config.workers) for rank in range(config.workers)]


def _sources(step: str, out: Path, config: PretrainConfig) -> list[Path]:
    """Return the weights that a step starts from; none where it starts untrained."""
    if step == "joint":
        return [out / "vision.pt", out / "decoder.pt"]
    if step == "tasks":
        return [out / f"{_before_tasks(config)}.pt"]
    if config.start is None:
        return []
    return [start_of(Path(config.start)) if step == "lean" else Path(config.start) / "joint.pt"]


def _before_tasks(config: PretrainConfig) -> str:
    return "lean" if config.lean_samples else "joint"


def build(config: PretrainConfig) -> tuple[Pretrainer, Any]:
    """Return untrained nano with its helpers, and the tokenizer."""
    base, tokenizer = build_nano(config.seed, LEAN if config.lean_samples else TOWER)
    base.model.language_model.config._attn_implementation = "eager"  # compiles to one kernel at this size
    torch.manual_seed(config.seed)
    return Pretrainer(new_fusar(base, IMAGE_PX, places=TOKENS_SIDE**2), number_ids(tokenizer)), tokenizer


class _Trainer:
    """One step of pretraining in one process."""

    def __init__(self, step: str, out: Path, config: PretrainConfig, rank: int, world: int) -> None:
        self.step, self.out, self.config, self.rank, self.world = step, out, config, rank, world
        self.net, tokenizer = build(config)
        share = config.other_share if step == "joint" else 0.0
        self.tokenizer, self.chips = tokenizer, load_chips(_chip_files(out, config))
        self.bank = ChipBank(self.chips, tokenizer, config.seed * 1000 + rank, share)
        self.enlarge = torch.from_numpy(np.ascontiguousarray(enlargement(126, IMAGE_PX)))
        states = [torch.load(path, weights_only=True) for path in _sources(step, out, config)]
        if len(states) == 2:
            vision, decoder = states
            states = [{name: vision[name] if ".visual." in name else decoder[name] for name in decoder}]
        for state in states:
            if step == "lean":
                self._slim(state)
            else:
                self.net.load_state_dict(state)
        self.curve = journal.Curve()
        self.samples = 0
        self.see = self.net.model.vision.forward
        self.decode = self.net.decode
        if config.compile:
            self.see = torch.compile(self.see, dynamic=False)
            self.decode = torch.compile(self.decode, dynamic=False)

    def _slim(self, state: dict[str, Tensor]) -> None:
        """Start as what a whole tower's weights leave, and learn from it."""
        whole, _ = build(replace(self.config, lean_samples=0))
        whole.load_state_dict(state)
        some = torch.from_numpy(np.array(self.chips.pixels[: 2 * self.config.batch]))
        slim(whole, self.net, patches(some, self.enlarge))
        self.alike = Alike(whole, self.config.compile)

    def run(self) -> None:
        """Train, log, and write the weights."""
        config = self.config
        total = {
            "vision": config.vision_samples,
            "decoder": config.decoder_samples,
            "joint": config.joint_samples,
            "lean": config.lean_samples,
        }[self.step]
        steps = -(-total // (config.batch * self.world))
        torch.manual_seed(config.seed * 100 + self.rank)
        moving = optimisers(self.net, self.step)
        facts_of_run = self._facts()
        batches: Iterator[Batch] = self.bank.batches(config.batch, occupied_only=self.step == "decoder")
        began, recent = time.monotonic(), dict[str, list[float]]()
        for step in range(1, steps + 1):
            schedule(moving, step, steps, config.decay)
            loss, facts = self.loss(next(batches), with_text=step % config.text_every == 0)
            loss.backward()
            if self.world > 1:
                average_gradients(list(self.net.parameters()), self.world)
            norm = nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
            for optimiser in moving:
                optimiser.step()
            self.net.zero_grad()
            for name, value in {"loss": loss.item(), **facts, "norm": float(norm)}.items():
                recent.setdefault(name, []).append(value)
            if step % _KEEP_EVERY == 0 and self.rank == 0:
                torch.save(self.net.state_dict(), self.out / f"{self.step}.part.pt")
            if step % 25 == 0 or step == steps:
                seen = step * config.batch
                self._log(step, seen, steps * config.batch, time.monotonic() - began, recent, moving)
        self._finish(facts_of_run, moving, time.monotonic() - began)

    def run_tasks(self) -> None:
        """Train the decoder on every task, log, and write the weights."""

        def say(line: str) -> None:
            if not self.rank:
                print(line, flush=True)

        last: tuple[Any, ...] = ()

        def after(step: int, seen: int, total: int, seconds: float, recent: dict[str, list[float]]) -> None:
            nonlocal last
            last = (step, seen, total, seconds, recent, moving)
            if step % _KEEP_EVERY == 0 and self.rank == 0:
                torch.save(self.net.state_dict(), self.out / "tasks.part.pt")
            if step in (2, 5, 10) or step % 25 == 0:  # it falls fast at first
                self._log(*last)

        questions = bank(
            self.net, self.tokenizer, self.chips, self.out, self.config, self.rank, self.world, say
        )
        if self.world > 1:
            dist.barrier()  # the record names every worker's pairs
        facts = self._facts()
        moving = optimisers(self.net, "tasks")
        train_tasks(self.net, questions, self.config, moving, self.world, after)
        if last[4]:
            self._log(*last)
        self._finish(facts, moving, last[3])

    def loss(self, batch: Batch, with_text: bool = True) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of a batch, through the decoder or of vision alone, and what to log of it."""
        present, offsets = torch.from_numpy(batch.present), torch.from_numpy(batch.offsets)
        with torch.autocast("cpu", torch.bfloat16):
            if self.step == "decoder":
                visual = self.net.model.tlm.placed(self.net.symbols(present, offsets)).bfloat16()
            else:
                shown = patches(torch.from_numpy(batch.pixels), self.enlarge)
                visual = self.see(shown)
            dense, facts = self.net.dense_loss(visual, present, offsets)
            if self.step == "lean":
                unlike, more = self.alike(shown, visual)
                return dense + unlike, {**facts, **more}
            if self.step == "vision" or (self.step == "joint" and not with_text):
                return dense, facts
            ids = torch.from_numpy(batch.ids)
            if self.step == "joint":
                visual = modulated(
                    self.net.model, visual, torch.from_numpy(batch.vectors), torch.from_numpy(batch.known)
                )
            hidden, middle = self.decode(self.net.model.embed(ids, visual), positions(self.net.model, ids))
            text, more = self.net.text_loss(
                hidden,
                middle,
                ids,
                torch.from_numpy(batch.labels),
                torch.from_numpy(batch.owner),
                torch.from_numpy(batch.edges),
            )
        if self.step == "decoder":
            return text, more
        return text + _DENSE_WEIGHT * dense, {**facts, **more}

    def _log(
        self,
        step: int,
        seen: int,
        total: int,
        seconds: float,
        recent: dict[str, list[float]],
        moving: list[torch.optim.Optimizer],
    ) -> None:
        """Note the means of what was seen of late, in the first worker.

        Args:
            step: of the optimiser.
            seen: samples so far, of one worker.
            total: how many they shall be.
            seconds: so far.
            recent: losses, what they are made of, and norms; emptied.
            moving: optimisers; the rate of the blocks' matrices is noted.
        """
        means = {name: round(float(np.nanmean(values)), 4) for name, values in recent.items()}
        recent.clear()
        if self.rank:
            return
        samples, rate = seen * self.world, moving[-1].param_groups[0]["lr"]
        line = {"step": self.step, "samples": samples, "minutes": round(seconds / 60, 2)} | means
        with (self.out / "log.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")
        speed = samples / max(seconds, 1e-9)
        print(f"{samples}/{total * self.world} {json.dumps(line)} {speed:.1f} samples/s", flush=True)
        self.samples = samples
        loss, norm = means.pop("loss"), means.pop("norm")
        self.curve.add(step, loss, norm, rate, {k: value for k, value in means.items() if np.isfinite(value)})

    def _facts(self) -> dict[str, Any]:
        """Return what the record says before the step starts; paths as seen from the record."""
        if self.rank:
            return {}
        place, config = self.out / self.step, self.config
        told = asdict(config)
        if config.start is not None:
            told["start"] = journal.seen_from(place, config.start)
        sources = _sources(self.step, self.out, config)
        base = {journal.seen_from(place, str(path)): journal.file_hash(path) for path in sources}
        files, data = _chip_files(self.out, config), {"chips": len(self.chips.pixels)}
        if self.step == "tasks":
            pairs = [pair_files(self.out, rank, self.world) for rank in range(self.world)]
            files += [path for each in pairs for path in each]
            data["pairs"] = config.pairs // self.world * self.world
        return journal.facts(self.step, told, base, {"sha256": journal.files_hash(files), **data})

    def _finish(self, facts: dict[str, Any], moving: list[torch.optim.Optimizer], seconds: float) -> None:
        """Write the record, then the weights, which say that the step is done."""
        if self.rank:
            return
        if self.curve.step:  # else it was left out
            learning = (
                p for optimiser in moving for group in optimiser.param_groups for p in group["params"]
            )
            counts = {
                "steps": self.curve.step[-1],
                "samples": self.samples,
                "trained_parameters": sum(parameter.numel() for parameter in learning),
                "workers": self.world,
                "seconds": round(seconds, 1),
            }
            journal.write_run(self.out / self.step, facts | counts, self.curve, "loss and figures")
        torch.save(self.net.state_dict(), self.out / f"{self.step}.part.pt")
        os.replace(self.out / f"{self.step}.part.pt", self.out / f"{self.step}.pt")


def _save(out: Path, config: PretrainConfig) -> None:
    from engine.model.nano import save_tokenizer

    net, tokenizer = build(config)
    last = "tasks" if config.task_samples else _before_tasks(config)
    net.load_state_dict(torch.load(out / f"{last}.pt", weights_only=True))
    net.model.base.model.language_model.config._attn_implementation = "sdpa"
    net.model.readout = (net.directions / net.scale[:, None]).contiguous()
    save_fusar(net.model, tokenizer, out / "checkpoint")
    save_tokenizer(tokenizer, out / "checkpoint")
