"""The cells of an ablation: what each trains, how it is trained, how it is asked.

Every cell starts from the same base, sees as many samples and moves the same parts. Cells differ in how the
prior meets the tokens (fusion), in one stage or two, in the prior of the training, in what the prior tells,
and in the seed.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.ablate.answers import likeliest
from engine.ablate.base import FUSIONS, NONE, PLAIN, check_fusions, fresh, tiny_base, years_of
from engine.ablate.dial import (
    COVERS,
    SEAS,
    USES,
    PriorUse,
    recovered_bits,
    without,
    write_dataset,
    write_stages,
)
from engine.data.records import Record
from engine.errors import InputError
from engine.model.checkpoint import merge, open_model
from engine.train.config import LoraSettings, TlmSettings, TrainConfig
from engine.train.loop import train

_SAVE = 25  # steps between saved states: what an interruption can cost
TEST_SEED = 1_000_000  # added to a dial's seed: no training chip is drawn again


@dataclass(frozen=True)
class AblationSettings:
    """How large an ablation is.

    Attributes:
        bits: dials: what priors tell, in bits.
        fusions: kinds to compare; all that there are where it is empty.
        seeds: of modules, adapters and order; one run each.
        chips: for training, of each dial.
        test_chips: for testing, of each dial.
        steps: of optimisation, over both stages: one number, or one for each dial. What tells less is
            learned later: at one bit nothing was recovered in 450 steps, and all of it in 900.
        batch: records a step.
        lr: of all but the module.
        tlm_lr: of the module.
        trains: parts that move, as in ``TrainConfig``.
        base_steps: of the tiny base's own training, where no base is given.
        data_seed: of chips, covers and priors.
    """

    bits: tuple[float, ...] = (0.0, 1.0, 2.0)
    fusions: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)
    chips: int = 1000
    test_chips: int = 200
    steps: tuple[int, ...] = (450, 900, 450)
    batch: int = 32
    lr: float = 6e-3
    tlm_lr: float = 4e-2
    trains: tuple[str, ...] = ("tlm", "lora")
    base_steps: int = 150
    data_seed: int = 11

    def __post_init__(self) -> None:
        """Check what would fail late."""
        check_fusions(self.fusions)
        if not self.seeds or not self.bits or not self.steps:
            raise InputError("got no seeds, no bits or no steps, expected at least one of each")
        if min(self.chips, self.test_chips, self.batch) < 1 or min(self.steps) < 2:
            raise InputError(
                "got chips, test chips or batch below 1, or steps below 2, expected at least those"
            )
        if len(self.steps) not in (1, len(self.bits)):
            raise InputError(
                f"got steps {self.steps} for {len(self.bits)} dials, expected one number, or one for each"
            )

    def steps_at(self, bits: float) -> int:
        """Return the steps of a dial's cells."""
        return self.steps[0] if len(self.steps) == 1 else self.steps[self.bits.index(bits)]


@dataclass(frozen=True)
class Cell:
    """One training.

    Attributes:
        fusion: how the prior meets the tokens.
        stages: 1 or 2.
        prior: in training.
        bits: what it tells.
        seed: of module, adapters and order.
    """

    fusion: str
    stages: int
    prior: PriorUse
    bits: float
    seed: int

    @property
    def name(self) -> str:
        """The cell's folder."""
        return f"{self.fusion}-{self.stages}stage-{self.prior}-{self.bits:g}bit-{self.seed}"


def cells(settings: AblationSettings) -> list[Cell]:
    """Return the cells of each seed.

    What is shipped at every dial, the other kinds at the first and the last; at the middle one, one stage,
    and a prior shuffled in training. Without a prior it does not matter what one would tell: once.
    """
    fusions = settings.fusions or tuple(FUSIONS)
    dials = settings.bits
    first, middle, last = dials[0], dials[len(dials) // 2], dials[-1]
    found: list[Cell] = []
    for seed in settings.seeds:
        if NONE in fusions:
            found.append(Cell(NONE, 2, "off", first, seed))
        for bits in dials:
            kinds = [kind for kind in fusions if kind == PLAIN or (kind != NONE and bits in (first, last))]
            found += [Cell(kind, 2, "on", bits, seed) for kind in kinds]
        if PLAIN in fusions:
            found.append(Cell(PLAIN, 1, "on", middle, seed))
            found.append(Cell(PLAIN, 2, "shuffled", middle, seed))
    return found


class Ablation:
    """An ablation in a folder: data by dial, the base, and a result for each cell that is done.

    Args:
        out: the folder; what stands in it is not done again.
        settings: how large.
        base: checkpoint folder; None for a tiny one, trained on the image's question alone.

    Raises:
        InputError: the folder holds an ablation of other settings.
    """

    def __init__(self, out: Path, settings: AblationSettings, base: Path | None = None) -> None:
        self.out, self.settings = out, settings
        out.mkdir(parents=True, exist_ok=True)
        facts = json.loads(json.dumps(asdict(settings) | {"base": "tiny" if base is None else str(base)}))
        known = out / "settings.json"
        if known.is_file() and json.loads(known.read_text()) != facts:
            raise InputError(f"{out} holds an ablation of other settings: use another folder")
        known.write_text(json.dumps(facts, indent=1) + "\n")
        self.base = base if base is not None else self._tiny()
        self._tests: dict[str, dict[PriorUse, list[Record]]] = {}
        self.image_px = json.loads((self.base / "fusar.json").read_text())["image_px"]

    def _tiny(self) -> Path:
        """Make the tiny base: it knows the questions' form and how rough a sea is, and nothing of priors."""
        done = self.out / "base"
        if not (done / "fusar.json").is_file():
            start = tiny_base(self.out / "base-start", self.settings.data_seed)
            image_px = json.loads((start / "fusar.json").read_text())["image_px"]
            seed = self.settings.data_seed + 500
            made = write_dataset(self.out / "base-data", "base", self.settings.chips, seed, 0.0, image_px)[
                "off"
            ]
            config = TrainConfig(
                2, ("all",), files=("stage1.jsonl", "stage2.jsonl"), steps=self.settings.base_steps, lr=2e-3,
                batch=self.settings.batch, micro_batch=self.settings.batch, save_every=_SAVE, seed=seed,
            )  # fmt: skip
            run = train(
                config, write_stages(self.out / "base-data", made, "off"), str(start), self.out / "base-run"
            )
            merge(run, done)
        return done

    def data(self, bits: float, years: int = 1) -> Path:
        """Return the data of a dial, written where they are not."""
        folder = self.out / "data" / _data_name(bits, years)
        if not (folder / "done").is_file():
            made = write_dataset(
                folder,
                "train",
                self.settings.chips,
                self.settings.data_seed,
                bits,
                self.image_px,
                years=years,
            )
            for use in USES:
                write_stages(folder, made[use], use)
            (folder / "done").write_text("")
        return folder

    def test(self, bits: float, years: int = 1) -> dict[PriorUse, list[Record]]:
        """Return the test records of a dial, of chips that no training saw."""
        name = f"{_data_name(bits, years)}-test"
        if name not in self._tests:
            seed, count = self.settings.data_seed + TEST_SEED, self.settings.test_chips
            folder = self.out / "data" / name
            self._tests[name] = write_dataset(folder, "test", count, seed, bits, self.image_px, years=years)
        return self._tests[name]

    def result(self, cell: Cell) -> dict[str, Any] | None:
        """Return a cell's result, None where it is not done."""
        path = self.out / "cells" / f"{cell.name}.json"
        return json.loads(path.read_text()) if path.is_file() else None

    def run(self, cell: Cell) -> dict[str, Any]:
        """Train and ask a cell, unless that is done; an interrupted training goes on where it was."""
        known = self.result(cell)
        if known is not None:
            return known
        folder = self.out / "runs" / cell.name
        start = fresh(self.base, cell.fusion, cell.seed, folder / "start")
        data = self.data(cell.bits, years_of(cell.fusion)) / cell.prior
        last = str(start)
        for stage, files, steps in self._stages(cell):
            last = str(train(self._config(cell, stage, files, steps), data, last, folder / f"stage{stage}"))
        found = {"cell": asdict(cell), **self._ask(last, cell)}
        path = self.out / "cells" / f"{cell.name}.json"
        path.parent.mkdir(exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(found) + "\n")
        part.rename(path)
        shutil.rmtree(folder)
        return found

    def _stages(self, cell: Cell) -> list[tuple[int, tuple[str, ...], int]]:
        steps = self.settings.steps_at(cell.bits)
        if cell.stages == 1:
            return [(2, ("stage1.jsonl", "stage2.jsonl"), steps)]
        # as many samples of each file as in one stage: descriptions are a third of the records
        return [(1, ("stage1.jsonl",), steps // 3), (2, ("stage2.jsonl",), steps - steps // 3)]

    def _config(self, cell: Cell, stage: int, files: tuple[str, ...], steps: int) -> TrainConfig:
        settings = self.settings
        return TrainConfig(
            stage, settings.trains, files=files, steps=max(steps, 1), lr=settings.lr, tlm_lr=settings.tlm_lr,
            batch=settings.batch, micro_batch=settings.batch, save_every=_SAVE, seed=cell.seed,
            lora=LoraSettings(r=8, alpha=16, dropout=0.0), tlm=TlmSettings(),
        )  # fmt: skip

    def _ask(self, run: str, cell: Cell) -> dict[str, Any]:
        opened = open_model(run)
        made = self.test(cell.bits, years_of(cell.fusion))
        out: dict[str, Any] = {}
        for use in USES:
            records = made[use] if cell.fusion != NONE else without(made[use])
            part = {}
            for task, candidates in (("landcover", tuple(COVERS)), ("sea", SEAS)):
                asked = [record for record in records if record.task == task]
                given = likeliest(opened.model, opened.tokenizer, asked, candidates)
                part[task] = {"answers": given, "true": [record.answer for record in asked]}
            out[use] = part
        return out


def _data_name(bits: float, years: int) -> str:
    return f"{bits:g}bit" + ("-two-years" if years == 2 else "")


def figures(part: dict[str, Any], chosen: np.ndarray | None = None) -> dict[str, float]:
    """Return what the answers of one use of the prior amount to, perhaps over some chips (with repeats)."""
    shares, codes = {}, {}
    for task in ("landcover", "sea"):
        given, true = (np.asarray(part[task][name]) for name in ("answers", "true"))
        if chosen is not None:
            given, true = given[chosen], true[chosen]
        codes[task] = given, true
        shares[task] = float(np.mean(given == true))
    bits = recovered_bits(*codes["landcover"], resampled=chosen is not None)
    return {"bits": bits, "cover": shares["landcover"], "sea": shares["sea"]}
