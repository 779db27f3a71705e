"""The physics of a detected radar image: speckle, point response, looks, backscatter of the sea.

An IW GRDH sample is the weighted sum of five looks. Each look is a complex field: clutter and noise are
circular Gaussian fields limited to the band of the processor, and a scatterer is the response of the
same band with a phase of its own in every look. So speckle is correlated, noise speckles, and hulls
interfere with themselves and with the sea.

Distances are in samples of 10 m, powers are linear sigma0 unless a name says dB.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

SPACING_M = 10.0
PIXEL_AREA_M2 = SPACING_M**2
BANDWIDTH = 0.46  # processed band, cycles per sample: a resolution of about 22 m at 10 m
HAMMING = 0.75
LOOK_WEIGHTS = np.array([0.4, 1.0, 1.0, 1.0, 0.4])
LOOKS = len(LOOK_WEIGHTS)


def from_db(value_db: NDArray[np.floating] | float) -> NDArray[np.floating]:
    """Return the linear power of decibels."""
    return np.power(10.0, np.asarray(value_db) / 10.0)


def to_db(power: NDArray[np.floating] | float) -> NDArray[np.floating]:
    """Return the decibels of a linear power; powers are floored at 1e-10."""
    return 10.0 * np.log10(np.maximum(power, 1e-10))


def point_response(distance_px: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the amplitude of a point's echo at a distance along one axis, 1 at the centre.

    The inverse transform of a Hamming window (HAMMING) over the band BANDWIDTH.
    """
    x = BANDWIDTH * np.asarray(distance_px, np.float64)
    side = (1 - HAMMING) / 2
    return (HAMMING * np.sinc(x) + side * (np.sinc(x - 1) + np.sinc(x + 1))) / HAMMING


def _half_width_px(level_db: float) -> float:
    fine = np.arange(0, 3, 1e-3)
    return float(fine[np.argmax(point_response(fine) ** 2 < 10 ** (level_db / 10))])


# Where a point's power has fallen by 10 dB, samples from its centre: what the blur adds to a side.
POINT_HALF_WIDTH_PX = _half_width_px(-10.0)
# Summed power of a point of unit peak, samples: its peak sigma0 is RCS / (this * PIXEL_AREA_M2).
POINT_ENERGY_PX = float((point_response(np.arange(-512, 513) + 0.0) ** 2).sum() ** 2)


def _transfer(size: int) -> NDArray[np.float32]:
    frequency = np.fft.fftfreq(size)
    window = HAMMING + (1 - HAMMING) * np.cos(2 * np.pi * frequency / BANDWIDTH)
    return np.where(np.abs(frequency) <= BANDWIDTH / 2, window, 0.0).astype(np.float32)


def band_limit(white: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Limit white complex noise of unit variance to the band; the result has unit variance.

    Args:
        white: noise, [H, W]; the filter is circular, so callers cut a margin off where that matters.
    """
    from scipy import fft

    rows, cols = _transfer(white.shape[0]), _transfer(white.shape[1])
    rows /= np.sqrt(np.mean(rows**2))
    cols /= np.sqrt(np.mean(cols**2))
    spectrum = fft.fft2(white, overwrite_x=True)
    spectrum *= rows[:, None]
    spectrum *= cols
    return np.asarray(fft.ifft2(spectrum, overwrite_x=True))


def white_noise(rng: np.random.Generator, lines: int, samples: int) -> NDArray[np.complex64]:
    """Draw circular complex Gaussian noise of unit variance, [lines, samples]."""
    parts = rng.standard_normal((lines, samples, 2), np.float32)
    parts *= np.float32(np.sqrt(0.5))
    return parts.view(np.complex64)[..., 0]


class SpeckleBank:
    """Unit complex fields made once, from which every look of a chip is a random cut.

    Cutting, mirroring and turning a field costs microseconds; filtering a fresh one milliseconds.
    """

    def __init__(self, rng: np.random.Generator, fields: int = 4, size: int = 768) -> None:
        self._fields = [band_limit(white_noise(rng, size, size)) for _ in range(fields)]
        self._size = size

    def cut(self, rng: np.random.Generator, size: int) -> NDArray[np.complex64]:
        """Return a view of one field, [size, size]."""
        index, line, sample, turn = rng.integers(
            [len(self._fields), self._size - size, self._size - size, 8], dtype=np.int64
        )
        field = self._fields[index][line : line + size, sample : sample + size]
        field = field[:: 1 if turn & 1 else -1, :: 1 if turn & 2 else -1]
        return np.asarray(field.T if turn & 4 else field)


def detect(
    fields: Iterable[NDArray[np.complex64]],
    amplitude: NDArray[np.float32],
    echoes: list[tuple[slice, slice, NDArray[np.complex64]]],
) -> NDArray[np.float32]:
    """Add clutter and echoes in every look, detect, and sum the looks.

    Args:
        fields: a unit complex field for each look, [H, W].
        amplitude: the square root of clutter plus noise, [H, W].
        echoes: patches of echoes: lines, samples, and the complex amplitude, [LOOKS, h, w].

    Returns:
        Intensity, noise left in, [H, W].
    """
    total = np.zeros(amplitude.shape, np.float32)
    weights = LOOK_WEIGHTS / LOOK_WEIGHTS.sum()
    for look, (weight, unit) in enumerate(zip(weights, fields, strict=True)):
        field = unit * amplitude
        for lines, samples, echo in echoes:
            field[lines, samples] += echo[look]
        power = np.square(field.real)
        power += np.square(field.imag)
        power *= np.float32(weight)
        total += power
    return total


def render_points(
    rng: np.random.Generator,
    line_px: NDArray[np.floating],
    sample_px: NDArray[np.floating],
    powers: NDArray[np.floating],
    shape: tuple[int, int],
    reach_px: float,
) -> tuple[slice, slice, NDArray[np.complex64]] | None:
    """Render point scatterers: the band's response with a random phase in every look.

    Args:
        rng: draws the phases.
        line_px: lines of the scatterers, [K].
        sample_px: samples of the scatterers, [K].
        powers: peak sigma0 of each scatterer, one row for each polarisation, [P, K].
        shape: lines and samples of the image; what lies outside is left out.
        reach_px: how far beyond the outermost scatterer the response is followed.

    Returns:
        Lines, samples and complex amplitude [P, LOOKS, h, w]; None where nothing falls into the image.
    """
    lines = _span(line_px, shape[0], reach_px)
    samples = _span(sample_px, shape[1], reach_px)
    phases = rng.uniform(0, 2 * np.pi, (len(powers), LOOKS, len(line_px)))
    if lines.start >= lines.stop or samples.start >= samples.stop:
        return None
    down = point_response(np.arange(lines.start, lines.stop)[:, None] - line_px).astype(np.float32)
    across = point_response(np.arange(samples.start, samples.stop)[:, None] - sample_px).astype(np.float32)
    amplitude = np.sqrt(powers)[:, None, :] * np.exp(1j * phases)
    echo = (down * amplitude.astype(np.complex64)[:, :, None, :]) @ across.T
    return lines, samples, echo


def expected_power(
    line_px: NDArray[np.floating],
    sample_px: NDArray[np.floating],
    powers: NDArray[np.floating],
) -> NDArray[np.floating]:
    """Return the mean power of scatterers on a grid around them, over all phases, [P, h, w]."""
    margin = 3
    lines = np.arange(int(line_px.min()) - margin, int(line_px.max()) + margin + 2)
    samples = np.arange(int(sample_px.min()) - margin, int(sample_px.max()) + margin + 2)
    down = point_response(lines[:, None] - line_px) ** 2
    across = point_response(samples[:, None] - sample_px) ** 2
    return np.asarray((down * powers[:, None, :]) @ across.T)


def _span(positions: NDArray[np.floating], size: int, reach_px: float) -> slice:
    first = int(np.floor(positions.min() - reach_px))
    last = int(np.ceil(positions.max() + reach_px)) + 1
    return slice(min(max(first, 0), size), min(max(last, 0), size))


def vv_over_hh_db(incidence_deg: float) -> float:
    """Return by how many dB the sea is brighter in VV than in HH.

    ((1 + 2 tan^2) / (1 + a tan^2))^2 with a = 0.6 at C band (Thompson, Elfouhaily and Chapron, 1998).
    """
    slope = np.tan(np.radians(incidence_deg)) ** 2
    return float(20 * np.log10((1 + 2 * slope) / (1 + 0.6 * slope)))


def sea_sigma0_db(wind_m_s: float, incidence_deg: float, wind_angle_deg: float) -> tuple[float, float]:
    """Return the mean sigma0 of the sea in VV and VH.

    VV: a fit by eye to CMOD5 at 30 to 46 degrees (about -15 dB at 7 m/s and 35 degrees, 16 dB for each
    decade of wind, -0.4 dB a degree, 2 dB up and down with the wind's direction). VH: linear in wind
    (Vachon and Wolfe 2011), without direction.

    Args:
        wind_m_s: wind speed at 10 m.
        incidence_deg: angle of incidence.
        wind_angle_deg: direction of the wind against the look direction.
    """
    decade = np.log10(max(wind_m_s, 0.5) / 7.0)
    vv = -15.0 + 16.0 * decade - 0.4 * (incidence_deg - 35.0) + 2.0 * np.cos(2 * np.radians(wind_angle_deg))
    return float(vv), float(-35.65 + 0.58 * wind_m_s - 0.1 * (incidence_deg - 35.0))
