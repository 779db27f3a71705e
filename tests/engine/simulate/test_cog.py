from __future__ import annotations

import binascii
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from typer.testing import CliRunner

from daemon.scene.product import Window, open_scene
from engine.errors import InputError
from engine.simulate import command
from engine.simulate.cog import to_cog
from engine.simulate.physics import vv_over_hh_db
from tests.support.real import with_pixels
from tests.support.safe import build_safe

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_safe(tmp_path_factory.mktemp("safe"), shape=(900, 700))


@pytest.fixture(scope="module")
def twin(product: Path) -> Path:
    (product / "preview").mkdir()
    (product / "preview" / "map-overlay.kml").write_text("<kml/>")
    product.with_name(f"{product.stem}.truth.geojson").write_text(json.dumps({"name": product.stem}))
    return to_cog(product, product.parent / "cogs")


def test_names_are_those_of_the_real_converter(product: Path, twin: Path) -> None:
    manifest = (twin / "manifest.safe").read_bytes()
    head = product.name.rsplit("_", 1)[0]
    assert twin.name == f"{head}_{binascii.crc_hqx(manifest, 0xFFFF):04X}_COG.SAFE"
    files = {p.relative_to(twin).as_posix() for p in twin.rglob("*") if p.is_file()}
    stem = "s1a-iw-grd-{}-20230615t180704-20230615t180729-048999-05e4c2-{}-cog"
    for polarisation, number in (("vv", "001"), ("vh", "002")):
        name = stem.format(polarisation, number)
        assert files >= {
            f"annotation/{name}.xml",
            f"annotation/calibration/calibration-{name}.xml",
            f"annotation/calibration/noise-{name}.xml",
            f"measurement/{name}.tiff",
        }
    assert len(files) == 10 and "preview/map-overlay.kml" in files
    assert [p.name for p in twin.parent.iterdir() if p.name.startswith(".")] == []


def test_the_manifest_lists_what_is_there(twin: Path) -> None:
    text = (twin / "manifest.safe").read_text()
    listed = re.findall(
        r'size="(\d+)"><fileLocation[^>]*href="\./([^"]+)"/><checksum[^>]*>([0-9a-f]+)<', text
    )
    assert len(listed) == 8
    for size, path, digest in listed:
        data = (twin / path).read_bytes()
        assert len(data) == int(size) and hashlib.md5(data).hexdigest() == digest


def test_pixels_points_and_metadata_are_the_same(product: Path, twin: Path) -> None:
    for path in product.glob("measurement/*.tiff"):
        with rasterio.open(path) as a, rasterio.open(twin / "measurement" / f"{path.stem}-cog.tiff") as b:
            assert np.array_equal(a.read(1), b.read(1))
            assert [(p.row, p.col, p.x, p.y) for p in a.gcps[0]] == [
                (p.row, p.col, p.x, p.y) for p in b.gcps[0]
            ]
            assert (b.compression.name, b.block_shapes[0]) == ("zstd", (1024, 1024)) and len(
                b.overviews(1)
            ) == 6
    for path in product.rglob("*.xml"):
        other = twin / path.relative_to(product).with_name(f"{path.stem}-cog.xml")
        assert other.read_bytes() == path.read_bytes()


def test_the_truth_goes_along(twin: Path) -> None:
    truth = json.loads(twin.with_name(f"{twin.stem}.truth.geojson").read_text())
    assert truth["name"] == twin.stem


def test_of_a_real_manifest(real_data: Path, tmp_path: Path) -> None:
    (source,) = (real_data / "s1-safe").glob("*_4B8B.SAFE")
    product = with_pixels(source, tmp_path, {"HH": [], "HV": []})
    twin = to_cog(product, tmp_path, "DEFLATE", 512)
    listed = re.findall(r'href="\./([^"]+)"', (twin / "manifest.safe").read_text())
    there = [path for path in listed if (twin / path).is_file()]
    assert len(there) == 10 and all(Path(path).stem.endswith("-cog") for path in there)


def test_what_is_no_product(product: Path, tmp_path: Path) -> None:
    for path in (tmp_path, product / "manifest.safe", tmp_path / product.name):
        with pytest.raises(InputError, match="expected the folder of a SAFE product"):
            to_cog(path, tmp_path / "out")
    bare = tmp_path / product.name
    (bare / "measurement").mkdir(parents=True)
    (bare / "manifest.safe").write_text("<a/>")
    (bare / "measurement" / "s1a-iw.tiff").write_bytes((next(product.glob("measurement/*"))).read_bytes())
    with pytest.raises(InputError, match="0 times"):
        to_cog(bare, tmp_path / "out")


def sea_of(sigma0: NDArray[np.float32]) -> float:
    """Return the median of the means of 20 x 20 px: free of ships and, with the noise taken off, of bias."""
    return float(np.median(sigma0.reshape(12, 20, 13, 20).mean((1, 3))))


@pytest.mark.parametrize("polarisations", [("VV",), ("HH", "HV"), ("HH",)])
def test_simulated_products_of_other_polarisations(tmp_path: Path, polarisations: tuple[str, ...]) -> None:
    """HH is VV over a darker sea; the product and its twin open as what they are called."""

    class Sea:
        def polygons(self, west: float, south: float, east: float, north: float) -> list:
            return []

    shape = (240, 260)
    (product,) = command.run(tmp_path / "a", 1, 5, shape, 1, Sea(), polarisations=polarisations)
    (plain,) = command.run(tmp_path / "b", 1, 5, shape, 1, Sea())
    twin = to_cog(product, tmp_path / "cogs")
    code = ("S" if len(polarisations) == 1 else "D") + polarisations[0][0]
    assert product.name[:62] == f"S1A_IW_GRDH_1S{code}_{plain.name[17:62]}"
    window = Window(0, 0, *shape)
    with open_scene(str(product), verify_pixels=True) as scene, open_scene(str(twin)) as other:
        assert scene.polarisations == other.polarisations == polarisations and scene.notes == ()
        image = scene.read(polarisations[0], window)
        assert np.array_equal(image.sigma0, other.read(polarisations[0], window).sigma0)
    with open_scene(str(plain)) as scene:
        reference = scene.read("VV", window)
        incidence = float(scene.geometry.incidence_deg(120, 130))
    darker_db = 10 * np.log10(sea_of(reference.sigma0) / sea_of(image.sigma0))
    expected = vv_over_hh_db(incidence) if polarisations[0] == "HH" else 0.0
    assert darker_db == pytest.approx(expected, abs=0.3)


def test_polarisations_by_name() -> None:
    assert command.parse_polarisations("hh+hv") == ("HH", "HV")
    for text in ("VH", "VH+VV", "VV+HH", ""):
        with pytest.raises(InputError, match="expected one of"):
            command.parse_polarisations(text)


def test_the_command_writes_both_forms(tmp_path: Path) -> None:
    asked = [str(tmp_path), "--size", "220x210", "--polarisations", "HH", "--cog"]
    result = CliRunner().invoke(command.app, asked)
    assert result.exit_code == 0, result.output
    names = sorted(path.name for path in tmp_path.glob("*.SAFE"))
    assert len(names) == 2 and sum(name.endswith("_COG.SAFE") for name in names) == 1
    assert len(list(tmp_path.glob("*.truth.geojson"))) == 2
    assert all(name.startswith("S1A_IW_GRDH_1SSH_") for name in names)
