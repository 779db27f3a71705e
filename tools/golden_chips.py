"""Draw the golden chips of a bundle, simulated, with their priors: golden_chips.py OUT.npz [COUNT] [SEED]."""

from __future__ import annotations

import sys

import numpy as np

from engine.runtime.image import ANCHORS_SIDE
from engine.runtime.prior import anchor_positions, dequantise
from engine.simulate.chips import make_chips


def main(out: str, count: str = "16", seed: str = "424242") -> None:
    """Write the file that ``fusar-engine export --chips`` takes."""
    chips = make_chips(int(count), int(seed))
    raw = chips.prior.reshape(len(chips.prior), 64, ANCHORS_SIDE**2)
    mask = (raw != -128).all(1)
    vectors = np.stack([dequantise(each).T for each in raw])
    vectors = np.where(mask[..., None], vectors, 0).astype(np.float32)
    positions = np.repeat(anchor_positions()[None], len(raw), 0)
    np.savez_compressed(out, chips=chips.pixels, vectors=vectors, positions=positions, mask=mask)


if __name__ == "__main__":
    main(*sys.argv[1:])
