"""Golden chips of a new bundle: where they come from, and how ``engine.runtime.golden``'s file is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import InputError
from engine.runtime.golden import INPUTS, Golden
from engine.runtime.image import ANCHORS_SIDE, CHIP_PX
from engine.runtime.prior import anchor_positions
from engine.runtime.text import Answer


def load_inputs(path: Path) -> Golden:
    """Read chips, and priors where they are given, from a file.

    Args:
        path: .npz with chips [n, 3, 126, 126] and perhaps vectors, positions and mask.

    Raises:
        InputError: the file holds something else.
    """
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in INPUTS if name in file}
    chips = arrays.get("chips")
    if chips is None or chips.dtype != np.uint8 or chips.shape[1:] != (3, CHIP_PX, CHIP_PX) or not len(chips):
        got = "none" if chips is None else f"{chips.dtype} {chips.shape}"
        raise InputError(f"got chips {got} in {path}, expected uint8 [n, 3, {CHIP_PX}, {CHIP_PX}]")
    if len(arrays) != len(INPUTS):
        arrays |= _absent(len(chips))
    return Golden(**{name: arrays[name] for name in INPUTS})


def patterns(count: int = 8, seed: int = 0) -> Golden:
    """Return test patterns, for bundles made without chips: speckle, some bright boxes, some priors.

    They show that two backends compute the same, not that a model detects anything.
    """
    rng = np.random.default_rng(seed)
    speckle = rng.gamma(4.4, 0.25, (count, 3, CHIP_PX, CHIP_PX))
    for index in range(count):
        for _ in range(index % 4):
            line, sample = rng.integers(5, CHIP_PX - 20, 2)
            speckle[index, :2, line : line + rng.integers(2, 14), sample : sample + rng.integers(2, 14)] *= 30
    chips = np.clip(np.rint(100 + 60 * np.log10(speckle)), 0, 255).astype(np.uint8)
    arrays = _absent(count)
    valid = rng.random(arrays["mask"].shape) < (np.arange(count) % 3 / 2)[:, None]  # absent, partial, full
    vectors = rng.uniform(-0.4, 0.4, arrays["vectors"].shape) * valid[..., None]
    return Golden(chips, vectors.astype(np.float32), arrays["positions"], valid)


def write(path: Path, golden: Golden, visual: Any, logits: Any, answers: Mapping[str, list[Answer]]) -> None:
    """Write the golden file."""
    texts = {
        task: [{"text": answer.text, "scores": [each.score for each in answer.objects]} for answer in given]
        for task, given in answers.items()
    }
    np.savez_compressed(
        path,
        chips=golden.chips,
        vectors=golden.vectors,
        positions=golden.positions,
        mask=golden.mask,
        visual=visual,
        logits=logits,
        answers=np.array(json.dumps(texts)),
    )


def _absent(count: int) -> dict[str, Any]:
    anchors = ANCHORS_SIDE**2
    return {
        "vectors": np.zeros((count, anchors, 64), np.float32),
        "positions": np.repeat(anchor_positions()[None], count, axis=0),
        "mask": np.zeros((count, anchors), np.bool_),
    }
