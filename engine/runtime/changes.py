"""What the vision tower sees at the known places of a change, beside what the decoder says of them.

The decoder of a small model reads two images and a list of places at once, and often looks beside. The
tower looks at each image by itself: the likeliest object that it proposes at a place
(``engine.runtime.proposals``) says how sure the place is occupied. With the log odds o_b and o_a of
that before and after,

    s = sigmoid(slope * o + offset)
    q = (1 - s_b) s_a, s_b (1 - s_a), s_b s_a, (1 - s_b) (1 - s_a) e^doubt

are the chances of appeared, gone, still_occupied and cannot_tell by the tower; they are multiplied with the
decoder's own to the power ``text``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.runtime.calibration import logit
from engine.runtime.proposals import LEAST, Proposal
from engine.runtime.text import Place

NEAR_PX = 6.0  # of the chip as cut: an object this near to a place's centre is at the place
NOTHING = LEAST / 2  # chance where the tower proposes nothing


class ChangeOdds(NamedTuple):
    """How the decoder's chances and the tower's are put together.

    Attributes:
        text: power of the decoder's chances.
        slope: of the tower's log odds.
        offset: added to them.
        doubt: log weight of seeing a place occupied in neither image.
    """

    text: float
    slope: float
    offset: float
    doubt: float


def seen_at(proposals: Sequence[Proposal], place: Place, scale: float) -> float:
    """Return the chance of the likeliest object at a place.

    Args:
        proposals: of one image.
        place: its box, in pixels of the chip as cut.
        scale: pixels of the enlarged chip to one of those.
    """
    x1, y1, x2, y2 = place.box_px
    reach = scale * max(NEAR_PX, max(x2 - x1, y2 - y1) / 2)
    x, y = scale * (x1 + x2) / 2, scale * (y1 + y2) / 2
    near = (
        each.chance
        for each in proposals
        if math.hypot((each.box[0] + each.box[2]) / 2 - x, (each.box[1] + each.box[3]) / 2 - y) <= reach
    )
    return max(near, default=NOTHING)


def by_tower(seen: NDArray[np.float64], odds: ChangeOdds) -> NDArray[np.float64]:
    """Return log chances of CHANGES, not normalised, [n, 4], of what is seen before and after, [n, 2]."""
    at = odds.slope * np.vectorize(logit, otypes=[np.float64])(seen) + odds.offset
    there, empty = -np.logaddexp(0, -at), -np.logaddexp(0, at)
    (was, is_), (was_not, is_not) = there.T, empty.T
    return np.stack([was_not + is_, was + is_not, was + is_, was_not + is_not + odds.doubt], axis=1)
