"""One TensorRT engine: checked against the list of plans, with buffers for what the host gives and gets.

Nothing in TensorRT's Python API raises: each call's answer is checked, and what the log said first goes into
the error.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import ArtifactError, BackendError, OutOfMemory
from engine.runtime.cuda import Cuda, DeviceMemory, PinnedMemory
from engine.runtime.plans import PlanFile, is_cache
from engine.runtime.spec import GraphSpec, TensorSpec

log = logging.getLogger(__name__)

# A plan's types, as TensorRT names them, and their bytes.
_TYPES = {
    "float32": ("FLOAT", 4), "float16": ("HALF", 2), "bfloat16": ("BF16", 2), "int64": ("INT64", 8),
    "bool": ("BOOL", 1),
}  # fmt: skip


def item_bytes(dtype: str) -> int:
    """Return the bytes of one value of a plan's tensor."""
    return _TYPES[dtype][1]


class Log:
    """Takes TensorRT's messages and keeps the first error since it was last asked.

    Attributes:
        sink: what TensorRT's objects are given.
    """

    def __init__(self, trt: Any) -> None:
        self._first: str | None = None
        severities = trt.ILogger.Severity
        keep = self._keep

        class Sink(trt.ILogger):  # type: ignore[misc]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, msg: str) -> None:
                if severity <= severities.ERROR:
                    keep(msg.strip())
                elif severity == severities.WARNING:
                    log.debug("TensorRT: %s", msg.strip())

        self.sink = Sink()

    def take(self) -> str:
        """Return the first error, and forget it."""
        first, self._first = self._first, None
        return first or "TensorRT gave no reason"

    def error(self, what: str) -> BackendError:
        """Return an error about something that failed, as TensorRT explains it."""
        said = self.take()
        short = said.lower().replace(" ", "").replace("_", "")
        kind = OutOfMemory if "outofmemory" in short else BackendError
        return kind(f"{what}: {said}")

    def _keep(self, message: str) -> None:
        log.debug("TensorRT: %s", message)
        self._first = self._first or message


class Graph:
    """An engine on the device.

    Attributes:
        scratch_bytes: memory that a run needs and leaves free.
        inputs: the inputs that the host gives; the caches are not among them.
    """

    def __init__(
        self, trt: Any, runtime: Any, cuda: Cuda, data: memoryview, file: PlanFile, log: Log, fix: str
    ) -> None:
        """Read an engine from a plan and allocate its buffers.

        Args:
            trt: the flavour's package.
            runtime: its runtime.
            cuda: the device.
            data: the plan; not needed afterwards.
            file: its entry in the list.
            log: what the runtime logs to.
            fix: the command that builds the plan anew.

        Raises:
            ArtifactError: the plan cannot be read, or is not what the list states.
            OutOfMemory: the GPU has no room for it.
        """
        self._trt, self._cuda, self._log = trt, cuda, log
        self._engine = runtime.deserialize_cuda_engine(data)
        if self._engine is None:
            error = log.error(f"got plan {file.file}, which does not load")
            raise error if isinstance(error, OutOfMemory) else ArtifactError(f"{error}: run `{fix}`")
        self.file = file
        self._check(fix)
        self.scratch_bytes = int(self._engine.device_memory_size_v2)
        host = tuple(each for each in file.graph.inputs if not is_cache(each.name))
        self.inputs = GraphSpec(inputs=host, outputs=())
        outputs = [each for each in file.graph.outputs if not is_cache(each.name)]
        self._outputs = [each.name for each in outputs]
        largest = self._largest()
        self._staged = {
            spec.name: _Staged(cuda, spec, _sized(spec, largest)) for spec in (*self.inputs.inputs, *outputs)
        }

    def put(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Copy arrays to where the next run reads them."""
        for name, array in tensors.items():
            self._staged[name].host.view(array.shape, array.dtype)[...] = array

    def get(self, name: str, rows: int) -> NDArray[np.float32]:
        """Return a copy of the first rows of an output of the last run."""
        staged = self._staged[name]
        array: NDArray[np.float32] = staged.host.view((rows, *staged.shape[1:]), np.float32).copy()
        return array

    def context(self, profile: int, scratch: DeviceMemory, repeated: bool = False) -> Any:
        """Return an execution context.

        Args:
            profile: the plan's profile that it runs.
            scratch: memory for its runs, shared by those that do not run at one time.
            repeated: it will run one shape again and again: kernels made for it are worth waiting for.

        Raises:
            OutOfMemory, BackendError: TensorRT gives none.
        """
        strategy = self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
        specialisation = getattr(self._trt, "DynamicShapesKernelSpecializationStrategy", None)
        if repeated and specialisation is not None:  # the RTX flavour compiles its kernels here
            config = self._engine.create_runtime_config()
            config.set_execution_context_allocation_strategy(strategy)
            config.dynamic_shapes_kernel_specialization_strategy = specialisation.EAGER
            context = self._engine.create_execution_context(config)
        else:
            context = self._engine.create_execution_context(strategy)
        if context is None:
            raise self._log.error(f"got no execution context of {self.file.file}, expected one")
        if not context.set_optimization_profile_async(profile, self._cuda.stream):
            raise self._log.error(f"{self.file.file} refuses profile {profile}")
        self._cuda.wait()
        context.set_device_memory(scratch.address, scratch.size)
        return context

    def bind(self, context: Any, shapes: Mapping[str, tuple[int, ...]], addresses: Mapping[str, int]) -> Run:
        """Give a context its shapes and buffers.

        Args:
            context: one of this graph's.
            shapes: of every input.
            addresses: of the caches, past and present; everything else is staged.

        Raises:
            BackendError: TensorRT refuses a shape or an address.
        """
        name = self.file.file
        for tensor, shape in shapes.items():
            if not context.set_input_shape(tensor, shape):
                raise self._log.error(f"{name} refuses {tensor} of shape {list(shape)}")
        staged = {tensor: each.device.address for tensor, each in self._staged.items()}
        for tensor, address in {**staged, **addresses}.items():
            if not context.set_tensor_address(tensor, address):
                raise self._log.error(f"{name} refuses a buffer for {tensor}")
        if missing := context.infer_shapes():
            raise self._log.error(f"{name} lacks the shapes of {missing}")
        uploads = [(self._staged[spec.name], shapes[spec.name]) for spec in self.inputs.inputs]
        downloads = [
            (self._staged[output], tuple(context.get_tensor_shape(output))) for output in self._outputs
        ]
        for (each, shape), output in zip(downloads, self._outputs, strict=True):
            if shape[1:] != each.shape[1:] or not 0 < shape[0] <= each.shape[0]:
                raise BackendError(
                    f"got {output} of shape {list(shape)} from {name}, expected at most {list(each.shape)}"
                )
        return Run(self._cuda, self._log, context, uploads, downloads, name)

    def _check(self, fix: str) -> None:
        """Compare the engine with its entry: an engine that reads other buffers would write anywhere."""
        engine, trt = self._engine, self._trt
        got = {engine.get_tensor_name(index) for index in range(engine.num_io_tensors)}
        differences = []
        listed = [(each, "INPUT") for each in self.file.graph.inputs]
        listed += [(each, "OUTPUT") for each in self.file.graph.outputs]
        if got != {each.name for each, _ in listed}:
            differences.append(f"tensors {sorted(got)}")
            listed = []
        for each, mode in listed:
            shape = tuple(-1 if isinstance(size, str) else size for size in each.shape)
            facts = {
                "mode": (engine.get_tensor_mode(each.name), getattr(trt.TensorIOMode, mode)),
                "type": (engine.get_tensor_dtype(each.name), getattr(trt.DataType, _TYPES[each.dtype][0])),
                "shape": (tuple(engine.get_tensor_shape(each.name)), shape),
                "place": (engine.get_tensor_location(each.name), trt.TensorLocation.DEVICE),
            }
            differences += [f"{each.name}'s {name} {a}, not {b}" for name, (a, b) in facts.items() if a != b]
            if each.name.startswith("present_") and not differences:
                past = each.name.replace("present_", "past_")
                alias = engine.get_aliased_input_tensor(each.name)
                if alias != past:
                    differences.append(f"{each.name} beside {alias}, not in {past}")
        profiles = engine.num_optimization_profiles
        if profiles != len(self.file.profiles):
            differences.append(f"{profiles} profiles, not {len(self.file.profiles)}")
        if differences:
            raise ArtifactError(
                f"got plan {self.file.file} with {'; '.join(differences[:3])}, expected what the "
                f"list states: run `{fix}`"
            )

    def _largest(self) -> dict[str, int]:
        """Return the largest size of each dynamic axis over all profiles."""
        largest: dict[str, int] = {}
        for profile in self.file.profiles:
            for spec in self.file.graph.inputs:
                for axis, size in zip(spec.shape, profile[spec.name][2], strict=True):
                    if isinstance(axis, str):
                        largest[axis] = max(largest.get(axis, 0), size)
        return largest


class Run:
    """A context with its shapes and buffers; valid until the context gets others."""

    def __init__(
        self,
        cuda: Cuda,
        log: Log,
        context: Any,
        uploads: Sequence[tuple[_Staged, tuple[int, ...]]],
        downloads: Sequence[tuple[_Staged, tuple[int, ...]]],
        name: str,
    ) -> None:
        self._cuda, self._log, self._context, self._name = cuda, log, context, name
        self._uploads = [(each, each.bytes(shape)) for each, shape in uploads]
        self._downloads = [(each, each.bytes(shape)) for each, shape in downloads]

    @property
    def recordable(self) -> bool:
        """Whether the context can be recorded now; the RTX flavour may still be compiling."""
        asks = getattr(self._context, "is_stream_capturable", None)
        return asks is None or bool(asks(self._cuda.stream))

    def enqueue(self) -> None:
        """Put the copies in, the graph and the copies out on the stream.

        Raises:
            OutOfMemory, DeviceLost, BackendError: it failed.
        """
        for staged, count in self._uploads:
            self._cuda.upload(staged.device.address, staged.host.address, count)
        if not self._context.execute_async_v3(self._cuda.stream):
            error = self._log.error(f"{self._name} failed")
            self._cuda.wait()  # a lost device says so here
            raise error
        for staged, count in self._downloads:
            self._cuda.download(staged.host.address, staged.device.address, count)


class _Staged:
    """A tensor's buffers, as large as its largest shape."""

    def __init__(self, cuda: Cuda, spec: TensorSpec, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self._item = item_bytes(spec.dtype)
        self.host = PinnedMemory(cuda, self.bytes(shape))
        self.device = DeviceMemory(cuda, self.bytes(shape))

    def bytes(self, shape: tuple[int, ...]) -> int:
        """Return the bytes of a shape."""
        return int(np.prod(shape, dtype=np.int64)) * self._item


def _sized(spec: TensorSpec, largest: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(largest[axis] if isinstance(axis, str) else axis for axis in spec.shape)
