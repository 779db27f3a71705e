"""The archive of chips: cloud-optimised GeoTIFFs on disk, bounded in size, the oldest acquisition out first.

A file is written beside its place and renamed, then its row is written; rows go before their files. So a row
may name a file that is gone, which counts as none, and a file may lack its row: `sweep` removes those. The
folder belongs to one database; several workers may share both.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert

from daemon.store.change_tables import Chip as Row
from daemon.store.results import _point

from .chip import Chip
from .domain import PassRun

if TYPE_CHECKING:
    from daemon.store.session import Store

log = logging.getLogger(__name__)

_STALE_S = 3600.0  # files without a row may be about to get one
HERE_M = 1.0
NEAR_M = 300.0  # a chip of a place farther off cannot hold the engine's chip of another


class Archive:
    """Chips by run and place."""

    def __init__(self, folder: Path, store: Store, limit_bytes: int) -> None:
        """Open the archive; the folder is made.

        Raises:
            OSError: the folder cannot be made.
        """
        self._folder, self._store, self._limit_bytes = folder, store, limit_bytes
        folder.mkdir(parents=True, exist_ok=True)

    def find(self, run: PassRun, lon_deg: float, lat_deg: float, within_m: float = HERE_M) -> Chip | None:
        """Return a run's chip of a place.

        Args:
            run: whose pixels.
            lon_deg: longitude of the place.
            lat_deg: latitude of the place.
            within_m: how far off the place may lie for which the chip was cut; it holds the pixels that the
                engine needs around this one in any case.
        """
        with self._store.transaction() as session:
            place = _point(lon_deg, lat_deg)
            paths = session.scalars(
                select(Row.path)
                .where(Row.run_id == run.run_id, func.ST_DWithin(Row.position, place, within_m))
                .order_by(func.ST_Distance(Row.position, place), Row.path)
            ).all()
        for path in paths:
            chip = self._read(path)
            if chip is not None and chip.holds(*chip.pixel(lon_deg, lat_deg)):
                return chip
        return None

    def keep(self, run: PassRun, chip: Chip, lon_deg: float, lat_deg: float) -> None:
        """Keep the chip of a place; where it cannot be written, the archive is without it."""
        name = f"{run.run_id[:2]}/{run.run_id}/{chip.origin_px[0]}_{chip.origin_px[1]}.tif"
        path = self._folder / name
        try:
            if not path.exists():
                _write(path, chip)
            size = path.stat().st_size
        except (OSError, RasterioError) as error:
            log.warning("chip archive: %s", error)
            return
        with self._store.transaction() as session:
            session.execute(
                insert(Row)
                .values(
                    run_id=run.run_id,
                    line_px=chip.origin_px[0],
                    sample_px=chip.origin_px[1],
                    size_px=chip.size_px,
                    position=_point(lon_deg, lat_deg),
                    acquired=run.start,
                    size_bytes=size,
                    path=name,
                )
                .on_conflict_do_nothing()
            )

    def trim(self) -> int:
        """Remove the chips of the oldest acquisitions until the limit is kept; return how many went."""
        with self._store.transaction() as session:
            held = session.execute(
                select(Row.id, Row.path, Row.size_bytes).order_by(Row.acquired.desc(), Row.path)
            ).all()
            total, gone = 0, []
            for row in held:
                total += row.size_bytes
                if total > self._limit_bytes:
                    gone.append(row)
            if gone:
                session.execute(delete(Row).where(Row.id.in_([row.id for row in gone])))
        for row in gone:
            with contextlib.suppress(OSError):
                (self._folder / row.path).unlink()
        return len(gone)

    def sweep(self) -> int:
        """Remove files that no row names, drafts among them; return how many went."""
        with self._store.transaction() as session:
            known = set(session.scalars(select(Row.path)))
        gone = 0
        for path in self._folder.glob("*/*/*"):
            with contextlib.suppress(OSError):
                if (
                    path.relative_to(self._folder).as_posix() not in known
                    and time.time() - path.stat().st_mtime > _STALE_S
                ):
                    path.unlink()
                    gone += 1
        return gone

    def _read(self, name: str) -> Chip | None:
        path = self._folder / name
        try:
            with rasterio.open(path) as file:
                bands: Mapping[str, str] = file.tags()
                data = file.read()
                t = file.transform
        except (OSError, RasterioError):
            return None  # never written, trimmed by another worker, or broken: the product is read
        names = tuple(bands["POLARISATIONS"].split())
        first = int(bands["LINE_PX"]), int(bands["SAMPLE_PX"])
        half = (t.a + t.b) / 2, (t.d + t.e) / 2
        affine = (t.a, t.b, t.c + half[0], t.d, t.e, t.f + half[1])
        return Chip(first, data[:-1], data[-1] > 0, names, affine)


def _write(path: Path, chip: Chip) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.stem}.{os.getpid()}.tif")
    a, b, c, d, e, f = chip.affine
    # GDAL counts from a pixel's corner.
    transform = rasterio.Affine(a, b, c - (a + b) / 2, d, e, f - (d + e) / 2)
    data = np.concatenate([chip.codes, chip.land[None].astype(np.uint16)])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(
                draft,
                "w",
                driver="COG",
                width=chip.size_px,
                height=chip.size_px,
                count=len(data),
                dtype="uint16",
                crs="EPSG:4326",
                transform=transform,
                nodata=0,
                compress="DEFLATE",
                predictor="YES",
                overviews="NONE",
            ) as file:
                file.write(data)
                file.update_tags(
                    POLARISATIONS=" ".join(chip.bands),
                    LINE_PX=chip.origin_px[0],
                    SAMPLE_PX=chip.origin_px[1],
                    UNIT="code: -80 dB + 0.002 dB (code - 1), 0 no data; last band land",
                )
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
