"""`make bench-length`: lengths, widths and axes measured in simulated patches against the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.simulate import clutter, objects, physics

SIZE_PX = 126


@dataclass(frozen=True, slots=True)
class Case:
    """One object alone on the sea.

    Attributes:
        intensity: VV and VH, noise left in, [2, SIZE_PX, SIZE_PX].
        nesz: noise-equivalent sigma0 of VV and VH.
        body: the truth.
        line_px: line of its centre.
        sample_px: sample of its centre.
        box_px: x1, y1, x2, y2 of the pixels that a prescreen would find.
        contrast_db: highest 3 x 3 mean over the mean sea and noise, in the better polarisation.
        spread: standard deviation of the 3 x 3 mean over the mean, in VV sea.
    """

    intensity: NDArray[np.float32]
    nesz: tuple[float, float]
    body: objects.Body
    line_px: float
    sample_px: float
    box_px: tuple[float, float, float, float]
    contrast_db: float
    spread: float
    sea_db: float


class Cases:
    """Draws cases from one seed."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        rng = np.random.default_rng([seed, 0])
        self._speckle = physics.SpeckleBank(rng)
        self._textures = clutter.TextureBank(rng)

    def make(self, index: int, body=None) -> Case | None:
        """Draw a case; None where a prescreen sees nothing."""
        rng = np.random.default_rng([self._seed, 1, index])
        state = clutter.draw_sea_state(rng)
        power = clutter.draw_sea(rng, self._textures, state, SIZE_PX)
        length = float(np.exp(rng.uniform(np.log(20), np.log(400))))
        drawn = objects.draw_ship(rng, length_m=length) if body is None else body(rng)
        line, sample = SIZE_PX / 2 + rng.uniform(-0.5, 0.5, 2)
        if drawn.wake_px is not None:
            clutter.add_wake(rng, power, (line + drawn.wake_px, sample), drawn.axis_deg, drawn.length_m)
        noise = physics.from_db(np.array(state.noise_db))
        amplitude = np.sqrt(power + noise[:, None, None]).astype(np.float32)
        echo = physics.render_points(
            rng, drawn.line_px + line, drawn.sample_px + sample, drawn.powers, power.shape[1:], drawn.reach_px()
        )
        bands = []
        for band in range(2):
            fields = [self._speckle.cut(rng, SIZE_PX) for _ in range(physics.LOOKS)]
            echoes = [(echo[0], echo[1], echo[2][band])] if echo else []
            bands.append(physics.detect(fields, amplitude[band], echoes))
        intensity = np.stack(bands)
        found = _prescreen(intensity, drawn, line, sample)
        if found is None:
            return None
        box, contrast, spread = found
        return Case(
            intensity, (float(noise[0]), float(noise[1])), drawn, float(line), float(sample), box,
            float(physics.to_db(contrast)), spread, state.sea_db[0]
        )


def _prescreen(intensity, body, line, sample):
    from scipy import ndimage

    smooth = ndimage.uniform_filter(intensity, (0, 3, 3))
    sea = np.ones((SIZE_PX, SIZE_PX), bool)
    sea[33:-33, 33:-33] = False
    mean = smooth[:, sea].mean(1)
    spread = smooth[:, sea].std(1) / mean
    relative = smooth / mean[:, None, None]
    exceeds = (relative > 1 + 6 * spread[:, None, None]).any(0)
    labels, _ = ndimage.label(exceeds, np.ones((3, 3)))
    half = body.half_extent_px()
    rows = slice(int(line - half[0]), int(line + half[0]) + 2)
    cols = slice(int(sample - half[1]), int(sample + half[1]) + 2)
    inside = np.where(exceeds, relative.max(0), 0)[rows, cols]
    if not inside.any():
        return None
    at = np.unravel_index(inside.argmax(), inside.shape)
    label = labels[rows, cols][at]
    r, c = ndimage.find_objects((labels == label).astype(int))[0]
    return (float(c.start), float(r.start), float(c.stop), float(r.stop)), float(inside.max()), float(spread[0])
