"""What looks at a product, opened from the settings: engine, prior, coastline."""

from __future__ import annotations

import logging
from collections.abc import Callable

from engine.runtime.land import Coastline
from engine.runtime.parity import open_checked
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


def open_engine(settings: Settings) -> Predictor:
    """Open the engine, for scenes, their changes and questions.

    Raises:
        ArtifactError: the engine bundle does not fit.
        ParityError: the engine does not answer golden chips as the reference did.
    """
    engine = settings.engine
    return open_checked(
        engine.bundle,
        engine.backend,
        engine.threads,
        engine.parity_chips,
        fall_back=engine.parity_failure == "fall_back",
        cache_bytes=int(engine.cache_gib * 2**30),
    )


def open_changes(
    settings: Settings, predictor: Predictor, coastline: Coastline
) -> Callable[[Store], Callable[[], bool]]:
    """Return what makes, for a store, the function that takes due change units to their end."""

    def make(store: Store) -> Callable[[], bool]:
        return ChangeWorker(store, coastline, settings.change, ChangeEngine.of(predictor)).step

    return make


def open_process(
    settings: Settings, predictor: Predictor, coastline: Coastline, prior: PriorIndex | None
) -> tuple[Process, Callable[[str], Versions]]:
    """Open the layers once, for all scenes.

    Returns:
        What looks at a product, and what gives the versions by which it would, from the product's name.

    Raises:
        ConfigError: a layer cannot be read.
    """
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


def open_prior(index: str | None) -> PriorIndex | None:
    """Open the prior; None where there is none, or it cannot be opened, which is logged.

    Runs say that it was absent: a scene is worth more than its prior.
    """
    if index is None:
        return None
    try:
        return PriorIndex.open(index)
    except DaemonError as error:
        log.warning("prior absent: %s", error)
        return None
