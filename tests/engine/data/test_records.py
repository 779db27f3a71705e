"""Records: ours go there and back, the released form is read as it is, malformed lines are named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.data.records import (
    Record,
    load_images,
    load_priors,
    read_records,
    write_prior,
    write_records,
)
from engine.errors import DatasetError
from engine.runtime.image import channel_stamp
from engine.runtime.prior import Prior

RELEASED = {
    "id": "demo-1",
    "image": "images/1.png",
    "aef": "aef/1.npz",
    "coordinate_size": 504,
    "question": "Detect every ship.",
    "answer": '[{"bbox_2d": [-35, 10, 40, 529], "label": "ship"}]',
}


def _write(folder: Path, *lines: object) -> Path:
    path = folder / "records.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return path


def test_reads_the_released_form(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "aef").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (504, 504, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "images" / "1.png")
    features = np.random.default_rng(1).normal(size=(7, 64)).astype(np.float32)
    positions = np.random.default_rng(2).random((7, 2)).astype(np.float32)
    np.savez(tmp_path / "aef" / "1.npz", features=features, positions=positions)
    (record,) = read_records(_write(tmp_path, RELEASED))
    assert (record.task, record.sensor, record.answer) == ("detection", None, RELEASED["answer"])
    assert np.array_equal(load_images(record)[0], pixels.transpose(2, 0, 1))
    (prior,) = load_priors(record)
    assert prior.mask.all()
    assert np.array_equal(prior.vectors, features)
    assert np.array_equal(prior.positions, positions)


def test_absent_prior_is_read_as_nothing_known(tmp_path: Path) -> None:
    line = {name: value for name, value in RELEASED.items() if name != "aef"}
    (record,) = read_records(_write(tmp_path, line))
    (prior,) = load_priors(record)
    assert not prior.mask.any()


def test_ours_goes_there_and_back(tmp_path: Path) -> None:
    one = Record(
        "a", ("a.png",), (None,), 252, "How many?", "2", "counting", "Sentinel-1 IW", ("VV", "VH"), 10.0,
        "here", ({"label": "ship", "bbox_2d": [1, 2, 3, 4]},),
    )  # fmt: skip
    two = Record("b", ("a.png", "b.png"), ("a.npz", None), 252, "What changed?", "Nothing.", "change")
    path = tmp_path / "records.jsonl"
    assert write_records(path, [one, two]) == 2
    assert read_records(path) == [one, two]


def test_masked_anchor_survives(tmp_path: Path) -> None:
    mask = np.array([True, False, True])
    prior = Prior(
        np.where(mask[:, None], 0.5, 0).repeat(64, 1).astype(np.float32), np.eye(3, 2, dtype="f4"), mask, None
    )
    write_prior(tmp_path / "p.npz", prior)
    record = Record("a", ("a.png",), ("p.npz",), 252, "q", "a", folder=tmp_path)
    (back,) = load_priors(record)
    assert np.array_equal(back.mask, mask)
    assert np.array_equal(back.vectors, prior.vectors)


@pytest.mark.parametrize(
    "change",
    [
        {"id": None},
        {"image": 3},
        {"answer": ""},
        {"coordinate_size": 0},
        {"coordinate_size": "504"},
        {"aef": ["a.npz", "b.npz"]},
        {"images": ["a", "b", "c"]},
        {"sensor": "Sentinel-1 IW"},
        {"spacing_m": -1},
        {"truth": {"label": "ship"}},
    ],
)
def test_malformed_line_is_named(tmp_path: Path, change: dict) -> None:
    with pytest.raises(DatasetError, match="line 2"):
        read_records(_write(tmp_path, RELEASED, RELEASED | change))


@pytest.mark.parametrize("text", ["{", "[]", "3", ""])
def test_not_a_record(tmp_path: Path, text: str) -> None:
    with pytest.raises(DatasetError):
        read_records(_write(tmp_path, text))


@pytest.mark.parametrize(
    "arrays",
    [
        {"features": np.zeros((3, 64), "f4")},
        {"features": np.zeros((3, 63), "f4"), "positions": np.zeros((3, 2), "f4")},
        {"features": np.zeros((3, 64), "f4"), "positions": np.zeros((2, 2), "f4")},
        {"features": np.full((3, 64), np.nan, "f4"), "positions": np.zeros((3, 2), "f4")},
        {"features": np.zeros((3, 64), "f4"), "positions": np.full((3, 2), 1.5, "f4")},
        {"features": np.zeros((0, 64), "f4"), "positions": np.zeros((0, 2), "f4")},
    ],
)
def test_prior_that_does_not_fit(tmp_path: Path, arrays: dict) -> None:
    np.savez(tmp_path / "p.npz", **arrays)
    with pytest.raises(DatasetError, match="p.npz"):
        load_priors(Record("a", ("a.png",), ("p.npz",), 252, "q", "a", folder=tmp_path))


def test_image_that_is_not_square(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((10, 12, 3), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(DatasetError, match="square"):
        load_images(Record("a", ("a.png",), (None,), 252, "q", "a", folder=tmp_path))


def test_a_prior_of_two_years_is_read(tmp_path: Path) -> None:
    features = np.random.default_rng(1).normal(size=(3, 128)).astype(np.float32)
    write_prior(tmp_path / "p.npz", Prior(features, np.eye(3, 2, dtype="f4"), np.ones(3, np.bool_), 2022))
    record = Record("a", ("a.png",), ("p.npz",), 252, "q", "a", folder=tmp_path)
    (back,) = load_priors(record)
    assert back.years == 2 and np.array_equal(back.vectors, features)
    np.savez(tmp_path / "p.npz", features=features[:, :100], positions=np.eye(3, 2))
    with pytest.raises(DatasetError, match="128"):
        load_priors(record)


def test_a_dataset_of_other_channels_is_refused_and_one_of_others_is_read(tmp_path: Path) -> None:
    path = _write(tmp_path, RELEASED)
    for foreign in ("[1, 2]", '{"description": "ships"}'):
        (tmp_path / "dataset.json").write_text(foreign)
        assert len(read_records(path)) == 1
    own = {"records": {"stage2.jsonl": 1}, "channels": channel_stamp()}
    (tmp_path / "dataset.json").write_text(json.dumps(own))
    assert len(read_records(path)) == 1
    ratio = {**own["channels"], "stands_out_sd": [-4.0, 16.0]}
    for channels in ({"channels": ratio}, {}):
        (tmp_path / "dataset.json").write_text(json.dumps({"records": {}} | channels))
        with pytest.raises(DatasetError, match="fusar-engine dataset"):
            read_records(path)
