"""The ablation's table, with intervals, as JSON, Markdown and a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.ablate.cells import Cell, figures
from engine.ablate.dial import USES, share_for
from engine.evaluate.bootstrap import interval, number
from engine.evaluate.report import table, value

RESAMPLES = 200
_MEASURES = ("bits", "cover", "sea")


def summarise(results: Sequence[Mapping[str, Any]], resamples: int = RESAMPLES) -> list[dict[str, Any]]:
    """Return a row for each kind of cell, over its seeds.

    Intervals are the central 95 % of resampling seeds, and within each the test's chips: the same chips for
    every cell of a draw, so that differences are paired.

    Args:
        results: of cells, as ``Ablation.run`` returns them.
        resamples: how many.
    """
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for result in results:
        cell = Cell(**result["cell"])
        groups.setdefault((cell.bits, cell.fusion, cell.stages, cell.prior), []).append(result)
    rows = []
    drawn_by: dict[tuple[Any, ...], dict[str, dict[str, np.ndarray]]] = {}
    for key in sorted(groups, key=str):
        bits, fusion, stages, prior = key
        made, drawn = _group(groups[key], resamples)
        drawn_by[key] = drawn
        row: dict[str, Any] = {
            "bits": bits, "best_cover": round(share_for(bits), 4), "fusion": fusion, "stages": stages,
            "prior": prior, "steps": groups[key][0]["steps"], "seeds": len(groups[key]),
        }  # fmt: skip
        for use in USES:
            row[use] = {}
            for name in _MEASURES:
                row[use][name] = number(float(np.mean(made[use][name])))
                row[use][f"{name}_95"] = interval(drawn[use][name])
        rows.append(row)
    drawn_of = [(row, drawn_by[row["bits"], row["fusion"], row["stages"], row["prior"]]) for row in rows]
    without = {row["steps"]: drawn for row, drawn in drawn_of if row["fusion"] == "none"}
    for row, own in drawn_of:
        none = without.get(row["steps"])  # that learned as long
        if none is not None and row["fusion"] != "none":
            gap = own["on"]["sea"] - none["on"]["sea"]
            row["sea_over_none"], row["sea_over_none_95"] = number(float(np.median(gap))), interval(gap)
    return rows


def _group(
    results: Sequence[Mapping[str, Any]], resamples: int
) -> tuple[dict[str, dict[str, list[float]]], dict[str, dict[str, np.ndarray]]]:
    made: dict[str, dict[str, list[float]]]
    made = {use: {name: [figures(each[use])[name] for each in results] for name in _MEASURES} for use in USES}
    drawn: dict[str, dict[str, list[float]]] = {use: {name: [] for name in _MEASURES} for use in USES}
    count = len(results[0]["on"]["sea"]["true"])
    rng = np.random.default_rng(0)  # the same draws for every group
    for _ in range(resamples):
        seeds = rng.integers(1 << 30, size=len(results)) % len(results)
        chips = rng.integers(count, size=count)
        for use in USES:
            some = [figures(results[int(seed)][use], chips) for seed in seeds]
            for name in _MEASURES:
                drawn[use][name].append(float(np.mean([each[name] for each in some])))
    return made, {use: {name: np.array(v) for name, v in part.items()} for use, part in drawn.items()}


def markdown(rows: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> str:
    """Write the table."""
    lines = ["# Ablation", ""]
    lines += [f"- {name.replace('_', ' ')}: {given}" for name, given in facts.items()]
    lines += [
        "",
        "The prior tells a dialled number of bits about the land cover, which the image does not show; the "
        "image tells how rough the sea is, which the prior does not. Recovered: mutual information of answer "
        "and truth, less its bias. In brackets: 95 % intervals over seeds and test chips. Simulated data and "
        "vectors: it shows what the module can use, and says nothing of real AlphaEarth.",
        "",
    ]
    head = [
        "dialled, bits", "steps", "fusion", "stages", "prior in training", "recovered, prior on", "withheld",
        "shuffled", "cover right (best possible)", "sea right", "sea, gain over none", "seeds",
    ]  # fmt: skip
    body = [
        [
            f"{row['bits']:g}",
            str(row["steps"]),
            row["fusion"],
            str(row["stages"]),
            row["prior"],
            *(value(row[use], "bits", 2) for use in USES),
            f"{value(row['on'], 'cover', 2)} ({row['best_cover']:.2f})",
            value(row["on"], "sea", 2),
            value(row, "sea_over_none", 2),
            str(row["seeds"]),
        ]
        for row in rows
    ]
    return "\n".join([*lines, *table(head, body)]) + "\n"


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw recovered over dialled bits for each fusion, and what shuffled and withheld priors leave."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.9), layout="constrained")
    plain = [row for row in rows if row["stages"] == 2 and row["prior"] != "shuffled"]
    dials = sorted({row["bits"] for row in plain})
    left.plot([0, max(dials)], [0, max(dials)], color="#8a8a8a", lw=1, ls="--", label="all that is told")
    colours = ("#8a8a8a", "#1f4e79", "#c0504d", "#e0912f", "#6a8f3c", "#7d5ba6")
    kinds = list(dict.fromkeys(row["fusion"] for row in plain))
    for at, (kind, colour) in enumerate(zip(sorted(kinds, key=lambda k: k != "none"), colours, strict=False)):
        own = sorted((row for row in plain if row["fusion"] == kind), key=lambda row: row["bits"])
        x = np.array([row["bits"] for row in own]) + 0.015 * (at - len(kinds) / 2)
        _points(left, x, own, "on", "bits", colour, kind)
        _points(right, x, own, "on", "sea", colour, kind)
        if kind != "none":
            _points(left, x, own, "shuffled", "bits", colour, None, ls=":")
    left.set(
        xlabel="dialled, bits", ylabel="recovered, bits", title="What the prior tells (dotted: shuffled)"
    )
    right.set(xlabel="dialled, bits", ylabel="share right", title="What the image tells", ylim=(0, 1.02))
    for axes in (left, right):
        axes.grid(alpha=0.25)
    left.legend(frameon=False, loc="upper left")
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _points(
    axes: Any, x: np.ndarray, rows: Sequence[Mapping[str, Any]], use: str, name: str, colour: str,
    label: str | None, ls: str = "-",
) -> None:  # fmt: skip
    y = np.array([row[use][name] for row in rows], float)
    bounds = np.array([row[use][f"{name}_95"] or (np.nan, np.nan) for row in rows], float)
    error = np.clip(np.stack([y - bounds[:, 0], bounds[:, 1] - y]), 0, None)
    axes.errorbar(x, y, error, color=colour, fmt="o" + ls, ms=3.5, lw=1.5, capsize=2, label=label)
