"""Chips of one place at two passes of one orbit, and what became of each labelled object.

Change is told of places, as their pixels show it: a ship that swung away from where it lay has left that
place. Where pixels cannot show it the truth is ``cannot_tell``: one image has no data there, or the object is
too faint in one, or would have been there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine.data.splits import unit_vectors
from engine.errors import DatasetError
from engine.runtime.image import CHIP_PX, intensities
from engine.runtime.prior import anchor_positions
from engine.simulate.pairs import VISIBLE_DB

if TYPE_CHECKING:
    from engine.data.chipfolder import Chip, Thing

MATCH_PX = 3.0  # between the centres of two chips of one place; their corners may lie twice as far apart
PLACE_M = 30.0  # between two labels of one place, beside a quarter of either length: geolocation's error
RIM_PX = 8.0  # places nearer to a chip's edge are not asked about: the daemon asks them in chips of their own
_RING_PX = 20  # half the side of the square around a place whose median is its clutter
_LEAST_PX = 25  # pixels that a median needs
_M_PER_DEG = 111_195.0  # of latitude, on a sphere of 6,371 km
_EARTH_M = 6.371e6

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Known:
    """A place where either pass has an object that its pixels show.

    Attributes:
        label: what stood there last.
        box_px: in the later chip.
        change: what became of it, one of ``engine.runtime.forms.CHANGES``.
    """

    label: str
    box_px: Box
    change: str


def find_pairs(before: Sequence[Chip], after: Sequence[Chip]) -> list[tuple[Chip, int]]:
    """Find the chips of an earlier pass over the same places.

    Args:
        before: of earlier passes; those without labels are passed over.
        after: of later ones, labelled.

    Returns:
        Chips of before with the index of their partner in after; of each product at most one a partner.

    Raises:
        DatasetError: there is no pair, or two chips of one place were not seen alike.
    """
    from scipy.spatial import cKDTree

    earlier = [chip for chip in before if chip.labelled]
    found: list[tuple[Chip, int]] = []
    if earlier and after:
        tree = cKDTree(unit_vectors(np.array([chip.centre for chip in earlier])))
        for index, (chip, at) in enumerate(
            zip(after, unit_vectors(np.array([chip.centre for chip in after])), strict=True)
        ):
            near = tree.query_ball_point(at, MATCH_PX * chip.spacing_m / _EARTH_M)
            nearest: dict[str, Chip] = {}
            for i in sorted(near, key=lambda i: float(np.linalg.norm(tree.data[i] - at)), reverse=True):
                if earlier[i].acquired < chip.acquired and earlier[i].product != chip.product:
                    nearest[earlier[i].product] = earlier[i]
            for other in nearest.values():
                _check_alike(other, chip)
                found.append((other, index))
    if not found:
        raise DatasetError(
            f"got {len(earlier)} labelled chips before and {len(after)} after without two of one place, "
            f"expected centres within {MATCH_PX:.0f} px, the earlier first: cut the one pass with "
            "`fusar chips --at`, the other's chip folder"
        )
    return found


def _check_alike(before: Chip, after: Chip) -> None:
    """Refuse two chips whose pixels do not compare.

    Raises:
        DatasetError: they are of two orbits, sensors, sets of bands or spacings, or lie turned.
    """
    for what, one, other in (
        ("relative orbits", before.relative_orbit, after.relative_orbit),
        ("sensors", before.sensor, after.sensor),
        ("bands", before.bands, after.bands),
        ("spacings", round(before.spacing_m, 2), round(after.spacing_m, 2)),
    ):
        if one is None or one != other:
            raise DatasetError(
                f"got chips {before.id} and {after.id} of {what} {one} and {other}, expected the same: "
                "changes are told from passes of one relative orbit"
            )
    corners = np.array([(0, 0), (CHIP_PX, 0), (0, CHIP_PX), (CHIP_PX, CHIP_PX)], np.float64)
    apart = np.abs(_carried(corners, before, after) - corners).max()
    if apart > 2 * MATCH_PX:
        raise DatasetError(
            f"got chips {before.id} and {after.id} of one place whose corners lie {apart:.0f} px apart, "
            "expected passes that look alike"
        )


def what_changed(
    before: Chip, after: Chip, pixels: tuple[NDArray[np.uint8], NDArray[np.uint8]]
) -> tuple[list[Known], tuple[int, int]]:
    """Tell what became of the labelled objects of two chips of one place.

    Args:
        before: the earlier chip.
        after: the later one.
        pixels: their channels, [3, 126, 126] each.

    Returns:
        Places from the top of the later chip down, and the ships in each chip.
    """
    pair = (before, after)
    shown = [np.asarray(chip.any(axis=0)) for chip in pixels]
    levels = [intensities(chip) for chip in pixels]
    known = []
    for things in _places(before, after):
        if not any(thing is not None and thing.shown for thing in things):
            continue
        boxes = _boxes(things, pair)
        middle = _middle(boxes[1])
        if min(middle) < RIM_PX or max(middle) > CHIP_PX - RIM_PX:
            continue
        contrast = [
            thing.contrast_db if thing is not None else _would_be(things[1 - k], levels, boxes, k)
            for k, thing in enumerate(things)
        ]
        here = things[1] or things[0]
        change = "still_occupied"
        if any(not _has_data(mask, box) for mask, box in zip(shown, boxes, strict=True)) or any(
            value is not None and value < VISIBLE_DB for value in contrast
        ):
            change = "cannot_tell"
        elif things[0] is None or things[1] is None:
            change = "gone" if things[1] is None else "appeared"
        known.append(Known(here.class_ if here else "", boxes[1], change))
    counts = [
        sum(thing.class_ == "ship" and _has_data(mask, thing.box_px) for thing in chip.objects)
        for chip, mask in zip(pair, shown, strict=True)
    ]
    return sorted(known, key=lambda each: (each.box_px[1], each.box_px[0])), (counts[0], counts[1])


def _places(before: Chip, after: Chip) -> list[tuple[Thing | None, Thing | None]]:
    """Match the objects of both chips, faint ones too, one to one by distance in metres."""
    from scipy.optimize import linear_sum_assignment

    first, second = ([*chip.objects, *chip.faint] for chip in (before, after))
    at = [
        _ground_m(np.array([_middle(thing.box_px) for thing in things]).reshape(-1, 2), chip, after)
        for things, chip in ((first, before), (second, after))
    ]
    apart_m = np.linalg.norm(at[0][:, None] - at[1], axis=2)
    length = [np.array([thing.length_m or 0.0 for thing in things]) for things in (first, second)]
    reach_m = PLACE_M + (length[0][:, None] + length[1]) / 4
    near = apart_m <= reach_m
    rows, cols = linear_sum_assignment(np.where(near, apart_m / reach_m - 2, 0.0))
    matched = {int(i): int(j) for i, j in zip(rows, cols, strict=True) if near[i, j]}
    places: list[tuple[Thing | None, Thing | None]] = [
        (thing, second[matched[i]] if i in matched else None) for i, thing in enumerate(first)
    ]
    return places + [(None, thing) for j, thing in enumerate(second) if j not in matched.values()]


def _boxes(things: tuple[Thing | None, Thing | None], chips: tuple[Chip, Chip]) -> tuple[Box, Box]:
    """Return a place's box in each chip; where it has no object, that of the other, carried over."""
    boxes = []
    for k in (0, 1):
        thing, other = things[k], things[1 - k]
        if thing is not None:
            boxes.append(thing.box_px)
        elif other is not None:
            corners = np.array(other.box_px, np.float64).reshape(2, 2)
            x1, y1, x2, y2 = _carried(corners, chips[1 - k], chips[k]).ravel().tolist()
            boxes.append((x1, y1, x2, y2))
    return boxes[0], boxes[1]


def _would_be(
    thing: Thing | None, levels: Sequence[NDArray[np.float64]], boxes: tuple[Box, Box], image: int
) -> float | None:
    """Return the contrast that an object of the other image would have in an image, at least.

    Its contrast is in the polarisation where it is best; the clutter changed by so much in either.

    Returns:
        dB; None where the object's own is not known, minus infinity where there are too few pixels to tell.
    """
    if thing is None or thing.contrast_db is None:
        return None
    here, there = (_clutter_db(levels[k], boxes[k]) for k in (image, 1 - image))
    change = (there - here)[np.isfinite(there - here)]
    return thing.contrast_db + float(change.min()) if change.size else -np.inf


def _clutter_db(levels: NDArray[np.float64], box: Box) -> NDArray[np.float64]:
    """Return the median around a place in each polarisation, [2]; NaN with too few pixels."""
    x, y = (round(value) for value in _middle(box))
    rows, cols = (slice(max(at - _RING_PX, 0), max(at + _RING_PX + 1, 0)) for at in (y, x))
    around = levels[:, rows, cols].reshape(2, -1)
    own = [band[np.isfinite(band)] for band in around]
    return np.array([10 * np.log10(np.median(band)) if band.size >= _LEAST_PX else np.nan for band in own])


def _has_data(shown: NDArray[np.bool_], box: Box) -> bool:
    """Whether an image has data in at least half of what it holds of a box."""
    x1, y1, x2, y2 = (round(min(max(edge, 0), CHIP_PX)) for edge in box)
    inside = shown[y1:y2, x1:x2]
    return bool(inside.size and inside.mean() >= 0.5)


def _middle(box: Box) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _affine(chip: Chip, about: Chip) -> NDArray[np.float64]:
    """Return what takes (x, y, 1) of a chip to metres east and north of another's centre, [3, 2]."""
    pixels = anchor_positions()[:, ::-1].astype(np.float64) * CHIP_PX
    lon, lat = chip.anchors.T
    east = ((lon - about.centre[0] + 180) % 360 - 180) * np.cos(np.radians(about.centre[1]))
    metres = np.stack([east, lat - about.centre[1]], axis=1) * _M_PER_DEG
    design = np.column_stack([pixels, np.ones(len(pixels))])
    return np.asarray(np.linalg.lstsq(design, metres, rcond=None)[0], np.float64)


def _ground_m(points: NDArray[np.float64], chip: Chip, about: Chip) -> NDArray[np.float64]:
    """Return points (x, y) of a chip in metres east and north of another's centre, [n, 2]."""
    affine = _affine(chip, about)
    return np.asarray(points @ affine[:2] + affine[2])


def _carried(points: NDArray[np.float64], chip: Chip, onto: Chip) -> NDArray[np.float64]:
    """Return points (x, y) of a chip as points of another of the same place, [n, 2]."""
    affine = _affine(onto, onto)
    return np.asarray((_ground_m(points, chip, onto) - affine[2]) @ np.linalg.inv(affine[:2]))
