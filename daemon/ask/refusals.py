"""Why a question is not answered: reasons with names, and the questions that no radar image can answer."""

from __future__ import annotations

import re
from dataclasses import dataclass

REASONS = {
    "identity": "A radar image shows no name, number, flag or owner. Where AIS is matched, the view "
    "current_ais tells them.",
    "cargo": "A radar image shows the echo of a hull, not what is in it.",
    "people": "A radar image shows no people.",
    "intention": "A radar image shows what was there at one moment, not why, nor what anybody means to do.",
    "motion": "One radar image shows a place at one moment, not speed or course. Where AIS is matched, the "
    "view current_ais tells them.",
    "optics": "Radar shows echo strength, not colours, markings or lights.",
    "same_ship": "Two passes days apart cannot show that a ship is the same one; only AIS can.",
    "not_understood": "The question was not understood. Ask one thing: how many, which or whether there "
    "are ships, "
    "platforms or turbines, also longer or shorter than so many metres, or in the north, south, east or "
    "west; which "
    "is the longest; what, or how long, one detection is; what is new, gone or changed since the last "
    "pass; or for a "
    "description.",
    "which_one": "This asks about one object: name it with --detection (scope detection).",
    "no_side": "A scene or an area has a north, south, east and west; the chip around a detection "
    "(--detection) has "
    "a left, right, top and bottom.",
    "no_edge": "Only the chip around a detection (--detection) has an edge that cuts objects.",
    "not_compared": "Nothing is known of a change there.",
    "engine_cannot": "The engine that is loaded was not trained to answer such a question.",
    "engine_failed": "The engine failed on this question: ask again.",
    "images_cannot_show": "The images cannot show this.",
    "not_found": "The store holds nothing of that name.",
    "not_looked_at": "No current result covers this.",
    "nothing_seen": "Nothing was detected there, so there is nothing to ask the engine about.",
    "no_pixels": "The product's pixels are no longer within reach.",
}

# Each pattern is a question about something that is no property of an echo. They read English only: one in
# other words goes to the engine, which was trained to refuse what the image cannot show.
_NEVER = {
    "identity": r"\b(name of|its name|named|called|whose|owne[rd]|owns|owner|operator|nationality|flag state|"
    r"which (country|flag)|what (country|flag)|registered|registration|mmsi|imo( number)?|call ?sign|"
    r"identity|identify the (ship|vessel)|who (is|are|was|were) (it|this|that|these|they))\b",
    "cargo": r"\b(cargo(?! (ship|vessel|carrier)s?\b)|carrying|carries|loaded with|laden|on board|freight|"
    r"contraband|drugs?|weapons?|ammunition)\b",
    "people": r"\b(crew|captain|people|persons?|passengers?(?! (ship|vessel|ferr))|refugees?|migrants?|"
    r"survivors?)\b",
    "intention": r"(^\s*why\b|\b(intend|intends|intention|intentions|purpose|plan(s|ning)? to|going to|"
    r"trying to|(?<!\bi )(?<!\bwe )wants? to|smuggl\w*|illegal\w*|suspicious\w*|hostile|spying|hiding|"
    r"destination|where (is|are) (it|they|this|these|the \w+) (going|bound|headed|heading)|"
    r"where does \w+ (ship|vessel)? ?come from|will (it|they|the \w+))\b)",
    "motion": r"\b(how fast|speed|knots|underway|under way|moving|sailing (to|towards)|what course|"
    r"which (way|direction) (is|are) \w+ (sailing|moving|going))\b",
    "optics": r"\b(colou?rs?|painted|lights? (on|off)|written|inscription|markings?|photograph)\b",
    "same_ship": r"\bsame (ship|vessel|boat)s?\b",
}  # fmt: skip
_PATTERNS = {name: re.compile(pattern, re.IGNORECASE) for name, pattern in _NEVER.items()}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no answer."""

    name: str  # of REASONS
    more: str = ""

    @property
    def sentence(self) -> str:
        """The reason in words."""
        return f"{REASONS[self.name]} {self.more}".strip()


def by_rule(question: str) -> Refusal | None:
    """Return why no radar image can answer a question; None where one might."""
    return next((Refusal(name) for name, pattern in _PATTERNS.items() if pattern.search(question)), None)
