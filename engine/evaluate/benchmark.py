"""The change benchmark: simulated pairs of one place, frozen by a seed, for others to use.

    FOLDER/
      README.md         the card: what it is, how it is scored, its hash
      benchmark.json    seed, counts, hashes
      images/*.png      VV, VH and what stands out as RGB; before and after of each pair
      questions.jsonl   id, images, bands, days between, known places, question
      truth.jsonl       id, what became of each place, ships before and after

An answer file has one JSON object a line: ``id`` and ``answer``, a text whose first line is the closed form
``{"1": "appeared", "2": "gone", "before": 1, "after": 1}``.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.data.simulated import SENSOR, SPACING_M
from engine.errors import AnswerError, DatasetError, InputError
from engine.evaluate.change import ChangeAnswer, parse_change
from engine.evaluate.pairwise import PairQuestion
from engine.runtime.forms import CHANGES
from engine.runtime.image import CHANNEL_RANGES, CHIP_PX
from engine.runtime.text import QUESTIONS

NAME = "fusar-change-sim/1"
FIT_SEED = 500_000_003  # added to the seed: pairs that baselines' thresholds are fitted on


def write_benchmark(
    out: Path, seed: int, count: int = 1000, progress: Callable[[int], None] | None = None
) -> dict[str, Any]:
    """Write the benchmark of a seed; return the facts of ``benchmark.json``.

    Args:
        out: folder to write; must not hold anything.
        seed: chooses the pairs.
        count: pairs.
        progress: called with 1 after each.

    Raises:
        InputError: the folder is not empty, or there are no pairs.
    """
    from PIL import Image

    from engine.simulate.pairs import PairMaker

    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out} is not empty: expected a new folder")
    if count < 1 or seed < 0:
        raise InputError(f"got {count} pairs of seed {seed}, expected 1 or more, of a seed from 0")
    (out / "images").mkdir(parents=True)
    maker = PairMaker(seed)
    questions, truths = [], []
    words: Counter[str] = Counter()
    pixels = hashlib.sha256()
    for index in range(count):
        pair, name = maker.make_pair(index), f"{index:05d}"
        files = []
        for image, which in zip(pair.pixels, ("before", "after"), strict=True):
            files.append(f"images/{name}-{which}.png")
            Image.fromarray(np.moveaxis(image, 0, -1)).save(out / files[-1], compress_level=6)
            pixels.update(np.ascontiguousarray(image).tobytes())
        places = [
            {"box_px": [round(edge, 2) for edge in place.box_px], "label": place.label, "seen": place.seen}
            for place in pair.places
        ]
        questions.append(
            {
                "id": name, "images": files, "sensor": SENSOR, "bands": ["VV", "VH"], "spacing_m": SPACING_M,
                "days": pair.days, "places": places, "question": QUESTIONS["change"],
            }
        )  # fmt: skip
        before, after = (sum(target.class_ == "ship" for target in each) for each in pair.truth)
        truths.append({"id": name, "changes": list(pair.changes), "before": before, "after": after})
        words.update(pair.changes)
        if progress is not None:
            progress(1)
    facts = {
        "name": NAME,
        "seed": seed,
        "pairs": count,
        "places": sum(words.values()),
        "words": {word: words[word] for word in CHANGES},
        "channel_ranges": CHANNEL_RANGES,
        "sha256": {
            "questions.jsonl": _write_lines(out / "questions.jsonl", questions),
            "truth.jsonl": _write_lines(out / "truth.jsonl", truths),
            "pixels": pixels.hexdigest(),
        },
    }
    (out / "benchmark.json").write_text(json.dumps(facts, indent=1) + "\n")
    (out / "README.md").write_text(card(facts))
    return facts


def _write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> str:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")
    return hashlib.sha256(text.encode()).hexdigest()


def read_benchmark(folder: Path) -> list[PairQuestion]:
    """Read the pairs of a benchmark's folder.

    Raises:
        DatasetError: a file is missing, altered or does not fit.
    """
    from PIL import Image

    try:
        facts = json.loads((folder / "benchmark.json").read_text())
        if facts["channel_ranges"] != [list(ends) for ends in CHANNEL_RANGES]:
            raise DatasetError(
                f"got the benchmark in {folder} of channels {facts['channel_ranges']}, expected "
                f"{CHANNEL_RANGES}: write it anew"
            )
        texts = {name: (folder / name).read_text("utf-8") for name in ("questions.jsonl", "truth.jsonl")}
        for name, text in texts.items():
            if hashlib.sha256(text.encode()).hexdigest() != facts["sha256"][name]:
                raise DatasetError(f"{folder / name} was altered: write the benchmark anew")
        questions, truths = ([json.loads(line) for line in text.splitlines()] for text in texts.values())
        pixels = hashlib.sha256()
        found = []
        for question, truth in zip(questions, truths, strict=True):
            images = []
            for name in question["images"]:
                with Image.open(folder / name) as file:
                    images.append(np.ascontiguousarray(np.moveaxis(np.asarray(file.convert("RGB")), -1, 0)))
                pixels.update(images[-1].tobytes())
            found.append(_pair(question, truth, images))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"cannot read the benchmark in {folder}: {error!r}") from error
    if pixels.hexdigest() != facts["sha256"]["pixels"]:
        raise DatasetError(f"the images in {folder} were altered: write the benchmark anew")
    return found


def _pair(question: Mapping[str, Any], truth: Mapping[str, Any], images: Sequence[Any]) -> PairQuestion:
    if question["id"] != truth["id"] or len(question["places"]) != len(truth["changes"]):
        raise DatasetError(f"question {question['id']} and truth {truth['id']} do not belong together")
    return PairQuestion(
        question["id"],
        (images[0], images[1]),
        tuple(tuple(place["box_px"]) for place in question["places"]),
        tuple(place["seen"] for place in question["places"]),
        ChangeAnswer(tuple(truth["changes"]), truth["before"], truth["after"]),
        tuple(place["label"] for place in question["places"]),
        int(question["days"]),
    )


def drawn_pairs(seed: int, count: int) -> list[PairQuestion]:
    """Draw pairs without writing them: what the baselines' thresholds are fitted on."""
    from engine.simulate.pairs import PairMaker

    maker, found = PairMaker(seed), []
    for index in range(count):
        pair = maker.make_pair(index)
        before, after = (sum(target.class_ == "ship" for target in each) for each in pair.truth)
        found.append(
            PairQuestion(
                str(index),
                (pair.pixels[0], pair.pixels[1]),
                tuple(place.box_px for place in pair.places),
                tuple(place.seen for place in pair.places),
                ChangeAnswer(tuple(pair.changes), before, after),
                tuple(place.label for place in pair.places),
                pair.days,
            )
        )
    return found


def read_answers(path: Path, questions: Sequence[PairQuestion]) -> list[ChangeAnswer | None]:
    """Read an answer file; an answer that does not parse is None.

    Raises:
        DatasetError: the file is missing or malformed, or a question has no answer.
    """
    try:
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
        given = {str(row["id"]): str(row["answer"]) for row in rows}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"cannot read {path}: {error!r}; expected lines of id and answer") from error
    missing = [question.id for question in questions if question.id not in given]
    if missing:
        raise DatasetError(f"got no answer to {len(missing)} questions, such as {missing[0]}, in {path}")
    return [parsed(given[question.id], question) for question in questions]


def parsed(text: str, question: PairQuestion) -> ChangeAnswer | None:
    """Read one answer; None where it does not parse."""
    try:
        return parse_change(text, len(question.boxes))
    except AnswerError:
        return None


def card(facts: Mapping[str, Any]) -> str:
    """Write the benchmark's card."""
    words = "\n".join(f"| `{word}` | {count} |" for word, count in facts["words"].items())
    (vv, vh, out) = facts["channel_ranges"]
    return f"""# {facts["name"]}, seed {facts["seed"]}

Change questions about pairs of Sentinel-1 chips: {facts["pairs"]} pairs, {facts["places"]} places.
**Simulated.** Ships, sea, coast and speckle come from a simulator; a score here is a score on simulated data.
Written by `fusar-engine benchmark change --seed {facts["seed"]} --count {facts["pairs"]}`.

## What is asked

Two images of one place at two passes of the same orbit, in time order, {CHIP_PX} x {CHIP_PX} px at 10 m. Red
is VV ({vv[0]:g} to {vv[1]:g} dB), green VH ({vh[0]:g} to {vh[1]:g} dB), blue how far a pixel stands out
from the sea around it ({out[0]:g} to {out[1]:g} standard deviations), each scaled to 0 to 255; 0 is no data.
A list of places, as an imperfect detector gave them: boxes a little off, some false alarms, for two thirds of
the pairs with the image that each was seen in. The question: what became of each place?

| word | places |
|---|---|
{words}

`appeared` and `gone`: an object is in the one image and not in the other. `still_occupied`: one is in both;
not that it is the same. `cannot_tell`: no data, an object too faint to be told from the sea in one of them,
or nothing there at all. Identity cannot be seen in passes days apart, so no word claims it.

## How it is scored

`fusar-engine benchmark score FOLDER --answers FILE`. Accuracy over places, macro F1 over the words, pairs
with every place right, exact counts of ships before and after, whether any change is told; 95 % intervals
from resampling pairs. Beside them the majority answer, what the list alone tells, a log-ratio threshold (its
two numbers fitted on pairs of another seed) and the difference of two independent detection sets. With
`--bundle` also the controls: images swapped, one image withheld, the same image twice.

## Checksums (sha256)

- questions.jsonl {facts["sha256"]["questions.jsonl"]}
- truth.jsonl {facts["sha256"]["truth.jsonl"]}
- pixels, in the order of the questions {facts["sha256"]["pixels"]}

Another processor may round a few pixels otherwise; the hashes say so.
"""
