"""Splits by site: what lies near, or was seen in one datatake, stays together; 50 km lie between splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from engine.errors import DatasetError, InputError

GAP_KM = 50.0
_EARTH_KM = 6371.0


def unit_vectors(lonlat_deg: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return points on the unit sphere, [n, 3], of longitudes and latitudes, [n, 2]."""
    lon, lat = np.radians(np.asarray(lonlat_deg, np.float64).reshape(-1, 2)).T
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)


def _chord(distance_km: float) -> float:
    return float(2 * np.sin(distance_km / _EARTH_KM / 2))


def sites(
    lonlat_deg: NDArray[np.floating], datatakes: Sequence[str], gap_km: float = GAP_KM
) -> NDArray[np.int64]:
    """Number the sites of places: no two sites come nearer than the gap, none share a datatake.

    Args:
        lonlat_deg: places, [n, 2].
        datatakes: what each was seen in.
        gap_km: smallest distance between sites.

    Returns:
        Site of each place, [n], from 0.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    count = len(datatakes)
    near = cKDTree(unit_vectors(lonlat_deg)).query_pairs(_chord(gap_km), output_type="ndarray")
    first: dict[str, int] = {}
    same = np.array([(first.setdefault(name, i), i) for i, name in enumerate(datatakes)], np.int64)
    edges = np.concatenate([near.reshape(-1, 2), same.reshape(-1, 2)])
    graph = coo_matrix((np.ones(len(edges), np.int8), edges.T), (count, count))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def assign(
    site_of: NDArray[np.int64], shares: Mapping[str, float], seed: int = 0
) -> dict[str, NDArray[np.int64]]:
    """Give whole sites to splits, so that each gets about its share of the places.

    Args:
        site_of: site of each place, [n].
        shares: of each split; what is left goes to the first.
        seed: of the order in which sites are given away.

    Returns:
        Indices of each split's places.

    Raises:
        DatasetError: there are fewer sites than splits.
        InputError: shares do not fit.
    """
    names = list(shares)
    if not names or any(share <= 0 for share in shares.values()) or sum(shares.values()) > 1 + 1e-9:
        raise InputError(f"got shares {dict(shares)}, expected positive ones of 1 in all")
    found, sizes = np.unique(site_of, return_counts=True)
    if len(found) < len(names):
        raise DatasetError(
            f"got {len(found)} sites {GAP_KM:.0f} km apart for {len(names)} splits, expected at least one "
            "each: add scenes of other places and datatakes"
        )
    order = np.random.default_rng(seed).permutation(len(found))
    order = order[np.argsort(-sizes[order], kind="stable")]
    room = {name: shares[name] * len(site_of) for name in names}
    of_split: dict[str, list[int]] = {name: [] for name in names}
    for left, index in zip(range(len(order), 0, -1), order, strict=True):
        empty = [name for name in names if not of_split[name]]
        choices = empty if left <= len(empty) else names
        name = max(choices, key=lambda each: room[each] / shares[each])
        of_split[name].append(int(found[index]))
        room[name] -= sizes[index]
    return {name: np.flatnonzero(np.isin(site_of, own)) for name, own in of_split.items()}


def check_apart(splits: Mapping[str, NDArray[np.floating]], gap_km: float = GAP_KM) -> None:
    """Check that no place of a split comes nearer than the gap to one of another.

    Args:
        splits: places of each split, [n, 2] longitude and latitude.
        gap_km: smallest distance allowed.

    Raises:
        DatasetError: two do.
    """
    from scipy.spatial import cKDTree

    names = [name for name, places in splits.items() if len(places)]
    for i, name in enumerate(names):
        tree = cKDTree(unit_vectors(splits[name]))
        for other in names[i + 1 :]:
            chords, _ = tree.query(unit_vectors(splits[other]))
            nearest_km = 2 * _EARTH_KM * float(np.arcsin(min(chords.min() / 2, 1.0)))
            if nearest_km < gap_km:
                raise DatasetError(
                    f"got places of {name} and {other} {nearest_km:.1f} km apart, expected {gap_km:.0f} km: "
                    "split by site"
                )
