"""A scene's brightness as the pipeline has it: from the prescreen."""

from __future__ import annotations

from typing import Any

import numpy as np

from daemon.flags.bright import BrightMap
from daemon.scan import scan
from tests.support.sea import FakeLand


def bright_map(scene: Any) -> BrightMap:
    """Scan a scene without land and keep its brightness."""
    land = FakeLand(np.zeros(scene.shape, bool))
    return BrightMap(scan(scene, land, keep_peaks=True).peaks)
