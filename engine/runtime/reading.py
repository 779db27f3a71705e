"""A small reader of questions: what is asked (the intent) and about what (the slots).

The intent is a softmax over hashed features of the question's marks (``engine.runtime.marking``): words,
pairs of words, and letters inside words. Slots come from patterns. Only intents that the slots and words fit
are looked at. A question is understood only if one of them is likelier than that the question is not to be
understood, and has the probability that was chosen on validation wordings; a word that nobody knows, or that
goes with another intent, leaves none: not understood is better than misunderstood. Weights:
``fusar-engine reading``.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import ArtifactError
from engine.runtime.lexicon import CHIP_INTENTS, CUES, NEEDED, PAIR_INTENTS, SLOTS
from engine.runtime.marking import Bound, Marked, mark
from engine.runtime.traps import trapped

WEIGHTS = Path(__file__).with_name("data") / "reading.npz"
BUCKETS = 4096  # of hashed features
OTHER = "other"  # questions that are not understood, as training knows them
REFUSED = "refused"
INTENTS = (*CHIP_INTENTS, *PAIR_INTENTS, "describe", REFUSED, OTHER)
_SURE = 0.95  # least probability of REFUSED where words or slots fit nothing that is known
_LETTERS = (3, 4)  # lengths of the letter sequences inside words
LISTING = ("which", "count", "exists", "third", "longer", "shorter")  # ask alike for what passes a filter
_POINTED = ("length", "what", "happened", "describe", "cannot_tell", "more", "changed")  # may hold "it"
_OF_SHIPS = ("count_first", "count_second", "more", "changed", "still_occupied", "cannot_tell")


@dataclass(frozen=True, slots=True)
class Reading:
    """A question, understood.

    Attributes:
        intent: one of INTENTS, OTHER excepted; of what no radar image can show, REFUSED.
        probability: of the intent.
        label: the class that is asked about; "object" for any; None where none is named.
        bound: on lengths.
        parts: the parts of the image or of the area that are meant, all at once; of ``lexicon.PARTS``.
        place: ordinal of the place; None also where "it" is asked about.
    """

    intent: str
    probability: float
    label: str | None = None
    bound: Bound | None = None
    parts: tuple[str, ...] = ()
    place: int | None = None


@dataclass(frozen=True)
class Weights:
    """What the softmax knows.

    Attributes:
        matrix: int8 [BUCKETS, intents].
        scale: float32 [intents], of the matrix's columns.
        offset: float32 [intents].
        threshold: least probability of an intent that is understood.
        refusing: least probability of REFUSED.
    """

    matrix: NDArray[np.int8]
    scale: NDArray[np.float32]
    offset: NDArray[np.float32]
    threshold: float
    refusing: float

    @property
    def digest(self) -> str:
        """Hash of everything, by which answers name their reader."""
        hashed = hashlib.sha256(self.matrix.tobytes() + self.scale.tobytes() + self.offset.tobytes())
        hashed.update(f"{self.threshold!r} {self.refusing!r}".encode())
        return hashed.hexdigest()[:16]

    def chances(self, marks: Iterable[str]) -> NDArray[np.float64]:
        """Return the probability of each of INTENTS."""
        found = features(marks)
        own = self.matrix[found].astype(np.float64).sum(0) * self.scale * weight_of(len(found))
        raised = np.exp(own + self.offset - (own + self.offset).max())
        return np.asarray(raised / raised.sum(), np.float64)

    def save(self, path: Path) -> None:
        """Write the weights."""
        np.savez_compressed(
            path,
            intents=np.array(INTENTS),
            matrix=self.matrix,
            scale=self.scale,
            offset=self.offset,
            thresholds=np.array([self.threshold, self.refusing]),
        )

    @classmethod
    def load(cls, path: Path) -> Weights:
        """Read weights.

        Raises:
            ArtifactError: there are none, or they are of other intents.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                held: dict[str, NDArray[Any]] = {name: file[name] for name in file.files}
            intents = tuple(held["intents"].tolist())
            threshold, refusing = (float(each) for each in held["thresholds"])
            made = cls(held["matrix"], held["scale"], held["offset"], threshold, refusing)
        except (OSError, KeyError, ValueError) as error:
            raise ArtifactError(f"got no weights of the reader in {path}: {error}") from error
        if intents != INTENTS or made.matrix.shape != (BUCKETS, len(INTENTS)):
            raise ArtifactError(f"{path}: weights of another reader: make them with fusar-engine reading")
        return made


def features(marks: Iterable[str]) -> NDArray[np.int64]:
    """Return the buckets of a question's features, each once, ascending."""
    words = ["^", *marks, "$"]
    found = {f"w {word}" for word in words} | {f"p {a} {b}" for a, b in zip(words, words[1:], strict=False)}
    for word in words[1:-1]:
        if not word.startswith("<"):
            padded = f"^{word}$"
            found |= {padded[i : i + n] for n in _LETTERS for i in range(len(padded) - n + 1)}
    return np.array(sorted({zlib.crc32(each.encode()) % BUCKETS for each in found}), np.int64)


def weight_of(count: int) -> float:
    """Return the weight of each of so many features: long and short questions weigh alike."""
    return float(1 / np.sqrt(max(count, 1)))


@cache
def shipped() -> Weights:
    """Return the weights that ship with the package.

    Raises:
        ArtifactError: they are missing or broken.
    """
    return Weights.load(WEIGHTS)


def read(text: str, weights: Weights | None = None) -> Reading | None:
    """Understand a question.

    Args:
        text: in English, one question.
        weights: the shipped ones, unless given.

    Returns:
        None where it is not understood.
    """
    weights = weights or shipped()
    marked = mark(text)
    if not marked.marks:
        return None
    chances = dict(zip(INTENTS, weights.chances(marked.marks).tolist(), strict=True))
    refused = chances[REFUSED]
    if marked.unknown:
        surest = max(chances, key=lambda name: chances[name])
        return Reading(REFUSED, refused) if surest == REFUSED and refused >= _SURE else None
    fitting = {name: chances[name] for name in INTENTS if slotted(marked, name) is not None}
    for name in ("count_first", "count_second"):  # counts, of the image that a mark names
        if name in fitting and "count" not in fitting:
            fitting[name] += chances["count"]
    if not fitting:
        return Reading(REFUSED, refused) if refused >= _SURE else None
    every = sum(fitting.values()) + refused + chances[OTHER]
    alike = {name: sum(p for other, p in fitting.items() if _alike(name, other)) / every for name in fitting}
    best = max(fitting, key=lambda name: (alike[name], fitting[name]))
    if refused / every > max(alike[best], weights.refusing):
        return Reading(REFUSED, refused / every)
    if alike[best] < weights.threshold or chances[OTHER] / every > alike[best]:
        return None
    found = slotted(marked, best)
    return None if found is None or trapped(text, found) else replace(found, probability=alike[best])


def slotted(marked: Marked, intent: str) -> Reading | None:
    """Put intent and slots together; None where they do not fit."""
    if intent in (REFUSED, OTHER):
        return None
    labels = [each for each in marked.labels if each != "object"] or list(marked.labels)
    if len(labels) > 1 or len(marked.bounds) > 1 or len(marked.places) > 1:
        return None
    marks = set(marked.marks)
    if not all(intent in (*CUES.get(each, ()), *SLOTS.get(each, ())) for each in marks if _tells(each)):
        return None
    if intent in NEEDED and not marks & NEEDED[intent]:
        return None
    bound, place = next(iter(marked.bounds), None), next(iter(marked.places), None)
    label = next(iter(labels), None)
    pointed = bool({"it", "its", "this"} & marks) or marked.marks[-1] == "that"
    if pointed and intent not in _POINTED:
        return None
    definite = any(
        word in ("the", "this", "that") and following == "<thing>"
        for word, following in zip(marked.marks, marked.marks[1:], strict=False)
    )
    one = place is not None or pointed or definite
    needs = {
        "third": bool(marked.parts),
        "longer": bound is not None and bound.longer,
        "shorter": bound is not None and not bound.longer,
        **dict.fromkeys(("length", "what", "happened"), one),
        **dict.fromkeys(("which", "exists"), label is not None or bound is not None),
        "describe": (label in (None, "object") or one) and bound is None,
        **dict.fromkeys(_OF_SHIPS, label not in ("platform", "turbine")),
    }
    if not needs.get(intent, True):
        return None
    return Reading(intent, 1.0, label, bound, marked.parts, place)


def _alike(one: str, other: str) -> bool:
    """Whether two intents get the same answer from the same slots: which, how many, or whether there are."""
    return one == other or one in LISTING and other in LISTING


def _tells(word: str) -> bool:
    return word in CUES or word in SLOTS
