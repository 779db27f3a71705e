"""What the tower proposes: read off tokens as it was written, and lists made of nothing else."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import ArtifactError
from engine.model.nano import build_tokenizer, number_ids
from engine.runtime.calibration import logit, sigmoid
from engine.runtime.grammar import DetectionGrammar
from engine.runtime.proposals import APART_PX, LEAST, Proposal, Readout
from engine.runtime.text import LABELS, parse_detections
from engine.runtime.writing import Writing

SIDE, SIZE, WIDTH = 9, 252, 24
SURE, NEVER = 4.0, -8.0


@pytest.fixture(scope="module")
def readout() -> Readout:
    rng = np.random.default_rng(0)
    weight = np.linalg.qr(rng.normal(size=(WIDTH, 7)))[0].T.astype(np.float32)
    bias = rng.normal(size=(SIDE**2, 7)).astype(np.float32)
    return Readout(weight, bias, LABELS)


def tokens(readout: Readout, objects: dict[int, tuple[float, ...]]) -> np.ndarray:
    """Visual tokens that say some numbers at some places, and of the others that nothing is there."""
    said = np.tile(np.array([NEVER] * 3 + [0.5, 0.5, 0.0, 0.0], np.float32), (SIDE**2, 1))
    for token, numbers in objects.items():
        said[token] = numbers
    return (said - readout.bias) @ readout.weight


def test_boxes_are_read_where_they_were_written(readout: Readout) -> None:
    wide, high = math.log(21 / 28), math.log(11 / 28)  # 20 and 10 px
    objects = {10: (SURE, NEVER, NEVER, 0.25, 0.5, wide, high), 80: (0.0, 1.0, NEVER, 1.0, 1.0, wide, high)}
    first, second = readout.proposals(tokens(readout, objects), SIZE)
    assert first.box == (25, 37, 45, 47)  # middle 35, 42
    assert first.chances["ship"] == pytest.approx(sigmoid(SURE), abs=1e-4)
    assert second.box == (242, 247, 252, 252)  # cut at the chip's edge
    assert max(second.chances, key=second.chances.get) == "platform"
    assert readout.proposals(tokens(readout, {}), SIZE) == []


def test_what_two_tokens_see_at_one_place_is_one_object(readout: Readout) -> None:
    left, right = (SURE, NEVER, NEVER, 0.98, 0.5, 0.0, 0.0), (2.0, NEVER, NEVER, 0.02, 0.5, 0.0, 0.0)
    (found,) = readout.proposals(tokens(readout, {0: left, 1: right}), SIZE)
    assert found.chance == pytest.approx(sigmoid(SURE), abs=1e-4)
    apart = (2.0, NEVER, NEVER, 0.02 + APART_PX / 28, 0.5, 0.0, 0.0)
    assert len(readout.proposals(tokens(readout, {0: left, 1: apart}), SIZE)) == 2


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31))
def test_whatever_tokens_say_boxes_are_inside_and_have_extent(readout: Readout, seed: int) -> None:
    visual = np.random.default_rng(seed).normal(0, 4, (SIDE**2, WIDTH)).astype(np.float32)
    found = readout.proposals(visual, SIZE)
    assert [each.chance for each in found] == sorted((each.chance for each in found), reverse=True)
    for each in found:
        x1, y1, x2, y2 = each.box
        assert 0 <= x1 < x2 <= SIZE and 0 <= y1 < y2 <= SIZE and each.chance >= LEAST


def test_a_file_goes_there_and_back_and_another_is_refused(readout: Readout, tmp_path: Path) -> None:
    readout.save(tmp_path / "readout.npz")
    again = Readout.open(tmp_path / "readout.npz")
    assert again.labels == LABELS
    assert (again.weight == readout.weight).all() and (again.bias == readout.bias).all()
    np.savez(tmp_path / "bad.npz", weight=readout.weight)
    (tmp_path / "none.npz").write_bytes(b"PK")
    for name in ("bad.npz", "none.npz", "missing.npz"):
        with pytest.raises(ArtifactError, match="copy the bundle anew"):
            Readout.open(tmp_path / name)
    with pytest.raises(ArtifactError, match="readout of weight"):
        Readout(readout.weight, readout.bias[:-1], LABELS)


class Decoder:
    """Logits of somebody who wants to name boxes by their first number, with a label and a will to go on."""

    def __init__(self, grammar: DetectionGrammar, tokenizer, first: list[int], label: str, on: float) -> None:
        self.grammar, self.ids, self.vocabulary = grammar, number_ids(tokenizer), tokenizer.get_vocab_size()
        self.first, self.label, self.on = first, label, on
        self.asked = 0

    def write(self, writing: Writing) -> list:
        named = 0
        while not writing.done:
            state = self.grammar.states[writing._state]
            logits = np.zeros(self.vocabulary, np.float32)
            if state.branches:
                logits[state.tokens[state.opens]] = logit(self.on)
            elif state.labels:
                for token in state.tokens:
                    if self.label in self.grammar.text([int(token)]):
                        logits[token] = 3.0
            else:
                logits[self.ids[self.first[min(named, len(self.first) - 1)]]] = 9.0
                named += 1
            self.asked += 1
            writing.advance(logits)
        return parse_detections(self.grammar.text(writing.tokens))


@pytest.fixture(scope="module")
def nano():
    tokenizer = build_tokenizer()
    return tokenizer, DetectionGrammar(tokenizer, LABELS, SIZE)


def proposal(x: int, ship: float, platform: float = 0.01) -> Proposal:
    return Proposal((x, 20, x + 10, 40), {"ship": ship, "platform": platform, "turbine": 0.001})


def write(nano, proposals, first=(0,), label="ship", on=0.9, floor=0.1, limit=80, odds=(0.2, 0.8, 0.0)):
    tokenizer, grammar = nano
    decoder = Decoder(grammar, tokenizer, list(first), label, on)
    writing = Writing(grammar, floor, limit, grammar.object_tokens, proposals=list(proposals), odds=odds)
    return decoder.write(writing), writing, decoder


def test_the_decoder_chooses_the_order_and_the_tower_the_boxes(nano) -> None:
    named, writing, _ = write(
        nano, [proposal(30, 0.9), proposal(100, 0.8), proposal(200, 0.7)], (198, 32, 99)
    )
    assert [box for _, box in named] == [(200, 20, 210, 40), (30, 20, 40, 40), (100, 20, 110, 40)]
    text = 0.9 * math.exp(3) / (math.exp(3) + 2)
    assert writing.scores[0] == pytest.approx(sigmoid(0.2 * logit(text) + 0.8 * logit(0.7)), abs=1e-6)


def test_a_list_ends_with_the_proposals_and_not_before_what_the_tower_is_sure_of(nano) -> None:
    assert write(nano, [], on=0.999)[0] == []
    assert len(write(nano, [proposal(30, 0.99)], on=0.999)[0]) == 1
    assert len(write(nano, [proposal(30, 0.99)], on=0.001)[0]) == 1
    assert write(nano, [proposal(30, 0.05)], on=0.001)[0] == []
    assert write(nano, [proposal(30, 0.05)], on=0.9, odds=(1.0, 0.0, 0.0))[0] != []


def test_text_and_tower_both_have_a_say_in_the_label(nano) -> None:
    assert write(nano, [proposal(30, 0.5, 0.4)], label="platform")[0][0][0] == "platform"
    assert write(nano, [proposal(30, 0.9, 0.001)], label="platform")[0][0][0] == "ship"


def test_no_step_is_spent_on_what_is_certain(nano) -> None:
    assert write(nano, [proposal(30, 0.9)])[2].asked == 2  # go on, label
    assert write(nano, [proposal(30, 0.9), proposal(90, 0.9)])[2].asked == 5  # and one number


def test_what_is_below_the_floor_is_not_named_first(nano) -> None:
    named, writing, _ = write(nano, [proposal(30, 0.9), proposal(100, 0.03)], (99, 29), on=0.5)
    assert [box[0] for _, box in named] == [30]
    assert min(writing.scores) > 0.1


def test_one_label_is_no_choice_and_scored_all_the_same() -> None:
    tokenizer = build_tokenizer()
    single = tokenizer, DetectionGrammar(tokenizer, ("ship",), SIZE)
    named, writing, _ = write(single, [proposal(30, 0.9), proposal(100, 0.8)], (29, 99))
    assert [box[0] for _, box in named] == [30, 100]
    assert writing.scores[0] == pytest.approx(sigmoid(0.2 * logit(0.9) + 0.8 * logit(0.9)), abs=1e-6)


def test_a_full_list_is_saturated(nano) -> None:
    many = [proposal(12 * k, 0.9) for k in range(20)]
    named, writing, _ = write(nano, many, limit=60)
    assert writing.saturated and 0 < len(named) < 20
    assert len({box for _, box in named}) == len(named)


@pytest.mark.parametrize("chances", [(), (0.09,), (0.02, 0.05)])
@pytest.mark.parametrize("floor", [0.1, 0.5])
def test_where_the_tower_sees_too_little_the_list_is_empty_unasked(
    nano, chances: tuple[float, ...], floor: float
) -> None:
    few = [proposal(30 + 60 * k, chance) for k, chance in enumerate(chances)]
    named, asked, decoder = write(nano, few, on=0.1, floor=floor)  # the text finds nothing either
    assert (named, decoder.asked) == ([], 1)
    unasked = Writing(nano[1], floor, 80, nano[1].object_tokens, proposals=few)
    assert unasked.settle()
    assert unasked.done
    assert (unasked.tokens, unasked.scores) == (asked.tokens, [])


@pytest.mark.parametrize(
    ("chances", "floor", "odds"),
    [
        (None, 0.1, (0.2, 0.8, 0.0)),  # a bundle without a readout
        ((0.05, 0.11), 0.1, (0.2, 0.8, 0.0)),
        ((0.05, 0.11), 0.5, (0.2, 0.8, 0.0)),  # a text that is sure would name it
        ((0.05,), 0.02, (0.2, 0.8, 0.0)),
        ((0.05,), 0.1, (0.2, 0.8, 1.0)),
    ],
)
def test_the_decoder_is_asked_where_it_may_have_something_to_choose(nano, chances, floor, odds) -> None:
    proposals = None if chances is None else [proposal(30 + 60 * k, each) for k, each in enumerate(chances)]
    writing = Writing(nano[1], floor, 80, nano[1].object_tokens, proposals=proposals, odds=odds)
    assert not writing.settle()
    assert not writing.done
    assert writing.tokens == []


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 24), st.sampled_from([40, 80, 384]))
def test_whatever_decoder_and_tower_say_a_list_names_proposals_once(
    nano, seed: int, count: int, limit: int
) -> None:
    tokenizer, grammar = nano
    rng = np.random.default_rng(seed)
    given_ = []
    for _ in range(count):
        x, y = (int(each) for each in rng.integers(0, SIZE - 1, 2))
        box = (x, y, int(rng.integers(x + 1, SIZE + 1)), int(rng.integers(y + 1, SIZE + 1)))
        given_.append(Proposal(box, dict(zip(LABELS, rng.uniform(0, 1, 3).tolist(), strict=True))))
    writing = Writing(grammar, 0.1, limit, grammar.object_tokens, proposals=list(given_))
    while not writing.done and not (not writing.tokens and writing.settle()):
        writing.advance(rng.normal(0, 4, tokenizer.get_vocab_size()).astype(np.float32))
    named = parse_detections(grammar.text(writing.tokens))
    assert len(named) == len(writing.scores) <= count
    assert len(writing.tokens) <= limit
    assert all(0 < score < 1 for score in writing.scores)
    left = [each.box for each in given_]
    for label, box in named:
        assert label in LABELS
        left.remove(tuple(box))
