"""Training chips: pixels as the daemon would cut them, with truth and prior, a few milliseconds each.

Chip ``i`` of a seed is drawn from a generator of its own, so a longer set begins with the shorter one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError
from engine.runtime.image import CHIP_PX, MARGIN_PX, channels
from engine.runtime.prior import ANCHORS, anchor_positions
from engine.simulate import clutter, landcover, objects, physics
from engine.simulate.objects import DEFAULT, Body, SceneStatistics

_EMPTY = {"open": 0.27, "rough": 0.13, "calm": 0.1, "peak": 0.2, "ghost": 0.1, "coast": 0.12, "rocks": 0.08}
_FILLED = {
    "ships": 0.66,
    "anchorage": 0.07,
    "moored": 0.1,
    "platforms": 0.07,
    "turbines": 0.06,
    "mixed": 0.04,
}
_COUNTS = (0.62, 0.17, 0.09, 0.06, 0.03, 0.03)  # ships where the layout is free: 1 to 6


@dataclass(frozen=True, slots=True)
class Target:
    """An object in a chip.

    Attributes:
        class_: 'ship', 'platform' or 'turbine'.
        line_px: line of the centre; integers are pixel centres.
        sample_px: sample of the centre.
        length_m: length.
        width_m: width.
        axis_deg: direction of the long axis, clockwise from up, 0 to 180.
        box_px: x1, y1, x2, y2: edges of the blurred extent, at least 3 px a side, not clipped.
        clipped: whether the box reaches beyond the chip.
        contrast_db: noise-free peak over the mean clutter and noise, in the better polarisation.
    """

    class_: str
    line_px: float
    sample_px: float
    length_m: float
    width_m: float
    axis_deg: float
    box_px: tuple[float, float, float, float]
    clipped: bool
    contrast_db: float


@dataclass(frozen=True, slots=True)
class Context:
    """What a description of a chip may say beside its objects.

    Attributes:
        kind: what the chip was drawn as: open, rough, calm, peak, ghost, coast, rocks, ships, anchorage,
            moored, platforms, turbines, mixed.
        wind_m_s: wind speed.
        incidence_deg: angle of incidence.
        sea_db: mean sigma0 of the sea in VV and VH, without noise.
        land_cover: the land's most frequent class; None where there is no land.
    """

    kind: str
    wind_m_s: float
    incidence_deg: float
    sea_db: tuple[float, float]
    land_cover: str | None


@dataclass(frozen=True)
class ChipSet:
    """Simulated chips.

    Attributes:
        pixels: channels as engine.runtime.image.channels makes them, uint8 [N, 3, 126, 126].
        truth: the objects of each chip.
        land_fraction: share of land, float32 [N].
        prior: AlphaEarth bytes at the anchors, int8 [N, 64, 6, 6]; -128 where masked, as over open sea.
        context: what else is known of each chip.
    """

    pixels: NDArray[np.uint8]
    truth: list[list[Target]]
    land_fraction: NDArray[np.float32]
    prior: NDArray[np.int8]
    context: list[Context]


@dataclass
class _Draft:
    """A chip in the making: mean power, land, and what was placed."""

    power: NDArray[np.float32]  # [2, H, W], without noise
    state: clutter.SeaState
    coast: NDArray[np.float32] | None = None  # positive on land
    labels: NDArray[np.int8] | None = None
    seam: NDArray[np.float32] | None = None  # steps of the noise, [2, 1, W]
    placed: list[tuple[Body, float, float]] = field(default_factory=list)
    ghosts: list[tuple[Body, float, float]] = field(default_factory=list)


class ChipMaker:
    """Draws chips from one seed; make_chips is the way to many."""

    def __init__(self, seed: int, stats: SceneStatistics = DEFAULT) -> None:
        self._seed = seed
        self._stats = stats
        rng = np.random.default_rng([seed, 0])
        self._speckle = physics.SpeckleBank(rng)
        self._textures = clutter.TextureBank(rng)

    def make(self, index: int) -> tuple[NDArray[np.uint8], list[Target], float, NDArray[np.int8], Context]:
        """Draw one chip: pixels [3, 126, 126], truth, share of land, prior [64, 6, 6], context."""
        rng = np.random.default_rng([self._seed, 1, index])
        mix = _EMPTY if rng.random() < 0.45 else _FILLED
        kind = str(rng.choice(list(mix), p=np.array(list(mix.values())) / sum(mix.values())))
        draft = self._draw_clutter(rng, kind)
        self._populate(rng, draft, kind)
        if kind == "peak":
            intensity = _cut_at_peak(rng, self._image(rng, draft))
        else:
            intensity = self._image(rng, draft)
        land = None if draft.coast is None else draft.coast > 0
        pixels = channels(intensity[0], intensity[1], np.ones((CHIP_PX, CHIP_PX), bool))
        truth = [target for target in (self._target(draft, *entry) for entry in draft.placed) if target]
        cover = None
        if land is not None and draft.labels is not None and land.any():
            cover = landcover.CLASSES[np.bincount(draft.labels[land]).argmax()]
        context = Context(kind, draft.state.wind_m_s, draft.state.incidence_deg, draft.state.sea_db, cover)
        fraction = 0.0 if land is None else float(land.mean())
        return pixels, truth, fraction, _prior(rng, draft), context

    def _draw_clutter(self, rng: np.random.Generator, kind: str) -> _Draft:
        wind = {"rough": rng.uniform(10, 19), "calm": rng.uniform(0.5, 3)}.get(kind)
        state = clutter.draw_sea_state(rng, self._stats, wind)
        order = float(rng.uniform(1.5, 6)) if kind in ("rough", "peak") else None
        size = 2 * CHIP_PX if kind == "peak" else CHIP_PX
        power = clutter.draw_sea(rng, self._textures, state, size, self._stats, order)
        draft = _Draft(power, state)
        if self._stats.seam_share and rng.random() < self._stats.seam_share:
            draft.seam = clutter.draw_seam(rng, size)
        if kind == "rocks":
            draft.coast = clutter.rock_field(rng, self._textures, CHIP_PX, MARGIN_PX)
        elif kind in ("coast", "moored") or (kind in _FILLED and rng.random() < 0.15):
            draft.coast = clutter.coast_field(rng, self._textures, CHIP_PX)
        if draft.coast is not None:
            draft.labels, ground = clutter.draw_land(rng, self._textures, draft.coast)
            draft.power = np.where(draft.coast > 0, ground, power)
        return draft

    def _populate(self, rng: np.random.Generator, draft: _Draft, kind: str) -> None:
        if kind == "ghost":
            self._add_ghost(rng, draft)
        if kind not in _FILLED:
            return
        if rng.random() < 0.06:
            self._add_ghost(rng, draft)
        stats = self._stats.at_incidence(draft.state.incidence_deg)
        if stats.raft_share and kind == "anchorage" and rng.random() < stats.raft_share:
            self._add_raft(rng, draft, stats)
            return
        for body in self._bodies(rng, kind, stats):
            self._place(rng, draft, body, near_shore=kind == "moored")
        if kind == "turbines":
            self._add_turbines(rng, draft)

    def _bodies(self, rng: np.random.Generator, kind: str, stats: SceneStatistics) -> list[Body]:
        if kind == "anchorage":  # ships at anchor lie to the wind
            axis = rng.uniform(0, 180)
            return [
                objects.draw_ship(rng, stats, axis_deg=axis + rng.normal(0, 12), moving=False)
                for _ in range(int(rng.integers(2, 7)))
            ]
        if kind == "moored":
            return [objects.draw_ship(rng, stats, moving=False) for _ in range(int(rng.integers(1, 4)))]
        if kind == "platforms":
            bodies = [objects.draw_platform(rng, stats) for _ in range(1 + int(rng.random() < 0.2))]
            return bodies + [objects.draw_ship(rng, stats) for _ in range(int(rng.random() < 0.35))]
        if kind == "turbines":
            return [objects.draw_ship(rng, stats) for _ in range(int(rng.random() < 0.2))]
        ships = [objects.draw_ship(rng, stats) for _ in range(1 + int(rng.choice(len(_COUNTS), p=_COUNTS)))]
        if kind == "mixed":
            other = objects.draw_platform if rng.random() < 0.5 else objects.draw_turbine
            ships = [other(rng, stats), *ships[:5]]
        return ships

    def _add_raft(self, rng: np.random.Generator, draft: _Draft, stats: SceneStatistics) -> None:
        axis = rng.uniform(0, 180)
        length = objects.draw_length_m(rng, stats)
        ships = [
            objects.draw_ship(
                rng, stats, length_m=max(15.0, length * rng.normal(1, 0.1)), axis_deg=axis, moving=False
            )
            for _ in range(int(rng.integers(2, 5)))
        ]
        line, sample = rng.uniform(MARGIN_PX, CHIP_PX - MARGIN_PX, 2)
        for body, down, across in objects.lay_alongside(rng, ships):
            self._put(rng, draft, body, line + down, sample + across, alongside=True)

    def _add_turbines(self, rng: np.random.Generator, draft: _Draft) -> None:
        pitch_m, angle = rng.uniform(500, 1100), rng.uniform(0, np.pi)
        step = pitch_m / physics.SPACING_M
        offset = rng.uniform(0, step, 2)
        grid = np.stack(np.meshgrid(np.arange(-4, 5), np.arange(-4, 5)), -1).reshape(-1, 2) * step + offset
        turned = grid @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        inside = [place for place in turned + CHIP_PX / 2 if 0 <= place.min() and place.max() < CHIP_PX - 1]
        rng.shuffle(inside)
        model = objects.draw_turbine(rng, self._stats)
        for line, sample in inside[:6]:
            body = objects.draw_turbine(rng, self._stats)
            if rng.random() < 0.7:  # a field mostly has one model
                body = body.brightened(
                    float(physics.to_db(model.peak()[0] / body.peak()[0])) + rng.normal(0, 1.5)
                )
            self._put(rng, draft, body, float(line), float(sample))

    def _add_ghost(self, rng: np.random.Generator, draft: _Draft) -> None:
        source = objects.draw_platform(rng) if rng.random() < 0.3 else objects.draw_ship(rng, length_m=250.0)
        ghost = objects.draw_ghost(rng, source, self._stats)
        ghost = ghost.brightened(float(rng.uniform(4, 13)) - float(self._contrast_db(draft, ghost, 63, 63)))
        place = rng.uniform(MARGIN_PX, CHIP_PX - MARGIN_PX, 2)
        draft.ghosts.append((ghost, float(place[0]), float(place[1])))

    def _place(self, rng: np.random.Generator, draft: _Draft, body: Body, near_shore: bool) -> None:
        """Try to place a body on the water, clear of the others; give up after some tries."""
        shore = None
        if near_shore and draft.coast is not None:
            from scipy.ndimage import distance_transform_edt

            away = distance_transform_edt(draft.coast <= 0)
            reach = body.width_m / 2 / physics.SPACING_M + rng.uniform(0.5, 6)
            shore = np.argwhere((away > reach) & (away < reach + 2.5))
        for _ in range(12):
            if shore is not None and len(shore):
                line, sample = shore[rng.integers(len(shore))] + rng.uniform(-0.5, 0.5, 2)
            else:
                line, sample = rng.uniform(-4.5, CHIP_PX + 3.5, 2)
            if self._put(rng, draft, body, float(line), float(sample)):
                return

    def _put(
        self,
        rng: np.random.Generator,
        draft: _Draft,
        body: Body,
        line: float,
        sample: float,
        alongside: bool = False,
    ) -> bool:
        if draft.coast is not None and _aground(draft.coast, body, line, sample):
            return False
        for other, other_line, other_sample in draft.placed if not alongside else ():
            a, b = other.half_extent_px(), body.half_extent_px()
            if abs(line - other_line) < a[0] + b[0] + 1 and abs(sample - other_sample) < a[1] + b[1] + 1:
                return False
        if self._stats.faintest_db is not None:
            missing = self._stats.faintest_db - self._contrast_db(draft, body, line, sample)
            if missing > 0:
                body = body.brightened(missing + float(rng.uniform(0, 6)))
        draft.placed.append((body, line, sample))
        return True

    def _contrast_db(self, draft: _Draft, body: Body, line: float, sample: float) -> float:
        row, col = (int(np.clip(round(value), 0, CHIP_PX - 1)) for value in (line, sample))
        around = (slice(max(row - 20, 0), row + 21, 4), slice(max(col - 20, 0), col + 21, 4))
        power = draft.power[:, around[0], around[1]]
        if draft.coast is not None and (draft.coast[around] <= 0).any():
            power = power[:, draft.coast[around] <= 0]
        level = power.reshape(2, -1).mean(1) + physics.from_db(np.array(draft.state.noise_db))
        return float(physics.to_db(body.peak() / level).max())

    def _image(self, rng: np.random.Generator, draft: _Draft) -> NDArray[np.float32]:
        for body, line, sample in draft.placed:
            if body.wake_px is not None:
                clutter.add_wake(
                    rng, draft.power, (line + body.wake_px, sample), body.axis_deg, body.length_m
                )
        noise = physics.from_db(np.array(draft.state.noise_db))[:, None, None]
        if draft.seam is not None:
            noise = noise * draft.seam
        amplitude = np.sqrt(draft.power + noise).astype(np.float32)
        patches = [
            physics.render_points(
                rng,
                body.line_px + line,
                body.sample_px + sample,
                body.powers,
                amplitude.shape[1:],
                body.reach_px(),
            )
            for body, line, sample in draft.placed + draft.ghosts
        ]
        bands = []
        for band in range(2):
            fields = [self._speckle.cut(rng, amplitude.shape[1]) for _ in range(physics.LOOKS)]
            echoes = [(lines, samples, echo[band]) for lines, samples, echo in filter(None, patches)]
            bands.append(physics.detect(fields, amplitude[band], echoes))
        return np.stack(bands)

    def _target(self, draft: _Draft, body: Body, line: float, sample: float) -> Target | None:
        """Return the truth of a placed body; None where less than 3 px of it lie in the chip."""
        half_lines, half_samples = (max(1.5, half) for half in body.half_extent_px())
        # a box covers pixels whose centres lie in [x1 - 0.5, x2 - 0.5]: its edges are half a pixel on
        x, y = sample + 0.5, line + 0.5
        box = (x - half_samples, y - half_lines, x + half_samples, y + half_lines)
        if min(box[2], CHIP_PX) - max(box[0], 0) < 3 or min(box[3], CHIP_PX) - max(box[1], 0) < 3:
            return None
        clipped = min(box) < 0 or max(box) > CHIP_PX
        contrast = self._contrast_db(draft, body, line, sample)
        return Target(
            body.class_, line, sample, body.length_m, body.width_m, body.axis_deg, box, clipped, contrast
        )


def _cut_at_peak(rng: np.random.Generator, intensity: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cut a chip from a larger image so that its highest peak of clutter lies in the core."""
    margin = CHIP_PX - MARGIN_PX
    inner = intensity[:, margin:-margin, margin:-margin]
    relative = (inner / inner.mean((1, 2), keepdims=True)).max(0)
    peak = np.array(np.unravel_index(relative.argmax(), relative.shape)) + margin
    line, sample = peak - rng.integers(MARGIN_PX, margin, 2)
    return intensity[:, line : line + CHIP_PX, sample : sample + CHIP_PX]


def _aground(coast: NDArray[np.float32], body: Body, line: float, sample: float) -> bool:
    along = np.linspace(-0.5, 0.5, 9)[:, None] * body.length_m / physics.SPACING_M
    across = np.array([-0.5, 0.0, 0.5]) * body.width_m / physics.SPACING_M
    angle = np.radians(body.axis_deg)
    rows = np.rint(line - along * np.cos(angle) + across * np.sin(angle)).astype(int)
    cols = np.rint(sample + along * np.sin(angle) + across * np.cos(angle)).astype(int)
    inside = (rows >= 0) & (cols >= 0) & (rows < len(coast)) & (cols < len(coast))
    return bool((coast[rows[inside], cols[inside]] > 0).any())


def _prior(rng: np.random.Generator, draft: _Draft) -> NDArray[np.int8]:
    """Draw AlphaEarth bytes at the anchors: land and shallow water; open sea is masked."""
    centres = np.rint(anchor_positions()[::ANCHORS, 0] * CHIP_PX - 0.5).astype(int)
    out = np.full((64, ANCHORS, ANCHORS), landcover.NODATA, np.int8)
    if draft.coast is None or draft.labels is None:
        if rng.random() > 0.06:
            return out
        labels = np.zeros((ANCHORS, ANCHORS), int)  # shallow water far and wide
        known = np.ones((ANCHORS, ANCHORS), bool)
    else:
        grid = np.ix_(centres, centres)
        labels = np.where(draft.coast[grid] > 0, draft.labels[grid], landcover.WATER).astype(int)
        known = draft.coast[grid] > -rng.uniform(10, 120)
    # a site has its own vector of each class; places within it differ less
    site = rng.standard_normal((len(landcover.CLASSES), landcover.rank()))
    local = rng.standard_normal((ANCHORS, ANCHORS, landcover.rank()))
    vectors = landcover.vectors(labels, np.sqrt(0.75) * site[labels] + 0.5 * local)
    out[:, known] = landcover.quantise(vectors).transpose(2, 0, 1)[:, known]
    return out


def make_chips(
    count: int,
    seed: int,
    *,
    progress: Callable[[int], None] | None = None,
    stats: SceneStatistics = DEFAULT,
    start: int = 0,
) -> ChipSet:
    """Draw chips.

    Args:
        count: number of chips.
        seed: chooses the set; equal seeds give equal chips.
        progress: called with the number of chips done.
        stats: the population.
        start: index of the first chip, so that several workers can share one seed.

    Raises:
        InputError: the count is negative.
    """
    if count < 0:
        raise InputError(f"got a count of {count}, expected 0 or more")
    maker = ChipMaker(seed, stats)
    pixels = np.empty((count, 3, CHIP_PX, CHIP_PX), np.uint8)
    prior = np.empty((count, 64, ANCHORS, ANCHORS), np.int8)
    fraction = np.empty(count, np.float32)
    truth: list[list[Target]] = []
    context: list[Context] = []
    for index in range(count):
        pixels[index], targets, fraction[index], prior[index], about = maker.make(start + index)
        truth.append(targets)
        context.append(about)
        if progress is not None:
            progress(index + 1)
    return ChipSet(pixels, truth, fraction, prior, context)
