"""Files of AIS, read as a stream in bounded memory, whatever their form; zipped ones too."""

from __future__ import annotations

import gzip
import io
import itertools
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from engine.errors import InputError

from . import csv_forms, nmea
from .reports import Report

_LONGEST_LINE = 16_384
_LOOKED_AT = 200  # lines in which a sentence must come, where the first line is no header


@dataclass
class Tally:
    """What became of a file's rows."""

    rows: int = 0  # that gave a report
    bad: Counter[str] = field(default_factory=Counter)  # by reason
    bytes_read: int = 0  # of the file as it lies on the disk
    size: int = 0

    def count_bad(self, reason: str) -> None:
        """Count a row that gave none."""
        self.bad[reason] += 1


def reports(path: Path, tally: Tally) -> Iterator[Report]:
    """Read a file: CSV of either form or NMEA, plain, gzipped, or in a zip, which may hold several.

    Args:
        path: the file.
        tally: kept up while reading.

    Raises:
        InputError: it is of none of these forms, or broken off.
        OSError: it cannot be opened.
    """
    tally.size = path.stat().st_size
    found = False
    with path.open("rb") as raw:
        try:
            for name, stream in _members(path, raw):
                found = True
                for report in _read(f"{path}{name}", _lines(stream, tally), tally):
                    tally.rows += 1
                    yield report
                    if tally.rows % 1000 == 0:
                        tally.bytes_read = raw.tell()
        except (zipfile.BadZipFile, EOFError, gzip.BadGzipFile, NotImplementedError, RuntimeError) as error:
            raise InputError(f"{path} cannot be unpacked ({error}): fetch it again") from error
    if not found:
        raise InputError(f"{path} holds no file of AIS: expected .csv, .txt, .nmea or .log in it")
    tally.bytes_read = tally.size


def _members(path: Path, raw: IO[bytes]) -> Iterator[tuple[str, IO[bytes]]]:
    start = raw.read(4)
    raw.seek(0)
    if start.startswith(b"PK"):
        with zipfile.ZipFile(raw) as archive:  # members are read where they are, nothing is unpacked
            for info in archive.infolist():
                if info.filename.casefold().endswith((".csv", ".txt", ".nmea", ".log")):
                    with archive.open(info) as member:
                        yield f"[{info.filename}]", member
    elif start.startswith(b"\x1f\x8b"):
        with gzip.open(raw) as member:
            yield "", member  # type: ignore[misc]
    elif start == b"\x28\xb5\x2f\xfd":
        raise InputError(f"{path} is compressed with zstd: unpack it first (zstd -d)")
    else:
        yield "", raw


def _lines(stream: IO[bytes], tally: Tally) -> Iterator[str]:
    """Yield lines; one that never ends costs no memory, and is counted."""
    buffered = stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(stream)  # type: ignore[type-var]
    while line := buffered.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE and not line.endswith(b"\n"):
            tally.count_bad("line too long")
            while line and not line.endswith(b"\n"):
                line = buffered.readline(_LONGEST_LINE)
            continue
        yield line.decode("utf-8", "replace").replace("\0", "")


def _read(name: str, lines: Iterator[str], tally: Tally) -> Iterator[Report]:
    """Read a file's lines by the form that its first ones show."""
    first = list(itertools.islice(lines, 1))
    if not first:
        return iter(())
    form = csv_forms.reader(first[0].removeprefix("\ufeff"))
    if form is not None:
        return csv_forms.rows(lines, form, tally.count_bad)
    first += itertools.islice(lines, _LOOKED_AT)
    if not any(map(nmea.is_nmea, first)):
        raise InputError(
            f"{name} is no AIS that we read: expected the Danish Maritime Authority's or MarineCadastre's "
            f"CSV with its header, or sentences of NMEA (!AIVDM); it begins {first[0][:80]!r}"
        )
    return nmea.messages(itertools.chain(first, lines), tally.count_bad)
