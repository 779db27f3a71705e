"""Simulated chips and pairs of chips to a dataset folder: images, priors, and the records of both stages.

    OUT/
      chips/train-000000.png     the chip's three channels as RGB; of a pair, -before and -after
      priors/train-000000.npz    where the chip has a prior
      stage1.jsonl               descriptions
      stage2.jsonl               the tasks
      stage1.val.jsonl, stage2.val.jsonl, chips/val-...   chips of another seed
      dataset.json               what was asked for, counts, and what the chips' channels show

Every simulated chip and pair is a site of its own, so train and validation share none.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.data.asks import (
    CHIP_TASKS,
    PAIR_TASKS,
    TOKEN_PX,
    Ask,
    ChipFacts,
    Target,
    answer_objects,
    chip_asks,
    clipped,
    describe,
    pair_asks,
)
from engine.data.describe import LAND_COVERS
from engine.data.records import Record, write_prior
from engine.errors import DatasetError, InputError
from engine.runtime.image import copol_alone
from engine.runtime.prior import Prior
from engine.runtime.text import QUESTIONS

SENSOR, SPACING_M = "Sentinel-1 IW", 10.0

# Polarisations that the prompt states, with their shares: single and other ones must not come as a surprise.
BANDS = (("VV", "VH"), ("HH", "HV"), ("VV",), ("HH",))
BAND_SHARES = (0.86, 0.04, 0.07, 0.03)

# The simulator names covers as Dynamic World does; a description uses plain words.
COVERS = dict(
    zip(
        ("water", "trees", "grass", "flooded_vegetation", "crops", "shrub_and_scrub", "built", "bare",
         "snow_and_ice"),
        LAND_COVERS,
        strict=True,
    )
)  # fmt: skip


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


class Pairs(Protocol):
    """A simulated pair: what this module needs of ``engine.simulate.pairs.Pair``."""

    @property
    def pixels(self) -> NDArray[np.uint8]: ...  # noqa: D102
    @property
    def truth(self) -> tuple[Sequence[Target], Sequence[Target]]: ...  # noqa: D102
    @property
    def places(self) -> Sequence[Any]: ...  # noqa: D102
    @property
    def changes(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def prior(self) -> NDArray[np.int8]: ...  # noqa: D102
    @property
    def days(self) -> int: ...  # noqa: D102


@dataclass(frozen=True)
class Split:
    """The records of one split, by stage."""

    stage1: list[Record] = field(default_factory=list)
    stage2: list[Record] = field(default_factory=list)


def draw_bands(name: str) -> tuple[str, ...]:
    """Choose the polarisations of a chip by its name."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return BANDS[rng.choice(len(BANDS), p=BAND_SHARES)]


def draw_dates(name: str, days: int | None = None) -> tuple[str, ...]:
    """Choose the date of a chip by its name, or of two, so many days apart; half of single ones have none."""
    rng = np.random.default_rng(zlib.crc32(f"{name} date".encode()))
    first = date(2017, 1, 1) + timedelta(days=int(rng.integers(8 * 365)))
    if days is None:
        return (first.isoformat(),) if rng.random() < 0.5 else ()
    return first.isoformat(), (first + timedelta(days=days)).isoformat()


def chip_records(
    chips: Chips,
    index: int,
    name: str,
    aef: str | None,
    size_px: int,
    bands: tuple[str, ...] = BANDS[0],
    shares: Mapping[str, float] = CHIP_TASKS,
) -> list[Record]:
    """Return a chip's records: its description, and the tasks that are asked of it.

    A description names the land's cover only where there is a prior, which alone knows it.
    """
    context = chips.context[index]
    facts = ChipFacts(
        chips.truth[index],
        chips.pixels[index],
        float(context.sea_db[0]),
        float(chips.land_fraction[index]),
        COVERS[context.land_cover] if context.land_cover else None,
        prior=aef is not None,
    )
    asks = [Ask("description", QUESTIONS["description"], describe(facts) or "")]
    asks += chip_asks(facts, size_px, shares, np.random.default_rng(zlib.crc32(f"{name} tasks".encode())))
    images, dates = (f"chips/{name}.png",), draw_dates(name)
    return _records(asks, name, images, aef, size_px, bands, dates, truth_of(facts.targets, size_px))


def pair_records(
    pair: Pairs,
    name: str,
    aef: str | None,
    size_px: int,
    bands: tuple[str, ...] = BANDS[0],
    shares: Mapping[str, float] = PAIR_TASKS,
) -> list[Record]:
    """Return the records of two chips of one place."""
    before, after = (sum(target.class_ == "ship" for target in each) for each in pair.truth)
    rng = np.random.default_rng(zlib.crc32(f"{name} tasks".encode()))
    asks = pair_asks(pair.places, pair.changes, (before, after), size_px, shares, rng)
    images = (f"chips/{name}-before.png", f"chips/{name}-after.png")
    truth = tuple(
        {"place": n, "label": place.label, "change": change}
        for n, (place, change) in enumerate(zip(pair.places, pair.changes, strict=True), start=1)
    )
    return _records(asks, name, images, aef, size_px, bands, draw_dates(name, pair.days), truth)


def truth_of(targets: Sequence[Target], size_px: int) -> tuple[dict[str, Any], ...]:
    """Return what is known of a chip's objects, as records keep it."""
    return tuple(
        {
            "label": label,
            "bbox_2d": list(box),
            **({} if target.length_m is None else {"length_m": round(float(target.length_m), 1)}),
            **({"clipped": True} if clipped(target.box_px) else {}),
        }
        for label, box, target in answer_objects(targets, size_px)
    )


def _records(
    asks: Sequence[Ask],
    name: str,
    images: tuple[str, ...],
    aef: str | None,
    size_px: int,
    bands: tuple[str, ...],
    dates: tuple[str, ...],
    truth: tuple[dict[str, Any], ...],
) -> list[Record]:
    return [
        Record(
            id=f"{name}-{ask.task}",
            images=images,
            aef=(aef,) * len(images),
            coordinate_size=size_px,
            question=ask.question,
            answer=ask.answer,
            task=ask.task,
            sensor=SENSOR,
            bands=bands,
            spacing_m=SPACING_M,
            site=f"simulated-{name}",
            truth=truth,
            dates=dates,
            known=ask.known,
        )
        for ask in asks
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
    shares: Mapping[str, float] = CHIP_TASKS,
) -> Split:
    """Write the images and priors of chips, and return their records.

    Args:
        folder: the dataset's folder.
        chips: simulated chips.
        split: "train" or "val": the beginning of every name.
        size_px: side of the enlarged chip that boxes refer to.
        first: number of the first chip, where a split is written in parts.
        progress: called with 1 after each chip.
        shares: how likely a chip is asked about each task of stage 2.

    Raises:
        InputError: the size is no multiple of a merged token's side.
        DatasetError: a file could not be written.
    """
    check_size(size_px)
    records = Split()
    for index in range(len(chips.pixels)):
        name = f"{split}-{first + index:06d}"
        bands = draw_bands(name)
        aef = _write_files(folder, {name: chips.pixels[index]}, chips.prior[index], name, bands)
        made = chip_records(chips, index, name, aef, size_px, bands, shares)
        records.stage1.extend(record for record in made if record.task == "description")
        records.stage2.extend(record for record in made if record.task != "description")
        if progress is not None:
            progress(1)
    return records


def write_pairs(
    folder: Path,
    pairs: Sequence[Pairs],
    split: str,
    size_px: int,
    first: int = 0,
    progress: Callable[[int], None] | None = None,
    shares: Mapping[str, float] = PAIR_TASKS,
) -> list[Record]:
    """Write the images and priors of pairs, and return their records; as ``write_split``."""
    check_size(size_px)
    records = []
    for index, pair in enumerate(pairs):
        name = f"{split}-pair-{first + index:06d}"
        bands = draw_bands(name)
        images = {f"{name}-before": pair.pixels[0], f"{name}-after": pair.pixels[1]}
        aef = _write_files(folder, images, pair.prior, name, bands)
        records += pair_records(pair, name, aef, size_px, bands, shares)
        if progress is not None:
            progress(1)
    return records


def _write_files(
    folder: Path,
    images: Mapping[str, NDArray[np.uint8]],
    raw: NDArray[np.int8],
    name: str,
    bands: tuple[str, ...],
) -> str | None:
    """Write images as the bands show them, and the prior; return its file name, None without one."""
    from PIL import Image

    try:
        for part in ("chips", "priors"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        for image, channels in images.items():
            shown = copol_alone(channels) if len(bands) == 1 else channels
            pixels = np.ascontiguousarray(np.moveaxis(shown, 0, -1))
            Image.fromarray(pixels).save(folder / "chips" / f"{image}.png", compress_level=1)
        prior = Prior.from_bytes(raw, None)
        if not prior.mask.any():
            return None
        write_prior(folder / "priors" / f"{name}.npz", prior)
    except OSError as error:
        raise DatasetError(f"cannot write the dataset to {folder}: {error}") from error
    return f"priors/{name}.npz"
