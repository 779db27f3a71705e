"""Pairs of chips for change questions: one place at two passes of the same orbit.

What lasts is the same in both: coast, land, incidence angle, noise, platforms and turbines. What does not is
drawn anew: wind and sea, speckle, the ships; some stay, come or leave, and another may lie in a berth.

The known places of a pair are what an imperfect detector would have found in either image, some false
alarms among them. What became of a place is told only where the pixels can show it: where an object, had it
been there, would stand out in the other image too; else the truth is ``cannot_tell``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError
from engine.runtime.image import CHIP_PX, channels
from engine.runtime.text import MAX_PLACES, Place, Seen
from engine.simulate import chips, clutter, landcover, objects, physics
from engine.simulate.chips import ChipMaker, Context, Target
from engine.simulate.objects import DEFAULT, Body, SceneStatistics

_KINDS = {
    "open": 0.05, "rough": 0.04, "coast": 0.06, "rocks": 0.05, "ships": 0.36, "anchorage": 0.14,
    "moored": 0.16, "platforms": 0.06, "turbines": 0.05, "mixed": 0.03,
}  # fmt: skip
_STAYS = {"anchorage": 0.55, "moored": 0.6}  # share of ships that are there again; 0.12 elsewhere
VISIBLE_DB = 8.0  # a peak over the clutter from which on pixels show an object, or its absence
_NO_DATA_SHARE = 0.07
_FALSE_ALARM_SHARE = 0.25
_UNSEEN_SHARE = 0.35  # of pairs whose places come without the image they were found in: look, do not infer
_MOST_FOUND = 0.92  # how likely a detector finds a bright object


@dataclass(frozen=True)
class Pair:
    """Two chips of one place, in time order.

    Attributes:
        pixels: uint8 [2, 3, 126, 126].
        truth: the objects of each chip.
        places: what a detector knew, by ordinal.
        changes: what became of each place.
        land_fraction: share of land.
        prior: AlphaEarth bytes at the anchors, int8 [64, 6, 6].
        context: what else is known of each chip.
        days: between the passes.
    """

    pixels: NDArray[np.uint8]
    truth: tuple[list[Target], list[Target]]
    places: tuple[Place, ...]
    changes: tuple[str, ...]
    land_fraction: float
    prior: NDArray[np.int8]
    context: tuple[Context, Context]
    days: int


@dataclass
class _Fate:
    """An object over both passes: its body and place in each image where it is, None where it is not."""

    before: tuple[Body, float, float] | None
    after: tuple[Body, float, float] | None


class PairMaker(ChipMaker):
    """Draws pairs from one seed; make_pairs is the way to many."""

    def make_pair(self, index: int) -> Pair:
        """Draw one pair; equal seeds and indices give equal pairs."""
        rng = np.random.default_rng([self._seed, 2, index])
        kind = str(rng.choice(list(_KINDS), p=np.array(list(_KINDS.values())) / sum(_KINDS.values())))
        first = self._draw_clutter(rng, kind)
        ground = first.power.copy()
        self._populate(rng, first, kind)
        second = self._again(rng, first, ground, kind)
        fates = self._fates(rng, first, second, kind)
        drafts = (first, second)
        valid = _valid(rng)
        images = [self._image(rng, draft) for draft in drafts]
        pixels = np.stack(
            [channels(image[0], image[1], mask) for image, mask in zip(images, valid, strict=True)]
        )
        truth = [
            [
                target
                for target in (self._target(draft, *entry) for entry in draft.placed)
                if target and _seen(mask, target.line_px, target.sample_px)
            ]
            for draft, mask in zip(drafts, valid, strict=True)
        ]
        known = self._known(rng, fates, drafts, valid)
        if rng.random() < _FALSE_ALARM_SHARE:
            known += _false_alarm(rng, pixels, valid, truth)
        known = sorted(known[:MAX_PLACES], key=lambda each: (each[0].box_px[1], each[0].box_px[0]))
        land = None if first.coast is None else first.coast > 0
        cover = None
        if land is not None and first.labels is not None and land.any():
            cover = landcover.CLASSES[np.bincount(first.labels[land]).argmax()]
        context = [
            Context(kind, draft.state.wind_m_s, draft.state.incidence_deg, draft.state.sea_db, cover)
            for draft in drafts
        ]
        pair = Pair(
            pixels,
            (truth[0], truth[1]),
            tuple(place for place, _ in known),
            tuple(change for _, change in known),
            0.0 if land is None else float(land.mean()),
            chips._prior(rng, first),
            (context[0], context[1]),
            int(rng.choice([6, 12, 12, 24])),
        )
        if rng.random() < _UNSEEN_SHARE:
            pair = replace(pair, places=tuple(replace(place, seen="") for place in pair.places))
        return reverse(pair) if rng.random() < 0.5 else pair  # so that as many come as leave

    def _again(
        self, rng: np.random.Generator, first: chips._Draft, ground: NDArray[np.float32], kind: str
    ) -> chips._Draft:
        """Return the same place at the next pass, without its objects."""
        wind = clutter.draw_sea_state(rng, self._stats).wind_m_s
        vv, vh = physics.sea_sigma0_db(wind, first.state.incidence_deg, float(rng.uniform(0, 360)))
        state = replace(first.state, wind_m_s=wind, sea_db=(max(vv, -30.0), vh))
        power = clutter.draw_sea(rng, self._textures, state, CHIP_PX, self._stats)
        if first.coast is not None:
            wetter_db = rng.normal(0, 0.7)  # soil, rain, leaves
            power = np.where(first.coast > 0, ground * np.float32(10 ** (wetter_db / 10)), power)
        return replace(first, power=power, state=state, placed=[], ghosts=[])

    def _fates(
        self, rng: np.random.Generator, first: chips._Draft, second: chips._Draft, kind: str
    ) -> list[_Fate]:
        """Decide who stays and who comes; the second draft gets its objects."""
        fates = []
        for entry in first.placed:
            body, line, sample = entry
            fate = _Fate(entry, None)
            stays = 0.97 if body.class_ != "ship" else _STAYS.get(kind, 0.12)
            if rng.random() < stays:
                fate.after = (self._next_pass(rng, body, kind), line + rng.normal(0, 0.3), sample)
                second.placed.append(fate.after)
            fates.append(fate)
        if kind in ("open", "rough", "coast", "rocks"):
            return fates
        for _ in range(int(rng.choice(4, p=[0.35, 0.4, 0.15, 0.1]))):
            count = len(second.placed)
            ship = objects.draw_ship(rng, self._stats, moving=False if kind in _STAYS else None)
            self._place(rng, second, ship, near_shore=kind == "moored")
            fates += [_Fate(None, entry) for entry in second.placed[count:]]
        return fates

    def _next_pass(self, rng: np.random.Generator, body: Body, kind: str) -> Body:
        """Return what stands at an object's place at the next pass."""
        if body.class_ != "ship":
            return body.brightened(rng.normal(0, 1))
        if rng.random() < 0.3:  # another ship in the berth
            length = max(15.0, body.length_m * rng.normal(1, 0.15))
            return objects.draw_ship(rng, self._stats, length_m=length, axis_deg=body.axis_deg, moving=False)
        turned = _swung(body, float(rng.normal(0, 20))) if kind == "anchorage" else body
        return turned.brightened(rng.normal(0, 2))

    def _known(
        self,
        rng: np.random.Generator,
        fates: Sequence[_Fate],
        drafts: tuple[chips._Draft, chips._Draft],
        valid: NDArray[np.bool_],
    ) -> list[tuple[Place, str]]:
        """Return the places that a detector knew, with what became of them."""
        known = []
        for fate in fates:
            entries = (fate.before, fate.after)
            body, line, sample = fate.after or fate.before  # type: ignore[misc]  # one of them is there
            target = self._target(drafts[fate.after is not None], body, line, sample)
            if target is None:
                continue
            contrast = [
                self._contrast_db(draft, *(entry or (body, line, sample)))
                if _seen(mask, line, sample)
                else -np.inf
                for entry, draft, mask in zip(entries, drafts, valid, strict=True)
            ]
            found = [
                entry is not None and rng.random() < np.clip((level - 5) / 8, 0, _MOST_FOUND)
                for entry, level in zip(entries, contrast, strict=True)
            ]
            if any(found):
                change = "cannot_tell"
                if min(contrast) >= VISIBLE_DB:
                    change = {(True, True): "still_occupied", (True, False): "gone"}.get(
                        (fate.before is not None, fate.after is not None), "appeared"
                    )
                known.append((_place(rng, target.box_px, body.class_, found), change))
        return known


def reverse(pair: Pair) -> Pair:
    """Return a pair with its images in the other order: who left, appeared."""
    seen: dict[str, Seen] = {"before": "after", "after": "before"}
    changes = {"appeared": "gone", "gone": "appeared"}
    return replace(
        pair,
        pixels=pair.pixels[::-1].copy(),
        truth=pair.truth[::-1],
        places=tuple(replace(place, seen=seen.get(place.seen, place.seen)) for place in pair.places),
        changes=tuple(changes.get(change, change) for change in pair.changes),
        context=pair.context[::-1],
    )


def _place(rng: np.random.Generator, box_px: Sequence[float], label: str, found: Sequence[bool]) -> Place:
    """Return a detection's place: its box a little off, and in which images it was found."""
    x1, y1, x2, y2 = np.clip(np.array(box_px) + rng.normal(0, 0.7, 4), 0, CHIP_PX).round(1).tolist()
    x1, y1 = min(x1, x2 - 1.5, CHIP_PX - 3.0), min(y1, y2 - 1.5, CHIP_PX - 3.0)
    x1, y1 = max(x1, 0.0), max(y1, 0.0)
    seen: Seen = "both" if all(found) else "before" if found[0] else "after"
    return Place((x1, y1, max(x2, x1 + 1.5), max(y2, y1 + 1.5)), label, seen)


def _false_alarm(
    rng: np.random.Generator,
    pixels: NDArray[np.uint8],
    valid: NDArray[np.bool_],
    truth: Sequence[Sequence[Target]],
) -> list[tuple[Place, str]]:
    """Return the brightest place of one image that is no object: nothing can be told of it."""
    which = int(rng.integers(2))
    bright = pixels[which, 0].astype(np.int16)
    for target in (*truth[0], *truth[1]):
        x1, y1, x2, y2 = (int(edge) for edge in target.box_px)
        bright[max(y1 - 5, 0) : max(y2 + 6, 0), max(x1 - 5, 0) : max(x2 + 6, 0)] = -1
    line, sample = np.unravel_index(int(bright.argmax()), bright.shape)
    if bright[line, sample] <= 0 or not valid[which, line, sample]:
        return []
    box = (sample - 1.5, line - 1.5, sample + 2.5, line + 2.5)
    return [(_place(rng, box, "ship", (which == 0, which == 1)), "cannot_tell")]


def _swung(body: Body, turn_deg: float) -> Body:
    """Return a body turned clockwise about its centre."""
    sin, cos = np.sin(np.radians(turn_deg)), np.cos(np.radians(turn_deg))
    return replace(
        body,
        axis_deg=float((body.axis_deg + turn_deg) % 180),
        line_px=body.sample_px * sin + body.line_px * cos,
        sample_px=body.sample_px * cos - body.line_px * sin,
    )


def _valid(rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return where each image has data, [2, H, W]: at times one of them ends within the chip."""
    valid = np.ones((2, CHIP_PX, CHIP_PX), np.bool_)
    if rng.random() < _NO_DATA_SHARE:
        image = valid[int(rng.integers(2))]
        edge = image if rng.random() < 0.5 else image.T
        (edge if rng.random() < 0.5 else edge[::-1])[: int(rng.integers(15, 80))] = False
    return valid


def _seen(valid: NDArray[np.bool_], line_px: float, sample_px: float) -> bool:
    line, sample = (int(np.clip(round(each), 0, CHIP_PX - 1)) for each in (line_px, sample_px))
    return bool(valid[line, sample])


def make_pairs(
    count: int,
    seed: int,
    *,
    progress: Callable[[int], None] | None = None,
    stats: SceneStatistics = DEFAULT,
    start: int = 0,
) -> list[Pair]:
    """Draw pairs.

    Args:
        count: number of pairs.
        seed: chooses the set; equal seeds give equal pairs. No chip of ``make_chips`` is among them.
        progress: called with the number of pairs done.
        stats: the population.
        start: index of the first pair, so that several workers can share one seed.

    Raises:
        InputError: the count is negative.
    """
    if count < 0:
        raise InputError(f"got a count of {count}, expected 0 or more")
    maker = PairMaker(seed, stats)
    out = []
    for index in range(count):
        out.append(maker.make_pair(start + index))
        if progress is not None:
            progress(index + 1)
    return out
