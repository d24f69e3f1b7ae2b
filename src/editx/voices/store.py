"""Voices on disk: an SQLite index, and for each voice a recording and a small JSON file that says what it is.

The index decides. A recording gets a new file name every time, is written and synced before the index names it, and is
deleted after the index has forgotten it; so a kill at any moment leaves the old voice or the new one. The JSON files
hold everything the index does: a lost or damaged index is made again from them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from editx.errors import Conflict, NotFound, StorageFailed
from editx.voices.names import key_of
from editx.voices.quality import Finding

logger = logging.getLogger(__name__)

_BUSY_SECONDS = 30.0
_SCHEMA = """
create table if not exists voices (
    key text primary key, file text not null unique, created_ns integer not null, record blob not null
) without rowid
"""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a voice; the row of the index and the JSON file beside the recording."""

    name: str
    title: str
    transcript: str
    locale: str | None
    created_ns: int
    seconds: float
    rate: int
    file: str
    description: str = ""
    findings: tuple[Finding, ...] = ()


class Store:
    """The voices in one directory. Safe for several threads and several processes at once."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._index = directory / "index.sqlite"
        with _only_process(directory / "open.lock"):
            self._db = self._open()
            with self._writing():
                self._reconcile()

    def close(self) -> None:
        """Give the index back. Harmless when closed already."""
        with self._lock:
            self._db.close()

    def get(self, name: str) -> Record | None:
        with self._lock:
            row = self._db.execute("select record from voices where key = ?", (key_of(name),)).fetchone()
        return None if row is None else _decode(row[0])

    def list(self) -> list[Record]:
        """All voices, in the order of their names."""
        with self._lock:
            rows = self._db.execute("select record from voices order by key").fetchall()
        return [_decode(row[0]) for row in rows]

    def put(self, record: Record, audio: bytes, *, replace: bool) -> Record:
        """Write a voice; `record.file` is chosen here. Raises Conflict when the name is taken, unless `replace`, and
        StorageFailed."""
        record = msgspec.structs.replace(record, file=f"{secrets.token_hex(12)}.flac")
        try:
            with self._changing():
                old = self.get(record.name)
                if old is not None and not replace:
                    raise Conflict(
                        f"there is a voice {old.name!r} already; choose another name or ask to replace it", param="name"
                    )
                _write_durably(self.directory / record.file, audio)
                self._write_sidecar(record)
                self._insert(record)
        except BaseException:
            self._remove(record.file)
            raise
        if old is not None:
            self._remove(old.file)
        return record

    def rename(self, old: str, new: str) -> Record:
        """Raises NotFound, Conflict when `new` is another voice's name, and StorageFailed."""
        with self._changing():
            record = self._existing(old)
            other = self.get(new)
            if other is not None and other.file != record.file:
                raise Conflict(f"there is a voice {other.name!r} already; choose another name", param="name")
            title = new if record.title == record.name else record.title
            renamed = msgspec.structs.replace(record, name=new, title=title)
            self._db.execute("delete from voices where key = ?", (key_of(old),))
            self._insert(renamed)
            self._write_sidecar(renamed)
        return renamed

    def delete(self, name: str) -> Record:
        """Raises NotFound and StorageFailed."""
        with self._changing():
            record = self._existing(name)
            self._sidecar(record.file).unlink(missing_ok=True)
            self._db.execute("delete from voices where key = ?", (key_of(name),))
        (self.directory / record.file).unlink(missing_ok=True)
        return record

    def _existing(self, name: str) -> Record:
        record = self.get(name)
        if record is None:
            raise NotFound(f"there is no voice {name!r} of yours", param="name")
        return record

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.OperationalError:
            raise  # locked, read-only or full: nothing that a new index would mend
        except sqlite3.DatabaseError as error:
            aside = self._index.with_name(f"{self._index.name}.damaged-{time.time_ns()}")
            logger.error(
                "The index of the voice library %s is damaged (%s); it was moved to %s and is made again from the "
                "voices' own files.", self._index, error, aside.name,
            )  # fmt: skip
            os.replace(self._index, aside)
            for suffix in ("-wal", "-shm"):
                self._index.with_name(self._index.name + suffix).unlink(missing_ok=True)
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._index, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            db.execute("pragma journal_mode = wal")
            db.execute("pragma synchronous = full")
            if db.execute("pragma quick_check(1)").fetchone()[0] != "ok":
                raise sqlite3.DatabaseError("its check failed")
            db.execute(_SCHEMA)
            for (record,) in db.execute("select record from voices"):
                _decode(record)
        except BaseException:
            db.close()
            raise
        return db

    def _reconcile(self) -> None:
        """Make index and files agree: adopt complete voices the index does not know, write descriptions that are
        missing, delete what no voice needs."""
        known = {record.file: record for record in self.list()}
        for file, record in known.items():
            if (self.directory / file).exists() and not self._sidecar(file).exists():
                self._write_sidecar(record)
        sidecars = {self._sidecar(file) for file in known}
        unreadable: set[str] = set()
        strays: list[Record] = []
        for path in set(self.directory.glob("*.json")) - sidecars:
            stray = _read_sidecar(path)
            if stray is None:
                unreadable.add(path.stem)
            elif (self.directory / stray.file).exists():
                strays.append(stray)
        for record in sorted(strays, key=lambda record: -record.created_ns):
            if self.get(record.name) is None:
                self._insert(record)
                known[record.file] = record
        wanted = {Path(file).stem for file in known} | unreadable
        for path in self.directory.iterdir():
            if path.suffix == ".tmp" or (path.suffix in (".flac", ".json") and path.stem not in wanted):
                path.unlink(missing_ok=True)

    def _insert(self, record: Record) -> None:
        self._db.execute(
            "insert or replace into voices values (?, ?, ?, ?)",
            (key_of(record.name), record.file, record.created_ns, msgspec.json.encode(record)),
        )

    def _sidecar(self, file: str) -> Path:
        return self.directory / Path(file).with_suffix(".json").name

    def _write_sidecar(self, record: Record) -> None:
        _write_durably(self._sidecar(record.file), msgspec.json.encode(record))

    def _remove(self, file: str) -> None:
        """Delete the files of a voice that the index does not name. What cannot be deleted now is when it is opened."""
        for path in (self._sidecar(file), self.directory / file):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """A transaction whose failure to write is told as such."""
        try:
            with self._writing():
                yield
        except (OSError, sqlite3.OperationalError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
            raise StorageFailed(
                f"the voices in {self.directory} cannot be changed: {reason}; see to the space and the rights there"
            ) from error

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """A transaction that no other thread or process writes beside, files included."""
        with self._lock:
            self._db.execute("begin immediate")
            try:
                yield
                self._db.execute("commit")
            except BaseException:
                if self._db.in_transaction:  # a full disk may have ended it already
                    self._db.execute("rollback")
                raise


def _decode(record: bytes) -> Record:
    try:
        return msgspec.json.decode(record, type=Record)
    except msgspec.DecodeError as error:
        raise sqlite3.DatabaseError(f"a row is damaged: {error}") from None


def _read_sidecar(path: Path) -> Record | None:
    try:
        record = msgspec.json.decode(path.read_bytes(), type=Record)
    except msgspec.DecodeError as error:
        logger.warning("The voice description %s cannot be read (%s); it is left as it is.", path, error)
        return None
    return msgspec.structs.replace(record, file=path.with_suffix(".flac").name)


def _write_durably(path: Path, data: bytes) -> None:
    """All of `data` under `path`, or nothing, whatever happens."""
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if sys.platform != "win32":
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def _only_process(path: Path) -> Iterator[None]:
    """Nobody else opens the library meanwhile; a damaged index is mended by one process only."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
