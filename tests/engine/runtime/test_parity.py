"""The gate: what each precision is allowed, what the daemon does at its start."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from engine.errors import ParityError
from engine.runtime import backend as backends
from engine.runtime import golden, parity, spec
from engine.runtime.ort import OrtBackend
from engine.runtime.spec import Bundle, Tolerance


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.open()


class Off(OrtBackend):
    """Visual tokens that are a little off."""

    name = "ort int8"
    error = 0.0

    def vision(self, *tensors: Any) -> Any:
        visual = super().vision(*tensors)
        return visual + np.float32(self.error * np.abs(visual).max()) * np.sign(visual)


def off(bundle: Bundle, error: float, name: str = "ort int8") -> Off:
    backend = Off(bundle, threads=1)
    backend.name, backend.error = name, error
    return backend


def test_the_bundle_that_ships_passes_on_some_chips_as_on_all(bundle: Bundle) -> None:
    some = parity.check(bundle, OrtBackend(bundle, threads=1), chips=3)
    assert {count for _, count in some.answers.values()} == {3}
    assert some.agreeing == 1
    assert max(some.tensors.values()) < 1e-4


def test_each_precision_is_allowed_what_the_manifest_states(bundle: Bundle) -> None:
    strict = {"int8": Tolerance(tensor=1e-3), "fp32": Tolerance(tensor=0.5, answers=0, score=1, box_px=99)}
    stated = replace(bundle, manifest=bundle.manifest.model_copy(update={"parity": strict}))
    backend = off(bundle, 0.01)
    assert parity.check(bundle, backend, chips=2).tensors["visual"] == pytest.approx(0.01, rel=0.1)
    with pytest.raises(ParityError, match="tensors within 1e-03"):
        parity.check(stated, backend, chips=2)
    parity.check(stated, off(bundle, 0.01, "ort fp32"), chips=2)
    with pytest.raises(ParityError, match="ort fp32"):
        parity.check(bundle, off(bundle, 0.01, "ort fp32"), chips=2)


def test_too_few_answers_alike_fail_even_where_tensors_are_near(bundle: Bundle) -> None:
    loose = {"int8": Tolerance(tensor=1.0, answers=1.0), "fp32": Tolerance(tensor=1.0, answers=0.0)}
    stated = replace(bundle, manifest=bundle.manifest.model_copy(update={"parity": loose}))
    with pytest.raises(ParityError, match="of the answers alike"):
        parity.check(stated, off(bundle, 0.3), chips=4)
    assert parity.check(stated, off(bundle, 0.3, "ort fp32"), chips=4).agreeing < 1


@pytest.mark.parametrize("name", spec.TOLERANCES)
def test_every_precision_has_a_tolerance(bundle: Bundle, name: str) -> None:
    assert bundle.manifest.tolerance(name).tensor < 1


def test_at_the_start_a_backend_that_fails_is_refused_or_replaced(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(backends.BACKENDS, "ort-int8", f"{__name__}:broken")
    with pytest.raises(ParityError, match="or use another precision or backend"):
        parity.open_checked(None, "ort-int8", 1, chips=2)
    with caplog.at_level(logging.INFO):
        opened = parity.open_checked(None, "ort-int8", 1, chips=2, fall_back=True)
    assert opened.backend.name == "ort fp32"  # which a run then states
    assert "falling back to ort" in caplog.text
    assert parity.open_checked(None, "ort-int8", 1, chips=0).backend.name == "ort int8"
    monkeypatch.setitem(backends.BACKENDS, "ort", f"{__name__}:broken")
    with pytest.raises(ParityError):  # nothing is left to fall back to
        parity.open_checked(None, "ort-int8", 1, chips=2, fall_back=True)


def broken(bundle: Bundle, threads: int | None = None) -> Off:
    return off(bundle, 0.8)


def test_golden_chips_that_do_not_read_are_refused(tmp_path) -> None:
    from engine.errors import ArtifactError

    (tmp_path / "golden.npz").write_bytes(b"PK\x03\x04 no more")
    with pytest.raises(ArtifactError, match="does not read"):
        golden.read(tmp_path / "golden.npz")
    np.savez(tmp_path / "golden.npz", chips=np.zeros(1))
    with pytest.raises(ArtifactError, match="lacks"):
        golden.read(tmp_path / "golden.npz")
