"""What an alert rule asks: a JSON document, checked as a whole; the form is in ``docs/alerts.md``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, time, timedelta
from datetime import tzinfo as TimeZone
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from shapely.geometry import MultiPolygon

from ..domain import FlagName
from ..errors import RuleError
from . import areas

Kind = Literal["object", "change", "count", "gap"]
Class = Literal["ship", "platform", "turbine"]
ChangeKind = Literal["appeared", "gone", "still_occupied", "cannot_tell"]
AisStatus = Literal["matched", "unmatched", "unknown"]

# What a rule takes by itself: not what is probably no ship, or is known to stand there.
USUAL_FLAGS: tuple[FlagName, ...] = (
    "near_land",
    "clipped",
    "saturated",
    "no_candidate",
    "neighbour",
    "box_only",
    "recurrent",
)
FAR_M = 5000.0  # the widest circle in which a place is looked up
LONG_DAYS = 366.0  # the longest look back

Share = Annotated[float, Field(gt=0, le=1)]
Within = Annotated[float, Field(gt=0, le=FAR_M)]
Count = Annotated[int, Field(ge=0, lt=2**31)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class LengthRange(_Part):
    """Lengths in metres, as measured; either bound may be left out."""

    min: Annotated[float, Field(ge=0)] | None = None
    max: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _ordered(self) -> LengthRange:
        if self.min is None and self.max is None:
            raise ValueError("expected min, max or both")
        if self.min is not None and self.max is not None and self.max < self.min:
            raise ValueError(f"max {self.max:g} is below min {self.min:g}")
        return self


class MinimumGap(_Part):
    """Nothing of the rule's classes was seen at the place for so long: what stays there is told once."""

    hours: Annotated[float, Field(gt=0, le=24 * LONG_DAYS)]
    within_m: Within = 200.0


class Recurrence(_Part):
    """In how many earlier passes something of the rule's classes was seen at the place."""

    at_least: Annotated[int, Field(ge=1, lt=1000)] | None = None
    at_most: Annotated[int, Field(ge=0, lt=1000)] | None = None
    days: Annotated[float, Field(gt=0, le=LONG_DAYS)]
    within_m: Within = 200.0
    looked_at_least: Annotated[int, Field(ge=0, lt=1000)] | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Recurrence:
        if self.at_least is None and self.at_most is None:
            raise ValueError("expected at_least, at_most or both")
        if self.at_least is not None and self.at_most is not None and self.at_most < self.at_least:
            raise ValueError(f"at_most {self.at_most} is below at_least {self.at_least}")
        return self

    @property
    def looks(self) -> int:
        """Earlier passes that must have looked: "not seen before" says nothing where none did."""
        if self.looked_at_least is not None:
            return self.looked_at_least
        return 0 if self.at_most is None else 1


class AisCondition(_Part):
    """What AIS says of the object, and the length from which it must carry AIS."""

    status: tuple[AisStatus, ...] = Field(default=("unmatched",), min_length=1)
    length_m: Annotated[float, Field(ge=0)] = 50.0  # of the lower end of the length's interval


class CountBound(_Part):
    """How many objects of the rule one pass may show in the area."""

    over: Count | None = None
    under: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    share: Share = 0.95  # of the area's sea that a pass must have looked at, for `under`

    @model_validator(mode="after")
    def _bounded(self) -> CountBound:
        if (self.over is None) == (self.under is None):
            raise ValueError("expected over or under, one of them")
        return self


class CoverageGap(_Part):
    """The area was not looked at for so long."""

    hours: Annotated[float, Field(gt=0, le=24 * LONG_DAYS)]
    share: Share = 0.9  # of the area's sea that must have been looked at in that time


class QuietHours(_Part):
    """Hours of the day in which alerts are recorded and not sent."""

    start: time = Field(alias="from")
    end: time = Field(alias="to")
    timezone: str = "UTC"

    @model_validator(mode="after")
    def _sound(self) -> QuietHours:
        if self.start == self.end:
            raise ValueError("from and to are the same")
        if self.start.tzinfo or self.end.tzinfo:
            raise ValueError("from and to are times of day without an offset; give the timezone by name")
        _zone(self.timezone)
        return self

    def holds(self, at: datetime) -> bool:
        """Return whether a time falls into them."""
        local = at.astimezone(_zone(self.timezone)).time()
        if self.start < self.end:
            return self.start <= local < self.end
        return local >= self.start or local < self.end


class RateLimit(_Part):
    """How many alerts of the rule are sent in so many hours."""

    alerts: Annotated[int, Field(ge=1, lt=2**31)]
    hours: Annotated[float, Field(gt=0, le=24 * LONG_DAYS)]

    @property
    def span(self) -> timedelta:
        """The time over which alerts are counted."""
        return timedelta(hours=self.hours)


def _webhook(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"not a URL: {error}") from None
    if parts.scheme not in ("https", "http") or not host:
        raise ValueError("expected https://host/path")
    if parts.username or parts.password or parts.fragment:
        raise ValueError("a webhook's URL holds no user, password or fragment; it is signed instead")
    return url


Webhook = Annotated[str, AfterValidator(_webhook)]


class Definition(_Part):
    """A rule, without its area."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    description: str = ""
    classes: tuple[Class, ...] = Field(default=("ship",), min_length=1)
    score: Annotated[float, Field(ge=0, le=1)] = 0.5
    length_m: LengthRange | None = None
    flags_accepted: tuple[FlagName, ...] | Literal["all"] = Field(default=USUAL_FLAGS)
    changes: tuple[ChangeKind, ...] | None = Field(default=None, min_length=1)
    minimum_gap: MinimumGap | None = None
    recurrence: Recurrence | None = None
    ais: AisCondition | None = None
    count: CountBound | None = None
    coverage_gap: CoverageGap | None = None
    max_age_hours: Annotated[float, Field(gt=0)] | None = None
    quiet_hours: QuietHours | None = None
    rate_limit: RateLimit | None = None
    webhooks: tuple[Webhook, ...] = Field(default=())

    @model_validator(mode="after")
    def _one_kind(self) -> Definition:
        kinds = [n for n in ("changes", "count", "coverage_gap") if getattr(self, n) is not None]
        if len(kinds) > 1:
            raise ValueError(f"{' and '.join(kinds)} are rules of different kinds: write two rules")
        if self.coverage_gap is not None:
            objects = "classes score length_m flags_accepted minimum_gap recurrence ais max_age_hours"
            told = sorted(set(objects.split()) & self.model_fields_set)
            if told:
                raise ValueError(f"{', '.join(told)} say nothing of a coverage gap: leave them out")
        return self

    @property
    def kind(self) -> Kind:
        """What the rule's alerts are about: an object, a change, a pass's count, or a gap."""
        if self.changes is not None:
            return "change"
        if self.count is not None:
            return "count"
        return "object" if self.coverage_gap is None else "gap"

    def columns(self) -> dict[str, Any]:
        """Return the conditions as columns of ``alert_rule_version``."""
        length, gap, again = self.length_m, self.minimum_gap, self.recurrence
        ais, count, unseen = self.ais, self.count, self.coverage_gap
        return {
            "kind": self.kind,
            "classes": list(self.classes),
            "score_min": self.score,
            "length_min_m": length and length.min,
            "length_max_m": length and length.max,
            "flags_accepted": None if self.flags_accepted == "all" else list(self.flags_accepted),
            "changes": self.changes and list(self.changes),
            "gap_hours": gap and gap.hours,
            "gap_within_m": gap and gap.within_m,
            "seen_at_least": again and again.at_least,
            "seen_at_most": again and again.at_most,
            "seen_days": again and again.days,
            "seen_within_m": again and again.within_m,
            "looked_at_least": again and again.looks,
            "ais": ais and list(ais.status),
            "ais_length_m": ais and ais.length_m,
            "count_over": count and count.over,
            "count_under": count and count.under,
            "unseen_hours": unseen and unseen.hours,
            "share": count.share if count else unseen and unseen.share,
        }

    def plain(self) -> dict[str, Any]:
        """Return the definition as JSON holds it, without what was left at its default."""
        fields: dict[str, Any] = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        return fields


def parse(document: Any, folder: Path | None = None) -> tuple[Definition, MultiPolygon]:
    """Read a rule and its area.

    Args:
        document: the JSON document; its member `area` is GeoJSON, or the name of a file that holds it.
        folder: where that file is looked for.

    Raises:
        RuleError: a member is missing, unknown or wrong.
    """
    if not isinstance(document, Mapping):
        raise RuleError(f"the rule is a JSON {type(document).__name__}; expected an object")
    fields = {name: value for name, value in document.items() if name != "area"}
    definition = build(fields)
    area = document.get("area")
    if area is None:
        raise RuleError(f"{definition.name}: no area; expected GeoJSON, or the name of a file that holds it")
    if isinstance(area, str):
        area = read_json((folder or Path()) / area)
    try:
        return definition, areas.parse(area)
    except RuleError as error:
        raise RuleError(f"{definition.name}: area: {error}") from error


def build(fields: Mapping[str, Any]) -> Definition:
    """Make a definition of its members.

    Raises:
        RuleError: a member is missing, unknown or wrong.
    """
    try:
        return Definition.model_validate(dict(fields))
    except ValidationError as error:
        wrong = "; ".join(f"{_place(e['loc'])}: {_told(e)}" for e in error.errors())
        raise RuleError(f"not a rule: {wrong}") from error


def read(file: Path) -> tuple[Definition, MultiPolygon]:
    """Read a rule's file.

    Raises:
        RuleError: it is not JSON, or not a rule.
        OSError: it cannot be read.
    """
    return parse(read_json(file), file.parent)


def read_json(file: Path) -> Any:
    """Read a file of JSON.

    Raises:
        RuleError: it is not JSON.
        OSError: it cannot be read.
    """
    try:
        return json.loads(file.read_bytes())
    except ValueError as error:
        raise RuleError(f"{file} is not JSON: {error}") from error


def _place(where: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in where if "[" not in str(part)) or "rule"


def _told(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return "there is no such member"
    if error["type"] == "literal_error" and "flags_accepted" in error["loc"]:
        return f'got {error["input"]!r}, expected "all" or a list of {", ".join(get_args(FlagName))}'
    return str(error["msg"]).removeprefix("Value error, ")


def _zone(name: str) -> TimeZone:
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        from datetime import timezone

        if name == "UTC":  # known where no database of time zones is installed
            return timezone.utc
        raise ValueError(f"no time zone {name!r}; expected a name such as Europe/Oslo") from None
