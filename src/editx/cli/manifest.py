"""The manifest of a batch: one job a line, all of them checked before the first one runs.

A line is a JSON object. What to say in a voice: `text` with `voice`, or with `ref_audio` and `ref_text`; what to edit:
`source`, and its `transcript` where the steps need it. Then `steps` (as the HTTP API has them), `language`, `seed`,
`format`, `id`, `out`. Paths are relative to the manifest, outputs to the folder of the batch.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from editx.audio.codec import FORMATS
from editx.cli.files import format_of
from editx.cli.journal import JOURNAL
from editx.errors import InvalidRequest, NotFound
from editx.recipe import MAX_STEPS, AnyStep, Clone, parse_steps
from editx.text import with_language

SHOWN_PROBLEMS = 20
_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\]')


@dataclass(frozen=True, slots=True)
class Line:
    """One job of a batch. `out` is a safe path below the batch's folder; `digest` changes with everything that the
    result depends on; `voice` and `recording`: one of them is given."""

    number: int
    id: str
    steps: tuple[AnyStep, ...]
    voice: str | None
    recording: Path | None
    transcript: str
    seed: int | None
    format: str
    out: PurePosixPath
    digest: str


@dataclass(frozen=True, slots=True)
class Defaults:
    """What lines are made with that do not say otherwise; part of every digest."""

    format: str = "wav"
    variant: str | None = None
    seed: int | None = None


class _Raw(msgspec.Struct, forbid_unknown_fields=True):
    """A line as it is written."""

    id: str | int | None = None
    text: str | None = None
    voice: str | None = None
    ref_audio: str | None = None
    ref_text: str | None = None
    source: str | None = None
    transcript: str = ""
    steps: list[dict[str, Any]] = []
    language: str | None = None
    seed: int | None = None
    format: str | None = None
    out: str | None = None


class BadManifest(InvalidRequest):
    """Lines that do not fit; the message lists the first of them, `problems` holds all."""

    def __init__(self, manifest: Path, lines: int, problems: list[str]) -> None:
        shown = problems[:SHOWN_PROBLEMS]
        if len(problems) > len(shown):
            shown.append(f"and {len(problems) - len(shown)} more")
        super().__init__("\n  ".join([f"{manifest}: {len(problems)} of {lines} lines do not fit", *shown]))
        self.problems = problems


def read_manifest(
    manifest: Path, folder: Path, defaults: Defaults, transcript: Callable[[str], str]
) -> tuple[Line, ...]:
    """Every line of `manifest`, all of them checked; `transcript` says what is said in a voice.

    Raises InvalidRequest when the file cannot be read, BadManifest naming every line that does not fit.
    """
    try:
        text = manifest.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"it is not UTF-8 ({error.reason})"
        raise InvalidRequest(f"the manifest {manifest} cannot be read: {reason}", param="MANIFEST") from error
    rows = [(number, row) for number, row in enumerate(text.split("\n"), 1) if row.strip()]
    reader = _Reader(manifest, folder, defaults, transcript)
    lines: list[Line] = []
    problems: list[tuple[int, str]] = []
    for number, row in rows:
        try:
            lines.append(reader.read(number, row))
        except InvalidRequest as error:
            named = f"{error.param}: " if error.param else ""
            problems.append((number, f"{named}{error.message}"))
    problems += reader.overwriting(lines)
    if problems:
        raise BadManifest(manifest, len(rows), [f"line {number}: {said}" for number, said in sorted(problems)])
    if not lines:
        raise InvalidRequest(f"the manifest {manifest} has no lines", param="MANIFEST")
    return tuple(lines)


class _Reader:
    """Checks line after line; remembers the names taken and the voices asked for."""

    def __init__(self, manifest: Path, folder: Path, defaults: Defaults, transcript: Callable[[str], str]) -> None:
        self._base = manifest.parent
        self._folder = folder.resolve()
        self._defaults = defaults
        self._transcript = transcript
        self._voices: dict[str, str | InvalidRequest] = {}
        self._taken: dict[str, int] = {}
        self._read = {_identity(manifest): "the manifest"}  # files by what is the same for all their names

    def read(self, number: int, row: str) -> Line:
        try:
            raw = msgspec.json.decode(row, type=_Raw)
        except msgspec.DecodeError as error:
            raise InvalidRequest(f"not a line of a manifest: {error}") from None
        steps = parse_steps(raw.steps)
        steps, voice, recording, transcript = self._source(raw, steps)
        _check_chain(steps, transcript, "transcript" if raw.source is not None else "ref_text")
        if raw.seed is not None and not 0 <= raw.seed < 2**63:
            raise InvalidRequest(f"a seed is a whole number from 0 to 2**63 - 1, not {raw.seed}", param="seed")
        name = f"{number:06d}" if raw.id is None else str(raw.id)
        out, format = self._output(raw, name)
        if recording is not None:
            self._read.setdefault(_identity(recording), f"the recording that line {number} is made from")
        key = unicodedata.normalize("NFC", str((self._folder / out).resolve())).casefold()
        if (first := self._taken.setdefault(key, number)) != number:
            raise InvalidRequest(f"{out} is what line {first} writes already", param="out")
        seed = self._defaults.seed if raw.seed is None else raw.seed
        meaning = [msgspec.to_builtins(raw), str(out), format, seed, self._defaults.variant]
        digest = hashlib.blake2b(json.dumps(meaning, sort_keys=True).encode(), digest_size=16).hexdigest()
        return Line(number, name, steps, voice, recording, transcript, seed, format, out, digest)

    def overwriting(self, lines: list[Line]) -> list[tuple[int, str]]:
        """The lines that would overwrite what one of them is made from, by number, and what is wrong with each."""
        return [
            (line.number, f"out: {line.out} would overwrite {self._read[identity]}")
            for line in lines
            if (identity := _identity(self._folder / line.out)) in self._read and identity is not None
        ]

    def _source(
        self, raw: _Raw, steps: tuple[AnyStep, ...]
    ) -> tuple[tuple[AnyStep, ...], str | None, Path | None, str]:
        """The steps with the clone in front, the voice or the recording, and the words in it."""
        given = [name for name in ("voice", "ref_audio", "source") if getattr(raw, name) is not None]
        if len(given) != 1:
            said = " and ".join(given) or "none"
            raise InvalidRequest(f"a line has one of voice, ref_audio and source; this one has {said}")
        needless = {
            "voice": ("ref_text", "transcript"),
            "ref_audio": ("transcript",),
            "source": ("text", "ref_text", "language"),
        }
        for name in needless[given[0]]:
            if getattr(raw, name):
                raise InvalidRequest(f"{name} does not go with {given[0]}", param=name)
        if raw.source is not None:
            if not steps:
                raise InvalidRequest("a source is edited by steps, and there are none", param="steps")
            return steps, None, self._file(raw.source, "source"), raw.transcript
        if raw.text is None or not raw.text.strip():
            raise InvalidRequest("text, what is to be said, is missing or empty", param="text")
        steps = (Clone(with_language(raw.text, raw.language)), *steps)
        if raw.voice is not None:
            return steps, raw.voice, None, self._said_in(raw.voice)
        assert raw.ref_audio is not None
        return steps, None, self._file(raw.ref_audio, "ref_audio"), raw.ref_text or ""

    def _said_in(self, voice: str) -> str:
        if voice not in self._voices:
            try:
                self._voices[voice] = self._transcript(voice)
            except NotFound as error:
                self._voices[voice] = InvalidRequest(error.message, param="voice")
        found = self._voices[voice]
        if isinstance(found, InvalidRequest):
            raise found
        return found

    def _file(self, name: str, param: str) -> Path:
        path = self._base / name
        try:
            found = path.is_file()
        except (OSError, ValueError):
            found = False
        if not found:
            raise InvalidRequest(f"there is no file {path}", param=param)
        return path

    def _output(self, raw: _Raw, name: str) -> tuple[PurePosixPath, str]:
        format = raw.format
        if format is not None and format not in FORMATS:
            raise InvalidRequest(f"{format!r} is no audio format; use one of: {', '.join(FORMATS)}", param="format")
        if raw.out is None:
            format = format or self._defaults.format
            if "/" in name:
                raise InvalidRequest(f"{name!r} cannot name a file; give out as well", param="id")
            return self._inside(f"{name}.{format}", "id"), format
        out = self._inside(raw.out, "out")
        ending = format_of(Path(out))
        if ending is None and format is None:
            raise InvalidRequest(f"the ending of {raw.out!r} names no audio format: {', '.join(FORMATS)}", param="out")
        if None not in (format, ending) and ending != format:
            raise InvalidRequest(f"{raw.out!r} ends like {ending}, and the format is {format}", param="out")
        return out, format or ending or self._defaults.format

    def _inside(self, name: str, param: str) -> PurePosixPath:
        """A relative path that stays below the folder on every system, and whose parts are no one's special names."""
        parts = name.split("/")
        if _UNSAFE.search(name) or any(not part.strip(" .") or part != part.strip(" ") for part in parts):
            raise InvalidRequest(
                f"{name!r} is no safe file name: use letters, digits, - and _, and / for folders below", param=param
            )
        if any(len(part.encode()) > 200 for part in parts):
            raise InvalidRequest(f"{name[:40]!r}… is too long for a file name", param=param)
        out = PurePosixPath(*parts)
        if str(out).casefold() == JOURNAL or any(part.startswith(".") for part in parts):
            raise InvalidRequest(f"{name!r} is a name that the batch itself may use", param=param)
        if not (self._folder / out).resolve().is_relative_to(self._folder):
            raise InvalidRequest(f"{name!r} leads out of {self._folder}", param=param)
        return out


def _identity(path: Path) -> tuple[int, int] | None:
    """The same for every name of a file; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _check_chain(steps: tuple[AnyStep, ...], transcript: str, field: str) -> None:
    """What `Recipe` will ask of the steps, before any recording is decoded."""
    if len(steps) > MAX_STEPS:
        raise InvalidRequest(f"at most {MAX_STEPS} steps, and these are {len(steps)}", param="steps")
    said = transcript.strip()
    for index, step in enumerate(steps):
        if isinstance(step, Clone) and index:
            raise InvalidRequest("clone can only be the first step", param="steps")
        if step.needs_transcript and not said:
            raise InvalidRequest(f"{step.kind} needs the words spoken in the recording", param=field)
        said = step.new_text.strip() or said
