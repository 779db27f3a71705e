"""Reading the products' XML: no entities, and every absence an error that names the file and the path."""

from __future__ import annotations

from datetime import datetime, timezone
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
import numpy as np
from defusedxml.common import DefusedXmlException
from numpy.typing import NDArray

from daemon.errors import SceneCorrupt


class Node:
    """One element, read by path with typed answers."""

    def __init__(self, element: Element, source: str) -> None:
        self.element = element
        self.source = source

    def text(self, path: str) -> str:
        """Return the text at a path."""
        found = self.element.findtext(path)
        if found is None or not found.strip():
            raise SceneCorrupt(f"{self.source}: got no {path} in <{self.element.tag}>, expected a value")
        return found.strip()

    def number(self, path: str) -> float:
        """Return the finite number at a path."""
        text = self.text(path)
        try:
            value = float(text)
        except ValueError:
            value = np.nan
        if not np.isfinite(value):
            raise SceneCorrupt(f"{self.source}: got {text!r} as {path}, expected a number")
        return value

    def integer(self, path: str) -> int:
        """Return the whole number at a path."""
        value = self.number(path)
        if value != int(value):
            raise SceneCorrupt(f"{self.source}: got {value} as {path}, expected a whole number")
        return int(value)

    def numbers(self, path: str) -> NDArray[np.float64]:
        """Return the numbers at a path, separated by blanks."""
        text = self.element.findtext(path)
        if text is None:
            raise SceneCorrupt(f"{self.source}: got no {path} in <{self.element.tag}>, expected numbers")
        try:
            return np.array(text.split(), np.float64)
        except ValueError:
            raise SceneCorrupt(f"{self.source}: got {text[:40]!r} as {path}, expected numbers") from None

    def time(self, path: str) -> datetime:
        """Return the time at a path, aware, UTC."""
        text = self.text(path)
        try:
            return datetime.fromisoformat(text.removesuffix("Z")).replace(tzinfo=timezone.utc)
        except ValueError:
            raise SceneCorrupt(f"{self.source}: got {text!r} as {path}, expected a time") from None

    def all(self, path: str, least: int = 1) -> list[Node]:
        """Return the elements at a path, at least so many."""
        found = [Node(element, self.source) for element in self.element.findall(path)]
        if len(found) < least:
            raise SceneCorrupt(f"{self.source}: got {len(found)} of {path}, expected at least {least}")
        return found


def parse(data: bytes, source: str, root: str | None = None) -> Node:
    """Parse a document.

    Args:
        data: the XML.
        source: its name, for messages.
        root: name that the outermost element must have.

    Raises:
        SceneCorrupt: it is not well formed, declares a document type or entities, or is something else.
    """
    try:
        element = defusedxml.ElementTree.fromstring(data, forbid_dtd=True)
    except DefusedXmlException as error:
        raise SceneCorrupt(
            f"{source}: got XML that declares a document type or entities ({type(error).__name__}), expected "
            "plain XML: refused, since entities can expand without bound"
        ) from None
    except (ParseError, ValueError) as error:
        raise SceneCorrupt(
            f"{source}: got XML that does not parse ({error}): fetch the product again"
        ) from None
    if root is not None and element.tag != root:
        raise SceneCorrupt(f"{source}: got <{element.tag}>, expected <{root}>")
    return Node(element, source)
