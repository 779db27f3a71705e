"""ONNX Runtime on the CPU, in float32 and in 8 bit.

Caches are bound in place: the decoder writes into the caller's buffers. Each of several workers calls with a
thread of its own, which two cores serve better than two threads that share each product.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from engine.errors import ArtifactError, BackendError, InputError
from engine.runtime.backend import Cache, HostCache, Step, check_finite, check_inputs
from engine.runtime.spec import DECODER, DECODER_INT8, VISION, VISION_INT8, Bundle, GraphSpec

_WORKERS = 8  # more threads than these share the work of one call: Python serves no more at once


class OrtBackend:
    """The two graphs of a bundle as two sessions; see ``engine.runtime.backend.Backend``."""

    name = "ort fp32"
    files = (VISION, DECODER)
    max_rows: int | None = None
    batch = 8  # the activations of more fall out of the processor's cache

    def __init__(self, bundle: Bundle, threads: int | None = None) -> None:
        model = bundle.manifest.model
        self._cache_shape = (2 * model.layers, model.kv_heads, model.head_dim)
        self._vocabulary = model.vocabulary
        self._graphs = bundle.manifest.graphs
        threads = threads or os.cpu_count() or 1
        self.workers = min(threads, _WORKERS)
        each = threads // self.workers
        self._vision = _session(bundle.file(self.files[0]), each, self._graphs["vision"])
        self._decoder = _session(bundle.file(self.files[1]), each, self._graphs["decoder"])
        names = [spec.name for spec in self._graphs["decoder"].inputs]
        self._past = [name for name in names if name.startswith("past_") and name != "past_len"]
        self._present = [name.replace("past_", "present_") for name in self._past]

    def vision(
        self,
        patches: NDArray[np.float32],
        vectors: NDArray[np.float32],
        positions: NDArray[np.float32],
        mask: NDArray[np.bool_],
    ) -> NDArray[np.float32]:
        """Return visual tokens, [B, tokens, C].

        Raises:
            InputError: a shape or dtype does not fit.
            BackendError: the graph failed or gave values that are not finite.
        """
        tensors: dict[str, NDArray[Any]] = {
            "patches": patches, "vectors": vectors, "positions": positions, "mask": mask
        }  # fmt: skip
        check_inputs(self._graphs["vision"], tensors)
        try:
            visual: NDArray[np.float32] = self._vision.run(["visual"], tensors)[0]
        except Exception as error:  # the bindings raise plain classes of their own
            raise BackendError(f"ONNX Runtime failed in {self.files[0]}: {error}") from error
        check_finite("visual", visual)
        return visual

    def allocate(self, rows: int, columns: int) -> HostCache:
        """Return caches filled with zeros."""
        arrays, heads, head_dim = self._cache_shape
        return HostCache(arrays, rows, heads, columns, head_dim)

    def decode(self, step: Step, cache: Cache, first: int) -> NDArray[np.float32]:
        """Run a step for the rows from ``first`` on; see ``Backend.decode``.

        Raises:
            InputError: a shape or dtype does not fit, or the tokens exceed the cache.
            BackendError: the graph failed or gave values that are not finite.
        """
        if not isinstance(cache, HostCache):
            raise InputError(f"got a cache of {type(cache).__name__}, expected a HostCache of this backend")
        tensors = step.tensors()
        rows, tokens = step.input_ids.shape
        need = int(step.past_len.max(initial=0)) + tokens
        if first < 0 or first + rows > cache.rows or need > cache.columns:
            raise InputError(
                f"got rows {first} to {first + rows} and {need} columns, expected at most {cache.rows} rows "
                f"and {cache.columns} columns: widen the cache"
            )
        windows = [array[first : first + rows] for array in cache.arrays]
        tensors.update(zip(self._past, windows, strict=True))
        check_inputs(self._graphs["decoder"], tensors)
        logits = np.empty((rows, self._vocabulary), np.float32)
        binding = self._decoder.io_binding()
        for name, array in tensors.items():
            binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        for name, array in (("logits", logits), *zip(self._present, windows, strict=True)):
            binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        try:
            self._decoder.run_with_iobinding(binding)
        except Exception as error:  # as above
            raise BackendError(f"ONNX Runtime failed in {self.files[1]}: {error}") from error
        check_finite("logits", logits)
        return logits


class Int8OrtBackend(OrtBackend):
    """The same with the graphs whose products with weights are in 8 bit, where the bundle has them."""

    name = "ort int8"
    files = (VISION_INT8, DECODER_INT8)

    def __init__(self, bundle: Bundle, threads: int | None = None) -> None:
        if missing := set(self.files) - set(bundle.manifest.files):
            raise ArtifactError(
                f"got bundle {bundle.path} without {sorted(missing)}, expected both for backend ort-int8: "
                "export it anew with --int8, or take backend ort"
            )
        super().__init__(bundle, threads)


def _session(path: Path, threads: int, expected: GraphSpec) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Two sessions whose idle threads spin take each other's cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # as above
        raise ArtifactError(f"ONNX Runtime cannot load {path.name}: {error}") from error
    got = [each.name for each in (*session.get_inputs(), *session.get_outputs())]
    stated = [each.name for each in (*expected.inputs, *expected.outputs)]
    if got != stated:
        raise ArtifactError(f"got {path.name} with {got}, expected {stated} as the manifest states")
    return session
