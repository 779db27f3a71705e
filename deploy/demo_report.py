"""What the demo prints of its results: truth against detections, and a question to the database."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table
from sqlalchemy import URL, create_engine, text
from sqlalchemy.pool import NullPool

TOLERANCE_M = 100.0  # or half the length, where that is more
CLASSES_M = ((0, 25), (25, 50), (50, 100), (100, 200), (200, 1000))
DEGREE_M = 111_195.0

QUESTION = """\
-- Ships over 150 m where the pass before had looked, and found nothing within 500 m
SELECT ship.acquired::date AS day, ship.length_m::int, ship.score::numeric(3, 2),
       ST_X(ship.position::geometry)::numeric(9, 4) AS longitude,
       ST_Y(ship.position::geometry)::numeric(9, 4) AS latitude,
       before.start::date AS looked_before
FROM current_detections AS ship
JOIN LATERAL (
    SELECT acquisition.id, acquisition.start
    FROM acquisition
    JOIN coverage ON coverage.run_id = acquisition.current_run_id
    WHERE acquisition.start < ship.acquired
      AND ST_Covers(coverage.valid_area, ship.position)
    ORDER BY acquisition.start DESC LIMIT 1
) AS before ON true
WHERE ship.class = 'ship' AND ship.length_m > 150
  AND NOT EXISTS (
    SELECT FROM current_detections AS other
    WHERE other.acquisition_id = before.id
      AND ST_DWithin(other.position, ship.position, 500)
  )
ORDER BY ship.length_m DESC LIMIT 10"""


@dataclass(frozen=True)
class Thing:
    """An object of the truth or of the detections."""

    label: str
    lon_deg: float
    lat_deg: float
    length_m: float
    ghost: bool = False


def runs(url: URL) -> int:
    """Count the runs that are stored."""
    return int(query(url, "SELECT count(*) FROM run")[0][0])


def accuracy(console: Console, url: URL, scenes: Path) -> None:
    """Print recall by length and precision over all scenes.

    A detection and an object of the truth match where their centres are within 100 m, or within half the
    object's length where that is more; nearest pairs first, each used once. Ghosts (echoes of a ship in a
    wrong place, as real radar shows them) are no objects: a detection on one counts as false, unless it is
    flagged as a ghost. Flagged detections are counted apart.
    """
    totals: Counter[tuple[str, int]] = Counter()
    found: Counter[tuple[str, int]] = Counter()
    detected = right = right_class = on_ghosts = flagged = flagged_right = 0
    for product in sorted(scenes.glob("*.SAFE")):
        truth = read_truth(product)
        all_seen = read_detections(url, product.name.removesuffix(".SAFE"))
        seen, suspects = [s for s in all_seen if not s.ghost], [s for s in all_seen if s.ghost]
        real, ghosts = [t for t in truth if not t.ghost], [t for t in truth if t.ghost]
        pairs = match(real, seen)
        flagged += len(suspects)
        flagged_right += len(match(ghosts, suspects))
        totals.update(kind_of(thing) for thing in real)
        found.update(kind_of(real[i]) for i, _ in pairs)
        detected += len(seen)
        right += len(pairs)
        right_class += sum(real[i].label == seen[j].label for i, j in pairs)
        taken = {j for _, j in pairs}
        on_ghosts += len(match(ghosts, [s for j, s in enumerate(seen) if j not in taken]))
    table = Table("objects", "truth", "found", "recall", title="simulated scenes", title_justify="left")
    for kind in sorted(totals):
        label, low = kind
        high = dict(CLASSES_M).get(low)
        name = label if label != "ship" else f"ships, {low} to {high} m"
        table.add_row(name, str(totals[kind]), str(found[kind]), ratio(found[kind], totals[kind]))
    table.add_section()
    over_50 = [kind for kind in totals if kind[0] == "ship" and kind[1] >= 50]
    many, seen_many = sum(totals[k] for k in over_50), sum(found[k] for k in over_50)
    table.add_row("ships over 50 m", str(many), str(seen_many), ratio(seen_many, many))
    table.add_row("all", str(totals.total()), str(found.total()), ratio(found.total(), totals.total()))
    console.print(table)
    area = query(url, "SELECT sum(area_km2) FROM coverage JOIN acquisition ON current_run_id = run_id")[0][0]
    false = detected - right
    console.print(
        f"{detected} detections, {right} on objects: precision {ratio(right, detected)}; class right in "
        f"{ratio(right_class, right)} of those. {false} false, {on_ghosts} of them on ghosts: "
        f"{1000 * false / area:.2f} false in 1,000 km² of {area:,.0f} km² of sea."
        if area
        else "nothing was looked at"
    )
    if flagged:
        console.print(f"{flagged} more are flagged as azimuth ghosts: {flagged_right} of them are.")


def ratio(part: int, whole: int) -> str:
    """Return a ratio with two digits, or a dash."""
    return f"{part / whole:.2f}" if whole else "-"


def kind_of(thing: Thing) -> tuple[str, int]:
    """Return the class, and for ships the lower bound of the length class."""
    if thing.label != "ship":
        return thing.label, 0
    return "ship", next(low for low, high in CLASSES_M if thing.length_m < high)


def match(truth: list[Thing], seen: list[Thing]) -> list[tuple[int, int]]:
    """Pair things whose centres are near, nearest first, each once; indices of both."""
    near = []
    for i, a in enumerate(truth):
        for j, b in enumerate(seen):
            distance_m = math.hypot(
                (a.lon_deg - b.lon_deg) * DEGREE_M * math.cos(math.radians(a.lat_deg)),
                (a.lat_deg - b.lat_deg) * DEGREE_M,
            )
            if distance_m <= max(TOLERANCE_M, a.length_m / 2):
                near.append((distance_m, i, j))
    pairs: list[tuple[int, int]] = []
    used_i: set[int] = set()
    used_j: set[int] = set()
    for _, i, j in sorted(near):
        if i not in used_i and j not in used_j:
            used_i.add(i)
            used_j.add(j)
            pairs.append((i, j))
    return pairs


def read_truth(product: Path) -> list[Thing]:
    """Read what the simulator put into a scene."""
    file = product.with_name(product.name.removesuffix(".SAFE") + ".truth.geojson")
    things = []
    for feature in json.loads(file.read_text())["features"]:
        lon, lat = feature["geometry"]["coordinates"][:2]
        known = feature["properties"]
        ghost = known.get("ghost_of") is not None
        things.append(Thing(known["class"], lon, lat, known.get("length_m") or 0.0, ghost))
    return things


def read_detections(url: URL, product: str) -> list[Thing]:
    """Read the current detections of a product."""
    statement = """
        SELECT class, ST_X(position::geometry), ST_Y(position::geometry), length_m,
               jsonb_exists(flags, 'azimuth_ghost')
        FROM current_detections JOIN product ON product.id = product_id WHERE product.name = :product
    """
    return [Thing(*row) for row in query(url, statement, product=product)]


def question(console: Console, url: URL) -> None:
    """Ask the database what an alert would, and print question and answer."""
    console.print(Syntax(QUESTION, "sql", background_color="default", word_wrap=True))
    table = Table("day", "length m", "score", "longitude", "latitude", "looked before")
    answers = query(url, QUESTION)
    for row in answers:
        table.add_row(*map(str, row))
    console.print(table if answers else "no such ship")


def query(url: URL, statement: str, **values: Any) -> list[Any]:
    """Return the rows of a statement."""
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        found = list(connection.execute(text(statement), values))
    engine.dispose()
    return found
