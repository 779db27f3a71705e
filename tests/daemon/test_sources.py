"""Providers' notices, the real ones."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from daemon.agent import check_supported
from daemon.errors import MessageError, SceneUnsupported
from daemon.messages import SceneAcquired, decode
from daemon.sources import aws_sns

RECEIVED = datetime(2025, 1, 3, 4, 33, 20, tzinfo=timezone.utc)


def read(real_data: Path, name: str = "aws-sns-lambda-event.json") -> dict[str, Any]:
    event: dict[str, Any] = json.loads((real_data / "events" / name).read_text())
    return event


def scenes(event: Any) -> list[SceneAcquired]:
    return aws_sns.scenes(json.dumps(event).encode(), RECEIVED)


def with_message(event: dict[str, Any], **changed: Any) -> dict[str, Any]:
    sns = event["Records"][0]["Sns"]
    return {"Records": [{"Sns": {**sns, "Message": json.dumps({**json.loads(sns["Message"]), **changed})}}]}


def test_the_real_notice_is_a_scene(real_data: Path) -> None:
    (scene,) = scenes(read(real_data))
    check_supported(scene)
    assert scene.event_id == "eb653684-8361-5f45-8529-6975e9adcb09"
    assert scene.product.name == "S1A_IW_GRDH_1SDV_20250103T013447_20250103T013510_057273_070BB7_B02A"
    assert scene.product.uri.startswith("s3://sentinel-s1-l1c/GRD/2025/1/3/IW/DV/S1A_IW_GRDH")
    assert scene.product.published == datetime(2025, 1, 3, 4, 33, 13, 604000, tzinfo=timezone.utc)
    assert scene.start == datetime(2025, 1, 3, 1, 34, 47, tzinfo=timezone.utc)
    assert scene.datatake == 461751 == 0x070BB7
    assert scene.absolute_orbit == 57273
    assert scene.polarisations == ("VV", "VH")
    assert scene.footprint and scene.footprint["type"] == "MultiPolygon"
    assert decode(scene.encode()) == scene


def test_the_flat_body_says_the_same(real_data: Path) -> None:
    event = read(real_data)
    assert scenes(event["Records"][0]["Sns"]) == scenes(event)


@pytest.mark.parametrize("name", ["invalid_sns_event_mode.json", "invalid_sns_event_res.json"])
def test_the_name_says_what_a_product_is(real_data: Path, name: str) -> None:
    """Notices of another mode or resolution than the name's, which goes."""
    (scene,) = scenes(read(real_data, name))
    check_supported(scene)
    assert scene.mode == "IW"


@pytest.mark.parametrize(
    ("old", "new", "mode"),
    [
        ("IW_GRDH_1SDV", "EW_GRDM_1SDH", "EW"),
        ("IW_GRDH_1SDV", "S3_GRDF_1SSH", "SM"),
        ("IW_GRDH_1SDV", "IW_GRDM_1SSV", "IW"),
    ],
)
def test_what_the_scan_can_do_is_let_through(real_data: Path, old: str, new: str, mode: str) -> None:
    event = read(real_data)
    name = json.loads(event["Records"][0]["Sns"]["Message"])["id"].replace(old, new)
    (scene,) = scenes(with_message(event, id=name, mode=mode))
    check_supported(scene)
    assert scene.mode == new[:2]  # the beam, where the notice says SM


@pytest.mark.parametrize(
    ("new", "says"),
    [
        ("IW_SLC__1SDV", "fetch the GRD"),
        ("WV_OCN__2SSV", "wind and waves"),
        ("WV_GRDM_1SSV", "vignettes"),
        ("IW_RAW__0SDV", "fetch the GRD"),
        ("IW_GRDH_1ADV", "no pixels"),
        ("EN_GRDH_1SDV", "calibration"),
    ],
)
def test_what_is_not_processed_is_a_scene_that_says_why(real_data: Path, new: str, says: str) -> None:
    event = read(real_data)
    name = json.loads(event["Records"][0]["Sns"]["Message"])["id"].replace("IW_GRDH_1SDV", new)
    (scene,) = scenes(with_message(event, id=name))
    with pytest.raises(SceneUnsupported, match=f"got .* expected a GRD .*{says}"):
        check_supported(scene)


@pytest.mark.parametrize("resolution", [None, ""])
def test_a_resolution_that_is_not_given_is_that_of_the_name(real_data: Path, resolution: str | None) -> None:
    (scene,) = scenes(with_message(read(real_data), resolution=resolution))
    assert scene.resolution == "H"


@pytest.mark.parametrize(
    "time",
    ["2025-01-03T01:34:47", "2025-01-03T01:34:47Z", "2025-01-03T01:34:47.000Z", "2025-01-03T01:34:47.0000"],
)
def test_times_with_and_without_z_are_one(real_data: Path, time: str) -> None:
    assert scenes(with_message(read(real_data), startTime=time)) == scenes(read(real_data))


@pytest.mark.parametrize(
    "event",
    [
        [],
        {},
        {"Records": []},
        {"Records": [{}]},
        {"Type": "SubscriptionConfirmation", "SubscribeURL": "https://example.org", "Message": "confirm"},
        {"Type": "Notification"},
        {"Type": "Notification", "Message": "no JSON"},
        {"Type": "Notification", "Message": "{}"},
    ],
)
def test_what_is_no_notice_is_refused(event: Any) -> None:
    with pytest.raises(MessageError):
        scenes(event)


def test_a_notice_of_another_satellite_is_refused(real_data: Path) -> None:
    with pytest.raises(MessageError):
        scenes(read(real_data, "cdse-push-sentinel2.json"))


@pytest.mark.parametrize("name", ["startTime", "missionDataTakeId", "missionId", "id"])
def test_a_notice_without_a_field_is_refused(real_data: Path, name: str) -> None:
    with pytest.raises(MessageError):
        scenes(with_message(read(real_data), **{name: None}))
