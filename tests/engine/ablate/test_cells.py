"""The ablation on a tiny scale: resumable, from one base, and its table says what the answers were."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.ablate import cells as module
from engine.ablate.base import FUSIONS
from engine.ablate.cells import Ablation, AblationSettings, Cell, cells, figures
from engine.ablate.dial import COVERS, SEAS, draw_covers
from engine.ablate.report import draw, markdown, summarise
from engine.errors import InputError

SMALL = AblationSettings(
    bits=(0.0, 2.0),
    seeds=(0,),
    chips=8,
    test_chips=6,
    steps=(3,),
    batch=4,
    base_steps=2,
    fusions=("none", "modulate"),
)


def made_up(cell: Cell, skill: float) -> dict:
    """Return the result of a model that uses the prior it is given with some probability."""
    true, shown = draw_covers(400, cell.bits, 1)
    rng = np.random.default_rng(cell.seed)
    guess = rng.choice(list(COVERS), 400)
    uses = rng.random(400) < skill
    on = np.where(uses, shown, guess).tolist()
    seas = rng.choice(SEAS, 400).tolist()
    sea = {"answers": seas, "true": [s if rng.random() < 0.8 else SEAS[0] for s in seas]}
    mixed = rng.permutation(on).tolist()
    parts = {"on": on, "off": guess.tolist(), "shuffled": mixed}
    return {
        "cell": vars(cell),
        "steps": 3,
        **{use: {"landcover": {"answers": a, "true": true}, "sea": sea} for use, a in parts.items()},
    }


def test_the_table_recovers_what_was_made_up() -> None:
    grid = cells(replace(SMALL, bits=(0.0, 1.0, 2.0), seeds=(0, 1, 2)))
    rows = summarise([made_up(cell, 1.0 if cell.fusion == "modulate" else 0.0) for cell in grid], 40)
    for row in rows:
        told = row["bits"] if row["fusion"] == "modulate" else 0.0
        assert row["on"]["bits"] == pytest.approx(told, abs=0.08)
        assert row["shuffled"]["bits"] == pytest.approx(0, abs=0.05)
        low, high = row["on"]["bits_95"]
        assert low - 0.06 <= told <= high + 0.06  # the bias of a resample is only known roughly
        if row["fusion"] == "modulate":
            low, high = row["sea_over_none_95"]
            assert low <= 0 <= high
    assert {row["seeds"] for row in rows} == {3}


def test_the_grid() -> None:
    grid = cells(SMALL)
    assert len({cell.name for cell in grid}) == len(grid) == 1 + 2 + 2
    whole = cells(replace(SMALL, bits=(0.0, 1.0, 2.0), fusions=("none", "modulate", "sum")))
    dials = {
        kind: {cell.bits for cell in whole if cell.fusion == kind} for kind in ("modulate", "sum", "none")
    }
    assert dials == {"modulate": {0.0, 1.0, 2.0}, "sum": {0.0, 2.0}, "none": {0.0}}
    longer = cells(replace(SMALL, bits=(0.0, 1.0, 2.0), steps=(3, 5, 3)))
    assert {cell.bits for cell in longer if cell.fusion == "none"} == {0.0, 1.0}, "one that learned as long"
    assert {cell.prior for cell in grid if cell.fusion == "none"} == {"off"}
    assert any(cell.stages == 1 for cell in grid) and any(cell.prior == "shuffled" for cell in grid)
    assert set(FUSIONS) >= {"none", "modulate"}
    steps: list[tuple[int, ...]] = [(1,), (2, 3, 4), ()]
    for wrong in (
        {"fusions": ("magic",)},
        {"seeds": ()},
        {"bits": (1.0, 1.0)},
        *({"steps": each} for each in steps),
    ):
        with pytest.raises(InputError):
            replace(SMALL, **wrong)


def test_figures_by_hand() -> None:
    cover = {"answers": ["trees", "crops", "trees", "crops"], "true": ["trees", "crops", "crops", "crops"]}
    sea = {"answers": [SEAS[0]] * 4, "true": [SEAS[0]] * 3 + [SEAS[1]]}
    found = figures({"landcover": cover, "sea": sea})
    assert (found["cover"], found["sea"]) == (0.75, 0.75)
    some = figures({"landcover": cover, "sea": sea}, np.array([0, 1, 1, 3]))
    assert some["cover"] == 1


@pytest.mark.slow
def test_a_cell_is_trained_once_and_taken_up_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ablation = Ablation(tmp_path, SMALL)
    cell = Cell("modulate", 2, "on", 2.0, 0)
    asked = []
    real = module.train

    def broken(config, data, source, out, **more):
        asked.append(config.stage)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return real(config, data, source, out, **more)

    monkeypatch.setattr(module, "train", broken)
    with pytest.raises(KeyboardInterrupt):
        ablation.run(cell)
    assert ablation.result(cell) is None
    found = Ablation(tmp_path, SMALL).run(cell)  # goes on: the base stands, stage 1 is complete
    assert asked == [1, 2, 1, 2]
    assert len(found["on"]["landcover"]["answers"]) == 6
    assert set(found["on"]["landcover"]["answers"]) <= set(COVERS)
    monkeypatch.setattr(module, "train", None)
    assert Ablation(tmp_path, SMALL).run(cell) == json.loads(json.dumps(found))
    with pytest.raises(InputError):
        Ablation(tmp_path, replace(SMALL, steps=(4,)))
    rows = summarise([found], 5)
    text = markdown(rows, {"base": "tiny"})
    assert "| 2 | 3 | modulate | 2 | on |" in text
    draw(rows, tmp_path / "table.png")
    assert (tmp_path / "table.png").stat().st_size > 5000


@pytest.mark.slow
def test_two_years_have_data_of_their_own_and_leave_the_others_alone(tmp_path: Path) -> None:
    ablation = Ablation(tmp_path, replace(SMALL, fusions=("modulate", "two-years")))
    one = ablation.data(2.0)
    found = ablation.run(Cell("two-years", 2, "on", 2.0, 0))
    assert {use: len(found[use]["landcover"]["answers"]) for use in ("on", "off", "shuffled")} == {
        "on": 6, "off": 6, "shuffled": 6,
    }  # fmt: skip
    two = ablation.data(2.0, years=2)
    assert one != two
    texts = [(each / "on" / "stage2.jsonl").read_text() for each in (one, two)]
    assert texts[0] == texts[1]  # the same chips, questions and answers
