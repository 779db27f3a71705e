from __future__ import annotations

import pytest

from daemon.ask.refusals import REASONS, by_rule

NEVER = {
    "identity": ["What is the name of this ship?", "What is its MMSI?", "Which country is it from?",
                 "Who owns the vessel?", "what is the nationality of the trawler"],
    "cargo": ["What cargo does it carry?", "Is it carrying weapons?", "Is the tanker laden?"],
    "people": ["How many people are on deck?", "Can you see the crew?"],
    "intention": ["Why is it here?", "Is this ship smuggling?", "Where is it going?",
                  "What is its destination?", "Will it stay?"],
    "motion": ["How fast is it?", "Is the ship moving?", "Which way is it sailing?"],
    "optics": ["What colour is the hull?", "What is written on the bow?"],
    "same_ship": ["Is this the same ship as last week?"],
}  # fmt: skip
MAYBE = [
    "How many ships are here?", "Is there a ship beside the platform?", "Describe what you see.",
    "Is the ship longer than 100 m?", "Are there turbines near the ship?", "Is this a cargo ship?",
    "Do the ships lie side by side?", "Is there a wake behind the ship?", "Name the objects by class.",
    "Is it a passenger ferry?", "Which objects are near land?",
    "I want to know which ships are longer than 100 m.", "We want to see the turbines.",
]  # fmt: skip


@pytest.mark.parametrize(("name", "question"), [(n, q) for n, all_ in NEVER.items() for q in all_])
def test_what_no_radar_image_shows_is_refused_with_its_reason(name: str, question: str) -> None:
    for asked in (question, question.upper(), f"  {question}\n"):
        refusal = by_rule(asked)
        assert refusal is not None and refusal.name == name
        assert refusal.sentence == REASONS[name]


@pytest.mark.parametrize("question", MAYBE)
def test_what_an_image_may_show_is_not(question: str) -> None:
    assert by_rule(question) is None
