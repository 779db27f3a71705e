"""Bake the world's coastline into `engine/runtime/data/coastline.bin`.

    pip download --no-deps roaring-landmask==0.11.0
    npm pack @geo-maps/earth-lands-50m@0.6.0
    python tools/bake_coastline.py roaring_landmask-*.whl geo-maps-earth-lands-50m-0.6.0.tgz

Both sources are OpenStreetMap. The wheel embeds its land polygons (`osm.wkb.xz`: 745,676 of them, vertices
mostly 10 to 200 m apart), which are the coast; of the older and coarser npm package only inland waters are
taken, and the islands in them. A file of land polygons in WKB (.wkb, .wkb.xz) does as well as the wheel.
Everything is cut into tiles, simplified (Douglas-Peucker), and rounded to a step. Needs numpy, shapely and
rich. The same input gives the same bytes. The report compares what was baked with the source.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import lzma
import math
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import shapely
from rich.console import Console
from rich.progress import track

from engine.runtime.land import FORMAT, LZMA_FILTERS, MAGIC, Coastline, lon_factor
from engine.runtime.rings import clip_ring
from engine.runtime.varints import pack_varints, zigzag

ROOT = Path(__file__).resolve().parents[1]
TILE_DEG = 5
STEP_DEG = 1 / 2048  # 54 m: rounding moves a vertex by 27 m at most in each direction
OVERLAP_DEG = 1 / 64
XZ = b"\xfd7zXZ\0"
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
# Inland waters that carry ships large enough to be seen, each by a place in it: they can be chosen by name.
SEAS = {
    "Caspian Sea": (51.0, 42.0),
    "Lake Superior": (-87.5, 47.7),
    "Lakes Michigan and Huron": (-87.0, 43.5),  # one water, joined at Mackinac
    "Lake Erie": (-81.2, 42.2),
    "Lake Ontario": (-77.8, 43.6),
    "Lake Victoria": (33.0, -1.0),
    "Lake Tanganyika": (29.6, -6.0),
    "Lake Malawi": (34.5, -12.0),
    "Lake Baikal": (108.0, 53.5),
    "Lake Ladoga": (31.5, 60.8),
    "Lake Onega": (35.4, 61.6),
    "Vanern": (13.3, 58.9),
    "Lake Titicaca": (-69.5, -15.8),
    "Lake Nicaragua": (-85.4, 11.6),
}
console = Console()
Points = np.ndarray
Levelled = list[tuple[Points, int]]


def read_land(path: Path, min_island_km2: float) -> tuple[list[Points], list[Points], str]:
    """Return outer rings, holes (both open, [n, 2]) and the sha256 of a multipolygon in WKB.

    A wheel of roaring-landmask holds two, each xz: of GSHHG and, with more polygons, of OpenStreetMap.
    """
    data = path.read_bytes()
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as archive:
            library = next(name for name in archive.namelist() if name.endswith((".so", ".pyd")))
            streams = xz_streams(archive.read(library))
            data = max(streams, key=lambda text: int.from_bytes(text[5:9], "little"))
    elif path.suffix == ".xz":
        data = lzma.decompress(data)
    polygons = shapely.get_parts(shapely.from_wkb(data))
    polygons = polygons[areas_km2(polygons) >= min_island_km2]
    outers = [shapely.get_coordinates(ring)[:-1] for ring in shapely.get_exterior_ring(polygons)]
    pierced = polygons[shapely.get_num_interior_rings(polygons) > 0]
    holes = [shapely.get_coordinates(ring)[:-1] for polygon in pierced for ring in polygon.interiors]
    return outers, holes, hashlib.sha256(data).hexdigest()


def xz_streams(data: bytes) -> Iterator[bytes]:
    """Yield what the xz streams in some bytes hold, where it is a multipolygon in little-endian WKB."""
    start = data.find(XZ)
    while start >= 0:
        try:
            head = lzma.LZMADecompressor().decompress(data[start : start + (1 << 16)], max_length=9)
            if head[:5] == b"\x01\x06\0\0\0":
                yield lzma.LZMADecompressor().decompress(data[start:])
        except lzma.LZMAError:
            pass
        start = data.find(XZ, start + 1)


def read_inland(path: Path) -> tuple[list[Points], list[Points], str]:
    """Return outer rings, holes (both open, [n, 2]) and the sha256 of a @geo-maps/earth-lands archive."""
    with tarfile.open(path) as archive:
        member = archive.extractfile("package/map.geo.json")
        if member is None:
            raise SystemExit(f"{path} holds no package/map.geo.json: give a @geo-maps/earth-lands archive")
        text = member.read()
    outers: list[Points] = []
    holes: list[Points] = []
    for geometry in json.loads(text)["geometries"]:
        polygons = geometry["coordinates"]
        for polygon in polygons if geometry["type"] == "MultiPolygon" else [polygons]:
            outers.append(np.array(polygon[0][:-1], float))
            holes.extend(np.array(hole[:-1], float) for hole in polygon[1:])
    return outers, holes, hashlib.sha256(text).hexdigest()


def polygons_of(rings: list[Points]) -> np.ndarray:
    """Return shapely's polygons of rings."""
    index = np.repeat(np.arange(len(rings)), [len(ring) for ring in rings])
    found: np.ndarray = shapely.polygons(shapely.linearrings(np.concatenate(rings), indices=index))
    return found


def areas_km2(polygons: np.ndarray) -> np.ndarray:
    """Return areas on a sphere, near enough to choose islands and lakes by size."""
    bounds = shapely.bounds(polygons)
    middle = np.radians((bounds[:, 1] + bounds[:, 3]) / 2)
    found: np.ndarray = shapely.area(polygons) * 111.32 * 110.95 * np.cos(middle)
    return found


def assign_levels(outers: list[Points], holes: list[Points], min_water_km2: float) -> Levelled:
    """Return the rings to keep with their levels: 1 land, 2 water, 3 island in it, and so on.

    An island whose smallest surrounding water is left out is land in land, and is left out too.
    """
    shapes = polygons_of(holes)
    areas = areas_km2(shapes)
    tree = shapely.STRtree(shapes)
    own = areas_km2(polygons_of(outers))
    island, water = tree.query(shapely.points([ring[0] for ring in outers]), predicate="within")
    # the first vertex alone may touch its own lake's shore: ask for the middle as well
    middle = shapely.points([ring.mean(axis=0) for ring in outers])
    contains = (own[island] < areas[water]) & shapely.contains(
        shapely.envelope(shapes[water]), middle[island]
    )
    around: dict[int, list[int]] = {}
    for k, j in zip(island[contains], water[contains], strict=True):
        around.setdefault(int(k), []).append(int(j))
    parent = {k: min(lakes, key=lambda j: areas[j]) for k, lakes in around.items()}
    kept: Levelled = []
    lake_level: dict[int, int] = {}
    for j in np.flatnonzero(areas >= min_water_km2):
        outside = tree.query(shapely.Point(holes[j][0]), predicate="within")
        depth = int((areas[outside] > max(areas[j], min_water_km2)).sum())
        lake_level[int(j)] = 2 + 2 * depth
        kept.append((holes[j], lake_level[int(j)]))
    for k, ring in enumerate(outers):
        if k not in parent:
            kept.append((ring, 1))
        elif parent[k] in lake_level:
            kept.append((ring, lake_level[parent[k]] + 1))
    return kept


def cut_in_tiles(ring: Points, axis: int) -> list[tuple[int, Points]]:
    """Cut a ring into the tiles along an axis that it meets."""
    origin, count = ((-180.0, 360 // TILE_DEG), (-90.0, 180 // TILE_DEG))[axis]
    low = int((ring[:, axis].min() - OVERLAP_DEG - origin) // TILE_DEG)
    high = int((ring[:, axis].max() + OVERLAP_DEG - origin) // TILE_DEG)
    return halve(ring, axis, max(low, 0), min(high, count - 1) + 1, origin)


def halve(ring: Points, axis: int, low: int, high: int, origin: float) -> list[tuple[int, Points]]:
    """Cut a ring into tiles low..high-1 along an axis, half by half."""
    if len(ring) < 3:
        return []
    if high - low == 1:
        return [(low, ring)]
    middle = (low + high) // 2
    edge = origin + middle * TILE_DEG
    lower = clip_ring(ring, axis, edge + OVERLAP_DEG, upper=False)
    upper = clip_ring(ring, axis, edge - OVERLAP_DEG, upper=True)
    return halve(lower, axis, low, middle, origin) + halve(upper, axis, middle, high, origin)


def simplify(rings: list[Points], tolerance_m: float) -> list[Points]:
    """Return a tile's rings with fewer vertices, none of those left out further off than a tolerance.

    Islets get a finer tolerance, so that they keep a shape.
    """
    middle = np.concatenate(rings)[:, 1].mean()
    scale = np.array([111_320.0 * math.cos(math.radians(middle)), 110_950.0])
    metric = shapely.get_exterior_ring(polygons_of([ring * scale for ring in rings]))
    finest = np.minimum(tolerance_m, np.sqrt(shapely.area(shapely.polygons(metric))) / 4)
    simple = shapely.simplify(metric, finest, preserve_topology=False)
    vertices = [shapely.get_coordinates(ring)[:-1] / scale for ring in simple]
    return [few if len(few) >= 3 else many for few, many in zip(vertices, rings, strict=True)]


def quantise(ring: Points, column: int, row: int) -> np.ndarray | None:
    """Return a ring in whole steps of its tile without vertices that say nothing; None if nothing is left."""
    west, south = column * TILE_DEG - 180.0, row * TILE_DEG - 90.0
    step = np.array([STEP_DEG * lon_factor(south, TILE_DEG), STEP_DEG])
    exact = (ring - (west, south)) / step
    steps: np.ndarray = np.rint(exact).astype(np.int64)
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
    if areas_km2(polygons_of([ring]))[0] < 1e-3:  # edges that cancel on a cut
        return None
    # an islet or a mole thinner than a step: keep it, one step wide
    (left, low), (right, high) = np.floor(exact.min(axis=0)), np.ceil(exact.max(axis=0))
    box: np.ndarray = np.array([(left, low), (right, low), (right, high), (left, high)], np.int64)
    return box


def along_snake(vertex: np.ndarray) -> tuple[int, int]:
    """Order vertices by bands, to and fro, so that neighbours in the order are near."""
    x, y = (int(steps) for steps in vertex)
    return y // 256, x if y // 256 % 2 else -x


def encode(rings: list[tuple[np.ndarray, int]]) -> bytes:
    """Return a tile's bytes (see engine/runtime/land.py)."""
    points = np.concatenate([steps for steps, _ in rings])
    differences = zigzag(np.diff(points, axis=0, prepend=np.zeros((1, 2), np.int64)))
    head = [len(rings), *(level for _, level in rings), *(len(steps) for steps, _ in rings)]
    values = np.concatenate([np.array(head, np.int64), differences[:, 0], differences[:, 1]])
    return lzma.compress(pack_varints(values), lzma.FORMAT_RAW, filters=LZMA_FILTERS)


def gather(arguments: argparse.Namespace) -> tuple[Levelled, str, str]:
    """Return the rings to bake with their levels, and the sha256 of both sources."""
    console.print("reading the land")
    outers, holes, land_digest = read_land(arguments.land, arguments.min_island_km2)
    kept = assign_levels(outers, holes, arguments.min_water_km2)
    console.print(f"{len(kept)} rings of coast; reading inland waters")
    outers, holes, inland_digest = read_inland(arguments.inland)
    # what the coast takes for sea already (the Caspian) is not taken again
    known = shapely.STRtree(polygons_of([ring for ring, level in kept if level == 2]))
    middles = shapely.points([hole.mean(axis=0) for hole in holes])
    again = set(known.query(middles, predicate="within")[0].tolist())
    holes = [hole for k, hole in enumerate(holes) if k not in again]
    inland = assign_levels(outers, holes, arguments.min_water_km2)
    kept += [(ring, level) for ring, level in inland if level > 1]
    console.print(f"{len(kept)} rings with inland waters and their islands")
    return kept, land_digest, inland_digest


def name_seas(kept: Levelled) -> dict[int, str]:
    """Return which of the rings are the named seas."""
    waters = [k for k, (_, level) in enumerate(kept) if level == 2]
    tree = shapely.STRtree(polygons_of([kept[k][0] for k in waters]))
    names: dict[int, list[str]] = {}
    for name, place in SEAS.items():
        for found in tree.query(shapely.Point(place), predicate="within"):
            names.setdefault(waters[int(found)], []).append(name)
    missing = set(SEAS) - {name for several in names.values() for name in several}
    if missing or any(len(several) > 1 for several in names.values()):
        raise SystemExit(f"no water at {sorted(missing)}, or several names for one: {list(names.values())}")
    return {ring: several[0] for ring, several in names.items()}


def bake(kept: Levelled, tolerance_m: float, facts: dict[str, object]) -> bytes:
    """Return the file's bytes."""
    columns, rows = 360 // TILE_DEG, 180 // TILE_DEG
    tiles: dict[int, list[tuple[Points, int, str | None]]] = {}
    named = name_seas(kept)
    for k, (ring, level) in enumerate(track(kept, "cutting", console=console)):
        ring = ring.copy()
        ring[ring[:, 0] >= 179.9999, 0] = 180.0 + BEYOND_180_DEG
        ring[ring[:, 0] <= -179.9999, 0] = -180.0 - BEYOND_180_DEG
        for column, strip in cut_in_tiles(ring, 0):
            for row, piece in cut_in_tiles(strip, 1):
                if len(piece) >= 3:
                    tiles.setdefault(row * columns + column, []).append((piece, level, named.get(k)))
    bodies, pieces, vertices = [], 0, 0
    seas: dict[str, dict[int, list[int]]] = {name: {} for name in SEAS}
    for tile in track(range(columns * rows), "packing", console=console):
        row, column = divmod(tile, columns)
        here = tiles.get(tile, [])
        simple = simplify([ring for ring, _, _ in here], tolerance_m) if here else []
        rounded = [quantise(ring, column, row) for ring in simple]
        rings = [
            (steps, level, sea)
            for steps, (_, level, sea) in zip(rounded, here, strict=True)
            if steps is not None
        ]
        rings.sort(key=lambda item: (item[1], *along_snake(item[0][0])))
        for index, (_, _, sea) in enumerate(rings):
            if sea is not None:
                seas[sea].setdefault(tile, []).append(index)
        bodies.append(encode([(steps, level) for steps, level, _ in rings]) if rings else b"")
        pieces += len(rings)
        vertices += sum(len(steps) for steps, _, _ in rings)
    header = {
        "format": FORMAT,
        "name": "osm-land",
        "tolerance_m": tolerance_m,
        "tile_deg": TILE_DEG,
        "step_deg": STEP_DEG,
        "overlap_deg": OVERLAP_DEG,
        "seas": seas,
        **facts,
        "attribution": "(c) OpenStreetMap contributors",
        "licence": "ODbL-1.0, https://opendatacommons.org/licenses/odbl/1-0/",
    }
    offsets = np.cumsum([0] + [len(body) for body in bodies]).astype("<u4").tobytes()
    tail = offsets + b"".join(bodies)
    text = json.dumps({**header, "sha256": hashlib.sha256(tail).hexdigest()}).encode()
    data = MAGIC + len(text).to_bytes(4, "little") + text + tail
    console.print(f"{pieces} pieces, {vertices} vertices, {len(data) / 1e6:.2f} MB")
    return data


def compare(coastline: Coastline, rings: list[Points]) -> None:
    """Print how far the reference's shore lies from the baked shore, and back, in sample areas."""
    extents = np.array([(*ring.min(axis=0), *ring.max(axis=0)) for ring in rings])
    for name, box in SAMPLES.items():
        west, south, east, north = box
        wide = (west - 0.2, south - 0.2, east + 0.2, north + 0.2)
        ours = segments([ring.points for ring in coastline.polygons(*wide)], wide)
        near = ((extents[:, :2] <= wide[2:]) & (extents[:, 2:] >= wide[:2])).all(axis=1)
        theirs = segments([rings[k] for k in np.flatnonzero(near)], wide)
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
    """Bake, write, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "land", type=Path, help="wheel of roaring-landmask, or land polygons as .wkb, .wkb.xz"
    )
    parser.add_argument("inland", type=Path, help="archive of @geo-maps/earth-lands: inland waters")
    parser.add_argument("--date", default="2026-08", help="when the land polygons were published")
    parser.add_argument("--out", type=Path, default=ROOT / "engine/runtime/data/coastline.bin")
    parser.add_argument("--tolerance-m", type=int, default=120, help="of the simplification")
    parser.add_argument("--min-island-km2", type=float, default=0.01, help="smallest island to keep")
    parser.add_argument("--min-water-km2", type=float, default=20.0, help="smallest inland water to keep")
    arguments = parser.parse_args()
    kept, land_digest, inland_digest = gather(arguments)
    facts = {
        "date": arguments.date,
        "min_island_km2": arguments.min_island_km2,
        "min_inland_water_km2": arguments.min_water_km2,
        "source": f"land: {arguments.land.name}; inland waters: {arguments.inland.name}",
        "land_sha256": land_digest,
        "inland_sha256": inland_digest,
    }
    data = bake(kept, arguments.tolerance_m, facts)
    coastline = Coastline(data)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_bytes(data)
    console.print(f"wrote {arguments.out} as {coastline.version}")
    compare(coastline, [ring for ring, _ in kept])


if __name__ == "__main__":
    main()
