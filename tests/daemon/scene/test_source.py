from __future__ import annotations

import hashlib
import json
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from daemon.errors import SceneCorrupt
from daemon.scene.product import Window, open_scene
from daemon.scene.safe import ipf_notes, parse_manifest
from tests.support.safe import NAME, build_safe


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_safe(tmp_path_factory.mktemp("safe"))


@pytest.fixture
def copy(product: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(product, tmp_path / product.name))


def change(product: Path, pattern: str, at: int = -1) -> Path:
    """Change one byte of a file, so that it still parses."""
    (path,) = product.glob(pattern)
    data = bytearray(path.read_bytes())
    if path.suffix == ".xml":
        data += b"\n"
    else:
        data[at] ^= 1
    path.write_bytes(bytes(data))
    return path


@pytest.mark.parametrize(
    "pattern",
    [
        "annotation/*-vv-*.xml",
        "annotation/*-vh-*.xml",
        "annotation/calibration/calibration-*-vv-*.xml",
        "annotation/calibration/noise-*-vh-*.xml",
    ],
)
def test_metadata_that_were_changed(copy: Path, pattern: str) -> None:
    path = change(copy, pattern)
    with pytest.raises(SceneCorrupt, match="got MD5 [0-9a-f]{32}, expected [0-9a-f]{32} as manifest"):
        open_scene(str(copy))
    manifest = copy / "manifest.safe"
    manifest.write_text(re.sub(r"<checksum.*?</checksum>", "", manifest.read_text()))
    with open_scene(str(copy)) as scene:  # without checksums there is nothing to hold it against
        assert scene.notes == () and path.read_bytes().endswith(b"\n")


@pytest.mark.parametrize("packed", [False, True])
def test_pixels_are_verified_where_it_is_asked_for(copy: Path, tmp_path: Path, packed: bool) -> None:
    with open_scene(str(copy), verify_pixels=True) as scene:
        assert scene.notes == ()
    change(copy, "measurement/*-vh-*.tiff", at=60_000)
    where = copy
    if packed:
        where = tmp_path / "packed.zip"
        with zipfile.ZipFile(where, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(copy.rglob("*")):
                archive.write(path, path.relative_to(tmp_path))
    with open_scene(str(where)) as scene:
        assert scene.read("VH", Window(0, 0, 9, 9)).valid.all()
    with pytest.raises(SceneCorrupt, match=r"measurement/.*-vh-.*got MD5"):
        open_scene(str(where), verify_pixels=True)


@pytest.mark.parametrize(("name", "noted"), [("SHA-256", False), ("CRC-5", True)])
def test_other_checksums(copy: Path, name: str, noted: bool) -> None:
    def summed(match: re.Match[str]) -> str:
        digest = hashlib.sha256((copy / match[1]).read_bytes()).hexdigest()
        return f'href="./{match[1]}"/><checksum checksumName="{name}">{digest.upper()}<'

    manifest = copy / "manifest.safe"
    form = r'href="\./([^"]+)"/><checksum checksumName="MD5">[0-9a-f]*<'
    manifest.write_text(re.sub(form, summed, manifest.read_text()))
    with open_scene(str(copy)) as scene:
        assert [note for note in scene.notes if "CRC-5: not verified" in note] == list(scene.notes)
        assert bool(scene.notes) == noted
    change(copy, "annotation/*-vv-*.xml")
    if noted:
        open_scene(str(copy)).close()
    else:
        with pytest.raises(SceneCorrupt, match="SHA-256"):
            open_scene(str(copy))


def test_aws_names_its_files_as_it_likes(tmp_path: Path) -> None:
    product = build_safe(tmp_path, layout="AWS")
    with open_scene(str(product)) as scene:
        before = scene.read("VV", Window(0, 0, 9, 9)).dn
    info = json.loads((product / "productInfo.json").read_text())
    for original, path in info["filenameMap"].items():
        if "-vv-" in original:
            (product / path).rename(product / path.replace("iw-vv", "beam-1"))
            info["filenameMap"][original] = path.replace("iw-vv", "beam-1")
    (product / "productInfo.json").write_text(json.dumps(info))
    with open_scene(str(product)) as scene:
        assert np.array_equal(scene.read("VV", Window(0, 0, 9, 9)).dn, before)
    info["filenameMap"][original] = "../../secret.xml"
    (product / "productInfo.json").write_text(json.dumps(info))
    with pytest.raises(SceneCorrupt, match="inside the product"):
        open_scene(str(product))
    del info["filenameMap"]
    (product / "productInfo.json").write_text(json.dumps(info))
    with pytest.raises(
        SceneCorrupt, match="got no annotation/calibration/calibration-iw-vv|measurement/iw-vv"
    ):
        shutil.copy(product / "annotation/beam-1.xml", product / "annotation/iw-vv.xml")
        open_scene(str(product))


@pytest.mark.parametrize(
    ("ipf", "known"),
    [
        ("002.36", True),
        ("002.90", True),
        ("003.90", True),
        ("3.52", True),
        ("002.34", False),
        ("003.91", False),
        ("004.00", False),
        ("unknown", False),
        ("", False),
        ("3.x", False),
    ],
)
def test_processors(ipf: str, known: bool) -> None:
    notes = ipf_notes(ipf)
    assert (notes == ()) == known
    assert all(note.startswith("ipf_unknown") and "002.36 to 003.90" in note for note in notes)


@pytest.mark.parametrize("ipf", [None, "", "004.10", "beta"])
def test_an_unknown_processor_is_opened_and_said(tmp_path: Path, ipf: str | None) -> None:
    with open_scene(str(build_safe(tmp_path, ipf=ipf))) as scene:
        (note,) = scene.notes
        assert note.startswith("ipf_unknown") and repr(ipf or "unknown") in note
        assert scene.ipf == (ipf or "unknown")


def test_the_converter_of_a_cog_is_not_its_processor() -> None:
    manifest = parse_manifest(
        b'<a xmlns:safe="http://www.esa.int/safe/sentinel-1.0">'
        b'<safe:software name="Sentinel-1 COGifier" version="1.0"/>'
        b'<safe:software name="Sentinel-1 IPF" version="003.71"/></a>'
    )
    assert manifest.ipf == "003.71"


def test_two_files_of_one_role(copy: Path) -> None:
    manifest = copy / "manifest.safe"
    text = manifest.read_text()
    other = re.sub(r"-001\.xml", "-003.xml", text.split("<dataObjectSection>")[1].split("</dataObject>")[0])
    manifest.write_text(text.replace("<dataObjectSection>", f"<dataObjectSection>{other}</dataObject>"))
    with pytest.raises(SceneCorrupt, match="expected one product VV"):
        open_scene(str(copy))


def test_a_member_twice_in_a_zip(tmp_path: Path) -> None:
    packed = build_safe(tmp_path, layout="zip")
    with zipfile.ZipFile(packed, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(f"{NAME}/manifest.safe", "<other/>")
    with pytest.raises(SceneCorrupt, match="members of one name"):
        open_scene(str(packed))
