"""What looks at a product, opened from the settings: engine, prior, coastline."""

from __future__ import annotations

import logging
from collections.abc import Callable

from engine.runtime.land import Coastline
from engine.runtime.predictor import Predictor

from .agent import Process
from .change.ask import ChangeEngine
from .change.worker import ChangeWorker
from .config import Settings
from .domain import SceneResult, Versions
from .errors import DaemonError
from .flags.layers import Layers
from .pipeline import process, versions_of
from .prior import PriorIndex
from .scene.names import ProductName
from .store.session import Store

log = logging.getLogger(__name__)


def open_engine(settings: Settings) -> tuple[Predictor, Coastline]:
    """Open the engine and the coastline once, for scenes and their changes.

    Raises:
        ArtifactError: the engine bundle does not fit.
        InputError: a sea in the settings has no such name.
    """
    predictor = Predictor.open(settings.engine.bundle, settings.engine.backend, settings.engine.threads)
    return predictor, Coastline.load(settings.land.inland_water)


def open_changes(
    settings: Settings, predictor: Predictor, coastline: Coastline
) -> Callable[[Store], Callable[[], bool]]:
    """Return what makes, for a store, the function that takes due change units to their end."""

    def make(store: Store) -> Callable[[], bool]:
        return ChangeWorker(store, coastline, settings.change, ChangeEngine.of(predictor)).step

    return make


def open_process(
    settings: Settings, predictor: Predictor, coastline: Coastline
) -> tuple[Process, Callable[[str], Versions]]:
    """Open the prior and the layers once, for all scenes.

    A prior that cannot be opened is absent, and the runs say so: a scene is worth more than its prior.

    Returns:
        What looks at a product, and what gives the versions by which it would, from the product's name.

    Raises:
        ConfigError: a layer cannot be read.
    """
    prior = _open_prior(settings.prior.index)
    layers = Layers.open(**dict(settings.layers))

    def look(uri: str) -> SceneResult:
        return process(uri, predictor, prior, coastline, progress=_Stages(), layers=layers)

    def versions(product: str) -> Versions:
        acquired = ProductName.parse(product).start
        return versions_of(coastline.version, predictor, prior, layers=layers.version(acquired))

    return look, versions


class _Stages:
    """Logs where a scene stands: each stage as it begins, and each quarter of it."""

    def __init__(self) -> None:
        self._said = ("", 0)

    def __call__(self, stage: str, done: float) -> None:
        now = (stage, int(4 * done))
        if now != self._said and now[1] < 4:
            log.info("  %s %d%%", stage, 25 * now[1])
            self._said = now


def _open_prior(index: str | None) -> PriorIndex | None:
    if index is None:
        return None
    try:
        return PriorIndex.open(index)
    except DaemonError as error:
        log.warning("prior absent: %s", error)
        return None
