"""Two passes over one place: which chips go together, and what the pixels can tell of their labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.data.chipfolder import Chip, Thing
from engine.data.passes import find_pairs, what_changed
from engine.errors import DatasetError
from engine.runtime.image import CHIP_PX, channels
from engine.runtime.prior import anchor_positions

M_PER_DEG = 111_195.0
LAT = 55.0


def chip(
    day: int, *things: Thing, east_px: float = 0.0, north_px: float = 0.0, turn_deg: float = 0.0, **more
) -> Chip:
    """Return a chip of 10 m pixels whose centre lies some pixels off; rows run south."""
    x, y = (anchor_positions()[:, ::-1].astype(float).T - 0.5) * CHIP_PX
    sin, cos = np.sin(np.radians(turn_deg)), np.cos(np.radians(turn_deg))
    east, north = x * cos - y * sin + east_px, -(x * sin + y * cos) + north_px
    to_deg = 10.0 / M_PER_DEG
    anchors = np.stack([4 + east * to_deg / np.cos(np.radians(LAT)), LAT + north * to_deg], axis=1)
    centre = (4 + east_px * to_deg / np.cos(np.radians(LAT)), LAT + north_px * to_deg)
    made = Chip(
        id=f"P{day}/l0s0",
        image=Path("x.png"),
        product=f"P{day}",
        acquired=f"2024-05-{day:02d}T05:00:00+00:00",
        sensor="Sentinel-1 IW",
        bands=("VV", "VH"),
        spacing_m=10.0,
        centre=centre,
        anchors=anchors,
        land_fraction=0.0,
        sea_db=-18.0,
        labelled=True,
        objects=tuple(thing for thing in things if thing.shown),
        faint=tuple(thing for thing in things if not thing.shown),
        relative_orbit=37,
    )
    return replace(made, **more)


def ship(x: float, y: float, contrast_db: float | None = 20.0, length_m: float = 80.0) -> Thing:
    return Thing("ship", (x - 5, y - 3, x + 5, y + 3), length_m, contrast_db)


def sea(db: float = -18.0, left_px: int = 0) -> np.ndarray:
    """Return the channels of a plain sea, without data in its first columns."""
    valid = np.ones((CHIP_PX, CHIP_PX), bool)
    valid[:, :left_px] = False
    speckle = np.random.default_rng(1).gamma(4.4, 1 / 4.4, (2, CHIP_PX, CHIP_PX))
    copol, crosspol = speckle * 10 ** (np.array([db, db - 6]) / 10)[:, None, None]
    return channels(copol, crosspol, valid)


def told(before: Chip, after: Chip, pixels=None) -> tuple[list[str], tuple[int, int]]:
    known, counts = what_changed(before, after, pixels or (sea(), sea()))
    return [each.change for each in known], counts


def test_places_come_go_and_stay() -> None:
    before, after = chip(1, ship(30, 20), ship(60, 60)), chip(13, ship(62, 61), ship(90, 100))
    known, counts = what_changed(before, after, (sea(), sea()))
    assert [each.change for each in known] == ["gone", "still_occupied", "appeared"]  # from the top down
    assert [each.label for each in known] == ["ship"] * 3 and counts == (2, 2)
    assert known[1].box_px == after.objects[0].box_px


def test_a_place_is_where_it_was_on_the_ground() -> None:
    # the later chip lies 2 px further east and 1 px further north: what stays there moves the other way
    before, after = chip(1, ship(60, 60), ship(30, 30)), chip(13, ship(58, 61), east_px=2, north_px=1)
    known, _ = what_changed(before, after, (sea(), sea()))
    assert [each.change for each in known] == ["gone", "still_occupied"]
    assert known[0].box_px == pytest.approx((23, 28, 33, 34), abs=0.05)


@pytest.mark.parametrize(
    ("apart_px", "length_m", "same"), [(3.0, 40.0, True), (6.0, 40.0, False), (6.0, 200.0, True)]
)
def test_one_place_is_told_by_metres_and_lengths(apart_px: float, length_m: float, same: bool) -> None:
    changes, _ = told(
        chip(1, ship(60, 60, length_m=length_m)), chip(13, ship(60 + apart_px, 60, length_m=length_m))
    )
    assert sorted(changes) == (["still_occupied"] if same else ["appeared", "gone"])


def test_each_object_is_at_one_place_alone() -> None:
    changes, counts = told(chip(1, ship(60, 60)), chip(13, ship(61, 60), ship(60, 63)))
    assert sorted(changes) == ["appeared", "still_occupied"] and counts == (1, 2)


def test_what_pixels_cannot_show_cannot_be_told() -> None:
    there = chip(1, ship(60, 60, contrast_db=12.0))
    gone = chip(13)
    assert told(there, gone)[0] == ["gone"]
    # as bright as it was, it would not stand out from a sea 6 dB rougher
    assert told(there, gone, (sea(-18), sea(-12)))[0] == ["cannot_tell"]
    assert told(there, gone, (sea(-12), sea(-18)))[0] == ["gone"]
    # it is there still, too faint to see: no truth of the later image
    assert told(there, chip(13, ship(60, 60, contrast_db=3.0))) == (["cannot_tell"], (1, 0))
    # what is faint in both is no place; one of unknown contrast is taken at its label
    assert told(chip(1, ship(60, 60, 3.0)), chip(13, ship(60, 60, 3.0)))[0] == []
    assert told(chip(1, ship(60, 60, None)), gone, (sea(-18), sea(-12)))[0] == ["gone"]


def test_where_one_image_has_no_data_nothing_is_told() -> None:
    before, after = chip(1, ship(30, 30), ship(90, 90)), chip(13, ship(90, 90))
    assert told(before, after, (sea(), sea(left_px=60)))[0] == ["cannot_tell", "still_occupied"]
    assert told(after, before, (sea(left_px=60), sea()))[0] == ["cannot_tell", "still_occupied"]
    assert told(before, before, (sea(left_px=60), sea()))[1] == (1, 2)  # ships that are not in the picture


def test_places_at_the_rim_are_left_out() -> None:
    assert told(chip(1, ship(4, 60), ship(60, 123)), chip(13))[0] == []


def test_chips_of_one_place_go_together() -> None:
    before = [chip(1, east_px=40), chip(1, east_px=2), chip(1, east_px=1), chip(1, labelled=False)]
    after = [chip(13, east_px=80), chip(13)]
    assert find_pairs(before, after) == [(before[2], 1)]  # the nearest of a product
    with pytest.raises(DatasetError, match="--at"):
        find_pairs([chip(1, east_px=4)], [chip(13)])
    with pytest.raises(DatasetError, match="earlier first"):
        find_pairs([chip(13)], [chip(1)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"relative_orbit": 110}, "relative orbits 110 and 37"),
        ({"relative_orbit": None}, "relative orbits None"),
        ({"bands": ("VV",)}, "bands"),
        ({"sensor": "Sentinel-1 SM"}, "sensors"),
        ({"spacing_m": 40.0}, "spacings"),
        ({"turn_deg": 20.0}, "look alike"),
    ],
)
def test_passes_that_were_not_seen_alike_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        find_pairs([chip(1, **changes)], [chip(13)])
