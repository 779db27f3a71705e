"""The contract between the predictor and whatever runs the two graphs.

A backend loads ``vision`` and ``decoder`` of a bundle. Arrays given to it are only read, and only until the
call returns; arrays that it returns are the caller's own. Caches belong to the caller, who asks the backend
to allocate them where the decoder can write: past and present are the same buffers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib import import_module
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from engine.errors import BackendError, InputError
from engine.runtime.spec import Bundle, GraphSpec

# Modules are imported when asked for: each needs a package that another installation may lack.
BACKENDS = {
    "ort": "engine.runtime.ort:OrtBackend",
    "ort-int8": "engine.runtime.ort:Int8OrtBackend",
    "tensorrt": "engine.runtime.tensorrt:TensorRtBackend",
    "torch": "engine.export.reference:open_torch",  # offline: what the daemon imports has no torch
}


@dataclass(frozen=True, slots=True)
class Step:
    """New tokens of some rows, right-padded; a prefill is a step with an empty past.

    Attributes:
        input_ids: [B, T].
        visual: visual tokens of all rows, [N, C], N >= 1 even where no token is visual.
        visual_index: row of ``visual`` in a token's place, -1 for text, [B, T].
        position_ids: [3, B, T].
        past_len: columns in use, [B].
        new_len: tokens that are not padding, [B].
    """

    input_ids: NDArray[np.int64]
    visual: NDArray[np.float32]
    visual_index: NDArray[np.int64]
    position_ids: NDArray[np.int64]
    past_len: NDArray[np.int64]
    new_len: NDArray[np.int64]

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by the graph's names."""
        return {field.name: np.ascontiguousarray(getattr(self, field.name)) for field in fields(self)}


class Cache(Protocol):
    """Keys and values of some rows, finite everywhere."""

    rows: int
    columns: int

    def move(self, source: int, target: int) -> None:
        """Copy one row over another."""

    def widen(self, columns: int) -> None:
        """Make room for more columns; what is there stays."""


class Backend(Protocol):
    """Runs the graphs of one bundle.

    Every method may raise OutOfMemory, after which the backend is as before and the same with a smaller batch
    may succeed, and DeviceLost, after which only the end of the process helps.

    Attributes:
        name: what runs them and in which precision, such as ``ort fp32``.
        max_rows: the most rows of a step; None where nothing but memory limits them.
        batch: prompts that are best read at once, and chips that are best looked at.
        workers: how many threads may call at once, each with a cache of its own.
    """

    name: str
    max_rows: int | None
    batch: int
    workers: int

    def vision(
        self,
        patches: NDArray[np.float32],
        vectors: NDArray[np.float32],
        positions: NDArray[np.float32],
        mask: NDArray[np.bool_],
    ) -> NDArray[np.float32]:
        """Return visual tokens, [B, tokens, C], of patches [B, P, 3 * patch^2] and priors [B, S, ...]."""
        ...

    def allocate(self, rows: int, columns: int) -> Cache:
        """Return caches filled with zeros."""
        ...

    def decode(self, step: Step, cache: Cache, first: int) -> NDArray[np.float32]:
        """Run a step for the rows from ``first`` on, writing their caches.

        Rows before ``first`` stay as they are. What stands in rows after the step's last is lost: a backend
        may fill a step up with them.

        Returns:
            Logits after each row's last new token, [B, V].
        """
        ...


class HostCache:
    """Caches in the host's memory: for each layer keys and values, [rows, H, columns, D]."""

    def __init__(self, arrays: int, rows: int, heads: int, columns: int, head_dim: int) -> None:
        self.rows = rows
        self.columns = columns
        self.arrays = [np.zeros((rows, heads, columns, head_dim), np.float32) for _ in range(arrays)]

    def move(self, source: int, target: int) -> None:
        """Copy one row over another."""
        for array in self.arrays:
            array[target] = array[source]

    def widen(self, columns: int) -> None:
        """Make room for more columns; what is there stays."""
        for index, array in enumerate(self.arrays):
            wide = np.zeros((*array.shape[:2], columns, array.shape[3]), np.float32)
            wide[:, :, : self.columns] = array
            self.arrays[index] = wide
        self.columns = columns


def load_backend(name: str, bundle: Bundle, threads: int | None = None) -> Backend:
    """Load a bundle's graphs into a backend.

    Args:
        name: one of BACKENDS.
        bundle: the opened bundle.
        threads: how many the backend may use; without it, all cores.

    Raises:
        InputError: there is no such backend.
        BackendError: its package is not installed.
        ArtifactError: the graphs are not what the manifest states.
    """
    if name not in BACKENDS:
        raise InputError(f"got backend {name!r}, expected one of {sorted(BACKENDS)}")
    module, _, attribute = BACKENDS[name].partition(":")
    try:
        factory = getattr(import_module(module), attribute)
    except ImportError as error:
        raise BackendError(
            f"backend {name!r} needs a package that is not installed ({error.name}): install it or take "
            "another backend"
        ) from error
    return cast(Backend, factory(bundle, threads))


def check_inputs(graph: GraphSpec, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Check arrays against a graph's inputs: names, dtypes, sizes, equal sizes on equal axes.

    Raises:
        InputError: something does not fit.
    """
    names = [spec.name for spec in graph.inputs]
    if set(tensors) != set(names):
        raise InputError(f"got inputs {sorted(tensors)}, expected {sorted(names)}")
    axes: dict[str, int] = {}
    for spec in graph.inputs:
        array = tensors[spec.name]
        pairs = zip(spec.shape, array.shape, strict=False)
        sizes = [axes.setdefault(name, size) if isinstance(name, str) else name for name, size in pairs]
        if str(array.dtype) != spec.dtype or list(array.shape) != sizes or array.ndim != len(spec.shape):
            raise InputError(
                f"got {spec.name} of {array.dtype} {list(array.shape)}, expected {spec.dtype} "
                f"{list(spec.shape)}" + (f" with {axes}" if axes else "")
            )


def check_finite(name: str, array: NDArray[np.float32]) -> None:
    """Check a graph's output.

    Raises:
        BackendError: it holds NaN or infinity.
    """
    if not np.isfinite(array).all():
        bad = int(np.size(array) - np.isfinite(array).sum())
        raise BackendError(
            f"got {bad} values of {array.size} in {name} that are not finite, expected none: try another "
            "backend or precision"
        )
