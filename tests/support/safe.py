"""Tiny Sentinel-1 products in the real form, written in milliseconds.

Orbit, times, ranges, grid, tables, ground control points and checksums fit together as in a real product, so
whatever reads it does real work; only the size is small. Whoever changes a file seals the product again.
"""

from __future__ import annotations

import hashlib
import json
import re
import warnings
import zipfile
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint
from rasterio.errors import NotGeoreferencedWarning

from daemon.scene.names import ProductName
from engine.runtime.geometry import SPEED_OF_LIGHT_M_S, Orbit, ground_point
from tests.support.orbits import circular_path

NAME = "S1A_IW_GRDH_1SDV_20230615T180704_20230615T180729_048999_05E4C2_AB12.SAFE"
INTERVAL_S = 1.488345778199723e-03
# Ground range to slant range, near range to far, as real products have it.
GRSR = (799151.68, 0.51327474, 5.2812e-07, -3.413e-13)

# Pixel spacing in metres by mode (S: StripMap) and resolution, as products have it.
SPACING_M = {"IWH": 10.0, "IWM": 40.0, "EWH": 25.0, "EWM": 40.0, "SF": 4.0, "SH": 10.0, "SM": 40.0}

Layout = Literal["SAFE", "COG", "zip", "AWS"]
NoiseForm = Literal["modern", "old", "zero"]


def spacing_of(name: ProductName) -> float:
    """Return the pixel spacing of a product in metres, the same in azimuth and range."""
    return SPACING_M[("S" if name.stripmap else name.mode) + name.resolution]


def sea(shape: tuple[int, int], mean_dn: float = 60.0, seed: int = 0) -> NDArray[np.uint16]:
    """Speckle of 4.4 looks, uncorrelated, never 0."""
    power = np.random.default_rng(seed).gamma(4.4, mean_dn**2 / 4.4, shape)
    return np.clip(np.rint(np.sqrt(power)), 1, 65535).astype(np.uint16)


def build_safe(
    folder: Path,
    *,
    shape: tuple[int, int] = (300, 400),
    dn: Mapping[str, NDArray[np.uint16]] | None = None,
    name: str = NAME,
    layout: Layout = "SAFE",
    noise: NoiseForm = "modern",
    ipf: str | None = "003.61",
    node_deg: float = 20.0,
    phase_deg: float = 40.0,
) -> Path:
    """Write a product.

    Args:
        folder: where the product's folder (or zip) is made.
        shape: lines, samples.
        dn: pixels by polarisation; sea where none are given.
        name: the product's, with `.SAFE`; its polarisations are written, in the spacing of its mode and
            resolution.
        layout: SAFE, COG, zip (of a SAFE), AWS.
        noise: form of the noise table; zero as IPF 2.36 wrote it. StripMap has no factors along azimuth.
        ipf: version of the processor; None to state none.
        node_deg: turns the earth below the orbit: moves the scene in longitude.
        phase_deg: place on the orbit: latitude; 40 ascends over 40 degrees north.

    Returns:
        The product's folder, or the zip.
    """
    parsed = ProductName.parse(name)
    aws, cog = layout == "AWS", layout == "COG"
    if cog:
        parsed = ProductName.parse(name.replace(".SAFE", "_COG.SAFE"))
    root = folder / (parsed.id if aws else str(parsed))
    (root / "annotation" / "calibration").mkdir(parents=True)
    (root / "measurement").mkdir()
    times = np.arange(-60.0, 100.0, 10.0)
    orbit = Orbit(times, *circular_path(times, node_deg, phase_deg))
    spacing_m = spacing_of(parsed)
    mid = float(np.polyval(GRSR[::-1], shape[1] * spacing_m / 2)) * 2 / SPEED_OF_LIGHT_M_S
    grid = _grid(orbit, shape, mid, spacing_m)
    hrefs, renamed = [], {}
    for index, polarisation in enumerate(parsed.polarisations, 1):
        span = f"{parsed.start:%Y%m%dt%H%M%S}-{parsed.stop:%Y%m%dt%H%M%S}"
        stem = (
            f"{parsed.platform.lower()}-{parsed.mode.lower()}-grd-{polarisation.lower()}-{span}-"
            f"{parsed.absolute_orbit:06d}-{parsed.datatake:06x}-{index:03d}"
        )
        short = f"{parsed.mode.lower()}-{polarisation.lower()}" if aws else f"{stem}{'-cog' if cog else ''}"
        tiff = f"measurement/{short}.tiff"
        documents = {
            f"annotation/{short}.xml": _annotation(parsed, polarisation, shape, orbit, grid),
            f"annotation/calibration/calibration-{short}.xml": _calibration(parsed, polarisation, shape),
            f"annotation/calibration/noise-{short}.xml": _noise(parsed, polarisation, shape, noise),
        }
        for path, text in documents.items():
            (root / path).write_text(text)
        pixels = (dn or {}).get(polarisation)
        if pixels is None:
            pixels = sea(shape, 60.0 / index, seed=index)
        _write_tiff(root / tiff, pixels, grid, tiled=cog)
        for path in (*documents, tiff):
            renamed[path.replace(short, stem)] = path
            hrefs.append(path.replace(short, stem) if aws else path)
    (root / "manifest.safe").write_text(_manifest(parsed, hrefs, ipf))
    seal(root)
    if aws:
        info = {"id": parsed.id, "path": f"GRD/{parsed.start:%Y}/{parsed.id}", "filenameMap": renamed}
        (root / "productInfo.json").write_text(json.dumps(info))
    if layout != "zip":
        return root
    packed = folder / f"{parsed.id}.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(root.rglob("*")):
            archive.write(path, path.relative_to(folder))
    return packed


def seal(product: Path) -> None:
    """State the checksums of a product's files as they are now; those that are gone keep theirs."""
    manifest = product / "manifest.safe"

    def summed(match: re.Match[str]) -> str:
        path = product / match[2]
        digest = hashlib.md5(path.read_bytes()).hexdigest() if path.is_file() else match[4]
        return f"{match[1]}{match[2]}{match[3]}{digest}<"

    form = r'(href="\./)([^"]+)("/><checksum checksumName="MD5">)([0-9a-f]*)<'
    manifest.write_text(re.sub(form, summed, manifest.read_text()))


def interval_s(spacing_m: float) -> float:
    """Return the time between lines."""
    return INTERVAL_S * spacing_m / 10


def _grid(
    orbit: Orbit, shape: tuple[int, int], mid_s: float, spacing_m: float
) -> dict[str, NDArray[np.float64]]:
    line, sample = (
        a.ravel()
        for a in np.meshgrid(
            np.linspace(0, shape[0] - 1, 5).round(), np.linspace(0, shape[1] - 1, 6).round(), indexing="ij"
        )
    )
    slant = np.polyval(GRSR[::-1], sample * spacing_m)
    tau = slant * 2 / SPEED_OF_LIGHT_M_S
    t = line * interval_s(spacing_m) + (tau - mid_s) / 2
    lon, lat = ground_point(orbit, t, slant)
    return {"line": line, "sample": sample, "t": t, "tau": tau, "lon": lon, "lat": lat}


def _times(name: ProductName, seconds: NDArray[np.float64]) -> list[str]:
    return [f"{name.start + timedelta(seconds=float(s)):%Y-%m-%dT%H:%M:%S.%f}" for s in seconds]


def _list(tag: str, items: list[str]) -> str:
    return f'<{tag} count="{len(items)}">{"".join(items)}</{tag}>'


def _vector(tag: str, values: NDArray[np.float64], form: str) -> str:
    return f'<{tag} count="{len(values)}">{" ".join(format(v, form) for v in values)}</{tag}>'


def _header(name: ProductName, polarisation: str, shape: tuple[int, int]) -> str:
    first, last = _times(name, np.array([0, (shape[0] - 1) * interval_s(spacing_of(name))]))
    return (
        f"<adsHeader><missionId>{name.platform}</missionId><productType>{name.product_type}</productType>"
        f"<polarisation>{polarisation}</polarisation><mode>{name.mode}</mode><swath>{name.mode}</swath>"
        f"<startTime>{first}</startTime><stopTime>{last}</stopTime>"
        f"<absoluteOrbitNumber>{name.absolute_orbit}</absoluteOrbitNumber>"
        f"<missionDataTakeId>{name.datatake}</missionDataTakeId><imageNumber>001</imageNumber></adsHeader>"
    )


def _annotation(
    name: ProductName,
    polarisation: str,
    shape: tuple[int, int],
    orbit: Orbit,
    grid: dict[str, NDArray[np.float64]],
) -> str:
    spacing_m = spacing_of(name)
    first, last = _times(name, np.array([0, (shape[0] - 1) * interval_s(spacing_m)]))
    swath = name.mode if name.stripmap else f"{name.mode}1"
    states = [
        f"<orbit><time>{time}</time><frame>Earth Fixed</frame>"
        + "".join(
            f"<{tag}>"
            + "".join(f"<{axis}>{v:.15e}</{axis}>" for axis, v in zip("xyz", vector, strict=True))
            + f"</{tag}>"
            for tag, vector in (("position", p), ("velocity", v))
        )
        + "</orbit>"
        for time, p, v in zip(_times(name, orbit.times_s), orbit.position_m, orbit.velocity_m_s, strict=True)
    ]
    conversions = [
        f"<coordinateConversion><azimuthTime>{time}</azimuthTime><gr0>0.0</gr0>"
        + _vector("grsrCoefficients", np.array(GRSR), ".15e")
        + "</coordinateConversion>"
        for time in _times(name, np.arange(-1.0, shape[0] * interval_s(spacing_m) + 1))
    ]
    points = [
        f"<geolocationGridPoint><azimuthTime>{time}</azimuthTime><slantRangeTime>{tau:.15e}</slantRangeTime>"
        f"<line>{line:.0f}</line><pixel>{sample:.0f}</pixel><latitude>{lat:.15e}</latitude>"
        f"<longitude>{lon:.15e}</longitude><height>0.0</height><incidenceAngle>31.0</incidenceAngle>"
        "</geolocationGridPoint>"
        for time, tau, line, sample, lat, lon in zip(
            _times(name, grid["t"]), *(grid[k] for k in ("tau", "line", "sample", "lat", "lon")), strict=True
        )
    ]
    bounds = (
        []
        if name.stripmap
        else [
            f"<swathMerge><swath>{swath}</swath>"
            + _list(
                "swathBoundsList",
                [
                    f"<swathBounds><azimuthTime>{first}</azimuthTime><firstAzimuthLine>0</firstAzimuthLine>"
                    f"<firstRangeSample>0</firstRangeSample><lastAzimuthLine>{shape[0] - 1}</lastAzimuthLine>"
                    f"<lastRangeSample>{shape[1] - 1}</lastRangeSample></swathBounds>"
                ],
            )
            + "</swathMerge>"
        ]
    )
    direction = "Ascending" if grid["lat"][-1] > grid["lat"][0] else "Descending"
    return (
        f"<product>{_header(name, polarisation, shape)}<generalAnnotation><productInformation>"
        f"<pass>{direction}</pass><projection>Ground Range</projection>"
        "<radarFrequency>5.405000454334350e+09</radarFrequency></productInformation>"
        + _list(
            "downlinkInformationList",
            [f"<downlinkInformation><swath>{swath}</swath><prf>1717.1289</prf></downlinkInformation>"],
        )
        + _list("orbitList", states)
        + "</generalAnnotation><imageAnnotation><imageInformation>"
        f"<productFirstLineUtcTime>{first}</productFirstLineUtcTime>"
        f"<productLastLineUtcTime>{last}</productLastLineUtcTime>"
        f"<slantRangeTime>{GRSR[0] * 2 / SPEED_OF_LIGHT_M_S:.15e}</slantRangeTime>"
        "<outputPixels>16 bit Unsigned Integer</outputPixels>"
        f"<rangePixelSpacing>{spacing_m:.6e}</rangePixelSpacing>"
        f"<azimuthPixelSpacing>{spacing_m:.6e}</azimuthPixelSpacing>"
        f"<azimuthTimeInterval>{interval_s(spacing_m):.15e}</azimuthTimeInterval>"
        f"<numberOfSamples>{shape[1]}</numberOfSamples><numberOfLines>{shape[0]}</numberOfLines>"
        "</imageInformation></imageAnnotation><geolocationGrid>"
        + _list("geolocationGridPointList", points)
        + "</geolocationGrid><coordinateConversion>"
        + _list("coordinateConversionList", conversions)
        + "</coordinateConversion><swathMerging>"
        + _list("swathMergeList", bounds)
        + "</swathMerging></product>"
    )


def _knots(shape: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lines and samples of the tables: every 100 lines, beyond the last; every 40 samples and the last."""
    return np.arange(0.0, shape[0] + 100, 100), np.unique(
        np.append(np.arange(0.0, shape[1], 40), shape[1] - 1)
    )


def _calibration(name: ProductName, polarisation: str, shape: tuple[int, int]) -> str:
    lines, samples = _knots(shape)
    sigma = 661.6 - 0.006 * samples
    vectors = [
        f"<calibrationVector><azimuthTime>{time}</azimuthTime><line>{line:.0f}</line>"
        + _vector("pixel", samples, ".0f")
        + _vector("sigmaNought", sigma, ".6e")
        + "</calibrationVector>"
        for line, time in zip(lines, _times(name, lines * interval_s(spacing_of(name))), strict=True)
    ]
    return (
        f"<calibration>{_header(name, polarisation, shape)}<calibrationInformation>"
        "<absoluteCalibrationConstant>1.000000e+00</absoluteCalibrationConstant></calibrationInformation>"
        + _list("calibrationVectorList", vectors)
        + "</calibration>"
    )


def _noise(name: ProductName, polarisation: str, shape: tuple[int, int], form: NoiseForm) -> str:
    """Power of about -24 dB; in the modern form two blocks with scalloping, and one corner in no block."""
    lines, samples = _knots(shape)
    power = (1400 + 0.5 * samples) * (form != "zero")
    modern = form == "modern"
    tag, lut = ("noiseRangeVector", "noiseRangeLut") if modern else ("noiseVector", "noiseLut")
    vectors = [
        f"<{tag}><azimuthTime>{time}</azimuthTime><line>{line:.0f}</line>"
        + _vector("pixel", samples, ".0f")
        + _vector(lut, power + 0.1 * line * (form != "zero"), ".6e")
        + f"</{tag}>"
        for line, time in zip(lines, _times(name, lines * interval_s(spacing_of(name))), strict=True)
    ]
    blocks = []
    middle, late = shape[1] // 2, shape[0] // 4
    for swath, first, left, right in (("1", 0, 0, middle - 1), ("2", late, middle, shape[1] - 1)):
        at = np.unique(np.append(np.arange(first, shape[0], 10.0), shape[0] - 1))
        blocks.append(
            f"<noiseAzimuthVector><swath>{name.mode}{swath}</swath><firstAzimuthLine>{first}</firstAzimuthLine>"
            f"<firstRangeSample>{left}</firstRangeSample><lastAzimuthLine>{shape[0] - 1}</lastAzimuthLine>"
            f"<lastRangeSample>{right}</lastRangeSample>"
            + _vector("line", at, ".0f")
            + _vector("noiseAzimuthLut", 1.05 + 0.05 * np.cos(at / 20), ".6e")
            + "</noiseAzimuthVector>"
        )
    return (
        f"<noise>{_header(name, polarisation, shape)}"
        + _list(f"{tag}List", vectors)
        + (_list("noiseAzimuthVectorList", blocks) if modern and not name.stripmap else "")
        + "</noise>"
    )


def _manifest(name: ProductName, hrefs: list[str], ipf: str | None) -> str:
    software = "" if ipf is None else f'<safe:software name="Sentinel-1 IPF" version="{ipf}"/>'
    objects = "".join(
        f'<dataObject ID="object{i}"><byteStream mimeType="text/xml" size="1">'
        f'<fileLocation locatorType="URL" href="./{href}"/><checksum checksumName="MD5"></checksum>'
        "</byteStream></dataObject>"
        for i, href in enumerate(hrefs)
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<xfdu:XFDU xmlns:xfdu="urn:ccsds:schema:xfdu:1" xmlns:safe="http://www.esa.int/safe/sentinel-1.0">'
        f"<metadataSection>{software}"
        f'<safe:relativeOrbitNumber type="start">{name.relative_orbit}</safe:relativeOrbitNumber>'
        "</metadataSection>"
        f"<dataObjectSection>{objects}</dataObjectSection></xfdu:XFDU>"
    )


def _write_tiff(
    path: Path, pixels: NDArray[np.uint16], grid: dict[str, NDArray[np.float64]], tiled: bool
) -> None:
    points = [
        GroundControlPoint(row=line, col=sample, x=lon, y=lat, z=0.0)
        for line, sample, lon, lat in zip(*(grid[k] for k in ("line", "sample", "lon", "lat")), strict=True)
    ]
    form = (
        {"tiled": True, "blockxsize": 128, "blockysize": 128, "compress": "deflate"}
        if tiled
        else {"blockysize": 1}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path,
            "w",
            driver="GTiff",
            height=pixels.shape[0],
            width=pixels.shape[1],
            count=1,
            dtype="uint16",
            gcps=points,
            crs="EPSG:4326",
            **form,
        ) as dataset:
            dataset.write(pixels, 1)
