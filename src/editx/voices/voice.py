"""A voice: a recording, what is said in it, and what it is called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from editx.audio.clip import Clip
from editx.voices.quality import Finding


@dataclass(frozen=True, slots=True)
class Voice:
    """One voice of the library, as it was when it was asked for.

    `created`: Unix time, 0 for built-in voices. `seconds` and `rate` (Hz) are those of the recording, in `file`.
    `findings`: what could make it clone badly. `alias_of`: the built-in voice behind one of OpenAI's names, else empty.
    """

    name: str
    title: str
    transcript: str
    locale: str | None
    created: int
    seconds: float
    rate: int
    builtin: bool
    file: str
    load: Callable[[], Clip] = field(repr=False, compare=False)
    description: str = ""
    findings: tuple[Finding, ...] = ()
    alias_of: str = ""

    @property
    def warnings(self) -> tuple[str, ...]:
        """The findings, a sentence each."""
        return tuple(map(str, self.findings))

    def clip(self) -> Clip:
        """The recording; its samples are read-only. Raises NotFound when the voice was deleted meanwhile."""
        return self.load()
