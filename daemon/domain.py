"""The frozen values that travel from a scene's pixels to the store, to GeoJSON and to the picture.

Positions in a scene are (line, sample), integer at pixel centres. Boxes are (x1, y1, x2, y2), samples
before lines, measured at pixel edges: the box of the single pixel (line 3, sample 5) is (5, 3, 6, 4).
Decibels are of linear sigma0. Angles are degrees clockwise from north. Times are aware, in UTC.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from shapely.geometry import MultiPolygon

from daemon.scene.names import STRIPMAPS

Box = tuple[float, float, float, float]

# Where an acquisition ends. ``done``: sea was looked at, whether or not anything was seen. ``empty``: the
# product holds no valid pixel. ``irrelevant``: valid pixels, but no sea among them. ``unsupported`` is what
# the ledger writes when opening raised SceneUnsupported; the pipeline lets that error through.
Outcome = Literal["done", "empty", "irrelevant", "unsupported"]

# What became of a candidate. ``confirmed``: an object of the model matches it. ``rejected``: its chip was
# answered in full and no object matches. ``unanswered``: its chip's answer broke off (saturated) or failed
# without reaching it. ``not_examined``: its chip was never asked (no engine, or beyond a cap).
CandidateState = Literal["confirmed", "rejected", "unanswered", "not_examined"]

PriorStatus = Literal["absent", "partial", "full"]

# The names of flags. A flag marks a detection and never removes it. Distances are metres, brightness is dB of
# sigma0, dates are ISO 8601.
#
# Of one scene's pixels and metadata:
# near_land     land within settings.near_land_m; evidence: distance_m
# azimuth_ghost stands where a much brighter target has its ghost; evidence: order, source_line_px,
#               source_sample_px, source_lon_deg, source_lat_deg, source_db, source_id (where the source is a
#               detection), below_db (by which it is fainter), offset_m, expected_m, chance (how often the
#               same test passes where no ghost can be), twin_contrast_db (at the source's other side)
# sidelobe      on the cross of a very bright target, as faint as its sidelobes are there; evidence: arm
#               (azimuth or range), source_line_px, source_sample_px, source_lon_deg, source_lat_deg,
#               source_db, source_id, below_db, envelope_db (how far below sidelobes lie there), distance_m
# wake          on a line of changed roughness that runs through a brighter target; evidence: source_line_px,
#               source_sample_px, source_lon_deg, source_lat_deg, source_db, source_id, distance_m, line_db
#               (the line over the sea beside it), deviations
# rfi           its burst holds radio interference; evidence: polarisation, affected_lines_percent,
#               affected_share_percent (of the burst's data), noise_detected (0 or 1), mitigation, burst
# clipped       the object touches the scene's edge or no data; evidence: invalid_px
# saturated     the answer or the candidate list reached its limit: the count is a lower bound; evidence: what
# no_candidate  found by the model alone, no prescreen candidate beside it; evidence: nearest_m
# neighbour     its centre lies in the core of a neighbouring cell that was not asked; evidence: cell
# box_only      nothing stood out in the pixels: position and extent are the box's; evidence: contrast_db
# no_engine     written without an engine: a prescreen candidate as it is; evidence: contrast_db
#
# Of dated layers, whose state stands in SceneResult.layers:
# infrastructure a known structure is near; evidence: distance_m, kind, structure, layer. Or, from the store:
#               the same place was seen before in several geometries; evidence: as recurrent
# sea_ice       ice stands there; evidence: concentration_percent, date, age_days, layer
#
# Of what else the store holds; these are no part of a result and change as scenes arrive:
# recurrent     something was seen at the same place before; evidence: passes_seen, passes_looked, geometries,
#               orbits, first, last
# duplicate     the same object in a neighbouring slice stands for both; evidence: of, distance_m
FlagName = Literal[
    "near_land",
    "azimuth_ghost",
    "sidelobe",
    "wake",
    "rfi",
    "clipped",
    "saturated",
    "no_candidate",
    "neighbour",
    "box_only",
    "no_engine",
    "infrastructure",
    "sea_ice",
    "recurrent",
    "duplicate",
]


@dataclass(frozen=True, slots=True)
class Flag:
    """One remark on a detection, with the evidence for it."""

    name: FlagName
    evidence: Mapping[str, float | int | str]


@dataclass(frozen=True, slots=True)
class SceneInfo:
    """What a scene is: enough to identify its acquisition and product without opening it again."""

    product: str  # the product's name as ESA gives it
    uri: str
    kind: str  # SAFE | COG | AWS
    platform: str  # S1A, S1B, S1C, S1D
    mode: str  # IW
    product_type: str  # GRD
    resolution: str  # H
    polarisations: tuple[str, ...]  # co-polarised first
    start: datetime
    stop: datetime
    absolute_orbit: int
    relative_orbit: int
    orbit_direction: str
    datatake: int
    unique_id: str  # the name's last four hexadecimal digits
    ipf: str
    shape: tuple[int, int]  # lines, samples
    spacing_m: tuple[float, float]  # azimuth, range
    footprint: Any  # shapely geometry, longitude and latitude
    annotated: bool = True  # whether it came with its annotation: AWS's layout may not, and measures less

    @property
    def sensor(self) -> str:
        """The sensor as the engine's prompt names it; StripMap is one, whichever beam."""
        return f"Sentinel-1 {'SM' if self.mode in STRIPMAPS else self.mode}"

    @property
    def acquisition(self) -> str:
        """A readable name of the acquisition, the same for its SAFE, COG and reprocessed products."""
        bands = "+".join(self.polarisations)
        span = f"{self.start:%Y%m%dT%H%M%S}_{self.stop:%Y%m%dT%H%M%S}"
        return f"{self.platform}_{self.mode}_{bands}_{span}_{self.absolute_orbit:06d}_{self.datatake:06X}"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One bright thing that the prescreen found, and what became of it."""

    index: int  # position in SceneResult.candidates, by line and sample
    line_px: float  # centroid, weighted by what rises above the sea
    sample_px: float
    lon_deg: float
    lat_deg: float
    box_px: Box  # of the exceeding pixels, in the scene
    pixels: int  # how many pixels exceed
    polarisations: tuple[str, ...]  # in which the threshold was exceeded
    peak_db: float  # highest smoothed sigma0 in the polarisation of the highest contrast
    contrast_db: float  # that peak over the local mean of the sea
    cell: tuple[int, int]  # row and column of the lattice cell whose core holds the centroid
    state: CandidateState = "not_examined"
    score: float | None = None  # of the object that confirmed it
    shore_m: float | None = None  # to the nearest land, 0 on it; None beyond 50 km
    length_m: float | None = None  # these as a detection's; null until measured, and where nothing stands out
    length_low_m: float | None = None
    length_high_m: float | None = None
    width_m: float | None = None
    axis_deg: float | None = None


@dataclass(frozen=True, slots=True)
class Detection:
    """One object: named by the engine, measured in the pixels."""

    id: str  # hexadecimal, deterministic: run key, quantised position, rank there
    label: str  # ship | platform | turbine
    score: float  # 0 to 1
    line_px: float
    sample_px: float
    lon_deg: float  # at sea level, by range-Doppler
    lat_deg: float
    length_m: float
    length_low_m: float
    length_high_m: float
    width_m: float | None  # null where it is not resolved
    axis_deg: float | None  # 0 to 180, clockwise from north; null below about 60 m
    peak_db: float | None  # null where nothing stood out
    contrast_db: float | None
    incidence_deg: float
    measured: Literal["pixels", "box"]
    box_px: Box  # as the engine wrote it, in the scene
    cell: tuple[int, int]  # of the chip that was asked
    candidate: int | None  # index of the candidate that it confirms
    prior_status: PriorStatus
    prior_year: int | None
    flags: tuple[Flag, ...] = ()
    brightness_db: float | None = None  # highest 3 x 3 mean of intensity in the first polarisation
    shore_m: float | None = None  # to the nearest land, 0 on it; None beyond 50 km
    # What one image leaves open of a mover: it stands where its echo does, displaced along azimuth_deg by R/V
    # times its radial speed towards the radar (negative when it recedes). None where it was not worked out.
    range_to_velocity_s: float | None = None  # R/V
    azimuth_deg: float | None = None  # bearing in which the image's lines increase, 0 to 360
    shift_bound_m: float | None = None  # of a ship of 30 knots, either way along azimuth_deg
    sensed: datetime | None = None  # zero-Doppler time of its line

    def flag(self, name: FlagName) -> Flag | None:
        """Return the flag of a name, None where it is not set."""
        return next((flag for flag in self.flags if flag.name == name), None)


@dataclass(frozen=True, slots=True)
class Clutter:
    """The sea in one polarisation, over the area that was looked at."""

    polarisation: str
    mean_db: float  # median of the local means of sigma0
    spread: float  # median of the local standard deviation over the local mean of smoothed intensity
    nesz_db: float | None  # median noise-equivalent sigma0; None where the product holds no noise
    threshold_db: float  # median of the local thresholds
    negative_fraction: float  # of the valid sea pixels, below zero after noise subtraction


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """How small a ship could have been seen over sea of one incidence and one clutter.

    Medians over the cells; tuples hold one value for each of ``polarisations``.
    """

    incidence_deg: tuple[float, float]  # from, to
    area_km2: float
    polarisations: tuple[str, ...]  # that were searched there
    mean_db: tuple[float, ...]  # sigma0 of the sea
    nesz_db: tuple[float | None, ...]  # noise-equivalent sigma0; None where the product holds no noise
    spread: tuple[float, ...]  # standard deviation of the smoothed intensity over its mean
    threshold_db: tuple[float, ...]  # of smoothed sigma0
    smallest_ship_m: float | None  # found with probability 0.9 under Coverage.rcs_model; None where it fails


@dataclass(frozen=True, slots=True)
class Coverage:
    """Where the sea was looked at, and how small a ship could have been seen there."""

    valid_area: MultiPolygon  # longitude and latitude, split at the antimeridian; may be empty
    area_km2: float  # of valid sea pixels
    valid_fraction: float  # of the scene's pixels that hold data
    land_fraction: float  # of the valid pixels
    smallest_ship_m: float | None  # found with probability 0.9 over 90% of area_km2, under rcs_model
    rcs_model: str
    clutter: tuple[Clutter, ...]
    sensitivity: tuple[Sensitivity, ...] = ()  # by incidence and clutter
    false_alarms_per_1000_km2: float | None = None  # candidates that chance makes of sea, as expected


@dataclass(frozen=True, slots=True)
class GhostPlace:
    """Where a neighbouring slice of the datatake has the azimuth ghost of a bright target of this one."""

    order: int  # 1 to 3
    lon_deg: float  # of the expected ghost, beyond this scene's first or last line
    lat_deg: float
    source_line_px: int  # in this scene; on land or at sea
    source_sample_px: int
    source_lon_deg: float
    source_lat_deg: float
    source_db: float  # its highest sigma0
    brightness_db: float  # its highest 3 x 3 mean of intensity, in the first polarisation


@dataclass(frozen=True, slots=True)
class Versions:
    """Everything beside the product that a result depends on; part of the run's key."""

    code: str
    land: str
    prior: str | None  # version of the prior index; None without one
    engine: str | None  # bundle id; None without an engine
    backend: str | None  # name and precision
    settings: str  # hash of the settings
    layers: str | None = None  # the dated layers that hold for the acquisition; None without any


@dataclass(frozen=True, slots=True)
class SceneResult:
    """Everything that one run over one product found. Equal inputs give equal values, save the timings."""

    outcome: Outcome
    reason: str | None  # why the outcome is not ``done``
    scene: SceneInfo
    versions: Versions
    coverage: Coverage
    candidates: tuple[Candidate, ...]
    detections: tuple[Detection, ...]
    saturated: bool  # a limit was reached somewhere: counts are lower bounds
    counts: Mapping[str, int]  # candidates_at_shore, candidates_over_limit, chips, objects, ...
    timings_s: Mapping[str, float]  # open, scan, chips, engine, measure, total
    notes: tuple[str, ...]  # degradations: noise was all zero, prior unreachable, ...
    # What is known of infrastructure, sea_ice, rfi: each its status (known or unknown) with date or reason.
    layers: Mapping[str, Mapping[str, float | int | str]] = field(default_factory=dict)
    ghost_places: tuple[GhostPlace, ...] = ()  # for the neighbouring slices

    @property
    def run_key(self) -> str:
        """Identity of the run: the same product under the same versions has the same key."""
        return run_key(self.scene, self.versions)

    @property
    def prior_status(self) -> PriorStatus:
        """Prior over the detections: full or absent if all are, partial otherwise; absent without any."""
        states = {detection.prior_status for detection in self.detections}
        if len(states) == 1:
            return states.pop()
        return "partial" if states else "absent"


def run_key(scene: SceneInfo, versions: Versions) -> str:
    """Hash acquisition, product and versions to 32 hexadecimal digits."""
    return _digest(
        scene.acquisition,
        scene.product,
        versions.code,
        versions.land,
        versions.prior,
        versions.engine,
        versions.backend,
        versions.settings,
        *([versions.layers] if versions.layers is not None else []),
        *([] if scene.annotated else [False]),
    )


def detection_id(run: str, lon_deg: float, lat_deg: float, rank: int) -> str:
    """Hash a run's key, a position quantised to 1e-4 degrees and the rank among those that share it."""
    return _digest(run, round(lon_deg * 1e4), round(lat_deg * 1e4), rank)


def _digest(*parts: str | int | None) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
