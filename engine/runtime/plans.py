"""The plans of a bundle: its graphs compiled for GPUs, listed in ``plans.json`` beside the manifest.

The manifest never changes; plans come and go with GPUs and releases of TensorRT, so they have a list of
their own. A plan is executable code: it is loaded only if it is listed, its hash is the listed one, and it
was made from this bundle for this very release and GPU.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import tempfile
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from engine.errors import ArtifactError
from engine.runtime.spec import Bundle, GraphSpec

FORMAT: Literal["fusar.plans/1"] = "fusar.plans/1"
PLANS = "plans.json"
FOLDER = "plans"
STEP_TOKENS = 16  # the step's profile takes so many tokens a row: what was chosen, and what follows by force

Target = Literal["tensorrt", "tensorrt-rtx"]
Precision = Literal["bf16", "fp16", "fp32"]
MODULES: dict[Target, str] = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
Shape = tuple[int, ...]
Profile = dict[str, tuple[Shape, Shape, Shape]]  # least, usual and largest shape of each input


def is_cache(name: str) -> bool:
    """Whether a tensor of the decoder is a layer's keys or values."""
    return name.startswith(("past_k_", "past_v_", "present_k_", "present_v_"))


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PlanFile(_Frozen):
    """One compiled graph.

    Attributes:
        file: its place in the bundle's folder.
        sha256: of its bytes.
        bytes: its length.
        graph: inputs and outputs; a name in place of a size is dynamic.
        profiles: the shapes it was compiled for.
    """

    file: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int
    graph: GraphSpec
    profiles: tuple[Profile, ...]

    @field_validator("file")
    @classmethod
    def _inside(cls, file: str) -> str:
        parts = PurePosixPath(file).parts
        if len(parts) != 3 or parts[0] != FOLDER or ".." in parts or "\\" in file:
            raise ValueError(f"got {file!r}, expected {FOLDER}/NAME/NAME")
        return file


class Plan(_Frozen):
    """The graphs of a bundle, compiled.

    Attributes:
        target: the flavour of TensorRT.
        version: its release; another one cannot read the plan.
        precision: of products and caches.
        sm: compute capabilities it runs on, such as 89.
        max_batch: rows and chips of a call.
        max_tokens: columns of the caches: a prompt and its answer.
        created: UTC, ISO 8601.
        vision: the vision graph.
        decoder: the decoder; its first profile is for prompts, its second for steps.
    """

    target: Target
    version: str
    precision: Precision
    sm: tuple[int, ...]
    max_batch: int = Field(gt=0)
    max_tokens: int = Field(gt=0)
    created: str
    vision: PlanFile
    decoder: PlanFile

    @property
    def name(self) -> str:
        """Flavour and precision."""
        return f"{self.target} {self.precision}"

    def same_place(self, other: Plan) -> bool:
        """Whether the other plan is for the same flavour, precision and GPUs."""
        return (self.target, self.precision, self.sm) == (other.target, other.precision, other.sm)


class PlanList(_Frozen):
    """What ``plans.json`` holds: the plans of one bundle, the latest last."""

    format: Literal["fusar.plans/1"] = FORMAT
    bundle: str
    plans: tuple[Plan, ...] = ()


def read(bundle: Bundle) -> PlanList:
    """Read a bundle's list of plans; it is empty where there is no file.

    Raises:
        ArtifactError: the list does not parse, or belongs to another bundle.
    """
    path = bundle.path / PLANS
    if not path.exists():
        return PlanList(bundle=bundle.bundle_id)
    again = f"remove it and run `{command(bundle)}`"
    try:
        listed = PlanList.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise ArtifactError(f"{path} does not fit {FORMAT}: {error}; {again}") from error
    if listed.bundle != bundle.bundle_id:
        raise ArtifactError(
            f"got plans of bundle {listed.bundle} in {path}, expected those of {bundle.bundle_id}: {again}"
        )
    return listed


def write(bundle: Bundle, listed: PlanList) -> None:
    """Replace a bundle's list of plans, in one step."""
    handle, name = tempfile.mkstemp(dir=bundle.path, prefix=f".{PLANS}.")
    with os.fdopen(handle, "w") as file:
        file.write(listed.model_dump_json(indent=1) + "\n")
    os.chmod(name, 0o644)
    os.replace(name, bundle.path / PLANS)


def command(
    bundle: Bundle,
    target: str | None = None,
    sm: int | None = None,
    precision: str | None = None,
    plan: Plan | None = None,
) -> str:
    """Return the command that builds a plan of a bundle, like another plan where one is given."""
    sm_text = str(sm) if sm is not None else ",".join(map(str, plan.sm)) if plan else None
    options = {
        "target": target or (plan.target if plan else "tensorrt"),
        "sm": sm_text,
        "precision": precision or (plan.precision if plan else None),
        "max-batch": plan.max_batch if plan else None,
        "max-tokens": plan.max_tokens if plan else None,
    }
    if options["target"] == "tensorrt":
        options["sm"] = None  # it compiles for the GPU at hand
    given = " ".join(f"--{name} {value}" for name, value in options.items() if value is not None)
    return f"fusar-engine build {bundle.path} {given}"


def choose(bundle: Bundle, versions: Mapping[Target, str], sm: int) -> Plan:
    """Return the plan to run: of those that fit, the one that was built last.

    Args:
        bundle: the opened bundle.
        versions: releases of the flavours that are installed.
        sm: the GPU's compute capability, such as 89.

    Raises:
        ArtifactError: none fits release and GPU.
    """
    listed = read(bundle).plans
    for plan in reversed(listed):
        if versions.get(plan.target) == plan.version and sm in plan.sm:
            return plan
    near = next((plan for plan in reversed(listed) if plan.target in versions), None)
    target = near.target if near else next(iter(versions), None)
    if near is None or sm in near.sm:
        fix = command(bundle, target, sm, plan=near)
    else:
        fix = command(bundle, target, sm, near.precision)
    got = [f"{plan.target} {plan.version} {plan.precision} for sm {_listed(plan.sm)}" for plan in listed]
    expected = " or ".join(f"{name} {version}" for name, version in versions.items())
    raise ArtifactError(
        f"got plans {got} in {bundle.path}, expected one of {expected} for sm {sm}: run `{fix}`"
    )


def load(bundle: Bundle, plan: Plan, file: PlanFile) -> memoryview:
    """Return the bytes of a plan, after they proved to be the listed ones.

    The file is mapped, not read into memory; who holds the view holds the file.

    Raises:
        ArtifactError: the file is missing or another.
    """
    path = bundle.path / file.file
    fix = f"run `{command(bundle, plan=plan)}`"
    try:
        with path.open("rb") as stream:
            size = path.stat().st_size
            # An empty file cannot be mapped.
            view = memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) if size else b"")
    except OSError as error:
        raise ArtifactError(f"got no plan {path} ({error}), expected {file.bytes} bytes: {fix}") from error
    digest = hashlib.sha256(view).hexdigest()
    if (size, digest) != (file.bytes, file.sha256):
        raise ArtifactError(
            f"got plan {path} of {size} bytes, sha256 {digest}, expected {file.bytes} bytes, sha256 "
            f"{file.sha256}: the file was altered or cut short, {fix}"
        )
    return view


def _listed(sm: tuple[int, ...]) -> str:
    return ", ".join(map(str, sm))
