"""Files that commands write: named safely, never half-written, never overwritten unasked."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Iterable
from pathlib import Path

from editx.audio.codec import FORMATS
from editx.errors import Conflict, InvalidRequest, unwritable

_ENDINGS = {**{name: name for name in FORMATS}, "ogg": "opus", "raw": "pcm"}


def format_of(path: Path) -> str | None:
    """The format that the ending of `path` stands for, None where it is none of ours."""
    return _ENDINGS.get(path.suffix.lower().removeprefix("."))


def choose_format(path: Path, asked: str | None) -> str:
    """The format to write `path` in. Raises InvalidRequest when neither a flag nor the ending says one."""
    if asked is not None:
        if asked not in FORMATS:
            raise InvalidRequest(f"{asked!r} is no audio format; use one of: {', '.join(FORMATS)}", param="--format")
        return asked
    found = format_of(path)
    if found is None and path == Path("-"):
        raise InvalidRequest("stdout has no ending that names an audio format; give --format", param="--format")
    if found is None:
        raise InvalidRequest(
            f"the ending of {path} names no audio format; end it in .{', .'.join(FORMATS)}, or give --format",
            param="--out",
        )
    return found


def check_free(paths: Iterable[Path], *, force: bool) -> None:
    """Make sure that `paths` can be written, before any work is done for them.

    Raises InvalidRequest for a folder that is missing or may not be written, Conflict for a file that exists.
    """
    for path in paths:
        if not path.parent.is_dir():
            raise InvalidRequest(f"there is no folder {path.parent} to write {path.name} to", param="--out")
        if not os.access(path.parent, os.W_OK):
            raise InvalidRequest(f"the folder {path.parent} may not be written", param="--out")
        if path.is_dir():
            raise InvalidRequest(f"{path} is a folder; name a file in it", param="--out")
        if path.exists() and not force:
            raise Conflict(f"{path} exists; overwrite it with --force", param="--out")


def write_whole(path: Path, data: bytes) -> None:
    """Write `path` so that it is either what it was or whole. Raises InvalidRequest or StorageFailed."""
    part = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.part")
    try:
        try:
            with open(part, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                part.unlink()
    except OSError as error:
        raise unwritable(f"cannot write {path}", error, param="--out") from error


def sweep(paths: Iterable[Path]) -> None:
    """Remove what `write_whole` left of `paths` where it was killed. Nothing else may be writing them now."""
    names: dict[Path, set[str]] = {}
    for path in paths:
        names.setdefault(path.parent, set()).add(path.name[:100])
    for folder, ours in names.items():
        for part in folder.glob(".*.part") if folder.is_dir() else ():
            if (found := re.fullmatch(r"\.(.+)\.[0-9a-f]{8}\.part", part.name)) and found[1] in ours:
                part.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Create a folder and those above it. Raises InvalidRequest or StorageFailed when that cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(f"cannot make the folder {path}", error) from error
