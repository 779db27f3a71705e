"""What reaches a graph is checked; caches keep what is in them."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from engine.errors import BackendError, InputError
from engine.runtime.backend import BACKENDS, HostCache, check_finite, check_inputs, load_backend
from engine.runtime.spec import GraphSpec, TensorSpec

GRAPH = GraphSpec(
    inputs=(
        TensorSpec(name="ids", dtype="int64", shape=("rows", "tokens")),
        TensorSpec(name="past", dtype="float32", shape=("rows", 2)),
    ),
    outputs=(),
)


def given(**changes):
    return {"ids": np.zeros((3, 4), np.int64), "past": np.zeros((3, 2), np.float32), **changes}


def test_what_fits_passes() -> None:
    check_inputs(GRAPH, given())


@pytest.mark.parametrize(
    "changes",
    [
        {"more": np.zeros(1)},
        {"ids": np.zeros((3, 4), np.int32)},
        {"ids": np.zeros(3, np.int64)},
        {"ids": np.zeros((3, 4, 1), np.int64)},
        {"past": np.zeros((3, 3), np.float32)},
        {"past": np.zeros((2, 2), np.float32)},
    ],
)
def test_names_dtypes_and_sizes_are_checked(changes) -> None:
    with pytest.raises(InputError, match=r"got .*expected"):
        check_inputs(GRAPH, given(**changes))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_errors(bad: float) -> None:
    array = np.zeros((2, 3), np.float32)
    check_finite("logits", array)
    array[1, 2] = bad
    with pytest.raises(BackendError, match="1 values of 6 in logits"):
        check_finite("logits", array)


def test_cache_rows_move_and_columns_grow() -> None:
    cache = HostCache(arrays=2, rows=3, heads=1, columns=4, head_dim=2)
    assert not any(array.any() for array in cache.arrays)
    for array in cache.arrays:
        array[2] = 7
    cache.move(2, 0)
    cache.widen(6)
    assert cache.columns == 6
    for array in cache.arrays:
        assert array.shape == (3, 1, 6, 2)
        assert (array[0, :, :4] == 7).all()
        assert not array[:, :, 4:].any()
        assert not array[1].any()


def test_unknown_and_missing_backends_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="expected one of"):
        load_backend("abacus", None)  # type: ignore[arg-type]
    monkeypatch.setitem(BACKENDS, "absent", "a_package_that_is_not_there:Backend")
    with pytest.raises(BackendError, match="not installed"):
        load_backend("absent", None)  # type: ignore[arg-type]


def test_the_runtime_imports_no_torch() -> None:
    code = "import sys, engine.runtime.predictor, engine.runtime.ort; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
