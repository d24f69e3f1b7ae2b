"""Python code tried in a process of its own: what engines import is never loaded in this one."""

from __future__ import annotations

import subprocess
import sys

CHILD_TIMEOUT_S = 60.0


def complaint(code: str, *arguments: str) -> str:
    """Run `code` in a fresh interpreter; the last line it printed to stderr if it failed, empty if it did not."""
    command = [sys.executable, "-P", "-c", code, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=CHILD_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"nothing came of it within {CHILD_TIMEOUT_S:g} s"
    if not done.returncode:
        return ""
    return (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
