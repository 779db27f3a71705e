"""Questions and answers as messages; their forms and examples are in ``docs/messages.md``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)
from shapely.geometry import shape

from ..messages import Text, Utc, read_fields, validated

QUESTION: Final = "fusar.question/1"
ANSWER: Final = "fusar.answer/1"
LONGEST = 500  # characters of a question


def _question(text: str) -> str:
    text = text.strip()
    if not 0 < len(text) <= LONGEST:
        raise ValueError(f"expected 1 to {LONGEST} characters")
    return text


Asked = Annotated[Text, AfterValidator(_question)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)


class Scope(_Part):
    """What a question is about: one of these."""

    detection: Text | None = None  # id of a detection
    scene: Text | None = None  # a product's name, or an acquisition's number
    area: dict[str, Any] | None = None  # GeoJSON Polygon or MultiPolygon, longitude and latitude

    @model_validator(mode="after")
    def _one(self) -> Scope:
        if sum(value is not None for value in (self.detection, self.scene, self.area)) != 1:
            raise ValueError("expected one of detection, scene and area")
        return self

    @field_validator("area")
    @classmethod
    def _polygon(cls, area: dict[str, Any] | None) -> dict[str, Any] | None:
        if area is None:
            return None
        try:
            polygon = shape(area)
            good = (
                polygon.geom_type in ("Polygon", "MultiPolygon") and polygon.is_valid and not polygon.is_empty
            )
        except Exception as error:  # shapely raises whatever its parsing met
            raise ValueError(f"the area is not GeoJSON: {error}") from None
        if not good:
            raise ValueError("the area is not a valid Polygon or MultiPolygon")
        west, south, east, north = polygon.bounds
        if west < -180 or east > 180 or south < -90 or north > 90:
            raise ValueError("the area leaves longitude and latitude: split it at the antimeridian")
        return area


class QuestionAsked(_Part):
    """Somebody asks."""

    schema_: Literal["fusar.question/1"] = Field(default=QUESTION, alias="schema")
    question_id: Text
    asked: Utc
    scope: Scope
    text: Asked


class Cited(_Part):
    """A detection that an answer rests on."""

    id: str
    label: str = Field(alias="class")
    lon_deg: float
    lat_deg: float
    length_m: float
    score: float


class AnswerGiven(_Part):
    """What was answered, or why not."""

    schema_: Literal["fusar.answer/1"] = Field(default=ANSWER, alias="schema")
    question_id: str
    state: Literal["answered", "refused"]
    answer: str | None = None
    refusal: str | None = None  # name of the reason
    reason: str | None = None  # the same as a sentence
    cited: tuple[Cited, ...] = ()
    runs: tuple[str, ...] = ()
    bundle: str | None = None
    backend: str | None = None
    facts: dict[str, Any] = Field(default_factory=dict)  # counted in the store, not by the engine
    reading: dict[str, Any] | None = None  # how the question was understood; null where it was not
    asked: Utc
    answered: Utc

    def encode(self) -> bytes:
        """Return the message as JSON."""
        return self.model_dump_json(by_alias=True).encode()


def decode(payload: bytes | None) -> QuestionAsked:
    """Read a question.

    Raises:
        MessageError: it is not JSON, of an unknown schema, or a field is missing or wrong.
    """
    return build(read_fields(payload, QUESTION, "question"))


def build(fields: Mapping[str, Any]) -> QuestionAsked:
    """Make a question of its fields.

    Raises:
        MessageError: a field is missing or wrong.
    """
    return validated(QuestionAsked, fields, QUESTION, "question")
