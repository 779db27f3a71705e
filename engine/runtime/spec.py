"""A bundle: the folder that holds everything the runtime needs, and its manifest.

``manifest.json`` states what the model was trained on and how it is asked, and the sha256 of every other
file. It is immutable: ``bundle_id`` is the hash of its bytes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from engine.errors import ArtifactError
from engine.runtime import calibration, image, text
from engine.runtime.prior import PRIOR_DIM

FORMAT: Literal["fusar.bundle/1"] = "fusar.bundle/1"
MANIFEST = "manifest.json"
VISION = "vision.onnx"
DECODER = "decoder.onnx"
VISION_INT8 = (
    "vision.int8.onnx"  # the same graphs with products in 8 bit, for the CPU; a bundle may lack them
)
DECODER_INT8 = "decoder.int8.onnx"
TOKENIZER = "tokenizer.json"
CONFIG = "config.json"  # of transformers; with it, the torch model can be made anew from the graphs
GOLDEN = "golden.npz"
READOUT = "readout.npz"  # of the tower's own objects; most bundles have none
CARD = "model-card.md"


_PLAIN_ODDS = (1.0, 1.0, 0.0, 0.0)  # of text and tower in a change, nothing fitted
_Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelFacts(_Frozen):
    """What the decoder's caches and logits look like, and where the weights come from."""

    base: str
    parameters: int
    layers: int
    kv_heads: int
    head_dim: int
    hidden: int
    vocabulary: int


class ChipSpec(_Frozen):
    """How a chip is cut, scaled and enlarged; the runtime must do exactly this.

    Patches are scaled to (v - pixel_mean) / pixel_std, v from 0 to 1: -1 to 1 unless the base has its own.
    """

    size_px: int = image.CHIP_PX
    enlarged_px: int
    patch_px: int
    merge: int
    channel_ranges: tuple[tuple[float, float], ...] = image.CHANNEL_RANGES
    anchors_side: int = image.ANCHORS_SIDE
    pixel_mean: tuple[float, float, float] = image.PLAIN_PIXELS
    pixel_std: tuple[float, float, float] = image.PLAIN_PIXELS

    @property
    def tokens_side(self) -> int:
        """Visual tokens a side."""
        return self.enlarged_px // (self.patch_px * self.merge)

    @property
    def tokens(self) -> int:
        """Visual tokens of a chip."""
        return self.tokens_side**2


class Calibration(_Frozen):
    """Maps a raw score to a probability (``engine.runtime.calibration``); the default changes nothing.

    Attributes:
        slope: of the log odds.
        intercept: added to them.
        knots: a table that replaces both where it is not empty: (score, probability), ascending.
        fitted: on what, and how well (free form).
    """

    slope: float = Field(default=1.0, gt=0)
    intercept: float = 0.0
    knots: tuple[tuple[float, float], ...] = ()
    fitted: dict[str, Any] = Field(default_factory=dict)

    @field_validator("knots")
    @classmethod
    def _ascending(cls, knots: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
        for (x0, y0), (x1, y1) in zip(knots, knots[1:], strict=False):
            if not (x0 < x1 and y0 <= y1):
                raise ValueError(
                    f"got knots {(x0, y0)}, {(x1, y1)}, expected rising scores and probabilities"
                )
        return knots

    def apply(self, score: float) -> float:
        """Return the calibrated score, 0 to 1."""
        if self.knots:
            return calibration.table(score, self.knots)
        return calibration.logistic(score, self.slope, self.intercept)


class TaskSpec(_Frozen):
    """How one task is asked and what its answers look like.

    Attributes:
        question: what the prompt asks.
        answer: a list of boxes with labels; free text; a number; cells of a grid; one of the labels
            ("class": of a known place); or the forms of ``engine.runtime.forms`` for changes and questions.
        labels: the labels of a list's objects, or what the answer is one of.
        max_tokens: the longest answer, its end included.
        empty: how a list without objects is written; the release writes None.
        calibration: of the task's scores; without it, the manifest's for objects and places, none otherwise.
    """

    question: str
    answer: Literal["detections", "text", "count", "cells", "class", "choice", "change", "question"]
    labels: tuple[str, ...] = ()
    max_tokens: int = Field(gt=0)
    calibration: Calibration | None = None
    empty: Literal["[]", "None"] = "[]"


class TensorSpec(_Frozen):
    """One input or output of a graph; a name in place of a size is a dynamic axis."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


class GraphSpec(_Frozen):
    """Inputs and outputs of a graph, in order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class Tolerance(_Frozen):
    """How far a precision may be from the torch reference in float32 on the golden chips.

    Attributes:
        tensor: largest error of visual tokens and first logits, relative to their largest value.
        box_px: of an edge, in pixels of the chip.
        score: of an object's score.
        answers: share of answers that must agree within these.
    """

    tensor: float = Field(gt=0)
    box_px: float = Field(default=1.0, ge=0)
    score: float = Field(default=0.02, ge=0)
    answers: float = Field(default=1.0, ge=0, le=1)


# Where a manifest states none. 8 bit and bf16 round visibly; evaluation says what that costs.
TOLERANCES = {
    "fp32": Tolerance(tensor=1e-3),
    "fp16": Tolerance(tensor=1e-2, answers=0.95),
    "bf16": Tolerance(tensor=5e-2, score=0.05, answers=0.85),
    "int8": Tolerance(tensor=0.2, score=0.1, answers=0.75),
}


class FileEntry(_Frozen):
    """A file's checksum and size."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int


class Manifest(_Frozen):
    """What a bundle is.

    Attributes:
        name: for people, such as ``nano``.
        created: UTC, ISO 8601.
        sensors: instruments and modes it was trained on, as the prompt states them.
        spacing_m: pixel spacing it was trained on.
        system: template of the prompt's system turn.
        special_tokens: ids of the tokens that the runtime itself writes or looks for.
        calibration: of an object's score.
        score_floor: a list goes on while the probability of another object exceeds this.
        files: every other file of the folder.
        training: where the weights come from (free form).
        score_coordinates: power of the coordinates' probability in a score; 0 leaves it out.
        score_odds: weights of the log odds of text and tower in the score of an object that the tower
            proposed, and what is added.
        change_odds: how what the tower sees at the places of a change is put together with the text
            (``engine.runtime.changes.ChangeOdds``); without them, text alone decides.
        parity: what each precision is allowed; TOLERANCES for those that are not stated.
    """

    format: Literal["fusar.bundle/1"] = FORMAT
    name: str
    created: str
    model: ModelFacts
    chip: ChipSpec
    sensors: tuple[str, ...]
    spacing_m: float
    system: str = text.SYSTEM
    special_tokens: dict[str, int]
    tasks: dict[str, TaskSpec]
    graphs: dict[str, GraphSpec]
    calibration: Calibration = Calibration()
    score_floor: float = Field(default=0.1, gt=0, lt=1)
    files: dict[str, FileEntry]
    training: dict[str, Any] = Field(default_factory=dict)
    score_coordinates: float = Field(default=0.0, ge=0, le=4)
    score_odds: tuple[_Weight, _Weight, float] = (0.2, 0.8, 0.0)
    change_odds: tuple[_Weight, _Weight, float, float] | None = None
    parity: dict[str, Tolerance] = Field(default_factory=dict)

    @property
    def prior_years(self) -> int:
        """Of how many years the vision graph takes priors, by its input ``vectors``; 1 without it."""
        inputs = self.graphs["vision"].inputs if "vision" in self.graphs else ()
        widths = [each.shape[-1] for each in inputs if each.name == "vectors" and each.shape]
        return widths[0] // PRIOR_DIM if widths and isinstance(widths[0], int) else 1

    def tolerance(self, precision: str) -> Tolerance:
        """Return what a precision is allowed."""
        return self.parity.get(precision, TOLERANCES[precision])

    @field_validator("files")
    @classmethod
    def _plain_names(cls, files: dict[str, FileEntry]) -> dict[str, FileEntry]:
        bad = [name for name in files if Path(name).name != name or name == MANIFEST]
        if bad:
            raise ValueError(f"got file names {bad}, expected plain names inside the bundle's folder")
        return files


@dataclass(frozen=True)
class Bundle:
    """An opened bundle.

    Attributes:
        path: its folder.
        manifest: what it states.
        bundle_id: first 16 hex digits of the sha256 of the manifest's bytes.
    """

    path: Path
    manifest: Manifest
    bundle_id: str

    @classmethod
    def open(cls, path: Path | None = None) -> Bundle:
        """Read a bundle and check every file of it.

        Args:
            path: the folder; without it, the bundle that ships with the package.

        Raises:
            ArtifactError: a file is missing, altered or does not fit this release.
        """
        folder = default_bundle() if path is None else Path(path)
        try:
            raw = (folder / MANIFEST).read_bytes()
        except OSError as error:
            raise ArtifactError(
                f"got no {MANIFEST} in {folder}, expected a bundle: make one with `fusar-engine export`"
            ) from error
        try:
            manifest = Manifest.model_validate_json(raw)
        except ValidationError as error:
            raise ArtifactError(f"{folder / MANIFEST} does not fit {FORMAT}: {error}") from error
        for name, entry in manifest.files.items():
            check_file(folder / name, entry)
        bundle = cls(folder, manifest, hashlib.sha256(raw).hexdigest()[:16])
        bundle._check_release()
        return bundle

    def uncalibrated(self) -> Bundle:
        """Return the same bundle with every score left as the model gives it.

        Changes are told by text and tower with weights of one where the tower can be read, else by text.
        """
        plain: dict[str, Any] = {"calibration": Calibration()}
        tasks = {name: task.model_copy(update=plain) for name, task in self.manifest.tasks.items()}
        odds = _PLAIN_ODDS if READOUT in self.manifest.files else None
        return self.replaced(calibration=Calibration(), tasks=tasks, change_odds=odds)

    def replaced(self, **fields: Any) -> Bundle:
        """Return the same files under a manifest with some fields replaced, for measurements."""
        return replace(self, manifest=self.manifest.model_copy(update=fields))

    def file(self, name: str) -> Path:
        """Return the path of a file that the manifest lists.

        Raises:
            ArtifactError: it lists no such file.
        """
        if name not in self.manifest.files:
            raise ArtifactError(f"bundle {self.path} has no {name}, it has {sorted(self.manifest.files)}")
        return self.path / name

    def _check_release(self) -> None:
        """A bundle trained on chips that this release cuts or words otherwise must not run."""
        chip, system = self.manifest.chip, self.manifest.system
        ours = ChipSpec(
            enlarged_px=chip.enlarged_px,
            patch_px=chip.patch_px,
            merge=chip.merge,
            pixel_mean=chip.pixel_mean,
            pixel_std=chip.pixel_std,
        )
        if chip != ours or system not in text.SYSTEMS:
            raise ArtifactError(
                f"got a bundle of chips {chip} and prompt {system!r}, expected {ours} and {text.DATED!r}: "
                "use a bundle of this release or export it anew"
            )
        if self.manifest.prior_years != 1:
            raise ArtifactError(
                f"got a bundle of priors of {self.manifest.prior_years} years, expected one: this "
                "release has two in training and the ablation alone"
            )


def entry_of(path: Path) -> FileEntry:
    """Return a file's checksum and size."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return FileEntry(sha256=digest.hexdigest(), bytes=path.stat().st_size)


def check_file(path: Path, expected: FileEntry) -> None:
    """Check a file against the manifest.

    Raises:
        ArtifactError: it is missing or another.
    """
    if not path.is_file():
        raise ArtifactError(
            f"got no file {path}, expected one of {expected.bytes} bytes: copy the bundle anew"
        )
    got = entry_of(path)
    if got != expected:
        raise ArtifactError(
            f"got {path.name} of {got.bytes} bytes, sha256 {got.sha256}, expected {expected.bytes} bytes, "
            f"sha256 {expected.sha256}: the file was altered or cut short, copy the bundle anew"
        )


def default_bundle() -> Path:
    """Return the folder of the bundle that ships with the package."""
    return Path(__file__).resolve().parents[1] / "bundles" / "nano"
