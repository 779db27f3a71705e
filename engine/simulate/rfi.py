"""Radio interference: what a radar on the ground adds to some lines, and the product's document on it."""

from __future__ import annotations

from datetime import timedelta

import numpy as np

from engine.simulate import annotation, fields, physics
from engine.simulate.acquisition import Acquisition
from engine.simulate.annotation import Identity, Node
from engine.simulate.layers import Glow
from engine.simulate.radiometry import BURST_S, SwathBlock

POLARISATIONS = ("VV", "VH")
# What real documents hold where a noise measurement found interference, and where it did not.
_FOUND = {
    "rfiDetected": "true",
    "maxKLDivergence": 2.9997e5,
    "maxFisherZ": 6.397551e1,
    "maxRfiPsd": 3.459219e1,
}
_CLEAR = {"rfiDetected": "false", "maxKLDivergence": 3.2, "maxFisherZ": 3.7, "maxRfiPsd": 0.0}


def bands(
    rng: np.random.Generator, shape: tuple[int, int], first_lines: list[int], level_db: float, band: int
) -> Glow:
    """Draw bands across the range in some azimuth lines, as a scanning radar leaves them.

    A band is a dozen lines wide with brighter streaks in it, its power varies along the range, every other
    one covers a part of the range only, and all stand in one polarisation.

    Args:
        rng: draws widths, streaks and the variation.
        shape: lines and samples.
        first_lines: where the bands begin.
        level_db: sigma0 that a band adds at its middle.
        band: 0 for VV, 1 for VH.
    """
    level = np.zeros((2, *shape), np.float32)
    line = np.arange(shape[0])
    sample = np.arange(shape[1])
    for number, first in enumerate(first_lines):
        width = int(rng.integers(8, 18))
        profile = np.exp(-((np.abs(line - first - width / 2) / (width / 2)) ** 6))
        for streak in first + rng.integers(0, width, 3):
            profile = profile + rng.uniform(1.0, 2.5) * np.exp(-(((line - streak) / 0.8) ** 2))
        along = fields.SmoothField(rng, (4, shape[1]), 160.0).window(0, 0, 1, shape[1])
        power = physics.from_db(level_db + 2.0 * along)
        if number % 2:  # a pulse that hits part of the echo window
            middle, half = rng.uniform(0.2, 0.8) * shape[1], rng.uniform(15, 120)
            power *= 4.0 * np.exp(-((np.abs(sample - middle) / half) ** 8))
        level[band] += (profile[:, None] * power).astype(np.float32)
    return Glow(level)


def documents(
    identity: Identity, grid: Acquisition, blocks: list[SwathBlock], affected: dict[str, float]
) -> dict[str, bytes]:
    """Return the documents of annotation/rfi, as processors from 3.40 on write them.

    Args:
        identity: names and times.
        grid: the image's geometry.
        blocks: the swaths.
        affected: percentage of the lines with interference; polarisations without any are left out.
    """
    return {
        name: annotation.document(
            (
                "rfi",
                [
                    annotation.header(identity, name, number),
                    ("rfiMitigationApplied", "TimeFrequency" if name in affected else "None"),
                    _listed("rfiDetectionFromNoiseReport", _noise(identity, grid, blocks, name in affected)),
                    _listed("rfiBurstReport", _bursts(identity, grid, blocks, affected.get(name))),
                ],
            )
        )
        for number, name in enumerate(POLARISATIONS, 1)
    }


def _times(identity: Identity, grid: Acquisition) -> list[str]:
    count = int(grid.shape[0] * grid.line_interval_s / BURST_S) + 1
    return [annotation.stamp(identity.start + timedelta(seconds=at * BURST_S)) for at in range(count)]


def _noise(identity: Identity, grid: Acquisition, blocks: list[SwathBlock], found: bool) -> list[list[Node]]:
    values = _FOUND if found else _CLEAR
    return [
        [("swath", block.name), ("noiseSensingTime", time), *((tag, _text(v)) for tag, v in values.items())]
        for block in blocks
        for time in _times(identity, grid)
    ]


def _bursts(
    identity: Identity, grid: Acquisition, blocks: list[SwathBlock], affected: float | None
) -> list[list[Node]]:
    reports: list[list[Node]] = []
    for block in blocks:
        for time in _times(identity, grid):
            ratio = 1.04 if affected is None else 1.9
            report: list[Node] = [
                ("swath", block.name),
                ("azimuthTime", time),
                ("inBandOutBandPowerRatio", _text(ratio)),
            ]
            if affected is not None:
                in_time = {
                    "percentageAffectedLines": affected,
                    "avgPercentageAffectedSamples": 3.1,
                    "maxPercentageAffectedSamples": 9.7,
                }
                report.append(("timeDomainRfiReport", [(tag, _text(v)) for tag, v in in_time.items()]))
                isolated = {"percentageAffectedLines": affected, "maxPercentageAffectedBW": 5.0}
                in_frequency: list[Node] = [
                    ("numSubBlocks", 3),
                    ("subBlockSize", 537),
                    ("isolatedRfiReport", [(tag, _text(v)) for tag, v in isolated.items()]),
                    ("percentageBlocksPersistentRfi", _text(0.0)),
                    ("maxPercentageBWAffectedPersistentRfi", _text(0.0)),
                ]
                report.append(("frequencyDomainRfiBurstReport", in_frequency))
            reports.append(report)
    return reports


def _listed(tag: str, items: list[list[Node]]) -> Node:
    return f"{tag}List", [(tag, item) for item in items], {"count": str(len(items))}


def _text(value: object) -> str:
    return f"{value:.6e}" if isinstance(value, float) else str(value)
