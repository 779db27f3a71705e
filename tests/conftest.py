"""Shared by all tests: no FUSAR_ setting of the caller leaks in; real files where they are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes is the machine's affair: a slow one is no failure.
settings.register_profile("fusar", deadline=None)
settings.load_profile("fusar")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("FUSAR_") and not name.startswith("FUSAR_TEST_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of real files; skip where it is absent, fail where CI demands it."""
    folder = Path(os.environ.get("FUSAR_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        message = f"no real test files at {folder}: set FUSAR_TEST_DATA to the folder that holds s1-safe"
        if os.environ.get("FUSAR_TEST_REQUIRE_DATA"):
            pytest.fail(message)
        pytest.skip(message)
    return folder
