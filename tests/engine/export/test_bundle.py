"""A checkpoint becomes a bundle that gives the reference's answers, and the gate sees where it does not."""

from __future__ import annotations

import inspect
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.errors import InputError, ParityError
from engine.export import golden
from engine.export.bundle import export
from engine.model.fusar import load_fusar, save_fusar
from engine.runtime import spec
from engine.runtime.golden import read as read_golden
from engine.runtime.image import patches as cut
from engine.runtime.ort import OrtBackend
from engine.runtime.parity import compare, verify
from engine.runtime.predictor import Predictor
from engine.runtime.proposals import Readout
from engine.runtime.text import LABELS, SYSTEM, parse_detections


def with_golden(bundle: spec.Bundle, folder: Path, change) -> spec.Bundle:
    """The same bundle with other reference answers."""
    copy = folder / "bundle"
    shutil.copytree(bundle.path, copy)
    with np.load(copy / spec.GOLDEN) as file:
        arrays = dict(file)
    change(arrays)
    np.savez(copy / spec.GOLDEN, **arrays)
    files = dict(bundle.manifest.files) | {spec.GOLDEN: spec.entry_of(copy / spec.GOLDEN)}
    manifest = bundle.manifest.model_copy(update={"files": files})
    (copy / spec.MANIFEST).write_text(manifest.model_dump_json())
    return spec.Bundle.open(copy)


def test_bundle_holds_what_the_runtime_needs(small_bundle: spec.Bundle) -> None:
    manifest = small_bundle.manifest
    assert set(manifest.files) == {spec.VISION, spec.DECODER, spec.TOKENIZER, spec.GOLDEN, spec.CONFIG}
    assert manifest.model.layers == 2
    decoder = manifest.graphs["decoder"]
    assert [each.name for each in decoder.inputs][:6] == [
        "input_ids", "visual", "visual_index", "position_ids", "past_len", "new_len",
    ]  # fmt: skip
    assert [each.name for each in decoder.outputs] == [
        "logits", "present_k_0", "present_v_0", "present_k_1", "present_v_1",
    ]  # fmt: skip
    logits = decoder.outputs[0]
    assert (logits.dtype, logits.shape[1]) == ("float32", manifest.model.vocabulary)
    assert [each.name for each in manifest.graphs["vision"].inputs] == [
        "patches",
        "vectors",
        "positions",
        "mask",
    ]
    assert manifest.graphs["vision"].inputs[0].shape[1:] == (324, 588)


def test_onnx_runtime_passes_the_gate(small_bundle: spec.Bundle) -> None:
    parity = verify(small_bundle, threads=1)
    assert parity.passed
    assert max(parity.tensors.values()) < 1e-4
    assert all(agree == count == 8 for agree, count in parity.answers.values())


def test_a_bundle_with_a_readout_names_what_its_tower_proposes(
    small_checkpoint: Path, make_request, tmp_path: Path
) -> None:
    model, tokenizer = load_fusar(small_checkpoint)
    torch.manual_seed(3)
    model.readout = torch.linalg.qr(torch.randn(192, 7))[0].T.contiguous()
    save_fusar(model, tokenizer, tmp_path / "checkpoint")
    made = export(tmp_path / "checkpoint", tmp_path / "bundle", name="small", tasks=("detection",))
    assert spec.READOUT in made.manifest.files
    assert verify(made, threads=1).passed
    predictor = Predictor.open(made.path, threads=1)
    requests = [make_request(seed) for seed in range(4)]
    patches, priors = zip(*((each.chips[0], each.priors[0]) for each in requests), strict=True)
    visual = model.vision(torch.from_numpy(cut(np.stack(patches), 252))).detach()
    dense = visual @ model.readout.T  # of the tower alone: neither a prior nor the places have a part in it
    plain = Readout(np.eye(7, dtype=np.float32), np.zeros((81, 7), np.float32), LABELS)
    named = 0
    for request, answer, said in zip(requests, predictor.ask(requests), dense, strict=True):
        if request.priors[0].mask.any():
            continue
        boxes = {each.box for each in plain.proposals(said.numpy(), 252)}
        for each in answer.objects:
            named += 1
            assert tuple(round(2 * edge) for edge in each.box_px) in boxes
    assert named > 0
    assert any(prior.mask.any() for prior in priors)


def test_golden_answers_say_something(small_bundle: spec.Bundle) -> None:
    _, _, answers = read_golden(small_bundle.file(spec.GOLDEN))
    found = [parse_detections(entry["text"]) for entry in answers["detection"]]
    assert any(found)
    assert len({entry["text"] for entry in answers["detection"]}) > 1


def test_the_gate_sees_other_tensors_boxes_labels_and_scores(
    small_bundle: spec.Bundle, tmp_path: Path
) -> None:
    def worse(arrays: dict) -> None:
        arrays["visual"] = arrays["visual"] + 0.01 * np.abs(arrays["visual"]).max()
        answers = json.loads(str(arrays["answers"]))
        listed = [entry for entry in answers["detection"] if entry["scores"]]
        listed[0]["scores"][0] += 0.05
        text = json.loads(listed[1]["text"])
        text[0]["bbox_2d"][0] = (text[0]["bbox_2d"][0] + 100) % 252
        listed[1]["text"] = json.dumps(text)
        answers["description"][0]["text"] += "!"
        arrays["answers"] = np.array(json.dumps(answers))

    bundle = with_golden(small_bundle, tmp_path, worse)
    parity = compare(bundle, OrtBackend(bundle, threads=1))
    kinds = [difference.split(":")[0].split(",")[0] for difference in parity.differences]
    assert kinds == ["visual", "detection", "detection", "description"]
    with pytest.raises(ParityError, match="4 differences between ort fp32 and the torch reference"):
        verify(bundle, threads=1)


def test_the_prior_reaches_the_answer(small_bundle: spec.Bundle) -> None:
    predictor = Predictor(small_bundle, OrtBackend(small_bundle, threads=1))
    given, tensors, _ = read_golden(small_bundle.file(spec.GOLDEN))
    sensor = small_bundle.manifest.sensors[0]
    task = small_bundle.manifest.tasks["detection"]
    without = replace(given, vectors=given.vectors * 0, mask=given.mask & False)
    logits = [
        predictor.first_tensors(each.requests("detection", task, sensor))[1] for each in (given, without)
    ]
    moved = np.abs(logits[0] - logits[1]).max(axis=1)
    present = given.mask.any(axis=1)
    assert present.any()
    assert not present.all()
    assert (moved[present] > 1e-3).all()
    assert (moved[~present] < 1e-5).all()


def test_chips_come_from_a_file(tmp_path: Path) -> None:
    chips = np.random.default_rng(0).integers(0, 256, (2, 3, 126, 126), dtype=np.uint8)
    np.savez(tmp_path / "chips.npz", chips=chips)
    given = golden.load_inputs(tmp_path / "chips.npz")
    assert (given.chips == chips).all()
    assert not given.mask.any()
    np.savez(tmp_path / "bad.npz", chips=chips[:, :2])
    with pytest.raises(InputError, match="expected uint8"):
        golden.load_inputs(tmp_path / "bad.npz")


def test_a_bundle_is_never_written_over(small_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "something").touch()
    with pytest.raises(InputError, match="not empty"):
        export(small_checkpoint, tmp_path)
    with pytest.raises(InputError, match="expected some of"):
        export(small_checkpoint, tmp_path / "new", tasks=["poetry"])


def test_the_command_checks_a_bundle(small_bundle: spec.Bundle) -> None:
    import typer
    from typer.testing import CliRunner

    from engine.export.command import verify as command

    app = typer.Typer()
    app.command()(command)
    result = CliRunner().invoke(app, [str(small_bundle.path)])
    assert result.exit_code == 0, result.output
    assert "8 of 8 answers agree" in result.output
    assert small_bundle.bundle_id in result.output


def test_the_command_offers_what_the_function_takes(
    small_bundle: spec.Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    from engine.cli import app
    from engine.export import bundle as module

    given: dict = {}

    def noted(checkpoint, out, **options):
        given.update(options)
        return small_bundle

    monkeypatch.setattr(module, "export", noted)
    record = tmp_path / "run.json"
    record.write_text('{"seed": 3}')
    asked = ["export", str(tmp_path), "--out", str(tmp_path / "new")]
    done = CliRunner().invoke(
        app,
        [
            *asked,
            "--score-odds",
            "0.3,0.7,-1",
            "--spacing",
            "20",
            "--system",
            "undated",
            "--record",
            str(record),
        ],
    )
    assert done.exit_code == 0, done.output
    assert given["score_odds"] == (0.3, 0.7, -1.0)
    assert (given["spacing_m"], given["system"], given["training"]) == (20.0, SYSTEM, {"seed": 3})
    elsewhere = {"checkpoint", "out", "calibration"}  # a calibration is `fusar-engine calibrate`'s
    assert set(inspect.signature(export).parameters) == set(given) | elsewhere
    CliRunner().invoke(app, asked)
    for name, own in inspect.signature(export).parameters.items():
        if name not in elsewhere | {"progress", "training", "int8"}:
            assert given[name] == own.default, name
    record.write_text("[]")
    for wrong in (
        ["--score-odds", "1,2"],
        ["--score-odds", "1,-2,0"],
        ["--system", "x"],
        ["--record", str(record)],
    ):
        assert isinstance(CliRunner().invoke(app, [*asked, *wrong]).exception, InputError), wrong
