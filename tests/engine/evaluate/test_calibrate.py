"""`fusar-engine calibrate` end to end, on the bundle that ships."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from engine.cli import app
from engine.errors import InputError
from engine.evaluate import heldout
from engine.evaluate.calibration import expected_error
from engine.evaluate.change_odds import TASK, chances_of
from engine.evaluate.recalibrate import measured
from engine.evaluate.shores import draw_items, draw_pair_items
from engine.runtime.predictor import Predictor
from engine.runtime.spec import Bundle, default_bundle
from engine.simulate import testset

CHIPS, PAIRS, SEED = 40, 60, 7_001  # fewer, and there is too little to fit


@pytest.mark.slow
def test_calibrating_on_chips_and_pairs_makes_another_bundle_of_truer_scores(tmp_path: Path) -> None:
    bundle, out = tmp_path / "bundle", tmp_path / "calibrated"
    shutil.copytree(default_bundle(), bundle)
    before = Bundle.open(bundle)
    asked = ["calibrate", str(bundle), "--out", str(out), "--chips", str(CHIPS), "--pairs", str(PAIRS)]
    done = CliRunner().invoke(app, [*asked, "--threads", "1"])
    assert done.exit_code == 0, done.output

    made = Bundle.open(out)  # reads the manifest strictly, and checks every file against it
    assert made.bundle_id != before.bundle_id and made.bundle_id in done.output
    assert made.manifest.files == before.manifest.files
    assert Bundle.open(bundle).bundle_id == before.bundle_id
    objects, changes = made.manifest.calibration.fitted, made.manifest.tasks[TASK].calibration.fitted
    for facts in (objects, changes):
        assert facts["from"] == before.bundle_id
        seeds = {int(each) for each in re.findall(r"seed (\d+)", facts["data"])}
        assert seeds == {SEED} and not seeds & {testset.TEST_SEED, heldout.SEED}

    raw, fitted = (
        Predictor(before.uncalibrated(), Predictor.open(bundle, threads=1).backend),
        Predictor.open(out, threads=1),
    )
    errors = [expected_error(*measured(each, draw_items(CHIPS, SEED)).T) for each in (raw, fitted)]
    assert errors == pytest.approx(
        [objects["expected_error_before"], objects["expected_error_after"]], abs=1e-3
    )
    assert errors[1] <= errors[0]
    losses = []
    for each in (raw, fitted):
        chances, right = chances_of(each, draw_pair_items(PAIRS, SEED))
        assert chances.sum(axis=1) == pytest.approx(1, abs=1e-6)
        losses.append(-np.log(np.maximum(chances[np.arange(len(right)), right], 1e-12)).mean())
    # fitted place by place; asked together, a place is told after what was told of those before it
    assert losses[1] == pytest.approx(changes["log_loss"], abs=0.05)
    assert losses[1] <= losses[0]


@pytest.mark.parametrize("seed", [testset.TEST_SEED, heldout.SEED])
def test_nothing_is_fitted_on_what_is_kept_for_tests(tmp_path: Path, seed: int) -> None:
    asked = ["calibrate", str(default_bundle()), "--out", str(tmp_path / "out"), "--seed", str(seed)]
    refused = CliRunner().invoke(app, asked)
    assert isinstance(refused.exception, InputError) and "test" in str(refused.exception)
    assert not (tmp_path / "out").exists()
