"""What a pretraining run does: how many chips and pairs it draws, and how long it learns in each step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.errors import DatasetError


@dataclass(frozen=True)
class PretrainConfig:
    """What a pretraining run does.

    Attributes:
        chips: simulated chips to draw.
        seed: of chips, weights and batches.
        vision_samples: samples of the first step, over all its workers; with 0 the step is left out.
        decoder_samples: samples of the second step; likewise.
        joint_samples: samples of the third step, over all workers; likewise.
        batch: samples a batch and worker.
        other_share: in the third step, share of the tasks beside detection.
        workers: processes, one thread each.
        compile: whether to compile the two halves (minutes at the start, then twice as fast).
        start: folder of an earlier run, whose joint weights the first two steps go on from.
        text_every: in the third step, one batch of so many goes through the decoder, the others through
            vision alone: a list is no better than what vision sees, and vision alone is twice as fast.
        decay: whether learning rates fall at a step's end; without, for a run that another goes on from.
        pairs: simulated pairs of chips to draw for the last step.
        task_samples: samples of the last step, over all workers; with 0 the step is left out.
        lean_samples: samples of the step that makes the tower of ``start`` leaner, over all workers; where
            there are some, the first three steps are left out.
    """

    chips: int = 24_000
    seed: int = 1
    vision_samples: int = 16_000
    decoder_samples: int = 32_000
    joint_samples: int = 24_000
    batch: int = 32
    other_share: float = 0.3
    workers: int = 2
    compile: bool = True
    start: str | None = None
    text_every: int = 1
    decay: bool = True
    pairs: int = 0
    task_samples: int = 0
    lean_samples: int = 0

    def __post_init__(self) -> None:
        """Check what would fail late."""
        if min(self.chips, self.batch, self.workers, self.text_every) < 1:
            raise DatasetError("got chips, batch, workers or text_every below 1, expected at least 1 of each")
        if self.task_samples and self.pairs < self.workers:
            raise DatasetError("got task samples without pairs, expected some for each worker")
        if self.lean_samples and self.start is None:
            raise DatasetError("got lean samples without a run to start from, expected --start FOLDER")
        if self.start is not None and not (Path(self.start) / "joint.pt").is_file():
            raise DatasetError(f"{self.start} holds no joint.pt: expected the folder of a finished run")
