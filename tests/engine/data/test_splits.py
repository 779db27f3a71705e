"""Splits: whole sites, 50 km apart, and the check that says so when they are not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data.splits import assign, check_apart, sites
from engine.errors import DatasetError, InputError


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(5, 120))
def test_splits_of_any_places_are_apart(seed, count) -> None:
    rng = np.random.default_rng(seed)
    where = np.stack([rng.uniform(-180, 180, count), rng.uniform(-80, 80, count)], axis=1)
    where[count // 2 :] = where[: count - count // 2] + rng.normal(0, 0.2, (count - count // 2, 2))
    takes = [str(n) for n in rng.integers(0, 2 * count, count)]
    found = sites(where, takes)
    if len(set(found)) < 2:
        return
    own = assign(found, {"train": 0.8, "val": 0.2}, seed)
    assert sorted(np.concatenate(list(own.values()))) == list(range(count))
    assert all(len(index) for index in own.values())
    check_apart({name: where[index] for name, index in own.items()})
    assert not {takes[i] for i in own["train"]} & {takes[i] for i in own["val"]}


def test_shares_are_kept_where_sites_are_many() -> None:
    own = assign(np.arange(1000) // 2, {"train": 0.7, "val": 0.2, "test": 0.1})
    assert [len(index) for index in own.values()] == pytest.approx([700, 200, 100], abs=4)


def test_places_too_near_are_an_error_also_across_the_antimeridian() -> None:
    far = np.array([[10.0, 50.0], [20.0, 50.0]])
    check_apart({"train": far[:1], "val": far[1:]})
    with pytest.raises(DatasetError, match="km apart"):
        check_apart({"train": far, "val": np.array([[20.5, 50.1]])})
    with pytest.raises(DatasetError, match="km apart"):
        check_apart({"train": np.array([[179.9, 0.0]]), "val": np.array([[-179.9, 0.0]])})


def test_a_datatake_is_one_site_and_one_site_cannot_be_split() -> None:
    found = sites(np.array([[0.0, 0.0], [50.0, 0.0]]), ["a", "a"])
    assert len(set(found)) == 1
    with pytest.raises(DatasetError, match="1 sites"):
        assign(found, {"train": 0.5, "val": 0.5})
    with pytest.raises(InputError, match="shares"):
        assign(found, {"train": 0.9, "val": 0.5})
