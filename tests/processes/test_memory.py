"""What a process and those it started take."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

from editx.processes.memory import resident_bytes

HOLDER = "import sys; held = b'x' * 30_000_000; print(flush=True); sys.stdin.read()"
PARENT = f"""import subprocess, sys, threading
child = [sys.executable, '-c', {HOLDER!r}]
started = threading.Thread(target=lambda: subprocess.Popen(child))
started.start()
started.join()
sys.stdin.read()
"""


def test_what_a_thread_started_counts_and_what_has_ended_does_not() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        parent.stdout.readline()
        alone = psutil.Process(parent.pid).memory_info().rss
        (child,) = psutil.Process(parent.pid).children()
        assert resident_bytes(child.pid) > 30_000_000
        assert resident_bytes(parent.pid) == pytest.approx(alone + child.memory_info().rss, rel=0.02)
        parent.stdin.close()
        child.wait(30)
        parent.wait(30)
        assert resident_bytes(parent.pid) == 0
