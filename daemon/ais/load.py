"""Files of AIS into the store, chunk by chunk, and the matches that they touch made anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from ..alerts.evaluate import evaluate_ais
from ..errors import StoreConflict
from ..store import ais
from ..store.ais_positions import make_partitions, newest, write_positions, write_vessels
from ..store.session import Store
from .files import Tally, reports
from .reports import Position, Said

CHUNK = 50_000  # positions in a transaction
_EARLIEST = datetime(2002, 1, 1, tzinfo=timezone.utc)  # AIS became mandatory in that year


@dataclass
class Loaded:
    """What was loaded, over all files, and what it touches."""

    positions: int = 0  # that files gave
    new: int = 0  # of them not known before
    vessels: set[int] = field(default_factory=set)
    first: datetime | None = None
    last: datetime | None = None
    cells: set[tuple[int, int, int]] = field(default_factory=set)  # of `store.ais.cell`
    said: set[int] = field(default_factory=set)  # MMSI of vessels whose length or antenna is known anew


def load_file(
    store: Store, path: Path, loaded: Loaded, tally: Tally, progress: Callable[[], None] | None = None
) -> None:
    """Load a file; what was loaded before changes nothing, and a broken-off load is taken up by another.

    Args:
        store: the database.
        path: CSV of either form or NMEA, packed or not.
        loaded: kept up, over all files.
        tally: kept up, of this file.
        progress: called after each chunk.

    Raises:
        InputError: the file is no AIS that we read.
        StoreUnavailable: the database does not answer (retry).
    """
    latest = datetime.now(timezone.utc) + timedelta(days=1)
    chunk = _Chunk()
    for report in reports(path, tally):
        time = (report.position or report.said).time  # type: ignore[union-attr]  # one of them is there
        if not _EARLIEST <= time <= latest:
            tally.rows -= 1
            tally.count_bad("time out of range")
            continue
        chunk.add(report.position, report.said)
        if len(chunk.positions) >= CHUNK:
            chunk.write(store, loaded)
            chunk = _Chunk()
            if progress:
                progress()
    chunk.write(store, loaded)
    if progress:
        progress()


def rematch(
    store: Store, runs: Sequence[str], progress: Callable[[int], None] | None = None
) -> tuple[int, int]:
    """Match runs anew, each in a transaction of its own.

    Returns:
        How many runs there are, and how many detections changed their status or their vessel.
    """
    changed = 0
    for done, run in enumerate(runs, 1):
        changed += len(_rematch(store, run))
        if progress:
            progress(done)
    return len(runs), changed


def _rematch(store: Store, run: str, attempts: int = 5) -> list[str]:
    """Match a run anew; where another transaction was in the way, once more."""
    for left in reversed(range(attempts)):
        try:
            with store.transaction() as session:
                ids = ais.match_again(session, run)
                evaluate_ais(session, ids)
            return ids
        except StoreConflict:
            if not left:
                raise
    return []


def touched(store: Store, loaded: Loaded) -> list[str]:
    """Return the runs whose matches what was loaded may change."""
    if loaded.first is None or loaded.last is None:
        first = last = datetime.now(timezone.utc)
    else:
        first, last = loaded.first, loaded.last
    with store.transaction() as session:
        return ais.touched_runs(session, first, last, loaded.cells, loaded.said)


class _Chunk:
    """Reports that are written in one transaction."""

    def __init__(self) -> None:
        self.positions: list[Position] = []
        self._said: dict[int, dict[str, tuple[datetime, Any]]] = {}
        self._last: dict[int, Said] = {}  # understood when a vessel says something else, or at the end

    def add(self, position: Position | None, said: Said | None) -> None:
        if position is not None:
            self.positions.append(position)
        if said is None:
            return
        last = self._last.get(said.mmsi)
        if last is not None and last.raw == said.raw:
            if said.time > last.time:
                self._last[said.mmsi] = said
            return
        if last is not None:
            self._understand(last)
        self._last[said.mmsi] = said

    def write(self, store: Store, loaded: Loaded) -> None:
        for last in self._last.values():
            self._understand(last)
        self._last = {}
        if not self.positions and not self._said:
            return
        days = {position.time.date() for position in self.positions}
        with store.transaction() as session:
            make_partitions(session, sorted(days))
        with store.transaction() as session:
            loaded.said |= write_vessels(session, self._said)
            loaded.new += write_positions(session, self.positions)
        loaded.positions += len(self.positions)
        loaded.vessels |= self._said.keys()
        for position in self.positions:
            loaded.vessels.add(position.mmsi)
            loaded.cells.add(ais.cell(position.time, position.lon_deg, position.lat_deg))
        if self.positions:
            times = [position.time for position in self.positions]
            loaded.first = min([*times, *([loaded.first] if loaded.first else [])])
            loaded.last = max([*times, *([loaded.last] if loaded.last else [])])

    def _understand(self, said: Said) -> None:
        fields = said.understand(said.raw)
        if fields:
            newest(self._said.setdefault(said.mmsi, {}), said.time, fields)
