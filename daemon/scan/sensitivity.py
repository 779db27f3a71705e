"""How small a ship could have been seen: absence as a fact, under a named model of ships' echoes.

A ship of a given length has a radar cross-section that is normally distributed in decibels; the share of it
that the best window of 3 x 3 px gathers shrinks with length, and fluctuates as a few scatterers interfere.
The ship is detected where its share and the sea's mean together exceed the threshold in any polarisation.
All spreads are taken as normal in decibels, so that the probability of detection is a closed form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import erf, log10, sqrt

import numpy as np
from numpy.typing import NDArray

from daemon.domain import Sensitivity
from daemon.scan.thresholds import IW_LOOKS, false_alarms_per_km2, speckle_spread
from engine.errors import InputError

# 115 ships with AIS lengths in one IW VV scene: the tenth percentile of the radar cross-section was
# 35 dB m2 at 60 to 100 m and grew by about 11 dB to 250 m. Below 60 m the line is an extrapolation.
RCS_MODEL = "tenth percentile of 115 AIS-matched ships, IW VV: 35 dB m2 + 22 log10(length / 80 m)"
PROBABILITY = 0.9
AREA_SHARE = 0.9  # of what was looked at, over which a scene's smallest ship is found with PROBABILITY

_TENTH_80M_DB, _DECADE_DB = 35.0, 22.0
_SPREAD_DB = 3.5  # of ships of one length
_TENTH_SIGMAS = 1.2816  # from the tenth percentile to the median of a normal distribution
_CROSS_DB, _CROSS_SPREAD_DB = 11.0, 2.5  # by which cross-polarised cross-sections are lower
_SPACING_M = (8.0, 12.5)  # over which these hold: IW GRDH
_LENGTHS_M = (10.0, 420.0)  # none shorter than a pixel is claimed, nothing afloat is longer

# Share of the energy within the best 3 x 3 px at a resolution of 20 x 22 m, in dB, and its spread. Measured
# on rendered ships of 10 to 350 m (tools/bench_sensitivity.py).
_GATHERED_DB = (-0.2, -0.285)  # at no length, and for each root of a metre
_INTERFERENCE_DB = 1.65

_BIN_DEG = 2.5
_CLASS_DB = 3.0  # of threshold
_MOST_CELLS = 50_000  # that medians are taken of; beyond it, of every second row and so on
_DB = 10 / np.log(10)
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(9)


@dataclass(frozen=True, slots=True)
class Sea:
    """The sea somewhere, in one polarisation; linear."""

    polarisation: str
    mean: float  # of sigma0
    noise: float  # noise-equivalent sigma0
    spread: float  # standard deviation of the statistic over its mean, noise included
    limit: float  # threshold, sigma0


def probability_of_detection(length_m: float, seas: Sequence[Sea], spacing_m: tuple[float, float]) -> float:
    """Probability that a ship, its cross-section drawn from RCS_MODEL, exceeds in any polarisation.

    Args:
        length_m: of the ship.
        seas: of the polarisations that are searched.
        spacing_m: of the pixels, azimuth and range; the numbers hold for IW GRDH.
    """
    rcs_db = _TENTH_80M_DB + _TENTH_SIGMAS * _SPREAD_DB + _DECADE_DB * log10(length_m / 80)
    gathered_db = _GATHERED_DB[0] + _GATHERED_DB[1] * sqrt(length_m)
    echo_db = rcs_db + gathered_db - 10 * log10(9 * spacing_m[0] * spacing_m[1])
    missed = np.ones(len(_NODES))
    for sea in seas:
        cross = len(set(sea.polarisation)) == 2
        level = max(sea.mean + sea.noise, 1e-12)
        above = max((sea.limit - sea.mean) / level, 1e-3)  # what the echo must add, over the mean
        # The sea's own spread, and its interference with the echo: twice the product of both, less the looks.
        clutter_db = _DB * sqrt(sea.spread**2 + 2 * above * speckle_spread(IW_LOOKS) ** 2) / above
        sigma_db = sqrt(_INTERFERENCE_DB**2 + clutter_db**2 + (_CROSS_SPREAD_DB**2 if cross else 0.0))
        margin_db = echo_db - (_CROSS_DB if cross else 0.0) - 10 * log10(above * level)
        missed *= [0.5 - 0.5 * erf((margin_db + _SPREAD_DB * z) / sigma_db / sqrt(2)) for z in _NODES]
    return float(1 - missed @ _WEIGHTS / _WEIGHTS.sum())


def smallest_ship_m(seas: Sequence[Sea], spacing_m: tuple[float, float]) -> float | None:
    """Length from which on a ship is detected with PROBABILITY.

    None where the model does not hold (another spacing than IW GRDH's), where no polarisation is searched,
    and where even the longest ship is missed more often.
    """
    if not seas or not all(_SPACING_M[0] <= spacing <= _SPACING_M[1] for spacing in spacing_m):
        return None
    low, high = _LENGTHS_M
    if probability_of_detection(high, seas, spacing_m) < PROBABILITY:
        return None
    if probability_of_detection(low, seas, spacing_m) >= PROBABILITY:
        return low
    while high - low > 0.05:
        middle = (low + high) / 2
        enough = probability_of_detection(middle, seas, spacing_m) >= PROBABILITY
        low, high = (low, middle) if enough else (middle, high)
    return round(high, 1)


def sensitivity_of(
    sampled: Mapping[str, NDArray[np.floating]],
    incidence_deg: NDArray[np.floating],
    area_km2: float,
    spacing_m: tuple[float, float],
) -> tuple[Sensitivity, ...]:
    """Sum up a scene's sea by incidence (2.5 degrees) and clutter (3 dB of threshold).

    Args:
        sampled: by polarisation, the same order as in the scene: mean sigma0, spread, threshold (sigma0) and
            noise-equivalent sigma0 at some cells, [4, rows, cols]; NaN where that polarisation was not
            searched.
        incidence_deg: there, [rows, cols] or of a shape that broadcasts.
        area_km2: of the sea that was looked at; it is shared out by cells.
        spacing_m: of the pixels, azimuth and range.

    Returns:
        One entry for each incidence, clutter and combination of polarisations that occurs, in that order;
        empty where no cell was searched.

    Raises:
        InputError: arrays that do not fit each other.
    """
    names = list(sampled)
    shapes = {np.shape(values) for values in sampled.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 3 or next(iter(shapes))[0] != 4:
        raise InputError(
            f"got samples of shapes {sorted(shapes)}, expected one [4, rows, cols] a polarisation"
        )
    shape = next(iter(shapes))[1:]
    try:
        incidence_deg = np.broadcast_to(incidence_deg, shape)
    except ValueError as error:
        raise InputError(f"got incidence of shape {np.shape(incidence_deg)}, expected {shape}") from error
    thin = max(shape[0] * shape[1] // _MOST_CELLS, 1)
    values = np.stack([np.asarray(sampled[name][:, ::thin]) for name in names])
    seen = np.asarray(np.isfinite(values).all(axis=1))
    any_seen = np.asarray(seen.any(axis=0))
    if not any_seen.any():
        return ()
    incidence = incidence_deg[::thin][any_seen]
    values, seen = values[:, :, any_seen], seen[:, any_seen]
    limit = np.where(seen[0], values[0, 2], np.nan)
    for band in range(1, len(names)):
        limit = np.where(np.isnan(limit), values[band, 2], limit)
    step = np.floor(incidence / _BIN_DEG).astype(np.int64)
    clutter = np.floor(10 * np.log10(np.maximum(limit, 1e-6)) / _CLASS_DB).astype(np.int64)
    unused = (~seen * (1 << np.arange(len(names)))[:, None]).sum(0)
    key = ((step + 1) * 256 + clutter + 128) * (1 << len(names)) + unused
    order = np.argsort(key, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(key[order])) + 1)
    return tuple(
        _summed(
            names,
            values[:, :, at],
            seen[:, at[0]],
            int(step[at[0]]),
            area_km2 * len(at) / len(key),
            spacing_m,
        )
        for at in groups
    )


def _summed(
    names: list[str],
    values: NDArray[np.float64],
    seen: NDArray[np.bool_],
    step: int,
    area_km2: float,
    spacing_m: tuple[float, float],
) -> Sensitivity:
    seas = []
    for name, (mean, spread, limit, noise), used in zip(names, np.median(values, 2), seen, strict=True):
        if used:
            seas.append(Sea(name, float(mean), float(noise), float(spread), float(limit)))
    return Sensitivity(
        incidence_deg=(step * _BIN_DEG, (step + 1) * _BIN_DEG),
        area_km2=round(float(area_km2), 3),
        polarisations=tuple(sea.polarisation for sea in seas),
        mean_db=tuple(_db(sea.mean) for sea in seas),
        nesz_db=tuple(_db(sea.noise) if sea.noise > 0 else None for sea in seas),
        spread=tuple(round(sea.spread, 4) for sea in seas),
        threshold_db=tuple(_db(sea.limit) for sea in seas),
        smallest_ship_m=smallest_ship_m(seas, spacing_m),
    )


def scene_smallest_ship_m(entries: Sequence[Sensitivity]) -> float | None:
    """Length from which on ships are found with PROBABILITY over AREA_SHARE of what was looked at.

    None where no length is known over that much of the area.
    """
    total = sum(entry.area_km2 for entry in entries)
    known = [entry for entry in entries if entry.smallest_ship_m is not None]
    covered = 0.0
    for entry in sorted(known, key=lambda entry: entry.smallest_ship_m or 0.0):
        covered += entry.area_km2
        if covered >= AREA_SHARE * total > 0:
            return entry.smallest_ship_m
    return None


def false_alarms_per_1000_km2(
    entries: Sequence[Sensitivity], rate: float, spacing_m: tuple[float, float]
) -> float | None:
    """Candidates that chance makes of 1,000 km2 of this scene's sea; None where none was looked at.

    Args:
        entries: of the scene.
        rate: probability that a pixel of sea exceeds, in each polarisation.
        spacing_m: of the pixels, azimuth and range.
    """
    total = sum(entry.area_km2 for entry in entries)
    if not total:
        return None
    expected = sum(
        entry.area_km2 * sum(false_alarms_per_km2(rate, spread, spacing_m) for spread in entry.spread)
        for entry in entries
    )
    return round(1000 * expected / total, 3)


def _db(linear: float) -> float:
    return round(10 * log10(max(linear, 1e-6)), 2)
