"""Keeps the last results of work on recordings, by what the recordings hold."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

Result = TypeVar("Result")


class ResultCache(Generic[Result]):
    """Results by key, the least recently used given up first. Thread-safe; `max_bytes=0` keeps nothing.

    Two threads that miss the same key at once both do the work; results are equal, and one of them stays.
    """

    def __init__(self, max_bytes: int = 64 * 2**20) -> None:
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        self._results: OrderedDict[str, tuple[Result, int]] = OrderedDict()
        self._bytes = 0

    def get(self, key: str) -> Result | None:
        """The result kept for `key`, if there is one."""
        with self._lock:
            found = self._results.get(key)
            if found is None:
                return None
            self._results.move_to_end(key)
            return found[0]

    def put(self, key: str, result: Result, size: int) -> None:
        """Keep `result`, which takes `size` bytes; one larger than the whole cache is not kept."""
        with self._lock:
            self._drop(key)
            if size > self.max_bytes or not self.max_bytes:
                return
            self._results[key] = result, size
            self._bytes += size
            while self._bytes > self.max_bytes:
                self._drop(next(iter(self._results)))

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._results.clear()
            self._bytes = 0

    @property
    def bytes_held(self) -> int:
        return self._bytes

    def __len__(self) -> int:
        return len(self._results)

    def _drop(self, key: str) -> None:
        gone = self._results.pop(key, None)
        if gone is not None:
            self._bytes -= gone[1]
