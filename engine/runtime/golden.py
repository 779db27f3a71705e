"""Golden chips: a few inputs and the torch reference's answers, kept in every bundle.

``golden.npz``: chips [n, 3, 126, 126], vectors [n, S, 64], positions [n, S, 2], mask [n, S], and of the
reference in float32: visual tokens [n, T, C], the logits of the answer's first token [n, V], and for each
task and chip the answer as text with its objects' scores (JSON).
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import ArtifactError
from engine.runtime.prior import Prior
from engine.runtime.spec import TaskSpec
from engine.runtime.tasks import example
from engine.runtime.text import Box, Place, Request

_PLACES = 6  # of one golden change
INPUTS = ("chips", "vectors", "positions", "mask")


@dataclass(frozen=True)
class Golden:
    """Inputs of the golden chips, as in the file."""

    chips: NDArray[np.uint8]
    vectors: NDArray[np.float32]
    positions: NDArray[np.float32]
    mask: NDArray[np.bool_]

    def requests(
        self, task: str, spec: TaskSpec, sensor: str, found: Sequence[Sequence[Box]] = ()
    ) -> list[Request]:
        """Return one request a chip; two in a row where the task, as the manifest has it, compares them.

        Args:
            task: its name.
            spec: what the manifest says of it.
            sensor: as the prompt states it.
            found: boxes of what the reference detects in each chip, in pixels of the chip as cut. What two
                chips hold is what changes are asked about: of places where nothing is, a small difference
                in the numbers tells another change.
        """
        priors = [Prior(*each, None) for each in zip(self.vectors, self.positions, self.mask, strict=True)]
        chips = [*self.chips, self.chips[0]]
        priors.append(priors[0])
        made = [
            example(task, spec, tuple(chips[i : i + 2]), tuple(priors[i : i + 2]), sensor, apart=True)
            for i in range(len(self.chips))
        ]
        if spec.answer != "change" or not found:
            return made
        around = [*found, found[0]]
        held = [tuple(Place(box, "ship") for pair in zip_longest(*around[i : i + 2]) for box in pair if box)
                for i in range(len(made))]  # fmt: skip
        return [
            replace(each, known=known[:_PLACES] or each.known) for each, known in zip(made, held, strict=True)
        ]


def read(path: Path) -> tuple[Golden, dict[str, NDArray[np.float32]], dict[str, list[dict[str, Any]]]]:
    """Read the golden file: inputs, the reference's tensors, the reference's answers by task.

    Raises:
        ArtifactError: the file holds something else.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ArtifactError(f"{path} does not read ({error}): copy the bundle anew") from error
    missing = {*INPUTS, "visual", "logits", "answers"} - set(arrays)
    if missing:
        raise ArtifactError(f"{path} lacks {sorted(missing)}: export the bundle anew")
    golden = Golden(**{name: arrays[name] for name in INPUTS})
    tensors = {name: arrays[name] for name in ("visual", "logits")}
    return golden, tensors, json.loads(str(arrays["answers"]))
