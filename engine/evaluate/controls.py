"""Controls: the same questions with something taken away or exchanged, so that a figure shows what earned it.

- ``prior_withheld``: as over the open sea;
- ``prior_shuffled``: another site's prior;
- ``prior_constant``: at every known anchor the mean vector of the set;
- ``prior_land_distance``: land mask and distance to coast through the same module, where the shore is known;
- ``image_withheld``: a chip without data, with its prior.

Each changes only the items that it can change; the others' answers are taken over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from engine.evaluate.items import Item
from engine.runtime.image import CHIP_PX
from engine.runtime.prior import PRIOR_DIM, Prior, anchor_positions

COAST_M = 1000.0  # distance to coast over which the control's second channel runs from -1 to 1
Changed = Mapping[int, Item]


def prior_withheld(items: Sequence[Item]) -> Changed:
    """Withhold every prior."""
    return {
        i: replace(item, priors=tuple(Prior.absent() for _ in item.priors))
        for i, item in enumerate(items)
        if any(prior.mask.any() for prior in item.priors)
    }


def prior_shuffled(items: Sequence[Item], seed: int = 0) -> Changed:
    """Give every item with a prior that of another site: one step round a random ring of sites."""
    known = [i for i, item in enumerate(items) if any(prior.mask.any() for prior in item.priors)]
    order = np.random.default_rng(seed).permutation(known)
    out = {}
    for at, index in enumerate(order):
        site = items[index].site
        others = (order[(at + step) % len(order)] for step in range(1, len(order)))
        other = next((i for i in others if items[i].site != site or site is None), None)
        if other is not None:
            own, given = items[index].priors, items[other].priors
            out[int(index)] = replace(
                items[index], priors=tuple(given[min(k, len(given) - 1)] for k in range(len(own)))
            )
    return out


def prior_constant(items: Sequence[Item]) -> Changed:
    """Put the mean of all known vectors at every known anchor."""
    vectors = [p.vectors[p.mask] for item in items for p in item.priors if p.mask.any()]
    if not vectors:
        return {}
    mean = np.concatenate(vectors).mean(axis=0)
    mean = (mean / max(float(np.linalg.norm(mean)), 1e-9)).astype(np.float32)

    def flat(prior: Prior) -> Prior:
        return replace(prior, vectors=np.where(prior.mask[:, None], mean, np.float32(0)))

    return {
        i: replace(item, priors=tuple(flat(prior) for prior in item.priors))
        for i, item in enumerate(items)
        if any(prior.mask.any() for prior in item.priors)
    }


def land_distance_prior(shore_px: NDArray[np.floating], mask: NDArray[np.bool_] | None = None) -> Prior:
    """Return land mask (first channel) and distance to coast (second) as a prior of unit vectors.

    Args:
        shore_px: distance to the shore in pixels of 10 m, positive on land, [126, 126].
        mask: anchors that are given; all where it is None.
    """
    positions = anchor_positions()
    at = np.clip(np.rint(positions * CHIP_PX - 0.5).astype(int), 0, CHIP_PX - 1)
    distance = shore_px[at[:, 0], at[:, 1]]
    vectors = np.zeros((len(positions), PRIOR_DIM), np.float32)
    vectors[:, 0] = np.where(distance > 0, 1.0, -1.0)
    vectors[:, 1] = np.clip(distance * 10.0 / COAST_M, -1, 1)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    given = np.ones(len(positions), np.bool_) if mask is None else mask
    return Prior(np.where(given[:, None], vectors, np.float32(0)), positions, given, None)


def prior_land_distance(items: Sequence[Item]) -> Changed:
    """Replace every prior whose item's shore is known, at the same anchors."""
    out = {}
    for i, item in enumerate(items):
        if item.shore_px is None or not any(prior.mask.any() for prior in item.priors):
            continue
        shore = item.shore_px
        own = anchor_positions()
        priors = tuple(
            land_distance_prior(shore, prior.mask if prior.positions.shape == own.shape else None)
            for prior in item.priors
        )
        out[i] = replace(item, priors=priors)
    return out


def image_withheld(items: Sequence[Item]) -> Changed:
    """Blank every chip."""
    return {
        i: replace(item, chips=tuple(np.zeros_like(chip) for chip in item.chips))
        for i, item in enumerate(items)
    }


CONTROLS: Mapping[str, Callable[[Sequence[Item]], Changed]] = {
    "prior_withheld": prior_withheld,
    "prior_shuffled": prior_shuffled,
    "prior_constant": prior_constant,
    "prior_land_distance": prior_land_distance,
    "image_withheld": image_withheld,
}
