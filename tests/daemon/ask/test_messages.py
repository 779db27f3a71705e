from __future__ import annotations

import json
from typing import Any

import pytest
import typer

from daemon.ask.command import read_area
from daemon.ask.messages import decode
from daemon.errors import MessageError

GOOD: dict[str, Any] = {
    "schema": "fusar.question/1",
    "question_id": "q-1",
    "asked": "2024-05-01T10:00:00+02:00",
    "scope": {"detection": "abc"},
    "text": " Is there a ship? ",
    "later": "a field that we do not know",
}
AREA = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]]}


def payload(**other: Any) -> bytes:
    return json.dumps({**GOOD, **other}).encode()


def test_a_question_is_read() -> None:
    asked = decode(payload())
    assert (asked.text, asked.scope.detection, asked.asked.isoformat()) == (
        "Is there a ship?",
        "abc",
        "2024-05-01T08:00:00+00:00",
    )
    assert decode(payload(scope={"area": AREA})).scope.area == AREA


@pytest.mark.parametrize(
    "bad",
    [
        b"", b"\xff", b"[]", b"[" * 5000, payload(schema="fusar.question/2"), payload(text=" "),
        payload(text="x" * 501), payload(text="a\0b"), payload(scope={}),
        payload(scope={"detection": "a", "scene": "b"}),
        payload(scope={"area": {"type": "Point", "coordinates": [0, 0]}}), payload(scope={"area": {}}),
        payload(scope={"area": {**AREA, "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}}),
        payload(scope={"area": {**AREA, "coordinates": [[[179, 0], [181, 0], [181, 1], [179, 0]]]}}),
        payload(asked="2024-05-01T10:00:00"), payload(question_id=""),
    ],
)  # fmt: skip
def test_what_is_no_question_is_refused(bad: bytes) -> None:
    with pytest.raises(MessageError):
        decode(bad)


def test_areas_of_the_command(tmp_path: Any) -> None:
    feature = {
        "type": "FeatureCollection",
        "features": [{"type": "Feature", "geometry": AREA, "properties": {}}],
    }
    (tmp_path / "a.geojson").write_text(json.dumps(feature))
    for text in ("0,0,1,1", json.dumps(AREA), str(tmp_path / "a.geojson")):
        assert read_area(text) == AREA
    for wrong in ("0,0,1,north", "{"):
        with pytest.raises(typer.BadParameter):
            read_area(wrong)
    with pytest.raises(OSError):
        read_area("no-such-file")
