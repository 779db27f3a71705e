"""From radar intensity to model pixels: the chip lattice, the channels, the patches.

Training and service cut and scale chips with the functions of this one module, so that they cannot
drift apart.

The lattice covers a scene with square cells. A cell's core of 86 px belongs to it alone; a margin of
20 px around the core gives context, together a chip of 126 px (1,260 m at a spacing of 10 m).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from engine.errors import InputError
from engine.runtime.exceedance import exceedance

CORE_PX = 86
MARGIN_PX = 20
CHIP_PX = CORE_PX + 2 * MARGIN_PX
ANCHORS_SIDE = 6  # AlphaEarth anchors a side, evenly spaced over the whole chip

# (low, high) of the three channels: co-polarised and cross-polarised intensity in dB, which keep their noise,
# and in standard deviations how far a pixel stands out from the sea around it (docs/decisions/0011).
CHANNEL_RANGES: tuple[tuple[float, float], ...] = ((-32.0, 4.0), (-34.0, 0.0), (-3.0, 15.0))
CHANNELS = ("copolarised_db", "crosspolarised_db", "stands_out_sd")  # what chips in files are said to show
Pixels = tuple[float, float, float]  # one value a channel
PLAIN_PIXELS: Pixels = (0.5, 0.5, 0.5)  # mean and deviation of channels from 0 to 1 that give -1 to 1
_FLOOR = 1e-5  # -50 dB, below every channel's range; keeps the logarithm finite


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One cell of the lattice, counted from the scene's first line and sample."""

    row: int
    col: int

    @property
    def chip_origin_px(self) -> tuple[int, int]:
        """Line and sample of the chip's first pixel; negative beside the scene's first edges."""
        return self.row * CORE_PX - MARGIN_PX, self.col * CORE_PX - MARGIN_PX

    def holds(self, line_px: float, sample_px: float) -> bool:
        """Whether the cell's core holds a position in the scene."""
        return cell_of(line_px, sample_px) == self


def channel_stamp() -> dict[str, list[float]]:
    """Return name and range of each channel, by which files of chips state how their pixels were scaled."""
    return {name: list(ends) for name, ends in zip(CHANNELS, CHANNEL_RANGES, strict=True)}


def cell_of(line_px: float, sample_px: float) -> Cell:
    """Return the cell whose core holds a position in the scene."""
    return Cell(int(line_px // CORE_PX), int(sample_px // CORE_PX))


def channels(
    copol: NDArray[np.floating] | None,
    crosspol: NDArray[np.floating] | None,
    valid: NDArray[np.bool_],
) -> NDArray[np.uint8]:
    """Scale intensities to the three channels of a chip.

    Channel = clip((value - low) / (high - low), 0, 1) * 255 over CHANNEL_RANGES; the third channel's value is
    that of ``engine.runtime.exceedance``, over the polarisations that are there.

    Args:
        copol: VV or HH intensity DN^2 / A^2, noise left in, linear, [..., H, W]; None where missing.
        crosspol: VH or HV likewise.
        valid: False where there is no data, [..., H, W].

    Returns:
        Channels, [..., 3, H, W]; 0 where there is no data, and in a polarisation that is missing.

    Raises:
        InputError: both polarisations are missing, or shapes differ.
    """
    given = [band for band in (copol, crosspol) if band is not None]
    if not given:
        raise InputError("got no polarisation, expected at least one of copol and crosspol")
    if any(band.shape != valid.shape for band in given):
        shapes = [band.shape for band in given]
        raise InputError(f"got intensities of {shapes} with a mask of {valid.shape}, expected equal shapes")
    valid = np.logical_and.reduce([valid, *(np.isfinite(band) for band in given)])
    out = np.zeros((*valid.shape[:-2], 3, *valid.shape[-2:]), np.uint8)
    db = [None if band is None else 10 * np.log10(np.maximum(band, _FLOOR)) for band in (copol, crosspol)]
    layers = [*db, exceedance(given, valid)]
    for index, (layer, (low, high)) in enumerate(zip(layers, CHANNEL_RANGES, strict=True)):
        if layer is not None:
            scaled = np.clip((layer - low) * (255.0 / (high - low)), 0, 255)
            out[..., index, :, :] = np.where(valid, np.rint(scaled), 0).astype(np.uint8)
    return out


def intensities(chip: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the linear intensities of a chip's polarisations, [2, H, W]; NaN where its channels are 0.

    Args:
        chip: channels, [3, H, W].
    """
    scaled = [
        np.where(channel > 0, low + channel / 255.0 * (high - low), np.nan)
        for channel, (low, high) in zip(chip[:2], CHANNEL_RANGES[:2], strict=True)
    ]
    return np.asarray(np.power(10.0, np.stack(scaled) / 10), np.float64)


def copol_alone(chip: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a chip as it would be without its cross-polarised band, [3, H, W]."""
    copol, darkest = intensities(chip)[0], 10 ** (CHANNEL_RANGES[0][0] / 10)
    return channels(np.where(np.isfinite(copol), copol, darkest), None, np.asarray(chip.any(axis=0)))


@lru_cache(maxsize=8)
def enlargement(size_in: int, size_out: int) -> NDArray[np.float32]:
    """Return the bicubic interpolation (a = -0.75, edges repeated) as a matrix, [size_out, size_in].

    The same taps as torch's ``interpolate(mode="bicubic", align_corners=False)``; as a matrix, training
    and service use one and the same arithmetic: ``M @ image @ M.T``.
    """
    a = -0.75
    matrix = np.zeros((size_out, size_in), np.float64)
    for i in range(size_out):
        centre = (i + 0.5) * size_in / size_out - 0.5
        first = int(np.floor(centre)) - 1
        for tap in range(first, first + 4):
            x = abs(centre - tap)
            near = ((a + 2) * x - (a + 3)) * x * x + 1
            far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
            matrix[i, min(max(tap, 0), size_in - 1)] += near if x <= 1 else far
    matrix.flags.writeable = False
    return matrix.astype(np.float32)


def patches(
    chips: NDArray[np.uint8], size_px: int, patch_px: int = 14, merge: int = 2
) -> NDArray[np.float32]:
    """Enlarge chips and cut them into patches, in the order of Qwen2.5-VL's merge units.

    Pixels become x / 127.5 - 1. A still image fills both frames of Qwen's temporal patch with the same
    pixels, so one frame is given here and the exported graph holds the two frames' weights added up.

    Args:
        chips: channels, [B, 3, H, W], H = W.
        size_px: side of the enlarged chip, a multiple of patch_px * merge.
        patch_px: side of a patch.
        merge: patches a side that the vision tower merges into one token.

    Returns:
        Patches, [B, (size_px / patch_px)^2, 3 * patch_px^2], -1 to 1.

    Raises:
        InputError: a shape or size does not fit.
    """
    if chips.ndim != 4 or chips.shape[1] != 3 or chips.shape[2] != chips.shape[3]:
        raise InputError(f"got chips of shape {chips.shape}, expected [B, 3, H, H]")
    if size_px % (patch_px * merge):
        raise InputError(f"got a size of {size_px} px, expected a multiple of {patch_px * merge}")
    count, units = len(chips), size_px // (patch_px * merge)
    out = np.empty((count, units, units, merge, merge, 3, patch_px, patch_px), np.float32)
    for chip, own in zip(chips, out, strict=True):  # one by one: what is worked out stays in the cache
        pixels = chip.astype(np.float32)
        pixels *= 1 / 127.5
        pixels -= 1
        grid = _enlarge(pixels, size_px, units).reshape(units, 3, units, merge, patch_px, merge, patch_px)
        np.clip(grid.transpose(2, 0, 3, 5, 1, 4, 6), -1, 1, out=own)
    return out.reshape(count, (units * merge) ** 2, 3 * patch_px**2)


def scale_pixels(
    patches: NDArray[np.float32], mean: tuple[float, ...], deviation: tuple[float, ...]
) -> NDArray[np.float32]:
    """Scale patches from -1 to 1 as a base was trained: (v - mean) / deviation, v from 0 to 1.

    Args:
        patches: channel by channel, [B, N, 3 * patch_px^2].
        mean: of each channel; PLAIN_PIXELS changes nothing.
        deviation: of each channel; likewise.
    """
    if mean == deviation == PLAIN_PIXELS:
        return patches
    share = np.array(deviation, np.float32)
    slope, shift = 0.5 / share, (0.5 - np.array(mean, np.float32)) / share
    a_channel = patches.shape[-1] // 3
    scaled: NDArray[np.float32] = patches * np.repeat(slope, a_channel) + np.repeat(shift, a_channel)
    return scaled


def _enlarge(pixels: NDArray[np.float32], size_px: int, units: int) -> NDArray[np.float32]:
    """Enlarge an image [3, H, H] to units of columns, bands, units of rows, rows and columns of a unit."""
    side, unit = pixels.shape[-1], size_px // units
    matrix, own = enlargement(side, size_px), side // units
    if own * units != side or units < 3:
        whole = (matrix @ pixels @ matrix.T).reshape(3, units, unit, units, unit)
        return np.moveaxis(whole, 3, 0)
    # Every unit has the same taps, two pixels around its own; at the edges pixels are repeated, as in the
    # matrix. Products this small are not shared among threads by OpenBLAS, and each worker has its own.
    taps = matrix[unit : 2 * unit, own - 2 : 2 * own + 2]
    padded = np.pad(pixels, ((0, 0), (2, 2), (2, 2)), "edge")
    bands, rows, columns = padded.strides
    windows = as_strided(padded, (units, 3, side + 4, own + 4), (own * columns, bands, rows, columns))
    wide = windows @ taps.T  # [units, 3, H + 4, unit]
    *outer, rows, columns = wide.strides
    windows = as_strided(wide, (units, 3, units, own + 4, unit), (*outer, own * rows, rows, columns))
    enlarged: NDArray[np.float32] = taps @ windows
    return enlarged
