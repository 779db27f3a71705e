"""Priors that tell a dialled amount of what matters, so that one can see how much of it a module recovers.

The question is the land cover of a place, drawn apart from its pixels: the image cannot tell. The prior shows
the true cover with probability q, another one otherwise (a symmetric channel), with vectors drawn from real
samples by class. Of K equally frequent covers it tells, in bits,

    I = log2 K + q log2 q + (1 - q) log2((1 - q) / (K - 1))

Beside it stands a question that the image answers and the prior does not: how rough the sea is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engine.data.describe import sea_phrase
from engine.data.records import Record, write_prior, write_records
from engine.data.simulated import SENSOR, SPACING_M
from engine.errors import InputError
from engine.runtime.prior import ANCHORS, Prior
from engine.runtime.text import QUESTIONS
from engine.simulate import landcover
from engine.simulate.alphaearth import YEAR_DRIFT
from engine.simulate.chips import make_chips

COVERS = {"trees": "trees", "crops": "crops", "built-up": "built", "bare ground": "bare"}
SEAS = ("Calm sea.", "Moderate sea.", "Rough sea.")
COVER_QUESTION, SEA_QUESTION = QUESTIONS["landcover"], "How rough is the sea?"
SPREAD = 0.35  # of real samples' within a class
PriorUse = Literal["on", "off", "shuffled"]
USES: tuple[PriorUse, ...] = ("on", "off", "shuffled")


def information_bits(share: float, kinds: int = len(COVERS)) -> float:
    """Return what a symmetric channel tells that is right with a given probability, in bits."""
    rest = 1 - share
    first = share * math.log2(share) if share > 0 else 0.0
    second = rest * math.log2(rest / (kinds - 1)) if rest > 0 else 0.0
    return math.log2(kinds) + first + second


def share_for(bits: float, kinds: int = len(COVERS)) -> float:
    """Return the probability at which the channel tells so many bits; from chance to certainty.

    Raises:
        InputError: more than the kinds hold, or less than nothing.
    """
    most = math.log2(kinds)
    if not 0 <= bits <= most:
        raise InputError(f"got {bits} bits of {kinds} kinds, expected 0 to {most:g}")
    low, high = 1 / kinds, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if information_bits(middle, kinds) < bits else (low, middle)
    return (low + high) / 2


def recovered_bits(
    answered: Sequence[str | None] | NDArray[Any], true: Sequence[str] | NDArray[Any], resampled: bool = False
) -> float:
    """Estimate what answers tell of the truth, in bits: plug-in, less its bias (Miller and Madow).

    Of answers that tell nothing it is about 0, and may be a little below.

    Args:
        answered: what was said; None where nothing was.
        true: what is so.
        resampled: the pairs were drawn with replacement from others, which adds the same bias once more.
    """
    codes = [np.unique([str(each) for each in values], return_inverse=True) for values in (true, answered)]
    shape = (len(codes[0][0]), len(codes[1][0]))
    table = np.bincount(codes[0][1] * shape[1] + codes[1][1], minlength=shape[0] * shape[1]).reshape(shape)
    joint = table / table.sum()
    apart = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    some = joint > 0
    plug_in = float((joint[some] * np.log2(joint[some] / apart[some])).sum())
    bias = (shape[0] - 1) * (shape[1] - 1) / (2 * table.sum() * math.log(2))
    return plug_in - bias * (2 if resampled else 1)


def draw_covers(count: int, bits: float, seed: int) -> tuple[list[str], list[str]]:
    """Draw the true cover of each place, and the one that its prior shows."""
    rng = np.random.default_rng([seed, 7])
    names = list(COVERS)
    true = rng.integers(len(names), size=count)
    wrong = (true + rng.integers(1, len(names), size=count)) % len(names)
    shown = np.where(rng.random(count) < share_for(bits), true, wrong)
    return [names[each] for each in true], [names[each] for each in shown]


def prior_of(cover: str, rng: np.random.Generator, before: np.random.Generator | None = None) -> Prior:
    """Draw a prior that shows one cover everywhere: a site's own vector, and smaller differences in it.

    The classes of real samples overlap: drawn with all their spread, a nearest mean tells .85 of these
    covers. Here it is cut to SPREAD of that, so that a vector tells its cover, and the dial alone sets what
    is told of the truth. The year before shows the same cover, so that two years tell no more bits than one.

    Args:
        cover: name in COVERS.
        rng: of the site and its vectors.
        before: of the year before, which is added; None for one year.
    """
    label = landcover.CLASSES.index(COVERS[cover])
    labels = np.full((ANCHORS, ANCHORS), label)
    site, local = (
        rng.standard_normal(landcover.rank()),
        rng.standard_normal((ANCHORS, ANCHORS, landcover.rank())),
    )
    years = [(site, local)]
    if before is not None:
        drifted = np.sqrt(1 - YEAR_DRIFT**2) * site + YEAR_DRIFT * before.standard_normal(site.shape)
        years.append((drifted, before.standard_normal(local.shape)))
    raw: list[NDArray[np.int8]] = []
    for own, other in years:
        vectors = landcover.vectors(labels, SPREAD * (np.sqrt(0.75) * own + 0.5 * other))
        raw.append(landcover.quantise(vectors).transpose(2, 0, 1))
    return Prior.from_bytes(np.concatenate(raw), None)


def write_dataset(
    out: Path,
    split: str,
    count: int,
    seed: int,
    bits: float,
    image_px: int,
    progress: Callable[[int], None] | None = None,
    years: int = 1,
) -> dict[PriorUse, list[Record]]:
    """Write the chips and priors of a split, and return its records with priors on, off and shuffled.

    Each chip makes three records: a description for stage 1 (sea and cover), and the two questions.

    Args:
        out: folder.
        split: "train" or "test"; begins the names.
        count: chips.
        seed: of chips, covers and priors.
        bits: what the prior tells of the cover.
        image_px: side of the enlarged image.
        progress: called with 1 after each chip.
        years: of the priors; the newest is the same with one year and with two.
    """
    from PIL import Image

    for name in ("chips", "priors"):
        (out / name).mkdir(parents=True, exist_ok=True)
    chips = make_chips(count, seed)
    true, shown = draw_covers(count, bits, seed)
    rng = np.random.default_rng([seed, 8])
    before = np.random.default_rng([seed, 10]) if years == 2 else None
    records: list[Record] = []
    for index in range(count):
        name = f"{split}-{index:05d}"
        Image.fromarray(np.moveaxis(chips.pixels[index], 0, -1)).save(
            out / "chips" / f"{name}.png", compress_level=1
        )
        write_prior(out / "priors" / f"{name}.npz", prior_of(shown[index], rng, before))
        sea = sea_phrase(chips.context[index].sea_db[0])
        for task, question, answer in (
            ("description", QUESTIONS["description"], f"{sea}; {true[index]}."),
            ("landcover", COVER_QUESTION, true[index]),
            ("sea", SEA_QUESTION, f"{sea}."),
        ):
            records.append(
                Record(
                    f"{name}-{task}", (f"chips/{name}.png",), (f"priors/{name}.npz",), image_px, question,
                    answer, task, SENSOR, ("VV", "VH"), SPACING_M, f"dialled-{name}", folder=out,
                )
            )  # fmt: skip
        if progress is not None:
            progress(1)
    return {"on": records, "off": without(records), "shuffled": shuffled(records, seed)}


def without(records: Sequence[Record]) -> list[Record]:
    """Return records without their priors."""
    return [replace(record, aef=(None,)) for record in records]


def shuffled(records: Sequence[Record], seed: int) -> list[Record]:
    """Return records with another place's prior each, the same for all records of a place."""
    places = sorted({record.site or record.id for record in records})
    order = np.random.default_rng([seed, 9]).permutation(len(places))
    other = {places[one]: places[two] for one, two in zip(order, np.roll(order, 1), strict=True)}
    aef = {record.site or record.id: record.aef for record in records}
    return [replace(record, aef=aef[other[record.site or record.id]]) for record in records]


def write_stages(out: Path, records: Sequence[Record], use: str) -> Path:
    """Write the record files of a use of the prior, beside the chips; return their folder.

    A one-stage run reads both files.
    """
    folder = out / use
    folder.mkdir(parents=True, exist_ok=True)
    moved = [
        replace(
            record,
            images=tuple(f"../{name}" for name in record.images),
            aef=tuple(None if name is None else f"../{name}" for name in record.aef),
        )
        for record in records
    ]
    write_records(folder / "stage1.jsonl", [each for each in moved if each.task == "description"])
    write_records(folder / "stage2.jsonl", [each for each in moved if each.task != "description"])
    return folder
