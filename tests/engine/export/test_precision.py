"""The 16-bit graphs: what is computed in which type, and how far the result is from float32."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from engine.errors import ExportError, InputError
from engine.export.precision import specialise
from engine.runtime import golden
from engine.runtime.backend import HostCache
from engine.runtime.image import patches
from engine.runtime.parity import compare
from engine.runtime.spec import DECODER, GOLDEN, VISION, Bundle

COLUMNS, LONG = 64, 512
KINDS = {"bf16": TensorProto.BFLOAT16, "fp16": TensorProto.FLOAT16}


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    return Bundle.open()


@pytest.fixture(scope="session")
def graphs(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    made = {}
    for precision in ("bf16", "fp16", "fp32"):
        folder = tmp_path_factory.mktemp(precision)
        for name in (VISION, DECODER):
            specialise(bundle.file(name), folder / name, precision, COLUMNS)
            made[name, precision] = folder / name
    return made


def types(path: Path) -> tuple[list[onnx.NodeProto], dict[str, int]]:
    """Nodes, and the type of every value, as ONNX infers them from the graph alone."""
    model = onnx.load(path, load_external_data=False)
    graph = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True).graph
    found = {
        each.name: each.type.tensor_type.elem_type
        for each in (*graph.value_info, *graph.input, *graph.output)
    }
    return list(graph.node), {**found, **{each.name: each.data_type for each in graph.initializer}}


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("name", [VISION, DECODER])
def test_products_are_narrow_and_statistics_wide(graphs, name: str, precision: str) -> None:
    onnx.checker.check_model(str(graphs[name, precision]), full_check=True)
    nodes, kinds = types(graphs[name, precision])
    narrow, wide = KINDS[precision], TensorProto.FLOAT
    products = [node for node in nodes if node.op_type in ("MatMul", "Gemm", "Attention", "TensorScatter")]
    heads = [node for node in products if kinds[node.output[0]] == wide]
    assert len(heads) == (name == DECODER)  # the logits' product alone
    assert len(products) > 20
    for node in products:
        if node not in heads:
            floats = {kinds[each] for each in node.input if kinds[each] != TensorProto.INT64}
            assert floats == {narrow}, node.name
    for kind in ("Softmax", "ReduceMean", "Sqrt", "Cos", "Sin", "Exp", "ReduceSum"):
        for node in nodes:
            if node.op_type == kind:
                assert kinds[node.input[0]] == kinds[node.output[0]] == wide, node.name
    # What is added up over the layers is narrow, as in a model of that type.
    sums = [node for node in nodes if node.op_type == "Add" and kinds[node.output[0]] == narrow]
    assert len(sums) >= 6


def test_the_logits_product_is_narrow_where_the_gpu_knows_no_other(bundle: Bundle, tmp_path: Path) -> None:
    specialise(bundle.file(DECODER), tmp_path / DECODER, "fp16", COLUMNS, wide_logits=False)
    nodes, kinds = types(tmp_path / DECODER)
    assert {kinds[node.output[0]] for node in nodes if node.op_type == "MatMul"} == {KINDS["fp16"]}
    assert kinds["logits"] == TensorProto.FLOAT
    feed = decoder_feed(np.dtype(np.float16))
    assert session(tmp_path / DECODER).run(["logits"], feed)[0].dtype == np.float32


@pytest.mark.parametrize("precision", ["bf16", "fp16", "fp32"])
def test_only_caches_change_towards_the_outside(graphs, bundle: Bundle, precision: str) -> None:
    for name, graph in ((VISION, "vision"), (DECODER, "decoder")):
        model = onnx.load(graphs[name, precision], load_external_data=False)
        for value, stated in zip(
            (*model.graph.input, *model.graph.output),
            (*bundle.manifest.graphs[graph].inputs, *bundle.manifest.graphs[graph].outputs),
            strict=True,
        ):
            cache = value.name.split("_")[0] in ("past", "present") and value.name != "past_len"
            kind = value.type.tensor_type
            assert value.name == stated.name
            expected = KINDS.get(precision, TensorProto.FLOAT) if cache else None
            stated_kind = helper.np_dtype_to_tensor_dtype(np.dtype(stated.dtype))
            assert kind.elem_type == (expected or stated_kind)
            if cache:
                assert kind.shape.dim[2].dim_value == COLUMNS


def test_weights_halve(graphs) -> None:
    for name in (VISION, DECODER):
        sizes = {
            precision: Path(f"{graphs[name, precision]}.data").stat().st_size
            for precision in ("bf16", "fp32")
        }
        assert 0.45 < sizes["bf16"] / sizes["fp32"] < 0.6


def worst(got: np.ndarray, want: np.ndarray) -> float:
    return float(np.abs(got - want).max() / np.abs(want).max())


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options)


@pytest.fixture(scope="session")
def chips(bundle: Bundle) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Four golden chips as the graph takes them, and the reference's visual tokens."""
    given, tensors, _ = golden.read(bundle.file(GOLDEN))
    feed = {
        "patches": patches(given.chips[:4], bundle.manifest.chip.enlarged_px),
        "vectors": given.vectors[:4],
        "positions": given.positions[:4],
        "mask": given.mask[:4],
    }
    return feed, tensors["visual"].reshape(len(given.chips), -1, bundle.manifest.model.hidden)[:4]


def decoder_feed(kind: np.dtype) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    ids = rng.integers(10, 600, (2, 9))
    feed = {
        "input_ids": ids,
        "visual": rng.normal(size=(2, 192)).astype(np.float32),
        "visual_index": np.where(np.arange(9) == 3, np.arange(2)[:, None], -1),
        "position_ids": np.broadcast_to(np.arange(9), (3, 2, 9)).copy(),
        "past_len": np.array([0, 5]),
        "new_len": np.array([9, 7]),
    }
    for layer in range(3):
        for part in "kv":
            feed[f"past_{part}_{layer}"] = rng.normal(size=(2, 1, COLUMNS, 64)).astype(kind)
    return feed


def test_fp16_gives_nearly_what_fp32_gives(graphs, chips) -> None:
    feed, want = chips
    assert worst(session(graphs[VISION, "fp32"]).run(None, feed)[0], want) < 1e-4
    assert worst(session(graphs[VISION, "fp16"]).run(None, feed)[0], want) < 5e-3
    got, want = (
        session(graphs[DECODER, precision]).run(["logits"], decoder_feed(np.dtype(kind)))[0]
        for precision, kind in (("fp16", np.float16), ("fp32", np.float32))
    )
    assert got.dtype == np.float32
    assert worst(got, want) < 5e-3


def evaluator(path: Path) -> ReferenceEvaluator:
    """ONNX's own evaluator, for bf16, which ONNX Runtime does not multiply on a CPU.

    Products add up in float32, as GPUs do; numpy's bf16 would round every single addition.
    """

    class MatMul(OpRun):
        def _run(self, a, b):
            return (np.matmul(a.astype(np.float32), b.astype(np.float32)).astype(a.dtype),)

    class Attention(OpRun):
        def _run(self, q, k, v, *rest, scale=None, **named):
            wide = [each.astype(np.float32) for each in (q, k, v)]
            scores = wide[0] @ wide[1].swapaxes(-1, -2) * (scale or q.shape[-1] ** -0.5)
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            return (((weights / weights.sum(-1, keepdims=True)) @ wide[2]).astype(q.dtype),)

    return ReferenceEvaluator(str(path), new_ops=[MatMul, Attention])


def test_bf16_gives_roughly_what_fp32_gives(graphs, chips) -> None:
    feed, want = chips
    assert worst(evaluator(graphs[VISION, "bf16"]).run(None, feed)[0], want) < 0.02
    got, want = (
        evaluator(graphs[DECODER, precision]).run(["logits"], decoder_feed(np.dtype(kind)))[0]
        for precision, kind in (("bf16", ml_dtypes.bfloat16), ("fp32", np.float32))
    )
    assert worst(got, want) < 0.02


class HalfBackend:
    """The fp16 graphs by ONNX Runtime; caches in fp16."""

    name, max_rows, batch, workers = "ort fp16", None, 8, 1

    def __init__(self, vision: Path, decoder: Path, layers: int) -> None:
        self._vision, self._decoder, self._layers = session(vision), session(decoder), layers

    def vision(self, patches, vectors, positions, mask):
        feed = {"patches": patches, "vectors": vectors, "positions": positions, "mask": mask}
        return self._vision.run(None, feed)[0]

    def allocate(self, rows: int, columns: int) -> HostCache:
        cache = HostCache(2 * self._layers, rows, 1, LONG, 64)
        cache.arrays = [array.astype(np.float16) for array in cache.arrays]
        return cache

    def decode(self, step, cache, first):
        feed = step.tensors()
        windows = [array[first : first + len(step.input_ids)] for array in cache.arrays]
        names = [f"{part}_{layer}" for layer in range(self._layers) for part in "kv"]
        feed |= {f"past_{name}": window for name, window in zip(names, windows, strict=True)}
        logits, *present = self._decoder.run(None, feed)
        for window, new in zip(windows, present, strict=True):
            window[...] = new
        return logits


def test_fp16_passes_the_parity_gate(graphs, bundle: Bundle, tmp_path: Path) -> None:
    specialise(bundle.file(DECODER), tmp_path / DECODER, "fp16", LONG)
    backend = HalfBackend(graphs[VISION, "fp16"], tmp_path / DECODER, bundle.manifest.model.layers)
    parity = compare(bundle, backend)
    assert parity.passed, parity.differences
    assert all(agree == count > 0 for agree, count in parity.answers.values())


def toy(path: Path, op: str, weight: float = 1.0) -> Path:
    """x @ w, then one operator."""
    w = numpy_helper.from_array(np.full((4, 4), weight, np.float32), "w")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node(op, ["y"], ["visual"])]
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in ("x", "visual")]
    graph = helper.make_graph(nodes, "toy", value[:1], value[1:], [w])
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 24)])
    onnx.save(model, path)
    return path


def test_what_a_precision_cannot_do_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "out.onnx"
    specialise(toy(tmp_path / "a.onnx", "Neg"), target, "fp16", 8)
    x = np.ones((2, 4), np.float32)
    assert session(target).run(None, {"x": x})[0].tolist() == [[-4.0] * 4] * 2
    with pytest.raises(ExportError, match="got operator Selu .*state its precision"):
        specialise(toy(tmp_path / "b.onnx", "Selu"), target, "bf16", 8)
    with pytest.raises(ExportError, match=r"w with values to 1e\+05, which fp16 cannot hold"):
        specialise(toy(tmp_path / "c.onnx", "Neg", 1e5), target, "fp16", 8)
    specialise(toy(tmp_path / "c.onnx", "Neg", 1e5), target, "bf16", 8)
    with pytest.raises(InputError, match="expected one of"):
        specialise(toy(tmp_path / "a.onnx", "Neg"), target, "int8", 8)  # type: ignore[arg-type]
