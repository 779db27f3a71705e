"""Settings of the daemon, from environment variables that begin with ``FUSAR_``.

Groups nest with two underscores: ``FUSAR_STORE__URL``. A variable that begins with ``FUSAR_`` and is not a
setting stops the start: a mistyped name would otherwise be ignored in silence. ``FUSAR_TEST_`` is exempt.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from .errors import ConfigError

PREFIX = "FUSAR_"
EXEMPT = "FUSAR_TEST_"


class Group(BaseModel):
    """Base of the groups: frozen, and strict about names."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class KafkaSettings(Group):
    """The broker and its topics."""

    bootstrap: str = Field(default="localhost:9092", description="Brokers as host:port, separated by commas.")
    scenes_topic: str = Field(default="sentinel1.scenes", description="Topic of newly acquired scenes.")
    dead_topic: str = Field(
        default="sentinel1.scenes.dead", description="Topic of messages that cannot be read."
    )
    questions_topic: str = Field(
        default="sentinel1.questions", description="Topic of free questions about what was seen."
    )
    answers_topic: str = Field(default="sentinel1.answers", description="Topic of their answers.")
    alerts_topic: str = Field(default="sentinel1.alerts", description="Topic of alerts.")
    group: str = Field(default="fusar", description="Consumer group; its members share the scenes.")
    partitions: int = Field(default=8, ge=1, description="Partitions of a topic that is created.")
    replication: int = Field(
        default=-1, description="Replicas of a topic that is created; -1 is the broker's own."
    )
    max_poll_interval_s: float = Field(
        default=3600.0,
        gt=0,
        description="Longest time in seconds that one scene may take before the broker gives up.",
    )
    connect_timeout_s: float = Field(
        default=15.0, gt=0, description="Seconds to wait for a broker to answer."
    )
    session_timeout_s: float = Field(
        default=30.0, gt=0, description="Seconds of silence after which a worker's scenes go to another."
    )
    api_version: str | None = Field(
        default=None, description="Broker version to assume, such as 2.1.0; else asked."
    )
    security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", description="How the connection is protected."
    )
    ca_file: Path | None = Field(
        default=None, description="Certificates of the authorities that sign the brokers'."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        default="SCRAM-SHA-512", description="SASL mechanism, where security is SASL."
    )
    username: str | None = Field(default=None, description="SASL user.")
    password: SecretStr | None = Field(default=None, description="SASL password.")


class StoreSettings(Group):
    """The PostGIS database."""

    url: SecretStr = Field(
        default=SecretStr("postgresql+psycopg://localhost/fusar"),
        description="SQLAlchemy URL of the database, postgresql+psycopg://user:password@host/name.",
    )
    connect_timeout_s: int = Field(default=5, ge=1, description="Seconds to wait for a connection.")
    wait_s: float = Field(
        default=5.0, gt=0, description="Seconds between attempts while the database is away."
    )


class SceneSettings(Group):
    """Which scenes, and how often one is tried."""

    attempts: int = Field(default=5, ge=1, description="Attempts at a product whose host does not answer.")
    retry_delay_s: float = Field(
        default=30.0, gt=0, description="Seconds before the second attempt; doubles each time."
    )
    retry_delay_limit_s: float = Field(
        default=3600.0, gt=0, description="Longest delay between two attempts, in seconds."
    )
    lease_s: float = Field(
        default=3600.0,
        gt=0,
        description="Seconds that a repeated attempt may run before another worker takes it over.",
    )
    poll_s: float = Field(default=5.0, gt=0, description="Seconds between looks for attempts that are due.")


class PriorSettings(Group):
    """The AlphaEarth prior."""

    index: str | None = Field(
        default=None, description="File or URL of the AlphaEarth index; without it no prior."
    )


class LandSettings(Group):
    """What counts as land."""

    inland_water: str = Field(
        default="all",
        description="Inland water that is searched: all, none, seas (the Caspian and the great lakes), or "
        "names of seas, separated by commas.",
    )


class EngineSettings(Group):
    """The engine that is asked."""

    bundle: Path | None = Field(
        default=None, description="Folder of the engine bundle; the embedded nano by default."
    )
    backend: Literal["ort", "ort-int8", "tensorrt"] = Field(
        default="ort",
        description="Runtime of the engine's graphs: ort on the CPU, ort-int8 in 8 bit, tensorrt on a GPU.",
    )
    threads: int | None = Field(
        default=None, ge=1, description="Threads of the runtime; all cores by default."
    )
    cache_gib: float = Field(
        default=2.0, gt=0, description="Memory of the keys and values of answers being written, in GiB."
    )
    parity_chips: int = Field(
        default=4,
        ge=0,
        description="Golden chips that the backend must answer rightly at the start; 0 for none.",
    )
    parity_failure: Literal["refuse", "fall_back"] = Field(
        default="refuse",
        description="Where it does not: refuse stops the start, fall_back takes the backend ort.",
    )


class LayerSettings(Group):
    """Dated layers that flags are taken from; what is not set is unknown, never absent."""

    infrastructure: Path | None = Field(
        default=None, description="GeoJSON or CSV of fixed structures, with valid_from and valid_to."
    )
    infrastructure_radius_m: float = Field(
        default=200.0, gt=0, description="Detections this close to a structure are flagged, in metres."
    )
    sea_ice: Path | None = Field(default=None, description="Index of dated charts of sea ice.")
    sea_ice_max_age_days: int = Field(
        default=3, ge=0, description="Days after which a chart of sea ice no longer counts."
    )


class ChangeSettings(Group):
    """Comparison of passes."""

    archive: Path | None = Field(
        default=Path("~/.cache/fusar/chips"),
        description="Folder of the chips that are kept for passes to come; empty for none.",
    )
    archive_gib: float = Field(
        default=2.0, ge=0, description="Size of the archive in GiB; the oldest acquisitions go first."
    )
    pixel_age_days: float = Field(
        default=48.0, gt=0, description="Days after which pixels of a pass are no longer compared."
    )
    attempts: int = Field(
        default=4, ge=1, description="Attempts at pixels that cannot be fetched, before doing without."
    )
    retry_delay_s: float = Field(
        default=30.0, gt=0, description="Seconds before the second attempt; doubles each time."
    )
    lease_s: float = Field(
        default=600.0, gt=0, description="Seconds after which another worker takes over a change unit."
    )

    @field_validator("archive", mode="before")
    @classmethod
    def _none(cls, value: Any) -> Any:
        return value or None


class AlertSettings(Group):
    """Alerts, and how they are handed on."""

    speed_bound_kn: float = Field(
        default=30.0, gt=0, description="Speed in knots that a ship is taken not to exceed since its sensing."
    )
    webhook_hosts: str = Field(
        default="",
        description="Hosts (host or host:port, separated by commas) that rules may name as webhooks.",
    )
    webhook_secret: SecretStr | None = Field(
        default=None, description="Secret by which messages to webhooks are signed."
    )
    webhook_timeout_s: float = Field(default=10.0, gt=0, description="Seconds that a webhook may take.")
    attempts: int = Field(default=12, ge=1, description="Attempts at a webhook before a message is given up.")
    retry_delay_s: float = Field(
        default=5.0, gt=0, description="Seconds before the second attempt; doubles each time."
    )
    retry_delay_limit_s: float = Field(
        default=3600.0, gt=0, description="Longest delay between two attempts, in seconds."
    )
    poll_s: float = Field(default=2.0, gt=0, description="Seconds between looks at the outbox.")
    timer_s: float = Field(default=300.0, gt=0, description="Seconds between looks for coverage gaps.")


class LogSettings(Group):
    """What is logged, and how."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="Least level that is shown."
    )
    form: Literal["text", "json"] = Field(
        default="text", description="Lines to read, or one JSON object a line."
    )


class Settings(BaseSettings):
    """Every setting; build it once with `load`, and pass values down."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, validate_default=True
    )

    kafka: KafkaSettings = KafkaSettings()
    store: StoreSettings = StoreSettings()
    scene: SceneSettings = SceneSettings()
    land: LandSettings = LandSettings()
    prior: PriorSettings = PriorSettings()
    engine: EngineSettings = EngineSettings()
    layers: LayerSettings = LayerSettings()
    change: ChangeSettings = ChangeSettings()
    alerts: AlertSettings = AlertSettings()
    log: LogSettings = LogSettings()


def load(**overrides: Any) -> Settings:
    """Read the settings from the environment; keyword arguments come first.

    Raises:
        ConfigError: a variable is unknown or has a wrong value.
    """
    strangers = sorted(unknown_names(os.environ))
    if strangers:
        raise ConfigError(
            f"unknown settings {', '.join(strangers)}: the names are {', '.join(n for n, _ in describe())}"
        )
    try:
        return Settings(**overrides)
    except ValidationError as error:
        lines = (f"{PREFIX}{'__'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors())
        raise ConfigError("; ".join(lines)) from None  # the input is left out: it may hold a password


def unknown_names(environment: Mapping[str, str]) -> set[str]:
    """Names of the environment that look like settings and are none."""
    known = {name for name, _ in describe()}
    return {
        name
        for name in environment
        if name.upper().startswith(PREFIX)
        and not name.upper().startswith(EXEMPT)
        and name.upper() not in known
    }


def describe() -> Iterator[tuple[str, str]]:
    """Yield (name of the variable, sentence on it) for every setting."""
    for name, _, sentence in _entries():
        yield name, sentence


def table() -> str:
    """Return the settings as a Markdown table, for the README."""
    lines = ["| setting | default | what |", "|---|---|---|"]
    for name, default, sentence in _entries():
        shown = default.get_secret_value() if isinstance(default, SecretStr) else default
        lines.append(f"| `{name}` | {'' if shown is None else f'`{shown}`'} | {sentence} |")
    return "\n".join(lines)


def _entries() -> Iterator[tuple[str, Any, str]]:
    for group, field in Settings.model_fields.items():
        defaults = field.get_default()
        for name, entry in type(defaults).model_fields.items():
            yield f"{PREFIX}{group}__{name}".upper(), getattr(defaults, name), entry.description or ""
