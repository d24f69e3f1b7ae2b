"""Watching processes, descriptors and threads from a test."""

import contextlib
import os
import select
import threading
import time

import psutil

PATIENCE_S = 30.0


@contextlib.contextmanager
def nothing_left_behind():
    """Fails when the block leaves a child process, a descriptor or a thread."""
    processes, descriptors, threads = _children(), _descriptors(), set(threading.enumerate())
    yield
    # Others may have ended meanwhile: a server that other tests share lets its idle worker go.
    assert _children() - processes == set()
    assert _descriptors() == descriptors
    assert set(threading.enumerate()) - threads == set()


def _children():
    return {child.pid for child in psutil.Process().children(recursive=True)}


def _descriptors():
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the listing's own
            found[fd] = os.readlink(f"/proc/self/fd/{fd}")
    return found


class Watch:
    """Pidfds of processes that need not be our children; tells when all have died, zombies included."""

    def __init__(self, pids):
        self._fds = {}
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                self._fds[os.pidfd_open(pid)] = pid

    def wait_all_dead(self, timeout):
        """The pids that are still alive after `timeout` seconds; empty when all have died."""
        deadline = time.monotonic() + timeout
        while self._fds:
            dead, _, _ = select.select(list(self._fds), [], [], max(0.0, deadline - time.monotonic()))
            if not dead:
                break
            for fd in dead:
                del self._fds[fd]
                os.close(fd)
        alive = sorted(self._fds.values())
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()
        return alive


class Log:
    """Collects what children print; lets a test wait for a line."""

    def __init__(self):
        self.lines = []
        self._changed = threading.Condition()

    def __call__(self, label, pid, line):
        with self._changed:
            self.lines.append((label, pid, line))
            self._changed.notify_all()

    def of(self, pid):
        with self._changed:
            return [line for _, at, line in self.lines if at == pid]

    def wait_for(self, text):
        with self._changed:
            assert self._changed.wait_for(lambda: any(text in line for _, _, line in self.lines), PATIENCE_S), (
                self.lines
            )
