"""What sea exceeds by chance: thresholds for a false-alarm rate, and the candidates that chance makes.

The tested statistic is the 3 x 3 mean of intensity, noise left in. Over the sea it is the product of two
independent factors of unit mean. Speckle is known from the processor: a weighted sum of exponential
variables, one for each look and each eigenvalue of the correlation between nine neighbouring pixels. The
other is (1 - share) texture + share, with the noise's share of the mean, and texture is the sea's own: its
variance follows from what the statistic spreads beyond its speckle. With gamma texture that is the K
distribution, with speckle as correlated as it is; with log-normal texture the tail is heavier.

The tail is integrated numerically: speckle by inverting its moment-generating function along a line in the
complex plane, texture by a sum over its logarithm. A table takes about 20 ms.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import lgamma, pi
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError

ClutterModel = Literal["k", "lognormal"]
Array = NDArray[np.float64]

IW_LOOKS = 4.4
# Equivalent looks of a pixel, by mode and resolution. IW H was checked on the simulator, whose speckle is as
# correlated as real blocks; the others are the product definition's nominal figures, from memory.
NOMINAL_LOOKS: dict[tuple[str, str], float] = {
    ("IW", "H"): IW_LOOKS,
    ("IW", "M"): 81.8,
    ("EW", "H"): 2.7,
    ("EW", "M"): 10.7,
    ("SM", "F"): 3.7,
    ("SM", "H"): 29.7,
    ("SM", "M"): 398.4,
}

# Amplitude correlation at lags of 0, 1 and 2 px where a resolution cell is two pixels wide, as it nearly is
# in every GRD product: a Hamming window of .75 over .46 cycles/px. Squared: .64 and .15; real blocks have .66
# and .25, texture included.
_CORRELATION = (1.0, 0.8007, 0.3840)
_LOOK_WEIGHTS = (0.4, 1.0, 1.0, 1.0, 0.4)  # looks overlap and are windowed: 4.35 equivalent ones of 5
_MOST_LOOKS = 80.0  # beyond it speckle no longer shapes the tail

# Steps of the integration, of logarithms.
_LOG_TEXTURE = 0.03 * np.arange(-100, 301)
_LOG_FACTOR = 0.04 * np.arange(238)
_LOG_SPECKLE = 0.02 * np.arange(-150, 176)
_VARIANCES = np.concatenate([[0.0], np.geomspace(0.002, 9.0, 64)])  # of the sea's texture
_KNOWN_SHARES = np.arange(8) / 8
_MOST_TEXTURE = (
    2.0  # variance of the sea's texture beside noise; where more was needed, the noise is disbelieved
)

# Bright cells are left out of the background, and a ring is finite: what the scan measures lies this
# much (base, and for each unit of the variance beyond speckle) below spread and mean of the same sea.
# Measured with tools/bench_false_alarms.py.
_SPREAD_LOST = {"k": (0.004, 0.02), "lognormal": (0.004, 0.06)}
_MEAN_LOST = {"k": (0.0015, 0.0), "lognormal": (0.001, 0.013)}


@dataclass(frozen=True, eq=False)
class Factors:
    """Thresholds over the local mean, noise included, by noise share and spread, in uniform steps.

    Attributes:
        values: factors, [shares, spreads], float64, read-only; share 0 to 1, spread from 0.
        share_step: distance of the shares.
        spread_step: distance of the spreads; beyond the last, it stands in.
    """

    values: Array
    share_step: float = 1 / 16
    spread_step: float = 1 / 200

    @property
    def shares(self) -> Array:
        """Noise over the mean, noise included, [shares]."""
        return np.arange(self.values.shape[0], dtype=np.float64) * self.share_step

    @property
    def spreads(self) -> Array:
        """Standard deviation over the mean, noise included, [spreads]."""
        return np.arange(self.values.shape[1], dtype=np.float64) * self.spread_step

    def at(self, spread: NDArray[np.floating] | float, share: NDArray[np.floating] | float = 0.0) -> Array:
        """Interpolate, linear in both; the edges stand in beyond them, NaN gives NaN."""
        spread, share = np.broadcast_arrays(np.asarray(spread, float), np.asarray(share, float))
        known = np.isfinite(spread) & np.isfinite(share)
        x = np.clip(np.where(known, spread, 0) / self.spread_step, 0, self.values.shape[1] - 1)
        y = np.clip(np.where(known, share, 0) / self.share_step, 0, self.values.shape[0] - 1)
        j = np.minimum(x.astype(int), self.values.shape[1] - 2)
        i = np.minimum(y.astype(int), self.values.shape[0] - 2)
        u, v = x - j, y - i
        low = self.values[i, j] * (1 - u) + self.values[i, j + 1] * u
        high = self.values[i + 1, j] * (1 - u) + self.values[i + 1, j + 1] * u
        return np.where(known, low * (1 - v) + high * v, np.nan)


@lru_cache(maxsize=16)
def scan_factors(rate: float, model: ClutterModel, looks: float = IW_LOOKS) -> Factors:
    """Tabulate the factors of the means that the scan measures, by the spreads that it measures.

    Both are a little low, since bright cells are left out; `sea_factors` holds for true ones.

    Args:
        rate: probability that a pixel exceeds, in one polarisation.
        model: distribution of the texture.
        looks: equivalent looks of a pixel.

    Raises:
        InputError: as `sea_factors`.
    """
    true = sea_factors(rate, model, looks)
    alone = speckle_spread(looks)
    beyond = np.maximum(true.spreads**2 - alone**2, 0) / (1 + alone**2)
    (low, slope), (mean_low, mean_slope) = _SPREAD_LOST[model], _MEAN_LOST[model]
    spread = true.spreads * (1 + low + slope * np.minimum(beyond, 1))
    level = 1 + mean_low + mean_slope * np.minimum(beyond, 1)
    return _fixed(true.at(spread[None], true.shares[:, None]) * level)


@lru_cache(maxsize=16)
def sea_factors(rate: float, model: ClutterModel, looks: float = IW_LOOKS) -> Factors:
    """Tabulate what sea of known mean, spread and noise exceeds with a given probability a pixel.

    Where the spread is below that of speckle alone, the sea was seen with more looks than stated: the excess
    over the mean then shrinks in proportion.

    Args:
        rate: probability that a pixel exceeds, in one polarisation.
        model: distribution of the texture.
        looks: equivalent looks of a pixel.

    Raises:
        InputError: a rate that no threshold can be set for, an unknown model, or no looks.
    """
    if not 1e-10 <= rate <= 0.01:
        raise InputError(f"got a false-alarm rate of {rate}, expected one from 1e-10 to 0.01")
    if model not in ("k", "lognormal"):
        raise InputError(f"got clutter model {model!r}, expected 'k' or 'lognormal'")
    alone = speckle_spread(looks)
    density = _texture_density(model)
    tails = np.stack([density @ _tail_over_texture(looks, share) for share in _KNOWN_SHARES])
    logs = np.log(np.maximum(tails, 1e-300))
    by_texture = [[np.interp(-np.log(rate), -row, _LOG_FACTOR) for row in part] for part in logs]
    empty = Factors(np.empty((17, 601)))
    variance = np.maximum(empty.spreads**2 - alone**2, 0) / (1 + alone**2)  # of sea and noise together
    rows = []
    for share in empty.shares:
        believed = np.clip(np.minimum(share, 1 - np.sqrt(variance / _MOST_TEXTURE)), 0, _KNOWN_SHARES[-1])
        texture = variance / (1 - believed) ** 2
        known = np.exp([np.interp(texture, _VARIANCES, row) for row in by_texture])
        weights = np.maximum(1 - np.abs(believed - _KNOWN_SHARES[:, None]) * len(_KNOWN_SHARES), 0)
        rows.append((weights * known).sum(0))
    values = 1 + (np.stack(rows) - 1) * np.minimum(empty.spreads / alone, 1)
    return _fixed(np.maximum.accumulate(values, 1))


def false_alarms_per_km2(rate: float, spread: float, spacing_m: tuple[float, float]) -> float:
    """Candidates that chance makes of pure sea in one polarisation, for each km2.

    Exceeding pixels come in clumps, which the prescreen joins (a gap of 3 px). The size of a clump was
    measured with tools/bench_false_alarms.py and holds where a resolution cell is two pixels wide; texture
    that varies over 4 px and more makes clumps up to a third larger, and so candidates fewer. Those of
    several polarisations add up.

    Args:
        rate: probability that a pixel exceeds, in this polarisation.
        spread: of the statistic, noise included.
        spacing_m: of the pixels, azimuth and range.
    """
    texture = min(max(1 + 5 * (spread - 0.31), 1.0), 2.5)
    clump_px = 1 + texture * (rate / 1e-4) ** 0.15
    return float(rate * 1e6 / (spacing_m[0] * spacing_m[1]) / clump_px)


@lru_cache(maxsize=16)
def speckle_spread(looks: float = IW_LOOKS) -> float:
    """Standard deviation over mean of the 3 x 3 mean of pure speckle: .31 for IW GRDH, as of 10.4 looks."""
    scale, shape = _speckle_terms(looks)
    return float(np.sqrt((shape * scale**2).sum()))


def _fixed(values: Array) -> Factors:
    values.setflags(write=False)
    return Factors(values)


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
    """Logarithm of the probability that the 3 x 3 mean of unit speckle exceeds exp(y), y of _LOG_SPECKLE.

    Q(x) = 1 / (2 pi i) int M(s) exp(-s x) / s ds along Re(s) = c, M the moment-generating function; all
    terms carry exp(-c x), so the far tail keeps its digits.
    """
    scale, shape = _speckle_terms(looks)
    c = 0.5 / scale.max()
    s = c * (1 + 0.2j * np.arange(600))
    weight = np.exp(-shape * np.log(1 - np.multiply.outer(s, scale)).sum(1)) / s
    weight[0] /= 2
    tail = (np.exp(-np.multiply.outer(np.exp(_LOG_SPECKLE), s)) @ weight).real * (0.2 * c / pi)
    return np.asarray(np.log(np.clip(tail, 1e-300, 1.0)))


def _tail_over_texture(looks: float, share: float) -> Array:
    """Probability that speckle exceeds a factor over sea of some texture and noise, [textures, factors]."""
    level = np.log(share + (1 - share) * np.exp(_LOG_TEXTURE))
    at = (_LOG_FACTOR - level[:, None] - _LOG_SPECKLE[0]) / (_LOG_SPECKLE[1] - _LOG_SPECKLE[0])
    at = np.clip(at, 0, len(_LOG_SPECKLE) - 1.001)
    known, low = _log_speckle_tail(looks), at.astype(int)
    return np.asarray(np.exp(known[low] + (at - low) * (known[low + 1] - known[low])))


@lru_cache(maxsize=2)
def _texture_density(model: ClutterModel) -> Array:
    """Probability of each step of the texture's logarithm, [variances, steps]; unit mean."""
    y, variances = _LOG_TEXTURE, _VARIANCES[1:, None]
    if model == "k":
        order = 1 / variances
        norm = np.array([nu * np.log(nu) - lgamma(nu) for nu in order.ravel()])[:, None]
        density = np.exp(norm + order * (y - np.exp(y)))
    else:
        sigma2 = np.log1p(variances)
        density = np.exp(-((y + sigma2 / 2) ** 2) / (2 * sigma2)) / np.sqrt(2 * pi * sigma2)
    none = np.where(np.arange(len(y)) == np.abs(y).argmin(), 1.0, 0.0)
    return np.concatenate([none[None], density * (y[1] - y[0])])
