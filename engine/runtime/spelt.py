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
# English words that a slip would make a known word of: they are not mended.
OTHERS = """
appeal appealed appeals arranged assets bats berth boas buster chance chances charge charged charges
cleaned clearer coast coding cold commute compart consent cont container contend contends contest
contests context contract contracts convent coping corners costal counter county courts crossings daring
deceased defect deport deported displaced editing exciting exit exiting exits expend fallon filler filmer
form fund funding graceful handing hopping indexed indicted kindle lager lane lasted latter leaders
leading leaking leaning leasing leaves lest lifted liner liners linger listen listing locale locked
locking logger loner looming looping lots making martin marvin masked masking mere messed messing misled
misses moored novice outsider overlay paces packed painted painting parses party passer pauses picker
pint placer planes plates pleased pointer posing precious preset prevent printed printing provided
provider reacting realty recorder regain regained renders repeal repealed reporter repost resort retain
retained retaining retains ruining sand saying secondo seconds seeding seeking setting sewing shoot
shooter shore shorten shoved shower shrine sips slowed slowing sorter sots sporting stacking stacks
staged staging standings stared staring stated states statue statues sticky stocking stocks strands
suction thee thin thins thorough though thought thoughts touched tracks trades trough tuned turner waited
wander wandering ward wasted
"""
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
