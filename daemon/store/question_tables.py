"""The table of free questions: what was asked, of what, who answered, and what was said."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import String, func
from sqlalchemy.orm import Mapped, mapped_column

from .tables import Base, _one_of

QUESTION_STATES = ("answered", "refused")


class Question(Base):
    """One question with its end; its id is the asker's, or a new UUID: asked again, nothing changes."""

    __tablename__ = "question"
    __table_args__ = (_one_of("state", QUESTION_STATES),)

    id: Mapped[str] = mapped_column(primary_key=True)
    source: Mapped[str]  # command | kafka
    scope: Mapped[dict[str, Any]]  # {"detection": id} | {"scene": product} | {"area": GeoJSON}
    text: Mapped[str]
    state: Mapped[str]
    answer: Mapped[str | None]
    refusal: Mapped[str | None]  # name of the reason
    reason: Mapped[str | None]  # the same as a sentence
    cited: Mapped[list[str]]  # ids of detections
    inputs: Mapped[list[Any]]  # chips: run, cell, hash of the pixels, the detections in it by ordinal
    runs: Mapped[list[str]]
    bundle: Mapped[str | None] = mapped_column(String(64))
    backend: Mapped[str | None]
    details: Mapped[dict[str, Any]]  # answers chip by chip, tokens
    asked: Mapped[datetime]
    recorded: Mapped[datetime] = mapped_column(server_default=func.now())
