"""What stands and sails on the sea: ships, platforms, turbines, and the scatterers they echo with.

One population for chips and scenes: SceneStatistics holds every number that shapes it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from engine.simulate import physics

CLASSES = ("ship", "platform", "turbine")
RESOLVED_BEAM_M = 28.0  # hulls side by side show as two from here on


@dataclass(frozen=True)
class SceneStatistics:
    """The population that chips and scenes draw from.

    Lengths and cross-sections follow ships measured with AIS in a calibrated IW GRDH scene (median RCS 39,
    43, 49, 50 dB m2 at 80, 125, 175, 230 m), with more faint and more large ships than nature has,
    because a model reads length off brightness otherwise.
    """

    # ship lengths: edges of the bins in metres, and their weights
    length_edges_m: tuple[float, ...] = (15, 30, 60, 100, 150, 200, 300, 350)
    length_weights: tuple[float, ...] = (0.13, 0.21, 0.19, 0.16, 0.12, 0.15, 0.04)
    # radar cross-section in VV: median at 80 m, rise for each decade of length, spread
    rcs_80m_db: float = 39.0
    rcs_decade_db: float = 25.0
    rcs_spread_db: float = 3.5
    bright_share: float = 0.15  # of ships, with an exponential excess
    bright_scale_db: float = 4.0
    faint_share: float = 0.25  # of ships, weaker by 3 dB up to faint_most_db
    faint_most_db: float = 15.0
    crosspol_db: float = 11.0  # VH below VV
    crosspol_spread_db: float = 2.5
    mover_share: float = 0.2  # of ships whose echo is smeared in azimuth
    smear_m: tuple[float, float] = (10.0, 60.0)
    wake_share: float = 0.3  # of movers
    # platforms and turbines
    platform_side_m: tuple[float, float] = (30.0, 120.0)
    platform_rcs_db: tuple[float, float] = (47.0, 3.5)  # mean and spread
    platform_crosspol_db: tuple[float, float] = (7.5, 2.0)
    turbine_side_m: tuple[float, float] = (8.0, 25.0)
    turbine_rcs_db: tuple[float, float] = (36.0, 3.5)
    turbine_crosspol_db: tuple[float, float] = (9.0, 2.5)
    # sea
    wind_m_s: tuple[float, float] = (2.2, 3.2)  # shape and scale of a gamma distribution
    incidence_deg: tuple[float, float] = (30.5, 46.0)
    noise_db: tuple[tuple[float, float], tuple[float, float]] = ((-26.0, -22.5), (-26.5, -22.5))  # VV, VH
    texture_order: tuple[float, float] = (2.5, 60.0)  # 1 / variance of the sea's texture, log-uniform
    slick_share: float = 0.15
    swell_share: float = 0.25
    # scenes: median numbers, and the spread of their logarithm from scene to scene
    ships_per_1000_km2: float = 35.0
    ships_log_spread: float = 0.5
    platforms_per_1000_km2: float = 1.7
    wind_farm_share: float = 0.45
    anchored_share: float = 0.4  # of ships; they may stay for the next pass
    stay_share: float = 0.55
    # azimuth ghosts, below their source
    ghost_loss_db: tuple[float, float] = (20.0, 30.0)
    # chips: a ship drawn fainter than this (peak over clutter) is raised above it; None leaves all as drawn
    faintest_db: float | None = 8.0
    rcs_by_incidence: bool = False  # whether cross-sections follow incidence, see at_incidence
    seam_share: float = 0.0  # of chips, with a step of the noise at a swath seam
    raft_share: float = 0.0  # of anchorages, ships that lie hull at hull

    def at_incidence(self, incidence_deg: float) -> SceneStatistics:
        """Return the population as seen at an angle of incidence.

        Where ``rcs_by_incidence``, cross-sections scale with 0.78 + 0.11 incidence (Vachon et al. 1997).
        """
        if not self.rcs_by_incidence:
            return self
        return replace(self, rcs_80m_db=self.rcs_80m_db + 10 * float(np.log10(0.78 + 0.11 * incidence_deg)))


DEFAULT = SceneStatistics()

# What nano learns from: more faint ships yet, more that are a little smeared (real ships look somewhat longer
# than still ones here), swath seams and rafts.
TRAINING = replace(
    DEFAULT,
    faint_share=0.32,
    faint_most_db=18.0,
    mover_share=0.35,
    smear_m=(5.0, 60.0),
    seam_share=0.08,
    raft_share=0.35,
)

# What nano is measured on: the cross-sections of a published law, 0.08 L^(7/3) (0.78 + 0.11 incidence) in
# m2 (Vachon, Campbell, Bjerkelund, Dobson and Rey, Can. J. Remote Sensing 23, 1997), with 3 dB spread, and no
# ship raised so that it can be seen.
PUBLISHED = replace(
    DEFAULT,
    rcs_80m_db=10 * float(np.log10(0.08 * 80 ** (7 / 3))),
    rcs_decade_db=70 / 3,
    rcs_spread_db=3.0,
    bright_share=0.0,
    faint_share=0.0,
    faintest_db=None,
    rcs_by_incidence=True,
    seam_share=0.08,
)


@dataclass(frozen=True)
class Body:
    """An object's shape and the scatterers it echoes with, around its centre.

    Attributes:
        class_: one of CLASSES.
        length_m: length of a hull, side of a platform, diameter of a turbine's foot.
        width_m: width.
        axis_deg: direction of the long axis, clockwise from the image's upward direction, 0 to 180.
        line_px: lines of the scatterers from the centre, [K].
        sample_px: samples of the scatterers from the centre, [K].
        powers: peak sigma0 of the scatterers in VV and VH, [2, K].
        smear_px: how far the echo is smeared along the azimuth (lines), in all.
        wake_px: displacement of the wake's origin along the azimuth; None without a wake.
    """

    class_: str
    length_m: float
    width_m: float
    axis_deg: float
    line_px: NDArray[np.floating]
    sample_px: NDArray[np.floating]
    powers: NDArray[np.floating]
    smear_px: float = 0.0
    wake_px: float | None = None

    def half_extent_px(self) -> tuple[float, float]:
        """Return half the blurred extent in lines and samples.

        The hull's bounding rectangle, the azimuth smear, and a point's half width at -10 dB.
        """
        angle = np.radians(self.axis_deg)
        along, across = self.length_m / 2, self.width_m / 2
        lines = (abs(along * np.cos(angle)) + abs(across * np.sin(angle))) / physics.SPACING_M
        samples = (abs(along * np.sin(angle)) + abs(across * np.cos(angle))) / physics.SPACING_M
        blur = physics.POINT_HALF_WIDTH_PX
        return float(lines + self.smear_px / 2 + blur), float(samples + blur)

    def peak(self) -> NDArray[np.floating]:
        """Return the highest expected power in VV and VH, [2]."""
        return np.asarray(physics.expected_power(self.line_px, self.sample_px, self.powers).max((1, 2)))

    def brightened(self, db: float) -> Body:
        """Return the same body with its echo raised."""
        return replace(self, powers=self.powers * 10 ** (db / 10))

    def reach_px(self) -> float:
        """Return how far the response matters: sidelobes of the brightest fall below -32 dB there."""
        contrast_db = float(physics.to_db(self.powers.sum(1).max())) + 32.0
        return float(np.clip(4 + 0.9 * max(contrast_db - 14, 0), 6, 45))


def draw_length_m(rng: np.random.Generator, stats: SceneStatistics = DEFAULT) -> float:
    """Draw a ship's length."""
    weights = np.array(stats.length_weights)
    index = rng.choice(len(weights), p=weights / weights.sum())
    return float(rng.uniform(stats.length_edges_m[index], stats.length_edges_m[index + 1]))


def draw_ship(
    rng: np.random.Generator,
    stats: SceneStatistics = DEFAULT,
    *,
    length_m: float | None = None,
    axis_deg: float | None = None,
    moving: bool | None = None,
) -> Body:
    """Draw a ship: hull, superstructure, cross-section, motion."""
    length = draw_length_m(rng, stats) if length_m is None else length_m
    ratio = np.interp(length, [15, 40, 100, 200, 350], [3.2, 4.2, 5.8, 6.3, 6.6]) * rng.normal(1, 0.1)
    width = length / max(ratio, 2.5)
    axis = rng.uniform(0, 180) if axis_deg is None else axis_deg % 180
    rcs_db = (
        stats.rcs_80m_db + stats.rcs_decade_db * np.log10(length / 80) + rng.normal(0, stats.rcs_spread_db)
    )
    kind = rng.random()
    if kind < stats.bright_share:
        rcs_db += rng.exponential(stats.bright_scale_db)
    elif kind < stats.bright_share + stats.faint_share:
        rcs_db -= rng.uniform(3, stats.faint_most_db)

    # hull: corner reflections along the deck and at both ends; superstructure: a bright cluster
    hull = 3 + int(length / 11)
    tower = 2 + int(length / 60)
    u = np.concatenate([rng.uniform(-0.5, 0.5, hull), [-0.48, 0.48], np.zeros(tower)]) * length
    power = np.concatenate([rng.gamma(0.7, 1.0, hull), rng.uniform(0.3, 1.0, 2), np.zeros(tower)])
    place = rng.uniform(0.1, 0.25) * rng.choice([-1, 1]) if rng.random() < 0.7 else rng.uniform(-0.45, 0.45)
    u[-tower:] = np.clip(place * length + rng.normal(0, 0.05 * length, tower), -length / 2, length / 2)
    share = rng.uniform(0.35, 0.8)
    tower_power = rng.gamma(0.8, 1.0, tower) + 0.1
    power[-tower:] = tower_power / tower_power.sum() * share / (1 - share) * power[:-tower].sum()
    v = rng.uniform(-0.45, 0.45, len(u)) * width
    moves = rng.random() < stats.mover_share if moving is None else moving
    smear = rng.uniform(*stats.smear_m) / physics.SPACING_M if moves else 0.0
    crosspol_db = rng.normal(stats.crosspol_db, stats.crosspol_spread_db)
    body = _assemble(rng, "ship", (length, width, axis), (u, v, power), rcs_db, crosspol_db, smear)
    if moves and length > 40 and rng.random() < stats.wake_share:
        body = replace(body, wake_px=float(rng.normal(0, 40)))
    return body


def draw_platform(rng: np.random.Generator, stats: SceneStatistics = DEFAULT) -> Body:
    """Draw a platform: a compact, very bright frame."""
    length = rng.uniform(*stats.platform_side_m)
    width = length * rng.uniform(0.7, 1.0)
    legs = np.array([(-1, -1), (-1, 1), (1, -1), (1, 1), (0, 0)]) * 0.42
    inner = rng.uniform(-0.4, 0.4, (2 + int(length / 25), 2))
    where = np.concatenate([legs, inner]) * (length, width)
    power = rng.gamma(1.2, 1.0, len(where)) + 0.1
    return _assemble(
        rng,
        "platform",
        (length, width, rng.uniform(0, 180)),
        (where[:, 0], where[:, 1], power),
        rng.normal(*stats.platform_rcs_db) + 10 * np.log10(length / 70),
        rng.normal(*stats.platform_crosspol_db),
        0.0,
    )


def draw_turbine(rng: np.random.Generator, stats: SceneStatistics = DEFAULT) -> Body:
    """Draw a wind turbine: nearly a point; turning blades may leave a faint streak in azimuth."""
    side = rng.uniform(*stats.turbine_side_m)
    count = rng.integers(1, 4)
    body = _assemble(
        rng,
        "turbine",
        (side, side, 0.0),
        (*rng.uniform(-0.3, 0.3, (2, count)) * side, rng.gamma(1.5, 1.0, count) + 0.1),
        rng.normal(*stats.turbine_rcs_db),
        rng.normal(*stats.turbine_crosspol_db),
        0.0,
    )
    if rng.random() < 0.6:
        blades = int(rng.integers(4, 10))
        streak = body.powers.sum(1, keepdims=True) * 10 ** (-rng.uniform(16, 24) / 10)
        body = replace(
            body,
            line_px=np.concatenate([body.line_px, rng.normal(0, 12, blades)]),
            sample_px=np.concatenate([body.sample_px, rng.normal(0, 0.4, blades)]),
            powers=np.concatenate([body.powers, streak * rng.gamma(1.0, 1.0, (2, blades))], 1),
        )
    return body


def draw_ghost(rng: np.random.Generator, source: Body, stats: SceneStatistics = DEFAULT) -> Body:
    """Return the azimuth ghost of a body: weaker, and smeared, since it is focused wrongly."""
    loss = 10 ** (-rng.uniform(*stats.ghost_loss_db) / 10)
    copies = 6
    spread = rng.uniform(2.0, 6.0)
    line = (source.line_px[:, None] + rng.normal(0, spread, (len(source.line_px), copies))).ravel()
    sample = (source.sample_px[:, None] + rng.normal(0, 0.5, (len(source.line_px), copies))).ravel()
    powers = np.repeat(source.powers * loss / copies, copies, axis=1)
    return replace(source, line_px=line, sample_px=sample, powers=powers, smear_px=2 * spread, wake_px=None)


def lay_alongside(rng: np.random.Generator, ships: list[Body]) -> list[tuple[Body, float, float]]:
    """Lay ships of one axis hull at hull.

    Narrow hulls cannot be told apart at 22 m: such a raft is one body, as long as its longest ship and as
    wide as all.

    Returns:
        Bodies with line and sample from the raft's middle.
    """
    axis = ships[0].axis_deg
    beams = np.array([ship.width_m + 1.5 for ship in ships])
    aside = (np.cumsum(beams) - beams.sum() / 2 - beams / 2) / physics.SPACING_M
    along = rng.normal(0, 6, len(ships)) / physics.SPACING_M
    angle = np.radians(axis)
    line = aside * np.sin(angle) - along * np.cos(angle)
    sample = aside * np.cos(angle) + along * np.sin(angle)
    if beams.mean() >= RESOLVED_BEAM_M:
        return [(ship, float(line[i]), float(sample[i])) for i, ship in enumerate(ships)]
    raft = Body(
        "ship",
        max(ship.length_m for ship in ships),
        float(beams.sum()),
        axis,
        np.concatenate([ship.line_px + line[i] for i, ship in enumerate(ships)]),
        np.concatenate([ship.sample_px + sample[i] for i, ship in enumerate(ships)]),
        np.concatenate([ship.powers for ship in ships], 1),
    )
    return [(raft, 0.0, 0.0)]


def _assemble(
    rng: np.random.Generator,
    class_: str,
    size: tuple[float, float, float],
    scatterers: tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]],
    rcs_db: float,
    crosspol_db: float,
    smear_px: float,
) -> Body:
    length, width, axis = size
    u, v, power = scatterers
    if smear_px:
        # a smeared scatterer is several, spread along the azimuth with phases of their own
        copies = 2 + int(smear_px)
        u, v = np.repeat(u, copies), np.repeat(v, copies)
        power = np.repeat(power / copies, copies)
    angle = np.radians(axis)
    line = (-u * np.cos(angle) + v * np.sin(angle)) / physics.SPACING_M
    sample = (u * np.sin(angle) + v * np.cos(angle)) / physics.SPACING_M
    if smear_px:
        line = line + rng.uniform(-0.5, 0.5, len(line)) * smear_px
    energy = physics.POINT_ENERGY_PX * physics.PIXEL_AREA_M2
    copol = power / power.sum() * 10 ** (rcs_db / 10) / energy
    # the same places answer in VH, each by its own share
    cross = power * rng.gamma(3.0, 1 / 3.0, len(power))
    crosspol = cross / cross.sum() * 10 ** ((rcs_db - crosspol_db) / 10) / energy
    return Body(
        class_,
        float(length),
        float(width),
        float(axis),
        line,
        sample,
        np.stack([copol, crosspol]),
        float(smear_px),
    )
