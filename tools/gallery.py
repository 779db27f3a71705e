"""`make gallery`: the nuisance gallery on one sheet, docs/images/gallery.png, and its counts.

Simulates the frames (kept in .demo/gallery between calls), looks at each with the prescreen and with the
engine that ships, prints where the counts differ from the recorded ones, and draws the sheet.

`--record` takes the present counts as the expected ones: it prints every difference first, then writes
tests/daemon/gallery.json and the table in docs/gallery.md. Nothing else records, no test does. The verdicts
in gallery.json are words of people: reread those of the frames that changed.

Simulated data: nothing here is a claim about real scenes.
"""

from __future__ import annotations

import argparse
import difflib
import json
import sys
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from daemon.scene.land import SceneLand  # noqa: E402
from daemon.scene.product import Window, open_scene  # noqa: E402
from engine.runtime.land import Coastline  # noqa: E402
from engine.runtime.predictor import Predictor  # noqa: E402
from engine.simulate.gallery import FRAMES, Frame  # noqa: E402
from tests.support import gallery as support  # noqa: E402

SHEET = ROOT / "docs" / "images" / "gallery.png"
COLUMNS = 5
PANEL_IN = 4.3
CAPTION_IN = 1.3
TITLE_IN = 0.55
INK, FAINT, PAPER = "#e8eef4", "#93a2b3", "#0b121b"
COLOURS = {"ship": "#ffb02e", "platform": "#ff5c8a", "turbine": "#48d6ec"}
MISSED, CANDIDATE, LAND = "#ff3b3b", "#9df29d", "#d8d27a"
SHOWN_BAND = {"rfi": "VH", "ice_edge": "VH"}  # where the matter stands; else the first
STRETCH_DB = {"border_fringe": (-52.0, 56.0)}  # darkest and span, so that the rim shows
# crowded places shown larger: line and sample of the middle, half the side
CLOSE_UPS = {"platform": (410, 438, 45), "rafted_fleet": (340, 560, 45), "aquaculture": (560, 560, 60)}
LABELS = {"azimuth_ghost": "ghost", "near_land": "near land", "no_candidate": "no candidate"}
MOST_LABELS = 4  # of one name in a frame: beyond, the caption alone counts them


def main() -> None:
    """Look at every frame, compare, record if asked, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--record", action="store_true", help="Take the present counts as the expected ones.")
    parser.add_argument("--no-sheet", action="store_true", help="Do not draw.")
    arguments = parser.parse_args()
    console = Console(stderr=True)
    predictor = Predictor.open(threads=1)
    looks = [look(frame, predictor) for frame in track(FRAMES, "frames", console=console)]
    changed = compare(looks, console)
    if arguments.record:
        record(looks)
        console.print(f"recorded; read the verdicts of: {', '.join(changed) or 'none'}")
    if not arguments.no_sheet:
        draw(looks)
        console.print(str(SHEET.relative_to(ROOT)))
    if changed and not arguments.record:
        raise SystemExit(1)


def look(frame: Frame, predictor: Predictor) -> dict[str, Any]:
    """Simulate a frame and let the daemon look at it."""
    folder = support.product(frame)
    things = support.truth(folder)
    found, result = support.scanned(folder), support.detected(folder, predictor)
    return {
        "frame": frame,
        "folder": folder,
        "things": things,
        "result": result,
        "counts": {
            "prescreen": support.prescreen_counts(things, found),
            "engine": support.engine_counts(things, result),
        },
    }


def compare(looks: list[dict[str, Any]], console: Console) -> list[str]:
    """Print where counts differ from the recorded ones; return the names of those frames."""
    known = support.expected() if support.EXPECTED.exists() else {}
    changed = []
    for entry in looks:
        name = entry["frame"].name
        before = {part: known.get(name, {}).get(part) for part in ("prescreen", "engine")}
        if before == entry["counts"]:
            continue
        changed.append(name)
        texts = [json.dumps(value, indent=1).splitlines() for value in (before, entry["counts"])]
        for line in difflib.unified_diff(*texts, f"{name} recorded", f"{name} now", n=1, lineterm=""):
            console.print(line, markup=False, highlight=False)
    for entry in looks:
        close = [d.score for d in entry["result"].detections if d.score < 0.62]
        if close:
            console.print(f"{entry['frame'].name}: scores next to the threshold: {close}", highlight=False)
    return changed


def record(looks: list[dict[str, Any]]) -> None:
    """Write the counts, keep the verdicts, and write the table of the docs."""
    known = support.expected() if support.EXPECTED.exists() else {}
    document = {
        entry["frame"].name: {
            **entry["counts"],
            "verdict": known.get(entry["frame"].name, {}).get("verdict", ""),
        }
        for entry in looks
    }
    support.EXPECTED.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    support.write_table()


def draw(looks: list[dict[str, Any]]) -> None:
    """Draw the sheet."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from PIL import Image

    rows = -(-(len(looks) + 1) // COLUMNS)
    figure = plt.figure(
        figsize=(COLUMNS * PANEL_IN, rows * (PANEL_IN + CAPTION_IN) + TITLE_IN), facecolor=PAPER, dpi=110
    )
    height = PANEL_IN + CAPTION_IN
    total = figure.get_size_inches()
    for index, entry in enumerate(looks):
        row, column = divmod(index, COLUMNS)
        left = (column * PANEL_IN + 0.12) / total[0]
        bottom = (total[1] - TITLE_IN - (row + 1) * height + CAPTION_IN) / total[1]
        axes = figure.add_axes((left, bottom, (PANEL_IN - 0.24) / total[0], (PANEL_IN - 0.1) / total[1]))
        axes.set_anchor("SW")
        _panel(axes, entry)
        _caption(figure, entry, left, (bottom * total[1] - 0.06) / total[1])
    figure.text(
        0.12 / total[0],
        1 - 0.3 / total[1],
        "The nuisance gallery: what is taken for a ship, and what the daemon says today (simulated scenes)",
        color=INK,
        fontsize=17,
        va="center",
    )
    row, column = divmod(len(looks), COLUMNS)
    _legend(figure, (column * PANEL_IN + 0.4) / total[0], 1 - (TITLE_IN + 0.5 + row * height) / total[1])
    figure.savefig(SHEET, facecolor=PAPER)
    plt.close(figure)
    with Image.open(SHEET) as image:  # speckle compresses badly: few greys are enough for it
        image.convert("RGB").quantize(palette=_palette(), dither=Image.Dither.NONE).save(SHEET, optimize=True)


def _palette() -> Any:
    """Greys for the scenes, and each mark's colour blended into them."""
    from matplotlib.colors import to_rgb
    from PIL import Image

    greys = [(level, level, level) for level in np.linspace(0, 1, 28)]
    paper = np.array(to_rgb(PAPER))
    colours = [
        *greys,
        *(tuple(paper + share * (np.array(to_rgb(INK)) - paper)) for share in np.linspace(0, 1, 12)),
    ]
    for mark in (*COLOURS.values(), MISSED, CANDIDATE, LAND, FAINT):
        for share in (0.35, 0.65, 1.0):
            for ground in (0.05, 0.3, 0.6, 0.95):
                colours.append(tuple(share * np.array(to_rgb(mark)) + (1 - share) * ground))
    flat = np.rint(255 * np.array(colours)).astype(np.uint8)
    image = Image.new("P", (1, 1))
    image.putpalette(flat.tobytes())
    return image


def _panel(axes: Any, entry: dict[str, Any]) -> None:
    frame: Frame = entry["frame"]
    with open_scene(str(entry["folder"])) as scene:
        whole = Window(0, 0, *scene.shape)
        band = SHOWN_BAND.get(frame.name, scene.polarisations[0])
        pixels = scene.read(band, whole)
        land = SceneLand(Coastline.load(), scene.geometry).mask(whole)
        lon, _ = scene.geometry.lonlat(*np.ogrid[: scene.shape[0] : 10, : scene.shape[1] : 10])
    # the noise left in, a little smoothed, so that a small panel shows what the eye would see
    level_db = 10 * np.log10(np.maximum(_reduced(np.where(pixels.valid, pixels.intensity, 0)), 1e-5))
    water = level_db[(level_db > -40) & (~_half(land) | land.all())]
    low, span = STRETCH_DB.get(frame.name, (float(np.percentile(water, 20)) - 5, 24.0))
    size = (scene.shape[1] - 0.5, scene.shape[0] - 0.5)
    axes.imshow(level_db, cmap="gray", vmin=low, vmax=low + span, extent=(-0.5, size[0], size[1], -0.5))
    if land.any() and not land.all():
        axes.contour(land[::2, ::2], [0.5], colors=LAND, linewidths=0.6, extent=(0, size[0], 0, size[1]))
    if np.ptp(lon) > 180:
        axes.contour(
            lon < 0, [0.5], colors=FAINT, linewidths=0.8, linestyles="--", extent=(0, size[0], 0, size[1])
        )
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_facecolor(PAPER)
    axes.text(
        0.015,
        0.985,
        f"{band}  {scene.shape[1] / 100:g} x {scene.shape[0] / 100:g} km",
        transform=axes.transAxes,
        color=INK,
        fontsize=7.5,
        va="top",
        bbox={"facecolor": PAPER, "alpha": 0.55, "edgecolor": "none", "pad": 1.5},
    )
    _marks(axes, entry)
    axes.set_xlim(-0.5, size[0])
    axes.set_ylim(size[1], -0.5)
    if frame.name in CLOSE_UPS:
        line, sample, half = CLOSE_UPS[frame.name]
        inset = axes.inset_axes((0.64, 0.64, 0.35, 0.35))
        whole_db = 10 * np.log10(np.maximum(pixels.intensity, 1e-5))
        inset.imshow(whole_db, cmap="gray", vmin=low, vmax=low + span + 6)
        _marks(inset, entry, grown=2.0)
        inset.set_xlim(sample - half, sample + half)
        inset.set_ylim(line + half, line - half)
        inset.set_xticks([])
        inset.set_yticks([])
        axes.indicate_inset_zoom(inset, edgecolor=FAINT)


def _marks(axes: Any, entry: dict[str, Any], grown: float = 1.0) -> None:
    result = entry["result"]
    at = [(c.sample_px, c.line_px) for c in result.candidates if c.state != "confirmed"]
    if at:
        axes.scatter(*zip(*at, strict=True), s=13 * grown, marker="x", c=CANDIDATE, linewidths=0.8)
    seen = support.Look(entry["things"], result.detections)
    for index, thing in enumerate(entry["things"]):
        if index not in seen.meant and thing.kind in support.WANTED:
            axes.plot(thing.sample_px, thing.line_px, "o", ms=4, mfc="none", mec=MISSED, mew=0.8)
    often = Counter(flag.name for item in result.detections for flag in item.flags)
    for item in result.detections:
        _box(axes, item, [flag.name for flag in item.flags if often[flag.name] <= MOST_LABELS], grown)


def _box(axes: Any, item: Any, labels: list[str], grown: float) -> None:
    from matplotlib.patches import Rectangle

    half = max(12.0, item.length_m / 20 + 6) / grown
    colour = COLOURS.get(item.label, INK)
    axes.add_patch(
        Rectangle(
            (item.sample_px - half, item.line_px - half),
            2 * half,
            2 * half,
            fill=False,
            ec=colour,
            lw=1.0,
            ls="--" if item.flags else "-",
        )
    )
    if labels:
        axes.annotate(
            ", ".join(LABELS.get(name, name.replace("_", " ")) for name in labels),
            (item.sample_px, item.line_px - half - 3),
            color=colour,
            fontsize=6.5,
            ha="center",
            va="bottom",
            annotation_clip=True,
            clip_on=True,
        )


def _reduced(intensity: Any) -> Any:
    """Average blocks of 2 x 2 pixels."""
    lines, samples = (size // 2 * 2 for size in intensity.shape)
    return intensity[:lines, :samples].reshape(lines // 2, 2, samples // 2, 2).mean((1, 3))


def _half(mask: Any) -> Any:
    return mask[: mask.shape[0] // 2 * 2 : 2, : mask.shape[1] // 2 * 2 : 2]


def _caption(figure: Any, entry: dict[str, Any], left: float, top: float) -> None:
    frame: Frame = entry["frame"]
    total = figure.get_size_inches()
    shows = textwrap.wrap(frame.shows, 66)[:3]
    figure.text(left, top, frame.title, color=INK, fontsize=11.5, va="top", weight="bold")
    figure.text(
        left, top - 0.2 / total[1], "\n".join(shows), color=FAINT, fontsize=7.6, va="top", linespacing=1.25
    )
    counts = textwrap.wrap("today: " + support.in_words(entry["counts"]), 66)[:4]
    figure.text(
        left,
        top - (0.24 + 0.135 * len(shows)) / total[1],
        "\n".join(counts),
        color=INK,
        fontsize=7.6,
        va="top",
        linespacing=1.25,
    )


def _legend(figure: Any, left: float, top: float) -> None:
    total = figure.get_size_inches()
    entries = [
        ("□", COLOURS["ship"], "detection: ship"),
        ("□", COLOURS["platform"], "detection: platform"),
        ("□", COLOURS["turbine"], "detection: turbine"),
        ("┄", COLOURS["ship"], "dashed: flagged, with the flags' names"),
        ("×", CANDIDATE, "candidate of the prescreen that the engine rejects"),
        ("○", MISSED, "there in truth, and no detection"),
        ("—", LAND, "coastline that the daemon masks by"),
    ]
    for number, (mark, colour, text) in enumerate(entries):
        y = top - number * 0.3 / total[1]
        figure.text(left, y, mark, color=colour, fontsize=15, va="center", ha="center", weight="bold")
        figure.text(left + 0.25 / total[0], y, text, color=INK, fontsize=10, va="center")
    notes = (
        "Radar geometry: first line on top, near range on the left.",
        "Intensity in dB, 24 dB from black to white (fringe: 56),",
        "averaged over 2 x 2 pixels of 10 m.",
        "Antimeridian: 180 degrees, dashed.",
        "Exact counts: tests/daemon/gallery.json; verdicts: docs/gallery.md.",
    )
    for number, text in enumerate(notes):
        y = top - (len(entries) * 0.3 + 0.25 + number * 0.22) / total[1]
        figure.text(left - 0.06 / total[0], y, text, color=FAINT, fontsize=9, va="center")


if __name__ == "__main__":
    main()
