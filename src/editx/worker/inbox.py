"""The frames of one request, on their way from the thread that reads the socket to the one that waits."""

from __future__ import annotations

import threading
from collections import deque

from editx.errors import EditXError
from editx.worker import wire


class Inbox:
    """A queue that never blocks the putting side, and that an error ends at once.

    It stays small: audio is bounded by the worker's window, and of reports in a row on one stage the last is kept.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._frames: deque[wire.Reply] = deque()
        self._error: EditXError | None = None
        self._complete = False

    def put(self, frame: wire.Reply) -> None:
        with self._changed:
            if self._frames and _supersedes(frame, self._frames[-1]):
                self._frames.pop()
            self._frames.append(frame)
            self._complete = not isinstance(frame, wire.Report | wire.Audio)
            self._changed.notify_all()

    def fail(self, error: EditXError) -> None:
        """Make `get` raise `error`, unless the last frame has come already. The first error stays."""
        with self._changed:
            if not self._complete and self._error is None:
                self._error = error
                self._changed.notify_all()

    def get(self, timeout: float) -> wire.Reply:
        """The next frame. Raises the error that ended the request, TimeoutError when nothing comes for `timeout` s."""
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._error is not None, timeout)
            if self._error is not None:
                raise self._error
            if not self._frames:
                raise TimeoutError
            return self._frames.popleft()


def _supersedes(new: wire.Reply, old: wire.Reply) -> bool:
    return isinstance(new, wire.Report) and isinstance(old, wire.Report) and new.progress.stage == old.progress.stage
