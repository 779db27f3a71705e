"""Rules of the house that no type checker sees."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import daemon

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(path for package in ("daemon", "engine") for path in (ROOT / package).rglob("*.py"))


def test_daemon_is_ours() -> None:
    """python-daemon installs a package of the same name; none of our dependencies may pull it in."""
    assert Path(daemon.__file__ or "").parent == ROOT / "daemon"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_is_one_idea(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("module", ["daemon.cli", "engine.runtime.predictor", "engine.simulate.command"])
def test_no_torch_where_it_is_not_needed(module: str) -> None:
    """Imported in a process of its own, in which torch and its kin cannot be imported at all."""
    script = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'transformers', 'peft', 'accelerate', 'onnx'):\n"
        "            raise ImportError(name + ' must not be imported here')\n"
        "sys.meta_path.insert(0, Refuse())\n"
        f"import {module}\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", ["engine.cli", "engine.runtime.predictor", "engine.model.fusar"])
def test_engine_imports_without_rasterio(module: str) -> None:
    """Machines that only train have no rasterio."""
    script = f"import sys; sys.modules['rasterio'] = None; import {module}"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_layers_hold() -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
