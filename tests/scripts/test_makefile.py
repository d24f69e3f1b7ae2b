"""Which Python `make install` takes, and what it does where that is too old. Stand-ins play the Pythons."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = """#!/bin/sh
case "$*" in
    --version) echo Python {version} ;;
    -c*) exit {code} ;;
    "-m venv"*) for made in "$@"; do :; done; echo "$*" >> calls; mkdir -p "$made/bin"; cp "$0" "$made/bin/python" ;;
esac
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    for name, version, code in (("old", "3.9.2", 1), ("new", "3.12.1", 0)):
        (tmp_path / name).write_text(PYTHON.format(version=version, code=code))
        (tmp_path / name).chmod(0o755)
    return tmp_path


def install(project: Path, python: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"]}
    command = ["make", "install", f"PYTHON={python}", "EXTRAS="]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)


def test_a_python_that_is_too_old_is_named_and_nothing_is_made(project: Path):
    done = install(project, "./old")
    assert done.returncode != 0
    assert "EditX needs Python 3.11 or newer, and ./old is Python 3.9.2" in done.stderr
    assert "PYTHON=python3.11" in done.stderr
    assert not (project / ".venv").exists()


def test_an_environment_of_an_old_python_is_made_anew(project: Path):
    subprocess.run(["./old", "-m", "venv", ".venv"], cwd=project, check=True)
    done = install(project, "./new")
    assert done.returncode == 0, done.stderr
    assert (project / ".venv/bin/python").read_text() == (project / "new").read_text()
    assert (project / "calls").read_text().splitlines()[1:] == ["-m venv --clear .venv"]


def test_an_environment_that_will_do_stays_whatever_python_is_there(project: Path):
    assert install(project, "./new").returncode == 0
    (project / "pyproject.toml").touch()
    done = install(project, "./old")
    assert done.returncode == 0, done.stderr
    assert (project / "calls").read_text().splitlines() == ["-m venv .venv"]
