"""Numbers in words, as ships' lengths are told: "two hundred and fifty"."""

from __future__ import annotations

import re

UNIT = r"(m|met(?:re|er)s?|mtrs?|km|kms|kilomet(?:re|er)s?|ft|feet|foot)"
WORD_NUMBERS = {
    word: n
    for n, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
        "sixteen "
        "seventeen eighteen nineteen".split()
    )
} | {word: 10 * n for n, word in enumerate(
    "twenty thirty forty fifty sixty seventy eighty ninety".split(), start=2)}  # fmt: skip
SCALES = {"hundred": 100, "thousand": 1000}


def in_digits(tokens: list[str]) -> list[str]:
    """Put numbers in words into digits; "one" alone stays a word, unless a unit or a scale follows."""
    out: list[str] = []
    at = 0
    while at < len(tokens):
        value, end = _number_at(tokens, at)
        if end > at:
            out.append(f"~{value}")
            at = end
        else:
            out.append(tokens[at])
            at += 1
    return out


def _number_at(tokens: list[str], start: int) -> tuple[int, int]:
    """Read a number in words: its value, and the end; an end at the start where there is none."""
    total = current = 0
    at, end = start, start
    while at < len(tokens):
        word = tokens[at]
        if word in WORD_NUMBERS:
            current += WORD_NUMBERS[word]
        elif word in SCALES and (at > start or start == at and word in SCALES):
            current = max(current, 1) * SCALES[word]
            if word == "thousand":
                total, current = total + current, 0
        elif word == "a" and at == start and at + 1 < len(tokens) and tokens[at + 1] in SCALES:
            current = 0
        elif word == "and" and end == at > start and tokens[at - 1] in SCALES:
            at += 1
            continue
        else:
            break
        at += 1
        end = at
    if end == start + 1 and tokens[start] in ("one", "two"):
        unit = end < len(tokens) and re.fullmatch(UNIT, tokens[end])
        counted = start > 0 and tokens[start - 1] in (
            "place",
            "number",
            "position",
            "spot",
            "point",
            "contact",
            "no",
        )
        if not unit and not counted:
            return 0, start
    return total + current, end
