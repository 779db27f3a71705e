"""Graphs in float32 to graphs that multiply with weights in 8 bit, for ONNX Runtime on the CPU.

Weights become int8, each column with a scale of its own. What they are multiplied with becomes uint8 under a
fixed scale: measured on calibration chips, so that an answer depends on its own chip alone and not on what
else is in the batch, as it would with scales found at run time. Attention, norms and logits stay in float32.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from engine.errors import ExportError
from engine.runtime.backend import Cache, HostCache, Step
from engine.runtime.ort import OrtBackend
from engine.runtime.predictor import Predictor
from engine.runtime.spec import DECODER, DECODER_INT8, VISION, VISION_INT8, Bundle
from engine.runtime.text import Request

_LEAST = 64 * 64  # smaller weights are not worth two more operators


def quantise(bundle: Bundle, requests: Sequence[Request], threads: int | None = None) -> None:
    """Write ``vision.int8.onnx`` and ``decoder.int8.onnx`` beside a bundle's graphs.

    Args:
        bundle: with graphs in float32; its manifest does not list the new files yet.
        requests: calibration: what they read and write sets the ranges of what is quantised.
        threads: for the calibration.

    Raises:
        ExportError: a tensor that is to be quantised was never seen.
    """
    graphs = {name: onnx.load(bundle.file(name)) for name in (VISION, DECODER)}
    products = {name: _products(model.graph) for name, model in graphs.items()}
    observer = _Observer(
        bundle, {name: [each.input[0] for each in found] for name, found in products.items()}
    )
    Predictor(bundle, observer).ask(requests)
    for name, target in ((VISION, VISION_INT8), (DECODER, DECODER_INT8)):
        _rewrite(graphs[name], products[name], observer.ranges[name])
        onnx.save(graphs[name], bundle.path / target)


def _products(graph: Any) -> list[Any]:
    """Return the nodes that multiply with weights, but the logits' and those of small weights."""
    weights = {each.name: each for each in graph.initializer}
    logits = _ancestors(graph, "logits", ("MatMul", "Gemm"))
    found = []
    for node in graph.node:
        if node.op_type not in ("MatMul", "Gemm") or node.input[1] not in weights or node.output[0] in logits:
            continue
        shape = weights[node.input[1]].dims
        if node.input[0] not in weights and len(shape) == 2 and shape[0] * shape[1] >= _LEAST:
            found.append(node)
    return found


def _ancestors(graph: Any, name: str, until: tuple[str, ...]) -> set[str]:
    """Return the values that a graph's output is made from, back to the first product."""
    producer = {output: node for node in graph.node for output in node.output}
    found: set[str] = set()
    while name in producer:
        found.add(name)
        if producer[name].op_type in until:
            break
        name = producer[name].input[0]
    return found


class _Observer(OrtBackend):
    """ONNX Runtime in float32, noting the range of some values."""

    def __init__(self, bundle: Bundle, watched: dict[str, list[str]]) -> None:
        import onnxruntime

        super().__init__(bundle, threads=1)
        self.ranges: dict[str, dict[str, tuple[float, float]]] = {name: {} for name in watched}
        self._watched = {name: sorted(set(values)) for name, values in watched.items()}
        self._sessions: dict[str, Any] = {}
        for name, values in self._watched.items():
            model = onnx.load(bundle.file(name))
            given = {each.name for each in (*model.graph.input, *model.graph.output)}
            model.graph.output.extend(
                helper.make_empty_tensor_value_info(value) for value in values if value not in given
            )
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads, options.log_severity_level = 1, 3
            self._sessions[name] = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )

    def vision(
        self,
        patches: NDArray[np.float32],
        vectors: NDArray[np.float32],
        positions: NDArray[np.float32],
        mask: NDArray[np.bool_],
    ) -> NDArray[np.float32]:
        """As ``OrtBackend.vision``."""
        return self._run(
            VISION, {"patches": patches, "vectors": vectors, "positions": positions, "mask": mask}
        )["visual"]

    def decode(self, step: Step, cache: Cache, first: int) -> NDArray[np.float32]:
        """As ``OrtBackend.decode``."""
        if not isinstance(cache, HostCache):
            raise ExportError(f"got a cache of {type(cache).__name__}, expected a HostCache")
        windows = [array[first : first + len(step.input_ids)] for array in cache.arrays]
        got = self._run(DECODER, {**step.tensors(), **dict(zip(self._past, windows, strict=True))})
        for window, name in zip(windows, self._present, strict=True):
            window[...] = got[name]
        return got["logits"]

    def _run(self, name: str, tensors: dict[str, Any]) -> dict[str, Any]:
        session = self._sessions[name]
        names = [each.name for each in session.get_outputs()]
        got = dict(zip(names, session.run(names, tensors), strict=True))
        for value in self._watched[name]:
            array = got[value] if value in got else tensors[value]
            low, high = self.ranges[name].get(value, (0.0, 0.0))
            self.ranges[name][value] = min(low, float(array.min())), max(high, float(array.max()))
        return got


def _rewrite(model: Any, products: Sequence[Any], ranges: dict[str, tuple[float, float]]) -> None:
    """Replace products by their 8-bit forms, with the bias that is added to them."""
    graph = model.graph
    weights = {each.name: each for each in graph.initializer}
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    chosen = {node.output[0]: node for node in products}
    dropped: set[str] = set()
    quantised: set[str] = set()
    nodes: list[Any] = []
    for node in graph.node:
        if node.output[0] in dropped:
            continue
        if node.output[0] not in chosen:
            nodes.append(node)
            continue
        x, name, output = node.input[0], node.input[1], node.output[0]
        if x not in ranges:
            raise ExportError(f"got no value of {x} in the calibration, expected some: give other chips")
        weight = numpy_helper.to_array(weights[name])
        attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        weight = weight.T if attributes.get("transB") else weight
        bias = node.input[2] if len(node.input) > 2 else ""
        after = readers.get(output, [])
        if not bias and len(after) == 1 and after[0].op_type == "Add":
            other = [each for each in after[0].input if each != output]
            if other and other[0] in weights and len(weights[other[0]].dims) == 1:
                bias, output = other[0], after[0].output[0]
                dropped.add(output)
        scale = np.maximum(np.abs(weight).max(0), 1e-12) / 127
        _add(graph, f"{name}.int8", np.rint(weight / scale).astype(np.int8))
        _add(graph, f"{name}.scale", scale.astype(np.float32))
        if x not in quantised:
            quantised.add(x)
            step, zero = _uint8(*ranges[x])
            _add(graph, f"{x}.scale", step)
            _add(graph, f"{x}.zero", zero)
            nodes.append(helper.make_node("QuantizeLinear", [x, f"{x}.scale", f"{x}.zero"], [f"{x}.uint8"]))
        inputs = [f"{x}.uint8", f"{name}.int8", f"{x}.scale", f"{name}.scale", f"{x}.zero", "", bias]
        nodes.append(helper.make_node("MatMulIntegerToFloat", inputs, [output], domain="com.microsoft"))
    del graph.node[:]
    graph.node.extend(nodes)
    used = Counter(name for node in nodes for name in node.input)
    kept = [each for each in graph.initializer if used[each.name]]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    del graph.value_info[:]
    model.opset_import.extend([helper.make_opsetid("com.microsoft", 1)])


def _uint8(low: float, high: float) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return scale and zero point that map a range, zero included, to 0 to 255."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max(high - low, 1e-12) / 255
    return np.array(scale, np.float32), np.array(round(-low / scale), np.uint8)


def _add(graph: Any, name: str, array: NDArray[Any]) -> None:
    if not any(each.name == name for each in graph.initializer):
        graph.initializer.append(numpy_helper.from_array(array, name))
