"""Voices by name: those that were added, the built-in ones, and OpenAI's names for these."""

from __future__ import annotations

import dataclasses
import difflib
import time
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from editx.audio.clip import Clip
from editx.audio.codec import Decoder, encode
from editx.audio.resample import resample
from editx.errors import Conflict, InvalidRequest, MissingTranscript, NotFound, TooLarge
from editx.voices import aliases
from editx.voices.builtin import BUILTIN_DIRECTORY, BuiltinVoice, length_of, read_builtin
from editx.voices.cache import ClipCache
from editx.voices.names import check_name, key_of
from editx.voices.quality import findings, refuse_silence
from editx.voices.store import Record, Store
from editx.voices.voice import Voice

MAX_TRANSCRIPT_CHARS = 4_000
_MAX_RATE_HZ = 48_000
_CACHE_BYTES = 128 * 1024 * 1024


class VoiceLibrary:
    """The voices under `directory`, and the read-only ones of the package. Safe for several threads and processes.

    Names are compared without regard to case. `builtin` is the directory of the built-in voices. Recordings are read
    through `decoder`, and kept in memory while they are used.
    """

    def __init__(
        self, directory: str | Path, *, builtin: str | Path = BUILTIN_DIRECTORY, decoder: Decoder | None = None
    ) -> None:
        self._decoder = decoder or Decoder()
        self._cache = ClipCache(_CACHE_BYTES)
        self._builtin_directory = Path(builtin)
        voices = read_builtin(self._builtin_directory)
        self._builtin = {key_of(voice.name): voice for voice in voices}
        self._aliases = {
            name: target for name, target in aliases.assign(voices).items() if key_of(name) not in self._builtin
        }
        self._lengths: dict[str, tuple[int, int]] = {}
        self._store = Store(Path(directory))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the index back. Harmless when closed already."""
        self._store.close()

    def add(
        self,
        name: str,
        clip: Clip,
        transcript: str,
        locale: str | None = None,
        *,
        title: str = "",
        replace: bool = False,
    ) -> Voice:
        """Keep `clip`, in which `transcript` is spoken, under `name`; on return it is on disk for good.

        What may make it clone badly is in the voice's `warnings`. Raises InvalidRequest for a bad name or a silent
        clip, MissingTranscript, TooLarge for a transcript, Conflict when the name is built in, or taken and not
        `replace`.
        """
        name = self._free_name(name)
        transcript = transcript.strip()
        if not transcript:
            raise MissingTranscript(
                "a voice needs the words spoken in its recording, and they are empty", param="transcript"
            )
        if len(transcript) > MAX_TRANSCRIPT_CHARS:
            raise TooLarge(
                f"a transcript has at most {MAX_TRANSCRIPT_CHARS} characters, and this one {len(transcript)}",
                param="transcript",
            )
        refuse_silence(clip)
        clip = resample(clip, min(clip.rate, _MAX_RATE_HZ))
        record = Record(
            name=name, title=title or name, transcript=transcript, locale=locale or None, created_ns=time.time_ns(),
            seconds=clip.seconds, rate=clip.rate, file="", findings=tuple(findings(clip)),
        )  # fmt: skip
        return self._added(self._store.put(record, encode(clip, "flac", bits=24), replace=replace))

    def get(self, name: str, *, param: str = "voice") -> Voice:
        """The voice called `name`. Raises NotFound naming similar ones."""
        key = key_of(name)
        if (record := self._store.get(name)) is not None:
            return self._added(record)
        if voice := self._builtin.get(key):
            return self._built_in(voice)
        if target := self._aliases.get(key):
            return self._alias(key, target)
        known = [voice.name for voice in self.list()]
        similar = difflib.get_close_matches(name, known, n=5) or known[:20]
        raise NotFound(
            f"there is no voice {name!r}; there are: {', '.join(similar) or 'none'}"
            + (" and more" if len(known) > len(similar) else ""),
            param=param,
        )

    def list(self) -> list[Voice]:
        """Every voice: the built-in ones, OpenAI's names for them, and those that were added, by name."""
        return [
            *(self._built_in(voice) for voice in self._builtin.values()),
            *(self._alias(name, target) for name, target in self._aliases.items()),
            *(self._added(record) for record in self._store.list()),
        ]

    def rename(self, old: str, new: str) -> Voice:
        """Call a voice that was added by another name. Raises NotFound, Conflict or InvalidRequest."""
        new = self._free_name(new)
        self._refuse_builtin(old, "renamed")
        return self._added(self._store.rename(old, new))

    def delete(self, name: str) -> None:
        """Delete a voice that was added. Raises NotFound, and Conflict for a built-in one."""
        self._refuse_builtin(name, "deleted")
        self._cache.forget(self._path(self._store.delete(name)))

    def _free_name(self, name: str) -> str:
        name = check_name(name)
        if key_of(name) in self._builtin or key_of(name) in aliases.OPENAI_NAMES:
            raise Conflict(f"{name!r} is the name of a built-in voice; choose another", param="name")
        return name

    def _refuse_builtin(self, name: str, verb: str) -> None:
        if key_of(name) in self._builtin or key_of(name) in aliases.OPENAI_NAMES:
            raise Conflict(f"{name!r} is built in and cannot be {verb}", param="name")

    def _added(self, record: Record) -> Voice:
        return Voice(
            name=record.name, title=record.title, transcript=record.transcript, locale=record.locale,
            created=record.created_ns // 10**9, seconds=record.seconds, rate=record.rate, builtin=False,
            file=record.file, description=record.description, findings=record.findings,
            load=partial(self._load, self._path(record), record.name),
        )  # fmt: skip

    def _built_in(self, voice: BuiltinVoice) -> Voice:
        path = str(self._builtin_directory / voice.file)
        samples, rate = self._lengths.get(path) or self._measure(path, voice.name)
        return Voice(
            name=voice.name, title=voice.title, transcript=voice.transcript, locale=voice.locale, created=0,
            seconds=samples / rate, rate=rate, builtin=True, file=voice.file, description=voice.description,
            load=partial(self._load, path, voice.name),
        )  # fmt: skip

    def _alias(self, name: str, target: str) -> Voice:
        return dataclasses.replace(
            self._built_in(self._builtin[key_of(target)]), name=name, title=name.capitalize(), alias_of=target
        )

    def _measure(self, path: str, name: str) -> tuple[int, int]:
        found = length_of(Path(path))
        if found is None:
            clip = self._load(path, name)
            found = len(clip.samples), clip.rate
        self._lengths[path] = found
        return found

    def _path(self, record: Record) -> str:
        return str(self._store.directory / record.file)

    def _load(self, path: str, name: str) -> Clip:
        try:
            return self._cache.get(path, lambda: self._decoder.decode_path(path, param="voice"))
        except NotFound:
            raise NotFound(f"the voice {name!r} is there no more; its recording was deleted", param="voice") from None
        except InvalidRequest as error:
            raise NotFound(f"the recording of the voice {name!r} cannot be read: {error}", param="voice") from None
