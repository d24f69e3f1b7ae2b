"""The clock and the places that are written to."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

from editx.doctor.machine import check_clock, check_temporary
from editx.doctor.port import check_port
from tests.running import RunningServer


def test_a_clock_behind_the_installed_files_is_wrong(tmp_path: Path):
    (tmp_path / "module.py").touch()
    assert check_clock(tmp_path).status == "ok"
    os.utime(tmp_path / "module.py", (time.time() + 7200,) * 2)
    check = check_clock(tmp_path)
    assert check.status == "warn"
    assert 7000 < check.facts["newest_file_seconds_ahead"] <= 7200
    assert "set the clock" in check.remedy


def test_room_for_temporary_files_is_measured_by_the_largest_request():
    assert check_temporary(1).status == "ok"
    check = check_temporary(10**18)
    assert check.status == "warn"
    assert "--max-body" in check.remedy


def test_a_port_that_an_editx_has_is_fine(server: RunningServer):
    port = int(server.url.rpartition(":")[2])
    check = check_port("127.0.0.1", port)
    assert (check.status, check.detail) == ("ok", f"an EditX is running at {server.url} already")


def test_an_address_of_another_machine_cannot_be_listened_on():
    check = check_port("192.0.2.1", 7860)
    assert check.status == "fail"
    assert "cannot listen on 192.0.2.1 port 7860" in check.detail
    unknown = check_port("no-such-host.invalid", 7860)
    assert unknown.remedy == "correct --host"


def test_a_free_port_is_left_free():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    assert check_port("127.0.0.1", port).detail == f"{port} on 127.0.0.1 is free"
    with socket.create_server(("127.0.0.1", port)):
        pass
