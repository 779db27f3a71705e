"""Pictures of a report: precision-recall with the other detectors, reliability, by length, counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

_OURS, _GREY = "#1f4e79", "#8a8a8a"
_OTHERS = ("#c0504d", "#e0912f", "#6a8f3c", "#7b5aa6")


def draw(results: Mapping[str, Any], folder: Path, stem: str) -> list[str]:
    """Draw what the results hold; return the files' names."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    names = []
    for name, wanted, paint in (
        ("curve", "detection", _curve),
        ("reliability", "calibration", _reliability),
        ("length", "detection", _length),
        ("counts", "detection", _counts),
    ):
        if not results.get(wanted):
            continue
        figure = plt.figure(figsize=(5.2, 3.9), layout="constrained")
        if paint(figure, results):
            file = f"{stem}.{name}.png"
            figure.savefig(folder / file, dpi=130)
            names.append(file)
        plt.close(figure)
    return names


def _curve(figure: Any, results: Mapping[str, Any]) -> bool:
    baselines = results.get("baselines", {})
    own = results["detection"]["curve"]
    if own.get("best") is None:
        return False
    blind = baselines.get("cfar")
    panels = figure.subplots(1, 2 if blind else 1, squeeze=False, sharey=True)[0]
    if blind:
        figure.set_size_inches(8.6, 3.9)
    others = {name: each["curve"] for name, each in baselines.items() if name != "cfar"}
    _lines(panels[0], {"engine": own, **others}, "Ships, classes must agree")
    if blind:
        _lines(
            panels[1], {"engine": blind["ours"], "CFAR alone": blind["curve"]}, "Objects, classes left out"
        )
    panels[0].set_ylabel("precision")
    return True


def _lines(axes: Any, curves: Mapping[str, Mapping[str, Any]], title: str) -> None:
    for colour, (name, each) in zip((_OURS, *_OTHERS), curves.items(), strict=False):
        if each.get("best") is None:
            continue
        average = each["average_precision"]
        axes.plot(each["recall"], each["precision"], color=colour, lw=1.8, label=f"{name}: AP {average:.3f}")
        axes.plot(each["best"]["recall"], each["best"]["precision"], "o", color=colour, ms=5)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", title=title)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc="lower left", title="dots: best F1")


def _reliability(figure: Any, results: Mapping[str, Any]) -> bool:
    rows = results["calibration"]["curve"]
    if not rows:
        return False
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=_GREY, lw=1, ls="--", label="a probability")
    score, share = (np.array([row[name] for row in rows]) for name in ("score", "share"))
    bounds = np.array([row["share_95"] for row in rows])
    error = np.abs(np.stack([share - bounds[:, 0], bounds[:, 1] - share]))
    axes.errorbar(score, share, error, fmt="o-", color=_OURS, lw=1.5, ms=4, capsize=2, label="objects named")
    part = results["calibration"]
    axes.set(
        xlim=(0, 1), ylim=(0, 1.02), xlabel="score", ylabel="share that is there",
        title=f"Expected error {part['expected_error']:.3f} over {part['of']} objects",
    )  # fmt: skip
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc="upper left")
    return True


def _length(figure: Any, results: Mapping[str, Any]) -> bool:
    figure.set_size_inches(8.6, 3.6)
    left, right = figure.subplots(1, 2)
    by = results["detection"]["ships_by_length"]
    _bars(left, by, ("precision", "recall"), "Ships by length")
    _bars(right, results["detection"]["ships_by_contrast"], ("recall",), "Ships by contrast")
    return True


def _bars(axes: Any, parts: Mapping[str, Mapping[str, Any]], names: Sequence[str], title: str) -> None:
    width = 0.8 / len(names)
    for at, (name, colour) in enumerate(zip(names, (_OTHERS[1], _OURS)[-len(names) :], strict=True)):
        x = np.arange(len(parts)) + (at - (len(names) - 1) / 2) * width
        heights = np.array([part[name] if part[name] is not None else np.nan for part in parts.values()])
        bounds = np.array([part[f"{name}_95"] or (np.nan, np.nan) for part in parts.values()], float)
        error = np.clip(np.stack([heights - bounds[:, 0], bounds[:, 1] - heights]), 0, None)
        axes.bar(x, heights, width * 0.92, color=colour, label=name)
        axes.errorbar(x, heights, error, fmt="none", ecolor="black", lw=0.9, capsize=2)
    axes.set_xticks(
        range(len(parts)), [name.replace(" and more", "\nand more") for name in parts], fontsize=8
    )
    axes.set(ylim=(0, 1.02), title=title)
    if len(names) > 1:
        axes.legend(frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.14))
    else:
        axes.set_ylabel(names[0])


def _counts(figure: Any, results: Mapping[str, Any]) -> bool:
    shown = {"From the list of objects": results["detection"]["ship_count"]}
    if results.get("counting"):
        shown["The counting question"] = results["counting"]
    figure.set_size_inches(4.4 * len(shown), 4.0)
    for axes, (title, part) in zip(
        figure.subplots(1, len(shown), squeeze=False)[0], shown.items(), strict=True
    ):
        counts = np.array(part["confusion"], float)
        rows = counts.sum(axis=1, keepdims=True)
        shares = np.divide(counts, rows, out=np.zeros_like(counts), where=rows > 0)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (y, x), share in np.ndenumerate(shares):
            if counts[y, x]:
                colour = "white" if share > 0.55 else "black"
                axes.text(x, y, f"{int(counts[y, x])}", ha="center", va="center", fontsize=7, color=colour)
        last = len(counts) - 1
        axes.set_xticks(range(last + 2), [*map(str, range(last)), f"{last}+", "none"])
        axes.set_yticks(range(last + 1), [*map(str, range(last)), f"{last}+"])
        axes.set(xlabel="answered", ylabel="ships", title=f"{title}: exact {part['exact']['share']:.3f}")
        for side in ("top", "right"):
            axes.spines[side].set_visible(True)
    return True
