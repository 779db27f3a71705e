"""What the manifest and the annotation of a product say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from daemon.errors import SceneCorrupt
from daemon.scene.checks import check_grid, check_orbit
from daemon.scene.xml import Node, parse
from engine.errors import InputError
from engine.runtime.geometry import Orbit

Array = NDArray[np.float64]

_SAFE = "{http://www.esa.int/safe/sentinel-1.0}"
_HREF = re.compile(
    r"(annotation/calibration/(?P<lut>calibration|noise)-|annotation/(?P<rfi>rfi)/rfi-"
    r"|(?P<image>measurement)/|(?P<product>annotation)/)"
    r"s1[a-d]-\w+-\w+-(?P<polarisation>[hv]{2})-[\w-]+\.(xml|tiff)"
)


@dataclass(frozen=True)
class Manifest:
    """A product's table of contents.

    Attributes:
        ipf: version of the processor; "unknown" where it is not stated.
        relative_orbit: as stated; None where it is not.
        files: path in the product by role (product, calibration, noise, rfi, measurement) and polarisation.
        checksums: algorithm and hexadecimal digest by path.
    """

    ipf: str
    relative_orbit: int | None
    files: Mapping[tuple[str, str], str]
    checksums: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def safe_member(path: str, source: str) -> str:
    """Return a path inside the product, without `./`.

    Raises:
        SceneCorrupt: the path is absolute, has a scheme, or leaves the product's folder.
    """
    plain = PurePosixPath(path.replace("\\", "/"))
    if plain.is_absolute() or ".." in plain.parts or ":" in path or "\0" in path:
        raise SceneCorrupt(f"{source}: got the path {path!r}, expected one inside the product: refused")
    return str(plain)


def parse_manifest(data: bytes, source: str = "manifest.safe") -> Manifest:
    """Read manifest.safe.

    Raises:
        SceneCorrupt: it does not parse, or points outside the product.
    """
    root = parse(data, source)
    files: dict[tuple[str, str], str] = {}
    for location in root.element.iter("fileLocation"):
        path = safe_member(location.get("href", ""), source)
        found = role_of(path)
        if found:
            if files.setdefault(found, path) != path:
                raise SceneCorrupt(f"{source}: got {files[found]} and {path}, expected one {' '.join(found)}")
    checksums: dict[str, tuple[str, str]] = {}
    for stream in root.element.iter("byteStream"):
        where, said = stream.find("fileLocation"), stream.find("checksum")
        if where is not None and said is not None and said.text:
            path = safe_member(where.get("href", ""), source)
            checksums[path] = said.get("checksumName", "MD5").upper(), said.text.strip().lower()
    orbits = [
        node.text
        for node in root.element.iter(f"{_SAFE}relativeOrbitNumber")
        if node.get("type", "start") == "start"
    ]
    versions = [
        node.get("version", "")
        for node in root.element.iter(f"{_SAFE}software")
        if "IPF" in node.get("name", "")
    ]
    number = int(orbits[0]) if orbits and orbits[0] and orbits[0].strip().isdigit() else None
    return Manifest("".join(versions[:1]).strip() or "unknown", number, files, checksums)


def role_of(path: str) -> tuple[str, str] | None:
    """Return role and polarisation of a file by its path in the product; None where it has no part here."""
    match = _HREF.fullmatch(path)
    if match is None:
        return None
    return match["lut"] or match["rfi"] or match["image"] or "product", match["polarisation"].upper()


# The oldest and the newest processor whose products have been read; the forms between them are known.
IPF_KNOWN = ((2, 36), (3, 90))


def ipf_notes(ipf: str) -> tuple[str, ...]:
    """Say that a product's processor is not known; nothing where it is.

    An unknown processor is no reason to refuse a scene: what does not parse is refused anyway, and a new
    version appears on a day when ships must be seen. But it is said, never taken for a known one silently.
    """
    match = re.fullmatch(r"(\d{1,3})\.(\d{1,3})", ipf)
    if match and IPF_KNOWN[0] <= (int(match[1]), int(match[2])) <= IPF_KNOWN[1]:
        return ()
    known = " to ".join(f"{major:03d}.{minor:02d}" for major, minor in IPF_KNOWN)
    return (
        f"ipf_unknown: got processor version {ipf!r}, known are {known}: read by the known forms; check "
        "radiometry and noise of such a product once",
    )


@dataclass(frozen=True, eq=False)
class Grid:
    """The annotation's geolocation grid, flat, [n] each. Its heights are the terrain's."""

    line_px: Array
    sample_px: Array
    azimuth_time_s: Array
    slant_range_time_s: Array
    lon_deg: Array
    lat_deg: Array
    height_m: Array
    incidence_deg: Array


@dataclass(frozen=True)
class SwathBounds:
    """A rectangle of the scene that one sub-swath fills (edges included)."""

    swath: str
    first_line: int
    last_line: int
    first_sample: int
    last_sample: int


@dataclass(frozen=True, eq=False)
class Annotation:
    """What the annotation of one polarisation says. Times in seconds count from ``first_line``."""

    platform: str
    mode: str
    product_type: str
    polarisation: str
    absolute_orbit: int
    datatake: int
    orbit_direction: str  # ASCENDING or DESCENDING
    first_line: datetime  # zero-Doppler time of line 0
    line_interval_s: float
    shape: tuple[int, int]
    spacing_m: tuple[float, float]  # azimuth, range
    frequency_hz: float
    orbit: Orbit
    conversion_times_s: Array  # [c]
    conversion_origins_m: Array  # ground range of each polynomial's origin, [c]
    conversions: Array  # ground range to slant range, lowest power first, [c, k]
    grid: Grid
    prf_hz: Mapping[str, float]  # by sub-swath
    swaths: tuple[SwathBounds, ...]  # empty in StripMap


def parse_annotation(data: bytes, source: str = "annotation") -> Annotation:
    """Read a product annotation.

    Args:
        data: the XML.
        source: its name, for messages.

    Raises:
        SceneCorrupt: it does not parse, lacks what geolocation needs, its orbit does not cover the scene, or
            its geolocation grid folds.
    """
    root = parse(data, source, "product")
    header = root.all("adsHeader")[0]
    general = root.all("generalAnnotation")[0]
    image = root.all("imageAnnotation/imageInformation")[0]
    epoch = image.time("productFirstLineUtcTime")
    shape = image.integer("numberOfLines"), image.integer("numberOfSamples")
    spacing = image.number("azimuthPixelSpacing"), image.number("rangePixelSpacing")
    interval = image.number("azimuthTimeInterval")
    if min(*shape, *spacing, interval) <= 0:
        raise SceneCorrupt(
            f"{source}: got shape {shape}, spacing {spacing} m, line interval {interval} s, expected "
            "more than 0"
        )
    times, origins, conversions = _conversions(root, epoch)
    orbit, grid = _orbit(general, epoch), _grid(root, epoch)
    check_orbit(orbit, (shape[0] - 1) * interval, source)
    check_grid(
        grid.line_px,
        grid.sample_px,
        grid.lon_deg,
        grid.lat_deg,
        grid.height_m,
        source,
        grid.azimuth_time_s,
        grid.slant_range_time_s,
    )
    return Annotation(
        platform=header.text("missionId"),
        mode=header.text("mode"),
        product_type=header.text("productType"),
        polarisation=header.text("polarisation"),
        absolute_orbit=header.integer("absoluteOrbitNumber"),
        datatake=header.integer("missionDataTakeId"),
        orbit_direction=general.text("productInformation/pass").upper(),
        first_line=epoch,
        line_interval_s=interval,
        shape=shape,
        spacing_m=spacing,
        frequency_hz=general.number("productInformation/radarFrequency"),
        orbit=orbit,
        conversion_times_s=times,
        conversion_origins_m=origins,
        conversions=conversions,
        grid=grid,
        prf_hz={
            node.text("swath"): node.number("prf")
            for node in general.all("downlinkInformationList/downlinkInformation", least=0)
        },
        swaths=tuple(
            SwathBounds(
                merge.text("swath"),
                *(
                    bounds.integer(name)
                    for name in ("firstAzimuthLine", "lastAzimuthLine", "firstRangeSample", "lastRangeSample")
                ),
            )
            for merge in root.all("swathMerging/swathMergeList/swathMerge", least=0)
            for bounds in merge.all("swathBoundsList/swathBounds", least=0)
        ),
    )


def _seconds(node: Node, path: str, epoch: datetime) -> float:
    return (node.time(path) - epoch).total_seconds()


def _orbit(general: Node, epoch: datetime) -> Orbit:
    vectors = general.all("orbitList/orbit", least=2)
    try:
        return Orbit(
            np.array([_seconds(node, "time", epoch) for node in vectors]),
            np.array([[node.number(f"position/{axis}") for axis in "xyz"] for node in vectors]),
            np.array([[node.number(f"velocity/{axis}") for axis in "xyz"] for node in vectors]),
        )
    except InputError as error:
        raise SceneCorrupt(f"{general.source}: {error}") from None


def _conversions(root: Node, epoch: datetime) -> tuple[Array, Array, Array]:
    nodes = root.all("coordinateConversion/coordinateConversionList/coordinateConversion")
    polynomials = [node.numbers("grsrCoefficients") for node in nodes]
    if any(len(p) < 2 for p in polynomials):
        raise SceneCorrupt(f"{root.source}: got grsrCoefficients of fewer than two terms")
    degree = max(len(p) for p in polynomials)
    times = np.array([_seconds(node, "azimuthTime", epoch) for node in nodes])
    order = np.argsort(times, kind="stable")
    padded = np.stack([np.pad(p, (0, degree - len(p))) for p in polynomials])
    return times[order], np.array([node.number("gr0") for node in nodes])[order], padded[order]


def _grid(root: Node, epoch: datetime) -> Grid:
    points = root.all("geolocationGrid/geolocationGridPointList/geolocationGridPoint", least=4)

    def column(path: str) -> Array:
        return np.array([node.number(path) for node in points])

    return Grid(
        column("line"),
        column("pixel"),
        np.array([_seconds(node, "azimuthTime", epoch) for node in points]),
        column("slantRangeTime"),
        column("longitude"),
        column("latitude"),
        column("height"),
        column("incidenceAngle"),
    )
