"""The grammar writes exactly the answers of text.py, in the tokenizer's own tokens."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import ArtifactError
from engine.model.nano import build_tokenizer
from engine.runtime.grammar import END, DetectionGrammar, TextGrammar
from engine.runtime.text import END_OF_TURN, LABELS, detection_text, parse_detections
from tests.support.qwen import qwen_tokenizer

SIZE = 252


def digits_tokenizer():
    """Byte-level BPE in which a number is its digits and pieces of JSON are merged, as in Qwen's."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    words = Regex(r"\d|[^\s\w]+|\s?\w+|\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(words, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[END_OF_TURN],
        show_progress=False,
    )
    lines = [detection_text([]), *(detection_text([(label, (1, 2, 3, 4))] * 2) for label in LABELS)]
    tokenizer.train_from_iterator(lines * 20, trainer)
    tokenizer.add_special_tokens([AddedToken("<|image_pad|>")])
    return tokenizer


@pytest.fixture(scope="module", params=["nano", "digits", "qwen"])
def pair(request):
    if request.param == "qwen":
        tokenizer = qwen_tokenizer(request.getfixturevalue("real_data"))
    else:
        tokenizer = build_tokenizer() if request.param == "nano" else digits_tokenizer()
    return tokenizer, DetectionGrammar(tokenizer, LABELS, SIZE)


def walk(tokenizer, grammar, ids) -> int:
    state = 0
    for token in [*ids, tokenizer.token_to_id(END_OF_TURN)]:
        assert token in grammar.states[state].tokens
        state = grammar.states[state].target(token)
    return state


@given(st.lists(st.tuples(st.sampled_from(LABELS), st.tuples(*[st.integers(0, SIZE)] * 4)), max_size=5))
def test_every_answer_is_allowed_as_the_tokenizer_splits_it(pair, objects) -> None:
    tokenizer, grammar = pair
    text = detection_text(objects)
    ids = tokenizer.encode(text).ids
    assert walk(tokenizer, grammar, ids) == END
    assert grammar.text(ids) == text
    assert len(ids) + 1 <= max(len(objects), 1) * grammar.object_tokens + 2


@given(st.integers(0, SIZE - 1), st.integers(0, SIZE - 1), st.integers(0, SIZE), st.integers(0, SIZE))
def test_exactly_the_boxes_with_an_extent_fit(pair, x1, y1, x2, y2) -> None:
    tokenizer, grammar = pair
    ids = tokenizer.encode(detection_text([(LABELS[0], (x1, y1, x2, y2))])).ids
    state, fit = 0, True
    for index, token in enumerate(ids):
        choices = grammar.states[state]
        fits = grammar.fitting(choices, ids[:index])
        fit = fit and (fits is None or bool(fits[list(choices.tokens).index(token)]))
        state = choices.target(token)
    assert fit == (x1 < x2 and y1 < y2)


@given(st.integers(0, 2**32 - 1))
def test_every_way_through_the_grammar_parses(pair, seed) -> None:
    _, grammar = pair
    rng = np.random.default_rng(seed)
    tokens: list[int] = []
    state = 0
    while state != END:
        choices = grammar.states[state]
        if len(tokens) > 200 and choices.branches:
            token = int(choices.tokens[choices.closes][0])
        else:
            fits = grammar.fitting(choices, tokens)
            token = int(rng.choice(choices.tokens if fits is None else choices.tokens[fits]))
        tokens.append(token)
        state = choices.target(token)
    objects = parse_detections(grammar.text(tokens))
    assert all(label in LABELS for label, _ in objects)
    assert all(0 <= value <= SIZE and value == int(value) for _, box in objects for value in box)
    assert all(x1 < x2 and y1 < y2 for _, (x1, y1, x2, y2) in objects)
    assert grammar.text(tokens) == detection_text(objects)


def test_lists_branch_where_they_may_go_on_or_end(pair) -> None:
    tokenizer, grammar = pair
    text = detection_text([("ship", (1, 20, 130, 252)), ("turbine", (0, 9, 99, 200))])
    state, branches, labels = 0, 0, 0
    for token in tokenizer.encode(text).ids:
        current = grammar.states[state]
        branches += current.branches
        labels += current.labels
        if current.branches:
            assert not (current.opens & current.closes).any()
        state = current.target(token)
    assert branches == 3  # at the start, after each object
    assert labels == 2


def test_of_nanos_box_only_numbers_label_and_branch_are_choices() -> None:
    tokenizer = build_tokenizer()
    grammar = DetectionGrammar(tokenizer, LABELS, SIZE)
    state, chosen = 0, 0
    ids = tokenizer.encode(detection_text([("ship", (1, 20, 130, 252))])).ids
    for token in ids:
        chosen += grammar.states[state].forced is None
        state = grammar.states[state].target(token)
    assert len(ids) == 10
    assert chosen == 7  # open, four numbers, label, close


def test_a_tokenizer_that_changes_the_text_is_refused() -> None:
    from tokenizers import normalizers

    tokenizer = digits_tokenizer()
    tokenizer.normalizer = normalizers.Replace('"', "'")
    with pytest.raises(ArtifactError, match="unchanged"):
        DetectionGrammar(tokenizer, LABELS, SIZE)


def test_text_may_be_anything_but_special_tokens() -> None:
    tokenizer = build_tokenizer()
    grammar = TextGrammar(tokenizer)
    state = grammar.states[0]
    ids = tokenizer.encode("Calm sea; no land; 2 ships. [3]").ids
    assert set(ids) <= set(state.tokens.tolist())
    assert grammar.text([*ids, tokenizer.token_to_id(END_OF_TURN)]) == "Calm sea; no land; 2 ships. [3]"
    assert tokenizer.token_to_id("<|image_pad|>") not in state.tokens
    assert tokenizer.token_to_id("<|im_start|>") not in state.tokens
    assert state.target(tokenizer.token_to_id(END_OF_TURN)) == END
