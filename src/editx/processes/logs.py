"""What a child process prints, line by line, whatever it prints."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

MAX_LINE_BYTES = 4096
LINES_PER_SECOND = 500
_CHUNK_BYTES = 1 << 16
_DRAIN_BYTES = 1 << 20


class LogPipe:
    """The reading end of a child's stdout and stderr.

    Hands each line to `on_line`. A line over `MAX_LINE_BYTES` is cut; lines beyond `LINES_PER_SECOND` are counted and
    dropped, so that a flood neither blocks the child nor fills a disk. `last_line` is kept whatever is dropped.
    """

    def __init__(self, fd: int, on_line: Callable[[str], None]) -> None:
        os.set_blocking(fd, False)
        self.fd = fd
        self.last_line = ""
        self._on_line = on_line
        self._partial = bytearray()
        self._second = 0
        self._lines = 0

    def read(self) -> int | None:
        """Take what is there, at most 64 KiB. Returns its length: 0 once every writer has closed, None when empty."""
        try:
            chunk = os.read(self.fd, _CHUNK_BYTES)
        except BlockingIOError:
            return None
        if not chunk:
            return 0
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            self._partial += line[: MAX_LINE_BYTES - len(self._partial)]
            self._flush_line()
        self._partial += rest[: MAX_LINE_BYTES - len(self._partial)]
        return len(chunk)

    def finish(self) -> None:
        """Read what the dead child left, hand on its last unfinished line, and close."""
        for _ in range(_DRAIN_BYTES // _CHUNK_BYTES):  # bounded: a grandchild may still be writing
            if not self.read():
                break
        self._flush_line()
        self._report_dropped()
        os.close(self.fd)

    def _flush_line(self) -> None:
        line = self._partial.decode("utf-8", "replace").rstrip()
        self._partial.clear()
        if not line:
            return
        # The headline of Python's crash report says more than the stack beneath it.
        if not self.last_line.startswith("Fatal Python error"):
            self.last_line = line
        second = int(time.monotonic())
        if second != self._second:
            self._report_dropped()
            self._second, self._lines = second, 0
        self._lines += 1
        if self._lines <= LINES_PER_SECOND:
            self._on_line(line)

    def _report_dropped(self) -> None:
        dropped = self._lines - LINES_PER_SECOND
        if dropped > 0:
            self._lines = 0
            self._on_line(f"({dropped} more lines within one second were dropped)")
