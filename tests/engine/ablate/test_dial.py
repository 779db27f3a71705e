"""The dial: what is told is what was set, and estimates of it are fair."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.ablate.dial import (
    COVERS,
    draw_covers,
    information_bits,
    prior_of,
    recovered_bits,
    share_for,
    shuffled,
    without,
    write_dataset,
)
from engine.data.records import load_priors
from engine.errors import InputError


def test_ends_of_the_dial() -> None:
    assert information_bits(0.25) == pytest.approx(0, abs=1e-12)
    assert information_bits(1.0) == 2
    assert share_for(0) == pytest.approx(0.25, abs=1e-6)
    assert share_for(2) == pytest.approx(1)
    for wrong in (-0.1, 2.1):
        with pytest.raises(InputError):
            share_for(wrong)


@given(st.floats(0, 2))
def test_the_dial_sets_what_it_says(bits: float) -> None:
    assert information_bits(share_for(bits)) == pytest.approx(bits, abs=1e-6)


@pytest.mark.parametrize("bits", [0.0, 0.5, 1.0, 2.0])
def test_what_is_drawn_tells_so_much(bits: float) -> None:
    true, shown = draw_covers(6000, bits, 3)
    assert recovered_bits(shown, true) == pytest.approx(bits, abs=0.04)
    right = np.mean([a == b for a, b in zip(true, shown, strict=True)])
    assert right == pytest.approx(share_for(bits), abs=0.02)


def test_the_estimate_is_fair_where_there_is_nothing() -> None:
    rng = np.random.default_rng(0)
    names = np.array(list(COVERS))
    found = [
        recovered_bits(names[rng.integers(4, size=120)].tolist(), names[rng.integers(4, size=120)].tolist())
        for _ in range(300)
    ]
    assert abs(np.mean(found)) < 0.006  # uncorrected it would be .054
    again = []
    for _ in range(100):
        true, given_ = (names[rng.integers(4, size=120)] for _ in range(2))
        index = rng.integers(120, size=120)
        again.append(recovered_bits(given_[index].tolist(), true[index].tolist(), resampled=True))
    assert abs(np.mean(again)) < 0.02


def test_constant_answers_tell_nothing() -> None:
    assert recovered_bits(["a"] * 40, ["a", "b"] * 20) == pytest.approx(0, abs=1e-9)


def test_priors_of_covers_can_be_told_apart() -> None:
    rng = np.random.default_rng(1)
    means = {cover: np.mean([prior_of(cover, rng).vectors.mean(0) for _ in range(30)], 0) for cover in COVERS}
    right = 0
    for cover in COVERS:
        for _ in range(20):
            vector = prior_of(cover, rng).vectors.mean(0)
            right += max(means, key=lambda name: float(means[name] @ vector)) == cover
    assert right >= 79


def test_datasets(tmp_path: Path) -> None:
    made = write_dataset(tmp_path, "test", 6, 5, 1.0, 84)
    assert {len(records) for records in made.values()} == {18}
    on, off, mixed = made["on"], made["off"], made["shuffled"]
    assert [r.answer for r in on] == [r.answer for r in off] == [r.answer for r in mixed]
    assert all(load_priors(r)[0].status == "full" for r in on)
    assert all(load_priors(r)[0].status == "absent" for r in off) and without(on) == off
    assert all(a.aef != b.aef for a, b in zip(on, mixed, strict=True))
    assert sorted(r.aef for r in on) == sorted(r.aef for r in mixed)
    assert len({r.aef for r in mixed if r.site == mixed[0].site}) == 1
    assert shuffled(on, 5) == mixed


def test_two_years_show_what_one_shows(tmp_path: Path) -> None:
    one = write_dataset(tmp_path / "one", "test", 4, 5, 1.0, 84)["on"]
    two = write_dataset(tmp_path / "two", "test", 4, 5, 1.0, 84, years=2)["on"]
    assert [record.answer for record in one] == [record.answer for record in two]
    for a, b in zip(one, two, strict=True):
        (plain,), (both,) = load_priors(a), load_priors(b)
        assert both.years == 2
        assert np.array_equal(both.vectors[:, :64], plain.vectors)
        likeness = (both.vectors[:, :64] * both.vectors[:, 64:]).sum(1)  # of unit vectors
        assert (likeness < 0.999).all() and likeness.mean() > 0.7
