from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from daemon.cli import app
from tests.support import safe


@pytest.fixture(scope="module")
def product(tmp_path_factory):
    dn = {name: safe.sea((600, 600), seed=k) for k, name in enumerate(("VV", "VH"))}
    for numbers in dn.values():
        numbers[300:306, 300:304] = 2000
    return safe.build_safe(tmp_path_factory.mktemp("scan"), shape=(600, 600), dn=dn, node_deg=-20.0)


def test_a_product_becomes_candidates(product, tmp_path):
    out = tmp_path / "candidates.geojson"
    done = CliRunner().invoke(app, ["scan", str(product), "--out", str(out)])
    assert done.exit_code == 0, done.output
    document = json.loads(out.read_text())
    assert document["type"] == "FeatureCollection" and document["scene"]["product"] in product.name
    assert len(document["features"]) == document["counts"]["candidates"]
    assert document["features"], "the bright patch"
    for feature in document["features"]:
        lon, lat = feature["geometry"]["coordinates"]
        assert -180 <= lon <= 180 and -90 <= lat <= 90
        assert feature["properties"]["state"] == "not_examined"


def test_the_short_way_writes_the_same_and_loads_little(product, tmp_path):
    CliRunner().invoke(app, ["scan", str(product), "--out", str(tmp_path / "long")])
    out = tmp_path / "short"
    code = (
        "import sys; from daemon import __main__\n"
        f"sys.argv[1:] = ['scan', {str(product)!r}, '--out', {str(out)!r}]\n"
        "try: __main__.main()\n"
        "finally: print(*sys.modules)"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert out.read_text() == (tmp_path / "long").read_text()
    assert not {"typer", "rich", "pydantic", "rasterio", "scipy", "sqlalchemy"} & set(done.stdout.split())


def test_a_product_that_is_not_there_is_one_line(tmp_path):
    done = CliRunner().invoke(app, ["scan", str(tmp_path / "no.SAFE"), "--out", str(tmp_path / "a.geojson")])
    assert done.exit_code == 1 and not (tmp_path / "a.geojson").exists()


def test_a_rate_that_no_threshold_has_is_refused(product, tmp_path):
    command = ["scan", str(product), "--out", str(tmp_path / "a"), "--false-alarm-rate", "0.5"]
    assert CliRunner().invoke(app, command).exit_code == 1
