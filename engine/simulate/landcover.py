"""Land cover: real class statistics of AlphaEarth vectors and of backscatter, and draws from them.

The statistics (alphaearth_classes.npz) are baked from real samples by bake_alphaearth.py. AlphaEarth
Foundations satellite embedding, Google / Google DeepMind, CC-BY-4.0.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

NODATA = -128
WATER = 0
# Dynamic World's classes in the order of its labels 0 to 8
CLASSES = (
    "water",
    "trees",
    "grass",
    "flooded_vegetation",
    "crops",
    "shrub_and_scrub",
    "built",
    "bare",
    "snow_and_ice",
)
# how often a class covers a coast
COAST_WEIGHTS = (0.0, 0.22, 0.14, 0.06, 0.12, 0.12, 0.22, 0.11, 0.01)


@lru_cache(maxsize=1)
def _statistics() -> dict[str, NDArray[np.float32]]:
    with np.load(Path(__file__).with_name("alphaearth_classes.npz")) as archive:
        return {name: archive[name] for name in ("mean", "factor", "backscatter_db")}


def rank() -> int:
    """Return the number of latent factors of a vector."""
    return int(_statistics()["factor"].shape[1])


def backscatter_db(label: int) -> NDArray[np.floating]:
    """Return a class's mean and standard deviation in dB, rows VV and VH, [2, 2]."""
    return np.asarray(_statistics()["backscatter_db"][label])


def vectors(labels: NDArray[np.integer], latent: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return AlphaEarth vectors of unit length.

    Args:
        labels: classes, [...].
        latent: standard normal factors, [..., rank()].
    """
    stats = _statistics()
    raw = stats["mean"][labels] + np.einsum("...k,...kc->...c", latent, stats["factor"][labels])
    return np.asarray((raw / np.linalg.norm(raw, axis=-1, keepdims=True)).astype(np.float32))


def quantise(vector: NDArray[np.floating]) -> NDArray[np.int8]:
    """Return AlphaEarth bytes: value = sign(q) (q / 127.5)^2."""
    return np.asarray(
        np.rint(np.sign(vector) * np.sqrt(np.abs(vector)) * 127.5).clip(-127, 127).astype(np.int8)
    )
