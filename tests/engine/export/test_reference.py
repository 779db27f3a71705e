"""A bundle's graphs back to torch, torch as a backend, and the graphs in 8 bit."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from engine.errors import ArtifactError, BackendError, DeviceLost, InputError, OutOfMemory
from engine.export import reference
from engine.export.bundle import _add_int8, _seal
from engine.export.read_back import load_model
from engine.export.reference import TorchBackend, open_torch
from engine.model.fusar import load_fusar
from engine.runtime.backend import load_backend
from engine.runtime.ort import Int8OrtBackend, OrtBackend
from engine.runtime.parity import check, compare
from engine.runtime.predictor import Predictor
from engine.runtime.spec import DECODER_INT8, VISION_INT8, Bundle, Tolerance
from tests.engine.runtime.test_ort import LENGTHS, follow, prefill


@pytest.fixture(scope="module")
def backend(small_bundle: Bundle) -> TorchBackend:
    return open_torch(small_bundle)


def test_the_weights_come_back_as_they_were(small_bundle: Bundle, small_checkpoint: Path) -> None:
    there, back = load_fusar(small_checkpoint)[0], load_model(small_bundle)[0]
    given = there.state_dict()
    for name, got in back.state_dict().items():
        expected = given[name]
        if name.endswith("patch_embed.proj.weight"):  # of the two frames only the sum is known
            got, expected = got.sum(2), expected.sum(2)
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)


def test_the_bundle_that_ships_comes_back_too() -> None:
    bundle = Bundle.open()
    assert check(bundle, TorchBackend(load_model(bundle)[0]), chips=2).agreeing == 1


def test_torch_passes_the_gate_from_the_bundle_alone(small_bundle: Bundle) -> None:
    loaded = load_backend("torch", small_bundle)
    assert loaded.name == "torch fp32"
    assert check(small_bundle, loaded).agreeing == 1


def test_caches_are_written_in_place_and_bounds_are_kept(backend: TorchBackend) -> None:
    cache = backend.allocate(5, 16)
    addresses = [array.data_ptr() for array in cache.arrays]
    for array in cache.arrays:
        array[...] = 3
    backend.decode(prefill(), cache, first=1)
    assert addresses == [array.data_ptr() for array in cache.arrays]
    for array in cache.arrays:
        assert (array[[0, 4]] == 3).all()
        assert (array[1:4, :, :9] != 3).any()
        array[1:4, :, 9:] = 50  # junk beyond a row's tokens must not matter
    clean = backend.allocate(3, 16)
    backend.decode(prefill(), clean, 0)
    expected = backend.decode(follow(LENGTHS, [1, 1, 1]), clean, 0)
    np.testing.assert_allclose(backend.decode(follow(LENGTHS, [1, 1, 1]), cache, 1), expected, atol=1e-5)
    clean.move(0, 2)
    clean.widen(20)
    assert clean.columns == 20
    assert all((array[0] == array[2]).all() and array.shape[2] == 20 for array in clean.arrays)
    with pytest.raises(InputError, match="widen the cache"):
        backend.decode(prefill(), backend.allocate(3, 8), 0)
    with pytest.raises(InputError, match="TorchCache"):
        backend.decode(prefill(), object(), 0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (torch.OutOfMemoryError("no room"), OutOfMemory),
        (RuntimeError("shapes differ"), BackendError),
        (getattr(torch, "AcceleratorError", lambda said: None)("illegal address"), DeviceLost),
    ],
)
def test_torchs_errors_are_ours(raised: Exception | None, kind: type) -> None:
    def fail() -> None:
        assert raised is not None
        raise raised

    if raised is None:
        pytest.skip("this torch has no such error")
    with pytest.raises(kind) as caught:
        reference._guarded(fail)
    assert type(caught.value) is kind


def test_values_that_are_not_finite_are_errors(backend: TorchBackend) -> None:
    cache = backend.allocate(3, 16)
    cache.arrays[1][...] = np.nan
    with pytest.raises(BackendError, match="not finite"):
        backend.decode(prefill(), cache, 0)


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The bundle that ships, its graphs in 8 bit made anew."""
    folder = tmp_path_factory.mktemp("int8") / "nano"
    shutil.copytree(Bundle.open().path, folder, ignore=shutil.ignore_patterns("*.int8.onnx"))
    return _add_int8(_seal(folder, Bundle.open().manifest))


def test_8_bit_is_near_and_no_answer_depends_on_its_batch(int8: Bundle) -> None:
    assert {VISION_INT8, DECODER_INT8} <= set(int8.manifest.files)
    backend = Int8OrtBackend(int8, threads=1)
    parity = compare(int8, backend)
    assert parity.passed
    assert 1e-3 < parity.tensors["visual"] < 0.1  # it is another graph, and not another model
    from engine.runtime import golden

    task = int8.manifest.tasks["detection"]
    given = golden.read(int8.file("golden.npz"))[0].requests("detection", task, int8.manifest.sensors[0])[:6]
    together = Predictor(int8, backend).ask(given)
    assert [Predictor(int8, backend, rows=1).ask([each])[0].text for each in given] == [
        each.text for each in together
    ]


def test_graphs_in_8_bit_that_fail_the_gate_are_left_out(small_bundle: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(small_bundle.path, folder)
    opened = Bundle.open(folder)
    strict = opened.manifest.model_copy(update={"parity": {"int8": Tolerance(tensor=1e-9)}})
    left = _add_int8(replace(opened, manifest=strict))
    assert not {VISION_INT8, DECODER_INT8} & {path.name for path in folder.iterdir()}
    assert OrtBackend(left, threads=1).name == "ort fp32"
    with pytest.raises(ArtifactError, match="export it anew with --int8"):
        Int8OrtBackend(left)
