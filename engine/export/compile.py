"""One graph to a plan, with either flavour of TensorRT: their Python API is the same.

Nothing in that API raises: setters log and keep the old value, a failed build returns nothing. Every call is
checked here, and an error passes on what TensorRT itself said first.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from engine.errors import ExportError, InputError
from engine.runtime.plans import MODULES, Profile, Target
from engine.runtime.spec import FileEntry

Progress = Callable[[str, "str | None", int, int], None]  # phase, its parent, steps done, steps in all

_HEADER = struct.Struct("<4sIQQ4B")  # magic, 0, format, length, version
_CAPABILITIES = struct.Struct("<4sQ")  # magic, one bit for each of _SM_BITS
_SM_BITS = (75, 80, 86, 89, 120, 121)


class Compiler:
    """TensorRT's builder in one of its flavours.

    Attributes:
        target: the flavour.
        version: its release.
    """

    def __init__(self, target: Target) -> None:
        """Import the flavour.

        Raises:
            InputError: there is no such flavour.
            ExportError: its package is not installed, or holds no library.
        """
        if target not in MODULES:
            raise InputError(f"got target {target!r}, expected one of {sorted(MODULES)}")
        try:
            self._trt: Any = import_module(MODULES[target])
        except (ImportError, OSError) as error:
            raise ExportError(
                f"target {target} needs Python's {MODULES[target]}, which does not load here ({error}): "
                "install it (for tensorrt-rtx: pip install 'fusar[tensorrt-rtx]') or take another target"
            ) from error
        self.target = target
        self.version = str(self._trt.__version__)

    @property
    def architectures(self) -> tuple[int, ...]:
        """Compute capabilities that can be named; none where the flavour compiles for the GPU at hand."""
        named = getattr(self._trt, "ComputeCapability", None)
        names = named.__members__ if named is not None else {}
        return tuple(sorted(int(name[2:]) for name in names if name[2:].isdigit()))

    def compile(
        self,
        source: Path,
        target: Path,
        profiles: Sequence[Profile],
        sm: Sequence[int],
        *,
        tf32: bool,
        timing_cache: Path | None = None,
        progress: Progress | None = None,
    ) -> FileEntry:
        """Compile a graph; the plan goes to disk as it comes.

        Args:
            source: ONNX file, its weights beside it.
            target: the plan to write.
            profiles: shapes of all inputs, once for each way it is used.
            sm: compute capabilities to compile for; without effect where the flavour knows one only.
            tf32: whether products in float32 may be rounded to TF32.
            timing_cache: file of measured kernels, read and written where the flavour measures.
            progress: told where the build stands.

        Returns:
            The plan's hash and length.

        Raises:
            ExportError: TensorRT does not take the graph or the shapes.
        """
        trt = self._trt
        log = _logger(trt)
        try:
            builder = trt.Builder(log)
        except (TypeError, RuntimeError) as error:
            raise ExportError(f"{self.target} does not start: {log.first or error}") from error
        # Types come from the graph. Only release 10 needs to be told, in the others the flag changes nothing.
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(network, log)
        if not parser.parse_from_file(str(source)):
            # The parser's own list ends in complaints about the driver, which follow from the first error.
            said = log.first or (parser.get_error(0).desc() if parser.num_errors else "it gave no reason")
            raise ExportError(f"{self.target} {self.version} cannot read {source.name}: {said}")
        _decompose_attention(trt, network)
        config = builder.create_builder_config()
        if not tf32:
            config.clear_flag(trt.BuilderFlag.TF32)
        if hasattr(trt.BuilderFlag, "REQUIRE_USER_ALLOCATION"):  # the RTX flavour's condition for recording
            config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
        self._set_profiles(builder, network, config, profiles, log)
        self._set_architectures(config, sm, log)
        cache = self._set_timing_cache(config, timing_cache)
        monitor = _monitor(trt, progress)
        config.progress_monitor = monitor
        with target.open("wb") as file:
            writer = _writer(trt, file)
            built = builder.build_serialized_network_to_stream(network, config, writer)
        if monitor.stopped is not None:
            raise monitor.stopped
        if not built or writer.failed is not None or not writer.bytes:
            said = writer.failed or log.first or "it gave no reason"
            raise ExportError(f"{self.target} {self.version} cannot compile {source.name}: {said}")
        if cache is not None and timing_cache is not None:
            timing_cache.write_bytes(memoryview(cache.serialize()))
        return FileEntry(sha256=writer.digest.hexdigest(), bytes=writer.bytes)

    def _set_profiles(
        self, builder: Any, network: Any, config: Any, profiles: Sequence[Profile], log: Any
    ) -> None:
        names = [network.get_input(index).name for index in range(network.num_inputs)]
        for number, shapes in enumerate(profiles):
            if set(names) != set(shapes):
                raise ExportError(f"got shapes of {sorted(shapes)}, expected those of {sorted(names)}")
            profile = builder.create_optimization_profile()
            for name in names:
                least, usual, most = shapes[name]
                profile.set_shape(name, least, usual, most)
                if [tuple(each) for each in profile.get_shape(name)] != [least, usual, most]:
                    raise ExportError(
                        f"{self.target} refuses the shapes {shapes[name]} of {name}: {log.first}"
                    )
            if config.add_optimization_profile(profile) != number:
                raise ExportError(f"{self.target} refuses profile {number}: {log.first}")

    def _set_architectures(self, config: Any, sm: Sequence[int], log: Any) -> None:
        if not self.architectures:
            return
        config.num_compute_capabilities = len(sm)
        for index, number in enumerate(sm):
            capability = getattr(self._trt.ComputeCapability, f"SM{number}")
            if not config.set_compute_capability(capability, index):
                raise ExportError(f"{self.target} refuses sm {number}: {log.first}")

    def _set_timing_cache(self, config: Any, path: Path | None) -> Any:
        """A flavour that compiles for GPUs that are not there measures nothing, so it has no use for one."""
        if path is None or self.architectures:
            return None
        for held in (path.read_bytes() if path.exists() else b"", b""):  # of another GPU, or damaged: anew
            cache = config.create_timing_cache(held)
            if cache is not None and config.set_timing_cache(cache, False):
                return cache
        return None


def check_header(path: Path, version: str, sm: Sequence[int]) -> None:
    """Check the head of a TensorRT-RTX plan: magic, length, release and GPUs, as release 1.7 writes them.

    Raises:
        ExportError: it states something else.
    """
    with path.open("rb") as file:
        head = file.read(_HEADER.size + _CAPABILITIES.size)
    if len(head) < _HEADER.size + _CAPABILITIES.size:
        raise ExportError(f"got plan {path.name} of {len(head)} bytes, expected a header: build it again")
    magic, _, _, length, *release = _HEADER.unpack_from(head)
    again, bits = _CAPABILITIES.unpack_from(head, _HEADER.size)
    size = path.stat().st_size
    stated = tuple(number for place, number in enumerate(_SM_BITS) if bits >> place & 1)
    got = (magic, again, length, ".".join(map(str, release)), stated)
    expected = (b"vtrt", b"vtrt", size, version, tuple(sorted(sm)))
    if got != expected:
        raise ExportError(f"got plan {path.name} with header {got}, expected {expected}: build it again")


def _decompose_attention(trt: Any, network: Any) -> None:
    """Let TensorRT take attention apart where it has no kernel for the whole, as in float32."""
    kind = getattr(getattr(trt, "LayerType", None), "ATTENTION_INPUT", None)
    if kind is None:
        return
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.type == kind:
            layer.__class__ = trt.IAttentionInputLayer  # the bindings give the base class
            layer.attention.decomposable = True


def _logger(trt: Any) -> Any:
    class Log(trt.ILogger):
        """Keeps the first error: those after it follow from it."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.first: str | None = None

        def log(self, severity: Any, msg: str) -> None:
            if self.first is None and severity <= trt.ILogger.Severity.ERROR:
                self.first = msg.strip()

    return Log()


def _writer(trt: Any, file: Any) -> Any:
    class Writer(trt.IStreamWriter):
        """Writes and hashes; an exception must not pass through TensorRT."""

        def __init__(self) -> None:
            trt.IStreamWriter.__init__(self)
            self.digest = hashlib.sha256()
            self.bytes = 0
            self.failed: OSError | None = None

        def write(self, data: bytes) -> int:
            try:
                file.write(data)
            except OSError as error:
                self.failed = error
                return 0
            self.digest.update(data)
            self.bytes += len(data)
            return len(data)

    return Writer()


def _monitor(trt: Any, progress: Progress | None) -> Any:
    class Monitor(trt.IProgressMonitor):
        """Passes phases on; an interrupt in between ends the build."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.stopped: BaseException | None = None
            self._phases: dict[str, tuple[str | None, int]] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._phases[phase_name] = (parent_phase, num_steps)
            self._tell(phase_name, 0)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._tell(phase_name, step + 1)
            return self.stopped is None

        def phase_finish(self, phase_name: str) -> None:
            self._tell(phase_name, self._phases.get(phase_name, (None, 1))[1])

        def _tell(self, phase: str, done: int) -> None:
            if progress is None or self.stopped is not None:
                return
            parent, steps = self._phases.get(phase, (None, 1))
            try:
                progress(phase, parent, done, steps)
            except BaseException as error:
                self.stopped = error

    return Monitor()
