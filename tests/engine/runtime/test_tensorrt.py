"""The TensorRT backend over stand-ins: ONNX Runtime's answers, bounds, buffers' lives, refusals, failures."""

from __future__ import annotations

import gc
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorrt_rtx")
pytest.importorskip("cuda.bindings.runtime")

import tensorrt_rtx as trt
from cuda.bindings import runtime as cudart

from engine.errors import ArtifactError, BackendError, DeviceLost, InputError, OutOfMemory
from engine.export.build import compiled_graph, profiles_of, prompt_tokens
from engine.export.precision import specialise
from engine.runtime import golden, plans
from engine.runtime.backend import Step, load_backend
from engine.runtime.cuda import LOST, Cuda, DeviceMemory
from engine.runtime.ort import OrtBackend
from engine.runtime.plans import Plan, PlanFile, PlanList
from engine.runtime.predictor import Predictor
from engine.runtime.spec import GOLDEN, Bundle, entry_of
from engine.runtime.tensorrt import TensorRtBackend
from tests.support.gpu import FakeCuda, FakeTensorRt, checked_cuda
from tests.support.signatures import Checked, Mismatch

BATCH, COLUMNS = 6, 512
VERSION = "1.7.1.116"


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The bundle that ships, with a plan that names ONNX files in float32."""
    folder = tmp_path_factory.mktemp("gpu") / "nano"
    shutil.copytree(Bundle.open().path, folder, ignore=shutil.ignore_patterns("plans*"))
    opened = Bundle.open(folder)
    place = folder / plans.FOLDER / "fake"
    place.mkdir(parents=True)
    files = {}
    for name in ("vision", "decoder"):
        onnx_file = tmp_path_factory.mktemp("onnx") / f"{name}.onnx"
        specialise(opened.file(f"{name}.onnx"), onnx_file, "fp32", COLUMNS)
        path = place / f"{name}.plan"
        path.write_text(str(onnx_file))
        entry = entry_of(path)
        files[name] = PlanFile(
            file=f"{plans.FOLDER}/fake/{name}.plan",
            sha256=entry.sha256,
            bytes=entry.bytes,
            graph=compiled_graph(opened.manifest.graphs[name], "fp32", COLUMNS),
            profiles=profiles_of(opened, name, BATCH, prompt_tokens(opened), COLUMNS),
        )
    plan = Plan(
        target="tensorrt-rtx", version=VERSION, precision="fp32", sm=(80, 89), max_batch=BATCH,
        max_tokens=COLUMNS, created="", **files,
    )  # fmt: skip
    plans.write(opened, PlanList(bundle=opened.bundle_id, plans=(plan,)))
    return opened


class Gpu:
    """Stand-ins of one process, and the backend on them."""

    def __init__(self, bundle: Bundle, limit: int = 1 << 30, version: str = VERSION) -> None:
        self.bundle = bundle
        self.cuda = FakeCuda(cudart, limit=limit)
        self.trt = FakeTensorRt(trt, self.cuda, plans.read(bundle).plans[-1], version)

    def open(self) -> TensorRtBackend:
        cuda = Cuda(checked_cuda(self.cuda))
        return TensorRtBackend(self.bundle, modules={"tensorrt-rtx": self.trt}, cuda=cuda)


@pytest.fixture
def gpu(bundle: Bundle) -> Gpu:
    return Gpu(bundle)


@pytest.fixture(scope="session")
def ort(bundle: Bundle) -> OrtBackend:
    return OrtBackend(bundle, threads=1)


@pytest.fixture(scope="session")
def requests(bundle: Bundle) -> list[Any]:
    given, _, _ = golden.read(bundle.file(GOLDEN))
    task = bundle.manifest.tasks["detection"]
    made = given.requests("detection", task, bundle.manifest.sensors[0])[1:5]
    return [*made, replace(made[0], task="description")]


@pytest.fixture(scope="session")
def expected(bundle: Bundle, ort: OrtBackend, requests: list[Any]) -> list[Any]:
    return Predictor(bundle, ort).ask(requests)


def same(got: list[Any], expected: list[Any]) -> bool:
    return [answer.text for answer in got] == [answer.text for answer in expected] and all(
        one.score == pytest.approx(other.score, abs=1e-4)
        for a, b in zip(got, expected, strict=True)
        for one, other in zip(a.objects, b.objects, strict=True)
    )


def step(rows: int, tokens: int, past: int, seed: int = 0) -> Step:
    rng = np.random.default_rng(seed)
    ids = rng.integers(10, 600, (rows, tokens))
    positions = np.broadcast_to(past + np.arange(tokens), (3, rows, tokens))
    lengths = rng.integers(1, tokens + 1, rows)
    lengths[0] = tokens
    return Step(
        ids, np.zeros((1, 192), np.float32), np.full_like(ids, -1), positions, np.full(rows, past), lengths
    )


def test_answers_are_those_of_onnx_runtime(gpu: Gpu, bundle, requests, expected) -> None:
    predictor = Predictor(bundle, gpu.open())
    assert same(predictor.ask(requests), expected)
    assert any(answer.objects for answer in expected)
    launched = gpu.cuda.counts["cudaGraphLaunch"]
    assert launched > 5
    assert same(predictor.ask(requests), expected)  # the same caches, used before
    assert gpu.cuda.counts["cudaGraphLaunch"] > launched


def test_everything_is_given_back(gpu: Gpu, bundle, requests) -> None:
    predictor = Predictor(bundle, gpu.open())
    predictor.ask(requests)
    held = (gpu.cuda.used, len(gpu.cuda.memory))
    predictor.ask(requests)
    assert (gpu.cuda.used, len(gpu.cuda.memory)) == held
    del predictor
    gc.collect()
    assert not gpu.cuda.memory
    assert not gpu.cuda.graphs


@pytest.mark.parametrize("recorded", [True, False])
def test_padded_steps_equal_steps_as_they_are(gpu: Gpu, ort: OrtBackend, recorded: bool) -> None:
    gpu.trt.capturable = recorded
    backend = gpu.open()
    for rows, tokens, past in ((5, 5, 0), (3, 3, 11), (1, 1, 90), (5, 3, COLUMNS - 3)):  # no room to pad
        caches = [each.allocate(8, COLUMNS) for each in (backend, ort)]
        chunks = [(start, min(100, past - start)) for start in range(0, past, 100)]
        for start, count in [*chunks, *[(past, tokens)] * 3]:
            new = step(rows, count, start, seed=start)
            got, want = (
                each.decode(new, cache, 2) for each, cache in zip((backend, ort), caches, strict=True)
            )
            np.testing.assert_allclose(got, want, atol=1e-4)
    assert ("cudaGraphLaunch" in gpu.cuda.counts) == recorded


def test_rows_before_the_first_stay_as_they_are(gpu: Gpu) -> None:
    backend = gpu.open()
    cache = backend.allocate(6, COLUMNS)
    backend.decode(step(3, 4, 0, seed=1), cache, 0)
    follow = step(3, 2, 4, seed=2)
    want = backend.decode(follow, cache, 0)
    backend.decode(step(3, 7, 0, seed=3), cache, 3)
    backend.decode(step(1, 9, 5, seed=3), cache, 5)
    np.testing.assert_array_equal(backend.decode(follow, cache, 0), want)
    cache.move(0, 4)
    alone = replace(follow, **{
        name: getattr(follow, name)[:1] for name in ("input_ids", "visual_index", "past_len", "new_len")
    }, position_ids=follow.position_ids[:, :1])  # fmt: skip
    np.testing.assert_allclose(backend.decode(alone, cache, 4)[0], want[0], atol=1e-5)


def test_vision_goes_in_several_calls(gpu: Gpu, ort: OrtBackend, bundle) -> None:
    given, tensors, _ = golden.read(bundle.file(GOLDEN))
    from engine.runtime.image import patches

    chip = bundle.manifest.chip
    arrays = (patches(given.chips, chip.enlarged_px), given.vectors, given.positions, given.mask)
    assert len(given.chips) > BATCH
    got = gpu.open().vision(*arrays)
    np.testing.assert_allclose(got.reshape(tensors["visual"].shape), tensors["visual"], atol=1e-3)


def test_what_does_not_fit_is_refused_before_the_gpu_sees_it(gpu: Gpu, ort: OrtBackend) -> None:
    backend = gpu.open()
    cache = backend.allocate(BATCH + 1, 64)
    assert cache.columns == COLUMNS
    good = step(2, 3, 0)
    prompt = backend.plan.decoder.profiles[0]["input_ids"][2][1]
    before = dict(gpu.cuda.counts)
    for bad, message in (
        (replace(good, input_ids=good.input_ids.astype(np.int32)), "int32"),
        (step(2, 3, COLUMNS - 2), "columns"),
        (step(BATCH + 1, 3, 0), "rows"),
        (step(2, prompt + 1, 0), "max-tokens"),
    ):
        with pytest.raises(InputError, match=message):
            backend.decode(bad, cache, 0)
    with pytest.raises(InputError, match="rows"):
        backend.decode(good, cache, BATCH)
    with pytest.raises(InputError, match="DeviceCache"):
        backend.decode(good, ort.allocate(2, 64), 0)
    assert gpu.cuda.counts == before
    with pytest.raises(InputError, match=rf"fusar-engine build .* --max-tokens {COLUMNS}"):
        backend.allocate(2, COLUMNS + 1)


def test_short_memory_halves_the_batch_and_goes_on(gpu: Gpu, bundle, requests, expected) -> None:
    backend = gpu.open()
    row = backend.allocate(1, 64)
    before = gpu.cuda.used
    need = before - (gpu.cuda.used - sum(each.size for each in row._arrays))
    del row
    gc.collect()
    gpu.cuda.limit = gpu.cuda.used + 2 * need  # six rows do not fit, nor do three; one does
    predictor = Predictor(bundle, backend)
    assert same(predictor.ask(requests), expected)
    gpu.cuda.limit = gpu.cuda.used
    predictor = Predictor(bundle, backend)
    with pytest.raises(OutOfMemory, match="smaller batch") as caught:
        predictor.ask(requests)
    assert caught.value.retry


def test_short_memory_in_the_middle_loses_no_answer(gpu: Gpu, bundle, requests, expected) -> None:
    predictor = Predictor(bundle, gpu.open())
    failed = iter([False] * 9 + [True] + [False] * 5 + [True])
    counted: list[int] = []

    def progress(ended: int) -> None:
        counted.append(ended)

    original = predictor.backend.decode

    def decode(*args: Any) -> Any:
        if next(failed, False):
            raise OutOfMemory("as told")
        return original(*args)

    predictor.backend.decode = decode  # type: ignore[method-assign]
    assert same(predictor.ask(requests, progress), expected)
    assert sum(counted) == len(requests)


def test_values_that_are_not_finite_are_errors(gpu: Gpu, bundle, requests) -> None:
    predictor = Predictor(bundle, gpu.open())
    for engine, name in zip(gpu.trt.engines, ("visual", "logits"), strict=True):
        engine.poison = name
        with pytest.raises(BackendError, match=f"in {name} that are not finite"):
            predictor.ask(requests)
        engine.poison = None
    assert len(predictor.ask(requests)) == len(requests)


@pytest.mark.parametrize("function", ["cudaStreamSynchronize", "cudaMemcpyAsync", "cudaGraphLaunch"])
def test_a_lost_device_says_so(gpu: Gpu, bundle, requests, function: str) -> None:
    predictor = Predictor(bundle, gpu.open())
    gpu.cuda.fail[function] = ["", "", "cudaErrorIllegalAddress"]
    with pytest.raises(DeviceLost, match="started anew") as caught:
        predictor.ask(requests)
    assert not caught.value.retry


def test_names_of_what_loses_a_device_are_cudas() -> None:
    assert set(cudart.cudaError_t.__members__) >= LOST


@pytest.mark.parametrize(
    ("where", "said", "kind"),
    [
        ("execute", "Error Code 1: Myelin (a kernel is missing)", BackendError),
        ("execute", "Error Code 2: OutOfMemory (Requested size was 1 bytes)", OutOfMemory),
        ("shape", "shape said no", BackendError),
        ("address", "address said no", BackendError),
    ],
)
def test_what_tensorrt_says_first_is_passed_on(gpu: Gpu, where: str, said: str, kind: type) -> None:
    backend = gpu.open()
    cache = backend.allocate(2, 64)
    gpu.trt.fail[where] = said
    with pytest.raises(BackendError) as caught:
        backend.decode(step(2, 2, 0), cache, 0)
    assert type(caught.value) is kind
    assert said in str(caught.value) or where == "address" and "refuses a buffer" in str(caught.value)
    assert "follows from it" not in str(caught.value)
    assert backend.decode(step(2, 2, 0), cache, 0).shape[0] == 2  # as before


def test_a_step_that_cannot_be_recorded_runs_as_it_is(gpu: Gpu, ort: OrtBackend) -> None:
    backend = gpu.open()
    caches = [each.allocate(2, 64) for each in (backend, ort)]
    gpu.trt.fail["capture"] = "not while capturing"
    for past in range(4):
        got, want = (
            each.decode(step(2, 1, past), cache, 0)
            for each, cache in zip((backend, ort), caches, strict=True)
        )
        np.testing.assert_allclose(got, want, atol=1e-4)
    assert "cudaGraphLaunch" not in gpu.cuda.counts


def test_plans_that_do_not_fit_are_refused_with_the_way_out(bundle) -> None:
    gpu = Gpu(bundle)
    gpu.cuda.sm = 90
    with pytest.raises(
        ArtifactError, match=r"for sm 90: run `fusar-engine build .*--target tensorrt-rtx --sm 90"
    ):
        gpu.open()
    with pytest.raises(
        ArtifactError, match=r"expected one of tensorrt-rtx 1.8.0.1 for sm 89: run `fusar-engine"
    ):
        Gpu(bundle, version="1.8.0.1").open()


@pytest.mark.parametrize(
    ("where", "said", "message"),
    [
        ("deserialize", "Error Code 1: magic tag does not match", "magic tag"),
        ("location", "host", "mask's place"),
        ("alias", "past_k_7", "not in past_k_0"),
    ],
)
def test_an_engine_that_is_not_the_listed_one_is_refused(
    gpu: Gpu, where: str, said: str, message: str
) -> None:
    gpu.trt.fail[where] = said
    with pytest.raises(ArtifactError, match=f"(?s){message}.*fusar-engine build"):
        gpu.open()


def test_an_altered_plan_is_refused_before_tensorrt_reads_it(bundle, tmp_path: Path) -> None:
    copy = tmp_path / "nano"
    shutil.copytree(bundle.path, copy)
    gpu = Gpu(Bundle.open(copy))
    path = copy / plans.FOLDER / "fake" / "decoder.plan"
    good = path.read_bytes()
    for bad in (good[:-1], good[:5] + b"#" + good[6:], b""):
        path.write_bytes(bad)
        with pytest.raises(ArtifactError, match=r"altered or cut short, run `fusar-engine build"):
            gpu.open()
    path.unlink()
    with pytest.raises(ArtifactError, match="got no plan"):
        gpu.open()
    path.write_bytes(good)
    assert gpu.open().name == "tensorrt-rtx fp32"


def test_memory_that_cannot_be_had_is_a_typed_error(gpu: Gpu) -> None:
    gpu.cuda.limit = 100
    cuda = Cuda(checked_cuda(gpu.cuda))
    held = DeviceMemory(cuda, 60)
    with pytest.raises(OutOfMemory, match="40 of 100 bytes are free"):
        DeviceMemory(cuda, 60)
    del held
    gc.collect()
    DeviceMemory(cuda, 60)


def test_without_a_gpu_the_backend_says_so(bundle) -> None:
    if cudart.cudaGetDeviceCount()[0] == cudart.cudaError_t.cudaSuccess:
        pytest.skip("there is a GPU")
    with pytest.raises(BackendError, match="got no GPU that works"):
        load_backend("tensorrt", bundle)


def test_the_stand_ins_take_no_call_that_the_bindings_refuse(gpu: Gpu) -> None:
    checked = checked_cuda(gpu.cuda)
    with pytest.raises(Mismatch):
        checked.cudaMalloc()
    with pytest.raises(Mismatch):
        checked.cudaMemcpyAsync(0, 0, 1, 1, None)  # a number in place of cudaMemcpyKind
    with pytest.raises(AttributeError):
        checked.cudaMallocEverything(1)
    backend = gpu.open()
    context = backend._prefill
    assert isinstance(context, Checked)
    for call in (
        lambda: context.set_input_shape("visual"),
        lambda: context.set_input_shape(1, (1, 192)),
        lambda: context.execute_async_v3("stream"),
        lambda: context.set_device_memory(memory=1),
    ):
        with pytest.raises(Mismatch):
            call()
    with pytest.raises(AttributeError):
        context.execute_async_v4(1)
