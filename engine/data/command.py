"""``fusar-engine triplets`` and ``read``: chip folders, and other data sets, to what training reads."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.errors import DatasetError, InputError
from engine.runtime.image import channel_stamp

if TYPE_CHECKING:
    from engine.data.records import Record


def triplets(
    chips: Annotated[list[Path], typer.Argument(help="Chip folders that `fusar chips` wrote.")],
    out: Annotated[Path, typer.Option(help="Dataset folder; new or empty.")],
    prior: Annotated[Path | None, typer.Option(help="Index of AlphaEarth files.")] = None,
    years: Annotated[int, typer.Option(help="2: of the year before, too; for models of two years.")] = 1,
    size: Annotated[int, typer.Option(help="Side of the enlarged chip: nano 252, Qwen bases 504.")] = 252,
    validation: Annotated[float, typer.Option(help="Share of the chips, at sites of their own.")] = 0.1,
    test: Annotated[float, typer.Option(help="The same for a test set.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Of the splits.")] = 1,
    before: Annotated[
        list[Path] | None,
        typer.Option(help="Chip folder of an earlier pass over the same places, for changes; repeat."),
    ] = None,
) -> None:
    """Attach anchors and AlphaEarth vectors to chips, and write the texts of both stages, split by site."""
    from rich.progress import Progress

    from engine.data.chipfolder import read_chips, write_triplets
    from engine.data.embeddings import Embeddings

    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out} is not empty: expected a new folder")
    held_out = {name: share for name, share in (("val", validation), ("test", test)) if share > 0}
    if not 0 <= validation + test < 1 or min(validation, test) < 0:
        raise InputError(f"got shares {validation} and {test}, expected none below 0 and less than 1 in all")
    listed = [chip for folder in chips for chip in read_chips(folder)]
    earlier = [chip for folder in before or () for chip in read_chips(folder)]
    embeddings = None if prior is None else Embeddings(prior)
    out.mkdir(parents=True, exist_ok=True)
    with Progress() as bars:
        bar = bars.add_task("writing", total=sum(chip.labelled for chip in listed))
        counts = write_triplets(
            listed,
            out,
            embeddings,
            size,
            held_out=held_out,
            seed=seed,
            progress=lambda n: bars.advance(bar, n),
            years=years,
            before=earlier,
        )
    asked = {"chips": len(listed), "size": size, "seed": seed, "held_out": held_out, "gap_km": 50}
    asked |= {"earlier_chips": len(earlier), "years": years, "channels": channel_stamp()}
    (out / "dataset.json").write_text(json.dumps(asked | {"records": counts}, indent=1) + "\n")
    typer.echo(f"{out}: " + ", ".join(f"{count} in {name}" for name, count in counts.items()))


def read(
    form: Annotated[str, typer.Argument(help="coco, voc, sarchat or xview3.")],
    source: Annotated[Path, typer.Argument(help="Its file; of voc, the folder.")],
    out: Annotated[Path, typer.Option(help="Folder to write; splits may stand side by side in it.")],
    size: Annotated[int, typer.Option(help="Side of the squares that images are scaled to.")] = 252,
    split: Annotated[str, typer.Option(help="Which part of a dataset it is: train, val or test.")] = "train",
    ships: Annotated[str, typer.Option(help="Names of ships in it; the usual ones without it.")] = "",
) -> None:
    """Read another data set: records and squared images for `train`; of xview3, labels for `fusar chips`."""
    from engine.data import readers

    if size < 1 or split not in ("train", "val", "test"):
        raise InputError(f"got size {size} and split {split!r}, expected 1 or more, and train, val or test")
    lines = _lines(out, split)
    if lines.exists():
        raise InputError(f"{lines} is there already: expected another folder or split")
    if ships and form not in ("coco", "voc"):
        raise InputError(f"got --ships for {form}, expected it for coco and voc alone")
    names = frozenset(filter(None, ships.split(","))) or readers.SHIP_NAMES
    if form == "coco":
        _write_squared(readers.read_coco(source, size, names), out, split)
    elif form == "voc":
        _write_squared(readers.read_voc(source, size, names), out, split)
    elif form == "sarchat":
        _write_squared(readers.read_sarchat(source, size), out, split)
    elif form == "xview3":
        _write_labels(readers.read_xview3(source), out)
    else:
        raise InputError(f"got form {form!r}, expected coco, voc, sarchat or xview3")


def _lines(out: Path, split: str) -> Path:
    return out / ("stage2.jsonl" if split == "train" else f"stage2.{split}.jsonl")


def _write_squared(records: list[Record], out: Path, split: str) -> None:
    """Write records, and their images as squares of the size that their boxes refer to."""
    from PIL import Image
    from rich.progress import track

    from engine.data.records import write_records

    (out / "images").mkdir(parents=True, exist_ok=True)
    written: dict[Path, str] = {}
    moved = []
    for record in track(records, "images", transient=True):
        for source in record.files():
            if source not in written:
                name = f"images/{split}-{len(written):06d}.png"
                try:
                    with Image.open(source) as image:
                        image.convert("RGB").resize((record.coordinate_size,) * 2).save(out / name)
                except OSError as error:
                    raise DatasetError(f"record {record.id}: cannot read image {source}: {error}") from error
                written[source] = name
        moved.append(replace(record, images=tuple(written[record.folder / name] for name in record.images)))
    lines = _lines(out, split)
    typer.echo(f"{lines}: {write_records(lines, moved)} records about {len(written)} images")


def _write_labels(scenes: dict[str, dict[str, Any]], out: Path) -> None:
    """Write one GeoJSON a scene."""
    out.mkdir(parents=True, exist_ok=True)
    for name, collection in scenes.items():
        if Path(name).name != name:
            raise DatasetError(f"got a scene named {name!r}, expected a plain name")
        (out / f"{name}.geojson").write_text(json.dumps(collection) + "\n", "utf-8")
    labels = sum(len(collection["features"]) for collection in scenes.values())
    typer.echo(f"{out}: {labels} labels of {len(scenes)} scenes")
