"""The frozen values of change: what is compared, and what came of it.

A *pass* is a datatake of a platform, however many slices it comes in. A *place* is where something was seen
in one of two passes. Nothing here says that two sightings are the same ship: only AIS can.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

Kind = Literal["appeared", "gone", "still_occupied", "cannot_tell"]
KINDS: tuple[Kind, ...] = ("appeared", "gone", "still_occupied")  # that can be told

# What one pass says of a place where it has no detection. ``clear``: it looked, could have seen such a ship,
# and saw none. ``too_small``: such a ship is below what it could see. ``candidate``: something stood out
# there and was not confirmed. ``not_looked``: no data, or land, at the place. ``removed``: it looked, and its
# results were removed since.
Absence = Literal["clear", "too_small", "candidate", "not_looked", "removed"]

# Flags of detections that are probably no objects.
PHANTOMS = ("azimuth_ghost", "sidelobe", "wake", "rfi")


@dataclass(frozen=True, slots=True)
class PassRun:
    """A current run as one side of a comparison."""

    run_id: str
    platform: str
    datatake: int
    mode: str
    relative_orbit: int | None
    orbit_direction: str | None
    start: datetime
    uri: str
    smallest_ship_m: float | None

    @property
    def key(self) -> tuple[str, int]:
        """The pass that it belongs to."""
        return self.platform, self.datatake

    def same_view(self, other: PassRun) -> bool:
        """Whether two passes see the ground alike: relative orbit, direction and mode."""
        mine = self.relative_orbit, self.orbit_direction, self.mode
        return None not in mine and mine == (other.relative_orbit, other.orbit_direction, other.mode)


@dataclass(frozen=True, slots=True)
class Sighting:
    """A detection, as far as its place can be compared."""

    id: str
    run_id: str
    label: str
    score: float
    lon_deg: float
    lat_deg: float
    line_px: float
    sample_px: float
    length_m: float
    box_px: tuple[float, float, float, float]
    incidence_deg: float
    azimuth_deg: float | None = None
    range_to_velocity_s: float | None = None
    shift_bound_m: float | None = None
    flags: Mapping[str, Any] = field(default_factory=dict)
    other_run_id: str | None = None  # the run on the other side that looked at its place
    candidate: str | None = None  # state of a candidate that the other side has there, unconfirmed
    removed: bool = False  # the results of the pass that looked last at its place are gone

    @property
    def fixed(self) -> bool:
        """Whether it is a structure."""
        return self.label in ("platform", "turbine") or "infrastructure" in self.flags

    @property
    def phantom(self) -> str | None:
        """The flag by which it is probably no object."""
        return next((name for name in PHANTOMS if name in self.flags), None)


@dataclass(frozen=True, slots=True)
class Kept:
    """What pixels, and the engine, said of a place in two acquisitions: true whatever became of the pixels.

    Attributes:
        unit_id: the unit that has it.
        key: pass of the earlier acquisition.
        start: and its start.
        lon_deg: longitude of the place.
        lat_deg: latitude of the place.
        evidence: of the change.
    """

    unit_id: str
    key: tuple[str, int]
    start: datetime
    lon_deg: float
    lat_deg: float
    evidence: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything about a run's changes that the database knows.

    Attributes:
        after: the run, of one slice.
        siblings: runs of the neighbouring slices of its pass: their objects claim partners, too.
        earlier: runs of earlier passes whose areas meet it, the latest first.
        seen_after: objects of the run and of its siblings.
        seen_before: objects of earlier passes at places at which this pass looked and none in between;
            ``other_run_id`` is the slice of this pass that speaks for the place.
        removed: an earlier pass met the run whose results were removed since.
        kept: what pixels said when the acquisition was compared before.
    """

    after: PassRun
    siblings: tuple[PassRun, ...]
    earlier: tuple[PassRun, ...]
    seen_after: tuple[Sighting, ...]
    seen_before: tuple[Sighting, ...]
    removed: bool = False
    kept: tuple[Kept, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """One place of a unit: what each side saw there."""

    before: Sighting | None
    after: Sighting | None
    absence: Absence | None = None  # of the side that saw nothing
    distance_m: float | None = None  # between the two, along azimuth no more than movers may be displaced
    closeness: float = 1.0  # probability that the two lie at one place

    @property
    def sighting(self) -> Sighting:
        """The later of what was seen."""
        seen = self.after or self.before
        if seen is None:
            raise ValueError("a place without a sighting")
        return seen


@dataclass(frozen=True, slots=True)
class Plan:
    """A unit before it is worked out: which runs, which places."""

    after: PassRun
    before: PassRun | None
    pixels: PassRun | None  # the run whose pixels are compared
    places: tuple[Place, ...]
    removed: bool = False  # there is no partner, since its results were removed


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a place."""

    kind: Kind
    score: float
    reason: str | None
    evidence: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit worked out."""

    id: str
    plan: Plan
    engine: str | None
    digest: str
    outcome: Literal["done", "no_partner", "failed"]
    reason: str | None
    alignment: Mapping[str, Any]
    counts: Mapping[str, int]
    sentence: str | None
    verdicts: tuple[Verdict, ...]  # one a place, in their order
