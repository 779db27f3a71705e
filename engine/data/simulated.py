"""Simulated chips to a dataset folder: images, priors, and the records of both stages.

    OUT/
      chips/train-000000.png     the chip's three channels as RGB
      priors/train-000000.npz    where the chip has a prior
      stage1.jsonl               descriptions
      stage2.jsonl               detection and counting
      stage1.val.jsonl, stage2.val.jsonl, chips/val-...   chips of another seed
      dataset.json               what was asked for, and counts

Every simulated chip is a site of its own, so train and validation share none.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.data.describe import LAND_COVERS, description
from engine.data.records import Record, write_prior
from engine.errors import DatasetError, InputError
from engine.runtime.image import CHIP_PX
from engine.runtime.prior import Prior
from engine.runtime.text import QUESTIONS, detection_text

TOKEN_PX = 28  # side of a merged token
MIN_SIDE_PX = 3  # of a box, in pixels of the chip as cut; below, a box says nothing of extent
SENSOR, SPACING_M = "Sentinel-1 IW", 10.0

# Polarisations that the prompt states, with their shares: single and other ones must not come as a surprise.
BANDS = (("VV", "VH"), ("HH", "HV"), ("VV",), ("HH",))
BAND_SHARES = (0.86, 0.04, 0.07, 0.03)

# The simulator names covers as Dynamic World does; a description uses plain words.
_COVERS = dict(
    zip(
        ("water", "trees", "grass", "flooded_vegetation", "crops", "shrub_and_scrub", "built", "bare",
         "snow_and_ice"),
        LAND_COVERS,
        strict=True,
    )
)  # fmt: skip


class Target(Protocol):
    """An object in a chip, as the simulator states it; boxes are edges, in pixels of the chip."""

    @property
    def class_(self) -> str: ...  # noqa: D102
    @property
    def length_m(self) -> float: ...  # noqa: D102
    @property
    def box_px(self) -> tuple[float, float, float, float]: ...  # noqa: D102


class Chips(Protocol):
    """Simulated chips: what this module needs of ``engine.simulate.chips.ChipSet``."""

    @property
    def pixels(self) -> NDArray[np.uint8]: ...  # noqa: D102
    @property
    def truth(self) -> Sequence[Sequence[Target]]: ...  # noqa: D102
    @property
    def land_fraction(self) -> NDArray[np.float32]: ...  # noqa: D102
    @property
    def prior(self) -> NDArray[np.int8]: ...  # noqa: D102
    @property
    def context(self) -> Sequence[Any]: ...  # noqa: D102


@dataclass(frozen=True)
class Split:
    """The records of one split, by stage."""

    stage1: list[Record]
    stage2: list[Record]


def target_box(box_px: Sequence[float], size_px: int) -> tuple[int, int, int, int]:
    """Return a box as an answer writes it: integers of the enlarged chip, clipped to it.

    A side is at least MIN_SIDE_PX pixels of the chip as cut.

    Args:
        box_px: x1, y1, x2, y2, edges, in pixels of the chip as cut; may leave it.
        size_px: side of the enlarged chip.
    """
    scale = size_px / CHIP_PX
    least = round(MIN_SIDE_PX * scale)
    x1, x2 = _span(box_px[0] * scale, box_px[2] * scale, least, size_px)
    y1, y2 = _span(box_px[1] * scale, box_px[3] * scale, least, size_px)
    return x1, y1, x2, y2


def _span(low: float, high: float, least: int, size: int) -> tuple[int, int]:
    first, last = round(min(max(low, 0), size)), round(min(max(high, 0), size))
    if last - first < least:
        first = min(max(round((first + last - least) / 2), 0), size - least)
        last = first + least
    return first, last


def answer_objects(
    targets: Iterable[Target], size_px: int
) -> list[tuple[str, tuple[int, int, int, int], Target]]:
    """Return label, box and target of each object in the order in which an answer names them.

    The order is that of the image's tokens: by merged token of the box's centre, rows first, then by box.
    """

    def place(entry: tuple[str, tuple[int, int, int, int], Target]) -> tuple[int, ...]:
        x1, y1, x2, y2 = entry[1]
        return (y1 + y2) // 2 // TOKEN_PX, (x1 + x2) // 2 // TOKEN_PX, *entry[1]

    return sorted(((t.class_, target_box(t.box_px, size_px), t) for t in targets), key=place)


def draw_bands(name: str) -> tuple[str, ...]:
    """Choose the polarisations of a chip by its name."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return BANDS[rng.choice(len(BANDS), p=BAND_SHARES)]


def chip_records(
    chips: Chips, index: int, name: str, aef: str | None, size_px: int, bands: tuple[str, ...] = BANDS[0]
) -> list[Record]:
    """Return a chip's records: description, detection, counting.

    A description names the land's cover only where there is a prior, which alone knows it.
    """
    objects = answer_objects(chips.truth[index], size_px)
    labels = [label for label, _, _ in objects]
    context = chips.context[index]
    answers = {
        "description": description(
            labels,
            context.sea_db[0],
            float(chips.land_fraction[index]),
            _COVERS[context.land_cover] if aef is not None and context.land_cover else None,
        ),
        "detection": detection_text((label, box) for label, box, _ in objects),
        "counting": str(labels.count("ship")),
    }
    truth = tuple(
        {"label": label, "bbox_2d": list(box), "length_m": round(float(target.length_m), 1)}
        for label, box, target in objects
    )
    return [
        Record(
            id=f"{name}-{task}",
            images=(f"chips/{name}.png",),
            aef=(aef,),
            coordinate_size=size_px,
            question=QUESTIONS[task],
            answer=answer,
            task=task,
            sensor=SENSOR,
            bands=bands,
            spacing_m=SPACING_M,
            site=f"simulated-{name}",
            truth=truth,
        )
        for task, answer in answers.items()
    ]


def check_size(size_px: int) -> None:
    """Refuse a size that merged tokens do not tile.

    Raises:
        InputError: it is no multiple of their side.
    """
    if size_px <= 0 or size_px % TOKEN_PX:
        raise InputError(f"got a size of {size_px} px, expected a multiple of {TOKEN_PX}, such as 252 or 504")


def write_split(
    folder: Path,
    chips: Chips,
    split: str,
    size_px: int,
    first: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Split:
    """Write the images and priors of chips, and return their records.

    Args:
        folder: the dataset's folder.
        chips: simulated chips.
        split: "train" or "val": the beginning of every name.
        size_px: side of the enlarged chip that boxes refer to.
        first: number of the first chip, where a split is written in parts.
        progress: called with 1 after each chip.

    Raises:
        InputError: the size is no multiple of a merged token's side.
        DatasetError: a file could not be written.
    """
    from PIL import Image

    check_size(size_px)
    records = Split([], [])
    try:
        for name in ("chips", "priors"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(len(chips.pixels)):
            name = f"{split}-{first + index:06d}"
            bands = draw_bands(name)
            pixels = np.moveaxis(chips.pixels[index], 0, -1).copy()
            pixels[..., len(bands) if len(bands) == 1 else 3 :] = 0  # without VH there is no ratio either
            Image.fromarray(pixels).save(folder / "chips" / f"{name}.png", compress_level=1)
            prior = Prior.from_bytes(chips.prior[index], None)
            aef = f"priors/{name}.npz" if prior.mask.any() else None
            if aef is not None:
                write_prior(folder / aef, prior)
            made = chip_records(chips, index, name, aef, size_px, bands)
            records.stage1.extend(record for record in made if record.task == "description")
            records.stage2.extend(record for record in made if record.task != "description")
            if progress is not None:
                progress(1)
    except OSError as error:
        raise DatasetError(f"cannot write the dataset to {folder}: {error}") from error
    return records
