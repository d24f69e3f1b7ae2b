"""Whether this runs in a container, and how much memory it may take there."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path("/")


def container(root: Path = ROOT) -> str | None:
    """What kind of container this is, None outside of one. `root`: where its file system begins."""
    if (root / ".dockerenv").exists():
        return "docker"
    if (root / "run/.containerenv").exists():
        return "podman"
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return "kubernetes"
    return os.environ.get("container") or None  # noqa: SIM112 - set by systemd-nspawn, lxc and podman


def memory_limit(root: Path = ROOT) -> int | None:
    """Most bytes of memory that the control groups of this process allow it, None where they set no limit."""
    found = [limit for directory in _directories(root) for limit in [_limit(directory)] if limit is not None]
    return min(found, default=None)


def memory_left(root: Path = ROOT) -> int | None:
    """Bytes that may still be taken under that limit; what is cached of files counts as free."""
    left = []
    for directory in _directories(root):
        limit, used = _limit(directory), _used(directory)
        if limit is not None and used is not None:
            left.append(max(0, limit - used))
    return min(left, default=None)


def _directories(root: Path) -> list[Path]:
    """The control groups of this process, innermost first, of whichever version of the interface sets memory limits."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []  # not Linux
    found: list[Path] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            mount = root / "sys/fs/cgroup"
        elif "memory" in controllers.split(","):
            mount = root / "sys/fs/cgroup/memory"
        else:
            continue
        # Inside a container the path may be the host's, of which only the mount itself can be seen.
        inner = mount / path.lstrip("/")
        found += [directory for directory in (inner, *inner.parents) if directory.is_relative_to(mount)]
    return [directory for directory in found if directory.is_dir()]


def _limit(directory: Path) -> int | None:
    limit = _number(directory / "memory.max") or _number(directory / "memory.limit_in_bytes")
    return limit if limit is not None and limit < 2**60 else None  # version 1 says "none" by a number like that


def _used(directory: Path) -> int | None:
    used = _number(directory / "memory.current") or _number(directory / "memory.usage_in_bytes")
    if used is None:
        return None
    try:
        stat = dict(line.split(" ", 1) for line in (directory / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        stat = {}
    return used - int(stat.get("total_inactive_file") or stat.get("inactive_file") or 0)


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # there is none, or it says "max"
        return None
