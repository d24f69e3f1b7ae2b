"""The main memory that a process takes, with the processes it started."""

from __future__ import annotations

from pathlib import Path

import psutil


def resident_bytes(pid: int) -> int:
    """Main memory that a process and all its descendants occupy now; 0 when it has ended."""
    try:
        own: int = psutil.Process(pid).memory_info().rss
        return own + sum(resident_bytes(child) for child in _children(pid))
    except psutil.NoSuchProcess:
        return 0


def _children(pid: int) -> list[int]:
    """The kernel's own list: psutil looks at every process of the machine, and this is asked every second."""
    try:
        lists = [(thread / "children").read_text() for thread in Path(f"/proc/{pid}/task").iterdir()]
    except (FileNotFoundError, ProcessLookupError):  # a kernel that keeps none, or a thread that has just ended
        return [child.pid for child in psutil.Process(pid).children()]
    return [int(child) for pids in lists for child in pids.split()]
