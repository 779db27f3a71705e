"""Radio interference as the processor reports it: `annotation/rfi`, in products from IPF 3.40 on.

Two kinds of report. Of the noise pulses between the bursts, a test in each sub-swath every 2.8 s says
whether interference was detected. Of the bursts, what share of the lines, and of samples or bandwidth within
a line, was found affected in time and in frequency, and whether it was taken out.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from daemon.scene.xml import Node, parse

_BETWEEN = timedelta(seconds=3.0)  # a burst and the noise pulse that belongs to it are this close


@dataclass(frozen=True, slots=True)
class Burst:
    """What is reported of one burst."""

    swath: str
    start: datetime  # of its first line, zero-Doppler
    lines_percent: float  # lines that are affected, in time or in frequency
    share_percent: float  # of the burst's data that is affected, at most
    detected: bool  # in the noise pulse next to it


@dataclass(frozen=True, slots=True)
class Rfi:
    """The report on one polarisation."""

    mitigation: str  # None, Time, Frequency, TimeFrequency: what was taken out
    bursts: tuple[Burst, ...]  # by swath and start; empty where the processor looked for none

    def burst(self, swath: str | None, when: datetime) -> Burst | None:
        """Return the burst of a sub-swath that was being recorded at a time."""
        begun = [burst for burst in self.bursts if burst.swath == swath and burst.start <= when]
        last = max(begun, key=lambda burst: burst.start, default=None)
        return last if last is not None and when - last.start <= 2 * _BETWEEN else None


def parse_rfi(data: bytes, source: str = "rfi") -> Rfi:
    """Read a report.

    Raises:
        SceneCorrupt: it does not parse.
    """
    root = parse(data, source, "rfi")
    detected = [
        (node.text("swath"), node.time("noiseSensingTime"))
        for node in root.all("rfiDetectionFromNoiseReportList/rfiDetectionFromNoiseReport", least=0)
        if node.text("rfiDetected").lower() == "true"
    ]
    bursts = []
    for node in root.all("rfiBurstReportList/rfiBurstReport", least=0):
        swath, start = node.text("swath"), node.time("azimuthTime")
        time = _affected(node, "timeDomainRfiReport", "maxPercentageAffectedSamples")
        frequency = _affected(
            node, "frequencyDomainRfiBurstReport/isolatedRfiReport", "maxPercentageAffectedBW"
        )
        lasting = "frequencyDomainRfiBurstReport"
        blocks = _optional(node, f"{lasting}/percentageBlocksPersistentRfi")
        band = _optional(node, f"{lasting}/maxPercentageBWAffectedPersistentRfi")
        bursts.append(
            Burst(
                swath,
                start,
                round(max(time[0], frequency[0], blocks), 2),
                round(max(time[0] * time[1], frequency[0] * frequency[1], blocks * band) / 100, 3),
                any(where == swath and abs(when - start) <= _BETWEEN / 2 for where, when in detected),
            )
        )
    bursts.sort(key=lambda burst: (burst.swath, burst.start))
    return Rfi(root.text("rfiMitigationApplied"), tuple(bursts))


def _affected(node: Node, path: str, of_line: str) -> tuple[float, float]:
    """Return the percentage of lines, and of what is affected within a line."""
    return _optional(node, f"{path}/percentageAffectedLines"), _optional(node, f"{path}/{of_line}")


def _optional(node: Node, path: str) -> float:
    return node.number(path) if node.element.findtext(path) is not None else 0.0
