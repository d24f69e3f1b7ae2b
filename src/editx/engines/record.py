"""What the files of a model directory were when they were right: written by whatever puts files there.

A second pull need not read gigabytes again, a load notices files that have changed, and `editx doctor --verify` finds
out which have.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from editx.errors import LoadFailed

NAME = ".editx-files.json"
REMEDY = "remove it and fetch it again with `editx pull`, or make it anew as it was made"
_BLOCK = 2**20


@dataclass(frozen=True, slots=True)
class Entry:
    """One file. `stated`: the checksum a hub states of it, empty where it states none or the file is not from one."""

    sha256: str
    size: int
    mtime_ns: int
    stated: str = ""


class Record:
    """The files of one directory. Thread-safe."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / NAME
        self._directory = directory
        self._lock = threading.Lock()
        self._entries = _read(self.path)

    def __contains__(self, path: str) -> bool:
        return path in self._entries

    @property
    def files(self) -> list[str]:
        """All paths, relative to the directory."""
        return sorted(self._entries)

    def holds(self, path: str, stated: str) -> bool:
        """Whether the file was found right by what the hub states, and has not been touched since."""
        entry, seen = self._entries.get(path), self._seen(path)
        return entry is not None and entry.stated == stated and (entry.size, entry.mtime_ns) == seen

    def add(self, path: str, stated: str = "", sha256: str = "") -> None:
        """Remember that the file is right. Reads it for its `sha256` where that is not known yet."""
        sha256 = sha256 or file_sha256(self._directory / path)
        size, mtime_ns = self._seen(path) or (0, 0)
        with self._lock:
            self._entries[path] = Entry(sha256, size, mtime_ns, stated)
            self._write()

    def add_all(self, like: Record | None = None) -> None:
        """Remember every file of the directory. Those that lie in the directory of `like` too, untouched, are not read:
        they are what that record says."""
        for file in sorted(self._directory.rglob("*")):
            path = file.relative_to(self._directory).as_posix()
            if not file.is_file() or path == NAME:
                continue
            known = like._entries.get(path) if like else None
            seen = self._seen(path) or (0, 0)
            same = known is not None and (known.size, known.mtime_ns) == seen
            self._entries[path] = Entry(known.sha256 if known and same else file_sha256(file), *seen)
        self._write()

    def difference(self, path: str, stop: threading.Event | None = None) -> str:
        """How a recorded file differs from what it was; empty if it does not, or once `stop` is set. Reads it whole."""
        entry, file = self._entries[path], self._directory / path
        try:
            size = file.stat().st_size
            if size != entry.size:
                return f"has {size} bytes instead of {entry.size}"
            found = file_sha256(file, stop)
        except FileNotFoundError:
            return "is missing"
        except OSError as error:
            return f"cannot be read ({error.strerror})"
        return "" if found in (entry.sha256, "") else "has changed: its sha256 is not the recorded one"

    def _seen(self, path: str) -> tuple[int, int] | None:
        try:
            stat = (self._directory / path).stat()
        except OSError:
            return None
        return stat.st_size, stat.st_mtime_ns

    def _write(self) -> None:
        part = self.path.with_suffix(".part")
        entries = {
            path: {"sha256": entry.sha256, "size": entry.size, "mtime_ns": entry.mtime_ns, "stated": entry.stated}
            for path, entry in self._entries.items()
        }
        part.write_text(json.dumps(entries, indent=1, sort_keys=True) + "\n", "utf-8")
        os.replace(part, self.path)


def file_sha256(path: Path, stop: threading.Event | None = None) -> str:
    """The sha256 of a file in hexadecimal; empty once `stop` is set. Raises OSError."""
    found = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            if stop is not None and stop.is_set():
                return ""
            found.update(block)
    return found.hexdigest()


@contextlib.contextmanager
def verifying(files: Iterable[Path], directories: Iterable[Path]) -> Iterator[None]:
    """Compare files with the records of the directories they lie in, in a thread beside the block.

    Files that are in no record are passed over. Raises LoadFailed, naming the file and the remedy, for one that
    differs: when the block ends, and in place of the error it ends with, which then is likely to be a consequence.
    """
    stop = threading.Event()
    with ThreadPoolExecutor(1, thread_name_prefix="verify") as threads:
        comparing = threads.submit(_first_difference, list(files), [Record(path) for path in directories], stop)
        try:
            yield
        except Exception as error:
            if said := comparing.result():
                raise LoadFailed(said) from error
            raise
        except BaseException:
            stop.set()
            raise
        if said := comparing.result():
            raise LoadFailed(said)


def _first_difference(files: list[Path], records: list[Record], stop: threading.Event) -> str:
    for file in files:
        for record in records:
            path = file.relative_to(record.path.parent).as_posix() if file.is_relative_to(record.path.parent) else ""
            if path in record and (what := record.difference(path, stop)):
                return f"{file} {what}; {REMEDY}, or remove {record.path} if you changed it yourself"
    return ""


def _read(path: Path) -> dict[str, Entry]:
    """What a record says; nothing where there is none, or it is damaged."""
    try:
        entries: Any = json.loads(path.read_bytes())
        return {
            str(name): Entry(str(entry["sha256"]), int(entry["size"]), int(entry["mtime_ns"]), str(entry["stated"]))
            for name, entry in entries.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
