"""What may be written next: the grammar of a task's answers over the tokens of one tokenizer.

A detection answer has exactly the form of ``engine.runtime.text.detection_text``, in exactly the tokens
into which the tokenizer itself splits it, since those are what the model was trained on. The automaton is
read off the tokenizer: covering answers are encoded, and each token leads from what stood before it to what
stands after it. Two beginnings of answers are one state where the same can follow them, that is, where
they are equal once finished objects and numbers are blanked out.

A grammar over bytes (llguidance was tried) allows ``1`` ``2`` for ``12`` where ``12`` is one token, and
then nothing is certain after a number. Here most tokens have one successor, which costs no forward pass.

The grammars of the other tasks stand in ``engine.runtime.closed``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.errors import ArtifactError
from engine.runtime.text import END_OF_TURN, detection_text

END = -1  # the state after an answer

_OBJECTS = re.compile(r"(\{[^{}]*\}, )*\{[^{}]*\}")
_NUMBER = re.compile(r"\d+(?=[,\]])")


@dataclass(frozen=True, eq=False)
class State:
    """What may follow some beginning of an answer.

    Attributes:
        tokens: allowed tokens, ascending, [n].
        targets: the state after each, [n].
        opens: True where a token begins another object, [n].
        closes: True where a token ends the list, [n].
        labels: whether the choice among the tokens is one of a label.
        digits: True where a token begins with a digit, [n].
        closed: whether the choice is one of an answer out of a closed set.
        options: what each token decides on, where it decides alone, [n]; empty elsewhere.
    """

    tokens: NDArray[np.int64]
    targets: NDArray[np.int64]
    opens: NDArray[np.bool_]
    closes: NDArray[np.bool_]
    labels: bool
    digits: NDArray[np.bool_]
    closed: bool = False
    options: tuple[str, ...] = ()

    @cached_property
    def forced(self) -> tuple[int, int] | None:
        """The only token and its target, if there is but one."""
        return (int(self.tokens[0]), int(self.targets[0])) if len(self.tokens) == 1 else None

    @cached_property
    def branches(self) -> bool:
        """Whether this is where a list goes on or ends."""
        return bool(self.opens.any() and self.closes.any())

    def target(self, token: int) -> int:
        """Return the state after an allowed token."""
        return int(self.targets[np.searchsorted(self.tokens, token)])


class Grammar(Protocol):
    """An automaton over tokens; it starts in state 0 and ends in END."""

    @property
    def states(self) -> Sequence[State]:
        """Return the states by number."""
        ...

    def text(self, tokens: Sequence[int]) -> str:
        """Return what tokens say, without the end of the turn."""
        ...

    def fitting(self, state: State, written: Sequence[int]) -> NDArray[np.bool_] | None:
        """Return which tokens of a state fit what is written, [n]; None where all do."""
        ...

    def __hash__(self) -> int:
        """Tell grammars apart: what is worked out of one is kept."""
        ...


class Beginnings:
    """The beginnings of answers, read off a tokenizer.

    Args:
        tokenizer: a ``tokenizers.Tokenizer``.
        blank: names a beginning so that equal names have the same continuations.

    Attributes:
        end: token of the end of the turn.
        words: text of each token met.
        following: name of a beginning -> token -> name of what then stands there.
        options: name of a beginning -> token -> options of the answers that go that way.
    """

    def __init__(self, tokenizer: Any, blank: Callable[[str], str]) -> None:
        self._tokenizer = tokenizer
        self._blank = blank
        self.end = int(tokenizer.token_to_id(END_OF_TURN))
        self.words = {self.end: ""}
        self.following: dict[str, dict[int, str]] = {"": {}}
        self.options: dict[str, dict[int, set[str]]] = {}

    def add(self, answers: Sequence[str], option: str | None = None, after: str = END_OF_TURN) -> list[int]:
        """Follow answers through their tokens; return how many each takes.

        Args:
            answers: whole answers, or whole first lines.
            option: what these answers decide on.
            after: name of the state behind them; END_OF_TURN where the turn ends.

        Raises:
            ArtifactError: the tokenizer does not give an answer back.
        """
        lengths = []
        for answer, encoding in zip(answers, self._tokenizer.encode_batch(list(answers)), strict=True):
            self._follow(answer, encoding.ids, option, after)
            lengths.append(len(encoding.ids))
        return lengths

    def _follow(self, answer: str, ids: Sequence[int], option: str | None, after: str) -> None:
        written = ""
        for index, token in enumerate(ids):
            if token not in self.words:
                self.words[token] = self._tokenizer.decode([token], skip_special_tokens=False)
            before, written = self._blank(written), written + self.words[token]
            last = index + 1 == len(ids) and after != END_OF_TURN
            self.following.setdefault(before, {})[token] = after if last else self._blank(written)
            if option is not None:
                self.options.setdefault(before, {}).setdefault(token, set()).add(option)
        if written != answer:
            raise ArtifactError(f"got {written!r} from the tokenizer, expected {answer!r} back unchanged")
        if after == END_OF_TURN:
            self.following.setdefault(self._blank(written), {})[self.end] = END_OF_TURN


class DetectionGrammar:
    """Lists of boxes with labels.

    Args:
        tokenizer: a ``tokenizers.Tokenizer``.
        labels: labels of the task.
        size_px: side of the enlarged chip; coordinates are integers 0 to size_px.
        empty: how a list without objects is written.

    Attributes:
        object_tokens: the most tokens that one object takes.

    Raises:
        ArtifactError: the tokenizer cannot write such answers.
    """

    def __init__(self, tokenizer: Any, labels: Sequence[str], size_px: int, empty: str = "[]") -> None:
        # Every number with every label, in the first object and in a later one, and every label before the
        # end and before another object.
        lists = [[(label, [value] * 4)] * 2 for label in labels for value in range(size_px + 1)]
        lists += [[(label, [size_px] * 4)] * count for label in labels for count in (1, 3)]
        answers = [empty, *(detection_text(objects) for objects in lists)]
        self._size_px = size_px
        self._fits: dict[tuple[int, str, int], NDArray[np.bool_]] = {}
        table = Beginnings(tokenizer, _blank)
        lengths = table.add(answers)
        self._words = table.words
        numbers = {name: number for number, name in enumerate(table.following)} | {END_OF_TURN: END}
        self.states = [_state(name, table.following, numbers, self._words, empty) for name in table.following]
        self.object_tokens = (
            max(length // len(each) for length, each in zip(lengths[1:], lists, strict=True)) + 1
        )

    def text(self, tokens: Sequence[int]) -> str:
        """Return what tokens say, without the end of the turn."""
        return "".join(self._words[token] for token in tokens)

    def fitting(self, state: State, written: Sequence[int]) -> NDArray[np.bool_] | None:
        """Return which tokens keep a box wider and higher than nothing: x2 > x1, y2 > y1.

        What an automaton cannot know: the second corner depends on the first.
        """
        if len(state.tokens) == 1 or not state.digits.any():
            return None
        *done, begun = self.text(written).rpartition("[")[2].split(",")
        low, high = 0, self._size_px - 1
        if len(done) >= 2:
            low, high = int(done[len(done) - 2]) + 1, self._size_px
        key = (id(state), begun.strip(), low)
        if key not in self._fits:
            self._fits[key] = self._fitting(state, begun.strip(), low, high)
        return self._fits[key]

    def _fitting(self, state: State, begun: str, low: int, high: int) -> NDArray[np.bool_]:
        """Return which tokens lead to a number from low to high, [n]."""
        fits = np.zeros(len(state.tokens), np.bool_)
        for index, (token, target) in enumerate(zip(state.tokens, state.targets, strict=True)):
            word = self._words[int(token)].strip()
            if word and not word[0].isdigit():  # what follows a number
                fits[index] = low <= int(begun) <= high
            elif int((begun + word) or 0) <= high:
                fits[index] = self._fitting(self.states[target], begun + word, low, high).any()
        return fits


class TextGrammar:
    """Any text of ordinary tokens, up to the end of the turn."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        end = tokenizer.token_to_id(END_OF_TURN)
        special = {id_ for id_, token in tokenizer.get_added_tokens_decoder().items() if token.special}
        tokens = np.array(sorted((set(tokenizer.get_vocab().values()) - special) | {end}), np.int64)
        none = np.zeros(len(tokens), np.bool_)
        ends = tokens == end
        self.states = [State(tokens, np.where(ends, END, 0), none, ends, labels=False, digits=none)]

    def text(self, tokens: Sequence[int]) -> str:
        """Return what tokens say, without the end of the turn."""
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=True))

    def fitting(self, state: State, written: Sequence[int]) -> None:
        """Return None: any text fits."""


def _blank(text: str) -> str:
    """Replace what can no longer change what follows: finished objects by *, finished numbers by 0."""
    return _NUMBER.sub("0", _OBJECTS.sub("*", text))


def _leads(name: str, table: dict[str, dict[int, str]], empty: str) -> str:
    """Say whether a list ends or goes on with another object behind a beginning; "" where both may be."""
    if name in (empty, "[*]"):
        return "ends"
    if name == "[*" or (name and empty.startswith(name)) or name == "[":
        ways = {_leads(after, table, empty) for after in table[name].values()}
        return ways.pop() if len(ways) == 1 else ""
    return "goes on"


def _state(
    name: str,
    table: dict[str, dict[int, str]],
    numbers: dict[str, int],
    words: dict[int, str],
    empty: str,
) -> State:
    following = table[name]
    tokens = np.array(sorted(following), np.int64)
    after = [following[int(token)] for token in tokens]
    ways = [_leads(each, table, empty) for each in after]
    closes = np.array([way == "ends" for way in ways])
    opens = np.array([way == "goes on" for way in ways]) & closes.any()
    digits = np.array([words[int(token)].strip()[:1].isdigit() for token in tokens])
    return State(
        tokens=tokens,
        targets=np.array([numbers[each] for each in after], np.int64),
        opens=opens,
        closes=closes,
        labels=len(tokens) > 1 and not opens.any() and not digits.any(),
        digits=digits,
    )
