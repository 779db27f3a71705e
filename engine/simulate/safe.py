"""Writes a pass as a Sentinel-1 IW GRDH product: the SAFE folder, its manifest, and the truth beside it."""

from __future__ import annotations

import binascii
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.runtime.geoid import undulation_m
from engine.simulate import annotation, scene
from engine.simulate.annotation import Identity, Node, stamp
from engine.simulate.scene import Pass

_NAMESPACES = {
    "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
    "xmlns:gml": "http://www.opengis.net/gml",
    "xmlns:xfdu": "urn:ccsds:schema:xfdu:1",
    "xmlns:safe": "http://www.esa.int/safe/sentinel-1.0",
    "xmlns:s1": "http://www.esa.int/safe/sentinel-1.0/sentinel-1",
    "xmlns:s1sar": "http://www.esa.int/safe/sentinel-1.0/sentinel-1/sar",
    "xmlns:s1sarl1": "http://www.esa.int/safe/sentinel-1.0/sentinel-1/sar/level-1",
    "xmlns:s1sarl2": "http://www.esa.int/safe/sentinel-1.0/sentinel-1/sar/level-2",
    "xmlns:gx": "http://www.google.com/kml/ext/2.2",
    "version": "esa/safe/sentinel-1.0/sentinel-1/sar/level-1/grd/standard/iwdp",
}
_SCHEMAS = {
    "product": "Product",
    "calibration": "Calibration",
    "noise": "Noise",
    "rfi": "Rfi",
    "measurement": "Measurement",
}


@dataclass(frozen=True)
class _Member:
    kind: str  # a key of _SCHEMAS
    name: str  # unique, letters and digits
    path: str  # below the product's folder


def write(
    out: Path,
    identity: Identity,
    acquired: Pass,
    blocks: Iterator[tuple[int, NDArray[np.uint16]]],
    progress: Callable[[int], None] | None = None,
    interference: Mapping[str, bytes] | None = None,
) -> Path:
    """Write a product and its truth file.

    Args:
        out: folder that receives both.
        identity: names and times.
        acquired: the pass.
        blocks: its pixels, as scene.blocks yields them.
        progress: called with the number of lines written.
        interference: the document on radio interference of each polarisation; None for none.

    Returns:
        The product's folder.
    """
    draft = out / f".{identity.file_stem('vv', 1)}.partial"
    shutil.rmtree(draft, ignore_errors=True)
    for folder in ("annotation/calibration", "measurement", *(("annotation/rfi",) if interference else ())):
        (draft / folder).mkdir(parents=True)
    members: list[_Member] = []
    rasters = []
    # co-polarised first: a product of one polarisation takes the first tables and the first of the images
    for number, (polarisation, tables) in enumerate(
        zip(acquired.polarisations, acquired.tables, strict=False), 1
    ):
        stem = identity.file_stem(polarisation, number)
        for kind, path, make in (
            ("product", f"annotation/{stem}.xml", annotation.product),
            ("noise", f"annotation/calibration/noise-{stem}.xml", annotation.noise),
            ("calibration", f"annotation/calibration/calibration-{stem}.xml", annotation.calibration),
        ):
            (draft / path).write_bytes(make(identity, acquired.grid, tables, polarisation, number))
            members.append(_Member(kind, kind + stem.replace("-", ""), path))
        if interference:
            path = f"annotation/rfi/rfi-{stem}.xml"
            (draft / path).write_bytes(interference[polarisation])
            members.append(_Member("rfi", "rfi" + stem.replace("-", ""), path))
        rasters.append(f"measurement/{stem}.tiff")
        members.append(_Member("measurement", stem.replace("-", ""), rasters[-1]))
    _write_pixels([draft / path for path in rasters], acquired, blocks, progress)
    manifest = _manifest(identity, acquired, draft, members)
    (draft / "manifest.safe").write_bytes(manifest)
    code = "SD"[len(acquired.polarisations) - 1] + acquired.polarisations[0][0]
    name = (
        f"{identity.platform}_IW_GRDH_1S{code}_{identity.start:%Y%m%dT%H%M%S}_{identity.stop:%Y%m%dT%H%M%S}_"
        f"{identity.absolute_orbit:06d}_{identity.datatake:06X}_{binascii.crc_hqx(manifest, 0xFFFF):04X}"
    )
    final = out / f"{name}.SAFE"
    shutil.rmtree(final, ignore_errors=True)
    draft.rename(final)
    (out / f"{name}.truth.geojson").write_text(json.dumps(truth(name, identity, acquired), indent=1) + "\n")
    return final


def truth(name: str, identity: Identity, acquired: Pass) -> dict[str, Any]:
    """Return the truth of a pass as GeoJSON: every object whose echo lies in valid data.

    Properties: id, class, length_m, width_m, axis_deg (clockwise from north, 0 to 180; null for
    turbines), ghost_of (null for the object itself), line_px, sample_px, contrast_db (noise-free peak over
    sea and noise). A mover stands where its echo does, not where the ship was.
    """
    features = []
    for entry in acquired.objects:
        lon, lat = acquired.grid.lonlat(np.array(entry.line_px), np.array(entry.sample_px))
        bearing = float(acquired.grid.bearing_deg(entry.line_px, entry.sample_px, entry.body.axis_deg)) % 180
        properties = {
            "id": entry.id,
            "class": entry.body.class_,
            "length_m": round(entry.body.length_m, 1),
            "width_m": round(entry.body.width_m, 1),
            "axis_deg": None if entry.body.class_ == "turbine" else round(bearing, 1) % 180,
            "ghost_of": entry.ghost_of,
            "line_px": round(entry.line_px, 2),
            "sample_px": round(entry.sample_px, 2),
            "contrast_db": round(scene.contrast_db(acquired, entry), 1),
        }
        point = {"type": "Point", "coordinates": [round(float(lon), 7), round(float(lat), 7)]}
        features.append({"type": "Feature", "geometry": point, "properties": properties})
    return {
        "type": "FeatureCollection",
        "name": name,
        "properties": {
            "simulated": True,
            "acquired": stamp(identity.start) + "Z",
            "wind_m_s": round(acquired.state.wind_m_s, 1),
            "sea_db": [round(value, 1) for value in acquired.state.sea_db],
        },
        "features": features,
    }


def _write_pixels(
    paths: list[Path],
    acquired: Pass,
    blocks: Iterator[tuple[int, NDArray[np.uint16]]],
    progress: Callable[[int], None] | None,
) -> None:
    from contextlib import ExitStack

    import rasterio
    from rasterio.control import GroundControlPoint
    from rasterio.windows import Window

    height, width = acquired.grid.shape
    rows, columns = annotation.grid_lines_samples(acquired.grid)
    lon, lat = acquired.grid.lonlat(rows[:, None], columns)
    sea_m = undulation_m(lon, lat)
    gcps = [
        GroundControlPoint(float(row), float(column), *(float(table[i, j]) for table in (lon, lat, sea_m)))
        for i, row in enumerate(rows)
        for j, column in enumerate(columns)
    ]
    with ExitStack() as stack:
        rasters = []
        for path in paths:
            raster = stack.enter_context(
                rasterio.open(
                    path,
                    "w",
                    driver="GTiff",
                    height=height,
                    width=width,
                    count=1,
                    dtype="uint16",
                    gcps=gcps,
                    crs="EPSG:4326",
                    blockysize=1,
                )
            )
            raster.update_tags(
                TIFFTAG_IMAGEDESCRIPTION="Sentinel-1A IW GRD HR L1", TIFFTAG_SOFTWARE="fusar simulate"
            )
            rasters.append(raster)
        for first, numbers in blocks:
            for raster, band in zip(rasters, numbers, strict=False):
                raster.write(band, 1, window=Window(0, first, width, band.shape[0]))
            if progress is not None:
                progress(numbers.shape[1])


def _manifest(identity: Identity, acquired: Pass, folder: Path, members: list[_Member]) -> bytes:
    units: list[Node] = []
    notes: list[Node] = []
    objects: list[Node] = []
    for member in members:
        schema = f"s1Level1{_SCHEMAS[member.kind]}Schema"
        pointer = [("dataObjectPointer", "", {"dataObjectID": member.name})]
        kind = "Measurement Data Unit" if member.kind == "measurement" else "Metadata Unit"
        units.append(("xfdu:contentUnit", pointer, {"unitType": kind, "repID": schema}))
        if member.kind != "measurement":
            attributes = {
                "ID": f"{member.name}Annotation",
                "classification": "DESCRIPTION",
                "category": "DMD",
            }
            notes.append(("metadataObject", pointer, attributes))
        path = folder / member.path
        mime = "application/octet-stream" if member.kind == "measurement" else "text/xml"
        stream = [
            ("fileLocation", "", {"locatorType": "URL", "href": f"./{member.path}"}),
            ("checksum", md5(path), {"checksumName": "MD5"}),
        ]
        attributes = {"mimeType": mime, "size": str(path.stat().st_size)}
        objects.append(
            ("dataObject", [("byteStream", stream, attributes)], {"ID": member.name, "repID": schema})
        )
    package = {
        "unitType": "SAFE Archive Information Package",
        "textInfo": "Sentinel-1 IW Level-1 GRD Product",
        "dmdID": "acquisitionPeriod platform generalProductInformation measurementOrbitReference "
        "measurementFrameSet",
        "pdiID": "processing",
    }
    schemas = [
        (
            "metadataObject",
            [("metadataReference", "", _reference(f"./support/s1-level-1-{kind}.xsd"))],
            {"ID": f"s1Level1{name}Schema", "classification": "SYNTAX", "category": "REP"},
        )
        for kind, name in _SCHEMAS.items()
        if any(member.kind == kind for member in members)
    ]
    return annotation.document(
        (
            "xfdu:XFDU",
            [
                ("informationPackageMap", [("xfdu:contentUnit", units, package)]),
                ("metadataSection", notes + _metadata(identity, acquired) + schemas),
                ("dataObjectSection", objects),
            ],
            _NAMESPACES,
        )
    )


def _metadata(identity: Identity, acquired: Pass) -> list[Node]:
    grid = acquired.grid
    height, width = grid.shape
    lon, lat = grid.lonlat(np.array([0, 0, height - 1, height - 1]), np.array([0, width - 1, width - 1, 0]))
    corners = " ".join(f"{y:.6f},{x:.6f}" for x, y in zip(lon, lat, strict=True))
    since_node = [
        (time - identity.node_time).total_seconds() * 1e3 for time in (identity.start, identity.stop)
    ]
    software = ("safe:software", "", {"name": "Sentinel-1 IPF", "version": identity.ipf})
    facility = {"name": "Simulated by fusar", "organisation": "fusar", "site": "none", "country": "none"}
    processing = ("safe:facility", [software], facility)
    times = {"name": "GRD Post Processing", "start": stamp(identity.start), "stop": stamp(identity.stop)}
    orbit = [
        ("safe:orbitNumber", identity.absolute_orbit, {"type": "start"}),
        ("safe:orbitNumber", identity.absolute_orbit, {"type": "stop"}),
        ("safe:relativeOrbitNumber", identity.relative_orbit, {"type": "start"}),
        ("safe:relativeOrbitNumber", identity.relative_orbit, {"type": "stop"}),
        ("safe:cycleNumber", identity.cycle),
        ("safe:phaseIdentifier", 1),
        (
            "safe:extension",
            [
                (
                    "s1:orbitProperties",
                    [
                        ("s1:pass", "ASCENDING" if grid.ascending else "DESCENDING"),
                        ("s1:ascendingNodeTime", stamp(identity.node_time)),
                    ],
                )
            ],
        ),
    ]
    general = [
        ("s1sarl1:instrumentConfigurationID", 7),
        ("s1sarl1:missionDataTakeID", identity.datatake),
        *(("s1sarl1:transmitterReceiverPolarisation", name) for name in acquired.polarisations),
        ("s1sarl1:productClass", "S"),
        ("s1sarl1:productClassDescription", "SAR Standard L1 Product"),
        ("s1sarl1:productComposition", "Slice"),
        ("s1sarl1:productType", "GRD"),
        ("s1sarl1:productTimelinessCategory", "Fast-24h"),
        ("s1sarl1:sliceProductFlag", "true"),
        ("s1sarl1:segmentStartTime", stamp(identity.start)),
        ("s1sarl1:sliceNumber", 1),
        ("s1sarl1:totalSlices", 1),
    ]
    mode = ("s1sarl1:instrumentMode", [("s1sarl1:mode", "IW"), ("s1sarl1:swath", "IW")])
    platform = [
        ("safe:nssdcIdentifier", "2014-016A"),
        ("safe:familyName", "SENTINEL-1"),
        ("safe:number", identity.platform[-1]),
        (
            "safe:instrument",
            [
                ("safe:familyName", "Synthetic Aperture Radar", {"abbreviation": "SAR"}),
                ("safe:extension", [mode]),
            ],
        ),
    ]
    period = [
        ("safe:startTime", stamp(identity.start)),
        ("safe:stopTime", stamp(identity.stop)),
        (
            "safe:extension",
            [
                (
                    "s1:timeANX",
                    [("s1:startTimeANX", f"{since_node[0]:.6e}"), ("s1:stopTimeANX", f"{since_node[1]:.6e}")],
                )
            ],
        ),
    ]
    footprint = (
        "safe:footPrint",
        [("gml:coordinates", corners)],
        {"srsName": "http://www.opengis.net/gml/srs/epsg.xml#4326"},
    )
    described = "DESCRIPTION"
    return [
        _wrapped("processing", "PROVENANCE", "PDI", "Processing", ("safe:processing", [processing], times)),
        _wrapped("platform", described, "DMD", "Platform Description", ("safe:platform", platform)),
        _wrapped(
            "measurementOrbitReference", described, "DMD", "Orbit Reference", ("safe:orbitReference", orbit)
        ),
        _wrapped(
            "generalProductInformation",
            described,
            "DMD",
            "General Product Information",
            ("s1sarl1:standAloneProductInformation", general),
        ),
        _wrapped(
            "acquisitionPeriod", described, "DMD", "Acquisition Period", ("safe:acquisitionPeriod", period)
        ),
        _wrapped(
            "measurementFrameSet",
            described,
            "DMD",
            "Frame Set",
            ("safe:frameSet", [("safe:frame", [footprint])]),
        ),
    ]


def _wrapped(name: str, classification: str, category: str, text: str, node: Node) -> Node:
    wrap = {"mimeType": "text/xml", "vocabularyName": "SAFE", "textInfo": text}
    return (
        "metadataObject",
        [("metadataWrap", [("xmlData", [node])], wrap)],
        {"ID": name, "classification": classification, "category": category},
    )


def _reference(href: str) -> dict[str, str]:
    return {"mimeType": "text/xml", "vocabularyName": "XML Schema", "locatorType": "URL", "href": href}


def md5(path: Path) -> str:
    """Return the checksum of a file as manifests state it."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
