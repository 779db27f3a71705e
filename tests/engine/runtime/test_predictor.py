"""Answers: valid whatever the model says, scored, in order, the same as from the whole model each time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import ArtifactError, DeviceLost, InputError, OutOfMemory
from engine.model.nano import build_tokenizer
from engine.runtime import spec
from engine.runtime.backend import HostCache, Step
from engine.runtime.grammar import DetectionGrammar
from engine.runtime.predictor import Predictor
from engine.runtime.prompts import lay_out
from engine.runtime.tasks import chip_box
from engine.runtime.text import (
    END_OF_TURN,
    IMAGE_TOKEN,
    LABELS,
    QUESTIONS,
    Place,
    Request,
    detection_text,
    parse_detections,
    prompt,
)

Logits = Callable[[list[int]], np.ndarray]


class ScriptedBackend:
    """Logits as a function of all tokens of a row; keeps the tokens in the cache's own columns."""

    name = "scripted"
    max_rows: int | None = None
    batch = 8
    workers = 1

    def __init__(self, logits: Logits) -> None:
        self.logits = logits
        self.steps: list[tuple[int, int]] = []

    def vision(self, patches, vectors, positions, mask):
        return np.zeros((len(patches), 81, 4), np.float32)

    def allocate(self, rows: int, columns: int) -> HostCache:
        return HostCache(1, rows, 1, columns, 1)

    def decode(self, step: Step, cache: HostCache, first: int):
        out = []
        self.steps.append(step.input_ids.shape)
        for row in range(len(step.input_ids)):
            memory = cache.arrays[0][first + row, 0, :, 0]
            start = int(step.past_len[row])
            memory[start : start + step.input_ids.shape[1]] = step.input_ids[row]
            out.append(self.logits(memory[: start + int(step.new_len[row])].astype(int).tolist()))
        return np.stack(out).astype(np.float32)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> spec.Bundle:
    """A bundle without graphs."""
    folder = tmp_path_factory.mktemp("bundle")
    tokenizer = build_tokenizer()
    tokenizer.save(str(folder / spec.TOKENIZER))
    manifest = spec.Manifest(
        name="scripted",
        created="",
        model=spec.ModelFacts(
            base="", parameters=0, layers=1, kv_heads=1, head_dim=1, hidden=4,
            vocabulary=tokenizer.get_vocab_size(),
        ),
        chip=spec.ChipSpec(enlarged_px=252, patch_px=14, merge=2),
        sensors=("Sentinel-1 IW",),
        spacing_m=10.0,
        special_tokens={token: tokenizer.token_to_id(token) for token in (IMAGE_TOKEN, END_OF_TURN)},
        tasks={
            "detection": spec.TaskSpec(
                question=QUESTIONS["detection"], answer="detections", labels=LABELS, max_tokens=64
            ),
            "description": spec.TaskSpec(question=QUESTIONS["description"], answer="text", max_tokens=12),
        },
        graphs={},
        score_floor=0.1,
        files={spec.TOKENIZER: spec.entry_of(folder / spec.TOKENIZER)},
    )  # fmt: skip
    return spec.Bundle(folder, manifest, "0" * 16)


TOKENIZER = build_tokenizer()
VOCABULARY = TOKENIZER.get_vocab_size()


def noise(seed: int) -> Logits:
    """A model that says anything, but always the same after the same tokens."""

    def logits(tokens: list[int]) -> np.ndarray:
        digest = hashlib.sha256(f"{seed} {tokens}".encode()).digest()
        return np.random.default_rng(list(digest[:8])).normal(0, 3, VOCABULARY)

    return logits


def saying(answer: str, weight: float = 20.0) -> Logits:
    """A model that is sure of one answer."""
    ids = [*TOKENIZER.encode(answer).ids, TOKENIZER.token_to_id(END_OF_TURN)]
    start = TOKENIZER.encode("<|im_start|>assistant\n").ids

    def logits(tokens: list[int]) -> np.ndarray:
        end = max(i for i in range(len(tokens)) if tokens[i : i + len(start)] == start) + len(start)
        out = np.zeros(VOCABULARY)
        out[ids[min(len(tokens) - end, len(ids) - 1)]] = weight
        return out

    return logits


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_whatever_a_model_says_the_answer_parses(bundle, make_request, seed: int) -> None:
    predictor = Predictor(bundle, ScriptedBackend(noise(seed)), rows=3)
    for answer in predictor.ask([make_request(index) for index in range(5)]):
        found = parse_detections(answer.text)
        assert len(found) == len(answer.objects)
        assert answer.tokens <= 64
        for thing in answer.objects:
            assert thing.label in LABELS
            assert 0.1 / 3 < thing.score <= 1
            x1, y1, x2, y2 = thing.box_px
            assert 0 <= x1 <= x2 <= 126
            assert 0 <= y1 <= y2 <= 126


def test_answers_do_not_depend_on_batching_and_keep_their_order(bundle, make_request) -> None:
    requests = [make_request(index, images=1 + index % 2) for index in range(9)]
    requests[3] = make_request(3, task="description")
    # Which prompt it is, the scripted model sees from the tokens alone: make each differ.
    requests = [
        Request(each.task, each.chips, each.priors, known=(Place((0, 0, 9, 9), "ship"),) * (index % 5))
        for index, each in enumerate(requests)
    ]
    alone = [Predictor(bundle, ScriptedBackend(noise(1))).ask([each])[0] for each in requests]
    ended: list[int] = []
    for rows in (1, 2, 4, 32):
        ended.clear()
        together = Predictor(bundle, ScriptedBackend(noise(1)), rows=rows).ask(requests, ended.append)
        assert together == alone
        assert sum(ended) == len(requests)
    assert len({answer.text for answer in alone}) > 3
    assert Predictor(bundle, ScriptedBackend(noise(1))).ask([]) == []


def test_an_answer_is_written_as_the_model_says_with_forced_tokens_jumped(bundle, make_request) -> None:
    text = detection_text([("ship", (10, 20, 30, 44)), ("turbine", (100, 0, 252, 9))])
    backend = ScriptedBackend(saying(text))
    answer = Predictor(bundle, backend).ask([make_request(0)])[0]
    assert answer.text == text
    assert answer.outcome == "complete"
    assert answer.objects[0].box_px == (5.0, 10.0, 15.0, 22.0)
    assert answer.objects[1].label == "turbine"
    assert all(thing.score > 0.99 for thing in answer.objects)
    # 20 tokens; six choices an object, the first of them made by the prefill.
    assert answer.tokens == 20
    assert len(backend.steps) == 1 + 12
    empty = ScriptedBackend(saying("[]"))
    assert Predictor(bundle, empty).ask([make_request(0)])[0].objects == ()
    assert len(empty.steps) == 1


def unsure(probability: float) -> Logits:
    """A model that sees an object with some probability, and nothing after it."""
    base = saying(detection_text([("ship", (10, 20, 30, 44))]))
    close, open_ = (TOKENIZER.encode(piece).ids[0] for piece in ("[]", '[{"bbox_2d": ['))

    def logits(tokens: list[int]) -> np.ndarray:
        out = base(tokens)
        if out[open_] > 0:
            out[open_] = out[close] + np.log(probability / (1 - probability))
        return out

    return logits


def test_a_list_goes_on_above_the_floor_even_where_ending_is_likelier(bundle, make_request) -> None:
    for probability in (0.12, 0.4, 0.9):
        answer = Predictor(bundle, ScriptedBackend(unsure(probability))).ask([make_request(0)])[0]
        assert [thing.score for thing in answer.objects] == pytest.approx([probability], abs=1e-3)
    assert Predictor(bundle, ScriptedBackend(unsure(0.08))).ask([make_request(0)])[0].text == "[]"


def test_scores_are_calibrated_by_the_manifest(bundle, make_request) -> None:
    calibration = spec.Calibration(slope=1.0, intercept=-1.0)
    manifest = bundle.manifest.model_copy(update={"calibration": calibration})
    changed = spec.Bundle(bundle.path, manifest, bundle.bundle_id)
    answer = Predictor(changed, ScriptedBackend(unsure(0.5))).ask([make_request(0)])[0]
    assert answer.objects[0].score == pytest.approx(1 / (1 + np.e), abs=1e-3)


def test_the_length_limit_closes_the_list_and_says_so(bundle, make_request) -> None:
    many = detection_text([("ship", (index, 2, 3, 4)) for index in range(20)])
    answer = Predictor(bundle, ScriptedBackend(saying(many))).ask([make_request(0)])[0]
    assert answer.outcome == "saturated"
    assert 64 - 10 < answer.tokens <= 64
    assert len(parse_detections(answer.text)) == len(answer.objects) == 6
    fits = detection_text([("ship", (index, 2, 3, 4)) for index in range(6)])
    assert Predictor(bundle, ScriptedBackend(saying(fits))).ask([make_request(0)])[0].outcome == "complete"


def test_text_is_free_and_limited(bundle, make_request) -> None:
    request = make_request(0, task="description")
    answer = Predictor(bundle, ScriptedBackend(saying("Calm sea; no land."))).ask([request])[0]
    assert (answer.text, answer.objects, answer.outcome) == ("Calm sea; no land.", (), "complete")
    long = Predictor(bundle, ScriptedBackend(saying("sea " * 40))).ask([request])[0]
    assert long.outcome == "saturated"
    assert long.tokens == 12


class ShortBackend(ScriptedBackend):
    """Takes few rows at a time; runs out of memory with more, or loses its device, as told."""

    def __init__(self, logits: Logits, most: int, error: type[Exception] = OutOfMemory) -> None:
        super().__init__(logits)
        self.most, self.error = most, error

    def decode(self, step: Step, cache: HostCache, first: int):
        if len(step.input_ids) > self.most:
            raise self.error("as told")
        return super().decode(step, cache, first)


@pytest.mark.parametrize(("most", "rows"), [(3, 3), (2, 1), (1, 1), (6, 6)])
def test_short_memory_halves_the_rows_for_good(bundle, make_request, caplog, most: int, rows: int) -> None:
    asked = [make_request(seed) for seed in range(9)]
    expected = Predictor(bundle, ScriptedBackend(noise(4))).ask(asked)
    backend = ShortBackend(noise(4), most)
    predictor = Predictor(bundle, backend, rows=6)
    counted: list[int] = []
    assert predictor.ask(asked, counted.append) == expected
    assert sum(counted) == len(asked)
    assert max(count for count, _ in backend.steps) == rows
    assert ("side by side" in caplog.text) == (rows < 6)
    caplog.clear()
    assert predictor.ask(asked) == expected
    assert not caplog.text  # it does not try the same again


def test_memory_for_no_answer_at_all_and_a_lost_device_end_the_call(bundle, make_request) -> None:
    asked = [make_request(seed) for seed in range(3)]
    with pytest.raises(OutOfMemory):
        Predictor(bundle, ShortBackend(noise(0), most=0), rows=4).ask(asked)
    with pytest.raises(DeviceLost):
        Predictor(bundle, ShortBackend(noise(0), 0, DeviceLost), rows=4).ask(asked)


def test_a_backend_limits_the_rows(bundle, make_request) -> None:
    backend = ScriptedBackend(noise(1))
    backend.max_rows = 2
    Predictor(bundle, backend, rows=8).ask([make_request(seed) for seed in range(5)])
    assert max(count for count, _ in backend.steps) == 2


def test_caches_are_kept_between_calls_and_dropped_after_an_error(bundle, make_request) -> None:
    backend = ScriptedBackend(noise(2))
    made: list[HostCache] = []
    allocate = backend.allocate
    backend.allocate = lambda rows, columns: made.append(allocate(rows, columns)) or made[-1]  # type: ignore
    predictor = Predictor(bundle, backend, rows=4)
    asked = [make_request(seed) for seed in range(5)]
    first = predictor.ask(asked)
    assert predictor.ask(asked) == first
    assert len(made) == 1
    decode = backend.decode
    backend.decode = lambda *args: 1 / 0  # type: ignore
    with pytest.raises(ZeroDivisionError):
        predictor.ask(asked)
    backend.decode = decode  # type: ignore
    assert predictor.ask(asked) == first
    assert len(made) == 2


def test_requests_that_do_not_fit_the_bundle_are_refused(bundle, make_request) -> None:
    predictor = Predictor(bundle, ScriptedBackend(noise(0)))
    good = make_request(0)
    for bad in (
        make_request(0, task="poetry"),
        Request("detection", good.chips, good.priors, sensor="Landsat"),
        Request("detection", (good.chips[0][:, :100],), good.priors),
        Request("detection", (good.chips[0].astype(np.float32),), good.priors),
    ):
        with pytest.raises(InputError, match=r"got .*(bundle|expected)"):
            predictor.ask([good, bad])


def test_manifest_and_tokenizer_must_agree(bundle) -> None:
    for update in (
        {"special_tokens": {IMAGE_TOKEN: 3}},
        {"tasks": {"detection": bundle.manifest.tasks["detection"].model_copy(update={"max_tokens": 5})}},
    ):
        manifest = bundle.manifest.model_copy(update=update)
        with pytest.raises(ArtifactError, match="expected"):
            Predictor(spec.Bundle(bundle.path, manifest, ""), ScriptedBackend(noise(0)))


@pytest.mark.parametrize("images", [1, 2])
def test_positions_are_those_of_transformers(make_request, images: int) -> None:
    torch = pytest.importorskip("torch")
    from transformers import Qwen2_5_VLModel

    from engine.model.nano import nano_config

    config = nano_config(TOKENIZER)
    ids = np.array(TOKENIZER.encode(prompt(make_request(0, images=images), [81] * images)).ids)
    with torch.device("meta"):
        model = Qwen2_5_VLModel(config)
    theirs, delta = model.get_rope_index(
        torch.from_numpy(ids)[None],
        torch.from_numpy((ids == config.image_token_id).astype(np.int32))[None],
        image_grid_thw=torch.tensor([[1, 18, 18]] * images),
    )
    ours = lay_out(ids, config.image_token_id, 9)
    np.testing.assert_array_equal(ours.position_ids, theirs[:, 0].numpy())
    assert ours.next_position == len(ids) + int(delta)
    assert ours.visual_index.max() == 81 * images - 1


def test_image_tokens_must_form_whole_images() -> None:
    with pytest.raises(InputError, match="multiple of 4"):
        lay_out(np.array([1, 7, 7, 7, 2]), 7, 2)


def test_boxes_scale_and_their_edges_ascend() -> None:
    assert chip_box((10, 20, 30, 252), 0.5) == (5.0, 10.0, 15.0, 126.0)
    assert chip_box((30, 20, 10, 4), 0.5) == (5.0, 2.0, 15.0, 10.0)


def test_the_exported_bundle_answers_as_the_whole_model_does(
    small_bundle: spec.Bundle, small_checkpoint: Path, make_request
) -> None:
    """No cache, no jumps, no batch, transformers' own language model: the same answers."""
    torch = pytest.importorskip("torch")
    from engine.model.fusar import PriorBatch, load_fusar
    from engine.runtime.image import patches
    from engine.runtime.writing import Writing

    model, tokenizer = load_fusar(small_checkpoint)
    grammar = DetectionGrammar(tokenizer, LABELS, 252)
    requests = [make_request(seed) for seed in range(3)]
    limit = 34
    tasks = {"detection": small_bundle.manifest.tasks["detection"].model_copy(update={"max_tokens": limit})}
    manifest = small_bundle.manifest.model_copy(update={"tasks": tasks, "score_floor": 0.3})
    bundle = spec.Bundle(small_bundle.path, manifest, small_bundle.bundle_id)
    from engine.runtime.ort import OrtBackend

    answers = Predictor(bundle, OrtBackend(bundle, threads=1), rows=2).ask(requests)
    for request, answer in zip(requests, answers, strict=True):
        prior = request.priors[0]
        arrays = (prior.vectors, prior.positions, prior.mask)
        batch = PriorBatch(*(torch.from_numpy(np.ascontiguousarray(each))[None] for each in arrays))
        writing = Writing(grammar, 0.3, limit, grammar.object_tokens, coordinates=1.0)
        start = tokenizer.encode(prompt(request, [81])).ids
        pixels = torch.from_numpy(patches(np.stack(request.chips), 252))
        while not writing.done:
            ids = torch.tensor([start + writing.tokens])
            with torch.no_grad():
                logits = model(ids, torch.ones_like(ids), pixels, batch).logits[0, -1]
            writing.advance(logits.numpy())
        assert answer.text == grammar.text(writing.tokens)
        assert [thing.score for thing in answer.objects] == pytest.approx(writing.scores, abs=1e-4)
    assert len({answer.text for answer in answers}) > 1
    assert any(answer.objects for answer in answers)
