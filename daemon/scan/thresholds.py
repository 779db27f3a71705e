"""What sea exceeds by chance: thresholds for a false-alarm rate, and the candidates that chance makes.

The tested statistic is the 3 x 3 mean of intensity, noise left in. Over the sea it is a product of two
independent factors of unit mean: speckle and texture. Speckle is known from the processor: a weighted sum
of exponential variables, one for each look and each eigenvalue of the correlation between nine neighbouring
pixels. Texture is the sea's own and measured: what the statistic spreads beyond its speckle. With gamma
texture the product is K distributed (with correlated speckle in place of gamma speckle), with log-normal
texture it has the heavier tail that simulated seas and gusty ones have.

The tail is integrated numerically: speckle by the inversion of its moment-generating function along a line
in the complex plane, texture by a sum over its logarithm.
"""

from __future__ import annotations

from functools import lru_cache
from math import lgamma, pi
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError

ClutterModel = Literal["k", "lognormal"]
Array = NDArray[np.float64]

IW_LOOKS = 4.4
# Equivalent looks of a pixel by mode and resolution. IW H: checked on real blocks and in the simulator;
# the others are the product definition's nominal figures, from memory.
NOMINAL_LOOKS: dict[tuple[str, str], float] = {
    ("IW", "H"): IW_LOOKS,
    ("IW", "M"): 81.8,
    ("EW", "H"): 2.7,
    ("EW", "M"): 10.7,
    ("SM", "F"): 3.7,
    ("SM", "H"): 29.7,
    ("SM", "M"): 398.4,
}

# Amplitude correlation at lags of 0, 1 and 2 px where a resolution cell is two pixels wide, as in every GRD
# product (2.0 to 2.6): a Hamming window of .75 over .46 cycles/px. Squared: .64 and .15, against .66 and .25
# in real blocks, whose texture adds to lag 2.
_CORRELATION = (1.0, 0.8007, 0.3840)
_LOOK_WEIGHTS = (0.4, 1.0, 1.0, 1.0, 0.4)  # looks overlap and are windowed: 4.35 equivalent ones of 5
_MOST_LOOKS = 80.0  # beyond it speckle no longer shapes the tail

_STEP = 0.02  # of logarithms
_LOG_TEXTURE = _STEP * np.arange(-150, 451)
_LOG_FACTOR = _STEP * np.arange(0, 476)
_VARIANCES = np.geomspace(0.002, 9.0, 72)  # of the texture
_SPREAD_STEP = 0.01
SPREADS: Array = _SPREAD_STEP * np.arange(301)  # where factors are tabulated; beyond the last it stands in


def threshold_factor(
    spread: NDArray[np.floating] | float, rate: float, model: ClutterModel, looks: float = IW_LOOKS
) -> Array:
    """Threshold over the mean of the statistic: what sea exceeds with a given probability a pixel.

    Where the spread is below that of speckle alone, the sea was seen with more looks than stated: the excess
    over the mean then shrinks in proportion.

    Args:
        spread: standard deviation of the statistic over its mean, noise included, any shape.
        rate: probability that a pixel exceeds, in one polarisation.
        model: distribution of the texture.
        looks: equivalent looks of a pixel.

    Returns:
        Factors of the mean, at least 1, of the spread's shape; NaN where the spread is.

    Raises:
        InputError: a rate that no threshold can be set for, or an unknown model.
    """
    return np.asarray(np.interp(spread, SPREADS, factor_table(rate, model, looks)))


@lru_cache(maxsize=32)
def factor_table(rate: float, model: ClutterModel, looks: float = IW_LOOKS) -> Array:
    """Tabulate the threshold factor at `SPREADS`: uniform steps, so that a kernel can index it; read-only."""
    if not 1e-10 <= rate <= 0.01:
        raise InputError(f"got a false-alarm rate of {rate}, expected one from 1e-10 to 0.01")
    if model not in ("k", "lognormal"):
        raise InputError(f"got clutter model {model!r}, expected 'k' or 'lognormal'")
    speckle = _log_speckle_tail(looks)
    # tail[v, t] = sum over texture of its density times the speckle's tail at factor / texture
    reach = len(_LOG_TEXTURE) + len(_LOG_FACTOR) - 1
    windows = np.lib.stride_tricks.sliding_window_view(speckle[:reach], len(_LOG_TEXTURE))[:, ::-1]
    tails = np.concatenate([speckle[None, 450 : 450 + 476], _texture_density(model) @ windows.T])
    with np.errstate(divide="ignore"):
        logs = np.maximum(np.log(tails), -700)
    factors = np.array([np.exp(np.interp(-np.log(rate), -row, _LOG_FACTOR)) for row in logs])
    alone = speckle_spread(looks)
    spreads = np.sqrt(alone**2 + np.concatenate([[0.0], _VARIANCES]) * (1 + alone**2))
    table = np.interp(SPREADS, spreads, factors)
    table = np.where(alone > SPREADS, 1 + (factors[0] - 1) * SPREADS / alone, table)
    table = np.maximum.accumulate(table)
    table.setflags(write=False)
    return table


def speckle_spread(looks: float = IW_LOOKS) -> float:
    """Standard deviation over mean of the 3 x 3 mean of pure speckle: .31 for IW GRDH, 10.4 looks."""
    scale, shape = _speckle_terms(looks)
    return float(np.sqrt((shape * scale**2).sum()))


def _speckle_terms(looks: float) -> tuple[Array, float]:
    """Scales and common shape of the independent gamma variables that sum to the 3 x 3 mean of speckle."""
    if not looks > 0:
        raise InputError(f"got {looks} equivalent looks, expected a positive number")
    lag = np.abs(np.subtract.outer(np.arange(3), np.arange(3)))
    along = np.linalg.eigvalsh(np.array(_CORRELATION)[lag]) / 3
    weights = np.array(_LOOK_WEIGHTS) / sum(_LOOK_WEIGHTS)
    shape = min(looks, _MOST_LOOKS) * float((weights**2).sum())
    return np.multiply.outer(np.outer(along, along).ravel(), weights).ravel() / shape, shape


@lru_cache(maxsize=8)
def _log_speckle_tail(looks: float) -> Array:
    """Probability that the 3 x 3 mean of unit speckle exceeds exp(y), for y of _LOG_FACTOR - _LOG_TEXTURE.

    Q(x) = 1 / (2 pi i) int M(s) exp(-s x) / s ds along Re(s) = c, M the moment-generating function; all
    terms carry exp(-c x), so the far tail keeps its digits.
    """
    scale, shape = _speckle_terms(looks)
    c = 0.5 / scale.max()
    s = c * (1 + 0.2j * np.arange(600))
    weight = np.exp(-shape * np.log(1 - np.multiply.outer(s, scale)).sum(1)) / s
    weight[0] /= 2
    y = np.arange(_LOG_FACTOR[0] / _STEP - 450, _LOG_FACTOR[-1] / _STEP + 151).round() * _STEP
    tail = np.where(y < 0, 1.0, 0.0)
    near = np.abs(y) < 3.0
    tail[near] = (np.exp(-np.multiply.outer(np.exp(y[near]), s)) @ weight).real * (0.2 * c / pi)
    return np.clip(tail, 0.0, 1.0)


def _texture_density(model: ClutterModel) -> Array:
    """Probability of each step of the texture's logarithm, [variances, steps]; unit mean."""
    y = _LOG_TEXTURE
    if model == "k":
        order = 1 / _VARIANCES[:, None]
        norm = np.array([nu * np.log(nu) - lgamma(nu) for nu in order.ravel()])[:, None]
        density = np.exp(norm + order * (y - np.exp(y)))
    else:
        sigma2 = np.log1p(_VARIANCES)[:, None]
        density = np.exp(-((y + sigma2 / 2) ** 2) / (2 * sigma2)) / np.sqrt(2 * pi * sigma2)
    return np.asarray(density * _STEP)
