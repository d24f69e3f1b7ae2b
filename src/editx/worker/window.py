"""How far a worker may run ahead of whoever listens."""

from __future__ import annotations

import threading

from editx.cancellation import Cancellation
from editx.worker.wire import WINDOW_BYTES


class Window:
    """Bytes of audio that one request may still send. The engine waits here for a slow reader, and nobody else does."""

    def __init__(self, cancellation: Cancellation, size: int = WINDOW_BYTES) -> None:
        self._left = size
        self._cancellation = cancellation
        self._changed = threading.Condition()
        cancellation.on_cancel(self._wake)

    def take(self, size: int) -> None:
        """Wait until there is room, then use `size` bytes of it. Raises Cancelled when the request is."""
        with self._changed:
            self._changed.wait_for(lambda: self._left > 0 or self._cancellation.cancelled)
            self._cancellation.raise_if_cancelled()
            self._left -= size

    def give(self, size: int) -> None:
        """The reader took `size` bytes."""
        with self._changed:
            self._left += size
            self._changed.notify_all()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
