"""What the demo prints and draws of changes: the tables, their truth, and the passes over each other."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import shapely
from change_truth import KINDS, scores, total, truth_changes
from demo_report import Thing, query, ratio
from rich.console import Console
from rich.table import Table
from sqlalchemy import URL

from daemon.change.picture import Mark, draw

SHOWN = 12
CHANGES = """
SELECT earlier_product.name, later_product.name, c.kind, c.class, c.score, c.length_m,
       ST_X(c.position::geometry), ST_Y(c.position::geometry), c.reason,
       c.before_acquired, c.after_acquired, unit.sentence, unit.alignment ->> 'method',
       c.evidence #>> '{pixels,ratio_db}'
FROM current_changes c
JOIN change_unit unit ON unit.id = c.unit_id
JOIN run later ON later.id = c.after_run_id
JOIN product later_product ON later_product.id = later.product_id
JOIN run earlier ON earlier.id = c.before_run_id
JOIN product earlier_product ON earlier_product.id = earlier.product_id
ORDER BY c.after_acquired, c.kind, c.score DESC, c.id
"""
AREA = """
SELECT ST_AsText(valid_area) FROM coverage
JOIN run ON run.id = coverage.run_id
JOIN acquisition ON acquisition.current_run_id = run.id
JOIN product ON product.id = run.product_id
WHERE product.name = :name
"""
Pair = tuple[str, str]  # names of the earlier and the later product


def changes(console: Console, url: URL, scenes: Path) -> dict[Pair, list[Mark]]:
    """Print what the second passes changed, and how much of the truth it is; return it by pair of passes."""
    found: dict[Pair, list[Mark]] = defaultdict(list)
    table = Table("change", "since", "class", "m", "score", "longitude", "latitude", "pixels")
    rows = query(url, CHANGES)
    told = [row for row in rows if row[2] in ("appeared", "gone")]
    for row in sorted(told, key=lambda r: (-r[4], r[6]))[:SHOWN]:
        table.add_row(
            *(row[2], f"{row[9]:%F}", row[3], f"{row[5]:.0f}", f"{row[4]:.2f}"),
            *(f"{row[6]:.4f}", f"{row[7]:.4f}", "" if row[13] is None else f"{float(row[13]):+.0f} dB"),
        )
    for row in rows:
        found[row[0], row[1]].append(Mark(row[2], row[3], row[4], row[5], row[6], row[7], row[8]))
    if len(told) > SHOWN:
        table.caption = f"and {len(told) - SHOWN} more: fusar change"
    console.print(table if told else "nothing appeared, nothing is gone")
    for sentence, aligned, later in sorted({(row[11], row[12], row[1]) for row in rows}, key=lambda s: s[2]):
        console.print(f"{later}: {sentence} Passes laid on each other by {aligned}.", soft_wrap=True)
    alone = query(url, "SELECT count(*) FROM change_unit WHERE present AND outcome = 'no_partner'")[0][0]
    console.print(f"{alone} first passes have no earlier one to compare with: a unit says so.")
    _truth(console, url, scenes, found)
    return found


def _truth(console: Console, url: URL, scenes: Path, found: dict[Pair, list[Mark]]) -> None:
    parts = []
    for (before, after), marks in found.items():
        areas = [shapely.from_wkt(query(url, AREA, name=name)[0][0]) for name in (before, after)]
        twice = shapely.intersection(*areas).buffer(0.0005)
        truth = truth_changes(scenes / f"{before}.SAFE", scenes / f"{after}.SAFE", twice)
        said: dict[str, list[Thing]] = defaultdict(list)
        for mark in marks:
            said[mark.kind].append(Thing(mark.label, mark.lon_deg, mark.lat_deg, mark.length_m or 0.0))
        parts.append(scores(truth, said))
    table = Table(
        "kind", "truth", "told", "right", "precision", "recall", title="changes of simulated scenes"
    )
    sums = total(parts)
    for kind in KINDS:
        score = sums[kind]
        table.add_row(
            *(kind, str(score.truth), str(score.told), str(score.right)),
            *(ratio(score.right, score.told), ratio(score.right, score.truth)),
        )
    console.print(table)
    reasons = Counter(m.reason for marks in found.values() for m in marks if m.reason)
    if reasons:
        listed = ", ".join(f"{name} {count}" for name, count in reasons.most_common())
        console.print(f"cannot tell: {listed}")


def picture(found: dict[Pair, list[Mark]], products: list[Path], path: Path) -> None:
    """Draw the pair of passes between which most changed."""
    from daemon.scene.land import SceneLand
    from daemon.scene.product import open_scene
    from engine.runtime.land import Coastline

    if not found:
        return
    most = max(found, key=lambda pair: sum(m.kind in ("appeared", "gone") for m in found[pair]))
    by_name = {product.name.removesuffix(".SAFE"): product for product in products}
    with open_scene(str(by_name[most[0]])) as before, open_scene(str(by_name[most[1]])) as after:
        draw(before, after, SceneLand(Coastline.load(), after.geometry), found[most], path)
