"""Requests in, answers out: batches, greedy decoding under the grammar, scores.

Rows of the caches are filled by prefill and freed when their answers end; active rows stay in front, so
that a step runs on them alone. The tokens that the grammar leaves no choice about are read by the decoder
together with the next one that it chose, several in one step.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from engine.errors import ArtifactError, InputError, OutOfMemory
from engine.runtime.backend import Backend, Cache, Step, load_backend
from engine.runtime.image import patches
from engine.runtime.spec import TOKENIZER, Bundle, ChipSpec, Manifest
from engine.runtime.tasks import Tasks
from engine.runtime.text import IMAGE_TOKEN, Answer, Request
from engine.runtime.writing import Writing

log = logging.getLogger(__name__)

ROWS = 32  # answers written side by side
_COLUMNS = 64  # caches grow by so many columns


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as the decoder reads it.

    Attributes:
        ids: tokens, [T].
        visual_index: which of the request's visual tokens takes a token's place, -1 for text, [T].
        position_ids: [3, T].
        next_position: of the answer's first token.
    """

    ids: NDArray[np.int64]
    visual_index: NDArray[np.int64]
    position_ids: NDArray[np.int64]
    next_position: int


@dataclass(slots=True)
class _Row:
    """One request on its way through the decoder."""

    number: int
    request: Request
    prompt: Prompt
    writing: Writing
    used: int = 0  # columns of the cache


class Predictor:
    """Answers requests with one bundle on one backend.

    Attributes:
        bundle: what it runs.
        backend: what runs it.
    """

    def __init__(self, bundle: Bundle, backend: Backend, rows: int = ROWS) -> None:
        self.bundle = bundle
        self.backend = backend
        self._rows = rows if backend.max_rows is None else min(rows, backend.max_rows)
        self._cache: Cache | None = None  # kept between calls; what ended rows left in it does not matter
        self._tokenizer: Any = Tokenizer.from_file(str(bundle.file(TOKENIZER)))
        for token, expected in bundle.manifest.special_tokens.items():
            if (got := self._tokenizer.token_to_id(token)) != expected:
                raise ArtifactError(
                    f"got id {got} for {token} in {TOKENIZER}, expected {expected} (manifest)"
                )
        self._tasks = Tasks(bundle.manifest, self._tokenizer)
        self._read = lru_cache(maxsize=4096)(self._read_prompt)

    @classmethod
    def open(cls, bundle: Path | None = None, backend: str = "ort", threads: int | None = None) -> Predictor:
        """Open a bundle and load its graphs.

        Args:
            bundle: its folder; without it, the bundle that ships with the package.
            backend: one of ``engine.runtime.backend.BACKENDS``.
            threads: how many the backend may use; without it, all cores.

        Raises:
            ArtifactError: a file of the bundle is missing, altered or does not fit.
            InputError: there is no such backend.
        """
        opened = Bundle.open(bundle)
        return cls(opened, load_backend(backend, opened, threads))

    @property
    def manifest(self) -> Manifest:
        """What the bundle states."""
        return self.bundle.manifest

    def ask(self, requests: Sequence[Request], progress: Callable[[int], None] | None = None) -> list[Answer]:
        """Answer requests.

        Args:
            requests: any number, of any tasks.
            progress: called with the number of answers that ended since the last call.

        Returns:
            Answers in the order of the requests.

        Raises:
            InputError: a request does not fit the bundle.
            OutOfMemory: memory does not suffice for one answer at a time. Before that, the answers written
                side by side are halved as often as it takes, for good.
            DeviceLost: the device answers no more in this process.
            BackendError: the backend failed.
        """
        answers: list[Answer | None] = [None] * len(requests)
        rows = [self._row(number, request) for number, request in enumerate(requests)]
        while rows:
            try:
                self._write(rows, answers, progress)
                rows = []
            except OutOfMemory as error:
                if self._rows == 1:
                    raise
                self._rows //= 2
                log.warning("%s; from now on %d answers side by side", error, self._rows)
                rows = [self._row(row.number, row.request) for row in rows if answers[row.number] is None]
        return [answer for answer in answers if answer is not None]

    def _write(
        self, rows: Sequence[_Row], answers: list[Answer | None], progress: Callable[[int], None] | None
    ) -> None:
        """Write all answers; those that are done stand in ``answers``, also after an error."""
        # Like prompts side by side: little padding.
        waiting = deque(sorted(rows, key=lambda row: (len(row.request.chips), len(row.prompt.ids))))
        active: list[_Row] = []
        cache, self._cache = self._cache, None
        while waiting or active:
            free = self._rows - len(active)
            if waiting and (not active or free >= min(len(waiting), (self._rows + 1) // 2)):
                batch = [waiting.popleft() for _ in range(min(free, len(waiting)))]
                cache = self._room(cache, batch, max(len(row.prompt.ids) for row in batch))
                self._advance(batch, self._fill(batch), cache, first=len(active))
                active += batch
            else:
                cache = self._room(cache, active, max(len(row.writing.fresh) for row in active))
                self._advance(active, self._step(active), cache, first=0)
            ended = self._compact(active, cache)
            for row in ended:
                answers[row.number] = self._tasks.answer(row.request, row.writing)
            if progress is not None and ended:
                progress(len(ended))
        self._cache = cache

    def first_tensors(self, requests: Sequence[Request]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the visual tokens [N, C] and the logits of each answer's first token [B, V], for parity."""
        rows = [self._row(number, request) for number, request in enumerate(requests)]
        step = self._fill(rows)
        cache = self.backend.allocate(len(rows), step.input_ids.shape[1])
        return step.visual, self.backend.decode(step, cache, 0)

    def _row(self, number: int, request: Request) -> _Row:
        text = self._tasks.prompt(request)
        if request.sensor not in self.manifest.sensors:
            raise InputError(f"got sensor {request.sensor!r}, bundle was trained on {self.manifest.sensors}")
        expected = (3, self.manifest.chip.size_px, self.manifest.chip.size_px)
        for chip in request.chips:
            if chip.shape != expected or chip.dtype != np.uint8:
                raise InputError(f"got a chip of {chip.dtype} {chip.shape}, expected uint8 {expected}")
        return _Row(number, request, self._read(text), self._tasks.begin(request))

    def _read_prompt(self, text: str) -> Prompt:
        ids = np.array(self._tokenizer.encode(text, add_special_tokens=False).ids, np.int64)
        return lay_out(ids, self.manifest.special_tokens[IMAGE_TOKEN], self.manifest.chip.tokens_side)

    def _room(self, cache: Cache | None, rows: Sequence[_Row], tokens: int) -> Cache:
        """Make room for so many new tokens in each row."""
        need = max(row.used for row in rows) + tokens
        columns = (need + _COLUMNS - 1) // _COLUMNS * _COLUMNS
        if cache is None:
            return self.backend.allocate(self._rows, columns)
        if columns > cache.columns:
            cache.widen(columns)
        return cache

    def _fill(self, rows: Sequence[_Row]) -> Step:
        """Return the step that reads the prompts of some rows."""
        tokens = max(len(row.prompt.ids) for row in rows)
        ids = np.zeros((len(rows), tokens), np.int64)
        index = np.full((len(rows), tokens), -1, np.int64)
        positions = np.zeros((3, len(rows), tokens), np.int64)
        start = 0
        for i, row in enumerate(rows):
            length = len(row.prompt.ids)
            ids[i, :length] = row.prompt.ids
            own = row.prompt.visual_index
            index[i, :length] = np.where(own >= 0, own + start, -1)
            positions[:, i, :length] = row.prompt.position_ids
            start += len(row.request.chips) * self.manifest.chip.tokens
        lengths = np.array([len(row.prompt.ids) for row in rows], np.int64)
        return Step(ids, self._look(rows), index, positions, np.zeros_like(lengths), lengths)

    def _look(self, rows: Sequence[_Row]) -> NDArray[np.float32]:
        """Return the visual tokens of all chips of some requests, [N, C]."""
        chip: ChipSpec = self.manifest.chip
        chips = np.stack([each for row in rows for each in row.request.chips])
        priors = [prior for row in rows for prior in row.request.priors]
        visual = self.backend.vision(
            patches(chips, chip.enlarged_px, chip.patch_px, chip.merge),
            np.stack([prior.vectors for prior in priors]).astype(np.float32, copy=False),
            np.stack([prior.positions for prior in priors]).astype(np.float32, copy=False),
            np.stack([prior.mask for prior in priors]),
        )
        return visual.reshape(-1, visual.shape[-1])

    def _step(self, rows: Sequence[_Row]) -> Step:
        """Return the step that reads what some rows wrote last."""
        lengths = np.array([len(row.writing.fresh) for row in rows], np.int64)
        ids = np.zeros((len(rows), int(lengths.max())), np.int64)
        for i, row in enumerate(rows):
            ids[i, : lengths[i]] = row.writing.fresh
        used = np.array([row.used for row in rows], np.int64)
        # Tokens of an answer count on from the prompt's last position, equally on all three axes.
        offset = np.array([row.prompt.next_position - len(row.prompt.ids) for row in rows], np.int64)
        positions = (used + offset)[:, None] + np.arange(ids.shape[1])
        visual = np.zeros((1, self.manifest.model.hidden), np.float32)
        positions = np.broadcast_to(positions, (3, *ids.shape))
        return Step(ids, visual, np.full_like(ids, -1), positions, used, lengths)

    def _advance(self, rows: Sequence[_Row], step: Step, cache: Cache, first: int) -> None:
        logits = self.backend.decode(step, cache, first)
        for row, own, length in zip(rows, logits, step.new_len, strict=True):
            row.used += int(length)
            row.writing.advance(own)

    @staticmethod
    def _compact(active: list[_Row], cache: Cache) -> list[_Row]:
        """Take out the rows that ended; the last active rows move into their places."""
        ended = []
        for i in reversed(range(len(active))):
            if active[i].writing.done:
                ended.append(active[i])
                last = active.pop()
                if i < len(active):
                    active[i] = last
                    cache.move(len(active), i)
        return ended


def lay_out(ids: NDArray[np.int64], image_token: int, side: int) -> Prompt:
    """Find a prompt's images and number its tokens as M-RoPE does.

    Text counts on by one on all axes. An image stands at one time; its rows and columns count from there,
    and the text after it goes on behind its longer side.

    Args:
        ids: tokens, [T]; each image is a run of side^2 image tokens.
        image_token: their id.
        side: visual tokens a side of an image.

    Raises:
        InputError: image tokens do not form whole images.
    """
    places = ids == image_token
    if int(places.sum()) % side**2:
        raise InputError(f"got {int(places.sum())} image tokens, expected a multiple of {side**2}")
    visual_index = np.where(places, np.cumsum(places) - 1, -1)
    position_ids = np.zeros((3, len(ids)), np.int64)
    row, column = np.divmod(np.arange(side**2), side)
    position, token = 0, 0
    while token < len(ids):
        if places[token]:
            block = slice(token, token + side**2)
            position_ids[:, block] = position + np.stack([np.zeros_like(row), row, column])
            position, token = position + side, token + side**2
        else:
            position_ids[:, token] = position
            position, token = position + 1, token + 1
    return Prompt(ids, visual_index, position_ids, position)
