"""A Sentinel-1 product as the daemon sees it: metadata opened whole, pixels read by window."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from daemon.errors import SceneCorrupt, SceneUnsupported
from daemon.scene.calibrate import Calibration, Lut, Noise, Positions, parse_calibration, parse_noise
from daemon.scene.checks import check_grid
from daemon.scene.files import DEFAULT_SCHEMES
from daemon.scene.geometry import RangeDopplerGeometry, SceneGeometry
from daemon.scene.names import ProductName
from daemon.scene.raster import Raster, Window
from daemon.scene.rfi import Rfi, parse_rfi
from daemon.scene.safe import Annotation, Manifest, ipf_notes, parse_annotation
from daemon.scene.source import Source, find_source

__all__ = ["Band", "Radiometry", "Scene", "Window", "open_scene"]

# sigmaNought of IW GRDH lies between 558 and 666; where a product comes without its table, this stands in.
NOMINAL_SIGMA_NOUGHT = 600.0

# The peak of the noise-equivalent sigma0 over the swath: the mission's requirement is -22 dB, real products
# lie at -22 to -30. A table far outside is scaled otherwise than the forms we know.
NESZ_PEAK_DB = (-40.0, -15.0)
# Slices of one datatake share orbit and datatake and lie 25 s apart: their times tell them apart.
START_TOLERANCE_S = 5.0

Float32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Radiometry:
    """Calibrated pixels of one polarisation in a window, [h, w] each, linear.

    Attributes:
        dn: digital numbers, 0 where there are none.
        intensity: DN^2 / A^2, the noise left in.
        nesz: noise-equivalent sigma0, N / A^2.
        sigma0: intensity - nesz; negative values are kept.
        valid: True where there is data.
    """

    dn: NDArray[np.uint16]
    intensity: Float32
    nesz: Float32
    sigma0: Float32
    valid: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Band:
    """One polarisation of a scene."""

    measurement: str  # what GDAL opens it by
    calibration: Calibration
    noise: Noise
    raster: Raster


@dataclass(frozen=True, eq=False)
class Scene:
    """An opened product. Close it, or use it as a context manager."""

    name: ProductName
    uri: str
    shape: tuple[int, int]  # lines, samples
    spacing_m: tuple[float, float]  # azimuth, range
    relative_orbit: int
    orbit_direction: str  # ASCENDING or DESCENDING
    ipf: str
    polarisations: tuple[str, ...]  # co-polarised first
    bands: Mapping[str, Band]
    geometry: SceneGeometry
    footprint: BaseGeometry  # longitude and latitude, split at the antimeridian
    notes: tuple[str, ...]  # what is not as a reader would expect
    annotation: Annotation | None  # of the first polarisation; None where the product came without
    rfi: Mapping[str, Rfi] = field(default_factory=dict)  # reports on interference; empty before IPF 3.40

    def read(self, polarisation: str, window: Window) -> Radiometry:
        """Read and calibrate a window.

        Args:
            polarisation: one of the scene's.
            window: may reach beyond the scene; what lies there is invalid and zero.

        Raises:
            SceneUnsupported: the scene has no such polarisation.
            SceneCorrupt: the pixels cannot be read.
            SourceUnavailable: their host does not answer.
        """
        band = self.bands.get(polarisation)
        if band is None:
            raise SceneUnsupported(
                f"{self.name}: got a read of {polarisation}, expected one of {list(self.bands)}"
            )
        dn = band.raster.read(window)
        lines = np.arange(window.line, window.line + window.lines)
        samples = np.arange(window.sample, window.sample + window.samples)
        gain = band.calibration.gain(lines, samples)
        valid = dn > 0
        intensity = dn.astype(np.float32)
        intensity *= intensity
        intensity *= gain
        nesz = band.noise.power(lines, samples) * gain * valid
        return Radiometry(dn, intensity, nesz, intensity - nesz, valid)

    def tables(self, polarisation: str, lines: Positions, samples: Positions) -> tuple[Float32, Float32]:
        """Return 1 / A^2 and the noise power in DN^2 at increasing positions, [h, w] or [1, w] each."""
        band = self.bands[polarisation]
        return band.calibration.gain(lines, samples), band.noise.power(lines, samples)

    def read_lines(self, polarisation: str, first_line: int, out: NDArray[np.uint16]) -> None:
        """Fill whole lines of digital numbers, [lines, samples]; as `Raster.read_lines`."""
        self.bands[polarisation].raster.read_lines(first_line, out)

    def block_lines(self, polarisation: str) -> int:
        """Return how many lines a block of the file holds."""
        return self.bands[polarisation].raster.block_lines

    def plain(self, polarisation: str) -> bool:
        """Return whether lines are read as they stand on disk, anywhere at the same cost."""
        return self.bands[polarisation].raster.plain

    def close(self) -> None:
        """Let go of the files."""
        for band in self.bands.values():
            band.raster.close()

    def __enter__(self) -> Scene:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_scene(
    uri: str,
    schemes: Collection[str] = DEFAULT_SCHEMES,
    hosts: Collection[str] = (),
    verify_pixels: bool = False,
) -> Scene:
    """Open a product: a SAFE or COG folder, a zip of one, or AWS's layout; local or remote.

    Metadata are checked against the manifest's checksums, except in AWS's layout, which renames the files.

    Args:
        uri: a path or URI.
        schemes: what may be read.
        hosts: what hosts (s3: buckets) may be read from.
        verify_pixels: check the measurement files' checksums too; that reads them once more.

    Raises:
        SceneMissing: there is no product at that place.
        SceneCorrupt: it cannot be read as what it says it is.
        SceneUnsupported: a sound product of a kind that is not processed, or a place that is not allowed.
        SourceUnavailable: its host does not answer.
    """
    source = find_source(uri, schemes, hosts, verify_pixels)
    return _open(uri, source) if source.annotated else _open_without_annotation(uri, source)


def _open(uri: str, source: Source) -> Scene:
    """Open a complete product."""
    name = source.name
    bands: dict[str, Band] = {}
    annotations: list[Annotation] = []
    notes: list[str] = []
    try:
        for polarisation in name.polarisations:
            annotation = parse_annotation(*source.read("product", polarisation))
            path = source.path("product", polarisation)
            _check_annotation(name, polarisation, annotation, f"{name}/{path}")
            calibration, noise = _tables(source, polarisation)
            path = source.path("measurement", polarisation)
            raster = source.raster(path)
            bands[polarisation] = Band(raster.gdal_name, calibration, noise, raster)
            if not raster.shape == annotation.shape == (annotations or [annotation])[0].shape:
                raise SceneCorrupt(
                    f"{name}/{path}: got {raster.shape} pixels, expected {annotation.shape} as annotated, "
                    "the same in each polarisation"
                )
            notes += _noise_notes(polarisation, bands[polarisation], annotation.shape)
            annotations.append(annotation)
        first = annotations[0]
        rfi = _rfi(source, notes)
        geometry = RangeDopplerGeometry(first)
        footprint = geometry.footprint()
    except BaseException:
        for band in bands.values():
            band.raster.close()
        raise
    manifest = source.manifest
    return Scene(
        name=name,
        uri=uri,
        shape=first.shape,
        spacing_m=first.spacing_m,
        relative_orbit=_relative_orbit(name, manifest, notes),
        orbit_direction=first.orbit_direction,
        ipf=manifest.ipf,
        polarisations=name.polarisations,
        bands=bands,
        geometry=geometry,
        footprint=footprint,
        notes=(*ipf_notes(manifest.ipf), *notes, *source.notes),
        annotation=first,
        rfi=rfi,
    )


def _rfi(source: Source, notes: list[str]) -> dict[str, Rfi]:
    """Read the reports on interference; one that is broken is noted, and no reason to refuse a scene."""
    found = {}
    for role, polarisation in source.roles:
        if role == "rfi" and source.files.has(source.path(role, polarisation)):
            try:
                found[polarisation] = parse_rfi(*source.read(role, polarisation))
            except SceneCorrupt as error:
                notes.append(f"interference unknown: {error}")
    return found


def _check_annotation(name: ProductName, polarisation: str, annotation: Annotation, source: str) -> None:
    said = (name.platform, name.mode, name.product_type, polarisation, name.absolute_orbit, name.datatake)
    got = (
        annotation.platform,
        # Some StripMap files state the mode, others the beam.
        name.mode if annotation.mode == "SM" and name.stripmap else annotation.mode,
        annotation.product_type,
        annotation.polarisation,
        annotation.absolute_orbit,
        annotation.datatake,
    )
    if got != said:
        raise SceneCorrupt(
            f"{source}: got platform, mode, type, polarisation, orbit, datatake {got}, expected {said} as "
            "the name says"
        )
    if abs((annotation.first_line - name.start).total_seconds()) > START_TOLERANCE_S:
        raise SceneCorrupt(
            f"{source}: got a first line at {annotation.first_line:%H:%M:%S}, expected "
            f"{name.start:%H:%M:%S} as the name says: of another slice"
        )


def _tables(source: Source, polarisation: str) -> tuple[Calibration, Noise]:
    """Read calibration and noise, of that polarisation and no other."""
    calibration = parse_calibration(*source.read("calibration", polarisation))
    noise = parse_noise(*source.read("noise", polarisation))
    for role, stated in (("calibration", calibration.polarisation), ("noise", noise.polarisation)):
        if stated not in (None, polarisation):
            raise SceneCorrupt(
                f"{source.name}/{source.path(role, polarisation)}: got tables of {stated}, expected "
                f"{polarisation} as the file's name says"
            )
    return calibration, noise


def _noise_notes(polarisation: str, band: Band, shape: tuple[int, int]) -> list[str]:
    """Say what a reader must know of a noise table."""
    if band.noise.range_lut is None or band.noise.zero:
        return [f"{polarisation}: the noise table is zero everywhere: nothing was subtracted"]
    notes = []
    lowest, _ = band.noise.range_lut.bounds
    if lowest < 0:
        notes.append(f"{polarisation}: the noise table goes down to {lowest:g}, expected nothing below zero")
    lines, samples = (np.linspace(0, size - 1, 65) for size in shape)
    nesz = band.calibration.gain(lines, samples) * band.noise.power(lines, samples)
    peak_db = 10 * np.log10(max(float(nesz.max()), 1e-12))
    low, high = NESZ_PEAK_DB
    if not low <= peak_db <= high:
        notes.append(
            f"{polarisation}: the noise-equivalent sigma0 peaks at {peak_db:.1f} dB, expected {low:g} to "
            f"{high:g}: the table may be scaled otherwise; it was subtracted as it stands"
        )
    return notes


def _relative_orbit(name: ProductName, manifest: Manifest, notes: list[str]) -> int:
    if manifest.relative_orbit is None:
        return name.relative_orbit
    if manifest.relative_orbit != name.relative_orbit:
        notes.append(
            f"relative orbit {manifest.relative_orbit} as the manifest says, not {name.relative_orbit} as "
            "the formula gives: a commissioning orbit, or a changed one"
        )
    return manifest.relative_orbit


def _open_without_annotation(uri: str, source: Source) -> Scene:
    """Open a scene that has pixels and ground control points only, and say what that costs."""
    from daemon.scene.gcps import GcpGeometry  # scipy is slow to import, and a complete product needs none

    name, files = source.name, source.files
    bands: dict[str, Band] = {}
    table = np.array([NOMINAL_SIGMA_NOUGHT])
    calibration = Calibration(Lut([0.0], [np.zeros(1)], [table], "nominal sigmaNought"))
    try:
        for polarisation in name.polarisations:
            file = f"{name.mode.lower()}-{polarisation.lower()}.tiff"
            path = file if files.has(file) else f"measurement/{file}"
            raster = source.raster(path)
            bands[polarisation] = Band(raster.gdal_name, calibration, Noise(None), raster)
        raster = next(iter(bands.values())).raster
        if any(band.raster.shape != raster.shape for band in bands.values()):
            raise SceneCorrupt(f"{name}: got polarisations of different shapes, expected the same")
        points = raster.gcps
        if len(points):
            line, sample, lon, lat = points.T
            check_grid(line, sample, lon, lat, raster.gcp_heights_m, f"{files.name}: ground control points")
        geometry = GcpGeometry(points, raster.shape, name.start, name.stop)
        footprint = geometry.footprint()
    except BaseException:
        for band in bands.values():
            band.raster.close()
        raise
    along, across = (round(spacing, 1) for spacing in geometry.spacing_m())
    lat = geometry.lonlat([0, raster.shape[0] - 1], 0)[1]
    notes = [
        "without annotation: positions are interpolated between ground control points, at their heights",
        f"without annotation: a constant sigmaNought of {NOMINAL_SIGMA_NOUGHT:g}: up to 1 dB off",
        "without annotation: the noise is unknown: nothing was subtracted",
        f"without annotation: a spacing of {along:g} x {across:g} m, measured between ground control points",
    ]
    ipf = source.manifest.ipf
    if ipf == "unknown":
        ipf = raster.software.rpartition("IPF ")[2] or "unknown"
    return Scene(
        name=name,
        uri=uri,
        shape=raster.shape,
        spacing_m=(along, across),
        relative_orbit=_relative_orbit(name, source.manifest, notes),
        orbit_direction="ASCENDING" if lat[1] > lat[0] else "DESCENDING",
        ipf=ipf,
        polarisations=name.polarisations,
        bands=bands,
        geometry=geometry,
        footprint=footprint,
        notes=(*ipf_notes(ipf), *notes),
        annotation=None,
    )
