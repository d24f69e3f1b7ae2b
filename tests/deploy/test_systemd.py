"""deploy/systemd/editx.service, judged by systemd's own tools."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest

from editx.settings import Settings
from tests.deploy.paths import DEPLOY

UNIT = DEPLOY / "systemd" / "editx.service"
MOST_EXPOSED = 2.0
"""Of 10; the GPU's devices, the network and compilers at run time are what is left."""


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with a program that exists here in place of the installed one."""
    program = Path(sys.executable).with_name("editx")
    text = UNIT.read_text("utf-8")
    assert text.count("ExecStart=/opt/editx/bin/editx serve\n") == 1
    copy = tmp_path / UNIT.name
    copy.write_text(text.replace("ExecStart=/opt/editx/bin/editx", f"ExecStart={program}"))
    return copy


def analyzed(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60)


def test_systemd_understands_every_line(unit: Path) -> None:
    done = analyzed("verify", str(unit))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_systemd_would_say_what_it_does_not_understand(unit: Path) -> None:
    unit.write_text(unit.read_text("utf-8").replace("OOMPolicy=continue", "OOMPolicy=whatever"))
    assert "whatever" in analyzed("verify", str(unit)).stderr


def test_the_device_of_cuda_is_made_with_the_rights_for_it_where_there_is_a_driver() -> None:
    (made,) = re.findall(r"^ExecStartPre=(\S+)", UNIT.read_text("utf-8"), re.MULTILINE)
    assert made == "+-/usr/bin/nvidia-modprobe"  # as root, and no matter if there is none


def test_little_is_exposed(unit: Path) -> None:
    done = analyzed("security", "--offline=yes", "--no-pager", str(unit))
    assert done.returncode == 0, done.stderr
    rated = re.search(r"exposure level for editx.service: ([\d.]+)", done.stdout)
    assert rated, done.stdout
    assert float(rated[1]) <= MOST_EXPOSED


def test_the_end_leaves_time_for_requests_under_way() -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(UNIT, "utf-8")
    service = parser["Service"]
    assert int(service["TimeoutStopSec"]) > Settings.model_fields["drain_timeout"].default
    assert service["KillMode"] == "mixed"


def test_only_settings_are_set() -> None:
    named = re.findall(r"EDITX_(\w+)=", UNIT.read_text("utf-8"))
    assert named
    assert {name.lower() for name in named} <= Settings.model_fields.keys()
