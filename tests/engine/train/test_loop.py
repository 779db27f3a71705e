"""The loop: resumed as if never interrupted, frozen parts stay, stages follow each other."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.data.records import read_records
from engine.data.triplets import Collate, TripletDataset
from engine.errors import ArtifactError, DatasetError, InputError
from engine.export.bundle import export
from engine.model.checkpoint import merge, open_model
from engine.model.fusar import PriorBatch, load_fusar
from engine.train.config import LoraSettings, TlmSettings, TrainConfig
from engine.train.loop import Order, _precision, rate, train

LORA = LoraSettings(r=2, alpha=4, dropout=0.1)
BOTH = TrainConfig(1, ("tlm", "lora"), steps=4, lr=1e-2, batch=4, micro_batch=2, save_every=0, lora=LORA)


def _weights(run: Path) -> dict[str, torch.Tensor]:
    return dict(open_model(str(run)).model.state_dict())


def _logits(model, data: Path, tokenizer) -> torch.Tensor:
    dataset = TripletDataset(read_records(data / "stage2.jsonl"), tokenizer, model.image_px)
    batch = Collate(tokenizer, model.image_px)([dataset[2], dataset[3]])
    with torch.no_grad():
        priors = PriorBatch(batch.vectors, batch.positions, batch.mask)
        return model(batch.input_ids, batch.attention_mask, batch.patches, priors).logits


def test_resumed_run_ends_with_the_same_weights(base: Path, data: Path, tmp_path: Path) -> None:
    whole = train(BOTH, data, str(base), tmp_path / "whole")
    broken = train(BOTH, data, str(base), tmp_path / "broken", stop_after=2)
    assert not (broken / "run.json").exists()
    train(BOTH, data, str(base), broken)
    one, two = _weights(whole), _weights(broken)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    curves = [json.loads((run / "curves.json").read_text()) for run in (whole, broken)]
    assert curves[0]["loss"] == curves[1]["loss"]
    assert curves[0]["step"] == [1, 2, 3, 4]


def test_run_record(base: Path, data: Path, tmp_path: Path) -> None:
    run = train(replace(BOTH, steps=1), data, str(base), tmp_path / "run")
    record = json.loads((run / "run.json").read_text())
    assert record["data"]["records"] == 6
    assert len(record["data"]["sha256"]) == 64
    assert record["config"]["lora"]["r"] == 2
    assert record["last"]["validation_loss"] > 0
    assert (run / record["base"]).resolve() == base.resolve()
    assert (run / "curves.png").stat().st_size > 1000
    names = {path.name for path in run.iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "vec64_film.pt", "tlm_config.json"} <= names


def test_micro_batches_do_not_change_the_step(base: Path, data: Path, tmp_path: Path) -> None:
    config = TrainConfig(2, ("all",), steps=2, batch=4, micro_batch=4, lr=1e-3, save_every=0)
    runs = []
    for micro in (4, 1):
        out = tmp_path / str(micro)
        model, tokenizer = load_fusar(base)
        model.tlm.config = replace(model.tlm.config, prior_dropout=0.0)
        from engine.model.fusar import save_fusar

        start = tmp_path / f"base-{micro}"
        save_fusar(model, tokenizer, start)
        runs.append(_weights(train(replace(config, micro_batch=micro), data, str(start), out)))
    for name, value in runs[0].items():
        torch.testing.assert_close(value, runs[1][name], rtol=1e-3, atol=2e-5, msg=name)


def test_only_the_named_parts_move(base: Path, data: Path, tmp_path: Path) -> None:
    before = _weights(base)
    moved = {}
    for part in ("tlm", "vision", "language"):
        config = TrainConfig(1, (part,), steps=1, batch=2, micro_batch=2, lr=1e-2, save_every=0)
        after = _weights(train(config, data, str(base), tmp_path / part))
        moved[part] = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved["tlm"] and all(name.startswith("tlm.") for name in moved["tlm"])
    assert moved["vision"] and all(name.startswith("base.model.visual.") for name in moved["vision"])
    kept = ("base.model.language_model.", "base.lm_head.")
    assert moved["language"] and all(name.startswith(kept) for name in moved["language"])


def test_lora_stands_on_the_language_model_alone(base: Path, data: Path, tmp_path: Path) -> None:
    config = replace(BOTH, trains=("lora",), steps=1)
    run = train(config, data, str(base), tmp_path / "run")
    names = [name for name in _weights(run) if "lora_A" in name]
    assert len(names) == 7
    assert all("language_model.layers.0." in name for name in names)
    wide = replace(config, lora=replace(LORA, vision=True))
    run = train(wide, data, str(base), tmp_path / "wide")
    names = [name for name in _weights(run) if "lora_A" in name and "visual" in name]
    assert len(names) == 2 * 5


def test_stage_two_goes_on_from_stage_one_and_merges(base: Path, data: Path, tmp_path: Path) -> None:
    first = train(BOTH, data, str(base), tmp_path / "one")
    second = train(replace(BOTH, stage=2, trains=("lora",)), data, str(first), tmp_path / "two")
    one, two = _weights(first), _weights(second)
    assert all(torch.equal(one[name], two[name]) for name in one if name.startswith("tlm."))
    assert any(not torch.equal(one[name], two[name]) for name in one if "lora_B" in name)
    opened = open_model(str(second))
    expected = _logits(opened.model, data, opened.tokenizer)
    plain, tokenizer = load_fusar(merge(second, tmp_path / "merged"))
    assert not any("lora" in name for name in plain.state_dict())
    torch.testing.assert_close(_logits(plain, data, tokenizer), expected, rtol=1e-4, atol=1e-5)
    moved = _logits(*_before(base, data)) - expected
    assert moved.abs().max() > 1e-2  # so the equality above says something


def _before(base: Path, data: Path):
    model, tokenizer = load_fusar(base)
    return model, data, tokenizer


def test_whole_weights_take_the_adapter_in(base: Path, data: Path, tmp_path: Path) -> None:
    first = train(replace(BOTH, steps=1), data, str(base), tmp_path / "one")
    config = TrainConfig(2, ("all",), steps=1, batch=2, micro_batch=2, save_every=0)
    second = train(config, data, str(first), tmp_path / "two")
    model, _ = load_fusar(second)
    assert not any("lora" in name for name in model.state_dict())


def test_it_learns(base: Path, data: Path, tmp_path: Path) -> None:
    config = TrainConfig(1, ("all",), steps=12, batch=6, micro_batch=6, lr=3e-3, save_every=0)
    run = train(config, data, str(base), tmp_path / "run")
    loss = json.loads((run / "curves.json").read_text())["loss"]
    assert loss[-1] < 0.5 * loss[0]


def test_gradient_checkpointing_changes_nothing(base: Path, data: Path, tmp_path: Path) -> None:
    config = replace(BOTH, steps=1, lora=replace(LORA, dropout=0.0))
    runs = [
        _weights(train(replace(config, gradient_checkpointing=on), data, str(base), tmp_path / str(on)))
        for on in (False, True)
    ]
    for name, value in runs[0].items():
        torch.testing.assert_close(value, runs[1][name], msg=name)


def test_another_run_in_the_folder_is_refused(base: Path, data: Path, tmp_path: Path) -> None:
    train(BOTH, data, str(base), tmp_path / "run", stop_after=1)
    with pytest.raises(ArtifactError, match="another configuration"):
        train(replace(BOTH, lr=1e-3), data, str(base), tmp_path / "run")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "precious.txt").write_text("x")
    with pytest.raises(ArtifactError, match="not empty"):
        train(BOTH, data, str(base), tmp_path / "other")


def test_adapter_of_another_shape_is_refused(base: Path, data: Path, tmp_path: Path) -> None:
    first = train(replace(BOTH, steps=1), data, str(base), tmp_path / "one")
    with pytest.raises(InputError, match="merge"):
        train(replace(BOTH, lora=LoraSettings(r=4, alpha=4)), data, str(first), tmp_path / "two")


def test_order_reads_each_epoch_once_and_alike_on_any_number_of_devices() -> None:
    config = TrainConfig(1, ("tlm",), steps=9, batch=4, micro_batch=1)
    alone = [index for chosen in Order(12, config, 0, 1, 0, 9) for index in chosen]
    epochs = np.array(alone).reshape(3, 12)
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert not np.array_equal(epochs[0], epochs[1])
    ranks = [[i for chosen in Order(12, config, rank, 2, 0, 9) for i in chosen] for rank in (0, 1)]
    for step in range(9):
        together = ranks[0][2 * step : 2 * step + 2] + ranks[1][2 * step : 2 * step + 2]
        assert sorted(together) == sorted(alone[4 * step : 4 * step + 4])
    later = [index for chosen in Order(12, config, 0, 1, 5, 9) for index in chosen]
    assert later == alone[20:]
    with pytest.raises(InputError):
        Order(12, config, 0, 3, 0, 9)


def test_rate_rises_then_falls() -> None:
    rates = [rate(step, 100, 0.1) for step in range(100)]
    assert rates[9] == rates[10] == max(rates) == 1
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 0.01


@pytest.mark.slow
def test_two_processes_end_with_the_weights_of_one(base: Path, data: Path, tmp_path: Path) -> None:
    config = tmp_path / "few.yaml"
    config.write_text(
        "steps: 2\nbatch: 4\nmicro_batch: 1\nprecision: fp32\nlora: {r: 2, alpha: 4, dropout: 0.0}\n"
        "tlm: {variant: fusar, hidden: 16, prior_dropout: 0.0}\n"
    )
    command = ["-m", "engine.cli", "train", "--stage", "2", "--data", str(data), "--base", str(base)]
    command += ["--config", str(config), "--out"]
    (data / "both.jsonl").write_text((data / "stage2.jsonl").read_text())
    with config.open("a") as file:
        file.write("files: [both.jsonl]\n")
    where = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    launch = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    for name, start in (("one", []), ("two", launch)):
        subprocess.run([sys.executable, *start, *command, str(tmp_path / name)], env=where, check=True)
    assert json.loads((tmp_path / "two" / "run.json").read_text())["devices"] == 2
    one, two = _weights(tmp_path / "one"), _weights(tmp_path / "two")
    assert one.keys() == two.keys()
    # Adam makes a whole step of a gradient that is nothing but rounding: a few weights may part.
    apart = torch.cat([(two[name] - value).abs().flatten() for name, value in one.items()])
    assert (apart < 2e-5).float().mean() > 0.99
    assert apart.max() < 5e-4


def test_a_modulation_learns_from_two_years(base: Path, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    for path in folder.glob("*.npz"):
        with np.load(path) as file:
            arrays = dict(file)
        arrays["features"] = np.concatenate([arrays["features"], arrays["features"][::-1]], axis=1)
        np.savez(path, **arrays)
    config = replace(BOTH, steps=6, tlm=TlmSettings(years=2))
    run = train(config, folder, str(base), tmp_path / "one")
    two = train(replace(BOTH, stage=2, steps=1), folder, str(run), tmp_path / "two")
    for each in (run, two):
        tlm = open_model(str(each)).model.tlm
        assert tlm.config.years == 2
        assert tlm.mlp[0].weight[:, 64:].abs().max() > 0
    with pytest.raises(DatasetError, match="--years 2"):
        train(config, data, str(base), tmp_path / "wrong")
    with pytest.raises(InputError, match="one year"):
        export(merge(two, tmp_path / "merged"), tmp_path / "bundle")


def test_half_precision_where_it_is_supported(
    base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state()  # a process keeps the precision of its first run
    try:
        run = train(replace(BOTH, steps=1, precision="bf16"), data, str(base), tmp_path / "run")
    finally:
        AcceleratorState._reset_state()
    record = json.loads((run / "run.json").read_text())
    assert record["precision"] == "bf16" and np.isfinite(record["last"]["loss"])
    trained = [value for name, value in _weights(run).items() if "lora_B" in name or name.startswith("tlm.")]
    assert all(value.dtype == torch.float32 for value in trained)
    assert any(value.abs().max() > 0 for value in trained)
    for able in (True, False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda able=able: able)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
        assert _precision(BOTH) == ("bf16" if able else "no")
