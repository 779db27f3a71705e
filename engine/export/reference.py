"""The two graphs run by torch in float32: what every other backend is compared with."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.errors import InputError
from engine.export.to_onnx import VisionGraph
from engine.model.decoder import Decoder
from engine.model.fusar import FusarGpt
from engine.runtime.backend import Cache, HostCache, Step, check_finite


class TorchBackend:
    """A ``Backend`` over the modules that the ONNX graphs are exported from."""

    name = "torch fp32"
    max_rows: int | None = None
    batch = 8
    workers = 1

    def __init__(self, model: FusarGpt) -> None:
        self._vision = VisionGraph(model).eval()
        self._decoder = Decoder(model.base).eval()

    @torch.no_grad()
    def vision(
        self,
        patches: NDArray[np.float32],
        vectors: NDArray[np.float32],
        positions: NDArray[np.float32],
        mask: NDArray[np.bool_],
    ) -> NDArray[np.float32]:
        """Return visual tokens, [B, tokens, C]."""
        given = [torch.from_numpy(np.ascontiguousarray(each)) for each in (patches, vectors, positions, mask)]
        visual: NDArray[np.float32] = self._vision(*given).numpy()
        check_finite("visual", visual)
        return visual

    def allocate(self, rows: int, columns: int) -> HostCache:
        """Return caches filled with zeros."""
        decoder = self._decoder
        return HostCache(2 * len(decoder.layers), rows, decoder.kv_heads, columns, decoder.head_dim)

    @torch.no_grad()
    def decode(self, step: Step, cache: Cache, first: int) -> NDArray[np.float32]:
        """Run a step for the rows from ``first`` on, writing their caches."""
        if not isinstance(cache, HostCache):
            raise InputError(f"got a cache of {type(cache).__name__}, expected a HostCache of this backend")
        windows = [array[first : first + len(step.input_ids)] for array in cache.arrays]
        tensors: dict[str, Any] = {name: torch.from_numpy(array) for name, array in step.tensors().items()}
        logits, *present = self._decoder(**tensors, past=[torch.from_numpy(each) for each in windows])
        for window, new in zip(windows, present, strict=True):
            window[...] = new.numpy()
        check_finite("logits", logits.numpy())
        return np.asarray(logits.numpy())
