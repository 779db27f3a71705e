"""TensorRT, both flavours, without torch: the plans of a bundle on one GPU.

Who owns what: each graph owns staging buffers for everything that the host gives or gets (a pinned one and
one on the device for each tensor, as large as the plan's largest shape); the backend owns the scratch memory
of both graphs, which run one after the other. A ``DeviceCache`` owns its layers' keys and values and the
steps recorded on them. Arrays that are returned are the caller's own.

A decode step is padded to a bucket of rows and tokens; where a bucket comes again it is recorded as a CUDA
graph, copies included, and from then on one launch does it. A recorded step has an execution context of its
own: other shapes in its context would change what the recording relies on.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import ArtifactError, BackendError, DeviceLost, InputError
from engine.runtime import plans
from engine.runtime.backend import Cache, Step, check_finite, check_inputs
from engine.runtime.cuda import Cuda, DeviceMemory, Recording
from engine.runtime.plans import MODULES, Target, is_cache
from engine.runtime.spec import Bundle
from engine.runtime.tensorrt_graph import Graph, Log, Run, item_bytes

_PREFILL, _STEP = 0, 1  # the decoder's profiles
_STEPS = 48  # kept for one cache: buckets of rows times buckets of tokens, and some


class DeviceCache:
    """Caches on the device: for each layer keys and values, [rows, H, columns, D]; see ``backend.Cache``.

    Their length is fixed when the plan is built.
    """

    def __init__(self, cuda: Cuda, arrays: int, rows: int, columns: int, row_bytes: int, fix: str) -> None:
        self.rows = rows
        self.columns = columns
        self.steps: OrderedDict[tuple[int, int, int], _RepeatedStep] = OrderedDict()
        self._cuda, self._row_bytes, self._fix = cuda, row_bytes, fix
        self._arrays = [DeviceMemory(cuda, rows * row_bytes) for _ in range(arrays)]
        for array in self._arrays:
            cuda.clear(array.address, array.size)

    def addresses(self, first: int) -> list[int]:
        """Return where each array's rows from ``first`` on begin."""
        return [array.address + first * self._row_bytes for array in self._arrays]

    def move(self, source: int, target: int) -> None:
        """Copy one row over another."""
        if source != target:
            for to, start in zip(self.addresses(target), self.addresses(source), strict=True):
                self._cuda.copy(to, start, self._row_bytes)

    def widen(self, columns: int) -> None:
        """Refuse more columns than the plan has.

        Raises:
            InputError: there are more.
        """
        if columns > self.columns:
            raise InputError(
                f"got {columns} columns of prompt and answer, expected at most {self.columns}: "
                f"run `{self._fix}` with more max-tokens"
            )


class TensorRtBackend:
    """The two graphs of a bundle as two engines; see ``engine.runtime.backend.Backend``.

    Attributes:
        name: flavour and precision.
        max_rows: rows of a step, and chips of a call.
        batch: half of it, so that prompts and steps take turns.
        plan: what it runs.
    """

    workers = 1

    def __init__(
        self,
        bundle: Bundle,
        threads: int | None = None,
        modules: Mapping[Target, Any] | None = None,
        cuda: Cuda | None = None,
    ) -> None:
        """Choose a plan and load it.

        Args:
            bundle: the opened bundle.
            threads: without effect.
            modules: the flavours' Python packages; without it, those that are installed.
            cuda: the device; without it, the current one.

        Raises:
            BackendError: no flavour or no bindings of CUDA are installed, or there is no GPU.
            ArtifactError: no plan fits, or its file is not what the list states.
        """
        modules = installed() if modules is None else modules
        self._cuda = cuda = _device() if cuda is None else cuda
        versions = {target: str(module.__version__) for target, module in modules.items()}
        self.plan = plan = plans.choose(bundle, versions, cuda.sm)
        self.name = plan.name
        self.max_rows: int | None = plan.max_batch
        self.batch = (plan.max_batch + 1) // 2
        self._fix = plans.command(bundle, plan=plan)
        self._lock = threading.Lock()
        trt = modules[plan.target]
        self._log = Log(trt)
        self._runtime = trt.Runtime(self._log.sink)

        def read(file: plans.PlanFile) -> Graph:
            data = plans.load(bundle, plan, file)
            return Graph(trt, self._runtime, cuda, data, file, self._log, self._fix)

        self._vision, self._decoder = read(plan.vision), read(plan.decoder)
        caches = [each for each in plan.decoder.graph.inputs if is_cache(each.name)]
        if not caches or any(each.shape[1:] != caches[0].shape[1:] for each in caches):
            raise ArtifactError(f"got caches {caches}, expected some, all of one shape: run `{self._fix}`")
        self._caches = [each.name for each in caches]
        per_row = [int(size) for size in caches[0].shape[1:]]
        self._row_bytes = int(np.prod(per_row)) * item_bytes(caches[0].dtype)
        self._scratch = DeviceMemory(cuda, max(self._vision.scratch_bytes, self._decoder.scratch_bytes))
        self._look = self._vision.context(0, self._scratch)
        self._prefill = self._decoder.context(_PREFILL, self._scratch)

    def vision(
        self,
        patches: NDArray[np.float32],
        vectors: NDArray[np.float32],
        positions: NDArray[np.float32],
        mask: NDArray[np.bool_],
    ) -> NDArray[np.float32]:
        """Return visual tokens, [B, tokens, C]; more chips than the plan takes go in several calls.

        Raises:
            InputError: a shape or dtype does not fit.
            OutOfMemory, DeviceLost: as they say.
            BackendError: the graph failed or gave values that are not finite.
        """
        tensors: dict[str, NDArray[Any]] = {
            "patches": patches, "vectors": vectors, "positions": positions, "mask": mask
        }  # fmt: skip
        check_inputs(self._vision.inputs, tensors)
        parts = []
        with self._lock:
            for start in range(0, len(patches), self.plan.max_batch):
                part = {name: each[start : start + self.plan.max_batch] for name, each in tensors.items()}
                self._vision.put(part)
                self._vision.bind(self._look, _shapes(part), {}).enqueue()
                self._cuda.wait()
                parts.append(self._vision.get("visual", len(part["patches"])))
        visual: NDArray[np.float32] = np.concatenate(parts)
        check_finite("visual", visual)
        return visual

    def allocate(self, rows: int, columns: int) -> DeviceCache:
        """Return caches filled with zeros, as long as the plan's.

        Raises:
            InputError: the plan has fewer columns.
            OutOfMemory: the GPU has no room for them.
        """
        plan = self.plan
        cache = DeviceCache(self._cuda, len(self._caches), rows, plan.max_tokens, self._row_bytes, self._fix)
        cache.widen(columns)
        return cache

    def decode(self, step: Step, cache: Cache, first: int) -> NDArray[np.float32]:
        """Run a step for the rows from ``first`` on; see ``Backend.decode``.

        Raises:
            InputError: a shape or dtype does not fit, or the step exceeds the plan.
            OutOfMemory, DeviceLost: as they say.
            BackendError: the graph failed or gave values that are not finite.
        """
        if not isinstance(cache, DeviceCache):
            raise InputError(f"got a cache of {type(cache).__name__}, expected a DeviceCache of this backend")
        tensors = step.tensors()
        check_inputs(self._decoder.inputs, tensors)
        rows, tokens = step.input_ids.shape
        past = int(step.past_len.max(initial=0))
        most = self.plan.decoder.profiles[_PREFILL]
        limits = (cache.rows - first, self.plan.max_batch, most["input_ids"][2][1], most["visual"][2][0])
        if first < 0 or rows > min(limits[:2]) or past + tokens > cache.columns:
            raise InputError(
                f"got rows {first} to {first + rows} and {past + tokens} columns, expected at most "
                f"{min(limits[:2])} rows from there and {cache.columns} columns: run `{self._fix}` with more"
            )
        with self._lock:
            if len(step.visual) == 1 and tokens <= plans.STEP_TOKENS:
                self._repeat(tensors, cache, first, past)
            elif tokens > limits[2] or len(step.visual) > limits[3]:
                raise InputError(
                    f"got prompts of {tokens} tokens and {len(step.visual)} visual tokens, expected at most "
                    f"{limits[2]} and {limits[3]}: run `{self._fix}` with more max-tokens"
                )
            else:
                self._decoder.put(tensors)
                self._bind(self._prefill, _shapes(tensors), cache, first).enqueue()
            self._cuda.wait()
            logits = self._decoder.get("logits", rows)
        check_finite("logits", logits)
        return logits

    def _repeat(self, tensors: Mapping[str, NDArray[Any]], cache: DeviceCache, first: int, past: int) -> None:
        """Run a step in the bucket that it fits in."""
        rows, tokens = tensors["input_ids"].shape
        wide = min(_bucket(rows), self.plan.max_batch)
        long = min(_bucket(tokens), plans.STEP_TOKENS)
        wide = wide if first + wide <= cache.rows else rows
        long = long if past + long <= cache.columns else tokens
        padded = _padded(tensors, wide, long)
        self._decoder.put(padded)
        key = (first, wide, long)
        if key not in cache.steps:
            context = self._decoder.context(_STEP, self._scratch, repeated=True)
            run = self._bind(context, _shapes(padded), cache, first)
            cache.steps[key] = _RepeatedStep(run, self._cuda)
            if len(cache.steps) > _STEPS:
                cache.steps.popitem(last=False)
        cache.steps.move_to_end(key)
        cache.steps[key]()

    def _bind(self, context: Any, shapes: dict[str, tuple[int, ...]], cache: DeviceCache, first: int) -> Run:
        """Bind past and present of each cache to the same rows of the same buffer."""
        rows = shapes["input_ids"][0]
        addresses: dict[str, int] = {}
        for name, address in zip(self._caches, cache.addresses(first), strict=True):
            addresses[name] = addresses[name.replace("past_", "present_")] = address
        listed = {each.name: each.shape for each in self.plan.decoder.graph.inputs}
        past = {name: (rows, *(int(size) for size in listed[name][1:])) for name in self._caches}
        return self._decoder.bind(context, {**shapes, **past}, addresses)


class _RepeatedStep:
    """A step of one shape on one cache: run, when it comes again recorded, from then on launched."""

    def __init__(self, run: Run, cuda: Cuda) -> None:
        self._run, self._cuda = run, cuda
        self._ran = False  # the first run lets TensorRT settle what it puts off
        self._refused = False
        self._recording: Recording | None = None

    def __call__(self) -> None:
        """Put the step on the stream."""
        if self._ran and self._recording is None and not self._refused and self._run.recordable:
            try:
                self._recording = self._cuda.record(self._run.enqueue)
            except DeviceLost:
                raise
            except BackendError:  # it runs as well without, only slower
                self._refused = True
        if self._recording is not None:
            self._recording.launch()
        else:
            self._run.enqueue()
        self._ran = True


def installed() -> dict[Target, Any]:
    """Return the flavours' packages that load here.

    Raises:
        BackendError: none does.
    """
    found: dict[Target, Any] = {}
    said = []
    for target, module in MODULES.items():
        try:
            found[target] = import_module(module)
        except (ImportError, OSError) as error:
            said.append(str(error))
    if not found:
        raise BackendError(
            f"backend tensorrt needs {' or '.join(MODULES.values())}, none loads here ({'; '.join(said)}): "
            "install one (pip install 'fusar[tensorrt-rtx]') or take another backend"
        )
    return found


def _device() -> Cuda:
    try:
        return Cuda()
    except ImportError as error:
        raise BackendError(
            f"backend tensorrt needs CUDA's bindings for Python ({error}): pip install cuda-bindings"
        ) from error


def _bucket(count: int) -> int:
    """Return the next power of two."""
    return 1 << (count - 1).bit_length()


def _padded(tensors: Mapping[str, NDArray[Any]], rows: int, tokens: int) -> dict[str, NDArray[Any]]:
    """Pad a step with tokens that causality hides and with idle rows."""
    more_rows, more_tokens = rows - len(tensors["past_len"]), tokens - tensors["input_ids"].shape[1]
    axes: dict[str, Sequence[tuple[int, int]]] = {
        "input_ids": ((0, more_rows), (0, more_tokens)),
        "visual_index": ((0, more_rows), (0, more_tokens)),
        "position_ids": ((0, 0), (0, more_rows), (0, more_tokens)),
        "past_len": ((0, more_rows),),
        "new_len": ((0, more_rows),),
    }
    filled = {"visual_index": -1}
    return {
        name: np.pad(array, axes[name], constant_values=filled.get(name, 0)) if name in axes else array
        for name, array in tensors.items()
    }


def _shapes(tensors: Mapping[str, NDArray[Any]]) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in tensors.items()}
