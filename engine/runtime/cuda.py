"""The part of CUDA's runtime that a backend needs: status codes become errors, memory has an owner.

The device is the process' current one (``CUDA_VISIBLE_DEVICES`` chooses). All work goes through one stream,
so that nothing overtakes what it needs.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import BackendError, DeviceLost, OutOfMemory

# After these the context is gone: every later call of the process fails too.
LOST = frozenset({
    "cudaErrorIllegalAddress", "cudaErrorLaunchFailure", "cudaErrorLaunchTimeout", "cudaErrorAssert",
    "cudaErrorHardwareStackError", "cudaErrorIllegalInstruction", "cudaErrorMisalignedAddress",
    "cudaErrorInvalidAddressSpace", "cudaErrorInvalidPc", "cudaErrorECCUncorrectable",
    "cudaErrorNvlinkUncorrectable", "cudaErrorContextIsDestroyed", "cudaErrorDevicesUnavailable",
    "cudaErrorNoDevice", "cudaErrorExternalDevice", "cudaErrorContained",
    "cudaErrorTensorMemoryLeak", "cudaErrorUnknown",
})  # fmt: skip


class Cuda:
    """One stream on the current device.

    Attributes:
        sm: the device's compute capability, such as 89.
        handle: the stream, as CUDA's bindings know it.
        stream: the same as a number, as TensorRT takes it.
    """

    def __init__(self, api: Any = None) -> None:
        """Open the device.

        Args:
            api: ``cuda.bindings.runtime``; imported where it is not given.

        Raises:
            ImportError: CUDA's bindings are not installed.
            BackendError: there is no device, or its driver is too old.
        """
        self.api: Any = api if api is not None else import_module("cuda.bindings.runtime")
        kinds = self.api.cudaDeviceAttr
        try:
            device = self.call("cudaGetDevice")
            major = self.call("cudaDeviceGetAttribute", kinds.cudaDevAttrComputeCapabilityMajor, device)
            minor = self.call("cudaDeviceGetAttribute", kinds.cudaDevAttrComputeCapabilityMinor, device)
            self.handle = self.call("cudaStreamCreateWithFlags", self.api.cudaStreamNonBlocking)
        except BackendError as error:
            raise BackendError(f"got no GPU that works, expected one: {error}") from error
        self.sm = int(10 * major + minor)
        self.stream = int(self.handle)
        weakref.finalize(self, self.api.cudaStreamDestroy, self.handle)

    def call(self, name: str, *args: Any) -> Any:
        """Call a function of the runtime; return what it gives beside its status.

        Raises:
            OutOfMemory: it could not allocate.
            DeviceLost: the device answers no more.
            BackendError: anything else.
        """
        status, *values = getattr(self.api, name)(*args)
        if status != self.api.cudaError_t.cudaSuccess:
            self.api.cudaGetLastError()  # else TensorRT meets an error that has been dealt with
            raise self._error(name, status)
        return values[0] if len(values) == 1 else tuple(values) or None

    def wait(self) -> None:
        """Wait until the stream has done everything; errors of kernels show here."""
        self.call("cudaStreamSynchronize", self.handle)

    def upload(self, target: int, source: int, count: int) -> None:
        """Copy bytes from pinned memory to the device."""
        self._copy(target, source, count, "cudaMemcpyHostToDevice")

    def download(self, target: int, source: int, count: int) -> None:
        """Copy bytes from the device to pinned memory."""
        self._copy(target, source, count, "cudaMemcpyDeviceToHost")

    def copy(self, target: int, source: int, count: int) -> None:
        """Copy bytes within the device; the two places must not overlap."""
        self._copy(target, source, count, "cudaMemcpyDeviceToDevice")

    def clear(self, target: int, count: int) -> None:
        """Set bytes to zero."""
        self.call("cudaMemsetAsync", target, 0, count, self.handle)

    def record(self, work: Callable[[], None]) -> Recording:
        """Record what some work puts on the stream, without doing it.

        Raises:
            BackendError: it cannot be recorded; the stream is as before.
        """
        mode = self.api.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self.call("cudaStreamBeginCapture", self.handle, mode)
        try:
            work()
        except BaseException:
            # The capture has to end before the stream can be used again.
            status, *graph = self.api.cudaStreamEndCapture(self.handle)
            if status == self.api.cudaError_t.cudaSuccess:
                self.api.cudaGraphDestroy(*graph)
            raise
        graph = self.call("cudaStreamEndCapture", self.handle)
        try:
            return Recording(self, self.call("cudaGraphInstantiate", graph, 0))
        finally:
            self.api.cudaGraphDestroy(graph)

    def launch(self, recording: Any) -> None:
        """Do what was recorded."""
        self.call("cudaGraphLaunch", recording, self.handle)

    def _copy(self, target: int, source: int, count: int, kind: str) -> None:
        kinds = self.api.cudaMemcpyKind
        self.call("cudaMemcpyAsync", target, source, count, getattr(kinds, kind), self.handle)

    def _error(self, name: str, status: Any) -> BackendError:
        kind = str(status.name)
        if kind == "cudaErrorMemoryAllocation":
            free, total = self.api.cudaMemGetInfo()[1:] or (0, 0)
            return OutOfMemory(
                f"{name}: the GPU is out of memory, {free or 0:,} of {total or 0:,} bytes are free: take a "
                "smaller batch, or end what else runs on it"
            )
        if kind in LOST:
            return DeviceLost(
                f"{name}: {kind}: the GPU answers no more in this process, which must be started anew; "
                "if it comes again, look at the driver's log (dmesg, Xid)"
            )
        return BackendError(
            f"{name}: {kind}: expected success; look at the driver and at CUDA_VISIBLE_DEVICES"
        )


class DeviceMemory:
    """Bytes on the device, freed with this object."""

    def __init__(self, cuda: Cuda, size: int) -> None:
        self.size = max(size, 1)
        self.address = int(cuda.call("cudaMalloc", self.size))
        weakref.finalize(self, _release, cuda, cuda.api.cudaFree, self.address)


class PinnedMemory:
    """Bytes of the host that the device copies from and to by itself, freed with this object."""

    def __init__(self, cuda: Cuda, size: int) -> None:
        self.size = max(size, 1)
        self.address = int(cuda.call("cudaHostAlloc", self.size, cuda.api.cudaHostAllocDefault))
        weakref.finalize(self, _release, cuda, cuda.api.cudaFreeHost, self.address)

    def view(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Return the first bytes as an array; it must not outlive this object."""
        count = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        if count > self.size:
            raise BackendError(f"got {count} bytes for {list(shape)}, expected at most {self.size}")
        raw = (ctypes.c_byte * count).from_address(self.address)
        return np.frombuffer(raw, dtype).reshape(shape)


class Recording:
    """Work that was recorded; what it reads and writes must outlive it."""

    def __init__(self, cuda: Cuda, handle: Any) -> None:
        self._cuda = cuda
        self._handle = handle
        weakref.finalize(self, _release, cuda, cuda.api.cudaGraphExecDestroy, handle)

    def launch(self) -> None:
        """Put the work on the stream."""
        self._cuda.launch(self._handle)


def _release(cuda: Cuda, function: Callable[[Any], Any], handle: Any) -> None:
    """Give something back once nothing on the stream uses it; statuses of a lost device change nothing."""
    cuda.api.cudaStreamSynchronize(cuda.handle)
    function(handle)
