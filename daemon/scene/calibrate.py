"""From digital numbers to sigma0: the look-up tables of calibration and thermal noise.

sigma0 = (DN^2 - N) / A^2 with A = sigmaNought and N the noise power, both interpolated bilinearly over line
and sample and held constant beyond their ends. Noise comes in two forms: one table (``noiseVectorList``,
before IPF 2.90), or a table along range times factors along azimuth, the latter given block by block; where
no block lies the factor is 1. Positions may lie between pixels: pixel p reaches from p - 0.5 to p + 0.5.
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
        at = np.asarray(lines, np.float64)
        for i in np.flatnonzero(np.diff(at) <= 0).tolist():
            if at[i + 1] < at[i]:
                raise SceneCorrupt(
                    f"{source}: got a vector at line {at[i + 1]:g} after one at line {at[i]:g}, expected "
                    "increasing lines: fetch the product again"
                )
            if not (np.array_equal(samples[i], samples[i + 1]) and np.array_equal(values[i], values[i + 1])):
                raise SceneCorrupt(
                    f"{source}: got two different vectors at line {at[i]:g}, expected one: fetch the product "
                    "again"
                )
        kept = np.flatnonzero(np.diff(at, prepend=-np.inf) > 0).tolist()
        self.lines = at[kept]
        self.samples = tuple(samples[i] for i in kept)
        self.values = tuple(values[i] for i in kept)

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest value."""
        return min(float(v.min()) for v in self.values), max(float(v.max()) for v in self.values)

    def on(self, lines: Positions, samples: Positions) -> Float32:
        """Interpolate onto the grid of some lines and samples.

        Args:
            lines: increasing, whole or fractional, [h].
            samples: increasing, whole or fractional, [w].

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
            between = rows[i] + part[here] * (rows[i + 1] - rows[i])
            # On a vector its own values, to the last bit, from wherever they are asked.
            out[here] = np.where(part[here] == 1, rows[i + 1], between)
        return out


@dataclass(frozen=True, eq=False)
class Calibration:
    """The table sigmaNought of one polarisation, which the file states (None where it does not)."""

    sigma_nought: Lut
    polarisation: str | None = None

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
        azimuth: blocks of factors; 1 where no block lies, that of the last where several do. Empty in the
            old form.
        polarisation: as the file states it; None where it does not.
    """

    range_lut: Lut | None
    azimuth: tuple[AzimuthBlock, ...] = ()
    polarisation: str | None = None

    @property
    def zero(self) -> bool:
        """Whether the table is unknown or zero everywhere: then removing it changes nothing."""
        return self.range_lut is None or self.range_lut.bounds == (0.0, 0.0)

    def power(self, lines: Positions, samples: Positions) -> Float32:
        """Return the noise power at increasing lines and samples.

        Returns:
            Power, [h, w]; [1, w] where it is the same on all these lines.
        """
        if self.range_lut is None or self.zero:
            return np.zeros((1, len(samples)), np.float32)
        along_range = power = self.range_lut.on(lines, samples)
        for block in self.azimuth:
            rows = slice(*np.searchsorted(lines, [block.first_line - 0.5, block.last_line + 0.5]))
            columns = slice(*np.searchsorted(samples, [block.first_sample - 0.5, block.last_sample + 0.5]))
            if rows.start == rows.stop or columns.start == columns.stop:
                continue
            if power is along_range:
                along_range = np.broadcast_to(along_range, (len(lines), len(samples)))
                power = along_range.copy()
            factor = np.interp(lines[rows], block.lines, block.values).astype(np.float32)
            np.multiply(along_range[rows, columns], factor[:, None], out=power[rows, columns])
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
    return Calibration(lut, _polarisation(root))


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
        return Noise(_lut(old, "noiseLut", source), polarisation=_polarisation(root))
    vectors = root.all("noiseRangeVectorList/noiseRangeVector")
    blocks = root.all("noiseAzimuthVectorList/noiseAzimuthVector", least=0)
    return Noise(
        _lut(vectors, "noiseRangeLut", source),
        tuple(_block(node, source) for node in blocks),
        _polarisation(root),
    )


def _polarisation(root: Node) -> str | None:
    text = root.element.findtext("adsHeader/polarisation")
    return text.strip() if text else None


def _lut(vectors: Sequence[Node], values: str, source: str) -> Lut:
    samples: list[NDArray[np.float64]] = []
    said: dict[str | None, NDArray[np.float64]] = {}  # most vectors repeat their samples: read them once
    for node in vectors:
        text = node.element.findtext("pixel")
        if text not in said:
            said[text] = node.numbers("pixel")
        samples.append(said[text])
    return Lut(
        [node.number("line") for node in vectors], samples, [node.numbers(values) for node in vectors], source
    )


def _block(node: Node, source: str) -> AzimuthBlock:
    lines, values = node.numbers("line"), node.numbers("noiseAzimuthLut")
    ordered = len(lines) == len(values) and len(lines) and np.all(np.diff(lines) > 0)
    if not ordered or not np.isfinite(values).all():
        raise SceneCorrupt(
            f"{source}: got an azimuth vector of {len(lines)} lines and {len(values)} values, "
            "expected as many of each, lines increasing, values finite"
        )
    corners = ("firstAzimuthLine", "lastAzimuthLine", "firstRangeSample", "lastRangeSample")
    first_line, last_line, first_sample, last_sample = (node.integer(name) for name in corners)
    if first_line > last_line or first_sample > last_sample:
        raise SceneCorrupt(
            f"{source}: got an azimuth block of lines {first_line} to {last_line}, samples {first_sample} to "
            f"{last_sample}, expected first before last"
        )
    return AzimuthBlock(first_line, last_line, first_sample, last_sample, lines, values)
