"""The run record: curves with figures that come and go, hashes of files, no path of the machine."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from engine.errors import DatasetError
from engine.train.journal import Curve, facts, file_hash, files_hash, seen_from, write_run


def test_a_figure_that_was_not_taken_is_none_there(tmp_path: Path) -> None:
    curve = Curve()
    curve.add(25, 3.0, 1.0, 0.1)
    curve.add(50, 2.0, 1.0, 0.2, {"words": 0.5})
    curve.add(75, 1.0, 1.0, 0.1, {"slip_px": 4.0})
    assert curve.figures == {"words": [None, 0.5, None], "slip_px": [None, None, 4.0]}
    assert Curve.from_dict(json.loads(json.dumps(curve.to_dict()))) == curve
    out = tmp_path / "vision"  # made if missing
    write_run(out, facts("vision", {"seed": 1}, {}, {"sha256": "0" * 64}), curve)
    record = json.loads((out / "run.json").read_text())
    assert record["stage"] == "vision" and record["last"] == {"loss": 1.0, "validation_loss": None}
    assert json.loads((out / "curves.json").read_text())["figures"] == curve.figures
    assert (out / "curves.png").read_bytes()[:4] == b"\x89PNG"


def test_a_curve_of_an_older_state_is_taken_up_again() -> None:
    old = {"step": [1], "loss": [2.0], "gradient_norm": [1.0], "lr": [0.1]}
    curve = Curve.from_dict({**old, "validation_step": [], "validation_loss": []})
    curve.add(2, 1.0, 1.0, 0.1)
    assert curve.step == [1, 2] and curve.figures == {}


def test_hashes_are_of_bytes_and_order(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"x" * 3_000_000)  # more than is read at once
    two.write_bytes(b"y")
    assert file_hash(one) == hashlib.sha256(one.read_bytes()).hexdigest()
    assert files_hash([one, two]) != files_hash([two, one])
    with pytest.raises(DatasetError, match="three"):
        files_hash([one, tmp_path / "three"])


def test_a_source_is_named_as_seen_from_the_run(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    assert seen_from(tmp_path / "run", str(tmp_path / "base")) == "../base"
    assert seen_from(tmp_path / "run", "Qwen/Qwen2.5-VL-3B-Instruct") == "Qwen/Qwen2.5-VL-3B-Instruct"
