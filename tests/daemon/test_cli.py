"""The command: what a person sees when something is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import tiny

ROOT = Path(__file__).resolve().parents[2]
NOBODY = {"FUSAR_KAFKA__BOOTSTRAP": "127.0.0.1:1", "FUSAR_KAFKA__CONNECT_TIMEOUT_S": "1"}
NO_STORE = {"FUSAR_STORE__URL": "postgresql://user:hidden-word@127.0.0.1:1/fusar"}


def fusar(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, as a person would."""
    return subprocess.run(
        [sys.executable, "-m", "daemon.cli", *arguments],
        env={**os.environ, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_the_commands_are_there() -> None:
    done = fusar("--help")
    for command in ("detect", "publish", "run", "status", "db"):
        assert f" {command} " in done.stdout
    assert "--picture" in fusar("detect", "--help").stdout


def test_the_scan_and_the_engine_are_loaded_only_to_look() -> None:
    loaded = "import sys, daemon.cli; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", loaded], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not {"numba", "onnxruntime", "rasterio", "faust"} & set(done.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "environment", "error"),
    [
        (("publish", "holiday.jpg"), NOBODY, "MessageError"),
        (("publish", f"/data/{tiny.NAME}.SAFE"), NOBODY, "DeliveryError: Kafka at 127.0.0.1:1"),
        (("status",), NO_STORE, "StoreUnavailable"),
        (("db", "upgrade"), NO_STORE, "StoreUnavailable"),
        (("status",), {"FUSAR_STORE__URL": "sqlite:///x"}, "ConfigError"),
        (("status",), {"FUSAR_STOER__URL": "x"}, "ConfigError: unknown settings FUSAR_STOER__URL"),
    ],
)
def test_our_errors_are_one_line_and_exit_code_1(
    arguments: tuple[str, ...], environment: dict[str, str], error: str
) -> None:
    done = fusar(*arguments, **environment)
    assert done.returncode == 1
    assert error in done.stderr
    assert "Traceback" not in done.stderr
    assert "hidden-word" not in done.stderr + done.stdout


def test_an_unknown_source_is_a_usage_error() -> None:
    assert fusar("publish", "--source", "telepathy", "x").returncode == 2


def test_a_notice_that_is_not_there_is_said(tmp_path: Path) -> None:
    done = fusar("publish", "--source", "aws-sns", str(tmp_path / "none.json"), **NOBODY)
    assert done.returncode == 1
    assert "none.json" in done.stderr
    assert "Traceback" not in done.stderr
