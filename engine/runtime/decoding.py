"""Rows on their way through the decoder: prompts read into free rows, steps of those that go on.

Active rows stay in front, so that a step runs on them alone; where one ends, the last takes its place. The
tokens that the grammar leaves no choice about are read together with the next one that it chose.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.runtime.backend import Backend, Cache, Step
from engine.runtime.image import patches, scale_pixels
from engine.runtime.prompts import Prompt
from engine.runtime.proposals import Readout
from engine.runtime.spec import Manifest
from engine.runtime.text import Request
from engine.runtime.writing import Writing

COLUMNS = 64  # caches grow by so many columns


@dataclass(slots=True, eq=False)
class Row:
    """One request on its way through the decoder.

    Attributes:
        number: among its caller's requests.
        caller: whose it is.
        request: what is asked.
        prompt: as the decoder reads it.
        begin: makes the answer's writing.
        writing: the answer so far.
        used: columns of the cache.
    """

    number: int
    caller: Any
    request: Request
    prompt: Prompt
    begin: Callable[[], Writing]
    writing: Writing = field(init=False)
    used: int = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Forget what is written."""
        self.writing, self.used = self.begin(), 0


class Decoding:
    """The caches of one worker, and the rows in them.

    Args:
        backend: what runs the graphs.
        manifest: of its bundle.
        rows: that the caches hold.
        readout: of the tower's own objects, where the bundle has one.

    Attributes:
        active: rows whose answers go on, in the order of their places in the caches.
    """

    def __init__(
        self, backend: Backend, manifest: Manifest, rows: int, readout: Readout | None = None
    ) -> None:
        self.rows = rows
        self._readout = readout
        self.active: list[Row] = []
        self._backend, self._manifest = backend, manifest
        self._cache: Cache | None = None  # what ended rows left in it does not matter

    def read(self, rows: Sequence[Row]) -> list[Row]:
        """Look at new rows and read their prompts into free places; return those whose answers have ended.

        Where the vision tower sees too little for any list, the prompt is not read.
        """
        seen = dict(zip(rows, self.look(rows), strict=True))
        settled = [row for row in rows if row.writing.settle()]
        rows = [row for row in rows if not row.writing.done]
        if not rows:
            return settled
        cache = self._room(rows, max(len(row.prompt.ids) for row in rows))
        step = self.fill(rows, [seen[row] for row in rows])
        first = len(self.active)
        self.active += rows
        return settled + self._advance(rows, step, cache, first)

    def step(self) -> list[Row]:
        """Read what the active rows wrote last; return those whose answers have ended."""
        cache = self._room(self.active, max(len(row.writing.fresh) for row in self.active))
        return self._advance(self.active, self._follow(self.active), cache, first=0)

    def look(self, rows: Sequence[Row]) -> list[NDArray[np.float32]]:
        """Return the visual tokens of each row, [n, C], and give lists of objects what they may name."""
        tokens = self._manifest.chip.tokens
        ends = np.cumsum([len(row.request.chips) * tokens for row in rows])
        seen = np.split(self._look(rows), ends[:-1])
        for row, own in zip(rows, seen, strict=True):
            self._propose(row, own)
        return seen

    def fill(self, rows: Sequence[Row], seen: Sequence[NDArray[np.float32]]) -> Step:
        """Return the step that reads the prompts of some rows, given their visual tokens."""
        tokens = max(len(row.prompt.ids) for row in rows)
        ids = np.zeros((len(rows), tokens), np.int64)
        index = np.full((len(rows), tokens), -1, np.int64)
        positions = np.zeros((3, len(rows), tokens), np.int64)
        start = 0
        for i, (row, own) in enumerate(zip(rows, seen, strict=True)):
            length = len(row.prompt.ids)
            ids[i, :length] = row.prompt.ids
            index[i, :length] = np.where(row.prompt.visual_index >= 0, row.prompt.visual_index + start, -1)
            positions[:, i, :length] = row.prompt.position_ids
            start += len(own)
        lengths = np.array([len(row.prompt.ids) for row in rows], np.int64)
        return Step(ids, np.concatenate(seen), index, positions, np.zeros_like(lengths), lengths)

    def _propose(self, row: Row, visual: NDArray[np.float32]) -> None:
        """Give a list of objects what the tower sees to choose from."""
        task = self._manifest.tasks[row.request.task]
        if self._readout is not None and task.answer == "detections" and len(row.request.chips) == 1:
            row.writing.proposals = self._readout.proposals(visual, self._manifest.chip.enlarged_px)

    def _look(self, rows: Sequence[Row]) -> NDArray[np.float32]:
        """Return the visual tokens of all chips of some requests, [N, C]; vision has batches of its own."""
        chip, most = self._manifest.chip, self._backend.batch
        chips = [each for row in rows for each in row.request.chips]
        priors = [prior for row in rows for prior in row.request.priors]
        parts = []
        for start in range(0, len(chips), most):
            some = slice(start, start + most)
            pixels = patches(np.stack(chips[some]), chip.enlarged_px, chip.patch_px, chip.merge)
            parts.append(
                self._backend.vision(
                    scale_pixels(pixels, chip.pixel_mean, chip.pixel_std),
                    np.stack([prior.vectors for prior in priors[some]]).astype(np.float32, copy=False),
                    np.stack([prior.positions for prior in priors[some]]).astype(np.float32, copy=False),
                    np.stack([prior.mask for prior in priors[some]]),
                )
            )
        visual = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return visual.reshape(-1, visual.shape[-1])

    def _follow(self, rows: Sequence[Row]) -> Step:
        """Return the step that reads what some rows wrote last."""
        lengths = np.array([len(row.writing.fresh) for row in rows], np.int64)
        ids = np.zeros((len(rows), int(lengths.max())), np.int64)
        for i, row in enumerate(rows):
            ids[i, : lengths[i]] = row.writing.fresh
        used = np.array([row.used for row in rows], np.int64)
        # Tokens of an answer count on from the prompt's last position, equally on all three axes.
        offset = np.array([row.prompt.next_position - len(row.prompt.ids) for row in rows], np.int64)
        positions = (used + offset)[:, None] + np.arange(ids.shape[1])
        visual = np.zeros((1, self._manifest.model.hidden), np.float32)
        return Step(
            ids, visual, np.full_like(ids, -1), np.broadcast_to(positions, (3, *ids.shape)), used, lengths
        )

    def _room(self, rows: Sequence[Row], tokens: int) -> Cache:
        """Make room for so many new tokens in each row."""
        need = max(row.used for row in rows) + tokens
        columns = -(-need // COLUMNS) * COLUMNS
        if self._cache is None:
            self._cache = self._backend.allocate(self.rows, columns)
        elif columns > self._cache.columns:
            self._cache.widen(columns)
        return self._cache

    def _advance(self, rows: Sequence[Row], step: Step, cache: Cache, first: int) -> list[Row]:
        logits = self._backend.decode(step, cache, first)
        for row, own, length in zip(rows, logits, step.new_len, strict=True):
            row.used += int(length)
            row.writing.advance(own)
        return self._compact(cache, first)

    def _compact(self, cache: Cache, first: int) -> list[Row]:
        """Take out the rows that ended; the last active rows move into their places."""
        ended = []
        for i in reversed(range(first, len(self.active))):
            if self.active[i].writing.done:
                ended.append(self.active[i])
                last = self.active.pop()
                if i < len(self.active):
                    self.active[i] = last
                    cache.move(len(self.active), i)
        return ended
