"""From candidates to requests: which cells of the lattice are asked, and with which pixels and prior."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from daemon.domain import Candidate
from daemon.scene.product import Window
from engine.runtime.image import CHIP_PX, Cell, channels
from engine.runtime.prior import Prior
from engine.runtime.text import Request

if TYPE_CHECKING:
    from daemon.scene.product import Scene


def cells_to_ask(candidates: Iterable[Candidate], limit: int) -> tuple[list[Cell], int]:
    """Choose the cells with candidates, at most ``limit``, those with the strongest candidate first.

    Returns:
        Cells by row and column, and how many were left out.
    """
    strongest: dict[Cell, float] = {}
    for candidate in candidates:
        cell = Cell(*candidate.cell)
        strongest[cell] = max(strongest.get(cell, -np.inf), candidate.contrast_db)
    ranked = sorted(strongest, key=lambda cell: (-strongest[cell], cell))
    return sorted(ranked[:limit]), max(len(ranked) - limit, 0)


def cut_chip(scene: Scene, cell: Cell) -> NDArray[np.uint8]:
    """Cut and scale the chip of a cell, noise left in.

    Returns:
        Channels, [3, 126, 126]; 0 where there is no data and in missing polarisations.

    Raises:
        SceneCorrupt: the pixels cannot be read.
    """
    return cut_window(scene, *cell.chip_origin_px)


def cut_window(scene: Scene, line_px: int, sample_px: int) -> NDArray[np.uint8]:
    """Cut and scale the chip whose first pixel lies at a line and a sample, as ``cut_chip``."""
    window = Window(line=line_px, sample=sample_px, lines=CHIP_PX, samples=CHIP_PX)
    read = {is_cross(name): scene.read(name, window) for name in reversed(scene.polarisations)}
    valid = np.logical_and.reduce([pixels.valid for pixels in read.values()])
    copol, crosspol = (read[kind].intensity if kind in read else None for kind in (False, True))
    return channels(copol, crosspol, valid)


def request_for(scene: Scene, cell: Cell, prior: Prior) -> Request:
    """Ask for every object in the chip of a cell."""
    return Request(
        task="detection",
        chips=(cut_chip(scene, cell),),
        priors=(prior,),
        sensor=f"Sentinel-1 {'SM' if scene.name.stripmap else scene.name.mode}",
        bands=tuple(scene.polarisations),
        spacing_m=float(np.mean(scene.spacing_m)),
    )


def is_cross(polarisation: str) -> bool:
    """Whether sent and received polarisation differ."""
    return polarisation[0] != polarisation[1]
