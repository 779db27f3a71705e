"""Questions that words and slots alone would read the wrong way: what hangs on order, or has two meanings.

"Are any ships left" asks what stayed, "which ships left" what went; "is the longest ship in the north" asks
yes or no, "the longest ship in the north" for a ship. Such a question is not understood, so that nobody gets
another one's answer.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from engine.runtime.spelt import WORD_NUMBERS

if TYPE_CHECKING:
    from engine.runtime.reading import Reading

_THING = r"(?:ships?|vessels?|boats?|platforms?|rigs?|turbines?|objects?|targets?|contacts?|things?)"
_PICTURED = r"(?:images?|pictures?|frames?|chips?|scenes?|passes|places?|positions?|spots?)"
_YES_NO = r"^(?:and |so |now |please )?(?:is|are|was|were|does|do|did|has|have)\b"
_MOST = r"\b(?:longest|shortest|largest|biggest|smallest|greatest|tiniest)\b"
_SIDE = r"\b(?:north|south|east|west|left|right|top|bottom|upper|lower)\w*"
_TENS = "|".join(word for word, n in WORD_NUMBERS.items() if n >= 20)
_SMALL = "|".join(word for word, n in WORD_NUMBERS.items() if 0 < n < 20)
_TEN_ON = "|".join(word for word, n in WORD_NUMBERS.items() if 10 <= n)

# Whatever was understood.
_ALWAYS = (
    rf"\b(?:{_SMALL})[ -](?:{_SMALL}|{_TENS})\b(?! (?:ships?|vessels?|boats?)\b)",  # "two fifty": 52, or 250
    rf"\b(?:{_TENS})[ -](?:{_TEN_ON})\b",
    r"\b\d{1,3}\.\d{3}\b|\d{6,}",  # a thousand, or one and a bit
    r"\b(?:is|are|be|any)\b(?!.*\b(?:have|has|had|who)\b).*(?<!the )(?<!to )(?<!far )(?<!upper )(?<!lower )"
    r"(?<!top )(?<!bottom )(?<!on )\bleft(?: now| here| over| there| today| behind| at all)*\W*$",
    rf"{_YES_NO}.*{_MOST}",
    rf"{_YES_NO}(?: \w+){{0,2}} (?:all|every|each|everything|everyone|everybody)\b",
    r"\bappears? (?:to be |as )?(?:longer|shorter|bigger|larger|smaller|over|above|under|below|more|less|"
    r"at least|at most)\b",
    r"\b(?:are|is) (?:out|up)\W*$|\bpass(?:es|ing)?(?: by| here| through)",
)  # fmt: skip
_GOING = (
    r"\b(?:came|come|comes|coming|arriv\w+|depart\w+|left|leav\w+|went|go|goes|going|gone|vanish\w*|"
    r"disappear\w*|appear\w*|enter\w*) (?:away |out |off |in )?(?:from|to|towards?|into|for)\b"
)
_GROWN = (
    r"\b(?:larger|smaller|bigger|longer|shorter)(?: now| today)? than (?:before|earlier|previously|then|last|"
    r"in the (?:first|earlier|previous|last|older))\b|"
    r"\b(?:it|they|ships?|vessels?|boats?) (?:has |have )?(?:grow|grown|grew|shrink|shrunk)\b"
)
_WHOLE = r"\b(?:wholly|entirely|fully|completely|whole|fits?|fitting)\b"
_PARTLY = (
    r"\b(?:not|no|n't|never|isn|aren|don|doesn|incomplete\w*|beyond|outside|out|cut|only|cannot|can't|"
    r"part\w*)\b"
)
_NUMBER = r"\b(?:number|numbers|count|amount|total|quantity)\b"


def trapped(text: str, reading: Reading) -> bool:
    """Whether a question hangs on what a reading leaves out.

    Args:
        text: the question.
        reading: what was understood.
    """
    said = " ".join(text.lower().replace("’", "'").split())
    if any(re.search(pattern, said) for pattern in _ALWAYS):
        return True
    if re.search(_GROWN, said) and not re.search(_NUMBER, said):
        return True
    intent = reading.intent
    if intent in ("appeared", "gone", "happened", "changed"):
        return bool(re.search(_GOING, said) and re.search(_SIDE, said))
    if intent == "beyond":
        return bool(re.search(_WHOLE, said)) and not re.search(_PARTLY, said)
    if intent == "still_occupied":
        first = r"\b(?:earlier|before|first|previously|originally|initially|then)\b"
        stays = (
            r"\b(?:still|both|remain\w*|stay\w*|also|again|too|same|unchanged|now|later|persist\w*|kept)\b"
        )
        return bool(re.search(first, said)) and not re.search(stays, said)
    if intent == "more":
        return bool(re.search(r"\b(?:it|this|that one)\b", said)) and not re.search(_NUMBER, said)
    if intent in ("longest", "shortest"):
        return bool(re.search(_NUMBER, said))
    return _not_of_things(said, reading)


def _not_of_things(said: str, reading: Reading) -> bool:
    """Whether a filter over things is asked of something else, or of one thing."""
    if re.search(rf"\b(?:many|number of) {_PICTURED}\b", said):
        return True
    if reading.bound is None:
        return bool(re.search(rf"\b(?:short|long|big|large|small|little|tiny|huge) {_THING}\b", said))
    return bool(re.search(rf"{_YES_NO} (?:the|that|this|it)\b(?: {_THING})?", said))
