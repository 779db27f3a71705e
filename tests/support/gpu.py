"""A GPU's stand-ins: CUDA's runtime over the host's memory, TensorRT's over ONNX Runtime.

What is put on the stream is done when somebody waits for it, not before; memory is bounded, and every copy
must stay inside what is allocated. A plan is a file that names an ONNX file in float32. Calls are checked
against the real bindings (``tests.support.signatures``). This shows that buffers, shapes, order and errors
are right; not that a GPU computes anything.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime

from engine.runtime.plans import Plan, PlanFile
from tests.support.signatures import Checked, CheckedModule

Work = Callable[[], None]


class FakeCuda:
    """The functions of ``cuda.bindings.runtime`` that are used."""

    def __init__(self, real: Any, sm: int = 89, limit: int = 1 << 30) -> None:
        self.real, self.sm, self.limit = real, sm, limit
        self.ok = real.cudaError_t.cudaSuccess
        self.memory: dict[int, Any] = {}
        self.queue: list[Work] = []
        self.recorded: list[Work] | None = None
        self.graphs: dict[int, list[Work]] = {}
        self.counts: dict[str, int] = {}
        self.fail: dict[str, list[str]] = {}  # function: statuses of its next calls, "" for success

    def __getattr__(self, name: str) -> Any:
        function = object.__getattribute__(self, f"do_{name}")

        def call(*args: Any) -> tuple[Any, ...]:
            self.counts[name] = self.counts.get(name, 0) + 1
            if self.fail.get(name) and (status := self.fail[name].pop(0)):
                return getattr(self.real.cudaError_t, status), None
            value = function(*args)
            return value if isinstance(value, tuple) else (self.ok, *([] if value is None else [value]))

        return call

    @property
    def used(self) -> int:
        return sum(map(len, self.memory.values()))

    def enqueue(self, work: Work) -> None:
        (self.queue if self.recorded is None else self.recorded).append(work)

    def check(self, address: int, count: int) -> None:
        """Fail like a sanitiser where bytes are not inside one allocation."""
        if not any(
            start <= address and address + count <= start + len(m) for start, m in self.memory.items()
        ):
            raise AssertionError(f"{count} bytes at {address:#x} are not allocated")

    def do_cudaGetDevice(self) -> int:
        return 0

    def do_cudaDeviceGetAttribute(self, attribute: Any, device: int) -> int:
        return self.sm // 10 if attribute.name.endswith("Major") else self.sm % 10

    def do_cudaGetLastError(self) -> None:
        return None

    def do_cudaMemGetInfo(self) -> tuple[Any, ...]:
        return self.ok, self.limit - self.used, self.limit

    def do_cudaMalloc(self, size: int) -> Any:
        if self.used + size > self.limit:
            return self.real.cudaError_t.cudaErrorMemoryAllocation, None
        buffer = (ctypes.c_ubyte * size)(*([0xFF] * min(size, 64)))  # not zeros: NaN where it is read unset
        self.memory[ctypes.addressof(buffer)] = buffer
        return ctypes.addressof(buffer)

    def do_cudaHostAlloc(self, size: int, flags: int) -> Any:
        return self.do_cudaMalloc(size)

    def do_cudaFree(self, address: int) -> None:
        del self.memory[address]

    do_cudaFreeHost = do_cudaFree

    def do_cudaMemcpyAsync(self, target: int, source: int, count: int, kind: Any, stream: Any) -> None:
        def work() -> None:
            self.check(target, count)
            self.check(source, count)
            ctypes.memmove(target, source, count)

        self.enqueue(work)

    def do_cudaMemsetAsync(self, target: int, value: int, count: int, stream: Any) -> None:
        def work() -> None:
            self.check(target, count)
            ctypes.memset(target, value, count)

        self.enqueue(work)

    def do_cudaStreamCreateWithFlags(self, flags: int) -> Any:
        return self.real.cudaStream_t(7)

    def do_cudaStreamDestroy(self, stream: Any) -> None:
        return None

    def do_cudaStreamSynchronize(self, stream: Any) -> Any:
        if self.recorded is not None:
            self.recorded = None
            return self.real.cudaError_t.cudaErrorStreamCaptureUnsupported, None
        queue, self.queue = self.queue, []
        for work in queue:
            work()
        return None

    def do_cudaStreamBeginCapture(self, stream: Any, mode: Any) -> None:
        self.recorded = []

    def do_cudaStreamEndCapture(self, stream: Any) -> Any:
        recorded, self.recorded = self.recorded, None
        if recorded is None:
            return self.real.cudaError_t.cudaErrorStreamCaptureInvalidated, None
        return self._keep(recorded, self.real.cudaGraph_t)

    def do_cudaGraphInstantiate(self, graph: Any, flags: int) -> Any:
        return self._keep(self.graphs[int(graph)], self.real.cudaGraphExec_t)

    def do_cudaGraphDestroy(self, graph: Any) -> None:
        del self.graphs[int(graph)]

    do_cudaGraphExecDestroy = do_cudaGraphDestroy

    def do_cudaGraphLaunch(self, graph: Any, stream: Any) -> None:
        for work in self.graphs[int(graph)]:
            self.enqueue(work)

    def _keep(self, recorded: list[Work], kind: Any) -> Any:
        number = max(self.graphs, default=100) + 1
        self.graphs[number] = recorded
        return kind(number)


class FakeTensorRt:
    """The part of a flavour's package that the backend uses; enumerations and ILogger are the real ones."""

    def __init__(self, real: Any, cuda: FakeCuda, plan: Plan, version: str) -> None:
        self.__version__ = version
        self.real, self.cuda = real, cuda
        self.plan = plan
        self.engines: list[FakeEngine] = []
        self.capturable = True
        self.fail: dict[str, str] = {}  # where: what the log says

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def Runtime(self, logger: Any) -> Any:  # noqa: N802 - its name
        if not isinstance(logger, self.real.ILogger):
            raise TypeError("expected an ILogger")
        self.logger = logger
        return Checked(self.real.Runtime, SimpleNamespace(deserialize_cuda_engine=self._deserialize))

    def failing(self, where: str) -> bool:
        """Log as told to fail there; return whether to fail."""
        if where not in self.fail:
            return False
        said = self.fail.pop(where)
        self.logger.log(self.real.ILogger.Severity.ERROR, said)
        self.logger.log(self.real.ILogger.Severity.ERROR, "and this follows from it")
        return True

    def _deserialize(self, data: memoryview) -> Any:
        if self.failing("deserialize"):
            return None
        source = Path(bytes(data).decode())
        file = self.plan.vision if source.name.startswith("vision") else self.plan.decoder
        self.engines.append(FakeEngine(self, source, file))
        return Checked(self.real.ICudaEngine, self.engines[-1])


class FakeEngine:
    """A graph as the list states it."""

    device_memory_size_v2 = 4096

    def __init__(self, trt: FakeTensorRt, source: Path, file: PlanFile) -> None:
        self.trt, self.file = trt, file
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(str(source), options)
        self.inputs = {each.name: each for each in file.graph.inputs}
        self.tensors = {each.name: each for each in (*file.graph.inputs, *file.graph.outputs)}
        self.num_io_tensors = len(self.tensors)
        self.num_optimization_profiles = len(file.profiles)
        self.poison: str | None = None  # an output to fill with NaN
        self.location = {"mask": trt.fail.pop("location", None)}
        self.alias = trt.fail.pop("alias", None) if "past_k_0" in self.inputs else None
        self.contexts = 0

    def get_tensor_name(self, index: int) -> str:
        return list(self.tensors)[index]

    def get_tensor_mode(self, name: str) -> Any:
        return getattr(self.trt.real.TensorIOMode, "INPUT" if name in self.inputs else "OUTPUT")

    def get_tensor_dtype(self, name: str) -> Any:
        kinds = {"float32": "FLOAT", "int64": "INT64", "bool": "BOOL"}
        return getattr(self.trt.real.DataType, kinds[self.tensors[name].dtype])

    def get_tensor_shape(self, name: str) -> Any:
        return tuple(-1 if isinstance(size, str) else size for size in self.tensors[name].shape)

    def get_tensor_location(self, name: str) -> Any:
        return (
            self.trt.real.TensorLocation.HOST
            if self.location.get(name)
            else self.trt.real.TensorLocation.DEVICE
        )

    def get_aliased_input_tensor(self, name: str) -> Any:
        return self.alias or name.replace("present_", "past_")

    def create_runtime_config(self) -> Any:
        fake = SimpleNamespace()
        fake.set_execution_context_allocation_strategy = lambda strategy: setattr(fake, "strategy", strategy)
        return Checked(self.trt.real.IRuntimeConfig, fake)

    def create_execution_context(self, given: Any) -> Any:
        if self.trt.failing("context"):
            return None
        strategy = given.fake.strategy if isinstance(given, Checked) else given
        assert strategy == self.trt.real.ExecutionContextAllocationStrategy.USER_MANAGED
        self.contexts += 1
        return Checked(self.trt.real.IExecutionContext, FakeContext(self))


class FakeContext:
    """Shapes, addresses and a run by ONNX Runtime on the very memory."""

    def __init__(self, engine: FakeEngine) -> None:
        self.engine, self.trt, self.cuda = engine, engine.trt, engine.trt.cuda
        self.profile: int | None = None
        self.scratch: tuple[int, int] | None = None
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self.edition = 0

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        self.profile = profile
        return profile < self.engine.num_optimization_profiles

    def set_device_memory(self, address: int, size: int) -> None:
        assert size >= self.engine.device_memory_size_v2
        self.cuda.check(address, size)
        self.scratch = (address, size)

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert self.profile is not None
        least, _, most = self.engine.file.profiles[self.profile][name]
        good = len(shape) == len(least) and all(
            a <= b <= c for a, b, c in zip(least, shape, most, strict=True)
        )
        if not good or self.trt.failing("shape"):
            self.trt.logger.log(self.trt.real.ILogger.Severity.ERROR, f"{name} of {shape}: {least} to {most}")
            return False
        self.edition += 1
        self.shapes[name] = tuple(shape)
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        if name not in self.engine.tensors or self.trt.failing("address"):
            return False
        self.edition += 1
        self.addresses[name] = address
        return True

    def infer_shapes(self) -> list[str]:
        return [name for name in self.engine.inputs if name not in self.shapes]

    def get_tensor_shape(self, name: str) -> Any:
        axes = {
            axis: size
            for each in self.engine.file.graph.inputs
            for axis, size in zip(each.shape, self.shapes[each.name], strict=True)
        }
        stated = self.engine.tensors[name].shape
        return tuple(axes[axis] if isinstance(axis, str) else axis for axis in stated)

    def is_stream_capturable(self, stream: int) -> bool:
        return self.trt.capturable

    def execute_async_v3(self, stream: int) -> bool:
        if self.cuda.recorded is not None and self.trt.failing("capture"):
            return False
        if self.trt.failing("execute"):
            return False
        assert self.scratch is not None
        assert not self.infer_shapes()
        shapes = {name: self.get_tensor_shape(name) for name in self.engine.tensors}
        addresses, edition = dict(self.addresses), self.edition
        self.cuda.enqueue(lambda: self._run(shapes, addresses, edition))
        return True

    def _run(self, shapes: dict[str, tuple[int, ...]], addresses: dict[str, int], edition: int) -> None:
        assert edition == self.edition, "the context was changed after this was put on the stream"
        binding = self.engine.session.io_binding()
        for name, shape in shapes.items():
            dtype = np.dtype(self.engine.tensors[name].dtype)
            self.cuda.check(addresses[name], int(np.prod(shape)) * dtype.itemsize)
            bind = binding.bind_input if name in self.engine.inputs else binding.bind_output
            bind(name, "cpu", 0, dtype.type, shape, addresses[name])
        self.engine.session.run_with_iobinding(binding)
        if self.engine.poison in shapes:
            count = int(np.prod(shapes[self.engine.poison]))
            array = (ctypes.c_float * count).from_address(addresses[self.engine.poison])
            array[count // 2] = float("nan")


def checked_cuda(fake: FakeCuda) -> Any:
    """Return the stand-in as the module that the backend imports."""
    return CheckedModule(fake.real, fake)
