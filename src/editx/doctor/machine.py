"""The machine itself: Python, clock, memory, container, and the places that are written to."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import psutil

import editx
from editx.container import ROOT, container, memory_left, memory_limit
from editx.doctor.check import Check, Status, gb

PYTHON_NEEDED = (3, 11)
LOW_DISK_BYTES = 2 * 10**9
NO_DISK_BYTES = 50 * 10**6
PREVIEW_MEMORY_BYTES = 500 * 10**6
"""What server, zygote and one preview worker were seen to take together, with room to work."""
CLOCK_SLACK_S = 60.0


def check_python() -> Check:
    version = f"{platform.python_implementation()} {platform.python_version()}"
    facts = {"version": platform.python_version()}
    if sys.version_info < PYTHON_NEEDED:
        wanted = ".".join(map(str, PYTHON_NEEDED))
        return Check("python", "fail", version, f"install Python {wanted} or newer", facts)
    return Check("python", "ok", version, facts=facts)


def check_clock(package: Path = Path(editx.__file__).parent) -> Check:
    """The clock is not behind the newest file of `package`, has a time zone, and monotonic time goes forward."""
    name = "clock"
    now = time.time()
    local = datetime.fromtimestamp(now).astimezone()
    newest = max(path.stat().st_mtime for path in package.rglob("*.py"))
    facts = {"time": local.isoformat(timespec="seconds"), "newest_file_seconds_ahead": round(newest - now, 1)}
    if newest > now + CLOCK_SLACK_S:
        written = datetime.fromtimestamp(newest).astimezone()
        return Check(
            name, "warn", f"it says {local:%Y-%m-%d %H:%M %Z}, but EditX's files are of {written:%Y-%m-%d %H:%M %Z}",
            "set the clock, for instance with `timedatectl set-ntp true`; downloads fail when it is wrong", facts,
        )  # fmt: skip
    first, second = time.monotonic(), time.monotonic()
    if second < first or not time.get_clock_info("monotonic").monotonic:
        return Check(
            name, "fail", "monotonic time goes backward, so nothing can be timed", "restart the machine", facts
        )
    return Check(name, "ok", f"{local:%Y-%m-%d %H:%M %Z} (UTC{local:%z}); monotonic time goes forward", facts=facts)


def check_container(host: str, root: Path = ROOT) -> Check:
    """Inside of a container, the server must listen on more than the container's own loopback address."""
    name = "container"
    kind = container(root)
    facts = {"container": kind}
    if kind is None:
        return Check(name, "ok", "none seen", facts=facts)
    if host in ("127.0.0.1", "localhost", "::1"):
        return Check(
            name, "warn", f"{kind}; {host} is reached from inside of it only, unless it shares the host's network",
            "listen with --host 0.0.0.0 and publish the port", facts,
        )  # fmt: skip
    return Check(name, "ok", f"{kind}; no shared memory (--shm-size, --ipc) is needed", facts=facts)


def check_memory(need: int, root: Path = ROOT) -> Check:
    """Main memory. `need`: bytes that the serving variant takes beyond what the preview engine would."""
    machine = psutil.virtual_memory()
    limit, left = memory_limit(root), memory_left(root)
    available = min(machine.available, machine.available if left is None else left)
    wanted = PREVIEW_MEMORY_BYTES + need
    facts = {"total_bytes": machine.total, "limit_bytes": limit, "available_bytes": available, "needed_bytes": wanted}
    limited = "" if limit is None else f", and the control group allows {gb(limit)}"
    detail = f"{gb(available)} of {gb(machine.total)} available{limited}"
    if available < wanted:
        remedy = "end other programs, or raise the limit"
        return Check("memory", "warn", f"{detail}; about {gb(wanted)} are needed", remedy, facts)
    return Check("memory", "ok", detail, facts=facts)


def check_temporary(max_body: int) -> Check:
    """Uploads and decoding pass through the temporary directory. `max_body`: bytes of the largest request."""
    name = "temporary files"
    try:
        directory = tempfile.gettempdir()
    except FileNotFoundError as error:
        return Check(name, "fail", str(error.strerror), "set TMPDIR to a directory that can be written")
    free = shutil.disk_usage(directory).free
    facts = {"directory": directory, "free_bytes": free}
    named = os.environ.get("TMPDIR")
    if named and Path(named).absolute() != Path(directory):
        return Check(
            name, "warn", f"TMPDIR={named} cannot be written, {directory} is used", "make it writable, or unset it",
            facts,
        )  # fmt: skip
    if free < 2 * max_body:  # an upload, and the copy that is handed to the decoder
        return Check(
            name, "warn", f"{directory}: {gb(free)} free, and one request may bring {gb(max_body)}",
            "free some space, set TMPDIR, or lower --max-body", facts,
        )  # fmt: skip
    return Check(name, "ok", f"{directory}, {gb(free)} free", facts=facts)


def check_data_dir(directory: Path) -> Check:
    """It can be written, and there is room."""
    name = "data directory"
    there = next(path for path in (directory.absolute(), *directory.absolute().parents) if path.exists())
    facts: dict[str, object] = {"directory": str(directory)}
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
        free = shutil.disk_usage(there).free
    except OSError as error:
        return Check(
            name, "fail", f"{directory} cannot be written: {error.strerror}", "make it writable, or set --data-dir",
            facts,
        )  # fmt: skip
    facts["free_bytes"] = free
    if free < LOW_DISK_BYTES:
        status: Status = "fail" if free < NO_DISK_BYTES else "warn"
        return Check(name, status, f"{directory}: {gb(free)} free", "free some space, or set --data-dir", facts)
    return Check(name, "ok", f"{directory}, {gb(free)} free", facts=facts)
