from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.domain import Candidate
from daemon.merge import Found, judge, match, objects, place, unique
from engine.runtime.image import CORE_PX, Cell, cell_of
from engine.runtime.text import Answer, AnswerObject

SPACING_M = (10.0, 10.0)


def box_at(line, sample, half=3.0):
    """Edges of a box around a position, where integers are pixel centres."""
    return (sample + 0.5 - half, line + 0.5 - half, sample + 0.5 + half, line + 0.5 + half)


def in_chip(cell, line, sample, score=0.9, half=3.0):
    top, left = cell.chip_origin_px
    return AnswerObject(box_at(line - top, sample - left, half), "ship", score)


def answer(*items, outcome="complete"):
    return Answer("", tuple(items), outcome)


def candidate(index, line, sample):
    cell = cell_of(line, sample)
    return Candidate(
        index, line, sample, 0.0, 0.0, box_at(line, sample), 9, ("VV",), -3.0, 12.0, (cell.row, cell.col)
    )


def test_a_box_moves_from_chip_to_scene():
    cell = Cell(2, 3)
    found = place(cell, in_chip(cell, 200.0, 300.0))
    assert found.box_px == box_at(200.0, 300.0)
    assert found.centre_px == (200.0, 300.0)
    assert not found.neighbour


def test_the_owner_names_an_object_that_two_chips_see():
    left, right = Cell(0, 0), Cell(0, 1)
    seen_by_both = (40.0, CORE_PX + 10.0)
    found = objects(
        [
            (left, answer(in_chip(left, *seen_by_both, score=0.99))),
            (right, answer(in_chip(right, seen_by_both[0] + 1, seen_by_both[1], score=0.6))),
        ],
        SPACING_M,
    )
    assert [(item.cell, item.score) for item in found] == [(right, 0.6)]


def test_what_the_owner_does_not_see_is_not_there():
    left, right = Cell(0, 0), Cell(0, 1)
    assert objects([(left, answer(in_chip(left, 40.0, CORE_PX + 10.0))), (right, answer())], SPACING_M) == []


@pytest.mark.parametrize("others", [[], [(Cell(0, 1), answer(outcome="saturated"))]])
def test_nothing_is_lost_where_the_owner_is_silent(others):
    left = Cell(0, 0)
    found = objects([(left, answer(in_chip(left, 40.0, CORE_PX + 10.0))), *others], SPACING_M)
    assert [item.neighbour for item in found] == [True]


def test_nothing_is_lost_between_two_cells_that_disagree_about_the_side():
    left, right = Cell(0, 0), Cell(0, 1)
    found = objects(
        [
            (left, answer(in_chip(left, 40.0, CORE_PX + 0.5))),
            (right, answer(in_chip(right, 40.0, CORE_PX - 0.5))),
        ],
        SPACING_M,
    )
    assert len(found) == 1


def test_ships_side_by_side_stay_two():
    cell = Cell(0, 0)
    found = objects([(cell, answer(in_chip(cell, 40.0, 40.0), in_chip(cell, 40.0, 44.0)))], SPACING_M)
    assert len(found) == 2


places = st.tuples(st.floats(0, 300), st.floats(0, 300), st.floats(0.5, 20), st.floats(0, 1))


@st.composite
def founds(draw):
    made = []
    for line, sample, half, score in draw(st.lists(places, max_size=12)):
        asked = draw(st.sampled_from([cell_of(line, sample), Cell(0, 0), Cell(1, 1)]))
        made.append(Found(asked, "ship", score, box_at(line, sample, half), asked != cell_of(line, sample)))
    return made


@settings(deadline=None)
@given(founds(), st.randoms())
def test_unique_knows_no_order_and_is_idempotent(found, random):
    once = unique(found, SPACING_M)
    shuffled = list(found)
    random.shuffle(shuffled)
    assert unique(shuffled, SPACING_M) == once
    assert unique(once, SPACING_M) == once
    assert unique(found + found, SPACING_M) == once


@settings(deadline=None)
@given(founds())
def test_unique_keeps_something_near_everything(found):
    kept = unique(found, SPACING_M)
    for item in found:
        reach = max(30.0, 0.25 * item.extent_m(SPACING_M)) + 1e-6
        (line, sample) = item.centre_px
        assert any(
            10 * ((line - k.centre_px[0]) ** 2 + (sample - k.centre_px[1]) ** 2) ** 0.5 <= reach for k in kept
        )


def test_all_bright_points_of_a_ship_are_that_ship():
    cell = Cell(0, 0)
    ship = place(cell, in_chip(cell, 40.0, 40.0, half=10))
    points = [candidate(0, 33.0, 47.0), candidate(1, 39.0, 41.0), candidate(2, 60.0, 40.0)]
    assert match(points, [ship]) == [[1, 0]]


def test_every_candidate_gets_its_end():
    asked, broken, unasked = Cell(0, 0), Cell(0, 1), Cell(3, 3)
    points = [
        candidate(0, 40.0, 40.0),  # named
        candidate(1, 70.0, 70.0),  # not named
        candidate(2, 20.0, 20.0),  # named with a low score
        candidate(3, 40.0, CORE_PX + 40.0),  # the answer broke off
        candidate(4, 3.5 * CORE_PX, 3.5 * CORE_PX),  # not asked
    ]
    answers = [
        (asked, answer(in_chip(asked, 40.0, 40.0, 0.9), in_chip(asked, 20.0, 20.0, 0.2))),
        (broken, answer(outcome="saturated")),
    ]
    assert cell_of(points[4].line_px, points[4].sample_px) == unasked
    found = objects(answers, SPACING_M)
    judged = judge(points, found, match(points, found), answers, score_threshold=0.5)
    assert [(c.state, c.score) for c in judged] == [
        ("confirmed", 0.9),
        ("rejected", None),
        ("rejected", 0.2),
        ("unanswered", None),
        ("not_examined", None),
    ]
    assert [replace(c, state="not_examined", score=None) for c in judged] == points


def unique_by_comparing_all(found):
    kept = []
    for item in sorted(found, key=lambda f: (f.neighbour, -f.score, f.box_px, f.label, f.cell)):
        (line, sample), extent = item.centre_px, item.extent_m(SPACING_M)
        for other in kept:
            apart = 10 * np.hypot(line - other.centre_px[0], sample - other.centre_px[1])
            if apart <= max(30.0, 0.25 * min(extent, other.extent_m(SPACING_M))):
                break
        else:
            kept.append(item)
    return sorted(kept, key=lambda f: (f.centre_px, f.box_px))


@settings(deadline=None)
@given(founds())
def test_unique_is_as_by_comparing_all(found):
    assert unique(found, SPACING_M) == unique_by_comparing_all(found)


def test_unique_takes_no_quadratic_time():
    """Comparing all with all took 16 s."""
    at = np.random.default_rng(0).uniform(0, 20_000, (3000, 2))
    found = [Found(cell_of(*p), "ship", 0.9, box_at(*p)) for p in at.tolist()]
    began = time.process_time()
    assert len(unique(found, SPACING_M)) > 2900
    assert time.process_time() - began < 2.0
