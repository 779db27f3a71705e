"""``fusar chips``: the lattice's chips of scenes, with what is known of their objects, to a chip folder.

A chip folder (format ``fusar.chips/1``) is what ``fusar-engine triplets`` reads:

    OUT/
      chips.jsonl                     one line a chip
      PRODUCT/r0012c0030.png          its three channels as RGB (``engine.runtime.image``)

A line holds ``format``, ``id``, ``image`` (relative to the folder), ``product``, ``acquired`` (UTC),
``sensor``, ``bands``, ``spacing_m``, ``channels`` (what they show: name and range), ``relative_orbit``,
``simulated``, ``cell`` [row, column] (null beside the lattice), ``origin_px`` [line, sample] in the scene,
``centre`` [lon, lat], ``anchors`` [[lon, lat], ...] of ``engine.runtime.prior.anchor_positions``,
``land_fraction``, ``sea_db`` (mean co-polarised sigma0 of the sea; null without any), ``labelled`` (whether
``objects`` is all there is) and ``objects``: ``label``, ``box_px`` (edges in the chip, may leave it),
``length_m``, ``width_m``, ``contrast_db`` (null where not known) and ``clipped``.

With ``--at FOLDER`` chips are cut at the places on the ground where another chip folder has its own, not on
the lattice: of two passes of one orbit, pairs for ``fusar-engine triplets --before``.

Labels are GeoJSON points with ``class`` (ship, platform or turbine) and, where known, ``length_m``,
``width_m`` and ``axis_deg`` (clockwise from north): the simulator's truth is such a file. Points with
``ghost_of`` are echoes of others and no objects.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from daemon.chips import cells_to_ask, cut_window
from daemon.errors import ConfigError
from daemon.scan import ScanSettings, scan
from daemon.scene.land import LandSource, SceneLand
from daemon.scene.product import Scene, Window, open_scene
from engine.errors import FusarError
from engine.runtime.image import CHIP_PX, cell_of, channel_stamp
from engine.runtime.land import Coastline
from engine.runtime.prior import anchor_positions
from engine.runtime.text import LABELS

FORMAT = "fusar.chips/1"
_HALF_POINT_PX = 1.85  # half width of a point response at -10 dB: a box is a blurred extent
_LEAST_HALF_PX = 1.5
_BEAM_RATIO = 5.5  # length to width of a ship whose width is not known
_PLAIN_LENGTH_M = 80.0  # of an object whose length is not known


@dataclass(frozen=True)
class Label:
    """A known object in a scene."""

    label: str
    lon_deg: float
    lat_deg: float
    length_m: float | None
    width_m: float | None
    axis_deg: float | None
    contrast_db: float | None


def chips(
    products: Annotated[list[str], typer.Argument(help="Sentinel-1 GRD products.")],
    out: Annotated[Path, typer.Option("--out", help="Chip folder; products are added to it.")],
    labels: Annotated[
        Path | None,
        typer.Option(help="GeoJSON of one product's objects; else PRODUCT.truth.geojson beside it, if any."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Chips of candidates a product, strongest first.")] = 2000,
    at: Annotated[
        Path | None, typer.Option(help="Chip folder of another pass: cut where it has its chips.")
    ] = None,
) -> None:
    """Cut the chips of candidates and of labelled objects from products, for training."""
    console = Console(stderr=True)
    try:
        if labels is not None and len(products) != 1:
            raise ConfigError(f"got one label file for {len(products)} products, expected one product")
        coastline = Coastline.load()
        places = None if at is None else read_places(at)
        for product in products:
            known, simulated = _labels_of(product, labels)
            with open_scene(product) as scene:
                count = cut_product(
                    scene, SceneLand(coastline, scene.geometry), known, out, limit, simulated, console, places
                )
            told = "no labels" if known is None else f"{len(known)} labels"
            console.print(f"{scene.name.id}: {count} chips, {told}", highlight=False, soft_wrap=True)
    except (FusarError, OSError) as error:
        console.print(f"[bold red]{type(error).__name__}[/]: {error}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None


def cut_product(
    scene: Scene,
    land: LandSource,
    labels: list[Label] | None,
    out: Path,
    limit: int,
    simulated: bool,
    console: Console | None = None,
    at: Sequence[tuple[float, float]] | None = None,
) -> int:
    """Cut one scene's chips into a chip folder; return how many.

    Args:
        scene: an opened product.
        land: which pixels are land.
        labels: all its objects; None where they are not known.
        out: the chip folder; a product that it holds already is cut anew.
        limit: most chips of candidates.
        simulated: whether the scene is.
        console: where progress is shown.
        at: longitude and latitude of the chips' centres, in place of candidates and labels.

    Raises:
        SceneCorrupt: the pixels cannot be read.
    """
    from PIL import Image

    placed = _place(scene, labels or [])
    windows: list[tuple[str, tuple[int, int], list[int] | None]]
    if at is None:
        cells = set(cells_to_ask(scan(scene, land, ScanSettings()).candidates, limit)[0])
        cells |= {cell_of(line, sample) for _, line, sample, _ in placed}
        windows = [
            (f"r{cell.row:04d}c{cell.col:04d}", cell.chip_origin_px, [cell.row, cell.col])
            for cell in sorted(cells)
        ]
    else:
        windows = [(f"l{line:05d}s{col:05d}", (line, col), None) for line, col in _origins(scene, at)]
    name = str(scene.name.id)
    (out / name).mkdir(parents=True, exist_ok=True)
    lines = []
    bars = Progress(TextColumn("chips"), BarColumn(40), MofNCompleteColumn(), console=console, transient=True)
    with bars:
        for place, origin_px, cell in bars.track(windows, description="chips"):
            pixels = cut_window(scene, *origin_px)
            if not pixels.any():
                continue
            image = f"{name}/{place}.png"
            Image.fromarray(np.moveaxis(pixels, 0, -1)).save(out / image, compress_level=1)
            facts = _facts(scene, land, origin_px)
            facts |= {
                "id": image.removesuffix(".png"),
                "image": image,
                "cell": cell,
                "simulated": simulated,
                "labelled": labels is not None,
                "objects": list(_objects(placed, origin_px)),
            }
            lines.append(facts)
    _write(out / "chips.jsonl", name, lines)
    return len(lines)


def read_labels(path: Path) -> tuple[list[Label], bool]:
    """Read a GeoJSON file of labels.

    Returns:
        Labels, and whether the file says that they are simulated.

    Raises:
        ConfigError: the file is missing, or is no such GeoJSON.
    """
    try:
        document = json.loads(path.read_text("utf-8"))
        features = [each for each in document["features"] if each["properties"].get("ghost_of") is None]
        labels = [_label(feature) for feature in features]
        simulated = bool((document.get("properties") or {}).get("simulated", False))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read labels {path}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"{path}: got labels that do not read ({type(error).__name__}: {error}), expected GeoJSON points "
            f"with class ({', '.join(LABELS)}) and perhaps length_m, width_m and axis_deg"
        ) from error
    return labels, simulated


def read_places(folder: Path) -> list[tuple[float, float]]:
    """Read longitude and latitude of the centres of a chip folder's chips.

    Raises:
        ConfigError: it is no chip folder, or an empty one.
    """
    path = folder / "chips.jsonl"
    try:
        lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        places = [(float(line["centre"][0]), float(line["centre"][1])) for line in lines]
    except (OSError, KeyError, IndexError, TypeError, ValueError) as error:
        raise ConfigError(
            f"cannot read {path} ({type(error).__name__}: {error}), expected a chip folder: see `fusar chips`"
        ) from error
    if not places:
        raise ConfigError(f"got no chips in {path}, expected at least one")
    return places


def _origins(scene: Scene, at: Sequence[tuple[float, float]]) -> list[tuple[int, int]]:
    """Return line and sample of the first pixel of the chips around places, those that meet the scene."""
    line, sample = scene.geometry.pixel(*np.array(at).T)
    first = np.stack([line, sample], axis=1) - (CHIP_PX - 1) / 2
    meets = ((first > -CHIP_PX) & (first < np.array(scene.shape))).all(axis=1)
    return sorted({(int(row), int(col)) for row, col in np.rint(first[meets])})


def _label(feature: dict[str, Any]) -> Label:
    lon, lat = (float(value) for value in feature["geometry"]["coordinates"][:2])
    facts = feature["properties"]
    if facts["class"] not in LABELS:
        raise ValueError(f"class {facts['class']!r}")
    if not (abs(lat) <= 90 and abs(lon) <= 360):
        raise ValueError(f"coordinates {lon}, {lat}")
    length, width, axis, contrast = (
        None if facts.get(name) is None else float(facts[name])
        for name in ("length_m", "width_m", "axis_deg", "contrast_db")
    )
    return Label(facts["class"], lon, lat, length, width, axis, contrast)


def _labels_of(product: str, given: Path | None) -> tuple[list[Label] | None, bool]:
    """Return a product's labels, None where there are none, and whether they are simulated."""
    path = Path(product)
    beside = path.with_name(f"{path.stem}.truth.geojson")
    file = given or (beside if beside.is_file() else None)
    return (None, False) if file is None else read_labels(file)


def _place(scene: Scene, labels: list[Label]) -> list[tuple[Label, float, float, NDArray[np.float64]]]:
    """Return labels that lie in the scene with line, sample and half extents (lines, samples)."""
    if not labels:
        return []
    geometry = scene.geometry
    lon, lat = np.array([(each.lon_deg, each.lat_deg) for each in labels]).T
    line, sample = geometry.pixel(lon, lat)
    inside = (line >= 0) & (line < scene.shape[0]) & (sample >= 0) & (sample < scene.shape[1])
    return [
        (labels[i], float(line[i]), float(sample[i]), _half_extent_px(scene, labels[i], line[i], sample[i]))
        for i in np.flatnonzero(inside)
    ]


def _half_extent_px(scene: Scene, label: Label, line: float, sample: float) -> NDArray[np.float64]:
    """Return half the blurred extent in lines and samples: the hull's rectangle and a point's width."""
    length = _PLAIN_LENGTH_M if label.length_m is None else label.length_m
    ratio = _BEAM_RATIO if label.label == "ship" else 1.0
    width = length / ratio if label.width_m is None else label.width_m
    if label.axis_deg is None:  # any direction: the mean over all of them
        extent = np.full(2, (length + width) / np.pi)
    else:
        down, across = (
            np.radians(float(axis(line, sample)))
            for axis in (scene.geometry.heading_deg, scene.geometry.look_azimuth_deg)
        )
        basis = np.array([[np.sin(down), np.sin(across)], [np.cos(down), np.cos(across)]])
        bearing = np.radians(label.axis_deg)
        along = np.abs(np.linalg.solve(basis, [np.sin(bearing), np.cos(bearing)]))
        extent = (length * along + width * along[::-1]) / 2
    half: NDArray[np.float64] = np.maximum(
        extent / np.array(scene.spacing_m) + _HALF_POINT_PX, _LEAST_HALF_PX
    )
    return half


def _objects(
    placed: Iterable[tuple[Label, float, float, NDArray[np.float64]]], origin_px: tuple[int, int]
) -> Iterable[dict[str, Any]]:
    """Return the objects of which at least 3 px lie in a chip."""
    first_line, first_sample = origin_px
    for label, line, sample, half in placed:
        # a box covers pixels whose centres lie in [x1 - 0.5, x2 - 0.5]: its edges are half a pixel on
        y, x = line - first_line + 0.5, sample - first_sample + 0.5
        box = (x - half[1], y - half[0], x + half[1], y + half[0])
        if min(box[2], CHIP_PX) - max(box[0], 0) < 3 or min(box[3], CHIP_PX) - max(box[1], 0) < 3:
            continue
        yield {
            "label": label.label,
            "box_px": [round(float(edge), 2) for edge in box],
            "length_m": label.length_m,
            "width_m": label.width_m,
            "contrast_db": label.contrast_db,
            "clipped": bool(min(box) < 0 or max(box) > CHIP_PX),
        }


def _facts(scene: Scene, land: LandSource, origin_px: tuple[int, int]) -> dict[str, Any]:
    """Return what a chip's line says of its place and its pixels."""
    line, sample = origin_px
    window = Window(line=line, sample=sample, lines=CHIP_PX, samples=CHIP_PX)
    anchors = anchor_positions().astype(float) * CHIP_PX - 0.5 + (line, sample)
    middle = np.array([[line, sample]]) + (CHIP_PX - 1) / 2
    lon, lat = scene.geometry.lonlat(*np.concatenate([middle, anchors]).T)
    places = [[round(float(x), 6), round(float(y), 6)] for x, y in zip(lon, lat, strict=True)]
    copol = scene.read(scene.polarisations[0], window)
    on_land = land.mask(window)
    sea = copol.sigma0[copol.valid & ~on_land]
    mean = float(np.mean(np.minimum(sea, np.quantile(sea, 0.95)))) if sea.size else 0.0
    return {
        "format": FORMAT,
        "product": str(scene.name.id),
        "acquired": scene.geometry.time_utc(float(middle[0, 0])).isoformat(timespec="seconds"),
        "sensor": f"Sentinel-1 {'SM' if scene.name.stripmap else scene.name.mode}",
        "bands": list(scene.polarisations),
        "spacing_m": float(np.mean(scene.spacing_m)),
        "channels": channel_stamp(),
        "relative_orbit": scene.relative_orbit,
        "origin_px": [line, sample],
        "centre": places[0],
        "anchors": places[1:],
        "land_fraction": round(float(on_land.mean()), 4),
        "sea_db": round(10 * float(np.log10(mean)), 2) if mean > 0 else None,
    }


def _write(path: Path, product: str, lines: list[dict[str, Any]]) -> None:
    """Put a product's chips into the list, in place of those it had."""
    kept = []
    if path.is_file():
        kept = [
            line for line in path.read_text("utf-8").splitlines() if json.loads(line)["product"] != product
        ]
    part = path.with_suffix(".part")
    part.write_text("".join(f"{line}\n" for line in [*kept, *map(json.dumps, lines)]), "utf-8")
    part.replace(path)
