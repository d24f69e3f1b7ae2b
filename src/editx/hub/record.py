"""What was checked of a directory, so that a second pull need not read gigabytes again."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from pathlib import Path

from editx.hub.digest import Digest

NAME = ".editx-pull.json"


class Record:
    """The files of one directory that had the right checksum, with the size and time they had then. Thread-safe."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / NAME
        self._directory = directory
        self._lock = threading.Lock()
        self._entries: dict[str, list[object]] = {}
        with contextlib.suppress(OSError, ValueError):
            entries = json.loads(self._path.read_bytes())
            if isinstance(entries, dict):
                self._entries = entries

    def holds(self, path: str, digest: Digest | None) -> bool:
        """Whether the file was found right, and has not been touched since."""
        seen = self._seen(path, digest)
        return seen is not None and self._entries.get(path) == seen

    def add(self, path: str, digest: Digest | None) -> None:
        """Remember that the file is right."""
        with self._lock:
            self._entries[path] = self._seen(path, digest) or []
            part = self._path.with_suffix(".part")
            part.write_text(json.dumps(self._entries, indent=1, sort_keys=True), "utf-8")
            os.replace(part, self._path)

    def _seen(self, path: str, digest: Digest | None) -> list[object] | None:
        try:
            stat = (self._directory / path).stat()
        except OSError:
            return None
        return [str(digest), stat.st_size, stat.st_mtime_ns]
