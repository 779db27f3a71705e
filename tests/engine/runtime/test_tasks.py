"""Whatever a model says, the answer of every task is valid, grounded in the request, and ends in time."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import AnswerError, ArtifactError, InputError
from engine.export.bundle import TASKS
from engine.model.nano import build_tokenizer
from engine.runtime import forms, spec
from engine.runtime.closed import Words, change_grammar, choice_grammar, question_grammar
from engine.runtime.grammar import END
from engine.runtime.prior import Prior
from engine.runtime.tasks import Tasks, example
from engine.runtime.text import (
    DATED,
    END_OF_TURN,
    IMAGE_TOKEN,
    MAX_PLACES,
    Place,
    Request,
    parse_detections,
)
from tests.support.qwen import qwen_tokenizer

CHIP = np.zeros((3, 126, 126), np.uint8)
TWO_YEARS = Prior.from_bytes(np.ones((128, 36), np.int8), 2022)
COUNTS = st.sampled_from([0, 1, 3, 12, MAX_PLACES])
SEEDS = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module", params=["nano", "qwen"])
def tokenizer(request):
    if request.param == "nano":
        return build_tokenizer()
    return qwen_tokenizer(request.getfixturevalue("real_data"))


@pytest.fixture(scope="module")
def tasks(tokenizer) -> Tasks:
    return make_tasks(tokenizer)


def make_tasks(tokenizer, chosen=TASKS, **changes) -> Tasks:
    manifest = spec.Manifest(
        name="none", created="", files={},
        model=spec.ModelFacts(base="", parameters=0, layers=1, kv_heads=1, head_dim=1, hidden=1,
                              vocabulary=1),
        chip=spec.ChipSpec(enlarged_px=252, patch_px=14, merge=2), sensors=("Sentinel-1 IW",), spacing_m=10.0,
        special_tokens={token: tokenizer.token_to_id(token) for token in (IMAGE_TOKEN, END_OF_TURN)},
        tasks=chosen, graphs={}, system=DATED, **changes,
    )  # fmt: skip
    return Tasks(manifest, tokenizer)


def ask(task: str, places: int = 0, chips: int = 1, **changes) -> Request:
    known = tuple(Place((i, i, i + 9.0, i + 9.0), "ship") for i in range(places))
    if task == "question":
        changes.setdefault("question", "Which ships lie at anchor?")
    return Request(task, (CHIP,) * chips, (None,) * chips, known=known, **changes)


def write(tasks: Tasks, request: Request, seed: int, vocabulary: int = 152_000):
    """Answer a request by chance alone."""
    writing = tasks.begin(request)
    rng = np.random.default_rng(seed)
    logits = np.tile(rng.normal(0, 3.0, 4_096).astype(np.float32), 2 * vocabulary // 4_096 + 1)
    while not writing.done:
        start = int(rng.integers(vocabulary))
        writing.advance(logits[start : start + vocabulary])
    assert len(writing.tokens) <= TASKS[request.task].max_tokens
    return tasks.answer(request, writing), writing


@settings(max_examples=10, deadline=None)
@given(SEEDS, COUNTS)
def test_a_change_names_every_known_place_once_and_no_other(tasks, seed, places) -> None:
    request = ask("change", places, 2)
    answer, _ = write(tasks, request, seed)
    read = forms.parse_change(answer.text, places)
    assert tuple(each.change for each in answer.places) == read.changes
    assert tuple(each.place for each in answer.places) == tuple(range(1, places + 1))
    assert answer.counts == (read.before, read.after)
    for each in answer.places:
        assert sum(each.chances) == pytest.approx(1)
        assert max(each.chances) == each.chances[forms.CHANGES.index(each.change)]
        assert each.score == pytest.approx(max(each.chances))
    assert read.sentence
    assert not any(letter.isdigit() for letter in read.sentence)
    assert read.sentence.count(".") <= 1
    assert "\n" not in read.sentence


@settings(max_examples=10, deadline=None)
@given(SEEDS, COUNTS)
def test_an_answer_cites_known_places_alone_or_refuses(tasks, seed, places) -> None:
    answer, _ = write(tasks, ask("question", places), seed)
    cites, words = forms.parse_question(answer.text, places)
    assert answer.cites == cites
    assert set(cites) <= set(range(1, places + 1))
    assert words
    assert "[" not in words
    if answer.text == forms.REFUSAL:
        assert cites == ()


@settings(max_examples=5, deadline=None)
@given(SEEDS)
def test_closed_answers_are_of_their_set_and_scored(tasks, seed) -> None:
    answer, _ = write(tasks, ask("counting"), seed)
    assert 0 <= forms.parse_count(answer.text) <= forms.MAX_COUNT
    assert 0 < answer.score <= 1
    answer, _ = write(tasks, ask("localisation"), seed)
    assert set(forms.parse_cells(answer.text)) <= set(forms.CELLS)
    answer, writing = write(tasks, ask("classification", 1), seed)
    assert forms.parse_choice(answer.text, TASKS["classification"].labels) == answer.text
    assert writing.chances[0][answer.text] == pytest.approx(answer.score)
    answer, _ = write(tasks, ask("landcover"), seed)
    assert forms.parse_choice(answer.text, TASKS["landcover"].labels)


@settings(max_examples=5, deadline=None)
@given(SEEDS)
def test_lists_and_descriptions_are_as_before(tasks, seed) -> None:
    answer, _ = write(tasks, ask("detection"), seed)
    assert len(parse_detections(answer.text)) == len(answer.objects)
    answer, _ = write(tasks, ask("description"), seed)
    assert answer.objects == () and answer.score is None


CHANGE_LISTS = COUNTS.flatmap(lambda n: st.lists(st.sampled_from(forms.CHANGES), min_size=n, max_size=n))


@settings(max_examples=10, deadline=None)
@given(CHANGE_LISTS, st.integers(0, 99), st.integers(0, 99))
def test_true_changes_are_allowed_as_the_tokenizer_splits_them(tokenizer, changes, before, after) -> None:
    text = forms.change_text(changes, before, after)
    assert follow(tokenizer, grammar_of(tokenizer, change_grammar, len(changes)), text)
    read = forms.parse_change(text, len(changes))
    assert (list(read.changes), read.before, read.after) == (changes, before, after)


@settings(max_examples=10, deadline=None)
@given(COUNTS, st.data())
def test_true_citations_are_allowed_as_the_tokenizer_splits_them(tokenizer, places, data) -> None:
    known = range(1, places + 1)
    cites = sorted(data.draw(st.sets(st.sampled_from(known)))) if places else []
    grammar = grammar_of(tokenizer, question_grammar, places)
    text = forms.question_line(cites) + "Both lie at anchor, 2 km off (to the north)."
    assert follow(tokenizer, grammar, text)
    assert follow(tokenizer, grammar, forms.REFUSAL)
    assert forms.parse_question(text, places) == (tuple(cites), text.partition("\n")[2])
    with pytest.raises(AssertionError):
        follow(tokenizer, grammar, forms.question_line([places + 1]) + "That one.")


def test_every_set_of_cells_is_allowed(tokenizer) -> None:
    texts = forms.every_cells_text()
    grammar = choice_grammar(tokenizer, texts)
    assert len(set(texts)) == 512
    for text in texts:
        assert follow(tokenizer, grammar, text)
        assert forms.cells_text(forms.parse_cells(text)) == text


_GRAMMARS: dict = {}


def grammar_of(tokenizer, make, places: int):
    key = (id(tokenizer), make, places)
    if key not in _GRAMMARS:
        _GRAMMARS[key] = make(tokenizer, places, words_of(tokenizer, make is change_grammar))
    return _GRAMMARS[key]


@lru_cache(maxsize=4)
def words_of(tokenizer, one_sentence: bool) -> Words:
    return Words(tokenizer, one_sentence)


def follow(tokenizer, grammar, text: str) -> bool:
    state = 0
    for token in [*tokenizer.encode(text).ids, tokenizer.token_to_id(END_OF_TURN)]:
        assert token in grammar.states[state].tokens
        state = grammar.states[state].target(token)
    return state == END


def test_a_score_is_the_probability_of_the_branch() -> None:
    tokenizer = build_tokenizer()
    tasks = make_tasks(tokenizer, calibration=spec.Calibration(slope=0.5))
    first = {each: tokenizer.encode(forms.change_line([each], 0, 0)).ids for each in forms.CHANGES}
    branch = next(i for i, ids in enumerate(zip(*first.values(), strict=False)) if len(set(ids)) == 4)
    chances = {"appeared": 0.5, "gone": 0.25, "still_occupied": 0.15, "cannot_tell": 0.1}
    logits = np.full(tokenizer.get_vocab_size(), -9.0, np.float32)
    for change, chance in chances.items():
        logits[first[change][branch]] = np.log(chance)
    writing = tasks.begin(ask("change", 3, 2))
    while not writing.done:
        writing.advance(logits)
    answer = tasks.answer(ask("change", 3, 2), writing)
    assert [each.change for each in answer.places] == ["appeared"] * 3
    np.testing.assert_allclose(answer.places[1].chances, list(chances.values()), rtol=1e-5)
    assert answer.places[1].score == pytest.approx(0.5)  # Platt leaves a half where it is
    lifted = make_tasks(tokenizer, calibration=spec.Calibration(slope=2.0, intercept=1.0))
    told = lifted.answer(ask("change", 3, 2), writing).places[1]
    assert told.score == pytest.approx(told.chances[0]) == pytest.approx(1 / (1 + np.exp(-1.0)))
    assert sum(told.chances) == pytest.approx(1)
    assert told.chances[1] / told.chances[3] == pytest.approx(2.5, rel=1e-4)
    # a place costs one step: what is certain after its branch is written with it
    assert writing.tokens.count(first["appeared"][branch]) >= 3


@pytest.mark.parametrize(
    ("request_", "what"),
    [
        (ask("change", 2, 1), "expected two"),
        (ask("classification", 0), "known places"),
        (ask("poetry"), "bundle has"),
        (Request("detection", (CHIP,), (TWO_YEARS,)), "years"),
    ],
)
def test_requests_that_do_not_fit_a_task_are_refused(request_, what) -> None:
    with pytest.raises(InputError, match=what):
        make_tasks(build_tokenizer()).prompt(request_)


def test_too_little_room_is_refused_before_anything_is_written() -> None:
    tokenizer = build_tokenizer()
    short = {"change": spec.TaskSpec(question="?", answer="change", max_tokens=60)}
    tasks = make_tasks(tokenizer, short)
    tasks.begin(ask("change", 1, 2))
    with pytest.raises(InputError, match="fewer places"):
        tasks.begin(ask("change", 20, 2))
    with pytest.raises(ArtifactError, match="max_tokens"):
        make_tasks(tokenizer, {"counting": spec.TaskSpec(question="?", answer="count", max_tokens=1)})


def test_examples_are_the_longest_prompts_of_their_tasks() -> None:
    tasks = make_tasks(build_tokenizer())
    for name, each in TASKS.items():
        text = tasks.prompt(example(name, each, (CHIP,), (Prior.absent(),), "Sentinel-1 IW"))
        assert text.count("<|vision_start|>") == (2 if name == "change" else 1)
        if name == "change":
            assert f" {MAX_PLACES}: ship, before [220, 220, 244, 244]." in text
            assert "2024-01-09" in text


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (forms.parse_count, "007"),
        (forms.parse_count, "-1"),
        (forms.parse_count, "100"),
        (forms.parse_count, "two"),
        (forms.parse_cells, "bottom, top"),
        (forms.parse_cells, "top, top"),
        (forms.parse_cells, ""),
        (lambda text: forms.parse_choice(text, ("ship",)), "boat"),
        (lambda text: forms.parse_change(text, 1), '{"1": "sunk", "before": 1, "after": 0}\nGone.'),
        (lambda text: forms.parse_change(text, 1), '{"2": "gone", "before": 1, "after": 0}\nGone.'),
        (lambda text: forms.parse_change(text, 1), '{"1": "gone", "before": -1, "after": 0}\nGone.'),
        (lambda text: forms.parse_change(text, 1), '{"1": "gone", "before": 1, "after": 0}'),
        (lambda text: forms.parse_change(text, 0), "nothing"),
        (lambda text: forms.parse_question(text, 2), "[3]\nThat one."),
        (lambda text: forms.parse_question(text, 2), "[2, 1]\nThose."),
        (lambda text: forms.parse_question(text, 2), "[true]\nThat."),
        (lambda text: forms.parse_question(text, 2), "Ships."),
    ],
)
def test_other_forms_are_errors(read, text) -> None:
    with pytest.raises(AnswerError, match="expected|not JSON"):
        read(text)


def test_cells_are_those_of_the_centres() -> None:
    boxes = [(0, 0, 10, 10), (120, 120, 132, 132), (240, 100, 300, 140), (0, 1, 9, 9)]
    assert forms.cells_of(boxes, 252) == ("top left", "centre", "right")
    assert forms.cells_of([], 252) == ()
