"""A result as GeoJSON."""

from __future__ import annotations

from dataclasses import replace

import pytest

from daemon import geojson
from daemon.domain import Flag
from tests.support import tiny


@pytest.mark.parametrize("evidence", [{"distance_m": 12, "structure": "BR-17"}, {"name": "BR-17"}])
def test_a_flag_keeps_its_name_whatever_its_evidence(evidence: dict[str, str]) -> None:
    result = tiny.make_result(f"/p/{tiny.NAME}.SAFE", 1)
    marked = replace(result.detections[0], flags=(Flag("infrastructure", evidence),))
    [feature] = geojson.feature_collection(replace(result, detections=(marked,)))["features"]
    assert feature["properties"]["flags"] == [{**evidence, "name": "infrastructure"}]
