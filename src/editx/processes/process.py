"""A child process as its launcher sees it."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable


class Child:
    """A running child process, and how it ended. Thread-safe.

    `socket` is our end of the child's socket; whoever launched the child closes it, and the child exits then at the
    latest. `label` is the name it has in the log. `orphaned`: the zygote it came from died, and took it along.
    """

    def __init__(self, label: str, pid: int, sock: socket.socket, send_kill: Callable[[], None]) -> None:
        self.label = label
        self.pid = pid
        self.socket = sock
        self.orphaned = False
        self._send_kill = send_kill
        self._lock = threading.Lock()
        self._exited = threading.Event()
        self._code: int | None = None
        self._last_line = ""
        self._callbacks: list[Callable[[], None]] = []

    @property
    def exit_code(self) -> int | None:
        """None while it runs, then its exit code, or the negative number of the signal that killed it."""
        return self._code

    @property
    def last_line(self) -> str:
        """The last line it printed, known once it has exited; empty when it printed nothing."""
        return self._last_line

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for its end, at most `timeout` seconds. Returns `exit_code`."""
        self._exited.wait(timeout)
        return self._code

    def kill(self) -> None:
        """Send SIGKILL, and return at once. Does nothing when it has ended."""
        with self._lock:
            if self._code is None:
                self._send_kill()

    def on_exit(self, callback: Callable[[], None]) -> None:
        """Call `callback` once it has ended, at once if it has. It runs on the launcher's thread and must not block."""
        with self._lock:
            if self._code is None:
                self._callbacks.append(callback)
                return
        callback()

    def exit_description(self) -> str:
        """How it ended, to follow "it": "was killed by SIGKILL", "exited with code 3"."""
        if self._code is None:
            return "is still running"
        if self._code >= 0:
            return f"exited with code {self._code}"
        try:
            return f"was killed by {signal.Signals(-self._code).name}"
        except ValueError:
            return f"was killed by signal {-self._code}"

    def ended(self, code: int, last_line: str) -> list[Callable[[], None]]:
        """For the spawner: note the end. Returns the callbacks to be called now."""
        with self._lock:
            self._code = code
            self._last_line = last_line
            callbacks, self._callbacks = self._callbacks, []
        self._exited.set()
        return callbacks
