"""A bundle is opened only as it was written; its id follows its bytes."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest

from engine.errors import ArtifactError
from engine.runtime import spec
from engine.runtime.image import CHANNEL_RANGES
from engine.runtime.text import SYSTEM


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle of one file; its graphs are never loaded here."""
    (tmp_path / "weights.bin").write_bytes(b"\x01\x02\x03")
    manifest = spec.Manifest(
        name="test",
        created="2026-01-01T00:00:00+00:00",
        model=spec.ModelFacts(
            base="nano", parameters=1, layers=1, kv_heads=1, head_dim=4, hidden=8, vocabulary=16
        ),
        chip=spec.ChipSpec(enlarged_px=252, patch_px=14, merge=2),
        sensors=("Sentinel-1 IW",),
        spacing_m=10.0,
        special_tokens={},
        tasks={
            "detection": spec.TaskSpec(question="?", answer="detections", labels=("ship",), max_tokens=64)
        },
        graphs={},
        files={"weights.bin": spec.entry_of(tmp_path / "weights.bin")},
    )
    (tmp_path / spec.MANIFEST).write_text(manifest.model_dump_json())
    return tmp_path


def rewrite(folder: Path, change) -> None:
    path = folder / spec.MANIFEST
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def test_opened_bundle_states_what_was_written(folder: Path) -> None:
    bundle = spec.Bundle.open(folder)
    assert bundle.manifest.chip.tokens == 81
    assert bundle.manifest.chip.channel_ranges == CHANNEL_RANGES
    assert bundle.manifest.system == SYSTEM
    assert bundle.file("weights.bin").read_bytes() == b"\x01\x02\x03"
    assert len(bundle.bundle_id) == 16
    with pytest.raises(ArtifactError, match="has no"):
        bundle.file("other.bin")


def test_bundle_id_is_of_the_content_not_of_the_place(folder: Path, tmp_path_factory) -> None:
    first = spec.Bundle.open(folder).bundle_id
    copy = tmp_path_factory.mktemp("copy") / "b"
    shutil.copytree(folder, copy)
    assert spec.Bundle.open(copy).bundle_id == first
    rewrite(copy, lambda manifest: manifest.update(score_floor=0.2))
    assert spec.Bundle.open(copy).bundle_id != first


@pytest.mark.parametrize("content", [b"\x01\x02\x04", b"\x01\x02", None])
def test_altered_cut_or_missing_files_are_refused(folder: Path, content: bytes | None) -> None:
    path = folder / "weights.bin"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"weights\.bin.* expected .*copy the bundle anew"):
        spec.Bundle.open(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.update(format="fusar.bundle/2"),
        lambda m: m.update(surprise=1),
        lambda m: m.pop("tasks"),
        lambda m: m.update(score_floor=0.0),
        lambda m: m["files"].update({"../weights.bin": m["files"]["weights.bin"]}),
        lambda m: m["files"].update({"manifest.json": m["files"]["weights.bin"]}),
    ],
)
def test_manifests_of_another_form_are_refused(folder: Path, change) -> None:
    rewrite(folder, change)
    with pytest.raises(ArtifactError, match="does not fit"):
        spec.Bundle.open(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["chip"].update(channel_ranges=[[-30, 0], [-34, 0], [-4, 16]]),
        lambda m: m["chip"].update(size_px=128),
        lambda m: m.update(system="{sensor}"),
    ],
)
def test_bundles_trained_on_other_chips_or_words_are_refused(folder: Path, change) -> None:
    rewrite(folder, change)
    with pytest.raises(ArtifactError, match="of this release"):
        spec.Bundle.open(folder)


def test_no_bundle_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="fusar-engine export"):
        spec.Bundle.open(tmp_path)


def test_calibration_is_the_identity_by_default_and_monotone() -> None:
    scores = [0.01, 0.3, 0.5, 0.9, 0.999]
    assert [spec.Calibration().apply(score) for score in scores] == pytest.approx(scores)
    moved = [spec.Calibration(slope=0.5, intercept=-1).apply(score) for score in scores]
    assert moved == sorted(moved)
    assert moved[2] == pytest.approx(1 / (1 + math.e))
    assert 0 < spec.Calibration(slope=3).apply(0.0) < spec.Calibration(slope=3).apply(1.0) <= 1


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("shipped") / "nano"
    shutil.copytree(spec.default_bundle(), copy)
    return copy


FILES = sorted(spec.Bundle.open().manifest.files)


@pytest.mark.parametrize("name", FILES)
def test_a_shipped_file_cut_swapped_or_flipped_anywhere_is_refused(shipped: Path, name: str) -> None:
    path = shipped / name
    good = path.read_bytes()
    other = (shipped / FILES[FILES.index(name) - 1]).read_bytes()
    middle = len(good) // 2
    flips = [good[:at] + bytes([good[at] ^ 0x10]) + good[at + 1 :] for at in (0, middle, len(good) - 1)]
    try:
        for bad in (good[:-1], good[:middle], b"", other, good + b"\0", *flips):
            path.write_bytes(bad)
            with pytest.raises(ArtifactError, match=rf"got {name} of .*altered or cut short"):
                spec.Bundle.open(shipped)
    finally:
        path.write_bytes(good)
    assert spec.Bundle.open(shipped).bundle_id == spec.Bundle.open().bundle_id


def test_a_manifest_cut_or_of_another_version_is_refused(shipped: Path) -> None:
    path = shipped / spec.MANIFEST
    good = path.read_text()
    try:
        for bad in (good[:-20], good.replace("fusar.bundle/1", "fusar.bundle/2"), "", "{}", good + "}"):
            path.write_text(bad)
            with pytest.raises(ArtifactError, match="does not fit fusar.bundle/1"):
                spec.Bundle.open(shipped)
    finally:
        path.write_text(good)


def test_a_bundle_says_of_how_many_years_its_priors_are(folder: Path) -> None:
    assert spec.Bundle.open(folder).manifest.prior_years == 1
    vectors = {"name": "vectors", "dtype": "float32", "shape": ["batch", 36, 64]}
    rewrite(folder, lambda m: m.update(graphs={"vision": {"inputs": [vectors], "outputs": []}}))
    assert spec.Bundle.open(folder).manifest.prior_years == 1
    wide = vectors | {"shape": ["batch", 36, 128]}
    rewrite(folder, lambda m: m.update(graphs={"vision": {"inputs": [wide], "outputs": []}}))
    with pytest.raises(ArtifactError, match="2 years, expected one"):
        spec.Bundle.open(folder)


def test_the_card_describes_the_bundle_that_ships() -> None:
    shipped = spec.Bundle.open()
    card = shipped.path.with_suffix(".md").read_text()
    assert f"Bundle `{shipped.bundle_id}`" in card
