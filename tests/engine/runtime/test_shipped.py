"""The bundle that ships, on simulated chips: what the engine saves and how it batches changes no answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from engine.runtime import parts
from engine.runtime.ort import OrtBackend
from engine.runtime.predictor import Predictor
from engine.runtime.prior import Prior
from engine.runtime.spec import Bundle
from engine.runtime.tasks import example
from engine.runtime.text import Answer, Request
from engine.runtime.writing import Writing
from engine.simulate import objects
from engine.simulate.chips import ChipMaker, Target
from engine.simulate.formations import lattice
from engine.simulate.stage import PLAIN


class Counting(OrtBackend):
    """Counts the prompts that are read."""

    prompts = 0

    def decode(self, step, cache, first):
        self.prompts += int((step.past_len == 0).sum())
        return super().decode(step, cache, first)


@pytest.fixture(scope="module")
def backend() -> Counting:
    return Counting(Bundle.open(), threads=1)


@pytest.fixture(scope="module")
def chips() -> list[Request]:
    maker = ChipMaker(20261201)
    drawn = (maker.make(index)[0] for index in range(24))
    return [Request("detection", (pixels,), (Prior.absent(),)) for pixels in drawn]


def alike(a: Sequence[Answer], b: Sequence[Answer]) -> bool:
    """Whether answers are the same, scores but for rounding."""
    return [each.text for each in a] == [each.text for each in b] and all(
        np.allclose([item.score for item in x.objects], [item.score for item in y.objects], atol=1e-4)
        for x, y in zip(a, b, strict=True)
    )


def test_prompts_that_can_name_nothing_are_not_read_and_answers_stay(
    backend: Counting, chips: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = Predictor(Bundle.open(), backend)
    backend.prompts = 0
    answers = predictor.ask(chips)
    assert 0 < backend.prompts < len(chips)
    monkeypatch.setattr(Writing, "settle", lambda self: False)
    backend.prompts = 0
    asked = predictor.ask(chips)
    assert backend.prompts == len(chips)
    assert alike(answers, asked)
    assert [(each.tokens, each.outcome) for each in answers] == [
        (each.tokens, each.outcome) for each in asked
    ]
    assert 0 < sum(not each.objects for each in answers) < len(chips)


def test_other_tasks_and_the_gates_tensors_read_every_prompt(backend: Counting, chips: list[Request]) -> None:
    bundle = Bundle.open()
    predictor = Predictor(bundle, backend)
    empty = [each for each, answer in zip(chips, predictor.ask(chips), strict=True) if not answer.objects][:3]
    backend.prompts = 0
    _, logits = predictor.first_tensors(empty)
    assert (backend.prompts, len(logits)) == (len(empty), len(empty))
    for task, spec in bundle.manifest.tasks.items():
        if spec.answer != "detections":
            backend.prompts = 0
            predictor.ask([example(task, spec, each.chips, each.priors, each.sensor) for each in empty])
            assert backend.prompts == len(empty)


@pytest.mark.parametrize("rows", [8, 32])
def test_answers_do_not_depend_on_the_order_of_chips(
    backend: Counting, chips: list[Request], rows: int
) -> None:
    predictor = Predictor(Bundle.open(), backend, rows=rows)
    straight = predictor.ask(chips)
    order = np.random.default_rng(rows).permutation(len(chips))
    mixed = predictor.ask([chips[i] for i in order])
    assert alike(mixed, [straight[i] for i in order])


def test_answers_do_not_depend_on_how_many_are_written_side_by_side(
    backend: Counting, chips: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = Predictor(Bundle.open(), backend).ask(chips)
    for batch, rows in ((1, 1), (3, 4), (16, 16)):
        monkeypatch.setattr(backend, "batch", batch)
        assert alike(Predictor(Bundle.open(), backend, rows=rows).ask(chips), expected)


def anchorage(seed: int, rows: int = 7, pitch_m: float = 170.0) -> tuple[Request, list[Target]]:
    """A chip with ships of 60 m at anchor in rows, more than an answer holds."""

    class Crowded(ChipMaker):
        def _populate(self, rng, draft, kind):
            draft.coast = None
            for line, sample in lattice((62.5, 62.5), rows, rows, (pitch_m, pitch_m), 0.0):
                axis = 20 + rng.normal(0, 10)
                ship = objects.draw_ship(rng, PLAIN, length_m=60.0, axis_deg=axis, moving=False)
                self._put(rng, draft, ship, line, sample)

    pixels, truth, *_ = Crowded(seed, PLAIN).make(0)
    return Request("detection", (pixels,), (Prior.absent(),)), truth


def found(answer: Answer, truth: list[Target]) -> int:
    """How many ships have a box's centre within 4 px."""
    boxes = np.array([item.box_px for item in answer.objects])
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 - 0.5
    places = np.array([(each.sample_px, each.line_px) for each in truth])
    return int((np.linalg.norm(centres[:, None] - places, axis=2).min(axis=0) < 4).sum())


def test_an_anchorage_too_full_for_one_answer_is_found_in_four_parts(backend: Counting) -> None:
    request, truth = anchorage(5)
    predictor = Predictor(Bundle.open(), backend)
    (alone,) = predictor.ask([request])
    assert alone.outcome == "saturated"
    assert len(alone.objects) < len(truth) == 49
    (joined,) = parts.ask(predictor, [request])
    assert joined.outcome == "complete"
    assert found(joined, truth) > found(alone, truth)
    assert found(joined, truth) >= 40
