"""`make bench-length`: lengths, widths, axes and places measured in simulated patches, against the truth.

Draws single ships on seas of every state, finds them as a prescreen would (or draws an engine's box), and
measures them with `daemon.measure`. Prints errors by length, by direction, by contrast and by sea, how often
the interval holds, and the same for hulls of another kind, platforms, ships with a neighbour and ships at a
quay; then the apparent extents that real ships were measured by. Writes docs/images/length.png. The last line
is JSON. `--fit` prints the interval's constants for daemon/measure/patch.py instead; fit on another seed.

Simulated data: nothing here is a claim about real scenes.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from length_cases import Case, Cases, Draw, draw_any_ship, draw_plain_ship, draw_smeared_ship
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy import ndimage, optimize, sparse

from daemon.measure import Measure, measure_patch
from engine.simulate import objects, physics

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "images" / "length.png"
FITTED_ON, HELD_OUT = 4, 20261124
NOMINAL = 0.8
LENGTHS = (20, 25, 50, 100, 150, 200, 300, 400)
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Results:
    """Truth and measures side by side, [n] each; NaN where a measure is null."""

    cases: Sequence[Case]
    measures: Sequence[Measure]
    spent_s: float

    def of(self, name: str) -> Array:
        """A field of the measures."""
        return np.array([np.nan if (v := getattr(m, name)) is None else v for m in self.measures], float)

    def truth(self, name: str) -> Array:
        """A field of the bodies."""
        return np.array([getattr(case.body, name) for case in self.cases], float)

    @property
    def error_m(self) -> Array:
        """Measured length less the true one."""
        return self.of("length_m") - self.truth("length_m")

    @property
    def held(self) -> NDArray[np.bool_]:
        """Whether the interval holds the true length."""
        true = self.truth("length_m")
        return (self.of("length_low_m") <= true) & (true <= self.of("length_high_m"))

    @property
    def off_m(self) -> Array:
        """Distance of the place from the true centre."""
        line = self.of("line_px") - [case.line_px for case in self.cases]
        sample = self.of("sample_px") - [case.sample_px for case in self.cases]
        return np.asarray(np.hypot(line, sample) * physics.SPACING_M)

    @property
    def turned_deg(self) -> Array:
        """Angle between the axes, 0 to 90; NaN where it is null."""
        return np.asarray(np.abs((self.of("axis_deg") - self.truth("axis_deg") + 90) % 180 - 90))


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=3000, help="Ships; a quarter of it for each control.")
    parser.add_argument("--seed", type=int, help=f"{HELD_OUT}, or {FITTED_ON} to fit.")
    parser.add_argument("--fit", action="store_true", help="Fit the interval's constants.")
    parser.add_argument("--picture", type=Path, default=PICTURE)
    arguments = parser.parse_args()
    cases = Cases(
        arguments.seed if arguments.seed is not None else (FITTED_ON if arguments.fit else HELD_OUT)
    )
    if arguments.fit:
        draws, boxes = (draw_any_ship, draw_smeared_ship), ("found_px", "engine_px")
        fit([run(cases, arguments.count // 2, draw, box) for draw in draws for box in boxes])
        return
    few = max(arguments.count // 4, 1)
    ships = run(cases, arguments.count, draw_any_ship)
    others = {
        "in an engine's box": run(cases, arguments.count, draw_any_ship, box="engine_px"),
        "every ship smeared": run(cases, few, draw_smeared_ship, start=5 * 10**6),
        "another kind of hull": run(cases, few, draw_plain_ship, start=10**6),
        "a ship 80 to 300 m beside": run(cases, few, draw_any_ship, "engine_px", "ship", 2 * 10**6),
        "at a quay, land masked": run(cases, few, draw_any_ship, "engine_px", "quay", 3 * 10**6),
        "platforms": run(cases, few, objects.draw_platform, start=4 * 10**6),
    }
    summary = {"ships": show("ships in a prescreen's box", groups(ships), ships)}
    for name, results in others.items():
        long = results.truth("length_m") >= 50
        summary[name] = show(name, {"from 50 m": long, "shorter": ~long}, results)
    show_axes(ships)
    show_apparent("", ships)
    show_apparent(", every ship smeared", others["every ship smeared"])
    draw_picture(ships, arguments.picture, arguments.seed or HELD_OUT)
    spent_ms = 1e3 * ships.spent_s / len(ships.cases)
    print(f"{spent_ms:.2f} ms a measure without reading")
    print(json.dumps({"benchmark": "length", "seed": arguments.seed or HELD_OUT, "tables": summary}))


def run(
    cases: Cases, count: int, draw: Draw, box: str = "found_px", beside: str = "", start: int = 0
) -> Results:
    """Draw cases and measure those that are found."""
    kept, measures, spent_s = [], [], 0.0
    for index in track(range(start, start + count), f"{box} {beside}", console=Console(file=sys.stderr)):
        case = cases.make(index, draw, beside)
        if case is None:
            continue
        patch = case.patch(getattr(case, box))
        began = time.process_time()
        measures.append(measure_patch(patch))
        spent_s += time.process_time() - began
        kept.append(case)
    return Results(kept, measures, spent_s)


def groups(ships: Results) -> dict[str, NDArray[np.bool_]]:
    """The ships by length, and those over 50 m by direction, motion, contrast and sea."""
    length, contrast = ships.truth("length_m"), ships.of("contrast_db")
    to_range = np.abs(ships.truth("axis_deg") % 180 - 90)  # axes run clockwise from the azimuth
    sea_db = np.array([case.sea_db for case in ships.cases])
    rough = np.array([case.spread for case in ships.cases])
    smear = ships.truth("smear_px") > 0
    long = length >= 50
    found = {
        f"{a} to {b} m": (length >= a) & (length < b) for a, b in zip(LENGTHS, LENGTHS[1:], strict=False)
    }
    found["from 50 m"] = long
    rest = {f"{a} to {a + 30} deg off range": (to_range >= a) & (to_range < a + 30.01) for a in (0, 30, 60)}
    rest |= {"at rest": ~smear, "smeared by motion": smear}
    for low, high in ((0, 12), (12, 18), (18, 24), (24, 30), (30, 99)):
        rest[f"contrast {low} to {high} dB"] = (contrast >= low) & (contrast < high)
    for low, high in ((-40, -22), (-22, -16), (-16, 0)):
        rest[f"sea {low} to {high} dB"] = (sea_db >= low) & (sea_db < high)
    rest |= {"smooth sea": rough < np.median(rough), "lumpy sea": rough >= np.median(rough)}
    return found | {name: part & long for name, part in rest.items()}


def show(title: str, parts: dict[str, NDArray[np.bool_]], results: Results) -> list[dict[str, Any]]:
    """Print and return the errors of each part."""
    table = Table(title=title)
    names = ("", "n", "median error", "bias", "90 % within", "interval holds", "its width", "place off")
    for name in names:
        table.add_column(name, justify="right" if name else "left")
    rows = []
    width = results.of("length_high_m") - results.of("length_low_m")
    for name, part in parts.items():
        if not part.any():
            continue
        error = results.error_m[part]
        row = {
            "part": name,
            "n": int(part.sum()),
            "median_error_m": round(float(np.median(np.abs(error))), 1),
            "bias_m": round(float(np.median(error)), 1),
            "within_90_m": round(float(np.percentile(np.abs(error), 90)), 1),
            "interval_holds": round(float(results.held[part].mean()), 2),
            "interval_m": round(float(np.median(width[part]))),
            "place_off_m": round(float(np.median(results.off_m[part])), 1),
        }
        rows.append(row)
        table.add_row(*(str(value) for value in row.values()))
    Console(width=130).print(table)
    return rows


def show_axes(ships: Results) -> None:
    """Print errors of axis and width by true length, and how often each is given."""
    table = Table(title="axis and width")
    for name in ("length", "axis given", "axis error, median", "90 %", "width given", "width error", "bias"):
        table.add_column(name, justify="right")
    length = ships.truth("length_m")
    for low, high in zip(LENGTHS, LENGTHS[1:], strict=False):
        part = (length >= low) & (length < high)
        turned, width = ships.turned_deg[part], (ships.of("width_m") - ships.truth("width_m"))[part]
        some_t, some_w = turned[np.isfinite(turned)], width[np.isfinite(width)]
        cells = [f"{low} to {high} m", f"{np.isfinite(turned).mean():.2f}"]
        cells += (
            [f"{np.median(some_t):.1f}", f"{np.percentile(some_t, 90):.0f}"] if len(some_t) > 4 else ["", ""]
        )
        cells += [f"{np.isfinite(width).mean():.2f}"]
        cells += (
            [f"{np.median(abs(some_w)):.0f}", f"{np.median(some_w):.0f}"] if len(some_w) > 4 else ["", ""]
        )
        table.add_row(*cells)
    Console(width=130).print(table)


def show_apparent(which: str, ships: Results) -> None:
    """Print what a mask shows of length and width: the figures that exist for real ships."""
    table = Table(title=f"connected and 10 dB above the sea{which}; 10th, 50th, 90th percentile")
    for name in ("length", "n", "peak sigma0, dB", "apparent length / length", "apparent width / beam"):
        table.add_column(name, justify="right")
    rows = np.array([apparent(case) for case in ships.cases])
    for low, high in ((60, 100), (100, 150), (150, 200), (200, 400)):
        part = rows[(rows[:, 0] >= low) & (rows[:, 0] < high) & np.isfinite(rows[:, 1])]
        cells = [", ".join(f"{v:.1f}" for v in np.percentile(part[:, k], (10, 50, 90))) for k in (3, 1, 2)]
        table.add_row(f"{low} to {high} m", str(len(part)), *cells)
    Console(width=130).print(table)


def apparent(case: Case) -> tuple[float, float, float, float]:
    """Length, a mask's length over it, a mask's width over the beam, peak in dB, in VV; NaN if not seen."""
    sigma0 = case.intensity[0] - case.nesz[0]
    x1, y1, x2, y2 = (int(edge) for edge in case.found_px)
    inside = np.zeros(sigma0.shape, bool)
    inside[y1:y2, x1:x2] = True
    level = float(np.median(sigma0[~inside]))
    labels, _ = ndimage.label(sigma0 > 10 * level, np.ones((3, 3)))
    at = np.unravel_index(int(np.where(inside, sigma0, 0).argmax()), sigma0.shape)
    body = case.body
    if labels[at] == 0 or level <= 0:
        return body.length_m, np.nan, np.nan, np.nan
    line, sample = np.nonzero(labels == labels[at])
    angle = np.radians(body.axis_deg)
    along = (np.ptp(-line * np.cos(angle) + sample * np.sin(angle)) + 1) * physics.SPACING_M
    beside = (np.ptp(line * np.sin(angle) + sample * np.cos(angle)) + 1) * physics.SPACING_M
    return body.length_m, along / body.length_m, beside / body.width_m, float(10 * np.log10(sigma0[at]))


def fit(parts: Sequence[Results]) -> None:
    """Print constants under which a tenth of the ships is shorter, and a tenth longer, than the interval.

    Fitted to the simulator's ships and to as many that are all smeared: real masks suggest more smear than
    the simulator has.
    """
    error = np.concatenate([-part.error_m for part in parts])
    contrast = 10 ** (np.concatenate([part.of("contrast_db") for part in parts]) / 10)
    axis = np.radians(np.concatenate([part.truth("axis_deg") for part in parts]))
    seen = np.concatenate([[m.how == "pixels" for m in part.measures] for part in parts])
    causes = np.stack([np.ones(len(error)), contrast**-0.5, np.abs(np.cos(axis))], 1)[seen]
    tail = (1 - NOMINAL) / 2
    for name, sign in (("_SHORTER_PX", -1.0), ("_LONGER_PX", 1.0)):
        values = quantile_fit(causes, sign * error[seen] / physics.SPACING_M, 1 - tail)
        print(f"{name} = ({', '.join(f'{value:.2f}' for value in values)})")


def quantile_fit(causes: Array, values: Array, quantile: float) -> Array:
    """Linear quantile regression with no negative coefficient, by linear programming; [n, k], [n] to [k]."""
    n, k = causes.shape
    cost = np.concatenate([np.zeros(k), np.full(n, quantile), np.full(n, 1 - quantile)])
    equal = sparse.hstack([sparse.csr_matrix(causes), sparse.identity(n), -sparse.identity(n)])
    done = optimize.linprog(cost, A_eq=equal, b_eq=values, bounds=(0, None), method="highs")
    return np.asarray(done.x[:k])


def draw_picture(ships: Results, path: Path, seed: int) -> None:
    """Draw estimates over truth, and errors by length, direction, contrast and sea."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 3, figsize=(14, 8.6), layout="constrained")
    length, error, turned = ships.truth("length_m"), ships.error_m, ships.turned_deg
    long = length >= 50
    panel = axes[0, 0]
    some = np.flatnonzero(length >= 20)[:350]
    measured = ships.of("length_m")[some]
    reach = [measured - ships.of("length_low_m")[some], ships.of("length_high_m")[some] - measured]
    panel.errorbar(length[some], measured, reach, fmt="none", ecolor="#9db7d5", elinewidth=0.8)
    moving = ships.truth("smear_px")[some] > 0
    panel.plot(length[some][~moving], measured[~moving], "o", ms=2.6, color="#1f4e8c", label="at rest")
    panel.plot(
        length[some][moving], measured[moving], "o", ms=2.6, color="#d9822b", label="smeared by motion"
    )
    panel.plot([0, 400], [0, 400], color="black", lw=0.8)
    panel.set(xlabel="true length, m", ylabel="measured length, m", xlim=(0, 410), ylim=(0, 460))
    panel.set_title(f"the first {len(some)}, with intervals of nominally {NOMINAL:.0%}")
    panel.legend(loc="upper left", frameon=False)
    sea_db = np.array([case.sea_db for case in ships.cases])
    to_range = np.abs(ships.truth("axis_deg") % 180 - 90)
    edges = np.array([20, 30, 40, 50, 65, 80, 100, 125, 150, 175, 200, 250, 300, 350, 400.0])
    _bands(axes[0, 1], length, error, edges, "true length, m", "error by length, all ships")
    _bands(
        axes[0, 2],
        to_range[long],
        error[long],
        np.arange(0, 91, 15.0),
        "axis off range, degrees",
        "by direction, ships over 50 m",
    )
    _bands(
        axes[1, 0],
        ships.of("contrast_db")[long],
        error[long],
        np.arange(6, 46, 4.0),
        "contrast, dB",
        "by contrast, ships over 50 m",
    )
    _bands(
        axes[1, 1],
        sea_db[long],
        error[long],
        np.arange(-30, -5, 3.0),
        "sea, sigma0 in VV, dB",
        "by sea, ships over 50 m",
    )
    panel = axes[1, 2]
    middles = (edges[1:] + edges[:-1]) / 2
    parts = [(length >= a) & (length < b) for a, b in zip(edges, edges[1:], strict=False)]
    panel.plot(
        middles, [ships.held[part].mean() for part in parts], "o-", ms=3, label="interval holds the length"
    )
    panel.axhline(NOMINAL, color="black", lw=0.8, ls="--")
    panel.plot(
        middles, [np.isfinite(turned[part]).mean() for part in parts], "s-", ms=3, label="axis is given"
    )
    axis_error = [turned[part][np.isfinite(turned[part])] for part in parts]
    shown = [np.median(some) / 20 if len(some) > 9 else np.nan for some in axis_error]
    panel.plot(middles, shown, "^-", ms=3, label="median error of the axis / 20 degrees")
    panel.set(xlabel="true length, m", ylim=(0, 1.05), title="intervals and axes")
    panel.legend(frameon=False, loc="center right")
    for panel in axes.ravel():
        panel.grid(alpha=0.25)
    figure.suptitle(
        f"Lengths measured in {len(ships.cases)} simulated Sentinel-1 IW GRDH patches (seed {seed})"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    print(f"wrote {path}")


def _bands(panel: Any, at: Array, error: Array, edges: Array, what: str, title: str) -> None:
    """Median error and the bands that hold half and four fifths, within each pair of edges."""
    parts = [error[(at >= low) & (at < high)] for low, high in zip(edges, edges[1:], strict=False)]
    kept = [
        (low, high, part) for low, high, part in zip(edges, edges[1:], parts, strict=False) if len(part) > 9
    ]
    middles = [(low + high) / 2 for low, high, _ in kept]
    levels = np.array([np.percentile(part, (10, 25, 50, 75, 90)) for _, _, part in kept]).T
    panel.fill_between(middles, levels[0], levels[4], color="#dbe6f2", label="80 %")
    panel.fill_between(middles, levels[1], levels[3], color="#9db7d5", label="50 %")
    panel.plot(middles, levels[2], "o-", ms=3, color="#1f4e8c", label="median")
    for limit in (-15, 15):
        panel.axhline(limit, color="#b03030", lw=0.8, ls="--", label="15 m" if limit > 0 else None)
    panel.set(xlabel=what, ylabel="measured less true length, m", ylim=(-75, 55), title=title)
    panel.legend(frameon=False, loc="lower right", ncols=4, handlelength=1.2, columnspacing=1.0)


if __name__ == "__main__":
    main()
