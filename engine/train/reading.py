"""Fits the reader of questions: a softmax over hashed features, on drawn wordings.

A fifth of the templates, not of the draws, is kept apart, to tell how unseen ones are read. Then all are
fitted. The threshold was chosen on the words of people left out (``templates(without=...)``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.data.asked import Asked, agree, draw, templates
from engine.runtime.marking import mark
from engine.runtime.reading import BUCKETS, INTENTS, REFUSED, Weights, features, read, weight_of

EACH = 4  # draws of a template
KEPT_APART = 0.2
STEPS = 150
RATE = 0.05
DECAY = 1e-5  # L2, per weight
THRESHOLD = 0.6  # least probability that is understood: about 1 % of what left-out people asked is misread
REFUSING = 0.8  # least probability by which a question is refused for good


@dataclass(frozen=True)
class Figures:
    """How the templates kept apart were read.

    Attributes:
        questions: how many can be understood.
        understood: share of them that was.
        misread: share of what was understood, of any question, that was read otherwise than meant.
        refused: share of what no image can show that was refused as such.
        passed_on: share of what is not to be understood that was not.
    """

    questions: int
    understood: float
    misread: float
    refused: float
    passed_on: float


def fit(
    seed: int, each: int = EACH, progress: Callable[[int], None] | None = None
) -> tuple[Weights, Figures]:
    """Fit the reader.

    Args:
        seed: of the draws and of the split.
        each: draws of a template.
        progress: called with 1 after each of 2 * STEPS steps.

    Returns:
        The weights, and how the first fit read the templates that it had not seen.
    """
    rng = np.random.default_rng(seed)
    learnt: dict[str, tuple[str, ...]] = {}
    apart: dict[str, tuple[str, ...]] = {}
    every = templates()
    for intent, texts in every.items():
        order = [texts[i] for i in rng.permutation(len(texts))]
        cut = round(KEPT_APART * len(order))
        apart[intent], learnt[intent] = tuple(order[:cut]), tuple(order[cut:])
    first = _fitted(list(draw(learnt, each, rng)), THRESHOLD, progress)
    unseen = list(draw(apart, each, rng))
    figures = judged(_with(first, THRESHOLD), unseen)
    return _fitted(list(draw(every, each, rng)), THRESHOLD, progress), figures


def judged(weights: Weights, asked: Sequence[Asked]) -> Figures:
    """Return how questions are read."""
    found = [read(each.text, weights) for each in asked]
    can = [
        f for f, one in zip(found, asked, strict=True) if one.reading is not None and one.intent != REFUSED
    ]
    said = [(f, one) for f, one in zip(found, asked, strict=True) if f is not None and f.intent != REFUSED]
    out = [f for f, one in zip(found, asked, strict=True) if one.intent == REFUSED]
    other = [f for f, one in zip(found, asked, strict=True) if one.reading is None]
    return Figures(
        len(can),
        float(np.mean([f is not None and f.intent != REFUSED for f in can])),
        float(np.mean([not agree(f, one.reading) for f, one in said])),
        float(np.mean([f is not None and f.intent == REFUSED for f in out])),
        float(np.mean([f is None for f in other])),
    )


def _with(weights: Weights, threshold: float) -> Weights:
    return Weights(weights.matrix, weights.scale, weights.offset, threshold, REFUSING)


def _fitted(asked: Sequence[Asked], threshold: float, progress: Callable[[int], None] | None) -> Weights:
    """Fit by Adam over all draws at once; all intents weigh alike."""
    matrix, true, share = _design(asked)
    weights, offset = np.zeros((BUCKETS, len(INTENTS))), np.zeros(len(INTENTS))
    moments = [np.zeros_like(each) for each in (weights, weights, offset, offset)]
    rows = np.arange(len(true))
    for step in range(1, STEPS + 1):
        logits = matrix @ weights + offset
        logits -= logits.max(1, keepdims=True)
        slope = np.exp(logits)
        slope /= slope.sum(1, keepdims=True)
        slope[rows, true] -= 1
        slope *= share[:, None]
        for value, gradient, one, two in (
            (weights, matrix.T @ slope + DECAY * weights, moments[0], moments[1]),
            (offset, slope.sum(0), moments[2], moments[3]),
        ):
            one += 0.1 * (gradient - one)
            two += 0.01 * (gradient**2 - two)
            value -= RATE * (one / (1 - 0.9**step)) / (np.sqrt(two / (1 - 0.99**step)) + 1e-9)
        if progress is not None:
            progress(1)
    scale = np.abs(weights).max(0) / 127
    return Weights(
        np.round(weights / scale).astype(np.int8),
        scale.astype(np.float32),
        offset.astype(np.float32),
        threshold,
        REFUSING,
    )


def _design(asked: Sequence[Asked]) -> tuple[Any, NDArray[np.int64], NDArray[np.float64]]:
    from scipy.sparse import csr_matrix

    found = [features(mark(each.text).marks) for each in asked]
    ends = np.cumsum([0, *map(len, found)])
    values = np.concatenate([np.full(len(each), weight_of(len(each))) for each in found])
    matrix = csr_matrix((values, np.concatenate(found), ends), shape=(len(found), BUCKETS))
    true = np.array([INTENTS.index(each.intent) for each in asked], np.int64)
    counts = np.bincount(true, minlength=len(INTENTS))
    share = 1 / np.maximum(counts, 1)[true]
    return matrix, true, share / share.sum()
