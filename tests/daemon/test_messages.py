"""SceneAcquired: what is read, what is refused, and what its documentation shows."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.errors import MessageError
from daemon.messages import SCHEMA, SceneAcquired, decode
from daemon.publish import scene_of
from tests.support import tiny

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "messages.md"


def example() -> dict[str, Any]:
    block = re.search(r"```json\n(.*?)```", DOCUMENT.read_text(), re.S)
    assert block
    fields: dict[str, Any] = json.loads(block[1])
    return fields


def encode(fields: Any) -> bytes:
    return json.dumps(fields).encode()


def test_the_documented_example_is_a_message_and_comes_back_as_it_was() -> None:
    fields = example()
    scene = decode(encode(fields))
    assert json.loads(scene.encode()) == fields
    assert scene.key == b"S1A-461751"


def test_every_field_is_documented() -> None:
    fields = example()
    assert set(fields) == {f.alias or n for n, f in SceneAcquired.model_fields.items()}
    document = DOCUMENT.read_text()
    for name in [*(fields.keys() - {"product"}), *(f"product.{n}" for n in fields["product"])]:
        assert f"`{name}`" in document, name


def test_fields_added_later_are_skipped() -> None:
    fields = example()
    fields["added"] = fields["product"]["added"] = {"x": 1}
    assert decode(encode(fields)) == decode(encode(example()))


@pytest.mark.parametrize(
    "payload",
    [
        None,
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        b'"text"',
        b"NaN",
        b"{}",
        b'{"schema": "fusar.scene-acquired/2"}',
    ],
)
def test_what_is_no_message_is_refused_with_what_was_expected(payload: bytes | None) -> None:
    with pytest.raises(MessageError, match=re.escape(SCHEMA)):
        decode(payload)


REQUIRED = [
    "event_id", "source", "received", "product", "platform", "mode", "product_type", "polarisations", "start",
    "stop", "absolute_orbit", "datatake",
]  # fmt: skip


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_field_is_named(name: str) -> None:
    fields = example()
    del fields[name]
    with pytest.raises(MessageError, match=name):
        decode(encode(fields))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("polarisations", []),
        ("start", "2025-01-03T01:34:47"),  # no offset
        ("start", "2026-01-03T01:34:47Z"),  # after stop
        ("datatake", -1),
        ("datatake", 10**30),
        ("source", "a\0b"),
        ("event_id", "\ud800"),
        ("absolute_orbit", "a lot"),
        ("platform", ""),
        ("product", {"name": "x", "uri": "y", "kind": "TAR"}),
        ("footprint", [1, 2]),
    ],
)
def test_a_wrong_value_is_refused(name: str, value: Any) -> None:
    with pytest.raises(MessageError, match="start|" + name):
        decode(encode({**example(), name: value}))


def test_times_become_utc() -> None:
    scene = decode(encode({**example(), "start": "2025-01-03T03:34:47+02:00"}))
    assert scene.start == datetime(2025, 1, 3, 1, 34, 47, tzinfo=timezone.utc)
    assert scene.start.utcoffset() == timedelta(0)


@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_else(payload: bytes) -> None:
    with pytest.raises(MessageError):
        decode(payload)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from([*REQUIRED, "resolution", "footprint"]), json_values)
def test_a_field_of_any_json_is_read_or_refused(name: str, value: Any) -> None:
    try:
        scene = decode(encode({**example(), name: value}))
    except MessageError:
        return
    assert decode(scene.encode()) == scene


@pytest.mark.parametrize(
    ("product", "kind", "uri"),
    [
        (f"/data/{tiny.NAME}.SAFE", "SAFE", f"/data/{tiny.NAME}.SAFE"),
        (f"/data/{tiny.NAME}.SAFE/", "SAFE", f"/data/{tiny.NAME}.SAFE"),
        (f"/data/{tiny.NAME}.zip", "SAFE", f"/data/{tiny.NAME}.zip"),
        (f"s3://bucket/{tiny.NAME}_COG.SAFE", "COG", f"s3://bucket/{tiny.NAME}_COG.SAFE"),
    ],
)
def test_a_product_is_published_by_its_name(product: str, kind: str, uri: str) -> None:
    scene = scene_of(product)
    assert scene.product.name == tiny.NAME + ("_COG" if kind == "COG" else "")
    assert (scene.product.kind, scene.product.uri) == (kind, uri)
    assert (scene.platform, scene.mode, scene.product_type, scene.resolution) == ("S1A", "IW", "GRD", "H")
    assert scene.datatake == 0x056950
    assert scene.stop - scene.start == timedelta(seconds=30)
    assert decode(scene.encode()) == scene


def test_a_place_that_names_no_product_is_refused() -> None:
    with pytest.raises(MessageError, match="holiday"):
        scene_of("/data/holiday.jpg")
