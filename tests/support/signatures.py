"""Calls of a stand-in, checked against the real thing's signatures.

Bindings made by pybind11 state them in their docstrings, those made by Cython answer ``inspect.signature``.
Names, count and kinds of arguments must fit, and so must the kind of what the stand-in returns: then a call
that passes here is at least one that the bindings accept.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

_KINDS = {"str": str, "bool": bool, "tuple": tuple, "list": list}


class Mismatch(AssertionError):
    """A call that the real thing would not take."""


class Checked:
    """Stands for an instance of a pybind11 class; a stand-in does the work."""

    def __init__(self, real: type, fake: Any) -> None:
        self.__dict__.update(_real=real, fake=fake)

    def __getattr__(self, name: str) -> Any:
        if not hasattr(self._real, name):
            raise AttributeError(f"{self._real.__name__} has no {name}")
        real = getattr(self._real, name)
        if isinstance(real, property):
            return getattr(self.fake, name)

        def call(*args: Any, **named: Any) -> Any:
            returned = check(real.__doc__, self._real.__name__, args, named)
            value = getattr(self.fake, name)(*args, **named)
            if value is not None and not fits(value, returned):
                raise Mismatch(f"{name}: the stand-in returned {value!r}, expected {returned}")
            return value

        return call

    def __setattr__(self, name: str, value: Any) -> None:
        real = getattr(self._real, name, None)
        if not isinstance(real, property) or real.fset is None:
            raise Mismatch(f"{self._real.__name__}.{name} cannot be set")
        setattr(self.fake, name, value)


class CheckedModule:
    """Stands for a Cython module: functions of a stand-in, everything else from the real module."""

    def __init__(self, real: Any, fake: Any) -> None:
        self._real, self.fake = real, fake

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)
        if inspect.isclass(real) or not callable(real):
            return real

        def call(*args: Any) -> Any:
            try:
                bound = inspect.signature(real).bind(*args)
            except TypeError as error:
                raise Mismatch(f"{name}: {error}") from error
            stated = {key: each.annotation for key, each in inspect.signature(real).parameters.items()}
            for key, value in bound.arguments.items():
                if isinstance(stated[key], str) and type(value).__name__ != stated[key]:
                    raise Mismatch(f"{name}: got {key} = {value!r}, expected {stated[key]}")
            return getattr(self.fake, name)(*args)

        return call


def check(docstring: str | None, owner: str, args: tuple[Any, ...], named: dict[str, Any]) -> str:
    """Find the overload that takes the arguments; return the stated kind of its result."""
    overloads = re.findall(r"(?:^|\. )(\w+)\((self: .*)\) -> (.+)$", docstring or "", re.MULTILINE)
    if not overloads:
        raise Mismatch(f"{owner} states no signature: {docstring!r}")
    for _, stated, returned in overloads:
        parameters = [each.partition(": ") for each in _split(stated)][1:]
        names = [name for name, _, _ in parameters]
        given = {**dict(zip(names, args, strict=False)), **named}
        optional = {name for name, _, kind in parameters if " = " in kind}
        kinds = {name: kind.split(" = ")[0] for name, _, kind in parameters}
        if len(args) <= len(names) and set(given) <= set(names) and set(names) - set(given) <= optional:
            if all(fits(value, kinds[name]) for name, value in given.items()):
                return str(returned)
    raise Mismatch(f"{owner}: got {args} {named}, expected one of {[each[1] for each in overloads]}")


def fits(value: Any, kind: str) -> bool:
    """Whether a value is of the kind that a signature states."""
    last = kind.rsplit(".", 1)[-1]
    if kind in ("typing.SupportsInt", "int"):
        return isinstance(value, int) and not isinstance(value, bool)
    if last == "Buffer":
        return isinstance(value, (bytes, bytearray, memoryview))
    if kind in _KINDS:
        return isinstance(value, _KINDS[kind])
    if kind.startswith("list["):
        return isinstance(value, list)
    if kind == "None":
        return value is None
    real = value._real if isinstance(value, Checked) else type(value)
    return last in {each.__name__ for each in real.__mro__} or (last == "Dims" and isinstance(value, tuple))


def _split(stated: str) -> list[str]:
    """Split parameters at the commas outside brackets."""
    parts, depth = [""], 0
    for character in stated:
        depth += character in "[(<"
        depth -= character in "])>"
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]
