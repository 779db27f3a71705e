"""An image turned by 180 degrees, with its geometry, shows the same sea."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import ArrayLike

from daemon.domain import Detection, SceneResult
from daemon.geojson import feature_collection
from daemon.pipeline import process_scene
from daemon.scene.geometry import SceneGeometry
from tests.support.globe import PLACES, degrees_apart, full_scene
from tests.support.sea import BrightEngine, FakeLand, Target, sea_scene

SHAPE = (520, 560)
TARGETS = [
    Target(120, 130, 180, 30, 50),
    Target(250.4, 300.3, 220, 100, 49),
    Target(400, 420, 150, 150, 48),
    Target(430, 110, 40, 0, 40),
]


class Turned(SceneGeometry):
    """The geometry of an image turned by 180 degrees."""

    def __init__(self, inner: SceneGeometry) -> None:
        self.inner, self.shape = inner, inner.shape

    def _there(self, line_px: ArrayLike, sample_px: ArrayLike):
        return self.shape[0] - 1 - np.asarray(line_px), self.shape[1] - 1 - np.asarray(sample_px)

    def lonlat(self, line_px, sample_px, height_m=None):
        return self.inner.lonlat(*self._there(line_px, sample_px), height_m)

    def pixel(self, lon_deg, lat_deg, height_m=None):
        return self._there(*self.inner.pixel(lon_deg, lat_deg, height_m))

    def slant_range_m(self, line_px, sample_px):
        return self.inner.slant_range_m(*self._there(line_px, sample_px))

    def range_to_velocity_s(self, line_px, sample_px):
        return self.inner.range_to_velocity_s(*self._there(line_px, sample_px))

    def incidence_deg(self, line_px, sample_px):
        return self.inner.incidence_deg(*self._there(line_px, sample_px))

    def look_azimuth_deg(self, line_px, sample_px):
        return (self.inner.look_azimuth_deg(*self._there(line_px, sample_px)) + 180) % 360

    def heading_deg(self, line_px, sample_px):
        return (self.inner.heading_deg(*self._there(line_px, sample_px)) + 180) % 360

    def time_utc(self, line_px):
        return self.inner.time_utc(self.shape[0] - 1 - line_px)


@pytest.fixture(scope="module", params=["Palau", "Chukchi Sea", "north of Svalbard"])
def both(request: pytest.FixtureRequest) -> tuple[SceneResult, SceneResult]:
    _, geometry = full_scene(*PLACES[request.param], SHAPE)
    scene = sea_scene(SHAPE, TARGETS, seed=11, geometry=geometry)
    turned = replace(
        scene,
        sigma0={name: band[::-1, ::-1] for name, band in scene.sigma0.items()},
        geometry=Turned(geometry),
    )
    land = FakeLand(np.zeros(SHAPE, bool))
    return tuple(process_scene(each, land, BrightEngine(), None) for each in (scene, turned))


def pairs(both: tuple[SceneResult, SceneResult]) -> list[tuple[Detection, Detection]]:
    """The detection of each target in either image."""

    def nearest(result: SceneResult, line: float, sample: float) -> Detection:
        return min(result.detections, key=lambda d: np.hypot(d.line_px - line, d.sample_px - sample))

    return [
        (
            nearest(both[0], target.line_px, target.sample_px),
            nearest(both[1], SHAPE[0] - 1 - target.line_px, SHAPE[1] - 1 - target.sample_px),
        )
        for target in TARGETS
    ]


def test_positions_and_axes_are_the_same(both: tuple[SceneResult, SceneResult]) -> None:
    for one, other in pairs(both):
        assert (other.line_px, other.sample_px) == pytest.approx(
            (SHAPE[0] - 1 - one.line_px, SHAPE[1] - 1 - one.sample_px), abs=0.3
        )
        across = np.cos(np.radians(one.lat_deg))
        east, north = degrees_apart(one.lon_deg, other.lon_deg) * across, abs(one.lat_deg - other.lat_deg)
        assert np.hypot(east, north) * 111_320 < 4
        assert other.length_m == pytest.approx(one.length_m, abs=5)
        assert (one.axis_deg is None) == (other.axis_deg is None)
        if one.axis_deg is not None and other.axis_deg is not None:
            assert degrees_apart(one.axis_deg, other.axis_deg, 180) < 1


def test_the_axis_is_the_targets(both: tuple[SceneResult, SceneResult]) -> None:
    """Targets are set clockwise from the image's up, and images are mirrored: lines run with the flight."""
    for target, (detection, _) in zip(TARGETS, pairs(both), strict=True):
        if target.length_m >= 100:
            assert detection.axis_deg is not None and detection.azimuth_deg is not None
            # samples run to the right of the flight, and the flight runs down: clockwise turns round
            expected = detection.azimuth_deg - target.axis_deg
            assert degrees_apart(detection.axis_deg, expected, 180) < 6


def test_what_is_kept_of_movers(both: tuple[SceneResult, SceneResult]) -> None:
    for one, other in pairs(both):
        assert one.range_to_velocity_s == pytest.approx(other.range_to_velocity_s, abs=0.01)
        assert one.shift_bound_m == pytest.approx(other.shift_bound_m, abs=0.2)
        assert degrees_apart(one.azimuth_deg, other.azimuth_deg) == pytest.approx(180, abs=0.02)
        assert 100 < one.range_to_velocity_s < 130 and 750 < one.shift_bound_m < 1400
    written = feature_collection(both[0])["features"][0]["properties"]
    first = both[0].detections[0]
    assert written["azimuth_deg"] == first.azimuth_deg and written["shift_bound_m"] == first.shift_bound_m
    assert written["range_to_velocity_s"] == first.range_to_velocity_s
