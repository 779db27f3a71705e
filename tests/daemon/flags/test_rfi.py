from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from daemon.errors import SceneCorrupt
from daemon.flags.rfi import rfi_flag, rfi_status
from daemon.measure import Measure
from daemon.scene.product import open_scene
from daemon.scene.rfi import Burst, Rfi, parse_rfi
from tests.support.safe import build_safe


def report(real_data, day: str, polarisation: str) -> Rfi:
    file = next((real_data / "s1-safe").glob(f"*_{day}T*/annotation/rfi/rfi-*-{polarisation}-*.xml"))
    return parse_rfi(file.read_bytes(), file.name)


def test_a_real_report_of_a_disturbed_pass(real_data) -> None:
    vv = report(real_data, "20221002", "vv")
    assert vv.mitigation == "TimeFrequency" and len(vv.bursts) == 33
    assert [(b.swath, f"{b.start:%H:%M:%S}") for b in vv.bursts if b.detected] == [("IW2", "20:51:55")]
    first = vv.bursts[0]
    assert (first.swath, first.lines_percent) == ("IW1", 10.5)
    # 10.50390% of the lines with at most 0.8468891% of their samples; 8.761377% with 0.8896715% of the band
    assert first.share_percent == pytest.approx(0.105039 * 0.8468891, abs=1e-3)


def test_a_real_report_of_a_calm_pass_and_of_one_that_was_not_examined(real_data) -> None:
    calm = report(real_data, "20221014", "vh")
    assert len(calm.bursts) == 33 and not any(b.detected or b.share_percent for b in calm.bursts)
    assert report(real_data, "20250118", "hh").bursts == ()


def test_what_is_no_report_is_refused() -> None:
    with pytest.raises(SceneCorrupt, match="rfi"):
        parse_rfi(b"<product/>")
    with pytest.raises(SceneCorrupt, match="rfiMitigationApplied"):
        parse_rfi(b"<rfi/>")


@pytest.fixture
def scene(tmp_path):
    with open_scene(str(build_safe(tmp_path))) as scene:
        yield scene


def at(line: float) -> Measure:
    return Measure(line, 40.0, 30.0, 20.0, 50.0, None, None, 0.0, 12.0, "pixels", 0)


def disturbed(scene, line: float, swath: str = "IW1", detected: bool = True, share: float = 1.0) -> Rfi:
    start = scene.geometry.time_utc(line) - timedelta(milliseconds=1)
    calm = Burst(swath, start - timedelta(seconds=2.8), 90.0, 3.0, False)
    return Rfi("None", (calm, Burst(swath, start, 40.0, share, detected)))


def test_a_burst_disturbs_what_it_recorded(scene) -> None:
    hit = replace(scene, rfi={"VV": disturbed(scene, 150), "VH": Rfi("None", ())})
    assert rfi_flag(hit, at(140.0)) is None
    flag = rfi_flag(hit, at(160.0))
    assert flag.evidence["polarisation"] == "VV"
    assert (flag.evidence["affected_lines_percent"], flag.evidence["noise_detected"]) == (40.0, 1)
    assert rfi_flag(replace(scene, rfi={"VV": disturbed(scene, 150, "IW2")}), at(160.0)) is None


def test_the_share_of_the_data_counts_where_the_noise_says_nothing(scene) -> None:
    assert rfi_flag(replace(scene, rfi={"VV": disturbed(scene, 0, detected=False)}), at(60.0)) is None
    assert rfi_flag(replace(scene, rfi={"VV": disturbed(scene, 0, detected=False, share=30.0)}), at(60.0))


def test_the_status_is_unknown_without_a_report(scene) -> None:
    assert rfi_status(scene)["status"] == "unknown"
    assert rfi_status(replace(scene, rfi={"VV": Rfi("None", ())}))["status"] == "unknown"
    known = rfi_status(replace(scene, rfi={"VV": disturbed(scene, 150)}))
    assert (known["status"], known["bursts"], known["bursts_disturbed"], known["fraction"]) == (
        "known",
        2,
        1,
        0.5,
    )


def test_reports_are_read_from_the_product_and_a_broken_one_is_noted(tmp_path, real_data) -> None:
    root = build_safe(tmp_path)
    (root / "annotation" / "rfi").mkdir()
    source = next((real_data / "s1-safe").glob("*_20221002T*/annotation/rfi/rfi-*-vv-*.xml"))
    entries = ""
    for polarisation, data in (("vv", source.read_bytes()), ("vh", b"<rfi>")):
        stem = next(root.glob(f"annotation/s1a-iw-grd-{polarisation}-*.xml")).name
        (root / "annotation" / "rfi" / f"rfi-{stem}").write_bytes(data)
        place = f'<fileLocation locatorType="URL" href="./annotation/rfi/rfi-{stem}"/>'
        entries += f"<dataObject><byteStream>{place}</byteStream></dataObject>"
    manifest = root / "manifest.safe"
    text = manifest.read_text()
    opening = "<dataObjectSection>"
    manifest.write_text(text.replace(opening, opening + entries, 1))
    with open_scene(str(root)) as scene:
        assert list(scene.rfi) == ["VV"] and len(scene.rfi["VV"].bursts) == 33
        assert any("interference unknown" in note for note in scene.notes)
