"""An engine that says what a test wants said, and remembers what it was asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from engine.runtime.forms import parse_question
from engine.runtime.text import Answer, Request


class Speaker:
    """Stands where a Predictor does; the text of each answer is read as the runtime reads it."""

    def __init__(
        self, say: Callable[[Request], str], tasks: Sequence[str] = ("detection", "question")
    ) -> None:
        self.manifest = SimpleNamespace(tasks=dict.fromkeys(tasks), name="speaker")
        self.bundle = SimpleNamespace(bundle_id="bundle-1", manifest=self.manifest)
        self.backend = SimpleNamespace(name="spoken")
        self.asked: list[Request] = []
        self._say = say

    def ask(self, requests: Sequence[Request], progress: Any = None) -> list[Answer]:
        self.asked += requests
        found = []
        for request in requests:
            text = self._say(request)
            found.append(Answer(text, cites=parse_question(text, len(request.known))[0]))
        return found
