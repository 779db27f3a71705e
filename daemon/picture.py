"""A picture of a result for people: the scene, what was found in it, and the best finds close up.

The scene is turned so that north is up and east is right as nearly as mirroring allows: a radar image is
mirrored against a map, along lines or along samples by the direction of the pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from daemon.domain import Detection, SceneResult
from daemon.scene.product import Window

if TYPE_CHECKING:
    from daemon.scene.land import LandSource
    from daemon.scene.product import Scene

_LONGEST_PX = 2000  # of the scene in the picture
_WIDEST_PX, _NARROWEST_PX = 2000, 1400
_MARGIN, _HEADER, _CLOSE_UP, _GAP = 48, 150, 250, 18
_CLOSE_UP_PX = 84  # scene pixels across a close-up
_FINE = 2  # marks are drawn this much larger and reduced, for smooth edges
_LARGEST_MARK = 40.0
_LABELLED = 60  # detections that get their score written beside them

_INK, _PAPER, _FAINT = (232, 238, 244), (11, 18, 27), (138, 153, 168)
_COLOURS = {"ship": (255, 176, 46), "platform": (255, 92, 138), "turbine": (72, 214, 236)}
_REJECTED, _OPEN = (190, 202, 216), (236, 226, 120)
# Sea and land from dark to bright: (position, red, green, blue).
_SEA = ((0.0, 6, 16, 30), (0.45, 28, 62, 92), (0.75, 112, 150, 176), (1.0, 255, 255, 255))
_LAND = ((0.0, 24, 26, 18), (0.5, 84, 82, 56), (1.0, 206, 198, 158))
_MISSING = (17, 25, 35)


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where a piece of the scene lies in the picture."""

    line: float  # first line and sample, as pixel edges
    sample: float
    lines: float
    samples: float
    box: tuple[int, int, int, int]  # left, top, right, bottom in the picture
    flip_lines: bool
    flip_samples: bool

    @property
    def scale(self) -> float:
        """Picture pixels a scene pixel."""
        return (self.box[2] - self.box[0]) / self.samples

    def xy(self, line_px: Any, sample_px: Any) -> tuple[Any, Any]:
        """Map positions in the scene to the picture."""
        down = (np.asarray(line_px) + 0.5 - self.line) / self.lines
        across = (np.asarray(sample_px) + 0.5 - self.sample) / self.samples
        down = 1 - down if self.flip_lines else down
        across = 1 - across if self.flip_samples else across
        left, top, right, bottom = self.box
        return left + across * (right - left), top + down * (bottom - top)

    def turn(self, pixels: NDArray[np.generic]) -> NDArray[np.generic]:
        """Mirror an array of the scene as the picture shows it."""
        return pixels[:: -1 if self.flip_lines else 1, :: -1 if self.flip_samples else 1]


def draw(result: SceneResult, scene: Scene, path: Path, land: LandSource | None = None) -> None:
    """Draw a result as PNG.

    Args:
        result: what was found.
        scene: the same scene, opened.
        path: file to write.
        land: the land mask; from the coastline in the package when None.

    Raises:
        SceneCorrupt: the pixels cannot be read.
    """
    land = land or _shipped_land(scene)
    factor = max(1, -(-max(scene.shape) // _LONGEST_PX))
    sigma0, is_land, valid = _decimate(scene, land, factor)
    low, high = _stretch(sigma0, valid & ~is_land)
    flips = _flips(scene)

    lines, samples = sigma0.shape
    width = int(np.clip(samples, _NARROWEST_PX, _WIDEST_PX))
    height = round(width * lines / samples)
    top_left = (_MARGIN, _HEADER)
    frame = _Frame(
        -0.0, -0.0, lines * factor, samples * factor, (*top_left, _MARGIN + width, _HEADER + height), *flips
    )
    best = sorted(result.detections, key=lambda item: (-item.score, -item.length_m, item.id))
    best = best[: (width + _GAP) // (_CLOSE_UP + _GAP)]
    strip = _CLOSE_UP + 110 if best else 0
    canvas = Image.new("RGB", (width + 2 * _MARGIN, _HEADER + height + strip + _MARGIN), _PAPER)
    colours = frame.turn(_colour(sigma0, is_land, valid, low, high))
    resized = Image.fromarray(np.ascontiguousarray(colours)).resize((width, height), Image.Resampling.LANCZOS)
    canvas.paste(resized, top_left)

    pen = _Pen(canvas.size)
    _outline(pen, frame, scene, result)
    _mark_all(pen, frame, result, float(np.mean(scene.spacing_m)))
    _scale_bar(pen, frame, scene)
    _north(pen, frame, scene)
    for i, item in enumerate(best):
        left, top = _MARGIN + i * (_CLOSE_UP + _GAP), _HEADER + height + 58
        _close_up(canvas, pen, scene, item, (left, top), (low, high), flips)
    if best:
        pen.text((_MARGIN, _HEADER + height + 26), "Highest scores, full resolution", 20, _FAINT)
    _header(pen, result, scene, width)
    pen.onto(canvas).save(path, format="PNG", compress_level=3)


class _Pen:
    """Draws on a transparent sheet, larger than the picture, in the picture's coordinates."""

    def __init__(self, size: tuple[int, int]) -> None:
        self._sheet = Image.new("RGBA", (size[0] * _FINE, size[1] * _FINE), (0, 0, 0, 0))
        self._draw = ImageDraw.Draw(self._sheet)

    def line(self, points: Any, colour: tuple[int, ...], width: float = 1.5) -> None:
        flat = [(float(x) * _FINE, float(y) * _FINE) for x, y in points]
        self._draw.line(flat, fill=colour, width=max(1, round(width * _FINE)), joint="curve")

    def polygon(self, points: Any, fill: tuple[int, ...]) -> None:
        self._draw.polygon([(float(x) * _FINE, float(y) * _FINE) for x, y in points], fill=fill)

    def disc(self, x: float, y: float, radius: float, fill: tuple[int, ...]) -> None:
        self._draw.ellipse([(v * _FINE) for v in (x - radius, y - radius, x + radius, y + radius)], fill=fill)

    def text(
        self,
        at: tuple[float, float],
        text: str,
        size: int,
        colour: tuple[int, ...] = _INK,
        anchor: str = "la",
        halo: float = 0,
    ) -> None:
        place = (at[0] * _FINE, at[1] * _FINE)
        self._draw.text(
            place,
            text,
            fill=colour,
            font=_font(size * _FINE),
            anchor=anchor,
            stroke_width=round(halo * _FINE),
            stroke_fill=(*_PAPER, 200),
        )

    def mark(self, x: float, y: float, label: str, radius: float) -> None:
        """Draw the mark of a class: ring, square or triangle, on a dark edge."""
        turn = {"platform": (4, np.pi / 4), "turbine": (3, -np.pi / 2)}.get(label, (40, 0.0))
        angle = turn[1] + np.arange(turn[0] + 2) * 2 * np.pi / turn[0]
        reach = radius * (1.25 if turn[0] < 5 else 1.0)
        ring = list(zip(x + reach * np.cos(angle), y + reach * np.sin(angle), strict=True))
        self.line(ring, (*_PAPER, 190), 4.2)
        self.line(ring, (*_COLOURS.get(label, _INK), 255), 2.0)

    def onto(self, canvas: Image.Image) -> Image.Image:
        """Lay the sheet over the picture."""
        sheet = self._sheet.resize(canvas.size, Image.Resampling.BOX)
        return Image.alpha_composite(canvas.convert("RGBA"), sheet).convert("RGB")


def _decimate(
    scene: Scene, land: LandSource, factor: int
) -> tuple[NDArray[np.floating], NDArray[np.bool_], NDArray[np.bool_]]:
    """Average sigma0 of the first polarisation over valid pixels of factor x factor blocks."""
    rows, cols = (-(-size // factor) for size in scene.shape)
    mean = np.zeros((rows, cols))
    is_land, valid = np.zeros((rows, cols), bool), np.zeros((rows, cols), bool)
    step = max(1, 1024 // factor)
    for row in range(0, rows, step):
        for col in range(0, cols, step):
            high, wide = min(step, rows - row), min(step, cols - col)
            window = Window(row * factor, col * factor, high * factor, wide * factor)
            pixels = scene.read(scene.polarisations[0], window)

            def blocks(values: NDArray[Any], high: int = high, wide: int = wide) -> NDArray[np.floating]:
                total: NDArray[np.floating] = values.reshape(high, factor, wide, factor).sum(
                    (1, 3), dtype=float
                )
                return total

            count = blocks(pixels.valid)
            here = (slice(row, row + high), slice(col, col + wide))
            mean[here] = blocks(np.where(pixels.valid, pixels.sigma0, 0)) / np.maximum(count, 1)
            valid[here] = count > 0
            is_land[here] = blocks(land.mask(window)) * 2 > factor**2
    return mean, is_land, valid


def _stretch(sigma0: NDArray[np.floating], sea: NDArray[np.bool_]) -> tuple[float, float]:
    """The decibels shown as darkest and brightest."""
    if not sea.any():
        return -25.0, 0.0
    low, middle = np.percentile(_db(sigma0[sea]), [1, 50])
    return float(max(low, middle - 6)) - 1.0, float(middle) + 16.0


def _colour(
    sigma0: NDArray[np.floating],
    is_land: NDArray[np.bool_],
    valid: NDArray[np.bool_],
    low: float,
    high: float,
) -> NDArray[np.uint8]:
    """Colour decibels, sea and land each along its own ramp."""
    level = np.clip((_db(sigma0) - low) / (high - low), 0, 1)
    ramps = []
    for ramp in (_SEA, _LAND):
        stops = np.array(ramp)
        ramps.append(np.stack([np.interp(level, stops[:, 0], stops[:, i]) for i in (1, 2, 3)], -1))
    colours = np.where(is_land[..., None], ramps[1], ramps[0])
    return np.where(valid[..., None], colours, _MISSING).astype(np.uint8)


def _flips(scene: Scene) -> tuple[bool, bool]:
    """Whether lines and samples run against south and east."""
    line, sample = (np.array(scene.shape) - 1) / 2
    lon, lat = scene.geometry.lonlat(
        np.array([line, line + 50, line]), np.array([sample, sample, sample + 50])
    )
    east = (lon[2] - lon[0] + 180) % 360 - 180
    return bool(lat[1] > lat[0]), bool(east < 0)


def _outline(pen: _Pen, frame: _Frame, scene: Scene, result: SceneResult) -> None:
    for part in result.coverage.valid_area.geoms:
        for ring in (part.exterior, *part.interiors):
            lon, lat = np.array(ring.coords).T
            points = np.stack(frame.xy(*scene.geometry.pixel(lon, lat)), 1)
            pen.line(points[np.isfinite(points).all(1)], (150, 226, 255, 110), 1.2)


def _mark_all(pen: _Pen, frame: _Frame, result: SceneResult, spacing_m: float) -> None:
    for candidate in result.candidates:
        if candidate.state != "confirmed":
            x, y = frame.xy(candidate.line_px, candidate.sample_px)
            pen.disc(x, y, 2.6, (*(_REJECTED if candidate.state == "rejected" else _OPEN), 130))
    ranked = sorted(result.detections, key=lambda item: item.score)
    for rank, item in enumerate(ranked):
        x, y = frame.xy(item.line_px, item.sample_px)
        radius = min(max(8.0, item.length_m / spacing_m / 2 * frame.scale + 6), _LARGEST_MARK)
        pen.mark(x, y, item.label, radius)
        if len(ranked) - rank <= _LABELLED:
            colour = (*_COLOURS.get(item.label, _INK), 255)
            right = x + radius + 46 < frame.box[2]
            at = (x + (radius + 5) * (1 if right else -1), y)
            pen.text(at, f"{item.score:.2f}".lstrip("0"), 13, colour, "lm" if right else "rm", halo=1.5)


def _scale_bar(pen: _Pen, frame: _Frame, scene: Scene) -> None:
    km_px = frame.scale * 1000 / scene.spacing_m[1]
    target = 0.18 * (frame.box[2] - frame.box[0]) / km_px
    length = max((n for n in (0.5, 1, 2, 5, 10, 20, 50, 100) if n <= target), default=0.5)
    left, bottom = frame.box[0] + 26, frame.box[3] - 28
    right = left + length * km_px
    pen.polygon(
        [
            (left - 14, bottom - 36),
            (right + 14, bottom - 36),
            (right + 14, bottom + 14),
            (left - 14, bottom + 14),
        ],
        (*_PAPER, 150),
    )
    pen.line([(left, bottom - 7), (left, bottom), (right, bottom), (right, bottom - 7)], _INK, 2)
    pen.text(((left + right) / 2, bottom - 10), f"{length:g} km", 18, anchor="mb")


def _north(pen: _Pen, frame: _Frame, scene: Scene) -> None:
    line, sample = (np.array(scene.shape) - 1) / 2
    lon, lat = scene.geometry.lonlat(line, sample)
    ahead = scene.geometry.pixel(lon, lat + 0.01)
    (x0, y0), (x1, y1) = frame.xy(line, sample), frame.xy(*ahead)
    along = np.array([x1 - x0, y1 - y0]) / np.hypot(x1 - x0, y1 - y0)
    beside = np.array([-along[1], along[0]])
    centre = np.array([frame.box[2] - 56.0, frame.box[1] + 60.0])
    pen.disc(float(centre[0]), float(centre[1]), 40, (*_PAPER, 150))
    tip, tail = centre + 26 * along, centre - 14 * along
    for side, fill in ((1, _INK), (-1, _FAINT)):
        pen.polygon([tip, tail + 11 * side * beside, centre - 7 * along], (*fill, 255))
    pen.text(tuple(centre - 27 * along), "N", 17, anchor="mm")


def _close_up(
    canvas: Image.Image,
    pen: _Pen,
    scene: Scene,
    item: Detection,
    at: tuple[int, int],
    stretch: tuple[float, float],
    flips: tuple[bool, bool],
) -> None:
    line, sample = (round(v) - _CLOSE_UP_PX // 2 for v in (item.line_px, item.sample_px))
    pixels = scene.read(scene.polarisations[0], Window(line, sample, _CLOSE_UP_PX, _CLOSE_UP_PX))
    box = (*at, at[0] + _CLOSE_UP, at[1] + _CLOSE_UP)
    # Positions are pixel centres: the first edge lies half a pixel before the first of them.
    frame = _Frame(line, sample, _CLOSE_UP_PX, _CLOSE_UP_PX, box, *flips)
    sea = np.zeros(pixels.valid.shape, bool)
    colours = _colour(pixels.sigma0, sea, pixels.valid, stretch[0] - 2, stretch[1] + 4)
    small = Image.fromarray(np.ascontiguousarray(frame.turn(colours)))
    canvas.paste(small.resize((_CLOSE_UP, _CLOSE_UP), Image.Resampling.BICUBIC), at)

    colour = _COLOURS.get(item.label, _INK)
    x1, y1, x2, y2 = item.box_px
    (left, right), (top, bottom) = frame.xy(np.array([y1, y2]) - 0.5, np.array([x1, x2]) - 0.5)
    pen.line(
        [(left, top), (right, top), (right, bottom), (left, bottom), (left, top), (right, top)], colour, 1.8
    )
    edge = [(box[0], box[1]), (box[2], box[1]), (box[2], box[3]), (box[0], box[3]), (box[0], box[1])]
    pen.line(edge, (*_FAINT, 120), 1)
    pen.text((at[0], box[3] + 10), f"{item.label} {item.score:.2f}", 18, colour)
    axis = "" if item.axis_deg is None else f", axis {item.axis_deg:.0f}°"
    pen.text((at[0], box[3] + 34), f"{item.length_m:.0f} m{axis}", 16, _FAINT)


def _header(pen: _Pen, result: SceneResult, scene: Scene, width: int) -> None:
    info, coverage = result.scene, result.coverage
    platform = info.platform.replace("S1", "Sentinel-1")
    title = f"{platform} {info.mode}   {info.start:%Y-%m-%d %H:%M:%S} UTC"
    pen.text((_MARGIN, 26), title, 34)
    seen = "" if coverage.smallest_ship_m is None else f"   ships from about {coverage.smallest_ship_m:.0f} m"
    engine = f"   engine {result.versions.engine[:12]}" if result.versions.engine else ""
    facts = (
        f"{info.product}   {info.orbit_direction.lower()}, orbit {info.relative_orbit}   "
        f"sigma0 {info.polarisations[0]}   {coverage.area_km2:,.0f} km2 of sea{seen}{engine}"
    )
    pen.text((_MARGIN, 72), facts, _fitting(facts, 17, width), _FAINT)
    _legend(pen, result, (_MARGIN, 118))


def _legend(pen: _Pen, result: SceneResult, at: tuple[float, float]) -> None:
    x, y = at

    def entry(count: int, name: str, mark: Callable[[float], None]) -> None:
        nonlocal x
        mark(x + 9)
        text = f"{count} {name}"
        pen.text((x + 26, y), text, 18, anchor="lm")
        x += 26 + _font(18).getlength(text) + 34

    for label in _COLOURS:
        count = sum(item.label == label for item in result.detections)
        plural = label if count == 1 else f"{label}s"
        entry(count, plural, lambda at_x, label=label: pen.mark(at_x, y, label, 7.5))  # type: ignore[misc]
    states = [candidate.state for candidate in result.candidates]
    rejected = states.count("rejected")
    waiting = len(states) - rejected - states.count("confirmed")
    entry(rejected, "candidates rejected", lambda at_x: pen.disc(at_x, y, 4, (*_REJECTED, 170)))
    if waiting:
        entry(waiting, "unanswered", lambda at_x: pen.disc(at_x, y, 4, (*_OPEN, 200)))
    area = [(x, y), (x + 18, y)]
    pen.line(area, (150, 226, 255, 200), 1.6)
    pen.text((x + 26, y), "area looked at", 18, anchor="lm")


def _fitting(text: str, size: int, width: int) -> int:
    while size > 9 and _font(size).getlength(text) > width:
        size -= 1
    return size


def _db(linear: NDArray[np.floating]) -> NDArray[np.floating]:
    decibels: NDArray[np.floating] = 10 * np.log10(np.maximum(linear, 1e-4))
    return decibels


@lru_cache(maxsize=32)
def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _shipped_land(scene: Scene) -> LandSource:
    from daemon.scene.land import SceneLand
    from engine.runtime.land import Coastline

    return SceneLand(Coastline.load(), scene.geometry)
