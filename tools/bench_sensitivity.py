"""`make bench-sensitivity`: which simulated ships the prescreen's test sees, against what is predicted.

Ships of given lengths are drawn with cross-sections from the named model (daemon.scan.sensitivity) and the
simulator's hulls, none of them moving, into seas of three winds at near and far range, with the simulator's
speckle and log-normal texture. A ship is seen where the 3 x 3 mean within its blurred extent exceeds the
threshold of that sea in VV or VH. Prints measured and predicted probability by length and the smallest ship;
draws docs/images/detection-probability.png with --picture. The last line is JSON.

The sea's mean and spread are taken as known: the background's own error is part of bench-false-alarms.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from daemon.scan.sensitivity import Sea, probability_of_detection, smallest_ship_m
from daemon.scan.thresholds import ClutterModel, sea_factors
from engine.simulate import clutter, objects, physics

LENGTHS_M = (10, 12, 15, 18, 22, 27, 33, 40, 50, 65, 90, 150)
SPACING_M = (physics.SPACING_M, physics.SPACING_M)
NOISE_DB = -24.0
NAMED = replace(  # the simulator's ships with the cross-sections of the named model
    objects.DEFAULT, rcs_80m_db=39.5, rcs_decade_db=22.0, rcs_spread_db=3.5, bright_share=0.0, faint_share=0.0
)
_SIZE = 64  # of a chip beside the ship's length


@dataclass(frozen=True)
class Case:
    """A sea: name, wind, incidence, and 1 / variance of its texture."""

    name: str
    wind_m_s: float
    incidence_deg: float
    order: float

    def mean(self) -> NDArray[np.floating]:
        """Sigma0 in VV and VH, linear."""
        return np.asarray(
            physics.from_db(np.array(physics.sea_sigma0_db(self.wind_m_s, self.incidence_deg, 45)))
        )


CASES = tuple(
    Case(f"{name} ({wind} m/s), {where} ({incidence:.0f} deg)", wind, incidence, order)
    for name, wind, order in (("calm", 3, 20.0), ("moderate", 7, 10.0), ("rough", 14, 5.0))
    for where, incidence in (("near", 31.0), ("far", 45.0))
)


class Tester:
    """Draws seas and ships, and tests them."""

    def __init__(self, seed: int, rate: float, model: ClutterModel) -> None:
        self._rng = np.random.default_rng(seed)
        self._speckle = physics.SpeckleBank(self._rng)
        self._texture = clutter.TextureBank(self._rng)
        self._rate, self._model = rate, model

    def seas(self, case: Case) -> list[Sea]:
        """Measure the sea's spread on ship-free chips, and set its thresholds."""
        noise = float(physics.from_db(NOISE_DB))
        smooth = np.stack([_smooth(self._image(case, 256, None)) for _ in range(12)], 1)
        seas = []
        for name, mean, values in zip(("VV", "VH"), case.mean(), smooth, strict=True):
            spread = float(values.std() / values.mean())
            share = noise / (mean + noise)
            factor = float(sea_factors(self._rate, self._model).at(spread, share))
            seas.append(Sea(name, float(mean), noise, spread, float((mean + noise) * factor - noise)))
        return seas

    def seen(self, case: Case, seas: list[Sea], length_m: float) -> NDArray[np.bool_]:
        """Draw a ship and test it: seen in VV, seen in any polarisation."""
        body = objects.draw_ship(self._rng, NAMED, length_m=length_m, moving=False)
        size = _SIZE + int(length_m / physics.SPACING_M)
        smooth = _smooth(self._image(case, size, body))
        lines, samples = np.ceil(body.half_extent_px()).astype(int) + 1
        middle = (size - 2) // 2
        near = smooth[:, middle - lines : middle + lines + 1, middle - samples : middle + samples + 1]
        over = [values.max() - sea.noise > sea.limit for values, sea in zip(near, seas, strict=True)]
        return np.array([over[0], any(over)])

    def _image(self, case: Case, size: int, body: objects.Body | None) -> NDArray[np.float32]:
        sigma = np.sqrt(np.log1p(1 / case.order))
        texture = sigma * self._texture.cut(self._rng, 2.0, size) - sigma**2 / 2
        power = [
            case.mean()[0] * np.exp(texture),
            case.mean()[1] * np.exp(0.5 * texture - sigma**2 / 8 + sigma**2 / 4),
        ]
        echo = None
        if body is not None:
            place = size / 2 - 0.5 + self._rng.uniform(-0.5, 0.5, 2)
            at = (body.line_px + place[0], body.sample_px + place[1])
            echo = physics.render_points(self._rng, *at, body.powers, (size, size), 20)
        bands = []
        for band in range(2):
            amplitude = np.sqrt(power[band] + physics.from_db(NOISE_DB)).astype(np.float32)
            looks = [self._speckle.cut(self._rng, size) for _ in range(physics.LOOKS)]
            echoes = [] if echo is None else [(echo[0], echo[1], echo[2][band])]
            bands.append(physics.detect(looks, amplitude, echoes))
        return np.stack(bands)


def _smooth(intensity: NDArray[np.float32]) -> NDArray[np.float64]:
    """The 3 x 3 mean, [P, H, W] to [P, H - 2, W - 2]."""
    total = np.cumsum(np.cumsum(np.pad(intensity.astype(float), ((0, 0), (1, 0), (1, 0))), 1), 2)
    return np.asarray((total[:, 3:, 3:] - total[:, :-3, 3:] - total[:, 3:, :-3] + total[:, :-3, :-3]) / 9)


def study(ships: int, seed: int, rate: float, model: ClutterModel) -> list[dict[str, Any]]:
    """Measure and predict the probability of detection for all cases and lengths."""
    tester = Tester(seed, rate, model)
    rows = []
    for case in track(CASES, description="seas", console=Console(stderr=True)):
        seas = tester.seas(case)
        found = [np.mean([tester.seen(case, seas, length) for _ in range(ships)], 0) for length in LENGTHS_M]
        rows.append(
            {
                "sea": case.name,
                "threshold_db": [round(float(physics.to_db(sea.limit)), 2) for sea in seas],
                "spread": [round(sea.spread, 3) for sea in seas],
                "measured": [float(both) for _, both in found],
                "measured_vv": [float(alone) for alone, _ in found],
                "predicted": [probability_of_detection(length, seas, SPACING_M) for length in LENGTHS_M],
                "predicted_vv": [
                    probability_of_detection(length, seas[:1], SPACING_M) for length in LENGTHS_M
                ],
                "smallest_ship_m": smallest_ship_m(seas, SPACING_M),
                "fine": [probability_of_detection(length, seas, SPACING_M) for length in _fine()],
            }
        )
    return rows


def _fine() -> list[float]:
    return [float(length) for length in np.geomspace(LENGTHS_M[0], LENGTHS_M[-1], 80)]


def show(rows: list[dict[str, Any]]) -> None:
    """Print measured and predicted probabilities."""
    table = Table(title="probability of detection, measured / predicted")
    for head in ("sea", *(f"{length} m" for length in LENGTHS_M), "P .9 from"):
        table.add_column(head)
    for row in rows:
        cells = [f"{a:.2f}/{b:.2f}" for a, b in zip(row["measured"], row["predicted"], strict=True)]
        table.add_row(row["sea"], *cells, f"{row['smallest_ship_m']} m")
    console = Console(width=170)
    console.print(table)
    for key in ("", "_vv"):
        off = np.array([np.subtract(row[f"predicted{key}"], row[f"measured{key}"]) for row in rows])
        worst = f"{off.min():+.3f} to {off.max():+.3f}, mean {off.mean():+.3f}"
        console.print(f"predicted - measured, {'VV alone' if key else 'VV or VH'}: {worst}")


def draw(rows: list[dict[str, Any]], ships: int, path: Path) -> None:
    """Draw both against length: points measured with two standard errors, lines predicted."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 3, figsize=(12, 4.2), sharey=True)
    for number, row in enumerate(rows):
        panel, colour = panels[number // 2], ("tab:blue", "tab:red")[number % 2]
        measured = np.array(row["measured"])
        error = 2 * np.sqrt(np.maximum(measured * (1 - measured), 1 / ships) / ships)
        limits = "VV {:.1f}, VH {:.1f} dB".format(*row["threshold_db"])
        label = f"{row['sea'].split(', ')[1]}: threshold {limits}"
        panel.errorbar(LENGTHS_M, measured, error, fmt="o", ms=4, color=colour, label=label)
        panel.plot(_fine(), row["fine"], color=colour)
        if row["smallest_ship_m"]:
            panel.axvline(row["smallest_ship_m"], color=colour, lw=0.8, ls=":")
        panel.axhline(0.9, color="0.7", lw=0.8)
        panel.set(xscale="log", xlabel="length, m", title=row["sea"].split(",")[0] + " sea", ylim=(0, 1.03))
        panel.set_xticks([10, 20, 40, 80, 160], ["10", "20", "40", "80", "160"])
        panel.minorticks_off()
        panel.legend(fontsize=8, loc="lower right")
    panels[0].set_ylabel("probability of detection, VV or VH")
    figure.suptitle(
        "Simulated ships, cross-sections as named: measured (points), predicted (lines), P = 0.9 (dotted)"
    )
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ships", type=int, default=300, help="Of each length in each sea.")
    parser.add_argument(
        "--rate", type=float, default=1e-6, help="Probability of a false alarm, a pixel and band."
    )
    parser.add_argument("--model", choices=("k", "lognormal"), default="lognormal")
    parser.add_argument("--seed", type=int, default=20261122)
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    start = time.perf_counter()
    rows = study(arguments.ships, arguments.seed, arguments.rate, arguments.model)
    show(rows)
    if arguments.picture:
        draw(rows, arguments.ships, arguments.picture)
    for row in rows:
        row.pop("fine")
    seconds = round(time.perf_counter() - start, 1)
    print(
        json.dumps({"benchmark": "sensitivity", "seconds": seconds, "ships": arguments.ships, "rows": rows})
    )


if __name__ == "__main__":
    main()
