"""One answer being written: greedy under the grammar, with the scores of what it names.

A list goes on while the probability of another object exceeds a floor, even where ending it is likelier:
the score of an object, not the decoder, sets the operating point. An object's score is the probability of
going on times the probability of its label, and times that of its coordinates to a power that the bundle
states. A coordinate's probability is that of the numbers near the one that is written, since its neighbours
say nearly the same. Of an answer out of a closed set, the probability among the answers allowed is kept, and
where a token alone decides, that of each option.

Where the vision tower proposes objects (``engine.runtime.proposals``), a list is written out of these and
ends with them: the decoder's first number chooses the next one, and the odds of both make its score. Of a
change, it may say how likely each place is occupied (``engine.runtime.changes``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from engine.runtime.calibration import logit, sigmoid
from engine.runtime.grammar import END, Grammar, State
from engine.runtime.proposals import Proposal

_ASTRAY = 0.01  # chance that the decoder names a proposal by another's number
_UNSEEN = 0.1  # where the tower sees nothing likelier, neither does the text: measured, decision 13
_NEAR = 0.02  # of the largest number: how far a coordinate may be and still be the same


@dataclass
class Writing:
    """The state of one answer.

    Attributes:
        grammar: what may be written.
        score_floor: a list goes on above this probability of another object.
        max_tokens: the longest answer.
        object_tokens: room that another object needs; 0 where answers are free text.
        tokens: what is written.
        fresh: the last of the tokens, which the decoder has not read yet.
        scores: one an object begun.
        proposals: what the tower sees and the list has not named yet; None where it proposes nothing.
        odds: weights of the log odds of text and tower in the score of a proposed object, and what is added.
        coordinates: power of the coordinates' probability in a score; 0 leaves it out.
        saturated: whether the length limit ended the answer.
        log_chance: log of the probability of what was chosen out of closed sets.
        chances: of each option, for each choice that one token decides.
        looked: for each such choice, in order, log chances of its options by the tower; none where it says
            nothing.
        text_power: of the decoder's chances where the tower says something.
    """

    grammar: Grammar
    score_floor: float
    max_tokens: int
    object_tokens: int = 0
    tokens: list[int] = field(default_factory=list)
    fresh: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    saturated: bool = False
    log_chance: float = 0.0
    chances: list[dict[str, float]] = field(default_factory=list)
    looked: Sequence[Mapping[str, float]] = ()
    text_power: float = 1.0
    coordinates: float = 0.0
    proposals: list[Proposal] | None = None
    odds: tuple[float, float, float] = (0.2, 0.8, 0.0)
    _state: int = 0
    _named: Proposal | None = None  # of the object begun
    _planned: list[int] = field(default_factory=list)  # its coordinates that are not written yet

    @property
    def done(self) -> bool:
        """Whether the answer has ended."""
        return self._state == END

    def advance(self, logits: NDArray[np.float32]) -> None:
        """Choose the next token, and write all that is certain after it.

        Args:
            logits: of the next token, [V].
        """
        self.fresh.clear()
        self._write(self._choose(self.grammar.states[self._state], logits))
        while not self.done and (token := self._certain(self.grammar.states[self._state])) is not None:
            self._write(token)

    def settle(self) -> bool:
        """Write the empty list where nothing could be named, whatever is read; return whether that is so."""
        if self.proposals is None or self._open(_UNSEEN):
            return False
        if max((each.chance for each in self.proposals), default=0.0) > _UNSEEN:
            return False
        while not self.done:
            state = self.grammar.states[self._state]
            token = self._certain(state)
            self._write(int(state.tokens[state.closes][0]) if token is None else token)
        return True

    def _certain(self, state: State) -> int | None:
        """Return the token about which there is no choice."""
        if state.forced:
            return state.forced[0]
        if self._planned and state.digits.any():
            return self._number(state, self._planned.pop(0))
        if self.proposals == [] and self.scores and state.branches:  # the list ends with the proposals
            return int(state.tokens[state.closes][0])
        return None

    def _number(self, state: State, value: int) -> int:
        """Return the token that writes a number."""
        return int(state.tokens[np.flatnonzero(_numbers(self.grammar, state) == value)[0]])

    def _write(self, token: int) -> None:
        self._state = self.grammar.states[self._state].target(token)
        self.tokens.append(token)
        self.fresh.append(token)

    def _choose(self, state: State, logits: NDArray[np.float32]) -> int:
        allowed = logits[state.tokens].astype(np.float64)
        weights = np.exp(allowed - allowed.max())
        if state.branches:
            weights = np.where(self._goes_on(state, weights), weights, -1.0)
        elif state.closes.any() and self.object_tokens == 0 and len(self.tokens) + 1 >= self.max_tokens:
            best = int(np.argmax(weights))
            self.saturated = not state.closes[best]
            weights = np.where(state.closes, weights, -1.0)
        fits = self.grammar.fitting(state, self.tokens)
        if fits is not None:
            weights = np.where(fits, weights, -1.0)
        chooses_box = bool(self.proposals) and self._named is None and bool(state.digits.any())
        if chooses_box or (self._named is not None and state.labels):
            return self._choose_proposed(state, np.maximum(weights, 0))
        if state.options and self.looked:
            weights = self._with_tower(state, weights)
        best = int(np.argmax(weights))
        if state.labels:
            self.scores[-1] *= float(weights[best] / weights.sum())
        if self.coordinates and self.scores and state.digits.any():
            # Weights that do not fit stand at -1.
            self.scores[-1] *= _located(self.grammar, state, np.maximum(weights, 0), best) ** self.coordinates
        if state.closed:
            self._note(state, weights / weights.sum(), best)
        return int(state.tokens[best])

    def _goes_on(self, state: State, weights: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Decide whether the list goes on, and return the tokens that do as decided."""
        going_on = float(weights[state.opens].sum())
        probability = going_on / (going_on + float(weights[state.closes].sum()))
        named = self._open(probability)
        go_on = probability > self.score_floor if self.proposals is None else bool(named)
        if go_on and len(self.tokens) + self.object_tokens + 1 > self.max_tokens:
            self.saturated, go_on = True, False
        if go_on:
            self.scores.append(probability)
            if len(named) == 1:
                self._plan(named[0])
        return state.opens if go_on else state.closes

    def _odds(self, text: float, tower: float) -> float:
        """Return the log odds of a proposed object by both."""
        by_text, by_tower, added = self.odds
        return by_text * logit(text) + by_tower * logit(tower) + added

    def _open(self, text: float) -> list[Proposal]:
        """Return the proposals that may be named next: their odds are above the floor."""
        least = logit(self.score_floor)
        return [each for each in self.proposals or () if self._odds(text, each.chance) > least]

    def _plan(self, proposal: Proposal) -> None:
        """Name a proposal next."""
        self._planned = list(proposal.box)
        self.proposals = [each for each in self.proposals or () if each is not proposal]
        if _has_labels(self.grammar):
            self._named = proposal
        else:  # there is but one label, which is no choice
            self.scores[-1] = sigmoid(self._odds(self.scores[-1], proposal.chance))

    def _choose_proposed(self, state: State, weights: NDArray[np.float64]) -> int:
        """Choose which proposal to name, by its first number; or, of the one begun, the label."""
        share = weights / weights.sum()
        if self._named is None:
            numbers = _numbers(self.grammar, state)
            near = int(_NEAR * numbers.max())
            upto = np.append(0.0, np.cumsum(np.bincount(np.maximum(numbers, 0), share)))

            def likely(each: Proposal) -> float:
                low, high = max(each.box[0] - near, 0), min(each.box[0] + near + 1, len(upto) - 1)
                return each.chance * (float(upto[high] - upto[low]) + _ASTRAY)

            self._plan(max(self._open(self.scores[-1]), key=likely))
            return self._number(state, self._planned.pop(0))
        seen = np.array([self._named.chances.get(name, 0.0) for name in _labels(self.grammar, state)])
        best = int(np.argmax(share * seen))
        self.scores[-1] = sigmoid(self._odds(self.scores[-1] * float(share[best]), float(seen[best])))
        self._named = None
        return int(state.tokens[best])

    def _with_tower(self, state: State, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the options' weights with what the tower says of them."""
        told = self.looked[len(self.chances)]
        log = np.array([told[option] for option in state.options])
        both: NDArray[np.float64] = (weights / weights.max()) ** self.text_power * np.exp(log - log.max())
        return both

    def _note(self, state: State, chances: NDArray[np.float64], best: int) -> None:
        """Keep the probabilities of a choice out of a closed set."""
        self.log_chance += float(np.log(chances[best]))
        if state.options:
            self.chances.append(dict.fromkeys(state.options, 0.0))
            for option, chance in zip(state.options, chances, strict=True):
                self.chances[-1][option] += float(chance)


def _located(grammar: Grammar, state: State, weights: NDArray[np.float64], best: int) -> float:
    """Return the share of the numbers near the one chosen, to the power of a quarter: four make a box.

    Where a tokenizer spells numbers digit by digit, one digit says too little: 1.
    """
    numbers = _numbers(grammar, state)
    if numbers.max() < 10 or numbers[best] < 0:
        return 1.0
    near = (numbers >= 0) & (np.abs(numbers - numbers[best]) <= _NEAR * numbers.max())
    share = float(weights[near].sum() / weights[numbers >= 0].sum())
    return math.sqrt(math.sqrt(share))


@lru_cache(maxsize=64)
def _has_labels(grammar: Grammar) -> bool:
    """Return whether there is a choice of labels."""
    return any(state.labels for state in grammar.states)


@lru_cache(maxsize=64)
def _labels(grammar: Grammar, state: State) -> tuple[str, ...]:
    """Return the label that each token of a state writes."""
    return tuple(grammar.text([int(token)]).split('"')[-2] for token in state.tokens)


@lru_cache(maxsize=64)
def _numbers(grammar: Grammar, state: State) -> NDArray[np.int64]:
    """Return the number that each token of a state writes whole, -1 where it writes none."""
    words = [grammar.text([int(token)]).strip() for token in state.tokens]
    return np.array([int(word) if word.isdecimal() else -1 for word in words])
