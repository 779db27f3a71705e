"""A Sentinel-1 product as the daemon sees it: metadata opened whole, pixels read by window."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from daemon.errors import SceneCorrupt, SceneUnsupported
from daemon.scene.calibrate import Calibration, Lut, Noise, parse_calibration, parse_noise
from daemon.scene.files import DEFAULT_SCHEMES, MANIFEST, PRODUCT_INFO, Files, find_files
from daemon.scene.geometry import RangeDopplerGeometry, SceneGeometry
from daemon.scene.names import ProductName
from daemon.scene.raster import Raster, Window
from daemon.scene.rfi import Rfi, parse_rfi
from daemon.scene.safe import Annotation, Manifest, parse_annotation, parse_manifest

__all__ = ["Band", "Radiometry", "Scene", "Window", "open_scene"]

# sigmaNought of IW GRDH lies between 558 and 666; where a product comes without its table, this stands in.
NOMINAL_SIGMA_NOUGHT = 600.0

Float32 = NDArray[np.float32]
Roles = Mapping[tuple[str, str], str]


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


def open_scene(uri: str, schemes: Collection[str] = DEFAULT_SCHEMES, hosts: Collection[str] = ()) -> Scene:
    """Open a product: a SAFE or COG folder, a zip of one, or AWS's layout; local or remote.

    Args:
        uri: a path or URI.
        schemes: what may be read.
        hosts: what hosts (s3: buckets) may be read from.

    Raises:
        SceneMissing: there is no product at that place.
        SceneCorrupt: it cannot be read as what it says it is.
        SceneUnsupported: a sound product of a kind that is not processed, or a place that is not allowed.
        SourceUnavailable: its host does not answer.
    """
    files = find_files(uri, schemes, hosts)
    if files.has(PRODUCT_INFO):
        name = _aws_name(files)
        roles = _aws_roles(files, name)
    else:
        name, roles = ProductName.parse(files.name), {}
    _check_supported(name)
    manifest = Manifest("unknown", None, {})
    if files.has(MANIFEST):
        manifest = parse_manifest(files.read(MANIFEST), f"{files.name}/{MANIFEST}")
    if name.kind == "AWS" and not files.has(roles["product", name.polarisations[0]]):
        return _open_without_annotation(uri, files, name, manifest)
    return _open(uri, files, name, manifest, roles or manifest.files)


def _check_supported(name: ProductName) -> None:
    what = f"{name.mode} {name.product_type}{name.resolution.strip('_')}"
    if name.product_type != "GRD" or name.resolution != "H" or name.product_class != "S":
        raise SceneUnsupported(f"{name}: got {what} of class {name.product_class}, expected standard GRDH")
    if name.mode in ("EW", "WV"):
        raise SceneUnsupported(f"{name}: got {what}, expected IW: the model has not seen {name.mode}")


def _aws_name(files: Files) -> ProductName:
    try:
        return ProductName.parse(str(json.loads(files.read(PRODUCT_INFO))["id"]), "AWS")
    except (ValueError, KeyError, TypeError) as error:
        raise SceneCorrupt(f"{files.name}/{PRODUCT_INFO}: got no product id ({error!r})") from None


def _aws_roles(files: Files, name: ProductName) -> dict[tuple[str, str], str]:
    """Return the paths that the layout fixes; a decimated scene keeps its pixels at the top."""
    roles = {}
    for polarisation in name.polarisations:
        stem = f"{name.mode.lower()}-{polarisation.lower()}"
        roles["product", polarisation] = f"annotation/{stem}.xml"
        for lut in ("calibration", "noise"):
            roles[lut, polarisation] = f"annotation/calibration/{lut}-{stem}.xml"
        roles["rfi", polarisation] = f"annotation/rfi/rfi-{stem}.xml"
        roles["measurement", polarisation] = f"measurement/{stem}.tiff"
    return roles


def _raster(files: Files, path: str) -> Raster:
    return Raster(files.gdal_name(path), f"{files.name}/{path}", files.size(path), files.remote)


def _open(uri: str, files: Files, name: ProductName, manifest: Manifest, roles: Roles) -> Scene:
    """Open a complete product."""
    bands: dict[str, Band] = {}
    annotations: list[Annotation] = []
    notes: list[str] = []
    try:
        for polarisation in name.polarisations:
            paths = {}
            for role in ("product", "calibration", "noise", "measurement"):
                if (role, polarisation) not in roles:
                    raise SceneCorrupt(
                        f"{name}: got no {role} of {polarisation}, expected "
                        f"{' and '.join(name.polarisations)} as the name says: fetch the product again"
                    )
                paths[role] = roles[role, polarisation]
            source = {role: f"{name}/{path}" for role, path in paths.items()}
            annotation = parse_annotation(files.read(paths["product"]), source["product"])
            _check_annotation(name, polarisation, annotation, source["product"])
            calibration = parse_calibration(files.read(paths["calibration"]), source["calibration"])
            noise = parse_noise(files.read(paths["noise"]), source["noise"])
            if noise.zero:
                notes.append(f"{polarisation}: the noise table is zero everywhere: nothing was subtracted")
            raster = _raster(files, paths["measurement"])
            bands[polarisation] = Band(raster.gdal_name, calibration, noise, raster)
            if not raster.shape == annotation.shape == (annotations or [annotation])[0].shape:
                raise SceneCorrupt(
                    f"{source['measurement']}: got {raster.shape} pixels, expected {annotation.shape} as "
                    "annotated, the same in each polarisation"
                )
            annotations.append(annotation)
        first = annotations[0]
        rfi = _rfi(files, roles, notes)
        geometry = RangeDopplerGeometry(first)
        footprint = geometry.footprint()
    except BaseException:
        for band in bands.values():
            band.raster.close()
        raise
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
        notes=(*_mode_notes(name), *notes),
        annotation=first,
        rfi=rfi,
    )


def _rfi(files: Files, roles: Roles, notes: list[str]) -> dict[str, Rfi]:
    """Read the reports on interference; one that is broken is noted, and no reason to refuse a scene."""
    found = {}
    for (role, polarisation), path in roles.items():
        if role == "rfi" and files.has(path):
            try:
                found[polarisation] = parse_rfi(files.read(path), f"{files.name}/{path}")
            except SceneCorrupt as error:
                notes.append(f"interference unknown: {error}")
    return found


def _check_annotation(name: ProductName, polarisation: str, annotation: Annotation, source: str) -> None:
    said = (name.platform, name.product_type, polarisation, name.absolute_orbit, name.datatake)
    got = (
        annotation.platform,
        annotation.product_type,
        annotation.polarisation,
        annotation.absolute_orbit,
        annotation.datatake,
    )
    if got != said:
        raise SceneCorrupt(
            f"{source}: got platform, type, polarisation, orbit, datatake {got}, expected {said} as the "
            "name says"
        )


def _relative_orbit(name: ProductName, manifest: Manifest, notes: list[str]) -> int:
    if manifest.relative_orbit is None:
        return name.relative_orbit
    if manifest.relative_orbit != name.relative_orbit:
        notes.append(
            f"relative orbit {manifest.relative_orbit} as the manifest says, not {name.relative_orbit} as "
            "the formula gives: a commissioning orbit, or a changed one"
        )
    return manifest.relative_orbit


def _mode_notes(name: ProductName) -> tuple[str, ...]:
    if name.mode == "IW":
        return ()
    return (f"StripMap ({name.mode}): the model was trained on IW",)


def _open_without_annotation(uri: str, files: Files, name: ProductName, manifest: Manifest) -> Scene:
    """Open a scene that has pixels and ground control points only, and say what that costs."""
    from daemon.scene.gcps import GcpGeometry  # scipy is slow to import, and a complete product needs none

    bands: dict[str, Band] = {}
    table = np.array([NOMINAL_SIGMA_NOUGHT])
    calibration = Calibration(Lut([0.0], [np.zeros(1)], [table], "nominal sigmaNought"))
    try:
        for polarisation in name.polarisations:
            file = f"{name.mode.lower()}-{polarisation.lower()}.tiff"
            path = file if files.has(file) else f"measurement/{file}"
            raster = _raster(files, path)
            bands[polarisation] = Band(raster.gdal_name, calibration, Noise(None), raster)
        raster = next(iter(bands.values())).raster
        if any(band.raster.shape != raster.shape for band in bands.values()):
            raise SceneCorrupt(f"{name}: got polarisations of different shapes, expected the same")
        geometry = GcpGeometry(raster.gcps, raster.shape, name.start, name.stop)
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
    ipf = manifest.ipf if manifest.ipf != "unknown" else raster.software.rpartition("IPF ")[2] or "unknown"
    return Scene(
        name=name,
        uri=uri,
        shape=raster.shape,
        spacing_m=(along, across),
        relative_orbit=_relative_orbit(name, manifest, notes),
        orbit_direction="ASCENDING" if lat[1] > lat[0] else "DESCENDING",
        ipf=ipf,
        polarisations=name.polarisations,
        bands=bands,
        geometry=geometry,
        footprint=footprint,
        notes=(*_mode_notes(name), *notes),
        annotation=None,
    )
