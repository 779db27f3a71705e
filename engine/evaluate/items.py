"""What is asked about: chips or pairs with their truth, from the simulator or from records.

An item is one chip, or two of one place in time order, with every question that is asked about it. Truth and
answers are in pixels of the chip as cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.data.asks import CHIP_TASKS, PAIR_TASKS
from engine.data.records import Record, load_images, load_priors, read_records
from engine.data.simulated import Chips, Pairs, chip_records, pair_records
from engine.errors import DatasetError
from engine.evaluate.metrics import Thing
from engine.runtime.image import CHIP_PX
from engine.runtime.prior import Prior
from engine.runtime.text import Request, places_text

IMAGE_PX = 252  # of simulated records' boxes; scaled back here


@dataclass(frozen=True, eq=False)
class Ask:
    """One question about an item.

    Attributes:
        task: its task.
        answer: what is right, as text.
        record: the record that it comes from.
    """

    task: str
    answer: str
    record: Record


@dataclass(frozen=True, eq=False)
class Item:
    """One chip, or two in time order.

    Attributes:
        name: for people.
        chips: channels, [3, 126, 126] each.
        priors: one a chip.
        truth: the objects of the chip, or of each of two.
        site: where it is; None where that is not known.
        asks: the questions.
        shore_px: distance to the shore, positive on land, [126, 126]; None where unknown.
    """

    name: str
    chips: tuple[NDArray[np.uint8], ...]
    priors: tuple[Prior, ...]
    truth: tuple[tuple[Thing, ...], ...]
    site: str | None
    asks: tuple[Ask, ...]
    shore_px: NDArray[np.float32] | None = None

    @property
    def things(self) -> tuple[Thing, ...]:
        """The objects of the chip; of the later one of two."""
        return self.truth[-1]

    @property
    def status(self) -> str:
        """What the prior knows of the chip: "absent", "partial" or "full"."""
        return self.priors[-1].status

    def ask(self, task: str) -> Ask | None:
        """Return the first question of a task."""
        return next((each for each in self.asks if each.task == task), None)

    def request(
        self,
        ask: Ask,
        chips: tuple[NDArray[np.uint8], ...] | None = None,
        priors: tuple[Prior, ...] | None = None,
    ) -> Request:
        """Return a question as a request, perhaps with other chips or priors."""
        record = ask.record
        return Request(
            ask.task,
            self.chips if chips is None else chips,
            self.priors if priors is None else priors,
            **request_facts(record),
        )


def request_facts(record: Record) -> dict[str, Any]:
    """Return what a record's prompt states, as arguments of a request."""
    told = places_text(record.known, record.coordinate_size / CHIP_PX)
    facts: dict[str, Any] = {
        "known": record.known,
        "dates": record.dates,
        "question": record.question.removesuffix(told),
    }
    if record.sensor is not None:
        facts |= {"sensor": record.sensor, "bands": record.bands, "spacing_m": record.spacing_m or 10.0}
    return facts


def things_of(truth: Sequence[Mapping[str, Any]], scale: float) -> tuple[Thing, ...]:
    """Return a record's truth as things.

    Args:
        truth: mappings with label and bbox_2d, perhaps length_m and contrast_db; those of places, which
            have no box, are passed over.
        scale: pixels of the chip as cut to one of the boxes'.

    Raises:
        DatasetError: an entry lacks label or box.
    """
    found = []
    for each in truth:
        if "place" in each:
            continue
        try:
            x1, y1, x2, y2 = (min(max(float(v) * scale, 0.0), CHIP_PX) for v in each["bbox_2d"])
            longest = 10.0 * max(x2 - x1, y2 - y1)
            length = each.get("length_m")
            contrast = each.get("contrast_db")
            found.append(
                Thing(
                    str(each["label"]), (x1, y1, x2, y2), longest if length is None else float(length), 1.0,
                    None if contrast is None else float(contrast),
                )
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(f"got truth {dict(each)}, expected label and bbox_2d: {error!r}") from error
    return tuple(found)


def from_chips(
    chips: Chips, first: int = 0, shores: Sequence[NDArray[np.float32] | None] | None = None
) -> list[Item]:
    """Return simulated chips as items that are asked everything; each is a site of its own.

    Args:
        chips: as the simulator makes them.
        first: number of the first.
        shores: distance to the shore of each, where it is known.
    """
    items = []
    for index, pixels in enumerate(chips.pixels):
        prior = Prior.from_bytes(chips.prior[index], None)
        name = f"chip-{first + index:06d}"
        aef = f"{name}.npz" if prior.mask.any() else None
        records = chip_records(chips, index, name, aef, IMAGE_PX, shares=dict.fromkeys(CHIP_TASKS, 1.0))
        items.append(
            Item(
                name,
                (pixels,),
                (prior,),
                (tuple(true_thing(target) for target in chips.truth[index]),),
                records[0].site,
                tuple(Ask(record.task, record.answer, record) for record in records),
                None if shores is None else shores[index],
            )
        )
    return items


def from_pairs(pairs: Sequence[Pairs], first: int = 0) -> list[Item]:
    """Return simulated pairs as items; each is a site of its own."""
    items = []
    for number, pair in enumerate(pairs, start=first):
        prior = Prior.from_bytes(pair.prior, None)
        name = f"pair-{number:06d}"
        aef = f"{name}.npz" if prior.mask.any() else None
        records = pair_records(pair, name, aef, IMAGE_PX, shares=dict.fromkeys(PAIR_TASKS, 1.0))
        truth = tuple(tuple(true_thing(target) for target in each) for each in pair.truth)
        asks = tuple(Ask(record.task, record.answer, record) for record in records)
        items.append(Item(name, tuple(pair.pixels), (prior, prior), truth, records[0].site, asks))
    return items


def true_thing(target: Any) -> Thing:
    """Return a simulated target as a truth; its box clipped to the chip, as an answer's is."""
    x1, y1, x2, y2 = (float(min(max(edge, 0), CHIP_PX)) for edge in target.box_px)
    contrast = getattr(target, "contrast_db", None)
    return Thing(target.class_, (x1, y1, x2, y2), float(target.length_m), 1.0, contrast)


def from_records(records: Sequence[Record]) -> list[Item]:
    """Return records as items, those of the same images together.

    Raises:
        DatasetError: a file is missing, or an image is no chip of 126 px.
    """
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        groups.setdefault((record.folder, record.images, record.aef, record.bands), []).append(record)
    return [_item(group) for group in groups.values()]


def _item(records: Sequence[Record]) -> Item:
    first = records[0]
    images = load_images(first)
    if images.shape[2:] != (CHIP_PX, CHIP_PX):
        raise DatasetError(
            f"record {first.id}: got an image of {images.shape[2]} px, expected chips of {CHIP_PX} px as the "
            "engine cuts them"
        )
    known = next((record for record in records if record.truth), first)
    truth = things_of(known.truth, CHIP_PX / known.coordinate_size)
    return Item(
        first.id.rsplit("-", 1)[0],
        tuple(images),
        load_priors(first),
        (truth,) * len(images),
        first.site,
        tuple(Ask(record.task, record.answer, record) for record in records),
    )


def read_items(dataset: Path) -> list[Item]:
    """Read a file of records, or all validation files (else all record files) of a folder.

    Raises:
        DatasetError: there are none, or a file does not fit.
    """
    if dataset.is_dir():
        files = sorted(dataset.glob("*.val.jsonl")) or sorted(dataset.glob("*.jsonl"))
    else:
        files = [dataset]
    if not files:
        raise DatasetError(f"got no .jsonl in {dataset}, expected record files")
    return from_records([record for path in files for record in read_records(path)])
