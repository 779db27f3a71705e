"""The commands: a dataset that both stages read, a run, a merged checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from engine.data.records import load_images, load_priors, read_records
from engine.errors import InputError
from engine.model.fusar import load_fusar
from engine.runtime.image import channel_stamp
from engine.train.command import dataset, merge, train


def _run(*args: object) -> None:
    app = typer.Typer()
    for command in (dataset, train, merge):
        app.command()(command)
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    if result.exception is not None:
        raise result.exception


def test_dataset_then_both_stages_then_merge(base: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    _run(
        "dataset", data, "--chips", 8, "--seed", 3, "--validation", 2, "--tasks", "detection,counting,change"
    )
    train_set, held_out = read_records(data / "stage2.jsonl"), read_records(data / "stage2.val.jsonl")
    assert (len(train_set), len(held_out)) == (17, 4)
    assert not {record.site for record in train_set} & {record.site for record in held_out}
    assert load_images(train_set[0]).shape == (1, 3, 126, 126)
    assert len(load_priors(train_set[0])) == 1
    facts = json.loads((data / "dataset.json").read_text())
    assert facts["simulated"] is True and facts["channels"] == channel_stamp()
    few = tmp_path / "few.yaml"
    few.write_text("steps: 1\nbatch: 2\nmicro_batch: 2\n")
    _run("train", "--stage", 1, "--data", data, "--base", base, "--out", tmp_path / "1", "--config", few)
    _run("train", "--stage", 2, "--data", data, "--base", tmp_path / "1", "--out", tmp_path / "2",
         "--config", few)  # fmt: skip
    _run("merge", tmp_path / "2", "--out", tmp_path / "merged")
    load_fusar(tmp_path / "merged")
    assert json.loads((tmp_path / "merged" / "run.json").read_text())["stage"] == 2


def test_equal_seeds_give_equal_datasets(tmp_path: Path) -> None:
    for name in ("a", "b"):
        _run("dataset", tmp_path / name, "--chips", 2, "--validation", 1)
    files = {path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file()}
    assert len(files) > 5
    for file in files:
        if file.suffix != ".npz":  # a zip holds the time
            assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_dataset_refuses(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    for args in ((tmp_path,), (tmp_path / "new", "--chips", 0), (tmp_path / "new", "--size", 250)):
        with pytest.raises(InputError):
            _run("dataset", *args)
