from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.slices import Sighting, duplicates

M_PER_DEG = 111_195.0


def sighting(id_, slice_, north_m, east_m=0.0, length_m=60.0, edge_m=1000.0, lon=10.0, lat=0.0):
    return Sighting(id_, slice_, lon + east_m / M_PER_DEG, lat + north_m / M_PER_DEG, length_m, edge_m)


def test_of_two_the_one_farther_from_its_edge_stands_then_the_lower_id() -> None:
    near, far = sighting("a", 1, 0, edge_m=50), sighting("b", 2, 20, edge_m=60)
    assert duplicates([near, far]) == {"a": "b"}
    even = sighting("c", 2, 20, edge_m=50)
    assert duplicates([near, even]) == {"c": "a"}


def test_only_what_is_close_and_of_another_slice_is_the_same() -> None:
    assert duplicates([sighting("a", 1, 0), sighting("b", 2, 40)]) == {}
    assert duplicates([sighting("a", 1, 0), sighting("b", 1, 10)]) == {}
    long = [sighting("a", 1, 0, length_m=300), sighting("b", 2, 70, length_m=320)]
    assert duplicates(long) == {"b": "a"}


def test_pieces_of_a_ship_that_the_cut_parts_are_one() -> None:
    # 300 m along the azimuth, 200 m in one slice and 100 m in the next
    pieces = [sighting("a", 1, 100, length_m=200, edge_m=100), sighting("b", 2, -50, length_m=100, edge_m=50)]
    assert duplicates(pieces) == {"b": "a"}
    # two ships of the same lengths at the same distance, away from the cut
    ships = [sighting("a", 1, 100, length_m=200, edge_m=900), sighting("b", 2, -50, length_m=100, edge_m=50)]
    assert duplicates(ships) == {}


def test_at_the_antimeridian_and_near_the_pole() -> None:
    assert duplicates([sighting("a", 1, 0, 5, lon=180.0), sighting("b", 2, 0, -5, lon=-180.0)]) == {"b": "a"}
    polar = [sighting("a", 1, 0, lon=10.0, lat=89.9999), sighting("b", 2, 0, lon=100.0, lat=89.9999)]
    assert duplicates(polar) == {"b": "a"}


@st.composite
def datatakes(draw):
    """Up to four slices with objects close enough to be taken for one another, and lengths to 400 m."""
    places = st.tuples(
        st.integers(1, 4),
        st.floats(-400, 400),
        st.floats(-400, 400),
        st.floats(10, 400),
        st.sampled_from([0.0, 20.0, 60.0, 150.0, 1e4]),
    )
    return [
        sighting(f"{index:02d}", slice_, north, east, length, edge)
        for index, (slice_, north, east, length, edge) in enumerate(draw(st.lists(places, max_size=14)))
    ]


@settings(deadline=None)
@given(datatakes(), st.randoms())
def test_no_order_matters_and_choosing_again_changes_nothing(sightings, random) -> None:
    first = duplicates(sightings)
    shuffled = list(sightings)
    random.shuffle(shuffled)
    assert duplicates(shuffled) == first
    standing = [s for s in sightings if s.id not in first]
    assert duplicates(standing) == {}


@settings(deadline=None)
@given(datatakes())
def test_every_double_has_a_standing_one_of_another_slice_beside_it(sightings) -> None:
    found = duplicates(sightings)
    by_id = {s.id: s for s in sightings}
    for double, other in found.items():
        assert other not in found, "what stands for another stands itself"
        assert by_id[double].slice != by_id[other].slice
        assert by_id[other].edge_m >= by_id[double].edge_m
    if len({s.slice for s in sightings}) <= 1:
        assert found == {}
