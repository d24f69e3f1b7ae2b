"""The journal of a batch: what became of every line, so that a batch that was killed goes on where it was."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from editx.cli.files import write_whole
from editx.errors import Cancelled, Conflict, InvalidRequest, StorageFailed, unwritable

JOURNAL = "results.jsonl"
CLAIMS = ".results.claims"
"""The outputs of a run under way. What a kill leaves of it tells the batch's files from others in the folder."""


class Journal:
    """`results.jsonl` in the batch's folder: a line for every job that ended, the last one counts. Not thread-safe.

    Only one batch at a time may have the journal of a folder open.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / JOURNAL
        self._claims = folder / CLAIMS
        self._done: dict[str, dict[str, Any]] = {}
        self._own: set[str] = set()
        begun = self._path.exists()
        try:
            self._file = open(self._path, "ab+")  # noqa: SIM115 - it lives as long as the journal
        except OSError as error:
            raise unwritable(f"cannot write {self._path}", error, param="--out") from error
        try:
            _lock(self._file.fileno(), self._path)
            for record in self._records():
                self._remember(record)
            if begun:
                self._own |= self._claimed()
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        self._file.close()

    def done(self, digest: str, out: PurePosixPath) -> bool:
        """Whether the line with this digest was finished before, and its file is there."""
        record = self._done.get(digest)
        return record is not None and record["status"] == "ok" and (self._folder / out).is_file()

    def owns(self, out: PurePosixPath) -> bool:
        """Whether a file of this name, if there is one, was made by this batch."""
        return str(out) in self._own

    @contextlib.contextmanager
    def claim(self, outs: Iterable[PurePosixPath]) -> Iterator[None]:
        """Own `outs` from here on, even if a kill comes between a file and its line in the journal."""
        self._own.update(map(str, outs))
        write_whole(self._claims, json.dumps(sorted(self._own), ensure_ascii=False).encode())
        try:
            yield
        except Cancelled:  # what was made is written down
            self._claims.unlink(missing_ok=True)
            raise
        self._claims.unlink(missing_ok=True)

    def add(self, record: dict[str, Any]) -> None:
        """Write down what became of a line; it is in the file when this returns. Raises StorageFailed."""
        self._remember(record)
        try:
            self._file.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise StorageFailed(f"cannot write {self._path}: {error.strerror}", param="--out") from error

    def _remember(self, record: dict[str, Any]) -> None:
        self._done[record["digest"]] = record
        if record["status"] == "ok":
            self._own.add(str(record.get("out")))

    def _claimed(self) -> set[str]:
        try:
            return set(map(str, json.loads(self._claims.read_bytes())))
        except (OSError, ValueError, TypeError):
            return set()

    def _records(self) -> Iterator[dict[str, Any]]:
        """What was written before. A last line that a kill or a full disk cut off is taken back."""
        self._file.seek(0)
        good = 0
        for row in self._file:
            try:
                record = json.loads(row)
                record["digest"], record["status"]
            except (ValueError, LookupError, TypeError):
                record = None
            if record is None or not row.endswith(b"\n"):
                if self._file.read(1):
                    raise InvalidRequest(f"{self._path} is not a journal of EditX at byte {good}", param="--out")
                self._file.truncate(good)
                return
            good += len(row)
            yield record


def _lock(descriptor: int, path: Path) -> None:
    """Keep a second batch out of the folder. Where the system cannot lock files, nothing does."""
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Conflict(f"another batch is writing to {path.parent}", param="--out") from None
