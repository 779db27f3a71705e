"""ONNX Runtime gives what the torch modules give, and writes the caller's caches in place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from engine.errors import ArtifactError, BackendError, InputError
from engine.export.reference import TorchBackend
from engine.model.fusar import load_fusar
from engine.runtime.backend import HostCache, Step
from engine.runtime.ort import OrtBackend
from engine.runtime.prior import anchor_positions
from engine.runtime.spec import Bundle

LENGTHS = np.array([9, 4, 7])


@pytest.fixture(scope="module")
def ort(small_bundle: Bundle) -> OrtBackend:
    return OrtBackend(small_bundle, threads=1)


@pytest.fixture(scope="module")
def reference(small_checkpoint: Path) -> TorchBackend:
    return TorchBackend(load_fusar(small_checkpoint)[0])


def prefill(seed: int = 0) -> Step:
    rng = np.random.default_rng(seed)
    ids = rng.integers(10, 600, (3, 9))
    index = np.full((3, 9), -1)
    index[:, 1:3] = np.arange(6).reshape(3, 2)
    positions = np.broadcast_to(np.arange(9), (3, 3, 9)).copy()
    positions[1, :, 2:] += 1
    visual = rng.normal(size=(6, 192)).astype(np.float32)
    return Step(ids, visual, index, positions, np.zeros(3, np.int64), LENGTHS)


def follow(used: np.ndarray, new: list[int]) -> Step:
    width = max(new)
    rng = np.random.default_rng(width)
    ids = rng.integers(10, 600, (3, width))
    positions = np.broadcast_to((used + 1)[:, None] + np.arange(width), (3, 3, width))
    return Step(ids, np.zeros((1, 192), np.float32), np.full_like(ids, -1), positions, used, np.array(new))


def test_ragged_prefill_and_steps_equal_torch(ort: OrtBackend, reference: TorchBackend) -> None:
    caches = [backend.allocate(5, 32) for backend in (ort, reference)]
    steps = [prefill(), follow(LENGTHS, [1, 3, 2]), follow(LENGTHS + [1, 3, 2], [2, 0, 1])]  # an idle row
    for step in steps:
        got, expected = (
            backend.decode(step, cache, 1) for backend, cache in zip((ort, reference), caches, strict=True)
        )
        np.testing.assert_allclose(got, expected, atol=1e-4)


def test_caches_are_written_in_place_at_the_rows_and_columns_asked_for(ort: OrtBackend) -> None:
    cache = ort.allocate(5, 16)
    for array in cache.arrays:
        array[...] = 3
    addresses = [array.ctypes.data for array in cache.arrays]
    step = prefill()
    ort.decode(step, cache, first=1)
    assert addresses == [array.ctypes.data for array in cache.arrays]
    for array in cache.arrays:
        assert (array[[0, 4]] == 3).all()
        assert (array[1:4, :, 9:] == 3).all()
        assert (array[1:4, :, :9] != 3).any(axis=(1, 3)).all()
        array[1:4, :, 9:] = 50  # junk beyond a row's tokens must not matter
    clean = ort.allocate(3, 16)
    expected = [ort.decode(prefill(), clean, 0), ort.decode(follow(LENGTHS, [1, 1, 1]), clean, 0)]
    got = ort.decode(follow(LENGTHS, [1, 1, 1]), cache, first=1)
    np.testing.assert_allclose(got, expected[1], atol=1e-5)


def test_vision_equals_torch_with_and_without_a_prior(ort: OrtBackend, reference: TorchBackend) -> None:
    rng = np.random.default_rng(3)
    count = 10  # more than one call's worth
    patches = rng.uniform(-1, 1, (count, 324, 588)).astype(np.float32)
    vectors = rng.uniform(-0.4, 0.4, (count, 36, 64)).astype(np.float32)
    positions = np.repeat(anchor_positions()[None], count, axis=0)
    mask = rng.random((count, 36)) < 0.5
    mask[0] = False
    got = ort.vision(patches, vectors, positions, mask)
    np.testing.assert_allclose(got, reference.vision(patches, vectors, positions, mask), atol=2e-4)
    without = ort.vision(patches, np.zeros_like(vectors), positions, np.zeros_like(mask))
    np.testing.assert_allclose(got[0], without[0], atol=1e-5)
    assert np.abs(got[1:] - without[1:]).max() > 1e-2


def test_bad_input_is_refused_before_the_graph_runs(ort: OrtBackend) -> None:
    step = prefill()
    cache = ort.allocate(3, 16)
    with pytest.raises(InputError, match="int32"):
        ort.decode(replace(step, input_ids=step.input_ids.astype(np.int32)), cache, 0)
    with pytest.raises(InputError, match="widen the cache"):
        ort.decode(step, ort.allocate(3, 8), 0)
    with pytest.raises(InputError, match="at most 3 rows"):
        ort.decode(step, cache, 1)
    with pytest.raises(InputError, match="HostCache"):
        ort.decode(step, object(), 0)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="patches"):
        ort.vision(*(np.zeros(shape, np.float32) for shape in ((1, 3, 3), (1, 36, 64), (1, 36, 2))),
                   np.zeros((1, 36), bool))  # fmt: skip


def test_nan_in_a_cache_is_reported_not_decoded(ort: OrtBackend) -> None:
    cache: HostCache = ort.allocate(3, 16)
    cache.arrays[1][...] = np.nan  # values: a weight of zero does not hide them
    with pytest.raises(BackendError, match="not finite"):
        ort.decode(prefill(), cache, 0)


def test_graphs_other_than_the_manifest_states_are_refused(small_bundle: Bundle) -> None:
    graphs = small_bundle.manifest.graphs
    swapped = {"vision": graphs["decoder"], "decoder": graphs["vision"]}
    manifest = small_bundle.manifest.model_copy(update={"graphs": swapped})
    with pytest.raises(ArtifactError, match="as the manifest states"):
        OrtBackend(replace(small_bundle, manifest=manifest))
