"""Where the chips of a comparison come from: the archive, else a windowed read of the product."""

from __future__ import annotations

from collections import OrderedDict
from types import TracebackType
from typing import TYPE_CHECKING

from daemon.errors import SceneError, SourceUnavailable
from daemon.scene.land import SceneLand
from daemon.scene.product import open_scene
from engine.runtime.land import Coastline

from .archive import NEAR_M, Archive
from .chip import Chip, read_chip
from .domain import PassRun, Sighting

if TYPE_CHECKING:
    from daemon.scene.product import Scene

_OPEN = 4  # products held open


class NoPixels(Exception):
    """There are no pixels of a run at a place; the text says why."""


class Chips:
    """Chips by run and place; close it, or use it as a context manager."""

    def __init__(self, coastline: Coastline, archive: Archive | None = None) -> None:
        self._coastline, self._archive = coastline, archive
        self._scenes: OrderedDict[str, tuple[Scene, SceneLand] | NoPixels] = OrderedDict()

    def at(self, run: PassRun, place: Sighting) -> tuple[Chip, tuple[float, float]]:
        """Return a chip that holds a sighting's place, and line and sample of it in the run's scene.

        Raises:
            NoPixels: neither the archive nor the product has it.
            SourceUnavailable: the product's host does not answer.
        """
        own = (place.line_px, place.sample_px) if place.run_id == run.run_id else None
        where = place.lon_deg, place.lat_deg
        if self._archive is not None and (kept := self._archive.find(run, *where)) is not None:
            return kept, own or kept.pixel(*where)
        try:
            chip, at_px = self._read(run, place, own)
        except (NoPixels, SourceUnavailable):
            # Another place's chip may hold it; not sooner, so that what came first makes no difference.
            near = self._archive.find(run, *where, NEAR_M) if self._archive is not None else None
            if near is None:
                raise
            return near, own or near.pixel(*where)
        if self._archive is not None:
            self._archive.keep(run, chip, *where)
        return chip, at_px

    def _read(
        self, run: PassRun, place: Sighting, own: tuple[float, float] | None
    ) -> tuple[Chip, tuple[float, float]]:
        scene, land = self._scene(run)
        line, sample = own or (float(v) for v in scene.geometry.pixel(place.lon_deg, place.lat_deg))
        if not (0 <= line < scene.shape[0] and 0 <= sample < scene.shape[1]):  # NaN is not, either
            raise NoPixels("outside the scene")
        try:
            chip = read_chip(scene, land, line, sample)
        except SceneError as error:
            raise NoPixels(f"{type(error).__name__}: {error}") from error
        # by the chip's own map, as it will be once it comes from the archive
        return chip, own or chip.pixel(place.lon_deg, place.lat_deg)

    def _scene(self, run: PassRun) -> tuple[Scene, SceneLand]:
        found = self._scenes.get(run.run_id)
        if found is None:
            try:
                scene = open_scene(run.uri)
                found = scene, SceneLand(self._coastline, scene.geometry)
            except SourceUnavailable:
                raise
            except SceneError as error:
                found = NoPixels(f"{type(error).__name__}: {error}")
            self._scenes[run.run_id] = found
            if len(self._scenes) > _OPEN:
                _close(self._scenes.popitem(last=False)[1])
        self._scenes.move_to_end(run.run_id)
        if isinstance(found, NoPixels):
            raise found
        return found

    def close(self) -> None:
        """Let go of the products."""
        while self._scenes:
            _close(self._scenes.popitem()[1])

    def __enter__(self) -> Chips:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _close(found: tuple[Scene, SceneLand] | NoPixels) -> None:
    if not isinstance(found, NoPixels):
        found[0].close()
