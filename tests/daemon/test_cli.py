"""The command: what a person sees when something is wrong."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from daemon import cli
from tests.support import tiny

ROOT = Path(__file__).resolve().parents[2]
NOBODY = {"FUSAR_KAFKA__BOOTSTRAP": "127.0.0.1:1", "FUSAR_KAFKA__CONNECT_TIMEOUT_S": "1"}
NO_STORE = {"FUSAR_STORE__URL": "postgresql://user:hidden-word@127.0.0.1:1/fusar"}


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


Fusar = Callable[..., Done]


@pytest.fixture
def fusar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Fusar]:
    """The command with its arguments and settings, as a person would run it."""
    handlers, level = logging.root.handlers[:], logging.root.level

    def run(*arguments: str, **environment: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["fusar", *arguments])
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return Done(int(ended.value.code or 0), out, err)

    yield run
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def test_the_commands_are_there(fusar: Fusar) -> None:
    shown = fusar("--help")
    assert shown.returncode == 0
    for command in ("detect", "publish", "run", "status", "db"):
        assert f" {command} " in shown.stdout
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
        (("status",), NO_STORE, "StoreUnavailable"),
        (("db", "upgrade"), NO_STORE, "StoreUnavailable"),
        (("status",), {"FUSAR_STORE__URL": "sqlite:///x"}, "ConfigError"),
        (("status",), {"FUSAR_STOER__URL": "x"}, "ConfigError: unknown settings FUSAR_STOER__URL"),
    ],
)
def test_our_errors_are_one_line_and_exit_code_1(
    fusar: Fusar, arguments: tuple[str, ...], environment: dict[str, str], error: str
) -> None:
    done = fusar(*arguments, **environment)
    assert done.returncode == 1
    assert error in done.stderr
    assert "Traceback" not in done.stderr
    assert "hidden-word" not in done.stderr + done.stdout


def test_an_unknown_source_is_a_usage_error(fusar: Fusar) -> None:
    assert fusar("publish", "--source", "telepathy", "x").returncode == 2


def test_a_notice_that_is_not_there_is_said(fusar: Fusar, tmp_path: Path) -> None:
    done = fusar("publish", "--source", "aws-sns", str(tmp_path / "none.json"), **NOBODY)
    assert done.returncode == 1
    assert "none.json" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_broker_that_does_not_answer_is_said() -> None:
    # In a process of its own: kafka-python leaves sockets open when it cannot connect.
    done = subprocess.run(
        [sys.executable, "-m", "daemon.cli", "publish", f"/data/{tiny.NAME}.SAFE"],
        env={**os.environ, **NOBODY},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1
    assert "\nDeliveryError: Kafka at 127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr
