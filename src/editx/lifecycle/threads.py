"""Threads that are started on demand and can all be waited for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeAlias

Spawn: TypeAlias = Callable[[Callable[[], None]], None]
"""Runs a job in the background and returns at once. Loads, closes and kills run through it."""


class Threads:
    """A `Spawn` with one named daemon thread per job."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._alive: set[threading.Thread] = set()

    def __call__(self, job: Callable[[], None]) -> None:
        with self._lock:
            self._alive = {thread for thread in self._alive if thread.is_alive()}
            thread = threading.Thread(target=job, name=self._name, daemon=True)
            thread.start()
            self._alive.add(thread)

    def join(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds until no thread is left; False when one is (a hung factory, say)."""
        deadline = time.monotonic() + timeout
        me = threading.current_thread()
        while True:
            with self._lock:
                others = [thread for thread in self._alive if thread is not me and thread.is_alive()]
            if not others:
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            others[0].join(left)
