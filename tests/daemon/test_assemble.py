"""Neighbours among a scene's objects: found quickly, and the same as by comparing all with all."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.assemble import Places, nearest_m
from daemon.measure import RESOLUTION_M, Measure
from tests.support import tiny

SPACINGS = st.sampled_from([(10.0, 10.0), (40.0, 40.0), (9.7, 3.5)])
POSITIONS = st.tuples(st.floats(-5, 40), st.floats(-5, 40))
CANDIDATE = tiny.make_result(f"/p/{tiny.NAME}.SAFE", 1).candidates[0]


def measured(line_px: float, sample_px: float, how: str = "pixels") -> Measure:
    return Measure(line_px, sample_px, 30.0, 20.0, 50.0, None, None, 0.0, 12.0, how, 0)


def candidates(places):
    return [replace(CANDIDATE, line_px=line, sample_px=sample) for line, sample in places]


@settings(deadline=None)
@given(st.lists(st.tuples(POSITIONS, st.sampled_from(["pixels", "box"])), max_size=40), SPACINGS)
def test_the_same_pixels_are_found_as_by_comparing_all(objects, spacing_m) -> None:
    places, others = Places(spacing_m), []
    for at, how in objects:
        size = measured(*at, how)
        apart = [np.hypot(*((np.array(at) - other) * spacing_m)) for other in others]
        taken = how != "box" and any(distance < RESOLUTION_M for distance in apart)
        assert places.taken(size) == taken
        if not taken:
            places.take(size)
            others += [np.array(at)] if how != "box" else []


@settings(deadline=None)
@given(st.lists(POSITIONS, max_size=30), st.lists(POSITIONS, max_size=10), SPACINGS)
def test_the_nearest_candidate_is_found_as_by_comparing_all(known, asked, spacing_m) -> None:
    found = nearest_m(candidates(known), np.array(asked).reshape(-1, 2), spacing_m)
    for at, distance in zip(asked, found, strict=True):
        apart = [np.hypot(*((np.array(at) - other) * spacing_m)) for other in np.array(known).reshape(-1, 2)]
        assert distance == (pytest.approx(min(apart)) if apart else None)


def test_a_full_scene_takes_no_quadratic_time() -> None:
    """Once through 5,000 candidates for each of 2,000 detections took seconds."""
    at = np.random.default_rng(0).uniform(0, 20_000, (5000, 2))
    began = time.process_time()
    nearest_m(candidates(at), at[:2000], (10.0, 10.0))
    places = Places((10.0, 10.0))
    for line, sample in at:
        places.taken(measured(line, sample))
        places.take(measured(line, sample))
    assert time.process_time() - began < 2.0
