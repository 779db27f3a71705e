"""What looks at a product, opened from the settings: engine, prior, coastline."""

from __future__ import annotations

import logging
from collections.abc import Callable

from engine.runtime.land import Coastline
from engine.runtime.parity import open_checked

from .agent import Process
from .config import Settings
from .domain import SceneResult, Versions
from .errors import DaemonError
from .flags.layers import Layers
from .pipeline import process, versions_of
from .prior import PriorIndex
from .scene.names import ProductName

log = logging.getLogger(__name__)


def open_process(settings: Settings) -> tuple[Process, Callable[[str], Versions]]:
    """Open the engine, the prior, the coastline and the layers once, for all scenes.

    A prior that cannot be opened is absent, and the runs say so: a scene is worth more than its prior.

    Returns:
        What looks at a product, and what gives the versions by which it would, from the product's name.

    Raises:
        ArtifactError: the engine bundle does not fit.
        ConfigError: a layer cannot be read.
        InputError: a sea in the settings has no such name.
        ParityError: the engine does not answer golden chips as the reference did.
    """
    engine = settings.engine
    predictor = open_checked(
        engine.bundle,
        engine.backend,
        engine.threads,
        engine.parity_chips,
        fall_back=engine.parity_failure == "fall_back",
        cache_bytes=int(engine.cache_gib * 2**30),
    )
    coastline = Coastline.load(settings.land.inland_water)
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
