"""Chip folders to datasets: images, AlphaEarth vectors and texts as JSON lines, split by site.

A chip folder is what ``fusar chips`` writes (format ``fusar.chips/1``): ``chips.jsonl`` and one image a chip.
Chips without labels are left out: what is not labelled cannot be answered. With the chips of an earlier pass
over the same places, what changed is asked too (``engine.data.passes``).
"""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.data import splits
from engine.data.asks import CHIP_TASKS, PAIR_TASKS, Ask, ChipFacts, chip_asks, describe, nudged, pair_asks
from engine.data.embeddings import Embeddings
from engine.data.passes import find_pairs, what_changed
from engine.data.records import Record, write_prior, write_records
from engine.data.simulated import COVERS, check_size, truth_of
from engine.errors import DatasetError, InputError
from engine.runtime.image import CHIP_PX, channel_stamp
from engine.runtime.prior import ANCHORS, PRIOR_DIM, YEARS, Prior
from engine.runtime.text import LABELS, MAX_PLACES, QUESTIONS, Place
from engine.simulate import landcover

FORMAT = "fusar.chips/1"
LEAST_CONTRAST_DB = 6.0  # of an object that pixels show; fainter ones are no part of the truth


@dataclass(frozen=True)
class Thing:
    """An object in a chip, as its line states it."""

    class_: str
    box_px: tuple[float, float, float, float]
    length_m: float | None
    contrast_db: float | None = None

    @property
    def shown(self) -> bool:
        """Whether pixels show it; one of unknown contrast is taken to be shown."""
        return self.contrast_db is None or self.contrast_db >= LEAST_CONTRAST_DB


@dataclass(frozen=True)
class Chip:
    """A line of a chip folder.

    Attributes:
        id: unique in the folder.
        image: path of its image.
        product: where it was cut from.
        acquired: ISO 8601, UTC.
        sensor: as prompts state it.
        bands: polarisations, co-polarised first.
        spacing_m: pixel spacing.
        centre: longitude and latitude.
        anchors: of its anchors, [S, 2].
        land_fraction: share of land.
        sea_db: mean backscatter of the sea; None without any.
        labelled: whether its objects are all there are.
        objects: those that pixels show.
        faint: the others.
        relative_orbit: that it was seen from; None where not stated.
    """

    id: str
    image: Path
    product: str
    acquired: str
    sensor: str
    bands: tuple[str, ...]
    spacing_m: float
    centre: tuple[float, float]
    anchors: NDArray[np.float64]
    land_fraction: float
    sea_db: float | None
    labelled: bool
    objects: tuple[Thing, ...]
    faint: tuple[Thing, ...] = ()
    relative_orbit: int | None = None

    @property
    def datatake(self) -> str:
        """What it was seen in: the mission and datatake of a Sentinel-1 name, else the product."""
        parts = self.product.split("_")
        return f"{parts[0]}_{parts[-2]}" if len(parts) == 9 else self.product


def read_chips(folder: Path) -> list[Chip]:
    """Read a chip folder.

    Raises:
        DatasetError: the list is missing or empty, a line is malformed, or its chip shows other channels.
    """
    path = folder / "chips.jsonl"
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(
            f"cannot read {path}: {error}; expected a chip folder: see `fusar chips`"
        ) from error
    chips = []
    for number, line in enumerate(lines, start=1):
        try:
            chips.append(_chip(json.loads(line), folder))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DatasetError(
                f"{path}, line {number}: got {type(error).__name__}: {error}; expected a chip of {FORMAT}"
            ) from error
    if not chips:
        raise DatasetError(f"got no chips in {path}, expected at least one line")
    return chips


def _chip(line: Mapping[str, Any], folder: Path) -> Chip:
    if line["format"] != FORMAT:
        raise ValueError(f"format {line['format']!r}")
    if line.get("channels") != channel_stamp():
        raise DatasetError(
            f"got chip {line['id']} in {folder} of channels {line.get('channels', 'that it does not name')}, "
            f"expected {channel_stamp()}: cut {line['product']} anew with `fusar chips`"
        )
    lon, lat = (float(value) for value in line["centre"])
    anchors = np.array(line["anchors"], np.float64)
    if anchors.shape != (ANCHORS**2, 2):
        raise ValueError(f"anchors {anchors.shape}, not {(ANCHORS**2, 2)}")
    image = Path(line["image"])
    if image.is_absolute() or ".." in image.parts:
        raise ValueError(f"image {line['image']!r} outside the folder")
    things = []
    for each in line["objects"]:
        x1, y1, x2, y2 = (float(edge) for edge in each["box_px"])
        contrast, length = (
            None if each.get(name) is None else float(each[name]) for name in ("contrast_db", "length_m")
        )
        if each["label"] not in LABELS or not (x1 < x2 and y1 < y2):
            raise ValueError(f"object {each}")
        things.append(Thing(each["label"], (x1, y1, x2, y2), length, contrast))
    orbit = line.get("relative_orbit")
    return Chip(
        id=str(line["id"]),
        image=folder / image,
        product=str(line["product"]),
        acquired=str(line["acquired"]),
        sensor=str(line["sensor"]),
        bands=tuple(line["bands"]),
        spacing_m=float(line["spacing_m"]),
        centre=(lon, lat),
        anchors=anchors,
        land_fraction=float(line["land_fraction"]),
        sea_db=None if line["sea_db"] is None else float(line["sea_db"]),
        labelled=bool(line["labelled"]),
        objects=tuple(thing for thing in things if thing.shown),
        faint=tuple(thing for thing in things if not thing.shown),
        relative_orbit=None if orbit is None else int(orbit),
    )


def write_triplets(
    chips: list[Chip],
    out: Path,
    embeddings: Embeddings | None,
    size_px: int,
    shares: Mapping[str, float] = CHIP_TASKS,
    held_out: Mapping[str, float] | None = None,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
    years: int = 1,
    before: Sequence[Chip] = (),
    pair_shares: Mapping[str, float] = PAIR_TASKS,
) -> dict[str, int]:
    """Write the dataset of labelled chips: as ``fusar-engine dataset`` does, with real places.

    Args:
        chips: of one or more folders.
        out: the dataset's folder.
        embeddings: where vectors come from; None for none.
        size_px: side of the enlarged chip that boxes refer to.
        shares: how likely a chip is asked about each task of stage 2.
        held_out: shares of the splits beside training, by name.
        seed: of the splits.
        progress: called with 1 after each chip.
        years: of the priors, 1 or 2.
        before: chips of earlier passes over the same places; none for no questions of change.
        pair_shares: how likely two chips of one place are asked about each task.

    Returns:
        Records of each file.

    Raises:
        DatasetError: no chip is labelled, there are too few sites, a file cannot be read or written, or no
            chip has an earlier one, seen alike.
        InputError: the size is no multiple of a merged token's side, or the years are not 1 or 2.
    """
    check_size(size_px)
    if years not in YEARS:
        raise InputError(f"got priors of {years} years, expected 1 or 2")
    labelled = [chip for chip in chips if chip.labelled]
    if not labelled:
        raise DatasetError(
            f"got {len(chips)} chips without labels, expected labelled ones: see `fusar chips`"
        )
    pairs = find_pairs(before, labelled) if before else []
    earlier: dict[int, list[Chip]] = {}
    for chip, i in pairs:
        earlier.setdefault(i, []).append(chip)
    held_out = dict(held_out or {})
    where = np.array([chip.centre for chip in labelled])
    everything = [*labelled, *(chip for chip, _ in pairs)]
    site_of = splits.sites(
        np.array([chip.centre for chip in everything]), [chip.datatake for chip in everything]
    )[: len(labelled)]
    own = splits.assign(site_of, {"train": 1 - sum(held_out.values()), **held_out}, seed)
    splits.check_apart({name: where[index] for name, index in own.items()})
    counts: dict[str, int] = {}
    for split, index in own.items():
        stages: dict[str, list[Record]] = {"stage1": [], "stage2": []}
        for i in index:
            site = f"site-{site_of[i]:04d}"
            for record in _records(labelled[i], out, embeddings, size_px, shares, site, years):
                stages["stage1" if record.task == "description" else "stage2"].append(record)
            for chip in earlier.get(int(i), ()):
                stages["stage2"] += _pair_records(
                    chip, labelled[i], out, embeddings, size_px, pair_shares, site, years
                )
            if progress is not None:
                progress(1)
        for stage, records in stages.items():
            name = f"{stage}.jsonl" if split == "train" else f"{stage}.{split}.jsonl"
            if records:
                counts[name] = write_records(out / name, records)
    return counts


def _records(
    chip: Chip,
    out: Path,
    embeddings: Embeddings | None,
    size_px: int,
    shares: Mapping[str, float],
    site: str,
    years: int,
) -> list[Record]:
    name, pixels, prior, aef = _take(chip, out, embeddings, years)
    cover = land_cover(prior) if chip.land_fraction >= 0.01 else None
    facts = ChipFacts(chip.objects, pixels, chip.sea_db, chip.land_fraction, cover, prior=aef is not None)
    asks = chip_asks(facts, size_px, shares, _draws(name))
    words = describe(facts)
    if words is not None:
        asks.insert(0, Ask("description", QUESTIONS["description"], words))
    truth = truth_of(chip.objects, size_px)
    return [_record(ask, name, (chip,), (name,), (aef,), size_px, site, truth) for ask in asks]


def _pair_records(
    before: Chip,
    after: Chip,
    out: Path,
    embeddings: Embeddings | None,
    size_px: int,
    shares: Mapping[str, float],
    site: str,
    years: int,
) -> list[Record]:
    """Return the records of two chips of one place; none where neither shows an object."""
    taken = [_take(chip, out, embeddings, years) for chip in (before, after)]
    known, counts = what_changed(before, after, (taken[0][1], taken[1][1]))
    known = known[:MAX_PLACES]
    if not known:
        return []
    name = f"{taken[1][0]}-since-{taken[0][0]}"
    rng = _draws(name)
    # as the daemon asks: where a place is and what it was taken for, not in which image it was seen
    places = [Place(nudged(each.box_px, rng), each.label) for each in known]
    asks = pair_asks(places, [each.change for each in known], counts, size_px, shares, rng)
    truth = tuple(
        {"place": n, "label": each.label, "change": each.change} for n, each in enumerate(known, start=1)
    )
    names, priors = (taken[0][0], taken[1][0]), (taken[0][3], taken[1][3])
    return [_record(ask, name, (before, after), names, priors, size_px, site, truth) for ask in asks]


def _draws(name: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(f"{name} tasks".encode()))


def _take(
    chip: Chip, out: Path, embeddings: Embeddings | None, years: int
) -> tuple[str, NDArray[np.uint8], Prior, str | None]:
    """Put a chip's image and prior into the dataset; return name, channels, prior and the prior's file."""
    from PIL import Image

    name = chip.id.replace("/", "-")
    try:
        with Image.open(chip.image) as file:
            pixels = np.moveaxis(np.asarray(file.convert("RGB"), np.uint8), -1, 0)
        if pixels.shape != (3, CHIP_PX, CHIP_PX):
            raise DatasetError(f"{chip.image}: got {pixels.shape}, expected a chip of {CHIP_PX} px")
        prior = Prior.absent()
        if embeddings is not None:
            prior = embeddings.prior(chip.anchors, int(chip.acquired[:4]), years)
        for part in ("chips", "priors"):
            (out / part).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(chip.image, out / "chips" / f"{name}.png")
        aef = f"priors/{name}.npz" if prior.mask.any() else None
        if aef is not None:
            write_prior(out / aef, prior)
    except OSError as error:
        raise DatasetError(f"chip {chip.id}: {error}") from error
    return name, pixels, prior, aef


def _record(
    ask: Ask,
    name: str,
    chips: Sequence[Chip],
    images: Sequence[str],
    priors: tuple[str | None, ...],
    size_px: int,
    site: str,
    truth: tuple[dict[str, Any], ...],
) -> Record:
    return Record(
        id=f"{name}-{ask.task}",
        images=tuple(f"chips/{image}.png" for image in images),
        aef=priors,
        coordinate_size=size_px,
        question=ask.question,
        answer=ask.answer,
        task=ask.task,
        sensor=chips[-1].sensor,
        bands=chips[-1].bands,
        spacing_m=chips[-1].spacing_m,
        site=site,
        truth=truth,
        dates=tuple(chip.acquired[:10] for chip in chips),
        known=ask.known,
    )


def land_cover(prior: Prior) -> str | None:
    """Return the most frequent land cover among a prior's anchors; None where it knows of no land.

    An anchor has the class whose mean vector, of real samples, it resembles most.
    """
    means = landcover.vectors(np.arange(len(landcover.CLASSES)), np.zeros((1, landcover.rank())))
    nearest = (prior.vectors[prior.mask, :PRIOR_DIM] @ means.T).argmax(axis=1)  # of the newest year
    on_land = nearest[nearest != landcover.WATER]
    return COVERS[landcover.CLASSES[int(np.bincount(on_land).argmax())]] if on_land.size else None
