"""A picture of what changed between two passes: the later scene with its changes, and places close up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from daemon import picture as p
from daemon.scene.product import Window

if TYPE_CHECKING:
    from daemon.scene.land import LandSource
    from daemon.scene.product import Scene

_COLOURS = {
    "appeared": (92, 232, 138),
    "gone": (255, 96, 96),
    "still_occupied": (122, 200, 255),
    "cannot_tell": (176, 186, 198),
}
_WORDS = {kind: kind.replace("_", " ") for kind in _COLOURS}
_SHOWN = ("appeared", "gone", "still_occupied")  # kinds of which places are shown close up, in turn
_COLUMNS, _SIDE = 6, 84  # close-ups beside each other, and the scene's pixels across one
_SURE = 0.9


@dataclass(frozen=True, slots=True)
class Mark:
    """A change as it is drawn."""

    kind: str
    label: str
    score: float
    length_m: float | None
    lon_deg: float
    lat_deg: float
    reason: str | None = None


def draw(before: Scene, after: Scene, land: LandSource, marks: Sequence[Mark], path: Path) -> None:
    """Draw changes as PNG.

    Args:
        before: the earlier scene, opened.
        after: the later scene, opened; its view is shown.
        land: land in the later scene.
        marks: what changed.
        path: file to write.

    Raises:
        SceneCorrupt: the pixels cannot be read.
    """
    factor = max(1, -(-max(after.shape) // p._LONGEST_PX))
    sigma0, is_land, valid = p._decimate(after, land, factor)
    stretch = p._stretch(sigma0, valid & ~is_land)
    flips = p._flips(after)
    lines, samples = sigma0.shape
    width = int(np.clip(samples, p._NARROWEST_PX, p._WIDEST_PX))
    height = round(width * lines / samples)
    box = (p._MARGIN, p._HEADER, p._MARGIN + width, p._HEADER + height)
    frame = p._Frame(0.0, 0.0, lines * factor, samples * factor, box, *flips)
    shown = _shown(marks)
    side = (width + p._GAP) // _COLUMNS - p._GAP  # of a close-up
    strip = 2 * side + 130 if shown else 0
    canvas = Image.new("RGB", (width + 2 * p._MARGIN, p._HEADER + height + strip + p._MARGIN), p._PAPER)
    colours = frame.turn(p._colour(sigma0, is_land, valid, *stretch))
    whole = Image.fromarray(np.ascontiguousarray(colours))
    canvas.paste(whole.resize((width, height), Image.Resampling.LANCZOS), box[:2])
    pen = p._Pen(canvas.size)
    for mark in sorted(marks, key=lambda m: (m.kind == "appeared", m.kind == "gone", m.score)):
        x, y = frame.xy(*after.geometry.pixel(mark.lon_deg, mark.lat_deg))
        length_px = (mark.length_m or 0.0) / float(np.mean(after.spacing_m))
        _symbol(pen, float(x), float(y), mark.kind, min(max(9.0, length_px / 2 * frame.scale + 7), 40.0))
    p._scale_bar(pen, frame, after)
    p._north(pen, frame, after)
    if shown:
        top = box[3] + 26
        pen.text((p._MARGIN, top), "Places at full resolution: the earlier pass above, the later below", 20)
        for column, mark in enumerate(shown):
            left = p._MARGIN + column * (side + p._GAP)
            for row, scene in enumerate((before, after)):
                upper = top + 36 + row * (side + 8)
                box = (left, upper, left + side, upper + side)
                _close_up(canvas, pen, scene, mark, box, stretch, flips)
            _caption(pen, mark, (left, top + 36 + 2 * (side + 8) + 4))
    _header(pen, before, after, marks, width)
    pen.onto(canvas).save(path, format="PNG", compress_level=3)


def _shown(marks: Sequence[Mark]) -> list[Mark]:
    """Choose the longest of the sure ones, of the kinds in turn; in the order of the kinds."""
    ranked = {
        kind: sorted(
            (m for m in marks if m.kind == kind), key=lambda m: (m.score < _SURE, -(m.length_m or 0.0))
        )
        for kind in _SHOWN
    }
    turns = [mark for turn in zip_longest(*ranked.values()) for mark in turn if mark is not None]
    return sorted(turns[:_COLUMNS], key=lambda m: _SHOWN.index(m.kind))


def _symbol(pen: p._Pen, x: float, y: float, kind: str, radius: float) -> None:
    """Draw a kind: a ring with a plus, a broken ring with a cross, a ring, a question mark."""
    colour = _COLOURS[kind]
    if kind == "cannot_tell":
        pen.text((x, y), "?", 20, colour, "mm", halo=2)
        return
    turns = [(0.0, 2 * np.pi)]
    if kind == "gone":
        turns = [(start, start + np.pi / 4) for start in np.pi / 8 + np.pi / 2 * np.arange(4)]
    inner = radius * 0.55
    strokes = []
    for start, stop in turns:
        angle = np.linspace(start, stop, 41)
        strokes.append(list(zip(x + radius * np.cos(angle), y + radius * np.sin(angle), strict=True)))
    if kind == "appeared":  # ticks outside the ring, so that the ship stays free
        arms = [(1, 0), (-1, 0), (0, 1), (0, -1)]
        strokes += [
            [(x + a * radius, y + b * radius), (x + a * (radius + inner), y + b * (radius + inner))]
            for a, b in arms
        ]
    if kind == "gone":
        strokes += [[(x - inner, y - inner), (x + inner, y + inner)]]
        strokes += [[(x - inner, y + inner), (x + inner, y - inner)]]
    for width, fill in ((4.4, (*p._PAPER, 200)), (2.2, (*colour, 255))):
        for stroke in strokes:
            pen.line(stroke, fill, width)


def _close_up(
    canvas: Image.Image,
    pen: p._Pen,
    scene: Scene,
    mark: Mark,
    box: tuple[int, int, int, int],
    stretch: tuple[float, float],
    flips: tuple[bool, bool],
) -> None:
    line, sample = (float(v) for v in scene.geometry.pixel(mark.lon_deg, mark.lat_deg))
    first = round(line) - _SIDE // 2, round(sample) - _SIDE // 2
    pixels = scene.read(scene.polarisations[0], Window(*first, _SIDE, _SIDE))
    frame = p._Frame(*first, _SIDE, _SIDE, box, *flips)
    sea = np.zeros(pixels.valid.shape, bool)
    colours = frame.turn(p._colour(pixels.sigma0, sea, pixels.valid, stretch[0] - 2, stretch[1] + 4))
    small = Image.fromarray(np.ascontiguousarray(colours))
    canvas.paste(small.resize((box[2] - box[0],) * 2, Image.Resampling.BICUBIC), box[:2])
    x, y = (float(v) for v in frame.xy(line, sample))
    reach = max(16.0, (mark.length_m or 0.0) / float(np.mean(scene.spacing_m)) / 2 * frame.scale + 12)
    for a in (-1, 1):  # corners of a square around the place
        for b in (-1, 1):
            corner = [(x + a * reach, y + b * (reach - 8)), (x + a * reach, y + b * reach)]
            corner.append((x + a * (reach - 8), y + b * reach))
            pen.line(corner, (*_COLOURS[mark.kind], 255), 1.8)
    pen.line(
        [(box[0], box[1]), (box[2], box[1]), (box[2], box[3]), (box[0], box[3]), (box[0], box[1])],
        (*p._FAINT, 120),
        1,
    )


def _caption(pen: p._Pen, mark: Mark, at: tuple[float, float]) -> None:
    pen.text((at[0], at[1]), f"{_WORDS[mark.kind]} {mark.score:.2f}", 18, _COLOURS[mark.kind])
    length = "" if mark.length_m is None else f" of {mark.length_m:.0f} m"
    pen.text((at[0], at[1] + 24), f"{mark.label}{length}", 16, p._FAINT)


def _header(pen: p._Pen, before: Scene, after: Scene, marks: Sequence[Mark], width: int) -> None:
    days = (after.name.start - before.name.start).total_seconds() / 86_400
    title = f"Changes from {before.name.start:%Y-%m-%d %H:%M} to {after.name.start:%Y-%m-%d %H:%M} UTC"
    pen.text((p._MARGIN, 26), title, 34)
    facts = (
        f"{before.name}  to  {after.name}   {days:.0f} days, orbit {after.relative_orbit}   "
        f"sigma0 {after.polarisations[0]} of the later pass"
    )
    pen.text((p._MARGIN, 72), facts, p._fitting(facts, 17, width), p._FAINT)
    x = float(p._MARGIN)
    for kind, word in _WORDS.items():
        entry = f"{sum(mark.kind == kind for mark in marks)} {word}"
        _symbol(pen, x + 12, 118, kind, 8.0)
        pen.text((x + 32, 118), entry, 18, anchor="lm")
        x += 32 + p._font(18).getlength(entry) + 40
