"""Time a scene's alerts over a long history and many areas, and check them against brute force.

    python tools/bench_alerts.py --detections 100000 1000000 10000000

A database of its own is made and filled step by step, dropped at the end. Each step adds earlier passes
over the same footprints: what lies at a place grows with the history. New scenes are then recorded and
judged, each in one transaction; what is timed is the judging with the commit of all of it.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from rich.console import Console
from sqlalchemy import create_engine, insert, make_url, select, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from daemon.alerts import backtest  # noqa: E402
from daemon.alerts.definition import build  # noqa: E402
from daemon.alerts.evaluate import evaluate_run  # noqa: E402
from daemon.store import alerts, schema  # noqa: E402
from daemon.store.alert_tables import AlertRule, AlertRuleVersion  # noqa: E402
from daemon.store.session import Store  # noqa: E402
from engine.runtime.geometry import ecef_from_geodetic  # noqa: E402

SHIPS = 500  # of a scene
WIDE, HIGH = 2.2, 1.6  # degrees
END = datetime(2026, 1, 1, tzinfo=timezone.utc)
LAYERS, COLUMNS, ROWS = 5, 5, 2  # areas over a footprint: five layers, each of ten that share borders

console = Console(stderr=True)

# One pass over some footprints; :k counts passes back from the newest, and forth below zero.
_SCENES = """
INSERT INTO acquisition (platform, datatake, mode, polarisations, start, stop, absolute_orbit, relative_orbit,
                         orbit_direction, footprint, state)
SELECT 'S1A', g * 10000 + k + 1000, 'IW', '{VV,VH}', t, t + interval '25 s', k + 2000, 10 + k % 2,
       CASE k % 2 WHEN 0 THEN 'ascending' ELSE 'descending' END,
       ST_Multi(ST_MakeEnvelope(lon, lat, lon + 2.2, lat + 1.6, 4326))::geography, 'done'
FROM unnest(CAST(:g AS int[])) AS g
CROSS JOIN generate_series(CAST(:first AS int), CAST(:last AS int)) AS k
CROSS JOIN LATERAL (
    SELECT -150 + 14 * (g % 20) AS lon, -45 + 9 * (g / 20) AS lat,
           CAST(:end AS timestamptz) - make_interval(days => 11 * (k + 1), mins => g) AS t
) AS at;
INSERT INTO product (acquisition_id, name, uri, kind, product_type, unique_id, source, state, ipf)
SELECT id, 'P' || datatake, '/p', 'SAFE', 'GRD', '0000', 'bench', 'current', '003.60'
FROM acquisition WHERE current_run_id IS NULL;
INSERT INTO run (id, acquisition_id, product_id, kind, outcome, code, land, settings, saturated, prior_status,
                 counts, timings_s, notes)
SELECT md5(a.datatake::text), a.id, p.id, 'SAFE', 'done', 'c', 'l', 's', false, 'absent', '{}', '{}', '[]'
FROM acquisition a JOIN product p ON p.acquisition_id = a.id WHERE a.current_run_id IS NULL;
INSERT INTO coverage (run_id, valid_area, area_km2, valid_fraction, land_fraction, rcs_model, clutter)
SELECT md5(datatake::text), ST_Segmentize(footprint::geometry, 0.05)::geography, 40000, 1, 0, 'm', '[]'
FROM acquisition WHERE current_run_id IS NULL;
INSERT INTO coverage_part (run_id, part)
SELECT c.run_id, ST_Subdivide(c.valid_area::geometry, 64) FROM coverage c
JOIN acquisition a ON c.run_id = md5(a.datatake::text) WHERE a.current_run_id IS NULL;
INSERT INTO detection (id, run_id, class, score, position, line_px, sample_px, length_m, length_low_m,
                       length_high_m, incidence_deg, measured, box_px, cell_row, cell_column, prior_status,
                       flags, brightness_db, edge_m)
SELECT md5(a.datatake || '-' || i), md5(a.datatake::text),
       CASE WHEN i % 20 = 0 THEN 'platform' ELSE 'ship' END,
       0.4 + 0.6 * random(), ST_SetSRID(ST_MakePoint(lon, lat), 4326)::geography, 1, 1, l, 0.8 * l, 1.2 * l,
       38, 'pixels', '{1,2,3,4}', 1, 1, 'absent',
       CASE WHEN i % 25 = 0 THEN '{"azimuth_ghost": {"order": 1}}'::jsonb ELSE '{}' END, 1.0, 90000
FROM acquisition a
CROSS JOIN generate_series(1, 500) AS i
CROSS JOIN LATERAL (
    SELECT 2 * i + abs(a.absolute_orbit) % 2 AS place, a.datatake / 10000 AS g, 30 + 200 * random() ^ 2 AS l
) AS of
CROSS JOIN LATERAL (
    SELECT -150 + 14 * (g % 20) + CASE WHEN i <= 75 THEN 2.2 * mod(place * 0.7548776662 + g * 0.31, 1)
               + 0.0002 * random() ELSE 2.2 * random() END AS lon,
           -45 + 9 * (g / 20) + CASE WHEN i <= 75 THEN 1.6 * mod(place * 0.5698402910 + g * 0.17, 1)
               + 0.0002 * random() ELSE 1.6 * random() END AS lat
) AS at
WHERE a.current_run_id IS NULL;
UPDATE acquisition SET current_run_id = md5(datatake::text) WHERE current_run_id IS NULL
"""
_SIGHTINGS = """
INSERT INTO sighting (detection_id, cell, sensed, position, class, pass)
SELECT d.id, place_cell(d.position), a.start, d.position, d.class, a.platform || '-' || a.datatake
FROM acquisition a JOIN detection d ON d.run_id = a.current_run_id
WHERE a.absolute_orbit BETWEEN :first + 2000 AND :last + 2000
"""
_MATCHES = """
INSERT INTO ais_match (detection_id, status, mmsi, evidence)
SELECT id, CASE WHEN length_m > 90 THEN 'unmatched' ELSE 'unknown' END, NULL, '{}' FROM detection
WHERE run_id = :run AND substr(id, 1, 1) < '8'
"""
_AREA = text(  # without its size in km2, which takes long and is not asked for here
    "INSERT INTO alert_area (id, outline, area_km2, sea_km2, vertices) "
    "VALUES (:id, ST_GeomFromWKB(:wkb, 4326), 1, 1, 1)"
)
_LOADED = ("detection", "sighting")


def footprints(areas: int) -> int:
    """Return over how many footprints areas lie, fifty on each."""
    return math.ceil(areas / (LAYERS * COLUMNS * ROWS))


def main() -> None:
    """Run the steps, print a table, and last a line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--detections", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--areas", type=int, default=10_000)
    parser.add_argument("--scenes", type=int, default=60, help="judged and timed at each step")
    parser.add_argument("--checked", type=int, default=3, help="of them compared with brute force")
    parser.add_argument("--url", help="administrator of a PostGIS; that of make services by default")
    parser.add_argument("--keep", action="store_true", help="keep the database")
    parser.add_argument("--reuse", action="store_true", help="go on with the database that was kept")
    given = parser.parse_args()
    url = make_url(given.url or Path(".services/postgis.url").read_text().strip())
    admin = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        if not given.reuse:
            connection.execute(text("DROP DATABASE IF EXISTS fusar_bench WITH (FORCE)"))
            connection.execute(text("CREATE DATABASE fusar_bench"))
        durable = connection.scalar(text("SELECT current_setting('fsync')"))
    store = Store(url.set(database="fusar_bench").render_as_string(hide_password=False))
    try:
        schema.upgrade(store)
        figures = bench(store, given)
        figures["fsync"] = durable
    finally:
        store.close()
        if not given.keep:
            with admin.connect() as connection:
                connection.execute(text("DROP DATABASE IF EXISTS fusar_bench WITH (FORCE)"))
    print(json.dumps(figures))


def bench(store: Store, given: argparse.Namespace) -> dict[str, Any]:
    """Make areas and rules, then step by step history, new scenes, and a back-test."""
    areas = make_areas(given.areas, np.random.default_rng(7))
    began = time.monotonic()
    rules = make_rules(store, areas)
    vertices = [int(shapely.get_num_coordinates(area)) for area in areas]
    print(
        f"{len(areas)} areas of {min(vertices)} to {max(vertices)} vertices "
        f"({sum(vertices) / 1e6:.1f} million), each a rule; entered in {time.monotonic() - began:.0f} s"
    )
    steps = []
    with store.transaction() as session:
        oldest = session.scalar(text("SELECT max(absolute_orbit) - 1999 FROM acquisition"))
        newest = session.scalar(text("SELECT min(absolute_orbit) FROM acquisition")) or 2000
        number = footprints(given.areas) * max(0, 2000 - newest)
    done = max(oldest or 0, 0)
    for wanted in given.detections:
        over = footprints(given.areas)
        passes = max(1, round(wanted / over / SHIPS))
        began = time.monotonic()
        load(store, over, done, passes - 1)
        done = max(done, passes)
        filled_s = time.monotonic() - began
        runs = [judged(store, over, number + n) for n in range(given.scenes)]
        number += given.scenes
        checked = [compare(store, run["run"], areas, rules) for run in runs[: given.checked]]
        if not runs:
            continue
        steps.append(summary(store, passes * over * SHIPS, runs, checked, filled_s))
    return {"areas": len(areas), "steps": steps, "backtest": back(store, rules) if steps else []}


def make_areas(count: int, random: np.random.Generator) -> list[Any]:
    """Return polygons of 100 to 5,000 vertices: tiles of five layers over each footprint, bent alike.

    Neighbours share their borders, up to how finely each follows the bends.
    """
    areas = []
    for footprint in range(footprints(count)):
        west, south = -150 + 14 * (footprint % 20), -45 + 9 * (footprint // 20)
        for layer in range(LAYERS):
            for column in range(COLUMNS):
                for row in range(ROWS):
                    edges = max(25, round(math.exp(random.uniform(math.log(100), math.log(5000))) / 4))
                    u = np.linspace(0, 1, edges, endpoint=False)
                    ring = np.concatenate(
                        [
                            np.stack(p, 1)
                            for p in ((u, 0 * u), (0 * u + 1, u), (1 - u, 0 * u + 1), (0 * u, 1 - u))
                        ]
                    )
                    x, y = (ring[:, 0] + column) / COLUMNS, (ring[:, 1] + row) / ROWS
                    bend = np.sin(np.pi * x) * np.sin(np.pi * y)  # none at the footprint's own border
                    x, y = (
                        x + 0.03 * bend * np.sin(40 * y + layer),
                        y + 0.03 * bend * np.sin(37 * x + 2 * layer),
                    )
                    margin = 0.01  # nothing of the footprint is left out
                    lon = west + WIDE * (x * (1 + 2 * margin) - margin)
                    lat = south + HIGH * (y * (1 + 2 * margin) - margin)
                    areas.append(shapely.Polygon(np.stack([lon, lat], 1)))
    return areas[:count]


def asks(number: int) -> dict[str, Any]:
    """Return what the rule of an area asks: a quarter look back, others by length, gap, AIS."""
    rule: dict[str, Any] = {"name": f"rule-{number}", "score": 0.6}
    kind = number % 8
    if kind in (0, 1):
        rule["recurrence"] = {"at_least": 2, "days": 60, "within_m": 200}
    elif kind == 2:
        rule.update(recurrence={"at_most": 0, "days": 40, "within_m": 300}, length_m={"min": 150})
    elif kind == 3:
        rule.update(minimum_gap={"hours": 24 * 40, "within_m": 300}, length_m={"min": 150})
    elif kind == 4:
        rule["ais"] = {"status": ["unmatched"], "length_m": 100}
    else:
        rule["length_m"] = {"min": 120 + 10 * (number % 7)}
    return rule


def make_rules(store: Store, areas: list[Any]) -> dict[int, dict[str, Any]]:
    """Enter a rule for each area, all in force; return what they ask, by rule.

    In bulk, and otherwise as `alerts.add_rule` and `enable` do.
    """
    asked = {f"rule-{n}": build(asks(n)) for n in range(len(areas))}
    with store.transaction() as session:
        if not session.scalar(text("SELECT count(*) FROM alert_rule")):
            for start in range(0, len(areas), 500):
                rows = [
                    {"id": f"{start + n:032x}", "wkb": shapely.MultiPolygon([area]).wkb}
                    for n, area in enumerate(areas[start : start + 500])
                ]
                session.connection().execute(_AREA, rows)
                console.print(f"{start + len(rows)} areas entered", end="\r")
            session.execute(text(alerts.ADD_PARTS.text.replace("WHERE id = :id", "")))
            session.execute(insert(AlertRule), [{"name": name} for name in asked])
            ids = dict(session.execute(select(AlertRule.name, AlertRule.id)).all())
            session.execute(
                insert(AlertRuleVersion),
                [
                    {
                        "rule_id": ids[name],
                        "number": 1,
                        "definition": rule.plain(),
                        "area_id": f"{n:032x}",
                        **rule.columns(),
                    }
                    for n, (name, rule) in enumerate(asked.items())
                ],
            )
            session.execute(
                text(
                    "INSERT INTO alert_rule_period (rule_id, version_id) "
                    "SELECT rule_id, id FROM alert_rule_version"
                )
            )
        found = session.execute(select(AlertRule.id, AlertRule.name)).all()
    maintain(store, "ANALYZE")
    return {
        id_: {**asked[name].columns(), "area": int(name.removeprefix("rule-")), "name": name}
        for id_, name in found
    }


def load(store: Store, over: int, first: int, last: int) -> None:
    """Add passes, `first` and `last` included, over all footprints; after many the indexes are made anew."""
    if last < first:
        return
    with store.transaction() as session:
        drop, create = indexes(session) if last - first > 20 else ([], [])
        for statement in drop:
            session.execute(text(statement))
        session.execute(text("SET LOCAL session_replication_role = replica"))  # no look-up for each key
        session.execute(text("SET LOCAL synchronous_commit = off"))
        session.execute(text("SET LOCAL maintenance_work_mem = '1GB'"))
        session.execute(text(f"SELECT setseed({(last % 97) / 100})"))
        for start in range(first, last + 1, 10):
            scenes(session, list(range(over)), start, min(start + 9, last))
            console.print(f"passes {start} to {min(start + 9, last)} loaded", end="\r")
        session.execute(text(_SIGHTINGS), {"first": first, "last": last})
        for statement in create:
            session.execute(text(statement))
    maintain(store, "VACUUM (ANALYZE)")


def indexes(session: Session) -> tuple[list[str], list[str]]:
    """Return statements that drop the indexes of the large tables, keys aside, and make them again."""
    rows = session.execute(
        text(
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = ANY(:tables) "
            "AND indexname NOT LIKE 'pk_%'"
        ),
        {"tables": list(_LOADED)},
    ).all()
    return [f"DROP INDEX {name}" for name, _ in rows], [definition for _, definition in rows]


def scenes(session: Session, footprints: list[int], first: int, last: int) -> None:
    """Insert passes over footprints as runs leave them."""
    values = {"g": footprints, "first": first, "last": last, "end": END}
    for statement in _SCENES.split(";\n"):
        bound = {name: value for name, value in values.items() if f":{name}" in statement}
        session.execute(text(statement), bound)


def maintain(store: Store, statement: str) -> None:
    """Run a statement outside any transaction."""
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(statement))


def judged(store: Store, over: int, number: int) -> dict[str, Any]:
    """Record a new scene and judge it; return how long the judging and the commit took."""
    footprint, k = (number * 37) % over, -1 - number // over
    times = []
    with store.transaction() as session:
        session.execute(text(f"SELECT setseed({(number % 89) / 100})"))
        scenes(session, [footprint], k, k)
        run: str = session.scalars(
            text("SELECT md5(CAST(:datatake AS text))"), {"datatake": footprint * 10000 + k + 1000}
        ).one()
        session.execute(text(_MATCHES), {"run": run})
        times.append(time.monotonic())
        evaluate_run(session, run)
        times.append(time.monotonic())
    times.append(time.monotonic())
    return {"run": run, "judge_s": times[1] - times[0], "commit_s": times[2] - times[1]}


def summary(
    store: Store, held: int, runs: list[dict[str, Any]], checked: list[dict[str, int]], filled_s: float
) -> dict[str, Any]:
    """Print and return the figures of a step."""
    warm = [run["judge_s"] + run["commit_s"] for run in runs]
    with store.transaction() as session:
        size = session.scalar(text("SELECT pg_database_size(current_database())"))
        told = session.scalar(
            text("SELECT count(*) FROM alert WHERE run_id = ANY(:runs)"), {"runs": [r["run"] for r in runs]}
        )
    found = {
        "detections": held,
        "p50_ms": 1000 * statistics.median(warm),
        "p95_ms": 1000 * float(np.percentile(warm, 95)),
        "max_ms": 1000 * max(warm),
        "commit_p95_ms": 1000 * float(np.percentile([run["commit_s"] for run in runs], 95)),
        "alerts_per_scene": (told or 0) / len(runs),
        "pairs_per_detection": sum(c["pairs"] for c in checked) / max(len(checked), 1) / SHIPS,
        "checked_scenes": len(checked),
        "checked_alerts": sum(c["alerts"] for c in checked),
        "differences": sum(c["differences"] for c in checked),
        "size_gb": (size or 0) / 1e9,
        "filled_s": filled_s,
    }
    print(
        f"{found['detections']:>12,} detections ({found['size_gb']:.1f} GB, filled in {filled_s:.0f} s): "
        f"scene of {SHIPS} judged in {found['p50_ms']:.0f} ms (median), {found['p95_ms']:.0f} ms (95th), "
        f"{found['max_ms']:.0f} ms (slowest of {len(runs)}), {found['commit_p95_ms']:.0f} ms of it commit; "
        f"{found['alerts_per_scene']:.0f} alerts a scene, "
        f"{found['pairs_per_detection']:.2f} areas a detection; "
        f"{found['checked_alerts']} alerts checked, {found['differences']} differ",
        flush=True,
    )
    return found


def compare(store: Store, run: str, areas: list[Any], rules: dict[int, dict[str, Any]]) -> dict[str, int]:
    """Judge a scene by brute force, from the detections alone, and compare with its alerts."""
    query = """
        SELECT d.id, ST_X(d.position::geometry), ST_Y(d.position::geometry), d.class, d.score, d.length_m,
               d.length_low_m, d.flags <> '{}', m.status, a.start, a.datatake, a.relative_orbit,
               d.run_id = :run
        FROM acquisition a JOIN detection d ON d.run_id = a.current_run_id
        LEFT JOIN ais_match m ON m.detection_id = d.id
        WHERE a.datatake / 10000 = (SELECT datatake / 10000 FROM acquisition WHERE current_run_id = :run)
            AND a.start <= (SELECT start FROM acquisition WHERE current_run_id = :run)
    """
    with store.transaction() as session:
        rows = session.execute(text(query), {"run": run}).all()
        told = {
            tuple(r)
            for r in session.execute(
                text("SELECT rule_id, subject FROM alert WHERE run_id = :run"), {"run": run}
            )
        }
    own = [row for row in rows if row[12]]
    past = [row for row in rows if not row[12]]
    at = np.array([[row[1], row[2]] for row in own])
    xyz = ecef_from_geodetic(at[:, 0], at[:, 1], 0.0)
    back_xyz = ecef_from_geodetic(np.array([r[1] for r in past]), np.array([r[2] for r in past]), 0.0)
    age_d = np.array([(own[0][9] - r[9]) / timedelta(days=1) for r in past])
    label = np.array([r[3] for r in past])
    take = np.array([r[10] for r in past])
    orbit = np.array([r[11] for r in past])
    apart = [np.linalg.norm(back_xyz - one, axis=1) for one in xyz]
    looked = {float(d) for d in np.unique(age_d)}  # each earlier pass looked at all of the footprint
    wanted = set()
    pairs = 0
    for rule_id, rule in rules.items():
        area = areas[rule["area"]]
        box = area.bounds
        near = (at[:, 0] >= box[0]) & (at[:, 0] <= box[2]) & (at[:, 1] >= box[1]) & (at[:, 1] <= box[3])
        for i in np.flatnonzero(near):
            if not area.intersects(shapely.Point(at[i])):
                continue
            pairs += 1
            if fits(rule, own[i], apart[i], age_d, label == own[i][3], take, orbit, looked, own[i][11]):
                wanted.add((rule_id, own[i][0]))
    return {"alerts": len(wanted), "differences": len(wanted ^ told), "pairs": pairs}


def fits(
    rule: dict[str, Any],
    row: Any,
    apart: Any,
    age_d: Any,
    same: Any,
    take: Any,
    orbit: Any,
    looked: Any,
    mine: int,
) -> bool:
    """Say whether a detection fits a rule."""
    _, _, _, class_, score, length, low, flagged, status, *_ = row
    if class_ not in rule["classes"] or score < rule["score_min"] or flagged:
        return False
    if rule["length_min_m"] is not None and length < rule["length_min_m"]:
        return False
    if rule["ais"] and ((status or "unknown") not in rule["ais"] or low < rule["ais_length_m"]):
        return False
    if rule["seen_days"]:
        seen = len(set(take[(apart <= rule["seen_within_m"]) & (age_d <= rule["seen_days"]) & same]))
        looks = sum(0 < age <= rule["seen_days"] for age in looked)
        if seen < (rule["seen_at_least"] or 0) or seen > (
            rule["seen_at_most"] or 0 if rule["seen_at_most"] is not None else 1e9
        ):
            return False
        if looks < rule["looked_at_least"]:
            return False
    if rule["gap_hours"]:
        recent = age_d <= rule["gap_hours"] / 24
        if ((apart <= rule["gap_within_m"]) & recent & same).any():
            return False
    here = apart <= 60
    seen = len(set(take[here]))
    standing = (
        seen >= 3
        and 2 * seen >= len(looked)
        and age_d[here].max() >= 30
        and 1 + len(set(orbit[here]) - {mine}) >= 2
    )
    return not standing


def back(store: Store, rules: dict[int, dict[str, Any]]) -> list[dict[str, Any]]:
    """Time the back-test of two rules over a year."""
    found = []
    for kind in ("plain", "recurrence"):
        name = next(
            r["name"] for r in rules.values() if (r["seen_days"] is not None) == (kind == "recurrence")
        )
        began = time.monotonic()
        with store.transaction() as session:
            rule = alerts.version(session, name)
            fired = backtest.run(session, rule, END - timedelta(days=365), END + timedelta(days=30))
        figures = {"kind": kind, "seconds": time.monotonic() - began, "alerts": len(fired)}
        print(
            f"a year back-tested for a {kind} rule: {figures['seconds']:.2f} s, {len(fired)} alerts",
            flush=True,
        )
        found.append(figures)
    return found


if __name__ == "__main__":
    main()
