"""The message of a newly acquired scene: one form, whichever provider told us.

JSON on the topic ``sentinel1.scenes``; the form and an example are in ``docs/messages.md``. Fields may be
added within a version and readers skip those that they do not know; anything else is a new version.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_serializer,
    model_validator,
)

from .errors import MessageError, SceneUnsupported
from .scene.names import ProductName

Model = TypeVar("Model", bound=BaseModel)

SCHEMA: Final = "fusar.scene-acquired/1"


def _in_utc(time: datetime) -> datetime:
    return time.astimezone(timezone.utc)


def _storable(text: str) -> str:
    """Refuse what JSON can hold and PostgreSQL cannot."""
    if "\0" in text:
        raise ValueError("a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair") from None
    return text


Utc = Annotated[AwareDatetime, AfterValidator(_in_utc)]
Text = Annotated[str, Field(min_length=1), AfterValidator(_storable)]
Number = Annotated[int, Field(ge=0, lt=2**31)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)


class Checksum(_Part):
    """What the provider says the product's bytes hash to."""

    algorithm: Text
    value: Text


class ProductRef(_Part):
    """One product and where it lies."""

    name: Text  # as ESA gives it, without .SAFE or .zip
    uri: Text  # folder, zip, COG or remote place
    uuid: Text | None = None
    kind: Literal["SAFE", "COG", "AWS"]
    size_bytes: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    checksum: Checksum | None = None
    published: Utc | None = None


class SceneAcquired(_Part):
    """A scene was acquired, and a product of it lies somewhere."""

    schema_: Literal["fusar.scene-acquired/1"] = Field(default=SCHEMA, alias="schema")
    event_id: Text
    source: Text  # who told: publish, aws-sns, ...
    received: Utc
    product: ProductRef
    platform: Text  # S1A ... S1D
    mode: Text  # IW, EW, WV, S1 to S6 (StripMap)
    product_type: Text  # GRD, SLC, OCN, RAW
    resolution: Text | None = None  # F, H, M; null where the type has none
    polarisations: Annotated[tuple[Text, ...], Field(min_length=1)]  # co-polarised first
    start: Utc
    stop: Utc
    absolute_orbit: Number
    datatake: Number  # decimal; names write it in hexadecimal
    footprint: dict[str, Any] | None = None  # GeoJSON geometry, longitude and latitude

    @model_validator(mode="after")
    def _in_order(self) -> SceneAcquired:
        if self.stop < self.start:
            raise ValueError("stop is before start")
        return self

    @field_serializer("received", "start", "stop")
    def _with_z(self, time: datetime) -> str:
        return time.isoformat().replace("+00:00", "Z")

    @property
    def key(self) -> bytes:
        """Kafka key: scenes of one datatake stay in order on one partition."""
        return f"{self.platform}-{self.datatake}".encode()

    def encode(self) -> bytes:
        """Return the message as JSON."""
        return self.model_dump_json(by_alias=True).encode()


def new_event_id() -> str:
    """Return an id for an event that its source gave none."""
    return str(uuid.uuid4())


def now() -> datetime:
    """Return the present, aware, in UTC."""
    return datetime.now(timezone.utc)


def decode(payload: bytes | None) -> SceneAcquired:
    """Read a message.

    Raises:
        MessageError: it is not JSON, of an unknown schema, or a field is missing or wrong.
    """
    return build(read_fields(payload, SCHEMA, "message"))


def build(fields: Mapping[str, Any]) -> SceneAcquired:
    """Make a message of its fields.

    Raises:
        MessageError: a field is missing or wrong.
    """
    return validated(SceneAcquired, fields, SCHEMA, "message")


def read_fields(payload: bytes | None, schema: str, noun: str) -> Mapping[str, Any]:
    """Read the fields of a message of a schema; errors name it by a noun.

    Raises:
        MessageError: it is not JSON, or of another schema.
    """
    try:
        fields = json.loads(payload or b"")
    except (ValueError, RecursionError) as error:
        raise MessageError(f"the {noun} is not JSON ({error}); expected an object of {schema}") from error
    if not isinstance(fields, Mapping):
        raise MessageError(f"the {noun} is a JSON {type(fields).__name__}; expected an object of {schema}")
    if fields.get("schema") != schema:
        raise MessageError(f"the {noun}'s schema is {fields.get('schema')!r}; this version reads {schema}")
    return fields


def validated(model: type[Model], fields: Mapping[str, Any], schema: str, noun: str) -> Model:
    """Make a message of its fields.

    Raises:
        MessageError: a field is missing or wrong.
    """
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or noun}: {e['msg']}" for e in error.errors())
        raise MessageError(f"not a message of {schema}: {wrong}") from error


def product_name(text: str) -> ProductName:
    """Take a product's name apart.

    Raises:
        MessageError: it is not the name of a Sentinel-1 product.
    """
    try:
        return ProductName.parse(text)
    except SceneUnsupported as error:
        raise MessageError(str(error)) from error


def resolution_of(name: ProductName) -> str | None:
    """Return F, H or M; None where the product's type has no resolution."""
    return None if name.resolution == "_" else name.resolution
