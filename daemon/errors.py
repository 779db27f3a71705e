"""Every error of the daemon.

FusarError
  DaemonError
    ConfigError         a setting is wrong: stop at start-up
    MessageError        a message cannot be decoded, or its schema is unknown
    RuleError           an alert rule is wrong, or there is none of that name
    SceneError
      SceneMissing      there is no product at that place
      SceneCorrupt      the product is there and cannot be read as what it says it is
      SceneUnsupported  a sound product of a kind that is not processed; the reason is recorded
    SourceUnavailable   a host of scenes or priors does not answer (retry)
    StoreUnavailable    the database does not answer (retry)
    StoreConflict       another transaction was in the way (retry)
    DeliveryError       a message or an alert could not be handed on (retry)

Agents read ``retry``; nobody matches on text.
"""

from __future__ import annotations

from engine.errors import FusarError


class DaemonError(FusarError):
    """Base of the daemon's errors."""


class ConfigError(DaemonError):
    """A setting is wrong."""


class MessageError(DaemonError):
    """A message cannot be decoded, or its schema is unknown."""


class RuleError(DaemonError):
    """An alert rule is wrong, or there is none of that name."""


class SceneError(DaemonError):
    """Something is wrong with one product."""


class SceneMissing(SceneError):
    """There is no product at that place."""


class SceneCorrupt(SceneError):
    """The product is there and cannot be read as what it says it is."""


class SceneUnsupported(SceneError):
    """A sound product of a kind that is not processed."""


class SourceUnavailable(DaemonError):
    """A host of scenes or priors does not answer."""

    retry = True


class StoreUnavailable(DaemonError):
    """The database does not answer."""

    retry = True


class StoreConflict(DaemonError):
    """Another transaction was in the way."""

    retry = True


class DeliveryError(DaemonError):
    """A message or an alert could not be handed on."""

    retry = True
