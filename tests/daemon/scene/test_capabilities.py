"""The table of docs/products.md is what happens."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from daemon.domain import SceneResult
from daemon.errors import SceneUnsupported
from daemon.pipeline import process_scene
from daemon.scene.names import ProductName, check_supported
from daemon.scene.product import Scene, Window, open_scene
from engine.runtime.spec import Bundle
from tests.support.safe import NAME, build_safe, sea
from tests.support.sea import BrightEngine, FakeLand

DOCUMENT = Path(__file__).parents[3] / "docs" / "products.md"
SHAPE = (320, 400)
CODES = {"VV+VH": "SDV", "HH+HV": "SDH", "VV": "SSV", "HH": "SSH", "VH": "SVH", "HV": "SHV"}


def rows() -> list[dict[str, str]]:
    text = DOCUMENT.read_text("utf-8").split("## What is done with what")[1].split("\n- ")[0]
    head, _, *body = (line.strip("| ").split("|") for line in text.splitlines() if line.startswith("|"))
    return [{h.strip(): c.strip() for h, c in zip(head, line, strict=True)} for line in body]


def cases() -> list[tuple[str, dict[str, str]]]:
    """Every mode, resolution, polarisation and format of a row at least once."""
    found = {}
    for row in rows():
        lists = [row[key].split(", ") for key in ("mode", "resolution", "polarisations", "format")]
        for i in range(max(map(len, lists))):
            values = [choices[i % len(choices)] for choices in lists]
            found[" ".join(values)] = row
    return list(found.items())


def name_of(mode: str, resolution: str, polarisations: str) -> str:
    """Return a product's name; the resolution may be a product type or a class."""
    what = {"SLC": "SLC__1", "RAW": "RAW__0", "OCN": "OCN__2"}.get(resolution, f"GRD{resolution[-1]}_1")
    code = CODES[polarisations]
    if resolution.startswith("class "):
        what, code = "GRDH_1", resolution[-1] + code[1:]
    return NAME.replace("IW_GRDH_1SDV", f"{mode}_{what}{code}")


# What a format says of its noise and its processor.
FORMS = {"of IPF 2.36": ("zero", "002.36"), "of IPF 2.70": ("old", "002.70")}


def build(folder: Path, name: str, layout: str) -> Path:
    form, _, how = layout.partition(" ")
    noise, ipf = FORMS.get(how, ("modern", "003.61"))
    dn = {}
    for number, polarisation in enumerate(ProductName.parse(name).polarisations, 1):
        dn[polarisation] = sea(SHAPE, 60 / number, seed=number)
        dn[polarisation][150:162, 200:205] = 2500 // number
    path = build_safe(folder, name=name, layout=form, noise=noise, ipf=ipf, shape=SHAPE, dn=dn)  # type: ignore[arg-type]
    if how == "without annotation":
        shutil.rmtree(path / "annotation")
    return path


def test_the_table_is_read() -> None:
    assert len(rows()) >= 10 and {row["outcome"] for row in rows()} == {"done", "unsupported"}
    modes = {mode for row in rows() if row["opened"] == "yes" for mode in row["mode"].split(", ")}
    assert modes == {"IW", "EW", "S1", "S2", "S3", "S4", "S5", "S6"}


@pytest.mark.parametrize(("case", "row"), [pytest.param(*case, id=case[0]) for case in cases()])
def test_a_row_is_what_happens(case: str, row: dict[str, str], tmp_path: Path) -> None:
    mode, rest = case.split(" ", 1)
    resolution = next(r for r in row["resolution"].split(", ") if rest.startswith(f"{r} "))
    polarisations, layout = rest.removeprefix(resolution).strip().split(" ", 1)
    name = name_of(mode, resolution, polarisations)
    if row["opened"] == "no":
        path = tmp_path / name.replace(".SAFE", "_COG.SAFE" if layout == "COG" else ".SAFE")
        built = build_safe(tmp_path / "other", layout="AWS" if layout == "AWS" else "SAFE")
        info = built / "productInfo.json"
        if layout == "AWS":
            info.write_text(info.read_text().replace(NAME.removesuffix(".SAFE"), name.removesuffix(".SAFE")))
        built.rename(path)
        with pytest.raises(SceneUnsupported, match="got .*, expected .*; .*: "):
            open_scene(str(path))
        with pytest.raises(SceneUnsupported):
            check_supported(ProductName.parse(name))
        return
    check_supported(ProductName.parse(name))
    manifest = Bundle.open().manifest
    engine = BrightEngine(sensors=manifest.sensors)
    engine.bundle.manifest.spacing_m = manifest.spacing_m
    with open_scene(str(build(tmp_path, name, layout))) as scene:
        assert list(scene.polarisations) == polarisations.split("+")
        assert_radiometry(scene, row)
        result = process_scene(scene, FakeLand(np.zeros(scene.shape, bool)), engine, None)  # type: ignore[arg-type]
    assert_looked(result, row)
    assert bool(engine.requests) == (row["engine asked"] == "yes")


def assert_radiometry(scene: Scene, row: dict[str, str]) -> None:
    said = " ".join(scene.notes)
    assert ("constant sigmaNought" in said) == (row["calibrated"] == "nominal")
    for polarisation in scene.polarisations:
        noise = scene.bands[polarisation].noise
        nesz = scene.read(polarisation, Window(100, 100, 8, 8)).nesz
        if row["noise"] == "range and azimuth":
            assert noise.azimuth and nesz.min() > 0
        elif row["noise"] == "range":
            assert not noise.azimuth and nesz.min() > 0
        elif row["noise"] == "none":
            assert not nesz.any() and "the noise is unknown" in said
        else:
            assert row["noise"] == "as the file has it" and not noise.azimuth
            assert (nesz.max() == 0) == ("the noise table is zero" in said)


def assert_looked(result: SceneResult, row: dict[str, str]) -> None:
    assert row["scanned"] == "yes" and result.outcome == row["outcome"]
    assert result.coverage.area_km2 > 0 and result.candidates
    states = {candidate.state for candidate in result.candidates}
    asked = row["engine asked"] == "yes"
    assert ("not_examined" in states) != asked
    assert any(note.startswith("engine_not_asked") for note in result.notes) != asked
    assert bool(result.detections) == asked
