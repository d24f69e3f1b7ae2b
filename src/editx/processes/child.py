"""The beginning of every child process: who it is, what it may use, and when it must die.

A child is started with one connected socket. The first frame on it is its `Order`; the rest belongs to the entry that
the order names, a function `entry(socket, args)`. When it returns the child exits; when it raises, with exit code 1.
"""

from __future__ import annotations

import ctypes
import faulthandler
import importlib
import io
import os
import select
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

import msgspec

from editx.processes import frames, limits
from editx.processes.limits import Limits

MAX_ORDER_BYTES = 1 << 16
MAX_PAYLOAD_BYTES = 1 << 30
ORPHANED = 70
"""Exit code of a child that found its parent or the other end of its socket gone."""

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15

Entry = Callable[[socket.socket, dict[str, Any]], None]


class Order(msgspec.Struct, frozen=True):
    """What a child is to do. `path` is the `sys.path` of whoever gave the order."""

    entry: str
    label: str
    args: dict[str, Any]
    path: list[str]
    limits: Limits | None = None


def read_payload(sock: socket.socket, limit: int = MAX_PAYLOAD_BYTES) -> bytes:
    """The payload of `Launcher.call`, for the entry it called. Raises BrokenFrame when the caller has gone."""
    payload = frames.receive(sock, limit)
    if payload is None:
        raise frames.BrokenFrame("the caller closed the socket without sending a payload")
    return bytes(payload)


def write_answer(sock: socket.socket, answer: bytes | bytearray) -> None:
    """The answer `Launcher.call` returns."""
    frames.send(sock, answer)


def run(sock: socket.socket, parent: int) -> NoReturn:
    """Carry out the order that comes first on `sock`, as a child of process `parent`, and exit."""
    code = 1
    try:
        die_with(parent)
        # Ctrl-C in a terminal reaches every process; it is the server that decides what it means.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
        faulthandler.enable()
        code = _obey(sock)
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Not sys.exit: no thread and no exit handler of a library may keep a finished child alive.
        os._exit(code)


def die_with(parent: int) -> None:
    """Make the kernel kill this process when `parent` dies (Linux). Exits at once if that has happened already."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(ORPHANED)


def _obey(sock: socket.socket) -> int:
    body = frames.receive(sock, MAX_ORDER_BYTES)
    if body is None:
        return ORPHANED
    order = msgspec.msgpack.decode(body, type=Order)
    sys.path[:] = order.path
    _prctl(_PR_SET_NAME, order.label.encode()[:15])
    _exit_with(sock)
    if order.limits is not None:
        limits.apply(order.limits)
    module, _, name = order.entry.partition(":")
    entry: Entry = getattr(importlib.import_module(module), name)
    entry(sock, order.args)
    return 0


def _exit_with(sock: socket.socket) -> None:
    """From now on, exit when the other end of the socket is closed, whatever else this process is doing."""
    watching = threading.Event()

    def watch() -> None:
        poller = select.poll()
        poller.register(sock.fileno(), 0)  # nothing but the hang-up, which is always reported
        watching.set()
        poller.poll()
        os._exit(ORPHANED)

    threading.Thread(target=watch, name="exit-with-socket", daemon=True).start()
    # The thread's own memory must be mapped before a limit is counted from what is mapped.
    watching.wait()


def _prctl(option: int, value: int | bytes) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, ctypes.c_char_p(value) if isinstance(value, bytes) else ctypes.c_ulong(value))


if __name__ == "__main__":
    run(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
