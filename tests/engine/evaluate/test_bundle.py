"""What needs a bundle: recalibration, the dense head, the classifier on candidates, the commands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from engine.cli import app
from engine.errors import ArtifactError, DatasetError, InputError
from engine.evaluate import candidates, dense
from engine.evaluate.baselines import find_all
from engine.evaluate.recalibrate import measured, recalibrate, write_calibrated
from engine.evaluate.shores import draw_items
from engine.runtime.parity import verify
from engine.runtime.predictor import Predictor
from engine.runtime.spec import Bundle, Calibration, default_bundle


@pytest.fixture(scope="module")
def items():
    return draw_items(24, 11)


@pytest.mark.parametrize("how", [{"slope": 0.5, "intercept": -0.5}, {"knots": ((0.1, 0.2), (0.9, 0.6))}])
def test_a_calibrated_bundle_is_another_and_passes_parity(small_bundle: Bundle, tmp_path: Path, how) -> None:
    fitted = Calibration(**how, fitted={"data": "made up"})
    made = write_calibrated(small_bundle, fitted, tmp_path / "one")
    assert made.bundle_id != small_bundle.bundle_id
    assert made.manifest.calibration == fitted
    assert verify(made).passed
    again = write_calibrated(made, Calibration(), tmp_path / "two")
    assert verify(again).passed
    assert again.manifest.files == small_bundle.manifest.files


def test_calibrating_anew_starts_from_the_models_own_scores(small_bundle: Bundle, items) -> None:
    strange = Calibration(slope=0.2, intercept=3.0)
    tasks = {
        name: task.model_copy(update={"calibration": strange})
        for name, task in small_bundle.manifest.tasks.items()
    }
    manifest = small_bundle.manifest.model_copy(update={"calibration": strange, "tasks": tasks})
    calibrated = Bundle(small_bundle.path, manifest, "0" * 16)
    backend = Predictor.open(small_bundle.path, threads=1).backend
    plain, undone, shown = (
        measured(Predictor(bundle, backend), items[:8])
        for bundle in (small_bundle.uncalibrated(), calibrated.uncalibrated(), calibrated)
    )
    assert len(plain) > 0
    assert (plain == undone).all()
    assert (plain[:, 0] != shown[:, 0]).all()


def test_recalibration_needs_enough_objects(small_bundle: Bundle, items, tmp_path: Path) -> None:
    with pytest.raises(DatasetError):
        recalibrate(small_bundle.path, items[:2], "two chips", tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("x")
    with pytest.raises(InputError):
        recalibrate(small_bundle.path, items[:2], "two chips", tmp_path / "full")


def test_the_head_sits_on_the_tokens_of_its_bundle(small_bundle: Bundle, items, tmp_path: Path) -> None:
    predictor = Predictor(small_bundle, Predictor.open(small_bundle.path, threads=1).backend)
    torch.manual_seed(0)
    for size in ("linear", "equal"):
        head = dense.train(predictor, items, size, epochs=1)
        tokens = dense.visual_tokens(predictor, items)
        dense.save(head, small_bundle, tmp_path / f"{size}.pt")
        found = find_all(predictor, items, [tmp_path / f"{size}.pt"])
        assert len(found[f"dense head, {size}"]) == len(items)
        again = dense.find(head, tokens)
        assert [len(each) for each in again] == [len(each) for each in found[f"dense head, {size}"]]
    with pytest.raises(ArtifactError):
        dense.load({"vision": "another", "facts": {}, "state": {}}, small_bundle)
    (tmp_path / "wrong.pt").write_bytes(b"nothing")
    with pytest.raises(ArtifactError):
        find_all(predictor, items, [tmp_path / "wrong.pt"])


def test_targets_read_back_are_the_truth(items) -> None:
    """A head that gives the targets themselves finds the truth, but for objects that share a token."""
    present, boxes = dense.targets(items, 9)

    class Perfect:
        facts = {"side": 9}

        def __init__(self) -> None:
            self.at = 0

        def __call__(self, tokens):
            part = slice(self.at, self.at + len(tokens))
            self.at += len(tokens)
            return torch.from_numpy(np.where(present[part] > 0, 9.0, -9.0)), torch.from_numpy(boxes[part])

    found = dense.find(Perfect(), np.zeros((len(items), 81, 4), np.float32))  # type: ignore[arg-type]
    count = 0
    for things, item in zip(found, items, strict=True):
        for thing in things:
            gap = min(np.hypot(*np.subtract(thing.centre_px, true.centre_px)) for true in item.things)
            count += gap < 0.01
    assert count == sum(map(len, found)) > 15


def test_the_dense_loss_falls(items) -> None:
    torch.manual_seed(1)
    present, boxes = (torch.from_numpy(each) for each in dense.targets(items, 9))
    head = dense.DenseHead(9, 16)
    tokens = torch.randn(len(items), 81, 16)
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        loss = dense.dense_loss(*head(tokens), present, boxes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]


def test_the_classifier_learns_ships_from_sea() -> None:
    train, test = draw_items(60, 21), draw_items(30, 22)
    net = candidates.train(train, epochs=15)
    windows, classes, _ = candidates.examples(test)
    with torch.no_grad():
        logits, _ = net(torch.from_numpy(windows).float() / 127.5 - 1)
    real = 1 - logits.softmax(1)[:, -1].numpy()
    above = real[classes < 3][:, None] > real[classes == 3][None]  # pairs of an object and clutter
    assert above.mean() > 0.8
    assert all(0 <= thing.score <= 1 for item in test for thing in candidates.find(net, item))


def test_commands(small_bundle: Bundle, tmp_path: Path) -> None:
    runner = CliRunner()
    saved = tmp_path / "candidates.pt"
    made = runner.invoke(
        app,
        ["baseline", "candidates", "--out", str(saved), "--chips", "12", "--epochs", "1", "--threads", "1"],
    )
    assert made.exit_code == 0, made.output
    out = tmp_path / "report.json"
    asked = ["evaluate", str(small_bundle.path), "--chips", "6", "--threads", "1", "--out", str(out)]
    done = runner.invoke(app, [*asked, "--task", "detection", "--baseline", str(saved)])
    assert done.exit_code == 0, done.output
    report = json.loads(out.read_text())
    assert set(report["results"]["baselines"]) == {"cfar", "classifier on candidates"}
    assert report["conditions"]["items"] == 6
    assert "description" not in report["results"]
    assert out.with_suffix(".md").read_text().startswith("# Evaluation")
    for wrong in (["--chips", "0"], ["--threshold", "2"], ["--task", "dance"]):
        failed = runner.invoke(app, ["evaluate", str(small_bundle.path), *wrong])
        assert isinstance(failed.exception, InputError)


def test_scenes_by_command(tmp_path: Path) -> None:
    point = {"type": "Point", "coordinates": [3.0, 57.0]}
    for name, facts in (
        ("found", {"class": "ship", "score": 0.9, "flags": []}),
        ("truth", {"class": "ship"}),
    ):
        folder = tmp_path / name
        folder.mkdir()
        feature = {"type": "Feature", "geometry": point, "properties": facts | {"length_m": 90.0}}
        text = json.dumps({"type": "FeatureCollection", "features": [feature]})
        (folder / f"S1A_X.{name}.geojson").write_text(text)
    out = tmp_path / "score.json"
    command = ["xview3", str(tmp_path / "found"), str(tmp_path / "truth"), "--out", str(out)]
    assert CliRunner().invoke(app, command).exit_code == 0
    assert json.loads(out.read_text())["detection_f1"] == 1
    with pytest.raises(InputError):
        CliRunner().invoke(app, ["xview3", str(tmp_path), str(tmp_path / "truth")], catch_exceptions=False)


def test_the_shipped_bundle_opens_with_its_calibration() -> None:
    calibration = Bundle.open(default_bundle()).manifest.calibration
    values = [calibration.apply(score) for score in np.linspace(0, 1, 21)]
    assert (np.diff(values) >= 0).all()
