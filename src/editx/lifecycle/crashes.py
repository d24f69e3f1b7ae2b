"""How often a model has crashed in a row, and when it may be tried again."""

from __future__ import annotations

from editx.errors import BackingOff
from editx.lifecycle.clock import Alarm, Clock
from editx.lifecycle.policy import backoff_delay

MAX_BACKOFF_WAIT_S = 5.0
"""A request waits out a backoff of at most this; a longer one it is told of at once."""


class Crashes:
    """All methods are to be called with the monitor held. `retry` rings when somebody who waits may be served."""

    def __init__(self, name: str, clock: Clock, retry: Alarm) -> None:
        self.count = 0
        self._name = name
        self._clock = clock
        self._retry = retry
        self._retry_at: float | None = None
        self._last_error = ""

    def add(self, error: Exception) -> None:
        self.count += 1
        self._last_error = str(error)
        self._retry_at = self._clock.now() + backoff_delay(self.count)

    def forget(self) -> None:
        """It has been used and has survived."""
        self.count = 0
        self._retry_at = None

    @property
    def retry_in(self) -> float | None:
        """Seconds until it may be loaded again; None when that is now."""
        if self._retry_at is None:
            return None
        left = self._retry_at - self._clock.now()
        return left if left > 0 else None

    def must_wait(self) -> bool:
        """Whether it may not be loaded yet; if so, `retry` is set to ring when it may."""
        if self.retry_in is None:
            return False
        self._retry.set(self._retry_at)
        return True

    def refusal(self) -> BackingOff | None:
        """What a request is told if the wait is too long to make it wait."""
        left = self.retry_in
        if left is None or left <= MAX_BACKOFF_WAIT_S:
            return None
        message = f"{self._name} crashed {self.count} times in a row and is tried again in {left:.0f} s"
        return BackingOff(f"{message}; the last crash was: {self._last_error}", retry_after_s=left)
