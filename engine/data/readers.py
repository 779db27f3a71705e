"""Readers of other data sets: COCO and VOC ship boxes, SARChat-style conversations, xView3 labels.

The released JSON lines are read by ``engine.data.records`` as they are. COCO's and VOC's become detection
records in the released form (no sensor is stated, since these sets mix several); their images are scaled to
a square by whoever reads them, and the boxes here with them. xView3's labels become GeoJSON for
``fusar chips --labels``: their images are whole scenes.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.data.records import Record
from engine.errors import DatasetError
from engine.runtime.text import QUESTIONS, detection_text

SHIP_NAMES = frozenset({"ship", "boat", "vessel", "ships", "Ship"})
_TAGS = {"count": "counting", "grounding": "detection", "identify": "classification",
         "refer": "detection", "caption": "description", "description": "description"}  # fmt: skip
_TAG = re.compile(r"^\s*\[(\w+)\]\s*")
_IMAGE = re.compile(r"\s*<image>\s*")


def read_coco(path: Path, size_px: int, names: frozenset[str] = SHIP_NAMES) -> list[Record]:
    """Read a COCO file of boxes; every image becomes one detection record.

    Args:
        path: JSON with images, annotations and categories; image files are relative to its folder.
        size_px: side of the square that boxes are scaled to.
        names: categories that are ships; others are left out.

    Raises:
        DatasetError: the file is missing, or is no such JSON.
    """
    document = _json(path)
    try:
        ships = {each["id"] for each in document["categories"] if each["name"] in names}
        images = {each["id"]: each for each in document["images"]}
        boxes: dict[Any, list[tuple[float, ...]]] = {key: [] for key in images}
        for each in document["annotations"]:
            x, y, width, height = (float(value) for value in each["bbox"])
            if each["category_id"] in ships:
                boxes[each["image_id"]].append((x, y, x + width, y + height))
        return [
            _detections(path.parent, f"{path.stem}-{key}", image["file_name"],
                        (float(image["width"]), float(image["height"])), boxes[key], size_px)
            for key, image in images.items()
        ]  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(
            f"{path}: got {type(error).__name__}: {error}; expected COCO's images, annotations, categories"
        ) from error


def read_voc(folder: Path, size_px: int, names: frozenset[str] = SHIP_NAMES) -> list[Record]:
    """Read a folder of VOC files, one an image.

    Args:
        folder: holds ``*.xml``, or ``Annotations/*.xml`` beside ``JPEGImages``.
        size_px: side of the square that boxes are scaled to.
        names: classes that are ships; others are left out.

    Raises:
        DatasetError: there are none, or one does not read.
    """
    from defusedxml import ElementTree
    from defusedxml.common import DefusedXmlException

    inner = folder / "Annotations"
    files = sorted((inner if inner.is_dir() else folder).glob("*.xml"))
    if not files:
        raise DatasetError(f"got no .xml in {folder}, expected VOC annotations")
    records = []
    for file in files:
        try:
            root: Any = ElementTree.parse(file).getroot()
            shape = tuple(float(root.findtext(f"size/{name}") or "") for name in ("width", "height"))
            boxes = [
                tuple(
                    float(each.findtext(f"bndbox/{edge}") or "") for edge in ("xmin", "ymin", "xmax", "ymax")
                )
                for each in root.iter("object")
                if each.findtext("name") in names
            ]
            image = root.findtext("filename") or ""
            if inner.is_dir():
                image = f"JPEGImages/{image}"
            records.append(_detections(folder, file.stem, image, shape, boxes, size_px))
        except (ElementTree.ParseError, DefusedXmlException, TypeError, ValueError) as error:
            raise DatasetError(
                f"{file}: got {type(error).__name__}: {error}; expected VOC's size, filename, objects"
            ) from error
    return records


def read_sarchat(path: Path, size_px: int) -> list[Record]:
    """Read SARChat-style conversations: every question with its answer becomes a record, in its own words.

    Args:
        path: JSON list, or JSON lines, of ``image`` and ``conversations`` (``from`` and ``value``); a
            question may begin with a tag such as ``[count]``.
        size_px: side of the square that images are scaled to.

    Raises:
        DatasetError: the file is missing, or a conversation is malformed.
    """
    records = []
    for number, item in enumerate(_items(path), start=1):
        try:
            turns = item["conversations"]
            if not turns or len(turns) % 2:
                raise ValueError(f"{len(turns)} turns")
            for turn, (asked, told) in enumerate(zip(turns[::2], turns[1::2], strict=True)):
                if asked["from"] not in ("human", "user") or told["from"] not in ("gpt", "assistant"):
                    raise ValueError(f"turns of {asked['from']} and {told['from']}")
                words = _IMAGE.sub("", asked["value"])
                tag = _TAG.match(words)
                task = _TAGS.get(tag.group(1), tag.group(1)) if tag else "question"
                name = f"{item.get('id', f'{path.stem}-{number}')}-{turn}"
                image = (str(item["image"]),)
                records.append(Record(name, image, (None,), size_px, words, str(told["value"]), task,
                                      folder=path.parent))  # fmt: skip
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DatasetError(
                f"{path}, item {number}: got {type(error).__name__}: {error}; expected conversations"
            ) from error
    if not records:
        raise DatasetError(f"got no conversations in {path}, expected at least one")
    return records


def read_xview3(path: Path) -> dict[str, dict[str, Any]]:
    """Read xView3's labels; those of low confidence, and those of unknown kind, are left out.

    Args:
        path: CSV with detect_lat, detect_lon, scene_id, is_vessel, vessel_length_m and confidence.

    Returns:
        GeoJSON of each scene, as ``fusar chips --labels`` reads it.

    Raises:
        DatasetError: the file is missing, or a row is malformed.
    """
    scenes: dict[str, dict[str, Any]] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            lacking = {"detect_lat", "detect_lon", "scene_id", "is_vessel"} - set(rows.fieldnames or ())
            if lacking:
                raise DatasetError(
                    f"got {path} without {', '.join(sorted(lacking))}, expected xView3's columns"
                )
            for number, row in enumerate(rows, start=2):
                try:
                    _xview3(row, scenes)
                except (TypeError, ValueError, AttributeError) as error:
                    raise DatasetError(
                        f"{path}, line {number}: {error}; expected a label of xView3"
                    ) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"cannot read {path}: {error}; expected xView3's CSV") from error
    return scenes


def _xview3(row: Mapping[str, str], scenes: dict[str, dict[str, Any]]) -> None:
    scene = scenes.setdefault(row["scene_id"], {"type": "FeatureCollection", "features": []})
    kinds = {"true": "ship", "false": "platform", "": None}
    told = row["is_vessel"].strip().lower()
    if told not in kinds:
        raise ValueError(f"got is_vessel {row['is_vessel']!r}, expected True, False or nothing")
    vessel = kinds[told]
    lat, lon = float(row["detect_lat"]), float(row["detect_lon"])
    if not (abs(lat) <= 90 and abs(lon) <= 180):
        raise ValueError(f"got latitude {lat}, longitude {lon}")
    if vessel is None or row.get("confidence", "").strip().upper() == "LOW":
        return
    length = row.get("vessel_length_m", "").strip()
    facts = {"class": vessel, "length_m": float(length) if length and length.lower() != "nan" else None}
    point = {"type": "Point", "coordinates": [lon, lat]}
    scene["features"].append({"type": "Feature", "geometry": point, "properties": facts})


def _detections(
    folder: Path,
    name: str,
    image: str,
    shape: Sequence[float],
    boxes: Sequence[Sequence[float]],
    size_px: int,
) -> Record:
    width, height = shape
    if width <= 0 or height <= 0 or not image:
        raise ValueError(f"image {image!r} of {width:g} x {height:g}")
    scale = (size_px / width, size_px / height) * 2
    found = []
    for box in boxes:
        if not (box[0] < box[2] and box[1] < box[3]):
            raise ValueError(f"box {tuple(box)}")
        found.append(("ship", [round(edge * factor) for edge, factor in zip(box, scale, strict=True)]))
    answer = detection_text(sorted(found, key=lambda each: (each[1][1], each[1][0])))
    return Record(name, (image,), (None,), size_px, QUESTIONS["detection"], answer, folder=folder)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"cannot read {path}: {error}; expected JSON") from error


def _items(path: Path) -> list[Any]:
    """Return the items of a JSON list, or of JSON lines."""
    if path.suffix != ".jsonl":
        items = _json(path)
        if not isinstance(items, list):
            raise DatasetError(f"got {type(items).__name__} in {path}, expected a list of conversations")
        return items
    try:
        return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise DatasetError(f"cannot read {path}: {error}; expected JSON lines") from error
