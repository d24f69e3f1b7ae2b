"""Recordings that were decoded lately."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from editx.audio.clip import Clip


class ClipCache:
    """Keeps the clips used last, up to `max_bytes` of samples. Thread-safe."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._clips: OrderedDict[str, Clip] = OrderedDict()
        self._bytes = 0

    def get(self, key: str, load: Callable[[], Clip]) -> Clip:
        """The clip under `key`, from `load` when it is not here. What is kept is read-only."""
        with self._lock:
            if clip := self._clips.get(key):
                self._clips.move_to_end(key)
                return clip
        clip = load()
        clip.samples.flags.writeable = False
        with self._lock:
            if key not in self._clips and clip.samples.nbytes <= self._max_bytes:
                self._clips[key] = clip
                self._bytes += clip.samples.nbytes
                while self._bytes > self._max_bytes:
                    self._bytes -= self._clips.popitem(last=False)[1].samples.nbytes
        return clip

    def forget(self, key: str) -> None:
        with self._lock:
            if clip := self._clips.pop(key, None):
                self._bytes -= clip.samples.nbytes
