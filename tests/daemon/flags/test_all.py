from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from daemon.domain import FlagName
from daemon.errors import SceneCorrupt, SourceUnavailable
from daemon.flags import all as flags_all
from daemon.flags.all import link
from daemon.flags.infrastructure import Infrastructure
from daemon.flags.layers import Layers
from daemon.pipeline import process_scene
from daemon.scene.product import open_scene
from tests.daemon.flags.test_ghosts import ghost_offset, scene_with
from tests.daemon.flags.test_layers import geojson, point, write
from tests.support.safe import build_safe, sea
from tests.support.sea import BrightEngine, FakeLand, Target, sea_scene

SHAPE = (2200, 400)
AT = (2100.0, 200.0)


def ship(pixels, line, sample, dn):
    """A compact ship with soft edges."""
    line, sample = round(line), round(sample)
    for step, share in ((3, 0.3), (2, 0.6), (1, 1.0)):
        rows, cols = slice(line - step, line + step + 1), slice(sample - step, sample + step + 1)
        pixels[rows, cols] = np.maximum(pixels[rows, cols], round(dn * share))


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """A bright ship, its first ghost, and a ship as bright as the ghost, beside a structure."""
    folder = tmp_path_factory.mktemp("ghost")
    with scene_with(folder / "plain", [], SHAPE) as plain:
        source = AT[0] - ghost_offset(plain, *AT).lines
        place = plain.geometry.lonlat(900, 120)
    pixels = {p: sea(SHAPE, mean_dn=80.0 / (1 + k), seed=k) for k, p in enumerate(("VV", "VH"))}
    for line, sample, dn in ((source, 200, 9000), (*AT, 520), (900, 120, 520)):
        ship(pixels["VV"], line, sample, dn)
    root = build_safe(folder, shape=SHAPE, dn=pixels)
    layer = write(folder, "rigs.geojson", geojson((point(*map(float, place)), {"kind": "platform"})))
    with open_scene(str(root)) as scene:
        land = FakeLand(np.zeros(scene.shape, bool))
        layers = Layers(Infrastructure.open(layer), 200.0)
        yield process_scene(scene, land, BrightEngine(), None, layers=layers)


def at(result, line, sample):
    return min(result.detections, key=lambda d: np.hypot(d.line_px - line, d.sample_px - sample))


def test_a_ghost_names_the_detection_that_casts_it(result) -> None:
    ghost, other = at(result, *AT), at(result, 900, 120)
    flag = ghost.flag("azimuth_ghost")
    source = next(d for d in result.detections if d.id == flag.evidence["source_id"])
    assert abs(source.line_px - flag.evidence["source_line_px"]) < 5
    assert source.brightness_db - ghost.brightness_db == pytest.approx(flag.evidence["below_db"], abs=0.2)
    assert other.flag("azimuth_ghost") is None and source.flag("azimuth_ghost") is None


def test_layers_flag_and_are_recorded(result) -> None:
    assert at(result, 900, 120).flag("infrastructure").evidence["kind"] == "platform"
    assert at(result, *AT).flag("infrastructure") is None
    assert {name: said["status"] for name, said in result.layers.items()} == {
        "infrastructure": "known",
        "sea_ice": "unknown",
        "rfi": "unknown",
    }
    assert result.versions.layers.startswith("infrastructure 2024-01 ")
    assert result.ghost_places, "the next slice is told of the bright ship"


def test_names_of_flags_are_those_of_the_domain(result) -> None:
    names = {flag.name for d in result.detections for flag in d.flags}
    assert names <= set(FlagName.__args__)
    assert len({d.id for d in result.detections}) == len(result.detections)


def test_layers_change_the_run_and_their_absence_does_not() -> None:
    scene = sea_scene((200, 200), [Target(100, 100, 80, 0, 48)], seed=1)
    land = FakeLand(np.zeros(scene.shape, bool))
    plain = process_scene(scene, land, BrightEngine(), None)
    again = process_scene(scene, land, BrightEngine(), None, layers=Layers())
    assert plain.run_key == again.run_key and plain.versions.layers is None
    other = replace(plain, versions=replace(plain.versions, layers="infrastructure x"))
    assert other.run_key != plain.run_key


def test_linking_twice_changes_nothing(result) -> None:
    class Scene:
        spacing_m = (10.0, 10.0)

    assert link(result.detections, Scene) == list(result.detections)


def test_a_flag_that_fails_is_a_note_and_loses_no_scene(monkeypatch) -> None:
    targets = [Target(100, 60, 80, 0, 48), Target(100, 140, 80, 0, 48)]
    scene = sea_scene((200, 200), targets, seed=1)
    land = FakeLand(np.zeros(scene.shape, bool))
    whole = process_scene(scene, land, BrightEngine(), None)

    def fails(error):
        def flag(*args):
            raise error

        return flag

    monkeypatch.setattr(flags_all, "ghost_flag", fails(TypeError("a bug")))
    result = process_scene(scene, land, BrightEngine(), None)
    assert len(result.detections) == len(whole.detections) == 2
    assert [note for note in result.notes if "flag" in note] == ["flag azimuth_ghost failed: TypeError a bug"]
    for error in (SourceUnavailable("away"), SceneCorrupt("broken")):
        monkeypatch.setattr(flags_all, "ghost_flag", fails(error))
        with pytest.raises(type(error)):
            process_scene(scene, land, BrightEngine(), None)
