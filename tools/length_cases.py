"""Single objects on simulated sea with their truth, as patches that `daemon.measure` takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from daemon.domain import Box
from daemon.measure import Patch
from engine.simulate import clutter, objects, physics
from engine.simulate.objects import Body

SIZE_PX = 126
CENTRE_PX = SIZE_PX / 2
_AROUND_PX = 24  # as the daemon reads around a box
_SIGMAS = 6.0  # above which the stand-in of a prescreen finds a pixel
_BOX_ERROR_PX = 1.0  # of an engine's box, a side

Draw = Callable[[np.random.Generator], Body]


@dataclass(frozen=True, slots=True)
class Case:
    """One object, and what else is in its patch.

    Attributes:
        body: the truth.
        line_px: line of its centre.
        sample_px: sample of its centre.
        intensity: VV and VH, noise left in, [2, SIZE_PX, SIZE_PX].
        nesz: noise-equivalent sigma0 of VV and VH.
        found_px: box of the connected pixels that a prescreen would find.
        engine_px: box of the blurred extent, each side off by a pixel.
        sea_db: VV sigma0 of the sea.
        spread: standard deviation over mean of the sea's 3 x 3 mean in VV.
        land: True on land, [SIZE_PX, SIZE_PX].
    """

    body: Body
    line_px: float
    sample_px: float
    intensity: NDArray[np.float32]
    nesz: tuple[float, float]
    found_px: Box
    engine_px: Box
    sea_db: float
    spread: float
    land: NDArray[np.bool_] | None = None

    def patch(self, box_px: Box) -> Patch:
        """The box and the sea around it, as the daemon would read them."""
        x1, y1, x2, y2 = box_px
        top, left = max(int(np.floor(y1)) - _AROUND_PX, 0), max(int(np.floor(x1)) - _AROUND_PX, 0)
        window = slice(top, int(np.ceil(y2)) + _AROUND_PX), slice(left, int(np.ceil(x2)) + _AROUND_PX)
        intensity = self.intensity[:, window[0], window[1]]
        return Patch(
            intensity=intensity,
            nesz=np.broadcast_to(np.array(self.nesz, np.float32)[:, None, None], intensity.shape),
            valid=np.ones(intensity.shape, bool),
            origin_px=(top, left),
            spacing_m=(physics.SPACING_M, physics.SPACING_M),
            box_px=box_px,
            land=None if self.land is None else self.land[window],
        )


class Cases:
    """Draws cases from one seed; case i is the same however many are drawn."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        rng = np.random.default_rng([seed, 0])
        self._speckle = physics.SpeckleBank(rng)
        self._textures = clutter.TextureBank(rng)

    def make(self, index: int, draw: Draw, beside: str = "") -> Case | None:
        """Draw a case; None where a prescreen finds nothing of the object.

        Args:
            index: of the case.
            draw: draws the body.
            beside: 'ship' or 'quay' to put one there.
        """
        rng = np.random.default_rng([self._seed, 1, index])
        state = clutter.draw_sea_state(rng)
        power = clutter.draw_sea(rng, self._textures, state, SIZE_PX)
        body = draw(rng)
        line, sample = CENTRE_PX + rng.uniform(-0.5, 0.5, 2)
        bodies, land = [(body, line, sample)], None
        if beside == "ship":
            bodies.append(_neighbour(rng, body, line, sample))
        elif beside == "quay":
            land = _quay(rng, body, line, sample, power)
        if body.wake_px is not None:
            clutter.add_wake(rng, power, (line + body.wake_px, sample), body.axis_deg, body.length_m)
        noise = physics.from_db(np.array(state.noise_db))
        intensity = self._image(rng, power + noise[:, None, None], bodies)
        found = _prescreen(intensity, land, body, line, sample)
        if found is None:
            return None
        down, across = body.half_extent_px()
        edges = np.array([sample - across, line - down, sample + across, line + down]) + 0.5
        x1, y1, x2, y2 = (float(edge) for edge in edges + rng.normal(0, _BOX_ERROR_PX, 4))
        return Case(
            body,
            float(line),
            float(sample),
            intensity,
            (float(noise[0]), float(noise[1])),
            found[0],
            (min(x1, x2 - 1), min(y1, y2 - 1), x2, y2),
            state.sea_db[0],
            found[1],
            land,
        )

    def _image(
        self, rng: np.random.Generator, power: NDArray[np.float32], bodies: list[tuple[Body, float, float]]
    ) -> NDArray[np.float32]:
        amplitude = np.sqrt(power).astype(np.float32)
        patches = [
            physics.render_points(
                rng, b.line_px + line, b.sample_px + sample, b.powers, amplitude.shape[1:], b.reach_px()
            )
            for b, line, sample in bodies
        ]
        bands = []
        for band in range(len(amplitude)):
            fields = [self._speckle.cut(rng, SIZE_PX) for _ in range(physics.LOOKS)]
            echoes = [(lines, samples, echo[band]) for lines, samples, echo in filter(None, patches)]
            bands.append(physics.detect(fields, amplitude[band], echoes))
        return np.stack(bands)


def draw_any_ship(rng: np.random.Generator) -> Body:
    """A ship of the simulator, its length log-uniform from 20 to 400 m."""
    return objects.draw_ship(rng, length_m=float(np.exp(rng.uniform(np.log(20), np.log(400)))))


def draw_smeared_ship(rng: np.random.Generator) -> Body:
    """As draw_any_ship, but every one smeared along the azimuth by 10 to 60 m.

    Masks of real ships exceed length and beam by more than the simulator's; these come nearer.
    """
    length = float(np.exp(rng.uniform(np.log(20), np.log(400))))
    return objects.draw_ship(rng, length_m=length, moving=True)


def draw_plain_ship(rng: np.random.Generator) -> Body:
    """A hull of another kind: scatterers at random, some 14 m apart, none set at the ends, no tower."""
    ship = draw_any_ship(rng)
    count = 2 + rng.poisson(ship.length_m / 14)
    along, across = rng.uniform(-0.5, 0.5, (2, count)) * [[ship.length_m], [ship.width_m]]
    angle = np.radians(ship.axis_deg)
    share = 10 ** (rng.normal(0, 5, count) / 10)
    return replace(
        ship,
        line_px=(-along * np.cos(angle) + across * np.sin(angle)) / physics.SPACING_M,
        sample_px=(along * np.sin(angle) + across * np.cos(angle)) / physics.SPACING_M,
        powers=ship.powers.sum(1, keepdims=True) * share / share.sum(),
        smear_px=0.0,
        wake_px=None,
    )


def _neighbour(rng: np.random.Generator, body: Body, line: float, sample: float) -> tuple[Body, float, float]:
    """Another ship, its hull 80 to 300 m from the first one's."""
    other = objects.draw_ship(rng)
    bearing, apart_px = rng.uniform(0, 2 * np.pi), rng.uniform(80, 300) / physics.SPACING_M
    towards = np.degrees(bearing)
    for ship in (body, other):
        lean = np.radians(ship.axis_deg - towards)
        apart_px += (
            (abs(ship.length_m * np.cos(lean)) + abs(ship.width_m * np.sin(lean))) / 2 / physics.SPACING_M
        )
    return other, line - apart_px * np.cos(bearing), sample + apart_px * np.sin(bearing)


def _quay(
    rng: np.random.Generator, body: Body, line: float, sample: float, power: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """Built land beside the ship, 15 to 60 m from its side, drawn into the power; returns the land."""
    angle = np.radians(body.axis_deg)
    grid = np.arange(SIZE_PX)
    aside = (grid[:, None] - line) * np.sin(angle) + (grid - sample) * np.cos(angle)
    coast = aside - (body.width_m / 2 + rng.uniform(15, 60)) / physics.SPACING_M
    built = np.full(coast.shape, clutter.landcover.CLASSES.index("built"))
    ground = physics.from_db(np.array([-6.0, -14.0])).astype(np.float32)
    shown = ground[:, None, None] + clutter.structures(rng, built, coast)
    np.copyto(power, shown, where=coast > 0)
    return np.asarray(coast > 0)


def _prescreen(
    intensity: NDArray[np.float32], land: NDArray[np.bool_] | None, body: Body, line: float, sample: float
) -> tuple[Box, float] | None:
    """Box of the exceeding pixels connected with the object's brightest, and the spread of the sea in VV."""
    smooth = ndimage.uniform_filter(intensity, (0, 3, 3))
    sea = np.ones((SIZE_PX, SIZE_PX), bool)
    sea[33:-33, 33:-33] = False
    if land is not None:
        sea &= ~land
    mean = np.median(smooth[:, sea], 1)
    spread = (np.percentile(smooth[:, sea], 84, axis=1) - mean) / mean
    relative = np.where(False if land is None else land, 0, smooth / mean[:, None, None])
    exceeds = (relative > 1 + _SIGMAS * spread[:, None, None]).any(0)
    down, across = body.half_extent_px()
    rows = slice(max(int(line - down), 0), int(line + down) + 2)
    cols = slice(max(int(sample - across), 0), int(sample + across) + 2)
    inside = np.where(exceeds, relative.max(0), 0)[rows, cols]
    if not inside.any():
        return None
    labels, _ = ndimage.label(exceeds, np.ones((3, 3)))
    label = labels[rows, cols][np.unravel_index(inside.argmax(), inside.shape)]
    lines, samples = ndimage.find_objects(labels)[label - 1]
    return (float(samples.start), float(lines.start), float(samples.stop), float(lines.stop)), float(
        spread[0]
    )
