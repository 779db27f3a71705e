"""What lies between the objects: sea under wind, swell and slicks, coast, land, rocks.

A chip's clutter is its mean power without speckle; physics.detect makes the image of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.simulate import landcover, physics
from engine.simulate.objects import DEFAULT, SceneStatistics

SCALES_PX = (1.0, 2.0, 4.0, 10.0, 25.0)


class TextureBank:
    """Smooth Gaussian fields of unit variance at a few scales; a chip takes random cuts."""

    def __init__(self, rng: np.random.Generator, size: int = 768) -> None:
        self._size = size
        frequency = np.fft.fftfreq(size) ** 2
        half = np.fft.rfftfreq(size) ** 2
        self._fields = {}
        for scale in SCALES_PX:
            spectrum = np.fft.rfft2(rng.standard_normal((size, size), np.float32))
            spectrum *= np.exp(-2 * (np.pi * scale) ** 2 * (frequency[:, None] + half))
            field = np.fft.irfft2(spectrum, (size, size))
            self._fields[scale] = (field / field.std()).astype(np.float32)

    def cut(self, rng: np.random.Generator, scale_px: float, size: int) -> NDArray[np.float32]:
        """Return a random view of the field of one of SCALES_PX, [size, size]."""
        line, sample, turn = rng.integers([self._size - size, self._size - size, 8])
        field = self._fields[scale_px][line : line + size, sample : sample + size]
        field = field[:: 1 if turn & 1 else -1, :: 1 if turn & 2 else -1]
        return np.asarray(field.T if turn & 4 else field)


@dataclass(frozen=True)
class SeaState:
    """Wind, geometry and noise of one chip or scene; means in dB."""

    wind_m_s: float
    incidence_deg: float
    sea_db: tuple[float, float]  # VV, VH without noise
    noise_db: tuple[float, float]

    def floor(self) -> NDArray[np.floating]:
        """Return mean sea and noise power together, VV and VH, [2]."""
        return physics.from_db(np.array(self.sea_db)) + physics.from_db(np.array(self.noise_db))


def draw_sea_state(
    rng: np.random.Generator, stats: SceneStatistics = DEFAULT, wind_m_s: float | None = None
) -> SeaState:
    """Draw wind, incidence and noise."""
    shape, scale = stats.wind_m_s
    wind = float(np.clip(rng.gamma(shape, scale), 0.5, 20.0)) if wind_m_s is None else wind_m_s
    incidence = float(rng.uniform(*stats.incidence_deg))
    vv, vh = physics.sea_sigma0_db(wind, incidence, float(rng.uniform(0, 360)))
    noise = tuple(float(rng.uniform(*bounds)) for bounds in stats.noise_db)
    return SeaState(wind, incidence, (max(vv, -30.0), vh), (noise[0], noise[1]))


def draw_sea(
    rng: np.random.Generator,
    bank: TextureBank,
    state: SeaState,
    size: int,
    stats: SceneStatistics = DEFAULT,
    order: float | None = None,
) -> NDArray[np.float32]:
    """Draw the sea's mean power in VV and VH, without noise, [2, size, size]."""
    low, high = np.log(stats.texture_order)
    order = float(np.exp(rng.uniform(low, high))) if order is None else order
    spread = np.sqrt(np.log1p(1 / order))  # log-normal texture of variance 1 / order
    scale = SCALES_PX[int(rng.integers(1, 4)) if rng.random() < 0.7 else 0]
    log_texture = spread * bank.cut(rng, scale, size) - spread**2 / 2
    log_texture += rng.uniform(0.03, 0.2) * bank.cut(rng, SCALES_PX[4], size)
    if rng.random() < stats.swell_share:
        log_texture += _swell(rng, bank, size)
    if rng.random() < stats.slick_share:
        patch = bank.cut(rng, SCALES_PX[int(rng.integers(3, 5))], size)
        edge = np.clip((patch - rng.uniform(0.3, 1.5)) * rng.uniform(2, 6), 0, 1)
        log_texture -= edge * rng.uniform(0.8, 2.5)
    power = physics.from_db(np.array(state.sea_db)).astype(np.float32)
    # cross-polarised texture follows at half strength
    return np.stack([power[0] * np.exp(log_texture), power[1] * np.exp(0.5 * log_texture)])


def draw_seam(rng: np.random.Generator, size: int) -> NDArray[np.float32]:
    """Draw the seam of two swaths along a sample: a step of the noise power, [2, 1, size].

    The noise of neighbouring swaths differs by a few dB, which shows in VH over the sea.
    """
    step_db = rng.uniform(0.5, 3.5) * rng.choice([-1, 1])
    beyond = np.arange(size) >= rng.uniform(0.05, 0.95) * size
    step = np.where(beyond, physics.from_db(step_db), 1.0)
    return np.broadcast_to(step.astype(np.float32), (2, 1, size))


def _swell(rng: np.random.Generator, bank: TextureBank, size: int) -> NDArray[np.float32]:
    angle, wavelength = rng.uniform(0, np.pi), rng.uniform(7, 30)
    grid = np.arange(size, dtype=np.float32)
    phase = grid[:, None] * np.float32(np.cos(angle)) + grid * np.float32(np.sin(angle))
    phase = 2 * np.pi / wavelength * phase + bank.cut(rng, SCALES_PX[4], size)
    return np.asarray(np.float32(rng.uniform(0.05, 0.35)) * np.cos(phase))


def add_wake(
    rng: np.random.Generator,
    power: NDArray[np.float32],
    origin_px: tuple[float, float],
    axis_deg: float,
    length_m: float,
) -> None:
    """Draw a turbulent wake into the sea: a dark band behind the origin, sometimes with a bright edge.

    Args:
        rng: draws strength, width and which way the ship goes.
        power: the sea's power, [2, H, W], changed in place.
        origin_px: line and sample of the ship's true place.
        axis_deg: the ship's axis, clockwise from up.
        length_m: the ship's length.
    """
    angle = np.radians(axis_deg + (180 if rng.random() < 0.5 else 0))
    line = np.arange(power.shape[1], dtype=np.float32)[:, None] - origin_px[0]
    sample = np.arange(power.shape[2], dtype=np.float32) - origin_px[1]
    behind = line * np.cos(angle) - sample * np.sin(angle)
    aside = line * np.sin(angle) + sample * np.cos(angle)
    reach = rng.uniform(5, 20) * length_m / physics.SPACING_M
    fade = np.where(behind > 0, np.exp(-np.maximum(behind, 0) / reach), 0)
    width = rng.uniform(1.0, 2.5)
    change = -rng.uniform(0.4, 1.5) * np.exp(-((aside / width) ** 2))
    if rng.random() < 0.5:
        change += rng.uniform(0.3, 1.2) * np.exp(-(((np.abs(aside) - 2 * width) / 1.2) ** 2))
    power *= np.exp(change * fade).astype(np.float32)


def coast_field(rng: np.random.Generator, bank: TextureBank, size: int) -> NDArray[np.float32]:
    """Draw a coast: positive on land, about the distance to the shore in samples, [size, size]."""
    angle = rng.uniform(0, 2 * np.pi)
    grid = np.arange(size, dtype=np.float32) - size / 2
    plane = grid[:, None] * np.cos(angle) + grid * np.sin(angle)
    rough = rng.uniform(1, 14) * bank.cut(rng, SCALES_PX[4], size) + rng.uniform(0.5, 6) * bank.cut(
        rng, SCALES_PX[3], size
    )
    fine = rng.uniform(0, 1.5) * bank.cut(rng, SCALES_PX[1], size)
    return np.asarray((plane + rough + fine - rng.uniform(-0.1, 0.5) * size).astype(np.float32))


def rock_field(rng: np.random.Generator, bank: TextureBank, size: int, margin_px: int) -> NDArray[np.float32]:
    """Draw a few rocks: positive on rock, [size, size]."""
    grid = np.arange(size, dtype=np.float32)
    field = np.full((size, size), -size, np.float32)
    for _ in range(int(rng.integers(1, 5))):
        line, sample = rng.uniform(margin_px, size - margin_px, 2)
        stretch, angle = rng.uniform(0.5, 1.0), rng.uniform(0, np.pi)
        down, across = grid[:, None] - line, grid - sample
        u = down * np.cos(angle) + across * np.sin(angle)
        v = (across * np.cos(angle) - down * np.sin(angle)) / stretch
        field = np.maximum(field, rng.uniform(0.8, 6) - np.hypot(u, v))
    return field + 0.7 * bank.cut(rng, SCALES_PX[1], size)


def draw_land(
    rng: np.random.Generator, bank: TextureBank, coast: NDArray[np.float32]
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Draw land cover and its mean power.

    Args:
        rng: draws everything.
        bank: smooth fields.
        coast: positive on land, [size, size].

    Returns:
        Class at each sample were it land, [size, size]; power in VV and VH, [2, size, size].
    """
    size = len(coast)
    weights = np.array(landcover.COAST_WEIGHTS)
    first, second = rng.choice(len(weights), 2, p=weights / weights.sum())
    split = bank.cut(rng, SCALES_PX[3], size) > rng.uniform(-0.5, 1.5)
    labels = np.where(split, second, first).astype(np.int8)
    power = np.empty((2, size, size), np.float32)
    rough = 0.35 * bank.cut(rng, SCALES_PX[0], size) + rng.uniform(0.1, 0.5) * bank.cut(
        rng, SCALES_PX[2], size
    )
    for label in {int(first), int(second)}:
        mean_db = landcover.backscatter_db(label)
        level = mean_db[:, 0] + mean_db[:, 1] * 0.7 * rng.standard_normal() + 0.5
        power[:, labels == label] = physics.from_db(level)[:, None]
    power *= np.exp(rough)
    power += structures(rng, labels, coast)
    if rng.random() < 0.4:  # surf or a cliff
        power *= np.where(np.abs(coast - 1) < 1.5, np.float32(rng.uniform(1.2, 4)), np.float32(1))
    return labels, power


def structures(
    rng: np.random.Generator, labels: NDArray[np.integer], coast: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Draw the power of buildings, quays and masts: bright points, dense where land is built.

    Args:
        rng: draws places and powers.
        labels: classes, [H, W].
        coast: distance to the shore in samples, positive on land, [H, W].

    Returns:
        Power in VV and VH, [2, H, W].
    """
    from scipy.ndimage import gaussian_filter

    built = landcover.CLASSES.index("built")
    chance = np.where(labels == built, 0.05, 0.0015)
    chance[(coast > 0) & (coast < 2.5) & (labels == built)] = 0.12  # quays
    places = rng.random(labels.shape) < chance
    points = np.zeros((2, *labels.shape), np.float32)
    count = int(places.sum())
    bright_db = rng.normal(4.0, 5.0, count)
    points[0][places] = physics.from_db(bright_db)
    points[1][places] = physics.from_db(bright_db - rng.normal(7.0, 2.5, count))
    return np.asarray(4.0 * gaussian_filter(points, (0, 0.8, 0.8)))
