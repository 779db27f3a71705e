"""Metrics: small cases worked by hand, and what must hold of any."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.evaluate.bootstrap import share
from engine.evaluate.metrics import (
    Counts,
    Question,
    Thing,
    centre_rule,
    count,
    iou,
    iou_rule,
    pair,
    precision_recall_f1,
    summary,
)
from engine.evaluate.ranking import average_precision, curve

CENTRE = centre_rule(10.0)


def at(x: float, y: float, score: float = 1.0, length_m: float = 100.0, label: str = "ship") -> Thing:
    return Thing(label, (x - 2, y - 1, x + 2, y + 1), length_m, score)


def test_reach_grows_with_length() -> None:
    assert pair([at(10, 12)], [at(10, 10, length_m=30)], CENTRE).match == (0,)  # 20 m
    assert pair([at(10, 12.1)], [at(10, 10, length_m=30)], CENTRE).match == (None,)
    assert pair([at(10, 17)], [at(10, 10, length_m=300)], CENTRE).match == (0,)  # 70 m of 75


def test_the_surer_prediction_takes_the_truth_and_the_nearer_truth_is_taken() -> None:
    pairing = pair([at(10, 10.5, 0.6), at(10, 11, 0.9)], [at(10, 10)], CENTRE)
    assert [thing.score for thing in pairing.predicted] == [0.9, 0.6]
    assert pairing.match == (0, None)
    assert pair([at(10, 10)], [at(10, 11.5), at(10, 10.5)], CENTRE).match == (1,)


def test_labels_must_agree() -> None:
    assert pair([at(10, 10, label="platform")], [at(10, 10)], CENTRE).match == (None,)


def test_iou() -> None:
    assert iou((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert iou((0, 0, 2, 2), (2, 0, 4, 2)) == 0
    true = Thing("ship", (0, 0, 2, 2), 20)
    found = Thing("ship", (1, 0, 3, 2), 20)
    assert pair([found], [true], iou_rule(0.25)).match == (0,)
    assert pair([found], [true], iou_rule(0.5)).match == (None,)


def test_what_does_not_count_is_ignored() -> None:
    small, large = at(10, 10, length_m=15), at(50, 50, length_m=80)
    found = [at(10, 10, 0.9, 20), at(50, 50, 0.8, 60), at(90, 90, 0.7, 60), at(100, 20, 0.6, 20)]
    counts = count([pair(found, [small, large], CENTRE)], Question(length_m=(25, np.inf)))
    assert (counts.hits[0], counts.false[0], counts.missed[0]) == (1, 1, 0)
    counts = count([pair(found, [small, large], CENTRE)], Question(region_px=(20, 60)))
    assert (counts.hits[0], counts.false[0], counts.missed[0]) == (1, 0, 0)
    counts = count([pair(found, [small, large], CENTRE)], Question(), threshold=0.85)
    assert (counts.hits[0], counts.false[0], counts.missed[0]) == (1, 0, 1)


def test_curve_by_hand() -> None:
    true = [at(10, 10), at(50, 50)]
    found = [at(10, 10, 0.9), at(90, 10, 0.8), at(50, 50, 0.7), at(90, 90, 0.7)]
    points = curve([pair(found, true, CENTRE)], Question())
    assert points["threshold"].tolist() == [0.9, 0.8, 0.7]
    assert points["precision"].tolist() == [1, 0.5, 0.5]
    assert points["recall"].tolist() == [0.5, 0.5, 1]
    assert average_precision(points["precision"], points["recall"]) == pytest.approx(0.75)


def test_nothing_to_find() -> None:
    assert all(np.isnan(value) for value in precision_recall_f1(0, 0, 0))
    zeros = np.zeros(3, np.int64)
    assert summary(Counts(zeros, zeros, zeros))["f1"] is None
    assert share([])["share"] is None
    assert len(curve([], Question())["f1"]) == 0


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        low, high = share(rng.random(150) < 0.7, resamples=300, seed=trial)["share_95"]  # type: ignore[misc]
        covered += low <= 0.7 <= high
    assert 180 <= covered <= 199


things = st.builds(
    at,
    st.floats(0, 126),
    st.floats(0, 126),
    st.floats(0, 1),
    st.floats(5, 400),
    st.sampled_from(["ship", "platform"]),
)
sets = st.lists(st.tuples(st.lists(things, max_size=6), st.lists(things, max_size=6)), max_size=5)


@settings(deadline=None)
@given(sets, st.floats(0, 1))
def test_what_holds_of_any_matching(drawn, threshold) -> None:
    question = Question()
    pairings = [pair(predicted, true, CENTRE) for predicted, true in drawn]
    for pairing in pairings:
        taken = [found for found in pairing.match if found is not None]
        assert len(taken) == len(set(taken))
        for thing, found in zip(pairing.predicted, pairing.match, strict=True):
            assert found is None or CENTRE.value(thing, pairing.true[found]) is not None
    counts = count(pairings, question, threshold)
    assert (counts.missed >= 0).all()
    truths = sum(question.counts(thing) for _, true in drawn for thing in true)
    assert counts.hits.sum() + counts.missed.sum() == truths
    # a threshold keeps a prefix of the same assignment: matching again changes nothing
    kept = [pair([t for t in p if t.score >= threshold], true, CENTRE) for p, true in drawn]
    again = count(kept, question)
    assert (again.hits == counts.hits).all()
    assert (again.false == counts.false).all()


@settings(deadline=None)
@given(sets)
def test_curve_ends_at_the_counts(drawn) -> None:
    pairings = [pair(predicted, true, CENTRE) for predicted, true in drawn]
    points, counts = curve(pairings, Question()), count(pairings, Question())
    if len(points["f1"]):
        f1 = precision_recall_f1(counts.hits.sum(), counts.false.sum(), counts.missed.sum())[2]
        assert points["f1"][-1] == pytest.approx(f1)
        assert (np.diff(points["recall"]) >= 0).all() or np.isnan(points["recall"]).all()
