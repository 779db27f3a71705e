"""Training records: JSON lines, a superset of the released form, with images and priors beside them.

One line is one question about one image (or two, in time order) and its answer. The released form has
``id``, ``image``, ``aef``, ``coordinate_size``, ``question`` and ``answer``, and is read as it is. Ours
may add:

- ``task``: what kind of question it is (the release has detection only);
- ``images``: two images instead of ``image``; ``aef`` is then a list of two;
- ``aef`` absent or null: there is no prior, as over the open sea;
- ``sensor``, ``bands``, ``spacing_m``: what the prompt states;
- ``dates``: ISO days (UTC), one an image, likewise;
- ``known``: places that the question names by ordinal: ``box_px``, ``label``, ``seen``;
- ``site``: where it is, so that splits are disjoint; ``truth``: what is known of the objects.

An ``aef`` file is an npz of ``features`` float32 [S, 64] and ``positions`` float32 [S, 2], order (y, x),
0 to 1; ours may add ``mask`` bool [S], and may hold two years: ``features`` [S, 128], the newest first. File
names are relative to the folder of the JSON lines.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import DatasetError
from engine.runtime.image import channel_stamp
from engine.runtime.prior import PRIOR_DIM, YEARS, Prior
from engine.runtime.text import Place


@dataclass(frozen=True)
class Record:
    """One question and its answer.

    Attributes:
        id: unique in its file.
        images: one or two file names, in time order.
        aef: a prior's file name or None for each image.
        coordinate_size: side of the square image, in pixels, that the answer's boxes refer to.
        question: the user's words.
        answer: what the model should write.
        task: kind of question.
        sensor: what the prompt states; None in the released form, whose prompt states nothing.
        bands: polarisations, co-polarised first.
        spacing_m: pixel spacing of the image as cut; None where unknown.
        site: where the image was taken; splits are disjoint by it.
        truth: what is known of the objects, one mapping each.
        dates: ISO days, one an image; none where they are not stated.
        known: places that the question, which holds them, names by ordinal.
        folder: what file names are relative to.
    """

    id: str
    images: tuple[str, ...]
    aef: tuple[str | None, ...]
    coordinate_size: int
    question: str
    answer: str
    task: str = "detection"
    sensor: str | None = None
    bands: tuple[str, ...] = ()
    spacing_m: float | None = None
    site: str | None = None
    truth: tuple[Mapping[str, Any], ...] = ()
    folder: Path = field(default=Path("."), compare=False)
    dates: tuple[str, ...] = ()
    known: tuple[Place, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the line's JSON object; fields that say nothing are left out."""
        one = len(self.images) == 1
        line: dict[str, Any] = {"id": self.id}
        if one:
            line["image"] = self.images[0]
        else:
            line["images"] = list(self.images)
        if any(self.aef):
            line["aef"] = self.aef[0] if one else list(self.aef)
        line |= {
            "coordinate_size": self.coordinate_size,
            "question": self.question,
            "answer": self.answer,
            "task": self.task,
        }
        if self.sensor is not None:
            line |= {"sensor": self.sensor, "bands": list(self.bands), "spacing_m": self.spacing_m}
        if self.dates:
            line["dates"] = list(self.dates)
        if self.known:
            line["known"] = [
                {
                    "box_px": [round(edge, 2) for edge in place.box_px],
                    "label": place.label,
                    "seen": place.seen,
                }
                for place in self.known
            ]
        if self.site is not None:
            line["site"] = self.site
        if self.truth:
            line["truth"] = [dict(each) for each in self.truth]
        return line

    def files(self) -> list[Path]:
        """Return the images and priors that the record refers to."""
        return [self.folder / name for name in (*self.images, *self.aef) if name is not None]


def parse_record(line: object, folder: Path = Path(".")) -> Record:
    """Read a line's JSON object.

    Raises:
        DatasetError: a field is missing or of another type.
    """
    if not isinstance(line, dict):
        raise DatasetError(
            f"got {type(line).__name__}, expected an object with id, image, question and answer"
        )
    images = (_text(line, "image"),) if "images" not in line else _texts(line, "images")
    if not 1 <= len(images) <= 2:
        raise DatasetError(f"got {len(images)} images, expected one or two")
    size = line.get("coordinate_size")
    if not isinstance(size, int) or isinstance(size, bool) or size <= 0:
        raise DatasetError(f"got coordinate_size {size!r}, expected a positive integer")
    sensor = _text(line, "sensor") if "sensor" in line else None
    bands = _texts(line, "bands") if "bands" in line else ()
    spacing = line.get("spacing_m")
    if spacing is not None and (not isinstance(spacing, int | float) or not spacing > 0):
        raise DatasetError(f"got spacing_m {spacing!r}, expected a positive number")
    if sensor is not None and (not bands or spacing is None):
        raise DatasetError("got sensor without bands or spacing_m, expected all three in the prompt")
    truth = line.get("truth", [])
    if not isinstance(truth, list) or not all(isinstance(each, dict) for each in truth):
        raise DatasetError("got truth that is not a list of objects")
    return Record(
        id=str(line["id"]) if isinstance(line.get("id"), int) else _text(line, "id"),
        images=images,
        aef=_aef(line.get("aef"), len(images)),
        coordinate_size=size,
        question=_text(line, "question"),
        answer=_text(line, "answer"),
        task=_text(line, "task") if "task" in line else "detection",
        sensor=sensor,
        bands=bands,
        spacing_m=spacing,
        site=_text(line, "site") if line.get("site") is not None else None,
        truth=tuple(truth),
        folder=folder,
        dates=_dates(line, len(images)),
        known=_known(line),
    )


def check_channels(folder: Path) -> None:
    """Refuse a dataset of our own whose chips show other channels than this release's.

    Its ``dataset.json`` says what they show. Datasets of others have none and are taken as they are.

    Raises:
        DatasetError: they are other ones, or it does not say.
    """
    path = folder / "dataset.json"
    if not path.is_file():
        return
    try:
        facts = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"cannot read {path}: {error}") from error
    if isinstance(facts, dict) and "records" in facts and facts.get("channels") != channel_stamp():
        raise DatasetError(
            f"got {folder} with chips of channels {facts.get('channels', 'that it does not name')}, expected "
            f"{channel_stamp()}: make it anew with `fusar-engine dataset`, or cut its scenes anew with "
            "`fusar chips` and use `fusar-engine triplets`"
        )


def read_records(path: Path) -> list[Record]:
    """Read a file of JSON lines.

    Raises:
        DatasetError: the file is missing or empty, a line is malformed (its number is in the message), or the
            dataset's chips show other channels.
    """
    check_channels(path.parent)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"cannot read {path}: {error}; expected a file of JSON lines") from error
    records = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            records.append(parse_record(json.loads(line), path.parent))
        except (ValueError, DatasetError) as error:
            raise DatasetError(f"{path}, line {number}: {error}") from error
    if not records:
        raise DatasetError(f"got no records in {path}, expected at least one line")
    return records


def write_records(path: Path, records: Iterable[Record]) -> int:
    """Write JSON lines; return how many."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record.to_dict(), ensure_ascii=False) + "\n")
            count += 1
    return count


def load_images(record: Record) -> NDArray[np.uint8]:
    """Read a record's images.

    Returns:
        Channels, [n, 3, H, H].

    Raises:
        DatasetError: a file is missing, no image or not square, or two images differ in size.
    """
    from PIL import Image

    images: list[NDArray[np.uint8]] = []
    for name in record.images:
        try:
            with Image.open(record.folder / name) as file:
                pixels = np.asarray(file.convert("RGB"), np.uint8)
        except OSError as error:
            raise DatasetError(f"record {record.id}: cannot read image {name}: {error}") from error
        if pixels.shape[0] != pixels.shape[1] or (images and pixels.shape[0] != images[0].shape[1]):
            raise DatasetError(
                f"record {record.id}: got image {name} of {pixels.shape}, expected equal squares"
            )
        images.append(np.moveaxis(pixels, -1, 0))
    return np.stack(images)


def load_priors(record: Record) -> tuple[Prior, ...]:
    """Read a record's priors, one an image; an absent one has no valid anchor.

    Raises:
        DatasetError: a file is missing or its arrays do not fit.
    """
    return tuple(Prior.absent() if name is None else _read_prior(record, name) for name in record.aef)


def write_prior(path: Path, prior: Prior) -> None:
    """Write a prior in the released form, with the mask added."""
    np.savez(path, features=prior.vectors, positions=prior.positions, mask=prior.mask)


def _read_prior(record: Record, name: str) -> Prior:
    where = f"record {record.id}: aef {name}"
    try:
        with np.load(record.folder / name, allow_pickle=False) as arrays:
            features, positions = arrays["features"], arrays["positions"]
            mask = arrays["mask"] if "mask" in arrays else np.ones(len(features), np.bool_)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise DatasetError(
            f"{where}: {error}; expected an npz of features [S, 64], positions [S, 2]"
        ) from error
    count = len(features)
    widths = [(count, PRIOR_DIM * years) for years in YEARS]
    if features.shape not in widths or positions.shape != (count, 2) or mask.shape != (count,):
        shapes = (features.shape, positions.shape, mask.shape)
        raise DatasetError(
            f"{where}: got features, positions, mask of {shapes}, expected [S, 64] or [S, 128], [S, 2], [S]"
        )
    valid = mask.astype(np.bool_)
    if not count or not np.isfinite(features[valid]).all():
        raise DatasetError(f"{where}: got {count} anchors, not all finite; expected finite vectors or a mask")
    if not ((positions >= 0) & (positions <= 1)).all():
        raise DatasetError(f"{where}: got positions outside 0 to 1, expected (y, x) over the image")
    vectors = np.where(valid[:, None], features, 0).astype(np.float32)
    return Prior(vectors, positions.astype(np.float32), valid, None)


def _known(line: Mapping[str, Any]) -> tuple[Place, ...]:
    places = []
    for each in line.get("known", ()):
        try:
            x1, y1, x2, y2 = (float(edge) for edge in each["box_px"])
            place = Place((x1, y1, x2, y2), str(each.get("label", "")), each.get("seen", ""))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DatasetError(f"got known place {each!r}, expected box_px, label and seen") from error
        if place.seen not in ("", "before", "after", "both"):
            raise DatasetError(f"got seen {place.seen!r}, expected before, after or both")
        places.append(place)
    return tuple(places)


def _dates(line: Mapping[str, Any], images: int) -> tuple[str, ...]:
    dates = _texts(line, "dates") if "dates" in line else ()
    try:
        days = [date.fromisoformat(each) for each in dates]
    except ValueError as error:
        raise DatasetError(f"got dates {dates}, expected ISO days such as 2023-05-01") from error
    if days and (len(days) != images or days != sorted(days)):
        raise DatasetError(f"got dates {dates} for {images} images, expected one an image, in time order")
    return dates


def _text(line: Mapping[str, Any], name: str) -> str:
    value = line.get(name)
    if not isinstance(value, str) or not value:
        raise DatasetError(f"got {name} {value!r}, expected text")
    return value


def _texts(line: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = line.get(name)
    if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
        raise DatasetError(f"got {name} {value!r}, expected a list of text")
    return tuple(value)


def _aef(value: object, count: int) -> tuple[str | None, ...]:
    values = value if isinstance(value, list) else [value]
    if value is None:
        values = [None] * count
    if len(values) != count or not all(each is None or (isinstance(each, str) and each) for each in values):
        raise DatasetError(f"got aef {value!r} for {count} images, expected one file name or null an image")
    return tuple(values)
