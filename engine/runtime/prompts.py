"""Prompts as the decoder reads them: tokens, which of them are visual, positions of M-RoPE."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as the decoder reads it.

    Attributes:
        ids: tokens, [T].
        visual_index: which of the request's visual tokens takes a token's place, -1 for text, [T].
        position_ids: [3, T].
        next_position: of the answer's first token.
    """

    ids: NDArray[np.int64]
    visual_index: NDArray[np.int64]
    position_ids: NDArray[np.int64]
    next_position: int


def lay_out(ids: NDArray[np.int64], image_token: int, side: int) -> Prompt:
    """Find a prompt's images and number its tokens as M-RoPE does.

    Text counts on by one on all axes. An image stands at one time; its rows and columns count from there,
    and the text after it goes on behind its longer side.

    Args:
        ids: tokens, [T]; each image is a run of side^2 image tokens.
        image_token: their id.
        side: visual tokens a side of an image.

    Raises:
        InputError: image tokens do not form whole images.
    """
    places = ids == image_token
    if int(places.sum()) % side**2:
        raise InputError(f"got {int(places.sum())} image tokens, expected a multiple of {side**2}")
    visual_index = np.where(places, np.cumsum(places) - 1, -1)
    position_ids = np.zeros((3, len(ids)), np.int64)
    row, column = np.divmod(np.arange(side**2), side)
    position, token = 0, 0
    while token < len(ids):
        if places[token]:
            block = slice(token, token + side**2)
            position_ids[:, block] = position + np.stack([np.zeros_like(row), row, column])
            position, token = position + side, token + side**2
        else:
            position_ids[:, token] = position
            position, token = position + 1, token + 1
    return Prompt(ids, visual_index, position_ids, position)
