"""A scene in memory: correlated speckle over a textured sea, targets at known places, our own protocols."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from shapely.geometry import Polygon

from daemon.scene.names import ProductName
from engine.runtime.image import CHIP_PX
from engine.runtime.prior import Prior, anchor_positions
from engine.runtime.text import Answer, AnswerObject, Request

M_PER_DEG = 111_320.0
SIGMA_NOUGHT = 600.0
START = datetime(2021, 1, 19, 17, 30, tzinfo=timezone.utc)


class FlatGeometry:
    """Ten metres a pixel on a small patch of the globe: lines run south, samples east."""

    def __init__(self, lon_deg: float = 4.0, lat_deg: float = 0.0) -> None:
        self.lon_deg, self.lat_deg = lon_deg, lat_deg

    def lonlat(self, line_px, sample_px, height_m=0.0):
        lon = self.lon_deg + np.asarray(sample_px, float) * 10.0 / M_PER_DEG
        lat = self.lat_deg - np.asarray(line_px, float) * 10.0 / M_PER_DEG
        return (lon + 180) % 360 - 180, lat

    def pixel(self, lon_deg, lat_deg, height_m=0.0):
        east = (np.asarray(lon_deg) - self.lon_deg + 180) % 360 - 180
        return (self.lat_deg - np.asarray(lat_deg)) * M_PER_DEG / 10, east * M_PER_DEG / 10

    def incidence_deg(self, line_px, sample_px):
        return 30.0 + 16.0 * np.asarray(sample_px, float) / 25_000

    def heading_deg(self, line_px, sample_px):
        return np.full(np.shape(line_px), 180.0)

    def range_to_velocity_s(self, line_px, sample_px):
        return np.full(np.shape(line_px), 115.0)

    def shift_bound_m(self, line_px, sample_px):
        return np.full(np.shape(line_px), 1100.0)

    def time_utc(self, line_px):
        return START + timedelta(seconds=float(line_px) * 0.0015)


@dataclass
class FakeScene:
    """Serves arrays as daemon.scene.product.Scene does."""

    sigma0: Mapping[str, NDArray[np.float32]]
    nesz: Mapping[str, float] = field(default_factory=lambda: {"VV": 0.003, "VH": 0.003})
    valid: NDArray[np.bool_] | None = None
    geometry: FlatGeometry = field(default_factory=FlatGeometry)
    uri: str = "memory:scene"
    spacing_m: tuple[float, float] = (10.0, 10.0)
    notes: tuple[str, ...] = ()
    reads: int = 0

    annotation = None  # so no pulse repetition frequency
    rfi: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.polarisations = tuple(self.sigma0)
        self.shape = next(iter(self.sigma0.values())).shape
        if self.valid is None:
            self.valid = np.ones(self.shape, bool)
        kind = {("VV", "VH"): "DV", ("VV",): "SV", ("HH", "HV"): "DH", ("HH",): "SH", ("VH",): "VH"}[
            self.polarisations
        ]
        self.name = ProductName.parse(
            f"S1A_IW_GRDH_1S{kind}_20210119T173000_20210119T173025_036200_043F2A_8255.SAFE"
        )
        self.relative_orbit, self.orbit_direction, self.ipf = 14, "DESCENDING", "003.31"
        lon, lat = self.geometry.lonlat(
            np.array([0, 0, self.shape[0], self.shape[0]]), np.array([0, self.shape[1], self.shape[1], 0])
        )
        self.footprint = Polygon(np.stack([lon, lat], 1))

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def numbers(self, polarisation):
        """Digital numbers, made anew: tests change sigma0."""
        intensity = self.sigma0[polarisation] + self.nesz[polarisation]
        dn = np.clip(np.rint(np.sqrt(np.maximum(intensity, 0)) * SIGMA_NOUGHT), 1, 65535)
        return np.where(self.valid, dn, 0).astype(np.uint16)

    def block_lines(self, polarisation):
        return 1

    def plain(self, polarisation):
        return True

    def read_lines(self, polarisation, first_line, out):
        self.reads += 1
        out[:] = self.numbers(polarisation)[first_line : first_line + len(out)]

    def tables(self, polarisation, lines, samples):
        gain = np.full((1, len(samples)), SIGMA_NOUGHT**-2.0, np.float32)
        return gain, gain * 0 + np.float32(self.nesz[polarisation] * SIGMA_NOUGHT**2)

    def read(self, polarisation, window):
        self.reads += 1
        valid = cut(self.valid, window, False)
        sigma0 = np.where(valid, cut(self.sigma0[polarisation], window, 0), 0).astype(np.float32)
        nesz = np.full(valid.shape, self.nesz[polarisation], np.float32)
        dn = cut(self.numbers(polarisation), window, 0)
        return SimpleNamespace(dn=dn, sigma0=sigma0, nesz=nesz, intensity=sigma0 + nesz, valid=valid)


@dataclass
class FakeLand:
    """Land from an array."""

    land: NDArray[np.bool_]
    version: str = "fake coast 1"

    def mask(self, window):
        return cut(self.land, window, False)

    def runs(self):
        edges = np.diff(np.pad(self.land, ((0, 0), (1, 1))).astype(np.int8), axis=1)
        line, start = np.nonzero(edges > 0)
        return line, start, np.nonzero(edges < 0)[1]

    def cells(self):
        rows, cols = (-(-size // 8) for size in self.land.shape)
        padded = np.pad(
            self.land, [(0, rows * 8 - self.land.shape[0]), (0, cols * 8 - self.land.shape[1])], mode="edge"
        )
        parts = padded.reshape(rows, 8, cols, 8)
        return parts.any((1, 3)).astype(np.uint8) + parts.all((1, 3))

    def shore_m(self, line_px, sample_px):
        line, sample = np.broadcast_arrays(np.asarray(line_px, float), np.asarray(sample_px, float))
        at = np.argwhere(self.land)
        if not len(at):
            return np.full(line.shape, np.inf)
        apart = np.hypot(line[..., None] - at[:, 0], sample[..., None] - at[:, 1]).min(-1) * 10.0
        return np.where(apart > 5, apart, 0.0)


def cut(array, window, fill):
    """Cut a window that may reach beyond the array."""
    rows = np.arange(window.line, window.line + window.lines)
    cols = np.arange(window.sample, window.sample + window.samples)
    inside = ((rows >= 0) & (rows < array.shape[0]))[:, None] & ((cols >= 0) & (cols < array.shape[1]))
    taken = array[np.clip(rows, 0, array.shape[0] - 1)][:, np.clip(cols, 0, array.shape[1] - 1)]
    return np.where(inside, taken, fill)


@dataclass(frozen=True)
class Target:
    """A line of scatterers: centre in pixels, length, axis clockwise from up, cross-section in dB m2."""

    line_px: float
    sample_px: float
    length_m: float
    axis_deg: float
    rcs_db: float
    spread_db: float = 3.0
    width_m: float | None = None


def reflectivity(shape, targets, rng) -> NDArray[np.float64]:
    """Spread targets as points on the pixel grid; sums to the cross-section over the pixel's area."""
    power = np.zeros(shape)
    for target in targets:
        n = max(2, int(target.length_m / 8))
        along = np.linspace(-0.5, 0.5, n) * target.length_m
        width = target.width_m or max(8.0, target.length_m / 6.5)
        across = rng.uniform(-0.5, 0.5, n) * width
        share = 10 ** (rng.normal(0, target.spread_db, n) / 10)
        share *= 10 ** (target.rcs_db / 10) / 100.0 / share.sum()
        axis = np.radians(target.axis_deg)
        line = target.line_px + (-along * np.cos(axis) + across * np.sin(axis)) / 10
        sample = target.sample_px + (along * np.sin(axis) + across * np.cos(axis)) / 10
        for at_line, at_sample, strength in zip(line, sample, share, strict=True):
            l0, s0 = int(np.floor(at_line)), int(np.floor(at_sample))
            fl, fs = at_line - l0, at_sample - s0
            power[l0 : l0 + 2, s0 : s0 + 2] += strength * np.outer([1 - fl, fl], [1 - fs, fs])
    return power


def image(power, nesz, rng, looks_weights=(0.4, 1, 1, 1, 0.4)) -> NDArray[np.float32]:
    """Draw sigma0 with correlated speckle: a band-limited complex field of the given power, multilooked.

    The noise speckles too and is subtracted in the mean, so single values may be negative.
    """
    total = np.sqrt(power + nesz)
    weights = np.array(looks_weights) / np.sum(looks_weights)
    intensity = np.zeros(power.shape, np.float64)
    taps = np.hamming(5) / np.linalg.norm(np.hamming(5))
    for weight in weights:
        field_ = (rng.normal(size=power.shape) + 1j * rng.normal(size=power.shape)) / np.sqrt(2) * total
        field_ = ndimage.convolve1d(ndimage.convolve1d(field_, taps, 0, mode="wrap"), taps, 1, mode="wrap")
        intensity += weight * np.abs(field_) ** 2
    return (intensity - nesz).astype(np.float32)


def texture(shape, order, rng) -> NDArray[np.float64]:
    """Gamma texture of mean 1, correlated over some 50 m (K-distributed intensity)."""
    drawn = ndimage.gaussian_filter(rng.normal(size=shape), 3, mode="wrap")
    drawn /= drawn.std()
    return np.exp(drawn * np.sqrt(np.log1p(1 / order)) - 0.5 * np.log1p(1 / order))


def sea_scene(
    shape=(1200, 1200),
    targets=(),
    seed=0,
    sea_db=(-18.0, -26.0),
    order=20.0,
    polarisations=("VV", "VH"),
    **more,
) -> FakeScene:
    """Draw a scene; VH targets are 11 dB weaker."""
    rng = np.random.default_rng(seed)
    nesz = {"VV": 0.003, "VH": 0.003, "HH": 0.003, "HV": 0.003}
    lumps = texture(shape, order, rng)
    shown = reflectivity(shape, targets, rng)
    sigma0 = {}
    for name in polarisations:
        cross = name in ("VH", "HV")
        power = lumps * 10 ** (sea_db[cross] / 10) + shown * (10**-1.1 if cross else 1.0)
        sigma0[name] = image(power, nesz[name], rng)
    return FakeScene(sigma0=sigma0, nesz={name: nesz[name] for name in polarisations}, **more)


class BrightEngine:
    """Stands in for a predictor: names whatever is bright in a chip's first channel."""

    def __init__(self, sensors=("Sentinel-1 IW",), outcome="complete", blind=False) -> None:
        self.bundle = SimpleNamespace(
            bundle_id="00aa11bb22cc33dd", manifest=SimpleNamespace(sensors=sensors, spacing_m=10.0)
        )
        self.backend = SimpleNamespace(name="fake fp32")
        self.outcome, self.blind = outcome, blind
        self.requests: list[Request] = []

    def ask(self, requests, progress=None):
        self.requests += requests
        answers = []
        for request in requests:
            channel = request.chips[0][0].astype(int)
            bright = channel > np.median(channel) + 65
            closed = ndimage.binary_closing(np.pad(bright, 2), np.ones((3, 3)))[2:-2, 2:-2]
            found = []
            for rows, cols in ndimage.find_objects(ndimage.label(closed)[0]):
                if (rows.stop - rows.start) * (cols.stop - cols.start) >= 6 and not self.blind:
                    score = 0.5 + 0.49 * float(channel[rows, cols].mean() / 255)
                    box = (float(cols.start), float(rows.start), float(cols.stop), float(rows.stop))
                    found.append(AnswerObject(box, "ship", score))
            answers.append(Answer("", tuple(found), self.outcome))
            if progress:
                progress(1)
        return answers


class FakePriors:
    """An index of priors: known east of a longitude, or out of reach."""

    version = "fake priors 1"

    def __init__(self, west_deg: float = -180.0, reachable: bool = True) -> None:
        self.west_deg, self.reachable, self.notes = west_deg, reachable, []

    def prior(self, geometry, chip_origin_px, acquired):
        if not self.reachable:
            self.notes = ["prior absent: no answer"]
            return Prior.absent()
        positions = anchor_positions()
        line, sample = (positions * CHIP_PX - 0.5 + chip_origin_px).T
        known = geometry.lonlat(line, sample)[0] > self.west_deg
        vectors = np.where(known[:, None], 0.125, 0.0).astype(np.float32) * np.ones((1, 64), np.float32)
        return Prior(vectors, positions, known, acquired.year - 1 if known.any() else None)

    def take_notes(self):
        notes, self.notes = self.notes, []
        return notes
