"""Simulated chips with the shore that they were drawn with, which a chip itself does not keep.

CFAR alone needs a land mask, and so does the control that puts land mask and distance to coast in the
prior's place. The chips are those of ``make_chips``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import DatasetError, InputError
from engine.evaluate.items import Item, from_chips, from_pairs
from engine.simulate import testset
from engine.simulate.chips import ChipMaker, ChipSet
from engine.simulate.objects import DEFAULT, PUBLISHED, SceneStatistics
from engine.simulate.pairs import PairMaker


class _Watching(ChipMaker):
    """Keeps the coast of the chip that was drawn last."""

    shore_px: NDArray[np.float32] | None = None

    def _draw_clutter(self, rng: np.random.Generator, kind: str) -> Any:
        draft = super()._draw_clutter(rng, kind)
        self.shore_px = draft.coast
        return draft


def draw_items(
    count: int,
    seed: int,
    start: int = 0,
    stats: SceneStatistics = DEFAULT,
    progress: Callable[[int], None] | None = None,
) -> list[Item]:
    """Draw chips as items, with their shores.

    Args:
        count: how many.
        seed: of the set, as in ``make_chips``.
        start: index of the first.
        stats: the population.
        progress: called with 1 after each chip.
    """
    return from_chips(*_draw(count, seed, start, stats, progress))


def frozen_items(count: int, progress: Callable[[int], None] | None = None) -> list[Item]:
    """Draw the frozen test set as items, or its first chips.

    Raises:
        InputError: more than it holds.
        DatasetError: the whole set was drawn, and its truth is not the one that was frozen.
    """
    if not 1 <= count <= testset.TEST_CHIPS:
        raise InputError(f"got {count} chips, expected 1 to {testset.TEST_CHIPS}: the set is frozen")
    chips, start, shores = _draw(count, testset.TEST_SEED, 0, PUBLISHED, progress)
    if count == testset.TEST_CHIPS and testset.truth_sha256(chips) != testset.TRUTH_SHA256:
        raise DatasetError("the simulator no longer draws the frozen test set: figures on it do not compare")
    return from_chips(chips, start, shores)


def _draw(
    count: int,
    seed: int,
    start: int,
    stats: SceneStatistics,
    progress: Callable[[int], None] | None,
) -> tuple[ChipSet, int, list[NDArray[np.float32] | None]]:
    maker = _Watching(seed, stats)
    made, shores = [], []
    for index in range(start, start + count):
        made.append(maker.make(index))
        shores.append(maker.shore_px)
        if progress is not None:
            progress(1)
    pixels, truth, land, prior, context = (list(column) for column in zip(*made, strict=True))
    chips = ChipSet(np.stack(pixels), truth, np.array(land, np.float32), np.stack(prior), context)
    return chips, start, shores


def draw_pair_items(
    count: int, seed: int, stats: SceneStatistics = DEFAULT, progress: Callable[[int], None] | None = None
) -> list[Item]:
    """Draw pairs of chips as items, as ``draw_items``; of pairs the shore is not kept."""
    maker, items = PairMaker(seed, stats), []
    for index in range(count):
        items += from_pairs([maker.make_pair(index)], index)
        if progress is not None:
            progress(1)
    return items
