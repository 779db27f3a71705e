"""TensorRT-RTX really compiles what we ship, without a GPU; what does not compile or fit is an error."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tensorrt_rtx")

import tensorrt_rtx as trt
from tokenizers import Tokenizer

from engine.errors import ArtifactError, ExportError, FusarError, InputError
from engine.export import precision as precision_module
from engine.export.build import DEFAULT_SM, build
from engine.export.compile import Compiler, check_header
from engine.runtime import plans
from engine.runtime.plans import Plan
from engine.runtime.spec import TOKENIZER, Bundle
from engine.runtime.tasks import Tasks

VERSION = str(trt.__version__)
QUICK: dict[str, Any] = {"sm": (89,), "max_batch": 4}


def copied(folder: Path) -> Bundle:
    copy = folder / "nano"
    shutil.copytree(Bundle.open().path, copy, ignore=shutil.ignore_patterns("plans*"))
    return Bundle.open(copy)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return copied(tmp_path)


@pytest.fixture(scope="module", params=["bf16", "fp16"])
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Plan]:
    """The bundle that ships, compiled as people would."""
    opened = copied(tmp_path_factory.mktemp("built"))
    return opened, build(opened, "tensorrt-rtx", precision=request.param)


def test_the_bundle_that_ships_compiles(built: tuple[Bundle, Plan]) -> None:
    bundle, plan = built
    assert (plan.version, plan.sm, plan.max_batch) == (VERSION, DEFAULT_SM, 32)
    assert plans.read(bundle).plans == (plan,)
    assert plans.choose(bundle, {"tensorrt-rtx": VERSION}, 86) == plan
    for file in (plan.vision, plan.decoder):
        path = bundle.path / file.file
        check_header(path, VERSION, plan.sm)
        assert 5e6 < path.stat().st_size == file.bytes < 2e7
        plans.load(bundle, plan, file)
    # A prompt and the longest answer go in, in steps of the predictor's.
    prompt = Tasks(bundle.manifest, Tokenizer.from_file(str(bundle.file(TOKENIZER)))).longest_prompt()
    longest = prompt + max(spec.max_tokens for spec in bundle.manifest.tasks.values())
    assert longest <= plan.max_tokens < longest + 128
    assert plan.max_tokens % 64 == 0
    caches = [each for each in plan.decoder.graph.inputs if plans.is_cache(each.name)]
    assert {each.dtype for each in caches} == {{"bf16": "bfloat16", "fp16": "float16"}[plan.precision]}
    assert {each.shape[2] for each in caches} == {plan.max_tokens}
    prefill, step = plan.decoder.profiles
    assert prefill["input_ids"][2][1] >= prefill["input_ids"][1][1] > 81
    assert step["visual"][2][0] == 1
    assert {path.name for path in (bundle.path / plans.FOLDER).iterdir()} == {plan.vision.file.split("/")[1]}


def test_a_damaged_plan_is_refused(built: tuple[Bundle, Plan], tmp_path: Path) -> None:
    bundle, plan = built
    copy = tmp_path / "copy"
    shutil.copytree(bundle.path, copy)
    opened = Bundle.open(copy)
    path = copy / plan.decoder.file
    good = path.read_bytes()
    flipped = good[:40] + bytes([good[40] ^ 1]) + good[41:]
    for bad in (good[:-1], good[: len(good) // 2], b"", flipped, good + b"\0"):
        path.write_bytes(bad)
        with pytest.raises(
            ArtifactError, match=r"altered or cut short, run `fusar-engine build .* --sm 80,86,89"
        ):
            plans.load(opened, plan, plan.decoder)
    for bad in (good[:-1], b"", good[:30], b"x" + good[1:], good[:24] + b"\2" + good[25:]):
        path.write_bytes(bad)
        with pytest.raises(ExportError, match=r"header.* build it again"):
            check_header(path, VERSION, plan.sm)
    path.write_bytes(good)
    with pytest.raises(ExportError, match="header"):
        check_header(path, VERSION, (89,))


def test_tensorrt_itself_is_given_the_plan(built: tuple[Bundle, Plan]) -> None:
    """As far as it goes here: without a driver it reads no plan, and says so through our error."""
    pytest.importorskip("cuda.bindings.runtime")
    from cuda.bindings import runtime as cudart

    from engine.runtime.cuda import Cuda
    from engine.runtime.tensorrt import TensorRtBackend
    from tests.support.gpu import FakeCuda, checked_cuda

    if cudart.cudaGetDeviceCount()[0] == cudart.cudaError_t.cudaSuccess:
        pytest.skip("there is a GPU")
    cuda = Cuda(checked_cuda(FakeCuda(cudart)))
    with pytest.raises(ArtifactError, match=r"does not load: .*CUDA.*run `fusar-engine build"):
        TensorRtBackend(built[0], modules={"tensorrt-rtx": trt}, cuda=cuda)


def test_a_plan_takes_the_place_of_one_for_the_same_gpus(bundle: Bundle) -> None:
    other = build(bundle, "tensorrt-rtx", precision="fp32", **QUICK)
    first = build(bundle, "tensorrt-rtx", **QUICK)
    second = build(bundle, "tensorrt-rtx", **{**QUICK, "max_batch": 2})
    assert plans.read(bundle).plans == (other, second)
    folders = {path.name for path in (bundle.path / plans.FOLDER).iterdir()}
    assert folders == {Path(each.vision.file).parts[1] for each in (other, second)}
    assert not (bundle.path / first.decoder.file).exists()
    assert Bundle.open(bundle.path).bundle_id == bundle.bundle_id


def test_a_graph_that_no_longer_compiles_is_an_error(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorRT's cache layer wants a fixed length; left dynamic, as in the bundle, it refuses the graph."""
    monkeypatch.setattr(precision_module, "_fix_columns", lambda graph, columns: None)
    with pytest.raises(ExportError, match=r"cannot read decoder.onnx: .*static sequence length") as caught:
        build(bundle, "tensorrt-rtx", **QUICK)
    assert "cudaError" not in str(caught.value)  # that follows, and would mislead
    assert list((bundle.path / plans.FOLDER).iterdir()) == []
    assert plans.read(bundle).plans == ()


def test_progress_is_tensorrts_and_an_interrupt_ends_the_build(bundle: Bundle) -> None:
    told: list[tuple[str, str | None, int, int]] = []

    def progress(phase: str, parent: str | None, done: int, steps: int) -> None:
        told.append((phase, parent, done, steps))
        if len(told) == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(bundle, "tensorrt-rtx", progress=progress, **QUICK)
    assert len(told) == 10
    assert told[0][:3] == ("Building engine", None, 0)
    assert {"Building engine"} < {phase for phase, *_ in told}
    assert all(0 <= done <= steps for *_, done, steps in told)
    assert list((bundle.path / plans.FOLDER).iterdir()) == []


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"target": "openvino"}, InputError, "expected one of"),
        (
            {"sm": (90,)},
            InputError,
            r"compiles for: build for other GPUs on such a GPU with --target tensorrt",
        ),
        ({"sm": (75, 89), "precision": "bf16"}, InputError, "expected fp16"),
        ({"sm": (75,), "precision": "fp32"}, InputError, "expected fp16"),
        ({"precision": "int8"}, InputError, "expected one of"),
        ({"max_batch": 0}, InputError, "1 or more"),
        ({"max_tokens": 64}, InputError, r"at least, for the longest prompt"),
    ],
)
def test_what_cannot_be_built_is_refused(bundle: Bundle, given, error, message: str) -> None:
    with pytest.raises(error, match=message):
        build(bundle, **{"target": "tensorrt-rtx", **QUICK, **given})
    assert not list(bundle.path.glob("plans/*"))


def test_the_oldest_gpus_get_a_plan_without_products_in_float32(bundle: Bundle) -> None:
    plan = build(bundle, "tensorrt-rtx", sm=(75,), max_batch=2)
    assert plan.precision == "fp16"
    check_header(bundle.path / plan.decoder.file, VERSION, (75,))


def test_a_flavour_that_is_not_there_says_so(bundle: Bundle) -> None:
    try:
        Compiler("tensorrt")
    except ExportError as error:
        assert "needs Python's tensorrt" in str(error)
        return
    with pytest.raises(FusarError, match="GPU"):  # it is there: then it wants a GPU
        build(bundle, "tensorrt", sm=(1,))


def test_the_command_builds_and_shows_what_it_built(bundle: Bundle) -> None:
    from typer.testing import CliRunner

    from engine.cli import app

    arguments = ["--sm", "80,89", "--precision", "fp16", "--max-batch", "3", "--max-tokens", "800"]
    result = CliRunner().invoke(app, ["build", str(bundle.path), *arguments], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    (plan,) = plans.read(bundle).plans
    assert (plan.sm, plan.precision, plan.max_batch, plan.max_tokens) == ((80, 89), "fp16", 3, 832)
    for said in (
        plan.decoder.file,
        plan.vision.sha256[:16],
        "3 rows of 832 tokens",
        f"{plan.decoder.bytes:,}",
    ):
        assert said in result.output
    result = CliRunner().invoke(app, ["build", str(bundle.path), "--sm", "eighty"])
    assert isinstance(result.exception, InputError)


@pytest.mark.slow
def test_a_model_in_the_shape_of_3b_compiles(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from tests.support.shapes import write_cut_3b

    bundle = write_cut_3b(tmp_path / "cut")
    plan = build(bundle, "tensorrt-rtx", sm=(80, 89))
    for file, least in ((plan.vision, 100e6), (plan.decoder, 100e6)):
        check_header(bundle.path / file.file, VERSION, (80, 89))
        assert file.bytes > least
    cache = next(each for each in plan.decoder.graph.inputs if each.name == "past_k_1")
    assert cache.shape == ("rows", 2, plan.max_tokens, 128)
