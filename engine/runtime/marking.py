"""A question's words: what fills a slot is taken out, and a mark put in its stead.

What fills a slot is a class, a bound in metres, a part of the image or the area, or a place's ordinal. What
is left must be words of ``engine.runtime.lexicon``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, lru_cache

from engine.runtime.lexicon import CUES, GENERAL, SLOTS
from engine.runtime.patterns import (
    COMPARE,
    CONTRACTED,
    HERE,
    LAST,
    NOUNS,
    OF_LENGTH,
    OPPOSITE,
    PART,
    PARTS,
    PHRASES,
    PLACE,
    POLITE,
    TAIL,
    TOKEN,
)
from engine.runtime.spelt import OTHERS, SCALES, WORD_NUMBERS, in_digits

FOOT_M = 0.3048


@dataclass(frozen=True, slots=True)
class Bound:
    """A bound on lengths."""

    metres: float
    longer: bool
    strict: bool

    def holds(self, length_m: float) -> bool:
        """Whether a length lies within."""
        if length_m == self.metres:
            return not self.strict
        return (length_m > self.metres) == self.longer


@dataclass(frozen=True, slots=True)
class Marked:
    """A question with its slots taken out.

    Attributes:
        marks: words and marks, in order; slots are words in angle brackets.
        labels: classes that it names, "object" for any.
        bounds: on lengths.
        parts: parts of the image, of PARTS.
        places: ordinals.
        unknown: words that nobody knows, numbers that no slot took among them.
    """

    marks: tuple[str, ...]
    labels: tuple[str, ...]
    bounds: tuple[Bound, ...]
    parts: tuple[str, ...]
    places: tuple[int, ...]
    unknown: tuple[str, ...]


_OF_OTHER = re.compile(  # of ships as such, of time, of names
    r"^(?:what|how \w+) (?:is|are) (?:(?:an? )?<thing>|radar|sar|satellite)$"
    r"|\bhow long (?:has|have|had|did|will|until)\b|\bidentify (?:this|that|the) <thing>$"
)


def mark(text: str) -> Marked:
    """Take the slots out of a question."""
    clauses = [each for each in re.split(r"[?!;:]+|\.(?=\s|$)", text.lower()) if each.strip(" ,.-")]
    said = [clause for each in clauses if (clause := _words(each))]
    line = " ".join(said)
    unknown = ["<several>"] if sum(_asks(each) for each in said) > 1 else []
    labels: list[str] = []
    bounds: list[Bound] = []
    parts: list[str] = []
    places: list[int] = []
    for label, pattern in NOUNS.items():
        line, count = re.subn(rf"(?<![\w<])(?:{pattern})(?![\w>])", f"<{label}>", line)
        labels += [label] * bool(count)
    line = _take_places(line, places)
    for pattern, longer, strict in COMPARE:
        line = re.sub(
            rf"(?<!\S){OF_LENGTH}{pattern}{TAIL}(?!\S)",
            lambda found, longer=longer, strict=strict: _bound(found, longer, strict, bounds),  # type: ignore[misc]
            line,
        )
    line = PART.sub(lambda found: _parts(found, parts), line)
    for pattern, meaning in PHRASES:
        line = re.sub(rf"(?<!\S)(?:{pattern})(?!\w)", meaning, " ".join(line.split()))
    line = " ".join(HERE.sub(" ", line).split())
    while (bare := LAST.sub("", line)) != line:
        line = bare
    if "?classes" in line:
        labels = [label for label in labels if f"<{label}>" in line]
    line = re.sub(r"<(?:ship|platform|turbine|object)>", "<thing>", line)
    marks = tuple(line.split())
    unknown += [each for each in marks if each not in _known()]
    if _OF_OTHER.search(line):
        unknown.append("<other>")
    if any(set(parts) >= pair for pair in OPPOSITE) or len(parts) > 2:
        unknown.append("<parts>")
    if re.search(r"\b(?:in|inside|on|into|at) (?:(?:the|this|that|an?) )?(?:\w+ )?<thing>", line):
        unknown.append("<inside>")  # what is in a ship is no question of places
    return Marked(marks, tuple(labels), tuple(bounds), tuple(parts), tuple(places), tuple(unknown))


def _words(clause: str) -> str:
    """Return a clause's words: numbers marked, typing errors mended, politeness gone."""
    clause = clause.replace("’", "'").replace("#", " hash ").replace("≥", ">=").replace("≤", "<=")
    tokens: list[str] = []
    for token in TOKEN.findall(clause):
        if token[0].isdigit():
            tokens.append(f"~{token.replace(',', '')}")
        else:
            spelt = CONTRACTED.get(token, token)
            tokens += [_mended(each) for each in spelt.replace("'", " ").split()]
    line = " ".join(in_digits(tokens))
    while (bare := POLITE.sub("", f"{line} ").strip()) != line:
        line = bare
    return re.sub(r" ?\b(?:please|thanks|thank you)$", "", line)


def _asks(clause: str) -> bool:
    return clause not in (
        "hi",
        "hello",
        "hey",
        "please",
        "ok",
        "okay",
        "thanks",
        "question",
        "a question",
        "sir",
        "tell me",
    )


def _take_places(line: str, places: list[int]) -> str:
    def taken(found: re.Match[str]) -> str:
        places.append(int(found[1] or found[2]))
        return "<place>"

    return PLACE.sub(taken, line)


def _bound(found: re.Match[str], longer: bool, strict: bool, bounds: list[Bound]) -> str:
    value, unit = float(found[1]), found[2]
    scale = 1000 if unit.startswith("k") else FOOT_M if unit.startswith("f") else 1
    bounds.append(Bound(value * scale, longer, strict))
    return "<bound>"


def _parts(found: re.Match[str], parts: list[str]) -> str:
    parts += [
        name
        for each in found.groups()
        if each
        for name, pattern in PARTS.items()
        if re.fullmatch(pattern, each)
    ]
    return "<part>"


@cache
def _known() -> frozenset[str]:
    marks = {"<thing>", *SLOTS, "?classes"}
    return frozenset(GENERAL.split()) | frozenset(CUES) | marks


@cache
def _spelling() -> frozenset[str]:
    """Words that a mistyped word may stand for."""
    nouns = (
        "ship ships vessel vessels boat boats craft platform platforms rigs turbine turbines windmill "
        "windmills "
        "object objects target targets thing things items contacts contact offshore drilling wind third "
        "section "
        "region area upper lower bottom north south east west northern southern eastern western corner "
        "longer "
        "shorter above under below bigger larger greater exceeding longest images image passes picture "
        "earlier "
        "later first second previous newer older meantime between passes position number metres "
        "kilometres uppermost topmost "
        "lowermost leftmost rightmost overflight acquisition most"
    )
    return frozenset(word for word in (*_known(), *nouns.split()) if word.isalpha() and len(word) > 3)


_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_LONG = 6  # letters from which on a wrong letter, or one too many, is mended as well


@lru_cache(4096)
def _mended(word: str) -> str:
    """Mend a letter that was swapped, dropped or doubled inside a word, where one word alone fits."""
    if len(word) < 4 or word in _spelling() or word in _known() or not word.isalpha():
        return word
    if word in _in_patterns():
        return word
    near = {word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in range(1, len(word) - 1)}
    near |= {word[:i] + word[i + 1 :] for i in range(1, len(word)) if word[i] == word[i - 1]}
    near |= {word[:i] + letter + word[i:] for i in range(1, len(word)) for letter in _LETTERS}
    short = frozenset(near)
    if len(word) >= _LONG:
        near |= {word[:i] + word[i + 1 :] for i in range(1, len(word))}
        near |= {word[:i] + letter + word[i + 1 :] for i in range(1, len(word)) for letter in _LETTERS}
        near = {each for each in near if len(each) >= _LONG or each in short}
    found = near & _spelling()
    return found.pop() if len(found) == 1 else word


@cache
def _in_patterns() -> frozenset[str]:
    """Words that patterns know, and words that no other is to be made of."""
    patterns = [*NOUNS.values(), *PARTS.values(), *(each[0] for each in (*COMPARE, *PHRASES))]
    patterns += [HERE.pattern, PLACE.pattern, PART.pattern, POLITE.pattern]
    words = [*WORD_NUMBERS, *SCALES, *OTHERS.split()]
    return frozenset(re.findall(r"[a-z]{4,}", " ".join(patterns))) | frozenset(words)
