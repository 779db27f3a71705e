"""A report for people: Markdown tables of what ``engine.evaluate.score`` found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_CONTROL_NAMES = {
    "prior_withheld": "prior withheld",
    "prior_shuffled": "prior of another site",
    "prior_constant": "constant prior",
    "prior_land_distance": "land mask and distance to coast in its place",
    "image_withheld": "image withheld",
}


def markdown(report: Mapping[str, Any]) -> str:
    """Write a report."""
    results = report["results"]
    lines = ["# Evaluation", ""]
    lines += [f"- {name.replace('_', ' ')}: {value}" for name, value in report["conditions"].items()]
    lines += [
        "",
        "In brackets: 95 % intervals from resampling sites (chips where no site is known). Definitions: "
        "docs/evaluation.md.",
        "",
    ]
    for name, write in (
        ("detection", _detection),
        ("baselines", _baselines),
        ("counting", _counting),
        ("localisation", _localisation),
        ("classification", _classification),
        ("landcover", _landcover),
        ("description", _description),
        ("question", _question),
        ("wordings", _wordings),
        ("change", _change),
        ("calibration", _calibration),
        ("controls", _controls),
    ):
        if results.get(name):
            lines += [*write(results[name]), ""]
    for picture in report.get("pictures", ()):
        lines += [f"![{picture}]({picture})", ""]
    return "\n".join(lines).rstrip() + "\n"


def value(part: Mapping[str, Any] | None, name: str, digits: int = 3) -> str:
    """Return a figure with its interval, "-" where there is none."""
    if part is None or part.get(name) is None:
        return "-"
    text = f"{part[name]:.{digits}f}"
    bounds = part.get(f"{name}_95")
    return f"{text} ({bounds[0]:.{digits}f} to {bounds[1]:.{digits}f})" if bounds else text


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Return the lines of a table."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return lines + [f"| {' | '.join(row)} |" for row in rows]


def _detection(part: Mapping[str, Any]) -> list[str]:
    rows = {
        "ships, centre": part["ships"]["centre"],
        "ships, IoU 0.25": part["ships"]["iou25"],
        "ships, IoU 0.50": part["ships"]["iou50"],
        "ships of 25 m and more, centre": part["ships_of_25_m_and_more"],
        "ships in the chip's core, centre": part["ships_in_the_core"],
        **{f"ships, {name}, centre": each for name, each in part["ships_by_length"].items()},
        **{f"{label}s, centre": each for label, each in part["by_label"].items()},
        **{f"ships, prior {name}, centre": each for name, each in part["by_prior_status"].items()},
    }
    lines = ["## Detection", ""]
    lines += table(
        ["what", "precision", "recall", "F1", "truths"],
        [
            [
                name,
                *(value(each, one) for one in ("precision", "recall", "f1")),
                str(each["hits"] + each["missed"]),
            ]
            for name, each in rows.items()
        ],
    )
    lines += ["", *table(["ships by contrast", "recall", "truths"], [
        [name, value(each, "recall"), str(each["of"])] for name, each in part["ships_by_contrast"].items()
    ])]  # fmt: skip
    counted, cells, curve = part["ship_count"], part["ship_cells"]["occupied"], part["curve"]
    lines += [
        "",
        f"From the same lists: ship count exact {value(counted['exact'], 'share')}, mean error "
        f"{value(counted['error'], 'mean', 2)}; cells Acc@100 {value(cells['acc_100'], 'share')}, Acc@50 "
        f"{value(cells['acc_50'], 'share')}, Top-1 {value(cells['top_1'], 'share')} where ships are. Average "
        f"precision {value(curve, 'average_precision')}; text valid {value(part['text_valid'], 'share')}; "
        f"saturated {value(part['saturated'], 'share')}.",
    ]
    return lines


def _baselines(part: Mapping[str, Any]) -> list[str]:
    lines = ["## Beside other detectors", ""]
    rows = []
    for name, each in part.items():
        for where, found in each["equal_false_alarms"].items():
            figures = [value(found, key) for key in ("other", "recall", "gain")]
            rows.append([f"{name}, {where}", str(found["false_alarms"]), *figures])
    lines += table(["at the false alarms of", "false alarms", "its recall", "ours", "gain"], rows)
    rows = [
        [name, each["labels"], *(value(each[whose], "average_precision") for whose in ("curve", "ours"))]
        for name, each in part.items()
    ]
    return [*lines, "", *table(["detector", "labels", "its average precision", "ours"], rows)]


def _counting(part: Mapping[str, Any]) -> list[str]:
    lines = ["## Counting (its own question)", ""]
    lines += [
        f"Exact {value(part['exact'], 'share')}; a number at all {value(part['valid'], 'share')}; mean "
        f"error {value(part['error'], 'mean', 2)}, absolute {value(part['absolute_error'], 'mean', 2)}; the "
        f"majority answer {value(part['majority'], 'share')}.",
        "",
    ]
    by = part["by_true_count"]
    return lines + table(
        ["true count", "exact", "chips"],
        [[name, value(each, "share"), str(each["of"])] for name, each in by.items() if each["of"]],
    )


def _localisation(part: Mapping[str, Any]) -> list[str]:
    names = {"acc_100": "Acc@100", "acc_50": "Acc@50", "top_1": "Top-1", "recall_50": "recall@50"}
    return [
        "## Localisation in 3 x 3 (its own question)",
        "",
        *table(
            ["measure", "where ships are", "everywhere", "majority answer, where ships are"],
            [
                [
                    name,
                    *(
                        value((part[over] or {}).get(key), "share")
                        for over in ("occupied", "all", "majority")
                    ),
                ]
                for key, name in names.items()
            ],
        ),
    ]


def _words(title: str, part: Mapping[str, Any]) -> list[str]:
    lines = [
        f"## {title}",
        "",
        f"Accuracy {value(part['accuracy'], 'share')}, macro F1 {value(part, 'macro_f1')}, the majority "
        f"answer {value(part['majority'], 'share')}.",
        "",
    ]
    return lines + table(
        ["class", "precision", "recall", "of"],
        [
            [name, value(each, "precision"), value(each, "recall"), str(each["of"])]
            for name, each in part["classes"].items()
        ],
    )


def _classification(part: Mapping[str, Any]) -> list[str]:
    return _words("Classification of a place", part)


def _landcover(part: Mapping[str, Any]) -> list[str]:
    return _words("Land cover", part)


def _description(part: Mapping[str, Any]) -> list[str]:
    names = {
        "counts": "every class with its number",
        "classes": "the same classes",
        "land": "the land's share",
        "sea": "the sea",
        "land_cover": "the land cover, where the truth names one",
        "cover_invented": "a land cover invented (lower is better)",
        "all": "everything",
        "majority": "everything, by the majority answer",
    }
    rows = [[name, value(part[key], "share"), str(part[key]["of"])] for key, name in names.items()]
    return ["## Description", "", *table(["named rightly", "share", "of"], rows)]


def _question(part: Mapping[str, Any]) -> list[str]:
    names = {
        "cites": "the right places cited",
        "refused": "refused, of what the images cannot show",
        "refused_wrongly": "refused, of what they show (lower is better)",
        "exact": "the whole text",
    }
    rows = [[name, value(part[key], "share"), str(part[key]["of"])] for key, name in names.items()]
    return ["## Free questions", "", *table(["what", "share", "of"], rows)]


def _wordings(part: Mapping[str, Any]) -> list[str]:
    names = {
        "right": "right in everything",
        "answered": "right in everything, of what the images show",
        "understood": "understood by the reader, of what the images show",
        "by_truth": "right where understood, the changes of pairs given",
        "cites": "the right places cited",
        "words": "the right number, length or meaning in words",
        "refused": "refused, of what the images cannot show",
        "refused_wrongly": "refused, of what they show (lower is better)",
        "majority": "right by the best constant answer of each intent",
        "looked": "right where an engine looked at the images",
        "image_withheld": "right there without the images",
    }
    every = part["all"]
    rows = [[name, value(every[key], "share"), str(every[key]["of"])] for key, name in names.items()
            if key in every]  # fmt: skip
    shown = ("understood", "right", "by_truth", "refused", "refused_wrongly", "majority", "image_withheld")
    return [
        "## Free questions in words not of training",
        "",
        f"{part['wordings']} wordings, about simulated chips, whose places' true classes and lengths are "
        "given, and pairs.",
        "",
        *table(["what", "share", "of"], rows),
        "",
        f"What the images earn: {value(every.get('gain'), 'mean')}.",
        "",
        *table(
            ["intent", "asked", *(name.replace("_", " ") for name in shown)],
            [
                [
                    name.replace("_", " "),
                    str(each["right"]["of"]),
                    *(value(each.get(key), "share") for key in shown),
                ]
                for name, each in part["by_intent"].items()
            ],
        ),
    ]


def _change(part: Mapping[str, Any]) -> list[str]:
    names = {
        "pairs_exact": "every place of a pair right",
        "counts_exact": "both counts right",
        "change_seen": "told whether anything appeared or left",
        "valid": "valid answers",
    }
    other = part["majority"]
    accuracy = [value(each["places"]["accuracy"], "share") for each in (part, other)]
    rows = [
        ["places right", *accuracy],
        ["macro F1 of places", *(value(each["places"], "macro_f1") for each in (part, other))],
        *([name, value(part[key], "share"), value(other[key], "share")] for key, name in names.items()),
    ]
    lines = ["## Change", "", *table(["measure", "engine", "majority answer"], rows), ""]
    return lines + table(
        ["became", "precision", "recall", "places"],
        [
            [name, value(each, "precision"), value(each, "recall"), str(each["of"])]
            for name, each in part["places"]["classes"].items()
        ],
    )


def _calibration(part: Mapping[str, Any]) -> list[str]:
    lines = [
        "## Scores as probabilities",
        "",
        f"Expected error {value(part, 'expected_error')}, Brier score {value(part, 'brier')}, of "
        f"{part['of']} objects.",
        "",
    ]
    return lines + table(
        ["mean score", "share of hits", "objects"],
        [[f"{row['score']:.3f}", value(row, "share"), str(row["of"])] for row in part["curve"]],
    )


def _controls(part: Mapping[str, Any]) -> list[str]:
    rows = []
    for name, each in part.items():
        for task in ("detection", "counting", "localisation", "landcover", "change"):
            if task in each:
                figure = each[task]
                rows.append(
                    [
                        _CONTROL_NAMES.get(name, name),
                        str(figure["gain"]["of"]),
                        f"{task}: {figure['measure']}",
                        value(figure, "as_is"),
                        value(figure, "control"),
                        value(figure["gain"], "mean"),
                    ]
                )
    return [
        "## Controls",
        "",
        "Each on the chips that it changes; the gain is what the engine as it is has over it (paired).",
        "",
        *table(["control", "chips", "measure", "as it is", "control", "gain"], rows),
    ]
