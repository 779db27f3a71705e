"""Descriptive text for stage 1: templates over the truth of a chip and the land cover under it.

Every phrase states something that the chip or its prior shows; nothing is said of what neither can show.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.runtime import forms

SEEN = ("before", "after", "both")

LAND_COVERS = (
    "water", "trees", "grass", "flooded vegetation", "crops", "shrub", "built-up", "bare ground", "snow",
)  # fmt: skip
_SEA = ((-20.0, "Calm sea"), (-14.0, "Moderate sea"), (99.0, "Rough sea"))


def sea_phrase(sea_db: float) -> str:
    """Name the sea by its co-polarised backscatter, in dB."""
    return next(phrase for limit, phrase in _SEA if sea_db < limit)


def land_phrase(land_fraction: float, land_cover: str | None) -> str:
    """Name how much of the chip is land, and its cover where the prior knows it."""
    if land_fraction < 0.01:
        return "no land"
    share = "little land" if land_fraction < 0.2 else "some land" if land_fraction < 0.6 else "mostly land"
    return f"{share}, {land_cover}" if land_cover else share


def count_phrase(labels: Sequence[str]) -> str:
    """Count the objects by label."""
    parts = []
    for label in ("ship", "platform", "turbine"):
        count = sum(1 for each in labels if each == label)
        if count:
            parts.append(f"{count} {label}{'s' if count > 1 else ''}")
    return ", ".join(parts) if parts else "nothing afloat"


def description(labels: Sequence[str], sea_db: float, land_fraction: float, land_cover: str | None) -> str:
    """Describe a chip in one line, such as ``Calm sea; no land; 2 ships.``."""
    sea = "No sea" if land_fraction > 0.99 else sea_phrase(sea_db)
    return f"{sea}; {land_phrase(land_fraction, land_cover)}; {count_phrase(labels)}."


def corpus() -> list[str]:
    """Return lines that hold every phrase: what the nano tokenizer learns its pieces from."""
    lines = []
    for cover in (None, *LAND_COVERS):
        for fraction in (0.0, 0.1, 0.4, 0.8):
            for sea_db in (-25.0, -16.0, -8.0):
                for count in range(7):
                    labels = ["ship"] * count + ["platform"] * (count % 3) + ["turbine"] * (count % 4)
                    lines.append(description(labels, sea_db, fraction, cover))
    lines += [*forms.CELLS, *forms.CHANGES, forms.REFUSAL, forms.NO_LAND, forms.UNKNOWN, *SEEN]
    lines += [forms.change_text([change] * count, 0, 0) for change in forms.CHANGES for count in range(11)]
    return lines
