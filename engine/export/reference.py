"""The two graphs run by torch: the reference in float32, and a backend for GPUs where TensorRT is absent.

On a GPU caches stay on the device and are written in place, and a step of a shape that comes again is
recorded as a CUDA graph: inputs are copied into the recording's own buffers, and one launch does the rest.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.errors import BackendError, DeviceLost, InputError, OutOfMemory
from engine.export.tower import VisionGraph
from engine.model.decoder import Decoder
from engine.model.fusar import FusarGpt
from engine.runtime.backend import Cache, Step, check_finite
from engine.runtime.spec import Bundle

_PRECISIONS = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
_STEP_TOKENS = 16  # longer steps are not recorded
_RECORDINGS = 48


class TorchCache:
    """Caches on torch's device: keys and values of each layer, [rows, H, columns, D]."""

    def __init__(
        self, arrays: int, shape: tuple[int, int, int, int], device: str, dtype: torch.dtype
    ) -> None:
        self.rows, _, self.columns, _ = shape
        self.arrays = [torch.zeros(shape, device=device, dtype=dtype) for _ in range(arrays)]
        self.recordings: OrderedDict[tuple[int, int, int], _Recording] = OrderedDict()

    def move(self, source: int, target: int) -> None:
        """Copy one row over another."""
        for array in self.arrays:
            array[target] = array[source]

    def widen(self, columns: int) -> None:
        """Make room for more columns; what is there stays."""
        self.recordings.clear()
        for index, array in enumerate(self.arrays):
            wide = array.new_zeros((*array.shape[:2], columns, array.shape[3]))
            wide[:, :, : self.columns] = array
            self.arrays[index] = wide
        self.columns = columns


class TorchBackend:
    """A ``Backend`` over the modules that the ONNX graphs are exported from.

    Args:
        model: in float32; in another precision it is changed in place.
        device: ``cpu`` or ``cuda``.
        dtype: of products and caches; logits are in float32.
    """

    max_rows: int | None = None
    workers = 1

    def __init__(self, model: FusarGpt, device: str = "cpu", dtype: torch.dtype = torch.float32) -> None:
        self.name = f"torch {_PRECISIONS[dtype]}"
        self.batch = 8 if device == "cpu" else 32
        self._device, self._dtype = device, dtype
        self._vision = VisionGraph(model).eval().to(device, dtype)
        decoder = Decoder(model.base).eval()
        rotation = decoder.rotation.clone()
        self._decoder = decoder.to(device, dtype)
        self._decoder.rotation = rotation.to(device)  # rounded frequencies would turn by wrong angles
        for layer in self._decoder.layers:
            layer.in_place = True  # type: ignore[assignment]  # torch types a module's attributes as modules

    def vision(
        self,
        patches: NDArray[np.float32],
        vectors: NDArray[np.float32],
        positions: NDArray[np.float32],
        mask: NDArray[np.bool_],
    ) -> NDArray[np.float32]:
        """Return visual tokens, [B, tokens, C].

        Raises:
            OutOfMemory, DeviceLost: as they say.
            BackendError: torch failed, or a value is not finite.
        """

        def run() -> NDArray[np.float32]:
            given = [self._put(each) for each in (patches, vectors, positions, mask)]
            given[:2] = [each.to(self._dtype) for each in given[:2]]
            return np.asarray(self._vision(*given).float().cpu().numpy())

        visual = _guarded(run)
        check_finite("visual", visual)
        return visual

    def allocate(self, rows: int, columns: int) -> TorchCache:
        """Return caches filled with zeros."""
        decoder = self._decoder
        shape = (rows, decoder.kv_heads, columns, decoder.head_dim)
        return _guarded(lambda: TorchCache(2 * len(decoder.layers), shape, self._device, self._dtype))

    def decode(self, step: Step, cache: Cache, first: int) -> NDArray[np.float32]:
        """Run a step for the rows from ``first`` on; see ``Backend.decode``.

        Raises:
            InputError: the cache is another backend's, or too small.
            OutOfMemory, DeviceLost: as they say.
            BackendError: torch failed, or a value is not finite.
        """
        if not isinstance(cache, TorchCache):
            raise InputError(f"got a cache of {type(cache).__name__}, expected a TorchCache of this backend")
        rows, tokens = step.input_ids.shape
        need = int(step.past_len.max(initial=0)) + tokens
        if first < 0 or first + rows > cache.rows or need > cache.columns:
            raise InputError(
                f"got rows {first} to {first + rows} and {need} columns, expected at most {cache.rows} rows "
                f"and {cache.columns} columns: widen the cache"
            )

        def run() -> NDArray[np.float32]:
            tensors = {name: self._put(array) for name, array in step.tensors().items()}
            tensors["visual"] = tensors["visual"].to(self._dtype)
            if self._device == "cpu" or tokens > _STEP_TOKENS or len(step.visual) > 1:
                logits = self._run(tensors, cache, first)
            else:
                logits = self._replay(tensors, cache, first)
            return np.asarray(logits.float().cpu().numpy())

        logits = _guarded(run)
        check_finite("logits", logits)
        return logits

    def _put(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.array(array, order="C")).to(self._device)

    def _run(self, tensors: dict[str, Tensor], cache: TorchCache, first: int) -> Tensor:
        rows = len(tensors["input_ids"])
        windows = [array[first : first + rows] for array in cache.arrays]
        return self._decoder(**tensors, past=windows)[0]

    def _replay(self, tensors: dict[str, Tensor], cache: TorchCache, first: int) -> Tensor:
        key = (first, *tensors["input_ids"].shape)
        if key not in cache.recordings:
            cache.recordings[key] = _Recording(lambda given: self._run(given, cache, first), tensors)
            if len(cache.recordings) > _RECORDINGS:
                cache.recordings.popitem(last=False)
        cache.recordings.move_to_end(key)
        return cache.recordings[key](tensors)


class _Recording:
    """A step of one shape on one cache as a CUDA graph.

    The first run warms kernels up and is repeated by the recording's first replay: writing the same keys and
    values at the same places again changes nothing.
    """

    def __init__(self, run: Callable[[dict[str, Tensor]], Tensor], tensors: dict[str, Tensor]) -> None:
        self._given = {name: each.clone() for name, each in tensors.items()}
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            run(self._given)
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._logits = run(self._given)

    def __call__(self, tensors: dict[str, Tensor]) -> Tensor:
        for name, each in tensors.items():
            self._given[name].copy_(each)
        self._graph.replay()
        return self._logits


def open_torch(bundle: Bundle, threads: int | None = None) -> TorchBackend:
    """Load a bundle into torch: in bf16 on a GPU, else in float32 on the CPU.

    Args:
        bundle: the opened bundle; its graphs hold the weights.
        threads: on the CPU, torch's threads; without it, torch's own choice.

    Raises:
        ArtifactError: the graphs do not fit the configuration.
    """
    from engine.export.read_back import load_model

    if threads is not None:
        torch.set_num_threads(threads)
    model, _ = load_model(bundle)
    if torch.cuda.is_available():
        return TorchBackend(model, "cuda", torch.bfloat16)
    return TorchBackend(model)


def _guarded(run: Callable[[], Any]) -> Any:
    """Run on the device, with its errors as ours."""
    try:
        with torch.no_grad():
            return run()
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(f"torch has no memory: {error}") from error
    except RuntimeError as error:
        if isinstance(error, getattr(torch, "AcceleratorError", ())):
            raise DeviceLost(f"torch lost its device: {error}") from error
        raise BackendError(f"torch failed: {error}") from error
