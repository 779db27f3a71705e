"""The pixels of a simulated pass, block by block.

Blocks are lines of the base grid, which all passes of a scene share: coast, structures and fixed objects
are the same in every pass, the sea, the speckle and the phases are a pass's own. A block needs no other
block, so the image does not depend on the order they are made in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engine.simulate import clutter, fields, physics, traffic
from engine.simulate.acquisition import Acquisition
from engine.simulate.objects import SceneStatistics
from engine.simulate.radiometry import Tables
from engine.simulate.terrain import Terrain
from engine.simulate.traffic import Placed

BLOCK_LINES = 512
POLARISATIONS = ("VV", "VH")


class Layer(Protocol):
    """What lies over sea and land and is no object: ice, interference, quays."""

    def lay(self, power: NDArray[np.float32], first_line: int) -> None:
        """Change the mean power of some lines of the image, [2, lines, W], in place."""


@dataclass(frozen=True, eq=False)
class Pass:
    """One acquisition of a scene.

    Attributes:
        key: seeds what is this pass's own.
        grid: geometry of the image.
        offset: line and sample of the image's first pixel on the base grid.
        base_shape: lines and samples of the base grid.
        tables: calibration and noise, VV and VH.
        objects: everything in the image, on the image's grid.
        state: wind and mean backscatter at mid image.
        border: no-data at the image's edges.
        layers: laid over sea and land in this order.
        polarisations: what the product holds: VV and VH, or the first alone; under the names HH and HV where
            the state is that of a sea in HH.
    """

    key: tuple[int, ...]
    grid: Acquisition
    offset: tuple[int, int]
    base_shape: tuple[int, int]
    tables: tuple[Tables, Tables]
    objects: list[Placed]
    state: clutter.SeaState
    border: Border
    layers: Sequence[Layer] = ()
    polarisations: tuple[str, ...] = POLARISATIONS


class Border:
    """Stepped no-data at some edges, as ground range projection and slicing leave it."""

    def __init__(self, rng: np.random.Generator, shape: tuple[int, int], seams: list[int]) -> None:
        steps = shape[0] // 600 + 2
        reach = max(1, min(60, shape[1] // 20))
        self._left = np.cumsum(rng.integers(0, 4, steps)) if rng.random() < 0.6 else np.zeros(steps, int)
        self._right = rng.integers(0, reach, steps) if rng.random() < 0.6 else np.zeros(steps, int)
        self._first = np.zeros(shape[1], int)
        if rng.random() < 0.5:  # the swaths of a first slice begin at different lines
            start = int(rng.integers(0, max(2, min(120, shape[0] // 20))))
            for seam, end in zip([0, *seams], [*seams, shape[1]], strict=True):
                self._first[seam:end] = start
                start += int(rng.integers(10, 60))
        self._lines, self._samples = shape

    @classmethod
    def none(cls, shape: tuple[int, int]) -> Border:
        """Return a border that takes nothing off."""
        border = cls(np.random.default_rng(0), shape, [])
        border._left, border._right = np.zeros_like(border._left), np.zeros_like(border._right)
        border._first = np.zeros_like(border._first)
        return border

    def valid(self, first_line: int, lines: int) -> NDArray[np.bool_]:
        """Return where there is data in some lines, [lines, W]."""
        line = first_line + np.arange(lines)
        step = np.clip(line // 600, 0, len(self._left) - 1)
        sample = np.arange(self._samples)
        inside = (sample >= self._left[step][:, None]) & (sample < self._samples - self._right[step][:, None])
        return inside & (line[:, None] >= self._first)

    def beyond(self, first_line: int, lines: int, band: int) -> NDArray[np.uint16]:
        """Return the digital numbers where there is no data; broadcasts to [lines, W]."""
        return np.zeros((1, 1), np.uint16)

    def holds(self, line_px: float, sample_px: float) -> bool:
        """Return whether there is data at a place."""
        line, sample = round(line_px), round(sample_px)
        if not (0 <= line < self._lines and 0 <= sample < self._samples):
            return False
        return bool(self.valid(line, 1)[0, sample])


class _Sea:
    """Mean power of a pass's sea on the base grid."""

    def __init__(
        self, key: tuple[int, ...], state: clutter.SeaState, shape: tuple[int, int], stats: SceneStatistics
    ) -> None:
        rng = np.random.default_rng(key)
        self._key, self._state, self._shape = key, state, shape
        order = float(
            np.exp(rng.uniform(np.log(max(stats.texture_order[0], 5.0)), np.log(stats.texture_order[1])))
        )
        self._spread = np.float32(np.sqrt(np.log1p(1 / order)))
        self._scale = float(rng.choice([1.0, 2.0, 4.0]))
        self._wind = fields.SmoothField(rng, shape, 400.0)
        self._gusts = fields.SmoothField(rng, shape, 30.0)
        self._slicks = fields.SmoothField(rng, shape, 110.0) if rng.random() < 2 * stats.slick_share else None
        self._slick_depth = float(rng.uniform(0.8, 2.2))

    def block(
        self, first_line: int, lines: int, incidence_offset_deg: NDArray[np.floating]
    ) -> NDArray[np.float32]:
        """Return VV and VH without noise, [2, lines, W]."""
        samples = self._shape[1]
        log_texture = self._spread * fields.texture((*self._key, 1), first_line, lines, samples, self._scale)
        log_texture -= self._spread**2 / 2
        log_texture += 0.2 * self._wind.window(first_line, 0, lines, samples)
        log_texture += 0.07 * self._gusts.window(first_line, 0, lines, samples)
        if self._slicks is not None:
            depth = np.clip((self._slicks.window(first_line, 0, lines, samples) - 1.1) * 4, 0, 1)
            log_texture -= np.float32(self._slick_depth) * depth
        vv, vh = physics.from_db(np.array(self._state.sea_db)).astype(np.float32)
        slope = physics.from_db(-0.4 * incidence_offset_deg).astype(np.float32)
        return np.stack([vv * slope * np.exp(log_texture), vh * np.exp(0.5 * log_texture)])


def blocks(scene: Pass, terrain: Terrain, stats: SceneStatistics) -> Iterator[tuple[int, NDArray[np.uint16]]]:
    """Yield the image from first line to last: first line of a block, digital numbers [2, lines, W]."""
    sea = _Sea((*scene.key, 0), scene.state, scene.base_shape, stats)
    first_base, last_base = scene.offset[0], scene.offset[0] + scene.grid.shape[0]
    for block in range(first_base // BLOCK_LINES, (last_base - 1) // BLOCK_LINES + 1):
        yield _block(scene, terrain, sea, block)


def _block(scene: Pass, terrain: Terrain, sea: _Sea, block: int) -> tuple[int, NDArray[np.uint16]]:
    samples = scene.grid.shape[1]
    start = block * BLOCK_LINES
    stop = min(start + BLOCK_LINES, scene.base_shape[0])
    across = np.linspace(0, samples - 1, 33)
    middle = scene.grid.shape[0] / 2
    incidence = np.interp(
        np.arange(scene.base_shape[1]) - scene.offset[1], across, scene.grid.incidence_deg(middle, across)
    )
    power = sea.block(start, stop - start, incidence - scene.state.incidence_deg)
    ground = terrain.block(block, start, stop - start)
    # from here on only the image's window, on the image's grid
    low, high = max(start, scene.offset[0]), min(stop, scene.offset[0] + scene.grid.shape[0])
    window = (slice(low - start, high - start), slice(scene.offset[1], scene.offset[1] + samples))
    power = power[:, window[0], window[1]]
    first, lines = low - scene.offset[0], high - low
    wakes(scene, power, first)
    if ground is not None:
        power = np.where(ground[0][window], ground[1][:, window[0], window[1]], power)
    for layer in scene.layers:
        layer.lay(power, first)
    numbers = np.empty((2, lines, samples), np.uint16)
    valid = scene.border.valid(first, lines)
    echoes = _echoes(scene, first, (lines, samples))
    for band, tables in enumerate(scene.tables):
        calibration = tables.calibration(first, lines)
        amplitude = np.sqrt(power[band] + tables.noise(first, lines) / calibration**2)
        looks = (  # one at a time: a look of a whole swath's block takes 100 MB
            fields.speckle((*scene.key, 1, band, look), low, lines, samples) for look in range(physics.LOOKS)
        )
        intensity = physics.detect(
            looks, amplitude, [(rows, cols, echo[band]) for rows, cols, echo in echoes]
        )
        digital = np.clip(np.rint(np.sqrt(intensity) * calibration), 1, 65535)
        numbers[band] = np.where(valid, digital, scene.border.beyond(first, lines, band)).astype(np.uint16)
    return first, numbers


def _echoes(
    scene: Pass, first_line: int, shape: tuple[int, int]
) -> list[tuple[slice, slice, NDArray[np.complex64]]]:
    found = []
    for number, entry in enumerate(scene.objects):
        line = entry.line_px - first_line
        reach = entry.body.reach_px()
        span = np.abs(entry.body.line_px).max() + reach
        if line + span < 0 or line - span >= shape[0]:
            continue
        rng = np.random.default_rng([*scene.key, 2, number])
        patch = physics.render_points(
            rng,
            entry.body.line_px + line,
            entry.body.sample_px + entry.sample_px,
            entry.body.powers,
            shape,
            reach,
        )
        if patch is not None:
            found.append(patch)
    return found


def wakes(scene: Pass, power: NDArray[np.float32], first_line: int) -> None:
    """Draw the movers' wakes into some lines of the sea, [2, lines, W], in place."""
    reach = 400
    for number, entry in enumerate(scene.objects):
        if entry.body.wake_px is None or entry.ghost_of is not None:
            continue
        line = entry.line_px + entry.body.wake_px - first_line
        rows = slice(max(0, int(line) - reach), max(0, min(power.shape[1], int(line) + reach)))
        cols = slice(max(0, int(entry.sample_px) - reach), int(entry.sample_px) + reach)
        part = power[:, rows, cols]
        if part.size:
            rng = np.random.default_rng([*scene.key, 3, number])
            origin = (line - rows.start, entry.sample_px - cols.start)
            clutter.add_wake(rng, part, origin, entry.body.axis_deg, entry.body.length_m)


def contrast_db(scene: Pass, entry: traffic.Placed) -> float:
    """Return an object's noise-free peak over the mean sea and noise, in the better polarisation."""
    line, sample = round(entry.line_px), round(entry.sample_px)
    floor = []
    for band, tables in enumerate(scene.tables):
        calibration = float(np.interp(sample, tables.pixels, tables.sigma_nought[0]))
        noise = float(tables.noise(line, 1)[0, min(max(sample, 0), scene.grid.shape[1] - 1)]) / calibration**2
        floor.append(float(physics.from_db(scene.state.sea_db[band])) + noise)
    return float(physics.to_db(entry.body.peak() / np.array(floor)).max())
