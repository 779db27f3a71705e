from __future__ import annotations

import gzip
import tracemalloc
import zipfile
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from pyais import encode_dict

from daemon.ais.files import Tally, reports
from daemon.ais.reports import Position, Report, imo_number
from engine.errors import InputError
from tests.support.ais_files import CADASTRE, DANISH, Row, cadastre, danish, nmea, tag_block

T0 = datetime(2024, 1, 31, 23, 59, 50, tzinfo=timezone.utc)
ROWS = [Row(219000000 + i, T0 + timedelta(seconds=7 * i), 10.5 + 0.001 * i, 57.25) for i in range(20)]
FORMS = {"danish": danish, "cadastre": cadastre, "nmea": nmea}


def read(path: Path) -> tuple[list[Report], Tally]:
    tally = Tally()
    return list(reports(path, tally)), tally


def write(folder: Path, text: str, name: str = "ais.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def positions(found: list[Report]) -> list[Position]:
    return [report.position for report in found if report.position]


@pytest.mark.parametrize("form", FORMS)
def test_each_form_tells_the_same(tmp_path: Path, form: str) -> None:
    found, tally = read(write(tmp_path, FORMS[form](ROWS)))
    assert positions(found) == [
        Position(r.mmsi, r.time, pytest.approx(r.lon, abs=2e-6), 57.25, 10.0, 90.0, 90.0, "A") for r in ROWS
    ]
    assert not tally.bad
    said = [report.said for report in found if report.said]
    fields = said[0].understand(said[0].raw)
    bow = {} if form == "cadastre" else {"bow_m": 60.0}
    code = {} if form == "danish" else {"type_code": 70}
    assert fields == {
        "imo": 9074729, "call_sign": "OXYZ", "name": "NORDIC STAR", "type": "cargo", "length_m": 120.0,
        "width_m": 20.0, **bow, **code,
    }  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_not_available_is_not_a_number(tmp_path: Path, form: str) -> None:
    row = Row(219000001, T0, 10.5, 57.25, None, None, None)
    (position,) = positions(read(write(tmp_path, FORMS[form]([row])))[0])
    assert (position.sog_kn, position.cog_deg, position.heading_deg) == (None, None, None)


@pytest.mark.parametrize("pack", ["zip", "gzip", "two in a zip"])
def test_packed_files_are_read_in_place(tmp_path: Path, pack: str) -> None:
    text = danish(ROWS)
    path = tmp_path / "packed"
    if pack == "gzip":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("../../one.csv", text)
            archive.writestr("readme.pdf", b"%PDF")
            if pack == "two in a zip":
                archive.writestr("two.csv", cadastre(ROWS))
    found, tally = read(path)
    assert len(found) == len(ROWS) * (2 if pack == "two in a zip" else 1)
    assert tally.bytes_read == tally.size == path.stat().st_size
    assert not (tmp_path.parent.parent / "one.csv").exists()


BAD = {
    "not a vessel": ["31/01/2024 00:00:00,Base Station,2190047,57.1,10.1",
                     "31/01/2024 00:00:00,AtoN,992190001,57.1,10.1",
                     "31/01/2024 00:00:00,Class A,2190047,57.1,10.1"],
    "mmsi unreadable": ["31/01/2024 00:00:00,Class A,,57.1,10.1"],
    "time unreadable": ["2024-01-31 00:00:00,Class A,219000001,57.1,10.1"],
    "position not available": ["31/01/2024 00:00:00,Class A,219000001,91.0,10.1",
                               "31/01/2024 00:00:00,Class A,219000001,0,0"],
    "position out of range": ["31/01/2024 00:00:00,Class A,219000001,-91.5,10.1",
                              "31/01/2024 00:00:00,Class A,219000001,nan,10.1"],
    "position unreadable": ["31/01/2024 00:00:00,Class A,219000001,north,10.1"],
    "columns missing": ["31/01/2024 00:00:00,Class A"],
    "line too long": ["x" * 20_000],
}  # fmt: skip


@pytest.mark.parametrize("reason", BAD)
def test_bad_rows_are_counted_by_reason_and_the_rest_is_read(tmp_path: Path, reason: str) -> None:
    good = danish(ROWS[:2]).splitlines()
    bad = [row if reason in ("columns missing", "line too long") else row + "," * 21 for row in BAD[reason]]
    found, tally = read(write(tmp_path, "\n".join([*good[:2], *bad, good[2]])))
    assert [p.mmsi for p in positions(found)] == [ROWS[0].mmsi, ROWS[1].mmsi]
    assert tally.bad == {reason: len(bad)}


def sentence(**fields: object) -> list[str]:
    plain = {"type": 1, "mmsi": 257000001, "lon": 10.1, "lat": 57.2, "second": 61}
    return encode_dict({**plain, **fields})


STAMP = int(T0.timestamp())


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (tag_block(STAMP), ""), (f"\\g:1-1-5,c:{STAMP}000*00\\", ""), (f"{STAMP} ", ""), ("", f",{STAMP}"),
        ("2024-01-31T23:59:50Z ", ""), ("2024-01-31 23:59:50 ", ""), ("[2024-02-01T00:59:50+01:00] ", ""),
    ],
)  # fmt: skip
def test_times_of_sentences(tmp_path: Path, before: str, after: str) -> None:
    (found,), tally = read(write(tmp_path, f"{before}{sentence()[0]}{after}\n"))
    assert found.position and found.position.time == T0
    assert not tally.bad


def test_the_second_that_the_message_states_corrects_its_arrival(tmp_path: Path) -> None:
    lines = [tag_block(STAMP) + sentence(second=second)[0] for second in (47, 50, 53, 20, 60)]
    found, _ = read(write(tmp_path, "\n".join(lines)))
    late = [(T0 - p.time).total_seconds() for p in positions(found)]
    assert late == [3, 0, 0, 0, 0], (
        "one from the future, one of long ago and one without are left as they are"
    )


def test_bad_sentences_are_counted(tmp_path: Path) -> None:
    whole = sentence()[0]
    five = encode_dict({"type": 5, "mmsi": 257000001, "shipname": "A SHIP"}, seq_id=3)
    lines = [
        whole, tag_block(STAMP) + whole[:-2] + "00", "$GPGGA,1*00", tag_block(STAMP) + five[1],
        tag_block(STAMP) + encode_dict({"type": 4, "mmsi": 2570001})[0],
        tag_block(STAMP) + whole, tag_block(STAMP) + five[0],
    ]  # fmt: skip
    found, tally = read(write(tmp_path, "\n".join(lines)))
    assert len(found) == 1
    assert tally.bad == {
        "time missing": 1, "checksum wrong": 1, "no sentence of AIS": 1, "sentence missing": 2,
        "another message type": 1,
    }  # fmt: skip


def test_messages_of_several_sentences_may_be_interleaved(tmp_path: Path) -> None:
    texts = [
        encode_dict({"type": 5, "mmsi": 257000001 + i, "shipname": f"SHIP {i}"}, seq_id=i) for i in range(3)
    ]
    lines = [tag_block(STAMP) + text[k] for k in range(2) for text in texts]
    found, tally = read(write(tmp_path, "\n".join(lines)))
    assert [r.said.understand(r.said.raw)["name"] for r in found if r.said] == ["SHIP 0", "SHIP 1", "SHIP 2"]
    assert not tally.bad


@pytest.mark.parametrize("text", ["", "a,b,c\n1,2,3\n", DANISH.replace("MMSI", "X") + "\n", "\n" * 300])
def test_what_is_no_ais_is_refused(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    if text:
        with pytest.raises(InputError, match="MarineCadastre"):
            read(path)
    else:
        assert read(path)[0] == []


def test_broken_and_strange_archives_are_refused(tmp_path: Path) -> None:
    whole = tmp_path / "whole.zip"
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", danish(ROWS * 50))
    (tmp_path / "torn.zip").write_bytes(whole.read_bytes()[:-100])
    (tmp_path / "torn.gz").write_bytes(gzip.compress(danish(ROWS * 50).encode())[:-100])
    (tmp_path / "z.csv.zst").write_bytes(b"\x28\xb5\x2f\xfd0000")
    with zipfile.ZipFile(tmp_path / "none.zip", "w") as archive:
        archive.writestr("a.pdf", "")
    for name, said in (
        ("torn.zip", "unpacked"),
        ("torn.gz", "unpacked"),
        ("z.csv.zst", "zstd"),
        ("none.zip", "holds"),
    ):
        with pytest.raises(InputError, match=said):
            read(tmp_path / name)


def test_later_names_of_marinecadastres_columns(tmp_path: Path) -> None:
    header = (
        "mmsi,base_date_time,longitude,latitude,sog,cog,heading,vessel_name,imo,call_sign,vessel_type,status,"
        "length,width,draft,cargo,transceiver"
    )
    row = "367000001,2025-01-01 00:00:03,-90.2,29.1,0.1,10.0,20.0,TUG A,IMO9074729,WDX,31,0,30,10,3.0,31,B"
    (found,), _ = read(write(tmp_path, f"{header}\n{row}\n"))
    assert found.position == Position(
        367000001, datetime(2025, 1, 1, 0, 0, 3, tzinfo=timezone.utc), -90.2, 29.1, 0.1, 10.0, 20.0, "B"
    )
    assert CADASTRE.split(",")[0].casefold() in header


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        path = write(tmp_path, danish(ROWS * count))
        tracemalloc.start()
        for _ in reports(path, Tally()):
            pass
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(5)
    assert peak(400) < peak(40) + 200_000


def test_imo_numbers_must_check() -> None:
    assert imo_number("IMO9074729") == imo_number("9074729") == 9074729
    assert (
        imo_number("9074728") is None and imo_number("Unknown") is None and imo_number("0000000") in (None, 0)
    )
