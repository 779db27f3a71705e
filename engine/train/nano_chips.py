"""The simulated chips and pairs of a pretraining run: drawn by its workers, kept in its folder.

What is not an array is pickled: these are our own files, read by the run that wrote them.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.simulate.chips import ChipSet, make_chips
from engine.simulate.objects import TRAINING
from engine.simulate.pairs import Pair, PairMaker

PAIR_SEED = 50_000  # added to a run's seed


def draw_chips(place: Path, count: int, seed: int, start: int) -> None:
    """Draw chips into a file."""
    chips = make_chips(count, seed, start=start, stats=TRAINING)
    part = place.with_suffix(".part.npz")
    np.savez(
        part,
        pixels=chips.pixels,
        prior=chips.prior,
        land_fraction=chips.land_fraction,
        truth=np.array([*chips.truth, None], object)[:-1],
        context=np.array([*chips.context, None], object)[:-1],
    )
    part.rename(place)


def load_chips(places: Sequence[Path]) -> ChipSet:
    """Read back the chips of several files."""
    parts = [np.load(place, allow_pickle=True) for place in places]
    return ChipSet(
        pixels=np.concatenate([part["pixels"] for part in parts]),
        truth=[targets for part in parts for targets in part["truth"]],
        land_fraction=np.concatenate([part["land_fraction"] for part in parts]),
        prior=np.concatenate([part["prior"] for part in parts]),
        context=[context for part in parts for context in part["context"]],
    )


def share_of(chips: ChipSet, own: slice) -> ChipSet:
    """Return some of the chips."""
    return ChipSet(
        np.asarray(chips.pixels[own]),
        list(chips.truth[own]),
        chips.land_fraction[own],
        chips.prior[own],
        list(chips.context[own]),
    )


def pair_files(out: Path, rank: int, world: int) -> tuple[Path, Path]:
    """Return the files of one worker's pairs, and of their pixels."""
    return out / f"pairs-{rank}-{world}.pkl", out / f"pairs-{rank}-{world}.npy"


def draw_pairs(place: Path, count: int, seed: int, start: int, say: Callable[[str], None]) -> None:
    """Draw pairs into a file, and their pixels into another beside it (``.npy``)."""
    maker = PairMaker(seed + PAIR_SEED, TRAINING)
    pixels: NDArray[np.uint8] | None = None
    rest: list[Any] = []
    part = place.with_suffix(".part.npy")
    for index in range(count):
        pair = maker.make_pair(start + index)
        if pixels is None:
            pixels = np.lib.format.open_memmap(part, "w+", np.uint8, (count, *pair.pixels.shape))
        pixels[index] = pair.pixels
        rest.append(replace(pair, pixels=pair.pixels[:0]))
        if index % 1000 == 0:
            say(f"pairs: {index} of {count}")
    part.rename(place.with_suffix(".npy"))
    place.write_bytes(pickle.dumps(rest))


def load_pairs(place: Path) -> tuple[list[Pair], NDArray[np.uint8]]:
    """Read back pairs without their pixels, and these."""
    return pickle.loads(place.read_bytes()), np.load(place.with_suffix(".npy"), mmap_mode="r")  # noqa: S301
