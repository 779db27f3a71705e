"""The graphs of a bundle to plans for GPUs, entered into the bundle's list."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from engine.errors import ArtifactError, ExportError, InputError
from engine.export.compile import Compiler, Progress, check_header
from engine.export.precision import specialise
from engine.runtime import plans
from engine.runtime.plans import Plan, PlanFile, Precision, Profile, Shape, Target, is_cache
from engine.runtime.predictor import ROWS
from engine.runtime.spec import DECODER, TOKENIZER, VISION, Bundle, GraphSpec
from engine.runtime.tasks import Tasks

DEFAULT_SM = (80, 86, 89, 120, 121)  # what TensorRT-RTX compiles for and bf16 runs on
_COLUMNS = 64  # caches are a multiple of this long: the predictor asks so, and rows start aligned
_DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}


def build(
    bundle: Bundle,
    target: Target,
    *,
    sm: Sequence[int] = (),
    precision: Precision | None = None,
    max_batch: int = ROWS,
    max_tokens: int | None = None,
    progress: Progress | None = None,
) -> Plan:
    """Compile a bundle's graphs and enter the plan into its list, in place of one for the same GPUs.

    Args:
        bundle: the opened bundle; its folder must be writable.
        target: the flavour of TensorRT.
        sm: compute capabilities; without it, DEFAULT_SM for tensorrt-rtx and the GPU at hand for tensorrt.
        precision: of products and caches; without it, fp16 for nano, which passes the parity gate so and not
            in bf16, and bf16 for Qwen's, whose activations outgrow fp16.
        max_batch: rows and chips of a call.
        max_tokens: columns of the caches, rounded up to 64; without it, the longest prompt and answer of the
            bundle's tasks.
        progress: told where each build stands.

    Raises:
        InputError: a setting is wrong.
        ExportError: TensorRT is not there or does not take a graph.
    """
    compiler = Compiler(target)
    if precision is None:
        precision = "fp16" if bundle.manifest.model.base == "nano" else "bf16"
    chosen = _architectures(compiler, sm, precision)
    prompts = prompt_tokens(bundle)
    need = prompts + _answer_tokens(bundle) + plans.STEP_TOKENS  # rows step by what the longest one writes
    columns = -(-(need if max_tokens is None else max_tokens) // _COLUMNS) * _COLUMNS
    if max_batch < 1:
        raise InputError(f"got max batch {max_batch}, expected 1 or more")
    if columns < prompts + plans.STEP_TOKENS:
        raise InputError(
            f"got max tokens {columns}, expected {prompts + plans.STEP_TOKENS} at least, for the longest "
            f"prompt, and {need} for every answer"
        )
    listed = _listed(bundle)
    folder = bundle.path / plans.FOLDER
    try:
        folder.mkdir(exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".building-", dir=folder))
    except OSError as error:
        raise ExportError(
            f"got bundle {bundle.path}, which cannot be written ({error}), expected one of your own: copy it"
        ) from error
    try:
        files = {}
        for name, source in (("vision", VISION), ("decoder", DECODER)):
            profiles = profiles_of(bundle, name, max_batch, prompts, columns)
            graph = compiled_graph(bundle.manifest.graphs[name], precision, columns)
            onnx_file, plan_file = scratch / f"{name}.onnx", scratch / f"{name}.plan"
            specialise(bundle.file(source), onnx_file, precision, columns, wide_logits=min(chosen) >= 80)
            entry = compiler.compile(
                onnx_file,
                plan_file,
                profiles,
                chosen,
                tf32=precision != "fp32",
                timing_cache=folder / f"timing-{compiler.version}.cache",
                progress=progress,
            )
            if compiler.architectures:
                check_header(plan_file, compiler.version, chosen)
            onnx_file.unlink()
            Path(f"{onnx_file}.data").unlink()
            files[name] = (entry, graph, profiles)
        digest = files["vision"][0].sha256[:6] + files["decoder"][0].sha256[:6]
        place = f"{target}-{precision}-{digest}"
        plan = Plan(
            target=target,
            version=compiler.version,
            precision=precision,
            sm=chosen,
            max_batch=max_batch,
            max_tokens=columns,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            **{
                name: PlanFile(
                    file=f"{plans.FOLDER}/{place}/{name}.plan",
                    sha256=entry.sha256,
                    bytes=entry.bytes,
                    graph=graph,
                    profiles=profiles,
                )
                for name, (entry, graph, profiles) in files.items()
            },
        )
        if not (folder / place).exists():  # the same bytes came out before
            os.chmod(scratch, 0o755)
            scratch.rename(folder / place)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    _enter(bundle, listed, plan)
    return plan


def prompt_tokens(bundle: Bundle) -> int:
    """Return the length of the longest prompt of the bundle's tasks."""
    from tokenizers import Tokenizer

    return Tasks(bundle.manifest, Tokenizer.from_file(str(bundle.file(TOKENIZER)))).longest_prompt()


def _answer_tokens(bundle: Bundle) -> int:
    return max(spec.max_tokens for spec in bundle.manifest.tasks.values())


def _architectures(compiler: Compiler, sm: Sequence[int], precision: Precision) -> tuple[int, ...]:
    known = compiler.architectures
    if not known:
        here = device_sm()
        if sm and tuple(sm) != (here,):
            raise InputError(
                f"got sm {', '.join(map(str, sm))}, expected {here}: {compiler.target} compiles for the GPU "
                "at hand"
            )
        return (here,)
    chosen = tuple(sorted(set(sm))) or tuple(each for each in DEFAULT_SM if each in known)
    if strangers := set(chosen) - set(known):
        raise InputError(
            f"got sm {sorted(strangers)}, expected some of {list(known)}, which {compiler.target} "
            f"{compiler.version} compiles for: build for other GPUs on such a GPU with --target tensorrt"
        )
    if precision != "fp16" and min(chosen) < 80:
        raise InputError(
            f"got {precision} for sm {min(chosen)}, expected fp16: it multiplies in nothing else, build for "
            "it apart with --precision fp16"
        )
    return chosen


def device_sm() -> int:
    """Return the compute capability of the GPU at hand.

    Raises:
        ExportError: there is none.
    """
    from engine.errors import BackendError
    from engine.runtime.cuda import Cuda

    try:
        return Cuda().sm
    except (ImportError, BackendError) as error:
        raise ExportError(
            f"got no GPU ({error}), expected one: tensorrt compiles for the GPU at hand, tensorrt-rtx without"
        ) from error


def profiles_of(bundle: Bundle, name: str, max_batch: int, longest: int, columns: int) -> tuple[Profile, ...]:
    """Return the least, usual and largest shapes of a graph's inputs, once for each way it is used."""
    graph, tokens = bundle.manifest.graphs[name], bundle.manifest.chip.tokens

    def sized(shape: Sequence[int | str], sizes: dict[str, int]) -> Shape:
        return tuple(sizes[axis] if isinstance(axis, str) else axis for axis in shape)

    def shapes(least: dict[str, int], usual: dict[str, int], most: dict[str, int]) -> Profile:
        return {
            each.name: (sized(each.shape, least), sized(each.shape, usual), sized(each.shape, most))
            for each in graph.inputs
        }

    if name == "vision":
        return (shapes({"batch": 1}, {"batch": max_batch}, {"batch": max_batch}),)
    half = (max_batch + 1) // 2
    fixed = {"columns": columns}
    most = max(longest, columns - _answer_tokens(bundle))  # prompts of two chips, where there is room
    prefill = shapes(
        {"rows": 1, "tokens": 1, "visuals": 1, **fixed},
        {"rows": half, "tokens": longest, "visuals": half * tokens, **fixed},
        {"rows": max_batch, "tokens": most, "visuals": 2 * max_batch * tokens, **fixed},
    )
    step = shapes(
        {"rows": 1, "tokens": 1, "visuals": 1, **fixed},
        {"rows": max_batch, "tokens": 1, "visuals": 1, **fixed},
        {"rows": max_batch, "tokens": plans.STEP_TOKENS, "visuals": 1, **fixed},
    )
    return prefill, step


def compiled_graph(graph: GraphSpec, precision: Precision, columns: int) -> GraphSpec:
    """Return a graph's inputs and outputs as they are once it is compiled."""

    def fixed(tensors: Any) -> tuple[Any, ...]:
        return tuple(
            each.model_copy(
                update={
                    "dtype": _DTYPES[precision],
                    "shape": tuple(columns if axis == "columns" else axis for axis in each.shape),
                }
            )
            if is_cache(each.name)
            else each
            for each in tensors
        )

    return GraphSpec(inputs=fixed(graph.inputs), outputs=fixed(graph.outputs))


def _listed(bundle: Bundle) -> plans.PlanList:
    """A list that belongs to an earlier bundle in this folder says nothing about this one."""
    try:
        return plans.read(bundle)
    except ArtifactError:
        return plans.PlanList(bundle=bundle.bundle_id)


def _enter(bundle: Bundle, listed: plans.PlanList, plan: Plan) -> None:
    """Enter a plan into the list, then remove the files of those that it replaces."""
    kept = tuple(each for each in listed.plans if not each.same_place(plan))
    plans.write(bundle, listed.model_copy(update={"plans": (*kept, plan)}))
    held = {Path(each.vision.file).parts[1] for each in (*kept, plan)}
    for each in listed.plans:
        if (name := Path(each.vision.file).parts[1]) not in held:
            shutil.rmtree(bundle.path / plans.FOLDER / name, ignore_errors=True)
