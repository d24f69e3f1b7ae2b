"""A token that tells work to stop."""

from __future__ import annotations

import threading
from collections.abc import Callable

from editx.errors import Cancelled


class Cancellation:
    """Set once by whoever wants the work to stop; read by the work between its steps. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], object]] = []
        self._reason: str | None = None

    @property
    def cancelled(self) -> bool:
        return self._reason is not None

    def cancel(self, reason: str = "the request was cancelled") -> None:
        """Ask the work to stop. Later calls change nothing."""
        with self._lock:
            if self._reason is not None:
                return
            self._reason = reason
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def on_cancel(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call `callback` once when cancelled, at once if that has happened. Returns a function that forgets it."""
        with self._lock:
            if self._reason is None:
                self._callbacks.append(callback)
                return lambda: self._forget(callback)
        callback()
        return lambda: None

    def raise_if_cancelled(self) -> None:
        """Raise `Cancelled` once the work should stop."""
        if self._reason is not None:
            raise Cancelled(self._reason)

    def _forget(self, callback: Callable[[], object]) -> None:
        with self._lock:
            if callback in self._callbacks:
                self._callbacks.remove(callback)
