"""Random fields of any size, read window by window: the same seed gives the same field everywhere.

White noise is drawn in stripes of lines, each from a generator of its own, so that a block of lines can
be made without the blocks before it. Smooth fields are cubic splines over a lattice of normal numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.simulate import physics

STRIPE = 32
HALO = 32  # lines and samples that a filter may reach beyond a block


def stripes(
    key: tuple[int, ...],
    first_line: int,
    lines: int,
    draw: Callable[[np.random.Generator, int], NDArray[Any]],
) -> NDArray[Any]:
    """Return lines of a field that is drawn stripe by stripe.

    Args:
        key: seeds the field.
        first_line: first line; may be negative down to -STRIPE.
        lines: number of lines.
        draw: draws a number of lines from a generator.
    """
    first, last = first_line // STRIPE, (first_line + lines - 1) // STRIPE
    parts = [draw(np.random.default_rng([*key, index + 1]), STRIPE) for index in range(first, last + 1)]
    start = first_line - first * STRIPE
    return np.concatenate(parts)[start : start + lines]


def speckle(key: tuple[int, ...], first_line: int, lines: int, samples: int) -> NDArray[np.complex64]:
    """Return a block of a unit complex field limited to the radar's band, [lines, samples]."""
    rows, cols = _good_size(lines), _good_size(samples)
    white = stripes(key, first_line - HALO, rows, lambda rng, n: physics.white_noise(rng, n, cols))
    return physics.band_limit(white)[HALO : HALO + lines, HALO : HALO + samples]


def texture(
    key: tuple[int, ...], first_line: int, lines: int, samples: int, scale_px: float
) -> NDArray[np.float32]:
    """Return a block of a Gaussian field of unit variance and a short correlation, [lines, samples]."""
    from scipy import fft

    rows, cols = _good_size(lines), _good_size(samples)
    white = stripes(key, first_line - HALO, rows, lambda rng, n: rng.standard_normal((n, cols), np.float32))
    down, across = fft.fftfreq(rows).astype(np.float32), fft.rfftfreq(cols).astype(np.float32)
    decay = np.float32(-2 * (np.pi * scale_px) ** 2)
    spectrum = fft.rfft2(white)
    spectrum *= np.exp(decay * down**2)[:, None]
    spectrum *= np.exp(decay * across**2)
    smooth = fft.irfft2(spectrum, (rows, cols))[HALO : HALO + lines, HALO : HALO + samples]
    # the kernel's energy is 1 / (4 pi scale^2)
    return np.asarray(smooth * np.float32(2 * np.sqrt(np.pi) * scale_px))


def _good_size(size: int) -> int:
    from scipy import fft

    return int(fft.next_fast_len(size + 2 * HALO))


class SmoothField:
    """A Gaussian field of about unit variance that varies over some distance."""

    def __init__(self, rng: np.random.Generator, shape: tuple[int, int], scale_px: float) -> None:
        self._step = scale_px
        size = [int(np.ceil(length / scale_px)) + 4 for length in shape]
        # a cubic B-spline of white values has a mean variance of (151 / 315)^2
        self._values = (rng.standard_normal(size) / (151 / 315)).astype(np.float32)

    def window(
        self, line: float, sample: float, lines: int, samples: int, *, step: float = 1.0
    ) -> NDArray[np.float32]:
        """Return the field on a regular grid that starts at a place, [lines, samples]."""
        rows = _interpolate(self._values, (line + step * np.arange(lines)) / self._step)
        return np.asarray(_interpolate(rows.T, (sample + step * np.arange(samples)) / self._step).T)

    def at(self, line_px: NDArray[np.floating], sample_px: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return the field at places, [...]; beyond the field's shape its edge goes on."""
        i, down = _taps(line_px / self._step, self._values.shape[0])
        j, across = _taps(sample_px / self._step, self._values.shape[1])
        total = np.zeros(np.shape(line_px), np.float32)
        for a in range(4):
            for b in range(4):
                total += down[a] * across[b] * self._values[i + a, j + b]
        return total


def _taps(position: NDArray[np.floating], size: int) -> tuple[NDArray[np.intp], list[NDArray[np.float32]]]:
    """Return the first of four lattice points and the cubic B-spline's weights."""
    position = np.clip(position, 0, size - 4)
    first = np.minimum(np.floor(position).astype(np.intp), size - 4)
    t = position - first
    weights = [
        (1 - t) ** 3 / 6,
        (3 * t**3 - 6 * t**2 + 4) / 6,
        (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6,
        t**3 / 6,
    ]
    return first, [weight.astype(np.float32) for weight in weights]


def _interpolate(values: NDArray[np.float32], position: NDArray[np.floating]) -> NDArray[np.float32]:
    first, weights = _taps(position, len(values))
    total = weights[0][:, None] * values[first]
    for tap in range(1, 4):
        total += weights[tap][:, None] * values[first + tap]
    return total
