"""The xView3 score: by hand, and from files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.errors import DatasetError
from engine.evaluate.xview3 import Spot, assign, distances_m, read_spots, with_shore, xview3_score

DEGREE_M = 111_195.0


def spot(x_m: float, **facts) -> Spot:
    return Spot(10.0 + x_m / DEGREE_M, 0.0, **{"vessel": True, "length_m": 100.0, "shore_m": 9e3} | facts)


TRUTH = [
    spot(0, fishing=True, shore_m=500.0),
    spot(5_000, fishing=False, length_m=200.0),
    spot(9_000, vessel=False, length_m=None),
]


def test_distance() -> None:
    assert distances_m([spot(0)], [spot(1234.0)])[0, 0] == pytest.approx(1234, rel=1e-3)


def test_the_truth_scores_one_and_nothing_scores_zero() -> None:
    found = xview3_score([(TRUTH, TRUTH), (TRUTH, TRUTH)], 20)
    assert found["aggregate"] == found["aggregate_without_fishing"] == 1
    assert found["aggregate_95"] == [1, 1]
    nothing = xview3_score([([], TRUTH)], 20)
    assert nothing["detection_f1"] == 0
    assert nothing["missed"] == 3


def test_by_hand() -> None:
    predicted = [
        spot(150, fishing=False, length_m=150.0, shore_m=500.0),  # hit; fishing wrong, half too long
        spot(9_000, vessel=True),  # hit; not a vessel
        spot(20_000),  # false alarm
    ]
    found = xview3_score([(predicted, TRUTH)])
    assert (found["hits"], found["false"], found["missed"]) == (2, 1, 1)
    assert found["detection_f1"] == pytest.approx(2 / 3, abs=1e-4)
    assert found["length"] == 0.5
    assert found["vessel_f1"] == pytest.approx(2 / 3, abs=1e-4)  # one hit, one false
    assert found["fishing_f1"] == 0
    assert found["shore_f1"] == 1
    assert found["aggregate"] == pytest.approx(2 / 3 * (1 + 0.5 + 2 / 3 + 0 + 1) / 5, abs=1e-4)


def test_far_pairs_do_not_steal_a_label() -> None:
    # assigned by total distance without a gate, the second label would go to the first prediction
    predicted, true = [spot(0), spot(-500)], [spot(190), spot(5_000)]
    assert assign(predicted, true) == [(0, 0)]


def test_low_labels_count_neither_way() -> None:
    low = [*TRUTH, spot(30_000, low=True), spot(40_000, low=True)]
    found = xview3_score([([*TRUTH, spot(30_000)], low)])
    assert (found["hits"], found["false"], found["missed"]) == (3, 0, 0)


def test_without_fishing_labels_the_aggregate_says_so() -> None:
    plain = [replace(one, fishing=None) for one in TRUTH]
    found = xview3_score([(plain, plain)])
    assert found["aggregate"] is None
    assert found["aggregate_without_fishing"] == 1


def _collection(path: Path, features: list[tuple[float, dict]]) -> Path:
    path.write_text(
        json.dumps(
            {
                "type": "FeatureCollection",
                "features": [
                    {
                        "type": "Feature",
                        "geometry": {"type": "Point", "coordinates": [x, 0.0]},
                        "properties": p,
                    }
                    for x, p in features
                ],
            }
        )
    )
    return path


def test_files(tmp_path: Path) -> None:
    ghost = {"class": "ship", "score": 0.9, "flags": [{"name": "azimuth_ghost"}]}
    path = _collection(
        tmp_path / "a.geojson",
        [
            (10.0, {"class": "ship", "score": 0.9, "length_m": 80.0, "flags": [], "shore_m": 100.0}),
            (10.1, {"class": "platform", "score": 0.2, "flags": []}),
            (10.2, ghost),
            (10.3, {"class": "ship", "ghost_of": "x"}),
            (10.4, {"class": "turbine", "contrast_db": 3.0}),
        ],
    )
    found = read_spots(path, 0.5, ("azimuth_ghost",), faint_db=8.0)
    assert [spot.lon_deg for spot in found] == [10.0, 10.4]
    assert (found[0].vessel, found[1].vessel) == (True, False)
    assert (found[0].low, found[1].low) == (False, True)
    with pytest.raises(DatasetError):
        read_spots(tmp_path / "none.geojson")


def test_shore_distance_is_filled_in() -> None:
    near, far = with_shore([Spot(5.20, 60.40), Spot(2.0, 60.4)])  # Bergen; the open North Sea
    assert near.shore_m is not None
    assert near.shore_m < 2000
    assert np.isinf(far.shore_m)
    assert with_shore([Spot(0, 0, shore_m=7.0)])[0].shore_m == 7.0
