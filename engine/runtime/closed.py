"""Grammars of the answers of ``engine.runtime.forms``: one of a list, places by ordinal, words.

Like the grammar of detections, a closed line is an automaton that is read off the tokenizer. What
follows it are words of plain ASCII.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import ArtifactError
from engine.runtime.forms import CHANGES, MAX_COUNT, REFUSAL, change_line, question_line
from engine.runtime.grammar import END, Beginnings, State
from engine.runtime.text import END_OF_TURN

_WORDS = "words"  # name of the state behind a closed line
_SENTENCE = re.compile(r" ?[A-Za-z ,;:'()/-]*\.?")  # pieces of one sentence without digits
_FREE = re.compile(r"[A-Za-z0-9 ,;:.?!%'()/+-]+")  # pieces of any words without brackets
_SPACE = "\u0120"  # how byte-level pieces spell it
_PLACE = re.compile(r'("\d+"): "[a-z_]+"(?=,)')
_COUNT = re.compile(r"\d+(?=[,}])")


class Words:
    """Words of plain ASCII: which tokens they are of, and where they may end.

    Args:
        tokenizer: a ``tokenizers.Tokenizer`` of byte-level pieces.
        one_sentence: whether a full stop ends them, and digits are left out; else brackets are.

    Raises:
        ArtifactError: the tokenizer has no such pieces.
    """

    def __init__(self, tokenizer: Any, one_sentence: bool) -> None:
        special = {id_ for id_, token in tokenizer.get_added_tokens_decoder().items() if token.special}
        pieces = _SENTENCE if one_sentence else _FREE
        spelt = {
            id_: piece
            for spelling, id_ in tokenizer.get_vocab().items()
            if id_ not in special and pieces.fullmatch(piece := spelling.replace(_SPACE, " "))
        }
        ids = np.array(sorted(id_ for id_, piece in spelt.items() if piece), np.int64)
        # behind a line's end, a leading space would be part of that end, and a sentence has a beginning
        self._begins = np.array([spelt[int(id_)][0].isalnum() for id_ in ids], np.bool_)
        self._stops = np.array([one_sentence and spelt[int(id_)].endswith(".") for id_ in ids], np.bool_)
        self._ids, self._end = ids, int(tokenizer.token_to_id(END_OF_TURN))
        if not self._begins.any():
            raise ArtifactError("got a tokenizer without plain words, expected byte-level pieces, as Qwen's")

    def states(self, first: int) -> list[State]:
        """Return three states: of the first token, of later ones, and behind the end of a sentence."""
        targets = np.where(self._stops, first + 2, first + 1)
        return [
            self._state(self._ids[self._begins], targets[self._begins], ends=False),
            self._state(self._ids, targets, ends=True),
            self._state(self._ids[:0], targets[:0], ends=True),
        ]

    def _state(self, tokens: NDArray[np.int64], targets: NDArray[np.int64], ends: bool) -> State:
        if ends:
            tokens, targets = np.append(tokens, self._end), np.append(targets, END)
        order = np.argsort(tokens)
        none = np.zeros(len(tokens), np.bool_)
        closes = tokens[order] == self._end
        return State(tokens[order], targets[order], none, closes, labels=False, digits=none)


class ClosedGrammar:
    """Answers whose first line, at least, is one of a closed set.

    Args:
        tokenizer: a ``tokenizers.Tokenizer``.
        table: the beginnings of the closed lines.
        closed_tokens: the most tokens that one takes.
        words: what follows a closed line; None where the answer ends with it.

    Attributes:
        closed_tokens: the most tokens that a closed line takes.
    """

    def __init__(self, tokenizer: Any, table: Beginnings, closed_tokens: int, words: Words | None) -> None:
        self._tokenizer = tokenizer
        self.closed_tokens = closed_tokens
        numbers = {name: number for number, name in enumerate(table.following)}
        behind = len(numbers)
        numbers |= {END_OF_TURN: END, _WORDS: behind}
        self.states = [
            _closed_state(following, numbers, table.options.get(name, {}))
            for name, following in table.following.items()
        ]
        if words is not None:
            self.states += words.states(first=behind)

    def text(self, tokens: Sequence[int]) -> str:
        """Return what tokens say, without the end of the turn."""
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=True))

    def fitting(self, state: State, written: Sequence[int]) -> NDArray[np.bool_] | None:
        """Return None: the automaton knows all."""
        return None


def choice_grammar(tokenizer: Any, answers: Sequence[str]) -> ClosedGrammar:
    """Return the grammar of one answer out of a list.

    Raises:
        ArtifactError: the tokenizer cannot write one of them.
    """
    table = Beginnings(tokenizer, str)
    longest = max(table.add([answer], option=answer)[0] for answer in answers)
    return ClosedGrammar(tokenizer, table, longest, None)


def change_grammar(tokenizer: Any, places: int, words: Words) -> ClosedGrammar:
    """Return the grammar of what became of so many known places, each named once and in order.

    Args:
        tokenizer: a ``tokenizers.Tokenizer``.
        places: how many.
        words: of one sentence.

    Raises:
        ArtifactError: the tokenizer cannot write such answers, or a token begins two changes.
    """
    table = Beginnings(tokenizer, _blank_change)
    lengths = []
    for change in CHANGES:
        lengths += table.add([change_line([change] * places, 0, 0)], option=change, after=_WORDS)
    first = [CHANGES[-1]] * places
    lengths += table.add([change_line(first, count, count) for count in range(MAX_COUNT + 1)], after=_WORDS)
    grammar = ClosedGrammar(tokenizer, table, max(lengths), words)
    decided = sum(bool(state.options) for state in grammar.states)
    if decided != places:
        raise ArtifactError(
            f"got a tokenizer that tells the changes of {decided} places apart, expected {places}: the first "
            f"tokens of {', '.join(CHANGES)} must differ"
        )
    return grammar


def question_grammar(tokenizer: Any, places: int, words: Words) -> ClosedGrammar:
    """Return the grammar of answers to a free question: a refusal, or cited places and words.

    Args:
        tokenizer: a ``tokenizers.Tokenizer``.
        places: how many may be cited.
        words: of any number of sentences.

    Raises:
        ArtifactError: the tokenizer cannot write such answers.
    """
    table = Beginnings(tokenizer, _blank_question)
    known = range(1, places + 1)
    # what may follow an ordinal depends on the one before it at most
    cited = [cites for n in range(4) for cites in itertools.combinations(known, n)]
    table.add([question_line(cites) for cites in cited], after=_WORDS)
    longest = max(table.add([question_line(known)], after=_WORDS) + table.add([REFUSAL]))
    return ClosedGrammar(tokenizer, table, longest, words)


def _blank_change(text: str) -> str:
    """Keep the last two entries, finished values replaced: their keys tell how far the line is."""
    last = text.rfind(', "')
    start = text.rfind(', "', 0, last) + 1 if last > 0 else 0
    return _COUNT.sub("0", _PLACE.sub(r"\1", text[start:]))


def _blank_question(text: str) -> str:
    """Keep the last two ordinals of a list that is being written."""
    if not text.startswith("[") or "]" in text:
        return text[text.find("]") :] if "]" in text else text
    return "[" + ", ".join(text[1:].split(", ")[-2:])


def _closed_state(following: dict[int, str], numbers: dict[str, int], options: dict[int, set[str]]) -> State:
    tokens = np.array(sorted(following), np.int64)
    targets = np.array([numbers[following[int(token)]] for token in tokens], np.int64)
    decided = [options.get(int(token), set()) for token in tokens]
    alone = len(tokens) > 1 and all(len(each) == 1 for each in decided)
    none = np.zeros(len(tokens), np.bool_)
    return State(
        tokens=tokens,
        targets=targets,
        opens=none,
        closes=none,
        labels=False,
        digits=none,
        closed=len(tokens) > 1,
        options=tuple(next(iter(each)) for each in decided) if alone else (),
    )
