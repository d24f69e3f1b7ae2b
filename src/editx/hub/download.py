"""One file: fetched in parts that survive anything, checked, and put in its place as a whole."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import httpx

from editx.errors import ModelUnavailable
from editx.hub.http import Http, Retry
from editx.hub.sources import RemoteFile

Advance = Callable[[int], None]
"""Told how many bytes of the file are there."""


def part_of(target: Path, file: RemoteFile) -> Path:
    """Where an unfinished download is kept; of this very content, so that another is never continued with it."""
    mark = file.digest.value[:12] if file.digest else str(file.size)
    return target.with_name(f".{target.name}.{mark}.part")


def download(http: Http, file: RemoteFile, target: Path, advance: Advance) -> None:
    """Fetch `file` to `target`, going on where an earlier attempt stopped.

    Attempts that bring nothing are counted, and pauses between them grow; what breaks off after it brought something is
    asked for again at once. Raises ModelUnavailable when size or checksum are wrong twice, Unreachable, NotFound,
    Cancelled; the part stays for another time, unless it is wrong.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(target, file)
    attempt = spoilt = 0
    while True:
        before = _size(part)
        try:
            if before < file.size or not part.exists():
                _fetch(http, file, part, advance)
        except Retry as failure:
            if _size(part) > before:
                attempt = 0
                http.cancellation.raise_if_cancelled()
            else:
                http.pause(attempt, failure, file.url)
                attempt += 1
            continue
        if _is_right(file, part):
            break
        part.unlink(missing_ok=True)
        spoilt += 1
        if spoilt == 2:
            raise ModelUnavailable(
                f"{file.url} was fetched twice and does not have the size or checksum that the hub states "
                f"({file.size} bytes, {file.digest}); try the other --source"
            )
    os.replace(part, target)


def _fetch(http: Http, file: RemoteFile, part: Path, advance: Advance) -> None:
    """Append to `part` until the file is complete. Raises Retry when that does not come to its end."""
    start = _size(part)
    with http.get(file.url, {"Range": f"bytes={start}-"} if start else None) as response:
        if response.status_code == 416:
            part.unlink(missing_ok=True)
            raise Retry("the server does not know the range asked for")
        start = start if _continues(response, start, file) else 0
        with part.open("r+b" if part.exists() else "xb") as out:
            out.truncate(start)
            out.seek(start)
            advance(start)
            for block in response.iter_raw():  # as it comes: gathered into blocks, the last of them is lost on a break
                out.write(block)
                start += len(block)
                advance(min(start, file.size))
                http.cancellation.raise_if_cancelled()
                if start > file.size:
                    return
    if start < file.size:
        raise Retry(f"it ended after {start} of {file.size} bytes")


def _continues(response: httpx.Response, start: int, file: RemoteFile) -> bool:
    """Whether the answer goes on at `start`, rather than being the whole file once more."""
    if response.status_code != 206 or not start:
        return False
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if not found or int(found[1]) != start or found[2] not in ("*", str(file.size)):
        answer = response.headers.get("Content-Range")
        raise ModelUnavailable(f"{file.url} was asked for its bytes from {start} of {file.size} on and sends {answer}")
    return True


def _is_right(file: RemoteFile, part: Path) -> bool:
    return _size(part) == file.size and (file.digest is None or file.digest.matches(part))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
