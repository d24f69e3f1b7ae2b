"""Recordings named on a command line, one by one or by the folder, and the words in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from editx.errors import InvalidRequest, NotFound

if TYPE_CHECKING:
    from editx.engines.step.quantize_audio import Recording

ENDINGS = (".wav", ".flac", ".mp3", ".m4a", ".aac", ".ogg", ".opus", ".webm")
"""What is taken for a recording in a folder. A file that is named may end in anything."""


def find_recordings(paths: Sequence[Path], transcripts: Sequence[str]) -> tuple[Recording, ...]:
    """The recordings at `paths`, each a file or a folder that is searched to its end.

    `transcripts`: the words of each file, in the order of `paths`; if none is given, those in a `.txt` file beside a
    recording are taken. Raises NotFound for a path that is not there, InvalidRequest for a folder without recordings,
    for transcripts that do not match the files, and for a `.txt` file that cannot be read.
    """
    from editx.engines.step.quantize_audio import Recording

    if transcripts:
        if len(transcripts) != len(paths) or any(path.is_dir() for path in paths):
            raise InvalidRequest(
                f"--transcript is given once for each --audio FILE; there are {len(transcripts)} for {len(paths)}. For "
                "a folder, put the words of me.wav into me.txt beside it",
                param="--transcript",
            )
        return tuple(Recording(_there(path), words) for path, words in zip(paths, transcripts, strict=True))
    return tuple(Recording(file, _words_beside(file)) for path in paths for file in _files(path))


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield _there(path)
        return
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in ENDINGS and file.is_file())
    if not found:
        raise InvalidRequest(f"there is no recording in {path}: no file ends in {', '.join(ENDINGS)}", param="--audio")
    yield from found


def _there(path: Path) -> Path:
    if not path.exists():
        raise NotFound(f"there is no file {path}", param="--audio")
    return path


def _words_beside(recording: Path) -> str:
    path = recording.with_suffix(".txt")
    try:
        return path.read_text("utf-8-sig").strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"it is not UTF-8 ({error.reason})"
        raise InvalidRequest(f"the words in {path} cannot be read: {reason}", param="--audio") from error
