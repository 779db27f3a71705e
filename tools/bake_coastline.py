"""Bake the world's coastline into `engine/runtime/data/coastline.bin`.

    npm pack @geo-maps/earth-lands-50m
    python tools/bake_coastline.py geo-maps-earth-lands-50m-0.6.0.tgz

The source is OpenStreetMap's land without its lakes and rivers (snapshot of 2017), simplified by
Douglas-Peucker at 50 m. Here its rings are sorted by nesting, small inland water is left out, the rest is
cut into tiles and rounded to a step. Needs numpy, shapely and rich. The same input gives the same bytes.
The report compares what was baked with the source, or with a finer file of the same form (`--reference`).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import lzma
import math
import tarfile
from pathlib import Path

import numpy as np
import shapely
from rich.console import Console
from rich.progress import track

from engine.runtime.land import (
    FORMAT,
    LZMA_FILTERS,
    MAGIC,
    Coastline,
    clip_ring,
    lon_factor,
    pack_varints,
    zigzag,
)

ROOT = Path(__file__).resolve().parents[1]
TILE_DEG = 5
STEP_DEG = 1 / 2048  # 54 m: rounding moves a vertex by 27 m at most in each direction
OVERLAP_DEG = 1 / 64
BEYOND_180_DEG = 2 * STEP_DEG  # the source is cut at the antimeridian; this much overlap closes the cut
SAMPLES = {
    "Oresund": (12.4, 55.4, 13.2, 56.1),
    "Palau": (134.0, 6.8, 134.8, 8.2),
    "Cape Hatteras": (-76.6, 34.6, -75.4, 35.8),
    "Singapore": (103.5, 1.1, 104.2, 1.6),
    "Gibraltar": (-6.0, 35.7, -5.0, 36.4),
    "Lofoten": (12.5, 67.6, 15.5, 68.5),
    "Chilean channels": (-75.0, -47.0, -73.0, -45.0),
}
console = Console()
Points = np.ndarray
Levelled = list[tuple[Points, int]]


def read_rings(path: Path) -> tuple[list[Points], list[Points], str]:
    """Return outer rings, holes (both open, [n, 2]) and the sha256 of a GeoJSON file or npm archive."""
    if path.suffix == ".tgz":
        with tarfile.open(path) as archive:
            member = archive.extractfile("package/map.geo.json")
            if member is None:
                raise SystemExit(
                    f"{path} holds no package/map.geo.json: give a @geo-maps/earth-lands archive"
                )
            text = member.read()
    else:
        text = path.read_bytes()
    outers: list[Points] = []
    holes: list[Points] = []
    for geometry in json.loads(text)["geometries"]:
        polygons = geometry["coordinates"]
        for polygon in polygons if geometry["type"] == "MultiPolygon" else [polygons]:
            outers.append(np.array(polygon[0][:-1], float))
            holes.extend(np.array(hole[:-1], float) for hole in polygon[1:])
    return outers, holes, hashlib.sha256(text).hexdigest()


def area_km2(ring: Points) -> float:
    """Return a ring's area on a sphere, near enough to choose lakes by size."""
    x = ring[:, 0] * 111.32 * math.cos(math.radians(ring[:, 1].mean()))
    y = ring[:, 1] * 110.95
    return 0.5 * abs(float(np.dot(x, np.roll(y, -1)) - np.dot(np.roll(x, -1), y)))


def assign_levels(outers: list[Points], holes: list[Points], min_water_km2: float) -> Levelled:
    """Return the rings to keep with their levels: 1 land, 2 water, 3 island in it, and so on.

    An island whose smallest surrounding water is left out is land in land, and is left out too.
    """
    areas = np.array([area_km2(hole) for hole in holes])
    shapes = np.array([shapely.Polygon(hole) for hole in holes])
    tree = shapely.STRtree(shapes)
    inner = np.array([shapely.Point(ring.mean(axis=0)) for ring in outers])
    first = np.array([shapely.Point(ring[0]) for ring in outers])
    own = np.array([area_km2(ring) for ring in outers])
    island, water = tree.query(first, predicate="within")
    contains = own[island] < areas[water]
    # the first vertex alone may touch its own lake's shore: ask for the middle as well
    contains &= shapely.contains(shapely.envelope(shapes[water]), inner[island])
    around: dict[int, list[int]] = {}
    for k, j in zip(island[contains], water[contains], strict=True):
        around.setdefault(int(k), []).append(int(j))
    parent = {k: min(lakes, key=lambda j: areas[j]) for k, lakes in around.items()}
    kept: Levelled = []
    lake_level: dict[int, int] = {}
    # largest first: a lake in an island is met after the lake that the island lies in
    for j in np.argsort(-areas):
        if areas[j] < min_water_km2:
            break
        point = shapely.Point(holes[j][0])
        outside = [i for i in tree.query(point, predicate="within") if areas[i] > areas[j]]
        depth = sum(1 for i in outside if areas[i] >= min_water_km2)
        lake_level[int(j)] = 2 + 2 * depth
        kept.append((holes[j], lake_level[int(j)]))
    for k, ring in enumerate(outers):
        if k not in parent:
            kept.append((ring, 1))
        elif parent[k] in lake_level:
            kept.append((ring, lake_level[parent[k]] + 1))
    return kept


def cut_in_tiles(ring: Points, axis: int, low: int, high: int) -> list[tuple[int, Points]]:
    """Cut a ring into tiles low..high-1 along an axis by halving."""
    if len(ring) < 3:
        return []
    if high - low == 1:
        return [(low, ring)]
    origin = (-180.0, -90.0)[axis]
    middle = (low + high) // 2
    edge = origin + middle * TILE_DEG
    lower = clip_ring(ring, axis, edge + OVERLAP_DEG, upper=False)
    upper = clip_ring(ring, axis, edge - OVERLAP_DEG, upper=True)
    return cut_in_tiles(lower, axis, low, middle) + cut_in_tiles(upper, axis, middle, high)


def quantise(ring: Points, column: int, row: int) -> np.ndarray | None:
    """Return a ring in whole steps of its tile without vertices that say nothing; None if nothing is left."""
    west, south = column * TILE_DEG - 180.0, row * TILE_DEG - 90.0
    step = np.array([STEP_DEG * lon_factor(south, TILE_DEG), STEP_DEG])
    steps: np.ndarray = np.rint((ring - (west, south)) / step).astype(np.int64)
    while True:
        before, after = np.roll(steps, 1, axis=0), np.roll(steps, -1, axis=0)
        straight = ((before == steps) & (steps == after)).any(axis=1)  # on a line along an axis
        useless = straight | (steps == before).all(axis=1)
        useless[1:] &= ~useless[:-1].copy()  # neighbours one after the other
        if not useless.any() or len(steps) < 3:
            break
        steps = steps[~useless]
    x, y = steps[:, 0], steps[:, 1]
    if len(steps) >= 3 and np.dot(x, np.roll(y, -1)) != np.dot(np.roll(x, -1), y):
        return steps
    if area_km2(ring) < 1e-3:  # edges that cancel on a cut
        return None
    # a mole or a reef thinner than a step: keep it, one step wide
    exact = (ring - (west, south)) / step
    (left, low), (right, high) = np.floor(exact.min(axis=0)), np.ceil(exact.max(axis=0))
    box: np.ndarray = np.array([(left, low), (right, low), (right, high), (left, high)], np.int64)
    return box


def encode(rings: list[tuple[np.ndarray, int]]) -> bytes:
    """Return a tile's bytes (see engine/runtime/land.py)."""
    rings = sorted(rings, key=lambda item: (item[1], int(item[0][0, 0]), int(item[0][0, 1])))
    points = np.concatenate([steps for steps, _ in rings])
    differences = zigzag(np.diff(points, axis=0, prepend=np.zeros((1, 2), np.int64)))
    head = [len(rings), *(level for _, level in rings), *(len(steps) for steps, _ in rings)]
    values = np.concatenate([np.array(head, np.int64), differences[:, 0], differences[:, 1]])
    return lzma.compress(pack_varints(values), lzma.FORMAT_RAW, filters=LZMA_FILTERS)


def bake(path: Path, min_water_km2: float) -> tuple[bytes, list[Points]]:
    """Return the file's bytes and the source's kept rings."""
    with console.status("reading the source"):
        outers, holes, digest = read_rings(path)
    with console.status("nesting"):
        kept = assign_levels(outers, holes, min_water_km2)
    columns, rows = 360 // TILE_DEG, 180 // TILE_DEG
    tiles: dict[int, list[tuple[np.ndarray, int]]] = {}
    for ring, level in track(kept, "cutting", console=console):
        ring = ring.copy()
        ring[ring[:, 0] >= 179.9999, 0] = 180.0 + BEYOND_180_DEG
        ring[ring[:, 0] <= -179.9999, 0] = -180.0 - BEYOND_180_DEG
        ring[ring[:, 1] <= -84.9999, 1] = -90.0  # the source ends where Mercator maps do
        for column, strip in cut_in_tiles(ring, 0, 0, columns):
            for row, piece in cut_in_tiles(strip, 1, 0, rows):
                steps = quantise(piece, column, row)
                if steps is not None:
                    tiles.setdefault(row * columns + column, []).append((steps, level))
    bodies = [
        encode(tiles[tile]) if tile in tiles else b""
        for tile in track(range(columns * rows), "packing", console=console)
    ]
    header = {
        "format": FORMAT,
        "name": "osm-earth-lands",
        "date": "2017-11",
        "tolerance_m": 50,
        "tile_deg": TILE_DEG,
        "step_deg": STEP_DEG,
        "overlap_deg": OVERLAP_DEG,
        "min_inland_water_km2": min_water_km2,
        "source": "npm @geo-maps/earth-lands-50m 0.6.0, package/map.geo.json",
        "source_sha256": digest,
        "attribution": "(c) OpenStreetMap contributors",
        "licence": "ODbL-1.0, https://opendatacommons.org/licenses/odbl/1-0/",
    }
    text = json.dumps(header, indent=1).encode()
    offsets = np.cumsum([0] + [len(body) for body in bodies]).astype("<u4")
    data = MAGIC + len(text).to_bytes(4, "little") + text + offsets.tobytes() + b"".join(bodies)
    console.print(
        f"{len(kept)} rings kept of {len(outers) + len(holes)}; {sum(map(len, tiles.values()))} pieces, "
        f"{sum(len(s) for rings in tiles.values() for s, _ in rings)} vertices, {len(data) / 1e6:.2f} MB"
    )
    return data, [ring for ring, _ in kept]


def compare(coastline: Coastline, rings: list[Points]) -> None:
    """Print how far the reference's shore lies from the baked shore, and back, in sample areas."""
    for name, box in SAMPLES.items():
        west, south, east, north = box
        wide = (west - 0.2, south - 0.2, east + 0.2, north + 0.2)
        ours = segments([ring.points for ring in coastline.polygons(*wide)], wide)
        theirs = segments(rings, wide)
        there = distances_m(theirs, ours, box)
        back = distances_m(ours, theirs, box, away_from_tiles=True)
        there_text, back_text = (
            f"median {np.median(d):3.0f} m, 95% {np.quantile(d, 0.95):3.0f}, max {d.max():4.0f}"
            for d in (there, back)
        )
        console.print(f"{name:17s} reference to baked: {there_text}; back: {back_text}", soft_wrap=True)


def segments(rings: list[Points], box: tuple[float, float, float, float]) -> np.ndarray:
    """Return the edges [n, 2 ends, 2] of rings that have an end in a box."""
    edges = []
    for ring in rings:
        pairs = np.stack([ring, np.roll(ring, -1, axis=0)], axis=1)
        inside = ((ring >= box[:2]) & (ring <= box[2:])).all(axis=1)
        edges.append(pairs[inside | np.roll(inside, -1)])
    return np.concatenate(edges)


def distances_m(
    edges: np.ndarray,
    others: np.ndarray,
    box: tuple[float, float, float, float],
    away_from_tiles: bool = False,
) -> np.ndarray:
    """Return the distances from points every 50 m along edges in a box to the nearest of other edges."""
    scale = np.array([111_320.0 * math.cos(math.radians((box[1] + box[3]) / 2)), 110_950.0])
    lines = shapely.segmentize(shapely.linestrings(edges * scale), 50.0)
    points = shapely.get_coordinates(lines) / scale
    points = points[((points >= box[:2]) & (points <= box[2:])).all(axis=1)]
    if away_from_tiles:  # the cuts between tiles are no shore
        offset = np.abs((points + TILE_DEG / 2) % TILE_DEG - TILE_DEG / 2)
        points = points[(offset > 2 * OVERLAP_DEG).all(axis=1)]
    tree = shapely.STRtree(shapely.linestrings(others * scale))
    found: np.ndarray = tree.query_nearest(
        shapely.points(points * scale), return_distance=True, all_matches=False
    )[1]
    return found


def main() -> None:
    """Bake, report, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("source", type=Path, help="@geo-maps/earth-lands archive (.tgz) or its map.geo.json")
    parser.add_argument("--out", type=Path, default=ROOT / "engine/runtime/data/coastline.bin")
    parser.add_argument("--min-water-km2", type=float, default=20.0, help="smallest inland water to keep")
    parser.add_argument("--reference", type=Path, help="a finer file of the same form to compare with")
    arguments = parser.parse_args()
    data, kept = bake(arguments.source, arguments.min_water_km2)
    coastline = Coastline(data)
    if arguments.reference:
        outers, holes, _ = read_rings(arguments.reference)
        large = [hole for hole in holes if area_km2(hole) >= arguments.min_water_km2]
        kept = outers + large
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_bytes(data)
    console.print(f"wrote {arguments.out} as {coastline.version}")
    compare(coastline, kept)


if __name__ == "__main__":
    main()
