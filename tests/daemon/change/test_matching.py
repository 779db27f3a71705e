"""Which sightings lie at one place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.change.domain import Sighting
from daemon.change.matching import CHAIN_M, GEOLOCATION_M, LAYOVER_M, M_PER_DEG, match


def at(
    east_m: float, north_m: float = 0.0, label: str = "ship", length_m: float = 100.0, **what: object
) -> Sighting:
    """A sighting so many metres from 30 degrees east on the equator."""
    return Sighting(
        id=f"{east_m:.3f} {north_m:.3f} {label}",
        run_id="run",
        label=label,
        score=0.9,
        lon_deg=30.0 + east_m / M_PER_DEG,
        lat_deg=north_m / M_PER_DEG,
        line_px=0.0,
        sample_px=0.0,
        length_m=length_m,
        box_px=(0, 0, 10, 10),
        incidence_deg=40.0,
        **what,  # type: ignore[arg-type]
    )


def test_near_is_sure_and_far_is_none() -> None:
    core = GEOLOCATION_M + 50
    reach = GEOLOCATION_M + 2 * CHAIN_M + 100
    (near,) = match([at(0)], [at(core - 1)], True)
    assert near.closeness == 1.0
    assert near.distance_m == pytest.approx(core - 1, rel=1e-3)
    (far,) = match([at(0)], [at(reach - 1)], True)
    assert far.closeness == pytest.approx(0.5, abs=0.01)
    assert match([at(0)], [at(reach + 1)], True) == []


def test_structures_are_matched_tightly_and_lean_between_geometries() -> None:
    tight = GEOLOCATION_M + 25
    platform = [at(0, label="platform")]
    assert match(platform, [at(tight - 1, label="platform")], True)
    assert not match(platform, [at(tight + 1, label="platform")], True)
    assert match(platform, [at(tight + LAYOVER_M - 1, label="platform")], False)
    assert not match(platform, [at(tight + 1)], True), "a ship beside a platform is another object"


def test_slow_movers_are_displaced_along_azimuth_alone() -> None:
    moving = {"azimuth_deg": 0.0, "range_to_velocity_s": 115.0}
    reach = GEOLOCATION_M + 2 * CHAIN_M + 100
    assert match([at(0, 0, **moving)], [at(0, reach + 100, **moving)], True)
    assert not match([at(0, 0, **moving)], [at(reach + 100, 0, **moving)], True)
    assert not match([at(0, 0)], [at(0, reach + 100)], True)


def test_each_is_used_once_and_most_stay() -> None:
    # the first after lies between both: nearest first would leave the other one alone
    before, after = [at(0), at(300)], [at(160), at(460)]
    assert [(m.before, m.after) for m in match(before, after, True)] == [(0, 0), (1, 1)]


def test_across_the_antimeridian() -> None:
    from dataclasses import replace

    west, east = replace(at(0), lon_deg=-179.9999), replace(at(0), lon_deg=179.9999)
    (found,) = match([west], [east], True)
    assert found.distance_m == pytest.approx(0.0002 * M_PER_DEG, rel=1e-3)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 30))
def test_order_of_the_lists_does_not_matter(seed: int, n: int, m: int) -> None:
    rng = np.random.default_rng(seed)
    before = [at(*rng.uniform(0, 2000, 2)) for _ in range(n)]
    after = [at(*rng.uniform(0, 2000, 2)) for _ in range(m)]
    found = {(before[p.before].id, after[p.after].id) for p in match(before, after, True)}
    rows, cols = rng.permutation(n), rng.permutation(m)
    mixed = match([before[i] for i in rows], [after[j] for j in cols], True)
    assert {(before[rows[p.before]].id, after[cols[p.after]].id) for p in mixed} == found
    swapped = match(after, before, True)
    assert {(before[p.after].id, after[p.before].id) for p in swapped} == found
    assert len({i for i, _ in found}) == len(found) == len({j for _, j in found})
