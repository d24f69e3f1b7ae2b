"""A process that has imported what children need, and forks them in milliseconds.

It is single-threaded, touches no GPU, and talks to the launcher over one SOCK_SEQPACKET socket: `Setup` first, then a
`Fork` with two descriptors (the child's socket and its log pipe) for every child; back come `Ready` once everything is
imported, then `Forked` with a pidfd, `NotForked`, and `Exited`. Children see the environment the zygote was started
with. Linux only.
"""

from __future__ import annotations

import gc
import importlib
import os
import selectors
import signal
import socket
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import NoReturn

import msgspec

from editx.processes import child

MAX_MESSAGE_BYTES = 1 << 16


class Setup(msgspec.Struct, frozen=True):
    """The `sys.path` of the launcher, and the modules to import before the first fork."""

    path: list[str]
    preload: list[str]


class Fork(msgspec.Struct, frozen=True, tag=True):
    serial: int


class Ready(msgspec.Struct, frozen=True, tag=True):
    """From now on a fork takes milliseconds."""


class Forked(msgspec.Struct, frozen=True, tag=True):
    serial: int
    pid: int


class NotForked(msgspec.Struct, frozen=True, tag=True):
    serial: int
    reason: str


class Exited(msgspec.Struct, frozen=True, tag=True):
    """`code` is the exit code, or the negative number of the signal."""

    serial: int
    code: int


Report = Ready | Forked | NotForked | Exited


def available() -> bool:
    """Whether this system can do it: Linux, and a kernel or sandbox that lets us have pidfds."""
    if sys.platform != "linux":
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        return False
    return True


def main(control: socket.socket, launcher: int) -> NoReturn:
    """Fork children until the launcher closes `control`."""
    child.die_with(launcher)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    setup = msgspec.msgpack.decode(control.recv(MAX_MESSAGE_BYTES), type=Setup)
    sys.path[:] = setup.path
    _preload(setup.preload)
    # Objects that are never collected are never written to, and stay shared with every child.
    gc.collect()
    gc.freeze()
    control.send(msgspec.msgpack.encode(Ready()))
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is control:
                    _fork(control, selector)
                else:
                    _reap(control, selector, key)


def _preload(modules: Sequence[str]) -> None:
    for name in modules:
        try:
            importlib.import_module(name)
        except Exception:
            # Not fatal here: a child that needs the module imports it itself, and fails with this very error.
            traceback.print_exc()


def _fork(control: socket.socket, selector: selectors.BaseSelector) -> None:
    message, fds, _, _ = socket.recv_fds(control, MAX_MESSAGE_BYTES, 2, socket.MSG_CMSG_CLOEXEC)
    if not message:
        os._exit(0)  # the children die with this process
    serial = msgspec.msgpack.decode(message, type=Fork).serial
    sock, log = fds
    zygote = os.getpid()
    try:
        with warnings.catch_warnings():
            # Python warns of forking beside threads; the only ones are idle pools of libraries, which handle forks.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
    except OSError as error:
        control.send(msgspec.msgpack.encode(NotForked(serial, str(error))))
        os.close(sock)
        os.close(log)
        return
    if pid == 0:
        # Nothing returns from here, so no finalizer of an inherited object closes a descriptor number used anew.
        _adopt(sock, log)
        child.run(socket.socket(fileno=sock), zygote)
    os.close(sock)
    os.close(log)
    # While the child is not reaped its pid cannot be given to another process: the pidfd is surely the child's.
    pidfd = os.pidfd_open(pid)
    selector.register(pidfd, selectors.EVENT_READ, data=(serial, pid))
    socket.send_fds(control, [msgspec.msgpack.encode(Forked(serial, pid))], [pidfd])


def _adopt(sock: int, log: int) -> None:
    """Keep the child's own socket and log, and close whatever else the zygote had open."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    for fd in map(int, os.listdir("/proc/self/fd")):
        if fd > 2 and fd != sock:
            try:
                os.close(fd)
            except OSError:
                pass  # the one that was open for the listing itself


def _reap(control: socket.socket, selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
    serial, pid = key.data
    selector.unregister(key.fileobj)
    os.close(key.fd)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    control.send(msgspec.msgpack.encode(Exited(serial, code)))


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
