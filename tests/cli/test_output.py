"""Where output goes: pipes that close, disks that are full, terminals that lack a character."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.cli.running import EDITX, CommandLine, environment

COMMANDS = ("voices list", "voices list --json", "--help", "clone Hi. --voice alloy -o - --format wav")


def shell(editx: CommandLine, script: str) -> subprocess.CompletedProcess[bytes]:
    variables = environment(editx.folder / "data", editx=EDITX)
    return subprocess.run(
        ["bash", "-c", script], cwd=editx.folder, env=variables, capture_output=True, timeout=120, check=False
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_a_reader_that_goes_ends_it_quietly(editx: CommandLine, command: str) -> None:
    done = shell(editx, f'"$editx" {command} | true; exit ${{PIPESTATUS[0]}}')
    assert (done.returncode in (0, 1), done.stderr) == (True, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk_is_said(editx: CommandLine, command: str) -> None:
    done = shell(editx, f'"$editx" {command} > /dev/full')
    assert (done.returncode, done.stderr) == (9, b"error: cannot write to stdout: No space left on device\n")


def test_a_result_for_which_there_is_no_room_is_9(editx: CommandLine) -> None:
    """A limit on the size of files stands for a disk that is full; what else is written is there already."""
    editx("voices", "list")
    clone = '"$editx" clone "One two three four five six seven, and so on." --voice alloy -o x.wav'
    done = shell(editx, f"ulimit -f 64; {clone}")
    assert (done.returncode, done.stderr) == (9, b"error: cannot write x.wav: File too large (--out)\n")
    assert not (editx.folder / "x.wav").exists()


def test_a_stdout_that_was_closed_is_no_fault(editx: CommandLine) -> None:
    done = shell(editx, '"$editx" voices list >&-')
    assert (done.returncode, done.stderr) == (0, b"")


def test_characters_that_an_encoding_lacks_are_written_as_numbers(editx: CommandLine) -> None:
    shown = editx("voices", "show", "qinghe", PYTHONIOENCODING="ascii").stdout
    assert rb"\u6e05\u6668" in shown
    editx("doctor", "--port", "0", PYTHONIOENCODING="ascii")
