"""A graph in float32 to the same graph in 16 bit, for compilers that take types from the graph.

Matrix products, attention and the caches are computed in 16 bit. What sums, divides or turns is computed in
float32: statistics of norms, softmax, rotary angles, the prior's Gaussian; so are the logits, whose
rounding would tie tokens and bend scores. What stands between (additions, selections, reshapes) takes the
type of what it reads. Host-side inputs and outputs stay in float32, only the caches change.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, get_args

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from engine.errors import ExportError, InputError
from engine.runtime.plans import Precision, is_cache

_DTYPES: dict[str, Any] = {"bf16": ml_dtypes.bfloat16, "fp16": np.float16, "fp32": np.float32}
_NARROW = frozenset({"MatMul", "Gemm", "Conv", "Attention", "TensorScatter"})
_WIDE = frozenset({
    "Pow", "ReduceMean", "ReduceSum", "Sqrt", "Reciprocal", "Div", "Exp", "Softmax", "Cos", "Sin", "Erf",
    "LayerNormalization", "RMSNormalization", "Resize",
})  # fmt: skip
_FOLLOW = frozenset({
    "Add", "Sub", "Mul", "Neg", "Sigmoid", "Gelu", "Tanh", "Where", "Cast", "Concat", "Split", "Slice",
    "Gather", "GatherND", "GatherElements", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Expand",
    "Flatten", "Identity",
})  # fmt: skip
_ANY = frozenset({"Shape", "Size"})  # read no values
_INLINE_BYTES = 1024  # larger tensors go to a file of their own


def specialise(
    source: Path, target: Path, precision: Precision, columns: int, wide_logits: bool = True
) -> None:
    """Write a graph in another precision and with caches of a fixed length.

    Weights are read and written one at a time, into ``target`` with ``.data`` added to its name, so that
    a model of any size passes through little memory.

    Args:
        source: ``vision.onnx`` or ``decoder.onnx`` of a bundle, in float32.
        target: the file to write.
        precision: of products and caches.
        columns: S of the caches; without caches it does not matter.
        wide_logits: whether the product that makes the logits is computed in float32, too.

    Raises:
        InputError: the precision is unknown.
        ExportError: the graph holds an operator whose precision is not stated here, or weights that the
            precision cannot hold.
    """
    if precision not in _DTYPES:
        raise InputError(f"got precision {precision!r}, expected one of {get_args(Precision)}")
    model = onnx.load(source, load_external_data=False)
    _fix_columns(model.graph, columns)
    folder = str(source.parent)
    weights: list[tuple[Any, str | None]]
    if precision == "fp32":
        weights = [(each, None) for each in model.graph.initializer]
    else:
        weights = _Retyped(
            onnx.shape_inference.infer_shapes(model), model.graph, precision, wide_logits
        ).weights
    del model.graph.value_info[:]
    with Path(f"{target}.data").open("wb") as data:
        stored = [_store(_converted(each, name, folder, precision), data) for each, name in weights]
    del model.graph.initializer[:]
    model.graph.initializer.extend(stored)
    onnx.save(model, target)


def _fix_columns(graph: Any, columns: int) -> None:
    for value in (*graph.input, *graph.output):
        if is_cache(value.name):
            value.type.tensor_type.shape.dim[2].Clear()
            value.type.tensor_type.shape.dim[2].dim_value = columns


class _Retyped:
    """Rewrites a graph's nodes, inputs and outputs in place.

    Attributes:
        weights: what to store: each with its new name where it changes to 16 bit, None where it stays.
    """

    def __init__(self, typed: Any, graph: Any, precision: Precision, wide_logits: bool) -> None:
        self._suffix = f".{precision}"
        self._narrow = helper.np_dtype_to_tensor_dtype(np.dtype(_DTYPES[precision]))
        self._given = {each.name: each for each in graph.initializer}
        self._floats = {
            value.name
            for value in (*typed.graph.value_info, *typed.graph.input, *typed.graph.output)
            if value.type.tensor_type.elem_type == TensorProto.FLOAT
        } | {name for name, each in self._given.items() if each.data_type == TensorProto.FLOAT}
        wide = _wide_nodes(graph, self._floats, set(self._given), wide_logits)
        self._wide_values = {value.name for value in graph.input if not is_cache(value.name)}
        self._used: dict[str, None] = {}
        self._nodes: list[Any] = []
        for index, node in enumerate(graph.node):
            self._rewrite(node, index in wide)
        self._declare(graph)
        del graph.node[:]
        graph.node.extend(self._nodes)
        self.weights: list[tuple[Any, str | None]] = []
        for name in self._used:
            if name in self._given:
                self.weights.append((self._given[name], None))
            else:
                self.weights.append((self._given[name.removesuffix(self._suffix)], name))

    def _rewrite(self, node: Any, wide: bool) -> None:
        for place, name in enumerate(node.input):
            if name in self._floats and node.op_type not in _ANY:
                node.input[place] = self._operand(name, wide)
            elif name in self._given:
                self._used[name] = None
        if wide:
            self._wide_values |= self._floats & set(node.output)
        elif node.op_type == "Cast" and node.output[0] in self._floats:
            del node.attribute[:]
            node.attribute.append(helper.make_attribute("to", self._narrow))
        self._nodes.append(node)

    def _operand(self, name: str, wide: bool) -> str:
        """Return the name under which a float value is to be had in a type; casts where it must."""
        if name in self._given:
            taken = name if wide else name + self._suffix
            self._used[taken] = None
            return taken
        if (name in self._wide_values) == wide:
            return name
        cast = name + (".fp32" if wide else self._suffix)
        if not any(cast in node.output for node in self._nodes if node.op_type == "Cast"):
            self._cast(name, cast, wide)
        return cast

    def _cast(self, name: str, to: str, wide: bool) -> None:
        kind = TensorProto.FLOAT if wide else self._narrow
        self._nodes.append(helper.make_node("Cast", [name], [to], to=kind))

    def _declare(self, graph: Any) -> None:
        """Declare the caches narrow; cast what else goes out and came out narrow."""
        for value in (*graph.input, *graph.output):
            if is_cache(value.name):
                value.type.tensor_type.elem_type = self._narrow
            elif value in graph.output and value.name in self._floats - self._wide_values:
                _rename(self._nodes, value.name, value.name + self._suffix)
                self._cast(value.name + self._suffix, value.name, wide=True)


def _wide_nodes(graph: Any, floats: set[str], weights: set[str], wide_logits: bool) -> set[int]:
    """Return the indices of the nodes to compute in float32."""
    nodes = list(graph.node)
    readers = Counter(name for node in nodes for name in set(node.input))
    readers.update(value.name for value in graph.output)
    reader = {name: index for index, node in enumerate(nodes) for name in node.input}
    producer = {name: index for index, node in enumerate(nodes) for name in node.output}
    touched = [
        i for i, node in enumerate(nodes) if floats & {*node.input, *node.output} and node.op_type not in _ANY
    ]
    for i in touched:
        if nodes[i].op_type not in _NARROW | _WIDE | _FOLLOW:
            raise ExportError(
                f"got operator {nodes[i].op_type} ({nodes[i].name}), expected one of "
                f"{sorted(_NARROW | _WIDE | _FOLLOW)}: state its precision in engine/export/precision.py"
            )
    wide = {i for i in touched if nodes[i].op_type in _WIDE}
    if wide_logits:
        wide |= _logits_nodes(nodes, producer, readers, floats - weights)
    while True:
        more = set()
        for i in touched:
            if i in wide or nodes[i].op_type not in _FOLLOW:
                continue
            after = any(name in floats and producer.get(name) in wide for name in nodes[i].input)
            before = all(
                readers[name] == 1 and reader.get(name) in wide for name in nodes[i].output if name in floats
            )
            if after or before:
                more.add(i)
        if not more:
            return wide
        wide |= more


def _logits_nodes(
    nodes: list[Any], producer: dict[str, int], readers: Counter[str], floats: set[str]
) -> set[int]:
    """Return what makes the logits, back to the product with the head's weights."""
    found: set[int] = set()
    name = "logits"
    while name in producer and readers[name] == 1:
        index = producer[name]
        found.add(index)
        activations = [each for each in nodes[index].input if each in floats]
        if nodes[index].op_type not in _FOLLOW or len(activations) != 1:
            break
        name = activations[0]
    return found


def _rename(nodes: list[Any], old: str, new: str) -> None:
    for node in nodes:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == old:
                    names[place] = new


def _converted(tensor: Any, name: str | None, folder: str, precision: Precision) -> Any:
    array = numpy_helper.to_array(tensor, folder)
    if name is None:
        return numpy_helper.from_array(array, tensor.name)
    with np.errstate(over="ignore"):
        narrow = array.astype(_DTYPES[precision])
    if not np.isfinite(array).all() and tensor.data_type == TensorProto.FLOAT:
        raise ExportError(
            f"got {tensor.name} with values that are not finite, expected a trained weight: export anew"
        )
    if not np.isfinite(narrow).all():
        raise ExportError(
            f"got {tensor.name} with values to {np.abs(array).max():.3g}, which {precision} cannot hold, "
            "expected smaller ones: build with --precision bf16 or fp32"
        )
    return numpy_helper.from_array(narrow, name)


def _store(tensor: Any, data: Any) -> Any:
    """Move a large tensor's bytes to the file beside the graph."""
    raw = tensor.raw_data
    if len(raw) <= _INLINE_BYTES:
        return tensor
    start = data.tell()
    padding = -start % 64
    data.write(b"\0" * padding)
    data.write(raw)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entries = {"location": Path(data.name).name, "offset": start + padding, "length": len(raw)}
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor
