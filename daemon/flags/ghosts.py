"""Azimuth ghosts: weak copies of bright targets, a known distance along the azimuth from them.

The radar samples the azimuth spectrum at its pulse repetition frequency; what lies beyond folds back and
focuses n x lambda R PRF / (2 V) away, V the satellite's speed, PRF that of the sub-swath which fills the
pixel. Its range history does not fit there: it lies up to n^2 lambda^2 R PRF^2 / (8 V^2) farther in slant
range. The source may be anything bright, on land too, so it is looked for in the scene's brightness and not
among the detections; sources beyond the scene's first and last line are its neighbours' (`ghost_places`).

What makes a ghost of a coincidence: the ratio of brightness, in both polarisations; for higher orders the
lower one between the two; and how often the same test passes at distances where no ghost can be.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from daemon.domain import Flag, GhostPlace
from daemon.flags.bright import BrightMap, Place
from daemon.scan.kernels import CELL_PX
from daemon.scene.product import Window
from engine.runtime.geometry import SPEED_OF_LIGHT_M_S

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from daemon.domain import Box
    from daemon.measure import Measure
    from daemon.scene.product import Scene
    from daemon.scene.safe import Annotation, SwathBounds

ORDERS = (1, 2, 3)
# A first ghost of Sentinel-1 lies 20 to 30 dB below its source; smearing widens that upwards, and a higher
# order is fainter. Chosen on 12 simulated scenes (tools/bench_flags.py); another 12 gave the figures.
BELOW_DB = {1: (19.0, 40.0), 2: (22.0, 40.0), 3: (22.0, 40.0)}
_BELOW_CROSS_DB = 12.0  # and at least so far below in the other polarisation, where it can be seen there
_VISIBLE = 4.0  # brightness over its surroundings' median, 6 dB, from which something is seen
_REACH_M = 100.0  # along the azimuth: ships are extended, and so are their ghosts
_ACROSS_M = 80.0  # in range, for each order: steering of the beam moves ghosts either way
_CHANCE = {1: 0.34, 2: 0.15, 3: 0.15}  # more coincidences at wrong distances, and the right one says nothing
_AROUND_PX = 240  # half side of the surroundings
_SOURCES = 200  # at either end of a scene, whose ghosts may lie in the next one
_SOURCE = 3.0  # intensity of the faintest source worth keeping: its ghost would lie below -15 dB
_ISOLATED_CELLS = 5  # one source in a square of this side


@dataclass(frozen=True, slots=True)
class _Offset:
    """Where the first ghost of a place lies."""

    lines: float  # along the azimuth
    shift_px: float  # farther in range, at most; grows with the square of the order


def ghost_flag(scene: Scene, bright: BrightMap, size: Measure, box_px: Box) -> Flag | None:
    """Return the flag of a detection that stands where a much brighter target has its ghost.

    Args:
        scene: opened product.
        bright: its brightness.
        size: the detection's measures.
        box_px: its box.

    Returns:
        The flag with the source's place, order and brightness; None without such a source, and where the
        product states no pulse repetition frequency.
    """
    offset = ghost_offset(scene, size.line_px, size.sample_px)
    own = _own(scene, bright, box_px)
    if offset is None or own is None or size.peak_db is None:
        return None
    for order in ORDERS:
        found = [
            (place, side)
            for side in (-1, 1)
            if (place := _source(scene, bright, size, own, order * side, order, offset))
            and (order == 1 or _lower_order_seen(scene, bright, size, own[0], order, side, offset))
        ]
        if not found:
            continue
        chance = _chance(scene, bright, size, own, order, offset)
        if chance > _CHANCE[order]:
            continue
        place, side = max(found, key=lambda item: item[0].power)
        line, sample, peak = refine(scene, place)
        lon, lat = scene.geometry.lonlat(line, sample)
        return Flag(
            "azimuth_ghost",
            {
                "order": order,
                "source_line_px": line,
                "source_sample_px": sample,
                "source_lon_deg": round(float(lon), 6),
                "source_lat_deg": round(float(lat), 6),
                "source_db": _db(peak),
                "below_db": _db(place.power / own[0]),
                "offset_m": round(abs(line - size.line_px) * scene.spacing_m[0]),
                "expected_m": round(order * offset.lines * scene.spacing_m[0]),
                "chance": round(chance, 3),
                **_twin(scene, bright, size, order * side, offset),
            },
        )
    return None


def ghost_offset(scene: Scene, line_px: float, sample_px: float) -> _Offset | None:
    """Return the distance of a first ghost; None where the product does not say what it takes."""
    found = _offsets(scene, np.array([line_px]), np.array([sample_px]))
    return found[0] if found else None


def _offsets(
    scene: Scene, line_px: NDArray[np.float64], sample_px: NDArray[np.float64]
) -> list[_Offset] | None:
    """Return the distances of first ghosts, as `ghost_offset`."""
    annotation = scene.annotation
    if annotation is None or not annotation.prf_hz:
        return None
    swaths = [swath_of(annotation, line, sample) for line, sample in zip(line_px, sample_px, strict=True)]
    only = next(iter(annotation.prf_hz.values()))  # StripMap has one, and no bounds of swaths
    prf_hz = np.array([annotation.prf_hz.get(swath or "", only) for swath in swaths])
    wavelength_m = SPEED_OF_LIGHT_M_S / annotation.frequency_hz
    geometry = scene.geometry
    azimuth_m = wavelength_m * geometry.range_to_velocity_s(line_px, sample_px) * prf_hz / 2
    # n^2 lambda^2 R PRF^2 / (8 V^2) = offset^2 / (2 R), on the ground through the incidence angle
    shift_m = azimuth_m**2 / (2 * geometry.slant_range_m(line_px, sample_px))
    shift_m /= np.sin(np.radians(geometry.incidence_deg(line_px, sample_px)))
    along, across = azimuth_m / scene.spacing_m[0], shift_m / scene.spacing_m[1]
    return [_Offset(float(lines), float(shift)) for lines, shift in zip(along, across, strict=True)]


def swath_of(annotation: Annotation, line_px: float, sample_px: float) -> str | None:
    """Return the sub-swath that fills a pixel, beside the image the nearest; None in StripMap."""

    def beside(bounds: SwathBounds) -> float:
        across = max(bounds.first_sample - sample_px, sample_px - bounds.last_sample - 1, 0)
        along = max(bounds.first_line - line_px, line_px - bounds.last_line - 1, 0)
        return across + along

    return min(annotation.swaths, key=beside).swath if annotation.swaths else None


def ghost_places(scene: Scene, bright: BrightMap) -> tuple[GhostPlace, ...]:
    """Return where the neighbouring slices of the datatake have ghosts of this one's brightest targets.

    The strongest isolated targets near either end, sea and land, a bounded number of them; for each order
    the place beyond the scene at which its ghost is expected.
    """
    lines = scene.shape[0]
    middle = ghost_offset(scene, lines / 2, scene.shape[1] / 2)
    if middle is None:
        return ()
    reach = min(int(np.ceil(1.3 * ORDERS[-1] * middle.lines)), lines)
    ends = (0, reach - 1), (lines - reach, lines - 1)
    sources = sorted({source for first, last in ends for source in _strongest(scene, bright, first, last)})
    line, sample = (np.array([getattr(s, name) for s in sources]) for name in ("line_px", "sample_px"))
    offsets = _offsets(scene, line, sample) or []
    casting = [
        (source, offset, beyond)
        for source, offset in zip(sources, offsets, strict=True)
        if (beyond := _beyond(scene, bright, source, offset))
    ]
    if not casting:
        return ()
    refined = [refine(scene, source) for source, _, _ in casting]
    # of each place: which source, which order, and line and sample
    places = [
        (
            k,
            order,
            refined[k][0] + side * order * offset.lines,
            refined[k][1] + order**2 * offset.shift_px / 2,
        )
        for k, (_, offset, beyond) in enumerate(casting)
        for order, side in beyond
    ]
    lon, lat = scene.geometry.lonlat(*(np.array([place[i] for place in places]) for i in (2, 3)))
    there = scene.geometry.lonlat(*(np.array([at[i] for at in refined], float) for i in (0, 1)))
    return tuple(
        GhostPlace(
            order=order,
            lon_deg=round(float(lon[i]), 6),
            lat_deg=round(float(lat[i]), 6),
            source_line_px=refined[k][0],
            source_sample_px=refined[k][1],
            source_lon_deg=round(float(there[0][k]), 6),
            source_lat_deg=round(float(there[1][k]), 6),
            source_db=_db(refined[k][2]),
            brightness_db=_db(casting[k][0].power),
        )
        for i, (k, order, _, _) in enumerate(places)
        if np.isfinite(lon[i])
    )


def refine(scene: Scene, place: Place) -> tuple[int, int, float]:
    """Return line, sample and sigma0 of the brightest pixel in a cell, in the first polarisation."""
    first = int(place.line_px) // CELL_PX * CELL_PX, int(place.sample_px) // CELL_PX * CELL_PX
    pixels = scene.read(scene.polarisations[0], Window(first[0] - 1, first[1] - 1, CELL_PX + 2, CELL_PX + 2))
    sigma0 = np.where(pixels.valid, pixels.sigma0, 0.0)
    row, col = np.unravel_index(int(np.argmax(sigma0)), sigma0.shape)
    return first[0] - 1 + int(row), first[1] - 1 + int(col), float(sigma0[row, col])


def _own(scene: Scene, bright: BrightMap, box_px: Box) -> tuple[float, float | None] | None:
    """Return a detection's brightness in the first polarisation, and in the other where it is seen there."""
    x1, y1, x2, y2 = box_px
    lines, samples = (y1, y2 - 1), (x1, x2 - 1)
    own = bright.brightest(scene.polarisations[0], lines, samples)
    if own is None:
        return None
    cross = None
    if len(scene.polarisations) > 1:
        second = bright.brightest(scene.polarisations[1], lines, samples)
        around = _surroundings(bright, scene.polarisations[1], (y1 + y2) / 2, (x1 + x2) / 2)
        if second is not None and second.power > _VISIBLE * around:
            cross = second.power
    return own.power, cross


def _source(
    scene: Scene,
    bright: BrightMap,
    size: Measure,
    own: tuple[float, float | None],
    distance: float,
    order: int,
    offset: _Offset,
) -> Place | None:
    """Return what is so much brighter, so many offsets away, that a detection can be its ghost."""
    line = size.line_px + distance * offset.lines
    along = _REACH_M / scene.spacing_m[0]
    across = order * _ACROSS_M / scene.spacing_m[1]
    samples = size.sample_px - order**2 * offset.shift_px - across, size.sample_px + across
    place = bright.brightest(scene.polarisations[0], (line - along, line + along), samples)
    if place is None or not _within(place.power / own[0], order):
        return None
    if own[1] is not None:
        lines = place.line_px - CELL_PX, place.line_px + CELL_PX
        samples = place.sample_px - CELL_PX, place.sample_px + CELL_PX
        cross = bright.brightest(scene.polarisations[1], lines, samples)
        if cross is None or _db(cross.power / own[1]) < _BELOW_CROSS_DB:
            return None
    return place


def _chance(
    scene: Scene,
    bright: BrightMap,
    size: Measure,
    own: tuple[float, float | None],
    order: int,
    offset: _Offset,
) -> float:
    """Return how often the test passes where no ghost can be: between the orders' distances."""
    tried = passed = 0
    for quarter in range(2, 4 * ORDERS[-1] + 2):
        if quarter % 4 == 0:
            continue
        for side in (-1, 1):
            line = size.line_px + side * quarter / 4 * offset.lines
            if 0 <= line < scene.shape[0]:
                tried += 1
                passed += _source(scene, bright, size, own, side * quarter / 4, order, offset) is not None
    return passed / tried if tried else 0.0


def _lower_order_seen(
    scene: Scene, bright: BrightMap, size: Measure, own: float, order: int, side: int, offset: _Offset
) -> bool:
    """Whether the next lower ghost, nearer to the source, is at least as bright; True beside the scene."""
    line = size.line_px + side * offset.lines
    if not 0 <= line < scene.shape[0]:
        return True
    along, across = _REACH_M / scene.spacing_m[0], order * _ACROSS_M / scene.spacing_m[1]
    samples = size.sample_px - order**2 * offset.shift_px - across, size.sample_px + across
    place = bright.brightest(scene.polarisations[0], (line - along, line + along), samples)
    return place is not None and place.power >= own / 2


def _twin(
    scene: Scene, bright: BrightMap, size: Measure, distance: int, offset: _Offset
) -> dict[str, float | int | str]:
    """Return the contrast at the place of the ghost on the source's other side, where that is known."""
    line = size.line_px + 2 * distance * offset.lines
    along, across = _REACH_M / scene.spacing_m[0], _ACROSS_M / scene.spacing_m[1]
    samples = size.sample_px - across, size.sample_px + across
    place = bright.brightest(scene.polarisations[0], (line - along, line + along), samples)
    around = _surroundings(bright, scene.polarisations[0], line, size.sample_px)
    return {"twin_contrast_db": _db(place.power / around)} if place is not None and around > 0 else {}


def _surroundings(bright: BrightMap, polarisation: str, line_px: float, sample_px: float) -> float:
    cells = bright.cells(
        polarisation,
        (line_px - _AROUND_PX, line_px + _AROUND_PX),
        (sample_px - _AROUND_PX, sample_px + _AROUND_PX),
    )
    known = cells[cells > 0]
    return float(np.median(known)) if known.size else 0.0


def _strongest(scene: Scene, bright: BrightMap, first: int, last: int) -> list[Place]:
    """Return the strongest isolated cells of some lines."""
    from scipy import ndimage

    rows = slice(first // CELL_PX, last // CELL_PX + 1)
    peaks = bright.peaks[scene.polarisations[0]][rows]
    highest = ndimage.maximum_filter(peaks, _ISOLATED_CELLS, mode="constant")
    row, col = np.nonzero((peaks == highest) & (peaks >= _SOURCE))
    order = np.lexsort((col, row, -peaks[row, col]))[:_SOURCES]
    middle = (CELL_PX - 1) / 2
    return [
        Place(
            (rows.start + int(row[i])) * CELL_PX + middle,
            int(col[i]) * CELL_PX + middle,
            float(peaks[row[i], col[i]]),
        )
        for i in order
    ]


def _beyond(scene: Scene, bright: BrightMap, source: Place, offset: _Offset) -> list[tuple[int, int]]:
    """Return order and side of a source's ghosts that lie beyond the scene's first or last line."""
    found = []
    for side in (-1, 1):
        for order in ORDERS:
            at = source.line_px + side * order * offset.lines
            if not 0 <= at < scene.shape[0]:
                found.append((order, side))
            elif not _ghost_like(scene, bright, source, at):
                break  # no ghost of this order: none of a higher one either
    return found


def _ghost_like(scene: Scene, bright: BrightMap, source: Place, line_px: float) -> bool:
    """Whether something not too faint to be a source's ghost stands at a place of the scene."""
    along, across = _REACH_M / scene.spacing_m[0], _ACROSS_M / scene.spacing_m[1]
    samples = source.sample_px - across, source.sample_px + across
    place = bright.brightest(scene.polarisations[0], (line_px - along, line_px + along), samples)
    return place is not None and _db(source.power / place.power) <= BELOW_DB[1][1]


def _within(ratio: float, order: int) -> bool:
    low, high = BELOW_DB[order]
    return low <= _db(ratio) <= high


def _db(power: float) -> float:
    return round(float(10 * np.log10(max(power, 1e-10))), 1)
