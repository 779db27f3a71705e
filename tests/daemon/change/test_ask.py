"""What the engine is asked, and what becomes of its answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from daemon.change.ask import ChangeEngine
from daemon.change.chip import Pair, Question, read_chip
from daemon.change.domain import Place, Plan
from engine.runtime.forms import CHANGES
from engine.runtime.text import MAX_PLACES, Answer, PlaceChange, Request
from tests.daemon.change.test_pairing import AFTER, of, run
from tests.support.sea import FakeLand, sea_scene


class Echo:
    """Says of each place that it appeared, as surely as its ordinal is low."""

    def __init__(self, *tasks: str) -> None:
        manifest = SimpleNamespace(tasks=dict.fromkeys(tasks))
        self.bundle = SimpleNamespace(bundle_id="bundle", manifest=manifest)
        self.asked: list[Request] = []

    def ask(self, requests: Sequence[Request]) -> list[Answer]:
        self.asked += requests
        return [
            Answer("", places=tuple(self._said(i) for i in range(1, len(request.known) + 1)))
            for request in requests
        ]

    def _said(self, place: int) -> PlaceChange:
        chance = 0.9 / place
        return PlaceChange(place, CHANGES[0], chance, (chance, 0.0, 0.0, 1 - chance))


def questions(*at_px: tuple[float, float]) -> list[Question]:
    scene = sea_scene((400, 400), [], seed=1)
    land = FakeLand(np.zeros(scene.shape, bool))
    seen = [replace(of("after", "old", i), score=0.9 - i / 100) for i in range(len(at_px))]
    plan = Plan(AFTER, *[run("old", 12, 8)] * 2, tuple(Place(None, s, "clear") for s in seen))
    found = []
    for index, at in enumerate(at_px):
        chip = read_chip(scene, land, *at)
        found.append(Question(index, plan, Pair(chip, at, chip, at)))
    return found


def engine(*tasks: str) -> tuple[Any, Echo]:
    echo = Echo(*tasks)
    return ChangeEngine.of(echo), echo  # type: ignore[arg-type]


def test_an_engine_that_does_not_know_the_task_is_not_asked() -> None:
    assert engine("detection")[0] is None


def test_places_of_one_cell_share_a_request_and_keep_their_ordinals() -> None:
    asked, echo = engine("change")
    found = asked.ask(questions((200, 200), (205, 230), (20, 380)), limit=10)
    assert sorted(len(request.known) for request in echo.asked) == [1, 2]
    assert [round(found[i]["appeared"], 2) for i in range(3)] == [0.9, 0.45, 0.9]
    assert set(found[0]) == set(CHANGES)
    (request,) = [r for r in echo.asked if len(r.known) == 2]
    assert request.task == "change" and len(request.chips) == 2
    assert request.dates == ("2024-05-01", "2024-05-13")
    x1, y1, x2, y2 = request.known[1].box_px
    assert ((x1 + x2) / 2, (y1 + y2) / 2) == (63 + 30, 63 + 5)


def test_no_more_is_asked_than_allowed_and_the_surest_come_first() -> None:
    asked, echo = engine("change")
    found = asked.ask(questions((20, 20), (200, 200), (300, 20)), limit=2)
    assert len(echo.asked) == 2
    assert set(found) == {0, 1}


def test_a_crowd_is_asked_in_parts() -> None:
    asked, echo = engine("change")
    crowd = [(200 + 2 * (i % 6), 200 + 2 * (i // 6)) for i in range(MAX_PLACES + 3)]
    found = asked.ask(questions(*crowd), limit=10)
    assert len(found) == len(crowd)
    assert sorted(len(request.known) for request in echo.asked) == [3, MAX_PLACES]
