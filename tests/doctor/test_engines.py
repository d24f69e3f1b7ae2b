"""What native variants need on the machine besides their packages."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest

from editx.doctor.engines import check_compiler


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with nothing on its path but `gcc`, and with Python's headers."""
    (tmp_path / "gcc").touch(0o755)
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "Python.h").touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path / name))
    return tmp_path


def test_a_compiler_and_headers_are_found(machine: Path):
    check = check_compiler()
    assert (check.status, check.remedy) == ("ok", "")
    assert str(machine / "gcc") in check.detail


def test_what_the_kernel_lacks_is_named(machine: Path, monkeypatch: pytest.MonkeyPatch):
    (machine / "include" / "Python.h").unlink()
    headless = check_compiler()
    assert headless.status == "warn"
    assert headless.detail == "there is no Python.h: `bnb` works without its kernel, much slower"
    assert "python3-dev" in headless.remedy
    (machine / "gcc").unlink()
    assert "there is no C compiler and no Python.h" in check_compiler().detail
    monkeypatch.setenv("CC", "/opt/bin/cc")
    assert "C compiler" not in check_compiler().detail
