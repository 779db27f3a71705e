"""Closed answers over a scope: all of it, with what makes them less certain than they sound."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest
from shapely.geometry import MultiPolygon, box, mapping

from daemon.ask.closed import Told, told
from daemon.ask.messages import Scope
from daemon.ask.refusals import Refusal
from daemon.store.questions import Changed, Compared, Looked, Seen
from engine.runtime.image import cell_of
from engine.runtime.reading import read

SCENE = Scope(scene="x")
THEN, NOW = (datetime(2025, 1, day, 5, 12, tzinfo=timezone.utc) for day in (1, 13))


def seen(name: str, lon: float, lat: float, length: float = 100.0, label: str = "ship", **more: Any) -> Seen:
    line, sample = (1 - lat) * 1000, lon * 1000
    cell = cell_of(line, sample)
    box_px = (sample - 3, line - 3, sample + 3, line + 3)
    interval = (length - 20, length + 20)
    return Seen(
        name, label, 0.9, lon, lat, line, sample, length, box_px, (cell.row, cell.col), None, interval, **more
    )


SEEN = (
    seen("a", 0.05, 0.95, 210), seen("b", 0.9, 0.9, 90), seen("c", 0.5, 0.5, 150),
    seen("d", 0.52, 0.5, 40, "platform"), seen("e", 0.1, 0.05, 300),
)  # fmt: skip


def looked(*chosen: Seen, **more: Any) -> list[Looked]:
    run = Looked(
        "run", "product", "uri", NOW, 1.0, 18.0, chosen, SEEN, "bundle", "ort", False, box(0, 0, 1, 1)
    )
    return [replace(run, **more)]


def ask(
    question: str, scope: Scope = SCENE, runs: list[Looked] | None = None, compared=None
) -> Told | Refusal:
    reading = read(question)
    assert reading is not None
    return told(reading, scope, looked(*SEEN) if runs is None else runs, compared)


def answer(question: str, *given: Any, **more: Any) -> tuple[str, str]:
    found = ask(question, *given, **more)
    assert isinstance(found, Told), found
    return found.words, "".join(one.id for one in found.cited)


@pytest.mark.parametrize(
    ("question", "words", "cited"),
    [
        ("How many ships are there?", "4 ships.", "abce"),
        ("how many ships over 120 m are in the north?", "1 ship longer than 120 m in the northern", "a"),
        ("which ships are in the south-west?", "1 ship in the south-western corner.", "e"),
        ("is there a turbine?", "No, no turbine.", ""),
        ("which is the longest ship?", "The longest ship is about 300 m (280 to 320 m) long.", "e"),
        ("how many ships are there now?", "4 ships.", "abce"),
    ],
)  # fmt: skip
def test_a_scene_is_one_number(question: str, words: str, cited: str) -> None:
    said, ids = answer(question)
    assert said.startswith(words) and ids == cited
    assert "Seen 2025-01-13 05:12 UTC" in said
    assert "not counted: a ship of 18 m or more would have been" in said


def test_nothing_detected_is_an_answer_with_its_ground() -> None:
    said, ids = answer("how many ships are there?", runs=looked())
    assert said.startswith("No ship.") and "18 m or more" in said and ids == ""
    refused = ask("how many ships?", runs=looked(valid_area=None))
    assert isinstance(refused, Refusal) and refused.name == "not_looked_at"


def test_what_weakens_an_answer_is_said() -> None:
    said, ids = answer("how many ships are longer than 140 m?")
    assert ids == "ace" and "For 1 the bound lies within the error of the length." in said
    ghost = replace(SEEN[0], flags=("azimuth_ghost",))
    said, _ = answer("how many ships?", runs=looked(ghost, SEEN[1], saturated=True))
    assert said.startswith("2 ships.") and "1 of these may be no ship" in said and "azimuth_ghost" in said
    assert "there may be more" in said
    area = Scope(area=mapping(box(0.5, 0, 1.5, 1)))
    said, _ = answer("how many ships?", area, looked(SEEN[1]))
    assert "Only 50% of the area was looked at" in said


def test_parts_are_the_scopes_own() -> None:
    area = Scope(area=mapping(box(0.4, 0.4, 1.0, 1.0)))
    assert answer("how many ships are in the south?", area, looked(SEEN[1], SEEN[2]))[1] == "c"
    for question, scope in (
        ("how many ships are in the left third?", SCENE),
        ("how many ships are in the north?", Scope(detection="c")),
    ):
        refused = ask(question, scope, looked(SEEN[2]))
        assert isinstance(refused, Refusal) and refused.name == "no_side"
    refused = ask("which ships are cut by the edge of the image?")
    assert isinstance(refused, Refusal) and refused.name == "no_edge"


def test_across_the_antimeridian_east_is_beyond_180() -> None:
    west = replace(SEEN[0], id="w", lon_deg=179.2)
    east = replace(SEEN[0], id="e", lon_deg=-179.2)
    area = MultiPolygon([box(179, 0, 180, 1), box(-180, 0, -179, 1)])
    runs = looked(west, east, valid_area=area)
    assert answer("which ships are in the east?", runs=runs)[1] == "e"
    assert answer("which ships are in the west?", runs=runs)[1] == "w"


def test_a_detection_is_it_and_its_chip_the_surroundings() -> None:
    scope, runs = Scope(detection="d"), looked(SEEN[3])
    assert answer("what is it?", scope, runs)[0].startswith("It is a platform.")
    assert answer("how long is it?", scope, runs)[0].startswith("It is about 40 m (20 to 60 m) long.")
    said, ids = answer("how many ships are there?", scope, runs)
    assert said.startswith("1 ship in the chip around it.") and ids == "c"
    for question in ("what is it?", "how long is the ship at place 2?"):
        refused = ask(question)
        assert isinstance(refused, Refusal) and refused.name == "which_one"


PLACES = (
    Changed("appeared", None, None, "ship", THEN, SEEN[0]),
    Changed("gone", None, "ship", None, THEN, replace(SEEN[1], id="B")),
    Changed("still_occupied", None, "ship", "ship", THEN, SEEN[2]),
    Changed("cannot_tell", "no_pixels", "ship", None, THEN, replace(SEEN[2], id="C", lon_deg=0.7)),
    Changed("cannot_tell", "not_looked", None, "ship", None, SEEN[4]),
)
COMPARED = Compared(PLACES, (THEN,), (), False)


@pytest.mark.parametrize(
    ("question", "words", "cited"),
    [
        ("what is new since the last pass?", "1 ship appeared.", "a"),
        ("which ships have left?", "1 ship left.", "B"),
        ("which ships are still there?", "1 place still occupied.", "c"),
        ("where can you not tell what changed?", "2 places where it cannot be told what happened.", "Ce"),
        ("has anything changed?", "Yes, 1 appeared and 1 left.", "aB"),
        ("how many ships were there last time?", "3 ships in the earlier pass.", ""),
        (
            "are there more ships than before?",
            "It cannot be told for certain: as many ships: 2 before, then 2. Of 2 more places",
            "",
        ),
        ("which ships longer than 300 m are new?", "No ship longer than 300 m appeared.", ""),
    ],
)
def test_two_passes_are_told_from_the_stored_changes(question: str, words: str, cited: str) -> None:
    said, ids = answer(question, compared=COMPARED)
    assert said.startswith(words) and ids == cited
    assert "Compared with 2025-01-01 05:12 UTC" in said and "Seen 2025-01-13 05:12 UTC" in said
    assert ("not looked" if "last time" in question else "no pixels") in said


def test_what_could_not_be_compared_is_in_no_count_and_said() -> None:
    gone = [
        Changed("cannot_tell", "removed", None, "ship", None, replace(SEEN[0], id=f"r{n}")) for n in range(9)
    ]
    both = [PLACES[2], Changed("gone", None, "ship", None, THEN, replace(SEEN[1], id="B"))]
    few = answer("are there more ships than before?", compared=Compared((*both, *gone), (THEN,), (), False))[
        0
    ]
    assert few.startswith("It cannot be told for certain: fewer ships: 2 before, then 1.") and "9 more" in few
    sure = answer("are there more ships than before?", compared=Compared(tuple(both), (THEN,), (), False))[0]
    assert sure.startswith("Fewer ships: 2 before, then 1.")
    part = answer("what is new?", compared=Compared(tuple(both), (THEN,), ("failed",), False))[0]
    assert "Part of it could not be compared (failed)." in part


def test_a_turbine_that_is_new_is_no_ship() -> None:
    turbine = replace(SEEN[0], label="turbine")
    new = Compared((Changed("appeared", None, None, "turbine", THEN, turbine),), (THEN,), (), False)
    assert answer("which ships are new?", compared=new)[0].startswith("No ship appeared.")
    assert answer("what is new?", compared=new)[0].startswith("1 turbine appeared.")


def test_one_places_change() -> None:
    scope, runs = Scope(detection="a"), looked(SEEN[0])
    assert answer("is it new?", scope, runs, COMPARED)[0].startswith("A ship appeared.")
    refused = ask("is it new?", Scope(detection="d"), looked(SEEN[3]), COMPARED)
    assert isinstance(refused, Refusal) and refused.name == "not_compared"
    assert answer("what has changed?", scope, runs, COMPARED)[0].startswith("Yes, 1 appeared.")


def test_no_partner_and_what_is_not_worked_out_yet_are_said() -> None:
    for compared, word in (
        (Compared((), (), ("no_partner",), False), "no partner"),
        (Compared((), (THEN,), (), True), "not worked out yet"),
    ):
        refused = ask("what is new?", compared=compared)
        assert isinstance(refused, Refusal) and refused.name == "not_compared" and word in refused.sentence
