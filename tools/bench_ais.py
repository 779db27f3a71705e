"""How often detections are matched with the right vessel, and how often silence is claimed wrongly.

Simulates scenes (kept in .demo/ais between calls), finds what is there with the engine that ships, and makes
AIS from the truth: each ship's echo stands where the simulator put it, so the ship itself is where the
azimuth shift of its speed says, and sails along its course from there. Some are switched off; a part of each
scene, behind a straight line, is heard by no receiver; messages are lost, rounded, and some lengths are
wrong. Drawn several times over the same detections. Compared with the nearest vessel within 500 m, with and
without shift, and with reception proven by one vessel within 10 km instead of by vessels all around.

The shift comes from the formula that is under test: tests/daemon/ais/test_match.py holds that to the radar's
geometry from first principles. Simulated data: nothing here is a claim about real scenes. The last line is
JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.optimize import linear_sum_assignment

from daemon.ais.match import Echo, match
from daemon.ais.reception import ReceptionRule
from daemon.ais.reports import MPS_PER_KNOT
from daemon.ais.track import Fix, Vessel, states
from daemon.domain import Detection
from daemon.pipeline import process
from daemon.scene.product import Scene, open_scene
from engine.runtime.geometry import ecef_from_geodetic, geodetic_from_ecef, local_axes
from engine.runtime.land import Coastline
from engine.runtime.predictor import Predictor

ROOT = Path(__file__).resolve().parents[1]
OFF, UNHEARD = 0.15, 0.3  # share of ships switched off; of the scene beyond any receiver
RULES = {
    "around, within 10 km": ReceptionRule(reach_m=10_000.0),
    "around, within 20 km": ReceptionRule(),
    "around, within 40 km": ReceptionRule(reach_m=40_000.0),
    "one within 10 km": ReceptionRule(reach_m=10_000.0, gap_deg=361.0),
}
NEAREST_M = 500.0


@dataclass(frozen=True)
class Ship:
    """A ship of the truth, and the detection that it gave, if any."""

    number: int
    lon_deg: float  # of its echo
    lat_deg: float
    length_m: float
    time_s: float
    azimuth_deg: float
    slant_s: float  # R/V times the sine of the incidence
    across: float  # 0 to 1 over the scene's samples
    along: float


@dataclass(frozen=True)
class Seen:
    """A scene as it was found."""

    echoes: tuple[Echo, ...]
    ships: tuple[Ship, ...]
    of: dict[str, int]  # detection: number of the ship
    first_s: float
    last_s: float


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", default="20261124", help="Not a seed of training chips or of the demo.")
    parser.add_argument("--scenes", default="2")
    parser.add_argument("--size", default="6000x6000")
    parser.add_argument("--draws", type=int, default=20, help="Of the AIS, for each scene.")
    parser.add_argument("--folder", type=Path, help="Of simulated products that are there already.")
    arguments = parser.parse_args()
    folder = (
        arguments.folder or ROOT / ".demo" / "ais" / f"{arguments.seed}-{arguments.scenes}-{arguments.size}"
    )
    if not folder.exists():
        program = Path(sys.executable).parent / "fusar-engine"
        order = ["simulate", str(folder), "--scenes", arguments.scenes, "--seed", arguments.seed]
        subprocess.run([program, *order, "--size", arguments.size], check=True)
    predictor, coastline = Predictor.open(), Coastline.load()
    products = sorted(folder.glob("*.SAFE"))
    scenes = [look(product, predictor, coastline) for product in track(products, "looking")]
    counts = {name: Counter[str]() for name in ("likelihood", "nearest", "nearest, no shift")}
    silence = {name: Counter[str]() for name in RULES}
    for number in track(range(arguments.draws), "drawing"):
        for index, scene in enumerate(scenes):
            draw(scene, np.random.default_rng([int(arguments.seed), number, index]), counts, silence)
    rows = {name: shares(count) for name, count in counts.items()}
    show(rows, silence, scenes, arguments.draws)
    found = {"benchmark": "ais", "seed": arguments.seed, "scenes": len(scenes), "draws": arguments.draws}
    found["ships"] = sum(len(scene.of) for scene in scenes)
    silent = {name: dict(sorted(count.items())) for name, count in silence.items()}
    print(json.dumps({**found, "matching": rows, "silence": silent}))


def look(product: Path, predictor: Predictor, coastline: Coastline) -> Seen:
    """Find what is in a scene, and which ship of the truth each detection is."""
    result = process(str(product), predictor, None, coastline)
    collection = json.loads(product.with_suffix(".truth.geojson").read_text())
    with open_scene(str(product)) as scene:
        truth = [
            ship_of(scene, number, feature)
            for number, feature in enumerate(collection["features"])
            if feature["properties"]["class"] == "ship" and feature["properties"]["ghost_of"] is None
        ]
        first, last = (scene.geometry.time_utc(line).timestamp() for line in (0, scene.shape[0] - 1))
    echoes = tuple(echo_of(detection) for detection in result.detections)
    cost = np.array([[distance_m(e, s) / max(100.0, s.length_m / 2) for s in truth] for e in echoes]).reshape(
        len(echoes), len(truth)
    )
    rows, columns = linear_sum_assignment(np.minimum(cost, 1.5))
    of = {echoes[i].id: truth[k].number for i, k in zip(rows, columns, strict=True) if cost[i, k] <= 1}
    return Seen(echoes, tuple(truth), of, first, last)


def ship_of(scene: Scene, number: int, feature: dict[str, Any]) -> Ship:
    """Read a ship of the truth, with what its echo tells of the radar."""
    known = feature["properties"]
    line, sample = known["line_px"], known["sample_px"]
    geometry = scene.geometry
    slant = float(geometry.range_to_velocity_s(line, sample))
    return Ship(
        number,
        *feature["geometry"]["coordinates"][:2],
        known["length_m"],
        geometry.time_utc(line).timestamp(),
        float(geometry.heading_deg(line, sample)),
        slant * math.sin(math.radians(float(geometry.incidence_deg(line, sample)))),
        sample / scene.shape[1],
        line / scene.shape[0],
    )


def echo_of(d: Detection) -> Echo:
    """Take what matching needs of a detection."""
    return Echo(
        d.id, d.label, d.lon_deg, d.lat_deg, d.length_m, d.length_low_m, d.length_high_m, d.incidence_deg,
        d.sensed.timestamp() if d.sensed else None, d.range_to_velocity_s, d.azimuth_deg,
    )  # fmt: skip


def draw(
    scene: Seen,
    rng: np.random.Generator,
    counts: dict[str, Counter[str]],
    silence: dict[str, Counter[str]],
) -> None:
    """Draw the AIS of a scene once, match, and count."""
    angle, heard, sends, vessels = rng.uniform(0, 2 * math.pi), set(), set(), []
    place = {s.number: math.cos(angle) * s.across + math.sin(angle) * s.along for s in scene.ships}
    beyond = np.quantile(list(place.values()), 1 - UNHEARD)
    for ship in scene.ships:
        on = rng.random() > OFF
        vessel = vessel_of(ship, rng)
        if on:
            sends.add(ship.number)
        if on and place[ship.number] < beyond and vessel.fixes:
            heard.add(ship.number)
            vessels.append(vessel)
    for extra in range(len(scene.ships) // 5):  # boats too small to be seen
        like = scene.ships[int(rng.integers(len(scene.ships)))]
        lon, lat = like.lon_deg + rng.normal(0, 0.05), like.lat_deg + rng.normal(0, 0.05)
        if place[like.number] < beyond:
            boat = replace(like, number=100_000 + extra, lon_deg=lon, lat_deg=lat, length_m=12.0)
            vessels.append(vessel_of(boat, rng))
    fates = {
        number: "heard" if number in heard else "off" if number not in sends else "unheard"
        for number in place
    }
    inside = {number for number, where in place.items() if where < beyond}
    for rule_name, rule in RULES.items():
        found = match(scene.echoes, vessels, scene.first_s, scene.last_s, rule)
        claims = {m.detection_id: m.mmsi if m.status == "matched" else m.status for m in found.matches}
        for id_, number in scene.of.items():
            if fates[number] != "heard":
                name = f"off, {'within' if number in inside else 'beyond'} reception"
                name = name if fates[number] == "off" else "sends, beyond reception"
                claim = claims[id_]
                silence[rule_name][f"{name}: {claim if isinstance(claim, str) else 'matched'}"] += 1
        if rule == ReceptionRule():
            chosen = {id_: mmsi for id_, mmsi in claims.items() if not isinstance(mmsi, str)}
            tally(counts["likelihood"], chosen, scene.of, heard)
    for name, shifted in (("nearest", True), ("nearest, no shift", False)):
        tally(counts[name], nearest(scene, vessels, shifted), scene.of, heard)


def vessel_of(ship: Ship, rng: np.random.Generator) -> Vessel:
    """Draw a ship's motion and what of its AIS arrives in the 20 minutes before and after."""
    moving = rng.random() < 0.6
    speed = rng.uniform(2.0, 11.0) if moving else 0.0
    course, turn = rng.uniform(0, 360), rng.choice([0.0, 0.0, 0.0, 0.05, -0.05]) if moving else 0.0
    look = math.radians(ship.azimuth_deg + 90)
    shift_m = ship.slant_s * -speed * math.cos(math.radians(course) - look)
    east, north, _ = local_axes(ship.lon_deg, ship.lat_deg)
    along = math.radians(ship.azimuth_deg)
    origin = ecef_from_geodetic(ship.lon_deg, ship.lat_deg)
    origin = origin - shift_m * (math.sin(along) * east + math.cos(along) * north)
    every_s = float(rng.choice([10.0, 30.0, 480.0], p=[0.8, 0.15, 0.05]) if moving else 180.0)
    times = np.arange(-1200 + rng.uniform(0, every_s), 1200, every_s)
    times = times[rng.random(len(times)) > 0.3]
    bow = ship.length_m * rng.choice([0.2, 0.8, 0.9])
    fixes = []
    for t in times:
        heading = course + turn * t
        e, n = way(speed, course, turn, t)
        ahead = bow - ship.length_m / 2  # the antenna lies behind the middle by so much
        e -= ahead * math.sin(math.radians(heading))
        n -= ahead * math.cos(math.radians(heading))
        e, n = e + rng.normal(0, 5), n + rng.normal(0, 5)
        lon, lat, _ = geodetic_from_ecef(origin + e * east + n * north)
        knots = round(max(speed / MPS_PER_KNOT + rng.normal(0, 0.1), 0.0), 1)
        cog = round((heading + rng.normal(0, 1.0)) % 360, 1)
        sent = round(ship.time_s + t)  # to the second, up to half a second wrong
        fixes.append(Fix(float(sent), float(lon), float(lat), knots, cog, round(heading) % 360))
    stated = rng.choice([ship.length_m, None, rng.uniform(10, 300)], p=[0.85, 0.1, 0.05])
    antenna = bow if stated == ship.length_m and rng.random() < 0.7 else None
    return Vessel(ship.number, fixes, None, None if stated is None else float(stated), antenna)


def way(speed: float, course_deg: float, turn_deg_s: float, t: float) -> tuple[float, float]:
    """Return how far a ship has come since time 0, east and north, along a circle."""
    a = math.radians(course_deg)
    if turn_deg_s == 0:
        return speed * t * math.sin(a), speed * t * math.cos(a)
    w = math.radians(turn_deg_s)
    return speed / w * (math.cos(a) - math.cos(a + w * t)), speed / w * (math.sin(a + w * t) - math.sin(a))


def nearest(scene: Seen, vessels: Sequence[Vessel], shifted: bool) -> dict[str, int]:
    """Match by distance alone: the least sum of distances, none above 500 m."""
    far = 2 * NEAREST_M
    cost = np.full((len(scene.echoes), len(vessels)), far)
    places = ecef_from_geodetic([e.lon_deg for e in scene.echoes], [e.lat_deg for e in scene.echoes])
    for k, vessel in enumerate(vessels):
        found = states(vessel, (scene.first_s + scene.last_s) / 2)
        if not found:
            continue
        state = found[0]
        for i in np.flatnonzero(np.linalg.norm(places - state.position_m, axis=1) < 4000):
            e = scene.echoes[i]
            east, north, _ = local_axes(e.lon_deg, e.lat_deg)
            apart = places[i] - state.position_m
            x, y = float(apart @ east), float(apart @ north)
            if shifted and e.range_to_velocity_s is not None and e.azimuth_deg is not None:
                along = math.radians(e.azimuth_deg)
                across = state.velocity[0] * math.cos(along) - state.velocity[1] * math.sin(along)
                shift = -e.range_to_velocity_s * math.sin(math.radians(e.incidence_deg)) * across
                x, y = x - shift * math.sin(along), y - shift * math.cos(along)
            cost[i, k] = min(math.hypot(x, y), far)
    rows, columns = linear_sum_assignment(cost)
    return {
        scene.echoes[i].id: vessels[k].mmsi
        for i, k in zip(rows, columns, strict=True)
        if cost[i, k] <= NEAREST_M
    }


def tally(count: Counter[str], chosen: dict[str, int], of: dict[str, int], heard: set[int]) -> None:
    """Count right and wrong matches, and the detections of ships that were heard."""
    count["matched"] += len(chosen)
    count["right"] += sum(of.get(id_) == mmsi for id_, mmsi in chosen.items())
    count["to be matched"] += sum(number in heard for number in of.values())


def shares(count: Counter[str]) -> dict[str, float]:
    """Return precision and recall, with the numbers that they are of."""
    return {
        "precision": round(count["right"] / max(count["matched"], 1), 4),
        "recall": round(count["right"] / max(count["to be matched"], 1), 4),
        **count,
    }


def distance_m(echo: Echo, ship: Ship) -> float:
    """Return how far a detection lies from a ship's echo."""
    north = (echo.lat_deg - ship.lat_deg) * 111_195
    east = (echo.lon_deg - ship.lon_deg) * 111_195 * math.cos(math.radians(ship.lat_deg))
    return math.hypot(east, north)


def show(
    rows: dict[str, dict[str, float]],
    silence: dict[str, Counter[str]],
    scenes: Sequence[Seen],
    draws: int,
) -> None:
    """Print both tables."""
    console = Console()
    console.print(
        f"{len(scenes)} simulated scenes, {sum(len(s.of) for s in scenes)} ships found, {draws} draws"
    )
    table = Table("matched by", "precision", "recall", "right", "matched", "to be matched")
    for name, row in rows.items():
        table.add_row(
            name, *(str(row[k]) for k in ("precision", "recall", "right", "matched", "to be matched"))
        )
    console.print(table)
    table = Table("a ship found that", "reception proven by", "matched wrongly", "unmatched", "unknown")
    names = ("off, within reception", "off, beyond reception", "sends, beyond reception")
    for name in names:
        for rule_name, count in silence.items():
            got = [count[f"{name}: {claim}"] for claim in ("matched", "unmatched", "unknown")]
            cells = [f"{100 * n / max(sum(got), 1):.1f}%" for n in got]
            table.add_row(name, rule_name, *cells)
    console.print(table)


if __name__ == "__main__":
    main()
