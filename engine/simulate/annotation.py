"""The XML of a product: annotation, calibration and noise, element for element as real products have it.

Only what a reader of GRD images needs is written; lists about the raw data are left out.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.runtime.geoid import undulation_m
from engine.runtime.geometry import SPEED_OF_LIGHT_M_S, WGS84_A_M, WGS84_B_M
from engine.simulate.acquisition import PRF_HZ, SWATHS, Acquisition
from engine.simulate.physics import SPACING_M
from engine.simulate.radiometry import Tables

GRID_ROWS = 11
GRID_COLUMNS = 21
RADAR_FREQUENCY_HZ = 5.405000454334350e9
IPF_VERSION = "003.71"

# (tag, value) or (tag, value, attributes); a value is text, a number, or a list of nodes
Node = tuple[Any, ...]


@dataclass(frozen=True)
class Identity:
    """What names an acquisition.

    Attributes:
        platform: such as 'S1A'.
        start: time of line 0, UTC.
        stop: time of the last line, UTC.
        absolute_orbit: orbit number.
        datatake: datatake number.
        node_time: when the orbit crossed the equator northwards, UTC.
        ipf: version of the processor; noise stands in one table before 2.90.
    """

    platform: str
    start: datetime
    stop: datetime
    absolute_orbit: int
    datatake: int
    node_time: datetime
    ipf: str = IPF_VERSION

    @property
    def relative_orbit(self) -> int:
        """Number of the orbit in the repeat cycle, as for Sentinel-1A."""
        return (self.absolute_orbit - 73) % 175 + 1

    @property
    def cycle(self) -> int:
        """Number of the repeat cycle."""
        return (self.absolute_orbit - 73) // 175 + 15

    def file_stem(self, polarisation: str, number: int) -> str:
        """Return the name of a member's file without ending."""
        stamps = "-".join(f"{time:%Y%m%dt%H%M%S}" for time in (self.start, self.stop))
        return (
            f"{self.platform.lower()}-iw-grd-{polarisation.lower()}-{stamps}-"
            f"{self.absolute_orbit:06d}-{self.datatake:06x}-{number:03d}"
        )


def stamp(time: datetime) -> str:
    """Return a time as the products write it."""
    return f"{time:%Y-%m-%dT%H:%M:%S.%f}"


def document(node: Node) -> bytes:
    """Return an XML document."""
    root = _element(node)
    ET.indent(root)
    return bytes(b'<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="utf-8") + b"\n")


def product(identity: Identity, grid: Acquisition, tables: Tables, polarisation: str, number: int) -> bytes:
    """Return the annotation of one polarisation."""
    return document(
        (
            "product",
            [
                header(identity, polarisation, number),
                ("generalAnnotation", _general(identity, grid)),
                ("imageAnnotation", _image(identity, grid)),
                ("dopplerCentroid", [_list("dcEstimate", _centroids(identity, grid))]),
                (
                    "swathTiming",
                    [("linesPerBurst", 0), ("samplesPerBurst", 0), ("burstList", [], {"count": "0"})],
                ),
                ("geolocationGrid", [_list("geolocationGridPoint", grid_points(identity, grid))]),
                ("coordinateConversion", [_list("coordinateConversion", _conversions(identity, grid))]),
                ("swathMerging", [_list("swathMerge", _merge(identity, grid, tables))]),
            ],
        )
    )


def calibration(
    identity: Identity, grid: Acquisition, tables: Tables, polarisation: str, number: int
) -> bytes:
    """Return the calibration tables of one polarisation."""
    flat = [474.0] * len(tables.pixels)
    vectors = [
        [
            ("azimuthTime", _time(identity, grid, line)),
            ("line", int(line)),
            _array("pixel", tables.pixels),
            _array("sigmaNought", sigma, "{:.6e}"),
            _array("betaNought", flat, "{:.6e}"),
            _array("gamma", gamma, "{:.6e}"),
            _array("dn", flat, "{:.6e}"),
        ]
        for line, sigma, gamma in zip(tables.lines, tables.sigma_nought, tables.gamma_nought, strict=True)
    ]
    return document(
        (
            "calibration",
            [
                header(identity, polarisation, number),
                ("calibrationInformation", [("absoluteCalibrationConstant", "1.000000e+00")]),
                _list("calibrationVector", vectors),
            ],
        )
    )


def noise(identity: Identity, grid: Acquisition, tables: Tables, polarisation: str, number: int) -> bytes:
    """Return the noise tables of one polarisation, in range and azimuth; before IPF 2.90 in range only."""
    old = float(identity.ipf) < 2.9
    ranges = [
        [
            ("azimuthTime", _time(identity, grid, line)),
            ("line", int(line)),
            _array("pixel", tables.pixels),
            _array("noiseLut" if old else "noiseRangeLut", row, "{:.6e}"),
        ]
        for line, row in zip(tables.lines, tables.noise_range, strict=True)
    ]
    if old:
        return document(("noise", [header(identity, polarisation, number), _list("noiseVector", ranges)]))
    azimuths = [
        [
            ("swath", block.name),
            ("firstAzimuthLine", block.first_line),
            ("firstRangeSample", block.first_sample),
            ("lastAzimuthLine", block.last_line),
            ("lastRangeSample", block.last_sample),
            _array("line", tables.azimuth_lines),
            _array("noiseAzimuthLut", row, "{:.6e}"),
        ]
        for block, row in zip(tables.blocks, tables.noise_azimuth, strict=True)
    ]
    return document(
        (
            "noise",
            [
                header(identity, polarisation, number),
                _list("noiseRangeVector", ranges),
                _list("noiseAzimuthVector", azimuths),
            ],
        )
    )


def grid_lines_samples(grid: Acquisition) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the lines and samples of the geolocation grid, [GRID_ROWS] and [GRID_COLUMNS]."""
    rows = np.unique(np.rint(np.linspace(0, grid.shape[0] - 1, GRID_ROWS)).astype(int))
    columns = np.unique(np.rint(np.linspace(0, grid.shape[1] - 1, GRID_COLUMNS)).astype(int))
    return rows, columns


def grid_points(identity: Identity, grid: Acquisition) -> list[list[Node]]:
    """Return the points of the geolocation grid, at sea level."""
    rows, columns = grid_lines_samples(grid)
    points = []
    for row in rows:
        slant = grid.slant_range(row, columns)
        lon, lat = grid.lonlat(row, columns)
        height = undulation_m(lon, lat)
        incidence, elevation = grid.incidence_deg(row, columns), grid.elevation_deg(row, columns)
        for at, column in enumerate(columns):
            points.append(
                [
                    ("azimuthTime", _time(identity, grid, row)),
                    ("slantRangeTime", _float(2 * slant[at] / SPEED_OF_LIGHT_M_S)),
                    ("line", int(row)),
                    ("pixel", int(column)),
                    ("latitude", _float(lat[at])),
                    ("longitude", _float(lon[at])),
                    ("height", _float(height[at])),
                    ("incidenceAngle", _float(incidence[at])),
                    ("elevationAngle", _float(elevation[at])),
                ]
            )
    return points


def header(identity: Identity, polarisation: str, number: int) -> Node:
    """Return the header that every document of a polarisation begins with."""
    return (
        "adsHeader",
        [
            ("missionId", identity.platform),
            ("productType", "GRD"),
            ("polarisation", polarisation),
            ("mode", "IW"),
            ("swath", "IW"),
            ("startTime", stamp(identity.start)),
            ("stopTime", stamp(identity.stop)),
            ("absoluteOrbitNumber", identity.absolute_orbit),
            ("missionDataTakeId", identity.datatake),
            ("imageNumber", f"{number:03d}"),
        ],
    )


def _general(identity: Identity, grid: Acquisition) -> list[Node]:
    height, width = grid.shape
    heading = float(grid.upward_deg(height / 2, width / 2)) + 180  # lines run with the flight
    downlinks = [
        [
            ("swath", swath),
            ("azimuthTime", stamp(identity.start)),
            ("firstLineSensingTime", stamp(identity.start)),
            ("lastLineSensingTime", stamp(identity.stop)),
            ("prf", _float(prf)),
            ("downlinkValues", [("pri", _float(1 / prf)), ("rank", rank), ("swathNumber", 10 + index)]),
        ]
        for index, (swath, prf, rank) in enumerate(zip(SWATHS, PRF_HZ, (9, 8, 10), strict=True))
    ]
    orbits = []
    for seconds, position, velocity in zip(
        grid.orbit.times_s, grid.orbit.position_m, grid.orbit.velocity_m_s, strict=True
    ):
        time = identity.start + timedelta(seconds=float(seconds))
        orbits.append(
            [
                ("time", stamp(time)),
                ("frame", "Earth Fixed"),
                ("position", [(axis, _float(value)) for axis, value in zip("xyz", position, strict=True)]),
                ("velocity", [(axis, _float(value)) for axis, value in zip("xyz", velocity, strict=True)]),
            ]
        )
    slant = grid.slant_range(height / 2, np.linspace(0, width - 1, 30))
    start = 2 * grid.slant_range_m / SPEED_OF_LIGHT_M_S
    rates = [grid.fm_rate_hz_s(float(value)) for value in slant]
    fitted = np.polynomial.Polynomial.fit(2 * slant / SPEED_OF_LIGHT_M_S - start, rates, 2).convert().coef
    fm_rates = [
        [
            ("azimuthTime", _time(identity, grid, line)),
            ("t0", _float(start)),
            _array("azimuthFmRatePolynomial", np.pad(fitted, (0, 3 - len(fitted))), "{:.15e}"),
        ]
        for line in np.linspace(0, height - 1, 3)
    ]
    return [
        (
            "productInformation",
            [
                ("pass", "Ascending" if grid.ascending else "Descending"),
                ("timelinessCategory", "Fast-24h"),
                ("platformHeading", _float((heading + 180) % 360 - 180)),
                ("projection", "Ground Range"),
                ("rangeSamplingRate", _float(64345238.12571428)),
                ("radarFrequency", _float(RADAR_FREQUENCY_HZ)),
                ("azimuthSteeringRate", _float(1.590368784)),
            ],
        ),
        _list("downlinkInformation", downlinks),
        _list("orbit", orbits),
        _list("terrainHeight", [[("azimuthTime", stamp(identity.start)), ("value", _float(0.0))]]),
        _list("azimuthFmRate", fm_rates),
    ]


def _image(identity: Identity, grid: Acquisition) -> list[Node]:
    height, width = grid.shape
    information = [
        ("productFirstLineUtcTime", stamp(identity.start)),
        ("productLastLineUtcTime", stamp(identity.stop)),
        ("ascendingNodeTime", stamp(identity.node_time)),
        ("anchorTime", stamp(identity.start)),
        ("productComposition", "Slice"),
        ("sliceNumber", 1),
        ("slantRangeTime", _float(2 * grid.slant_range_m / SPEED_OF_LIGHT_M_S)),
        ("pixelValue", "Detected"),
        ("outputPixels", "16 bit Unsigned Integer"),
        ("rangePixelSpacing", _float(SPACING_M)),
        ("azimuthPixelSpacing", _float(SPACING_M)),
        ("azimuthTimeInterval", _float(grid.line_interval_s)),
        ("azimuthFrequency", _float(1 / grid.line_interval_s)),
        ("numberOfSamples", width),
        ("numberOfLines", height),
        ("zeroDopMinusAcqTime", _float(0.0)),
        ("incidenceAngleMidSwath", _float(grid.incidence_deg(height / 2, width / 2))),
    ]
    processing = [
        ("detectionPerformed", "true"),
        ("srgrConversionApplied", "true"),
        ("thermalNoiseCorrectionPerformed", "false"),
        ("referenceRange", _float(8e5)),
        ("ellipsoidName", "WGS84"),
        ("ellipsoidSemiMajorAxis", _float(WGS84_A_M)),
        ("ellipsoidSemiMinorAxis", _float(WGS84_B_M)),
        ("bistaticDelayCorrectionApplied", "true"),
    ]
    return [("imageInformation", information), ("processingInformation", processing)]


def _centroids(identity: Identity, grid: Acquisition) -> list[list[Node]]:
    """Return Doppler centroids of zero: the satellite steers them away."""
    start = _float(2 * grid.slant_range_m / SPEED_OF_LIGHT_M_S)
    zeros = _array("geometryDcPolynomial", [0.0, 0.0, 0.0], "{:.6e}")
    return [
        [
            ("azimuthTime", _time(identity, grid, line)),
            ("t0", start),
            zeros,
            ("dataDcPolynomial", *zeros[1:]),
            ("dataDcRmsError", _float(0.0)),
            ("dataDcRmsErrorAboveThreshold", "false"),
            ("fineDceAzimuthStartTime", stamp(identity.start)),
            ("fineDceAzimuthStopTime", stamp(identity.stop)),
            _list("fineDce", [[("slantRangeTime", start), ("frequency", _float(0.0))]]),
        ]
        for line in (0, grid.shape[0] - 1)
    ]


def _conversions(identity: Identity, grid: Acquisition) -> list[list[Node]]:
    found = []
    for seconds, grsr, srgr in zip(grid.conversion_s, grid.grsr, grid.srgr, strict=True):
        found.append(
            [
                ("azimuthTime", stamp(identity.start + timedelta(seconds=float(seconds)))),
                ("slantRangeTime", _float(2 * grid.slant_range_m / SPEED_OF_LIGHT_M_S)),
                ("sr0", _float(grid.slant_range_m)),
                _array("srgrCoefficients", srgr, "{:.15e}"),
                ("gr0", _float(0.0)),
                _array("grsrCoefficients", grsr, "{:.15e}"),
            ]
        )
    return found


def _merge(identity: Identity, grid: Acquisition, tables: Tables) -> list[list[Node]]:
    return [
        [
            ("swath", block.name),
            _list(
                "swathBounds",
                [
                    [
                        ("azimuthTime", _time(identity, grid, block.first_line)),
                        ("firstAzimuthLine", block.first_line),
                        ("firstRangeSample", block.first_sample),
                        ("lastAzimuthLine", block.last_line),
                        ("lastRangeSample", block.last_sample),
                    ]
                ],
            ),
        ]
        for block in tables.blocks
    ]


def _time(identity: Identity, grid: Acquisition, line: float) -> str:
    return stamp(identity.start + timedelta(seconds=float(line) * grid.line_interval_s))


def _float(value: float | NDArray[Any]) -> str:
    return f"{float(value):.15e}"


def _array(tag: str, values: NDArray[Any] | list[float], form: str = "{}") -> Node:
    return tag, " ".join(form.format(value) for value in values), {"count": str(len(values))}


def _list(tag: str, items: list[list[Node]]) -> Node:
    return f"{tag}List", [(tag, item) for item in items], {"count": str(len(items))}


def _element(node: Node) -> ET.Element:
    tag, value, *attributes = node
    element = ET.Element(tag, attributes[0] if attributes else {})
    if isinstance(value, list):
        element.extend([_element(child) for child in value])
    else:
        element.text = str(value)
    return element
