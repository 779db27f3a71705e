from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, ndimage, stats

from daemon.scan.clusters import Pixels, join
from daemon.scan.thresholds import (
    IW_LOOKS,
    NOMINAL_LOOKS,
    false_alarms_per_km2,
    scan_factors,
    sea_factors,
    speckle_spread,
)
from engine.errors import InputError
from engine.simulate import physics

MODELS = ("k", "lognormal")
spreads = st.floats(0, 3)
shares = st.floats(0, 1)
rates = st.sampled_from([1e-2, 1e-3, 1e-4, 1e-5, 2e-6, 1e-6, 1e-7, 1e-9])
models = st.sampled_from(MODELS)


def speckle_eigenvalues():
    """Scales of the exponentials that sum to the 3 x 3 mean of the simulator's speckle."""
    distance = np.arange(-4096, 4097)
    response = physics.point_response(distance + 0.0)
    correlation = [float((response * np.roll(response, lag)).sum() / (response**2).sum()) for lag in range(3)]
    index = np.array([(i, j) for i in range(3) for j in range(3)])
    apart = np.abs(index[:, None] - index)
    nine = np.array(correlation)[apart[..., 0]] * np.array(correlation)[apart[..., 1]]
    weights = physics.LOOK_WEIGHTS / physics.LOOK_WEIGHTS.sum()
    return np.outer(np.linalg.eigvalsh(nine) / 9, weights).ravel()


def imhof(x, scales, shape=1.0):
    """Probability that a sum of gamma variables exceeds x (Imhof 1961), by quadrature of its phase."""

    def integrand(u):
        phase = shape * np.arctan(2 * u * scales).sum() - u * x * 2
        return np.sin(phase) / (u * np.prod(1 + (2 * u * scales) ** 2) ** (shape / 2))

    value, _ = integrate.quad(integrand, 1e-12, 200, limit=1000, epsabs=1e-11, epsrel=1e-9)
    return 0.5 + value / np.pi


def test_speckle_alone_is_the_simulators():
    scales = speckle_eigenvalues()
    assert scales.sum() == pytest.approx(1, rel=1e-9)
    # The product's nominal 4.4 looks against the simulator's 4.35.
    assert speckle_spread() == pytest.approx(np.sqrt((scales**2).sum()), rel=0.01)
    assert 1 / speckle_spread() ** 2 == pytest.approx(10.4, abs=0.1)
    looks = float(physics.LOOK_WEIGHTS.sum() ** 2 / (physics.LOOK_WEIGHTS**2).sum())
    for rate in (1e-3, 1e-5, 1e-7):
        threshold = float(sea_factors(rate, "k", looks).at(speckle_spread(looks)))
        assert imhof(threshold, scales) == pytest.approx(rate, rel=0.1)


@pytest.fixture(scope="module")
def speckle_tail():
    """Factors of the mean and the probability that pure speckle exceeds them, by Imhof's formula."""
    x = np.geomspace(0.3, 9, 50)
    return x, np.array([max(imhof(value, speckle_eigenvalues()), 1e-13) for value in x])


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7])
@pytest.mark.parametrize("variance", [0.02, 0.2, 1.0])
def test_the_tail_is_exact(model, share, variance, speckle_tail):
    """Against a separate integral over texture on another grid, with the speckle's tail by Imhof."""
    x, tail = speckle_tail
    looks = float(physics.LOOK_WEIGHTS.sum() ** 2 / (physics.LOOK_WEIGHTS**2).sum())
    if model == "k":
        texture = stats.gamma(1 / variance, scale=variance)
    else:
        texture = stats.lognorm(np.sqrt(np.log1p(variance)), scale=1 / np.sqrt(1 + variance))
    alone = speckle_spread(looks)
    spread = np.sqrt(alone**2 + variance * (1 - share) ** 2 * (1 + alone**2))
    at = np.linspace(-8, 6, 8001)
    for rate in (1e-4, 1e-6):
        factor = float(sea_factors(rate, model, looks).at(spread, share))
        level = share + (1 - share) * np.exp(at)
        beyond = np.exp(np.interp(np.log(factor / level), np.log(x), np.log(tail), left=0))
        probability = integrate.trapezoid(texture.pdf(np.exp(at)) * np.exp(at) * beyond, at)
        assert probability == pytest.approx(rate, rel=0.15)


@settings(deadline=None)
@given(spreads, spreads, shares, rates, models)
def test_more_spread_raises_the_threshold(first, second, share, rate, model):
    factors = sea_factors(rate, model)
    low, high = sorted((first, second))
    assert factors.at(low, share) <= factors.at(high, share) + 1e-12


@settings(deadline=None)
@given(spreads, shares, rates, rates, models)
def test_a_lower_rate_gives_a_subset(spread, share, first, second, model):
    low, high = sorted((first, second))
    for table in (sea_factors, scan_factors):
        assert table(low, model).at(spread, share) >= table(high, model).at(spread, share) - 1e-12


@given(spreads, shares, rates, models, st.sampled_from(sorted(set(NOMINAL_LOOKS.values()))))
@settings(deadline=None, max_examples=40)
def test_thresholds_are_above_the_mean_and_finite(spread, share, rate, model, looks):
    value = float(sea_factors(rate, model, looks).at(spread, share))
    assert 1 <= value < 1e5


@pytest.mark.parametrize("rate", [1e-4, 1e-7])
def test_both_models_meet_where_texture_vanishes(rate):
    alone = speckle_spread()
    k, lognormal = (sea_factors(rate, model).at([0.31, alone + 0.002, 0.5], 0.0) for model in MODELS)
    assert k[0] == pytest.approx(lognormal[0], rel=1e-9)  # less spread than speckle alone
    assert k[1] == pytest.approx(lognormal[1], rel=0.01)
    assert lognormal[2] > 1.05 * k[2]  # and part where it does not


def test_noise_makes_the_same_spread_rarer_and_higher():
    """Texture under noise must be stronger for the same spread, so its tail is heavier."""
    factors = sea_factors(1e-6, "lognormal")
    assert (np.diff(factors.at(0.4, np.linspace(0, 0.8, 9))) > 0).all()
    alone = speckle_spread()
    assert np.ptp(factors.at(alone * 0.99, factors.shares)) < 1e-9  # without texture, noise is speckle


def test_more_looks_than_stated_shrink_the_excess():
    factors = sea_factors(1e-6, "k")
    alone = speckle_spread()
    assert factors.at(0.0) == 1
    excess = factors.at(alone / 2) - 1
    assert excess == pytest.approx((factors.at(alone) - 1) / 2, rel=0.05)


def test_what_is_unknown_stays_unknown():
    factors = scan_factors(1e-6, "lognormal")
    assert np.isnan(factors.at(np.nan, 0.5)) and np.isnan(factors.at(0.4, np.nan))
    assert factors.at(50.0, 2.0) == factors.values[-1, -1]  # the edges stand in
    assert not factors.values.flags.writeable


@pytest.mark.parametrize("rate", [0.0, 0.5, -1e-6, float("nan"), 1e-12])
def test_a_rate_that_cannot_be_set_is_refused(rate):
    with pytest.raises(InputError, match="expected one from 1e-10 to 0.01"):
        sea_factors(rate, "k")


def test_an_unknown_model_or_no_looks_is_refused():
    with pytest.raises(InputError, match="expected 'k' or 'lognormal'"):
        scan_factors(1e-6, "gamma")
    with pytest.raises(InputError, match="equivalent looks"):
        sea_factors(1e-6, "k", 0.0)


# False alarms on a field of 2.4 million pixels, with a background evaluated here, plainly.

SIDE = 1536


@pytest.fixture(scope="module")
def speckle():
    rng = np.random.default_rng(11)
    weights = physics.LOOK_WEIGHTS / physics.LOOK_WEIGHTS.sum()
    looks = (np.abs(physics.band_limit(physics.white_noise(rng, SIDE, SIDE))) ** 2 for _ in weights)
    return sum(np.float32(weight) * look for weight, look in zip(weights, looks, strict=True))


@pytest.fixture(scope="module")
def normal():
    white = np.random.default_rng(12).standard_normal((SIDE, SIDE), np.float32)
    field = ndimage.gaussian_filter(white, 1.5, mode="wrap")
    return field / field.std()


def smooth_sea(speckle, normal, model, order, noise):
    if model == "k":
        texture = stats.gamma(order, scale=1 / order).ppf(stats.norm.cdf(np.linspace(-7, 7, 4001)))
    else:
        sigma = np.sqrt(np.log1p(1 / order))
        texture = np.exp(sigma * np.linspace(-7, 7, 4001) - sigma**2 / 2)
    power = np.interp(normal, np.linspace(-7, 7, 4001), texture).astype(np.float32)
    return ndimage.uniform_filter(((1 - noise) * power + noise) * speckle, 3, mode="wrap")


def background(smooth):
    """Mean and spread around each cell of 8 x 8 px: a ring of 6 to 16 cells, without its bright cells."""
    cells = smooth.astype(float).reshape(SIDE // 8, 8, SIDE // 8, 8)

    def ring(values):
        return ndimage.uniform_filter(values, 33, mode="wrap") * 33**2 - (
            ndimage.uniform_filter(values, 13, mode="wrap") * 13**2
        )

    level = np.log(cells.max((1, 3)))
    n = ring(np.ones_like(level))
    mean = ring(level) / n
    dark = (level <= mean + 3 * np.sqrt(ring(level**2) / n - mean**2)).astype(float)
    n = ring(dark)
    mean, square = (ring(dark * values.mean((1, 3))) / n for values in (cells, cells**2))
    return mean, np.sqrt(square - mean**2) / mean


@pytest.mark.parametrize(
    "model, order, noise",
    [("k", 1e6, 0.0), ("k", 5.0, 0.0), ("lognormal", 5.0, 0.0), ("lognormal", 5.0, 0.5)],
    ids=["speckle", "K", "log-normal", "log-normal under noise"],
)
def test_false_alarms_match_their_setting(speckle, normal, model, order, noise):
    smooth = smooth_sea(speckle, normal, model, order, noise)
    mean, spread = background(smooth)
    for rate in (1e-4, 1e-5):
        limit = mean * scan_factors(rate, model).at(spread, noise / mean)
        over = smooth > np.kron(limit, np.ones((8, 8)))
        assert 0.5 < over.mean() / rate < 2, rate
        line, sample = np.nonzero(over)
        plain = np.ones((len(line), 1))
        pixels = Pixels(line, sample, np.zeros(len(line), bool), plain > 0, plain, plain)
        predicted = false_alarms_per_km2(rate, float(np.median(spread)), (10.0, 10.0)) * SIDE**2 * 1e-4
        assert 0.5 < len(join(pixels, 3, 1e9)) / predicted < 2, rate


def test_the_wrong_texture_is_told_by_its_false_alarms(speckle, normal):
    """K thresholds on log-normal sea are too low: the models are not interchangeable."""
    smooth = smooth_sea(speckle, normal, "lognormal", 5.0, 0.0)
    mean, spread = background(smooth)
    rates = [
        (smooth > np.kron(mean * scan_factors(1e-5, model).at(spread), np.ones((8, 8)))).mean() / 1e-5
        for model in MODELS
    ]
    assert rates[0] > 2.5 > rates[1]


def test_candidates_by_chance_scale_with_area_and_rate():
    fine = false_alarms_per_km2(1e-6, 0.4, (10.0, 10.0))
    assert false_alarms_per_km2(1e-6, 0.4, (40.0, 40.0)) == pytest.approx(fine / 16)
    assert 8 < false_alarms_per_km2(1e-5, 0.4, (10.0, 10.0)) / fine < 10  # clumps shrink as they get rare
    assert false_alarms_per_km2(1e-6, speckle_spread(IW_LOOKS), (10.0, 10.0)) > fine
