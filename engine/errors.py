"""Every error of the engine, below the one base class of the whole system.

FusarError
  EngineError
    ArtifactError     a bundle, manifest or checksum does not fit: stop at start-up
    InputError        a name, shape, type or range is wrong
    AnswerError       a model's text does not parse
    BackendError      the runtime failed on good input (retry)
      OutOfMemory     memory was short: ask for less at once
      DeviceLost      the device answers no more in this process: end it, and leave the work to the next one
    DatasetError      training data is missing or malformed
    ExportError       a graph could not be exported or compiled
    ParityError       two backends do not give the same answers

A message says what was got, what was expected, and what to do.
"""

from __future__ import annotations


class FusarError(Exception):
    """Base of all our errors; ``retry`` says whether the same work may succeed later."""

    retry: bool = False


class EngineError(FusarError):
    """Base of the engine's errors."""


class ArtifactError(EngineError):
    """A bundle, manifest, plan or checksum does not fit."""


class InputError(EngineError):
    """A name, shape, type or range is wrong."""


class AnswerError(EngineError):
    """A model's text does not parse."""


class BackendError(EngineError):
    """The runtime failed on good input."""

    retry = True


class OutOfMemory(BackendError):
    """Memory was short: the same with a smaller batch may succeed."""


class DeviceLost(BackendError):
    """The device answers no more in this process, which must end; the work is left to the next one."""

    retry = False


class DatasetError(EngineError):
    """Training data is missing or malformed."""


class ExportError(EngineError):
    """A graph could not be exported or compiled."""


class ParityError(EngineError):
    """Two backends do not give the same answers."""
