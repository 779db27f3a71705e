from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.domain import Sensitivity
from daemon.scan.sensitivity import (
    Sea,
    false_alarms_per_1000_km2,
    probability_of_detection,
    scene_smallest_ship_m,
    sensitivity_of,
    smallest_ship_m,
)
from daemon.scan.thresholds import false_alarms_per_km2, sea_factors, speckle_spread
from engine.errors import InputError
from engine.simulate import objects, physics

TEN = (10.0, 10.0)
lengths = st.floats(10, 400)


def sea(polarisation="VV", mean_db=-15.0, noise_db=-24.0, spread=0.4, rate=1e-6):
    mean, noise = float(physics.from_db(mean_db)), float(physics.from_db(noise_db))
    factor = float(sea_factors(rate, "lognormal").at(spread, noise / (mean + noise)))
    return Sea(polarisation, mean, noise, spread, (mean + noise) * factor - noise)


seas = st.builds(
    sea, st.sampled_from(["VV", "VH", "HH"]), st.floats(-28, -5), st.floats(-28, -20), st.floats(0.3, 1)
)


@given(lengths, lengths, seas)
def test_longer_ships_are_seen_more_often(first, second, where):
    low, high = sorted((first, second))
    assert probability_of_detection(low, [where], TEN) <= probability_of_detection(high, [where], TEN) + 1e-9


@given(lengths, seas, st.floats(1, 10))
def test_a_higher_threshold_hides(length, where, times):
    higher = replace(where, limit=where.mean + (where.limit - where.mean) * times)
    assert (
        probability_of_detection(length, [higher], TEN)
        <= probability_of_detection(length, [where], TEN) + 0.02
    )


@given(lengths, seas, seas)
def test_another_polarisation_never_hides(length, first, second):
    both = probability_of_detection(length, [first, second], TEN)
    assert both >= max(probability_of_detection(length, [one], TEN) for one in (first, second)) - 1e-9


@given(lengths, seas, st.floats(0.01, 100))
def test_only_ratios_count(length, where, scale):
    """A sea, a threshold and pixels that are scaled so that the echo scales too give the same."""
    scaled = Sea(
        where.polarisation, where.mean * scale, where.noise * scale, where.spread, where.limit * scale
    )
    finer = (TEN[0] / scale, TEN[1])
    assert probability_of_detection(length, [scaled], finer) == pytest.approx(
        probability_of_detection(length, [where], TEN), abs=1e-9
    )


def test_the_smallest_ship_is_seen_nine_times_in_ten():
    rough = [sea(mean_db=-8), sea("VH", -25)]
    length = smallest_ship_m(rough, TEN)
    assert length is not None and 20 < length < 60
    assert probability_of_detection(length, rough, TEN) == pytest.approx(0.9, abs=0.005)
    calm = smallest_ship_m([sea(mean_db=-20), sea("VH", -30)], TEN)
    assert calm is not None and calm < length


def test_no_length_is_claimed_where_the_model_does_not_hold():
    where = [sea()]
    assert smallest_ship_m(where, (40.0, 40.0)) is None  # EW
    assert smallest_ship_m([], TEN) is None
    assert smallest_ship_m([replace(where[0], limit=1e4)], TEN) is None
    assert smallest_ship_m([sea(mean_db=-35, noise_db=-40)], TEN) == 10  # not below a pixel


@pytest.mark.parametrize("length_m, mean_db", [(18, -15.0), (30, -7.0)])
def test_rendered_ships_are_seen_as_often_as_predicted(length_m, mean_db):
    """Ships of the simulator with the named cross-sections, in its speckle, without texture."""
    rng = np.random.default_rng(int(length_m))
    bank = physics.SpeckleBank(rng, size=256)
    where = sea(mean_db=mean_db, spread=speckle_spread())
    named = replace(
        objects.DEFAULT,
        rcs_80m_db=39.5,
        rcs_decade_db=22.0,
        rcs_spread_db=3.5,
        bright_share=0.0,
        faint_share=0.0,
    )
    size, seen, ships = 48, 0, 300
    amplitude = np.full((size, size), np.sqrt(where.mean + where.noise), np.float32)
    for _ in range(ships):
        body = objects.draw_ship(rng, named, length_m=length_m, moving=False)
        place = size / 2 - 0.5 + rng.uniform(-0.5, 0.5, 2)
        at = (body.line_px + place[0], body.sample_px + place[1])
        lines, samples, echo = physics.render_points(rng, *at, body.powers, (size, size), 15)
        looks = [bank.cut(rng, size) for _ in range(physics.LOOKS)]
        image = physics.detect(looks, amplitude, [(lines, samples, echo[0])])
        near = image[size // 2 - 6 : size // 2 + 6, size // 2 - 6 : size // 2 + 6]
        total = sum(near[i : i + 10, j : j + 10] for i in range(3) for j in range(3))
        seen += bool(total.max() / 9 - where.noise > where.limit)
    predicted = probability_of_detection(length_m, [where], TEN)
    assert 0.3 < predicted < 0.97
    assert seen / ships == pytest.approx(predicted, abs=0.08)


def sampled(rows=20, cols=40, polarisations=("VV", "VH")):
    """A sea that brightens towards near range and has a rough half in its first lines."""
    across = np.linspace(-8, -16, cols) + np.where(np.arange(rows) < rows // 2, 4, 0)[:, None]
    values = {}
    for name in polarisations:
        mean = physics.from_db(across if name == "VV" else -28 + 0 * across)
        noise = np.full_like(mean, physics.from_db(-24.0))
        values[name] = np.stack([mean, np.full_like(mean, 0.4), (mean + noise) * 5 - noise, noise])
    return values, np.linspace(30, 46, cols)[None]


def test_entries_share_out_the_area_by_incidence_and_clutter():
    values, incidence = sampled()
    entries = sensitivity_of(values, incidence, 1000.0, TEN)
    assert sum(entry.area_km2 for entry in entries) == pytest.approx(1000, abs=0.1)
    assert {entry.polarisations for entry in entries} == {("VV", "VH")}
    starts = [entry.incidence_deg[0] for entry in entries]
    assert starts == sorted(starts) and starts[0] == 30 and entries[-1].incidence_deg[1] >= 46
    assert len({entry.incidence_deg for entry in entries}) == 7 < len(entries)  # so clutter parts some
    first = [entry for entry in entries if entry.incidence_deg == (30, 32.5)]
    rougher = max(first, key=lambda entry: entry.threshold_db[0])
    calmer = min(first, key=lambda entry: entry.threshold_db[0])
    assert rougher.smallest_ship_m >= calmer.smallest_ship_m
    assert rougher.mean_db[0] - calmer.mean_db[0] == pytest.approx(4, abs=1.5)


def test_the_scenes_number_holds_over_nine_tenths_of_the_area():
    values, incidence = sampled()
    entries = sensitivity_of(values, incidence, 1000.0, TEN)
    length = scene_smallest_ship_m(entries)
    assert length is not None
    covered = sum(entry.area_km2 for entry in entries if entry.smallest_ship_m <= length)
    below = sum(entry.area_km2 for entry in entries if entry.smallest_ship_m < length)
    assert covered >= 900 > below


def test_the_scenes_number_is_withheld_where_too_little_is_known():
    entry = Sensitivity((30, 32.5), 800.0, ("VV",), (-10.0,), (-24.0,), (0.4,), (-5.0,), 25.0)
    blind = replace(entry, area_km2=200.0, smallest_ship_m=None)
    assert scene_smallest_ship_m([entry]) == 25
    assert scene_smallest_ship_m([entry, blind]) is None
    assert scene_smallest_ship_m([]) is None


def test_a_polarisation_that_was_not_searched_is_left_out():
    values, incidence = sampled()
    values["VH"][:, :, :10] = np.nan
    values["VV"][:, -2:], values["VH"][:, -2:] = np.nan, np.nan
    entries = sensitivity_of(values, incidence, 100.0, TEN)
    assert {entry.polarisations for entry in entries} == {("VV",), ("VV", "VH")}
    alone = sum(entry.area_km2 for entry in entries if entry.polarisations == ("VV",))
    assert alone == pytest.approx(25, abs=0.1)
    for entry in entries:
        assert len(entry.spread) == len(entry.threshold_db) == len(entry.mean_db) == len(entry.polarisations)


def test_nothing_searched_says_nothing():
    values, incidence = sampled(polarisations=("VV",))
    values["VV"][:] = np.nan
    assert sensitivity_of(values, incidence, 0.0, TEN) == ()
    assert false_alarms_per_1000_km2((), 1e-6, TEN) is None


def test_false_alarms_add_up_over_polarisations_and_area():
    values, incidence = sampled()
    entries = sensitivity_of(values, incidence, 1000.0, TEN)
    expected = false_alarms_per_1000_km2(entries, 1e-6, TEN)
    assert expected == pytest.approx(2 * 1000 * false_alarms_per_km2(1e-6, 0.4, TEN), rel=0.01)


def test_arrays_that_do_not_fit_are_refused():
    values, incidence = sampled()
    with pytest.raises(InputError, match="expected one \\[4, rows, cols\\]"):
        sensitivity_of({"VV": values["VV"], "VH": values["VH"][:, :-1]}, incidence, 1.0, TEN)
    with pytest.raises(InputError, match="incidence"):
        sensitivity_of(values, incidence[:, :-3], 1.0, TEN)
