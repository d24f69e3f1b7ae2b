"""`pull`: what is missing is listed, room is made sure of, and everything is fetched, checked and put in place."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from editx.cancellation import Cancellation
from editx.engines.layout import make_instead, problems_of
from editx.engines.record import Record
from editx.errors import Conflict, InvalidRequest, ModelUnavailable, NotFound, TooLarge, unwritable
from editx.hub.download import download, part_of
from editx.hub.http import Http, Refused, Unreachable
from editx.hub.published import Repository, place_of, repositories
from editx.hub.sources import SOURCES, RemoteFile, list_files

MARGIN_BYTES = 500 * 10**6
_LOCK = ".editx-pull.lock"


@dataclass(frozen=True, slots=True)
class Pulled:
    """One directory after a pull. Bytes of the files fetched now, and of those that were there and right."""

    directory: Path
    fetched: tuple[str, ...]
    fetched_bytes: int
    kept: tuple[str, ...]
    kept_bytes: int


class Watcher(Protocol):
    """Is told how a pull goes, from several threads."""

    def planned(self, count: int, size: int) -> None:
        """So many files of so many bytes, in all, will be fetched."""

    def advanced(self, file: RemoteFile, done: int) -> None:
        """So many bytes of a file are there."""

    def fetched(self, file: RemoteFile) -> None:
        """A file is complete, right, and in its place."""


def pull(
    model_path: Path,
    variants: Sequence[str],
    *,
    source: str = "huggingface",
    endpoint: str | None = None,
    jobs: int = 4,
    watcher: Watcher | None = None,
    cancellation: Cancellation | None = None,
    pause_s: float = 0.5,
) -> list[Pulled]:
    """Bring the directories of `variants` and of the audio tokenizers under `model_path` to what the hub publishes.

    Files that are there with the right size and checksum stay. Unfinished downloads are gone on with, also those of an
    earlier pull. Raises InvalidRequest for a source or variant that does not exist, NotFound for a repository that does
    not, TooLarge when the disk is too full, ModelUnavailable when the hub cannot be reached (with a list of what is
    missing) or sends something wrong, Conflict while another pull is at work, Cancelled.
    """
    if source not in SOURCES:
        raise InvalidRequest(f"there is no source {source!r}; choose from: {', '.join(SOURCES)}", param="--source")
    wanted, hub = repositories(variants), endpoint or SOURCES[source]
    stop = cancellation or Cancellation()
    with _locked(model_path), Http(stop, pause_s=pause_s) as http:
        try:
            listed = {repository: _list(http, source, hub, repository) for repository in wanted}
        except Unreachable as error:
            raise ModelUnavailable(
                f"{hub} cannot be reached, so nothing was fetched: {error}. {_missing(model_path, variants)}"
            ) from error
        records = {repository: Record(model_path / repository.directory) for repository in wanted}
        missing = {
            repository: [file for file in files if not _is_there(model_path, file, records[repository], stop)]
            for repository, files in listed.items()
        }
        files = [file for some in missing.values() for file in some]
        _check_room(model_path, files)
        if watcher:
            watcher.planned(len(files), sum(file.size for file in files))
        _fetch_all(http, model_path, files, records, jobs, watcher)
    return [_pulled(model_path, repository, listed[repository], missing[repository]) for repository in wanted]


def _list(http: Http, source: str, hub: str, repository: Repository) -> list[RemoteFile]:
    """Its files. Where a quantised variant is not to be had, the error says how to make it."""
    try:
        return list_files(http, source, hub, repository)
    except (NotFound, Refused) as error:
        if instead := make_instead(repository.directory):
            raise type(error)(f"{error.message}; {instead}", param=error.param) from error
        raise


def _fetch_all(
    http: Http,
    model_path: Path,
    files: Sequence[RemoteFile],
    records: dict[Repository, Record],
    jobs: int,
    watcher: Watcher | None,
) -> None:
    """Fetch several files at a time, the largest first. The first that fails ends the others."""

    def fetch(file: RemoteFile) -> None:
        target = place_of(model_path, file.repository, file.path)
        try:
            download(http, file, target, lambda done: watcher.advanced(file, done) if watcher else None)
            _remember(file, records[file.repository])
            if watcher:
                watcher.fetched(file)
        except OSError as error:
            raise unwritable(f"cannot write {target}", error, param="--model-path") from error

    with ThreadPoolExecutor(max(1, jobs), thread_name_prefix="pull") as threads:
        futures = [threads.submit(fetch, file) for file in sorted(files, key=lambda file: -file.size)]
        finished, _ = wait(futures, return_when=FIRST_EXCEPTION)
        failed = next((error for future in finished if (error := future.exception())), None)
        if failed:
            for future in futures:
                future.cancel()
            http.cancellation.cancel("another file could not be fetched")
            raise failed


def _is_there(model_path: Path, file: RemoteFile, record: Record, stop: Cancellation) -> bool:
    """Whether a file is in its place and right."""
    stop.raise_if_cancelled()
    target = place_of(model_path, file.repository, file.path)
    try:
        if target.stat().st_size != file.size:
            return False
        if not record.holds(file.path, str(file.digest or "")):
            if file.digest and not file.digest.matches(target):
                return False
            _remember(file, record)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise InvalidRequest(f"cannot read {target}: {error.strerror}", param="--model-path") from error
    return True


def _remember(file: RemoteFile, record: Record) -> None:
    """Note that a file is right. Raises OSError."""
    known = file.digest.value if file.digest and file.digest.kind == "sha256" else ""
    record.add(file.path, str(file.digest or ""), known)


def _check_room(model_path: Path, files: Sequence[RemoteFile]) -> None:
    """Make sure that everything fits on the disk."""
    needed = 0
    for file in files:
        part = part_of(place_of(model_path, file.repository, file.path), file)
        needed += file.size - min(file.size, part.stat().st_size if part.exists() else 0)
    free = shutil.disk_usage(model_path).free
    if files and needed + MARGIN_BYTES > free:
        raise TooLarge(
            f"{needed / 1e9:.1f} GB are to be fetched and {model_path} has {free / 1e9:.1f} GB free; "
            f"free {(needed + MARGIN_BYTES - free) / 1e9:.1f} GB, or name another --model-path",
            param="--model-path",
        )


def _missing(model_path: Path, variants: Sequence[str]) -> str:
    problems = dict.fromkeys(str(problem) for variant in variants for problem in problems_of(model_path, variant))
    if not problems:
        return f"All files that {' and '.join(variants)} need are there"
    return f"Needed and not there: {'; '.join(problems)}"


def _pulled(
    model_path: Path, repository: Repository, listed: Sequence[RemoteFile], fetched: Sequence[RemoteFile]
) -> Pulled:
    kept = [file for file in listed if file not in fetched]
    return Pulled(
        directory=model_path / repository.directory,
        fetched=tuple(file.path for file in fetched),
        fetched_bytes=sum(file.size for file in fetched),
        kept=tuple(file.path for file in kept),
        kept_bytes=sum(file.size for file in kept),
    )


@contextlib.contextmanager
def _locked(model_path: Path) -> Iterator[None]:
    """One pull at a time works in a model directory."""
    try:
        model_path.mkdir(parents=True, exist_ok=True)
        file = os.open(model_path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise unwritable(f"cannot write to {model_path}", error, param="--model-path") from error
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Conflict(
                f"another pull is at work in {model_path}; wait for its end", param="--model-path"
            ) from error
        yield
    finally:
        os.close(file)
