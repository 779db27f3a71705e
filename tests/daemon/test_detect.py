from __future__ import annotations

import json

import numpy as np
import pytest
import typer
from shapely import box
from typer.testing import CliRunner

from daemon import detect as command
from daemon import pipeline
from tests.support.sea import BrightEngine, FakeLand, Target, sea_scene

TARGETS = [Target(120, 130, 180, 30, 50), Target(300, 250, 60, 120, 42)]


@pytest.fixture
def app():
    app = typer.Typer()
    app.command()(command.detect)
    return app


@pytest.fixture
def opened(monkeypatch):
    """One scene in memory, whatever is asked for; the engine is a stand-in."""
    scene = sea_scene((400, 400), TARGETS, seed=11)
    land = FakeLand(np.zeros(scene.shape, bool))
    for module in (pipeline, command):
        monkeypatch.setattr(module, "open_scene", lambda uri: scene)
    monkeypatch.setattr(pipeline, "SceneLand", lambda coastline, geometry: land)
    monkeypatch.setattr("daemon.scene.land.SceneLand", lambda coastline, geometry: land)
    monkeypatch.setattr(command.Predictor, "open", lambda bundle, threads=None: BrightEngine())
    return scene


def run(app, *arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_writes_geojson_and_a_picture(app, opened, tmp_path):
    out, picture = tmp_path / "found.geojson", tmp_path / "found.png"
    done = run(app, "product.SAFE", "--out", out, "--picture", picture)
    assert done.exit_code == 0, done.output
    document = json.loads(out.read_text("utf-8"))
    found = document["features"]
    assert len(found) >= 2 and {feature["properties"]["class"] for feature in found} == {"ship"}
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert f"{len(found)} detections" in done.stderr


def test_the_threshold_rules_what_is_written(app, opened, tmp_path):
    out = tmp_path / "found.geojson"
    assert run(app, "product.SAFE", "--out", out, "--score-threshold", "0.999").exit_code == 0
    document = json.loads(out.read_text("utf-8"))
    assert document["features"] == []
    assert "rejected" in {candidate["state"] for candidate in document["candidates"]}


def test_a_missing_prior_index_is_recorded(app, opened, tmp_path):
    out = tmp_path / "found.geojson"
    done = run(app, "product.SAFE", "--out", out, "--prior", tmp_path / "nowhere" / "index.json")
    assert done.exit_code == 0, done.output
    document = json.loads(out.read_text("utf-8"))
    assert any("prior absent" in note for note in document["notes"])
    assert {f["properties"]["prior_status"] for f in document["features"]} == {"absent"}


def test_inland_water_is_chosen_by_name(app, opened, tmp_path, monkeypatch):
    seen = []
    process = command.process
    monkeypatch.setattr(command, "process", lambda *args: seen.append(args[3].version) or process(*args))
    out = tmp_path / "found.geojson"
    assert run(app, "product.SAFE", "--out", out, "--inland-water", "caspian sea").exit_code == 0
    assert run(app, "product.SAFE", "--out", out).exit_code == 0
    assert [version.rsplit("/", 1)[1] for version in seen] == ["inland=Caspian Sea", "inland=all"]
    done = run(app, "product.SAFE", "--out", tmp_path / "none.geojson", "--inland-water", "Styx")
    assert done.exit_code == 1 and "InputError" in done.stderr and "Caspian Sea" in done.stderr


def test_a_scene_far_from_the_sea_is_not_read(app, opened, tmp_path, monkeypatch):
    monkeypatch.setattr(opened, "footprint", box(20, 20, 22, 22))  # Libya
    monkeypatch.setattr(pipeline, "scan", lambda *args, **kwargs: pytest.fail("its pixels were read"))
    out = tmp_path / "found.geojson"
    done = run(app, "product.SAFE", "--out", out)
    assert done.exit_code == 0 and "irrelevant: no sea" in done.stderr, done.output
    document = json.loads(out.read_text("utf-8"))
    assert document["outcome"] == "irrelevant" and document["features"] == document["candidates"] == []


def test_an_error_is_one_line_and_writes_nothing(app, monkeypatch, tmp_path):
    monkeypatch.setattr(command.Predictor, "open", lambda bundle, threads=None: BrightEngine())
    out = tmp_path / "found.geojson"
    done = run(app, tmp_path / "no-such-product.SAFE", "--out", out)
    assert done.exit_code == 1
    assert "SceneMissing" in done.stderr
    assert "Traceback" not in done.output
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_prior_index_stops(app, opened, tmp_path):
    index = tmp_path / "index.json"
    index.write_text("{}", "utf-8")
    done = run(app, "product.SAFE", "--out", tmp_path / "found.geojson", "--prior", index)
    assert done.exit_code == 1 and "ConfigError" in done.stderr


def test_a_folder_that_is_not_there_is_said(app, opened, tmp_path):
    done = run(app, "product.SAFE", "--out", tmp_path / "nowhere" / "found.geojson")
    assert done.exit_code == 1 and "nowhere" in done.stderr
