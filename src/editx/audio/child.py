"""Runs a pure function of bytes in a fresh process with limits on what it may use.

The plain way, for scripts and the command line; a server injects its own launcher into `Decoder` instead.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tempfile
import threading
from typing import BinaryIO, Protocol

from editx.audio.limits import AudioLimits

_STDERR_BYTES = 64 * 1024
_ENVIRONMENT = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "LANG")


class ChildFailed(Exception):
    """The child ended without an answer. `signal` is what ended it, or None when it exited by itself."""

    def __init__(self, message: str, *, signal: int | None = None) -> None:
        super().__init__(message)
        self.signal = signal


class ChildTimedOut(ChildFailed):
    """The child was killed at its deadline."""


class RunChild(Protocol):
    """Calls `entry`, a `module:function` from bytes to bytes, with `payload` in a process of its own.

    Raises ChildFailed when the process ends without an answer and ChildTimedOut after `timeout` seconds.
    """

    def __call__(self, entry: str, payload: bytes, *, limits: AudioLimits, timeout: float) -> bytes | bytearray: ...


def run_child(entry: str, payload: bytes, *, limits: AudioLimits, timeout: float) -> bytes:
    """The default `RunChild`: starts an interpreter, hands it the payload as a file, reads its answer.

    The answer is read up to `limits.output_bytes` only, and the child sees nothing of this process's secrets: its
    environment is reduced to what the interpreter needs.
    """
    command = [
        sys.executable, "-P", "-m", "editx.audio.child", entry, str(limits.address_space_bytes),
        str(limits.cpu_seconds), str(limits.wall_seconds),
    ]  # fmt: skip
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    with tempfile.TemporaryFile() as request, tempfile.TemporaryFile() as log:
        request.write(payload)
        request.seek(0)
        with subprocess.Popen(
            command, stdin=request, stdout=subprocess.PIPE, stderr=log, env=environment, start_new_session=True
        ) as child:
            assert child.stdout is not None
            late = threading.Event()

            def expire() -> None:
                late.set()
                child.kill()

            timer = threading.Timer(timeout, expire)
            timer.start()
            complete = False
            try:
                answer = child.stdout.read(limits.output_bytes + 1)
                complete = len(answer) <= limits.output_bytes
            finally:
                if not complete:
                    child.kill()
                child.wait()
                timer.cancel()
                timer.join()
        if late.is_set():
            raise ChildTimedOut(f"the child process was stopped after {timeout:g} s")
        if not complete:
            raise ChildFailed(f"the child process answered with more than {limits.output_bytes} bytes")
        if child.returncode != 0:
            signal = -child.returncode if child.returncode < 0 else None
            raise ChildFailed(
                f"the child process ended with {f'signal {signal}' if signal else f'status {child.returncode}'}: "
                f"{_tail(log)}",
                signal=signal,
            )
        return answer


def _tail(log: BinaryIO) -> str:
    log.seek(0)
    text = log.read(_STDERR_BYTES).decode(errors="replace").strip()
    return text[-2000:] or "it said nothing"


def limit_this_process(address_space_bytes: int, cpu_seconds: int) -> None:
    """Lower this process's limits for good: memory, CPU time, and no core dump or file growth to speak of."""
    if sys.platform == "win32":
        return
    import resource

    for kind, value in (
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, _STDERR_BYTES),
        (resource.RLIMIT_NOFILE, 64),
        *(((resource.RLIMIT_AS, address_space_bytes),) if sys.platform == "linux" else ()),
    ):
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))


def main(entry: str, address_space_bytes: str, cpu_seconds: str, wall_seconds: str) -> None:
    """In the child: limits first, then the code that needs them."""
    limit_this_process(int(address_space_bytes), int(cpu_seconds))
    if sys.platform != "win32":
        import signal

        signal.alarm(int(float(wall_seconds)) + 2)
    module, _, function = entry.partition(":")
    answer = getattr(importlib.import_module(module), function)(sys.stdin.buffer.read())
    sys.stdout.buffer.write(answer)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
