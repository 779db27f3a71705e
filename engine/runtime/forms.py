"""The answers of the tasks beside detection: their text, written for training and read back strictly.

    counting        2
    localisation    top left, centre            cells of a 3 x 3 grid in raster order; "none" without any
    classification  platform                    one of the task's labels
    landcover       trees                       one of the task's labels
    change          {"1": "appeared", "2": "gone", "before": 1, "after": 1}
                    One ship appeared and one left.
    question        [1, 3]
                    Two ships lie at anchor.    or the refusal, alone

Change and question have a closed first line, which names places by the ordinals of the prompt alone, and
a second line of words. The words of a change hold no digits, those of a question no brackets: what is
named is named in the first line.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.errors import AnswerError

CELLS = (
    "top left", "top", "top right",
    "left", "centre", "right",
    "bottom left", "bottom", "bottom right",
)  # fmt: skip
NO_CELLS = "none"
CHANGES = ("appeared", "gone", "still_occupied", "cannot_tell")
CLUTTER = "clutter"  # the label of a place where there is no object
NO_LAND, UNKNOWN = "no land", "cannot tell"  # land covers beside the classes
REFUSAL = "The images cannot show this."
MAX_COUNT = 99

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@dataclass(frozen=True, slots=True)
class ChangeText:
    """A change answer, read.

    Attributes:
        changes: one of CHANGES for each place, by ordinal.
        before: ships in the first image.
        after: ships in the second.
        sentence: the answer in words.
    """

    changes: tuple[str, ...]
    before: int
    after: int
    sentence: str


def cells_of(boxes: Sequence[Sequence[float]], size_px: float) -> tuple[str, ...]:
    """Return the cells of the 3 x 3 grid that hold the boxes' centres, in raster order.

    Args:
        boxes: x1, y1, x2, y2; centres beyond the image count for the cell beside them.
        size_px: side of the image that they refer to.
    """
    places = set()
    for x1, y1, x2, y2 in boxes:
        row, col = (min(max(int((low + high) / 2 / size_px * 3), 0), 2) for low, high in ((y1, y2), (x1, x2)))
        places.add(3 * row + col)
    return tuple(CELLS[place] for place in sorted(places))


def cells_text(cells: Sequence[str]) -> str:
    """Write a localisation answer."""
    return ", ".join(cells) if cells else NO_CELLS


def every_cells_text() -> list[str]:
    """Return every localisation answer, 2^9."""
    subsets = itertools.chain.from_iterable(itertools.combinations(CELLS, n) for n in range(len(CELLS) + 1))
    return [cells_text(cells) for cells in subsets]


def parse_cells(text: str) -> tuple[str, ...]:
    """Read a localisation answer strictly.

    Raises:
        AnswerError: not cells in raster order.
    """
    if text == NO_CELLS:
        return ()
    cells = tuple(text.split(", "))
    if cells != tuple(cell for cell in CELLS if cell in cells):
        raise AnswerError(f"got {text[:80]!r}, expected cells in raster order or {NO_CELLS!r}")
    return cells


def parse_count(text: str) -> int:
    """Read a counting answer strictly.

    Raises:
        AnswerError: not a number from 0 to MAX_COUNT.
    """
    if not (text.isascii() and text.isdigit()) or str(int(text)) != text or int(text) > MAX_COUNT:
        raise AnswerError(f"got {text[:80]!r}, expected a number from 0 to {MAX_COUNT}")
    return int(text)


def parse_choice(text: str, labels: Sequence[str]) -> str:
    """Read an answer out of a list strictly.

    Raises:
        AnswerError: not one of them.
    """
    if text not in labels:
        raise AnswerError(f"got {text[:80]!r}, expected one of {', '.join(labels)}")
    return text


def change_line(changes: Sequence[str], before: int, after: int) -> str:
    """Write the first line of a change answer, its end included."""
    answer: dict[str, str | int] = {str(place): change for place, change in enumerate(changes, start=1)}
    return json.dumps(answer | {"before": before, "after": after}) + "\n"


def change_text(changes: Sequence[str], before: int, after: int, sentence: str | None = None) -> str:
    """Write a change answer; without a sentence, with the one that follows from the changes."""
    return change_line(changes, before, after) + (sentence or change_sentence(changes))


def change_sentence(changes: Sequence[str]) -> str:
    """Say in one sentence, without digits, what changed."""
    words = {
        "appeared": ("ship appeared", "ships appeared"),
        "gone": ("ship left", "ships left"),
        "still_occupied": ("place is still occupied", "places are still occupied"),
        "cannot_tell": ("place cannot be told", "places cannot be told"),
    }
    parts = []
    for change in CHANGES:
        count = changes.count(change)
        if count:
            number = _NUMBERS[count] if count < len(_NUMBERS) else "many"
            parts.append(f"{number} {words[change][count > 1]}")
    text = ", ".join(parts) or "no ship is known here"
    return text[0].upper() + text[1:] + "."


def parse_change(text: str, places: int) -> ChangeText:
    """Read a change answer strictly.

    Args:
        text: the answer.
        places: how many places the request knows.

    Raises:
        AnswerError: another form, an unknown change, or other places than the known ones.
    """
    line, end, sentence = text.partition("\n")
    try:
        answer = json.loads(line)
    except ValueError as error:
        raise AnswerError(f"got an answer that is not JSON: {line[:80]!r}") from error
    keys = [*(str(place) for place in range(1, places + 1)), "before", "after"]
    if not isinstance(answer, Mapping) or list(answer) != keys or not end:
        raise AnswerError(f"got {line[:80]!r}, expected {places} places, before and after, then a sentence")
    *changes, before, after = answer.values()
    counts = [count for count in (before, after) if type(count) is int and 0 <= count <= MAX_COUNT]
    if any(change not in CHANGES for change in changes) or len(counts) != 2:
        raise AnswerError(f"got {line[:80]!r}, expected {', '.join(CHANGES)} and two counts")
    return ChangeText(tuple(changes), before, after, sentence)


def question_line(cites: Sequence[int]) -> str:
    """Write the first line of an answer to a free question, its end included."""
    return f"{list(cites)}\n"


def parse_question(text: str, places: int) -> tuple[tuple[int, ...], str]:
    """Read an answer to a free question strictly.

    Args:
        text: the answer.
        places: how many places the request knows.

    Returns:
        Ordinals that it cites, and its words; a refusal cites nothing.

    Raises:
        AnswerError: another form, or places that are not known.
    """
    if text == REFUSAL:
        return (), text
    line, end, words = text.partition("\n")
    try:
        cites = json.loads(line)
    except ValueError as error:
        raise AnswerError(f"got {line[:80]!r}, expected a list of ordinals or the refusal") from error
    known = range(1, places + 1)
    if not isinstance(cites, list) or not end or any(type(each) is not int for each in cites):
        raise AnswerError(f"got {line[:80]!r}, expected a list of ordinals, then words")
    if cites != [each for each in known if each in cites]:
        raise AnswerError(f"got ordinals {cites}, expected some of 1 to {places}, ascending")
    return tuple(cites), words
