"""The queue of changes, one acquisition at a time: compared, worked out, ended in one transaction."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from daemon.errors import ConfigError, SourceUnavailable, StoreConflict, StoreUnavailable
from daemon.store import change as changes
from engine.errors import DeviceLost

from .archive import Archive
from .chips import Chips, NoPixels
from .pairing import plans
from .unit import UnitSettings, digest, failed, unit_id, work_out

if TYPE_CHECKING:
    from daemon.config import ChangeSettings
    from daemon.store.session import Store
    from engine.runtime.land import Coastline

    from .ask import ChangeEngine
    from .domain import Comparison, Unit

log = logging.getLogger(__name__)

# Not a matter of the scene at hand: for the daemon to deal with.
_ENDS = (ConfigError, DeviceLost, StoreConflict, StoreUnavailable)


class ChangeWorker:
    """Works out what is due; blocks, so call it in a thread."""

    def __init__(
        self,
        store: Store,
        coastline: Coastline,
        settings: ChangeSettings,
        engine: ChangeEngine | None = None,
        units: UnitSettings | None = None,
        chips: Callable[[], Chips] | None = None,
    ) -> None:
        """Prepare.

        Args:
            store: where everything is.
            coastline: land, to align by.
            settings: archive and ages.
            engine: what is asked about changes; None for none.
            units: how units are worked out; the defaults when None.
            chips: makes the source of pixels; archive and products when None.
        """
        self._store, self._coastline, self._settings = store, coastline, settings
        self._engine, self._units = engine, units or UnitSettings()
        self._archive, self._swept = _archive(settings, store), False
        self._chips = chips or (lambda: Chips(coastline, self._archive))

    def step(self) -> bool:
        """Take what is due longest to its end; return whether there was something.

        Raises:
            StoreUnavailable: the database does not answer (retry).
            StoreConflict: another transaction was in the way (retry).
            DeviceLost: the GPU answers no more in this process.
        """
        with self._store.transaction() as session:
            due = changes.claim(session, self._settings.lease_s)
        if due is None:
            return False
        began = time.monotonic()
        comparison: Comparison | None = None
        try:
            with self._store.transaction(snapshot=True) as session:
                comparison = changes.compare(session, due.acquisition_id)
                standing = changes.digests(session, comparison.after.run_id) if comparison else {}
            units, kept = self._work_out(comparison, standing)
        except _ENDS:
            raise
        except Exception as error:
            if not isinstance(error, SourceUnavailable):
                log.exception("changes of acquisition %d", due.acquisition_id)
            if comparison is None or due.attempts + 1 < self._settings.attempts:
                self._postpone(due, error)
                return True
            units, kept = self._without_pixels(comparison, error), []
        try:
            with self._store.transaction() as session:
                ended = changes.finish(session, due, units, kept)
        except _ENDS:
            raise
        except Exception as error:  # what it compares may be gone by now: it is compared anew
            log.exception("changes of acquisition %d", due.acquisition_id)
            self._postpone(due, error)
            return True
        if ended and comparison:
            for unit in units:
                log.info("changes: %s: %s", unit.outcome, unit.sentence or unit.reason)
            self._keep(comparison)
            log.debug("changes worked out in %.1f s", time.monotonic() - began)
        return True

    def _work_out(
        self, comparison: Comparison | None, standing: dict[str, str], pixels: bool = True
    ) -> tuple[list[Unit], list[str]]:
        """Work out the units that do not stand; return them, and the ids of those that do."""
        if comparison is None:
            return [], []
        engine_id = self._engine.bundle_id if self._engine else None
        units, kept = [], []
        with self._chips() if pixels else _NoChips(self._coastline) as chips:
            for plan in plans(comparison, self._settings.pixel_age_days):
                known = unit_id(plan, engine_id)
                if standing.get(known) == digest(plan, engine_id, self._units):
                    kept.append(known)
                else:
                    units.append(work_out(plan, chips, self._engine, self._units, comparison.kept))
        return units, kept

    def _postpone(self, due: changes.Due, error: Exception) -> None:
        delay_s = self._settings.retry_delay_s * 2 ** min(due.attempts, 10)
        with self._store.transaction() as session:
            changes.postpone(session, due, error, delay_s)
        log.warning("changes: %s: %s; again in %g s", type(error).__name__, error, delay_s)

    def _without_pixels(self, comparison: Comparison | None, error: Exception) -> list[Unit]:
        """Do without pixels rather than without an answer; a unit that cannot be worked out has failed."""
        log.warning("changes: %s: %s; without pixels", type(error).__name__, error)
        try:
            return self._work_out(comparison, {}, pixels=False)[0]
        except Exception as again:
            log.exception("changes without pixels")
            return [] if comparison is None else [failed(comparison, again)]

    def _keep(self, comparison: Comparison) -> None:
        """Keep the pixels of what was seen, for the passes to come, whether or not products stay."""
        if self._archive is None:
            return
        seen = [s for s in comparison.seen_after if s.run_id == comparison.after.run_id and not s.phantom]
        seen.sort(key=lambda s: (-s.score, s.id))
        try:
            with self._chips() as chips:
                for item in seen[: self._units.max_places]:
                    chips.at(comparison.after, item)
        except (NoPixels, SourceUnavailable) as error:
            log.warning("chip archive: %s", error)
        except _ENDS:
            raise
        except Exception:  # the changes are recorded: an archive that cannot be read costs only itself
            log.exception("chip archive")
        self._archive.trim()
        if not self._swept:  # what a crash left, once
            self._swept = self._archive.sweep() >= 0


class _NoChips(Chips):
    """No pixels at all."""

    def at(self, run: object, place: object) -> object:  # type: ignore[override]
        """Refuse."""
        raise NoPixels("they could not be fetched")


def _archive(settings: ChangeSettings, store: Store) -> Archive | None:
    if settings.archive is None:
        return None
    try:
        archive = Archive(settings.archive.expanduser(), store, int(settings.archive_gib * 2**30))
    except OSError as error:
        log.warning("no chip archive: %s", error)
        return None
    return archive
