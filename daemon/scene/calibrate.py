"""From digital numbers to sigma0: the look-up tables of calibration and thermal noise.

sigma0 = (DN^2 - N) / A^2 with A = sigmaNought and N the noise power, both interpolated bilinearly over line
and sample and held constant beyond their ends. Noise comes in two forms: one table (``noiseVectorList``,
before IPF 2.90), or a table along range times factors along azimuth, the latter given block by block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daemon.errors import SceneCorrupt
from daemon.scene.xml import Node, parse

Float32 = NDArray[np.float32]
Positions = NDArray[np.int64] | NDArray[np.float64]


class Lut:
    """A table over a scene: vectors along range at some lines, each with samples of its own.

    Attributes:
        lines: line of each vector, increasing, [n].
        samples: samples of each vector, increasing, [n] of [m].
        values: values there, [n] of [m].
    """

    def __init__(
        self,
        lines: Sequence[float],
        samples: Sequence[NDArray[np.float64]],
        values: Sequence[NDArray[np.float64]],
        source: str,
    ) -> None:
        lengths = [(len(s), len(v)) for s, v in zip(samples, values, strict=True)]
        if not lengths or any(s != v or s == 0 for s, v in lengths):
            raise SceneCorrupt(f"{source}: got vectors of (pixels, values) {lengths}, expected equal lengths")
        if any(np.any(np.diff(s) <= 0) for s in samples) or not all(np.isfinite(v).all() for v in values):
            raise SceneCorrupt(f"{source}: got pixels that do not increase or values that are not finite")
        order = np.unique(np.asarray(lines, np.float64), return_index=True)[1]
        self.lines = np.asarray(lines, np.float64)[order]
        self.samples = tuple(samples[i] for i in order)
        self.values = tuple(values[i] for i in order)

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest value."""
        return min(float(v.min()) for v in self.values), max(float(v.max()) for v in self.values)

    def on(self, lines: Positions, samples: Positions) -> Float32:
        """Interpolate onto the grid of some lines and samples.

        Args:
            lines: increasing, [h].
            samples: increasing, [w].

        Returns:
            Values, [h, w]; [1, w] where they are the same on all these lines.
        """
        last = len(self.lines) - 1
        first = int(np.clip(np.searchsorted(self.lines, lines[0], "right") - 1, 0, last))
        stop = int(np.clip(np.searchsorted(self.lines, lines[-1], "left"), first, last)) + 1
        rows = np.stack(
            [np.interp(samples, self.samples[i], self.values[i]) for i in range(first, stop)]
        ).astype(np.float32)
        if np.all(rows == rows[0]):
            return rows[:1]
        out = np.empty((len(lines), len(samples)), np.float32)
        at = np.clip(np.interp(lines, self.lines, np.arange(last + 1.0)) - first, 0, len(rows) - 1)
        index = np.minimum(at.astype(int), len(rows) - 2)
        part = (at - index).astype(np.float32)[:, None]
        for i in np.unique(index):
            here = slice(*np.searchsorted(index, [i, i + 1]))
            out[here] = rows[i] + part[here] * (rows[i + 1] - rows[i])
        return out


@dataclass(frozen=True, eq=False)
class Calibration:
    """The table sigmaNought of one polarisation."""

    sigma_nought: Lut

    def gain(self, lines: Positions, samples: Positions) -> Float32:
        """Return 1 / A^2, [h, w] or [1, w]: what turns DN^2 into sigma0."""
        gain: Float32 = np.float32(1) / np.square(self.sigma_nought.on(lines, samples))
        return gain


@dataclass(frozen=True, eq=False)
class AzimuthBlock:
    """Factors along azimuth for the noise of one rectangle of the scene (edges included)."""

    first_line: int
    last_line: int
    first_sample: int
    last_sample: int
    lines: NDArray[np.float64]
    values: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Noise:
    """Thermal noise of one polarisation, in squared digital numbers.

    Attributes:
        range_lut: power along range; None where it is unknown.
        azimuth: blocks of factors; 1 where no block lies. Empty in the old form.
    """

    range_lut: Lut | None
    azimuth: tuple[AzimuthBlock, ...] = ()

    @property
    def zero(self) -> bool:
        """Whether the table is unknown or zero everywhere: then removing it changes nothing."""
        return self.range_lut is None or self.range_lut.bounds == (0.0, 0.0)

    def power(self, lines: Positions, samples: Positions) -> Float32:
        """Return the noise power, [h, w] or [1, w] where it is the same on all these lines."""
        if self.range_lut is None or self.zero:
            return np.zeros((1, len(samples)), np.float32)
        power = self.range_lut.on(lines, samples)
        for block in self.azimuth:
            rows = slice(*np.searchsorted(lines, [block.first_line, block.last_line + 1]))
            columns = slice(*np.searchsorted(samples, [block.first_sample, block.last_sample + 1]))
            if rows.start == rows.stop or columns.start == columns.stop:
                continue
            if len(power) != len(lines):
                power = np.repeat(power, len(lines), 0)
            power[rows, columns] *= np.interp(lines[rows], block.lines, block.values).astype(np.float32)[
                :, None
            ]
        return power


def parse_calibration(data: bytes, source: str = "calibration") -> Calibration:
    """Read a calibration file.

    Args:
        data: the XML.
        source: its name, for messages.

    Raises:
        SceneCorrupt: it does not parse, or holds no usable table.
    """
    root = parse(data, source, "calibration")
    vectors = root.all("calibrationVectorList/calibrationVector")
    lut = _lut(vectors, "sigmaNought", source)
    if lut.bounds[0] <= 0:
        raise SceneCorrupt(f"{source}: got sigmaNought down to {lut.bounds[0]}, expected positive values")
    return Calibration(lut)


def parse_noise(data: bytes, source: str = "noise") -> Noise:
    """Read a noise file of either form.

    Args:
        data: the XML.
        source: its name, for messages.

    Raises:
        SceneCorrupt: it does not parse, or holds no usable table.
    """
    root = parse(data, source, "noise")
    old = root.all("noiseVectorList/noiseVector", least=0)
    if old:
        return Noise(_lut(old, "noiseLut", source))
    vectors = root.all("noiseRangeVectorList/noiseRangeVector")
    blocks = root.all("noiseAzimuthVectorList/noiseAzimuthVector", least=0)
    return Noise(_lut(vectors, "noiseRangeLut", source), tuple(_block(node, source) for node in blocks))


def _lut(vectors: Sequence[Node], values: str, source: str) -> Lut:
    return Lut(
        [node.number("line") for node in vectors],
        [node.numbers("pixel") for node in vectors],
        [node.numbers(values) for node in vectors],
        source,
    )


def _block(node: Node, source: str) -> AzimuthBlock:
    lines, values = node.numbers("line"), node.numbers("noiseAzimuthLut")
    if len(lines) != len(values) or not len(lines) or np.any(np.diff(lines) <= 0):
        raise SceneCorrupt(
            f"{source}: got an azimuth vector of {len(lines)} lines and {len(values)} values, "
            "expected as many of each, lines increasing"
        )
    corners = ("firstAzimuthLine", "lastAzimuthLine", "firstRangeSample", "lastRangeSample")
    first_line, last_line, first_sample, last_sample = (node.integer(name) for name in corners)
    return AzimuthBlock(first_line, last_line, first_sample, last_sample, lines, values)
