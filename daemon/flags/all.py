"""All flags of a scene's detections: what its pixels, its metadata and the dated layers say of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from daemon.domain import Flag, FlagName
from daemon.errors import DaemonError
from daemon.flags.ghosts import ghost_flag
from daemon.flags.rfi import rfi_flag
from daemon.flags.sidelobes import sidelobe_flag
from daemon.flags.wakes import wake_flag

if TYPE_CHECKING:
    from daemon.domain import Box, Detection
    from daemon.flags.bright import BrightMap
    from daemon.flags.ice import IceView
    from daemon.flags.layers import Layers
    from daemon.measure import Measure
    from daemon.scene.product import Scene

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Surroundings:
    """What the flags of all detections of a scene look at."""

    scene: Scene
    bright: BrightMap
    layers: Layers
    ice: IceView
    notes: list[str] = field(default_factory=list)  # flags that could not be told, each fault once

    def attempt(self, name: FlagName, flag: Callable[[], Flag | None]) -> Flag | None:
        """Return a flag; one that fails becomes a note, since no flag is worth its scene.

        Raises:
            DaemonError: the product cannot be read: that is the scene's failure, not the flag's.
        """
        try:
            return flag()
        except DaemonError:
            raise
        except Exception as error:
            note = f"flag {name} failed: {type(error).__name__} {error}"
            if note not in self.notes:
                log.exception("flag %s failed", name)
                self.notes.append(note)
            return None


@dataclass(frozen=True, slots=True)
class Subject:
    """One detection, as its flags see it."""

    size: Measure
    box_px: Box  # as the engine wrote it
    lon_deg: float
    lat_deg: float
    shore_m: float | None  # distance to land, None beyond the settings' near_land_m
    saturated: bool  # its chip's answer broke off
    candidate: bool  # a candidate of the prescreen stands behind it
    nearest_m: float | None  # distance to the nearest candidate
    neighbour: str | None  # the cell that was asked, where another owns it


def flags_of(around: Surroundings, subjects: Sequence[Subject]) -> list[tuple[Flag, ...]]:
    """Return the flags of all detections of a scene.

    Args:
        around: the scene and what belongs to it.
        subjects: its detections.

    Returns:
        For each its flags, in the order in which `domain.FlagName` lists them.
    """
    lon, lat = (np.array([getattr(s, name) for s in subjects], float) for name in ("lon_deg", "lat_deg"))
    ice = around.ice.flags(lon, lat)
    return [
        tuple(
            flag
            for flag in (
                *_of_pixels(around, subject),
                *_of_answer(subject),
                *_of_layers(around, subject),
                floe,
            )
            if flag
        )
        for subject, floe in zip(subjects, ice, strict=True)
    ]


def link(detections: Sequence[Detection], scene: Scene) -> list[Detection]:
    """Name the detection that is the source of another one's ghost or sidelobe, where there is one.

    Args:
        detections: of one scene.
        scene: opened product.

    Returns:
        The same detections; evidence that states a source's place states its id too.
    """
    at = np.array([(d.line_px, d.sample_px) for d in detections]).reshape(-1, 2)
    reach = np.array([max(60.0, d.length_m / 2 + 30.0) for d in detections])
    linked = []
    for detection in detections:
        flags = []
        for flag in detection.flags:
            if "source_line_px" in flag.evidence:
                place = flag.evidence["source_line_px"], flag.evidence["source_sample_px"]
                apart = np.hypot(*((at - np.array(place, float)) * np.array(scene.spacing_m)).T)
                nearest = int(np.argmin(np.where(apart <= reach, apart, np.inf)))
                if apart[nearest] <= reach[nearest] and detections[nearest].id != detection.id:
                    flag = Flag(flag.name, {**flag.evidence, "source_id": detections[nearest].id})
            flags.append(flag)
        linked.append(replace(detection, flags=tuple(flags)))
    return linked


def _of_pixels(around: Surroundings, subject: Subject) -> list[Flag | None]:
    scene, bright, size = around.scene, around.bright, subject.size
    box_px, attempt = subject.box_px, around.attempt
    near = None if subject.shore_m is None else Flag("near_land", {"distance_m": round(subject.shore_m)})
    sidelobe = attempt("sidelobe", lambda: sidelobe_flag(scene, bright, size, box_px))
    return [
        near,
        attempt("azimuth_ghost", lambda: ghost_flag(scene, bright, size, box_px)),
        sidelobe,
        None if sidelobe else attempt("wake", lambda: wake_flag(scene, bright, size, box_px)),
        attempt("rfi", lambda: rfi_flag(scene, size)),
        Flag("clipped", {"invalid_px": size.invalid_px}) if size.invalid_px else None,
    ]


def _of_answer(subject: Subject) -> list[Flag | None]:
    size = subject.size
    nearest = {} if subject.nearest_m is None else {"nearest_m": round(subject.nearest_m)}
    contrast = {} if size.contrast_db is None else {"contrast_db": size.contrast_db}
    return [
        Flag("saturated", {"what": "answer"}) if subject.saturated else None,
        None if subject.candidate else Flag("no_candidate", nearest),
        None if subject.neighbour is None else Flag("neighbour", {"cell": subject.neighbour}),
        Flag("box_only", contrast) if size.how == "box" else None,
    ]


def _of_layers(around: Surroundings, subject: Subject) -> list[Flag | None]:
    layer = around.layers.infrastructure
    if layer is None:
        return []
    when, radius_m = around.scene.name.start, around.layers.infrastructure_radius_m
    return [
        around.attempt("infrastructure", lambda: layer.flag(subject.lon_deg, subject.lat_deg, when, radius_m))
    ]
