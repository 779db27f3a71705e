"""The frozen test set of nano: chips no training saw, drawn after the first bundle's and before any since.

Site-disjoint by construction: every chip is a site of its own (sea, coast, land cover and prior vectors are
drawn for it alone), and the seed is kept from every training. The population is ``objects.PUBLISHED``;
layouts are those of all chips, so hard ones (rocks, coast, ghosts, peaks of clutter) are as frequent as
the prescreen makes them. A truth's box is the blurred extent, at least 3 px a side.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np

from engine.errors import InputError
from engine.simulate.chips import ChipSet, make_chips
from engine.simulate.objects import PUBLISHED

TEST_SEED = 20_261_205
TEST_CHIPS = 2_500
TRUTH_SHA256 = "ec7332d93c9b675fb76aea4d9d42b50799ec2f1521d6950edfe32128d4ea8eda"
PIXELS_SHA256 = "319847fe269698c724eda2c6947ce64bc48e99827a03a1952dde46364b40f2aa"


def test_chips(count: int = TEST_CHIPS, *, progress: Callable[[int], None] | None = None) -> ChipSet:
    """Draw the frozen test set, or its first chips.

    Raises:
        InputError: more chips are asked for than the set holds.
    """
    if count > TEST_CHIPS:
        raise InputError(f"got a count of {count}, expected at most {TEST_CHIPS}: the set is frozen")
    return make_chips(count, TEST_SEED, stats=PUBLISHED, progress=progress)


test_chips.__test__ = False  # type: ignore[attr-defined]  # a name, not a test


def truth_sha256(chips: ChipSet) -> str:
    """Return the hash of what is true: classes, boxes to 0.01 px, lengths to 0.1 m, chip by chip."""
    lines = [
        f"{index} {target.class_} {' '.join(f'{edge:.2f}' for edge in target.box_px)} {target.length_m:.1f}"
        for index, targets in enumerate(chips.truth)
        for target in targets
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def pixels_sha256(chips: ChipSet) -> str:
    """Return the hash of the intensities, channels 1 and 2; another processor may round a few otherwise.

    The third channel follows from them: how, may change without the set being another.
    """
    return hashlib.sha256(np.ascontiguousarray(chips.pixels[:, :2]).tobytes()).hexdigest()
