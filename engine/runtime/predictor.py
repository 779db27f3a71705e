"""Requests in, answers out.

Requests of all callers stand in one queue. As many workers as the backend can serve at once take from it,
each with caches of its own: a row that is free is given to the next request while the others go on, most
chips of open sea leave after their first token, and a caller's requests join those that are under way.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from engine.errors import ArtifactError, InputError, OutOfMemory
from engine.runtime.backend import Backend, load_backend
from engine.runtime.decoding import COLUMNS, Decoding, Row
from engine.runtime.prompts import Prompt, lay_out
from engine.runtime.proposals import Readout
from engine.runtime.spec import READOUT, TOKENIZER, Bundle, Manifest
from engine.runtime.tasks import Tasks
from engine.runtime.text import IMAGE_TOKEN, Answer, Request

log = logging.getLogger(__name__)

ROWS = 32  # answers that a worker writes side by side
CACHE_BYTES = 2 << 30


class _Caller:
    """One call of ``ask``: its answers as they come in, and how many it was told of."""

    def __init__(self, count: int) -> None:
        self.answers: list[Answer | None] = [None] * count
        self.left = count
        self.told = 0
        self.error: BaseException | None = None


class Predictor:
    """Answers requests with one bundle on one backend; any number of threads may ask.

    Args:
        bundle: what it runs.
        backend: what runs it.
        rows: answers that a worker writes side by side, at most.
        cache_bytes: what the caches of all workers may take; fewer rows where they would take more.
    """

    def __init__(
        self, bundle: Bundle, backend: Backend, rows: int = ROWS, cache_bytes: int = CACHE_BYTES
    ) -> None:
        self.bundle = bundle
        self.backend = backend
        self._tokenizer: Any = Tokenizer.from_file(str(bundle.file(TOKENIZER)))
        for token, expected in bundle.manifest.special_tokens.items():
            if (got := self._tokenizer.token_to_id(token)) != expected:
                raise ArtifactError(
                    f"got id {got} for {token} in {TOKENIZER}, expected {expected} (manifest)"
                )
        self._tasks = Tasks(bundle.manifest, self._tokenizer)
        held = READOUT in bundle.manifest.files
        self._readout = Readout.open(bundle.file(READOUT)) if held else None
        if self._readout is not None:
            _check_readout(self._readout, bundle.manifest, self._tokenizer)
        image = bundle.manifest.special_tokens[IMAGE_TOKEN]
        # Nothing in it refers back: the caches go with the last one who holds the predictor.
        self._read = lru_cache(maxsize=4096)(
            partial(_read_prompt, self._tokenizer, image, bundle.manifest.chip.tokens_side)
        )
        fitting = cache_bytes // (backend.workers * self._row_bytes())
        self._rows = max(1, min(rows, fitting, backend.max_rows or rows))
        self._turn = threading.Condition()  # guards what follows
        self._waiting: deque[Row] = deque()
        self._idle: list[Decoding] = []  # kept for their caches
        self._running = 0
        self._pool = ThreadPoolExecutor(backend.workers, "engine")

    @classmethod
    def open(
        cls,
        bundle: Path | None = None,
        backend: str = "ort",
        threads: int | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> Predictor:
        """Open a bundle and load its graphs.

        Args:
            bundle: its folder; without it, the bundle that ships with the package.
            backend: one of ``engine.runtime.backend.BACKENDS``.
            threads: how many the backend may use; without it, all cores.
            cache_bytes: what the caches may take.

        Raises:
            ArtifactError: a file of the bundle is missing, altered or does not fit.
            InputError: there is no such backend.
        """
        opened = Bundle.open(bundle)
        return cls(opened, load_backend(backend, opened, threads), cache_bytes=cache_bytes)

    @property
    def manifest(self) -> Manifest:
        """What the bundle states."""
        return self.bundle.manifest

    def ask(self, requests: Sequence[Request], progress: Callable[[int], None] | None = None) -> list[Answer]:
        """Answer requests.

        Args:
            requests: any number, of any tasks.
            progress: called in this thread with the number of answers that ended since the last call.

        Returns:
            Answers in the order of the requests.

        Raises:
            InputError: a request does not fit the bundle.
            OutOfMemory: memory does not suffice for one answer at a time. Before that, the answers written
                side by side are halved as often as it takes, for good.
            DeviceLost: the device answers no more in this process.
            BackendError: the backend failed.
        """
        if not requests:
            return []
        caller = _Caller(len(requests))
        rows = [self._row(caller, number, request) for number, request in enumerate(requests)]
        # Like prompts side by side: little padding.
        rows.sort(key=lambda row: (len(row.request.chips), len(row.prompt.ids)))
        with self._turn:
            self._waiting.extend(rows)
            self._hire()
        try:
            self._wait(caller, progress)
        except BaseException:
            with self._turn:
                self._withdraw(caller, caller.error or InterruptedError())
            raise
        return [answer for answer in caller.answers if answer is not None]

    def first_tensors(self, requests: Sequence[Request]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the visual tokens [N, C] and the logits of each answer's first token [B, V], for parity."""
        caller = _Caller(len(requests))
        rows = [self._row(caller, number, request) for number, request in enumerate(requests)]
        decoding = Decoding(self.backend, self.manifest, len(rows), self._readout)
        step = decoding.fill(rows, decoding.look(rows))
        cache = self.backend.allocate(len(rows), step.input_ids.shape[1])
        return step.visual, self.backend.decode(step, cache, 0)

    def _wait(self, caller: _Caller, progress: Callable[[int], None] | None) -> None:
        count = len(caller.answers)
        while caller.told < count:
            with self._turn:
                self._turn.wait_for(lambda: caller.error or count - caller.left > caller.told)
                if caller.error is not None:
                    raise caller.error
                ended = count - caller.left
            if progress is not None:
                progress(ended - caller.told)
            caller.told = ended

    def _hire(self) -> None:
        """Let as many workers run as there is work for."""
        batches = -(-len(self._waiting) // self.backend.batch)
        for _ in range(min(self.backend.workers - self._running, batches)):
            self._running += 1
            self._pool.submit(self._work)

    def _work(self) -> None:
        """Read prompts and make steps until nothing is left."""
        decoding: Decoding | None = None
        while True:
            with self._turn:
                decoding = self._place(decoding)
                rows = self._take(decoding)
                if not rows and not decoding.active:
                    self._idle.append(decoding)
                    self._running -= 1
                    return
            at_work = {*decoding.active, *rows}
            try:
                ended = decoding.read(rows) if rows else decoding.step()
                answers = [self._tasks.answer(row.request, row.writing) for row in ended]
            except OutOfMemory as error:
                self._shrink(error, at_work)
                decoding = None
            except BaseException as error:
                with self._turn:
                    for caller in {row.caller for row in at_work}:
                        self._withdraw(caller, error)
                decoding = None
            else:
                self._deliver(ended, answers)

    def _place(self, decoding: Decoding | None) -> Decoding:
        """Return the caches to work with: those at hand unless they have become too large."""
        if decoding is not None and (decoding.active or decoding.rows <= self._rows):
            return decoding
        while self._idle:
            if (kept := self._idle.pop()).rows <= self._rows:
                return kept
        return Decoding(self.backend, self.manifest, self._rows, self._readout)

    def _take(self, decoding: Decoding) -> list[Row]:
        """Take waiting rows for free places, as many as are read at once; none where steps come first."""
        free = self._rows - len(decoding.active)
        share = -(-len(self._waiting) // self.backend.workers)  # at the end, an equal part to each
        count = min(self.backend.batch, share, self._rows)
        if not count or free < count:
            return []
        return [self._waiting.popleft() for _ in range(count)]

    def _deliver(self, ended: Sequence[Row], answers: Sequence[Answer]) -> None:
        if not ended:
            return
        with self._turn:
            for row, answer in zip(ended, answers, strict=True):
                row.caller.answers[row.number] = answer
                row.caller.left -= 1
            self._turn.notify_all()

    def _shrink(self, error: OutOfMemory, rows: set[Row]) -> None:
        """Halve the rows, and put those that were at work back in front."""
        with self._turn:
            if self._rows == 1:
                for caller in {row.caller for row in rows}:
                    self._withdraw(caller, error)
                return
            self._rows //= 2
            log.warning("%s; from now on %d answers side by side", error, self._rows)
            for row in sorted(rows, key=lambda row: row.number, reverse=True):
                row.restart()
                self._waiting.appendleft(row)

    def _withdraw(self, caller: _Caller, error: BaseException) -> None:
        """End a call: what waits is dropped, what is at work is no more delivered."""
        caller.error = caller.error or error
        self._waiting = deque(row for row in self._waiting if row.caller is not caller)
        self._turn.notify_all()

    def _row_bytes(self) -> int:
        """Return what the caches of one answer take at most, in float32."""
        manifest = self.manifest
        tokens = self._tasks.longest_prompt() + max(spec.max_tokens for spec in manifest.tasks.values())
        columns = -(-tokens // COLUMNS) * COLUMNS
        return 2 * 4 * manifest.model.layers * manifest.model.kv_heads * manifest.model.head_dim * columns

    def _row(self, caller: _Caller, number: int, request: Request) -> Row:
        text = self._tasks.prompt(request)
        if request.sensor not in self.manifest.sensors:
            raise InputError(f"got sensor {request.sensor!r}, bundle was trained on {self.manifest.sensors}")
        expected = (3, self.manifest.chip.size_px, self.manifest.chip.size_px)
        for chip in request.chips:
            if chip.shape != expected or chip.dtype != np.uint8:
                raise InputError(f"got a chip of {chip.dtype} {chip.shape}, expected uint8 {expected}")
        return Row(number, caller, request, self._read(text), partial(self._tasks.begin, request))


def _check_readout(readout: Readout, manifest: Manifest, tokenizer: Any) -> None:
    """A readout must fit the tokens, the labels and the numbers that lists are made of."""
    asked = {
        label for task in manifest.tasks.values() if task.answer == "detections" for label in task.labels
    }
    tokens, width = len(readout.bias), readout.weight.shape[1]
    whole = tokenizer.token_to_id(str(manifest.chip.enlarged_px)) is not None
    if (
        (tokens, width) != (manifest.chip.tokens, manifest.model.hidden)
        or asked - set(readout.labels)
        or not whole
    ):
        raise ArtifactError(
            f"got {READOUT} for {tokens} tokens of {width} channels and labels {readout.labels}, expected "
            f"{manifest.chip.tokens} of {manifest.model.hidden}, labels {sorted(asked)} and numbers as tokens"
        )


def _read_prompt(tokenizer: Any, image_token: int, side: int, text: str) -> Prompt:
    ids = np.array(tokenizer.encode(text, add_special_tokens=False).ids, np.int64)
    return lay_out(ids, image_token, side)
