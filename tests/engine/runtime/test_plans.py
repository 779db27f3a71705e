"""The list of plans: what fits is chosen, what does not is refused with the command that helps."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from engine.errors import ArtifactError
from engine.runtime import plans
from engine.runtime.plans import Plan, PlanFile, PlanList
from engine.runtime.spec import Bundle, GraphSpec

RTX = {"tensorrt-rtx": "1.7.1"}


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    copy = tmp_path / "nano"
    shutil.copytree(Bundle.open().path, copy, ignore=shutil.ignore_patterns("plans*"))
    return Bundle.open(copy)


def entry(name: str = "plans/a/vision.plan", content: bytes = b"plan") -> PlanFile:
    import hashlib

    digest = hashlib.sha256(content).hexdigest()
    return PlanFile(
        file=name, sha256=digest, bytes=len(content), graph=GraphSpec(inputs=(), outputs=()), profiles=()
    )


def plan(**changes: Any) -> Plan:
    given = {
        "target": "tensorrt-rtx", "version": "1.7.1", "precision": "bf16", "sm": (80, 89), "max_batch": 32,
        "max_tokens": 512, "created": "", "vision": entry(), "decoder": entry("plans/a/decoder.plan"),
    }  # fmt: skip
    return Plan(**{**given, **changes})


def listed(bundle: Bundle, *entries: Plan) -> None:
    plans.write(bundle, PlanList(bundle=bundle.bundle_id, plans=entries))


def test_a_list_reads_as_it_was_written_and_none_is_empty(bundle: Bundle) -> None:
    assert plans.read(bundle).plans == ()
    listed(bundle, plan(), plan(precision="fp16"))
    assert plans.read(bundle).plans == (plan(), plan(precision="fp16"))
    assert [path.name for path in bundle.path.glob(".plans*")] == []
    assert Bundle.open(bundle.path).bundle_id == bundle.bundle_id


def test_of_those_that_fit_the_latest_runs(bundle: Bundle) -> None:
    listed(
        bundle,
        plan(precision="fp32"),
        plan(max_batch=1),
        plan(precision="fp16", max_batch=2),
        plan(sm=(120,), max_batch=3),
        plan(version="1.6", max_batch=4),
    )
    assert plans.choose(bundle, RTX, 89).max_batch == 2
    assert plans.choose(bundle, RTX, 120).max_batch == 3
    assert plans.choose(bundle, {"tensorrt-rtx": "1.6"}, 80).max_batch == 4
    assert plans.choose(bundle, {**RTX, "tensorrt": "10.15"}, 80).max_batch == 2


@pytest.mark.parametrize(
    ("versions", "sm", "command"),
    [
        (
            {"tensorrt-rtx": "1.8.0"},
            89,
            "--target tensorrt-rtx --sm 89 --precision bf16 --max-batch 32 --max-tok",
        ),
        (RTX, 86, "--target tensorrt-rtx --sm 86 --precision bf16"),
        ({"tensorrt": "10.15"}, 90, "--target tensorrt"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_command(bundle: Bundle, versions, sm, command) -> None:
    listed(bundle, plan())
    with pytest.raises(ArtifactError) as caught:
        plans.choose(bundle, versions, sm)
    said = str(caught.value)
    assert "tensorrt-rtx 1.7.1 bf16 for sm 80, 89" in said
    assert f"sm {sm}" in said
    assert f"fusar-engine build {bundle.path} {command}" in said


def test_a_list_of_another_bundle_or_form_is_refused(bundle: Bundle) -> None:
    path = bundle.path / plans.PLANS
    plans.write(bundle, PlanList(bundle="0" * 16, plans=(plan(),)))
    with pytest.raises(ArtifactError, match="expected those of"):
        plans.read(bundle)
    good = PlanList(bundle=bundle.bundle_id, plans=(plan(),)).model_dump()
    for bad in ({**good, "format": "fusar.plans/2"}, {**good, "more": 1}, []):
        path.write_text(json.dumps(bad))
        with pytest.raises(ArtifactError, match=r"does not fit fusar.plans/1"):
            plans.read(bundle)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match="does not fit"):
        plans.read(bundle)


@pytest.mark.parametrize(
    "name", ["/etc/plan", "../plans/a.plan", "plans/../../a", "plans/a", "other/a/b", "a"]
)
def test_a_plan_lies_inside_the_bundle(name: str) -> None:
    with pytest.raises(ValueError, match="expected plans/NAME/NAME"):
        entry(name)


def test_only_the_listed_bytes_are_loaded(bundle: Bundle) -> None:
    path = bundle.path / "plans" / "a" / "vision.plan"
    path.parent.mkdir(parents=True)
    for bad in (b"", b"pla", b"plan ", b"PLAN"):
        path.write_bytes(bad)
        with pytest.raises(ArtifactError, match="altered or cut short, run `fusar-engine build"):
            plans.load(bundle, plan(), entry())
    path.write_bytes(b"plan")
    assert bytes(plans.load(bundle, plan(), entry())) == b"plan"
