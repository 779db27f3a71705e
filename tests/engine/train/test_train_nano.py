"""The script that makes the engine which ships, whole, at its smallest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.runtime.spec import READOUT, Bundle

SCRIPT = Path(__file__).parents[3] / "tools" / "train_nano.sh"


@pytest.mark.slow
def test_a_bundle_is_made_from_nothing(tmp_path: Path) -> None:
    small = {"NANO_SMALLER": "4000", "NANO_PRETRAIN": "--no-compile --workers 1 --batch 8"}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", str(SCRIPT), "runs", "bundle"],
        cwd=tmp_path,
        env=os.environ | small | {"PATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    bundle = Bundle.open(tmp_path / "bundle")
    assert READOUT in bundle.manifest.files and bundle.manifest.score_odds == (0.2, 0.8, 0.0)
    assert bundle.manifest.training["stage"] == "lean" and bundle.manifest.training["samples"] > 0
    report = json.loads((tmp_path / "runs" / "evaluation.json").read_text())
    assert bundle.bundle_id in report["conditions"]["bundle"]
    assert report["results"]["detection"]["text_valid"]["share"] == 1
